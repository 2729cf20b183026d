"""The rows a model learns from: decisions, labels and the features as known at each decision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]

_NAN_BITS: Final = np.float64("nan")
_TEXTS_AT_ONCE: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows in order of decision time. All arrays are equally long."""

    #: Features by name: numbers as float64 with NaN, texts as objects with None.
    columns: Columns
    #: 0 or 1.
    label: npt.NDArray[np.int8]
    #: Decision time, microseconds since the Unix epoch.
    at_us: npt.NDArray[np.int64]
    customer: npt.NDArray[Any]
    #: How much a row counts, above 0: 1, or below it for a silence that mail nobody saw explains.
    weight: npt.NDArray[np.float64]
    #: What an answer tells beside the score and no model is fed.
    context: Columns = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def positives(self) -> int:
        """Rows whose label is 1."""
        return int(self.label.sum())

    def take(self, rows: npt.NDArray[Any]) -> Dataset:
        """The rows chosen by a mask or by positions."""
        return Dataset(
            columns={name: values[rows] for name, values in self.columns.items()},
            label=self.label[rows],
            at_us=self.at_us[rows],
            customer=self.customer[rows],
            weight=self.weight[rows],
            context={name: values[rows] for name, values in self.context.items()},
        )

    def sha256(self) -> str:
        """Digest of every value of every row, in order."""
        digest = hashlib.sha256()
        parts: Columns = {
            "": self.customer,
            "at_us": self.at_us,
            "label": self.label,
            "weight": self.weight,
            **self.columns,
            **{f"context:{name}": values for name, values in self.context.items()},
        }
        for name, values in parts.items():
            digest.update(f"{name}:{len(values)};".encode())
            for part in _encoded(values):
                digest.update(part)
        return digest.hexdigest()


def _encoded(values: npt.NDArray[Any]) -> Iterator[bytes | memoryview]:
    """The values as bytes, a part at a time."""
    if values.dtype == object:
        for start in range(0, len(values), _TEXTS_AT_ONCE):
            part = values[start : start + _TEXTS_AT_ONCE]
            yield json.dumps(part.tolist(), default=str).encode()
    else:
        # A missing number has many bit patterns and one meaning.
        yield np.where(np.isnan(values), _NAN_BITS, values).data
