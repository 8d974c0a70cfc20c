"""The defences of the read cache: that nobody reads what is older than what was told, or another's."""

from __future__ import annotations

from tests.controls.defences import Defence

CACHE = "tests/http/test_cache.py"
SYSTEM = "tests/acceptance/test_cache.py"

DEFENCES = (
    Defence(
        "what was read before a commit is not kept after it",
        "api/keep.lua",
        "if redis.call('HGET', ARGV[1], 'v') ~= ARGV[2] then return 0 end",
        "redis.call('HSETNX', ARGV[1], 'v', ARGV[2])",
        f"{CACHE} -k before_a_commit",
    ),
    Defence(
        "no read is older than what was told, since versions are looked at",
        "api/keep.lua",
        "if redis.call('HGET', ARGV[1], 'v') ~= ARGV[2] then return 0 end",
        "redis.call('HSET', ARGV[1], 'v', ARGV[2])",
        f"{SYSTEM} -k peace",
    ),
    Defence(
        "no read is older than what was told, since the worker drops what was kept",
        "workers/settle.lua",
        "drop(ARGV, end_sessions(ARGV, 3))",
        "({drop, end_sessions(ARGV, 3) + 2 + tonumber(ARGV[end_sessions(ARGV, 3) + 1])})[2]",
        f"{SYSTEM} -k peace",
    ),
    Defence(
        "the worker drops what was kept",
        "workers/settle.lua",
        "drop(ARGV, end_sessions(ARGV, 3))",
        "({drop, end_sessions(ARGV, 3) + 2 + tonumber(ARGV[end_sessions(ARGV, 3) + 1])})[2]",
        f"{CACHE} -k write_drops",
    ),
    Defence(
        "whoever tells an outcome drops what was kept",
        "jobs/kernel/telling.py",
        "        self._effects.apply(change for job in unsettled for change in self._changes(job))\n",
        "",
        f"{CACHE} -k died_before",
    ),
    Defence(
        "a job that is settled is told without dropping anything",
        "jobs/kernel/telling.py",
        "return live is not None and live.state.final and live.run >= job.run",
        "return False",
        f"{CACHE} -k settled",
    ),
    Defence(
        "an order's owner sees what an admin did",
        "jobs/order_book.py",
        'return drops("orders", [entry.owner_id]) if entry.owner_id != job.owner else None',
        "return None",
        f"{CACHE} -k admin_changes",
    ),
    Defence(
        "a step of a conducted job is seen",
        "workers/conductor.py",
        "            self._effects.apply([drops_of(scopes)])\n",
        "            pass\n",
        f"{CACHE} -k conducted",
    ),
    Defence(
        "what somebody sees is theirs",
        "api/cache.py",
        'keys.cache(scope(endpoint.partition(".")[0], None if everything else who)), ident(who)',
        'keys.cache(scope(endpoint.partition(".")[0], None)), endpoint',
        f"{CACHE} -k nobody_else",
    ),
    Defence(
        "one asks for all",
        "api/count.lua",
        "if asked and tonumber(asked) > now then return {count, left, false, version, 0} end",
        "",
        f"{CACHE} -k 200_misses",
    ),
    Defence(
        "who comes after a commit is not given what was asked before it",
        "api/cache.py",
        "question = self._questions.setdefault((place, looked.version), mine)",
        'question = self._questions.setdefault((place, b""), mine)',
        f"{CACHE} -k another_read_before_it",
    ),
    Defence(
        "what Redis was not told of hides what it keeps",
        "api/cache.py",
        "if not self._seconds or self._telling.owes:",
        "if not self._seconds:",
        f"{CACHE} -k not_told_of",
    ),
    Defence(
        "behind a replica nothing is kept for a while",
        "jobs/kernel/drop.lua",
        "  if lag > 0 then",
        "  if false then",
        f"{CACHE} -k replica",
    ),
)
