"""A histogram as inline SVG: one row per cell, a bar for now and a mark for launch.

Cells are those of the launch profile, so at launch the bins hold about equal shares and the marks
stand in one line; what moved is what the bars do not reach, or pass.
"""

from __future__ import annotations

from html import escape
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.bins import Bins, Counts

ROW: Final = 15
LABEL: Final = 132
BAR: Final = 190
SHARE: Final = 46
WIDTH: Final = LABEL + BAR + SHARE


def histogram_chart(bins: Bins, launch: Counts, current: Counts, *, title: str) -> str:
    """SVG of the shares per cell, launch against now; cells empty on both sides are left out."""
    before, now = _shares(launch), _shares(current)
    labels = bins.labels()
    cells = [cell for cell in bins.order() if before[cell] > 0 or now[cell] > 0]
    top = max([float(before[cells].max()), float(now[cells].max())]) if cells else 1.0
    rows = [
        _row(i, labels[cell], float(before[cell]), float(now[cell]), top)
        for i, cell in enumerate(cells)
    ]
    height = ROW * len(cells) + 4
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>'
        f"{''.join(rows)}</svg>"
    )


def _row(index: int, label: str, before: float, now: float, top: float) -> str:
    y = index * ROW + 2
    baseline = y + ROW - 5
    length = BAR * now / top
    mark = LABEL + BAR * before / top
    return (
        f'<text x="{LABEL - 6}" y="{baseline}" class="label">{escape(_short(label))}</text>'
        f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{ROW - 4}" class="now"/>'
        f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="{y - 1}" y2="{y + ROW - 3}" class="launch"/>'
        f'<text x="{WIDTH}" y="{baseline}" class="share">{now:.1%}</text>'
    )


def _shares(counts: Counts) -> npt.NDArray[np.float64]:
    return counts / max(int(counts.sum()), 1)


def _short(label: str) -> str:
    return label if len(label) <= 22 else label[:21] + "…"
