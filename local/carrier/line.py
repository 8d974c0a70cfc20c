"""The course of a call, from queued to its end, and what is told of it on the way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from math import ceil

from requests import Session

from local.carrier.book import FINAL, Call, Callback
from local.carrier.faults import Chance
from local.carrier.wire import Wire, new_session

EVENTS = {"initiated": "initiated", "ringing": "ringing", "in-progress": "answered"}
"""Under which event a status is told of; every final status is told of as `completed`."""

TWIML = re.compile(r"<Response[\s/>]")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: until a call is initiated, and from then until it rings; how long it rings; how long people talk."""

    queue: float = 0.05
    ring: float = 0.2
    talk: float = 0.5


class Line:
    """Takes calls to their end. `callbacks`: all that were sent."""

    def __init__(self, account_sid: str, wire: Wire, chance: Chance, pace: Pace) -> None:
        self.callbacks: list[Callback] = []
        self._account_sid = account_sid
        self._wire = wire
        self._chance = chance
        self._pace = pace

    def take(self, call: Call) -> None:
        """Set a call going. One with early callbacks rings when this returns, and its owner has been told so."""
        if "early" not in call.faults:
            self._wire.after(self._pace.queue, partial(self._initiate, call))
            return
        self._move(call, "initiated")
        self._move(call, "ringing")
        self._wire.after(self._pace.ring, partial(self._answer, call))
        with new_session() as session:
            self._deliver(call, session)

    def end(self, call: Call, status: str) -> bool:
        """Hang up; whether it was not over yet. Only who has not been answered can be `canceled`."""
        if status == "canceled" and call.status == "in-progress":
            return True
        moved = self._move(call, status)
        self._wire.soon(partial(self._tell, call))
        return moved

    def _initiate(self, call: Call, session: Session) -> None:
        self._move(call, "initiated")
        self._wire.after(self._pace.queue, partial(self._ring, call))
        self._tell(call, session)

    def _ring(self, call: Call, session: Session) -> None:
        if call.ending == "failed":
            self._finish(call, session)
            return
        self._move(call, "ringing")
        self._wire.after(self._pace.ring, partial(self._answer, call))
        self._tell(call, session)

    def _answer(self, call: Call, session: Session) -> None:
        """Somebody answers, and is told what the voice URL says; where that says nothing, the call fails."""
        if call.ending != "completed":
            self._finish(call, session)
            return
        if call.final:
            return
        call.answered_at = datetime.now(UTC)
        told = {**self._about(call), "CallStatus": "in-progress"}
        status, twiml = self._wire.send(session, call.order.voice_hook, told) if call.order.voice_hook else (0, "")
        if not (200 <= status < 300 and TWIML.search(twiml)):
            call.answered_at = None
            self._finish(call, session, "failed")
            return
        call.twiml = twiml
        self._move(call, "in-progress")
        self._wire.after(self._pace.talk, partial(self._finish, call))
        self._tell(call, session)

    def _finish(self, call: Call, session: Session, status: str = "") -> None:
        self._move(call, status or call.ending)
        self._tell(call, session)

    def _move(self, call: Call, status: str) -> bool:
        """Whether it moved: a call that is over stays as it is."""
        with call.lock:
            if call.final:
                return False
            now = datetime.now(UTC)
            call.status = status
            call.started_at = call.started_at or now
            call.ended_at = now if status in FINAL else None
            event = EVENTS.get(status, "completed")
            if event in call.order.events and "mute" not in call.faults:
                call.outbox.append(self._news(call, now))
            return True

    def _about(self, call: Call) -> dict[str, str]:
        order = call.order
        told = {"CallSid": call.sid, "AccountSid": self._account_sid, "CallStatus": call.status, "From": order.sender}
        told |= {"To": order.to, "Caller": order.sender, "Called": order.to, "Direction": "outbound-api"}
        told |= {"ApiVersion": "2010-04-01"}
        return told | ({"AnsweredBy": call.answered_by} if call.answered_by else {})

    def _news(self, call: Call, now: datetime) -> dict[str, str]:
        """A callback's form (https://www.twilio.com/docs/voice/api/call-resource#statuscallback)."""
        told = {**self._about(call), "SequenceNumber": str(call.told), "Timestamp": format_datetime(now)}
        told |= {"CallbackSource": "call-progress-events"}
        call.told += 1
        if call.duration is not None:
            told |= {"CallDuration": str(call.duration), "Duration": str(ceil(call.duration / 60))}
        return told

    def _tell(self, call: Call, session: Session) -> None:
        """Send what waits; or, of a call whose callbacks come in another order, all that waits when it is over."""
        if "reorder" in call.faults:
            with call.lock:
                if not call.final:
                    return
                self._chance.shuffle(call.outbox)
        self._deliver(call, session)

    def _deliver(self, call: Call, session: Session) -> None:
        """One after the other: a call has one thread at a time that tells of it."""
        with call.lock:
            if call.telling:
                return
            call.telling = True
        while True:
            with call.lock:
                if not call.outbox:
                    call.telling = False
                    return
                news = call.outbox.popleft()
            for _ in range(2 if "double" in call.faults else 1):
                self._send(call, news, session)

    def _send(self, call: Call, news: dict[str, str], session: Session) -> None:
        """Once, whatever is answered: Twilio does not ask again either."""
        if hook := call.order.status_hook:
            answered, _ = self._wire.send(session, hook, news)
            event, sequence = news["CallStatus"], int(news["SequenceNumber"])
            self.callbacks.append(Callback(datetime.now(UTC), call.sid, event, sequence, answered))
