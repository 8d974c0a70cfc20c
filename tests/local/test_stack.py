"""`python -m local.stack`, in a checkout of its own with small stand-ins for the service's processes."""

from __future__ import annotations

import shutil
import signal
import socket
from contextlib import closing
from urllib.parse import urlsplit

import psycopg2
import pytest
import requests

from local.processes import alive, wait_until
from tests.local.checkout import RELEASE, Checkout, clone


def test_a_running_stack_describes_itself_to_its_owner_only(running: Checkout) -> None:
    described = running.file("stack.json")
    assert (running.root / ".local" / "stack.json").stat().st_mode & 0o777 == 0o600
    assert list(described) == [
        *("base_url", "database_url", "read_database_url", "write_database_url", "redis_url"),
        *("carrier", "users", "processes"),
    ]
    assert [(user["email"], user["role"]) for user in described["users"]] == [
        ("admin@example.com", "admin"),
        ("user@example.com", "user"),
        ("other@example.com", "user"),
    ]
    names = [process["name"] for process in described["processes"]]
    assert names == ["postgres", "redis", "carrier", "web", "worker", "calls", "deliveries", "scheduler"]
    assert requests.get(described["base_url"] + "/readyz", timeout=5).json()["environment"] == "local"


URLS = ("DATABASE_URL", "READ_DATABASE_URL", "WRITE_DATABASE_URL", "REDIS_URL")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("web", {"READ_DATABASE_URL": "millrace_reader", "REDIS_URL": "api"}),
        ("worker", {"WRITE_DATABASE_URL": "millrace_writer", "REDIS_URL": "worker"}),
        ("calls", {"WRITE_DATABASE_URL": "millrace_writer", "REDIS_URL": "worker"}),
        ("deliveries", {"WRITE_DATABASE_URL": "millrace_writer", "REDIS_URL": "worker"}),
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
