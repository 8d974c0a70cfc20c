"""Calls, by the real executor and SDK, against the carrier simulator: what is asked, once; and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from pydantic import ValidationError

from config import Settings
from jobs.calls import PlaceCall
from jobs.kernel.errors import Invalid
from jobs.kernel.outcome import State
from jobs.kernel.ports import CARRIER
from jobs.kernel.submit import new_id
from local.carrier import Carrier, Faults
from tests.calls import (
    ANSWERED,
    BUSY,
    BUSY_TWICE,
    FAILED_AFTER,
    INVALID,
    LOST,
    NEVER_TAKEN,
    REFUSED,
    SILENT,
    Execute,
    again,
    asked_ago,
    call,
    done,
    ended,
    place,
    placed,
    reconcile,
    silent,
    timeline,
    told,
    waiting,
)
from tests.conftest import Person
from tests.processes import until
from tests.road import Road
from workers import twilio
from workers.gate import Gate
from workers.work import opened

# What is asked


def test_a_call_is_dialled_once_and_its_result_is_the_call_with_its_timeline(phone: Road, carrier: Carrier) -> None:
    call_id = placed(phone)
    assert [dial.call for dial in carrier.dials] == [str(call_id)]
    result = phone.job(call_id)["result"]
    assert result["sid"] == carrier.dials[0].sid == call(phone, call_id).sid
    assert (result["status"], result["phone_number"], result["user_id"]) == ("queued", ANSWERED, str(phone.owner))
    assert [event["status"] for event in result["timeline"]] == ["requested", "dialing", "queued"]
    assert result["created_at"] == phone.job(call_id)["submitted_at"] == result["timeline"][0]["at"]


@pytest.mark.parametrize(("number", "reason"), [(INVALID, "not valid"), (REFUSED, "country")])
def test_a_call_that_the_carrier_refuses_has_failed_and_says_why_and_its_job_is_rejected(
    phone: Road, carrier: Carrier, number: str, reason: str
) -> None:
    call_id = place(phone, number)
    phone.work()
    assert (phone.status(call_id), phone.code(call_id)) == (State.REJECTED, "call_refused")
    row = call(phone, call_id)
    assert row.status == "failed"
    assert reason in row.reason
    assert number not in str(phone.job(call_id)["error"]) + row.reason
    assert carrier.dials == []
    second = place(phone, number)
    phone.work()
    assert phone.code(second) == "call_refused", "it holds the number no longer"


def test_a_wrong_token_is_a_refusal_too_and_opens_the_circuit(phone: Road, carrier: Carrier) -> None:
    phone.carrier = twilio.carrier(phone.settings.model_copy(update={"twilio_auth_token": "wrong"}))
    phone.gates = {
        CARRIER: Gate(phone.redis, phone.settings.model_copy(update={"circuit_failures": 1}), CARRIER, rate=1000)
    }
    first, second = place(phone), place(phone, BUSY)
    phone.work()
    assert phone.code(first) == "call_refused"
    assert "account" in call(phone, first).reason
    assert phone.status(second) is State.SCHEDULED


def test_without_an_account_no_call_is_placed(road: Road) -> None:
    call_id = place(road)
    road.work()
    assert (road.status(call_id), road.code(call_id)) == (State.REJECTED, "calls_not_configured")
    assert (call(road, call_id).status, call(road, call_id).asked_at) == ("failed", None)


def test_a_worker_without_an_account_leaves_open_what_became_of_a_call(phone: Road) -> None:
    call_id = place(phone, LOST)
    phone.work()
    carrier, phone.carrier = phone.carrier, None
    again(phone, call_id)
    assert phone.status(call_id) is State.SCHEDULED
    phone.carrier = carrier
    again(phone, call_id)
    assert phone.status(call_id) is State.SUCCEEDED


@pytest.mark.parametrize("number", [LOST, FAILED_AFTER])
def test_a_call_whose_answer_was_lost_is_found_at_the_carrier_and_not_dialled_again(
    phone: Road, carrier: Carrier, number: str
) -> None:
    call_id = place(phone, number)
    phone.work()
    assert phone.status(call_id) is State.SCHEDULED
    assert call(phone, call_id).status == "unknown"
    again(phone, call_id)
    assert phone.status(call_id) is State.SUCCEEDED
    assert phone.job(call_id)["attempts"] == 1
    assert call(phone, call_id).sid == carrier.dials[0].sid
    assert len(carrier.dials) == 1
    assert "unknown" in timeline(phone, call_id)


def test_a_call_that_is_found_nowhere_twice_minutes_apart_was_not_placed(
    phone: Road, carrier: Carrier, execute: Execute
) -> None:
    call_id = place(phone, NEVER_TAKEN)
    phone.work()
    again(phone, call_id)  # the carrier may just be answering: that says nothing
    assert call(phone, call_id).missed_at is None
    asked_ago(execute, call_id, 60)
    again(phone, call_id)
    again(phone, call_id)  # seconds later: that says no more than the first time
    assert (phone.status(call_id), call(phone, call_id).status) == (State.SCHEDULED, "unknown")
    execute("UPDATE calls SET missed_at = missed_at - interval '3 minutes'")
    again(phone, call_id)
    assert (phone.status(call_id), phone.code(call_id)) == (State.FAILED, "not_placed")
    assert call(phone, call_id).status == "not_placed"
    assert carrier.dials == []
    second = place(phone, NEVER_TAKEN)
    phone.work()
    assert phone.status(second) is State.SCHEDULED, "it holds the number no longer"


def test_a_call_that_several_could_be_is_left_to_people_and_an_admin_can_close_it(
    phone: Road, carrier: Carrier, people: dict[str, Person], execute: Execute
) -> None:
    call_id, others = place(phone, LOST), place(phone, LOST, owner=people["other"].id)
    phone.work()
    again(phone, call_id)
    assert phone.status(call_id) is State.SCHEDULED
    assert "more than one" in call(phone, call_id).reason
    asked_ago(execute, call_id, 3601)
    again(phone, call_id)
    assert (phone.status(call_id), phone.code(call_id)) == (State.FAILED, "outcome_unknown")
    assert call(phone, call_id).status == "unknown"
    mine, admins = (ended(phone, call_id, owner=people[who].id) for who in ("user", "admin"))
    phone.work()
    assert (phone.code(mine), phone.status(admins)) == ("call_unknown", State.SUCCEEDED)
    assert call(phone, call_id).status == "canceled"
    again(phone, others)
    assert len(carrier.dials) == 2


@pytest.mark.parametrize("number", [BUSY_TWICE])
def test_a_carrier_that_has_too_much_to_do_is_asked_again_and_no_attempt_is_used_up(
    phone: Road, carrier: Carrier, number: str
) -> None:
    call_id = place(phone, number)
    phone.work()
    assert (phone.status(call_id), call(phone, call_id).status) == (State.SCHEDULED, "dialing")
    again(phone, call_id)
    again(phone, call_id)
    assert phone.status(call_id) is State.SUCCEEDED
    assert phone.job(call_id)["attempts"] == 1
    assert call(phone, call_id).asks == 3
    assert len(carrier.dials) == 1


def test_a_connection_that_is_refused_asks_nothing_and_is_made_again(phone: Road, carrier: Carrier) -> None:
    carrier.faults = Faults(refuse=1)
    call_id = place(phone)
    phone.work()
    again(phone, call_id)
    assert (phone.status(call_id), carrier.dials) == (State.SCHEDULED, [])
    carrier.faults = SILENT
    again(phone, call_id)
    assert phone.status(call_id) is State.SUCCEEDED
    assert len(carrier.dials) == 1


def test_a_call_that_a_dead_worker_had_begun_to_ask_for_is_never_asked_for_again(
    phone: Road, carrier: Carrier, execute: Execute
) -> None:
    """Whether it died before it asked or after, nobody can know."""
    call_id = waiting(phone)
    execute("UPDATE calls SET status = 'dialing', asked_at = now(), asks = 1")
    again(phone, call_id)
    assert (phone.status(call_id), call(phone, call_id).status) == (State.SCHEDULED, "unknown")
    again(phone, call_id)
    assert carrier.dials == []


def test_a_worker_that_may_have_lost_its_lease_does_not_ask(phone: Road, carrier: Carrier) -> None:
    call_id = place(phone)
    deliveries = phone.reserve()
    settlements = phone.conduct(opened(deliveries[0]), lambda: False)
    phone.leases.settle(settlements)
    assert carrier.dials == []
    assert call(phone, call_id).asked_at is None
    phone.work()
    assert len(carrier.dials) == 1


# Who may be called


def test_one_open_call_of_a_user_to_a_number_at_a_time(
    phone: Road, carrier: Carrier, people: dict[str, Person]
) -> None:
    first = placed(phone)
    second, others = place(phone), place(phone, owner=people["other"].id)
    phone.work()
    assert (phone.status(second), phone.code(second)) == (State.REJECTED, "call_in_progress")
    assert phone.status(others) is State.SUCCEEDED
    assert phone.rows(f"SELECT * FROM calls WHERE id = '{second}'") == []
    told(phone, call(phone, first).sid, "completed", 3)
    phone.work()
    assert phone.status(placed(phone)) is State.SUCCEEDED
    assert len(carrier.dials) == 3


@pytest.mark.parametrize("state", ["requested", "dialing", "unknown", "in_progress"])
def test_every_open_status_holds_the_number(phone: Road, execute: Execute, state: str) -> None:
    waiting(phone)
    execute("UPDATE calls SET status = %s", state)
    second = place(phone)
    phone.work()
    assert phone.code(second) == "call_in_progress"


@pytest.mark.parametrize(
    ("setting", "number"), [("rate_limit_calls_user", BUSY), ("rate_limit_calls_destination", ANSWERED)]
)
def test_what_was_really_asked_for_is_counted_again_before_a_call_is_placed(
    phone: Road, carrier: Carrier, people: dict[str, Person], execute: Execute, setting: str, number: str
) -> None:
    capped = phone.with_settings(**{setting: "2/hour"})
    for _ in range(2):
        done(capped, placed(capped))
    owner = capped.owner if setting == "rate_limit_calls_user" else people["other"].id
    third = place(capped, number, owner=owner)
    capped.work()
    assert (capped.status(third), capped.code(third)) == (State.REJECTED, "rate_limited")
    assert 0 < capped.job(third)["error"]["retry_after"] <= 3600
    assert len(carrier.dials) == 2
    execute("UPDATE calls SET asked_at = asked_at - interval '1 hour'")
    placed(capped, number, owner=owner)
    capped.close()


def test_a_call_that_waits_is_counted_when_its_turn_has_come(phone: Road, carrier: Carrier, execute: Execute) -> None:
    capped = phone.with_settings(rate_limit_calls_user="1/hour")
    late = waiting(capped)
    done(capped, placed(capped, BUSY))
    again(capped, late)
    assert (capped.status(late), capped.code(late)) == (State.REJECTED, "rate_limited")
    assert call(capped, late).status == "failed"
    assert len(carrier.dials) == 1
    capped.close()


def test_somebody_who_lost_the_right_to_it_calls_nobody_but_what_is_asked_for_comes_to_its_end(
    phone: Road, carrier: Carrier, execute: Execute
) -> None:
    late, lost = waiting(phone), place(phone, LOST)
    phone.work()
    execute("UPDATE users SET disabled_at = now() WHERE id = %s::uuid", str(phone.owner))
    again(phone, late)
    again(phone, lost)
    assert (phone.status(late), phone.code(late)) == (State.REJECTED, "forbidden")
    assert phone.status(lost) is State.SUCCEEDED
    assert len(carrier.dials) == 1
    reconcile(phone)
    assert call(phone, late).status == "canceled"


# What the carrier tells

STORY = [("initiated", 0), ("ringing", 1), ("in_progress", 2), ("completed", 3)]


def test_callbacks_in_any_order_and_twice_give_the_same_timeline(phone: Road) -> None:
    """Every order there is, each of a call of its own, and backwards once more."""
    orders = [[*order, *order[::-1]] for order in permutations(STORY)]
    calls = [placed(phone, f"+1415555{number:04}") for number in range(2000, 2000 + len(orders))]
    sids, began = [call(phone, call_id).sid for call_id in calls], datetime.now(UTC).replace(microsecond=0)
    for turn in range(2 * len(STORY)):
        for sid, order in zip(sids, orders, strict=True):
            status, sequence = order[turn]
            told(phone, sid, status, sequence, at=(began + timedelta(seconds=sequence)).isoformat())
        phone.work()
    for call_id in calls:
        assert call(phone, call_id).status == "completed"
        assert timeline(phone, call_id) == ["requested", "dialing", "queued", *(status for status, _ in STORY)]
        times = phone.rows(
            f"SELECT at FROM call_events WHERE call_id = '{call_id}' AND source = 'callback' ORDER BY at"
        )
        assert [row.at - began for row in times] == [timedelta(seconds=at) for at in range(4)]


def test_callbacks_of_many_calls_are_recorded_together(phone: Road) -> None:
    calls = [placed(phone, f"+1415555{number:04}") for number in range(2000, 2010)]
    for status, sequence in STORY[::-1]:
        for call_id in calls:
            told(phone, call(phone, call_id).sid, status, sequence, duration=7)
    phone.work()
    rows = phone.rows("SELECT status, duration, version FROM calls")
    assert [tuple(row) for row in rows] == [("completed", 7, rows[0].version)] * 10


@pytest.mark.parametrize("final", ["completed", "busy", "no_answer", "failed", "canceled"])
def test_a_final_status_never_changes(phone: Road, final: str) -> None:
    call_id = placed(phone)
    sid = call(phone, call_id).sid
    for status, sequence in ((final, 3), ("ringing", 1), ("completed", 4), ("busy", 5)):
        told(phone, sid, status, sequence)
        phone.work()
    assert call(phone, call_id).status == final


def test_a_callback_that_comes_before_the_answer_names_the_call(
    phone: Road, carrier: Carrier, execute: Execute
) -> None:
    call_id = waiting(phone)
    execute("UPDATE calls SET status = 'dialing', asked_at = now(), asks = 1")
    told(phone, "CA1", "ringing", 1, call=str(call_id))
    phone.work()
    assert (call(phone, call_id).sid, call(phone, call_id).status) == ("CA1", "ringing")
    again(phone, call_id)
    assert phone.status(call_id) is State.SUCCEEDED
    assert phone.job(call_id)["result"]["status"] == "ringing"
    assert carrier.dials == []


def test_a_callback_that_names_no_call_waits_for_the_answer(phone: Road, execute: Execute) -> None:
    early = told(phone, "CA-early", "completed", 3)
    phone.work()
    assert phone.status(early) is State.SCHEDULED
    call_id = placed(phone)
    execute("UPDATE calls SET sid = 'CA-early'")
    again(phone, early)
    assert (phone.status(early), call(phone, call_id).status) == (State.SUCCEEDED, "completed")


def test_a_name_that_the_carrier_gives_twice_is_both_calls(phone: Road, execute: Execute) -> None:
    first = placed(phone)
    second = waiting(phone, BUSY)
    execute("UPDATE calls SET sid = 'CA-same'")
    told(phone, "CA-same", "ringing", 1, call=str(second))
    told(phone, "CA-same", "completed", 3, call=str(first))
    phone.work()
    assert [call(phone, call_id).status for call_id in (first, second)] == ["completed", "ringing"]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "2099-01-31T09:30:00Z"])
def test_a_time_that_cannot_be_is_not_believed(phone: Road, at: str) -> None:
    call_id = placed(phone)
    told(phone, call(phone, call_id).sid, "ringing", 1, at=at)
    phone.work()
    (event,) = phone.rows("SELECT at FROM call_events WHERE status = 'ringing'")
    assert abs(event.at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_callback_settles_a_call_whose_answer_was_lost(phone: Road, carrier: Carrier) -> None:
    call_id = place(phone, LOST)
    phone.work()
    told(phone, carrier.dials[0].sid, "completed", 3, call=str(call_id))
    phone.work()
    row = call(phone, call_id)
    assert (row.status, row.sid, row.reason) == ("completed", carrier.dials[0].sid, None)
    again(phone, call_id)
    assert phone.status(call_id) is State.SUCCEEDED


def test_what_is_told_of_no_call_of_ours_or_of_one_by_another_name_changes_nothing(phone: Road) -> None:
    call_id, others = placed(phone), placed(phone, BUSY)
    before = call(phone, call_id)
    jobs = [
        told(phone, "CA-nobodys", "completed"),
        told(phone, "CA-another", "completed", call=str(call_id)),
        told(phone, call(phone, others).sid, "completed", call=str(call_id)),
        told(phone, "CA-late", "completed", call=str(new_id())),
    ]
    phone.work()
    assert [phone.code(job) for job in jobs] == [None, "call_has_two_names", "call_has_two_names", None]
    assert call(phone, call_id) == before
    for early in (jobs[0], jobs[3]):
        assert phone.status(early) is State.SCHEDULED, "its call may be known in a moment"
        phone.redis.hset(f"rq:job:{early}", "created_at", "2026-01-31T09:30:00.000000Z")
        again(phone, early)
        assert phone.code(early) == "not_found"


# How it is ended


def test_a_call_that_waits_here_is_canceled_here(phone: Road, carrier: Carrier) -> None:
    call_id = waiting(phone)
    end = ended(phone, call_id)
    phone.work()
    assert phone.job(end)["result"]["status"] == "canceled"
    again(phone, call_id)
    assert (phone.status(call_id), carrier.dials) == (State.CANCELED, [])


@pytest.mark.parametrize("carrier", [30], indirect=True)
@pytest.mark.parametrize("how", ["canceled", "completed"])
def test_a_live_call_is_ended_at_the_carrier(phone: Road, carrier: Carrier, how: str) -> None:
    call_id = placed(phone)
    end = ended(phone, call_id, how)
    phone.work()
    assert phone.job(end)["result"]["status"] in {"canceled", "completed"}
    assert call(phone, call_id).status == carrier.calls[call(phone, call_id).sid].status.replace("-", "_")
    second = ended(phone, call_id, how)
    phone.work()
    assert (phone.status(second), phone.code(second)) == (State.REJECTED, "call_final")


def test_an_end_whose_answer_was_lost_is_asked_for_again_and_succeeds(phone: Road, carrier: Carrier) -> None:
    call_id = placed(phone)
    end = ended(phone, call_id, "completed")
    carrier.faults = Faults(outage=1, mute=1)
    phone.work()
    assert phone.status(end) is State.SCHEDULED
    carrier.faults = SILENT
    told(phone, call(phone, call_id).sid, "completed", 3)  # for it was heard
    phone.work()
    again(phone, end)
    assert phone.status(end) is State.SUCCEEDED


@pytest.mark.parametrize("carrier", [30], indirect=True)
def test_a_call_is_ended_by_its_user_and_by_admins_and_as_it_was_seen(
    phone: Road, people: dict[str, Person], execute: Execute
) -> None:
    call_id = placed(phone)
    foreign = ended(phone, call_id, owner=people["other"].id)
    stale = ended(phone, call_id, if_match=("v1",))
    gone = ended(phone, new_id())
    phone.work()
    assert [phone.code(job) for job in (foreign, stale, gone)] == ["forbidden", "precondition_failed", "not_found"]
    admins = ended(phone, call_id, "completed", owner=people["admin"].id)
    phone.work()
    assert phone.status(admins) is State.SUCCEEDED


def test_a_call_that_is_just_being_placed_is_ended_once_it_is(phone: Road, carrier: Carrier, execute: Execute) -> None:
    call_id = waiting(phone)
    execute("UPDATE calls SET status = 'dialing', asked_at = now(), asks = 1")
    end = ended(phone, call_id, "completed")
    phone.work()
    assert phone.status(end) is State.SCHEDULED
    assert call(phone, call_id).status == "dialing"


# What never came


def test_a_call_of_which_nothing_is_heard_is_looked_up(phone: Road, carrier: Carrier, execute: Execute) -> None:
    call_id = placed(phone, BUSY)
    until(lambda: carrier.calls[call(phone, call_id).sid].status == "busy", 30)
    reconcile(phone)
    assert call(phone, call_id).status == "queued", "nothing is heard for a moment only"
    silent(execute)
    reconcile(phone)
    assert call(phone, call_id).status == "busy"
    assert phone.rows("SELECT source FROM call_events WHERE status = 'busy'")[0].source == "reconciliation"


def test_a_call_that_has_lost_its_job_is_settled_all_the_same(phone: Road, carrier: Carrier, execute: Execute) -> None:
    call_id = place(phone, LOST)
    phone.work()
    phone.redis.flushall()
    silent(execute)
    reconcile(phone)
    assert call(phone, call_id).sid == carrier.dials[0].sid
    assert len(carrier.dials) == 1


def test_a_call_is_looked_up_by_one_at_a_time_and_by_nobody_while_the_circuit_is_open(
    phone: Road, carrier: Carrier, execute: Execute
) -> None:
    placed(phone)
    silent(execute)
    asked = len(carrier.requests)
    carrier.faults = Faults(outage=1, mute=1)
    strict = phone.settings.model_copy(update={"circuit_failures": 1})
    phone.gates = {CARRIER: Gate(phone.redis, strict, CARRIER, rate=1000)}
    reconcile(phone)
    reconcile(phone)
    silent(execute)
    reconcile(phone)
    assert len(carrier.requests) == asked + 1


# What stands at its door


@pytest.mark.parametrize(
    ("allowed", "number", "passes"),
    [
        ((), "+4930123456", True),
        (("US", "CA"), "+14155550123", True),
        (("US",), "+15551234567", True),  # an area that is nobody's: as good as any of +1
        (("US",), "+16135550123", False),  # Ottawa
        (("DE",), "+4930123456", True),
        (("US",), "+4930123456", False),
    ],
)
def test_calls_go_to_countries_that_are_allowed(
    base_settings: Settings, allowed: tuple[str, ...], number: str, passes: bool
) -> None:
    command = PlaceCall.model_validate({"phone_number": number, "customer_name": "Ada", "workflow": "sales"})
    settings = base_settings.model_copy(update={"call_countries": allowed})
    if passes:
        command.check(settings)
    else:
        with pytest.raises(Invalid, match="country"):
            command.check(settings)


@pytest.mark.parametrize(
    "number",
    [
        "",
        "4155550123",
        "+0155550123",
        "+1415555012a",
        "+1 415 555 0123",
        "+123",
        "+19005550123",
        "+4402078448441",
        "+114158444001",
        "+881612345678",
        "+80812345678",
        "+" + "1" * 16,
    ],
)
def test_what_is_no_number_that_can_be_called_is_refused(number: str) -> None:
    with pytest.raises(ValidationError):
        PlaceCall.model_validate({"phone_number": number, "customer_name": "Ada", "workflow": "sales"})
