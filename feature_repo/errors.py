"""Every way this package can fail for its user.

* ForesendError
  x ConfigError          a setting or declaration cannot be used
  x UnusableInput        a file or request body can never be read
  x StoreUnavailable     Redis, the event log or the registry does not answer
    x QueueFull          the queue takes no more until its consumers have caught up
  x NotReady             a step that must come first has not run

A message says what failed, with which value, and what to do about it.
"""

from __future__ import annotations


class ForesendError(Exception):
    """Root of the errors that are shown to a user as one sentence; `exit_code` is for the CLI."""

    exit_code = 2


class ConfigError(ForesendError):
    """A setting or declaration cannot be used."""


class UnusableInput(ForesendError):
    """A file can never be read as what it was said to be."""


class StoreUnavailable(ForesendError):
    """A store that is needed does not answer."""


class NotReady(ForesendError):
    """A step that must come first has not run."""


class QueueFull(StoreUnavailable):
    """The queue takes no more until its consumers have caught up."""
