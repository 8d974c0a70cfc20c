"""Calls go to a carrier simulator, started for each test; and whether anything was rolled back can be seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event

from config import Settings
from jobs.kernel.ports import CARRIER
from local.carrier import Carrier
from models.session import writer
from tests.calls import SILENT
from tests.road import Road
from workers import twilio
from workers.executor import Executor
from workers.gate import Gate


@pytest.fixture
def carrier(base_settings: Settings, request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """Its calls ring for a moment, or for as long as a test says."""
    account, token = base_settings.twilio_account_sid, base_settings.twilio_auth_token
    ring = getattr(request, "param", 0.05)
    with Carrier(account, token, faults=SILENT, ring_seconds=ring, talk_seconds=0.05) as simulator:
        yield simulator


@pytest.fixture
def phone(road: Road, carrier: Carrier) -> Iterator[Road]:
    """The road, with a carrier at its end."""
    made = road.with_settings(
        twilio_api_base_url=carrier.url, twilio_timeout_seconds=1, call_reconcile_seconds=5, circuit_failures=1000
    )
    made.carrier = twilio.carrier(made.settings)
    made.gates = {CARRIER: Gate(made.redis, made.settings, CARRIER, rate=1000)}
    yield made
    made.close()


@pytest.fixture
def rollbacks(road: Road) -> Iterator[list[str]]:
    """Transactions of the executor that were not committed. It tries again, so that outcomes are right all the same; but
    where every lock is taken in time and in order, there is nothing to try again."""
    seen: list[str] = []
    sessions = writer(road.settings.database_url, lease_seconds=road.settings.lease_seconds)
    event.listen(sessions.kw["bind"], "rollback", lambda _: seen.append("rollback"))
    road.executor = Executor(sessions, road.settings)
    yield seen
    sessions.kw["bind"].dispose()
