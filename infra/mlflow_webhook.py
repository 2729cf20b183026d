"""Tells MLflow to ring at a server of ours when an alias or an approval moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from mlflow.entities.webhook import Webhook
from mlflow.exceptions import MlflowException

from feature_repo.errors import StoreUnavailable, UnusableInput
from training.registry import Registry

NAME: Final = "foresend"
PATH: Final = "/v1/hooks/mlflow"
EVENTS: Final = (
    "model_version_alias.created",
    "model_version_alias.deleted",
    # Approved tiers are tags of their version.
    "model_version_tag.set",
    "model_version_tag.deleted",
)


@dataclass(frozen=True, slots=True)
class Hooked:
    """A webhook as it now is."""

    webhook_id: str
    url: str
    was_there: bool


def complete(url: str) -> str:
    """The address of the doorbell at a server whose address may be given without the path.

    >>> complete("https://scores.example:8443")
    'https://scores.example:8443/v1/hooks/mlflow'

    Raises:
        UnusableInput: it is no http or https address.
    """
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.hostname:
        message = f"{url!r} is no address of a server; write https://HOST:PORT."
        raise UnusableInput(message)
    return split._replace(path=PATH).geturl() if split.path in ("", "/") else url


def ensure(registry: Registry, url: str, secret: str) -> Hooked:
    """Make MLflow's webhook to this address, or give the one there is this secret.

    Raises:
        UnusableInput: there is no MLflow server, or it may not send there.
        StoreUnavailable: MLflow does not answer, or cannot read its webhooks.
    """
    if not registry.uri.startswith(("http://", "https://")):
        message = (
            f"MLflow at {registry.uri} is no server, and only a server rings. Start it with "
            "`foresend up`, or set FORESEND_MLFLOW_URI to its http:// address."
        )
        raise UnusableInput(message)
    wanted: dict[str, Any] = {"events": list(EVENTS), "secret": secret, "status": "ACTIVE"}
    there = next((hook for hook in _hooks(registry) if hook.url == url), None)
    try:
        if there is not None:
            registry.client.update_webhook(there.webhook_id, **wanted)
            return Hooked(there.webhook_id, url, was_there=True)
        made = registry.client.create_webhook(NAME, url, **wanted)
    except MlflowException as exc:
        message = (
            f"MLflow refuses to ring at {url}: {exc}. It only calls https addresses that are "
            "public, unless its server has MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https and "
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true in its environment."
        )
        raise UnusableInput(message) from exc
    return Hooked(str(made.webhook_id), url, was_there=False)


def try_out(registry: Registry, hooked: Hooked) -> str | None:
    """Let MLflow deliver once now; what went wrong, None when it was answered well.

    Raises:
        StoreUnavailable: MLflow does not answer.
    """
    with registry.answering():
        result = registry.client.test_webhook(hooked.webhook_id, EVENTS[0])
    if result.success:
        return None
    return f"HTTP {result.response_status}" if result.response_status else str(result.error_message)


def _hooks(registry: Registry) -> list[Webhook]:
    found: list[Webhook] = []
    token: str | None = None
    try:
        while True:
            page = registry.client.list_webhooks(page_token=token)
            found += page
            token = page.token
            if not token:
                return found
    except MlflowException as exc:
        message = (
            f"MLflow at {registry.uri} cannot list its webhooks: {exc}. With several workers its "
            "server needs MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY, the same for all and for ever "
            "(docs/promotion.md)."
        )
        raise StoreUnavailable(message) from exc
