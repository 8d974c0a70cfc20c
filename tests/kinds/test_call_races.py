"""Calls whose executions overlap, or whose carrier and users do something in between: no call goes back, is dialled again, or
is left with nobody to settle it."""

from __future__ import annotations

from typing import Any

import pytest

from jobs import call_caps
from jobs.call_book import CallBook
from jobs.kernel.errors import RateLimited
from jobs.kernel.outcome import State
from jobs.kernel.ports import Placed
from local.carrier import Carrier, Faults
from models import call_store
from models.call import Status
from tests.calls import (
    ANSWERED,
    LOST,
    NEVER_TAKEN,
    SILENT,
    Execute,
    again,
    asked_ago,
    between,
    book,
    call,
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
from tests.road import Road
from workers import twilio
from workers.conductor import Conductor
from workers.outside import Services
from workers.settle import HandBack, Settlement
from workers.work import opened

Patch = pytest.MonkeyPatch


# The same job, carried out twice at once


def test_a_call_that_another_execution_enters_in_between_is_not_in_its_own_way(phone: Road, monkeypatch: Patch) -> None:
    call_id = place(phone)
    (delivery,) = phone.reserve()
    look, looked = call_store.lock, []

    def late(session: Any, asked: Any) -> Any:
        if not looked:
            looked.append(look(session, asked))
            with phone.sessions.begin() as other:
                wanted = {"phone_number": ANSWERED, "customer_name": "Ada", "workflow": "support"}
                opened_first = book(other, phone).open(asked, phone.owner, delivery.moment, wanted)
                book(other, phone).dial(opened_first.id)
            return None
        return look(session, asked)

    monkeypatch.setattr(call_store, "lock", late)
    phone.leases.settle(phone.conduct(opened(delivery)))
    assert (looked, phone.status(call_id)) == ([None], State.SCHEDULED)


def test_a_cap_that_refuses_one_execution_takes_nothing_back_of_another_that_asks(
    phone: Road, monkeypatch: Patch
) -> None:
    call_id = waiting(phone)
    phone.make_due(call_id)
    (delivery,) = phone.reserve()
    count, counted = call_caps.within, []

    def once(*asked: Any) -> None:
        counted.append(asked)
        if len(counted) == 1:
            raise RateLimited
        count(*asked)

    monkeypatch.setattr(call_caps, "within", once)
    between(phone, delivery, lambda others: others.dial(call_id))
    row = call(phone, call_id)
    assert (phone.status(call_id), row.status) == (State.SCHEDULED, "dialing")
    assert row.asked_at is not None


def test_a_call_whose_asking_was_in_vain_is_not_unknown_to_who_thought_so(phone: Road, execute: Execute) -> None:
    call_id = waiting(phone)
    execute("UPDATE calls SET status = 'dialing', asked_at = now(), asks = 1")
    phone.make_due(call_id)
    (delivery,) = phone.reserve()
    between(phone, delivery, lambda others: others.wait(call_id, 1))
    assert (phone.status(call_id), call(phone, call_id).status) == (State.SCHEDULED, "dialing")
    again(phone, call_id)
    assert phone.status(call_id) is State.SUCCEEDED


# Ends, and what happens meanwhile


@pytest.mark.parametrize("carrier", [30], indirect=True)
def test_an_end_that_nobody_heard_and_that_is_refused_then_has_ended_nothing(phone: Road, carrier: Carrier) -> None:
    call_id = placed(phone)
    sid = call(phone, call_id).sid
    end = ended(phone, call_id, "completed")
    carrier.faults = Faults(refuse=1, mute=1)
    phone.work()
    assert phone.status(end) is State.SCHEDULED
    carrier.faults = SILENT
    right, wrong = (
        twilio.carrier(phone.settings.model_copy(update={"twilio_auth_token": token}))
        for token in (phone.settings.twilio_auth_token, "rotated")
    )
    phone.carrier = wrong
    again(phone, end)
    assert phone.status(end) is State.SCHEDULED
    assert carrier.calls[sid].status in ("queued", "initiated", "ringing"), "it still goes its way"
    phone.carrier = right
    again(phone, end)
    assert (phone.status(end), call(phone, call_id).status) == (State.SUCCEEDED, "completed")


@pytest.mark.parametrize("carrier", [30], indirect=True)
def test_an_end_that_was_heard_and_never_written_down_succeeds(phone: Road, carrier: Carrier) -> None:
    """PostgreSQL went away before the last transaction; what the carrier then refuses, because it is done, has been done."""
    call_id = placed(phone)
    end = ended(phone, call_id, "completed")
    (delivery,) = phone.reserve()
    conductor = Conductor(phone.sessions, phone.settings, Services(phone.carrier, phone.gates))
    conductor._executor.run = lambda *_: [Settlement(delivery, HandBack(in_doubt=True))]  # type: ignore[method-assign]
    phone.leases.settle(conductor.run(opened(delivery), lambda: True))
    assert carrier.calls[call(phone, call_id).sid].status == "completed"
    phone.work()
    assert phone.status(end) is State.SUCCEEDED, phone.job(end)


@pytest.mark.parametrize(
    ("status", "who"), [(Status.FAILED, "user"), (Status.NOT_PLACED, "admin"), (Status.NOT_PLACED, "user")]
)
def test_a_call_that_comes_to_its_end_meanwhile_is_not_ended_once_more(
    phone: Road, people: dict[str, Person], status: Status, who: str
) -> None:
    call_id = waiting(phone) if status is Status.FAILED else place(phone, NEVER_TAKEN)
    phone.work()
    end = ended(phone, call_id, owner=people[who].id)
    (delivery,) = phone.reserve()

    def settle(others: CallBook) -> None:
        there = others.get(call_id)
        there.reason = "settled"
        others.advance(there, status)

    between(phone, delivery, settle)
    row = call(phone, call_id)
    assert (phone.code(end), row.status, row.reason) == ("call_final", status.value, "settled")
    assert "canceled" not in timeline(phone, call_id)


def test_a_call_has_one_end(phone: Road) -> None:
    call_id = placed(phone)
    for status in ("completed", "busy"):
        told(phone, call(phone, call_id).sid, status)
        phone.work()
    assert timeline(phone, call_id) == ["requested", "dialing", "queued", "completed"]


# What nobody would settle


def test_workers_that_were_away_for_long_look_once_before_they_give_up(
    phone: Road, carrier: Carrier, execute: Execute
) -> None:
    call_id = place(phone, LOST)
    phone.work()
    execute("UPDATE calls SET asked_at = now() - interval '4 minutes'")
    late = phone.with_settings(call_give_up_seconds=200)
    again(late, call_id)
    assert late.status(call_id) is State.SUCCEEDED
    late.close()


def test_a_call_that_waits_for_a_job_that_is_lost_is_closed(phone: Road, execute: Execute) -> None:
    call_id = waiting(phone)
    execute("UPDATE calls SET updated_at = now() - interval '2 hours'")
    reconcile(phone)
    assert call(phone, call_id).status == "requested", "its job still waits"
    phone.redis.flushall()
    reconcile(phone)
    assert call(phone, call_id).status == "canceled"


@pytest.mark.parametrize("hours", [2, 25])
def test_a_call_that_a_worker_died_with_long_ago_is_settled_and_can_be_closed(
    phone: Road, people: dict[str, Person], execute: Execute, hours: int
) -> None:
    call_id = waiting(phone)
    execute("UPDATE calls SET status = 'dialing', asks = 1, updated_at = now() - interval '1 day'")
    asked_ago(execute, call_id, hours * 3600)
    phone.redis.flushall()
    reconcile(phone)
    assert (call(phone, call_id).status, call(phone, call_id).missed_at is None) == ("unknown", False)
    end = ended(phone, call_id, owner=people["admin"].id)
    phone.work()
    assert (phone.status(end), call(phone, call_id).status) == (State.SUCCEEDED, "canceled")


def test_a_call_that_the_carrier_knows_no_more_ends_and_an_admin_can_close_it_before(
    phone: Road, people: dict[str, Person], execute: Execute
) -> None:
    first, second = placed(phone), placed(phone, LOST[:-4] + "0198")
    settings = phone.settings
    with Carrier(settings.twilio_account_sid, settings.twilio_auth_token, faults=SILENT) as fresh:
        phone.carrier = twilio.carrier(settings.model_copy(update={"twilio_api_base_url": fresh.url}))
        silent(execute)
        reconcile(phone)
        mine, admins = (ended(phone, second, owner=people[who].id) for who in ("user", "admin"))
        phone.work()
        assert (phone.code(mine), phone.status(admins)) == ("call_not_ended", State.SUCCEEDED)
        assert (call(phone, first).status, call(phone, second).status) == ("queued", "canceled")
        asked_ago(execute, first, 3601)
        silent(execute)
        reconcile(phone)
        assert call(phone, first).status == "failed"
        assert "does not know" in call(phone, first).reason


def test_no_call_is_looked_for_while_the_carrier_may_be_answering(phone: Road, execute: Execute) -> None:
    call_id = waiting(phone)
    hasty = phone.with_settings(call_silent_seconds=1, call_settle_seconds=1)
    execute("UPDATE calls SET status = 'dialing', asked_at = now() - interval '3 seconds', asks = 1")
    execute("UPDATE calls SET updated_at = now() - interval '1 minute'")
    for _ in range(3):
        reconcile(hasty)
        execute("UPDATE calls SET looked_at = now() - interval '2 seconds'")
    assert call(phone, call_id).missed_at is None
    hasty.close()


def test_silent_calls_are_asked_for_until_there_are_none(phone: Road, execute: Execute) -> None:
    calls = [placed(phone, f"+1415555{number:04}") for number in range(3000, 3012)]
    silent(execute)
    before = [call(phone, call_id).looked_at for call_id in calls]
    reconcile(phone)
    assert before == [None] * len(calls)
    assert all(call(phone, call_id).looked_at for call_id in calls)


# Whose call it is


def test_a_lost_answer_of_long_ago_is_in_nobodys_way(
    phone: Road, carrier: Carrier, people: dict[str, Person], execute: Execute
) -> None:
    old = place(phone, LOST, owner=people["other"].id)
    phone.work()
    asked_ago(execute, old, 5_000_000)
    del carrier.calls[carrier.dials[0].sid]
    call_id = place(phone, LOST)
    phone.work()
    again(phone, call_id)
    assert call(phone, call_id).sid == carrier.dials[1].sid


def test_a_call_that_was_closed_unknown_is_not_taken_for_anothers(
    phone: Road, carrier: Carrier, people: dict[str, Person]
) -> None:
    first = place(phone, LOST)
    phone.work()
    ended(phone, first, owner=people["admin"].id)
    phone.work()
    second = place(phone, LOST, owner=people["other"].id)
    phone.work()
    its_own = carrier.dials[1].sid
    del carrier.calls[its_own]  # as if it had never been taken
    again(phone, second)
    assert call(phone, second).sid is None
    assert "more than one" in call(phone, second).reason


def test_a_callback_knows_better_than_a_guess(phone: Road, carrier: Carrier) -> None:
    """Another system calls the same number with the same account, and our own call is not listed yet."""
    call_id = place(phone, LOST)
    phone.work()
    ours = carrier.dials[0].sid

    class Listing:
        def find(self, *_: object) -> list[Placed]:
            return [Placed("CA-foreign", "ringing")]

    phone.carrier = Listing()  # type: ignore[assignment] # of a carrier, just this
    again(phone, call_id)
    assert call(phone, call_id).sid == "CA-foreign"
    unsigned = told(phone, ours, "completed", 3)
    told(phone, ours, "in_progress", 2, call=str(call_id))
    told(phone, "CA-foreign", "completed", 3)
    phone.work()
    assert phone.status(unsigned) is State.SCHEDULED
    assert (call(phone, call_id).sid, call(phone, call_id).status) == (ours, "in_progress")


def test_a_country_that_is_allowed_no_more_is_not_called_by_what_waits(phone: Road, carrier: Carrier) -> None:
    call_id = waiting(phone)
    strict = phone.with_settings(call_countries=("DE",))
    again(strict, call_id)
    assert (strict.code(call_id), call(phone, call_id).status) == ("country_not_allowed", "failed")
    assert carrier.dials == []
    strict.close()
