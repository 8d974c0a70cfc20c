"""Things done by several threads, or by one beside a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S")


def at_once(work: Callable[[int], T], count: int) -> list[T]:
    """Do something `count` times, all at the same moment, by a thread each."""
    barrier = threading.Barrier(count)

    def one(number: int) -> T:
        barrier.wait(30)
        return work(number)

    return by_threads(count, one, range(count))


def by_threads(threads: int, work: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Results in order of the items; the first error that a thread raised is raised."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def parts(items: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    """The items in `count` parts."""
    return (items[start::count] for start in range(count))


@contextmanager
def again_and_again(work: Callable[[], object], pause: float) -> Iterator[None]:
    """Do something in a thread for the length of the block, with pauses of so many seconds. Raises what it raised."""
    stop, raised = threading.Event(), []

    def run() -> None:
        try:
            while not stop.wait(pause):
                work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    if raised:
        raise raised[0]
