"""Ghosts end to end, small: from simulated events and seed tests to what an answer would say."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.bench.ghost_world import (
    Programme,
    decisions,
    install,
    simulate,
    told_nothing,
)
from infra.bench.ghosts import programme_options, recognition, without_context

pytestmark = [
    pytest.mark.integration,
    # Feast and Ibis warn about each other's and their own changes; none is ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Programme:
    """Google hides two weeks of mail."""
    options = programme_options(("google:56:14",), customers=400, days=80)
    return simulate(tmp_path_factory.mktemp("collapsed"), options)


def test_ghosts_are_recognised_at_the_end_of_a_collapse(
    collapsed: Programme, tmp_path: Path
) -> None:
    settings = install(collapsed, tmp_path / "home", seeds=True)

    found = recognition(collapsed, settings)

    assert found["ghosts"] >= 50
    assert found["recall"] >= 0.8
    assert found["precision"] >= 0.8


def test_with_perfect_placement_nothing_changes_to_the_last_bit(tmp_path: Path) -> None:
    options = programme_options((), customers=200, days=50, placement="perfect")
    programme = simulate(tmp_path / "programme", options)
    ours = install(programme, tmp_path / "ours", seeds=True)
    naive = told_nothing(ours, tmp_path / "naive")

    with_placement, without = decisions(ours, None), decisions(naive, None)

    assert len(with_placement) > 2000
    assert without_context(with_placement).sha256() == without_context(without).sha256()
    assert (with_placement.weight == 1.0).all()
