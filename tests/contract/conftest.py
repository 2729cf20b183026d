"""The contract tests use the application over fakes, as the unit tests do."""

from tests.unit.serving.conftest import world as world
