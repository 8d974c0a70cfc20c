"""`flask --app api.app doctor`: what is wrong with this deployment, and what mends it. It changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import click
from flask.cli import with_appcontext
from sqlalchemy import text

from api import health
from api.cli_output import AS_JSON, Column, in_sentences, print_json, print_rows, why
from api.doctor_checks import Finding, Verdict
from api.doctor_checks.broker import redis
from api.doctor_checks.configuration import configuration
from api.doctor_checks.database import database
from api.doctor_checks.operation import queues, readiness
from api.doctor_checks.versions import versions
from api.services import Services, services
from jobs.kernel import broker
from models.session import DATABASE_ERRORS

STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}
COLUMNS = (
    Column("", "verdict", style=STYLES.__getitem__),
    Column("looked at", "name"),
    Column("found", "detail"),
    Column("what mends it", "mend"),
)


@click.command("doctor")
@with_appcontext
@AS_JSON
@click.pass_context
@in_sentences
def doctor(context: click.Context, as_json: bool) -> None:
    """Look at settings, versions, rights, servers, clocks, workers and queues; exit with 1 where anything fails."""
    findings = list(examined(services()))
    verdicts = Counter(finding.verdict for finding in findings)
    worst = next((verdict for verdict in (Verdict.FAIL, Verdict.WARN) if verdicts[verdict]), Verdict.OK)
    rows = [asdict(finding) for finding in findings]
    if as_json:
        print_json({"status": worst, "checks": rows})
    else:
        print_rows(rows, COLUMNS, as_json=False)
        click.echo("\n" + ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in Verdict) + ".")
    context.exit(int(worst is Verdict.FAIL))


def examined(own: Services) -> Iterator[Finding]:
    """All that was found. A server that does not answer is told so once, and nothing else is asked of it."""
    yield from configuration(own.settings)
    yield from versions()
    checks = health.checks(own)
    silent = {name: _why(own, name) for name, _, detail in checks if detail == health.SILENT}
    yield from readiness(checks, silent)
    if "database" not in silent:
        yield from database(own.readers, own.settings)
    if "redis" not in silent:
        yield from redis(own.redis, own.settings)
        yield from queues(own.queues.view().queues)


def _why(own: Services, server: str) -> str:
    """What a server that did not answer, or the way to it, says when it is asked once more."""
    try:
        if server == "redis":
            own.redis.ping()
        else:
            with own.readers() as session:
                session.execute(text("SELECT 1"))
    except (*broker.LOST, broker.ResponseError, *DATABASE_ERRORS) as away:
        return why(away)
    return "but it does so now"
