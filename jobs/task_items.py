"""The items of a batch of tasks: each names a task, or says what a new one is to be, or is none of our language."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from jobs.kernel.errors import Invalid
from jobs.kernel.private import PRIVATE
from models.views import ident, spelled_id

IDS = frozenset({"id", "task_id"})
"""What an object may call the id of its task; results call it `task_id`."""

DIGEST = re.compile("[0-9a-f]{32}")

LONGEST_NAME = 200
"""Of what is no id, so much is told in a result."""


class Item(NamedTuple):
    """One item as it travels: what it says is looked at when it is carried out, for one that is bad spoils no other.

    `given`: as it came; but values that are neither text nor null, which no good item has, are told apart and no more.
    `named`: the task that it names, in the client's own words. `id`: the same, where it is an id.
    """

    given: object
    named: str | None
    id: UUID | None

    @property
    def task_id(self) -> str | None:
        """The task that it names, as results spell it."""
        return ident(self.id) if self.id else self.named and self.named[:LONGEST_NAME]

    def of_new(self) -> dict[str, Any]:
        """The fields of a new task. Raises Invalid where it is no object."""
        if not isinstance(self.given, dict):
            raise Invalid("To create a task takes an object with its fields.")
        return self.given

    def of_known(self) -> dict[str, Any]:
        """The fields beside the id of a task. Raises Invalid where it names none."""
        if isinstance(self.given, str):
            return {}
        if not isinstance(self.given, dict):
            raise Invalid("An item is the id of a task, or an object with its `id`.")
        called = sorted(self.given.keys() & IDS)
        if len(called) != 1:
            message = "Is the same as `task_id`: give one of them" if called else "Field required"
            raise Invalid(errors=[{"field": "id", "message": message}])
        if self.named is None:
            raise Invalid(errors=[{"field": called[0], "message": "Should be the id of a task"}])
        return {name: value for name, value in self.given.items() if name not in IDS}


def _read(given: object) -> Item:
    if isinstance(given, Item):
        return given
    if isinstance(given, dict):
        given = {name: _plain(value) for name, value in given.items()}
        named = given.get("id", given.get("task_id"))
    elif isinstance(given, str):
        named = given
    else:
        given, named = _plain(given), None
    if not isinstance(named, str):
        return Item(given, None, None)
    return Item(given, named, spelled_id(named))


def _plain(value: object) -> object:
    """Text and null as they are; in place of all else a list of what tells it from others, as short as any."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) and DIGEST.fullmatch(value[0]):
        return value  # it has travelled
    return [sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]]


def _written(item: Item) -> object:
    return item.given


TaskItem = Annotated[
    Item,
    PlainValidator(_read),
    PlainSerializer(_written),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "uuid"}, {"type": "object"}]}),
    PRIVATE,
]
