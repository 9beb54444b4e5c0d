"""Alerts and the dashboard ask for what the operator really measures."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from autodidact_operator.telemetry import Telemetry
from support.chart import rendering

pytestmark = pytest.mark.cluster

FILES = rendering.CHART / "files"
TARGET = {"namespace", "pod", "service", "job", "instance", "endpoint", "container"}
"""Labels that Prometheus adds to every series of a target that a ServiceMonitor found."""

Query = tuple[str, str]


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads((FILES / "dashboard.json").read_text())["panels"]
    return panels


def _queries() -> list[Query]:
    """Returns the name and the query of every alert and panel, with Grafana's variables filled."""
    alerts = [(rule["alert"], rule["expr"]) for rule in _rules()]
    panels = [(panel["title"], t["expr"]) for panel in _panels() for t in panel["targets"]]
    filled = {"$__rate_interval": "5m", "$namespace": "autodidact"}
    pattern = re.compile("|".join(map(re.escape, filled)))
    return [(name, pattern.sub(lambda m: filled[m[0]], expr)) for name, expr in (*alerts, *panels)]


def _measured() -> dict[str, set[str]]:
    """Returns the labels of every series of the operator's registry, by the series' name."""
    telemetry = Telemetry()
    found = {}
    for collector in vars(telemetry).values():
        names = getattr(collector, "_labelnames", None)
        if names is None:
            continue
        child = collector.labels(*("x" for _ in names)) if names else collector
        act = getattr(child, "observe", None) or child.inc
        act(1)
    for line in telemetry.exposition().decode().splitlines():
        if not line.startswith("#"):
            name, _, rest = line.partition("{") if "{" in line else line.partition(" ")
            found[name] = set(re.findall(r'(\w+)="', rest)) if "{" in line else set()
    return found


MEASURED = _measured()


def _nodes(expression: promql_parser.Expr) -> Iterator[promql_parser.Expr]:
    found: list[promql_parser.Expr] = []
    promql_parser.walk(expression, lambda node: bool(found.append(node)) or True)
    return iter(found)


def _selectors(expression: promql_parser.Expr) -> list[promql_parser.VectorSelector]:
    return [n for n in _nodes(expression) if isinstance(n, promql_parser.VectorSelector)]


def test_the_registry_is_read() -> None:
    """The list of series has counters, gauges and histograms under the names that are scraped."""
    assert MEASURED["autodidact_leading"] == set()
    assert MEASURED["autodidact_reconcile_seconds_bucket"] == {"kind", "outcome", "le"}
    assert MEASURED["autodidact_api_requests_total"] == {"verb", "resource", "code"}


@pytest.mark.parametrize(("name", "query"), _queries())
def test_queries_parse_and_ask_for_what_is_measured(name: str, query: str) -> None:
    """Every metric and every label of a query exists, and is confined to the operator's namespace."""
    expression = promql_parser.parse(query)
    selectors = _selectors(expression)
    assert selectors, name
    for selector in selectors:
        matchers = {matcher.name for matcher in selector.matchers.matchers}
        assert selector.name in MEASURED, selector.name
        assert matchers <= MEASURED[selector.name] | TARGET
        assert "namespace" in matchers


@pytest.mark.parametrize(("name", "query"), _queries())
def test_queries_group_by_labels_that_are_there(name: str, query: str) -> None:
    """What an aggregation keeps is a label of the series below it."""
    for node in _nodes(promql_parser.parse(query)):
        if not isinstance(node, promql_parser.AggregateExpr) or node.modifier is None:
            continue
        for selector in _selectors(node.expr):
            assert set(node.modifier.labels) <= MEASURED[selector.name] | TARGET, name


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_alerts_say_what_to_do(rule: dict[str, Any]) -> None:
    """Every alert has a severity and three sentences; its templates use labels that it has."""
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "remedy"}
    assert all(text.endswith((".", "?")) for text in rule["annotations"].values())
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    grouped = {
        label
        for node in _nodes(promql_parser.parse(rule["expr"]))
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None
        for label in node.modifier.labels
    }
    assert used <= grouped


def test_every_series_is_looked_at() -> None:
    """No metric of the operator is missing from alerts and dashboard."""
    asked = {
        selector.name
        for _, query in _queries()
        for selector in _selectors(promql_parser.parse(query))
    }
    stems = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in MEASURED}
    assert stems == {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in asked}


def test_panels_have_places_of_their_own() -> None:
    """No panel of the dashboard covers another, and ids are unique."""
    cells = [
        (x, y)
        for panel in _panels()
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in _panels()}) == len(_panels())


def test_monitoring_is_off_unless_asked_for(chart: Path) -> None:
    """By default nothing needs the kinds of the Prometheus operator; each part has its switch."""
    parts = {
        "serviceMonitor": "ServiceMonitor",
        "prometheusRule": "PrometheusRule",
        "dashboard": "ConfigMap",
    }
    for part, kind in (("", ""), *parts.items()):
        given = ("--set", f"monitoring.{part}.enabled=true") if part else ()
        objects = rendering.render(chart, *given)
        assert {item["kind"] for item in objects} & set(parts.values()) == {kind} - {""}


def test_alerts_arrive_as_they_are_written(chart: Path) -> None:
    """The rules in the chart are the file's, in the release's namespace; Helm evaluates no braces."""
    objects = rendering.render(chart, "--set", "monitoring.prometheusRule.enabled=true")
    text = (FILES / "alerts.yaml").read_text().replace("RELEASE_NAMESPACE", "lab")
    assert rendering.only(objects, "PrometheusRule")["spec"] == yaml.safe_load(text)
    assert "{{ $labels.reason }}" in text


def test_the_service_monitor_finds_the_service(chart: Path) -> None:
    """It selects the operator's Service by labels, and its port by name."""
    objects = rendering.render(
        chart, "--set", "monitoring.serviceMonitor.enabled=true,minio.enabled=true"
    )
    monitor = rendering.only(objects, "ServiceMonitor")["spec"]
    [endpoint] = monitor["endpoints"]
    found = [
        service
        for service in rendering.of_kind(objects, "Service")
        if monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    ]
    [service] = found
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"


def test_the_dashboard_is_json(chart: Path) -> None:
    """What Grafana's sidecar reads is the file, under a name that ends in .json."""
    objects = rendering.render(chart, "--set", "monitoring.dashboard.enabled=true")
    data = rendering.only(objects, "ConfigMap")["data"]
    assert json.loads(data["autodidact.json"]) == json.loads((FILES / "dashboard.json").read_text())
