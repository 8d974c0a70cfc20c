"""The doctor, on a system that is well: as whoever operates it runs it, with the environment of the API."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.acceptance.stack import Stack
from tests.processes import ROOT, environment, python, until


def flask(stack: Stack, *arguments: str) -> tuple[int, Any]:
    """The exit status of a command, and the document that it prints."""
    done = subprocess.run(
        python("-m", "flask", "--app", "api.app", *arguments, "--json"),
        cwd=ROOT,
        env=environment(stack.settings, **stack.redis_as("api")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_a_system_that_is_well_is_found_to_be_and_its_workers_are_listed(stack: Stack) -> None:
    with stack.workers(2), stack.callers(), stack.deliverers(), stack.scheduler():

        def everybody() -> bool:
            _, found = flask(stack, "queues", "list")
            return all(queue["workers"] for queue in found["data"])

        until(everybody, 60)
        status, found = flask(stack, "doctor")
        failing = {check["name"]: check["detail"] for check in found["checks"] if check["verdict"] == "fail"}
        assert (status, failing) == (0, {})
        assert found["status"] == "warn", "limits and a public URL of production it does not have"
        _, workers = flask(stack, "workers", "list")
        assert sorted(len(worker["queues"]) for worker in workers["data"] if worker["state"] != "dead") == [1, 2, 5, 5]
