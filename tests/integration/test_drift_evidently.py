"""Each trap of Evidently that could hide a fault or cost the report, and that it does not."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitoring.drawn import Excluded
from monitoring.errors import ReportNotWritten
from monitoring.evidently_report import (
    METHOD,
    MOST_COLUMNS,
    DataDefinition,
    Dataset,
    Report,
    ValueDrift,
    clean,
    usable_columns,
    write_evidently,
)

pytestmark = pytest.mark.integration

ROWS = 5000


def spend(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(ROWS) < 0.3, 0.0, rng.lognormal(3, 1.5, ROWS))


def drift(reference: np.ndarray, current: np.ndarray, method: str) -> float:
    frames = [pd.DataFrame({"x": values}) for values in (current, reference)]
    definition = DataDefinition(numerical_columns=["x"])
    now, launch = (Dataset.from_pandas(f, data_definition=definition) for f in frames)
    snapshot = Report([ValueDrift(column="x", method=method)]).run(
        current_data=now, reference_data=launch
    )
    return float(snapshot.dict()["metrics"][0]["value"])


def test_our_statistic_sees_the_unit_bug_that_equal_width_psi_does_not() -> None:
    launch, cents = spend(1), spend(2) * 100

    assert drift(launch, cents, METHOD) > 3
    assert drift(launch, cents, "psi") < 0.1


def test_one_outlier_moves_our_statistic_by_nothing() -> None:
    launch, now = spend(1), spend(2)
    shifted = np.random.default_rng(3).normal(1.0, 1.0, ROWS)
    outlier = shifted.copy()
    outlier[0] = 1e4
    normal = np.random.default_rng(4).normal(0.0, 1.0, ROWS)

    assert drift(launch, now, METHOD) < 0.02
    assert drift(normal, outlier, METHOD) == pytest.approx(drift(normal, shifted, METHOD), rel=0.01)
    assert drift(normal, outlier, "psi") < 0.1 < drift(normal, shifted, "psi")


def test_no_use_statistics_leave_the_machine() -> None:
    assert os.environ["DO_NOT_TRACK"]


CASES = [
    ("numbers", [1.0, 2.0], [1.0, 3.0], None),
    ("texts", ["a", None], ["b", "a"], None),
    ("constant", [1.0, 1.0], [1.0, 1.0], None),
    ("decimal", [Decimal("1.5"), Decimal(2)], [Decimal(1), None], None),
    ("nullable", pd.array([1, None], dtype="Int64"), pd.array([2, 3], dtype="Int64"), None),
    ("category", pd.Categorical(["a", "b"]), pd.Categorical(["a", None]), None),
    ("flags", [True, False], pd.array([True, None], dtype="boolean"), None),
    ("arrow", pd.array(["a", None], dtype="string"), pd.array(["a", "b"], dtype="string"), None),
    ("half infinite", [1.0, 2.0], [np.inf, 2.0], None),
    ("all null now", [1.0, 2.0], [np.nan, np.nan], "no finite value in this window"),
    ("all infinite now", [1.0, 2.0], [np.inf, -np.inf], "no finite value in this window"),
    ("all null then", [None, None], [1.0, 2.0], "no finite value in the launch sample"),
    ("other kind", [1.0, 2.0], ["a", "b"], "numbers on one side and texts on the other"),
]


@pytest.mark.parametrize(("name", "launch", "now", "reason"), CASES)
def test_a_column_is_drawn_or_left_out_with_its_reason(
    tmp_path: Path, name: str, launch: object, now: object, reason: str | None
) -> None:
    steady = pd.DataFrame({"steady": np.linspace(0, 1, 40)})
    reference = steady.assign(**{name: pd.concat([pd.Series(launch)] * 20, ignore_index=True)})
    current = steady.assign(**{name: pd.concat([pd.Series(now)] * 20, ignore_index=True)})
    path = tmp_path / "report.html"

    drawn = write_evidently(path, reference, current, {"steady": 0.1, name: 0.1})

    expected = () if reason is None else (Excluded(name, reason),)
    assert drawn.excluded == expected
    assert drawn.shown == (("steady", name) if reason is None else ("steady",))
    assert path.stat().st_size > 100_000


def test_a_column_that_is_absent_or_twice_there_is_left_out() -> None:
    one = pd.DataFrame({"a": [1.0], "b": [1.0]})
    twice = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "b"])

    usable, excluded = usable_columns(one, twice, ["a", "b", "c"])

    assert usable == ["a"]
    assert excluded == [
        Excluded("b", "2 columns of this name in this window"),
        Excluded("c", "not in the launch sample"),
    ]


def test_an_empty_window_is_an_error_and_no_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    path = tmp_path / "report.html"

    with pytest.raises(ReportNotWritten, match=r"verdict\.json"):
        write_evidently(path, frame, frame[:0], {"a": 0.1})

    assert not path.exists()


def test_only_the_first_columns_are_drawn_and_the_rest_are_named(tmp_path: Path) -> None:
    names = [f"f{i}" for i in range(MOST_COLUMNS + 2)]
    frame = pd.DataFrame({name: np.linspace(0, 1, 50) for name in names})

    drawn = write_evidently(tmp_path / "r.html", frame, frame, dict.fromkeys(names, 0.1))

    assert len(drawn.shown) == MOST_COLUMNS
    assert [e.name for e in drawn.excluded] == names[MOST_COLUMNS:]


def test_infinities_become_missing_and_texts_stay_texts() -> None:
    assert clean(pd.Series([1.0, np.inf, None])).isna().tolist() == [False, True, True]
    assert clean(pd.Series(["a", np.nan])).tolist() == ["a", None]
