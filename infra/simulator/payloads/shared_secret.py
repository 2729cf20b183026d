"""Credentials of services that sign nothing: what was entered with the address of the webhook."""

from __future__ import annotations

import base64


def credentials(secret: str | None) -> dict[str, str]:
    """Headers that carry `user:password`, or a token.

    >>> credentials("token")
    {'Authorization': 'Bearer token'}
    >>> credentials(None)
    {}
    """
    if secret is None:
        return {}
    if ":" in secret:
        return {"Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
    return {"Authorization": f"Bearer {secret}"}
