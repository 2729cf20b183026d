"""The one command, `foresend`: translates words to calls, and errors to sentences."""

from __future__ import annotations

import errno
import sys
from typing import Final

import typer

from feature_repo.errors import ForesendError
from infra.commands import (
    audience_score,
    audit,
    backfill,
    connectors_check,
    connectors_dead_list,
    connectors_dead_replay,
    connectors_dry_run,
    connectors_run,
    deliverability_import,
    deliverability_mailboxes,
    deliverability_pull,
    deliverability_status,
    demo,
    drift_observations,
    erase,
    erase_verify,
    features_build,
    features_load,
    importing,
    ingest,
    keys_add,
    keys_list,
    keys_revoke,
    keys_rotate,
    log_compact,
    machines_sweep,
    models_history,
    models_list,
    models_promote,
    models_rollback,
    models_webhook,
    placement_show,
    quarantine_accept,
    quarantine_list,
    quarantine_replay,
    quarantine_show,
    quarantine_suggest,
    queue_dead,
    queue_replay,
    queue_status,
    report_drift,
    routing_explain,
    routing_show,
    schedule_history,
    schedule_list,
    schedule_run,
    scheduler,
    serve,
    simulate,
    status,
    tiers_approve,
    tiers_propose,
    tiers_reject,
    tiers_show,
    train,
    up,
    weekly,
    worker,
)
from infra.quiet import quieten_libraries

_REFUSALS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True)


def _add_quarantine(app: typer.Typer) -> None:
    group = _group("Events that did not fit, and what changed in foreign formats.")
    group.command("list")(quarantine_list.command)
    group.command("show")(quarantine_show.command)
    group.command("suggest")(quarantine_suggest.command)
    group.command("accept")(quarantine_accept.command)
    group.command("replay")(quarantine_replay.command)
    group.command("observations")(drift_observations.command)
    app.add_typer(group, name="quarantine")


def _add_schedule(app: typer.Typer) -> None:
    app.command("scheduler")(scheduler.command)
    group = _group("The jobs that the scheduler runs on time.")
    group.command("list")(schedule_list.command)
    group.command("history")(schedule_history.command)
    group.command("run")(schedule_run.command)
    app.add_typer(group, name="schedule")


def _add_deliverability(app: typer.Typer) -> None:
    group = _group("Where mail lands: readings of placement, and their sources.")
    group.command("pull")(deliverability_pull.command)
    group.command("import")(deliverability_import.command)
    group.command("status")(deliverability_status.command)
    group.command("mailboxes")(deliverability_mailboxes.command)
    app.add_typer(group, name="deliverability")
    group = _group("Where mail is estimated to land.")
    group.command("show")(placement_show.command)
    app.add_typer(group, name="placement")


def _audience() -> typer.Typer:
    audience = _group("Score whole segments.")
    audience.command("score")(audience_score.command)
    return audience


def _queue() -> typer.Typer:
    queue = _group("The queue between ingestion and its consumers.")
    queue.command("status")(queue_status.command)
    queue.command("dead")(queue_dead.command)
    queue.command("replay")(queue_replay.command)
    return queue


def _routing() -> typer.Typer:
    routing = _group("What is done about the next message to a customer, and why.")
    routing.command("show")(routing_show.command)
    routing.command("explain")(routing_explain.command)
    return routing


def _connectors() -> typer.Typer:
    connectors = _group("Carry scores and actions into tools.")
    connectors.command("check")(connectors_check.command)
    connectors.command("dry-run")(connectors_dry_run.command)
    connectors.command("run")(connectors_run.command)
    dead = _group("Messages that a tool did not take.")
    dead.command("list")(connectors_dead_list.command)
    dead.command("replay")(connectors_dead_replay.command)
    connectors.add_typer(dead, name="dead")
    return connectors


def _tiers() -> typer.Typer:
    tiers = _group("See, approve and reject the tiers of a version's scores.")
    tiers.command("propose")(tiers_propose.command)
    tiers.command("show")(tiers_show.command)
    tiers.command("approve")(tiers_approve.command)
    tiers.command("reject")(tiers_reject.command)
    return tiers


def build_app() -> typer.Typer:
    """All commands, in the order a new installation needs them."""
    app = typer.Typer(
        name="foresend",
        help="Scores each e-mail customer at the moment a message is about to be sent.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.command("up")(up.command)
    app.command("status")(status.command)
    app.command("demo")(demo.command)
    app.command("import")(importing.command)
    app.command("backfill")(backfill.command)
    features = _group("Build the feature tables and load the online store.")
    features.command("build")(features_build.command)
    features.command("load")(features_load.command)
    app.add_typer(features, name="features")
    app.command("audit")(audit.command)
    app.command("train")(train.command)
    app.command("weekly")(weekly.command)
    models = _group("See and promote registered models.")
    models.command("list")(models_list.command)
    models.command("promote")(models_promote.command)
    models.command("rollback")(models_rollback.command)
    models.command("history")(models_history.command)
    models.command("webhook")(models_webhook.command)
    app.add_typer(models, name="models")
    app.add_typer(_tiers(), name="tiers")
    app.add_typer(_audience(), name="audience")
    app.add_typer(_routing(), name="routing")
    app.add_typer(_connectors(), name="connectors")
    app.command("ingest")(ingest.command)
    app.command("worker")(worker.command)
    _add_schedule(app)
    app.command("simulate")(simulate.command)
    _add_quarantine(app)
    app.add_typer(_queue(), name="queue")
    machines = _group("Opens and clicks that no person made.")
    machines.command("sweep")(machines_sweep.command)
    app.add_typer(machines, name="machines")
    _add_deliverability(app)
    app.command("serve")(serve.command)
    keys = _group("API keys of the scoring API.")
    keys.command("add")(keys_add.command)
    keys.command("list")(keys_list.command)
    keys.command("revoke")(keys_revoke.command)
    keys.command("rotate")(keys_rotate.command)
    app.add_typer(keys, name="keys")
    report = _group("Reports for people and for exit codes.")
    report.command("drift")(report_drift.command)
    app.add_typer(report, name="report")
    app.command("erase")(erase.command)
    app.command("erase-verify")(erase_verify.command)
    log = _group("Care for the event log.")
    log.command("compact")(log_compact.command)
    app.add_typer(log, name="log")
    return app


def main() -> None:
    """Run the command line: 0 done, 2 cannot be used as given, or what the command says."""
    quieten_libraries()
    try:
        build_app()()
    except ForesendError as exc:
        typer.echo(f"foresend: {exc}", err=True)
        sys.exit(exc.exit_code)
    except OSError as exc:
        # The system refused: a full disk, a folder without the right to write. Every command
        # ends in one commit or rename, so what was there before still is.
        if exc.errno not in _REFUSALS:
            raise
        typer.echo(f"foresend: {exc}. Mend that and run the command again.", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
