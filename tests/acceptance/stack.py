"""The whole system, and what is asserted of it once something has been done to it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.processes import until
from tests.system.client import Client, Job
from tests.system.stack import API_PROCESSES, LAST, LOGS, children_of
from tests.system.stack import Stack as System
from tests.system.threads import by_threads

SOME = 500

__all__ = ["API_PROCESSES", "LAST", "LOGS", "Stack", "children_of"]


class Stack(System):
    """A system whose jobs are looked at in PostgreSQL and through the API."""

    def receipts(self, owner: Client) -> dict[str, tuple[str, str | None]]:
        """The outcomes of record of somebody's jobs: id to status and the code of the error."""
        found = self.rows("SELECT id::text, state, error->>'code' FROM receipts WHERE owner_id = %s", str(owner.owner))
        return {job_id: (state, code) for job_id, state, code in found}

    def done(self, owner: Client) -> int:
        """How many of somebody's jobs are final."""
        ((count,),) = self.rows("SELECT count(*) FROM receipts WHERE owner_id = %s", str(owner.owner))
        return int(count)

    def effects(self, owner: Client) -> dict[str, int]:
        """How often each of somebody's orders is there, by id."""
        found = self.rows("SELECT id::text, count(*) FROM orders WHERE owner_id = %s GROUP BY 1", str(owner.owner))
        return dict(found)

    def until_done(self, owner: Client, job_ids: set[str], seconds: float = 60) -> None:
        """Wait until every job has its receipt."""
        until(lambda: self.done(owner) >= len(job_ids) and job_ids <= self.receipts(owner).keys(), seconds)

    def assert_told_truly(self, owner: Client) -> None:
        """What the API says of somebody's jobs is what PostgreSQL has: of all as a list, of up to SOME one by one."""
        kept = self.receipts(owner)
        some = sorted(kept)[:: len(kept) // SOME + 1]
        told = _told(by_threads(4, owner.job, some))
        assert not (wrong := _difference(told, {job_id: kept[job_id] for job_id in some})), wrong
        assert not (wrong := _difference(_told(owner.listed()), kept)), wrong

    def assert_each_once(self, owner: Client, job_ids: list[str]) -> None:
        """These jobs, and no others, have succeeded; each has left one order, and one only; and the API says so, also
        when Redis has lost everything."""
        assert len(set(job_ids)) == len(job_ids)
        self.until_done(owner, set(job_ids))
        assert not (wrong := _difference(self.receipts(owner), dict.fromkeys(job_ids, ("succeeded", None)))), wrong
        assert not (wrong := _difference(self.effects(owner), dict.fromkeys(job_ids, 1))), wrong
        self.assert_told_truly(owner)
        self.lose_redis_data()
        self.assert_told_truly(owner)


def _difference(found: Mapping[str, object], expected: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """What was found and what was expected, of each id where these are not the same."""
    ids = found.keys() | expected.keys()
    return {name: (found.get(name), expected.get(name)) for name in ids if found.get(name) != expected.get(name)}


def _told(jobs: list[Job]) -> dict[str, tuple[str, str | None]]:
    return {job["id"]: (job["status"], job["error"] and job["error"]["code"]) for job in jobs}
