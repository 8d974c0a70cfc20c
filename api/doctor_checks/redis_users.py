"""The users of Redis, compared with those declared in `jobs/kernel/acl.py`, where whoever asks may see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

from api.doctor_checks import Finding, failure, fine, warning
from jobs.kernel import acl
from jobs.kernel.acl import Rules
from jobs.kernel.broker import ResponseError

NAME = "redis.users"
MEND = "Give its administrator the lines that this prints, with passwords filled in: flask --app api.app redis acl."


def users(client: Redis, url: str) -> Finding:
    """`url`: the client's. Who is one of those declared may not see rules, and is not tried: Redis would note a refusal."""
    asking = urlsplit(url).username or "default"
    if asking in acl.USERS:
        return fine(NAME, f"asked as {asking}, who may not see what users may do; its administrator may")
    try:
        differences = [told for name, rules in acl.USERS.items() for told in _differences(client, name, rules)]
    except ResponseError:
        return warning(
            NAME, f"not known: {asking} may not see them", "Run this once with its administrator's REDIS_URL."
        )
    if not differences:
        return fine(NAME, f"{' and '.join(acl.USERS)} may do what is declared, and nothing else")
    lacking = any(hurts for _, hurts in differences)
    return (failure if lacking else warning)(NAME, "; ".join(said for said, _ in differences), MEND)


def _differences(client: Redis, name: str, rules: Rules) -> Iterator[tuple[str, bool]]:
    """What differs, and whether anything that is needed is lacking."""
    found = client.execute_command("ACL", "GETUSER", name)
    if found is None:
        yield f"there is no user {name}, so that its processes are the administrator", False
        return
    rule = dict(zip(found[::2], found[1::2], strict=True))
    if b"off" in rule[b"flags"]:
        yield f"{name} is switched off", True
    wanted = {"commands": set(rules.commands.split()), "keys": set(rules.keys), "channels": set(rules.channels)}
    has = {
        "commands": _commands(client, rule[b"commands"].decode()),
        "keys": _patterns(rule[b"keys"], "~"),
        "channels": _patterns(rule[b"channels"], "&"),
    }
    for what, needed in wanted.items():
        if missing := sorted(needed - has[what]):
            yield f"{name} lacks {what} {', '.join(missing)}", True
        if more := sorted(has[what] - needed):
            yield f"{name} may use {what} beyond need: {', '.join(more)}", False


def _commands(client: Redis, said: str) -> set[str]:
    """The commands that a rule allows: Redis 6.2 tells them by categories, less what is not in them."""
    allowed: set[str] = set()
    for word in said.split():
        sign, name = word[0], word[1:]
        named = {name}
        if name == "@all":
            named = {"@all"} if sign == "+" else allowed
        elif name.startswith("@"):
            named = {command.decode() for command in client.execute_command("ACL", "CAT", name[1:])}
        allowed = allowed | named if sign == "+" else allowed - named
    return allowed


def _patterns(said: Any, mark: str) -> set[str]:
    """A list of Redis 6.2, or the words of Redis 7."""
    words = [word.decode() for word in said] if isinstance(said, list) else said.decode().split()
    return {word.removeprefix(mark) for word in words}
