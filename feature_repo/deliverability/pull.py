"""`pull`: ask the sources that can be asked, and keep what they say of the last days."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Final

import httpx

from feature_repo.config import load_config
from feature_repo.deliverability import postmaster, snds
from feature_repo.deliverability.declaration import declaration
from feature_repo.deliverability.errors import SourceRefused, SourceUnavailable
from feature_repo.deliverability.patience import Pace, Patience, PatientClient, TokenBucket
from feature_repo.deliverability.postmaster import Postmaster
from feature_repo.deliverability.reading import Reject, Taken, to_table
from feature_repo.deliverability.readings import Readings
from feature_repo.deliverability.settings import (
    PostmasterSettings,
    load_postmaster_settings,
    load_snds_settings,
)
from feature_repo.deliverability.state import SourceState, read_states, write_states
from feature_repo.deliverability.tokens import (
    Grant,
    RefreshToken,
    ServiceAccount,
    Tokens,
    read_service_account,
)
from feature_repo.errors import ConfigError
from feature_repo.settings import Settings
from feature_repo.sole import only_one

SOURCES: Final = ("postmaster", "snds")
"""Those that can be asked."""

_BURST: Final = 5
Progress = Callable[[str, int, int | None], None]


@dataclass(slots=True, kw_only=True)
class Pulled:
    """What asking one source gave."""

    source: str
    #: done, waiting (it asked to be left alone), failed.
    outcome: str = "done"
    readings: int = 0
    added: int = 0
    rejects: list[Reject] = field(default_factory=list)
    message: str | None = None

    @property
    def rejected(self) -> dict[str, int]:
        """Number of rejects by reason."""
        return dict(Counter(str(reject.reason) for reject in self.rejects).most_common())


def real_pace() -> Pace:
    """Waiting that takes time."""
    return Pace(
        monotonic=time.monotonic,
        sleep=time.sleep,
        chance=random.random,
        clock=lambda: datetime.now(UTC),
    )


def configured() -> list[str]:
    """The sources with credentials."""
    is_set = {"postmaster": load_postmaster_settings().is_set, "snds": load_snds_settings().is_set}
    return [source for source in SOURCES if is_set[source]]


def pull(
    settings: Settings,
    sources: Sequence[str],
    *,
    pace: Pace,
    progress: Progress,
    transport: httpx.BaseTransport | None = None,
) -> list[Pulled]:
    """Ask the sources, one after the other. One that fails does not stop the next.

    What was told before a failure is kept. A source that asked to be left alone is, until then.

    Raises:
        ConfigError: a setting cannot be used.
        StoreUnavailable: another pull is running.
    """
    asked = {source: _asker(source, settings, pace, transport) for source in sources}
    done = []
    with only_one(settings, "deliverability-pull"):
        for source in sources:
            done.append(_pull_one(settings, source, asked[source], pace, progress))
    return done


Asker = Callable[[date, int], Iterator[Taken]]
"""Asks as of a day; the number is of days that were missed since the last answer."""

_MOST_MISSED_DAYS: Final = 53
"""Sources keep some two months or more."""


def _pull_one(
    settings: Settings, source: str, ask: Asker, pace: Pace, progress: Progress
) -> Pulled:
    now = pace.clock()
    before = read_states(settings).get(source, SourceState())
    pulled = Pulled(source=source)
    if before.retry_at is not None and now < before.retry_at:
        pulled.outcome = "waiting"
        pulled.message = f"It asked to be left alone until {before.retry_at:%Y-%m-%d %H:%M} UTC."
        return pulled
    retry_at = None
    try:
        parts = ask(now.date(), _missed_days(before, now))
        _take_all(settings, pulled, parts, pace.clock, progress)
    except SourceUnavailable as exc:
        pulled.outcome, pulled.message, retry_at = "failed", str(exc), exc.retry_at
    except SourceRefused as exc:
        pulled.outcome, pulled.message = "failed", str(exc)
    is_done = pulled.outcome == "done"
    state = SourceState(
        tried_at=now,
        succeeded_at=now if is_done else before.succeeded_at,
        failure=pulled.message,
        retry_at=retry_at,
    )
    write_states(settings, {**read_states(settings), source: state})
    return pulled


def _known(now: datetime, day: date) -> datetime:
    return now


def _missed_days(before: SourceState, now: datetime) -> int:
    """Days since the last answer beyond the one that is usual."""
    if before.succeeded_at is None:
        return 0
    return min(max((now.date() - before.succeeded_at.date()).days - 1, 0), _MOST_MISSED_DAYS)


def _take_all(
    settings: Settings,
    pulled: Pulled,
    parts: Iterator[Taken],
    clock: Callable[[], datetime],
    progress: Progress,
) -> None:
    store = Readings(settings.deliverability_path / "readings")
    for number, taken in enumerate(parts):
        progress(f"asking {pulled.source}", number + 1, None)
        pulled.rejects += taken.rejects
        pulled.readings += len(taken.readings)
        if taken.readings:
            # A pull takes minutes: what came after a midnight was not known before it.
            now = clock()
            rows = to_table(
                taken.readings,
                source=pulled.source,
                known_at=partial(_known, now),
                raw_ref=f"pull:{now:%Y-%m-%dT%H:%M:%SZ}",
            )
            pulled.added += store.append(rows)


def _asker(
    source: str, settings: Settings, pace: Pace, transport: httpx.BaseTransport | None
) -> Asker:
    if source == "postmaster":
        return _postmaster_asker(load_postmaster_settings(), pace, transport)
    if source != "snds":
        message = f"--source {source!r} cannot be asked; use {' or '.join(SOURCES)}."
        raise ConfigError(message)
    return _snds_asker(settings, pace, transport)


def _postmaster_asker(
    limits: PostmasterSettings, pace: Pace, transport: httpx.BaseTransport | None
) -> Asker:
    grant = _grant(limits)

    def ask(today: date, missed: int) -> Iterator[Taken]:
        asked = limits.model_copy(update={"repull_days": limits.repull_days + missed})
        with _client("Postmaster Tools", limits.timeout_s, limits.requests_per_s, pace,
                     transport) as client:  # fmt: skip
            tokens = Tokens(grant, client, clock=pace.clock)
            for answered in Postmaster(client, tokens, asked).pull(today):
                yield answered.taken

    return ask


def _snds_asker(settings: Settings, pace: Pace, transport: httpx.BaseTransport | None) -> Asker:
    limits = load_snds_settings()
    if limits.key is None:
        message = "FORESEND_SNDS_KEY is not set. Make a key under SNDS, Automated Data Access."
        raise ConfigError(message)
    key = limits.key
    ips = declaration(load_config(settings)).sending_ips
    if not ips.networks:
        message = (
            "SNDS tells of IPs, and no domain is declared for any. Add to foresend.yaml: "
            "deliverability: {sending_ips: {192.0.2.10: news.example}}."
        )
        raise ConfigError(message)

    def ask(today: date, missed: int) -> Iterator[Taken]:
        with _client("SNDS", limits.timeout_s, limits.requests_per_s, pace, transport) as client:
            days = snds.last_days(today, limits.repull_days + missed)
            yield from snds.Snds(client, key, ips).pull(days, today)

    return ask


@contextmanager
def _client(
    name: str,
    timeout_s: float,
    requests_per_s: float,
    pace: Pace,
    transport: httpx.BaseTransport | None,
) -> Iterator[PatientClient]:
    with httpx.Client(timeout=timeout_s, transport=transport, follow_redirects=False) as http:
        bucket = TokenBucket(requests_per_s, _BURST, pace)
        yield PatientClient(name, http, bucket=bucket, patience=Patience(), pace=pace)


def _grant(limits: PostmasterSettings) -> Grant:
    if limits.service_account is not None:
        scopes = [postmaster.READING_SCOPE]
        if not limits.domains:
            scopes.append(postmaster.LISTING_SCOPE)
        key = read_service_account(limits.service_account)
        return ServiceAccount(key, scopes, limits.subject)
    needed: Mapping[str, object] = {
        "CLIENT_ID": limits.client_id,
        "CLIENT_SECRET": limits.client_secret,
        "REFRESH_TOKEN": limits.refresh_token,
    }
    missing = [f"FORESEND_POSTMASTER_{name}" for name, value in needed.items() if value is None]
    if limits.client_id is None or limits.client_secret is None or limits.refresh_token is None:
        message = (
            f"Postmaster Tools needs {', '.join(missing)}, or FORESEND_POSTMASTER_SERVICE_ACCOUNT "
            "with the key file of a service account (docs/deliverability.md)."
        )
        raise ConfigError(message)
    return RefreshToken(
        limits.client_id,
        limits.client_secret.get_secret_value(),
        limits.refresh_token.get_secret_value(),
    )
