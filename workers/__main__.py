"""`python -m workers --queues orders,default --processes N --batch N`: start and supervise worker processes.

Queues of threads have workers of their own: `--queues hangups,calls --processes N --threads N`, or `deliveries`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from config import Settings
from jobs.kernel import log
from jobs.kernel.policy import QUEUES
from workers.supervisor import Supervisor, stop_with_parent, this_python

if TYPE_CHECKING:
    from workers.worker import Worker

THREADS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after a stop that was asked for, 2 for a wrong command line."""
    asked = _asked(arguments)
    settings = Settings.from_env()
    log.configure(settings)
    if not asked.child:
        command = this_python("--queues", ",".join(asked.queues), *_size(asked))
        return Supervisor([*command, "--child"], asked.processes).run()

    import jobs

    jobs.load()
    worker = _worker(settings, asked)
    stop_with_parent(worker.stop)
    worker.run()
    return 0


def _worker(settings: Settings, asked: argparse.Namespace) -> Worker:
    if asked.way == "batch":
        from workers.lease_worker import LeaseWorker

        return LeaseWorker(settings, asked.queues, asked.batch or settings.batch_size)

    from workers.outside import services
    from workers.threads import ThreadWorker

    return ThreadWorker(settings, asked.queues, asked.threads or THREADS, services(settings, asked.queues))


def _size(asked: argparse.Namespace) -> list[str]:
    """How much one process does at once, as it was asked for."""
    return [f"--{name}={size}" for name in ("batch", "threads") if (size := getattr(asked, name))]


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    asked = parser.parse_args(arguments)
    ways = {QUEUES[name] for name in asked.queues}
    if len(ways) > 1:
        threads = ", ".join(name for name in asked.queues if QUEUES[name] == "threads")
        parser.error(f"queues of threads ({threads}) need workers of their own, apart from queues of batches")
    (asked.way,) = ways
    if asked.threads and asked.way == "batch":
        parser.error("--threads is for queues of threads; for these, there is --batch")
    if asked.batch and asked.way == "threads":
        parser.error("--batch is for queues of batches; for these, there is --threads")
    return asked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    by_way = {way: [name for name in QUEUES if QUEUES[name] == way] for way in QUEUES.values()}
    parser.add_argument(
        "--queues",
        type=_queues,
        default=by_way["batch"],
        help=f"names with commas, taken from in order; of batches ({', '.join(by_way['batch'])}), which is the default, "
        f"or of threads ({', '.join(by_way['threads'])})",
    )
    parser.add_argument("--processes", type=_positive, default=1, help="worker processes to keep running")
    parser.add_argument("--batch", type=_positive, help="the most commands in one transaction (default BATCH_SIZE)")
    parser.add_argument("--threads", type=_positive, help=f"jobs that one process does at once (default {THREADS})")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


def _queues(text: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in QUEUES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is none of {', '.join(QUEUES)}")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
