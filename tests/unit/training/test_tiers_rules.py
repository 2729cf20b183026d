"""The section `tiers` of foresend.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.config import Config, read_config
from feature_repo.errors import ConfigError
from training.tiers.rules import Method, TierRules, tier_rules

TARGETS = "targets: {click_7d: {event: clicked, horizon_days: 7, spine: sent}}\n"


def config(folder: Path, tiers: str) -> Config:
    path = folder / "foresend.yaml"
    path.write_text(TARGETS + (f"tiers: {tiers}\n" if tiers else ""))
    return read_config(path)


def test_nothing_declared_is_three_tiers_found_by_the_scores(tmp_path: Path) -> None:
    assert tier_rules(config(tmp_path, ""), "click_7d") == TierRules()


def test_the_tier_left_out_gets_the_rest(tmp_path: Path) -> None:
    rules = tier_rules(config(tmp_path, "{capacity: {high: 0.1, medium: 0.3}}"), "click_7d")

    assert rules.names == ("low", "medium", "high")
    assert rules.capacity == pytest.approx((0.6, 0.3, 0.1))


def test_a_target_s_own_rules_take_the_place_of_the_others(tmp_path: Path) -> None:
    declared = "{capacity: {high: 0.1, medium: 0.3}, targets: {click_7d: {names: [cold, hot]}}}"

    rules = tier_rules(config(tmp_path, declared), "click_7d")

    # A capacity of other names would fit none of these.
    assert rules == TierRules(("cold", "hot"), None, Method.AUTO)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("{capicity: {high: 0.1}}", ("tiers.capicity", "did you mean 'capacity'")),
        ("{capacity: {hihg: 0.1}}", ("tiers.capacity.hihg", "did you mean 'high'")),
        ("{capacity: {high: 1.5, low: 0.1}}", ("tiers.capacity.high", "1.5")),
        ("{capacity: {high: 0.1}}", ("tiers.capacity", "all of low, medium, high but one")),
        ("{capacity: {high: 0.7, medium: 0.6}}", ("1.3 together",)),
        ("{names: [low]}", ("tiers.names", "two tiers at least")),
        ("{names: [low, low]}", ("tiers.names", "different")),
        ("{names: low}", ("tiers.names", "'low'")),
        ("{names: ['a\u2028b', c]}", ("tiers.names", "cannot be used")),
        ("{method: guess}", ("tiers.method", "guess")),
        ("{method: capacity}", ("tiers.method", "declare")),
        ("{targets: {clik_7d: {}}}", ("tiers.targets.clik_7d", "did you mean 'click_7d'")),
        ("[low, high]", ("tiers", "must be a mapping")),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, declared: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        tier_rules(config(tmp_path, declared), "click_7d")

    assert "foresend.yaml" in str(caught.value)
    for word in words:
        assert word in str(caught.value)
