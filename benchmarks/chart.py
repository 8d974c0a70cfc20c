"""The chart in the README: `python -m benchmarks.chart RESULTS.json CHART.svg`, in the peers' environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

TITLES = {
    "rq_worker": "RQ Worker (forks)",
    "rq_simple": "RQ SimpleWorker",
    "celery_app": "Celery",
    "dramatiq_app": "dramatiq",
    "huey_app": "huey",
    "bullmq": "BullMQ",
    "millrace": "Millrace",
}
OURS, THEIRS = "#1f6f8b", "#b8c4cc"


def draw(results: Path, chart: Path) -> None:
    """Orders per second of every system, each at its best on two processors, as horizontal bars from zero."""
    found = json.loads(results.read_text())
    rates = {title: found["figures"].get(f"{name}.best") for name, title in TITLES.items()}
    shown = {title: rate for title, rate in rates.items() if rate}
    mpl.rcParams["svg.hashsalt"] = "millrace"  # the same figures give the same file
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(shown) + 1.1))
    colours = [OURS if title == "Millrace" else THEIRS for title in shown]
    bars = axes.barh(list(shown), list(shown.values()), color=colours)
    axes.bar_label(bars, labels=[f"{rate:,.0f}" for rate in shown.values()], padding=4)
    axes.invert_yaxis()
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.xaxis.set_visible(False)
    axes.margins(x=0.12)
    machine = found["machine"]
    axes.set_title(
        f"Orders per second, one committed row each, best on {machine['processors_used']} processors", loc="left"
    )
    figure.tight_layout()
    figure.savefig(chart, metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
