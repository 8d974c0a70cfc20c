"""Ask an advisory service about every locked package: `make audit`.

pip-audit alone is no verdict: a service that answers 404 to everything, as the proxy of an index does, leaves it with
nothing but skipped packages, "no known vulnerabilities" and status 0. So a service is believed only when it knows
what is wrong with CANARY, and a locked package that it does not know is a finding.

Exit status: 0, nothing is known against any package, or (said loudly) nobody could be asked; 1, a finding, or locks
that cannot be read; 2, nobody could be asked and `--strict` was given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = (
    ("requirements.txt", "requirements-local.txt", "requirements-dev.txt"),
    ("benchmarks/peers.txt",),  # by itself: its versions are its own
)
CANARY = "jinja2==2.4.1"
"""Known to be vulnerable since 2014 (CVE-2014-1402), and later in several other ways."""

ACCEPTED: dict[str, str] = {}
"""Advisories that do not concern Millrace, by id, each with the reason why; looked through at each release."""

TRIES = 3
PATIENCE = 900
"""Seconds for all packages of one file; a single question waits 15 at most."""

UNREACHED = """
****************************************************************************************************
*  NOT AUDITED: no advisory service could be asked. Nothing is known about the locked packages.    *
*  Run `make audit` where PyPI's JSON API, or OSV, can be reached.                                 *
****************************************************************************************************"""

Report = list[dict[str, Any]]


class Unreached(Exception):
    """The service does not answer, or not as one that knows advisories."""


class Broken(Exception):
    """pip-audit could not do its work, though nothing is wrong with the service."""


class Service:
    """An advisory service, asked through pip-audit."""

    def __init__(self, name: str, cache: Path, *more: str) -> None:
        """cache: a directory of this run's own, so that no old answer passes for a new one."""
        self.name = name
        self._options = ("--vulnerability-service", name, *more, "--cache-dir", str(cache))
        self._canary = cache / "canary.txt"
        self._canary.write_text(f"{CANARY}\n")

    def check(self) -> None:
        """Raises Unreached unless the service knows what it has to know of CANARY."""
        report, said = pip_audit(*self._options, "--no-deps", "-r", str(self._canary))
        if report and report[0].get("vulns"):
            return
        last = report[0].get("skip_reason", "it knows of nothing") if report else said.strip().rpartition("\n")[2]
        raise Unreached(f"{self.name} does not tell what is known against {CANARY}: {last[:300]}")

    def ask(self, locks: tuple[str, ...]) -> Report:
        """What is known of the packages in these files. Raises Unreached, Broken."""
        accepted = [word for advisory in ACCEPTED for word in ("--ignore-vuln", advisory)]
        said = ""
        for _ in range(TRIES):
            report, said = pip_audit(*self._options, *accepted, *files(locks))
            if report is not None:
                return report
            self.check()
        raise Broken(said)


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask an advisory service about every locked package.")
    parser.add_argument("--strict", action="store_true", help="fail also when no service could be asked")
    parser.add_argument("--osv-url", metavar="URL", help="ask this service alone, which speaks OSV")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        cache = Path(scratch)
        services = [Service("pypi", cache), Service("osv", cache)]
        if options.osv_url:
            services = [Service("osv", cache, "--osv-url", options.osv_url)]
        try:
            for locks in LOCKS:
                read(locks)
            findings = audit(services)
        except Broken as why:
            print(f"pip-audit failed:\n{why}")
            return 1
    if findings is None:
        print(UNREACHED)
        return 2 if options.strict else 0
    return 1 if findings else 0


def read(locks: tuple[str, ...]) -> None:
    """Raises Broken for files that are not fully pinned and hashed. Nobody is asked."""
    report, said = pip_audit("--dry-run", *files(locks))
    if report is None:
        raise Broken(said)


def audit(services: list[Service]) -> int | None:
    """The number of findings, each of them told; None where not every file could be asked about, and of those that
    could nothing is known. Raises Broken."""
    findings = 0
    for service in services:
        try:
            service.check()
            for locks in LOCKS:
                report = service.ask(locks)
                findings += sum(tell(package, service.name) for package in report)
                print(f"{', '.join(locks)}: {len(report)} packages, asked of {service.name}", flush=True)
        except Unreached as why:
            print(why, flush=True)
        else:
            print(f"{findings} findings" if findings else "Nothing is known against any of them.")
            return findings
    return findings or None


def tell(package: dict[str, Any], service: str) -> int:
    """Print what is known against a package; the number of findings."""
    name = f"{package['name']} {package.get('version', '')}".strip()
    if "skip_reason" in package:
        print(f"{name}: {service} does not know it; was it withdrawn? {package['skip_reason']}")
        return 1
    for known in package["vulns"]:
        mended = ", ".join(known["fix_versions"]) or "no release"
        print(f"{name}: {known['id']}, mended in {mended}: {known.get('description', '')[:200]}")
    return len(package["vulns"])


def files(locks: tuple[str, ...]) -> list[str]:
    return ["--require-hashes", *(word for lock in locks for word in ("-r", str(ROOT / lock)))]


def pip_audit(*options: str) -> tuple[Report | None, str]:
    """The packages of its report, if it made one, and what else it said. Its status tells nothing: it is 1 for
    findings and for failures of any kind, and 0 also where every package was skipped."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {PATIENCE} s"
    try:
        packages: Report = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return None, done.stderr
    return packages, done.stderr


if __name__ == "__main__":
    sys.exit(main())
