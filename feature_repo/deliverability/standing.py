"""How each sending domain stands with each mailbox provider, from what the last build left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from feature_repo import contract, naming
from feature_repo.deliverability.estimates import read_estimates
from feature_repo.errors import NotReady
from feature_repo.settings import Settings

EVIDENCE: Final = (
    *("seed_n_7d", "seed_inbox_rate_7d", "canary_index_7d", "seen_index_7d"),
    *("gpt_spam_rate_7d", "snds_filter_result_7d", "block_rate_7d", "delivered_1d"),
)
"""Columns of the `placement` view that say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One cell as of the newest midnight."""

    sending_domain: str
    mailbox_provider: str
    #: UTC day of the newest estimate.
    day: date
    #: Share of that day's mail in the inbox, with its central 90 %.
    p_inbox: float
    low: float
    high: float
    #: First of the days in a row, up to the newest, that are impaired; None: it is not.
    impaired_since: date | None
    #: Trials that would tell as much.
    trials: float
    #: Values of EVIDENCE by name, None where nothing is known.
    evidence: dict[str, float | None]
    #: Days since the newest number of each source; None: never had one.
    staleness: dict[str, float | None]


def standings(settings: Settings) -> list[Standing]:
    """Every cell, impaired ones first, then by name.

    Raises:
        NotReady: nothing was ever estimated.
    """
    estimates = read_estimates(settings)
    if not estimates.num_rows:
        message = (
            f"No placement is estimated in {settings.home}. It comes with `foresend features "
            "build` once mail with a sending domain or readings (`foresend deliverability import`)"
            " are there."
        )
        raise NotReady(message)
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in estimates.to_pylist():
        cells.setdefault((row["sending_domain"], row["mailbox_provider"]), []).append(row)
    shown = {
        (row["sending_domain"], row["mailbox_provider"]): row
        for row in _newest_values(settings).to_pylist()
    }
    found = [_standing(cell, rows, shown.get(cell, {})) for cell, rows in cells.items()]
    return sorted(
        found, key=lambda s: (s.impaired_since is None, s.sending_domain, s.mailbox_provider)
    )


def _standing(
    cell: tuple[str, str], rows: list[dict[str, Any]], values: dict[str, Any]
) -> Standing:
    # Rows are in the order of day and publication: the last of a day is what is thought of it now.
    by_day = {row["day"]: row for row in rows}
    newest = by_day[max(by_day)]
    since = None
    day = newest["day"]
    while day in by_day and by_day[day]["is_impaired"]:
        since, day = day, day - timedelta(days=1)
    return Standing(
        sending_domain=cell[0],
        mailbox_provider=cell[1],
        day=newest["day"],
        p_inbox=newest["p_inbox"],
        low=newest["p_inbox_lo"],
        high=newest["p_inbox_hi"],
        impaired_since=since,
        trials=newest["evidence"],
        evidence={name: values.get(name) for name in EVIDENCE},
        staleness={
            source: values.get(f"{source}_staleness_days") for source in naming.PLACEMENT_SOURCES
        },
    )


def _newest_values(settings: Settings) -> pa.Table:
    path = str(settings.feature_path(contract.PLACEMENT))
    if not DeltaTable.is_deltatable(path):
        return pa.table({name: pa.array([], pa.string()) for name in contract.PLACEMENT_KEYS})
    table = pa.table(DeltaTable(path).to_pyarrow_table())
    newest = pc.max(table[contract.EVENT_TIMESTAMP])
    return table.filter(pc.equal(table[contract.EVENT_TIMESTAMP], newest))
