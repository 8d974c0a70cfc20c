"""Work beside greenlets: whose line is too long is sent away at once."""

from __future__ import annotations

import pytest
from gevent import monkey

from api import threads
from jobs.kernel.errors import Overloaded


def test_a_line_that_is_too_long_is_not_joined_and_keeps_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monkey, "is_module_patched", lambda _: True)
    monkeypatch.setitem(threads.waiting, "writes", threads.LINE)
    with pytest.raises(Overloaded):
        threads.beside_greenlets(lambda: 1, "writes")
    assert threads.beside_greenlets(lambda: 1, "sign-in") == 1
    assert threads.waiting == {"sign-in": 0, "writes": threads.LINE, "metrics": 0}
