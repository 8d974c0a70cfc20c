"""How gunicorn serves the API: greenlets in a few processes, none of which waits for the database or Redis."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.workers.base import Worker

local = os.environ.get("ENVIRONMENT") == "local"
shared_memory = Path("/dev/shm")  # noqa: S108 # nosec B108 # where a heartbeat never waits for a disk

bind = f"{'127.0.0.1' if local else '0.0.0.0'}:{os.environ.get('PORT', '8000')}"
worker_class = "deploy.shed.Worker"  # gevent, and load shedding
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_connections = 1000
worker_tmp_dir = str(shared_memory) if shared_memory.is_dir() else None
backlog = 1024

timeout = 60
graceful_timeout = 25  # CONTRACT.md §9: a process exits within 25 s of SIGTERM
keepalive = 15  # also what the head of a request may take to arrive

limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190

accesslog = None  # the application logs every request itself, as JSON
errorlog = "-"
logger_class = "deploy.logger.Logger"
loglevel = os.environ.get("LOG_LEVEL", "INFO").lower()
proc_name = "millrace-web"
control_socket_disable = True


def without_server_header(original: Callable[[wsgi.Response], list[str]]) -> Callable[[wsgi.Response], list[str]]:
    """The response's own headers less the one that names the server."""

    def default_headers(response: wsgi.Response) -> list[str]:
        return [line for line in original(response) if not line.startswith("Server:")]

    return default_headers


def on_starting(_arbiter: object) -> None:
    """Once in an arbiter, which reads this file again on SIGHUP."""
    from deploy import succession

    succession.install()
    wsgi.Response.default_headers = without_server_header(wsgi.Response.default_headers)


def post_fork(server: object, worker: object) -> None:
    """Make sockets and psycopg2 give way to other greenlets, before the application is imported."""
    from gunicorn.workers.ggevent import GeventWorker

    if isinstance(worker, GeventWorker):
        from gevent import monkey

        monkey.patch_all()
        from deploy import postgres

        postgres.install()
    from deploy import logger

    logger.log_uncaught()


def post_worker_init(worker: Worker) -> None:
    """Answer what never reaches a view as the views would, now that the application is there."""
    from deploy import succession, wire

    gc.collect()
    gc.freeze()  # what is there for good is looked at no more: a look at all of it takes tens of milliseconds
    gc.set_threshold(10_000, 20, 20)
    worker.wsgi = wire.with_bounded_bodies(worker.wsgi)
    util.write_error = wire.write_error
    succession.ready(worker)
