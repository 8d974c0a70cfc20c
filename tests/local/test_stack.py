"""`python -m local.stack`, in a checkout of its own with small stand-ins for the service's processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2
import pytest
import requests

from local.processes import alive, wait_until
from local.redis import server_binary

ROOT = Path(__file__).resolve().parents[2]
RELEASE = """
import os
from models import migrate, roles
migrate.migrate(os.environ["DATABASE_URL"])
roles.sync(*(os.environ[name] for name in ("DATABASE_URL", "READ_DATABASE_URL", "WRITE_DATABASE_URL")))
"""
WEB = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        shown = {"status": "ok", "environment": os.environ["ENVIRONMENT"], "batch": os.environ.get("BATCH_SIZE")}
        self.wfile.write(json.dumps(shown).encode())

HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready).serve_forever()
"""
WORKER = "import signal, sys; print(sys.argv[1:], flush=True); signal.pause()"


@dataclass
class Checkout:
    """A folder that looks like this one to local/stack.py."""

    root: Path
    path: str

    def stack(self, command: str, **given: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "local.stack", command],
            cwd=self.root,
            env={**inherited, "PATH": self.path, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
        )

    def file(self, name: str) -> Any:
        return json.loads((self.root / ".local" / name).read_text())

    def processes(self) -> dict[str, psutil.Process]:
        return {entry["name"]: psutil.Process(entry["pid"]) for entry in self.file("processes.json")}


def clone(root: Path) -> Checkout:
    """A checkout in a new folder."""
    root.mkdir()
    shutil.copytree(ROOT / "local", root / "local", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("jobs", "models", "config.py"):
        (root / name).symlink_to(ROOT / name)
    (root / "release.py").write_text(RELEASE)
    (root / "web.py").write_text(WEB)
    (root / "worker.py").write_text(WORKER)
    (root / "Procfile").write_text(
        "release: python release.py\nweb: python web.py\nworker: python worker.py 'a b'\nscheduler: python worker.py\n"
    )
    return Checkout(root, f"{server_binary().parent}{os.pathsep}{os.defpath}")


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


def test_a_running_stack_describes_itself_to_its_owner_only(running: Checkout) -> None:
    described = running.file("stack.json")
    assert (running.root / ".local" / "stack.json").stat().st_mode & 0o777 == 0o600
    assert list(described) == [
        *("base_url", "database_url", "read_database_url", "write_database_url", "redis_url", "users", "processes"),
    ]
    assert [(user["email"], user["role"]) for user in described["users"]] == [
        ("admin@example.com", "admin"),
        ("user@example.com", "user"),
        ("other@example.com", "user"),
    ]
    names = [process["name"] for process in described["processes"]]
    assert names == ["postgres", "redis", "web", "worker", "scheduler"]
    assert requests.get(described["base_url"] + "/readyz", timeout=5).json()["environment"] == "local"


URLS = ("DATABASE_URL", "READ_DATABASE_URL", "WRITE_DATABASE_URL", "REDIS_URL")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("web", {"READ_DATABASE_URL": "millrace_reader", "REDIS_URL": "api"}),
        ("worker", {"WRITE_DATABASE_URL": "millrace_writer", "REDIS_URL": "worker"}),
        ("scheduler", {"WRITE_DATABASE_URL": "millrace_writer", "REDIS_URL": "worker"}),
    ],
)
def test_a_process_is_told_of_its_own_roles_only(running: Checkout, name: str, told: dict[str, str]) -> None:
    environment = running.processes()[name].environ()
    assert {url: urlsplit(environment[url]).username for url in URLS if url in environment} == told


def test_servers_that_were_given_are_reached_as_they_were_given(running: Checkout) -> None:
    described, other = running.file("stack.json"), clone(running.root.with_name("another clone"))
    given = {name: described[name.lower()] for name in URLS}
    assert other.stack("up", **given).returncode == 0
    try:
        for name in ("web", "worker", "scheduler"):
            environment = other.processes()[name].environ()
            assert {url: environment[url] for url in URLS} == given
        assert {"postgres", "redis"}.isdisjoint(other.processes())
    finally:
        other.stack("clean")


