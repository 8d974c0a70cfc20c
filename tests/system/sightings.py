"""What an observer sees of jobs and calls, and what may never be seen (CONTRACT.md §2, §5)."""

from __future__ import annotations

from typing import Any

from models.call import Status
from tests.system.client import FINAL, Job


class Sightings:
    """What one observer has seen of jobs, one look after the other; `wrong` says what may not have been seen."""

    def __init__(self) -> None:
        self.looks = 0
        self.statuses: dict[str, list[str]] = {}
        self.wrong: list[str] = []
        self._last: dict[str, Job] = {}

    def see(self, job: Job) -> None:
        """Note what a job looks like now, and judge it by how it looked before."""
        self.looks += 1
        before = self._last.get(job["id"], job)
        status, path = job["status"], self.statuses.setdefault(job["id"], [])
        if before["status"] in FINAL and _outcome(before) != _outcome(job):
            self.wrong.append(f"{job['id']} was final, and changed: {_outcome(before)} became {_outcome(job)}")
        if (status in FINAL) is not (job["finished_at"] is not None):
            self.wrong.append(f"{job['id']} is {status}, finished at {job['finished_at']}")
        if status == "canceled" or (status == "scheduled" and not job["run_at"]):
            self.wrong.append(f"{job['id']} is {status}, which nobody asked for")
        if any(before[name] != job[name] for name in ("kind", "submitted_at", "links")):
            self.wrong.append(f"{job['id']} is another job now: {before} became {job}")
        if path[-1:] != [status]:
            path.append(status)
        self._last[job["id"]] = job


class CallSightings:
    """What one observer has seen of calls; `wrong` says what may not have been seen: that one went back, or on from its end,
    lost its name or got another, or looked otherwise under one version."""

    def __init__(self) -> None:
        self.looks = 0
        self.wrong: list[str] = []
        self._last: dict[str, dict[str, Any]] = {}

    def see(self, call: dict[str, Any]) -> None:
        """Note what a call looks like now, and judge it by how it looked before. `call`: as it is listed."""
        self.looks += 1
        before = self._last.setdefault(call["id"], call)
        old, new = before["status"], call["status"]
        if new != old and not Status(new).follows(Status(old)):
            self.wrong.append(f"{call['id']} was {old}, and is {new}")
        if before["sid"] not in (None, call["sid"]):
            self.wrong.append(f"{call['id']} goes by another name")
        if call["version"] < before["version"] or (call["version"] == before["version"] and call != before):
            self.wrong.append(f"{call['id']} changed without its version: {before} became {call}")
        self._last[call["id"]] = call


def _outcome(job: Job) -> tuple[Any, ...]:
    return job["status"], job["finished_at"], job["attempts"], job["error"]
