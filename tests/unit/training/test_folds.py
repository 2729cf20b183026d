from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from training.folds import TooFewRows, split

DAY_US = 86_400_000_000
WEEK = timedelta(days=7)


def rows(days: int, per_day: int = 20) -> tuple[np.ndarray, np.ndarray]:
    at_us = np.repeat(np.arange(days) * DAY_US, per_day)
    return at_us, np.tile([0, 1], len(at_us) // 2).astype(np.int8)


def test_the_test_period_is_the_last_fifth_and_nothing_fitted_on_ends_inside_it() -> None:
    at_us, label = rows(100)

    parts = split(at_us, label, WEEK)

    assert at_us[parts.test].min() == 80 * DAY_US
    assert at_us[parts.development].max() + 7 * DAY_US <= parts.test_starts_us
    assert not (parts.test & parts.development).any()


def test_every_fold_fits_only_on_labels_known_before_the_rows_it_judges_by() -> None:
    at_us, label = rows(100)

    parts = split(at_us, label, WEEK)

    assert len(parts.folds) == 4
    for fold in parts.folds:
        assert at_us[fold.fit].max() + 7 * DAY_US <= at_us[fold.judge].min()
        assert not (fold.judge & ~parts.development).any()


def test_folds_expand_and_do_not_judge_a_row_twice() -> None:
    at_us, label = rows(100)

    folds = split(at_us, label, WEEK).folds

    fitted = [int(fold.fit.sum()) for fold in folds]
    assert fitted == sorted(fitted)
    assert np.sum([fold.judge for fold in folds], axis=0).max() == 1


def test_thin_data_is_parted_into_fewer_folds() -> None:
    at_us, label = rows(100, per_day=2)
    label[:] = 0
    label[::4] = 1

    assert 1 <= len(split(at_us, label, WEEK).folds) < 4


def test_too_few_labels_are_counted_in_the_message() -> None:
    at_us, label = rows(100)
    label[:] = 0
    label[:7] = 1

    with pytest.raises(TooFewRows, match=r"7 with label 1 and 1993 with label 0; at least 40"):
        split(at_us, label, WEEK)


def test_no_rows_at_all_are_too_few() -> None:
    with pytest.raises(TooFewRows, match="0 with label 1 and 0 with label 0"):
        split(np.array([], dtype=np.int64), np.array([], dtype=np.int8), WEEK)


@pytest.mark.parametrize("embargo_days", [30, 60, 90, 200])
def test_a_horizon_too_long_for_the_history_is_said_with_both_numbers(embargo_days: int) -> None:
    at_us, label = rows(60)

    with pytest.raises(TooFewRows, match=rf"span 59\.0 days, the embargo is {embargo_days}\.0"):
        split(at_us, label, timedelta(days=embargo_days))


def test_one_moment_only_is_refused() -> None:
    at_us, label = rows(1, per_day=200)

    with pytest.raises(TooFewRows):
        split(at_us, label, WEEK)
