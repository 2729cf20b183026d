"""XGBoost's own library, called directly: the numbers of `Booster.inplace_predict`, sooner."""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Sequence
from functools import cache
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from serving.kernels.libraries import EngineFailed, library_path

Floats = npt.NDArray[np.float64]
_Library = TypeVar("_Library", bound=ctypes.CDLL)

_MARGIN: Final = 1
_SHAP: Final = 2
_PATHS: Final = 3
_MISSING: Final = b'{"missing": NaN, "nthread": 1}'


@cache
def _library() -> ctypes.CDLL:
    return _declared(ctypes.CDLL(str(library_path("xgboost", "libxgboost"))))


@cache
def _held_library() -> ctypes.PyDLL:
    """As `_library`, for short calls that keep the interpreter: see `lightgbm_engine`."""
    return _declared(ctypes.PyDLL(str(library_path("xgboost", "libxgboost"))))


def _declared(library: _Library) -> _Library:
    pointer, text, long = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64
    out_pointer, out_long = ctypes.POINTER(pointer), ctypes.POINTER(long)
    out_shape = ctypes.POINTER(out_long)
    library.XGBGetLastError.restype = text
    library.XGBoosterCreate.argtypes = [pointer, long, out_pointer]
    library.XGBoosterFree.argtypes = [pointer]
    library.XGBoosterSetParam.argtypes = [pointer, text, text]
    library.XGBoosterLoadModelFromBuffer.argtypes = [pointer, text, long]
    library.XGBoosterGetStrFeatureInfo.argtypes = [
        *(pointer, text, out_long, ctypes.POINTER(ctypes.POINTER(text)))
    ]
    library.XGBoosterPredictFromDense.argtypes = [
        *(pointer, text, text, pointer, out_shape, out_long, out_pointer)
    ]
    library.XGBoosterPredictFromDMatrix.argtypes = [
        *(pointer, pointer, text, out_shape, out_long, out_pointer)
    ]
    library.XGDMatrixCreateFromDense.argtypes = [text, text, out_pointer]
    library.XGDMatrixSetStrFeatureInfo.argtypes = [pointer, text, ctypes.POINTER(text), long]
    library.XGDMatrixFree.argtypes = [pointer]
    return library


def _check(code: int) -> None:
    if code != 0:
        reason = _library().XGBGetLastError().decode(errors="replace").split("\n")[0]
        message = f"XGBoost refused: {reason}"
        raise EngineFailed(message)


class _Owned:
    """A handle of the library, freed with this object."""

    def __init__(self, free: str) -> None:
        self.handle = ctypes.c_void_p()
        self._free = getattr(_library(), free)

    def __del__(self) -> None:
        if self.handle:
            self._free(self.handle)


class _OfThread(threading.local):
    """A row of the thread that asks, and where the library says what it found."""

    def __init__(self) -> None:
        self.row = np.empty((0, 0))
        self.interface = b""
        self.shape = ctypes.POINTER(ctypes.c_uint64)()
        self.length = ctypes.c_uint64()
        self.found = ctypes.c_void_p()

    def prepare(self, features: int) -> None:
        """Make a row of so many features, and its description, once."""
        self.row = np.zeros((1, features))
        self.interface = _interface(self.row)

    @property
    def out(self) -> tuple[object, object, object]:
        """The last three arguments of every prediction."""
        return ctypes.byref(self.shape), ctypes.byref(self.length), ctypes.byref(self.found)


