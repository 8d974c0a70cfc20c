"""The table of kinds in docs/kinds.md, made from their declarations: `python -m api.kinds` writes it anew."""

from __future__ import annotations

from pathlib import Path

import jobs
from config import Settings
from jobs.kernel import registry
from jobs.kernel.command import Command

FILE = Path(__file__).resolve().parent.parent / "docs" / "kinds.md"
HEAD = """# Kinds of jobs

Everything that can be sent, as declared in `jobs/`. Made by `python -m api.kinds`; a test keeps it in step.

- *Access*: who may send it. *Queue*: where it waits, so which workers take it.
- *Tries*: executions in all when it raises, and the bounds of the back-off between them (exponential, full jitter).
- *Time-out*: what one execution may take before its worker is given up.

| kind | does | route | access | queue | tries | time-out |
|---|---|---|---|---|---|---|
"""


def table() -> str:
    """The whole file."""
    jobs.load()
    return HEAD + "".join(_row(kind) for kind in sorted(registry.every(), key=lambda kind: kind.kind))


def _row(kind: type[Command]) -> str:
    policy, retry = kind.policy, kind.policy.retry
    cells = (
        f"`{kind.kind}`",
        (kind.__doc__ or "").strip().splitlines()[0].rstrip("."),
        _route(kind),
        policy.access.value,
        f"`{policy.queue}`",
        f"{retry.attempts}, {retry.base:g} s to {retry.cap:g} s",
        f"{policy.timeout:g} s",
    )
    return f"| {' | '.join(cells)} |\n"


def _route(kind: type[Command]) -> str:
    if kind.route is not None:
        return f"`{kind.route.method} {kind.route.path}`"
    if kind.every is not None:
        return f"every {Settings.model_fields[kind.every].default:g} s (`{kind.every.upper()}`)"
    return "none: the service itself sends it"


if __name__ == "__main__":
    FILE.write_text(table())
