"""`python -m local.console …`: Flask's command line, as the web process of the stack that is up would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from local.record import Description, Record

ROOT = Path(__file__).resolve().parent.parent
URLS = ("database_url", "read_database_url", "write_database_url")


def environment(record: Record, description: Description) -> dict[str, str]:
    """What the web process has in its environment, and the owner's URLs, which `doctor` looks at too. Empty where it has ended."""
    web = next((entry.process() for entry in record.entries() if entry.name == "web"), None)
    return {**web.environ(), **{name.upper(): str(description[name]) for name in URLS}} if web else {}  # type: ignore[literal-required]


def main() -> int:
    """The exit code of flask with the arguments that were given; 1 where nothing is up."""
    record = Record(ROOT / ".local")
    description = record.description()
    found = environment(record, description) if description else {}
    if not found:
        sys.stderr.write("Not up, or not ready yet: `make up`.\n")
        return 1
    return subprocess.call([sys.executable, "-m", "flask", "--app", "api.app", *sys.argv[1:]], cwd=ROOT, env=found)


if __name__ == "__main__":
    sys.exit(main())
