"""The users of Redis: each is refused what it need not do. That the rules suffice, every test of a stack shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from redis import Redis as Client
from redis.exceptions import ResponseError

from api import cli
from jobs.kernel import acl
from local.redis import Redis

DANGEROUS = [
    *("FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "SHUTDOWN NOSAVE", "DEBUG SLEEP 0", "REPLICAOF NO ONE", "FAILOVER"),
    *("CONFIG SET maxmemory 1", "CONFIG REWRITE", "CONFIG RESETSTAT", "MODULE LIST", "SAVE", "BGSAVE", "BGREWRITEAOF"),
    *("ACL LIST", "ACL SETUSER mine on nopass ~* +@all", "ACL LOG", "CLIENT KILL ID 1", "CLIENT PAUSE 1", "MONITOR"),
    *(
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "DBSIZE",
        "SELECT 1",
        "SCRIPT FLUSH",
        "SCRIPT KILL",
        "SLOWLOG GET",
        "LATENCY DOCTOR",
    ),
    *("DUMP rq:job:1", "RESTORE rq:job:1 0 x", "MIGRATE h 1 rq:job:1 0 1", "OBJECT ENCODING rq:job:1", "EVAL x 0"),
    *("SORT rq:queues BY *->x", "PSUBSCRIBE *", "SUBSCRIBE strangers", "PUBLISH strangers x"),
    *("GET strangers", "SET strangers x", "EXPIRE strangers 1", "HSET strangers f x", "SADD strangers x"),
]
OF_WORKERS = [
    *("ZADD rq:wip:orders 1 x", "EXISTS millrace:leases:orders rq:wip:orders"),
    *("HSET millrace:reaper run_id x", "HSET millrace:periodic upkeep.prune x"),
    *("SET rq:results:1 x", "ZADD rq:finished:orders 1 x", "SUBSCRIBE rq:pubsub:w"),
    *("DEL rq:job:1", "RENAME rq:job:1 rq:job:2", "LPOP rq:queue:orders", "CLIENT LIST", "MULTI"),
]
OF_THE_API = ["INCRBY LIMITS:LIMITER/x 1", "CONFIG GET maxmemory", "GET LIMITS:LIMITER/x"]
IN_SCRIPTS = {
    "redis.call('FLUSHALL')": ("api", "worker"),
    "redis.call('GET', 'strangers')": ("api", "worker"),
    "redis.call('PUBLISH', 'strangers', 'x')": ("api", "worker"),
    "redis.call('HSET', 'millrace:reaper', 'run_id', 'x')": ("api",),
    "redis.call('ZSCORE', 'rq:wip:orders', 'x')": ("api",),
}
REFUSED = [
    *(("api", command) for command in DANGEROUS + OF_WORKERS),
    *(("worker", command) for command in DANGEROUS + OF_THE_API),
]


@pytest.fixture
def administrator(redis_server: Redis) -> Iterator[Client]:
    with Client.from_url(redis_server.url, decode_responses=True) as client:
        yield client


def user(redis_server: Redis, name: str) -> Client:
    return Client.from_url(redis_server.url_of(name), decode_responses=True, protocol=2)


@pytest.mark.parametrize(("name", "command"), REFUSED)
def test_a_user_is_refused_what_is_not_its_own(redis_server: Redis, name: str, command: str) -> None:
    with user(redis_server, name) as client, pytest.raises(ResponseError, match=r"no permissions|DEBUG .* not allowed"):
        client.execute_command(*command.split())


@pytest.mark.parametrize(("script", "name"), [(script, name) for script, names in IN_SCRIPTS.items() for name in names])
def test_a_script_may_do_no_more_than_who_calls_it(redis_server: Redis, script: str, name: str) -> None:
    with user(redis_server, name) as client:
        digest = client.script_load(script)
        with pytest.raises(ResponseError, match=r"can't (run|access|publish)|NOPERM|[Nn]o permissions"):
            client.evalsha(digest, 0)


def test_a_refusal_leaves_nothing_done(redis_server: Redis, administrator: Client) -> None:
    assert administrator.exists("strangers", "millrace:reaper", "millrace:paused") == 0
    assert sorted(administrator.acl_users()) == ["api", "default", "worker"]
    assert administrator.config_get("maxmemory") != {"maxmemory": "1"}


def test_the_configuration_that_the_api_may_read_tells_no_password(redis_server: Redis) -> None:
    passwords = {redis_server.url_of(name).split(":")[2].split("@")[0] for name in acl.USERS}
    passwords.add(redis_server.url.split(":")[2].split("@")[0])
    with user(redis_server, "api") as client:
        told = client.config_get("*")
    assert told["appendonly"] == "yes"
    assert not [name for name, value in told.items() for password in passwords if password in value]


def test_what_both_share_both_may_use(redis_server: Redis, administrator: Client) -> None:
    with user(redis_server, "api") as api, user(redis_server, "worker") as worker:
        api.set("millrace:sessions:1", "2", ex=60)
        assert worker.get("millrace:sessions:1") == "2"
        worker.set("millrace:sessions:1", "3")
        assert api.get("millrace:sessions:1") == "3"
    administrator.delete("millrace:sessions:1")


def test_a_worker_may_say_its_name_and_find_its_address(redis_server: Redis) -> None:
    """As RQ does when one registers."""
    with user(redis_server, "worker") as client:
        client.client_setname("w")
        assert "w" in {found["name"] for found in client.client_list() if found["user"] == "worker"}


def test_what_the_command_prints_makes_these_users(administrator: Client) -> None:
    app = Flask("commands")
    cli.register(app)
    printed = app.test_cli_runner().invoke(args=["redis", "acl"]).output.splitlines()
    assert len(printed) == len(acl.USERS)
    for line in printed:
        _, _, name, *rules = line.split()
        administrator.execute_command("ACL", "SETUSER", "printed", *rules)
        made, own = administrator.acl_getuser("printed"), administrator.acl_getuser(name)
        administrator.acl_deluser("printed")
        assert made is not None
        assert own is not None
        assert made["enabled"]
        for what in ("commands", "keys", "channels"):
            assert made[what] == own[what]
