"""`foresend quarantine replay`: what fits by now becomes events."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only what failed for this reason.")] = None,
    entry_id: Annotated[str | None, typer.Option("--id", help="Only this entry.")] = None,
    again: Annotated[
        bool,
        typer.Option(help="Those that were replayed before, for a queue that has lost them."),
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would happen.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Map quarantined events by the present mappings and put those that fit into the queue.

    Repeating it is harmless. What still does not fit stays, with its newest reason.
    """
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from feature_repo.ingest.drift.desk import open_desk
    from feature_repo.ingest.drift.quarantine import Status
    from feature_repo.ingest.drift.replay import ReplayPorts, replay
    from feature_repo.ingest.settings import load_ingest_settings
    from feature_repo.settings import load_settings
    from feature_repo.stream.queue import open_queue

    settings = load_settings()
    status = Status.REPLAYED if again else Status.OPEN
    queue = None if dry_run else open_queue(settings)
    publisher = None if queue is None else queue.publisher("quarantine")
    with open_desk(settings, load_ingest_settings()) as desk:
        ports = ReplayPorts(
            quarantine=desk.quarantine,
            store=desk.store,
            publisher=publisher,
            settings=desk.ingest,
            catalog=desk.catalog,
            clock=lambda: datetime.now(UTC),
        )
        entries = desk.quarantine.entries(
            provider=provider, reason=reason, id=entry_id, status=status
        )
        done = replay(entries, ports)
        left = desk.quarantine.count()
    if publisher is not None and queue is not None:
        publisher.close()
        queue.close()
    verb = "would be" if dry_run else "were"
    typer.echo(
        f"{done.tried:,} entries tried: {done.published:,} events {verb} published, "
        f"{done.ignored:,} are no events for us, {sum(done.failed.values()):,} still do not fit."
    )
    for name, count in sorted(done.failed.items()):
        typer.echo(f"  {count:,} {name}")
    typer.echo(f"{left:,} are left in quarantine.")
    if as_json:
        typer.echo(json.dumps({**asdict(done), "dry_run": dry_run, "left": left}))
