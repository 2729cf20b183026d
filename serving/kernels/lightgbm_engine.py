"""LightGBM's own library, called directly: the doubles of `Booster.predict`, without its cost.

A row alone goes through the library's prepared single-row call, with settings and buffers of the
calling thread: shared ones give wrong scores without an error. More rows go through one call for
all. Both walk the same trees in the same order and give the same bits.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.kernels.libraries import EngineFailed, library_path

Floats = npt.NDArray[np.float64]

FEW_ROWS: Final = 4
"""Up to so many rows are scored one by one: beyond, the call for all costs less."""

_DOUBLE: Final = 1
_RAW: Final = 1
_LEAF: Final = 2
_SHAP: Final = 3
_ALL: Final = -1
# Threads cost more than they bring at these sizes, and would take cores from the server.
_SETTINGS: Final = b"num_threads=1 verbosity=-1"


@dataclass(frozen=True, slots=True)
class _Library:
    #: Calls let other threads run meanwhile.
    free: ctypes.CDLL
    #: Calls keep the interpreter: for one row, giving it up and asking for it back costs more
    #: than the call, and on a busy process delays it by a whole switch interval.
    held: ctypes.PyDLL


@cache
def _library() -> _Library:
    path = str(library_path("lightgbm", "lib_lightgbm"))
    found = _Library(ctypes.CDLL(path), ctypes.PyDLL(path))
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    out_pointer, out_long = ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_int64)
    for library in (found.free, found.held):
        library.LGBM_GetLastError.restype = text
        library.LGBM_GetLastError.argtypes = []
        library.LGBM_BoosterLoadModelFromString.argtypes = [
            text,
            ctypes.POINTER(integer),
            out_pointer,
        ]
        library.LGBM_BoosterNumModelPerIteration.argtypes = [pointer, ctypes.POINTER(integer)]
        library.LGBM_BoosterGetNumFeature.argtypes = [pointer, ctypes.POINTER(integer)]
        library.LGBM_BoosterNumberOfTotalModel.argtypes = [pointer, ctypes.POINTER(integer)]
        library.LGBM_BoosterFree.argtypes = [pointer]
        library.LGBM_BoosterPredictForMat.argtypes = [
            *(pointer, pointer, integer, ctypes.c_int32, ctypes.c_int32, integer, integer),
            *(integer, integer, text, out_long, pointer),
        ]
        library.LGBM_BoosterPredictForMatSingleRowFastInit.argtypes = [
            *(pointer, integer, integer, integer, integer, ctypes.c_int32, text, out_pointer),
        ]
        library.LGBM_BoosterPredictForMatSingleRowFast.argtypes = [
            *(pointer, pointer, out_long, pointer)
        ]
        library.LGBM_FastConfigFree.argtypes = [pointer]
    return found


def _check(code: int) -> None:
    if code != 0:
        reason = _library().held.LGBM_GetLastError().decode(errors="replace")
        message = f"LightGBM refused: {reason}"
        raise EngineFailed(message)


class _Booster:
    """A handle of the library, freed with this object."""

    def __init__(self, text: str) -> None:
        self.handle = ctypes.c_void_p()
        self._free = _library().free.LGBM_BoosterFree
        iterations = ctypes.c_int()
        _check(
            _library().free.LGBM_BoosterLoadModelFromString(
                text.encode(), ctypes.byref(iterations), ctypes.byref(self.handle)
            )
        )

    def __del__(self) -> None:
        if self.handle:
            self._free(self.handle)

    def count(self, name: str) -> int:
        """One of the library's counts of this booster."""
        found = ctypes.c_int()
        _check(getattr(_library().held, name)(self.handle, ctypes.byref(found)))
        return found.value


class _SingleRow:
    """The prepared call for one row, of one thread."""

    def __init__(self, booster: _Booster, kind: int, features: int, outputs: int) -> None:
        self.handle = ctypes.c_void_p()
        # Holds on to the booster: the library's part of this object points at it.
        self._booster = booster
        self._free = _library().held.LGBM_FastConfigFree
        self._call = _library().held.LGBM_BoosterPredictForMatSingleRowFast
        self.row = np.zeros(features)
        self.found = np.zeros(outputs)
        self._length = ctypes.c_int64()
        _check(
            _library().held.LGBM_BoosterPredictForMatSingleRowFastInit(
                *(booster.handle, kind, 0, _ALL, _DOUBLE, features),
                *(_SETTINGS, ctypes.byref(self.handle)),
            )
        )
        self._arguments = (
            *(self.handle, ctypes.c_void_p(self.row.ctypes.data)),
            *(ctypes.byref(self._length), ctypes.c_void_p(self.found.ctypes.data)),
        )

    def __del__(self) -> None:
        if self.handle:
            self._free(self.handle)

    def call(self) -> None:
        """Predict `row` into `found`."""
        code = self._call(*self._arguments)
        if code:
            _check(code)


