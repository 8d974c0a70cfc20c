"""The defences of dead letters: that nothing private is shown of them, and each is replayed once, or given up for good."""

from __future__ import annotations

from tests.controls.defences import Defence

KINDS = "tests/kinds/test_dead_letters.py"
HTTP = "tests/http/test_dead_letters.py"
PRIVATE = "tests/unit/test_private_fields.py"

DEFENCES = (
    Defence(
        "what is private is not shown",
        "jobs/kernel/private.py",
        "    if field is None or is_private(field):\n        return REDACTED\n",
        "",
        f"{PRIVATE} -k without_what_is_private",
    ),
    Defence(
        "what is private in a part is not shown",
        "jobs/kernel/private.py",
        "        return redacted(model, value)\n",
        "        return value\n",
        f"{PRIVATE} -k without_what_is_private",
    ),
    Defence(
        "a text that is not marked is found out",
        "jobs/orders.py",
        'examples=["customer-42"]),\n    PRIVATE,\n',
        'examples=["customer-42"]),\n',
        f"{PRIVATE} -k every_text",
    ),
    Defence(
        "of what cannot be read the types alone are shown",
        "jobs/kernel/dead_letters.py",
        "{name: _type(value) for name, value in body.items()}",
        "body",
        f"{PRIVATE} -k types_alone",
    ),
    Defence(
        "what is discarded is no dead letter",
        "models/receipt.py",
        'and_(cls.state == "failed", cls.discarded_at.is_(None))',
        'and_(cls.state == "failed")',
        f"{KINDS} -k no_dead_letter",
    ),
    Defence(
        "only whoever may sends what is about dead letters",
        "jobs/dead_letters.py",
        "return super().admits(role, sender) or (role is None and sender is None)",
        "return True",
        f"{KINDS} -k it_is_for_admins",
    ),
    Defence(
        "what fails again meanwhile is not run a second time",
        "jobs/dead_letters.py",
        "failed_before=min(filter(None, (which.failed_before, job.moment)))",
        "failed_before=which.failed_before",
        f"{KINDS} -k second_time",
    ),
    Defence(
        "a worker that may have lost its lease replays no more",
        "jobs/dead_letters.py",
        "        outside.insist()\n        with outside.transaction() as ctx:\n            if _stops(ctx, job, done, total):\n                return None\n            return dead",
        "        with outside.transaction() as ctx:\n            if _stops(ctx, job, done, total):\n                return None\n            return dead",
        f"{KINDS} -k dies_on_the_way",
    ),
    Defence(
        "a page holds no more than memory does",
        "models/letter_store.py",
        ".where(among.c.before < MOST_BYTES)",
        "",
        f"{KINDS} -k memory_allows",
    ),
    Defence(
        "what is of nobody is there for admins",
        "api/targets.py",
        "return row is not None and who is not None and who.sees(row[0])",
        "return row is not None and row[0] is not None and who is not None and who.sees(row[0])",
        f"{HTTP} -k of_nobody",
    ),
)
