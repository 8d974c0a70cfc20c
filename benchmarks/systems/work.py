"""The work of one job, the same for every Python system: one row of `orders`, inserted and committed."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypedDict

import psycopg2
import psycopg2.extensions

SERVICES = ["123", "456"]
FEE = "100.00"
INSERT = """
INSERT INTO orders (id, owner_id, customer_id, services, total_fee, created_at, updated_at)
VALUES (%(id)s, %(owner_id)s, %(customer_id)s, %(services)s, %(total_fee)s, now(), now())
"""


class Order(TypedDict):
    """What is asked for; JSON values only."""

    id: str
    owner_id: str
    customer_id: str
    services: list[str]
    total_fee: str


@dataclass(frozen=True)
class Shape:
    """An arrangement of workers. `says`: it, for people. `commands`: the processes to start, with their arguments.

    `guess`: orders/s to expect, within a factor of two; sizes the backlog of the first round, and nothing else.
    """

    says: str
    commands: list[list[str]]
    guess: int


@cache
def owner(number: int) -> str:
    """The id of the number-th owner, from 0; the harness puts them into the users table."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://bench.invalid/owners/{number}"))


def orders(first: int, count: int, *, customers: int, owners: int) -> Iterator[Order]:
    """Orders number `first` and on: over so many customers in turn, each of whom is one owner's."""
    for number in range(first, first + count):
        customer = number % customers
        yield {
            "id": str(uuid.uuid4()),
            "owner_id": owner(customer % owners),
            "customer_id": f"customer-{customer}",
            "services": SERVICES,
            "total_fee": FEE,
        }


_connections: dict[tuple[int, int], psycopg2.extensions.connection] = {}


def connection() -> psycopg2.extensions.connection:
    """A connection that is this thread's own and stays open; a forked child gets another one than its parent."""
    key = os.getpid(), threading.get_ident()
    if key not in _connections:
        _connections[key] = psycopg2.connect(os.environ["DATABASE_URL"])
        _connections[key].autocommit = True
    return _connections[key]


def place(order: Order) -> Order:
    """Insert the row; committed when this returns. What is returned is the job's result."""
    with connection().cursor() as cursor:
        cursor.execute(INSERT, order)
    return order
