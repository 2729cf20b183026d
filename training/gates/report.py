"""The report of all gates: one row each, with its numbers, its limit and its verdict."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a gate says."""

    PASSED = "passed"
    #: The version must not be served; only a person who gives a reason may.
    FAILED = "failed"
    #: The rows cannot tell. Never a pass.
    INCONCLUSIVE = "inconclusive"
    #: Nothing against the version, but a person should look before it is served.
    ASKS = "asks"
    #: Beyond the limit for a reason that is not the model's; says so and stops nothing.
    NOTED = "noted"
    #: There was nothing to compare.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One gate."""

    name: str
    verdict: Verdict
    #: NaN when there is no number. Bounds hold with 95 % probability each.
    value: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    #: The limit in words, such as `lower bound >= -0.005`.
    limit: str = ""
    detail: str = ""
    #: Whether `inconclusive` here makes the whole report so.
    is_blocking: bool = True


@dataclass(frozen=True, slots=True)
class GateReport:
    """Every gate of one version."""

    rows: tuple[Row, ...]

    @property
    def status(self) -> str:
        """`failed` when a gate failed, `inconclusive` when one could not tell, else `passed`."""
        if self.of(Verdict.FAILED):
            return "failed"
        unsure = any(row.is_blocking for row in self.of(Verdict.INCONCLUSIVE))
        return "inconclusive" if unsure else "passed"

    @property
    def passed(self) -> bool:
        """Whether every gate passed, or has nothing against the version."""
        return self.status == "passed"

    @property
    def asks(self) -> tuple[str, ...]:
        """What a person should look at before the version is served."""
        return tuple(sentence(row) for row in self.of(Verdict.ASKS))

    @property
    def failures(self) -> tuple[str, ...]:
        """Why it did not pass: what failed, else what could not be told."""
        stopped = self.of(Verdict.FAILED) or tuple(
            row for row in self.of(Verdict.INCONCLUSIVE) if row.is_blocking
        )
        return tuple(sentence(row) for row in stopped)

    def of(self, verdict: Verdict) -> tuple[Row, ...]:
        """The rows with a verdict."""
        return tuple(row for row in self.rows if row.verdict is verdict)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values; a number that is not there is null."""
        return {
            "status": self.status,
            "passed": self.passed,
            "failures": list(self.failures),
            "asks": list(self.asks),
            "rows": [{k: _plain(v) for k, v in asdict(row).items()} for row in self.rows],
        }

    def metrics(self) -> Iterator[tuple[str, float]]:
        """`gate.<name>`, `gate.<name>.lo` and `.hi`, where there are numbers."""
        for row in self.rows:
            for suffix, value in (("", row.value), (".lo", row.lo), (".hi", row.hi)):
                if math.isfinite(value):
                    yield f"gate.{row.name}{suffix}", value

    def to_html(self, title: str) -> str:
        """A page with one table."""
        body = "".join(
            f'<tr class="{row.verdict}"><td>{_text(row.name)}<td>{row.verdict}'
            f"<td>{_number(row.value)}<td>{_number(row.lo)}<td>{_number(row.hi)}"
            f"<td>{_text(row.limit)}<td>{_text(row.detail)}</tr>\n"
            for row in self.rows
        )
        return _PAGE.format(title=_text(title), status=self.status, rows=body)


def sentence(row: Row) -> str:
    """A gate in words."""
    return row.detail or f"{row.name.replace('_', ' ')} {_number(row.value)} ({row.limit})"


def report_from(document: Mapping[str, Any]) -> GateReport:
    """The report that `as_dict` wrote."""
    return GateReport(tuple(_row(written) for written in document["rows"]))


def joined(*parts: Iterable[Row]) -> GateReport:
    """One report of several parts."""
    return GateReport(tuple(row for part in parts for row in part))


def _row(written: Mapping[str, Any]) -> Row:
    numbers = {
        key: math.nan if written[key] is None else float(written[key])
        for key in ("value", "lo", "hi")
    }
    return Row(**(dict(written) | numbers | {"verdict": Verdict(written["verdict"])}))


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ""


def _text(value: str) -> str:
    return html.escape(value)


_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color: #222 }}
table {{ border-collapse: collapse }}
th, td {{ text-align: left; padding: .25rem .75rem; border-bottom: 1px solid #ddd }}
tr.failed td:nth-child(2) {{ color: #b00020; font-weight: bold }}
tr.inconclusive td:nth-child(2), tr.asks td:nth-child(2) {{ color: #8a5a00; font-weight: bold }}
tr.skipped td, tr.noted td {{ color: #777 }}
</style>
<h1>{title}: {status}</h1>
<p>Bounds hold with 95 % probability each; customers are what is drawn.</p>
<table><tr><th>gate<th>verdict<th>value<th>lower<th>upper<th>limit<th>detail</tr>
{rows}</table>
"""
