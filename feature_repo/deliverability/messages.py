"""How likely each mail reached its inbox, in hindsight: `p(m)`, from its cell and from silence.

    p(m) = 1                                       it left a trace: a person saw it (`mail.SEEN`)
                                                   or Apple fetched it, as it does in the inbox
    p(m) = 1                                       its cell is not impaired: benefit of the doubt
    p(m) = theta (1-q) / (theta (1-q) + 1-theta)   else: Bayes' rule after observing silence

theta is the cell's posterior mean chance of the inbox. q is the chance that a mail of this person
leaves a trace when it is in the inbox: the share that did of their earlier mail in cells that were
not impaired, with HABIT_WEIGHT mails at the cell's own rate added. A reader's silence says more
than a sleeper's. The same rule, midnight by midnight as known then, makes the view
`customer_placement` (history/placement_table.py).

`make_mail_p(con, known_us=K)` works on two tables of the connection and makes a third:

    mails   customer_id, message_id, sent_us, sending_domain, mailbox_provider, seen_us
            One row per sent mail, times in epoch microseconds. `seen_us`: when a trace of it
            became known (received_time), null when never. Other columns are kept.
    cells   sending_domain, mailbox_provider, day, published_day, p_inbox, is_impaired, seen_rate
            The estimates (deliverability/estimates.py), every publication.
    mail_p  the rows and columns of `mails`, and: day (date), is_impaired, theta (1.0 where not
            impaired), q (null where it was not needed), p (double in [0, 1], never null)

All is as known at K: of a cell's day the newest publication whose midnight is not after K counts,
of `seen_us` those not after K. With no impaired cell every p is exactly 1.0.
"""

from __future__ import annotations

from typing import Final

import duckdb

HABIT_WEIGHT: Final = 5.0
"""Weight of the cell's rate of traces against a person's own, in mails."""


def probability(theta: float, q: float) -> float:
    """Chance that a mail without a trace is in the inbox: Bayes' rule after silence.

    >>> probability(0.5, 0.0), round(probability(0.05, 0.5), 4)
    (0.5, 0.0256)
    """
    silent = theta * (1 - q)
    return silent / (silent + 1 - theta)


def make_mail_p(con: duckdb.DuckDBPyConnection, *, known_us: int) -> None:
    """Make the temporary table `mail_p` of `mails` and `cells`, as known at `known_us`."""
    con.execute(_PLACED_SQL, {"known": known_us})
    con.execute(_MAIL_P_SQL, {"weight": HABIT_WEIGHT})


_PLACED_SQL: Final = """
CREATE OR REPLACE TEMP TABLE placed_mails AS
  WITH newest AS (
    SELECT sending_domain, mailbox_provider, day,
           arg_max(p_inbox, published_day) AS p_inbox,
           arg_max(is_impaired, published_day) AS is_doubtful,
           arg_max(seen_rate, published_day) AS seen_rate
    FROM cells
    WHERE epoch_us(published_day::TIMESTAMP) <= $known
    GROUP BY sending_domain, mailbox_provider, day
  )
  SELECT mails.*, make_timestamp(mails.sent_us)::DATE AS day,
         coalesce(is_doubtful, false) AS is_impaired,
         CASE WHEN is_doubtful THEN p_inbox ELSE 1.0 END AS theta, seen_rate,
         coalesce(seen_us <= $known, false) AS is_seen
  FROM mails LEFT JOIN newest
    ON mails.sending_domain = newest.sending_domain
       AND mails.mailbox_provider = newest.mailbox_provider
       AND make_timestamp(mails.sent_us)::DATE = newest.day
"""

# Only silent mail in impaired cells needs q, so only such people's earlier mail is counted. A
# day's own mail never counts toward the q of that day: it has had no time to be seen.
_MAIL_P_SQL: Final = """
CREATE OR REPLACE TEMP TABLE mail_p AS
  WITH asked AS (
    SELECT DISTINCT customer_id, day FROM placed_mails WHERE is_impaired AND NOT is_seen
  ), own AS (
    SELECT asked.customer_id, asked.day, count(*) AS mails, count_if(is_seen) AS seen
    FROM asked JOIN placed_mails AS earlier
      ON earlier.customer_id = asked.customer_id AND earlier.day < asked.day
         AND NOT earlier.is_impaired
    GROUP BY asked.customer_id, asked.day
  ), judged AS (
    SELECT placed_mails.*,
           CASE WHEN is_impaired AND NOT is_seen THEN
             (coalesce(own.seen, 0) + $weight * seen_rate) / (coalesce(own.mails, 0) + $weight)
           END AS q
    FROM placed_mails LEFT JOIN own
      ON own.customer_id = placed_mails.customer_id AND own.day = placed_mails.day
  )
  SELECT * EXCLUDE (is_seen, seen_rate),
         CASE WHEN is_seen OR NOT is_impaired THEN 1.0::DOUBLE
              ELSE theta * (1 - q) / (theta * (1 - q) + 1 - theta) END AS p
  FROM judged
"""
