"""The alert rules name series that exist and pages that are written."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from feature_repo.ingest.drift.metrics import DriftMetrics
from feature_repo.ingest.metrics import Metrics
from feature_repo.settings import Settings
from feature_repo.stream.metrics import WorkerMetrics
from infra.scheduler.jobs import Schedule
from infra.scheduler.ledger import Ledger
from infra.scheduler.metrics import SchedulerMetrics
from serving.admission.gate import Budget, Gate, GateMetrics
from serving.metrics import Metrics as ServingMetrics
from serving.routing.connectors.metrics import ConnectorMetrics
from serving.routing.metrics import RouterMetrics

ROOT = Path(__file__).parents[3]
GROUPS = yaml.safe_load((ROOT / "infra" / "prometheus" / "alerts.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]

rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def series() -> set[str]:
    """Names of all series of the processes that are watched."""
    names: set[str] = set()
    mapper = Metrics()
    DriftMetrics(mapper.registry)
    with TemporaryDirectory() as home:
        ledger = Ledger(Settings(home=Path(home)))
        scheduler = SchedulerMetrics(Schedule("UTC", {}), ledger, lambda: datetime.now(UTC))
    serving = ServingMetrics()
    serving.registry.register(GateMetrics(Gate(singles=Budget(1), bulk=Budget(1))))
    connectors = CollectorRegistry()
    ConnectorMetrics(connectors)
    RouterMetrics(connectors)
    registries: list[CollectorRegistry] = [
        connectors,
        mapper.registry,
        WorkerMetrics("archive").registry,
        scheduler.registry,
        serving.registry,
    ]
    for registry in registries:
        for family in registry.collect():
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
            names |= {family.name + end for end in endings.get(family.type, ("",))}
    return names


def test_names_are_unique() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@rules
def test_a_rule_is_complete(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Foresend[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert re.fullmatch(r"\d+[mhd]", rule.get("for", "1m"))


@rules
def test_a_rule_watches_series_that_exist(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"foresend_[a-z_]+", rule["expr"]))

    assert named
    assert named <= series()
    for opening, closing in ("()", "[]", "{}"):
        assert rule["expr"].count(opening) == rule["expr"].count(closing)


@rules
def test_a_rule_leads_to_its_page(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (.*)$", (ROOT / page).read_text(), re.MULTILINE)

    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
    assert anchor in anchors
