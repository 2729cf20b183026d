from __future__ import annotations

import pytest
from typer.testing import CliRunner

from infra.cli import build_app

COMMANDS = [
    ["up"],
    ["status"],
    ["demo"],
    ["import"],
    ["features", "build"],
    ["features", "load"],
    ["train"],
    ["weekly"],
    ["scheduler"],
    ["schedule", "list"],
    ["schedule", "history"],
    ["schedule", "run"],
    ["audit"],
    ["placement", "show"],
    ["deliverability", "pull"],
    ["deliverability", "import"],
    ["deliverability", "status"],
    ["deliverability", "mailboxes"],
    ["models", "rollback"],
    ["models", "history"],
    ["models", "list"],
    ["models", "promote"],
    ["tiers", "propose"],
    ["tiers", "show"],
    ["tiers", "approve"],
    ["tiers", "reject"],
    ["serve"],
    ["worker"],
    ["routing", "show"],
    ["routing", "explain"],
    ["connectors", "check"],
    ["connectors", "dry-run"],
    ["connectors", "run"],
    ["connectors", "dead", "list"],
    ["connectors", "dead", "replay"],
    ["keys", "add"],
    ["keys", "list"],
    ["keys", "revoke"],
    ["report", "drift"],
    ["log", "compact"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(words: list[str]) -> None:
    result = CliRunner().invoke(build_app(), [*words, "--help"])

    assert result.exit_code == 0
    assert "Usage" in result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(build_app(), ["nosuch"]).exit_code == 2