def test_settings_and_the_number_of_workers_pass_through(checkout: Checkout) -> None:
    assert checkout.stack("up", BATCH_SIZE="7", WORKERS="3").returncode == 0
    try:
        base_url = checkout.file("stack.json")["base_url"]
        assert requests.get(base_url, timeout=5).json()["batch"] == "7"
        assert checkout.processes()["worker"].cmdline()[-3:] == ["a b", "--processes", "3"]
    finally:
        checkout.stack("stop")


def test_stopping_ends_all_that_was_started(checkout: Checkout) -> None:
    checkout.stack("up")
    started = checkout.processes()
    assert all(map(alive, started.values()))
    assert checkout.stack("stop").returncode == 0
    assert not any(map(alive, started.values()))
    assert not (checkout.root / ".local" / "stack.json").exists()


def test_passwords_are_shown_once_and_stay(checkout: Checkout) -> None:
    shutil.rmtree(checkout.root / ".local", ignore_errors=True)
    first = checkout.stack("up")
    password = checkout.file("stack.json")["users"][0]["password"]
    checkout.stack("stop")
    second = checkout.stack("up")
    again = checkout.file("stack.json")["users"][0]["password"]
    checkout.stack("stop")
    assert (password in first.stdout, password in second.stdout, password == again) == (True, False, True)


def test_a_second_stack_in_one_checkout_is_refused(running: Checkout) -> None:
    refused = running.stack("run")
    assert refused.returncode == 1
    assert "up already" in refused.stdout
    assert running.stack("up").returncode == 0
    assert all(map(alive, running.processes().values()))


def test_what_a_killed_run_left_is_ended_and_its_data_used(checkout: Checkout) -> None:
    checkout.stack("up")
    left = checkout.processes()
    with closing(psycopg2.connect(checkout.file("stack.json")["database_url"])) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE TABLE kept (number int)")
    left["supervisor"].kill()
    assert wait_until(lambda: not alive(left["supervisor"]), within=5)
    assert "Not up" in checkout.stack("status").stdout

    again = checkout.stack("up")
    try:
        assert again.returncode == 0, again.stdout
        assert not any(map(alive, left.values()))
        with closing(psycopg2.connect(checkout.file("stack.json")["database_url"])) as connection:
            connection.autocommit = True
            connection.cursor().execute("DROP TABLE kept")
    finally:
        checkout.stack("stop")


def test_a_killed_run_can_be_stopped(checkout: Checkout) -> None:
    checkout.stack("up")
    left = checkout.processes()
    left["supervisor"].kill()
    wait_until(lambda: not alive(left["supervisor"]), within=5)
    assert checkout.stack("stop").returncode == 0
    assert not any(map(alive, left.values()))


def test_a_process_that_ends_by_itself_is_told_of(running: Checkout) -> None:
    running.processes()["worker"].send_signal(signal.SIGKILL)
    log = running.root / ".local" / "stack.log"
    assert wait_until(lambda: "worker (process" in log.read_text(), within=5)
    assert "exit code -9" in log.read_text()


def test_a_busy_port_is_an_error_only_when_it_was_asked_for(checkout: Checkout) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        refused = checkout.stack("up", PORT=str(listener.getsockname()[1]))
    assert refused.returncode == 1
    assert "is busy" in refused.stdout


@pytest.mark.parametrize(("name", "value"), [("PORT", "http"), ("PORT", "70000"), ("WORKERS", "0"), ("WORKERS", "x")])
def test_a_wrong_number_is_refused_in_words(checkout: Checkout, name: str, value: str) -> None:
    refused = checkout.stack("up", **{name: value})
    assert refused.returncode == 1
    assert f"{name}={value} is not" in refused.stdout
    assert "Traceback" not in refused.stdout


def test_a_release_that_fails_says_why_and_leaves_nothing(checkout: Checkout) -> None:
    (checkout.root / "release.py").write_text("raise SystemExit('no such migration')")
    try:
        failed = checkout.stack("up")
    finally:
        (checkout.root / "release.py").write_text(RELEASE)
    assert failed.returncode == 1
    assert "no such migration" in failed.stdout
    assert checkout.file("processes.json") == []
    assert checkout.stack("status").stdout.strip() == "Not up."
