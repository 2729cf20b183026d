"""The audit as a page: the verdict, what was found and its cure, every check with its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

_SIGN: Final = {
    "critical": "▲",
    "warning": "△",
    "info": "·",
    "clean": "✓",
    "found": "▲",
    "not checked": "?",
}
_CLASS: Final = {"clean": "ok", "found": "critical", "not checked": "none"}

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881;
  --ok: #1b7837; --warn: #a35b00; --bad: #b2182b; --none: #666; }
@media (prefers-color-scheme: dark) { :root { --ok: #7fcf94; --warn: #f0b35b; --bad: #ff8f8f;
  --none: #aaa; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; } .facts { opacity: .8; margin: 0 0 1rem; }
.headline { font-size: 1.15rem; border-left: .4rem solid; padding: .6rem .9rem;
  background: var(--soft); }
.ok { color: var(--ok); } .warning { color: var(--warn); } .critical { color: var(--bad); }
.info, .none { color: var(--none); } .headline span { color: CanvasText; }
.sign { font-weight: 600; white-space: nowrap; }
.card { border: 1px solid var(--line); border-radius: .4rem; padding: .8rem; margin: .8rem 0;
  break-inside: avoid; }
.card p { margin: .4rem 0 0; } .cure::before { content: "Cure: "; font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); }
td.numbers { font-variant-numeric: tabular-nums; } .scroll { overflow-x: auto; }
dl { display: grid; grid-template-columns: auto auto; gap: 0 .8rem; margin: 0;
  justify-content: start; } dd { margin: 0; text-align: right; }
.note { opacity: .8; font-size: .85rem; }
@media print { body { padding: 0; max-width: none; } }
"""


def render(report: Mapping[str, Any]) -> str:
    """The whole page as one HTML document; `report` is AuditReport.as_dict()."""
    target = str(report["target"])
    body = "".join(
        [
            _head(report),
            _findings("Findings", report["findings"], {"critical", "warning"}),
            _checks(report["checks"]),
            _findings("Worth knowing", report["findings"], {"info"}),
            _notes(report["notes"]),
            _reading(),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Leakage audit of {escape(target)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _head(report: Mapping[str, Any]) -> str:
    state = "critical" if report["critical"] else "ok"
    known = f" As known at {report['as_of']}." if report["as_of"] else ""
    facts = (
        f"{report['rows']:,} rows of {report['customers']:,} customers, {report['positives']:,} "
        f"with label 1, {report['features']:,} features.{known}"
    )
    sign = "▲ stop" if report["critical"] else "✓ pass"
    return (
        f"<h1>Leakage audit of <code>{escape(str(report['target']))}</code></h1>"
        f"<p class=facts>{escape(facts)}</p>"
        f'<p class="headline {state}"><b class=sign>{sign}</b> '
        f"<span>{escape(str(report['verdict']))}</span></p>"
    )


def _findings(heading: str, findings: list[Mapping[str, Any]], shown: set[str]) -> str:
    cards = "".join(_card(finding) for finding in findings if finding["severity"] in shown)
    return f"<h2>{heading}</h2>{cards}" if cards else ""


def _card(finding: Mapping[str, Any]) -> str:
    severity = str(finding["severity"])
    feature = "the rows" if finding["feature"] is None else str(finding["feature"])
    return (
        f"<section class=card><h3><code>{escape(feature)}</code>: {escape(str(finding['kind']))} "
        f'<span class="sign {severity}">{_SIGN[severity]} {severity}</span></h3>'
        f"<p>{escape(str(finding['evidence']))}</p>"
        f"<p class=cure>{escape(str(finding['cure']))}</p></section>"
    )


def _checks(checks: list[Mapping[str, Any]]) -> str:
    rows = "".join(_row(check) for check in checks)
    return (
        "<h2>Every check</h2><div class=scroll><table><thead><tr><th>check</th><th>verdict</th>"
        f"<th>numbers</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(check: Mapping[str, Any]) -> str:
    verdict = str(check["verdict"])
    numbers = "".join(
        f"<dt>{escape(name)}</dt><dd>{_number(value)}</dd>"
        for name, value in check["numbers"].items()
    )
    note = f"<div class=note>{escape(str(check['note']))}</div>" if check["note"] else ""
    return (
        f"<tr><td><b>{escape(str(check['name']))}</b><br>{escape(str(check['asks']))}{note}</td>"
        f'<td><span class="sign {_CLASS[verdict]}">{_SIGN[verdict]} {escape(verdict)}</span></td>'
        f"<td class=numbers><dl>{numbers}</dl></td></tr>"
    )


def _number(value: float) -> str:
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.4g}"


def _notes(notes: list[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>How it was looked at</h2><ul>{items}</ul>" if items else ""


def _reading() -> str:
    return (
        "<h2>How to read this</h2><p>A critical finding stops registration: the rows hold "
        "something that was not known at their time, and offline metrics would promise what "
        "serving cannot keep. A warning asks for a person. What is worth knowing needs nothing; "
        "features that differ by event time show what joining as known prevents. A clean audit "
        "rules out the leaks it looks for, not every leak: a feature of a foreign table whose "
        "times are wrong at the source cannot be told from an honest one.</p>"
    )
