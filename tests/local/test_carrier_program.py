"""What the carrier simulator writes down, and the program that it is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import requests

from local.carrier import NUMBERS, Carrier, Faults
from tests.local.callee import Callee
from tests.local.caller import FROM, SID, TO, TOKEN, Sdk, quick

ROOT = Path(__file__).resolve().parents[2]


def test_the_ledger_has_a_line_for_each_dial_and_outlives_the_simulator(tmp_path: Path, callee: Callee) -> None:
    ledger = tmp_path / "ledger"
    sids = []
    for call in ("one", "two"):
        with Carrier(SID, TOKEN, ledger=ledger, **quick()) as carrier:
            sdk = Sdk(carrier)
            sids.append(sdk.dial(callee, call=call).sid)
            assert {found.sid for found in sdk.calls.list(to=TO)} == set(sids)
            sdk.http_client.session.close()
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [(line["sid"], line["call"]) for line in lines] == list(zip(sids, ("one", "two"), strict=True))
    assert list(lines[0]) == ["at", "sid", "to", "from", "call", "fault"]
    assert [asdict(dial)["sid"] for dial in carrier.dials] == sids
    assert carrier.calls[sids[0]].status == "completed"
    assert ledger.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path: Path, callee: Callee) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text('{"at": "2026-01-')
    for _ in range(2):
        with Carrier(SID, TOKEN, ledger=ledger, **quick()) as carrier:
            sdk = Sdk(carrier)
            sdk.dial(callee)
            sdk.http_client.session.close()
    assert len(carrier.dials) == 2


def test_every_request_is_counted_with_what_it_asked_for(sdk: Sdk, carrier: Carrier, callee: Callee) -> None:
    carrier.faults = Faults(drop=1)
    with pytest.raises(requests.ConnectionError):
        sdk.dial(callee)
    sid = carrier.dials[0].sid
    sdk.calls.list()
    sdk.calls(sid).fetch()
    sdk.calls(sid).update(status="completed")
    requests.get(f"{carrier.url}/elsewhere", auth=(SID, TOKEN), timeout=5)
    seen = [(request.method, request.kind, request.status) for request in carrier.requests]
    assert seen[:3] == [("POST", "dial", 0), ("GET", "list", 200), ("GET", "fetch", 200)]
    assert seen[3][:2] == ("POST", "end")
    assert seen[4] == ("GET", "other", 404)


def test_the_table_of_numbers_names_each_of_them() -> None:
    from local import carrier

    assert re.findall(r"^\| (\d{4}) \|", carrier.__doc__ or "", re.MULTILINE) == list(NUMBERS)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_program_says_where_it_listens_and_stops_when_told(tmp_path: Path, signum: int, callee: Callee) -> None:
    command = [sys.executable, "-m", "local.carrier", "--ledger", str(tmp_path / "ledger"), "--faults", "error=1"]
    environment = {"PATH": os.environ["PATH"], "TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": TOKEN}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("carrier simulator")
        (url,) = re.findall(r"http://127\.0\.0\.1:\d+", said)
        form = {"To": TO, "From": FROM, "Url": callee.url("/voice")}
        path = f"/2010-04-01/Accounts/{SID}/Calls.json"
        assert requests.post(url + path, form, auth=(SID, TOKEN), timeout=5).status_code == 500
        process.send_signal(signum)
        assert process.wait(10) == 0
    assert len((tmp_path / "ledger").read_text().splitlines()) == 1


@pytest.mark.parametrize("more", [[], ["--account-sid", SID, "--auth-token", TOKEN, "--faults", "crash=1"]])
def test_the_program_says_what_is_wrong_with_its_arguments(more: list[str]) -> None:
    command = [sys.executable, "-m", "local.carrier", *more]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ("TWILIO_ACCOUNT_SID" if not more else "crash") in done.stderr
