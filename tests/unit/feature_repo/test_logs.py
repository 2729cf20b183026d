"""What a log line shows of an exception, and what it must not."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from feature_repo.logs import configure_logs


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root, httpx = logging.getLogger(), logging.getLogger("httpx")
    handlers, levels = root.handlers[:], (root.level, httpx.level)
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    httpx.setLevel(levels[1])


def _broken(head: dict[bytes, bytes], body: bytes) -> None:
    raise OverflowError(len(head) + len(body))


@pytest.mark.parametrize("tty", [True, False])
def test_an_exception_is_logged_without_the_values_it_was_about(
    tty: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = b"fsk_" + b"s" * 8
    configure_logs(tty=tty)
    try:
        _broken({b"authorization": secret}, b"ann@" + b"example.com")
    except OverflowError:
        structlog.get_logger().error("broken", exc_info=True)
        logging.getLogger("uvicorn.error").error("broken too", exc_info=True)

    written = capsys.readouterr().err
    assert written.count("OverflowError: ") == 2
    assert "ssssssss" not in written
    assert "ann@example" not in written
