"""Fail points stand in the code, and only tests arm them."""

from __future__ import annotations

import ast
from pathlib import Path

from jobs.kernel.failpoints import Point

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCTION = ("api", "deploy", "jobs", "local", "models", "workers")
DECLARED_IN = ROOT / "jobs" / "kernel" / "failpoints.py"


def nodes() -> list[ast.AST]:
    """Every node of the code that runs in production, but for where fail points are declared."""
    files = [ROOT / "config.py", *(path for room in PRODUCTION for path in (ROOT / room).rglob("*.py"))]
    return [node for file in files if file != DECLARED_IN for node in ast.walk(ast.parse(file.read_text()))]


def test_every_point_is_named_once_on_the_road() -> None:
    named = [
        node.attr
        for node in nodes()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Point"
    ]
    assert sorted(named) == sorted(point.name for point in Point)


def test_nothing_in_production_arms_a_point() -> None:
    imported = {
        alias.name
        for node in nodes()
        if isinstance(node, ast.ImportFrom) and node.module == "jobs.kernel.failpoints"
        for alias in node.names
    }
    assert imported == {"Point", "reach"}
    whole = [node for node in nodes() if isinstance(node, ast.ImportFrom) and node.module == "jobs.kernel"]
    assert not [alias for node in whole for alias in node.names if alias.name == "failpoints"]
    modules = [alias.name for node in nodes() if isinstance(node, ast.Import) for alias in node.names]
    assert "jobs.kernel.failpoints" not in modules
