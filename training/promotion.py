"""The section `promotion` of foresend.yaml: who promotes, and what a challenger may lose by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from feature_repo.config import Config, keys_of
from feature_repo.errors import ConfigError
from feature_repo.targets import suggestion

SECTION: Final = "promotion"


class Mode(StrEnum):
    """Who moves `champion`."""

    #: A person, here or in MLflow.
    MANUAL = "manual"
    #: The training itself, when every gate passed and none asks for a person.
    AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """What still counts as not worse. All are above 0."""

    #: AUC that the lower bound of the difference may lie below the champion's.
    auc: float = 0.005
    #: Share of the champion's log-loss that the upper bound may lie above it.
    log_loss: float = 0.005
    #: Least share of the champion's lift of the top tenth.
    lift: float = 0.95
    #: Distance of mean score / observed rate from 1.
    calibration_ratio: float = 0.1
    #: Calibration slope, and the inverse of the least one.
    calibration_slope: float = 1.25
    #: Mean distance of score and rate, beyond what chance alone gives.
    calibration_error: float = 0.02
    #: Shift of the scores' distribution (PSI) from which on a person should look.
    score_shift: float = 0.2
    #: Times the champion's time to score from which on a person should look.
    latency: float = 5.0


_MOST: Final = {"auc": 0.5, "log_loss": 1.0, "lift": 1.0, "calibration_ratio": 0.9}
"""Margins beyond these would switch their gate off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """How versions are judged and promoted."""

    mode: Mode = Mode.MANUAL
    #: Fewest labels of each kind among the test rows for a verdict.
    least_positives: int = 200
    margins: Margins = field(default_factory=Margins)


def promotion_of(config: Config) -> Promotion:
    """The section as declared; defaults where it says nothing.

    Raises:
        ConfigError: a key or a value cannot be used.
    """
    declared = config.sections.get(SECTION)
    if declared is None:
        return Promotion()
    if isinstance(declared, str):
        return Promotion(mode=_mode(config.path, SECTION, declared))
    known = ("mode", "least_positives", "margins")
    section = keys_of(declared, f"{config.path}: {SECTION}", known)
    return Promotion(
        mode=_mode(config.path, f"{SECTION}.mode", section.get("mode", Mode.MANUAL.value)),
        least_positives=_count(config.path, section.get("least_positives", 200)),
        margins=_margins(config.path, section.get("margins", {})),
    )


def _mode(path: Path, key: str, value: Any) -> Mode:
    known = [mode.value for mode in Mode]
    if value in known:
        return Mode(value)
    message = f"{path}: {key} has value {value!r}{suggestion(value, known)}; use manual or auto."
    raise ConfigError(message)


def _count(path: Path, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    message = f"{path}: {SECTION}.least_positives has value {value!r}; use a whole number from 1."
    raise ConfigError(message)


def _margins(path: Path, value: Any) -> Margins:
    known = tuple(margin.name for margin in fields(Margins))
    section = keys_of(value, f"{path}: {SECTION}.margins", known)
    for key, number in section.items():
        least, most = (
            (1.0, math.inf) if key == "calibration_slope" else (0.0, _MOST.get(key, 100.0))
        )
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not (is_number and math.isfinite(number) and least < number <= most):
            message = (
                f"{path}: {SECTION}.margins.{key} has value {number!r}; use a number above "
                f"{least:g}{f' and at most {most:g}' if math.isfinite(most) else ''}."
            )
            raise ConfigError(message)
    return Margins(**{key: float(number) for key, number in section.items()})
