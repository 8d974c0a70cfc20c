"""A row of the fault bars: what is done to the system, what is measured, and what has to come of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.storm import effects
from tests.storm.book import Book
from tests.storm.entry import entry
from tests.system.stack import Stack

PATIENT = 5
"""What a deadline of the contract is multiplied by in tests that are no measurement."""


@dataclass(frozen=True)
class Trial:
    """One run of a row. `chance`: all that is left to chance. `quick`: the small variant. `slack`: what deadlines are
    multiplied by. `sabotaged`: names in `tests.storm.sabotage`, or nothing. `redis_options`: over those of the row."""

    folder: Path
    chance: random.Random
    quick: bool = False
    slack: int = 1
    sabotaged: str = ""
    redis_options: Mapping[str, str] = field(default_factory=dict)

    def pick(self, full: int, quick: int) -> int:
        """A size."""
        return quick if self.quick else full

    @contextmanager
    def stack(
        self, redis_options: Mapping[str, str] | None = None, api_processes: int = 3, **settings: Any
    ) -> Iterator[Stack]:
        """A system of its own, sabotaged where this is a control, with an effect log. The order timing rule is off
        unless a row asks for it: it would refuse a second effect, and so hide it."""
        options = {**(redis_options or {}), **self.redis_options}
        more = {"order_window_scope": "off", **settings}
        with Stack.started(self.folder, options, entry(self.sabotaged), api_processes, **more) as started:
            effects.install(started)
            yield started


def book_of(stack: Stack) -> Book:
    """A book of somebody new."""
    return Book(stack.person(), stack.settings.secret_key)


@dataclass
class Result:
    """What came of a trial. `figures`: in words. `missed`: what is not as the bar wants it; nothing, where it is met."""

    figures: str
    missed: list[str] = field(default_factory=list)

    def want(self, met: bool, otherwise: str) -> None:
        """Note a miss."""
        if not met:
            self.missed.append(otherwise)


@dataclass(frozen=True)
class Control:
    """A negative control: the small variant against a system without a safeguard. `shows`: a word of the miss that has
    to come of it. `sabotaged`: what is taken away, or `redis_options`: settings of Redis that take it away."""

    shows: str
    sabotaged: str = ""
    redis_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """`bar`: what has to come of it, in the words of the bars."""

    name: str
    bar: str
    run: Callable[[Trial], Result]
    controls: tuple[Control, ...] = ()
