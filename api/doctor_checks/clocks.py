"""Clocks: this machine's against those of the servers. Redis's decides when jobs are due; tokens go by this machine's."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.doctor_checks import Finding, fine, warning

MOST_APART = 1.0
"""Seconds, beyond what the way there and back may account for."""


def clock(name: str, ask: Callable[[], float]) -> Finding:
    """How far a server's clock is from this machine's. `ask`: its time, in seconds since 1970."""
    began = time.time()
    told = ask()
    ended = time.time()
    apart, unsure = told - (began + ended) / 2, (ended - began) / 2
    if abs(apart) - unsure <= MOST_APART:
        return fine(f"clocks.{name}", f"within {abs(apart) + unsure:.2f} s of this machine's")
    way = "ahead of" if apart > 0 else "behind"
    mend = "Have a time service set the clocks of both machines: timedatectl set-ntp true."
    return warning(f"clocks.{name}", f"{abs(apart):.1f} s {way} this machine's", mend)
