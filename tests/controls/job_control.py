"""The defences of job control: that a cancel takes back what it can and nothing else, and a failed job runs again once."""

from __future__ import annotations

from tests.controls.defences import Defence

CANCEL = "tests/runtime/test_cancel.py"
RERUN = "tests/runtime/test_rerun.py"
PRIORITY = "tests/runtime/test_priority.py"
CANCELED = "tests/kinds/test_canceled.py"
CONTROL = "tests/http/test_job_control.py"

DEFENCES = (
    Defence(
        "a worker cancels what somebody has asked to cancel",
        "workers/guard.py",
        "if undecided and work.delivery.cancel:",
        "if False:",
        f"{CANCEL} -k waits_for_its_next_try",
    ),
    Defence(
        "what was canceled before any worker had it is not carried out",
        "workers/work.py",
        "    if delivery.canceled_at is not None:\n        work.outcome = Done(State.CANCELED)\n",
        "",
        f"{CANCEL} -k over_at_once",
    ),
    Defence(
        "what a worker has had is not called canceled at once",
        "jobs/kernel/cancel.lua",
        "if not had then redis.call('HSET'",
        "if true then redis.call('HSET'",
        f"{CANCEL} -k can_still_decide",
    ),
    Defence(
        "a worker that has said no to a cancel does not hear it all the time",
        "workers/settle.lua",
        "known[1] > (known[3] or '')",
        "true",
        f"{CANCELED} -k looked_for",
    ),
    Defence(
        "who asks again does not have it decided anew",
        "jobs/kernel/cancel.lua",
        "if known[4] then return 'asked' end\n",
        "",
        f"{CANCELED} -k looked_for",
    ),
    Defence(
        "what is canceled while it is put off does not wait",
        "workers/settle.lua",
        "local state = unanswered and 'queued' or 'scheduled'",
        "local state = 'scheduled'",
        f"{CANCEL} -k puts_it_off",
    ),
    Defence(
        "a reaper leaves canceled what is",
        "workers/requeue.lua",
        "local open = known[1] ~= 'canceled'",
        "local open = true",
        f"{CANCEL} -k no_second_receipt",
    ),
    Defence(
        "a cancel looks for a receipt, whatever Redis says",
        "api/job_control.py",
        "job = services().ledger.decided(job_id)",
        "job = services().ledger.find(job_id)",
        f"{CONTROL} -k receipt_wins",
    ),
    Defence(
        "foreign is absent, for job control",
        "api/job_control.py",
        "if job is None or not caller().sees(job.owner):",
        "if job is None:",
        "tests/http/test_access.py -k somebody_elses",
    ),
    Defence(
        "a long job looks whether it is to stop",
        "workers/progress.py",
        "                elif heard == ASKED_TO_STOP and done < total:\n                    raise Cancelled(job_id)\n",
        "",
        f"{CANCELED} -k ten_thousand",
    ),
    Defence(
        "a call takes back what it has opened",
        "jobs/calls.py",
        "        CallBook(ctx).withdraw(job.id)\n",
        "        return\n",
        f"{CANCELED} -k number_free_again",
    ),
    Defence(
        "a call that the carrier was asked for is not canceled",
        "jobs/calls.py",
        "return call is not None and (call.asked_at is not None or call.sid is not None)",
        "return False",
        f"{CANCELED} -k ends_as_it_does",
    ),
    Defence(
        "a hang-up that the carrier may have heard of is not canceled",
        "jobs/calls.py",
        "return call is not None and call.ended_by == job.id and call.sid is not None",
        "return False",
        f"{CANCELED} -k may_have_heard",
    ),
    Defence(
        "a delivery that is canceled says so of its event",
        "jobs/events.py",
        '        self._become(ctx, Delivery.FAILED, "Canceled.")\n',
        "        return\n",
        f"{CANCELED} -k delivery_that_is_canceled",
    ),
    Defence(
        "a failed receipt gives way to a later run alone",
        "workers/receipts.py",
        "if not (state == State.FAILED and run < runs[job_id])",
        "if state != State.FAILED",
        f"{RERUN} -k old_letter",
    ),
    Defence(
        "a failed job is run again once, however many ask",
        "jobs/kernel/rerun.lua",
        "if known[1] and (tonumber(known[2]) or 1) >= run then\n    word = 'under_way'\n  elseif known[1] and known[1] ~= 'failed' then",
        "if false then\n    word = 'under_way'\n  elseif false then",
        f"{RERUN} -k fifty",
    ),
    Defence(
        "who comes with an old letter begins no run anew",
        "jobs/kernel/rerun.lua",
        "if known[1] and (tonumber(known[2]) or 1) >= run then",
        "if known[1] and known[1] ~= 'failed' then",
        f"{RERUN} -k old_letter",
    ),
    Defence(
        "what was not told yet is not taken for the next run",
        "jobs/kernel/rerun.lua",
        "if known[1] and (tonumber(known[2]) or 1) >= run then",
        "if known[1] and (known[1] ~= 'failed' or (tonumber(known[2]) or 1) >= run) then",
        f"{RERUN} -k not_told_yet",
    ),
    Defence(
        "a new run is one that a worker has had",
        "jobs/kernel/rerun.lua",
        "'attempts', 0}",
        "nil}",
        f"{CANCEL} -k new_run",
    ),
    Defence(
        "the cap counts all lanes",
        "jobs/kernel/lanes.lua",
        "for _, lane in ipairs(LANES) do jobs = jobs",
        "for _, lane in ipairs({''}) do jobs = jobs",
        f"{PRIORITY} -k cap_counts",
    ),
    Defence(
        "what is put back goes to its own lane",
        "workers/requeue.lua",
        "push(known[2] and queue_of(known[2]) == queue and known[2] or queue, id, true)",
        "push(queue, id, true)",
        f"{PRIORITY} -k front_of_its_lane",
    ),
)
