"""Which features a model is trained on and served with, as one named contract."""

from __future__ import annotations

from feast import FeatureService, FeatureView, OnDemandFeatureView

from feature_repo import contract


def send_score_v1(
    activity: FeatureView,
    daily: FeatureView,
    profile: FeatureView,
    send_time: OnDemandFeatureView,
) -> FeatureService:
    """Windows, profile, lifetime totals and everything read at the send."""
    return FeatureService(
        name=contract.FEATURE_SERVICE,
        features=[daily, profile, activity[list(contract.TOTALS)], send_time],
        description="Features of every send-time score.",
    )
