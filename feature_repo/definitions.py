"""All Feast objects of an installation, put together once."""

from __future__ import annotations

from typing import NamedTuple

from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView

from feature_repo import contract, entities, on_demand, services, views
from feature_repo.settings import Settings


class Definitions(NamedTuple):
    """What `feast apply` registers."""

    customer: Entity
    activity: FeatureView
    customer_daily: FeatureView
    customer_profile: FeatureView
    send_time: OnDemandFeatureView
    send_score_v1: FeatureService


def definitions(settings: Settings) -> Definitions:
    """The objects over the feature tables of these settings."""
    customer = entities.customer()
    activity, daily, profile = (
        views.feature_view(settings, customer, name)
        for name in (contract.ACTIVITY, contract.CUSTOMER_DAILY, contract.CUSTOMER_PROFILE)
    )
    send_time = on_demand.send_time(activity, profile)
    service = services.send_score_v1(activity, daily, profile, send_time)
    return Definitions(customer, activity, daily, profile, send_time, service)
