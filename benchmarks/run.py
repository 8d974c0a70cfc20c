"""One run of the benchmark: every system in turn, round after round, and what was seen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.batches import ACTIONS, ITEMS, batch_rates
from benchmarks.drain import Drain, Load, drain
from benchmarks.environment import bullmq_folder, peers_python
from benchmarks.figures import Spread, largest, middle
from benchmarks.growth import growth
from benchmarks.idle import idle_cost
from benchmarks.latency import asked_to_committed
from benchmarks.plan import BULLMQ, MILLRACE, PEERS, TITLES, Plan
from benchmarks.servers import OWNERS, Servers
from benchmarks.service import service_latency
from benchmarks.system import System

MILLRACE_WITHIN = 120
MANY_OWNERS = "owners"
"""Millrace's two processes once more, its customers spread over OWNERS owners instead of one."""

FEWEST_JOBS = 60


@dataclass
class Run:
    """What was measured so far. `figures`: medians by name; `samples`: every single run; `problems`: what was wrong."""

    servers: Servers
    plan: Plan
    systems: dict[str, System]
    figures: dict[str, float | None] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def limits(self) -> None:
        """Multi-row inserts, over one connection and over two."""
        for name, connections in (("one", 1), ("two", 2)):
            rate = machine.insert_limit(self.servers, connections, self.plan.limit_seconds)
            self.figures[f"limit.{name}"] = rate
            say(
                f"PostgreSQL, multi-row inserts, {connections} connection{'s' * (connections > 1)}",
                f"{rate:,.0f} rows/s",
            )

    def drains(self) -> None:
        """Orders per second, enqueueing and bytes, of every system in every shape, round after round."""
        rates: dict[str, float] = {}
        drained: dict[str, list[Drain]] = {}
        for number in range(1, self.plan.rounds + 1):
            for name, shape, key in self._cases():
                load = self._load(name, shape, key, rates.get(key), weigh=number == 1 and shape == "one")
                done = drain(self.systems[name], shape, load)
                rates[key] = done.orders
                drained.setdefault(key, []).append(done)
                self._keep(key, number, done)
        for key, several in drained.items():
            self.figures[key] = middle(done.orders for done in several)
            for what in ("workers_us", "redis_us", "postgres_us"):
                self.figures[f"{key}.{what}"] = middle(getattr(done, what) for done in several)
        for name, system in self.systems.items():
            self.figures[f"{name}.best"] = largest(self.figures.get(f"{name}.{shape}") for shape in system.shapes)
            own = [done for several in drained.values() for done in several if done.system == name]
            for what in ("enqueue", "enqueue_bulk", "pending_bytes", "finished_bytes"):
                self.figures[f"{name}.{what}"] = middle(getattr(done, what) for done in own)

    def batches(self) -> None:
        """Batches of tasks, by one worker process."""
        for action, rate in batch_rates(self.systems["millrace"], self.plan.batches).items():
            self.figures[f"batch.{action}"] = rate
            say(f"batches of {ITEMS:,} tasks, {action}", f"{rate:,.0f} items/s")
        self.figures["batch.slowest"] = min(self.figures[f"batch.{action}"] or 0 for action in ACTIONS)

    def latency(self) -> None:
        """At a steady low rate: every system, then the whole service."""
        for name, system in self.systems.items():
            found = asked_to_committed(system, self.plan.paced_seconds)
            self._spread(name, found)
            say(f"{system.title} at 50 jobs/s", f"{told(found)}")
        service = service_latency(self.systems["millrace"], self.plan.paced_seconds)
        self._spread("latency.committed", service.committed)
        self._spread("latency.waited", service.waited)
        say("Millrace over HTTP, accepted to committed", told(service.committed))
        say("Millrace over HTTP, Prefer: wait", told(service.waited))

    def http(self) -> None:
        """Accepted requests per second, against the same service written plainly and against an empty one."""
        if find_spec("benchmarks.http") is None:
            say("HTTP submit", "not measured: no such part yet")
            return
        from benchmarks.http import rates

        for name, rate in rates(seconds=self.plan.http_seconds, rounds=self.plan.http_rounds).items():
            self.figures[f"http.{name}"] = rate
            say(f"POST /v1/orders, {name}", f"{rate:,.0f} requests/s")

    def bulk(self) -> None:
        """Lines accepted per second in bulks, by one process of the API; and what a line costs it."""
        from benchmarks.http.bulk import rates

        for name, rate in rates(seconds=self.plan.http_seconds, rounds=self.plan.http_rounds).items():
            self.figures |= {f"bulk.{name}": rate.lines, f"bulk.{name}.cpu": rate.cpu}
            say(f"POST /v1/bulk, {name}", f"{rate.lines:,.0f} lines/s, {rate.cpu:.0f} µs each")

    def reads(self) -> None:
        """What a read costs the serving processes, from the cache and not, and an empty view beside it."""
        from benchmarks.http.reads import costs

        for name, cost in costs(seconds=self.plan.http_seconds / 2, rounds=self.plan.http_rounds).items():
            self.figures[f"reads.{name}"] = cost
            say(f"a read, {name}", f"{cost:,.0f} µs")

    def streams(self) -> None:
        """How fast one process accepts orders beside those who only listen, and beside nobody."""
        from benchmarks.http.streams import compared

        found = compared(crowds=self.plan.crowds)
        for name, one in (("alone", found.alone), ("beside", found.beside)):
            self.figures |= {f"streams.{name}.{what}": value for what, value in asdict(one).items()}
            say(f"POST /v1/orders, 1 process, {name}", str(one))
        self.figures |= {"streams.ratio": found.ratio, "streams.memory": found.memory}
        say("the one by the other", f"{found.ratio:.2f}")

    def idle(self) -> None:
        """What a worker process costs that has nothing to do."""
        cost = idle_cost(self.systems["millrace"], self.plan.idle_seconds)
        self.figures |= {f"idle.{name}": value for name, value in asdict(cost).items()}
        say("an idle worker process", f"{cost.processor:.2f} % of a processor, {cost.resident:.0f} MiB resident")

    def growth(self) -> None:
        """How fast it stays with much pending and much stored."""
        if not self.plan.pending:
            say("growth", "left out: make bench-full")
            return
        found = growth(self.systems["millrace"], pending=self.plan.pending, stored=self.plan.stored)
        self.figures |= {f"growth.{name}": value for name, value in asdict(found).items()}
        say(
            "growth", f"{found.small:,.0f}; much pending {found.pending:,.0f}; much stored {found.stored:,.0f} orders/s"
        )

    def _cases(self) -> Iterator[tuple[str, str, str]]:
        """Each system in each of its shapes: its name, the shape, and how the figure is called."""
        for name, system in self.systems.items():
            for shape in system.shapes:
                if shape != "four" or self.plan.scaling:
                    yield name, shape, f"{name}.{shape}"
        if self.plan.scaling:
            yield "millrace", "two", f"millrace.{MANY_OWNERS}"

    def _load(self, name: str, shape: str, key: str, rate: float | None, *, weigh: bool) -> Load:
        """Millrace's backlog, or for a peer what takes it about as long as the plan says."""
        if name == "millrace":
            owners = OWNERS if key.endswith(MANY_OWNERS) else 1
            return Load(self.plan.backlog, MILLRACE_WITHIN, weigh, owners)
        jobs = (rate or self.systems[name].shapes[shape].guess) * self.plan.peer_seconds
        return Load(max(FEWEST_JOBS, round(jobs)), self.plan.peer_seconds * 3 + 5, weigh)

    def _keep(self, key: str, number: int, done: Drain) -> None:
        system = self.systems[done.system]
        says = f"{OWNERS} owners" if key.endswith(MANY_OWNERS) else system.shapes[done.shape].says
        say(f"round {number}/{self.plan.rounds}  {system.title}, {says}", f"{done.orders:,.0f} orders/s")
        self.samples.append({"key": key, "round": number, **done.sample()})
        if not done.whole or not done.rows:
            self.problems.append(f"{key}: {done.jobs} jobs, {done.rows} rows, {done.results} results")

    def _spread(self, name: str, found: Spread | None) -> None:
        for what in ("p50", "p99"):
            self.figures[f"{name}.{what}"] = getattr(found, what) if found else None
        self.samples.append({"key": f"{name}.latency", **(asdict(found) if found else {"cannot_keep_up": True})})


