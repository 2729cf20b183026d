"""The composition root: settings become ports, ports an application, and a socket serves it."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from fastapi import FastAPI

from feature_repo.api_keys import KeyFile, keys_path
from feature_repo.deliverability.mailbox_cache import use_known_mailboxes
from feature_repo.errors import ConfigError
from feature_repo.ingest.app import IngestPorts, create_app
from feature_repo.ingest.backpressure import Pressure
from feature_repo.ingest.confirmation import Confirmations
from feature_repo.ingest.drift.ledger import Ledger
from feature_repo.ingest.drift.metrics import DriftMetrics
from feature_repo.ingest.drift.quarantine import Quarantine
from feature_repo.ingest.mapper import Mapper, MapperPorts
from feature_repo.ingest.metrics import Metrics
from feature_repo.ingest.raw.cursors import Cursors
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.settings import IngestSettings, load_ingest_settings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhook.certificates import fetch_url
from feature_repo.ingest.webhooks import Webhooks
from feature_repo.listening import Manners, freeze_heap, is_loopback, listen, run
from feature_repo.logs import configure_logs
from feature_repo.settings import Settings
from feature_repo.stream.queue import open_queue

log = structlog.get_logger()


def serve(settings: Settings, *, host: str, port: int, insecure_local: bool) -> None:
    """Take deliveries until SIGTERM or SIGINT, then finish what runs and return.

    Raises:
        ConfigError: a setting, the address or the key file cannot be used.
        StoreUnavailable: no queue is known.
    """
    if insecure_local and not is_loopback(host):
        message = (
            f"--insecure-local takes deliveries that nobody signed, so it listens on loopback "
            f"only, not on {host!r}. Leave it out and set the providers' secrets."
        )
        raise ConfigError(message)
    configure_logs()
    limits = load_ingest_settings()
    use_known_mailboxes(settings)
    app = open_app(settings, limits, insecure_local=insecure_local)
    listening = listen(host, port)
    address = listening.getsockname()
    log.info("listening", host=address[0], port=address[1], checks=not insecure_local)
    # The mapper has as long again to finish what has landed.
    manners = Manners(shutdown_s=limits.shutdown_s, flush_s=limits.shutdown_s + 8.0)
    run(app, listening, manners, stopping=app.state.health.stop)


def open_app(settings: Settings, limits: IngestSettings, *, insecure_local: bool) -> FastAPI:
    """The application over this installation's files and queue."""
    keys_file = limits.canonical_keys or keys_path(settings)
    changes = {"insecure_local": True} if insecure_local else {"canonical_keys": keys_file}
    limits = limits.model_copy(update=changes)
    metrics = Metrics()
    drift_metrics = DriftMetrics(metrics.registry)
    ledger = Ledger(settings, metrics=drift_metrics)
    quarantine = Quarantine(settings, metrics=drift_metrics)
    queue = open_queue(settings)
    inbound = Webhooks(limits, Catalog.load(settings.mappings_path), ledger, clock=_now)
    store = _open_store(settings, limits, metrics)
    ports = MapperPorts(
        store=store,
        cursors=Cursors(settings.state_path / "raw"),
        inbound=inbound,
        queue=queue,
        quarantine=quarantine,
        metrics=metrics.mapper,
        clock=_now,
    )
    mapper = Mapper(ports, limits)

    def close() -> None:
        queue.close()
        ledger.close()
        quarantine.close()

    return create_app(
        IngestPorts(
            inbound=inbound,
            store=store,
            mapper=mapper,
            pressure=Pressure(queue, store.folder, mapper.backlog_bytes, limits, metrics),
            confirmations=Confirmations(limits.ses_topic_arns, fetch_url),
            keys=None if limits.insecure_local else KeyFile(keys_file),
            metrics=metrics,
            clock=_now,
            close=close,
        ),
        limits,
        settled=freeze_heap,
    )


def _open_store(settings: Settings, limits: IngestSettings, metrics: Metrics) -> RawStore:
    try:
        settings.raw_path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        message = f"The raw store's folder {settings.raw_path} cannot be made: {exc.strerror}."
        raise ConfigError(message) from exc
    return RawStore(
        settings.raw_path,
        segment_bytes=limits.segment_bytes,
        segment_age_s=limits.segment_age_s,
        window_s=limits.sync_window_s,
        clock=_now,
        measure=metrics.raw.committed,
    )


def _now() -> datetime:
    return datetime.now(UTC)
