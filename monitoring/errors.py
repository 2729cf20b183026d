"""What can go wrong while watching; see feature_repo.errors for the root.

* ForesendError
  x NotReady
    x NoChampion         no model version of the target is released
    x NoLaunchProfile    the champion was registered without what it is compared with
    x NoPredictions      the window has nothing to compare
  x StoreUnavailable     MLflow does not answer
  x ReportNotWritten     Evidently could not draw; the verdict stands without it
"""

from __future__ import annotations

from feature_repo.errors import ForesendError, NotReady


class NoChampion(NotReady):
    """No model version of the target is released."""


class NoLaunchProfile(NotReady):
    """The champion was registered without what later windows are compared with."""


class NoPredictions(NotReady):
    """The window holds no prediction of the target."""


class ReportNotWritten(ForesendError):
    """Evidently could not draw the report."""
