from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from monitoring.drift import Finding, Status, judge_features, judge_score, view_of, worst
from serving.profile import LaunchProfile

Values = npt.NDArray[Any]
Columns = dict[str, Values]
Populate = Callable[[int, int], tuple[Columns, npt.NDArray[np.float64]]]

ROWS = 3000
CHECKS = 72


def some(share: float, rows: int = ROWS) -> npt.NDArray[np.bool_]:
    return np.random.default_rng(5).random(rows) < share


def moved(launch: LaunchProfile, columns: Columns) -> list[Finding]:
    found = judge_features(launch, columns, checks=CHECKS)
    return [finding for finding in found if finding.status is not Status.OK]


@pytest.mark.parametrize("rows", [100, 1000, 10_000])
def test_without_any_change_nothing_moves_over_twenty_seeds(
    launch: LaunchProfile, populate: Populate, rows: int
) -> None:
    for seed in range(20):
        columns, score = populate(seed, rows)

        assert moved(launch, columns) == []
        assert judge_score(launch, score, checks=CHECKS).status is Status.OK


FAULTS: list[tuple[str, Callable[[Values], Values], str]] = [
    ("revenue_30d", lambda v: v * 100, "every quantile is about 100 times that at launch"),
    ("revenue_30d", lambda v: v / 100, "about 1/100 of that at launch"),
    ("revenue_90d", lambda v: np.where(some(0.3), 0.0, v), "the value 0 in 5"),
    ("revenue_90d", lambda v: np.where(some(0.1), 0.0, v), "the value 0 in 3"),
    ("opens_30d", lambda v: np.where(some(0.1), np.nan, v), "missing in 10"),
    ("opens_365d", lambda v: np.where(some(0.1), np.inf, v), "infinite values"),
    ("hours_since_last_open", lambda v: v + 24, "its source looks stale"),
    ("hours_since_last_click", lambda v: v + 168, "its source looks stale"),
    ("active_days_90d", lambda v: v * 2, "counted twice by a join"),
    ("active_days_90d", lambda v: np.zeros_like(v), "the value 0 in 100.0%"),
    ("hours_since_last_purchase", lambda v: np.nan_to_num(v), "missing in 0.0%"),
    ("revenue_365d", lambda v: np.minimum(v, np.quantile(v, 0.9)), "the value "),
    ("country", lambda v: np.where(some(0.2), "XX", v).astype(object), "category 'XX'"),
    ("country", lambda v: np.where(some(0.1), None, v), "missing in 1"),
]


@pytest.mark.parametrize(("feature", "fault", "says"), FAULTS)
def test_a_planted_fault_is_found_and_named_and_nothing_else_is(
    launch: LaunchProfile,
    populate: Populate,
    feature: str,
    fault: Callable[[Values], Values],
    says: str,
) -> None:
    columns, _ = populate(1, ROWS)

    found = moved(launch, columns | {feature: fault(columns[feature])})

    assert [finding.name for finding in found] == [feature]
    assert found[0].status is Status.DRIFT
    assert says in found[0].sentence
    assert found[0].sentence.startswith(feature)


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        (lambda s: s * 1.2, Status.DRIFT, "mean log-odds moved by +0"),
        (lambda s: s * 1.07, Status.WARN, "mean log-odds moved by +0"),
        (lambda s: np.where(some(0.05, 10_000), 0.5, s), Status.DRIFT, "the value 0.5 in 5"),
        (lambda s: np.full_like(s, 0.07), Status.DRIFT, "the value 0.07 in 100.0%"),
    ],
)
def test_a_shift_of_the_score_is_found(
    launch: LaunchProfile,
    populate: Populate,
    change: Callable[[Values], Values],
    status: Status,
    says: str,
) -> None:
    _, score = populate(2, 10_000)

    found = judge_score(launch, change(score), checks=CHECKS)

    assert found.status is status
    assert says in found.sentence


def test_one_outlier_is_no_drift_and_hides_none(launch: LaunchProfile, populate: Populate) -> None:
    columns, _ = populate(3, ROWS)
    spend = columns["revenue_30d"].copy()
    spend[0] = 1e9
    filled = np.where(some(0.3), 0.0, spend)
    filled[0] = 1e9

    assert moved(launch, columns | {"revenue_30d": spend}) == []
    assert [f.name for f in moved(launch, columns | {"revenue_30d": filled})] == ["revenue_30d"]


def test_values_beyond_those_of_launch_are_worth_a_look(
    launch: LaunchProfile, populate: Populate
) -> None:
    columns, _ = populate(4, 10_000)
    late = columns["hours_since_last_open"].copy()
    late[:150] = 1e6

    [found] = moved(launch, columns | {"hours_since_last_open": late})

    assert found.status is Status.WARN
    assert "1.5% of rows outside the range seen at launch" in found.sentence


def test_the_hour_of_sending_is_worth_a_look_and_never_drift(
    launch: LaunchProfile, populate: Populate
) -> None:
    columns, _ = populate(5, ROWS)

    [found] = moved(launch, columns | {"local_hour": np.full(ROWS, 9.0)})

    assert found.status is Status.WARN
    assert "when messages are sent" in found.sentence


def test_below_the_fewest_customers_nothing_is_decided(
    launch: LaunchProfile, populate: Populate
) -> None:
    columns, score = populate(6, 99)
    columns["revenue_30d"] = columns["revenue_30d"] * 100

    found = [
        *judge_features(launch, columns, checks=CHECKS),
        judge_score(launch, score, checks=CHECKS),
    ]

    assert {finding.status for finding in found} == {Status.INSUFFICIENT}


def test_a_feature_that_no_row_has_is_not_compared(
    launch: LaunchProfile, populate: Populate
) -> None:
    columns, _ = populate(7, ROWS)
    del columns["opens_7d"]

    [found] = moved(launch, columns)

    assert (found.name, found.status) == ("opens_7d", Status.INSUFFICIENT)


def test_the_strongest_finding_comes_first(launch: LaunchProfile, populate: Populate) -> None:
    columns, _ = populate(8, ROWS)
    columns["opens_7d"] = np.where(some(0.03), np.nan, columns["opens_7d"])
    columns["revenue_30d"] = columns["revenue_30d"] * 100

    assert [f.name for f in moved(launch, columns)] == ["revenue_30d", "opens_7d"]


@pytest.mark.parametrize(
    ("feature", "view"),
    [
        ("revenue_30d", "customer_daily"),
        ("country", "customer_profile"),
        ("purchases_total", "activity"),
        ("hours_since_last_open", "send_time"),
    ],
)
def test_each_feature_is_traced_to_its_view(feature: str, view: str) -> None:
    assert view_of(feature) == view


def test_a_decided_status_outweighs_an_undecided_one() -> None:
    assert worst([Status.INSUFFICIENT, Status.OK]) is Status.OK
    assert worst([Status.OK, Status.DRIFT, Status.WARN]) is Status.DRIFT
    assert worst([]) is Status.INSUFFICIENT
