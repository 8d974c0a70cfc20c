"""What is left of a job of each kind that is canceled on its way: nothing, or all of it where it cannot be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

import pytest

from jobs.kernel import keys
from jobs.kernel.cancel import Canceled
from jobs.kernel.context import Report
from jobs.kernel.effects import scope
from jobs.kernel.outcome import State
from jobs.kernel.ports import CARRIER, Permit
from local.carrier import Carrier, Faults
from tests import events
from tests.calls import (
    ANSWERED,
    LOST,
    NEVER_TAKEN,
    SILENT,
    Execute,
    again,
    call,
    ended,
    place,
    placed,
    timeline,
    waiting,
)
from tests.events import delivery_of, due, recorded, row, work
from tests.failures import unwritable
from tests.gates import Gates
from tests.kinds.test_tasks import created
from tests.road import Road
from tests.sinks import SinkServer, away
from workers.executor import Executor, Reports
from workers.outside import Gate
from workers.work import Work

# Orders


def test_an_order_that_waits_for_its_window_is_not_placed(road: Road) -> None:
    road.order("c")
    job_id = road.order("c", body={"if_too_soon": "wait"})
    road.work()
    assert road.status(job_id) is State.SCHEDULED
    assert road.cancel(job_id) is Canceled.ASKED
    road.work()
    assert road.status(job_id) is State.CANCELED
    assert road.redis.zcard(keys.SCHEDULED) == 0
    assert len(road.rows("SELECT FROM orders")) == 1


# Tasks


def canceling(road: Road, job_id: UUID, after: int) -> Reports:
    """Reports as a worker's are; and as soon as so many of a job's items are done, somebody cancels it."""

    def of(works: list[Work]) -> Report:
        tell = road.reports(works)

        def report(of_job: UUID, done: int, total: int) -> None:
            if of_job == job_id and done >= after:
                road.cancel(job_id)
            tell(of_job, done, total)

        return report

    return of  # type: ignore[return-value]


@pytest.mark.parametrize("after", [0, 3000, 9000])
@pytest.mark.parametrize("action", ["create", "delete"])
def test_a_batch_of_ten_thousand_stops_at_a_safe_point_and_spoils_nothing_beside_it(
    road: Road, monkeypatch: pytest.MonkeyPatch, action: str, after: int
) -> None:
    monkeypatch.setattr("workers.progress.EVERY", 0)
    there = [str(created(road, body={"title": "There"})) for _ in range(2)]
    made: list[Any] = [{"title": f"Task {n}"} for n in range(10_000)]
    if action == "delete":
        road.submit("tasks.batch", {"action": "create", "tasks": made})
        road.work()
        made = [str(row.id) for row in road.rows("SELECT id FROM tasks WHERE title <> 'There'")]
    before = set(road.rows("SELECT id, title, version FROM tasks"))
    first = road.submit("tasks.amend", {"title": "First"}, target=UUID(there[0]))
    batch = road.submit("tasks.batch", {"action": action, "tasks": made})
    last = road.submit("tasks.create", {"title": "Last"})
    road.executor = Executor(road.sessions, road.settings, canceling(road, batch, after))
    road.work()
    assert [road.status(job) for job in (first, batch, last)] == [State.SUCCEEDED, State.CANCELED, State.SUCCEEDED]
    changed = set(road.rows("SELECT id, title, version FROM tasks")) ^ before
    assert {row.title for row in changed} == {"There", "First", "Last"}
    assert len(changed) == 3
    job = road.job(batch)
    assert (job["result"], job["error"], job["progress"]) == (None, None, None)


def test_a_batch_that_is_all_done_is_not_stopped_any_more(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.progress.EVERY", 0)
    batch = road.submit("tasks.batch", {"action": "create", "tasks": [{"title": "One"}, {"title": "Two"}]})
    road.executor = Executor(road.sessions, road.settings, canceling(road, batch, 2))
    road.work()
    assert road.status(batch) is State.SUCCEEDED
    assert len(road.rows("SELECT FROM tasks")) == 2


# Calls


class Meanwhile:
    """A gate at which something happens before it lets anybody pass."""

    def __init__(self, gate: Gate, happens: Callable[[], object]) -> None:
        self._gate = gate
        self._happens = happens

    def enter(self, *, turn: str | None = None) -> AbstractContextManager[Permit]:
        self._happens()
        return self._gate.enter(turn=turn)


def test_a_call_that_waits_for_an_open_circuit_is_canceled_and_its_number_free_again(
    phone: Road, carrier: Carrier
) -> None:
    call_id = waiting(phone)
    assert phone.cancel(call_id) is Canceled.ASKED
    phone.work()
    assert (phone.status(call_id), call(phone, call_id).status) == (State.CANCELED, "canceled")
    assert timeline(phone, call_id) == ["requested", "canceled"]
    assert carrier.dials == []
    assert phone.status(placed(phone)) is State.SUCCEEDED


def test_whoever_reads_a_call_sees_at_once_that_it_was_canceled(phone: Road) -> None:
    call_id = waiting(phone)
    phone.cancel(call_id)
    page = keys.cache(scope("calls", phone.owner))
    phone.redis.hset(page, "kept", "from before")
    phone.work()
    assert phone.redis.exists(page) == 0


def test_a_call_that_no_worker_had_is_never_one(phone: Road, carrier: Carrier) -> None:
    call_id = place(phone)
    assert phone.cancel(call_id) is Canceled.CANCELED
    phone.work()
    assert (phone.status(call_id), phone.rows("SELECT FROM calls"), carrier.dials) == (State.CANCELED, [], [])


@pytest.mark.parametrize("settled", [False, True])
def test_a_call_whose_answer_was_lost_is_not_canceled_and_ends_as_it_does(
    phone: Road, carrier: Carrier, settled: bool
) -> None:
    call_id = place(phone, LOST)
    if settled:
        phone.work()
    else:
        phone.execute(phone.reserve())  # the worker dies before it can tell
        phone.expire_leases()
    assert phone.cancel(call_id) is Canceled.ASKED
    phone.work()
    again(phone, call_id)
    assert (phone.status(call_id), call(phone, call_id).sid) == (State.SUCCEEDED, carrier.dials[0].sid)
    assert len(carrier.dials) == 1


def test_a_call_of_which_nobody_knows_is_not_looked_for_all_the_time_because_of_it(phone: Road) -> None:
    call_id = place(phone, NEVER_TAKEN)
    phone.work()
    for executions in (1, 0, 0):
        assert phone.cancel(call_id) is Canceled.ASKED
        deliveries = phone.reserve()
        phone.leases.settle(phone.execute(deliveries))
        assert (len(deliveries), phone.reserve()) == (executions, [])
        assert (phone.status(call_id), call(phone, call_id).status) == (State.SCHEDULED, "unknown")


def test_a_call_that_was_placed_before_its_worker_died_has_succeeded(phone: Road, carrier: Carrier) -> None:
    call_id = place(phone)
    phone.execute(phone.reserve())
    phone.cancel(call_id)
    phone.expire_leases()
    phone.work()
    assert (phone.status(call_id), len(carrier.dials)) == (State.SUCCEEDED, 1)


def test_a_call_that_was_canceled_by_the_next_worker_is_not_dialled_by_the_one_before(
    phone: Road, carrier: Carrier
) -> None:
    """It had stood still for longer than its lease, just before it would have asked."""
    call_id, gate = place(phone), phone.gates[CARRIER]

    def canceled() -> None:
        phone.gates = {CARRIER: gate}
        phone.cancel(call_id)
        phone.expire_leases()
        phone.work()
        assert phone.status(call_id) is State.CANCELED

    phone.gates = {CARRIER: Meanwhile(gate, canceled)}
    phone.leases.settle(phone.execute(phone.reserve()))
    assert (phone.status(call_id), call(phone, call_id).status, carrier.dials) == (State.CANCELED, "canceled", [])


def test_a_call_that_is_canceled_in_the_last_moment_before_it_is_dialled_waits_for_its_turn_no_more(
    phone: Road, carrier: Carrier
) -> None:
    call_id, gate = place(phone), phone.gates[CARRIER]
    phone.gates = {CARRIER: Meanwhile(gate, lambda: phone.cancel(call_id))}
    carrier.faults = Faults(refuse=1)
    phone.leases.settle(phone.execute(phone.reserve()))
    assert phone.status(call_id) is State.QUEUED, "it does not wait for its next try"
    phone.work()
    assert (phone.status(call_id), call(phone, call_id).status, carrier.dials) == (State.CANCELED, "canceled", [])


def test_a_call_that_failed_before_it_was_asked_for_is_canceled_in_its_new_run(
    phone: Road, carrier: Carrier, execute: Execute
) -> None:
    call_id = waiting(phone)
    phone.redis.hset(keys.job(call_id), "crashes", 3)
    again(phone, call_id)
    assert phone.status(call_id) is State.FAILED
    phone.rerun(call_id)
    assert phone.cancel(call_id) is Canceled.ASKED
    phone.work()
    assert (phone.status(call_id), call(phone, call_id).status, carrier.dials) == (State.CANCELED, "canceled", [])


@pytest.mark.parametrize("carrier", [30], indirect=True)
def test_to_end_a_call_is_brought_to_its_end_once_the_carrier_may_have_heard_of_it(
    phone: Road, carrier: Carrier
) -> None:
    call_id = placed(phone)
    job_id = ended(phone, call_id, "completed")
    carrier.faults = Faults(outage=1, mute=1)
    phone.work()
    assert phone.status(job_id) is State.SCHEDULED
    carrier.faults = SILENT
    assert phone.cancel(job_id) is Canceled.ASKED
    phone.work()
    assert (phone.status(job_id), phone.job(job_id)["result"]["status"]) == (State.SUCCEEDED, "completed")


@pytest.mark.parametrize("carrier", [30], indirect=True)
def test_to_end_a_call_is_canceled_while_nobody_has_begun_with_it(phone: Road, carrier: Carrier) -> None:
    call_id = placed(phone, ANSWERED)
    job_id = ended(phone, call_id, "completed")
    assert phone.cancel(job_id) is Canceled.CANCELED
    phone.work()
    assert phone.status(job_id) is State.CANCELED
    assert call(phone, call_id).status == "queued"


# Events


@pytest.fixture
def sunk(road: Road) -> Iterator[tuple[Road, Gates, SinkServer]]:
    """The road with a sink at its end, and the way there."""
    with SinkServer() as server:
        made, gates = events.connected(road, server)
        yield made, gates, server
        gates.close()
        made.close()


@pytest.mark.parametrize("had", [False, True])
def test_a_delivery_that_is_canceled_has_failed_and_says_so(
    sunk: tuple[Road, Gates, SinkServer], execute: Execute, had: bool
) -> None:
    road, _, server = sunk
    (event,) = recorded(road, 1)
    if had:
        server.plan = away
        work(road)
        assert row(road, event).delivery == "pending"
    page = keys.cache(scope("events", road.owner))
    road.redis.hset(page, "kept", "from before")
    assert road.cancel(delivery_of(road, event)) is (Canceled.ASKED if had else Canceled.CANCELED)
    server.plan, asked = lambda *_: 200, len(server.seen)
    work(road)
    found = row(road, event)
    assert (found.delivery, found.reason, found.version) == ("failed", "Canceled.", 2)
    assert road.redis.exists(page) == 0, "whoever reads it sees that"
    events.age(execute)
    road.submit("events.sweep", owner=None)
    work(road)
    due(road)
    work(road)
    assert (row(road, event).delivery, len(server.seen)) == ("failed", asked)


def test_a_delivery_that_the_sink_has_taken_is_not_canceled(
    sunk: tuple[Road, Gates, SinkServer],
) -> None:
    road, _, server = sunk
    (event,) = recorded(road, 1)
    road.execute(road.reserve())  # its worker dies before it can tell
    road.cancel(delivery_of(road, event))
    road.expire_leases()
    work(road)
    assert (row(road, event).delivery, road.status(delivery_of(road, event))) == ("delivered", State.SUCCEEDED)
    assert len(server.seen) == 1


# Users


def test_a_user_whose_creation_is_canceled_between_tries_is_not_there(road: Road, execute: Execute) -> None:
    body = {"email": "new@example.com", "password": "$argon2id$x", "name": "New"}
    job_id = road.submit("users.register", body, owner=None)
    with unwritable(execute, "users"):
        road.work()
    assert road.status(job_id) is State.SCHEDULED
    road.cancel(job_id)
    road.work()
    assert road.status(job_id) is State.CANCELED
    assert road.rows("SELECT FROM users WHERE email = 'new@example.com'") == []
