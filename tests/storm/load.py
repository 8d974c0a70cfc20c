"""Load: clients that write for the length of a block, and jobs put on their queue directly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

import orjson

import jobs
from jobs.kernel import broker, registry
from jobs.kernel.submit import Submission, Submitter, new_id
from tests.storm.book import Book, Writer
from tests.system.servers import Servers
from tests.system.threads import again_and_again


@contextmanager
def written(book: Book, chance: random.Random, clients: int = 4, pause: float = 0.02, **more: Any) -> Iterator[None]:
    """Careful clients write; what was asked for in the block is acknowledged, or given up, afterwards. `more`: what a
    Writer takes."""
    with ExitStack() as running:
        for _ in range(clients):
            writer = Writer(book, random.Random(chance.random()), **more)
            running.enter_context(again_and_again(writer.one, pause))
        yield


class Direct:
    """Puts commands on their queues as the API does, without HTTP: for many at once, and for kinds without a route."""

    def __init__(self, servers: Servers, owner: UUID | None) -> None:
        jobs.load()
        self.redis = broker.connect(servers.settings.redis_url, timeout=5)
        self._submitter = Submitter(self.redis, servers.settings)
        self._owner = owner

    def submit(self, kind: str, **body: Any) -> str:
        """Submit one command of a kind; its job's id."""
        declared = registry.find(kind)
        assert declared is not None, kind
        command = declared.model_validate_json(orjson.dumps(body))
        return str(self._submitter.submit(Submission(id=new_id(), command=command, owner=self._owner)).id)