class _OfThread(threading.local):
    """The prepared calls of the thread that asks, by kind of prediction."""

    def __init__(self) -> None:
        self.calls: dict[int, _SingleRow] = {}


class LightGbmEngine:
    """One booster in the library. Thread-safe; every method takes (rows, features) doubles.

    Raises:
        EngineFailed: the text is no booster, or one of several classes.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._booster = _Booster(text)
        per_iteration = self._booster.count("LGBM_BoosterNumModelPerIteration")
        if per_iteration != 1:
            message = f"The booster grows {per_iteration} trees at a time; one per score is needed."
            raise EngineFailed(message)
        self.feature_names = tuple(header(text, "feature_names").split())
        self.trees = self._booster.count("LGBM_BoosterNumberOfTotalModel")
        self._features = self._booster.count("LGBM_BoosterGetNumFeature")
        self._prepared = _OfThread()
        self._shap = threading.Lock()

    def model_to_string(self) -> str:
        """The text it was made of."""
        return self._text

    def num_trees(self) -> int:
        """How many trees it adds up."""
        return self.trees

    def margin(self, rows: Floats) -> Floats:
        """Sum of the leaves of each row, before any link: `predict(rows, raw_score=True)`."""
        return self._predict(rows, _RAW, 1)[:, 0]

    def leaves(self, rows: Floats) -> npt.NDArray[np.intp]:
        """The leaf each row ends in, (rows, trees), numbered from 0 in each tree."""
        return self._predict(rows, _LEAF, self.trees).astype(np.intp)

    def contributions(self, rows: Floats) -> Floats:
        """SHAP values, (rows, features + 1), the last their mean; hundreds of times a score."""
        # Two of these calls at a time corrupt the heap (LightGBM issue 5482).
        with self._shap:
            return self._many(self._rows(rows), _SHAP, self._features + 1)

    def _predict(self, rows: Floats, kind: int, outputs: int) -> Floats:
        rows = self._rows(rows)
        if len(rows) > FEW_ROWS:
            return self._many(rows, kind, outputs)
        single = self._single(kind, outputs)
        found = np.empty((len(rows), outputs))
        for at in range(len(rows)):
            single.row[:] = rows[at]
            single.call()
            found[at] = single.found
        return found

    def _many(self, rows: Floats, kind: int, outputs: int) -> Floats:
        found = np.empty((len(rows), outputs))
        # A matrix of no rows is an error to LightGBM.
        if len(rows) == 0:
            return found
        length = ctypes.c_int64()
        _check(
            _library().free.LGBM_BoosterPredictForMat(
                *(self._booster.handle, rows.ctypes.data, _DOUBLE, len(rows), rows.shape[1], 1),
                *(kind, 0, _ALL, _SETTINGS, ctypes.byref(length), found.ctypes.data),
            )
        )
        return found

    def _single(self, kind: int, outputs: int) -> _SingleRow:
        calls = self._prepared.calls
        single = calls.get(kind)
        if single is None:
            single = calls[kind] = _SingleRow(self._booster, kind, self._features, outputs)
        return single

    def _rows(self, rows: Floats) -> Floats:
        """The rows as the library reads them; it would read beyond a matrix that is too narrow."""
        if rows.ndim != 2 or rows.shape[1] != self._features:
            message = f"rows has shape {rows.shape}; the booster reads (rows, {self._features})."
            raise EngineFailed(message)
        return np.ascontiguousarray(rows, dtype=np.float64)


def header(text: str, key: str) -> str:
    """A value of the first lines of a booster's text.

    Raises:
        EngineFailed: there is none.
    """
    start = text.find(f"\n{key}=")
    if start < 0:
        message = f"The booster's text has no line {key}=."
        raise EngineFailed(message)
    start += len(key) + 2
    return text[start : text.index("\n", start)]
