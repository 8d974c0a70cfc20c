"""The defences of calls: that nobody is phoned twice, or at somebody else's cost."""

from __future__ import annotations

from tests.controls.defences import Defence

CALLS = "tests/kinds/test_calls.py"

DEFENCES = (
    Defence(
        "a call whose answer was lost is not dialled again",
        "jobs/call_book.py",
        "        self.advance(call, Status.UNKNOWN)\n        return Again(",
        "        call.asked_at = None\n        return Again(",
        f"{CALLS} -k answer_was_lost_is_found",
    ),
    Defence(
        "a call that a dead worker had begun is not dialled again",
        "jobs/calls.py",
        "return lambda ctx: CallBook(ctx).lose(job.id)\n        if call.asked_at",
        "return lambda ctx: CallBook(ctx).wait(job.id, call.asks)\n        if call.asked_at",
        f"{CALLS} -k dead_worker",
    ),
    Defence(
        "who may have lost the lease does not dial",
        "jobs/calls.py",
        "                outside.insist()\n",
        "",
        f"{CALLS} -k lost_its_lease",
    ),
    Defence(
        "one open call of a user to a number",
        "migrations/versions/0003_calls.py",
        '["owner_id", "phone_number"], unique=True,',
        '["owner_id", "phone_number"],',
        f"{CALLS} -k one_open_call",
    ),
    Defence(
        "one empty look is not enough",
        "jobs/call_book.py",
        'elif now - call.missed_at >= self._seconds("call_settle_seconds"):',
        "elif True:",
        f"{CALLS} -k nowhere_twice",
    ),
    Defence(
        "a call that several could be is nobody's",
        "jobs/call_book.py",
        "elif len(candidates) == 1 and not call_store.rivals(self._session, call, BEFORE + AFTER):",
        "elif candidates:",
        f"{CALLS} -k several_could_be",
    ),
    Defence(
        "a call that has ended goes on no more",
        "models/call.py",
        "return not earlier.final and self.rank > earlier.rank",
        "return self.rank != earlier.rank or self != earlier",
        f"{CALLS} -k final_status",
    ),
    Defence(
        "calls are counted again before the dial",
        "jobs/call_book.py",
        "        call_caps.within(self._ctx, call.owner_id, call.phone_number)\n",
        "",
        f"{CALLS} -k waits_is_counted",
    ),
    Defence(
        "countries are asked for",
        "api/writes.py",
        "    value.check(services().settings)\n",
        "",
        "tests/http/test_calls_writes.py -k country",
    ),
    Defence(
        "a number has one spelling",
        "jobs/phone_numbers.py",
        "phonenumbers.PhoneNumberFormat.E164) != number:",
        "phonenumbers.PhoneNumberFormat.E164) is None:",
        f"{CALLS} -k can_be_called_is_refused",
    ),
    Defence(
        "numbers that cost extra are refused",
        "jobs/phone_numbers.py",
        "(PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST)",
        "(PhoneNumberType.PAGER,)",
        f"{CALLS} -k can_be_called_is_refused",
    ),
)
