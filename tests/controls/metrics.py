"""The defences of what is counted, and of who may read it."""

from __future__ import annotations

from tests.controls.defences import Defence

METRICS = "tests/http/test_metrics.py"
METERS = "tests/runtime/test_meters.py"

DEFENCES = (
    Defence(
        "no user reads what is for admins",
        "api/metrics.py",
        "    if not Access.ADMIN.admits(who.role):\n        raise Forbidden\n",
        "",
        f"{METRICS} -k nobody_elses",
    ),
    Defence(
        "who has signed out reads no metrics",
        "api/metrics.py",
        "    make_sure_in_session(who)\n",
        "",
        f"{METRICS} -k signed_out",
    ),
    Defence(
        "only the machine itself needs no token",
        "api/metrics.py",
        'if settings.environment == "local" and _from_here():',
        'if settings.environment == "local":',
        f"{METRICS} -k machine_itself",
    ),
    Defence(
        "what was added and never answered is not added again",
        "jobs/kernel/count.lua",
        "if redis.call('GET', last) == ARGV[2] then return 0 end\n",
        "",
        f"{METERS} -k never_answered",
    ),
    Defence(
        "who is forked off has counted nothing yet",
        "jobs/kernel/tally.py",
        "os.register_at_fork(after_in_child=tally.forget)",
        "os",
        f"{METERS} -k forked_off",
    ),
    Defence(
        "what only met its receipt is not measured again",
        "workers/measure.py",
        "            if isinstance(work.outcome, Done):\n",
        "            if verdict:\n",
        f"{METERS} -k met_its_receipt",
    ),
    Defence(
        "a full Redis goes on counting",
        "jobs/kernel/count.lua",
        "redis.call('HDEL', METERS, '')",
        "",
        f"{METERS} -k full_redis",
    ),
    Defence(
        "labels are of kinds that are declared",
        "jobs/kernel/meters.py",
        "if declared else (UNKNOWN, UNKNOWN)",
        "if declared else (kind, UNKNOWN)",
        f"{METRICS} -k not_declared",
    ),
    Defence(
        "labels are no paths",
        "api/headers.py",
        "_count(method if method in METHODS else OTHER, path or OTHER, status, seconds)",
        '_count(method, environ["PATH_INFO"], status, seconds)',
        f"{METRICS} -k never_by_path",
    ),
)
