"""The compiled libraries of LightGBM and XGBoost, found without importing their packages.

`import lightgbm` brings pandas and scikit-learn, seconds and a hundred megabytes; the library
itself is one file that opens in milliseconds.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final

from feature_repo.errors import ForesendError

_ENDINGS: Final = (".so", ".dylib", ".dll")
_FOLDERS: Final = ("lib", "bin", ".")


class EngineFailed(ForesendError):
    """A compiled library is missing, or refused what it was given."""


def library_path(package: str, stem: str) -> Path:
    """The shared library `stem` of an installed package.

    Raises:
        EngineFailed: the package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(package)
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    for root in roots:
        for folder in _FOLDERS:
            for ending in _ENDINGS:
                path = root / folder / f"{stem}{ending}"
                if path.is_file():
                    return path
    where = ", ".join(map(str, roots)) or os.fspath(Path(package))
    message = f"Library {stem} of package {package!r} is not in {where}. Install {package} again."
    raise EngineFailed(message)
