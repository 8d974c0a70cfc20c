"""The defences of tasks: that each is told of once."""

from __future__ import annotations

from tests.controls.defences import Defence

OVERDUE = "tests/kinds/test_overdue.py"

DEFENCES = (
    Defence(
        "what is marked is not marked again",
        "models/overdue_store.py",
        "            watched = false,\n",
        "",
        f"{OVERDUE} -k however_often",
    ),
    Defence(
        "looks at the same moment do not mark the same tasks",
        "models/overdue_store.py",
        " FOR UPDATE SKIP LOCKED",
        "",
        f"{OVERDUE} -k same_moment",
    ),
    Defence(
        "who may have lost the lease marks nothing",
        "jobs/overdue.py",
        "            outside.insist()\n",
        "",
        f"{OVERDUE} -k lost_the_lease",
    ),
)
