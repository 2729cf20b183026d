"""What is served: a model, its version and tiers, and how customers are shared among versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from feature_repo import contract, transforms
from feature_repo.errors import ForesendError
from serving.attribution import Explanation
from serving.encoder import Columns, Encoder
from serving.matrix import MatrixReader
from serving.registry import Version
from serving.store import NUMBERS, TEXTS
from serving.tiers import TierPolicy

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[Any]

TEXT_ROWS: Final = TEXTS
"""The texts every model is offered, in the order of `texts`."""

NUMBER_ROWS: Final = (*NUMBERS, *transforms.SEND_TIME)
"""Rows of the matrix every model is offered: the stored numbers, below them those of the send."""


class Model(Protocol):
    """What serving needs of a model; `serving.model.ScoringModel` is one. Thread-safe."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns of the matrix it reads, in order."""

    @property
    def categorical(self) -> tuple[str, ...]:
        """Those of them that are texts."""

    @property
    def feature_service(self) -> str:
        """The Feast feature service it was trained with."""

    @property
    def base_rate(self) -> float:
        """Share of positives among its training rows."""

    @property
    def encoder(self) -> Encoder:
        """How its matrix is made of named features."""

    def score_matrix(self, matrix: Floats) -> Floats:
        """Probability of each row of (rows, features)."""

    def explain(self, matrix: Floats) -> Explanation:
        """What each feature adds to each row's probability."""

    def predict(self, columns: Columns) -> Floats:
        """As `score_matrix`, of named columns; for cold paths."""


@dataclass(frozen=True, slots=True)
class FixedModel:
    """A model that gives every row the same score, for tests and trials."""

    score: float = 0.25
    base_rate: float = 0.05
    feature_names: tuple[str, ...] = ("opens_30d", "country", "hours_since_last_open")
    categorical: tuple[str, ...] = ("country",)
    feature_service: str = contract.FEATURE_SERVICE

    @property
    def encoder(self) -> Encoder:
        """Texts have the levels DE and FR."""
        return Encoder(self.feature_names, dict.fromkeys(self.categorical, ("DE", "FR")))

    def score_matrix(self, matrix: Floats) -> Floats:
        """The score, once per row."""
        return np.full(len(matrix), self.score)

    def explain(self, matrix: Floats) -> Explanation:
        """No feature adds anything."""
        points = np.zeros((len(matrix), len(self.feature_names)))
        return Explanation(points, self.score, "linear")

    def predict(self, columns: Columns) -> Floats:
        """The score, once per row; a column that is missing is an error, as with a real model."""
        return self.score_matrix(self.encoder.matrix(columns))


UNUSABLE: Final = (
    ForesendError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a version's files may break a model with; whatever it is, it changes nothing else."""

Loader = Callable[[Path], Model]
"""Model of a folder; raises ForesendError when it cannot be used."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A model in use. Requests take one reference and keep it to their end."""

    version: Version
    model: Model
    loaded_at: datetime
    #: Makes the model's matrix of (NUMBER_ROWS, customers) and one array per TEXT_ROWS.
    reader: MatrixReader
    #: The approved tiers in use, of this version or of an earlier one; None: nothing is approved.
    #: Of a challenger always None: an answer has one policy, and that is the champion's.
    policy: TierPolicy | None = None

    @property
    def policy_is_current(self) -> bool:
        """Whether the tiers in use were approved for the very version that scores."""
        return self.policy is not None and self.policy.is_of(self.version)


@dataclass(frozen=True, slots=True)
class Route:
    """Who scores a target's customers now. A request takes one and keeps it to its end, so that
    no answer is of two moments."""

    champion: Serving
    #: Version with the alias `challenger`, loaded and checked as a champion is; None: there is
    #: none, it is the champion, or nothing is to be shared with it.
    challenger: Serving | None = None
    #: Share of customers whom the challenger scores, by `shares.in_share(id, canary_salt, canary)`.
    canary: float = 0.0
    #: Share of the other customers whom the challenger scores beside the champion, unseen.
    shadow: float = 0.0

    @property
    def canary_salt(self) -> str:
        """Salt of `shares.in_share` for the canary."""
        return f"canary:{self.champion.version.target}"

    @property
    def shadow_salt(self) -> str:
        """Salt of `shares.in_share` for the shadow."""
        return f"shadow:{self.champion.version.target}"
