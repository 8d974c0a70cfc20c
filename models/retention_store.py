"""What is not kept any longer, in sets: found in order of age by an index that lists have anyway, and pruned."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.sets import fetch
from models.views import ident


class Kept(NamedTuple):
    """Rows of a table that are kept for some time. `since`: the column that begins an index on it and `id`, in whose order
    they are looked at. `over`: what is true, beside its age, of a row that can go."""

    table: str
    since: str
    over: str


# What finished so long ago was submitted before: so no receipt has to be written to an index by finished_at.
RECEIPTS = Kept("receipts", "submitted_at", "finished_at < %(before)s")
EVENTS = Kept("events", "created_at", "delivery <> 'pending'")
NOTICES = Kept("outbox", "sent_at", "true")

Place = tuple[datetime, UUID]
"""Of a row among those of its table, by age."""

BEGINNING: Place = (datetime.min.replace(tzinfo=UTC), UUID(int=0))

# One page, whatever stands on it: so a statement that finds much that has to stay takes no longer than one that finds
# nothing else. What has to be true is asked of the row that gets locked, since it may have changed since it was found.
PRUNE = """
    WITH page AS MATERIALIZED (
        SELECT {since} AS since, id FROM {table}
        WHERE {since} < %(before)s AND ({since}, id) > (%(since)s, %(id)s)
        ORDER BY {since}, id LIMIT %(most)s
    ), pruned AS (
        DELETE FROM {table} WHERE id = ANY(ARRAY(
            SELECT id FROM {table} WHERE id IN (SELECT id FROM page) AND {over} FOR UPDATE SKIP LOCKED
        ))
        RETURNING id
    )
    SELECT since, id, (SELECT count(*) FROM page), (SELECT count(*) FROM pruned)
    FROM page ORDER BY since DESC, id DESC LIMIT 1
    """


def prune(session: Session, kept: Kept, before: datetime, after: Place, most: int) -> tuple[int, Place | None]:
    """Look at rows from before a time, at most so many, from behind a place on; delete those that can go. Returns how many
    that were, and the place to go on from, None where all were looked at. What somebody else has locked is left to another
    time."""
    since, row_id = after
    values = {"before": before, "since": since, "id": ident(row_id), "most": most}
    found = fetch(session, PRUNE.format(**kept._asdict()), **values)
    if not found:
        return 0, None
    ((last, last_id, looked_at, pruned),) = found
    return pruned, (last, last_id) if looked_at == most else None
