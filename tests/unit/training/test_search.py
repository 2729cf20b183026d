from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from feature_repo.config import read_config
from feature_repo.errors import ConfigError, NotReady
from tests.unit.training.test_choice import a_learning
from training.learning import Trial
from training.search import search
from training.search_settings import training_settings_of

TARGETS = "targets: {click_7d: {event: clicked, horizon_days: 7, spine: sent}}\n"


def quiet(step: str) -> None:
    """Says nothing."""


def searched(seed: int = 1, trials: int = 2) -> dict[str, list[Trial]]:
    learning = a_learning(500, 1.0, seed)
    return dict(search(learning, 1.0, quiet, most_trials=trials, clock=lambda: 0.0))


def test_equal_rows_and_seed_try_the_same_settings() -> None:
    first, second = searched(), searched()

    for kind in ("lightgbm", "xgboost"):
        assert [t.name for t in first[kind]] == [f"{kind}.search_01", f"{kind}.search_02"]
        assert [t.setting for t in first[kind]] == [t.setting for t in second[kind]]
        assert [t.losses for t in first[kind]] == [t.losses for t in second[kind]]
        assert first[kind][0].setting != first[kind][1].setting


def test_only_the_best_of_a_kind_keeps_its_margins() -> None:
    for trials in searched(trials=3).values():
        best = min(trials, key=lambda t: float(np.mean(t.losses)))
        assert [bool(t.margins) for t in trials] == [t is best for t in trials]


def test_a_search_ends_when_its_time_is_over_but_tries_each_kind_once() -> None:
    now = iter(range(0, 10_000, 50))
    found = search(a_learning(600, 1.0), 1.0, quiet, clock=lambda: float(next(now)))

    # A minute is over at the second look; a look is taken before every setting but the first.
    assert [len(found[kind]) for kind in ("lightgbm", "xgboost")] == [2, 1]


def test_a_missing_optuna_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(NotReady, match=r"pip install 'foresend\[search\]'"):
        search(a_learning(600, 1.0), 1.0, quiet)


def test_the_declared_minutes_are_read_and_none_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "foresend.yaml"
    path.write_text(TARGETS)
    assert training_settings_of(read_config(path)).search_minutes == 0.0

    path.write_text(TARGETS + "training: {search_minutes: 2.5}")
    assert training_settings_of(read_config(path)).search_minutes == 2.5


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("training: 5", "training has value 5"),
        ("training: {search_minuts: 5}", "did you mean 'search_minutes'"),
        ("training: {search_minutes: -1}", "search_minutes has value -1"),
        ("training: {search_minutes: true}", "search_minutes has value True"),
        ("training: {search_minutes: .inf}", "from 0 to 1440"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, section: str, said: str) -> None:
    path = tmp_path / "foresend.yaml"
    path.write_text(TARGETS + section)

    with pytest.raises(ConfigError, match=said):
        training_settings_of(read_config(path))
