"""The application: what it is put together from, and in which order."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

from flask import Flask
from flask_migrate import Migrate
from werkzeug.middleware.proxy_fix import ProxyFix

import jobs
from api import auth, body, cli, docs, headers, health, openapi, problems, queues, reads, twilio_inbound, writes
from api import jobs as job_reads
from api.access import Named
from api.cache import Cache
from api.limits import Limits
from api.reads import calls
from api.services import NAME, Services
from api.sessions import UserSessions
from api.streams import Streams
from api.tokens import Tokens
from api.waiting import Waiting
from config import Settings
from jobs.kernel import broker, log
from jobs.kernel.circuits import Circuits
from jobs.kernel.fleet import Fleet
from jobs.kernel.ledger import Ledger
from jobs.kernel.queues import Queues
from jobs.kernel.submit import Submitter
from jobs.kernel.telling import Telling
from models import Base
from models.session import reader


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application. `settings`: by default those of the environment. It connects to nothing yet."""
    settings = settings or Settings.from_env()
    log.configure(settings)
    jobs.load()
    app = Flask("millrace", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = body.MAX_BYTES
    app.url_map.merge_slashes = False
    app.url_map.converters["default"] = Named
    headers.register(app, settings)
    problems.register(app)
    app.extensions[NAME] = _services(app, settings)
    for part in (auth, writes, job_reads, reads, queues, twilio_inbound, health, openapi, docs):
        part.register(app)
    cli.register(app)
    Migrate(app, SimpleNamespace(metadata=Base.metadata), directory="migrations")
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        # Flask's own way to wrap an application, which mypy takes for a method that is replaced.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0, x_prefix=0)  # type: ignore[method-assign]
    return app


def _services(app: Flask, settings: Settings) -> Services:
    redis = broker.connect(settings.redis_url)
    readers = reader(settings.read_database_url or settings.database_url)
    telling = Telling(redis, lag=settings.read_replica_lag_seconds, ttl=settings.cache_ttl_seconds)
    ledger = Ledger(redis, readers, telling)
    return Services(
        settings=settings,
        redis=redis,
        readers=readers,
        submitter=Submitter(redis, settings),
        ledger=ledger,
        circuits=Circuits(redis, settings),
        fleet=Fleet(redis),
        queues=Queues(redis),
        limits=Limits(app, settings, redis),
        cache=Cache(redis, settings, telling),
        tokens=Tokens(app, settings),
        sessions=UserSessions(redis),
        waiting=Waiting(settings.redis_url, ledger),
        call_streams=Streams(partial(calls.later, readers)),
    )
