"""Events in tests: recorded and delivered by the real executor, to a sink over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from jobs.kernel import keys
from jobs.kernel.outcome import FollowUp, State
from jobs.kernel.policy import QUEUES
from jobs.kernel.ports import EVENT_SINK
from jobs.kernel.submit import keyed_id
from tests.gates import PAUSE, Gates
from tests.road import Road
from tests.sinks import SinkServer
from workers import sink
from workers.follow_ups import follow_up
from workers.gate import JITTER
from workers.settle import Final

EVENT = {"name": "invoice.paid", "details": {"invoice": "2026-017", "lines": [1, 2.5, None, {"paid": True}]}}


def connected(road: Road, server: SinkServer, **more: Any) -> tuple[Road, Gates]:
    """The road with a sink at its end, and the way there."""
    made = road.with_settings(event_sink_url=server.url, event_sink_timeout_seconds=1, event_sweep_seconds=1, **more)
    gates = Gates(made, EVENT_SINK)
    made.sink = sink.sink(made.settings)
    made.gates = {EVENT_SINK: gates.make(longest=1)}
    return made, gates


def record(road: Road, **more: Any) -> UUID:
    return road.submit("events.record", EVENT, **more)


def recorded(road: Road, number: int) -> list[UUID]:
    """Events that are recorded; their deliveries are queued."""
    ids = [record(road) for _ in range(number)]
    work(road, "events")
    assert {road.status(event) for event in ids} == {State.SUCCEEDED}
    return ids


def delivery_of(road: Road, event: UUID) -> UUID:
    """The job that delivers an event."""
    return keyed_id(road.settings.secret_key, event, "events.deliver")


def work(road: Road, *queues: str) -> list[FollowUp]:
    """Do everything that is queued, and what follows from it; what has followed."""
    followed: list[FollowUp] = []
    while deliveries := road.leases.reserve(queues or list(QUEUES), 100):
        settlements = road.execute(deliveries)
        road.leases.settle(settlements)
        follow_up(road.follow_ups, settlements)
        verdicts = [settlement.verdict for settlement in settlements]
        followed += [one for verdict in verdicts if isinstance(verdict, Final) for one in verdict.follow_ups]
    return followed


def due(road: Road) -> None:
    """Let the time come for which jobs were put off."""
    for job in road.redis.zrange(keys.SCHEDULED, 0, -1):
        road.redis.zadd(keys.SCHEDULED, {job: 0})
    road.scheduler.enqueue_jobs()


def go_on(road: Road, gates: Gates) -> None:
    """Let jobs come that were put off; where the circuit is open, let its time pass before."""
    if gates.state == "open":
        gates.elapse(PAUSE * (1 + JITTER))
    due(road)
    work(road)


def until_delivered(road: Road, gates: Gates, most: int) -> int:
    """Go on until nothing is pending; how often that took, `most` times at most."""
    for times in range(most):
        if not road.rows("SELECT 1 FROM events WHERE delivery = 'pending' LIMIT 1"):
            return times
        go_on(road, gates)
    raise AssertionError(f"still pending after {most} times")


def row(road: Road, event: UUID) -> Any:
    (found,) = road.rows(f"SELECT * FROM events WHERE id = '{event}'")
    return found


def replay(road: Road, job: UUID) -> None:
    """Send a failed job again, as from its dead letter."""
    run = int(road.redis.hget(keys.job(job), "run") or 1) + 1
    again = {"state": "queued", "status": "queued", "run": run, "attempts": 0}
    road.redis.hset(keys.job(job), mapping=again)
    road.redis.rpush(keys.queue("deliveries"), str(job))


def age(execute: Any) -> None:
    """Let all events have been recorded an hour ago."""
    execute("UPDATE events SET recorded_at = recorded_at - interval '1 hour'")
