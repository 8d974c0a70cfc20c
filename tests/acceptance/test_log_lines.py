"""Every line of every log (CONTRACT.md §9)."""

from __future__ import annotations

import secrets
from contextlib import closing

import psycopg2

from tests.acceptance.stack import LOGS, Stack
from tests.acceptance.test_logs import lines_of
from tests.processes import until
from tests.system.client import Client

REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
    CREATE TRIGGER refuse BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION refuse()
"""


def test_a_write_that_raises_is_tried_again_and_logged_under_its_request_id(stack: Stack, user: Client) -> None:
    request_id = f"acceptance.{secrets.token_hex(8)}"
    with stack.workers(1), stack.scheduler():
        placed = user.until_final(user.placed("c")["id"])
        with closing(psycopg2.connect(stack.settings.database_url)) as somebody, somebody.cursor() as cursor:
            somebody.autocommit = True
            cursor.execute(REFUSE)
            try:
                asked = user("DELETE", placed["links"]["resource"], headers={"X-Request-ID": request_id})
                job_id = asked.json()["id"]
                until(lambda: any(line["event"] == "job_raised" for line in lines_of(stack, "workers", job_id)), 15)
            finally:
                cursor.execute("DROP FUNCTION refuse CASCADE")
        final = user.until_final(job_id)
    assert final["status"] == "succeeded"
    assert final["attempts"] > 1
    lines = lines_of(stack, "workers", job_id)
    assert {line["event"] for line in lines} == {"job_raised", "job"}
    assert [line.get("request_id") for line in lines] == [request_id] * len(lines)


def test_every_line_of_a_log_is_one_json_object(stack: Stack, user: Client) -> None:
    with stack.workers(1), stack.scheduler():
        user.until_final(user.placed("c")["id"])
    for name in LOGS:
        assert [line for line in stack.log(name).read_text().splitlines() if not line.startswith("{")] == []
