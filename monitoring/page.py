"""The page a person opens first: the verdict, what moved and how, readable offline and in print.

Evidently's own small histograms have bins of equal width, in which a feature a hundred times too
large looks like it did before; these pictures use the launch quantiles.
"""

from __future__ import annotations

from html import escape
from typing import Any, Final, TypeAlias

import numpy.typing as npt

from monitoring.chart import histogram_chart
from monitoring.drawn import Drawn
from monitoring.drift import Finding, Status
from monitoring.verdict import Judged, Verdict, days_word
from serving.profile import ColumnProfile, histogram

Values: TypeAlias = npt.NDArray[Any]

MOST_CHARTS: Final = 12
FEWEST_CHARTS: Final = 3

_WORD: Final = {
    Status.OK: "ok",
    Status.WARN: "look",
    Status.DRIFT: "drift",
    Status.INSUFFICIENT: "not enough data",
}
_SIGN: Final = {Status.OK: "✓", Status.WARN: "△", Status.DRIFT: "▲", Status.INSUFFICIENT: "?"}

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; --now: #4477aa; --mark: #cc3311;
  --ok: #1b7837; --warn: #a35b00; --drift: #b2182b; --none: #666; }
@media (prefers-color-scheme: dark) { :root { --now: #77aadd; --mark: #ff8a70; --ok: #7fcf94;
  --warn: #f0b35b; --drift: #ff8f8f; --none: #aaa; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; } .facts { opacity: .8; margin: 0 0 1rem; }
.headline { font-size: 1.15rem; border-left: .4rem solid; padding: .6rem .9rem;
  background: var(--soft); }
.ok { color: var(--ok); } .warn { color: var(--warn); } .drift { color: var(--drift); }
.insufficient { color: var(--none); } .headline span { color: CanvasText; }
.status { font-weight: 600; white-space: nowrap; }
li { margin: .35rem 0; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scroll { overflow-x: auto; }
.cards { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
.card { border: 1px solid var(--line); border-radius: .4rem; padding: .8rem; break-inside: avoid; }
.card p { margin: .3rem 0 .6rem; font-size: .9rem; } svg { width: 100%; height: auto; }
svg text { font: 10px system-ui, sans-serif; fill: CanvasText; }
svg .label, svg .share { text-anchor: end; } svg .now { fill: var(--now); opacity: .75; }
svg .launch { stroke: var(--mark); stroke-width: 2; }
.key i { display: inline-block; width: 1.2rem; height: .7rem; background: var(--now); }
.key b { display: inline-block; width: 2px; height: 1rem; background: var(--mark);
  vertical-align: middle; margin: 0 .3rem 0 1rem; }
@media print { body { padding: 0; max-width: none; } a::after { content: " (" attr(href) ")"; } }
"""


def render(verdict: Verdict, drawn: Drawn | None, *, note: str | None = None) -> str:
    """The whole page as one HTML document without any request to elsewhere.

    `drawn` is None when there is no Evidently report; `note` then says why.
    """
    title = f"Drift of {verdict.launch.target}: {_WORD[verdict.status]}"
    body = "".join(
        [
            _head(verdict),
            _list("What moved", verdict.causes),
            _list("To keep in mind", verdict.remarks),
            _windows(verdict),
            _pictures(verdict),
            _table(verdict.asked),
            _evidently(drawn, note),
            _reading(),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _head(verdict: Verdict) -> str:
    window, launch = verdict.asked.window, verdict.launch
    facts = (
        f"Model {launch.target} version {launch.model_version}. Window: "
        f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC, "
        f"{window.customers:,} customers ({window.rows:,} predictions). Launch profile of "
        f"{launch.profile.created_at:%Y-%m-%d}: {launch.profile.customers:,} customers."
    )
    return (
        f"<h1>Drift of <code>{escape(launch.target)}</code></h1><p class=facts>{escape(facts)}</p>"
        f'<p class="headline {verdict.status.value}">{_status(verdict.status)} '
        f"<span>{escape(verdict.headline)}</span></p>"
    )


def _status(status: Status) -> str:
    return f'<span class="status {status.value}">{_SIGN[status]} {_WORD[status]}</span>'


def _list(heading: str, sentences: tuple[str, ...]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<h2>{heading}</h2><ul>{items}</ul>"


def _windows(verdict: Verdict) -> str:
    rows = "".join(
        f"<tr><td>last {days_word(j.window.days)}</td><td>{_status(j.status)}</td>"
        f"<td class=n>{j.window.customers:,}</td><td class=n>{_moved(j)}</td>"
        f"<td class=n>{_qpsi(j.score)}</td></tr>"
        for j in (*verdict.nested, verdict.asked)
    )
    return (
        "<h2>Windows</h2><div class=scroll><table><thead><tr><th>window</th><th>status</th>"
        "<th class=n>customers</th><th class=n>features moved</th><th class=n>qPSI of the score"
        f"</th></tr></thead><tbody>{rows}</tbody></table></div>"
        "<p>The longest window decides; a shorter one shows earlier when a fault is new.</p>"
    )


def _moved(judged: Judged) -> str:
    moved = sum(f.status in {Status.WARN, Status.DRIFT} for f in judged.features)
    return f"{moved} of {len(judged.features)}"


def _qpsi(finding: Finding) -> str:
    return "–" if finding.movement is None else f"{finding.movement.qpsi:.3f}"


def _pictures(verdict: Verdict) -> str:
    profile, window = verdict.launch.profile, verdict.asked.window
    scores = window.scores_of(verdict.launch.model_version)
    cards = [_card(verdict.asked.score, profile.score, scores)] if len(scores) else []
    drawn = [f for f in verdict.asked.features if f.movement is not None]
    moved = sum(f.status in {Status.WARN, Status.DRIFT} for f in drawn)
    for finding in drawn[: min(max(moved, FEWEST_CHARTS), MOST_CHARTS)]:
        values = window.columns[finding.name]
        cards.append(_card(finding, profile.features[finding.name], values))
    if not cards:
        return ""
    return (
        "<h2>Launch against now</h2><p class=key><i></i> share of customers now <b></b> share at "
        "launch. Each row is one bin of the launch quantiles, or one frequent value.</p>"
        f"<div class=cards>{''.join(cards)}</div>"
    )


def _card(finding: Finding, column: ColumnProfile, values: Values) -> str:
    now = histogram(column, values)
    chart = histogram_chart(
        column.bins, column.launch.counts, now.counts, title=f"{finding.name}: launch against now"
    )
    return (
        f"<section class=card><h3>{escape(finding.name)} {_status(finding.status)}</h3>"
        f"<p>{escape(finding.sentence)}</p>{chart}</section>"
    )


def _table(judged: Judged) -> str:
    rows = "".join(_table_row(finding) for finding in (judged.score, *judged.features))
    heads = (
        "qPSI",
        "noise floor",
        "missing at launch",
        "missing now",
        "most moved value",
        "then → now",
    )
    numeric = "".join(f"<th class=n>{head}</th>" for head in heads)
    return (
        "<h2>Every feature</h2><div class=scroll><table><thead><tr><th>feature</th><th>view</th>"
        f"<th>status</th>{numeric}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _table_row(finding: Finding) -> str:
    movement = finding.movement
    cells = ["–"] * 6
    if movement is not None:
        value = movement.value
        cells = [
            f"{movement.qpsi:.3f}",
            f"{movement.qpsi_floor:.3f}",
            f"{movement.null.before:.1%}",
            f"{movement.null.now:.1%}",
            "–" if value is None else f"{movement.valued:.6g}",
            "–" if value is None else f"{value.before:.1%} → {value.now:.1%}",
        ]
    numbers = "".join(f"<td class=n>{cell}</td>" for cell in cells)
    return (
        f"<tr><td>{escape(finding.name)}</td><td>{escape(finding.view)}</td>"
        f"<td>{_status(finding.status)}</td>{numbers}</tr>"
    )


def _evidently(drawn: Drawn | None, note: str | None) -> str:
    if drawn is None:
        return f"<h2>Evidently report</h2><p>{escape(note or 'There is none.')}</p>"
    left = "".join(f"<li>{escape(e.name)}: {escape(e.reason)}</li>" for e in drawn.excluded)
    excluded = f"<details><summary>Not drawn there</summary><ul>{left}</ul></details>"
    return (
        '<h2>Evidently report</h2><p><a href="evidently.html">evidently.html</a> shows '
        f"{len(drawn.shown)} columns in Evidently’s own pictures, from a sample; its lines follow "
        "the order of scoring. Its bins have equal width: a feature with a long tail can look "
        "unchanged there. The statistic is ours, over what is not missing.</p>"
        f"{excluded if left else ''}"
    )


def _reading() -> str:
    return (
        "<h2>How to read this</h2><p>qPSI compares the shares per bin; from 0.1 a change counts as "
        "drift, from 0.02 as worth a look, and never below the noise floor, which is what chance "
        "alone can do with so many customers. A change of 2 points in what is missing, or of 3 "
        "points in one frequent value, counts as drift by itself. Each customer counts once, with "
        'the latest prediction. The same verdict for programs: <a href="verdict.json">verdict.json'
        "</a>.</p>"
    )
