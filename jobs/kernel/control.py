"""Job control: what becomes of jobs because somebody asks for it: canceled, or run again. Whether they may is asked elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, sleep

from jobs.kernel.cancel import Canceled, Canceler
from jobs.kernel.dead_letters import DeadLetters
from jobs.kernel.errors import Conflict, NotFound, QueueFull, Unavailable
from jobs.kernel.ledger import Ledger
from jobs.kernel.outcome import State
from jobs.kernel.record import JobRecord
from jobs.kernel.rerun import DeadLetter, Rerun, Rerunner

TOLD_WITHIN, LOOK = 0.5, 0.02
"""Seconds to wait for a worker that has just written a receipt, and between two looks."""

FAILED_OR_OPEN = frozenset(State) - {State.SUCCEEDED, State.REJECTED, State.CANCELED}


@dataclass(frozen=True, slots=True)
class JobControl:
    """For any number of threads. Jobs are given as the ledger has decided they are (`Ledger.decided`)."""

    canceler: Canceler
    rerunner: Rerunner
    letters: DeadLetters
    ledger: Ledger

    def cancel(self, job: JobRecord) -> Canceled:
        """`CANCELED` or `ASKED`. Raises Conflict (`job_final`) where it is over, NotFound where it is not there any more, and
        QueueDown."""
        if job.state.final:
            raise over(job)
        word = self.canceler.cancel(job.id)
        if word is Canceled.GONE:
            raise NotFound
        if word is Canceled.FINAL:
            raise over()
        return word

    def retry(self, job: JobRecord) -> Rerun:
        """`NEW` or `UNDER_WAY`. Raises Conflict (`job_not_failed`, and as `replay` does), QueueFull, QueueDown, one of
        DATABASE_ERRORS; and Unavailable where its receipt cannot be read yet, from a replica."""
        letter = self.letters.find(job.id) if job.state in FAILED_OR_OPEN else None
        if letter is not None:
            return self.replay(letter)
        if job.state is State.FAILED:
            now = self.ledger.decided(job.id)
            if now is not None and now.state is State.FAILED and now.run == job.run:
                raise Unavailable("What is left of this job cannot be read yet; ask again.")
            return Rerun.UNDER_WAY  # somebody was faster, and that run is over
        raise Conflict(
            f"Only a failed job is run again; this one is {job.state}.", code="job_not_failed", job_status=job.state
        )

    def replay(self, letter: DeadLetter) -> Rerun:
        """`NEW` or `UNDER_WAY`. Raises Conflict (`job_not_rerunnable`) where nothing is left to run, Unavailable while its worker
        has not told how it ended, QueueFull, QueueDown."""
        if not letter.can_rerun:
            raise Conflict("Nothing is left of this job that could be run.", code="job_not_rerunnable")
        deadline = monotonic() + TOLD_WITHIN
        while (word := self.rerunner.rerun([letter])[0]) is Rerun.UNTOLD:
            if monotonic() > deadline:
                raise Unavailable("The worker has not told yet how this job ended; ask again.")
            sleep(LOOK)
        if word is Rerun.FULL:
            raise QueueFull(retry_after=5)
        return word


def over(job: JobRecord | None = None) -> Conflict:
    """It is final, as `job` tells where that is known."""
    if job is None:
        return Conflict("The job is over.", code="job_final")
    return Conflict(f"The job is over: it is {job.state}.", code="job_final", job_status=job.state)
