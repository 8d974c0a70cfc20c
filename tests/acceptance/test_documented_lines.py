"""The lines of the documentation, pasted into a shell: what stands behind them as a comment is what comes of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.stack import Stack

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTCOME = re.compile(r"^(?P<line>.*\S) +# (?P<status>\d{3})(?: (?P<word>\w+))?$")


def script(text: str, base_url: str) -> str:
    """All blocks as one script, that ends with the first line whose outcome is another than its comment says."""
    lines = ["set -u", 'seen() { case "$1" in *"$2"*) echo "seen: $2";; *) echo "$3: $1"; exit 1;; esac; }']
    for line in "".join(BLOCK.findall(text)).splitlines():
        told = OUTCOME.match(line)
        if line.startswith("BASE="):
            lines.append(f"BASE={base_url}")
        elif told:
            lines.append(f"seen \"$({told['line']})\" '{told['word'] or told['status']}' 'not {told['word']}'")
        else:
            lines.append(line)
    return "\n".join(lines)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize(
    ("page", "words", "also"),
    [
        (
            "sign-in.md",
            {"session_ended": 5, "204": 1, "access_token": 1},
            ['"kind":"users.amend","status":"succeeded"', '"kind":"orders.place","status":"succeeded"'],
        ),
        ("bulk.md", {"validation_failed": 1, "replayed": 2, "queued": 2, "not_found": 1}, []),
    ],
)
def test_all_goes_as_its_page_says(
    stack: Stack, tmp_path: Path, page: str, words: dict[str, int], also: list[str]
) -> None:
    with stack.workers(processes=1):
        asked = script((PAGES / page).read_text(), stack.base_url)
        done = subprocess.run(
            ["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {word: done.stdout.count(f"seen: {word}") for word in words} == words
    assert [text for text in also if text not in done.stdout] == []
    assert done.stderr == ""
