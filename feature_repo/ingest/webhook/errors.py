"""Every way a delivery of a provider can be refused; everything else is kept, event by event.

* UnusableInput
  x UnreadableBody          the body can never be read: 400
* ForesendError
  x AuthenticationFailed    no valid signature or secret: 401
  x UnknownProvider         no provider of this name: 404
* StoreUnavailable
  x VerificationUnavailable the provider's certificate cannot be had now: 503
"""

from __future__ import annotations

from feature_repo.errors import ForesendError, StoreUnavailable, UnusableInput


class AuthenticationFailed(ForesendError):
    """A delivery has no valid signature, secret or key. Never says what would have been valid."""


class UnknownProvider(ForesendError):
    """There is no provider of this name."""


class UnreadableBody(UnusableInput):
    """A body is not what the provider sends, and sending it again would not help."""


class VerificationUnavailable(StoreUnavailable):
    """What is needed to check a signature cannot be had now; sending again later may help."""
