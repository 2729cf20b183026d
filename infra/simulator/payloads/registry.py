"""All services of the simulator by name."""

from __future__ import annotations

from typing import Final

from infra.simulator.payloads import (
    brevo,
    canonical,
    customerio,
    klaviyo,
    mailgun,
    mandrill,
    mautic,
    postmark,
    segment,
    sendgrid,
    ses,
    sparkpost,
)
from infra.simulator.payloads.encoder import Encoder

ENCODERS: Final[dict[str, Encoder]] = {
    module.ENCODER.name: module.ENCODER
    for module in (
        brevo, canonical, customerio, klaviyo, mailgun, mandrill, mautic, postmark, segment,
        sendgrid, ses, sparkpost,
    )
}  # fmt: skip
