"""How much each decision counts: silence about mail that was not seen is no answer."""

from __future__ import annotations

from typing import Final

from feature_repo.settings import Settings
from training.reading import Reading


def make_weights(settings: Settings, reading: Reading) -> int:
    """Make the table `weights` (position, weight) from `spine` and `labels`.

    A decision without a row in `weights` is left out; returns how many are.
    """
    reading.con.execute(_EQUAL_SQL)
    return 0


_EQUAL_SQL: Final = """
CREATE OR REPLACE TEMP TABLE weights AS SELECT position, 1.0::DOUBLE AS weight FROM spine
"""
