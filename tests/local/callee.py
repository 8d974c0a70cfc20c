"""Who the carrier simulator calls back: a small HTTP server that writes down what it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

TWIML = "<Response><Say>Good day.</Say></Response>"


@dataclass(frozen=True)
class Told:
    """A request. `path`: without its query; `signature`: its X-Twilio-Signature."""

    method: str
    url: str
    path: str
    form: dict[str, str]
    signature: str


@dataclass
class Callee:
    """`told`: every request, in the order in which it came. `status`: what they are answered with, by path."""

    base_url: str = ""
    told: list[Told] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    twiml: str = TWIML

    def url(self, path: str, call: str = "one") -> str:
        return f"{self.base_url}{path}?call={call}&t=signed"

    def callbacks(self, sid: str | None = None) -> list[dict[str, str]]:
        """The forms that came to /status, of one call where one is named."""
        return [told.form for told in self.told if told.path == "/status" and sid in (None, told.form["CallSid"])]

    def statuses(self, sid: str | None = None) -> list[str]:
        return [form["CallStatus"] for form in self.callbacks(sid)]


@contextmanager
def listening() -> Iterator[Callee]:
    """A callee that answers for the length of a block."""
    callee = Callee()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            parts = urlsplit(self.path)
            form = dict(parse_qsl(body, strict_parsing=bool(body)))
            signature = self.headers.get("X-Twilio-Signature", "")
            callee.told.append(Told(self.command, callee.base_url + self.path, parts.path, form, signature))
            content = callee.twiml.encode() if parts.path == "/voice" else b""
            self.send_response(callee.status.get(parts.path, 200))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    callee.base_url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield callee
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
