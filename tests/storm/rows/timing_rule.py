"""The order timing rule under many workers: one order of a customer is accepted, whoever asks how often."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from uuid import UUID

from jobs.kernel import keys
from tests.processes import until
from tests.storm.load import Direct
from tests.storm.row import Control, Result, Row, Trial
from tests.system.stack import Stack
from tests.system.threads import at_once, by_threads

WORKERS = 4
AT_ONCE = 200
BATCH = 50
FINAL_WITHIN = 90


def run(trial: Trial) -> Result:
    orders, customers = trial.pick(20_000, 1_000), trial.pick(1_000, 50)
    with ExitStack() as running:
        stack = running.enter_context(trial.stack(order_window_scope="customer"))
        running.enter_context(stack.slow_commits(0.01))
        running.enter_context(stack.workers(WORKERS, BATCH))
        before = deadlocks(stack)
        one = stack.person()
        at_once(lambda _: one.placed("the-customer"), AT_ONCE)
        many = stack.person()
        assert many.owner
        direct = Direct(stack, many.owner)
        direct.redis.sadd(keys.PAUSED, "orders")  # so that all workers then meet over full queues
        by_threads(8, lambda number: _place(direct, f"customer-{number % customers}"), range(orders))
        direct.redis.srem(keys.PAUSED, "orders")
        began = time.monotonic()
        for owner, count in ((one.owner, AT_ONCE), (many.owner, orders)):
            until(
                lambda owner=owner, count=count: sum(outcomes(stack, owner).values()) >= count,
                FINAL_WITHIN * trial.slack,
            )
        took = time.monotonic() - began
        accepted = {owner: _accepted(stack, owner) for owner in (one.owner, many.owner)}
        said = outcomes(stack, one.owner) + outcomes(stack, many.owner)
        raised = [line for line in stack.lines("workers") if line["event"] == "job_raised"]
        met = deadlocks(stack) - before
    result = Result(
        f"of {AT_ONCE} parallel orders of one customer {sum(accepted[one.owner].values())} accepted; of {orders:,} of "
        f"{customers:,} customers {sum(accepted[many.owner].values()):,}; {dict(said)}; {met} deadlocks; "
        f"all final {took:.1f} s after the workers began"
    )
    for owner, expected in ((one.owner, 1), (many.owner, customers)):
        wrong = {name: times for name, times in accepted[owner].items() if times != 1}
        result.want(not wrong, f"accepted more than once: {len(wrong)} customers, like {list(wrong.items())[:3]}")
        result.want(len(accepted[owner]) == expected, f"{len(accepted[owner])} of {expected} customers have an order")
    result.want(set(said) <= {"succeeded", "order_too_soon"}, f"other outcomes: {dict(said)}")
    result.want(not met, f"{met} deadlocks")
    result.want(not raised, f"{len(raised)} executions raised")
    return result


def _place(direct: Direct, customer: str) -> None:
    direct.submit("orders.place", services=["123"], total_fee="100.00", customer_id=customer)


def outcomes(stack: Stack, owner: UUID | None) -> Counter[str]:
    """How often each outcome: a status, or the code of a refusal."""
    asked = "SELECT coalesce(error->>'code', state), count(*) FROM receipts WHERE owner_id = %s GROUP BY 1"
    return Counter(dict(stack.rows(asked, str(owner))))


def _accepted(stack: Stack, owner: UUID | None) -> dict[str, int]:
    """How many orders of each customer were accepted, as the effect log has it."""
    asked = """
        SELECT customer_id, count(*) FROM orders JOIN effect_log ON effect_log.row_id = orders.id
        WHERE orders.owner_id = %s GROUP BY 1
    """
    return dict(stack.rows(asked, str(owner)))


def deadlocks(stack: Stack) -> int:
    """How many PostgreSQL has had to break."""
    ((count,),) = stack.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


ROW = Row(
    "timing rule",
    "exactly one accepted per customer; the rest order_too_soon; no deadlock",
    run,
    (Control("accepted more than once", "no_scope_locks"),),
)
