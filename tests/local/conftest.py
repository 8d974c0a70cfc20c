"""What tests of the carrier simulator can ask for: one that is quick, an SDK that asks it, and who is called back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.carrier import Carrier
from tests.local.callee import Callee, listening
from tests.local.caller import SID, TOKEN, Sdk, quick


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
