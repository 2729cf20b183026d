"""The data that come with the project."""

from __future__ import annotations

from pathlib import Path

import feature_repo


def shipped_dataset() -> Path:
    """The UCI Online Retail II purchases of 2011, for `--mapping online_retail`."""
    folder = Path(feature_repo.__file__).parent / "data"
    return folder / "online_retail_2010-12_2011-12.parquet"
