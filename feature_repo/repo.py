"""The one file that `feast apply` reads: every Feast object as a name of this module."""

from __future__ import annotations

from feature_repo.definitions import definitions
from feature_repo.settings import load_settings

(
    customer,
    sending_domain,
    mailbox_provider,
    activity,
    customer_daily,
    customer_profile,
    customer_placement,
    placement,
    send_time,
    send_score_v1,
) = definitions(load_settings())
