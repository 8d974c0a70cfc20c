"""The architecture, as checks that fail: rooms, sizes, and who may call whom. Imports are import-linter's business."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobs
from jobs.kernel import registry

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("api", "jobs", "models", "workers", "local")
LONGEST = 260


def sources(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from (ROOT / room).rglob("*.py")


def calls(path: Path) -> Iterator[str]:
    """The names of methods a file calls."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr


@pytest.mark.parametrize("method", ["handle", "handle_many", "conduct"])
def test_only_workers_carry_commands_out(method: str) -> None:
    callers = {path.relative_to(ROOT).parts[0] for path in sources(*ROOMS) if method in set(calls(path))}
    assert callers == {"workers"}


def test_no_file_outgrows_its_duty() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(*ROOMS)}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_every_file_says_what_it_is_for() -> None:
    mute = [
        str(path.relative_to(ROOT)) for path in sources(*ROOMS) if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert mute == []


def test_every_script_names_its_arguments_and_returns() -> None:
    for path in ROOT.glob("*/**/*.lua"):
        if {".venv", ".local"} & set(path.parts):
            continue
        head = "\n".join(line for line in path.read_text().splitlines()[:8] if line.startswith("--"))
        assert head, f"{path.name} does not say what it does"
        if "ARGV" in path.read_text():
            assert "ARGV" in head, f"{path.name} does not name its arguments"


def test_the_catalogue_of_kinds_changes_only_on_purpose() -> None:
    """Names are stable: queued jobs and receipts bear them. A kind that goes keeps its name as an alias."""
    jobs.load()
    routes = {
        command.kind: command.route and f"{command.route.method} {command.route.path}" for command in registry.every()
    }
    assert routes == {
        "orders.place": "POST /v1/orders",
        "orders.replace": "PUT /v1/orders/{id}",
        "orders.amend": "PATCH /v1/orders/{id}",
        "orders.delete": "DELETE /v1/orders/{id}",
        "calls.place": "POST /v1/calls",
        "calls.cancel": "PATCH /v1/calls/{id}",
        "calls.record_status": None,
        "calls.reconcile": None,
        "tasks.mark_overdue": None,
        "events.record": "POST /v1/events",
        "events.deliver": None,
        "events.sweep": None,
        "users.register": "POST /v1/auth/register",
        "users.create": "POST /v1/users",
        "users.import": None,
        "users.amend": "PATCH /v1/users/{id}",
        "users.delete": "DELETE /v1/users/{id}",
        "users.rehash": None,
        "tasks.create": "POST /v1/tasks",
        "tasks.amend": "PATCH /v1/tasks/{id}",
        "tasks.delete": "DELETE /v1/tasks/{id}",
        "tasks.batch": "POST /v1/tasks/batch",
        "upkeep.prune": None,
    }
