"""The mails that were sent and whether each left a trace, as known at one time.

Of a message that names itself and of which a delivery and no send was reported, the first delivery
stands in for the send, as it does where decisions are made (training/reading.py).

A trace, that a person saw it (`mail.SEEN`) or that Apple fetched it from the inbox, counts for the
mail that it names, by message or else by campaign. What names none we know counts for the
customer's newest mail before it, if that is at most UNNAMED_DAYS old.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import duckdb
import ibis

from feature_repo.deliverability.mail import SEEN, SLACK_US
from feature_repo.event import HUMAN_MACHINES, EventType, Machine
from feature_repo.history.log import Snapshot
from feature_repo.history.sql_functions import epoch_us
from feature_repo.targets import HUMAN_ONLY

UNNAMED_DAYS: Final = 7
"""Days after a mail in which an event that names no mail is taken for an answer to it."""


def make_mails(con: duckdb.DuckDBPyConnection, snapshot: Snapshot, at: datetime) -> None:
    """Make the temporary table `mails`, as `messages.make_mail_p` reads it, as known at `at`.

    One row per send, of the mailbox provider it names, else of the one last named for the customer;
    `seen_us` is when the first sign of it was received, null for none.
    """
    events = snapshot.as_known(con, at, _COLUMNS)
    human = events.machine.isin([machine.value for machine in HUMAN_MACHINES])
    by_person = events.type.isin([kind.value for kind in HUMAN_ONLY]) & human
    fetched = (events.type == EventType.OPENED.value) & (events.machine == Machine.APPLE_MPP.value)
    always = [kind.value for kind in SEEN if kind not in HUMAN_ONLY]
    is_send, is_delivery = (
        events.type == kind.value for kind in (EventType.SENT, EventType.DELIVERED)
    )
    wanted = is_send | is_delivery | by_person | fetched | events.type.isin(always)
    chosen = events.filter(wanted).select(
        "customer_id",
        "message_id",
        "sending_domain",
        "mailbox_provider",
        name=ibis.coalesce(events.message_id, events.campaign_id),
        at_us=epoch_us(events.event_time),
        known_us=epoch_us(events.received_time),
        is_send=is_send,
        is_delivery=is_delivery,
    )
    query = ibis.to_sql(chosen, dialect="duckdb")
    con.execute(f"CREATE OR REPLACE TEMP TABLE mail_events AS {query}")
    con.execute(_MAILS_SQL, {"within": UNNAMED_DAYS * 86_400_000_000, "slack": SLACK_US})


_COLUMNS: Final = (
    "event_id",
    "type",
    "customer_id",
    "message_id",
    "campaign_id",
    "sending_domain",
    "mailbox_provider",
    "machine",
    "event_time",
    "received_time",
)

_MAILS_SQL: Final = """
CREATE OR REPLACE TEMP TABLE mails AS
  WITH delivered AS (
    SELECT * FROM mail_events AS delivered
    WHERE is_delivery AND message_id IS NOT NULL
      AND NOT EXISTS (FROM mail_events AS sent WHERE sent.is_send
                        AND sent.customer_id = delivered.customer_id
                        AND sent.message_id = delivered.message_id)
    QUALIFY row_number() OVER (PARTITION BY customer_id, message_id ORDER BY at_us) = 1
  ), told AS (
    SELECT customer_id, arg_max(mailbox_provider, at_us) AS told
    FROM mail_events WHERE mailbox_provider IS NOT NULL GROUP BY customer_id
  ), sends AS (
    SELECT row_number() OVER () AS mail, customer_id, message_id, name, at_us AS sent_us,
           sending_domain, coalesce(mailbox_provider, told) AS mailbox_provider
    FROM (FROM mail_events WHERE is_send UNION ALL FROM delivered)
      LEFT JOIN told USING (customer_id)
  ), signs AS (
    SELECT row_number() OVER () AS sign, customer_id, name, at_us, known_us
    FROM mail_events WHERE NOT is_send AND NOT is_delivery
  ), named AS (
    -- A campaign's id can repeat: the sign is of its send last before it, a clock's hour allowed.
    SELECT sign, mail, known_us FROM signs ASOF JOIN sends
      ON signs.customer_id = sends.customer_id AND signs.name = sends.name
         AND signs.at_us + $slack >= sends.sent_us
  ), unnamed AS (
    SELECT mail, known_us
    FROM (SELECT * FROM signs ANTI JOIN named USING (sign)) AS signs ASOF JOIN sends
      ON signs.customer_id = sends.customer_id AND signs.at_us >= sends.sent_us
    WHERE signs.at_us - sends.sent_us <= $within
  ), seen AS (
    SELECT mail, min(known_us) AS seen_us
    FROM (SELECT mail, known_us FROM named UNION ALL FROM unnamed) GROUP BY mail
  )
  SELECT customer_id, message_id, sent_us, sending_domain, mailbox_provider, seen_us
  FROM sends LEFT JOIN seen USING (mail)
"""
