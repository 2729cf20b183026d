"""The week on one page, self-contained, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any, Final

from feature_repo.settings import Settings
from feature_repo.sole import write_whole
from training.weekly.evidence import Evidence
from training.weekly.state import Outcome, Status, WeekState

Found = Sequence[tuple[Outcome, Evidence]]

_SHOWN: Final = (
    ("auc", "AUC"),
    ("log_loss", "log-loss"),
    ("average_precision", "average precision"),
    ("calibration_slope", "calibration slope"),
    ("calibration_ratio", "mean score / rate"),
    ("top_decile_lift", "top-decile lift"),
)
_WORDS: Final = {
    Status.PASSED: ("ok", "passed every gate"),
    Status.GATE: ("warning", "trained, and a gate did not pass"),
    Status.LEAK: ("critical", "the audit found a leak; nothing was registered"),
    Status.NOT_READY: ("none", "data are not ready"),
    Status.ERROR: ("critical", "did not work"),
}


def write_report(
    settings: Settings, state: WeekState, found: Found, now: datetime
) -> tuple[Path, Mapping[str, Any]]:
    """Write `<key>.html` and `<key>.json` under reports/weekly; the page and the document."""
    folder = settings.reports_path / "weekly"
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "week": state.week,
        "key": state.key,
        "written_at": now.isoformat(),
        "targets": [_document(outcome, evidence) for outcome, evidence in found],
    }
    page = folder / f"{state.key}.html"
    write_whole(page.with_suffix(".json"), json.dumps(document, indent=1, allow_nan=False))
    write_whole(page, render(document))
    return page, document | {"page": str(page)}


def _document(outcome: Outcome, evidence: Evidence) -> dict[str, Any]:
    """One target as JSON values; a number that is not there is null."""
    return {
        "target": outcome.target,
        "status": outcome.status.value,
        "as_of": outcome.as_of,
        "reasons": list(outcome.reasons),
        "version": outcome.version,
        "aliases": list(evidence.aliases),
        "run_id": outcome.run_id,
        "seconds": outcome.seconds,
        "found": outcome.found,
        "chosen": evidence.tags.get("chosen"),
        "rows": _finite(evidence.metrics.get("rows")),
        "positives": _finite(evidence.metrics.get("positives")),
        "test_rows": _finite(evidence.metrics.get("test_rows")),
        "champion": evidence.champion,
        "metrics": {
            name: {
                "model": _finite(evidence.metrics.get(name)),
                "low": _finite(evidence.metrics.get(f"{name}.lo")),
                "high": _finite(evidence.metrics.get(f"{name}.hi")),
                "baseline": _finite(evidence.metrics.get(f"baseline_{name}")),
                "champion": _finite(evidence.champion_metrics.get(name)),
            }
            for name, _ in _SHOWN
        },
        "gates": list(evidence.gates.get("rows", [])),
        "findings": list(evidence.audit.get("findings", [])),
        "tiers": _tiers(evidence),
        "links": dict(evidence.links),
        "next": next_steps(outcome, evidence),
    }


def _tiers(evidence: Evidence) -> dict[str, Any] | None:
    if not evidence.tiers:
        return None
    keys = ("method", "reason", "warnings", "cuts")
    return {
        "status": evidence.tiers_status,
        **{key: evidence.tiers.get(key) for key in keys},
        "tiers": [
            {k: tier.get(k) for k in ("name", "low", "high", "share", "expected", "observed")}
            for tier in evidence.tiers.get("tiers", [])
        ],
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or value != value or abs(value) == float("inf") else value


def next_steps(outcome: Outcome, evidence: Evidence) -> list[str]:
    """What a person does about it, as commands where there is one."""
    target, version = outcome.target, outcome.version
    if outcome.status is Status.ERROR:
        return ["Mend what is said and run foresend weekly again; what is done is kept."]
    if outcome.status is Status.NOT_READY:
        return ["Bring the data and run foresend weekly again; it is tried anew."]
    if outcome.status is Status.LEAK:
        return [f"Look at the findings: foresend audit {target}. Mend their cause, then --force."]
    steps = []
    if outcome.status is Status.GATE:
        steps.append("Nothing: the version has no alias, and what is served stays. See the gates.")
    elif "challenger" in evidence.aliases:
        steps.append(f"To serve it: foresend models promote {target} {version}")
    if evidence.tiers_status == "proposed" and outcome.status is Status.PASSED:
        steps.append(f"Look at its tiers: foresend tiers show {target}; then approve or reject.")
    return steps or ["Nothing."]


def render(document: Mapping[str, Any]) -> str:
    """The page as one HTML document."""
    title = escape(f"Week {document['key']}")
    body = "".join(_section(target) for target in document["targets"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f'<p class="facts">Written {escape(str(document["written_at"]))}.</p>'
        f"{_overview(document['targets'])}{body}</body></html>\n"
    )


def _overview(targets: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            f'<a href="#{escape(t["target"])}">{escape(t["target"])}</a>',
            _sign(t["status"]),
            _cell(t["version"]),
            _number(t["metrics"]["auc"]["model"]),
            _number(t["metrics"]["auc"]["baseline"]),
            "<br>".join(escape(step) for step in t["next"]),
        )
        for t in targets
    ]
    return _table(("target", "outcome", "version", "AUC", "baseline", "what to do"), rows)


def _section(target: Mapping[str, Any]) -> str:
    name = escape(target["target"])
    parts = [f'<h2 id="{name}">{name}</h2><p>{_sign(target["status"])}{_facts(target)}</p>']
    if target["reasons"]:
        parts.append(_list(target["reasons"]))
    if target["rows"] is not None:
        parts.append(_metrics(target))
    if target["gates"]:
        parts.append("<h3>Gates</h3>" + _gates(target["gates"]))
    if target["run_id"] is not None:
        parts.append("<h3>Leakage audit</h3>" + _findings(target["findings"]))
    if target["tiers"]:
        parts.append("<h3>Tiers proposed</h3>" + _proposal(target["tiers"]))
    parts.append("<h3>What to do</h3>" + _list(target["next"]))
    return "".join(parts)


def _facts(target: Mapping[str, Any]) -> str:
    facts = [f"as of {target['as_of']}"] if target["as_of"] else []
    if target["chosen"]:
        facts.append(f"chosen: {target['chosen']}")
    if target["rows"] is not None:
        facts.append(f"{target['rows']:,.0f} rows, {target['positives']:,.0f} positive")
    if target["aliases"]:
        facts.append(f"alias {', '.join(target['aliases'])}")
    if target["found"]:
        facts.append("found in MLflow, not trained again")
    links = "".join(
        f' · <a href="{escape(url, quote=True)}">MLflow {escape(what)}</a>'
        for what, url in target["links"].items()
    )
    run = "" if target["links"] or not target["run_id"] else f" · run {escape(target['run_id'])}"
    return escape("".join(f" · {fact}" for fact in facts)) + links + run


def _metrics(target: Mapping[str, Any]) -> str:
    served = target["champion"]
    champion = "no champion yet" if served is None else f"champion {served}, on its own test"
    rows = []
    for key, label in _SHOWN:
        values = target["metrics"][key]
        bounds = ""
        if values["low"] is not None and values["high"] is not None:
            bounds = f"{values['low']:.4f} to {values['high']:.4f}"
        numbers = [_number(values[who]) for who in ("model", "baseline", "champion")]
        rows.append((escape(label), numbers[0], bounds, *numbers[1:]))
    heads = ("on the test period", "model", "95 % interval", "baseline", champion)
    return _table(heads, rows)


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            _cell(gate["name"]),
            _coloured(_VERDICTS.get(gate["verdict"], "none"), gate["verdict"]),
            *(_number(gate.get(key)) for key in ("value", "lo", "hi")),
            _cell(gate.get("limit")),
            _cell(gate.get("detail")),
        )
        for gate in gates
    ]
    return _table(("gate", "verdict", "value", "lower", "upper", "limit", "detail"), rows)


def _findings(findings: Sequence[Mapping[str, Any]]) -> str:
    """What a person must look at; the rest is only counted."""
    bad = [finding for finding in findings if finding.get("severity") != "info"]
    rows = [
        tuple(_cell(finding.get(k)) for k in ("severity", "feature", "kind", "evidence", "cure"))
        for finding in bad
    ]
    heads = ("severity", "feature", "kind", "evidence", "cure")
    table = _table(heads, rows) if rows else "<p>Nothing that must be looked at.</p>"
    if len(bad) == len(findings):
        return table
    return f"{table}<p>{len(findings) - len(bad)} things worth knowing: audit.html of the run.</p>"


def _proposal(tiers: Mapping[str, Any]) -> str:
    rows = [
        (
            _cell(tier["name"]),
            f"{_number(tier['low'])} to {_number(tier['high'])}",
            "" if tier["share"] is None else f"{tier['share']:.1%}",
            _number(tier["expected"]),
            _number(tier["observed"]),
        )
        for tier in tiers["tiers"]
    ]
    words = (
        f"<p>{_cell(tiers['status'])}, by {_cell(tiers['method'])}: {_cell(tiers['reason'])}</p>"
    )
    table = _table(("tier", "scores", "share", "mean score", "observed rate"), rows)
    return words + table + _list(tiers["warnings"] or [])


def _sign(status: str) -> str:
    kind, words = _WORDS[Status(status)]
    return _coloured(kind, words)


def _coloured(kind: str, words: str) -> str:
    return f'<span class="{kind}">{escape(words)}</span>'


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{escape(word)}</th>" for word in heads)
    body = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: Any) -> str:
    return "" if value is None else escape(str(value))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


_VERDICTS: Final = {
    "passed": "ok",
    "failed": "critical",
    "inconclusive": "warning",
    "asks": "warning",
}

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --ok: #1b7837; --warn: #a35b00; --bad: #b2182b;
  --none: #666; }
@media (prefers-color-scheme: dark) { :root { --ok: #7fcf94; --warn: #f0b35b; --bad: #ff8f8f;
  --none: #aaa; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; } .facts { opacity: .8; }
.ok { color: var(--ok); font-weight: 600; } .warning { color: var(--warn); font-weight: 600; }
.critical { color: var(--bad); font-weight: 600; } .none { color: var(--none); }
table { border-collapse: collapse; font-size: .9rem; } .scroll { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .25rem .9rem .25rem 0;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
@media print { body { padding: 0; max-width: none; } }
"""
