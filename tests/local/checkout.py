"""A checkout of its own, with small stand-ins for the service's processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local.redis import server_binary

ROOT = Path(__file__).resolve().parents[2]
RELEASE = """
import os
from models import migrate, roles
migrate.migrate(os.environ["DATABASE_URL"])
roles.sync(*(os.environ[name] for name in ("DATABASE_URL", "READ_DATABASE_URL", "WRITE_DATABASE_URL")))
"""
WEB = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        shown = {"status": "ok", "environment": os.environ["ENVIRONMENT"], "batch": os.environ.get("BATCH_SIZE")}
        self.wfile.write(json.dumps(shown).encode())

HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready).serve_forever()
"""
WORKER = "import signal, sys; print(sys.argv[1:], flush=True); signal.pause()"


@dataclass
class Checkout:
    """A folder that looks like this one to local/stack.py."""

    root: Path
    path: str

    def stack(self, command: str, **given: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "local.stack", command],
            cwd=self.root,
            env={**inherited, "PATH": self.path, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
        )

    def file(self, name: str) -> Any:
        return json.loads((self.root / ".local" / name).read_text())

    def processes(self) -> dict[str, psutil.Process]:
        return {entry["name"]: psutil.Process(entry["pid"]) for entry in self.file("processes.json")}


def clone(root: Path) -> Checkout:
    """A checkout in a new folder."""
    root.mkdir()
    shutil.copytree(ROOT / "local", root / "local", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("jobs", "models", "config.py"):
        (root / name).symlink_to(ROOT / name)
    (root / "release.py").write_text(RELEASE)
    (root / "web.py").write_text(WEB)
    (root / "worker.py").write_text(WORKER)
    (root / "Procfile").write_text(
        "release: python release.py\nweb: python web.py\nworker: python worker.py 'a b'\n"
        "calls: python worker.py\ndeliveries: python worker.py\nscheduler: python worker.py\n"
    )
    return Checkout(root, f"{server_binary().parent}{os.pathsep}{os.defpath}")
