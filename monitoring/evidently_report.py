"""The Evidently report: what a person browses after the verdict, drawn from a sample.

Evidently draws and does not decide. Each column is given our statistic and threshold, since
Evidently's own PSI has bins of equal width, which hide a fault in a feature with a long tail; and
each column is checked before, since one that Evidently cannot read costs the whole report.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

with warnings.catch_warnings():
    # Evidently 0.7.23 and the litestar it imports use what numpy and Python have deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", SyntaxWarning)
    from evidently import DataDefinition, Dataset, Report
    from evidently.core.report import Snapshot
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from evidently.metrics import MeanValue, MissingValueCount, RowCount, ValueDrift

from monitoring.drawn import Drawn, Excluded
from monitoring.errors import ReportNotWritten
from monitoring.statistics import quantile_qpsi

METHOD: Final = "qpsi"
SAMPLE_ROWS: Final = 10_000
MOST_COLUMNS: Final = 30
SCORE: Final = "score"

_UNREADABLE: Final = (ValueError, TypeError, KeyError, ArithmeticError, AttributeError, IndexError)
"""What Evidently raises over a column it cannot handle; it has no errors of its own for it."""


def _qpsi(
    reference: pd.Series, current: pd.Series, _type: ColumnType, threshold: float
) -> tuple[float, bool]:
    value = quantile_qpsi(reference.to_numpy(), current.to_numpy())
    return value, value >= threshold


register_stattest(
    StatTest(
        name=METHOD,
        display_name="qPSI (launch-quantile bins)",
        allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
        default_threshold=0.1,
    ),
    default_impl=_qpsi,
)


def write_evidently(
    path: Path,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    thresholds: Mapping[str, float],
) -> Drawn:
    """Write one self-contained HTML of the columns of `thresholds`, in their order.

    `thresholds` gives the qPSI from which a column counts as drifted. At most MOST_COLUMNS
    columns and SAMPLE_ROWS rows are drawn.

    Raises:
        ReportNotWritten: no column can be drawn, or the file came out empty.
    """
    usable, excluded = usable_columns(reference, current, list(thresholds))
    chosen, beyond = usable[:MOST_COLUMNS], usable[MOST_COLUMNS:]
    excluded += [Excluded(name, "moved less than the columns shown") for name in beyond]
    frames = _Frames(*(_cleaned(frame, chosen) for frame in (reference, current)))
    try:
        snapshot = _run(frames, thresholds, chosen)
    except _UNREADABLE:
        readable, unreadable = _readable(frames, thresholds, chosen)
        excluded += unreadable
        chosen = readable
        snapshot = _run(frames, thresholds, chosen)
    # Given a Path instead of a str, Evidently writes nothing and says nothing.
    snapshot.save_html(str(path))
    if not path.exists() or path.stat().st_size == 0:
        message = f"Evidently wrote nothing to {path}; the findings are in verdict.json."
        raise ReportNotWritten(message)
    return Drawn(tuple(chosen), tuple(excluded))


def usable_columns(
    reference: pd.DataFrame, current: pd.DataFrame, names: Sequence[str]
) -> tuple[list[str], list[Excluded]]:
    """The columns that Evidently can draw, and the others each with the reason."""
    usable, excluded = [], []
    for name in names:
        reason = _unusable(name, {"the launch sample": reference, "this window": current})
        if reason is None:
            usable.append(name)
        else:
            excluded.append(Excluded(name, reason))
    return usable, excluded


def _unusable(name: str, frames: Mapping[str, pd.DataFrame]) -> str | None:
    kinds = set()
    for where, frame in frames.items():
        count = int((frame.columns == name).sum())
        if count != 1:
            return f"not in {where}" if count == 0 else f"{count} columns of this name in {where}"
        values = clean(frame[name])
        if not values.notna().any():
            return f"no finite value in {where}"
        kinds.add(values.dtype.kind)
    return "numbers on one side and texts on the other" if len(kinds) > 1 else None


def clean(values: pd.Series) -> pd.Series:
    """A column as float64 without infinities, or as texts with None.

    Decimal, nullable, boolean and categorical columns become one of the two.
    """
    plain = values.astype(object).where(values.notna(), None)
    if any(isinstance(value, str) for value in plain):
        return plain.map(lambda value: None if value is None else str(value))
    numbers = pd.Series(plain.to_numpy(dtype=np.float64, na_value=np.nan), index=values.index)
    return numbers.where(np.isfinite(numbers))


@dataclass(frozen=True, slots=True)
class _Frames:
    reference: pd.DataFrame
    current: pd.DataFrame


def _cleaned(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    columns = pd.DataFrame({name: clean(frame[name]) for name in names})
    if len(columns) <= SAMPLE_ROWS:
        return columns.reset_index(drop=True)
    # Kept in their order: Evidently draws a line along it, which is time for a window.
    return columns.sample(SAMPLE_ROWS, random_state=0).sort_index().reset_index(drop=True)


def _readable(
    frames: _Frames, thresholds: Mapping[str, float], names: Sequence[str]
) -> tuple[list[str], list[Excluded]]:
    """Each column alone: which ones Evidently reads, which ones stop it."""
    readable, unreadable = [], []
    for name in names:
        try:
            _run(frames, thresholds, [name])
            readable.append(name)
        except _UNREADABLE as exc:
            unreadable.append(Excluded(name, f"Evidently cannot read it: {exc}"))
    return readable, unreadable


def _run(frames: _Frames, thresholds: Mapping[str, float], names: Sequence[str]) -> Snapshot:
    if not names:
        message = "Evidently can draw none of the columns; the findings are in verdict.json."
        raise ReportNotWritten(message)
    texts = [name for name in names if frames.reference[name].dtype.kind == "O"]
    # Left to guess, Evidently takes numbers with up to five values for categories.
    definition = DataDefinition(
        numerical_columns=[name for name in names if name not in texts], categorical_columns=texts
    )
    reference, current = (
        Dataset.from_pandas(frame[list(names)], data_definition=definition)
        for frame in (frames.reference, frames.current)
    )
    metrics = [RowCount()]
    if SCORE in names:
        metrics.append(MeanValue(column=SCORE))
    for name in names:
        metrics.append(ValueDrift(column=name, method=METHOD, threshold=thresholds[name]))
        metrics.append(MissingValueCount(column=name))
    return Report(metrics).run(current_data=current, reference_data=reference)
