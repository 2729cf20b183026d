from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from serving.bins import (
    BINS,
    NumberBins,
    TextBins,
    as_numbers,
    is_text,
    number_bins,
    qpsi,
    text_bins,
)


def test_a_value_with_one_percent_of_the_rows_has_a_cell_of_its_own() -> None:
    values = np.concatenate([np.zeros(300), np.full(10, 7.5), np.linspace(1, 2, 690)])

    assert number_bins(values).atoms.tolist() == [0.0, 7.5]


def test_bins_share_the_rows_that_are_no_atoms_in_proportion() -> None:
    values = np.concatenate([np.zeros(500), np.linspace(1, 1000, 500)])

    bins = number_bins(values)
    counts = bins.count(values)

    assert len(bins.edges) + 1 == BINS // 2
    assert set(counts[: BINS // 2]) <= {49, 50, 51}


def test_every_row_is_counted_in_exactly_one_cell() -> None:
    values = np.array([0.0, 0.0, np.nan, np.inf, -np.inf, -5.0, 1e12, 0.5])
    bins = NumberBins(edges=np.array([0.25, 0.5]), atoms=np.array([0.0]))

    counts = bins.count(values)

    # below 0.25 without the zeros, 0.25 to 0.5, from 0.5, zeros, missing, infinite
    assert counts.tolist() == [1, 0, 2, 2, 1, 2]


def test_a_bin_holds_its_lower_edge_and_not_its_upper_one() -> None:
    bins = NumberBins(edges=np.array([1.0, 2.0]), atoms=np.empty(0))

    assert bins.count(np.array([1.0])).tolist() == [0, 1, 0, 0, 0]
    assert bins.count(np.array([2.0])).tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "values",
    [
        np.empty(0),  # no rows
        np.full(50, np.nan),  # nothing but nulls
        np.full(50, np.inf),  # nothing finite
        np.full(50, 3.0),  # constant
        np.array([1.0]),  # one row
        np.array([True, False] * 30),  # flags
        np.arange(40),  # integers, fewer than two rows per bin
    ],
)
def test_bins_of_odd_columns_count_all_their_rows(values: np.ndarray) -> None:
    bins = number_bins(values)

    assert bins.count(values).sum() == len(values)
    assert len(bins.labels()) == bins.cells == len(bins.order())
    assert sorted(bins.order()) == list(range(bins.cells))


def test_a_reader_sees_an_atom_before_the_bin_it_lies_in() -> None:
    bins = NumberBins(edges=np.array([1.0, 3.0]), atoms=np.array([0.0, 2.0]))

    shown = [bins.labels()[cell] for cell in bins.order()]

    assert shown == ["= 0", "below 1", "= 2", "1 to 3", "from 3", "missing", "infinite"]


def test_rare_categories_share_a_cell_and_missing_has_its_own() -> None:
    values = np.array(["GB"] * 900 + ["DE"] * 90 + ["MT"] * 5 + [None, np.nan] * 2, dtype=object)

    bins = text_bins(values)

    assert bins.categories == ("GB", "DE")
    assert bins.count(values).tolist() == [900, 90, 5, 4]


def test_a_category_unknown_at_launch_is_counted_as_other() -> None:
    assert TextBins(("GB",)).count(np.array(["XX", "GB"], dtype=object)).tolist() == [1, 1, 0]


def test_qpsi_is_zero_without_change_and_grows_with_it() -> None:
    launch = np.full(20, 50)
    little, much = launch.copy(), launch.copy()
    little[0], little[1] = 60, 40
    much[0], much[1] = 100, 0

    assert qpsi(launch, launch) == 0.0
    assert 0 < qpsi(launch, little) < qpsi(launch, much)


def test_qpsi_of_cells_that_were_empty_at_launch_is_finite() -> None:
    assert np.isfinite(qpsi(np.array([100, 0]), np.array([0, 100])))


def test_qpsi_does_not_depend_on_which_side_has_more_rows() -> None:
    launch, current = np.array([4000, 6000]), np.array([4500, 5500])

    assert qpsi(launch, current * 100) == pytest.approx(qpsi(launch, current), rel=1e-3)


def test_decimals_and_none_are_read_as_numbers() -> None:
    values = np.array([Decimal("1.5"), None, True, 2], dtype=object)

    assert not is_text(values)
    np.testing.assert_array_equal(as_numbers(values), [1.5, np.nan, 1.0, 2.0])


def test_an_object_column_with_one_string_is_text() -> None:
    assert is_text(np.array([None, np.nan, "GB"], dtype=object))
    assert is_text(np.array(["GB", "DE"]))
