"""`foresend deliverability import`: files of seed lists, reports and kept answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    files: Annotated[
        list[Path], typer.Argument(help="Files, or folders of them.", show_default=False)
    ],
    form: Annotated[str, typer.Option(help="seed_list, postmaster, snds, dmarc or arf.")],
    mapping: Annotated[
        str | None,
        typer.Option(
            help="Columns of a seed list: a YAML file, or seed_list, seed_counts; default: "
            "the one of these that fits."
        ),
    ] = None,
    sending_domain: Annotated[
        str | None, typer.Option(help="Sending domain of a seed list that does not name it.")
    ] = None,
    known_at: Annotated[
        str,
        typer.Option(
            help="When the numbers were known: now, or day+DELAY for history, e.g. day+2d after "
            "the beginning of the day the mail was sent."
        ),
    ] = "now",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Add the readings of FILES, and set aside with its reason what cannot become one.

    Importing the same files again adds nothing. With --form arf, a complaint whose customer is
    known also becomes a `complained` event.
    """
    from datetime import UTC, datetime

    from feature_repo.deliverability.importing import import_readings
    from feature_repo.deliverability.reading import parse_known_at
    from feature_repo.settings import load_settings
    from infra.deliverability_view import print_imported
    from infra.import_view import progress_bar

    now = datetime.now(UTC)
    with progress_bar() as progress:
        done = import_readings(
            load_settings(),
            files,
            form,
            known_at=parse_known_at(known_at, now),
            now=now,
            progress=progress,
            mapping=mapping,
            sending_domain=sending_domain,
        )
    print_imported(done, as_json=as_json)
