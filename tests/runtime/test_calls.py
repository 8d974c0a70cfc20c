"""One connection shared by all who call at once: whatever happens to one of them, the others are answered."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from jobs.kernel import broker
from jobs.kernel.calls import TOGETHER, Call, Calls
from tests.processes import ROOT
from tests.road import Road

ECHO = """
local parts = redis.call('TIME')
local over = parts[1] * 1000000 + parts[2] + tonumber(ARGV[2] or 0)
repeat parts = redis.call('TIME') until parts[1] * 1000000 + parts[2] >= over
return ARGV[1]
"""
"""Answers its first argument, after as many microseconds as its second says."""

SOON = 5.0


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    path = tmp_path / "echo.lua"
    path.write_text(ECHO)
    return path


@pytest.fixture
def calls(road: Road, echo: Path) -> Calls:
    made = Calls(broker.connect(road.settings.redis_url), echo)
    made(["warm"])
    return made


class Pausing(deque[Call]):
    """Of waiting calls, in which a thread is held up that has just put its own there."""

    def append(self, call: Call) -> None:
        super().append(call)
        if threading.current_thread() is not threading.main_thread():
            sleep(0.5)


def test_who_was_answered_before_it_found_the_connection_free_leaves_it_free(calls: Calls) -> None:
    calls._waiting = Pausing()
    with ThreadPoolExecutor(2) as threads:
        paused = threads.submit(calls, ["paused"])
        sleep(0.2)
        assert calls(["leads"]) == b"leads"
        assert paused.result(SOON) == b"paused"
        assert threads.submit(calls, ["later"]).result(SOON) == b"later"


def test_who_leads_is_answered_however_many_came_before(calls: Calls) -> None:
    calls._waiting = Pausing()
    with ThreadPoolExecutor(TOGETHER + 6) as threads:
        before = [threads.submit(calls, [f"before-{number}"]) for number in range(TOGETHER + 6)]
        sleep(0.2)
        assert calls(["leads"]) == b"leads"
        assert [one.result(SOON) for one in before] == [f"before-{number}".encode() for number in range(TOGETHER + 6)]


def test_all_who_lose_the_connection_are_told_by_an_exception_of_their_own(echo: Path) -> None:
    calls = Calls(broker.connect("redis://127.0.0.1:1"), echo)
    other = Call(b"")
    calls._waiting.append(other)
    with pytest.raises(RedisConnectionError) as told:
        calls(["mine"])
    assert isinstance(other.error, RedisConnectionError)
    assert other.error is not told.value
    assert other.error.args == told.value.args
    assert other.error.__traceback__ is None


def test_a_refusal_keeps_its_type_and_its_words_and_nothing_that_it_passed(road: Road, tmp_path: Path) -> None:
    path = tmp_path / "refuse.lua"
    path.write_text("return redis.error_reply('ERR as asked')")
    calls = Calls(broker.connect(road.settings.redis_url), path)
    for _ in range(2):  # the first time the script is loaded, by redis-py
        with pytest.raises(ResponseError, match="as asked") as told:
            calls(["a"])
    assert told.value.__context__ is None
    assert [entry.name for entry in told.traceback[1:]] == ["__call__", "result"]


def test_a_script_that_is_forgotten_again_at_once_is_a_redis_that_is_lost(
    calls: Calls, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgotten(args: Any) -> None:
        raise NoScriptError("NOSCRIPT No matching script.")

    monkeypatch.setattr(
        calls, "_script", type("Forgotten", (), {"sha": "0" * 40, "__call__": staticmethod(forgotten)})()
    )
    with pytest.raises(broker.LOST):
        calls(["mine"])


def outcome(code: str, *arguments: str) -> dict[str, Any]:
    """What a process of its own prints that runs this code."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import json, sys
from pathlib import Path
import gevent
from jobs.kernel import broker
from jobs.kernel.calls import Calls

url, path, scene = sys.argv[1:]
calls = Calls(broker.connect(url, timeout=5), Path(path))
calls(["warm"])
found = {}

def call(name, micros, seconds=None):
    try:
        with gevent.Timeout(seconds):
            found[name] = calls([name, micros]).decode()
    except BaseException as error:
        found[name] = type(error).__name__

def ask(name, micros=0, seconds=None):
    greenlet = gevent.spawn(call, name, micros, seconds)
    gevent.sleep(0.02)
    return greenlet

if scene == "under way":  # the second leads the third, whose time is over before the reply is there
    asked = [ask("first", 100_000), ask("leader", 300_000), ask("cancelled", 100_000, 0.25)]
elif scene == "waiting":
    asked = [ask("leader", 200_000), ask("cancelled", 0, 0.05), ask("other")]
elif scene == "leading":
    asked = [ask("cancelled", 300_000), ask("other"), ask("another")]
    asked[0].kill()
else:  # ended in the very moment in which it tries for the connection
    def at_once():
        gevent.sleep(0)
        call("cancelled", 0)
    asked = [ask("leader", 200_000), gevent.spawn(at_once)]
    gevent.sleep(0)
    asked[1].kill(block=False)
gevent.joinall(asked, timeout=5)
ask("later").join(timeout=5)
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("scene", "told", "others"),
    [
        ("under way", "Timeout", {"first", "leader"}),
        ("waiting", "Timeout", {"leader", "other"}),
        ("leading", "GreenletExit", {"other", "another"}),
        ("trying", "GreenletExit", {"leader"}),
    ],
)
def test_a_greenlet_that_is_ended_in_a_call_gets_what_ended_it_and_the_others_their_replies(
    road: Road, echo: Path, scene: str, told: str, others: set[str]
) -> None:
    found = outcome(GREENLETS, road.settings.redis_url, str(echo), scene)
    assert found == {"cancelled": told} | {name: name for name in others | {"later"}}


FORK = """
import json, os, sys, threading, time
from pathlib import Path
from jobs.kernel import broker
from jobs.kernel.calls import Calls

calls = Calls(broker.connect(sys.argv[1], timeout=5), Path(sys.argv[2]))
found = {}
under_way = threading.Thread(target=lambda: found.update(parent=calls(["parent", 500_000]).decode()))
under_way.start()
time.sleep(0.2)
child = os.fork()
if not child:
    asked = threading.Thread(target=lambda: found.update(child=calls(["child"]).decode()), daemon=True)
    asked.start()
    asked.join(5)
    os._exit(found != {"child": "child"})
found["child"] = os.waitpid(child, 0)[1]
under_way.join(5)
print(json.dumps(found))
"""


def test_a_process_that_is_forked_off_during_a_call_makes_its_own(road: Road, echo: Path) -> None:
    assert outcome(FORK, road.settings.redis_url, str(echo)) == {"parent": "parent", "child": 0}
