from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.attribution import explanation
from serving.calibrator import Calibrator, Isotonic, Platt

PLATT = Platt(0.8, -0.3)
STEEP = Isotonic((-5.0, 0.5, 0.5 + 1e-9, 5.0), (0.01, 0.2, 0.8, 0.9))
FLAT = Isotonic((-1.0, 1.0), (0.3, 0.3))


@pytest.mark.parametrize("calibrator", [PLATT, STEEP, FLAT], ids=["platt", "steep", "flat"])
@given(
    st.lists(
        st.lists(st.floats(-4, 4), min_size=5, max_size=5),
        min_size=1,
        max_size=6,
    )
)
def test_base_and_reasons_sum_to_the_score_that_was_answered(
    calibrator: Calibrator, rows: list[list[float]]
) -> None:
    parts = np.array(rows)
    margin = np.array([sum(row) for row in rows])

    found = explanation(margin, parts, calibrator, "path")

    assert found.points.shape == (len(rows), 4)
    total = found.base + found.points.sum(axis=1)
    np.testing.assert_allclose(total, calibrator.apply(margin), rtol=0, atol=1e-9)


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_a_reason_has_the_sign_and_the_share_of_its_part(row: list[float]) -> None:
    parts = np.array([row])
    margin = parts.sum(axis=1)

    points = explanation(margin, parts, PLATT, "linear").points[0]

    assert (points * parts[0, :-1] >= 0).all()
    # Proportional: every pair has the same ratio.
    np.testing.assert_allclose(np.outer(points, row[:3]), np.outer(row[:3], points), atol=1e-12)


def test_parts_that_cancel_out_are_told_by_the_slope_and_not_hidden() -> None:
    parts = np.array([[2.0, -2.0, 0.1]])

    found = explanation(parts.sum(axis=1), parts, PLATT, "path")

    at = PLATT.apply(np.array([0.1]))[0]
    assert found.points[0] == pytest.approx([2 * 0.8 * at * (1 - at), -2 * 0.8 * at * (1 - at)])
    assert found.base == pytest.approx([at])


def test_the_base_is_the_score_of_what_all_rows_share() -> None:
    parts = np.array([[1.0, 0.5, -2.0], [0.0, 0.0, -2.0]])

    found = explanation(parts.sum(axis=1), parts, PLATT, "path")

    assert found.base == pytest.approx(PLATT.apply(np.array([-2.0, -2.0])))
    assert found.points[1].tolist() == [0.0, 0.0]
    assert found.method == "path"


def test_no_rows_have_no_reasons() -> None:
    found = explanation(np.empty(0), np.empty((0, 4)), PLATT, "path")

    assert found.points.shape == (0, 3)
