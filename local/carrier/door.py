"""A port on loopback that can be closed and opened again, so that a connection to it is refused, not just left waiting."""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import threading
from array import array
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

HOST = "127.0.0.1"
BACKLOG = 512
RETRY = 0.05
PERIOD = 0.5
"""Seconds, of which a share can be without anybody listening."""

HANDSHAKE = 0.005
"""Seconds in which a handshake on loopback that has begun is over."""

SO_ATTACH_FILTER = 26
NO_SYN = array("B")
for instruction in [(0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 2**32 - 1)]:
    NO_SYN.frombytes(struct.pack("HBBI", *instruction))
"""A filter for Linux: load byte 13 of the TCP header, its flags; drop the packet where SYN is set; keep any other, with
which a handshake goes on. Source: https://docs.kernel.org/networking/filter.html"""


class Door:
    """Accepts connections, each served and closed by a thread of its own. `port` 0: any that is free."""

    def __init__(self, port: int, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._holder: socket.socket | None = None
        self._listener: socket.socket | None = None
        if sys.platform == "linux":  # where a port is kept by being bound, also while nobody listens
            self._holder = _bound(port)
            port = self._holder.getsockname()[1]
        self._open(port)
        self._share = 0.0
        self._closing = False
        self._bell, self._rope = socket.socketpair()
        self._heard = threading.Event()
        self._thread = threading.Thread(target=self._tend, name="carrier-door", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def refuse(self, share: float) -> None:
        """From now on, refuse connections for this share of every half second; for good where it is 1."""
        self._share = share
        self._ring()

    def close(self) -> None:
        self._closing = True
        if self._thread.is_alive():
            self._ring()
            self._thread.join(5)
        self._shut()
        for held in (self._holder, self._bell, self._rope):
            if held:
                held.close()

    def _ring(self) -> None:
        """Returns when the thread has done what is now to be done."""
        self._heard.clear()
        self._rope.send(b"!")
        if self._thread.is_alive():
            self._heard.wait(5)

    def _tend(self) -> None:
        rung = False
        while not self._closing:
            shut, seconds = self._due()
            if shut:
                self._shut()
            elif not self._listener and not self._open_again():
                seconds = RETRY
            if rung:
                self._heard.set()
            rung = self._wait(seconds)
            self._let_in()
        self._heard.set()

    def _due(self) -> tuple[bool, float | None]:
        """Whether nobody is to listen now, and for how many seconds that holds."""
        if self._share in (0, 1):
            return self._share == 1, None
        phase, until = monotonic() % PERIOD, self._share * PERIOD
        return (True, until - phase) if phase < until else (False, PERIOD - phase)

    def _wait(self, seconds: float | None) -> bool:
        """Until somebody comes, or it rings, or time is up; whether it has rung."""
        with selectors.DefaultSelector() as selector:
            for watched in (self._bell, self._listener):
                if watched:
                    selector.register(watched, selectors.EVENT_READ)
            rung = any(key.fileobj is self._bell for key, _ in selector.select(seconds))
        return rung and bool(self._bell.recv(64))

    def _open_again(self) -> bool:
        """Whether it worked: without a holder, somebody else may have the port for a while."""
        with suppress(OSError):
            self._open(self.port)
        return self._listener is not None

    def _open(self, port: int) -> None:
        try:
            self._listener = _bound(port)
            self._listener.listen(BACKLOG)
        except OSError:
            self._shut()
            raise
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    def _shut(self) -> None:
        """Who has connected already is served, not cut off: to them it would look like an answer that was lost."""
        if self._listener:
            if sys.platform == "linux":  # who comes from now on is not heard, and their kernel asks again in a second
                address, _ = NO_SYN.buffer_info()
                program = struct.pack("HP", len(NO_SYN) // 8, address)
                self._listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
                self._listener.settimeout(HANDSHAKE)
            self._let_in()
            self._listener.close()
            self._listener = None

    def _let_in(self) -> None:
        """All who wait; no more than can wait at once, or who comes again and again would keep it from all else."""
        for _ in range(2 * BACKLOG):
            if not self._listener:
                return
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setblocking(True)
            threading.Thread(target=self._attend, args=[connection], daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the other side may go at any time
            self._serve(connection)


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
    except OSError:
        made.close()
        raise
    return made
