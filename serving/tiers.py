"""Tier policies: where scores are cut, how the parts are called, and who approved it.

A policy belongs to a model version and lives in the version's MLflow tags (docs/tiers.md):

    tiers.status    proposed | approved | rejected
    tiers.policy    JSON; of it `names`, `cuts` and `shares` are read here
    tiers.by, tiers.at    who decided, and when (ISO-8601)

Tier i holds the scores with `cuts[i-1] <= score < cuts[i]`: a score exactly at a cut belongs to
the tier above it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_repo.errors import ForesendError
from serving.registry import Version

POLICY_TAG: Final = "tiers.policy"
STATUS_TAG: Final = "tiers.status"
BY_TAG: Final = "tiers.by"
AT_TAG: Final = "tiers.at"
PROPOSED: Final = "proposed"
APPROVED: Final = "approved"
REJECTED: Final = "rejected"

MOST_TIERS: Final = 10
"""More could not be told apart by people, and each is a label of a metric."""

_NAME: Final = re.compile(r"[^\W_][\w .-]{0,31}")


class BadPolicy(ForesendError):
    """Names and cuts that make no policy."""


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """An approved policy of one model version."""

    target: str
    model_version: str
    #: Run of that version: a registry made anew counts its versions from 1 once more.
    run_id: str | None
    #: From the lowest scores to the highest.
    names: tuple[str, ...]
    #: Strictly rising, one fewer than names.
    cuts: tuple[float, ...]
    approved_by: str
    approved_at: datetime
    #: Share of each tier on the rows it was proposed from, None when that is not known.
    shares: tuple[float, ...] | None = None

    def is_of(self, version: Version) -> bool:
        """Whether it was approved for this very version."""
        return (self.model_version, self.run_id) == (version.number, version.run_id)

    def tiers(self, scores: npt.NDArray[np.float64]) -> list[str | None]:
        """Tier of each score, None for NaN."""
        names = self.names
        places = tier_numbers(self.cuts, scores).tolist()
        return [None if place < 0 else names[place] for place in places]


def tier_numbers(cuts: Sequence[float], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Number of each score's tier from 0 for the lowest, -1 for NaN.

    >>> tier_numbers((0.2, 0.5), np.array([0.1, 0.2, 0.49, 0.5, float("nan")])).tolist()
    [0, 1, 1, 2, -1]
    """
    places = np.searchsorted(np.asarray(cuts, dtype=np.float64), scores, side="right")
    return np.where(np.isnan(scores), -1, places).astype(np.int64)


def checked(names: object, cuts: object) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names and cuts that make a policy.

    Raises:
        BadPolicy: they do not; the message has the value and what is wanted.
    """
    if not isinstance(names, Sequence) or isinstance(names, str):
        message = f"tier names have value {names!r}; give a list, the lowest tier first"
        raise BadPolicy(message)
    for name in names:
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            message = (
                f"the tier name {name!r} cannot be used; use 1 to 32 letters, digits, spaces and "
                "_ . -, a letter or digit first"
            )
            raise BadPolicy(message)
    if not 1 <= len(names) <= MOST_TIERS or len(set(names)) != len(names):
        message = f"the tier names {', '.join(names)} must be 1 to {MOST_TIERS} different ones"
        raise BadPolicy(message)
    return tuple(names), _checked_cuts(cuts, len(names))


def _checked_cuts(cuts: object, tiers: int) -> tuple[float, ...]:
    if not isinstance(cuts, Sequence) or not all(_is_cut(cut) for cut in cuts):
        message = f"the cuts {cuts!r} must be numbers between 0 and 1, both left out"
        raise BadPolicy(message)
    if len(cuts) != tiers - 1:
        message = f"{tiers} tiers have {tiers - 1} cuts between them, not {len(cuts)}"
        raise BadPolicy(message)
    if any(low >= high for low, high in pairwise(cuts)):
        message = f"the cuts {', '.join(str(cut) for cut in cuts)} must rise"
        raise BadPolicy(message)
    return tuple(float(cut) for cut in cuts)


def _is_cut(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value < 1.0


def approved_policy(version: Version) -> TierPolicy | None:
    """The policy approved for a version, None when none is.

    Raises:
        BadPolicy: its tags say approved, and cannot be read as a policy.
    """
    tags = version.tags
    if tags.get(STATUS_TAG) != APPROVED:
        return None
    where = f"The approved tier policy of {version.target} version {version.number}"
    try:
        document = json.loads(tags.get(POLICY_TAG, ""))
        names, cuts = checked(document["names"], document["cuts"])
        approved_at = _moment(tags.get(AT_TAG, ""))
    except (ValueError, TypeError, KeyError) as exc:
        message = (
            f"{where} is damaged: its MLflow tags {POLICY_TAG} and {AT_TAG} cannot be read "
            f"({type(exc).__name__}: {exc}). {_cure(version)}"
        )
        raise BadPolicy(message) from exc
    except BadPolicy as exc:
        message = f"{where} is damaged: {exc}. {_cure(version)}"
        raise BadPolicy(message) from exc
    by = tags.get(BY_TAG, "").strip()
    if not by:
        message = f"{where} names nobody who approved it (tag {BY_TAG}). {_cure(version)}"
        raise BadPolicy(message)
    shares = _shares(document.get("shares"), len(names))
    return TierPolicy(
        version.target, version.number, version.run_id, names, cuts, by, approved_at, shares
    )


def to_json(policy: TierPolicy) -> dict[str, Any]:
    """What `from_json` reads again."""
    return {
        "target": policy.target,
        "model_version": policy.model_version,
        "run_id": policy.run_id,
        "names": list(policy.names),
        "cuts": list(policy.cuts),
        "approved_by": policy.approved_by,
        "approved_at": policy.approved_at.isoformat(),
        "shares": None if policy.shares is None else list(policy.shares),
    }


def from_json(raw: Mapping[str, Any]) -> TierPolicy:
    """The policy `to_json` wrote.

    Raises:
        BadPolicy: its names and cuts make no policy.
        ValueError, KeyError, TypeError: it is something else.
    """
    names, cuts = checked(raw["names"], raw["cuts"])
    return TierPolicy(
        str(raw["target"]),
        str(raw["model_version"]),
        raw["run_id"],
        names,
        cuts,
        str(raw["approved_by"]),
        _moment(raw["approved_at"]),
        _shares(raw.get("shares"), len(names)),
    )


def _moment(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _shares(raw: object, tiers: int) -> tuple[float, ...] | None:
    """Shares that can be shown; whatever else it is, the policy works without them."""
    if not isinstance(raw, list) or len(raw) != tiers:
        return None
    usable = all(isinstance(share, int | float) and math.isfinite(share) for share in raw)
    return tuple(float(share) for share in raw) if usable else None


def _cure(version: Version) -> str:
    return f"Approve it again: `foresend tiers approve {version.target} --version {version.number}`"
