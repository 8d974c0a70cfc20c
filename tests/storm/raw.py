"""Requests as they go over the wire, for a load generator that has no time to make them."""

from __future__ import annotations

import json

from tests.system.client import Client, order


def requests_of(user: Client, port: int, many: int = 2000) -> list[bytes]:
    """That many orders of somebody, each of a customer of its own; without a key, so that each one sent is one order."""
    return [_request(user, port, json.dumps(order(f"customer-{number}")).encode()) for number in range(many)]


def _request(user: Client, port: int, body: bytes) -> bytes:
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Authorization": f"Bearer {user.token}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/orders HTTP/1.1\r\n{head}\r\n".encode() + body
