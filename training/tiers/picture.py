"""A proposal as a picture: the histogram with its cuts, and the rate of each tier."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.tiers.proposal import TierProposal
from training.tiers.valleys import to_logit

_DPI: int = 110
_TICKS = (
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.35,
    0.5,
    0.65,
    0.8,
    0.9,
    0.95,
    0.99,
)


def draw_proposal(path: Path, proposal: TierProposal) -> None:
    """Histogram with cuts on the left; expected and observed rate per tier on the right."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _histogram(left, proposal)
    _rates(right, proposal)
    figure.suptitle(
        f"{proposal.target} version {proposal.model_version}: tiers by {proposal.method}, "
        f"{proposal.rows:,} rows"
    )
    figure.savefig(path, dpi=_DPI)


def _histogram(axes: Axes, proposal: TierProposal) -> None:
    shape = proposal.histogram
    edges = [_logit(edge) for edge in shape.edges]
    axes.stairs(shape.shares, edges, fill=True, alpha=0.7)
    low, high = edges[0], max(edges[-1], edges[0] + 1e-6)
    for cut in proposal.cuts:
        axes.axvline(_logit(cut), color="black", linestyle="--", linewidth=1)
    for tier in proposal.tiers:
        start, end = max(low, _logit(tier.low)), min(high, _logit(tier.high))
        text = f"{tier.name}\n{tier.share:.1%}"
        axes.text(
            (start + end) / 2,
            0.99,
            text,
            ha="center",
            va="top",
            transform=axes.get_xaxis_transform(),
        )
    ticks = [tick for tick in _TICKS if low <= _logit(tick) <= high]
    axes.set_xticks([_logit(tick) for tick in ticks], [f"{100 * tick:g} %" for tick in ticks])
    axes.tick_params(axis="x", rotation=45)
    axes.set_ylim(0, max(shape.shares) * 1.25)
    axes.set(xlabel="score (log-odds scale)", ylabel="share of rows", title="Scores and cuts")


def _rates(axes: Axes, proposal: TierProposal) -> None:
    places = range(len(proposal.tiers))
    expected = [tier.expected for tier in proposal.tiers]
    axes.plot(places, expected, "D", color="black", label="mean score")
    if all(tier.observed is not None for tier in proposal.tiers):
        rates = [tier.observed or 0.0 for tier in proposal.tiers]
        lows = [r - (t.observed_low or 0.0) for r, t in zip(rates, proposal.tiers, strict=True)]
        highs = [(t.observed_high or 0.0) - r for r, t in zip(rates, proposal.tiers, strict=True)]
        bars = [[max(0.0, low) for low in lows], [max(0.0, high) for high in highs]]
        axes.errorbar(places, rates, yerr=bars, fmt="o", capsize=4, label="observed, 95 %")
    axes.set_xticks(list(places), list(proposal.names))
    axes.set_xlim(-0.5, len(proposal.tiers) - 0.5)
    axes.set_ylim(bottom=0)
    axes.set(ylabel="rate", title="Rate per tier")
    axes.legend(loc="upper left")


def _logit(score: float) -> float:
    return float(to_logit(score))
