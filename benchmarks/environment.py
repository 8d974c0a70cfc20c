"""The peers' own environment: a virtual environment and a folder of Node packages under `.local/bench`, made once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from benchmarks.servers import ROOT

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "peers.txt"
BULLMQ = HERE / "systems" / "bullmq"


def peers_python(folder: Path) -> Path:
    """The Python that has the peers; installed where that has not been done. Raises subprocess.CalledProcessError."""
    home = folder / "venv"
    python = home / "bin" / "python"
    if _is_made(home, REQUIREMENTS):
        return python
    print("Installing the peers into", home.relative_to(ROOT), "(once)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True)
    _mark_made(home, REQUIREMENTS)
    return python


def bullmq_folder(folder: Path) -> Path | None:
    """BullMQ's folder, with its packages; None where Node or npm is missing. Raises subprocess.CalledProcessError."""
    if not (shutil.which("node") and shutil.which("npm")):
        return None
    home = folder / "bullmq"
    lock = BULLMQ / "package-lock.json"
    made = _is_made(home, lock)
    home.mkdir(parents=True, exist_ok=True)
    for file in BULLMQ.iterdir():
        shutil.copy2(file, home)
    if not made:
        print("Installing BullMQ into", home.relative_to(ROOT), "(once)", flush=True)
        # not `npm ci`: it refuses a lock file that was made where builds for other machines could not be had
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel", "error"], cwd=home, check=True)
        _mark_made(home, lock)
    return home


def _is_made(home: Path, pins: Path) -> bool:
    mark = home / ".made-of"
    return mark.exists() and mark.read_text() == _digest(pins)


def _mark_made(home: Path, pins: Path) -> None:
    (home / ".made-of").write_text(_digest(pins))


def _digest(pins: Path) -> str:
    return sha256(pins.read_bytes()).hexdigest()
