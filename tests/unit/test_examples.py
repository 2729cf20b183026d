"""The examples in docstrings are run, so that they stay true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("feature_repo", "training", "serving", "monitoring", "infra")
# These import Feast, MLflow or Evidently; unit tests do without.
HEAVY = ("from feast", "import feast", "import mlflow", "from mlflow", "evidently", "training.")


def _modules() -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if ">>>" in (text := path.read_text()) and not any(word in text for word in HEAVY)
    ]


@pytest.mark.parametrize("module", _modules())
def test_the_examples_of_a_module_come_out_as_written(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))

    assert result.attempted > 0
    assert result.failed == 0
