"""How an audit looks on the terminal: every check in a row, then what was found and its cure."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.leakage import AuditReport, Check, Finding, Severity, Verdict

_COLOUR: Final = {
    Severity.CRITICAL: "red",
    Severity.WARNING: "yellow",
    Severity.INFO: "dim",
}
_SIGN: Final = {Verdict.CLEAN: "✓", Verdict.FOUND: "▲", Verdict.NOT_CHECKED: "?"}

MOST_NOTES: Final = 5
"""Findings that are only worth knowing, shown here; the page has all of them."""


def print_report(report: AuditReport, page: Path | None) -> None:
    """Print the checks, the findings and the verdict."""
    console = Console()
    table = Table(
        title=f"Leakage audit of {report.target}",
        title_justify="left",
        caption=(
            f"{report.rows:,} rows of {report.customers:,} customers, {report.positives:,} with "
            f"label 1, {report.features} features"
        ),
        caption_justify="left",
    )
    table.add_column("check", style="bold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("question")
    for check in report.checks:
        table.add_row(
            check.name, _verdict(check), check.note if not check.is_checked else check.asks
        )
    console.print(table)
    notes = [f for f in report.findings if f.severity is Severity.INFO]
    for finding in [f for f in report.findings if f not in notes] + notes[:MOST_NOTES]:
        _print_finding(console, finding)
    if len(notes) > MOST_NOTES:
        console.print(f"And {len(notes) - MOST_NOTES} notes more, in --out or --json.")
    console.print(f"[bold]{report.target}: {report.verdict}[/bold]", highlight=False)
    if page is not None:
        console.print(f"Report: {escape(str(page))}", highlight=False)


def _verdict(check: Check) -> str:
    return f"{_SIGN[check.verdict]} {check.verdict.value}"


def _print_finding(console: Console, finding: Finding) -> None:
    subject = "the rows" if finding.feature is None else finding.feature
    colour = _COLOUR[finding.severity]
    console.print(
        f"[{colour}]{finding.severity.value}[/{colour}] [bold]{escape(subject)}[/bold]: "
        f"{escape(finding.kind)}. {escape(finding.evidence)}",
        highlight=False,
    )
    if finding.severity is not Severity.INFO:
        console.print(f"  Cure: {escape(finding.cure)}", highlight=False)
