"""The placement of a customer's mail: answered, logged, and never confused with disinterest."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from feature_repo.settings import Settings
from serving.answer_rows import placement_of
from serving.placement import GHOST
from serving.prediction_log import read_predictions, write_batches
from tests.unit.serving.conftest import NOW, TARGET, World, ask
from tests.unit.serving.test_prediction_log import batch

NAN = float("nan")


@pytest.mark.parametrize(
    ("p_inbox_28d", "ghost", "expected"),
    [
        (0.2, 0.9, {"p_inbox_28d": 0.2, "ghost": 0.9, "action": "repair"}),
        (0.6, GHOST, {"p_inbox_28d": 0.6, "ghost": GHOST, "action": "repair"}),
        (0.9, 0.2, {"p_inbox_28d": 0.9, "ghost": 0.2, "action": None}),
        # No mail for 28 days, and the five before that were not seen.
        (NAN, 0.8, {"p_inbox_28d": None, "ghost": 0.8, "action": "repair"}),
        (0.9, NAN, {"p_inbox_28d": 0.9, "ghost": None, "action": None}),
        # Nothing was ever impaired.
        (NAN, NAN, None),
    ],
)
def test_a_ghost_is_repaired_and_nobody_else(
    p_inbox_28d: float, ghost: float, expected: dict[str, object] | None
) -> None:
    found = placement_of(p_inbox_28d, ghost)

    assert (None if found is None else msgspec.structs.asdict(found)) == expected


def test_the_answer_and_the_log_say_the_same(world: World) -> None:
    world.store.customers["ann"] = {"p_inbox_28d": 0.4, "ghost": 0.9}
    world.store.customers["bob"] = {"opens_total": 1.0}
    with world.client() as client:
        answered = client.post("/v1/score", json=ask("ann", "bob", "nobody")).json()["scores"]
        world.store.down = "gone"
        without_store = client.post("/v1/score", json=ask("ann")).json()["scores"]

    settings = Settings(home=world.folder)
    rows = read_predictions(settings, TARGET, NOW, NOW + timedelta(seconds=1)).to_pylist()
    assert [one["placement"] for one in [*answered, *without_store]] == [
        {"p_inbox_28d": 0.4, "ghost": 0.9, "action": "repair"},
        None,
        None,
        None,
    ]
    assert [(row["p_inbox_28d"], row["ghost"]) for row in rows] == [
        (0.4, 0.9),
        (None, None),
        (None, None),
        (None, None),
    ]


def test_a_log_file_of_before_placement_is_read(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    path = write_batches(settings.predictions_path, [batch("ann")])
    older = pq.read_table(path, partitioning=None).drop_columns(["p_inbox_28d", "ghost"])
    pq.write_table(older, path)

    rows = read_predictions(settings, TARGET, NOW, NOW + timedelta(seconds=1)).to_pylist()

    assert [(row["score"], row["ghost"]) for row in rows] == [(0.5, None)]
