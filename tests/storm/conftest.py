"""Small storms may take as long as their own deadlines allow, which are the contract's, five times over."""

from __future__ import annotations

from pathlib import Path

import pytest

SECONDS = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(SECONDS))
