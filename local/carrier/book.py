"""What the simulator knows: calls, and a ledger of every dial it accepted, which outlives it."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Self
from uuid import uuid4

from local.carrier.faults import ENDINGS, NUMBERS

FINAL = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})


@dataclass(frozen=True, slots=True)
class Hook:
    """Where the carrier tells, or asks, about a call. `method`: GET or POST."""

    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Order:
    """A request to place a call. `events`: which of initiated, ringing, answered and completed to tell `status_hook` of."""

    to: str
    sender: str
    call: str
    voice_hook: Hook | None = None
    status_hook: Hook | None = None
    events: frozenset[str] = frozenset()
    detect_machines: bool = False


@dataclass(frozen=True, slots=True)
class Dial:
    """A line of the ledger: a call that was accepted. `at`: RFC 3339. `call`: what the status URL names as `call`.
    `fault`: what was wrong with it, several joined by `+`; empty: nothing."""

    at: str
    sid: str
    to: str
    sender: str
    call: str
    fault: str

    def line(self) -> bytes:
        told = asdict(self)
        return (
            json.dumps({"from" if name == "sender" else name: value for name, value in told.items()}).encode() + b"\n"
        )

    @classmethod
    def of_line(cls, line: str) -> Self | None:
        """None of a line that was cut short when an earlier run was killed."""
        try:
            told = json.loads(line)
            return cls(sender=told.pop("from"), **told)
        except (ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was received. `kind`: dial, list, fetch, end or other. `status`: as answered; 0: not at all."""

    at: datetime
    method: str
    kind: str
    status: int


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback that was sent. `event`: its CallStatus. `answered`: the HTTP status that came back; 0: none did."""

    at: datetime
    sid: str
    event: str
    sequence: int
    answered: int


@dataclass(slots=True)
class Call:
    """A call, with `status` in Twilio's words and `initiated` besides. `ending`: how it ends where nobody interferes.
    `twiml`: what its voice URL answered. `outbox`: callbacks that wait to be sent. Its `lock` guards all of it."""

    order: Order
    sid: str = field(default_factory=lambda: "CA" + uuid4().hex)
    faults: frozenset[str] = frozenset()
    status: str = "queued"
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    twiml: str = ""
    told: int = 0
    telling: bool = False
    outbox: deque[dict[str, str]] = field(default_factory=deque)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def ending(self) -> str:
        scripted = NUMBERS.get(self.order.to[-4:], "")
        return scripted if scripted in ENDINGS else "completed"

    @property
    def answered_by(self) -> str | None:
        if not self.order.detect_machines or not self.answered_at:
            return None
        return "machine_start" if NUMBERS.get(self.order.to[-4:]) == "machine" else "human"

    @property
    def duration(self) -> int | None:
        """Seconds begun; none while it lasts, 0 where nobody answered."""
        if not self.ended_at:
            return None
        return ceil((self.ended_at - self.answered_at).total_seconds()) if self.answered_at else 0


class Book:
    """All calls, and the ledger. `ledger`: a file of JSON lines that is only ever added to; none: it is kept in memory.

    Calls that an earlier run accepted are known from the ledger, and have ended.
    """

    def __init__(self, ledger: Path | None) -> None:
        self.dials: list[Dial] = []
        self.calls: dict[str, Call] = {}
        self._lock = threading.Lock()
        self._ledger: int | None = None
        if ledger:
            self._recall(ledger)
            self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def accept(self, order: Order, faults: frozenset[str]) -> Call:
        """A new call, in the ledger already when this returns."""
        call = Call(order, faults=faults)
        at = call.created_at.isoformat().replace("+00:00", "Z")
        dial = Dial(at, call.sid, order.to, order.sender, order.call, "+".join(sorted(faults)))
        with self._lock:
            if self._ledger is not None:
                os.write(self._ledger, dial.line())
            self.dials.append(dial)
            self.calls[call.sid] = call
        return call

    def newest_first(self) -> list[Call]:
        with self._lock:
            return list(reversed(self.calls.values()))

    def close(self) -> None:
        if self._ledger is not None:
            os.close(self._ledger)
            self._ledger = None

    def _recall(self, ledger: Path) -> None:
        kept = ledger.read_text() if ledger.exists() else ""
        if kept and not kept.endswith("\n"):
            with ledger.open("a") as file:
                file.write("\n")
        for dial in filter(None, map(Dial.of_line, kept.splitlines())):
            at = datetime.fromisoformat(dial.at)
            call = Call(Order(dial.to, dial.sender, dial.call), dial.sid, created_at=at, started_at=at, ended_at=at)
            call.status = call.ending
            self.dials.append(dial)
            self.calls[call.sid] = call
