"""Who may do what in Redis: a user for the API, another for workers and schedulers. What is not named here is refused.

What a script does is checked as well, against the rules of whoever called it. The words are those of Redis 6.2, which
later versions read alike: keys that are allowed are allowed to be read and written, by every command that is.
Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
"""

from __future__ import annotations

from dataclasses import dataclass

from jobs.kernel import keys


@dataclass(frozen=True)
class Rules:
    """What one user may do. `keys`, `channels`: patterns; `commands`: names, those of a subcommand alone with a |."""

    keys: tuple[str, ...]
    channels: tuple[str, ...]
    commands: str

    def __str__(self) -> str:
        """As `user` in redis.conf and ACL SETUSER take it, behind the name and the password."""
        channels = (f"&{pattern}" for pattern in self.channels)
        names = (f"~{pattern}" for pattern in self.keys)
        commands = (f"+{name}" for name in self.commands.split())
        return " ".join(["resetchannels", *channels, *names, *commands])  # 6.2 would let a new user hear all channels


FINAL = "millrace:api:*"
"""The channels on which the processes of the API are told of final jobs."""

API = Rules(
    keys=(
        *(name("*") for name in (keys.job, keys.queue, keys.worker, keys.wake, keys.live_jobs, keys.circuit)),
        *("rq:queues", "rq:workers:*", "rq:scheduler_lock", keys.SCHEDULED),
        *(keys.OWNERS, "millrace:watched", "millrace:memory", "millrace:never-there", "millrace:sessions:*"),
        *(
            keys.cache("*"),
            keys.METERS,
            keys.PAUSED,
            keys.leases("*"),
            keys.stats("*"),
            "millrace:rate:*",
            "rq:failed:*",
        ),
        "LIMITS:*",  # where Flask-Limiter counts
    ),
    channels=(FINAL,),
    commands="""
        ping time info config|get evalsha script|load subscribe
        exists unlink expire expireat ttl get set incrby hget hmget hgetall hexists hset hdel hincrby hlen
        llen lindex lpush lrange rpush sadd srem sismember smembers zadd zrem zcard zcount zrevrangebyscore publish
    """,
)

WORKER = Rules(
    keys=("rq:*", "millrace:*"),
    channels=(FINAL, "rq:pubsub:*"),
    commands="""
        ping time info client|setname client|list evalsha script|load multi exec watch unwatch
        publish subscribe unsubscribe
        exists del unlink rename expire pexpire persist ttl pttl get set
        hset hget hmget hgetall hexists hdel hincrby hincrbyfloat
        llen lpush rpush lpop lrange lrem lpos lmove blpop blmove
        sadd srem sismember smembers
        zadd zrem zscore zmscore zcard zcount zrank zrange zrevrange zrangebyscore zrevrangebyscore
        zremrangebyscore zremrangebyrank
        xadd xread xrevrange xlen
    """,
)

USERS = {"api": API, "worker": WORKER}
"""By the names they log in with."""
