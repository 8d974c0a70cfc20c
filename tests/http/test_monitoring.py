"""What watches the service: dashboard, alerts, and the table of metrics name only what /metrics really tells."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql
import pytest
import yaml
from prometheus_client import Metric

from api.exposition import shown
from api.gauges import GAUGES
from config import Settings
from jobs.kernel.meters import METERS, Counter, Histogram
from jobs.kernel.tally import tally
from tests.http.conftest import Client
from tests.scrapes import Scrape

ROOT = Path(__file__).resolve().parents[2]
BOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "millrace.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PAGE = (ROOT / "docs" / "how-to" / "monitor.md").read_text()

RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
SHOWN = {
    f"{panel['title']} {target['refId']}": (target["expr"], target["legendFormat"])
    for panel in PANELS
    for target in panel["targets"]
}
ALERTED = {rule["alert"]: (rule["expr"], " ".join(rule["annotations"].values())) for rule in RULES}
OWN = {"up": frozenset({"job", "instance"})}
"""What Prometheus tells of itself."""


class Used(NamedTuple):
    """What an expression asks for: names, each with the labels it is asked by; and the labels its result has, if it says."""

    names: dict[str, set[str]]
    grouped: set[str]
    result: set[str] | None


def used(text: str) -> Used:
    """Raises ValueError where it is no expression of PromQL."""
    names: dict[str, set[str]] = {}
    grouped: set[str] = set()
    by: list[set[str]] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql.VectorSelector):
            names.setdefault(node.name, set()).update(matcher.name for matcher in node.matchers.matchers)
        elif isinstance(node, promql.AggregateExpr):
            labels = set(node.modifier.labels) if node.modifier else set()
            grouped.update(labels)
            by.append(labels)
        elif isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
            grouped.update(node.modifier.matching.labels)
        return True

    promql.walk(promql.parse(spelled_out(text)), visit)
    return Used(names, grouped, by[0] if by else None)


def spelled_out(text: str) -> str:
    """An expression as Grafana sends it."""
    return text.replace("$__rate_interval", "5m").replace("$kind", ".*").replace("$queue", ".*")


def named(text: str) -> set[str]:
    """The labels that a legend, or the text of an alert, speaks of."""
    return set(re.findall(r"{{\s*(?:\$labels\.)?([a-z_]+)\s*}}", text))


@pytest.fixture
def told(admin: Client, execute: Callable[..., Any]) -> Mapping[str, frozenset[str]]:
    """The labels of each name that /metrics tells, once there is something of everything."""
    tally.forget()
    for meter in METERS:
        labels = ["orders.place" if label == "kind" else "x" for label in meter.labels]
        if isinstance(meter, Histogram):
            tally.measure(meter, (1,), *labels)
        else:
            tally.count(meter, *labels)
    execute(
        "INSERT INTO receipts (id, kind, state, run, attempts, submitted_at, finished_at)"
        " VALUES (gen_random_uuid(), 'orders.place', 'failed', 1, 1, now(), now())"
    )
    return {**Scrape(admin.get("/metrics").get_data(as_text=True)).labels, **OWN}


@pytest.mark.parametrize(("text", "spoken"), [*SHOWN.values(), *ALERTED.values()], ids=[*SHOWN, *ALERTED])
def test_an_expression_asks_for_what_is_told_and_speaks_of_labels_that_it_has(
    told: Mapping[str, frozenset[str]], text: str, spoken: str
) -> None:
    asked = used(text)
    for name, labels in asked.names.items():
        assert name in told, f"{name} is told nowhere"
        assert labels <= told[name], f"{name} has no labels {labels - told[name]}"
    known = frozenset[str]().union(*(told[name] for name in asked.names))
    assert asked.grouped <= known
    assert named(spoken) <= (known if asked.result is None else asked.result | asked.grouped)


def test_the_parser_refuses_what_is_no_expression() -> None:
    for wrong in ("sum by (kind) rate(x[5m])", "rate(x)", "x{kind='a'", "x >", "nonsense(x)"):
        with pytest.raises(ValueError, match=r"."):
            promql.parse(wrong)


@pytest.mark.parametrize("rule", RULES, ids=ALERTED)
def test_an_alert_says_for_how_long_how_bad_and_what_to_do(rule: dict[str, Any]) -> None:
    assert promql.parse_duration(rule["for"]).total_seconds() >= 60
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "runbook"}
    assert all(text.endswith(".") for text in rule["annotations"].values())


def test_alerts_have_names_of_their_own_and_stand_on_the_page() -> None:
    assert len(ALERTED) == len(RULES)
    assert set(re.findall(r"^\| `(Millrace\w+)` \|", PAGE, re.MULTILINE)) == set(ALERTED)


@pytest.mark.parametrize(
    "what",
    [
        *("oldest_age", "millrace_workers", "finished_total{outcome", "circuit_state", "error", "redis_memory"),
        *("redis_durable", "5..", "scheduler_up"),
    ],
)
def test_somebody_is_told_of_what_must_not_go_unnoticed(what: str) -> None:
    assert any(what in f"{name.lower()} {text}" for name, (text, _) in ALERTED.items())


def test_prometheus_asks_for_what_is_served_and_reads_the_alerts() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert (job["authorization"]["type"], set(job["authorization"])) == ("Bearer", {"type", "credentials_file"})
    ((target,),) = [config["targets"] for config in job["static_configs"]]
    host, _, port = target.partition(":")
    assert host in COMPOSE["services"]
    assert int(port) == Settings.model_fields["port"].default
    assert f'up{{job="{job["job_name"]}"}}' in ALERTED["MillraceUnreachable"][0]
    assert [(ROOT / "deploy" / "prometheus" / name).exists() for name in PROMETHEUS["rule_files"]] == [True]


def test_the_dashboard_fits_together() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken = [(p["gridPos"]["x"] + x, p["gridPos"]["y"] + y) for p in BOARD["panels"]
             for x in range(p["gridPos"]["w"]) for y in range(p["gridPos"]["h"])]  # fmt: skip
    assert len(taken) == len(set(taken)), "one panel covers another"
    assert max(x for x, _ in taken) < 24
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"]["uid"] == "${datasource}"
    asked_for = {name for text, _ in SHOWN.values() for name in re.findall(r"\$([a-z]+)", text)}
    assert asked_for == set(VARIABLES) - {"datasource"}


@pytest.mark.parametrize("name", sorted(set(VARIABLES) - {"datasource"}))
def test_a_variable_of_the_dashboard_has_the_values_of_a_label(told: Mapping[str, frozenset[str]], name: str) -> None:
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", VARIABLES[name]["query"]["query"])
    assert found is not None
    assert found[2] == name
    assert name in told[found[1]]


def rows() -> Iterator[tuple[str, ...]]:
    """The table of metrics, as the code has them."""
    for meter in METERS:
        kind, name = ("counter", f"{meter.name}_total") if isinstance(meter, Counter) else ("histogram", meter.name)
        yield f"`{name}`", kind, labelled(shown(meter)), meter.help
    for gauge in GAUGES:
        yield f"`{gauge.name}`", "gauge", labelled(gauge.labels), gauge.help


def labelled(labels: tuple[str, ...]) -> str:
    return ", ".join(f"`{label}`" for label in labels)


def test_the_page_lists_every_metric_as_it_is_told() -> None:
    table = re.findall(r"^\| (`millrace_\w+`) \| (\w+) \| (.*?) \| (.+) \|$", PAGE, re.MULTILINE)
    assert table == list(rows())


def test_what_is_told_is_what_is_declared(admin: Client, told: Mapping[str, frozenset[str]]) -> None:
    families: dict[str, Metric] = Scrape(admin.get("/metrics").get_data(as_text=True)).families
    assert {(name, family.type, family.documentation) for name, family in families.items()} == {
        (name.strip("`").removesuffix("_total"), kind, tells) for name, kind, _, tells in rows()
    }
    own = {"_total": set[str](), "_bucket": {"le"}, "": set[str]()}
    for name, kind, labels, _ in rows():
        suffix = "_bucket" if kind == "histogram" else ""
        assert told[name.strip("`") + suffix] == set(re.findall(r"\w+", labels)) | own[suffix]
