"""Broker outage: Redis is away for a minute, under load."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from subprocess import Popen

import requests

from tests.processes import until
from tests.storm import checker
from tests.storm.load import written
from tests.storm.row import Control, Result, Row, Trial, book_of
from tests.system.client import Client, order
from tests.system.stack import Stack, children_of
from tests.system.threads import again_and_again

ANSWERS_WITHIN = 1.0
FINAL_WITHIN = 60
SETTLING = 1.0
"""Seconds left out at the start: requests that had begun before Redis went."""


@dataclass
class Answers:
    """What was heard while Redis was away: (status, seconds) of each request; and what was wrong with answers."""

    writes: list[tuple[int, float]] = field(default_factory=list)
    reads: list[tuple[int, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def write(self, user: Client) -> None:
        """A create without a key, so that it is asked once."""
        began = time.monotonic()
        try:
            answer = user.post(order("somebody"), timeout=30)
        except requests.RequestException as error:
            self.wrong.append(f"a write got no answer: {type(error).__name__}")
            return
        self.writes.append((answer.status_code, time.monotonic() - began))
        if answer.status_code == 503 and not (answer.headers.get("Retry-After") and answer.json().get("job_id")):
            self.wrong.append(f"a 503 without Retry-After or job_id: {answer.text[:200]}")

    def read(self, user: Client, path: str) -> None:
        began = time.monotonic()
        answer = user.get(path, timeout=30)
        self.reads.append((answer.status_code, time.monotonic() - began))


def run(trial: Trial) -> Result:
    seconds = trial.pick(60, 5)
    answers = Answers()
    with ExitStack() as running:
        stack = running.enter_context(trial.stack())
        supervisor = running.enter_context(stack.workers(2))
        scheduler = running.enter_context(stack.scheduler())
        book = book_of(stack)
        placed = book.order()
        book.ask(placed)
        final_job = book.user.until_final(placed.job_id)
        paths = ["/v1/orders", final_job["links"]["resource"], final_job["links"]["self"], "/v1/jobs?status=succeeded"]
        other = stack.person()
        with written(book, trial.chance, clients=2):
            until(lambda: len(book.acknowledged) > 50)
            before = _processes(stack, supervisor, scheduler)
            stack.redis.kill()
            time.sleep(SETTLING)
            with again_and_again(lambda: answers.write(other), 0.05), ExitStack() as readers:
                for path in paths:
                    readers.enter_context(again_and_again(lambda path=path: answers.read(book.user, path), 0.2))
                time.sleep(seconds)
            same = before == _processes(stack, supervisor, scheduler)
            stack.redis.start()
            until(lambda: other.post(order("after")).status_code == 202, 30)
        final = checker.until_final(stack, book, FINAL_WITHIN * trial.slack) is not None
        ((theirs,),) = stack.rows("SELECT count(*) FROM effect_log WHERE owner_id = %s", str(other.owner))
        left = checker.check(stack, book).wrong
    slowest = max(took for _, took in answers.writes)
    result = Result(
        f"{len(answers.writes)} writes in {seconds} s, {sum(status == 503 for status, _ in answers.writes)} of them 503, "
        f"the slowest in {slowest:.2f} s; {len(answers.reads)} reads, {sum(s == 200 for s, _ in answers.reads)} of them 200; "
        f"every process lived on: {'yes' if same else 'no'}; afterwards {len(book.acknowledged)} writes, none lost",
        [*answers.wrong[:3], *left],
    )
    others = {status for status, _ in answers.writes} - {503}
    result.want(not others, f"writes were answered {others}")
    result.want(slowest <= ANSWERS_WITHIN * trial.slack, f"a write was answered after {slowest:.1f} s")
    result.want({status for status, _ in answers.reads} == {200}, "not every read was served")
    result.want(same, "processes ended")
    result.want(final, "not all final in time")
    result.want(theirs <= 1, f"{theirs} refused writes took effect")
    return result


def _processes(stack: Stack, *supervisors: Popen[bytes]) -> set[int]:
    family = {child.pid for supervisor in supervisors for child in children_of(supervisor)}
    return (
        family
        | {supervisor.pid for supervisor in supervisors if supervisor.poll() is None}
        | {process.pid for process in stack.serving()}
    )


ROW = Row(
    "broker outage",
    "every write 503 within 1 s, no 202; reads served; no crash loop",
    run,
    (Control("answered after", "hidden_retries"),),
)
