"""Which features a model is trained on and served with, as one named contract."""

from __future__ import annotations

from collections.abc import Mapping

from feast import FeatureService, FeatureView, OnDemandFeatureView

from feature_repo import contract


def send_score_v1(
    stored: Mapping[str, FeatureView], send_time: OnDemandFeatureView
) -> FeatureService:
    """Windows, profile, lifetime totals, everything read at the send; then placement, for people.

    `stored` holds the views of contract.VIEWS by name.
    """
    return FeatureService(
        name=contract.FEATURE_SERVICE,
        features=[
            stored[contract.CUSTOMER_DAILY][list(contract.MODEL_DAILY)],
            stored[contract.CUSTOMER_PROFILE],
            stored[contract.ACTIVITY][list(contract.TOTALS)],
            send_time,
            stored[contract.CUSTOMER_PLACEMENT][list(contract.CONTEXT_FEATURES)],
        ],
        description="Features of every send-time score, and its placement context.",
    )
