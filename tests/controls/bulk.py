"""The defences of bulks: that lines are as good as single writes, and no burden to others."""

from __future__ import annotations

from tests.controls.defences import Defence

BULK = "tests/http/test_bulk.py"
KEYS = "tests/http/test_bulk_keys.py"
LIMITS = "tests/http/test_bulk_limits.py"
FAULTS = "tests/http/test_bulk_faults.py"

DEFENCES = (
    Defence(
        "foreign is absent, for lines",
        "api/bulk_sender.py",
        "                    one.there = wanted in there",
        "                    one.there = True",
        f"{BULK} -k strangers_target",
    ),
    Defence(
        "lines take a right",
        "api/bulk_sender.py",
        "if not line.command.admits(self._who.role, self._who.id):",
        "if line.command is None:",
        f"{BULK} -k takes_the_right",
    ),
    Defence(
        "a repeat is known by its receipt",
        "api/bulk_sender.py",
        "                one.job = earlier",
        "                pass",
        f"{KEYS} -k as_it_now_is",
    ),
    Defence(
        "passwords in lines are counted",
        "api/bulk_sender.py",
        "            self._own.limits.count_caller(self._who)",
        "            pass",
        f"{LIMITS} -k password",
    ),
    Defence(
        "others have turns while a bulk is read",
        "api/bulk_sender.py",
        "            sleep(PAUSE)\n",
        "",
        f"{FAULTS} -k others_are_served",
    ),
    Defence(
        "a Redis that went is not asked for the rest",
        "api/bulk_sender.py",
        "        if self._queue_away:\n            return [QueueDown(job_id=ident(one.id)) for one in asked]\n",
        "",
        f"{FAULTS} -k half_way",
    ),
    Defence(
        "a PostgreSQL that went is not asked for the rest",
        "api/bulk_sender.py",
        "            self._database_away = True",
        "            pass",
        f"{FAULTS} -k waited_for_once",
    ),
)
