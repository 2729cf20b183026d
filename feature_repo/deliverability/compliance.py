"""Google's sender requirements: a state of now, kept as a reading of the day it was asked.

Metric `gpt_compliance`, part the requirement, value 1.0 when met and 0.0 when it needs work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

from feature_repo.deliverability.reading import Reading, Reject, Taken, Why

_VALUES: Final = {"COMPLIANT": 1.0, "NEEDS_WORK": 0.0}
_VERDICTS: Final = ("oneClickUnsubscribe", "honorUnsubscribe", "deliverabilityStatus")


def snapshot(sending_domain: str, status: Mapping[str, Any], today: date) -> Taken:
    """The readings in a DomainComplianceStatus; of a subdomain, what is told of itself counts."""
    taken = Taken()
    data = status.get("subdomainComplianceData") or status.get("complianceData") or {}
    if not isinstance(data, dict):
        return Taken(rejects=[Reject(sending_domain, Why.BAD_COMPLIANCE, "it is no object")])
    for requirement, told in _states(data):
        value = _VALUES.get(told)
        if value is None:
            # Unspecified, or a word of a later version.
            continue
        taken.readings.append(
            Reading(
                sending_domain=sending_domain,
                mailbox_provider="google",
                day=today,
                metric="gpt_compliance",
                part=requirement,
                value=value,
            )
        )
    return taken


def _states(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Requirement in small letters, and its state."""
    rows = data.get("rowData")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("requirement"), str):
            yield row["requirement"].lower(), _state(row.get("status"))
    for name in _VERDICTS:
        verdict = data.get(f"{name}Verdict")
        if isinstance(verdict, dict):
            words = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
            reason = verdict.get("reason")
            state = _state(verdict.get("status") or verdict.get("state"))
            yield f"verdict/{words}", state
            if isinstance(reason, str) and not reason.endswith("UNSPECIFIED"):
                yield f"verdict/{words}/{reason.lower()}", state


def _state(status: object) -> str:
    told = status.get("status") if isinstance(status, dict) else None
    return told if isinstance(told, str) else ""
