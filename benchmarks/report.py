"""What a run leaves: tables at the terminal, `results/latest.json`, the chart, and the figures in docs/performance.md."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import tables
from benchmarks.bars import BARS
from benchmarks.plan import TITLES
from benchmarks.run import Run
from benchmarks.servers import ROOT
from benchmarks.tables import Row

RESULTS = ROOT / "benchmarks" / "results"
LATEST, CHART = RESULTS / "latest.json", RESULTS / "orders-per-second.svg"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
WIDE = 150


def results(run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that was seen, as JSON values."""
    return {
        "mode": run.plan.name,
        "machine": facts,
        "versions": {name: system.version for name, system in run.systems.items()},
        "shapes": {
            name: {shape: made.says for shape, made in system.shapes.items()} for name, system in run.systems.items()
        },
        "plan": {name: value for name, value in vars(run.plan).items() if name != "name"},
        "figures": run.figures,
        "bars": [
            {
                "about": bar.about,
                "target": bar.target,
                "unit": bar.unit,
                "at_most": bar.at_most,
                "value": bar.value(run.figures),
                "verdict": bar.verdict(run.figures),
            }
            for bar in BARS
        ],
        "samples": run.samples,
        "problems": run.problems,
    }


def show(found: dict[str, Any]) -> None:
    """The tables, at the terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print()
    for head, rows in _tables(found):
        table = Table(*head)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for problem in found["problems"]:
        console.print(f"WRONG: {problem}", style="red", markup=False)


def keep(found: dict[str, Any], file: Path) -> None:
    """Write the results to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def publish(found: dict[str, Any], python: Path) -> None:
    """Make them the ones that the README and the documentation show. `python`: one that has matplotlib."""
    keep(found, LATEST)
    subprocess.run([python, "-m", "benchmarks.chart", LATEST, CHART], cwd=ROOT, check=True)
    parts = [_setting(found), *(tables.markdown(head, rows) for head, rows in _tables(found))]
    PAGE.write_text(with_figures(PAGE.read_text(), "\n\n".join(parts)))


def with_figures(page: str, figures: str) -> str:
    """The page with these figures in place of those between its two marks. Raises ValueError where one is missing."""
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"{PAGE.name} has to have {BEGIN!r} and then {END!r}")
    return f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}"


def _setting(found: dict[str, Any]) -> str:
    machine = found["machine"]
    versions = ", ".join(
        f"{TITLES[name]} {version}" for name, version in found["versions"].items() if name != "millrace"
    )
    return (
        f"Measured on {machine['date']} (`make bench{'-full' if found['mode'] == 'full' else ''}`): {machine['processor']}, "
        f"{machine['processors_used']} processors used of {machine['processors']}, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}; PostgreSQL {machine['postgresql']}; Redis {machine['redis']}; "
        f"{versions}."
    )


def _tables(found: dict[str, Any]) -> list[tuple[Row, list[Row]]]:
    figures = found["figures"]
    titles = {name: title for name, title in TITLES.items() if name in found["versions"]}
    return [
        (tables.PEERS_HEAD, tables.peer_rows(figures, titles)),
        (tables.MORE_HEAD, tables.more_rows(figures)),
        (tables.BARS_HEAD, tables.bar_rows(figures)),
    ]
