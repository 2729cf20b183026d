from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.config import SHIPPED, load_config, read_config
from feature_repo.errors import ConfigError
from feature_repo.settings import Settings


def test_the_shipped_file_declares_the_four_defaults() -> None:
    targets = load_config(Settings()).targets

    assert list(targets) == ["purchase_30d", "click_7d", "unsubscribe_7d", "churn_90d"]
    assert targets["churn_90d"].absent


def test_a_file_of_the_user_replaces_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("targets: {redeem_42d: {event: clicked, horizon_days: 42, spine: sent}}")

    assert list(load_config(Settings(config=path)).targets) == ["redeem_42d"]


def test_an_unknown_target_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(SHIPPED).target("purchase_30")

    assert "did you mean 'purchase_30d'" in str(caught.value)
    assert "unsubscribe_7d" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("targets: {a: {event: x, horizon_days: 7, spine: sent}}", "targets.a: event has value"),
        ("target: {}", "target is not a section (did you mean 'targets'?)"),
        ("targets:", "targets has value None"),
        ("targets: {}", "targets has value {}"),
        ("targets: [a]", "targets has value ['a']"),
        ("", "holds NoneType"),
        ("- a", "holds list"),
        ("targets: [", "line 1: not valid YAML"),
        (
            "targets:\n  a: {event: e}\n  a: {event: e}",
            "line 3: not valid YAML: key 'a' is written",
        ),
        ("!!python/object:os.system x", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_config(path)

    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FORESEND_CONFIG"):
        read_config(tmp_path / "nosuch.yaml")

    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "bytes.yaml")
