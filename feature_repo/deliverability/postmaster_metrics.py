"""The numbers that Postmaster Tools v2 gives, and what each is called in the readings.

Domain and IP reputation do not exist any more; they show through the reasons of rejections.
https://developers.google.com/workspace/gmail/postmaster/reference/rest
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from feature_repo.deliverability.reading import (
    Reading,
    Taken,
    Unusable,
    Why,
    count,
    domain,
    plausible_day,
)

SOURCE: Final = "postmaster"
MAILBOX_PROVIDER: Final = "google"

_REJECT_REASONS: Final = (
    "bad_attachment",
    "bad_or_missing_ptr_record",
    "ip_in_rbls",
    "low_domain_reputation",
    "low_ip_reputation",
    "spammy_content",
    "stamp_policy_error",
    "other",
)
_TEMP_FAIL_REASONS: Final = ("anomalous_traffic_pattern", "other")


@dataclass(frozen=True, slots=True)
class Metric:
    """One number per day: how it is asked for, and its name and part in the readings."""

    #: Our name in the request, which comes back in the answer.
    name: str
    standard: str
    filter: str | None
    metric: str
    part: str | None

    def definition(self) -> dict[str, Any]:
        """The MetricDefinition of a request."""
        asked: dict[str, Any] = {
            "name": self.name,
            "baseMetric": {"standardMetric": self.standard},
        }
        if self.filter is not None:
            asked["filter"] = self.filter
        return asked


def _errors() -> Iterator[Metric]:
    standard, metric = "DELIVERY_ERROR_RATE", "gpt_delivery_error_rate"
    yield Metric(standard, standard, None, metric, None)
    for kind, reasons in (("reject", _REJECT_REASONS), ("temp_fail", _TEMP_FAIL_REASONS)):
        by_kind = f'error_type="{kind}"'
        yield Metric(f"{standard}_{kind.upper()}", standard, by_kind, metric, kind)
        for reason in reasons:
            yield Metric(
                f"{standard}_{kind.upper()}_{reason.upper()}",
                standard,
                f'{by_kind} AND error_reason="{reason}"',
                metric,
                f"{kind}/{reason}",
            )


METRICS: Final = (
    # User reports over mail in the inbox: it falls to nothing when all mail goes to spam.
    Metric("SPAM_RATE", "SPAM_RATE", None, "gpt_spam_rate", None),
    *(
        Metric(
            f"AUTH_SUCCESS_RATE_{kind.upper()}",
            "AUTH_SUCCESS_RATE",
            f'auth_type="{kind}"',
            "gpt_auth_success_rate",
            kind,
        )
        for kind in ("spf", "dkim", "dmarc")
    ),
    Metric(
        "TLS_ENCRYPTION_RATE",
        "TLS_ENCRYPTION_RATE",
        'traffic_direction="inbound"',
        "gpt_tls_encryption_rate",
        None,
    ),
    *_errors(),
)
"""Asked for each domain and day."""

FEEDBACK_LOOP_IDS: Final = Metric(
    "FEEDBACK_LOOP_ID", "FEEDBACK_LOOP_ID", None, "gpt_feedback_loop_id", None
)

# An answer that was kept may have been asked for without a kind of authentication.
_UNFILTERED: Final = (
    Metric("AUTH_SUCCESS_RATE", "AUTH_SUCCESS_RATE", None, "gpt_auth_success_rate", None),
)
BY_NAME: Final = {metric.name: metric for metric in (*METRICS, *_UNFILTERED)}


def feedback_loop(number: int, loop: str) -> Metric:
    """The spam rate of one feedback loop; ids may hold what a metric's name may not."""
    escaped = loop.replace("\\", "\\\\").replace('"', '\\"')
    return Metric(
        f"FEEDBACK_LOOP_SPAM_RATE_{number}",
        "FEEDBACK_LOOP_SPAM_RATE",
        f'feedback_loop_id="{escaped}"',
        "gpt_feedback_loop_spam_rate",
        loop,
    )


def readings_of(
    sending_domain: str,
    stats: Iterable[object],
    metrics: Mapping[str, Metric],
    today: date,
) -> Taken:
    """The readings in the `domainStats` of an answer; what is odd is rejected one by one."""
    taken = Taken()
    for number, stat in enumerate(stats):
        try:
            taken.readings.append(_reading(sending_domain, stat, metrics, today))
        except Unusable as exc:
            taken.rejects.append(exc.at(f"{sending_domain}, domainStats[{number}]"))
    return taken


def missing(
    sending_domain: str, taken: Iterable[Reading], metrics: Iterable[Metric], days: Iterable[date]
) -> Iterator[Reading]:
    """A reading without value for each metric and day that the answer did not give.

    Google shows nothing of days with little mail: nothing is known then, and nothing is not 0.
    """
    given = {(one.metric, one.part, one.day) for one in taken}
    asked = [(metric.metric, metric.part) for metric in metrics]
    for day in days:
        for metric, part in asked:
            if (metric, part, day) not in given:
                yield _reading_of(sending_domain, day, metric, part, None)


def loops_of(stats: Iterable[object]) -> list[str]:
    """The ids of feedback loops in an answer, each once, in the order met."""
    found: dict[str, None] = {}
    for stat in stats:
        value = stat.get("value") if isinstance(stat, dict) else None
        listed = value.get("stringList") if isinstance(value, dict) else None
        values = listed.get("values") if isinstance(listed, dict) else None
        for loop in values if isinstance(values, list) else ():
            if isinstance(loop, str) and loop:
                found[loop] = None
    return list(found)


def day_of(written: object, today: date) -> date:
    """The day of a google.type.Date.

    Raises:
        Unusable: it is no whole date, or an impossible one.
    """
    parts = written if isinstance(written, dict) else {}
    try:
        day = date(parts["year"], parts["month"], parts["day"])
    except (KeyError, TypeError, ValueError):
        raise Unusable(Why.BAD_DAY, f"date {str(written)[:60]} is no day") from None
    return plausible_day(day, today)


def domain_of_name(name: object) -> str:
    """The domain of a resource name.

    >>> domain_of_name("domains/news.example/domainStats/x")
    'news.example'

    Raises:
        Unusable: it names none.
    """
    parts = name.split("/") if isinstance(name, str) else []
    if len(parts) < 2 or parts[0] != "domains":
        raise Unusable(Why.BAD_DOMAIN, "the name is not like domains/news.example")
    return domain(parts[1])


def _reading(
    sending_domain: str, stat: object, metrics: Mapping[str, Metric], today: date
) -> Reading:
    told = stat if isinstance(stat, dict) else {}
    name = told.get("metric")
    metric = metrics.get(name) if isinstance(name, str) else None
    if metric is None:
        raise Unusable(Why.UNKNOWN_METRIC, f"metric {str(name)[:60]!r} was not asked for")
    day = day_of(told.get("date"), today)
    return _reading_of(sending_domain, day, metric.metric, metric.part, _number(told.get("value")))


def _number(value: object) -> float:
    told = value if isinstance(value, dict) else {}
    for kind in ("doubleValue", "floatValue", "intValue"):
        if kind in told:
            return count(told[kind])
    raise Unusable(Why.BAD_NUMBER, f"the value holds {sorted(told) or 'nothing'}, not a number")


def _reading_of(
    sending_domain: str, day: date, metric: str, part: str | None, value: float | None
) -> Reading:
    return Reading(
        sending_domain=sending_domain,
        mailbox_provider=MAILBOX_PROVIDER,
        day=day,
        metric=metric,
        part=part,
        value=value,
    )
