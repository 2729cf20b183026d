"""Order and identity: no feature is the row's number or the customer's id, no row stands twice."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.audit.area import LEAST, area_within, codes_of, distinct_pairs, rank_correlation
from training.audit.evidence import Evidence, Floats, Ints
from training.audit.finding import Check, Finding, Severity

NAME: Final = "order and identity"
ASKS: Final = "Does a feature number the rows or name the customer, or does a row stand twice?"

_SAME: Final = 0.999
_LEAST_ROWS: Final = 50
_LEAST_CUSTOMERS: Final = 30
_POSITION: Final = 0.95
_POSITION_SUSPECT: Final = 0.80
_TWIN_ROWS: Final = 0.01
_RARE: Final = 2
_RARE_VALUES: Final = 3


def check(evidence: Evidence) -> Check:
    """Features that are a number of the row or customer, positions that tell, and twins."""
    dataset = evidence.dataset
    customer = codes_of(dataset.customer)
    time = codes_of(dataset.at_us)
    findings: list[Finding] = []
    for name, values in dataset.columns.items():
        if name not in evidence.texts:
            findings += _number_of(name, values, time, customer, dataset.customer)
    position, error = _position(evidence, time, customer)
    if position is not None:
        findings += _told_by_position(position, error)
    again = len(dataset) - len(distinct_pairs(time, customer)[0])
    findings += _repeated(evidence, again)
    twins = _twins(evidence, time, customer)
    findings += _twin_customers(twins, len(dataset))
    numbers: dict[str, float] = {
        "rows": len(dataset),
        "customers": int(customer.max(initial=-1)) + 1,
        "rows of the same customer and time": again,
        "rows with a twin customer": twins,
    }
    if position is not None:
        numbers["AUC of the place among rows of equal time"] = position
    return Check(name=NAME, asks=ASKS, numbers=numbers, findings=tuple(findings))


def _number_of(
    name: str, values: Floats, time: Ints, customer: Ints, ids: npt.NDArray[Any]
) -> list[Finding]:
    present = ~np.isnan(values)
    if present.sum() < _LEAST_ROWS:
        return []
    held = values[present]
    distinct = len(np.unique(held))
    # Rank-identical needs about as many values as there are rows, or customers.
    if distinct >= 0.9 * len(held):
        found = _row_number(name, held, time[present])
        if found is not None:
            return [found]
    if distinct >= 0.9 * len(np.unique(customer[present])):
        return _customer_id(name, held, customer[present], ids[present])
    return []


def _row_number(name: str, held: Floats, time: Ints) -> Finding | None:
    rho = rank_correlation(held, np.arange(len(held), dtype=np.float64))
    if abs(rho) < _SAME:
        return None
    # In step with time itself is a clock; in step among rows of equal time it is the row number.
    tied = np.bincount(time)[time] > 1
    rises = np.diff(held)[(np.diff(time) == 0)]
    is_number = tied.sum() >= _LEAST_ROWS and abs(float(np.sign(rises).mean())) > _SAME
    text = (
        f"Its order is that of the rows (rank correlation {rho:+.4f})"
        f"{', among rows of equal time as well' if is_number else ''}."
    )
    return Finding(
        feature=name,
        kind="row number" if is_number else "clock",
        severity=Severity.CRITICAL if is_number else Severity.WARNING,
        evidence=text,
        numbers={"rank_correlation": rho},
        cure=(
            "Leave it out: later rows lie beyond every value a model has seen, and the order of "
            "rows can hold the answer."
        ),
    )


def _customer_id(name: str, held: Floats, customer: Ints, ids: npt.NDArray[Any]) -> list[Finding]:
    first = np.full(int(customer.max()) + 1, np.nan)
    first[customer] = held
    several = np.bincount(customer)[customer] > 1
    # What changes over a customer's rows (a tenure, say) is no name of them.
    if not np.array_equal(first[customer], held) or several.sum() < _LEAST_ROWS:
        return []
    codes = np.flatnonzero(~np.isnan(first))
    if len(codes) < _LEAST_CUSTOMERS:
        return []
    orders = {"sorted as text": codes.astype(np.float64)}
    numbers = _as_numbers(ids)
    if numbers is not None:
        by_code = np.full(len(first), np.nan)
        by_code[customer] = numbers
        orders["as a number"] = by_code[codes]
    for how, order in orders.items():
        rho = rank_correlation(first[codes], order)
        if abs(rho) >= _SAME:
            text = f"Its order over {len(codes):,} customers is that of the id {how} ({rho:+.4f})."
            return [
                Finding(
                    feature=name,
                    kind="customer id",
                    severity=Severity.CRITICAL,
                    evidence=text,
                    numbers={"rank_correlation": rho},
                    cure="Leave it out: a model learns each customer's answers by heart.",
                )
            ]
    return []


def _as_numbers(ids: npt.NDArray[Any]) -> Floats | None:
    """The numbers at the end of ids such as c17, None when there are ids without."""
    digits = [_trailing_digits(str(text)) for text in ids.tolist()]
    return np.array(digits, dtype=np.float64) if all(digits) else None


def _trailing_digits(text: str) -> str:
    return text[len(text.rstrip("0123456789")) :][-15:]


def _position(evidence: Evidence, time: Ints, customer: Ints) -> tuple[float | None, float]:
    """AUC of a row's place among the rows of equal time."""
    tied = np.bincount(time)[time] > 1
    label = evidence.dataset.label[tied]
    if min(label.sum(), (1 - label).sum()) < LEAST:
        return None, 0.0
    place = np.arange(len(time), dtype=np.float64)[tied]
    found = area_within(place, label, time[tied], customer[tied])
    return (None, 0.0) if np.isnan(found.value) else (found.value, found.error)


