"""What goes wrong at the simulator: by chance, or because of the number that is dialed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from random import Random
from typing import Self

NUMBERS = {
    "0101": "busy",
    "0102": "no-answer",
    "0103": "failed",
    "0104": "drop",
    "0105": "limit",
    "0106": "mute",
    "0107": "error",
    "0108": "lose",
    "0109": "reject",
    "0110": "machine",
    "0111": "drop mute",
}
"""The last four digits of a number, and what they bring about; the table in `local.carrier` says it in words."""

ENDINGS = frozenset({"busy", "no-answer", "failed"})
LIMITED = 2
"""How often a number that ends in 0105 is answered with 429, for one call."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How likely each fault is, from 0 to 1. Raises ValueError for anything else.

    Of every request: `refuse` (for so much of every half second nobody listens), `outage` (503), `limit` (429).
    Of a dial, not accepted: `reject` (400, code 21215), `lose` (no answer). Of a dial, accepted: `drop` (no answer), `error`
    (500), `hang` (answered too late), `garbled` (201, but no JSON). A request has one of these at most: the first that
    comes up, in the order in which they stand here.
    Of a call's callbacks: `early` (the first are answered before the dial is), `double` (each is sent twice), `reorder`
    (all are sent at the end, shuffled), `mute` (none is sent).
    """

    refuse: float = 0
    outage: float = 0
    limit: float = 0
    reject: float = 0
    lose: float = 0
    drop: float = 0
    error: float = 0
    hang: float = 0
    garbled: float = 0
    early: float = 0
    double: float = 0
    reorder: float = 0
    mute: float = 0

    def __post_init__(self) -> None:
        if wrong := [field.name for field in fields(self) if not 0 <= getattr(self, field.name) <= 1]:
            raise ValueError(f"{', '.join(wrong)}: should be from 0 to 1")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `drop=0.05,error=0.1`. Raises ValueError."""
        known = {field.name for field in fields(cls)}
        given: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, probability = part.partition("=")
            if name not in known:
                raise ValueError(f"{name} is none of {', '.join(sorted(known))}")
            given[name] = float(probability)
        return cls(**given)


EVERYWHERE = ("outage", "limit")
NOT_ACCEPTED = ("reject", "lose")
ACCEPTED = ("drop", "error", "hang", "garbled")
CALLBACKS = ("early", "double", "reorder", "mute")


class Chance:
    """What strikes now. `faults` may be exchanged at any time; the same seed draws alike, as far as requests come alike."""

    def __init__(self, faults: Faults, seed: int | None) -> None:
        self.faults = faults
        self._random = Random(seed)  # noqa: S311 - faults, not secrets
        self._limited: dict[str, int] = {}

    def of_any_request(self) -> str:
        return self._first(EVERYWHERE)

    def of_a_dial(self, to: str, call: str) -> str:
        """The fault of a request to call a number, or none: the number's own, before chance. `call`: whose dial it is."""
        scripted, *_ = NUMBERS.get(to[-4:], "").split(" ")
        if scripted in NOT_ACCEPTED + ACCEPTED:
            return scripted
        if scripted == "limit" and self._limited.get(call or to, 0) < LIMITED:
            self._limited[call or to] = self._limited.get(call or to, 0) + 1
            return scripted
        return self._first(NOT_ACCEPTED + ACCEPTED)

    def of_callbacks(self, to: str) -> frozenset[str]:
        """The faults of one call's callbacks."""
        struck = {name for name in CALLBACKS if self._strikes(name)}
        return frozenset(struck | {"mute"} if "mute" in NUMBERS.get(to[-4:], "") else struck)

    def shuffle(self, things: deque[dict[str, str]]) -> None:
        """Another order, wherever there is one."""
        before = things.copy()
        self._random.shuffle(things)
        if things == before:
            things.reverse()

    def _first(self, names: tuple[str, ...]) -> str:
        return next((name for name in names if self._strikes(name)), "")

    def _strikes(self, name: str) -> bool:
        return self._random.random() < float(getattr(self.faults, name))
