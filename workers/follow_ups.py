"""Follow-ups: jobs that an outcome asks for, submitted once it is committed and told.

Nothing makes sure of them: whoever carries a job out may die in between, or find no room. The kind that relies on them
looks for itself, now and then, for what was lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from jobs.kernel import broker
from jobs.kernel.errors import AppError
from jobs.kernel.outcome import FollowUp
from jobs.kernel.submit import Submission, Submitter, fingerprint
from workers.settle import Final, Settlement

log = structlog.get_logger(__name__)


def follow_up(submitter: Submitter, settlements: Sequence[Settlement]) -> None:
    """Submit what follows from these. Raises nothing: what cannot be submitted is left."""
    verdicts = [settlement.verdict for settlement in settlements]
    following = [one for verdict in verdicts if isinstance(verdict, Final) for one in verdict.follow_ups]
    if not following:
        return
    try:
        results = submitter.submit_many([_submission(one) for one in following])
    except broker.ResponseError as refusal:
        log.error("follow_ups_refused", error=str(refusal), jobs=len(following))
        return
    for code, jobs in Counter(result.code for result in results if isinstance(result, AppError)).items():
        log.warning("follow_ups_not_submitted", error=code, jobs=jobs)


def _submission(one: FollowUp) -> Submission:
    """The same command under the same id is the same job, however often it is asked for."""
    mark = fingerprint(one.command.kind, one.command.model_dump(mode="json", exclude_unset=True), None, None)
    return Submission(one.id, one.command, owner=None, fingerprint=mark)
