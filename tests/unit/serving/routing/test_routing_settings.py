"""The section `routing`: what it may say, and how it answers to what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.config import SHIPPED, read_config
from feature_repo.errors import ConfigError
from serving.routing.message import ActionKind
from serving.routing.settings import Cap, RoutingSettings, routing_settings

TARGETS = "targets:\n  buy: {event: purchased, horizon_days: 30, spine: weekly}\n"


def read(tmp_path: Path, text: str) -> RoutingSettings:
    path = tmp_path / "foresend.yaml"
    path.write_text(TARGETS + text)
    return routing_settings(read_config(path))


def test_without_a_section_nothing_is_routed(tmp_path: Path) -> None:
    settings = read(tmp_path, "")

    assert not settings.enabled
    assert (settings.rules, settings.caps, settings.targets) == ((), (), ("buy",))


def test_the_shipped_section_is_off_and_can_be_switched_on() -> None:
    settings = routing_settings(read_config(SHIPPED))

    assert not settings.enabled
    assert settings.rules
    assert {rule.kind for rule in settings.rules} >= {ActionKind.REPAIR, ActionKind.SUNSET}


def test_rules_and_caps_are_read_in_their_order(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
routing:
  enabled: true
  holdout: {share: 0.1, salt: spring}
  frequency_caps: [{sends: 1, days: 1}, {sends: 4, days: 7}]
  rules:
    - {name: tired, when: {recent_sends: 4, opens_trend_below: 0.5}, do: hold, days: 3}
    - {name: hour, do: hold, until: best_hour, least_share: 0.4}
    - {name: low, when: {tier: low}, do: suppress}
""",
    )

    assert settings.enabled
    assert settings.caps == (Cap(1, 1), Cap(4, 7))
    assert [rule.name for rule in settings.rules] == ["tired", "hour", "low"]
    assert [rule.hold_days for rule in settings.rules] == [3.0, None, None]
    assert settings.rules[2].when == {"tier": frozenset({"low"})}
    assert (settings.holdout_share, settings.holdout_salt) == (0.1, "spring")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("routing: 3", "routing has value 3; it must be a mapping"),
        ("routing: {enable: true}", "enable is not a key (did you mean 'enabled'?)"),
        ("routing: {enabled: 1}", "enabled has value 1; it must be true or false"),
        ("routing: {targets: [bye]}", "bye is no target"),
        ("routing: {score_change: 2}", "a number from 0 to 1"),
        ("routing: {score_change: .nan}", "a number from 0 to 1"),
        ("routing: {valid_hours: 0}", "must be above 0"),
        ("routing: {holdout: {share: -1}}", "a number from 0 to 1"),
        ("routing: {frequency_caps: {sends: 1, days: 1}}", "must be a list"),
        ("routing: {frequency_caps: [{sends: 0, days: 1}]}", "a whole number from 1 on"),
        ("routing: {rules: [{do: send}]}", "give the rule a name"),
        ("routing: {rules: [{name: a, do: sent}]}", "use one of send, hold"),
        ("routing: {rules: [{name: a, do: hold}]}", "either until: best_hour or days"),
        ("routing: {rules: [{name: a, do: hold, until: noon}]}", "either until: best_hour"),
        ("routing: {rules: [{name: a, do: send, days: 3}]}", "belong to do: hold only"),
        ("routing: {rules: [{name: a, do: sunset}]}", "needs silent_days and seen_sends"),
        (
            "routing: {rules: [{name: a, do: send, without_placement: true}]}",
            "without_placement belongs to do: sunset only",
        ),
        ("routing: {rules: [{name: holdout, do: send}]}", "is taken"),
        ("routing: {rules: [{name: a, do: send}, {name: a, do: send}]}", "is taken"),
        ("routing: {rules: [{name: a, do: send, when: {teir: low}}]}", "teir is not a key"),
        ("routing: {rules: [{name: a, do: send, when: {tier: []}}]}", "a name or a list of names"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_cure(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"foresend\.yaml") as refused:
        read(tmp_path, text)

    assert said in str(refused.value)
