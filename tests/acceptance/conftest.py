"""One stack for all acceptance tests, and somebody new for each."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator

import pytest

from local.carrier import Carrier
from tests.acceptance.stack import Stack
from tests.storm import effects
from tests.system import telephony
from tests.system.client import Client
from tests.system.stack import Stack as System


@pytest.fixture(scope="session")
def carrier() -> Iterator[Carrier]:
    """Where calls go to; an answer that hangs comes after 3 s."""
    with telephony.simulator(hang_seconds=3) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, carrier: Carrier) -> Iterator[Stack]:
    pace = {"calls_per_second": 100, "call_reconcile_seconds": 1, "circuit_open_seconds": 1}
    calls = telephony.account_at(carrier) | pace
    with Stack.started(tmp_path_factory.mktemp("acceptance"), lease_seconds=3, **calls) as started:
        yield started


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A stack with an effect log, in which no rule refuses a second effect, and so hides it."""
    folder = tmp_path_factory.mktemp("watched")
    with System.started(folder, api_processes=2, lease_seconds=3, order_window_scope="off") as started:
        effects.install(started)
        yield started


@pytest.fixture
def user(stack: Stack) -> Iterator[Client]:
    """Somebody who has no jobs yet."""
    somebody = stack.person()
    yield somebody
    somebody.close()


@pytest.fixture
def chance() -> random.Random:
    """What a test leaves to chance; with the SEED it prints, it does so alike again."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    sys.stdout.write(f"SEED={seed}\n")
    return random.Random(seed)
