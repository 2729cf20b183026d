from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.profile import histogram, launch_profile, profile, read_profile

AT = datetime(2026, 1, 1, tzinfo=UTC)


def columns_of(rows: int) -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(7)
    spend = np.where(rng.random(rows) < 0.3, 0.0, rng.lognormal(3, 1, rows))
    recency = rng.exponential(400, rows)
    recency[rng.random(rows) < 0.2] = np.nan
    country = rng.choice(np.array(["GB", "DE", None], dtype=object), rows)
    return {"revenue_30d": spend, "hours_since_last_open": recency, "country": country}


def a_document(rows: int = 1000, **changes: Any) -> dict[str, Any]:
    score = np.random.default_rng(8).beta(1, 14, rows)
    return launch_profile(columns_of(rows), score, customers=rows, created_at=AT) | changes


def test_a_profile_survives_json_without_loss() -> None:
    document = a_document()

    read = read_profile(json.loads(json.dumps(document, allow_nan=False)))

    assert {name: c.as_json() for name, c in read.features.items()} == document["features"]
    assert read.score.as_json() == document["score"]
    assert (read.rows, read.customers, read.created_at) == (1000, 1000, AT)


def test_the_launch_rows_counted_again_give_the_launch_counts() -> None:
    read = read_profile(json.loads(json.dumps(a_document())))

    for name, values in columns_of(1000).items():
        column = read.features[name]
        again = histogram(column, values)
        assert again.counts.tolist() == column.launch.counts.tolist()
        assert (again.below, again.above) == (0, 0)


@given(
    values=st.lists(st.floats(-10, 10) | st.sampled_from([np.nan, np.inf, 0.0]), max_size=80),
    cut=st.integers(0, 80),
)
def test_histograms_of_parts_add_up_to_that_of_the_whole(values: list[float], cut: int) -> None:
    column = profile(np.concatenate([np.zeros(50), np.linspace(-5, 5, 100)]))
    whole = np.array(values, dtype=np.float64)

    summed = histogram(column, whole[:cut]) + histogram(column, whole[cut:])
    direct = histogram(column, whole)

    assert summed.counts.tolist() == direct.counts.tolist()
    assert (summed.zeros, summed.finite) == (direct.zeros, direct.finite)
    assert (summed.below, summed.above) == (direct.below, direct.above)
    assert (summed.minimum, summed.maximum) == (direct.minimum, direct.maximum)
    assert summed.total == pytest.approx(direct.total)


def test_values_outside_the_launch_range_are_counted() -> None:
    column = profile(np.linspace(0, 1, 100))

    found = histogram(column, np.array([-1.0, 0.5, 2.0, 3.0, np.nan]))

    assert (found.below, found.above) == (1, 2)


def test_a_column_without_values_at_launch_has_no_range_to_leave() -> None:
    column = profile(np.full(20, np.nan))

    found = histogram(column, np.array([5.0]))

    assert (found.below, found.above, found.rows) == (0, 0, 1)


def test_the_mean_of_no_values_is_missing() -> None:
    column = profile(np.linspace(0, 1, 100))

    assert np.isnan(histogram(column, np.array([np.nan])).mean)
    assert histogram(column, np.array([1.0, 3.0, np.nan])).mean == 2.0


def test_the_score_is_kept_in_log_odds_as_well() -> None:
    document = launch_profile({}, np.array([0.5, 0.0, 1.0]), customers=3, created_at=AT)

    logits = read_profile(document).score_logit.launch

    assert logits.mean == pytest.approx(0.0, abs=1e-9)
    assert logits.maximum == pytest.approx(11.51, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"format": 2}, "format 2"),  # written by a later release
        ({"features": None}, "not complete"),  # cut short
        ({"score": {"kind": "number"}}, "not complete"),  # an entry without cells
    ],
)
def test_a_profile_that_cannot_be_read_says_why(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        read_profile(a_document(20, **changes))


def test_counts_that_do_not_fit_the_cells_are_refused() -> None:
    document = a_document(20)
    document["score"]["counts"].append(1)

    with pytest.raises(ValueError, match="cells"):
        read_profile(document)


def test_a_profile_of_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        launch_profile({}, np.empty(0), customers=0, created_at=AT)


def test_a_feature_of_another_length_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="opens_30d has 2 values for 3 scores"):
        launch_profile({"opens_30d": np.zeros(2)}, np.zeros(3), customers=3, created_at=AT)


def test_a_time_without_timezone_is_refused() -> None:
    naive = AT.replace(tzinfo=None)

    with pytest.raises(ValueError, match="timezone"):
        launch_profile({}, np.zeros(3), customers=3, created_at=naive)
