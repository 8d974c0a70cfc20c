"""The PostgreSQL of `local/` keeps what was committed, and gets past whatever an earlier run left."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from local.account import MAJOR, Account, home_for
from local.postgres import Postgres
from local.processes import StartError


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    postgres = Postgres(tmp_path_factory.mktemp("local") / "a postgres")
    postgres.start()
    query(postgres.url(), "CREATE TABLE kept (number int)")
    yield postgres
    postgres.remove()
    assert postgres.pid is None
    assert not postgres.folder.exists()


def test_the_owner_owns_the_database_and_is_no_superuser(server: Postgres) -> None:
    assert query(server.url(), "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user") == [
        (False, True)
    ]
    assert query(server.url(), "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'millrace'") == [
        ("millrace",)
    ]


def test_nobody_gets_in_without_the_password(server: Postgres) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(server.url().replace("millrace:", "millrace:x"))


def test_its_passwords_are_for_its_owner_only(server: Postgres) -> None:
    assert (server.home / "passwords.json").stat().st_mode & 0o777 == 0o600


def test_data_whose_passwords_are_lost_is_refused_at_once(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "lost")
    postgres.start()
    postgres.stop()
    (postgres.home / "passwords.json").unlink()
    with pytest.raises(StartError, match="make clean"):
        postgres.start()
    assert postgres.pid is None
    postgres.remove()


def test_commits_wait_for_the_disk(server: Postgres) -> None:
    for setting in ("fsync", "synchronous_commit"):
        assert query(server.url(), f"SHOW {setting}") == [("on",)]


def test_a_commit_survives_sigkill_and_the_port_stays(server: Postgres) -> None:
    port, number = server.port, secrets.randbelow(1 << 30)
    query(server.url(), f"INSERT INTO kept VALUES ({number})")
    server.kill()
    assert server.pid is None
    server.start()
    assert server.port == port
    assert (number,) in query(server.url(), "SELECT number FROM kept")


def test_a_commit_survives_an_immediate_stop(server: Postgres) -> None:
    number = secrets.randbelow(1 << 30)
    query(server.url(), f"INSERT INTO kept VALUES ({number})")
    server.stop("immediate")
    server.start()
    assert (number,) in query(server.url(), "SELECT number FROM kept")


def test_a_server_that_an_earlier_run_left_is_replaced(server: Postgres) -> None:
    left = server.pid
    later = Postgres(server.folder)
    later.start()
    assert later.pid not in (None, left)
    later.stop()
    server.start()


def test_a_killed_postmaster_with_living_sessions_is_no_obstacle(server: Postgres) -> None:
    pid = server.pid
    assert pid is not None
    with closing(psycopg2.connect(server.url())):
        os.kill(pid, signal.SIGKILL)
        server.start()
    assert server.pid not in (None, pid)


def test_a_stale_pid_file_that_names_a_stranger_harms_nobody(server: Postgres) -> None:
    server.stop()
    (server.home / "data" / "postmaster.pid").write_text(f"{os.getppid()}\n{server.home / 'data'}\n")
    assert server.pid is None
    server.start()
    os.kill(os.getppid(), 0)


def test_a_database_is_cloned_from_a_template(server: Postgres) -> None:
    original = server.create_database("original")
    query(original, "CREATE TABLE cloned (number int)")
    assert query(server.create_database("clone", template="original"), "SELECT count(*) FROM cloned") == [(0,)]
    server.drop_database("clone")
    server.drop_database("original")


def test_data_of_another_major_version_is_kept_aside(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "old")
    data = postgres.home / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("12\n")
    postgres.start()
    assert (data / "PG_VERSION").read_text().strip() == MAJOR
    assert [path.read_text() for path in postgres.home.glob("data-of-postgresql-12-*/PG_VERSION")] == ["12\n"]
    postgres.remove()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "broken", options={"shared_buffers": "none"})
    with pytest.raises(StartError, match="shared_buffers"):
        postgres.start()
    postgres.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
@pytest.mark.parametrize("trap", ["link", "stranger's folder", "file"])
def test_a_folder_that_somebody_else_prepared_is_refused(tmp_path: Path, trap: str) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    account = Account.unprivileged()
    made, elsewhere = home_for(private / "postgres", account)
    assert elsewhere
    assert made.parent == Path(tempfile.gettempdir()).resolve()
    made.rmdir()
    if trap == "link":
        made.symlink_to(tmp_path)
    elif trap == "file":
        made.touch()
    else:
        account.own(made)
    try:
        with pytest.raises(StartError, match="not a folder of this account's own"):
            home_for(private / "postgres", account)
    finally:
        made.rmdir() if trap == "stranger's folder" else made.unlink()
