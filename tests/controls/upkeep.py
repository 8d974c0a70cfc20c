"""The defences of what is kept: that nothing goes too early or is in anybody's way, and a key whose job is forgotten makes
nothing twice."""

from __future__ import annotations

from tests.controls.defences import Defence

UPKEEP = "tests/kinds/test_upkeep.py"
EXPIRED = "tests/kinds/test_expired_keys.py"
MIGRATIONS = "tests/architecture/test_migrations.py"

DEFENCES = (
    Defence(
        "a receipt is kept from when its job finished",
        "models/retention_store.py",
        '"finished_at < %(before)s"',
        '"true"',
        f"{UPKEEP} -k waited_for_months",
    ),
    Defence(
        "an event that is to be delivered stays",
        "models/retention_store.py",
        "\"delivery <> 'pending'\"",
        '"true"',
        f"{UPKEEP} -k still_to_be_delivered",
    ),
    Defence(
        "whoever has locked a row is not waited for",
        "models/retention_store.py",
        " FOR UPDATE SKIP LOCKED",
        "",
        f"{UPKEEP} -k somebody_has_locked",
    ),
    Defence(
        "so many rows are pruned in one transaction",
        "models/retention_store.py",
        " LIMIT %(most)s",
        "",
        f"{UPKEEP} -k many_thousand",
    ),
    Defence(
        "what was pruned before a crash stays pruned",
        "jobs/upkeep.py",
        "TOGETHER = 1_000",
        "TOGETHER = 100_000",
        f"{UPKEEP} -k was_killed",
    ),
    Defence(
        "pruning ends when its time is over",
        "jobs/upkeep.py",
        "            if monotonic() - began > PRUNED_WITHIN:",
        "            if not places:",
        f"{UPKEEP} -k time_is_over",
    ),
    Defence(
        "no days are for ever",
        "jobs/upkeep.py",
        "for kept, given in days.items() if given}",
        "for kept, given in days.items()}",
        f"{UPKEEP} -k for_ever",
    ),
    Defence(
        "who may have lost the lease prunes nothing",
        "jobs/upkeep.py",
        "                outside.insist()\n",
        "",
        f"{UPKEEP} -k lost_the_lease",
    ),
    Defence(
        "a key whose job is forgotten is not tried again",
        "workers/executor.py",
        "if (forgotten := receipts.forgotten(work, error)) is not None:",
        "if (forgotten := None) is not None:",
        f"{EXPIRED} -k neither_made",
    ),
    Defence(
        "only what bears the job's id was made by it",
        "workers/receipts.py",
        'getattr(reported, "constraint_name", None) == f"pk_{table}"',
        'getattr(reported, "constraint_name", None) is not None',
        f"{EXPIRED} -k not_its_own",
    ),
    Defence(
        "a call of long ago is not told as one that was placed now",
        "jobs/call_book.py",
        "if call.created_at < min(moment, pruned):",
        "if False:",
        f"{EXPIRED} -k another_number",
    ),
    Defence(
        "a call is gone on with whose job Redis has lost",
        "jobs/call_book.py",
        "if call.created_at < min(moment, pruned):",
        "if call.created_at < moment:",
        f"{EXPIRED} -k only_redis",
    ),
    Defence(
        "a call is placed however long it has waited",
        "jobs/call_book.py",
        "if call.created_at < min(moment, pruned):",
        "if call.created_at < pruned:",
        f"{EXPIRED} -k waited_for_longer",
    ),
    Defence(
        "nobody waits for an index to be made",
        "migrations/versions/0005_retention_dead_letters.py",
        "postgresql_include=include, postgresql_concurrently=True\n",
        "postgresql_include=include\n",
        f"{MIGRATIONS} -k kept_waiting",
    ),
    Defence(
        "an index that was not finished goes",
        "migrations/versions/0005_retention_dead_letters.py",
        "    op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)\n",
        "",
        f"{MIGRATIONS} -k made_anew",
    ),
    Defence(
        "who waits to migrate is not waited for",
        "migrations/env.py",
        "pg_try_advisory_lock(:key)",
        "pg_advisory_lock(:key) IS NOT NULL",
        f"{MIGRATIONS} -k for_its_turn",
    ),
)
