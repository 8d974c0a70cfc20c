"""The defences: what to change in the code to be without one, and the tests that then have to fail."""

from __future__ import annotations

from typing import NamedTuple


class Defence(NamedTuple):
    """`old` stands in `file` once, and is replaced by `new`. `test`: what pytest is given; one failure is enough."""

    name: str
    file: str
    old: str
    new: str
    test: str


ACCESS = "tests/http/test_access.py"
AUTH = "tests/http/test_auth.py"
SESSIONS = "tests/http/test_sessions.py"
REGISTERING = "tests/http/test_registering.py"
USERS = "tests/http/test_users_writes.py"
JOB_LIMITS = "tests/http/test_job_limits.py"
OUTAGES = "tests/http/test_outages.py"
TWILIO = "tests/http/test_twilio_inbound.py"
STREAMS = "tests/http/test_call_streams.py"
JOB_STREAMS = "tests/http/test_job_streams.py"

DEFENCES = (
    Defence(
        "roles are asked by the view",
        "api/access.py",
        "if not unsigned and not access.admits(caller().role):",
        "if not unsigned and caller() is None:",
        f"{ACCESS} -k admits_whom",
    ),
    Defence(
        "foreign is absent, for reads",
        "api/tokens.py",
        'return self.role == "admin" or owner == self.id',
        "return True",
        f"{ACCESS} -k somebody_elses",
    ),
    Defence(
        "foreign is absent, in lists",
        "api/reads/lists.py",
        "return [] if Access.ADMIN.admits(who.role) else [owner == who.id]",
        "return []",
        "tests/http/test_tasks_reads.py -k nobody_else",
    ),
    Defence(
        "no operator is left of a search",
        "models/task.py",
        'wanted = " & ".join(f"{word}:*" for word in _words(search))',
        'wanted = " & ".join(f"{word}:*" for word in search.split())',
        "tests/http/test_tasks_reads.py -k no_operators",
    ),
    Defence(
        "what has no due date comes last",
        "api/reads/lists.py",
        "if by.expression.nullable else [ordered]",
        "if False else [ordered]",
        "tests/http/test_tasks_reads.py -k every_task_once",
    ),
    Defence(
        "foreign is absent, for writes",
        "api/targets.py",
        "return row is not None and who is not None and who.sees(row[0])",
        "return row is not None",
        f"{ACCESS} -k somebody_elses",
    ),
    Defence(
        "unknown members are refused",
        "jobs/kernel/command.py",
        'model_config = ConfigDict(extra="forbid", frozen=True, strict=True)',
        'model_config = ConfigDict(extra="ignore", frozen=True, strict=True)',
        f"{ACCESS} -k not_theirs_to_set",
    ),
    Defence(
        "a role is set by admins only",
        "jobs/users.py",
        '            role == "admin" or self.model_fields_set',
        "            True or self.model_fields_set",
        f"{ACCESS} -k no_role_of_theirs",
    ),
    Defence(
        "the algorithm is pinned",
        "api/tokens.py",
        "JWT_DECODE_ALGORITHMS=[ALGORITHM]",
        'JWT_DECODE_ALGORITHMS=[ALGORITHM, "HS384", "HS512", "none"]',
        f"{AUTH} -k algorithm_is_pinned",
    ),
    Defence(
        "every claim is needed",
        "api/tokens.py",
        'if not said.keys() >= CLAIMS[kind] or claims["type"] != kind',
        'if claims["type"] != kind',
        f"{AUTH} -k every_claim",
    ),
    Defence(
        "a token is for us",
        "api/tokens.py",
        "JWT_DECODE_AUDIENCE=PARTY,",
        'JWT_DECODE_AUDIENCE=[PARTY, "another"],',
        f"{AUTH} -k every_claim",
    ),
    Defence(
        "a token is from us",
        "api/tokens.py",
        "JWT_DECODE_ISSUER=PARTY,",
        'JWT_DECODE_ISSUER=[PARTY, "another"],',
        f"{AUTH} -k every_claim",
    ),
    Defence(
        "a refresh token is no access token",
        "api/tokens.py",
        'or claims["type"] != kind or',
        "or",
        f"{SESSIONS} -k good_for_one_thing",
    ),
    Defence(
        "a refresh token is good once",
        "api/session_rotate.lua",
        "if record.jti ~= ARGV[3] then",
        "if false then",
        f"{SESSIONS} -k 20_at_once",
    ),
    Defence(
        "a second use ends the session",
        "api/session_rotate.lua",
        "  redis.call('HDEL', key, ARGV[2])\n  return 'reused'",
        "  return 'reused'",
        f"{SESSIONS} -k used_twice",
    ),
    Defence(
        "a cookie needs its CSRF token",
        "api/tokens.py",
        'if csrf == "":',
        "if False:",
        f"{SESSIONS} -k needs_its_csrf",
    ),
    Defence(
        "a foreign CSRF token is none",
        "api/tokens.py",
        "decode_token(token, csrf_value=csrf)",
        "decode_token(token)",
        f"{SESSIONS} -k foreign_csrf",
    ),
    Defence(
        "a read sees that its session has ended",
        "api/count.lua",
        "if ARGV[4] ~= '' and redis.call('HEXISTS', ARGV[4], ARGV[5]) == 0 then return {-1, 0} end",
        "",
        f"{SESSIONS} -k counted_or_not",
    ),
    Defence(
        "a write sees that its session has ended",
        "jobs/kernel/submit.lua",
        "if ARGV[7] ~= '' and redis.call('HEXISTS', ARGV[7], ARGV[8]) == 0 then return {'ended', accepted, 0, 0} end",
        "",
        f"{SESSIONS} -k signing_out",
    ),
    Defence(
        "a session is not opened by what was looked at before",
        "api/session_open.lua",
        "if tonumber(redis.call('GET', 'millrace:sessions:floor:' .. ARGV[1]) or 0) > tonumber(ARGV[2]) then return 0 end",
        "",
        f"{SESSIONS} -k looked_at_before",
    ),
    Defence(
        "the worker ends sessions",
        "workers/settle.lua",
        "for at = drop(ARGV, end_sessions(ARGV, 3)), #ARGV, FIELDS do",
        "for at = drop(ARGV, 4 + 2 * tonumber(ARGV[3])), #ARGV, FIELDS do",
        "tests/kinds/test_user_sessions.py",
    ),
    Defence(
        "whoever tells an outcome applies it first",
        "jobs/kernel/telling.py",
        "        self._effects.apply(change for job in unsettled for change in self._changes(job))\n",
        "",
        f"{USERS} -k worker_died",
    ),
    Defence(
        "without Redis, PostgreSQL knows whose sessions have ended",
        "api/accounts.py",
        "return found is not None and found.session_version == session_version",
        "return True",
        f"{OUTAGES} -k who_is_gone",
    ),
    Defence(
        "a session that was seen to have ended stays ended",
        "api/counters.py",
        "if session in self._ended:",
        "if False:",
        f"{OUTAGES} -k seen_to_have_ended",
    ),
    Defence(
        "what an outcome ends does not wait for somebody to ask again",
        "jobs/kernel/effects.py",
        'Thread(target=self._apply_later, daemon=True, name="effects").start()',
        "pass",
        f"{OUTAGES} -k as_soon_as_redis",
    ),
    Defence(
        "what an ended session left to be done to accounts is forbidden",
        "api/submissions.py",
        "session_version=who.session_version if who and value.policy.in_session else None",
        "session_version=None",
        f"{USERS} -k left_to_be_done",
    ),
    Defence(
        "a thief does not use up what its owner needs to end a session",
        "api/limits.py",
        'self._hit(self._user, "session", session, named(user, session))',
        'self._hit(self._user, "user", user, named(user, session))',
        f"{SESSIONS} -k thief_of_one",
    ),
    Defence(
        "the worker authorizes again",
        "workers/guard.py",
        "(gone or not command.admits(role, owner) or work.outlived(version))",
        "work.outlived(version)",
        f"{USERS} -k lost_the_right",
    ),
    Defence(
        "the address is the peer's",
        "api/app.py",
        "    if settings.trusted_proxies:\n        hops = settings.trusted_proxies\n",
        "    if True:\n        hops = settings.trusted_proxies or 1\n",
        f"{REGISTERING} -k makes_up",
    ),
    Defence(
        "a limit of jobs refuses",
        "jobs/kernel/submit.lua",
        "if window.count + window.more >= caps[at + 1] then",
        "if false then",
        f"{JOB_LIMITS} -k so_many",
    ),
    Defence(
        "a limit of jobs is counted where a job is made, and nowhere else",
        "jobs/kernel/submit.lua",
        "    local capped = exceeded(caps)\n",
        "    local capped = exceeded(caps)\n    for at = 1, #caps, 3 do redis.call('INCRBY', caps[at], 1) end\n",
        f"{JOB_LIMITS} -k other_does_not_count",
    ),
    Defence(
        "signing in is closed without a counter",
        "api/limits.py",
        "        self._hit(self._items[limit.setting], limit.setting, whose)",
        "        try:\n            self._hit(self._items[limit.setting], limit.setting, whose)\n        except QueueDown:\n            return",
        f"{OUTAGES} -k without_counting",
    ),
    Defence(
        "all of a password counts",
        "api/passwords.py",
        "PasswordHasher().verify(password_hash or nobodys_hash(), password)",
        "PasswordHasher().verify(password_hash or nobodys_hash(), password[:72])",
        f"{REGISTERING} -k long_password",
    ),
    Defence(
        "an unknown email takes as long as a wrong password",
        "api/passwords.py",
        "    try:\n        PasswordHasher().verify(",
        "    if password_hash is None:\n        return False\n    try:\n        PasswordHasher().verify(",
        f"{AUTH} -k takes_as_long",
    ),
    Defence(
        "a plain password cannot be written down",
        "jobs/kernel/secret.py",
        "return command.model_copy(update={name: Hashed(hashing(getattr(command, name))) for name in given})",
        "return command.model_copy(update={name: Hashed(getattr(command, name)) for name in given})",
        f"{REGISTERING} -k never_enters",
    ),
    Defence(
        "one function name, and it is ours",
        "jobs/kernel/envelope.py",
        "if function != FUNCTION or instance is not None or kwargs or not isinstance(envelope, dict):",
        "if not isinstance(envelope, dict):",
        "tests/runtime/test_failures.py -k not_ours",
    ),
    Defence(
        "the API's role cannot write",
        "models/roles.py",
        "GRANT SELECT ON ALL TABLES",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES",
        "tests/architecture/test_database_roles.py",
    ),
    Defence(
        "the API's user of Redis cannot do all",
        "jobs/kernel/acl.py",
        "        ping time info config|get evalsha script|load subscribe\n",
        "        ping time info config|get evalsha script|load subscribe flushall keys\n",
        "tests/architecture/test_redis_users.py",
    ),
    Defence(
        "bodies nest so deep at most",
        "api/body.py",
        "DEEPEST = 32",
        "DEEPEST = 10_000_000",
        "tests/http/test_bodies.py",
    ),
    Defence(
        "only what the carrier has signed is believed",
        "api/twilio_inbound.py",
        "if not RequestValidator(settings.twilio_auth_token).validate(url, sent, given):",
        "if not RequestValidator(settings.twilio_auth_token):",
        f"{TWILIO} -k wrong_signature",
    ),
    Defence(
        "no token signs nothing",
        "api/twilio_inbound.py",
        "if not settings.twilio_auth_token or len(given) != SIGNATURE:",
        "if len(given) != SIGNATURE:",
        f"{TWILIO} -k another_tokens",
    ),
    Defence(
        "a body that nobody has signed is refused",
        "api/twilio_inbound.py",
        '        raise ValueError("unsigned")',
        "        return Fields()",
        f"{TWILIO} -k no_form",
    ),
    Defence(
        "the carrier signs the public URL",
        "api/twilio_inbound.py",
        'url = f"{settings.public_base_url}{path}"',
        'url = f"{request.host_url[:-1]}{path}"',
        f"{TWILIO} -k whatever_host",
    ),
    Defence(
        "a stream ends with its token",
        "api/streams.py",
        "not self._following.ending() and (left := who.until - time()) > 0:",
        "not self._following.ending() and (left := 60.0) > 0:",
        f"{STREAMS} -k with_its_token",
    ),
    Defence(
        "a stream ends with its session",
        "api/streams.py",
        "if listener.gone or not who.lasts():",
        "if listener.gone:",
        f"{STREAMS} -k signed_out_hears",
    ),
    Defence(
        "foreign is absent, for streams of jobs",
        "api/jobs.py",
        "if job is None or not _visible(job, who):",
        "if job is None:",
        f"{ACCESS} -k somebody_elses",
    ),
    Defence(
        "a stream without a token ends",
        "api/job_events.py",
        "time() + HOLDER_FOLLOWS, lambda: True",
        "time() + 1e9, lambda: True",
        f"{JOB_STREAMS} -k for_a_while",
    ),
    Defence(
        "a receipt is looked for before anything is told",
        "jobs/kernel/changes.py",
        "return live is None or live.in_doubt or (",
        "return live is None or live.state.final and (",
        f"{JOB_STREAMS} -k no_worker_told",
    ),
    Defence(
        "the end is told at once",
        "api/job_events.py",
        "waiting.listen(made.stir)",
        "",
        f"{JOB_STREAMS} -k without_a_look",
    ),
    Defence(
        "all streams share the places of a process",
        "api/streams.py",
        "        self._places.take(who.name)\n",
        "",
        f"{JOB_STREAMS} -k share_the_places",
    ),
    Defence(
        "streams end when the server is to stop",
        "deploy/shed.py",
        "self._reads.ending = self._writes.ending = not self.alive",
        "self._reads.ending = self._writes.ending = False",
        f"{STREAMS} -k told_to_stop",
    ),
    Defence(
        "foreign is absent, for streams",
        "api/reads/calls.py",
        "if row is None or not who.sees(row.owner_id):",
        "if row is None:",
        f"{ACCESS} -k somebody_elses",
    ),
    Defence(
        "what is answered is documented",
        "api/operations.py",
        "refused = (403,) if command.admits is not Command.admits else ()",
        "refused = ()",
        "tests/http/test_schemathesis.py -k patch",
    ),
    Defence(
        "one probe at a time",
        "workers/gate_enter.lua",
        "if circuit.state == 'half_open' then redis.call('ZADD', key .. ':permits', digits(at + life), token) end",
        "",
        "tests/runtime/test_gate.py -k fifty",
    ),
    Defence(
        "what was asked before a circuit opened decides nothing afterwards",
        "workers/gate_report.lua",
        "if circuit.epoch ~= ARGV[3] or verdict == 'neither' then",
        "if verdict == 'neither' then",
        "tests/runtime/test_gate.py -k comes_late",
    ),
    Defence(
        "the rate is kept also by those who come late",
        "workers/gate_enter.lua",
        "local at = math.max(from, due, free)",
        "local at = math.max(from, due)",
        "tests/runtime/test_turns.py -k late_together",
    ),
)
