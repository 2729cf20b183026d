"""Facts as routing reads them from the features."""

from __future__ import annotations

import numpy as np

from feature_repo import naming
from serving.routing.facts import _silent_days

NAN = float("nan")


def test_days_in_which_mail_was_not_seen_are_no_silence_even_if_there_never_was_an_open() -> None:
    columns = {naming.UNSEEN_DAYS: np.array([170.0, NAN, 170.0, 900.0])}
    read = {
        naming.hours_since("open"): np.array([NAN, NAN, 240.0, NAN]),
        naming.hours_since("click"): np.array([NAN, NAN, NAN, NAN]),
        "tenure_days": np.array([200.0, 200.0, 200.0, 200.0]),
    }

    found = _silent_days(columns, read)

    # `hours_since` runs on the exposure clock already.
    np.testing.assert_array_equal(found, [30.0, 200.0, 10.0, 0.0])
