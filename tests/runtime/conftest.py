"""A road whose probes leave their effects in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.kernel import registry
from tests import errands
from tests.probes import KINDS, SCHEMA
from tests.road import Road


@pytest.fixture(autouse=True)
def probes() -> Iterator[None]:
    """Kinds for tests are declared."""
    for kind in KINDS:
        registry.add(kind)
    yield
    for kind in KINDS:
        registry.remove(kind)


@pytest.fixture(autouse=True)
def effects(execute: Callable[..., Any], road: Road) -> Callable[[], dict[str, int]]:
    """How many effects each job has had, by job id."""
    execute(SCHEMA)
    execute(errands.SCHEMA)
    execute("TRUNCATE effects, begun")

    def counted() -> dict[str, int]:
        return dict(execute("SELECT job_id::text, count(*)::int FROM effects GROUP BY 1"))

    return counted


@pytest.fixture
def begun(execute: Callable[..., Any]) -> Callable[[], dict[str, int]]:
    """How often each errand has been begun, by job id."""

    def counted() -> dict[str, int]:
        return dict(execute("SELECT job_id::text, count(*)::int FROM begun GROUP BY 1"))

    return counted
