"""`Prefer: wait=N`: who waits is told as soon as the job is final, and is in nobody's way (CONTRACT.md §2)."""

from __future__ import annotations

import threading
import time

import requests

from tests.acceptance.stack import Stack
from tests.processes import until
from tests.system.client import Client, order
from tests.system.threads import at_once, by_threads

PLAIN_WITHIN = 5
WAITERS = 200


def waiting(user: Client, customer: str, seconds: int) -> requests.Response:
    return user.post(order(customer), headers={"Prefer": f"wait={seconds}"}, timeout=60)


def test_who_waits_is_answered_with_the_final_job(stack: Stack, user: Client) -> None:
    with stack.workers(1):
        for customer in ("first", "second"):
            began = time.monotonic()
            answer = waiting(user, customer, 5)
            assert time.monotonic() - began < 5
            assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
            assert answer.headers["Preference-Applied"] == "wait=5"
            assert answer.json() == user.job(answer.json()["id"])
        refused = waiting(user, "second", 5)
        assert (refused.status_code, refused.json()["error"]["code"]) == (200, "order_too_soon")


def test_who_waits_in_vain_is_answered_in_the_end_with_the_job_as_it_is(user: Client) -> None:
    began = time.monotonic()
    answer = waiting(user, "c", 1)
    assert 1 <= time.monotonic() - began < 1 + 5
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert "Preference-Applied" not in answer.headers
    began = time.monotonic()
    look = user.get(f"/v1/jobs/{answer.json()['id']}", headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - began < 1 + 5
    assert (look.status_code, look.json()["status"]) == (200, "queued")


def test_200_who_wait_slow_down_nobody_and_are_all_told(stack: Stack, user: Client) -> None:
    answers: list[requests.Response] = []

    def wait_all() -> None:
        answers.extend(at_once(lambda number: waiting(user, f"customer-{number}", 30), WAITERS))

    def plain(number: int) -> float:
        began = time.monotonic()
        if number % 2:
            user.placed(f"plain-{number}")
        else:
            assert user.get("/v1/orders").status_code == 200
        return time.monotonic() - began

    crowd = threading.Thread(target=wait_all)
    crowd.start()
    until(lambda: len(user.listed()) == WAITERS)
    assert max(by_threads(5, plain, range(50))) < PLAIN_WITHIN
    assert crowd.is_alive()
    assert answers == []
    with stack.workers(1):
        began = time.monotonic()
        crowd.join()
        assert time.monotonic() - began < PLAIN_WITHIN
        stack.assert_each_once(user, [job["id"] for job in user.listed()])
    told = [(answer.status_code, answer.json()["status"]) for answer in answers]
    assert told == [(200, "succeeded")] * WAITERS
    assert {answer.headers["Preference-Applied"] for answer in answers} == {"wait=30"}
