"""The section `serving`: what challengers get."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.config import read_config
from feature_repo.errors import ConfigError
from serving.trials import Trial, trials_of

TARGETS = """
targets:
  click_7d: {event: clicked, horizon_days: 7, spine: sent}
  purchase_30d: {event: purchased, horizon_days: 30, spine: weekly}
"""


def trials(folder: Path, section: str) -> dict[str, Trial]:
    path = folder / "foresend.yaml"
    path.write_text(TARGETS + section)
    return dict(trials_of(read_config(path)))


def test_every_target_has_a_trial_without_a_word_of_it(tmp_path: Path) -> None:
    assert trials(tmp_path, "") == {
        "click_7d": Trial(shadow=0.1, canary=0.0),
        "purchase_30d": Trial(shadow=0.1, canary=0.0),
    }


def test_a_target_s_own_shares_are_written_over_the_general_ones(tmp_path: Path) -> None:
    section = "serving: {shadow: 0, targets: {click_7d: {canary: 0.05}}}"

    found = trials(tmp_path, section)

    assert found["click_7d"] == Trial(shadow=0.0, canary=0.05)
    assert found["purchase_30d"] == Trial(shadow=0.0, canary=0.0)
    assert (found["click_7d"].is_on, found["purchase_30d"].is_on) == (True, False)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("serving: {shadow: 2}", r"serving\.shadow has value 2; use a share"),
        ("serving: {canary: yes}", r"serving\.canary has value True"),
        ("serving: {canary: .nan}", r"serving\.canary has value nan"),
        ("serving: {canary: -0.1}", r"serving\.canary has value -0\.1"),
        ("serving: {canari: 0.1}", r"serving\.canari is not a key.*canary"),
        ("serving: 0.1", r"serving has value 0\.1; it must be a mapping"),
        ("serving: {targets: [click_7d]}", r"serving\.targets has value \['click_7d'\]"),
        ("serving: {targets: {click_7: {canary: 0.1}}}", r"click_7 is no target.*click_7d"),
        ("serving: {targets: {click_7d: 0.1}}", r"targets\.click_7d has value 0\.1"),
        ("serving: {targets: {click_7d: {canary: x}}}", r"click_7d\.canary has value 'x'"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_cure(tmp_path: Path, section: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        trials(tmp_path, section)
