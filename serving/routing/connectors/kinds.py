"""From the settings of a connector to the connector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from feature_repo.deliverability.patience import Pace
from feature_repo.errors import ConfigError
from serving.routing.connectors import listmonk, mautic, sendgrid
from serving.routing.connectors.directory import directory_of
from serving.routing.connectors.fields import fields_of
from serving.routing.connectors.files import FORMATS, Files
from serving.routing.connectors.http import (
    Caller,
    Credentials,
    FixedHeaders,
    bucket_of,
    open_http,
)
from serving.routing.connectors.oauth import ClientCredentials
from serving.routing.connectors.port import Connector
from serving.routing.connectors.settings import ConnectorSettings, Part
from serving.routing.connectors.webhook import Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What connectors are made with beside their settings."""

    pace: Pace
    #: Folder that relative ones are in.
    home: Path
    #: In place of the network, for tests.
    transport: httpx.BaseTransport | None = None


def open_connector(settings: ConnectorSettings, means: Means) -> Connector:
    """The connector; nobody is asked anything yet.

    Raises:
        ConfigError: a setting cannot be used, or a secret is not in the environment.
    """
    return _OPENERS[settings.kind](settings, means)


def _mautic(settings: ConnectorSettings, means: Means) -> Connector:
    part, url = settings.part, settings.part.url()
    http = open_http(settings.timeout_s, means.transport)
    credentials: Credentials
    if part.has("client_id_env"):
        credentials = ClientCredentials(
            http,
            f"{url}/oauth/v2/token",
            part.secret("client_id_env"),
            part.secret("client_secret_env"),
            means.pace.clock,
        )
    else:
        headers = mautic.basic(part.secret("user_env"), part.secret("password_env"))
        credentials = FixedHeaders(headers)
    made = mautic.Mautic(
        _caller(http, credentials, settings, means), url, fields_of(part), settings.batch
    )
    made.directory = directory_of(part, made.find, monotonic=means.pace.monotonic, default="id")
    return made


def _sendgrid(settings: ConnectorSettings, means: Means) -> Connector:
    part = settings.part
    headers = {"Authorization": f"Bearer {part.secret('token_env')}"}
    contact = part.part("contact", ("by", "field", "path"), {})
    identifier = contact.text("field", "external_id")
    if identifier not in sendgrid.IDENTIFIERS:
        message = (
            f"{contact.where}.field has value {identifier!r}; "
            f"use one of {', '.join(sendgrid.IDENTIFIERS)}."
        )
        raise ConfigError(message)
    made = sendgrid.SendGrid(
        _caller(_http(settings, means), FixedHeaders(headers), settings, means),
        part.url(default=sendgrid.URL),
        fields_of(part),
        settings.batch,
        identifier=identifier,
        monotonic=means.pace.monotonic,
    )
    made.directory = directory_of(part, None, monotonic=means.pace.monotonic, default="id")
    return made


def _listmonk(settings: ConnectorSettings, means: Means) -> Connector:
    part = settings.part
    headers = mautic.basic(part.secret("user_env"), part.secret("token_env"))
    made = listmonk.Listmonk(
        _caller(_http(settings, means), FixedHeaders(headers), settings, means),
        part.url(),
        fields_of(part),
        settings.batch,
    )
    listmonk.column_of(part.part("contact", ("by", "field", "path"), {}).text("field", "email"))
    made.directory = directory_of(
        part, made.find, monotonic=means.pace.monotonic, default="field", default_field="email"
    )
    return made


def _webhook(settings: ConnectorSettings, means: Means) -> Connector:
    part = settings.part
    keys = ("secret_env", *(["previous_secret_env"] if part.has("previous_secret_env") else []))
    return Webhook(
        _caller(_http(settings, means), FixedHeaders({}), settings, means),
        part.url(),
        [part.secret(key) for key in keys],
        settings.batch,
        clock=means.pace.clock,
    )


def _files(settings: ConnectorSettings, means: Means) -> Connector:
    part: Part = settings.part
    (kind, *more) = part.names("format", FORMATS, ("csv",))
    if more:
        message = f"{part.where}.format names {1 + len(more)} formats; use one."
        raise ConfigError(message)
    folder = means.home / part.text("folder", f"outbox/{settings.name}")
    return Files(folder, kind, settings.name, settings.batch, clock=means.pace.clock)


def _http(settings: ConnectorSettings, means: Means) -> httpx.Client:
    return open_http(settings.timeout_s, means.transport)


def _caller(
    http: httpx.Client, credentials: Credentials, settings: ConnectorSettings, means: Means
) -> Caller:
    bucket = bucket_of(settings.rate_per_s, means.pace)
    return Caller(http, credentials, bucket=bucket, clock=means.pace.clock)


_OPENERS: dict[str, Callable[[ConnectorSettings, Means], Connector]] = {
    "mautic": _mautic,
    "sendgrid": _sendgrid,
    "listmonk": _listmonk,
    "webhook": _webhook,
    "files": _files,
}
