from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.config import read_config
from feature_repo.errors import ConfigError
from training.promotion import Mode, Promotion, promotion_of

TARGETS = "targets: {click_7d: {event: clicked, horizon_days: 7, spine: sent}}\n"


def read(folder: Path, text: str) -> Promotion:
    path = folder / "foresend.yaml"
    path.write_text(TARGETS + text)
    return promotion_of(read_config(path))


def test_nothing_declared_is_promotion_by_hand(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Promotion(mode=Mode.MANUAL, least_positives=200)


def test_one_word_is_the_mode(tmp_path: Path) -> None:
    assert read(tmp_path, "promotion: auto").mode is Mode.AUTO


def test_margins_replace_only_what_they_name(tmp_path: Path) -> None:
    found = read(tmp_path, "promotion: {least_positives: 50, margins: {auc: 0.01}}")

    assert found.least_positives == 50
    assert found.margins.auc == 0.01
    assert found.margins.log_loss == 0.005


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("promotion: automatic", "promotion has value 'automatic'.*use manual or auto"),
        ("promotion: {mod: auto}", "promotion.mod is not a key .did you mean 'mode'"),
        ("promotion: [auto]", r"it has keys: mode, least_positives, margins"),
        ("promotion: {least_positives: 0}", "least_positives has value 0; use a whole number"),
        ("promotion: {margins: {auk: 1}}", "promotion.margins.auk is not a key .did you mean"),
        ("promotion: {margins: {auc: -1}}", "margins.auc has value -1; use a number above 0"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_file(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"foresend.yaml: .*{message}"):
        read(tmp_path, text)