class XgBoostEngine:
    """One booster in the library. Thread-safe; every method takes (rows, features) doubles.

    The library rounds features, and adds up leaves, in 32 bits: in training as here.

    Raises:
        EngineFailed: the text is no booster.
    """

    def __init__(self, text: str) -> None:
        if not text:
            # The library does not return from it: it ends the process.
            message = "XGBoost refused: the text is empty."
            raise EngineFailed(message)
        self._text = text
        self._booster = _Owned("XGBoosterFree")
        handle, content = self._booster.handle, text.encode()
        _check(_library().XGBoosterCreate(None, 0, ctypes.byref(handle)))
        _check(_library().XGBoosterLoadModelFromBuffer(handle, content, len(content)))
        for name, value in ((b"nthread", b"1"), (b"verbosity", b"0")):
            _check(_library().XGBoosterSetParam(handle, name, value))
        self.feature_names = self._words(b"feature_name")
        #: `c` for a code of a level, `float` for a number.
        self.feature_types = self._words(b"feature_type")
        self._types = _texts(self.feature_types)
        self._margin = _settings(_MARGIN)
        self._local = _OfThread()
        self._building = threading.Lock()

    def save_raw(self, raw_format: str = "json") -> bytes:
        """The text it was made of; there is no other form here."""
        return self._text.encode()

    def margin(self, rows: Floats) -> Floats:
        """Log-odds of each row."""
        rows = self._rows(rows)
        local = self._local
        if len(rows) == 1:
            if not local.interface:
                local.prepare(rows.shape[1])
            local.row[0] = rows[0]
            interface = local.interface
            library: ctypes.CDLL = _held_library()
        else:
            interface, library = _interface(rows), _library()
        _check(
            library.XGBoosterPredictFromDense(
                self._booster.handle, interface, self._margin, None, *local.out
            )
        )
        return _copied(local.found, len(rows))

    def contributions(self, rows: Floats) -> Floats:
        """SHAP values, (rows, features + 1), the last their mean over the training rows."""
        return self._explained(rows, _SHAP)

    def paths(self, rows: Floats) -> Floats:
        """As `contributions`, by the change of the mean leaf at each step (see `paths`)."""
        return self._explained(rows, _PATHS)

    def _explained(self, rows: Floats, kind: int) -> Floats:
        rows = self._rows(rows)
        width = len(self.feature_names) + 1
        if len(rows) == 0:
            return np.empty((0, width))
        data = _Owned("XGDMatrixFree")
        local, library = self._local, _library()
        _check(
            library.XGDMatrixCreateFromDense(_interface(rows), _MISSING, ctypes.byref(data.handle))
        )
        _check(
            library.XGDMatrixSetStrFeatureInfo(
                data.handle, b"feature_type", self._types, len(self._types)
            )
        )
        # The first call works out the mean leaf of every node and keeps it in the booster.
        with self._building:
            _check(
                library.XGBoosterPredictFromDMatrix(
                    self._booster.handle, data.handle, _settings(kind), *local.out
                )
            )
            return _copied(local.found, len(rows) * width).reshape(len(rows), width)

    def _rows(self, rows: Floats) -> Floats:
        """The rows as the library reads them; it would read beyond a matrix that is too narrow."""
        width = len(self.feature_names)
        if rows.ndim != 2 or rows.shape[1] != width:
            message = f"rows has shape {rows.shape}; the booster reads (rows, {width})."
            raise EngineFailed(message)
        return np.ascontiguousarray(rows, dtype=np.float64)

    def _words(self, field: bytes) -> tuple[str, ...]:
        length, found = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char_p)()
        _check(
            _library().XGBoosterGetStrFeatureInfo(
                self._booster.handle, field, ctypes.byref(length), ctypes.byref(found)
            )
        )
        return tuple((found[at] or b"").decode() for at in range(length.value))


def _settings(kind: int) -> bytes:
    """All trees, one answer per row."""
    settings = {
        "type": kind,
        "training": False,
        "iteration_begin": 0,
        "iteration_end": 0,
        "missing": float("nan"),
        "strict_shape": False,
        "cache_id": 0,
    }
    return json.dumps(settings).encode()


def _interface(rows: Floats) -> bytes:
    """Where a matrix of doubles lies, in NumPy's array interface."""
    height, width = rows.shape
    return (
        b'{"data": [%d, true], "shape": [%d, %d], "strides": null, "typestr": "<f8", "version": 3}'
    ) % (rows.ctypes.data, height, width)


def _copied(found: ctypes.c_void_p, count: int) -> Floats:
    """Floats that the library keeps only until this thread's next call, as doubles."""
    if count == 0:
        return np.empty(0)
    values = np.frombuffer(ctypes.string_at(found, count * 4), dtype=np.float32)
    return values.astype(np.float64)


def _texts(words: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
