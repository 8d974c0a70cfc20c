"""`python -m local.carrier --port 0 --ledger FILE --faults drop=0.05,error=0.05`: the carrier simulator by itself."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from local.carrier import Carrier, Faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; says where on its first line."""
    asked = _parser().parse_args(arguments)
    if not (asked.account_sid and asked.auth_token):
        sys.stderr.write("Give --account-sid and --auth-token, or TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN.\n")
        return 2
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    try:
        carrier = Carrier(**vars(asked))
    except OSError as error:
        sys.stderr.write(f"The carrier simulator cannot listen on port {asked.port}: {error}\n")
        return 1
    with carrier:
        sys.stdout.write(f"carrier simulator, which phones nobody, listens on {carrier.url}\n")
        sys.stdout.flush()
        stop.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.carrier", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--account-sid", default=os.environ.get("TWILIO_ACCOUNT_SID", ""))
    parser.add_argument("--auth-token", default=os.environ.get("TWILIO_AUTH_TOKEN", ""))
    parser.add_argument("--ledger", type=Path, help="a file that gets a line of JSON for each dial that is accepted")
    parser.add_argument("--faults", type=_faults, default=Faults(), help="name=probability, with commas")
    parser.add_argument("--seed", type=int, help="of chance")
    parser.add_argument(
        "--queue-seconds", type=float, default=0.05, help="until a call is initiated, and until it rings"
    )
    parser.add_argument("--ring-seconds", type=float, default=0.2, help="how long it rings")
    parser.add_argument("--talk-seconds", type=float, default=0.5, help="how long people talk")
    parser.add_argument("--hang-seconds", type=float, default=15, help="how late an answer comes that hangs")
    return parser


def _faults(text: str) -> Faults:
    try:
        return Faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
