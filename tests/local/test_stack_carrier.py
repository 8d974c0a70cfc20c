"""Whose calls a local stack places: a simulator's, or those of an account that was given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from local.processes import alive, free_port
from tests.local.checkout import Checkout


@contextmanager
def up(checkout: Checkout, **given: str) -> Iterator[str]:
    """A stack for the length of a block, and what was said when it started.

    On a port of its own: another file's stack may be looking for a free one at the same moment.
    """
    started = checkout.stack("up", PORT=str(free_port()), **given)
    assert started.returncode == 0, started.stdout
    try:
        yield started.stdout
    finally:
        checkout.stack("stop")


def test_calls_go_to_a_simulator_where_no_account_is_given(checkout: Checkout) -> None:
    with up(checkout) as said:
        carrier = checkout.file("stack.json")["carrier"]
        for name in ("web", "worker", "calls", "scheduler"):
            told = checkout.processes()[name].environ()
            assert told["TWILIO_API_BASE_URL"] == carrier["url"]
            assert told["TWILIO_FROM_NUMBER"] == "+15005550006"
            assert (told["CALLS_PER_SECOND"], told["CALL_RECONCILE_SECONDS"]) == ("5", "2")
        account = told["TWILIO_ACCOUNT_SID"], told["TWILIO_AUTH_TOKEN"]
        path = f"{carrier['url']}/2010-04-01/Accounts/{account[0]}/Calls.json"
        form = {"To": "+12025550123", "From": "+15005550006", "Url": told["PUBLIC_BASE_URL"]}
        placed = requests.post(path, form, auth=account, timeout=5).json()
        assert json.loads(Path(carrier["ledger"]).read_text().splitlines()[-1])["sid"] == placed["sid"]
        assert f"carrier simulator at {carrier['url']}: nobody is phoned" in said
        assert re.search(r"^carrier simulator +\d+  running$", checkout.stack("status").stdout, re.MULTILINE)
        simulator = checkout.processes()["carrier"]
    assert not alive(simulator)


def test_an_account_that_was_given_is_used(checkout: Checkout) -> None:
    given = {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "given", "CALLS_PER_SECOND": "3"}
    with up(checkout, **given) as said:
        assert "simulator" not in said
        assert checkout.file("stack.json")["carrier"] is None
        assert "carrier" not in checkout.processes()
        told = checkout.processes()["calls"].environ()
        assert given.items() <= told.items()
        assert "TWILIO_API_BASE_URL" not in told


def test_the_pace_of_calls_can_be_given_without_an_account(checkout: Checkout) -> None:
    with up(checkout, CALLS_PER_SECOND="7", TWILIO_ACCOUNT_SID=""):
        told = checkout.processes()["calls"].environ()
        assert (told["CALLS_PER_SECOND"], told["CALL_RECONCILE_SECONDS"]) == ("7", "2")
        assert told["TWILIO_ACCOUNT_SID"].startswith("AC")
