"""The Procfile, the compose file, the Dockerfile and .env.example say the same, and what config.Settings says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import Settings
from local.postgres import READER, WRITER
from local.redis import RULES as LOCAL_USERS
from local.redis import SETTINGS as LOCAL_REDIS
from local.supervisor import read_procfile

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = read_procfile(ROOT / "Procfile")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN")


def test_every_process_is_a_service_and_every_other_service_a_server() -> None:
    assert set(SERVICES) - {"postgres", "redis"} == set(PROCESSES)


@pytest.mark.parametrize("name", PROCESSES)
def test_compose_runs_the_command_of_the_procfile(name: str) -> None:
    command = SERVICES[name]["command"]
    if command[:2] == ["sh", "-c"]:
        assert command[2] == PROCESSES[name]
    else:
        assert command == shlex.split(PROCESSES[name])


def test_the_image_starts_the_web_process_by_default() -> None:
    command = re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert command is not None
    assert yaml.safe_load(command[1]) == shlex.split(PROCESSES["web"])


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE) == ["millrace"]


def test_the_image_gets_exactly_what_the_processes_need() -> None:
    copied = {word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert {"api", "jobs", "models", "workers", "migrations", "deploy", "config.py", "requirements.txt"} <= copied


@pytest.mark.parametrize("name", PROCESSES)
def test_a_service_sets_only_settings_that_exist(name: str) -> None:
    assert {key for key, value in SERVICES[name]["environment"].items() if value} <= set(SETTINGS)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("release", {"DATABASE_URL": "millrace", "READ_DATABASE_URL": READER, "WRITE_DATABASE_URL": WRITER}),
        ("web", {"READ_DATABASE_URL": READER, "REDIS_URL": "api"}),
        ("worker", {"WRITE_DATABASE_URL": WRITER, "REDIS_URL": "worker"}),
        ("calls", {"WRITE_DATABASE_URL": WRITER, "REDIS_URL": "worker"}),
        ("deliveries", {"WRITE_DATABASE_URL": WRITER, "REDIS_URL": "worker"}),
        ("scheduler", {"REDIS_URL": "worker"}),
    ],
)
def test_a_service_is_told_of_its_own_roles_and_of_no_other_password(name: str, roles: dict[str, str]) -> None:
    """All of `.env` is in its environment, but for what that says otherwise."""
    told = dict.fromkeys(filter(SECRET.search, EXAMPLE), "filled in") | SERVICES[name]["environment"]
    assert {key: found[1] for key, value in told.items() if (found := re.search(r"://(\w+):\$", value))} == roles
    assert {key for key, value in told.items() if SECRET.search(key) and value} <= set(SETTINGS)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(
    ("setting", "whose"),
    [
        ("TWILIO_ACCOUNT_SID", ("web", "calls")),
        ("TWILIO_AUTH_TOKEN", ("web", "calls")),
        ("EVENT_SINK_URL", ("worker", "deliveries")),
        ("METRICS_TOKEN", ("web",)),
    ],
)
def test_only_who_needs_it_knows_the_way_to_a_service_outside(name: str, setting: str, whose: tuple[str, ...]) -> None:
    expected = f"${{{setting}:-}}" if name in whose else ""
    assert SERVICES[name]["environment"][setting] == expected


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_a_password_of_its_own(name: str) -> None:
    for key, value in SERVICES[name]["environment"].items():
        if value and (SECRET.search(key) or "://" in value):
            assert "${" in value, key
            for variable in re.findall(r"\$\{([^}]+)\}", value):
                assert re.fullmatch(r"\w+(:\?.+|:-)", variable), f"{key} is neither required nor empty by default"


def test_processes_wait_for_the_release_and_the_release_for_the_servers() -> None:
    waits = {
        name: {other: how["condition"] for other, how in SERVICES[name]["depends_on"].items()} for name in PROCESSES
    }
    assert waits.pop("release") == {"postgres": "service_healthy", "redis": "service_healthy"}
    assert all(wait == {"release": "service_completed_successfully"} for wait in waits.values())


def test_workers_get_longer_to_stop_than_they_need() -> None:
    assert all(int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > 25 for name in PROCESSES)


def test_the_redis_service_keeps_what_it_acknowledged_like_the_local_one() -> None:
    options = [word for word in SERVICES["redis"]["command"][1:] if not word.startswith("--user ")]
    given = {name.removeprefix("--"): value for name, value in zip(options[::2], options[1::2], strict=True)}
    newer_name = {"hash-max-ziplist-entries": "hash-max-listpack-entries"}
    newer_name["hash-max-ziplist-value"] = "hash-max-listpack-value"
    local = {newer_name.get(name, name): value.strip('"') for name, value in LOCAL_REDIS.items()}
    assert given.items() <= local.items()
    assert given["appendfsync"] == "always"
    assert given["maxmemory-policy"] == "noeviction"


def test_the_redis_service_has_the_users_of_the_local_one() -> None:
    user = re.compile(r"--user (\w+) on >\$\{(\w+):\?[^}]+\} (.+)")
    users = [found.groups() for word in SERVICES["redis"]["command"] if (found := user.fullmatch(word))]
    assert {name: rules for name, _, rules in users} == LOCAL_USERS
    assert [password for _, password, _ in users] == ["REDIS_PASSWORD", "REDIS_API_PASSWORD", "REDIS_WORKER_PASSWORD"]


def test_the_example_lists_every_setting() -> None:
    assert set(SETTINGS) <= set(EXAMPLE)


def test_the_example_lists_nothing_that_nobody_reads() -> None:
    compose = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    gunicorn = set(re.findall(r'environ\.get\("(\w+)"', (ROOT / "deploy" / "gunicorn.py").read_text()))
    assert set(EXAMPLE) <= set(SETTINGS) | compose | gunicorn


def test_the_example_gives_defaults_and_no_secret() -> None:
    for name, field in SETTINGS.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
        assert EXAMPLE[name] == ("" if SECRET.search(name) else default), name
    assert not any(value for name, value in EXAMPLE.items() if SECRET.search(name))


def test_what_is_required_in_the_compose_file_stands_empty_in_the_example() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    assert {name for name in required if EXAMPLE.get(name) == ""} == required


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-local.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_with_hashes_and_name_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    pinned = re.findall(r"^[a-z0-9][^\s=]*==\S+", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 5
    assert text.count("--hash=sha256:") >= len(pinned)
    assert not re.search(r"https?://|file:|--index|--find-links", text)
