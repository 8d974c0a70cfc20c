"""`python -m workers --queues orders,default --processes N --batch N`: start and supervise worker processes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from config import Settings
from jobs.kernel import log
from jobs.kernel.policy import QUEUES
from workers.supervisor import Supervisor, stop_with_parent, this_python


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after a stop that was asked for, 2 for a wrong command line."""
    asked = _parser().parse_args(arguments)
    settings = Settings.from_env()
    log.configure(settings)
    if not asked.child:
        command = this_python("--queues", ",".join(asked.queues), "--batch", str(asked.batch or settings.batch_size))
        return Supervisor([*command, "--child"], asked.processes).run()

    import jobs
    from workers.lease_worker import LeaseWorker

    jobs.load()
    worker = LeaseWorker(settings, asked.queues, asked.batch or settings.batch_size)
    stop_with_parent(worker.stop)
    worker.run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    batch_queues = [name for name, way in QUEUES.items() if way == "batch"]
    parser.add_argument("--queues", type=_queues, default=batch_queues, help="names with commas, taken from in order")
    parser.add_argument("--processes", type=_positive, default=1, help="worker processes to keep running")
    parser.add_argument("--batch", type=_positive, help="the most commands in one transaction (default BATCH_SIZE)")
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
