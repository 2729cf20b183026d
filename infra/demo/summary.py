"""The one page the demo ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from infra.stack.state import Stack


def show_summary(
    console: Console, facts: dict[str, Any], stack: Stack, saved: Path, *, stays_up: bool
) -> None:
    """Print what ran, what came out, and where to look."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for label, text in _rows(facts):
        table.add_row(label, text)
    console.print()
    console.print(Panel(table, title="Foresend on the real Online Retail purchases"))
    _show_simulated(console, facts["simulated"])
    console.print(f"All numbers: {saved}", soft_wrap=True)
    console.print(f"Drift report, for a browser: {facts['drift_report']}", soft_wrap=True)
    if stays_up:
        api = stack.services["api"].url
        console.print(f"API documentation: {api}/docs", soft_wrap=True)
        if "mlflow" in stack.services:
            console.print(f"Models and runs: {stack.services['mlflow'].url}", soft_wrap=True)
        console.print("The stack stays up. Ctrl-C stops it.")


def _show_simulated(console: Console, facts: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("Data", f"{facts['events']:,} events by import, made up by a seeded simulator")
    table.add_row(
        "Model click_7d",
        f"version {facts['version']} ({facts['chosen']}), {facts['rows']:,} rows, "
        f"{facts['positives']:,} positives; AUC {facts['auc']:.4f} beside "
        f"{facts['baseline_auc']:.4f}; calibration slope {facts['calibration_slope']:.2f}",
    )
    table.add_row(
        "Live webhooks",
        f"{facts['streamed']:,} signed events at {facts['streamed_per_s']:,.0f}/s; in the log and "
        f"in Redis {facts['absorbed_after_s']:.1f} s after the last answer",
    )
    table.add_row(
        "Scores at send time",
        f"{facts['scores_changed']} of {facts['scored']} customers score differently for the "
        "same send because of them",
    )
    table.add_row(
        "Mail in spam",
        f"one provider collapsed two weeks ago: {facts['repair']} of {facts['scored']} answers say "
        "repair instead of calling the customer disinterested",
    )
    console.print(Panel(table, title="SIMULATED e-mail programme, not real customers"))


def _by_size(tiers: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(tiers.items(), key=lambda item: item[1])


def _drift(facts: dict[str, Any]) -> str:
    """The verdict and what moved, each cause by its first sentence; the report has the rest."""
    causes = [cause.split(". ")[0].rstrip(".") for cause in facts["drift_causes"]]
    return f"{facts['drift_status']}: " + "; ".join(causes) if causes else facts["drift_status"]


def _reasons(reasons: dict[str, Any]) -> str:
    points = [f"{one['feature']} {one['points']:+.3f}" for one in reasons["top"]]
    return ", ".join(
        [f"{reasons['base']:.3f} for anybody", *points, f"{reasons['other']:+.3f} rest"]
    )


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    training = facts["training"]
    return [
        (
            "Data",
            f"{facts['events']:,} events of {facts['customers']:,} customers; "
            f"scored as of {facts['send_at']}",
        ),
        (
            f"Model {facts['target']}",
            f"version {facts['model_version']} ({facts['chosen']}), "
            f"{training['rows']:,} rows, {training['positives']:,} positives",
        ),
        (
            "Quality",
            f"AUC {facts['auc']:.4f} beside {facts['baseline_auc']:.4f} of a recency, frequency, "
            f"monetary model on the same later rows; calibration slope "
            f"{facts['calibration_slope']:.2f}; top-decile lift {training['top_decile_lift']:.2f}",
        ),
        (
            "Scoring over HTTP",
            f"{facts['scored']:,} customers, {facts['degraded']} degraded; one customer: "
            f"p50 {facts['score_p50_ms']:.1f} ms, p99 {facts['score_p99_ms']:.1f} ms; "
            f"in hundreds: {facts['score_customers_per_s']:,} customers/s",
        ),
        (
            "Why",
            f"{facts['reasons']['customer_id']} scores {facts['reasons']['score']:.3f}: "
            + _reasons(facts["reasons"]["reasons"]),
        ),
        (
            "Segment as a job",
            f"{facts['audience']['scored']:,} customers, {facts['audience']['differ']} scores "
            "other than those of the API",
        ),
        ("Tiers", ", ".join(f"{name} {count:,}" for name, count in _by_size(facts["tiers"]))),
        (
            "Online = offline",
            f"{facts['online_offline_compared']:,} values compared, "
            f"{facts['online_offline_mismatches']} differ",
        ),
        ("Drift since launch", _drift(facts)),
        ("Time", f"{facts['total_seconds']:.0f} s"),
    ]
