from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from monitoring import signatures, statistics
from serving import bins


@pytest.mark.parametrize("module", [bins, signatures, statistics])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    result = doctest.testmod(module)

    assert result.attempted > 0
    assert result.failed == 0
