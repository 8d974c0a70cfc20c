"""What calls leave in logs and in the names of Redis's keys: of whom was called, nothing."""

from __future__ import annotations

import secrets

import requests

from local.carrier import Carrier, Faults
from tests.acceptance.stack import LOGS, Stack
from tests.processes import until
from tests.system.client import Client


def test_no_phone_number_and_no_name_is_in_a_log_line_or_the_name_of_a_key(
    stack: Stack, user: Client, carrier: Carrier
) -> None:
    """All that can happen to a call happens to one."""
    middle, name = f"{secrets.randbelow(800) + 200}", f"Canary-{secrets.token_hex(8)}"
    endings = ("0199", "0101", "0103", "0104", "0105", "0107", "0108", "0109", "0110", "0111")
    numbers = [f"+1415{middle}{ending}" for ending in endings]
    bodies = [{"phone_number": number, "customer_name": name, "workflow": "sales"} for number in numbers]
    with stack.workers(1), stack.callers(), stack.scheduler():
        jobs = [user.post(body, "/v1/calls").json() for body in bodies]
        for body in (bodies[0] | {"phone_number": f"{numbers[0]}x"}, bodies[0] | {"workflow": numbers[0]}):
            assert user.post(body, "/v1/calls").status_code == 422
        until(lambda: sum(user.job(job["id"])["status"] == "succeeded" for job in jobs) >= len(jobs) - 3, 60)
        assert user.get(f"/v1/calls?workflow={name}").status_code == 422
        ended = user("PATCH", jobs[0]["links"]["resource"], json={"status": "completed"}).json()
        user.until_final(ended["id"])
        carrier.faults = Faults(outage=1)
        waits = user.post(bodies[0] | {"phone_number": f"+1416{middle}0199"}, "/v1/calls").json()
        ends = user("PATCH", jobs[1]["links"]["resource"], json={"status": "completed"}).json()
        user.until_final(ends["id"])
        carrier.faults = Faults()
        forged = {"To": numbers[0], "CallSid": "CA1", "CallStatus": "busy"}
        hook = f"{stack.base_url}/v1/webhooks/twilio/status?To={numbers[0]}"
        assert requests.post(hook, data=forged, timeout=10).status_code == 403
        user.job(waits["id"])
    logs = "".join(stack.log(kind).read_text() for kind in LOGS)
    keys = b" ".join(stack.in_redis(lambda redis: list(redis.scan_iter(count=1000)))).decode()
    assert jobs[0]["id"] in logs
    assert "calls.place" in logs
    for canary in (f"1415{middle}", f"1416{middle}", name, stack.settings.twilio_auth_token):
        assert canary not in logs
        assert canary not in keys
