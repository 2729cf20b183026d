"""The view that is computed at the moment of a send."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import pandas as pd
from feast import FeatureView, OnDemandFeatureView, RequestSource

from feature_repo import contract, transforms
from feature_repo.views import field


# Feast stores this text and runs it elsewhere with nothing of this module in scope: import inside.
def send_time_features(inputs: pd.DataFrame) -> pd.DataFrame:
    """What transforms.send_time makes of the stored columns and `send_at`."""
    from feature_repo.transforms import send_time

    columns = {str(name): inputs[name] for name in inputs}
    return pd.DataFrame(send_time(columns, inputs["send_at"]), index=inputs.index)


def send_time(stored: Mapping[str, FeatureView]) -> OnDemandFeatureView:
    """Recencies, decayed values, rates and local time, read at the request's `send_at`.

    `stored` holds the views of contract.VIEWS by name.
    """
    request = RequestSource(name="send_request", schema=[field(contract.REQUEST_COLUMN)])
    return OnDemandFeatureView(
        name=contract.SEND_TIME,
        sources=[
            stored[contract.ACTIVITY][list(transforms.ACTIVITY_INPUTS)],
            stored[contract.CUSTOMER_PROFILE][list(transforms.PROFILE_INPUTS)],
            stored[contract.CUSTOMER_PLACEMENT][list(transforms.PLACEMENT_INPUTS)],
            request,
        ],
        schema=[field(name) for name in transforms.SEND_TIME],
        mode="pandas",
        # Not by Feast's decorator: it can be applied to a function only once in a process.
        udf=send_time_features,
        udf_string=inspect.getsource(send_time_features),
        description="Stored state read at the moment of a send.",
    )
