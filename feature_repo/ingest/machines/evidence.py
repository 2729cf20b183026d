"""Evidence that an event shows only beside other events, as SQL made from the declared rules.

Every condition is of the form "there is an event that ...", so evidence never goes away when
more events arrive: in whatever order they come, the evidence in the end is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import duckdb

from feature_repo.ingest.machines.rules import (
    AfterDelivery,
    BesideBurst,
    BesideHoneypot,
    Crowd,
    LinkBurst,
    Rule,
    Rules,
)

ACTS: Final = "machine_acts"
"""What `find_evidence` reads: one row per event, as known last, withdrawn ones left out, with
event_id, type, customer_id, message_id, event_time, received_time, link_id, url, user_agent, ip."""

EVIDENCE: Final = "machine_evidence"
"""What it leaves: event_id, rule, and known_from: when all events that show it were received."""

BEFORE_DELIVERY_S: Final = 600
"""An open this much before the delivery is a matter of clocks; a longer way before, of another
message with the same id."""


def reach(rules: Rules) -> int:
    """Seconds from an event within which its evidence lies."""
    spans = [BEFORE_DELIVERY_S]
    for rule in rules.contextual:
        context = rule.when.context
        if isinstance(context, BesideBurst):
            spans.append(context.within_seconds + 2 * context.seconds)
        elif isinstance(context, BesideHoneypot):
            spans.append(context.within_seconds)
        elif context is not None:
            spans.append(2 * context.seconds)
    return max(spans)


def find_evidence(con: duckdb.DuckDBPyConnection, rules: Rules) -> None:
    """Make the table EVIDENCE of the table ACTS."""
    con.execute(_ENGAGED_SQL)
    parts = [_rule_sql(rule) for rule in rules.contextual]
    con.execute(f"CREATE OR REPLACE TEMP TABLE {EVIDENCE} AS {' UNION ALL '.join(parts)}")


_ENGAGED_SQL: Final = f"""
CREATE OR REPLACE TEMP TABLE machine_engaged AS
  SELECT *, coalesce(link_id, url) AS link FROM {ACTS} WHERE type IN ('opened', 'clicked');
"""


def _rule_sql(rule: Rule) -> str:
    """A query of (event_id, rule, known_from) for one contextual rule."""
    context = rule.when.context
    if isinstance(context, AfterDelivery):
        found = _after_delivery_sql(context)
    elif isinstance(context, BesideBurst):
        found = _beside_sql(_burst_sql(context), context.within_seconds)
    elif isinstance(context, LinkBurst):
        found = _burst_sql(context)
    elif isinstance(context, BesideHoneypot):
        found = _beside_sql(_honeypot_sql(context), context.within_seconds)
    elif isinstance(context, Crowd):
        found = _crowd_sql(context, rule)
    else:
        message = f"rule {rule.name} has no condition on other events"
        raise TypeError(message)
    return f"""
      (SELECT found.event_id, '{rule.name}' AS rule, found.known_from
       FROM ({found}) AS found JOIN machine_engaged AS judged USING (event_id)
       WHERE {_judged_sql(rule)})"""


def _judged_sql(rule: Rule) -> str:
    """Which events the rule judges."""
    terms = [
        f"judged.type IN ({_texts(rule.events)})",
        f"judged.event_time >= TIMESTAMPTZ '{rule.starts.isoformat()}'",
    ]
    if rule.when.agent_contains:
        words = (f"contains(lower(judged.user_agent), {_text(w.lower())})"
                 for w in rule.when.agent_contains)  # fmt: skip
        terms.append(f"({' OR '.join(words)})")
    return " AND ".join(terms)


def _after_delivery_sql(context: AfterDelivery) -> str:
    # Some providers do not report deliveries; soon after the sending is sooner still.
    return f"""
      SELECT e.event_id, min(greatest(e.received_time, d.received_time)) AS known_from
      FROM machine_engaged AS e JOIN {ACTS} AS d USING (customer_id, message_id)
      WHERE d.type IN ('delivered', 'sent')
        AND e.event_time <= d.event_time + INTERVAL {context.seconds} SECOND
        AND e.event_time >= d.event_time - INTERVAL {BEFORE_DELIVERY_S} SECOND
      GROUP BY e.event_id"""


def _burst_sql(context: LinkBurst) -> str:
    """Clicks that lie in some window of `seconds` with enough different links of one message."""
    span = f"INTERVAL {context.seconds} SECOND"
    return f"""
      SELECT event_id, customer_id, message_id, ip, event_time, min(shown) OVER back AS known_from
      FROM (
        SELECT *, CASE WHEN count(DISTINCT link) OVER ahead >= {context.links}
                       THEN max(received_time) OVER ahead END AS shown
        FROM machine_engaged
        WHERE type = 'clicked' AND message_id IS NOT NULL
        WINDOW ahead AS (PARTITION BY customer_id, message_id ORDER BY event_time
                         RANGE BETWEEN CURRENT ROW AND {span} FOLLOWING))
      WINDOW back AS (PARTITION BY customer_id, message_id ORDER BY event_time
                      RANGE BETWEEN {span} PRECEDING AND CURRENT ROW)
      QUALIFY min(shown) OVER back IS NOT NULL"""


def _honeypot_sql(context: BesideHoneypot) -> str:
    tests = (f"link_id = {_text(w)} OR contains(url, {_text(w)})" for w in context.links)
    return f"""
      SELECT event_id, customer_id, message_id, ip, event_time, received_time AS known_from
      FROM machine_engaged WHERE type = 'clicked' AND ({" OR ".join(tests)})"""


def _beside_sql(center: str, seconds: int) -> str:
    """Events of the same message and address close to one of `center`, and those themselves."""
    return f"""
      SELECT e.event_id, min(greatest(e.received_time, c.known_from)) AS known_from
      FROM machine_engaged AS e JOIN ({center}) AS c
        ON e.customer_id = c.customer_id AND e.message_id IS NOT DISTINCT FROM c.message_id
       AND (e.event_id = c.event_id
            OR (e.ip = c.ip AND abs(date_diff('millisecond', e.event_time, c.event_time))
                                <= {seconds * 1000}))
      GROUP BY e.event_id"""


def _crowd_sql(context: Crowd, rule: Rule) -> str:
    span = f"INTERVAL {context.seconds} SECOND"
    return f"""
      SELECT event_id, max(received_time) OVER around AS known_from
      FROM machine_engaged WHERE ip IS NOT NULL AND type IN ({_texts(rule.events)})
      WINDOW around AS (PARTITION BY ip ORDER BY event_time
                        RANGE BETWEEN {span} PRECEDING AND {span} FOLLOWING)
      QUALIFY count(DISTINCT customer_id) OVER around >= {context.customers}"""


def _texts(words: Iterable[str]) -> str:
    return ", ".join(_text(word) for word in words)


def _text(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"
