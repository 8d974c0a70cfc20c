"""Jobs and dead letters from the command line: for people, for programs, and where a server is away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import click.testing
import pytest
from flask import Flask

from api.cli_audit import login_name
from api.dead_letter_schemas import Letter, LetterSummary
from api.schemas import Job, JobSummary
from config import Settings
from jobs.kernel.outcome import State
from local.redis import Redis
from tests.failures import failed_order, unwritable, use_up
from tests.http.conftest import ORDER, Client, working
from tests.http.test_operations_cli import AWAY, Run, document, rows, run_of
from tests.processes import until
from tests.road import Road

Execute = Callable[..., Any]
Letters = Callable[..., str]


@pytest.fixture
def run(app: Flask) -> Run:
    return run_of(app)


@pytest.fixture
def worker(settings: Settings, redis_server: Redis) -> Iterator[None]:
    own = settings.model_copy(update={"redis_url": redis_server.url_of("worker")})
    with working(own, "orders"), working(own, "deliveries"):
        yield


def notes(result: click.testing.Result) -> list[dict[str, Any]]:
    """What was logged of what was done."""
    lines = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert {line["by"] for line in lines} <= {login_name()}
    return lines


def fates(result: click.testing.Result) -> dict[str, str]:
    """What came of each job."""
    return {row["id"]: row["outcome"] for row in json.loads(result.stdout)["data"]}


@pytest.mark.parametrize("by", [["jobs", "retry"], ["jobs", "dead", "replay"]], ids=["retry", "replay"])
def test_a_failed_job_is_found_inspected_mended_and_run_again_to_success(
    run: Run, user: Client, road: Road, execute: Execute, request: pytest.FixtureRequest, by: list[str]
) -> None:
    job = user.post("/v1/orders", ORDER | {"customer_id": "ada@example.com"}).get_json()["id"]
    with unwritable(execute):
        use_up(road, job)
    ((found, kind, *_),) = rows(run("jobs", "dead", "list"))
    assert (found, kind) == (job, "orders.place")
    inspected = run("jobs", "dead", "show", job).output
    assert "job_failed: The job failed 5 times." in inspected
    assert '"services":["123","456"]' in inspected
    assert "ada@example.com" not in inspected
    request.getfixturevalue("worker")
    result = run(*by, job)
    assert result.exit_code == 0, result.output
    until(lambda: "succeeded" in run("jobs", "show", job).output)
    assert run("jobs", "dead", "list").output == "No dead letters.\n"
    assert user.get(f"/v1/orders/{job}").status_code == 200


def test_the_same_is_done_by_a_program(run: Run, road: Road, execute: Execute, worker: None) -> None:
    job = str(failed_order(road, execute))
    (letter,) = document(run("jobs", "dead", "list", "--json", "--kind", "orders.place", "--code", "job_failed"))[
        "data"
    ]
    assert LetterSummary.model_validate(letter).status is State.FAILED
    whole = document(run("jobs", "dead", "show", letter["id"], "--json"))
    assert Letter.model_validate(whole).payload["customer_id"] == "[redacted]"
    replayed = document(run("jobs", "dead", "replay", "--kind", "orders.place", "--json"))
    assert Job.model_validate(replayed).result == {"replayed": 1, "under_way": 0, "skipped": 0, "left": 0}
    until(lambda: document(run("jobs", "show", job, "--json"))["status"] == "succeeded")
    assert Job.model_validate(document(run("jobs", "show", job, "--json"))).result["id"] == job


def test_jobs_of_everybody_are_listed_newest_first(run: Run, user: Client, other: Client, road: Road) -> None:
    ids = [client.post("/v1/orders", ORDER).get_json()["id"] for client in (user, other, user)]
    road.reserve(1)
    assert [row[0] for row in rows(run("jobs", "list"))] == ids[::-1]
    found = document(run("jobs", "list", "--json", "--limit", "2"))["data"]
    assert [JobSummary.model_validate(row).status for row in found] == [State.QUEUED] * 2
    assert [row[0] for row in rows(run("jobs", "list", "--status", "running"))] == ids[:1]
    assert run("jobs", "list", "--kind", "tasks.create").output == "No jobs.\n"


def test_a_job_is_shown_for_people_with_what_there_is_to_say(run: Run, user: Client, road: Road) -> None:
    job = user.post("/v1/orders", ORDER | {"services": ["nothing"]}).get_json()["id"]
    road.work()
    shown = dict(line.split(maxsplit=1) for line in run("jobs", "show", job).output.splitlines() if line.strip())
    assert (shown["id"], shown["kind"], shown["status"], shown["run"]) == (job, "orders.place", "rejected", "1")
    assert shown["error"].startswith("unknown_service: ")
    assert "progress" not in shown


def test_jobs_are_canceled_each_as_it_can_be(run: Run, user: Client, road: Road) -> None:
    done = user.post("/v1/orders", ORDER).get_json()["id"]
    road.work()
    begun, waiting = (
        user.post("/v1/orders", ORDER | {"customer_id": name}).get_json()["id"] for name in ("two", "three")
    )
    road.reserve(1)
    absent = str(uuid4())
    result = run("jobs", "cancel", begun, waiting, "--json")
    assert (result.exit_code, fates(result)) == (0, {begun: "asked", waiting: "canceled"})
    assert [(note["event"], note["job_id"], note["kind"]) for note in notes(result)] == [
        ("job_cancel_asked", begun, "orders.place"),
        ("job_canceled", waiting, "orders.place"),
    ]
    result = run("jobs", "cancel", done, absent)
    assert result.exit_code == 1
    assert "The job is over: it is succeeded." in result.output
    assert "There is no such job." in result.output
    assert notes(result) == []


def test_what_cannot_be_run_again_is_said_of_each_and_spoils_no_other(
    run: Run, user: Client, road: Road, execute: Execute, letter_of: Letters
) -> None:
    good, lost = str(failed_order(road, execute)), letter_of("user", envelope=None)
    waiting = user.post("/v1/orders", ORDER).get_json()["id"]
    result = run("jobs", "retry", waiting, lost, good, str(uuid4()), "--wait", "0", "--json")
    data = json.loads(result.stdout)["data"]
    codes = [row["error"] and row["error"]["code"] for row in data]
    assert codes == ["job_not_failed", "job_not_rerunnable", None, "not_found"]
    assert (result.exit_code, data[2]["outcome"]) == (1, "queued")
    assert [(note["event"], note["job_id"]) for note in notes(result)] == [("job_retried", good)]
    result = run("jobs", "retry", good, "--wait", "0", "--json")
    assert (result.exit_code, fates(result), notes(result)) == (0, {good: "under way"}, [])


def test_a_run_that_nobody_carries_out_is_not_waited_for_for_ever(run: Run, road: Road, execute: Execute) -> None:
    job = str(failed_order(road, execute))
    result = run("jobs", "retry", job, "--wait", "0.3", "--json")
    assert (result.exit_code, fates(result)) == (1, {job: "queued"})


def test_a_run_that_fails_again_ends_with_1(run: Run, road: Road, execute: Execute, letter_of: Letters) -> None:
    envelope = json.dumps({"kind": "orders.place", "body": {}})
    with working(road.of_worker, "orders"):
        result = run("jobs", "retry", letter_of("user", envelope=envelope))
    assert result.exit_code == 1
    assert "The job's body does not fit its kind." in result.output


def test_dead_letters_are_listed_with_what_became_of_them_since(run: Run, road: Road, letter_of: Letters) -> None:
    old, new = letter_of("user", finished_at="2026-01-01", kind="tasks.create"), letter_of("user")
    road.rerun(UUID(new))
    listed = rows(run("jobs", "dead", "list"))
    assert [(row[0], row[2]) for row in listed] == [(new, "queued"), (old, "failed")]
    early = ("--failed-before", "2026-01-02T00:00:00Z")
    assert [row[0] for row in rows(run("jobs", "dead", "list", *early))] == [old]
    late = ("--failed-after", "2026-01-02T00:00:00Z")
    assert [row[0] for row in rows(run("jobs", "dead", "list", *late))] == [new]
    assert len(rows(run("jobs", "dead", "list", "--limit", "1"))) == 1


def test_what_nothing_is_left_of_is_shown_so(run: Run, letter_of: Letters) -> None:
    lost = letter_of("user", envelope=None)
    assert "nothing is left that could be run" in run("jobs", "dead", "show", lost).output
    assert document(run("jobs", "dead", "show", lost, "--json"))["payload"] is None
    result = run("jobs", "dead", "show", str(uuid4()))
    assert (result.exit_code, result.stderr) == (1, "Error: There is no such dead letter.\n")


def test_many_are_replayed_and_what_is_left_over_ends_with_1(run: Run, letter_of: Letters, worker: None) -> None:
    made = [letter_of("user") for _ in range(3)]
    result = run("jobs", "dead", "replay", *made, str(uuid4()))
    assert (result.exit_code, result.stdout) == (1, "3 replayed, 0 under way, 1 skipped, 0 left.\n")
    (note,) = notes(result)
    assert (note["event"], len(note["which"]["ids"])) == ("dead_letters_replay_asked", 4)
    assert UUID(note["job_id"])


def test_letters_are_discarded_by_those_who_mean_it(app: Flask, run: Run, letter_of: Letters, worker: None) -> None:
    made = [letter_of("user") for _ in range(3)]
    unsure = app.test_cli_runner().invoke(args=["jobs", "dead", "discard", made[0]], input="n\n")
    assert (unsure.exit_code, unsure.stdout) == (1, "")
    assert len(rows(run("jobs", "dead", "list"))) == 3
    sure = app.test_cli_runner().invoke(args=["jobs", "dead", "discard", made[0]], input="y\n")
    assert (sure.exit_code, sure.stdout) == (0, "1 discarded, 0 left.\n")
    result = run("jobs", "dead", "discard", "--kind", "orders.place", "--yes", "--json")
    assert document(result)["result"] == {"discarded": 2, "left": 0}
    assert [note["which"] for note in notes(result)] == [{"kind": "orders.place"}]
    assert run("jobs", "dead", "list").output == "No dead letters.\n"


def test_where_no_worker_runs_that_is_said(run: Run, letter_of: Letters) -> None:
    result = run("jobs", "dead", "replay", letter_of("user"), "--wait", "0.3")
    assert result.exit_code == 1
    assert result.stdout.endswith(" is queued.\n")
    assert "No worker seems to be running" in result.stderr
    result = run("jobs", "dead", "replay", "--kind", "orders.place", "--wait", "0")
    assert (result.exit_code, "No worker" in result.stderr) == (0, False)


@pytest.mark.parametrize(
    "args",
    [
        ("jobs", "show"),
        ("jobs", "show", "1"),
        ("jobs", "list", "--status", "lost"),
        ("jobs", "list", "--limit", "0"),
        ("jobs", "retry"),
        ("jobs", "cancel", "nonsense"),
        ("jobs", "dead", "replay"),
        ("jobs", "dead", "discard", "--yes"),
        ("jobs", "dead", "replay", "--kind", "No kind"),
        ("jobs", "dead", "list", "--failed-after", "yesterday"),
    ],
)
def test_a_wrong_command_line_is_told_from_a_failure(run: Run, args: tuple[str, ...], road: Road) -> None:
    result = run(*args)
    assert (result.exit_code, result.stderr.startswith("Usage: ")) == (2, True)
    assert road.work() == 0


ONE = "01980000-0000-7000-8000-000000000001"
ALL = [
    ("jobs", "show", ONE),
    ("jobs", "list"),
    ("jobs", "retry", ONE),
    ("jobs", "cancel", ONE),
    ("jobs", "dead", "list"),
    ("jobs", "dead", "show", ONE),
    ("jobs", "dead", "replay", ONE),
    ("jobs", "dead", "discard", ONE, "--yes"),
]


@pytest.mark.parametrize("args", ALL, ids=" ".join)
def test_where_a_server_is_away_that_is_said_in_a_sentence(
    make_app: Callable[..., Flask], letter_of: Letters, args: tuple[str, ...]
) -> None:
    letter = letter_of("user")
    args = tuple(letter if arg == ONE and "dead" in args else arg for arg in args)
    nowhere = "postgresql://millrace:hunter2@127.0.0.1:1/none"
    for away, name in (({"redis_url": AWAY}, "queue|Redis"), ({"read_database_url": nowhere}, "PostgreSQL")):
        if "read_database_url" in away and {"replay", "discard"} & set(args):
            continue  # a worker looks for them
        result = run_of(make_app(**away))(*args, "--json")
        assert (result.exit_code, result.stdout) == (1, ""), (args, away, result.output)
        assert result.stderr.startswith("Error: "), result.stderr
        assert any(word in result.stderr for word in name.split("|")), result.stderr
        assert len(result.stderr.splitlines()) == 1, result.stderr
