"""How much each decision counts: silence about mail that was not seen is no answer.

A positive counts 1: what happened, happened. A negative of an e-mail target (one decision per sent
message; events that only a mail can cause) counts p(m), the chance that its message reached the
inbox (feature_repo/deliverability/messages.py), and at least LEAST_WEIGHT. For an `absent` target
that counts opens or clicks, a decision is left out when mail was sent in (T, T + horizon] and less
than SEEN_MAILS of it was seen in expectation: that customer did not leave, we were not heard.

Labels may know later than features do, so the newest estimates and all that was known at the
reading's `as_of` count here, whatever the decision's own time. Nothing after `as_of` does: the
same log, estimates and `as_of` give the same weights.
"""

from __future__ import annotations

from typing import Final

from feature_repo.deliverability.estimates import read_estimates
from feature_repo.deliverability.known_mails import make_mails
from feature_repo.deliverability.mail import SEEN
from feature_repo.deliverability.messages import make_mail_p
from feature_repo.settings import Settings
from feature_repo.targets import HUMAN_ONLY, Spine, Target
from training.reading import Reading
from training.spine import to_us_delta

LEAST_WEIGHT: Final = 0.02
"""Weight of a negative whose mail was surely not seen. Above 0, as a dataset's weights are, and so
small that 50 of them count like one answer."""

SEEN_MAILS: Final = 0.3
"""Expected seen mails in the horizon below which silence says nothing about a customer."""


def make_weights(settings: Settings, reading: Reading) -> int:
    """Make the table `weights` (position, weight) from `spine` and `labels`.

    A decision without a row in `weights` is left out; returns how many are. Every weight is
    exactly 1.0 when no cell was impaired.
    """
    con = reading.con
    con.execute(_EQUAL_SQL)
    weighted, dropped = _is_weighted(reading.target), _is_dropped(reading.target)
    if not (weighted or dropped) or not _make_cells(settings, reading):
        return 0
    make_mails(con, reading.snapshot, reading.as_of)
    make_mail_p(con, known_us=reading.as_of_us)
    if weighted:
        con.execute(_WEIGHTED_SQL, {"least": LEAST_WEIGHT})
        return 0
    horizon = to_us_delta(reading.target.horizon)
    con.execute(_DROPPED_SQL, {"horizon": horizon, "seen": SEEN_MAILS})
    ((left_out,),) = con.execute(
        "SELECT (SELECT count(*) FROM spine) - (SELECT count(*) FROM weights)"
    ).fetchall()
    return int(left_out)


def _is_weighted(target: Target) -> bool:
    """Whether each decision is about one mail, and a mail alone can bring its event about."""
    by_mail = set(SEEN).issuperset(target.events)
    return target.spine is Spine.SENT and by_mail and not target.absent


def _is_dropped(target: Target) -> bool:
    """Whether silence is the answer, and mail that nobody saw would look like it."""
    return target.absent and bool(set(HUMAN_ONLY) & set(target.events))


def _make_cells(settings: Settings, reading: Reading) -> bool:
    """Make the table `cells` of the estimates; whether any was impaired as known at `as_of`."""
    con = reading.con
    con.register("estimates", read_estimates(settings))
    con.execute("CREATE OR REPLACE TEMP TABLE cells AS SELECT * FROM estimates")
    con.unregister("estimates")
    ((impaired,),) = con.execute(_IMPAIRED_SQL, [reading.as_of_us]).fetchall()
    return bool(impaired)


_IMPAIRED_SQL: Final = """
SELECT bool_or(is_impaired) FROM cells WHERE epoch_us(published_day::TIMESTAMP) <= ?
"""


_EQUAL_SQL: Final = """
CREATE OR REPLACE TEMP TABLE weights AS SELECT position, 1.0::DOUBLE AS weight FROM spine
"""

# Sends alike in all three columns are one mail as far as anybody can tell.
_WEIGHTED_SQL: Final = """
CREATE OR REPLACE TEMP TABLE weights AS
  WITH doubtful AS (
    SELECT customer_id, message_id, sent_us, min(p) AS p
    FROM mail_p WHERE p < 1 GROUP BY customer_id, message_id, sent_us
  )
  SELECT position,
         CASE WHEN label = 1 THEN 1.0::DOUBLE ELSE greatest($least, coalesce(p, 1.0)) END AS weight
  FROM spine JOIN labels USING (position) LEFT JOIN doubtful
    ON spine.customer_id = doubtful.customer_id AND spine.at_us = doubtful.sent_us
       AND spine.message_id IS NOT DISTINCT FROM doubtful.message_id
"""

# Sums of p up to a time, so that a horizon is the difference of two: a range join of decisions and
# mails would grow with the mails in the horizon. Sums are differences of floats, hence the slack.
_DROPPED_SQL: Final = """
CREATE OR REPLACE TEMP TABLE weights AS
  WITH doubtful AS (
    SELECT DISTINCT customer_id FROM mail_p WHERE p < 1
  ), running AS (
    SELECT customer_id, sent_us,
           count(*) OVER until_then AS mails, sum(p) OVER until_then AS seen
    FROM mail_p SEMI JOIN doubtful USING (customer_id)
    WINDOW until_then AS (PARTITION BY customer_id ORDER BY sent_us)
  ), starts AS (
    SELECT position, mails, seen FROM spine ASOF JOIN running
      ON spine.customer_id = running.customer_id AND spine.at_us >= running.sent_us
  ), ends AS (
    SELECT position, mails, seen FROM spine ASOF JOIN running
      ON spine.customer_id = running.customer_id AND spine.at_us + $horizon >= running.sent_us
  ), unseen AS (
    SELECT position
    FROM ends LEFT JOIN starts USING (position)
    WHERE ends.mails > coalesce(starts.mails, 0)
      AND ends.seen - coalesce(starts.seen, 0) < $seen - 1e-9
  )
  SELECT position, 1.0::DOUBLE AS weight FROM spine ANTI JOIN unseen USING (position)
"""
