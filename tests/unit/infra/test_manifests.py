"""The ways without our scheduler run commands that exist, and know their exit codes."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from infra.cli import build_app
from training.weekly.state import Status

INFRA = Path(__file__).parents[3] / "infra"
UNITS = sorted((INFRA / "systemd").glob("*.service"))
MANIFESTS = sorted((INFRA / "k8s").glob("*.yaml"))


def containers(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, dict):
        found = node.get("containers", [])
        return [*found, *(each for value in node.values() for each in containers(value))]
    return []


def assert_a_command(words: list[str]) -> None:
    assert words[0].rpartition("/")[2] == "foresend"
    # Options are read before --help is answered.
    assert CliRunner().invoke(build_app(), [*words[1:], "--help"]).exit_code == 0


def unit(path: Path) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.read(path)
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_of_ours(path: Path) -> None:
    assert_a_command(unit(path)["Service"]["ExecStart"].split())


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_runs_a_command_of_ours(path: Path) -> None:
    (container,) = containers(yaml.safe_load(path.read_text()))

    assert_a_command(container["command"])


def test_answers_are_not_tried_again_and_a_gate_is_no_failure_of_the_timer() -> None:
    job = yaml.safe_load((INFRA / "k8s" / "weekly-cronjob.yaml").read_text())
    rules = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    answers = {Status.LEAK, Status.GATE, Status.NOT_READY}

    assert set(rules[0]["onExitCodes"]["values"]) == {each.exit_code for each in answers}
    weekly = unit(INFRA / "systemd" / "foresend-weekly.service")
    assert weekly["Service"]["SuccessExitStatus"] == str(Status.GATE.exit_code)
