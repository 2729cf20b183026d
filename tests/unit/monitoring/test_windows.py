from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from monitoring.windows import Window

END = datetime(2026, 3, 1, tzinfo=UTC)


def window_of(ages_days: list[float]) -> Window:
    at = np.array([(END - timedelta(days=age)).timestamp() for age in ages_days])
    rows = len(at)
    return Window(
        days=90,
        end=END,
        every_at=np.concatenate([at, at]),
        bare_at=at[:1],
        scored_at=at,
        model_version=np.array(["7", "6"] * rows, dtype=object)[:rows],
        score=np.linspace(0, 1, rows),
        features={"opens_7d": np.arange(rows, dtype=np.float64), "gone": np.zeros(rows)},
        absent={"opens_7d": np.arange(rows) == 0, "gone": np.ones(rows, dtype=np.bool_)},
    )


def test_a_shorter_window_is_a_selection_that_includes_its_first_moment() -> None:
    shorter = window_of([0.5, 7.0, 7.1, 80.0]).last(7)

    assert shorter.start == END - timedelta(days=7)
    assert (shorter.customers, shorter.rows, shorter.without_features) == (2, 4, 1)
    assert shorter.features["opens_7d"].tolist() == [0.0, 1.0]


def test_a_window_as_long_is_the_same_window() -> None:
    window = window_of([1.0, 2.0])

    assert window.last(90) is window


def test_rows_of_versions_without_a_feature_are_left_out_of_it() -> None:
    columns = window_of([1.0, 2.0, 3.0]).columns

    assert columns["opens_7d"].tolist() == [1.0, 2.0]
    assert "gone" not in columns


def test_scores_are_those_of_one_version_and_the_others_are_counted() -> None:
    window = window_of([1.0, 2.0, 3.0])

    assert window.scores_of("7").tolist() == [0.0, 1.0]
    assert window.other_versions("7") == {"6": 1}


def test_a_version_that_scored_nobody_has_no_scores() -> None:
    assert window_of([1.0]).scores_of("99").tolist() == []
