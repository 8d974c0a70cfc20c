"""Ports: what a job may use beside PostgreSQL. Workers bring what stands behind them, so that no kind knows whose it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from config import Settings
from jobs.kernel.context import Context
from jobs.kernel.outcome import Outcome
from jobs.kernel.rerun import DeadLetter, Rerun

CARRIER = "carrier"
"""The circuit, and the rate, of whoever places calls."""

EVENT_SINK = "event_sink"
"""The circuit of whoever events are delivered to."""

CIRCUITS = (CARRIER, EVENT_SINK)
"""Every circuit there is."""

Conclusion = Callable[[Context], Outcome]
"""The last step of a job, in the transaction that its receipt is written in. Rejected and its kin may be raised, and take
back what it has written; an outcome that is returned does not."""


class Trouble(Exception):
    """A service does not do what it is for. It counts against the service's circuit. Where it has a text, that says what the
    service did, behind its name."""


class Unreached(Trouble):
    """No connection was made: nothing was asked."""


class Busy(Trouble):
    """Too much was asked: nothing was done, and it can be asked again later."""


class Lost(Trouble):
    """It was asked, and no answer came that says what it did."""


class Refused(Exception):
    """It said no, for good, and did nothing. `code`: the service's own; `reason`: a sentence for people, which names nobody."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"refused with {code}")


class Denied(Refused, Trouble):
    """It said no to us, whoever is asked for: the account is wrong."""


class LeaseLost(Exception):
    """The lease of the job ran out: another worker may have it by now, and nothing more may be done for it here."""


@dataclass(frozen=True, slots=True)
class Dial:
    """A call to place. `to`: E.164. `status_url`, `voice_url`: where the carrier tells what becomes of it, and asks what to say."""

    to: str
    status_url: str
    voice_url: str


@dataclass(frozen=True, slots=True)
class Placed:
    """A call as the carrier has it. `status`: in our words (`models.call.Status`). `duration`: seconds, once it is over."""

    sid: str
    status: str
    created_at: datetime | None = None
    duration: int | None = None
    answered_by: str | None = None


class Carrier(Protocol):
    """Whoever places calls. Every method raises Trouble, or Refused."""

    def place(self, dial: Dial) -> Placed:
        """Place a call; asked once, never again by itself."""

    def find(self, to: str, since: datetime) -> list[Placed]:
        """All calls from our number to `to` that were created at `since` or later, those that wait included."""

    def fetch(self, sid: str) -> Placed | None:
        """One call, as it is now; None where the carrier tells of no such call. Raises Trouble alone."""

    def end(self, sid: str, status: str) -> Placed:
        """End a call: `canceled` while nobody has answered, `completed` also then."""

    def check(self) -> None:
        """Ask for something that changes nothing, to see whether it answers."""


class Sink(Protocol):
    """Whoever events are delivered to as well."""

    def deliver(self, event_id: UUID, body: bytes) -> None:
        """Hand over an event, as JSON; the same again under the same id does no harm there. Raises Trouble, with a text, and
        Refused where it would say the same of this event for ever."""


class Permit(Protocol):
    """Leave to ask a service once. `probe`: it is the one that shows whether the service has come back."""

    @property
    def probe(self) -> bool: ...


class Outside(Protocol):
    """What `Command.conduct` works with; one for each execution."""

    @property
    def settings(self) -> Settings: ...

    @property
    def carrier(self) -> Carrier:
        """Raises Rejected (`calls_not_configured`) where no account is."""

    @property
    def sink(self) -> Sink:
        """Raises Trouble where there is none: one that is only missing here, or for now, is to be waited for."""

    def transaction(self) -> AbstractContextManager[Context]:
        """One transaction, committed when the block ends, rolled back when it raises."""

    def enter(self, circuit: str, *, turn: str | None = None) -> AbstractContextManager[Permit]:
        """Leave to ask a service, for the length of a block. Trouble that is raised in it counts as the service's failure;
        Refused, or nothing, as its success; anything else as neither.

        `turn`: an id under which a turn at the service's rate is kept, for what the rate counts.
        Raises Snooze where the circuit is open, or it is not yet this one's turn.
        """

    def rerun(self, letters: Sequence[DeadLetter]) -> list[Rerun]:
        """Run failed jobs again, which can be; what came of each, in order. Raises what Redis raises."""

    def known(self, job_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the jobs that are still to be carried out, or just over. Raises what Redis raises."""

    def insist(self) -> None:
        """Raises LeaseLost where the lease may be another worker's by now. For the moment before what happens once."""
