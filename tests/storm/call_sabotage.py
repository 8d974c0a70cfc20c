"""Sabotage of calls, and of the way to the carrier; see `tests.storm.sabotage`."""

from __future__ import annotations

from typing import Any

from tests.storm.sabotage import sabotage, take_away


@sabotage
def asks_forgotten() -> None:
    """A call comes again whose worker died while it asked for it, and nobody remembers that it was asked for."""
    from jobs.call_book import CallBook
    from models.call import Status

    opened = CallBook.open

    def forgetful(self: Any, *named: Any) -> Any:
        call = opened(self, *named)
        if call.status == Status.DIALING and call.sid is None:
            call.asked_at = None
        return call

    take_away(CallBook, "open", forgetful)


@sabotage
def lost_is_busy() -> None:
    """An answer that was lost is taken for one that says to ask again."""
    from jobs import calls
    from jobs.kernel.ports import Busy, Lost

    end = calls._without_a_call

    def hopeful(call_id: Any, asks: int, answer: Exception) -> Any:
        return end(call_id, asks, Busy() if isinstance(answer, Lost) else answer)

    take_away(calls, "_without_a_call", hopeful)


@sabotage
def carrier_asked_twice() -> None:
    """The client of the carrier asks again by itself where no answer came, as many do."""
    from jobs.kernel.ports import Lost
    from workers.twilio import Connections

    request = Connections.request

    def insistent(self: Any, *args: Any, **named: Any) -> Any:
        try:
            return request(self, *args, **named)
        except Lost:
            return request(self, *args, **named)

    take_away(Connections, "request", insistent)


@sabotage
def no_insisting() -> None:
    """Nobody asks, in the last moment before a call is asked for, whether it is still theirs to ask for."""
    from workers.outside import Outside

    take_away(Outside, "insist", lambda self: None)


@sabotage
def no_circuit() -> None:
    """Whoever comes is let through, however often the service has failed."""
    from contextlib import contextmanager

    from workers.gate import Gate, Leave

    @contextmanager
    def open_to_all(self: Any, *, turn: str | None = None) -> Any:
        yield Leave("", b"", probe=False, counted=False, wait=0)

    take_away(Gate, "enter", open_to_all)
