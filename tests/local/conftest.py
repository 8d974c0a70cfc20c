"""What tests of local parts can ask for: a checkout, and a carrier simulator with an SDK that asks it and who is called back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.carrier import Carrier
from tests.local.callee import Callee, listening
from tests.local.caller import SID, TOKEN, Sdk, quick
from tests.local.checkout import Checkout, clone


@pytest.fixture
def callee() -> Iterator[Callee]:
    with listening() as found:
        yield found


@pytest.fixture
def carrier(tmp_path: Path) -> Iterator[Carrier]:
    with Carrier(SID, TOKEN, ledger=tmp_path / "ledger", seed=1, **quick()) as started:
        yield started


@pytest.fixture
def sdk(carrier: Carrier) -> Iterator[Sdk]:
    client = Sdk(carrier)
    yield client
    client.http_client.session.close()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = clone(tmp_path_factory.mktemp("stack") / "a clone")
    yield made
    made.stack("clean")
    assert not (made.root / ".local").exists()


@pytest.fixture
def running(checkout: Checkout) -> Iterator[Checkout]:
    done = checkout.stack("up")
    assert done.returncode == 0, done.stdout
    yield checkout
    done = checkout.stack("stop")
    assert done.returncode == 0, done.stdout
