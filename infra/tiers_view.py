"""How tiers look on the terminal, and how names and cuts are typed there."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from feature_repo.errors import ConfigError
from serving.tiers import TierPolicy
from training.tiers.proposal import Moves, Tier, TierProposal
from training.tiers.standing import Standing

_BAR = 48
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def parse_names(text: str) -> list[str]:
    """Names typed with commas between them."""
    return [name.strip() for name in text.split(",")]


def parse_cuts(text: str) -> list[float]:
    """Cuts typed with commas between them.

    Raises:
        ConfigError: one of them is no number.
    """
    try:
        return [float(cut) for cut in text.split(",") if cut.strip()]
    except ValueError as exc:
        message = f'--cuts has value {text!r}; write scores with commas between, "0.03,0.1".'
        raise ConfigError(message) from exc


def print_proposal(proposal: TierProposal) -> None:
    """Print the histogram with its cuts, the tiers, who moves, and why."""
    console = Console(highlight=False)
    console.print(
        f"[bold]{proposal.target} version {proposal.model_version}[/]: tiers by "
        f"{proposal.method}, on {proposal.rows:,} rows of the test period"
    )
    for line in histogram_lines(proposal):
        console.print(escape(line))
    console.print(_tiers_table(proposal.tiers))
    if proposal.moves is not None:
        console.print(_moves_table(proposal.moves, proposal.rows))
    console.print(escape(proposal.reason))
    if proposal.method != "valleys":
        console.print(f"Drawn again: {proposal.stability}.")
    for warning in proposal.warnings:
        console.print(f"[yellow]Note:[/] {escape(warning)}")


def histogram_lines(proposal: TierProposal) -> list[str]:
    """One line per bin, the highest scores first, a rule where a cut falls."""
    # Every second edge: half as many lines fit a terminal.
    edges = proposal.histogram.edges[::2]
    shares = [sum(pair) for pair in zip(*[iter(proposal.histogram.shares)] * 2, strict=True)]
    most = max(shares) or 1.0
    lines: list[str] = []
    above = len(proposal.names) - 1
    for low, high, share in reversed(list(zip(edges, edges[1:], shares, strict=False))):
        middle = (low + high) / 2
        tier = sum(cut <= middle for cut in proposal.cuts)
        while above > tier:
            cut = proposal.cuts[above - 1]
            lines.append(
                f"{cut:8.2%} ┄┄ {proposal.names[above]} above, {proposal.names[above - 1]} below"
            )
            above -= 1
        lines.append(f"{middle:8.2%} {_bar(share / most)} {share:.1%}")
    return lines


def _bar(part: float) -> str:
    eighths = round(part * _BAR * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _tiers_table(tiers: tuple[Tier, ...]) -> Table:
    table = Table("tier", title="Tiers, the highest first", title_justify="left")
    for name in ("scores from", "rows", "share", "mean score", "observed", "95 %"):
        table.add_column(name, justify="right")
    for tier in reversed(tiers):
        observed, interval = "", ""
        if tier.observed is not None:
            observed = f"{tier.observed:.2%}"
            interval = f"{tier.observed_low:.2%} - {tier.observed_high:.2%}"
        table.add_row(
            escape(tier.name),
            f"{tier.low:.4g}",
            f"{tier.rows:,}",
            f"{tier.share:.1%}",
            f"{tier.expected:.2%}",
            observed,
            interval,
        )
    return table


def _moves_table(moves: Moves, rows: int) -> Table:
    table = Table(
        f"now (version {moves.from_version})",
        title=f"Who moves: {moves.moved / max(rows, 1):.1%} of the rows change tier",
        title_justify="left",
        caption=f"By {moves.basis}.",
        caption_justify="left",
    )
    for name in reversed(moves.to_names):
        table.add_column(f"to {escape(name)}", justify="right")
    pairs = zip(moves.from_names, moves.counts, strict=True)
    for name, counts in reversed(list(pairs)):
        table.add_row(escape(name), *(f"{count:,}" for count in reversed(counts)))
    return table


def print_in_force(target: str, policy: TierPolicy | None, champion: str | None) -> None:
    """Print the policy that serving uses."""
    console = Console(highlight=False)
    if policy is None:
        console.print(f"No tiers are approved for {target}; answers have none.")
        return
    names = " < ".join(
        part
        for pair in zip(policy.names, (*(f"{cut:.4g}" for cut in policy.cuts), ""), strict=True)
        for part in pair
        if part
    )
    own = "" if policy.model_version == champion else f" (the champion is version {champion})"
    console.print(
        f"In force: [bold]{escape(names)}[/], of version {policy.model_version}{own}, approved by "
        f"{escape(policy.approved_by)} on {policy.approved_at:%Y-%m-%d %H:%M} UTC."
    )


def print_standing(standing: Standing) -> None:
    """Print what was decided of a version's tiers."""
    console = Console(highlight=False)
    status = standing.status or "not proposed"
    waiting = "; a newer proposal waits" if standing.open and status == "approved" else ""
    console.print(
        f"Tiers of {standing.target} version {standing.number}: [bold]{status}[/]{waiting}."
    )
    for decision in standing.history:
        reason = f": {decision['reason']}" if decision.get("reason") else ""
        console.print(
            escape(f"  {decision['at'][:16]} {decision['decision']} by {decision['by']}{reason}")
        )


def print_approved(policy: TierPolicy, champion: str | None) -> None:
    """Print what an approval did."""
    Console(highlight=False).print(
        f"The tiers of {policy.target} version {policy.model_version} are approved by "
        f"{escape(policy.approved_by)}."
    )
    if policy.model_version == champion:
        text = "Servers use them at their next look at MLflow."
    else:
        text = f"They are used once version {policy.model_version} is champion."
    Console(highlight=False).print(text)
