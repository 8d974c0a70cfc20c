"""A PostgreSQL 18 of our own: its binaries from a wheel, its data in a folder, on a loopback port."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

import psutil
import psycopg2
from psycopg2 import sql

from local.account import MAJOR, Account, binaries_for, home_for
from local.processes import StartError, end, find, free_port, kill, tail, wait_until, with_descendants, write_private

OWNER = "millrace"
READER = "millrace_reader"
WRITER = "millrace_writer"
SUPERUSER = "postgres"
SETTINGS = MappingProxyType(
    {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "256MB",
        "dynamic_shared_memory_type": "mmap",  # in its folder: what a killed server had goes with that
        "fsync": "on",
        "synchronous_commit": "on",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "wal_compression": "on",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_duration_statement": "1000",
        "cluster_name": "millrace",
    }
)
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Postgres:
    """One server with its data, its owner role `millrace` and the passwords of its roles in `folder`.

    folder: kept between runs; made when absent. port: None takes a free one at the first start and keeps it for this
    object's life. options: server settings over the defaults. Raises StartError when it cannot start.
    """

    def __init__(self, folder: Path, *, port: int | None = None, options: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = port
        self.options = {**SETTINGS, **(options or {})}
        self.log = folder / "postgres.log"
        self._account = Account.unprivileged()
        self.home, self.elsewhere = home_for(folder, self._account)
        self._data = self.home / "data"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, after ending an earlier run on the same data; returns when it answers."""
        self._end_earlier_run()
        binaries = binaries_for(self._account)
        self._move_aside_other_version()
        if not self._data.exists():
            self._initialise(binaries)
        self.port = self.port or free_port()
        settings = [f"--{name}={value}" for name, value in {**self.options, "port": str(self.port)}.items()]
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [binaries / "postgres", "-D", self._data, *settings],
                cwd="/",
                env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._account.run_as,
            )
        if not wait_until(self._answers_or_ended, within=60) or self._child.poll() is not None:
            self.kill()
            raise StartError(f"PostgreSQL did not start; the end of {self.log}:\n{tail(self.log)}")
        self._make_owner()

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End it: `fast` ends sessions and writes a checkpoint, `immediate` leaves the data to recovery."""
        postmaster = self._postmaster()
        if postmaster:
            end([postmaster], within=30, first=STOP_SIGNALS[mode])
        self._reap()

    def kill(self) -> None:
        """SIGKILL the postmaster and all its processes, as a crash would."""
        postmaster = self._postmaster()
        if postmaster:
            kill(with_descendants([postmaster]))
        self._reap()

    def remove(self) -> None:
        """Stop it and delete its data, wherever that is kept."""
        self.stop("immediate")
        shutil.rmtree(self._data, ignore_errors=True)
        if self.elsewhere:
            shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = OWNER, user: str = OWNER) -> str:
        """A connection URL, with the role's password; a role that is new here is given one."""
        return f"postgresql://{user}:{quote(self._password(user))}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        postmaster = self._postmaster()
        return postmaster.pid if postmaster else None

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database that `millrace` owns, as a copy of `template` where one is named; its URL.

        A template must have no session open. Raises psycopg2.errors.DuplicateDatabase.
        """
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY").format(
            sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template or "template0")
        )
        self._as_superuser(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Delete a database if it exists, ending the sessions in it."""
        self._as_superuser(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _initialise(self, binaries: Path) -> None:
        draft = self.home / "data.new"
        password_file = self.home / "password"
        shutil.rmtree(draft, ignore_errors=True)
        self._account.own(draft)
        write_private(password_file, self._password(SUPERUSER))
        if self._account.uid is not None:
            os.chown(password_file, self._account.uid, -1)
        command: list[str | Path] = [binaries / "initdb", "-D", draft, "-U", SUPERUSER, "--pwfile", password_file]
        command += ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-instructions"]
        environment = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
        done = subprocess.run(
            command, cwd="/", env=environment, capture_output=True, text=True, check=False, **self._account.run_as
        )
        password_file.unlink()
        if done.returncode:
            raise StartError(f"initdb failed:\n{done.stdout}{done.stderr}")
        draft.rename(self._data)

    def _make_owner(self) -> None:
        exists = self._as_superuser(sql.SQL("SELECT 1 FROM pg_database WHERE datname = {}").format(sql.Literal(OWNER)))
        if exists:
            return
        password = sql.Literal(self._password(OWNER))
        role = sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE PASSWORD {}").format(sql.Identifier(OWNER), password)
        if not self._as_superuser(sql.SQL("SELECT 1 FROM pg_roles WHERE rolname = {}").format(sql.Literal(OWNER))):
            self._as_superuser(role)
        self.create_database(OWNER)

    def _as_superuser(self, statement: sql.Composable) -> list[tuple[object, ...]]:
        with closing(psycopg2.connect(self.url("postgres", SUPERUSER))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

    def _answers_or_ended(self) -> bool:
        if self._child and self._child.poll() is not None:
            return True
        try:
            psycopg2.connect(self.url("postgres", SUPERUSER), connect_timeout=2).close()
        except psycopg2.OperationalError as error:
            if "authentication failed" in str(error):
                self.kill()
                raise StartError(f"The passwords of {self._data} are lost: `make clean` starts anew.") from None
            return False
        return True

    def _postmaster(self) -> psutil.Process | None:
        """The server that works on this data now; a stale postmaster.pid is none."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            return process if self._works_here(process) else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _works_here(self, process: psutil.Process) -> bool:
        return process.name() == "postgres" and process.cwd() == str(self._data.resolve())

    def _end_earlier_run(self) -> None:
        self.stop("fast")
        kill(find(self._works_here))  # sessions that outlived a killed postmaster still hold its shared memory
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _move_aside_other_version(self) -> None:
        try:
            version = (self._data / "PG_VERSION").read_text().strip()
        except OSError:
            return
        if version != MAJOR:
            aside = self.home / f"data-of-postgresql-{version}-{secrets.token_hex(4)}"
            self._data.rename(aside)

    def _password(self, user: str) -> str:
        """The role's password, made on first use; they are kept beside the data, for their owner's eyes only."""
        kept = self.home / "passwords.json"
        passwords: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
        if user not in passwords:
            passwords[user] = secrets.token_urlsafe(24)
            write_private(kept, json.dumps(passwords, indent=2))
        return passwords[user]

    def _reap(self) -> None:
        if self._child:
            self._child.wait(timeout=30)
            self._child = None
