"""A pipeline to Redis: scripts are called ahead of reading their replies, which come in the same order.

While Redis does what one batch needs, its worker goes on with another. One thread uses a pipeline.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import hiredis
from redis import Redis
from redis.commands.core import Script
from redis.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from jobs.kernel import broker
from jobs.kernel.failpoints import Point, reach

Command = tuple[Any, ...]


class Call:
    """One call of a script that is under way, or over. `first`: a command to be done before it; its reply says nothing,
    but where it is refused, so is the call."""

    def __init__(self, pipeline: Pipeline, script: Script, args: list[Any], first: Command = ()) -> None:
        self._pipeline = pipeline
        self._script = script
        self._args = args
        self._first = first
        self._over = False
        self._value: Any = None
        self._error: Exception | None = None

    def send(self, connection: Connection) -> None:
        packed = hiredis.pack_command(("EVALSHA", self._script.sha, 0, *self._args))
        if self._first:
            packed = hiredis.pack_command(self._first) + packed
        connection.send_packed_command([packed])

    def read(self, connection: Connection) -> None:
        """Take the replies, which are the next ones of the connection."""
        value, error = None, None
        for _ in range(2 if self._first else 1):
            try:
                value = connection.read_response()
            except ResponseError as refusal:
                error = error or refusal
        self.end(value, error)

    def end(self, value: Any = None, error: Exception | None = None) -> None:
        self._over, self._value, self._error = True, value, error

    def reply(self) -> Any:
        """What the script returned. Raises one of broker.LOST, also where an earlier call of the pipeline was lost,
        or ResponseError."""
        while not self._over:
            self._pipeline.read()
        if isinstance(
            self._error, NoScriptError
        ):  # Redis was restarted: it was not run, and is so now, out of its turn
            return self._script(args=self._args)
        if self._error is not None:
            raise self._error
        return self._value


class Pipeline:
    """Calls of scripts over one connection of its own; made anew when it is lost, with every call under way."""

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool
        self._connection: Connection | None = None
        self._under_way: deque[Call] = deque()

    def call(self, script: Script, args: list[Any], begins: Point | None = None, first: Command = ()) -> Call:
        """Send a call. Raises nothing: `reply` does. `begins`: the fail point of sending it. `first`: a command that
        Redis is to do before, and that may keep it waiting: what was sent behind it waits for its end."""
        call = Call(self, script, args, first)
        self._under_way.append(call)
        try:
            if begins is not None:
                reach(begins)
            if self._connection is None:
                self._connection = self._pool.get_connection()
            call.send(self._connection)
        except broker.LOST as lost:
            self._drop(lost)
        return call

    def read(self) -> None:
        """Read the next call's reply."""
        try:
            if self._connection is None:
                raise RedisConnectionError("not connected")
            self._under_way[0].read(self._connection)
            self._under_way.popleft()
        except broker.LOST as lost:
            self._drop(lost)

    def _drop(self, lost: Exception) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None
        while self._under_way:
            self._under_way.popleft().end(error=lost)
