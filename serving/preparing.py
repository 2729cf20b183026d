"""From a version's name to a model that may serve: fetched, loaded, checked and warm.

All of it happens beside what serves: files and models in a thread, MLflow over the loop.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from feature_repo.errors import ForesendError
from serving.errors import RegistryUnavailable
from serving.matrix import MatrixReader
from serving.registry import ModelRegistry, Version
from serving.served import NUMBER_ROWS, TEXT_ROWS, UNUSABLE, Loader, Model, Serving
from serving.shelf import Shelf

WARM_ROWS: Final = (1, 2, 16, 64)
"""Sizes of the batches a model sees before it serves: alone, a pair, some, a full one."""

_SERVED: Final = frozenset((*NUMBER_ROWS, *TEXT_ROWS))


class VersionRefused(ForesendError):
    """A version cannot be served; says which and why."""

    def __init__(self, version: Version, why: str) -> None:
        super().__init__(f"{version.target} version {version.number} {why.rstrip('.')}.")


@dataclass(frozen=True, slots=True)
class Preparer:
    """Makes versions ready to serve."""

    registry: ModelRegistry
    shelf: Shelf
    load: Loader

    async def fetch(self, version: Version) -> None:
        """Put the version's files on the shelf, unless they are there.

        Raises:
            VersionRefused: they cannot be had, or not be stored.
        """
        try:
            if await asyncio.to_thread(self.shelf.folder, version) is None:
                files = await self.registry.files(version)
                await asyncio.to_thread(self.shelf.keep, version, files)
        except (OSError, ValueError) as exc:
            raise VersionRefused(version, f"cannot be stored: {exc}") from exc
        except RegistryUnavailable as exc:
            # The registry named it just now: these files are missing, not the registry.
            raise VersionRefused(version, f"cannot be read: {exc}") from exc

    async def ready(self, version: Version, *, now: datetime) -> Serving:
        """The version of the shelf, loaded, checked and warm; without tiers.

        Raises:
            VersionRefused: it cannot be used. Its files are dropped, to be fetched anew.
        """
        try:
            model, reader = await asyncio.to_thread(self._ready, version)
        except UNUSABLE as exc:
            # On a disk that cannot be written they stay, and are found damaged again.
            with suppress(OSError, ValueError):
                await asyncio.to_thread(self.shelf.forget, version)
            if isinstance(exc, VersionRefused):
                raise
            kind = "" if isinstance(exc, ForesendError) else f"{type(exc).__name__}: "
            raise VersionRefused(version, f"cannot be used: {kind}{exc}") from exc
        return Serving(version, model, now, reader)

    def _ready(self, version: Version) -> tuple[Model, MatrixReader]:
        folder = self.shelf.folder(version)
        if folder is None:
            raise VersionRefused(version, "is not on disk")
        model = self.load(folder)
        unknown = sorted(set(model.feature_names) - _SERVED)
        if unknown:
            message = (
                "was trained on features this version of Foresend does not serve: "
                f"{', '.join(unknown)}. Train it again."
            )
            raise VersionRefused(version, message)
        reader = MatrixReader(model.encoder, NUMBER_ROWS, TEXT_ROWS)
        for rows in WARM_ROWS:
            _warm(model, reader, rows, version)
        return model, reader


def _warm(model: Model, reader: MatrixReader, rows: int, version: Version) -> None:
    """Score and explain customers of whom nothing is known."""
    numbers = np.full((len(NUMBER_ROWS), rows), np.nan)
    texts = [np.full(rows, None, dtype=object) for _ in TEXT_ROWS]
    matrix = reader.matrix(numbers, texts)
    scores = model.score_matrix(matrix)
    if scores.shape != (rows,) or not np.all((scores >= 0.0) & (scores <= 1.0)):
        message = (
            f"gives {scores.tolist()[:2]} for {rows} customers of whom nothing is "
            "known; scores are from 0 to 1, one for each. Train it again."
        )
        raise VersionRefused(version, message)
    model.explain(matrix)
