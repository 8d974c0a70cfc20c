"""Which bytes are one request that can be turned away unparsed, and what becomes of a connection at which it is."""

from __future__ import annotations

from collections import deque
from time import monotonic

import gevent
import pytest

from deploy.door import HELD, LONGEST, Door, is_plain
from deploy.shed import READS

HEAD = b"POST /v1/orders HTTP/1.1\r\nHost: x\r\n"
WRITE = HEAD + b"Content-Length: 2\r\n\r\n{}"
READ = b"GET /v1/orders HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n\r\n"
BYTES = 8192


class Client:
    """What comes from a client, in pieces; then it has gone."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = deque(pieces)
        self.answers: list[bytes] = []
        self.sendall = self.answers.append
        self.send = self.recv_into = None

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.popleft()
        if len(piece) > size:
            self.pieces.appendleft(piece[size:])
        return piece[:size]


class Slow(Client):
    """Nothing but the first piece comes soon."""

    def recv(self, size: int) -> bytes:
        if len(self.pieces) == 1:
            gevent.sleep(30)
        return super().recv(size)


class Keeper:
    """Answers to a refused request with its head, so that it can be seen what was known of it."""

    def __init__(self, *, reads: bool = True, writes: bool = True, alive: bool = True) -> None:
        self.reads, self.writes, self.alive = reads, writes, alive
        self.closed: list[bool] = []

    def is_too_much(self, begun: bytes) -> bool:
        return self.reads if begun.startswith(READS) else self.writes

    def refusal(self, head: bytes, *, closes: bool) -> bytes:
        self.closed.append(closes)
        return head


def test_what_is_too_much_is_turned_away_until_it_is_not() -> None:
    client = Client(WRITE, WRITE, READ)
    assert Door(client, Keeper(reads=False), 5).recv(BYTES) == READ
    assert client.answers == [WRITE[:-4], WRITE[:-4]]


@pytest.mark.parametrize("at", [2, 20, 50, len(READ) - 2])
def test_a_head_in_two_pieces_is_answered_when_all_of_it_is_known(at: int) -> None:
    client = Client(READ[:at], READ[at:])
    assert Door(client, Keeper(), 5).recv(BYTES) == b""
    assert client.answers == [READ[:-2]]


def test_a_read_in_two_pieces_is_no_write() -> None:
    client = Client(b"GE", READ[2:])
    assert Door(client, Keeper(reads=False), 5).recv(BYTES) == READ
    assert not client.answers


@pytest.mark.parametrize("more", [b"Expect: 100-continue\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_where_it_shows_in_the_head_that_the_parser_decides_no_body_is_waited_for(more: bytes) -> None:
    begun = HEAD + more + b"Content-Length: 2\r\n\r\n"
    client = Client(begun, b"{}")
    assert Door(client, Keeper(), 5).recv(BYTES) == begun
    assert client.pieces


@pytest.mark.parametrize("begun", [HEAD + b"Content-Length: 9999999\r\n\r\n", HEAD])
def test_no_more_is_read_than_may_be_refused(begun: bytes) -> None:
    client = Client(begun, *[b"x" * BYTES] * 100)
    assert len(Door(client, Keeper(), 5).recv(BYTES)) <= LONGEST
    assert not client.answers


def test_what_is_not_all_there_in_time_is_left_to_the_parser() -> None:
    assert Door(Slow(WRITE[:-1], b"}"), Keeper(), 0.1).recv(BYTES) == WRITE[:-1]


@pytest.mark.parametrize(
    ("request_", "keeper", "patience"),
    [
        (WRITE, Keeper(alive=False), 5.0),
        (WRITE, Keeper(), 0.0),
        (WRITE.replace(b"Host: x", b"Connection: close"), Keeper(), 5.0),
        (WRITE.replace(b"Host: x", b"connection:Close "), Keeper(), 5.0),
        (WRITE.replace(b"HTTP/1.1", b"HTTP/1.0"), Keeper(), 5.0),
        (WRITE.replace(b"HTTP/1.1\r\nHost: x", b"HTTP/1.0\r\nConnection: keep-alive"), Keeper(), 5.0),
    ],
)
def test_the_last_refusal_says_that_it_is_and_ends_the_connection(
    request_: bytes, keeper: Keeper, patience: float
) -> None:
    client = Client(request_, WRITE)
    assert Door(client, keeper, patience).recv(BYTES) == b""
    assert keeper.closed == [True]
    assert client.pieces, "what comes after the end was read"


@pytest.mark.parametrize(
    "request_",
    [
        WRITE,
        HEAD + b"Connection: keep-alive\r\ncontent-length:2 \r\nAccept: */*\r\n\r\n{}",
        HEAD + b"Connection: close\r\n\r\n",
        b"GET /v1/orders?limit=3 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthzz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/orders HTTP/1.0\r\nHost: x\r\n\r\n",
    ],
)
def test_a_plain_request_may_be_refused_unread(request_: bytes) -> None:
    assert is_plain(request_)


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"Content-Length: 2\r\n\r\n{",
        HEAD + b"Content-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}12",
        HEAD + b"X: Content-Length: 2\r\n\r\n",
        HEAD + b"Content-Length : 2\r\n\r\n{}",
        HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        HEAD + b"X: a\r\n Content-Length: 2\r\n\r\n",
        HEAD + b"X: a\nContent-Length: 2\r\n\r\n",
        HEAD + b"Expect: 100-continue\r\n\r\n",
        HEAD + b"Connection: keep-alive, close\r\n\r\n",
        HEAD + b"Connection: TE\r\n\r\n",
        HEAD + b"Accept: */*\r\n",
        b"CONNECT /v1/orders HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS /v1/orders HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/orders HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz?probe=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"{}",
        b"x" * LONGEST,
    ],
)
def test_where_it_is_in_doubt_where_a_request_ends_or_it_is_never_refused_it_is_left_to_the_parser(
    request_: bytes,
) -> None:
    assert not is_plain(request_)


def test_who_asks_again_at_once_is_refused_ten_times_a_second_at_most() -> None:
    client = Client(*[WRITE] * 3)
    began = monotonic()
    assert Door(client, Keeper(), patience=10).recv(BYTES) == b""
    assert (len(client.answers), monotonic() - began >= 3 * HELD) == (3, True)
