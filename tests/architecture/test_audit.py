"""`make audit` believes an advisory service only when it knows something, and tells findings from silence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Knowledge = Callable[[str], int]
"""How many advisories there are for a package, by its name, or for CANARY; negative: the connection is closed without an answer."""


CANARY = "jinja2==2.4.1"


def knows_the_canary(name: str) -> int:
    return int(name == CANARY)


class Osv(BaseHTTPRequestHandler):
    """An advisory service that speaks OSV."""

    knowledge: Knowledge

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        exactly = f"{name}=={asked['version']}"
        advisories = type(self).knowledge(CANARY if exactly == CANARY else name)
        if advisories < 0:
            return
        known = [advisory(name, number) for number in range(advisories)]
        body = json.dumps({"vulns": known} if known else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def advisory(name: str, number: int) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]
    affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}]
    return {"id": f"TEST-{name}-{number}", "summary": "A hole.", "affected": affected}


@pytest.fixture
def service() -> Iterator[Callable[[Knowledge], str]]:
    """Start an advisory service; its URL."""
    started: list[tuple[HTTPServer, Thread]] = []

    def start(knowledge: Knowledge) -> str:
        handler = type("Handler", (Osv,), {"knowledge": staticmethod(knowledge)})
        server = HTTPServer(("127.0.0.1", 0), handler)
        thread = Thread(target=server.serve_forever)
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/v1/query"

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def audit(url: str, *options: str) -> tuple[int, str]:
    command = [sys.executable, ".ci/audit.py", "--osv-url", url, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_nothing_known_passes(service: Callable[[Knowledge], str]) -> None:
    status, said = audit(service(knows_the_canary), "--strict")
    assert (status, "Nothing is known" in said, "NOT AUDITED" in said) == (0, True, False)
    for lock in ("requirements.txt", "requirements-local.txt", "requirements-dev.txt", "benchmarks/peers.txt"):
        assert lock in said


def test_every_finding_is_named_and_fails(service: Callable[[Knowledge], str]) -> None:
    status, said = audit(service(lambda name: {"flask": 1, "celery": 2}.get(name, knows_the_canary(name))))
    assert (status, "3 findings" in said) == (1, True)
    assert "TEST-flask-0, mended in 99.1: A hole." in said
    assert "TEST-celery-1" in said


@pytest.mark.parametrize("knowledge", [lambda name: 0, lambda name: -1], ids=["knows nothing", "hangs up"])
@pytest.mark.parametrize(("options", "expected"), [((), 0), (("--strict",), 2)], ids=["", "strict"])
def test_a_service_that_does_not_know_the_canary_has_told_nothing(
    knowledge: Knowledge, options: tuple[str, ...], expected: int, service: Callable[[Knowledge], str]
) -> None:
    status, said = audit(service(knowledge), *options)
    assert (status, "NOT AUDITED" in said, "Nothing is known against" in said) == (expected, True, False)


def test_findings_count_though_the_service_goes_away(service: Callable[[Knowledge], str]) -> None:
    known = {"flask": 1}
    gone = False

    def knowledge(name: str) -> int:
        nonlocal gone
        gone = gone or name == "celery"
        return -1 if gone else known.get(name, knows_the_canary(name))

    status, said = audit(service(knowledge))
    assert (status, "TEST-flask-0" in said, "NOT AUDITED" in said) == (1, True, False)


def test_an_answer_that_cannot_be_read_is_not_taken_for_silence(service: Callable[[Knowledge], str]) -> None:
    """The service works, and still there is no report of our packages: that is no reason to pass."""
    status, said = audit(service(lambda name: -1 if name == "flask" else knows_the_canary(name)))
    assert (status, "pip-audit failed" in said) == (1, True)
