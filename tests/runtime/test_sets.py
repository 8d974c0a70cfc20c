"""Rows are added and fetched as they are, a few and many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from models.session import Sessions
from models.sets import FEW, add, array, fetch, prepared
from tests.road import Road

TABLE = text("CREATE TEMPORARY TABLE things (id int PRIMARY KEY, what text, list text[]) ON COMMIT DROP")
HARD = ["", "plain", "\\N", "\\", "a\tb", "a\nb", "a\r\nb", "\\t", 'quoted "', "{}", "ä€𝄞", "\\.", "NULL"]


SIZES = pytest.mark.parametrize("more", [0, FEW], ids=["few", "many"])


def _others(count: int) -> list[tuple[str | None, ...]]:
    return [(str(number), "other") for number in range(2, 2 + count)]


@pytest.fixture
def makers(road: Road) -> Iterator[Sessions]:
    """Sessions of the owner, who alone may make tables, be it for a while."""
    owners = road.with_settings(write_database_url=road.settings.database_url)
    yield owners.sessions
    owners.close()


@SIZES
@pytest.mark.parametrize("value", [None, *HARD], ids=repr)
def test_what_is_added_is_read_again(makers: Sessions, value: str | None, more: int) -> None:
    with makers() as session:
        session.execute(TABLE)
        add(session, "things", ("id", "what"), [("1", value), *_others(more)])
        assert list(session.scalars(text("SELECT what FROM things ORDER BY id"))) == [value] + ["other"] * more


@SIZES
def test_arrays_too(makers: Sessions, more: int) -> None:
    with makers() as session:
        session.execute(TABLE)
        rows = [
            ("1", array(HARD)),
            ("2", array([])),
            ("3", array(None)),
            *((str(n), array([])) for n in range(4, 4 + more)),
        ]
        add(session, "things", ("id", "list"), rows)
        assert list(session.scalars(text("SELECT list FROM things ORDER BY id"))) == [HARD, [], None, *[[]] * more]


@SIZES
def test_a_row_that_is_there_already_is_a_unique_violation_and_leaves_nothing(makers: Sessions, more: int) -> None:
    with makers() as session:
        session.execute(TABLE)
        with pytest.raises(IntegrityError), session.begin_nested():
            add(session, "things", ("id", "what"), [("1", "a"), *_others(more), ("1", "b")])
        assert list(session.scalars(text("SELECT id FROM things"))) == []


def test_what_is_fetched_is_as_it_was_asked_with(road: Road) -> None:
    with road.sessions() as session:
        asked = "SELECT one FROM unnest(CAST(%(hard)s AS text[])) AS one WHERE one <> %(less)s"
        assert fetch(session, asked, hard=HARD, less="plain") == [(one,) for one in HARD if one != "plain"]
        assert fetch(session, asked, hard=[], less="plain") == []


def test_what_leaves_no_choice_is_planned_once_a_connection(road: Road) -> None:
    insert = "INSERT INTO order_scopes (scope) VALUES ($1)"
    known = f"SELECT name FROM pg_prepared_statements WHERE statement LIKE '%{insert}'"
    for _ in range(2):
        with road.sessions() as session:
            names = [prepared(session, insert) for _ in range(3)]
            assert names == [f"EXECUTE {name}" for name in session.scalars(text(known))] * 3


def test_it_is_planned_anew_where_a_connection_was_lost(road: Road) -> None:
    for _ in range(2):
        with road.sessions() as session:
            add(session, "order_scopes", ("scope",), [("a",)])
            session.rollback()
            session.connection().invalidate()
