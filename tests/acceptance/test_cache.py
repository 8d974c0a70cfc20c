"""A read after a write is told to have succeeded sees it: whoever reads beside it, and whatever becomes of workers (CONTRACT.md §8)."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from subprocess import Popen

import pytest

from tests.acceptance.stack import LAST, Stack, children_of
from tests.processes import kill, until
from tests.system.client import Client
from tests.system.threads import again_and_again

WRITERS, READERS = 3, 6
ENOUGH = 40
"""Writes of each writer."""

LIST = "/v1/orders?limit=10"
WAITED = {"Prefer": "wait=10"}


class Orders:
    """Orders of one user. `told`: the version that each has at least, because somebody was told so. `wrong`: reads that were
    older than what was told before they began; `sources`: where reads came from."""

    def __init__(self, user: Client) -> None:
        self.told: dict[str, int] = {}
        self.wrong: list[str] = []
        self.sources: Counter[str] = Counter()
        self._user = user

    def place(self) -> str:
        placed = self._user.until_final(self._user.placed(f"c{len(self.told)}")["id"])
        assert placed["status"] == "succeeded", placed
        self.told[placed["id"]] = 1
        return str(placed["id"])

    def amend(self, order: str, number: int) -> None:
        """Change one, and read it at once by whichever process comes, then in the list."""
        body = {"total_fee": f"{number}.00"}
        job = self._user("PATCH", f"/v1/orders/{order}", json=body, headers=WAITED).json()
        job = job if job["status"] == "succeeded" else self._user.until_final(job["id"])
        assert job["status"] == "succeeded", job
        self.told[order] = job["result"]["version"]
        self.read(order, **LAST)
        self.listed(**LAST)

    def read(self, order: str, **headers: str) -> None:
        floor = {order: self.told[order]}
        answer = self._user.get(f"/v1/orders/{order}", headers=headers)
        self._judge(floor, [answer.json()], answer.headers["X-Cache"])

    def listed(self, **headers: str) -> None:
        floor = dict(self.told)
        answer = self._user.get(LIST, headers=headers)
        self._judge(floor, answer.json()["data"], answer.headers["X-Cache"])

    def _judge(self, floor: dict[str, int], shown: list[dict[str, object]], source: str) -> None:
        seen = {str(order["id"]): int(str(order["version"])) for order in shown}
        self.sources[source] += 1
        self.wrong += [f"{source}: {seen.get(key)} after {least}" for key, least in floor.items() if seen[key] < least]


@contextmanager
def killing(workers: Popen[bytes], chance: random.Random) -> Iterator[None]:
    """For the length of a block, kill one worker after the other, as soon as there are two."""

    def one() -> None:
        if len(running := children_of(workers)) > 1:
            kill(chance.choice(running))

    with again_and_again(one, 0.7):
        yield


@pytest.mark.parametrize("killed", [False, True], ids=["in peace", "killed"])
def test_no_read_is_older_than_what_was_told_before_it_began(
    stack: Stack, user: Client, chance: random.Random, killed: bool
) -> None:
    with ExitStack() as running:
        workers = running.enter_context(stack.workers(2, batch=5, order_window_scope="off"))
        running.enter_context(stack.scheduler())
        orders = Orders(user)
        names = [orders.place() for _ in range(WRITERS)]
        running.enter_context(stack.slow_commits(0.01) if killed else nullcontext())
        running.enter_context(killing(workers, chance) if killed else nullcontext())
        for name, _ in zip(itertools.cycle(names), range(READERS), strict=False):
            running.enter_context(again_and_again(lambda name=name: orders.read(name), 0.001))
            running.enter_context(again_and_again(orders.listed, 0.002))
        for name in names:
            numbers = itertools.count(1)
            running.enter_context(
                again_and_again(lambda name=name, numbers=numbers: orders.amend(name, next(numbers)), 0.001)
            )
        until(lambda: bool(orders.wrong) or min(orders.told.values()) > ENOUGH, 90)
    assert orders.wrong == []
    assert min(orders.sources["hit"], orders.sources["miss"]) > 100, orders.sources
