"""COPY takes every text as it is."""

from __future__ import annotations

import psycopg2
import pytest
from sqlalchemy import text

from models.copying import array, copy
from tests.road import Road

TABLE = text("CREATE TEMPORARY TABLE things (id int PRIMARY KEY, what text, list text[]) ON COMMIT DROP")
HARD = ["", "plain", "\\N", "\\", "a\tb", "a\nb", "a\r\nb", "\\t", 'quoted "', "{}", "ä€𝄞", "\\.", "NULL"]


@pytest.mark.parametrize("value", [None, *HARD], ids=repr)
def test_what_is_copied_in_is_read_again(road: Road, value: str | None) -> None:
    with road.sessions() as session:
        session.execute(TABLE)
        copy(session, "things", ("id", "what"), [("1", value), ("2", "other")])
        assert list(session.scalars(text("SELECT what FROM things ORDER BY id"))) == [value, "other"]


def test_arrays_too(road: Road) -> None:
    with road.sessions() as session:
        session.execute(TABLE)
        copy(session, "things", ("id", "list"), [("1", array(HARD)), ("2", array([])), ("3", array(None))])
        assert list(session.scalars(text("SELECT list FROM things ORDER BY id"))) == [HARD, [], None]


def test_a_row_that_is_there_already_is_a_unique_violation_and_leaves_nothing(road: Road) -> None:
    with road.sessions() as session:
        session.execute(TABLE)
        with pytest.raises(psycopg2.errors.UniqueViolation), session.begin_nested():
            copy(session, "things", ("id",), [("1",), ("2",), ("1",)])
        assert list(session.scalars(text("SELECT id FROM things"))) == []
