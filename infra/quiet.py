"""Keeps warnings that libraries mean for developers off the screen."""

from __future__ import annotations

import logging
import sys


def quieten_libraries() -> None:
    """Send warnings to a logger nobody listens to; `python -W` shows them all the same.

    By logger, because Feast sets its own filters whenever it is imported.
    """
    if not sys.warnoptions:
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").addHandler(logging.NullHandler())
