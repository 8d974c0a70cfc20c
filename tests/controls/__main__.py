"""`make controls`: takes each defence out of a copy of the code, and sees whether its test fails. ARGS: words of names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.controls import cache, calls, defences, tasks, upkeep
from tests.controls.defences import Defence

ROOT = Path(__file__).resolve().parents[2]
DEFENCES = (*defences.DEFENCES, *calls.DEFENCES, *tasks.DEFENCES, *cache.DEFENCES, *upkeep.DEFENCES)
FAILED = 1
"""What pytest ends with when tests ran, and one failed; another number would be another reason."""


def main(words: list[str]) -> int:
    """Every control whose name has one of the words, or all; 1 when one of them found no failure."""
    wanted = [each for each in DEFENCES if not words or any(word in each.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="millrace-controls-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(
            ROOT,
            copy,
            ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "postgres", "redis", "bench"),
        )
        found = [say(defence, fails_without(defence, copy)) for defence in wanted]
    print(f"{sum(found)} of {len(found)} tests fail without their defence.")
    return 0 if all(found) else 1


def fails_without(defence: Defence, copy: Path) -> bool:
    """Whether the test fails in the copy without the defence, which is put back afterwards."""
    file = copy / defence.file
    whole = file.read_text()
    if whole.count(defence.old) != 1:
        raise SystemExit(f"{defence.name}: its text stands {whole.count(defence.old)} times in {defence.file}")
    file.write_text(whole.replace(defence.old, defence.new))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *defence.test.split(" ", 2)]
    done = subprocess.run(command, cwd=copy, capture_output=True, check=False, timeout=600)
    file.write_text(whole)
    return done.returncode == FAILED


def say(defence: Defence, failed: bool) -> bool:
    print(f"{'fails, as it has to' if failed else 'DOES NOT FAIL':<20} without: {defence.name}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
