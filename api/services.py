"""What views work with: one bundle for each application, made by `create_app`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import current_app
from redis import Redis

from config import Settings
from jobs.kernel.circuits import Circuits
from jobs.kernel.fleet import Fleet
from jobs.kernel.ledger import Ledger
from jobs.kernel.queues import Queues
from jobs.kernel.submit import Submitter
from models.session import Sessions

if TYPE_CHECKING:
    from api.cache import Cache
    from api.limits import Limits
    from api.sessions import UserSessions
    from api.streams import Streams
    from api.tokens import Tokens
    from api.waiting import Waiting

NAME = "millrace"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a view may need from outside the request. `readers`: sessions of PostgreSQL, read-only. `sessions`: of
    those who are signed in. `call_streams`: of those who follow a call."""

    settings: Settings
    redis: Redis
    readers: Sessions
    submitter: Submitter
    ledger: Ledger
    circuits: Circuits
    fleet: Fleet
    queues: Queues
    limits: Limits
    cache: Cache
    tokens: Tokens
    sessions: UserSessions
    waiting: Waiting
    call_streams: Streams


def services() -> Services:
    """The bundle of the application that answers the present request."""
    return cast(Services, current_app.extensions[NAME])
