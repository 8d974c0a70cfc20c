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
from typing import Any

import hiredis
from redis import Redis
from redis.connection import ConnectionInterface as Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from jobs.kernel import broker
from jobs.kernel.scripts import script

TOGETHER = 64
"""Calls sent at once; a longer train would keep its first waiting for its last."""

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


class Calls:
    """One script, to be called by any number of threads or greenlets of one process."""

    def __init__(self, redis: Redis, path: Path) -> None:
        self._pool = redis.connection_pool
        self._script = script(redis, path)
        self._waiting: deque[Call] = deque()
        self._free = Lock()
        self._connection: Connection | None = None
        self._process = 0

    def __call__(self, args: Sequence[Argument]) -> Any:
        """The script's reply. Raises one of `broker.LOST` when none came, ResponseError when Redis refused."""
        call = Call(hiredis.pack_command(("EVALSHA", self._script.sha, 0, *args)))  # type: ignore[arg-type]
        self._waiting.append(call)
        # Under gevent an attempt that fails would give way to everybody else before it says so.
        if self._free.locked() or not self._free.acquire(blocking=False):
            self._wait(call)
        if not call.answered:
            self._lead()
        if isinstance(call.error, NoScriptError):  # forgotten by a Redis that was started anew
            return self._script(args=args)
        if call.error is not None:
            raise call.error
        return call.reply

    def _wait(self, call: Call) -> None:
        try:
            call.told.wait()
        except BaseException:  # this thread is to end: it must not take the connection with it
            if not call.answered:
                self._waiting.remove(call)
                if call.told.is_set():
                    self._hand_over()
            raise

    def _lead(self) -> None:
        """Exchange what waits, this thread's own call among it, and leave the connection to who comes next."""
        together = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER))]
        try:
            self._exchange(together)
        finally:
            for call in together:
                call.told.set()
            self._hand_over()

    def _hand_over(self) -> None:
        while not self._waiting:
            self._free.release()
            if not self._waiting or not self._free.acquire(blocking=False):
                return  # nobody came in between, or who came has found it free
        self._waiting[0].told.set()

    def _exchange(self, together: Sequence[Call]) -> None:
        connection = self._of_this_process()
        try:
            self._make_ready(connection)
            connection.send_packed_command([b"".join([call.packed for call in together])], False)  # type: ignore[no-untyped-call]
            for call in together:
                try:
                    call.answer(connection.read_response())
                except ResponseError as refused:
                    call.answer(error=refused)
        except broker.LOST as lost:
            self._lose(connection, together, lost)
        except BaseException:
            self._lose(connection, together, RedisConnectionError("given up halfway"))
            raise

    def _lose(self, connection: Connection, together: Sequence[Call], lost: Exception) -> None:
        """Tell all whose replies will not come; and those who wait, who would meet the same after a time-out each."""
        connection.disconnect()  # type: ignore[no-untyped-call]
        for call in together:
            if not call.answered:
                call.answer(error=lost)
        while self._waiting:
            call = self._waiting.popleft()
            call.answer(error=lost)
            call.told.set()

    def _of_this_process(self) -> Connection:
        """The connection; it need not be connected yet."""
        if self._connection is None or self._process != os.getpid():
            self._connection, self._process = self._pool.make_connection(), os.getpid()
        return self._connection

    @staticmethod
    def _make_ready(connection: Connection) -> None:
        """Connect, or connect anew where the server has closed the connection since."""
        connection.connect()  # type: ignore[no-untyped-call]
        try:
            stale = connection.can_read()
        except broker.LOST:
            stale = True
        if stale:
            connection.disconnect()  # type: ignore[no-untyped-call]
            connection.connect()  # type: ignore[no-untyped-call]
