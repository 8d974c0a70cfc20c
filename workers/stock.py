"""Our jobs under a stock `rq worker -S json QUEUE`: the same pipeline, the same receipts, one job at a time."""

from __future__ import annotations

import time
from functools import cache

from rq import get_current_job

import jobs
from config import Settings
from jobs.kernel import broker, log
from jobs.kernel.counting import Counting
from jobs.kernel.policy import QUEUES
from jobs.kernel.submit import Submitter
from models.session import writer
from workers.conductor import Conductor
from workers.follow_ups import follow_up
from workers.heart import Heart
from workers.leases import Leases
from workers.outside import services
from workers.progress import Progress
from workers.report import report
from workers.settle import Final
from workers.work import opened

KEEP_FOREVER = -1


def run_current_job() -> None:
    """Lease, execute and settle the job that RQ is performing in this process.

    Does nothing where another worker holds the job, or it is final. RQ afterwards sets an expiry on the job's hash:
    ours for a final one, none for one that is to run again.
    """
    current = get_current_job()
    if current is None or current.connection is None:
        raise RuntimeError("only an RQ worker may call this")
    settings, conductor, submitter, counting = _once()
    name = current.worker_name or "rq"
    leases = Leases(current.connection, settings, name)
    started = time.monotonic()
    delivery = leases.adopt(current.id)
    if delivery is None:
        return
    heart = Heart(leases, None, settings.lease_seconds, counting)
    heart.start()
    works = [opened(delivery)]
    with heart.holding([delivery], started) as hold, heart.beating_for(works):
        settlements = conductor.run(works[0], hold.ours)
        leases.settle(settlements)
    heart.stop()
    report(works, settlements, name, time.monotonic() - started)
    follow_up(submitter, settlements)
    counting.add()
    final = all(isinstance(settlement.verdict, Final) for settlement in settlements)
    current.result_ttl = settings.final_ttl_seconds if final else KEEP_FOREVER


@cache
def _once() -> tuple[Settings, Conductor, Submitter, Counting]:
    settings = Settings.from_env()
    log.configure(settings)
    jobs.load()
    sessions = writer(settings.write_database_url or settings.database_url, lease_seconds=settings.lease_seconds)
    redis = broker.connect(settings.redis_url)
    conductor = Conductor(sessions, settings, services(settings, QUEUES), Progress(redis).of)
    return settings, conductor, Submitter(redis, settings), Counting(redis)