def _told_by_position(value: float, error: float) -> list[Finding]:
    certain = 0.5 + abs(value - 0.5) - 2.58 * error
    if certain < _POSITION_SUSPECT:
        return []
    text = (
        f"Among rows of equal time the place alone reaches AUC {value:.3f}: rows with one label "
        "stand before those with the other."
    )
    return [
        Finding(
            feature=None,
            kind="order tells the label",
            severity=Severity.CRITICAL if certain > _POSITION else Severity.WARNING,
            evidence=text,
            numbers={"auc": value, "standard_error": error},
            cure="Order rows of equal time by something that knows no label, such as a hash.",
        )
    ]


def _repeated(evidence: Evidence, again: int) -> list[Finding]:
    if not again:
        return []
    share = again / len(evidence.dataset)
    if evidence.is_grid:
        severity = Severity.CRITICAL
    else:
        severity = Severity.WARNING if share > 0.05 else Severity.INFO
    text = f"{again:,} rows ({share:.1%}) repeat a customer and time that stand there already."
    return [
        Finding(
            feature=None,
            kind="rows stand twice",
            severity=severity,
            evidence=text,
            numbers={"rows": again, "share": share},
            cure="Give a customer one row per decision; a join that fans out makes such rows.",
        )
    ]


def _twins(evidence: Evidence, time: Ints, customer: Ints) -> int:
    """Rows whose features, at the same time, are those of another customer, and are seldom held.

    Customers of whom little is known are alike by chance; so some values must be held by hardly
    anyone else.
    """
    columns = evidence.dataset.columns
    codes = np.column_stack([time, *(codes_of(values) for values in columns.values())])
    mixed = _hashed(codes)
    row, count = np.unique(mixed, return_inverse=True, return_counts=True)[1:]
    several = distinct_pairs(row.astype(np.int64), customer)[0]
    customers = np.bincount(several, minlength=len(count))
    candidates = np.flatnonzero(customers[row] > 1)
    if not len(candidates):
        return 0
    rare = np.zeros(len(candidates), dtype=np.int64)
    for place, values in enumerate(columns.values(), start=1):
        held = codes[:, place]
        holders = np.bincount(distinct_pairs(held, customer)[0])
        missing = (
            np.isnan(values)
            if values.dtype != object
            else np.array([value is None for value in values])
        )
        rare += (holders[held[candidates]] <= _RARE) & ~missing[candidates]
    return int((rare >= _RARE_VALUES).sum())


def _hashed(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    mixed = np.zeros(len(codes), dtype=np.uint64)
    for column in codes.T:
        mixed ^= column.astype(np.uint64)
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _twin_customers(twins: int, rows: int) -> list[Finding]:
    if not twins:
        return []
    share = twins / rows
    text = (
        f"{twins:,} rows ({share:.1%}) have every feature in common with another customer's row of "
        f"the same time, {_RARE_VALUES} or more of them held by these two alone: one person under "
        "two ids, perhaps on both sides of the test's border."
    )
    return [
        Finding(
            feature=None,
            kind="customers stand twice",
            severity=Severity.WARNING if share > _TWIN_ROWS else Severity.INFO,
            evidence=text,
            numbers={"rows": twins, "share": share},
            cure="Merge the ids before importing, or drop one of each pair.",
        )
    ]
