"""Work that keeps a processor busy, done where it holds up no greenlet."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, TypeVar, cast

from gevent import monkey
from gevent.threadpool import ThreadPool

from jobs.kernel.errors import Overloaded

Whose = Literal["sign-in", "writes", "metrics"]
THREADS: dict[Whose, int] = {"sign-in": 2, "writes": 1, "metrics": 1}
"""Of such work at once in one process: a password's hash takes 64 MiB, and four threads of its own."""

LINE = 32
"""Those who may wait for such work in one process: the last of them for a second or two."""

T = TypeVar("T")


def beside_greenlets(work: Callable[[], T], whose: Whose = "sign-in") -> T:
    """What `work` returns or raises. Where requests share one thread it is done in another, and they go on; `work`
    must touch nothing of theirs. `whose`: neither keeps the other's threads. Raises Overloaded where too many wait."""
    if not monkey.is_module_patched("threading"):
        return work()
    if waiting[whose] >= LINE:
        raise Overloaded
    waiting[whose] += 1
    try:
        done, raised = _pool(whose).apply(_settled, (work,))
    finally:
        waiting[whose] -= 1
    if raised is not None:
        raise raised
    return cast(T, done)


def _settled(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """What it returned or raised: gevent would report what a thread raises as a defect."""
    try:
        return work(), None
    except Exception as raised:  # noqa: BLE001 - raised again where it is waited for
        return None, raised


waiting: dict[Whose, int] = dict.fromkeys(THREADS, 0)
"""Those whose work is waited for in this process."""


@cache
def _pool(whose: Whose) -> ThreadPool:
    """Made when first used, so after any fork; not gevent's own, in which names of hosts are looked up."""
    return ThreadPool(THREADS[whose])
