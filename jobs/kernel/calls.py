"""Calls of one script over one connection, which all who call at the same moment share.

Whoever finds the connection free takes everybody's calls that wait, sends them together, reads the replies, and leaves
the connection to the first of those who came meanwhile. So nobody waits when nobody is there; and under load what a
round trip costs, on both sides of it, is paid once for many.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Lock
from time import monotonic
from typing import Any
from weakref import WeakSet

import hiredis
from redis import Redis
from redis.connection import ConnectionInterface as Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from jobs.kernel import broker
from jobs.kernel.scripts import script

TOGETHER = 64
"""Calls sent at once; a longer train would keep its first waiting for its last."""

FRESH = 0.05
"""Seconds for which a connection that has answered is not looked at before it is used again: the look costs, under
gevent, more than the sending."""

Argument = str | bytes | int


class Call:
    """One call on its way. `told`: it is answered; or it is not, and the connection is its own to use."""

    __slots__ = ("answered", "error", "packed", "reply", "told")

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self.told = Event()
        self.answered = False
        self.reply: Any = None
        self.error: Exception | None = None

    def answer(self, reply: Any = None, error: Exception | None = None) -> None:
        self.reply, self.error, self.answered = reply, error, True

    def result(self) -> Any:
        """The reply. Raises the error: one like it, because one that is kept, and shared, would keep all it passes."""
        if self.error is not None:
            raise another(self.error)
        return self.reply


class Calls:
    """One script, to be called by any number of threads or greenlets of one process; a process that is forked off begins
    with a connection of its own."""

    def __init__(self, redis: Redis, path: Path) -> None:
        self._pool = redis.connection_pool
        self._script = script(redis, path)
        self.begin()
        everyone.add(self)

    def begin(self) -> None:
        """Nobody waits, and there is no connection yet."""
        self._waiting: deque[Call] = deque()
        self._free = Lock()
        self._connection: Connection | None = None
        self._heard = 0.0

    def __call__(self, args: Sequence[Argument]) -> Any:
        """The script's reply. Raises one of `broker.LOST` when none came, ResponseError when Redis refused."""
        # hiredis says "a tuple of one" where it takes any.
        call = Call(hiredis.pack_command(("EVALSHA", self._script.sha, 0, *args)))  # type: ignore[arg-type]
        self._waiting.append(call)
        try:
            # Under gevent an attempt that fails would give way to everybody else before it says so.
            leads = not self._free.locked() and self._free.acquire(blocking=False)
            if not leads:
                call.told.wait()
                leads = not call.answered
        except BaseException:  # this thread is to end: it must not take the connection with it
            self._withdraw(call)
            raise
        if leads:
            self._lead(call)
        if isinstance(call.error, NoScriptError):  # forgotten by a Redis that was started anew
            return self._load_and_call(args)
        return call.result()

    def _withdraw(self, call: Call) -> None:
        if call.answered:
            return
        try:
            self._waiting.remove(call)
        except ValueError:  # it is under way, and will be answered to nobody
            return
        if call.told.is_set():
            self._hand_over()

    def _lead(self, own: Call) -> None:
        """Exchange what waits until the leader's own call is answered, and leave the connection to who comes next.

        It may be answered already, by who led before; and there may be more than TOGETHER before it."""
        try:
            while not own.answered:
                together = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER))]
                self._exchange(together)
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        while not self._waiting:
            self._free.release()
            if not self._waiting or not self._free.acquire(blocking=False):
                return  # nobody came in between, or who came has found it free
        self._waiting[0].told.set()

    def _exchange(self, together: Sequence[Call]) -> None:
        """Answer all of them, whatever happens."""
        try:
            connection = self._ready()
            connection.send_packed_command([b"".join([call.packed for call in together])], False)
            for call in together:
                try:
                    call.answer(connection.read_response())
                except ResponseError as refused:
                    call.answer(error=another(refused))
            self._heard = monotonic()
        except broker.LOST as lost:
            self._disconnect()
            self._lose(together, lost)
        except BaseException:  # this thread is to end: replies still to come must be taken for nobody else's
            self._disconnect()
            raise
        finally:
            for call in together:
                if not call.answered:
                    call.answer(error=RedisConnectionError("given up halfway"))
                call.told.set()

    def _lose(self, together: Sequence[Call], lost: Exception) -> None:
        """Tell all whose replies will not come; and those who wait, who would meet the same after a time-out each."""
        for call in together:
            if not call.answered:
                call.answer(error=another(lost))
        while self._waiting:
            call = self._waiting.popleft()
            call.answer(error=another(lost))
            call.told.set()

    def _load_and_call(self, args: Sequence[Argument]) -> Any:
        try:
            return self._script(args=args)
        except NoScriptError:  # and again at once: like a Redis that was lost, it has done nothing
            raise RedisConnectionError("the script was forgotten twice") from None

    def _ready(self) -> Connection:
        """The connection: made, or connected anew where the server has closed it since."""
        if self._connection is None:
            self._connection = self._pool.make_connection()
        connection = self._connection
        connection.connect()
        if monotonic() - self._heard > FRESH and _has_ended(connection):
            connection.disconnect()
            connection.connect()
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()


def another(error: Exception) -> Exception:
    """An exception like this one that was not raised yet."""
    return type(error)(*error.args)


def _has_ended(connection: Connection) -> bool:
    """Whether the server has closed it: there is nothing else to read between calls."""
    try:
        return bool(connection.can_read())
    except broker.LOST:
        return True


everyone: WeakSet[Calls] = WeakSet()


def _begin_anew() -> None:
    for calls in everyone:
        calls.begin()


os.register_at_fork(after_in_child=_begin_anew)
