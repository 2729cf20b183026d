"""Every message that was sent, and what came back of it, as two tables with knowledge in days.

    sent      mail, customer_id, sending_domain, mailbox_provider, campaign_id, day, time_us,
              event_key, known_day, end_day
    reaction  mail, customer_id, what, time_us, known_day, end_day

`mail` is a number for one message to one customer. `day` is the UTC day it was sent, in days since
the Unix epoch. A row is known at the midnights D with `known_day <= D < end_day`. A reaction is
tied to the message of its message_id, else of its campaign_id, that was sent last before it; `mail`
is null where there is none. A campaign that repeats itself is another message every day.
"""

from __future__ import annotations

from typing import Final

import duckdb
import ibis
from ibis.expr.types import IntegerValue, StringValue, Table

from feature_repo.event import HUMAN_MACHINES, EventType, Machine
from feature_repo.history.daily_table import day_of
from feature_repo.history.duck import backend
from feature_repo.history.sql_functions import epoch_us, md5
from feature_repo.history.versions import EVENT_KEY_DIGITS, FOREVER, lives

NEVER: Final = 2**30
"""End day of what nothing ended."""

SEEN: Final = (
    EventType.OPENED,
    EventType.CLICKED,
    EventType.REPLIED,
    EventType.COMPLAINED,
    EventType.UNSUBSCRIBED,
)
"""What only somebody does who sees the message. Opens and clicks by persons only."""

OUTCOMES: Final = (
    EventType.DELIVERED,
    EventType.DEFERRED,
    EventType.BOUNCED,
    EventType.COMPLAINED,
    EventType.UNSUBSCRIBED,
)
SLACK_US: Final = 3_600_000_000
"""How much later than a reaction its message may claim to be sent: clocks differ."""

CANARY: Final = "canary"
"""Apple fetched the message's images: it does that of what lies in the inbox."""

_SOURCE: Final = (
    *("event_id", "customer_id", "received_time", "log_pos", "op", "type", "machine"),
    *("event_time", "campaign_id", "message_id", "sending_domain", "mailbox_provider"),
    *("bounce_class", "reason"),
)
_BLOCK_WORDS: Final = "spam|block|reputation|blacklist|denylist|policy|junk|listed"


def make_mail(con: duckdb.DuckDBPyConnection, rows: Table, customers: Table | None = None) -> None:
    """Make the temporary tables `sent` and `reaction` of some customers, or of all."""
    kinds = {EventType.SENT, *SEEN, *OUTCOMES}
    # After the lives are known: a correction may have changed the type.
    alive = lives(rows, _SOURCE, customers)
    alive = alive.filter(alive.type.isin(sorted(kind.value for kind in kinds)))
    ended = alive.known_to < FOREVER
    acts = alive.select(
        "customer_id",
        "sending_domain",
        "mailbox_provider",
        "campaign_id",
        message=_message(alive),
        event=alive.event_id.hash(),
        what=_what(alive),
        time_us=epoch_us(alive.event_time),
        event_key=md5(alive.event_id).substr(0, EVENT_KEY_DIGITS),
        known_day=day_of(alive.known_from).cast("int32"),
        end_day=ended.ifelse(day_of(alive.known_to), NEVER).cast("int32"),
    )
    acts = acts.filter(acts.known_day < acts.end_day)
    backend(con).create_table("act", acts, temp=True)
    con.execute(_SENT_SQL, {"told_days": TOLD_DAYS})
    con.execute(_REACTION_SQL, {"slack": SLACK_US})
    con.execute("DROP TABLE act")


def _message(alive: Table) -> IntegerValue:
    """Number of what ties reactions to a message; a message that names nothing is tied to none."""
    named = ibis.coalesce(alive.message_id, alive.campaign_id)
    alone = (alive.type == EventType.SENT.value).ifelse(alive.event_id, ibis.null("string"))
    return alive.customer_id.concat("\x1f").concat(ibis.coalesce(named, alone)).hash()


def _what(alive: Table) -> StringValue:
    """The kind of a reaction: a type, `canary`, `block` (a bounce for spam), or null."""
    human = alive.machine.isin([machine.value for machine in HUMAN_MACHINES])
    is_act = alive.type.isin([EventType.OPENED.value, EventType.CLICKED.value])
    text = ibis.coalesce(alive.bounce_class, "").concat(" ", ibis.coalesce(alive.reason, ""))
    is_block = (alive.type == EventType.BOUNCED.value) & text.lower().re_search(_BLOCK_WORDS)
    fetched = (alive.type == EventType.OPENED.value) & (alive.machine == Machine.APPLE_MPP.value)
    return ibis.cases(
        (fetched, CANARY),
        (is_act & ~human, ibis.null("string")),
        (is_block, "block"),
        else_=alive.type,
    )


TOLD_DAYS: Final = 98
"""How long what was last known of a customer's mailbox stands in: a count looks back no farther."""

_SENT_SQL: Final = """
CREATE OR REPLACE TEMP TABLE sent AS
WITH mine AS (
  -- Said twice, by two services of one provider perhaps, a message of a day is one.
  SELECT min(event) OVER (PARTITION BY message, time_us // 86_400_000_000) AS mail,
         message, customer_id, sending_domain, mailbox_provider, campaign_id,
         (time_us // 86_400_000_000)::INTEGER AS day, time_us, event_key, known_day, end_day
  FROM act WHERE what = 'sent'
), told AS (
  -- Who does not say who runs the mailbox is taken at what was last known of the customer.
  SELECT customer_id, known_day AS told_day, arg_max(mailbox_provider, time_us) AS told
  FROM act WHERE mailbox_provider IS NOT NULL
    AND EXISTS (SELECT 1 FROM mine WHERE mine.mailbox_provider IS NULL
                AND mine.sending_domain IS NOT NULL)
  GROUP BY ALL
)
SELECT mine.* REPLACE (
  coalesce(mailbox_provider,
           CASE WHEN greatest(day + 1, known_day) - told_day <= $told_days THEN told END)
  AS mailbox_provider)
FROM mine ASOF LEFT JOIN told
  ON mine.customer_id = told.customer_id AND told_day <= greatest(day + 1, known_day)
"""

_REACTION_SQL: Final = """
CREATE OR REPLACE TEMP TABLE reaction AS
WITH sending AS (
  SELECT message, time_us AS sent_us, min(mail) AS mail FROM sent GROUP BY ALL
)
SELECT sending.mail, customer_id, what, time_us, known_day, end_day
FROM act ASOF LEFT JOIN sending
  ON act.message = sending.message AND act.time_us + $slack >= sending.sent_us
WHERE what IS NOT NULL AND what <> 'sent'
"""
