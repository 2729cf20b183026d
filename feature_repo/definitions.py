"""All Feast objects of an installation, put together once."""

from __future__ import annotations

from typing import NamedTuple

from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView

from feature_repo import contract, entities, on_demand, services, views
from feature_repo.settings import Settings


class Definitions(NamedTuple):
    """What `feast apply` registers."""

    customer: Entity
    sending_domain: Entity
    mailbox_provider: Entity
    activity: FeatureView
    customer_daily: FeatureView
    customer_profile: FeatureView
    customer_placement: FeatureView
    placement: FeatureView
    send_time: OnDemandFeatureView
    send_score_v1: FeatureService


def definitions(settings: Settings) -> Definitions:
    """The objects over the feature tables of these settings."""
    customer = entities.customer()
    domain, provider = entities.sending_domain(), entities.mailbox_provider()
    stored = {name: views.feature_view(settings, customer, name) for name in contract.VIEWS}
    placement = views.placement_view(settings, domain, provider)
    send_time = on_demand.send_time(stored)
    service = services.send_score_v1(stored, send_time)
    return Definitions(
        customer=customer,
        sending_domain=domain,
        mailbox_provider=provider,
        activity=stored[contract.ACTIVITY],
        customer_daily=stored[contract.CUSTOMER_DAILY],
        customer_profile=stored[contract.CUSTOMER_PROFILE],
        customer_placement=stored[contract.CUSTOMER_PLACEMENT],
        placement=placement,
        send_time=send_time,
        send_score_v1=service,
    )