PARTS: dict[str, Callable[[Run], None]] = {
    part.__name__: part
    for part in (
        Run.limits,
        Run.drains,
        Run.batches,
        Run.latency,
        Run.http,
        Run.bulk,
        Run.reads,
        Run.streams,
        Run.idle,
        Run.growth,
    )
}


@contextmanager
def prepared(folder: Path, plan: Plan) -> Iterator[Run]:
    """The servers and the systems, installed and started; all of it is gone afterwards."""
    python, bullmq = peers_python(folder), bullmq_folder(folder)
    with ExitStack() as stack:
        servers = stack.enter_context(Servers.started(folder / "run"))

        def start(name: str, *command: str, cwd: Path | None = None) -> System:
            return stack.enter_context(System.started(name, TITLES[name], servers, command, cwd=cwd))

        driver = ("-m", "benchmarks.systems.driver")
        systems = {name: start(name, str(python), *driver, name) for name in PEERS}
        if bullmq:
            systems["bullmq"] = start(BULLMQ[0], "node", "driver.mjs", cwd=bullmq)
        else:
            say("BullMQ", "left out: Node and npm are not here")
        systems["millrace"] = start(MILLRACE[0], sys.executable, *driver, "millrace")
        yield Run(servers, plan, systems)


def say(what: str, seen: str) -> None:
    """A line of progress."""
    print(f"{what:<64} {seen}", flush=True)


def told(found: Spread | None) -> str:
    return f"p50 {found.p50:.1f}, p99 {found.p99:.1f} ms" if found else "cannot keep up"
