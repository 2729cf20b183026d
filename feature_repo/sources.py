"""Where Feast finds the feature tables."""

from __future__ import annotations

from feast import FileSource
from feast.data_format import DeltaFormat

from feature_repo import contract
from feature_repo.settings import Settings


def feature_table(settings: Settings, view: str) -> FileSource:
    """The Delta table of a view. Both of its times are knowledge time (see the view)."""
    return FileSource(
        name=f"{view}_table",
        path=str(settings.feature_path(view)),
        file_format=DeltaFormat(),
        timestamp_field=contract.EVENT_TIMESTAMP,
        created_timestamp_column=contract.CREATED_TIMESTAMP,
        description=f"Rows of {view}; a row says what could be served from its time on.",
    )
