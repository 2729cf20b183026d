"""Microsoft SNDS: what Outlook.com and Hotmail saw of each sending IP, as CSV without a header.

The key is part of each URL; it is never logged and never part of an error.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Final

import httpx
from pydantic import SecretStr

from feature_repo.deliverability.declaration import SendingIps
from feature_repo.deliverability.errors import SourceRefused, SourceUnavailable
from feature_repo.deliverability.patience import PatientClient
from feature_repo.deliverability.reading import Reading, Taken, Unusable, Why, count, plausible_day

SOURCE: Final = "snds"
MAILBOX_PROVIDER: Final = "microsoft"
ROOT: Final = "https://sendersupport.olc.protection.outlook.com/snds/"

COLUMNS: Final = (
    "ip_address", "activity_start", "activity_end", "rcpt_commands", "data_commands",
    "message_recipients", "filter_result", "complaint_rate", "trap_message_start",
    "trap_message_end", "traphits", "sample_helo", "sample_mailfrom", "comments",
)  # fmt: skip
_NEEDED: Final = COLUMNS.index("traphits") + 1

_COLOURS: Final = {"GREEN": 0.0, "YELLOW": 1.0, "RED": 2.0}
_US_TIMES: Final = ("%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M", "%m/%d/%Y")
_NUMBER: Final = r"(\d+(?:\.\d+)?)\s*%?"
_BELOW: Final = re.compile(rf"<=?\s*{_NUMBER}")
_ABOVE: Final = re.compile(rf">=?\s*{_NUMBER}")
_BETWEEN: Final = re.compile(rf"{_NUMBER}\s*(?:-|–|to)\s*{_NUMBER}")
_EXACT: Final = re.compile(_NUMBER)


class Snds:
    """Asks SNDS for the days of a key."""

    def __init__(self, client: PatientClient, key: SecretStr, ips: SendingIps) -> None:
        self._client = client
        self._key = key
        self._ips = ips

    def pull(self, days: Sequence[date], today: date) -> Iterator[Taken]:
        """What is told of each day, and which sending IPs are blocked `today`.

        Raises:
            SourceUnavailable: Microsoft does not answer; what came before is good.
            SourceRefused: the key is not taken.
        """
        for day in days:
            text = self._ask("data.aspx", {"date": f"{day:%m%d%y}"})
            yield parse_data(text, self._ips, today)
        yield parse_blocks(self._ask("ipStatus.aspx", {}), self._ips, today)

    def _ask(self, page: str, asked: dict[str, str]) -> str:
        params = {"key": self._key.get_secret_value(), **asked}
        response = self._client.send(lambda: httpx.Request("GET", ROOT + page, params=params))
        if response.status_code == 204:
            return ""
        if response.status_code != 200:
            message = (
                f"SNDS answered {page} with status {response.status_code}. Make the key in "
                "FORESEND_SNDS_KEY anew under SNDS, Automated Data Access."
            )
            raise SourceRefused(message, response.status_code)
        text = response.text.removeprefix("\ufeff")
        # A key that is not taken can be answered with a page for people.
        if text.lstrip()[:1] == "<":
            message = f"SNDS answered {page} with a web page instead of CSV. Is the key right?"
            raise SourceUnavailable(message)
        return text


def parse_data(text: str, ips: SendingIps, today: date) -> Taken:
    """The readings in the CSV of data.aspx; bad rows are rejected one by one."""
    taken = Taken()
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = _cells(line)
            if any(row):
                taken.readings += _readings(row, ips, today)
        except Unusable as exc:
            taken.rejects.append(exc.at(f"row {number}"))
    return taken


def _cells(line: str) -> list[str]:
    """The cells of a line.

    Raises:
        Unusable: it is no line of CSV.
    """
    try:
        return [cell.strip() for row in csv.reader([line]) for cell in row]
    except csv.Error as exc:
        raise Unusable(Why.BAD_ROW, f"it is no CSV ({exc})") from None


def parse_blocks(text: str, ips: SendingIps, today: date) -> Taken:
    """Whether each declared IP or network is blocked `today`: `snds_blocked`, 1.0 or 0.0.

    Rows of ipStatus.aspx: first IP, last IP, Yes or No, details.
    """
    taken, ranges = Taken(), []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            cells = _cells(line)
        except Unusable as exc:
            taken.rejects.append(exc.at(f"row {number}"))
            continue
        if not any(cells):
            continue
        if len(cells) < 3 or not _is_range(cells):
            taken.rejects.append(Unusable(Why.BAD_ROW, "it is no range of IPs").at(f"row {number}"))
        elif cells[2].lower() in {"yes", "true"}:
            ranges.append((_number(cells[0]), _number(cells[1])))
    for network, name in ips.networks:
        first, last = int(network.network_address), int(network.broadcast_address)
        is_blocked = network.version == 4 and any(
            begin <= last and first <= end for begin, end in ranges
        )
        taken.readings.append(_reading(name, today, "snds_blocked", str(network), is_blocked))
    return taken


def middle_of_band(text: str) -> float | None:
    """A complaint rate as a share: the middle of a band, the edge of an open one.

    >>> middle_of_band("< 0.1%"), middle_of_band("0.2% - 0.4%"), middle_of_band("> 2%")
    (0.0005, 0.003, 0.02)

    Raises:
        Unusable: it is no rate.
    """
    written = text.strip()
    if not written:
        return None
    if found := _BELOW.fullmatch(written):
        percent = float(found[1]) / 2.0
    elif found := _BETWEEN.fullmatch(written):
        percent = (float(found[1]) + float(found[2])) / 2.0
    elif found := _ABOVE.fullmatch(written) or _EXACT.fullmatch(written):
        percent = float(found[1])
    else:
        raise Unusable(Why.BAD_BAND, f"{written[:40]!r} is no complaint rate")
    if percent > 100.0:
        raise Unusable(Why.BAD_BAND, f"{written[:40]!r} is more than all")
    # In decimal, so that 0.05 % is 0.0005 and not its neighbour.
    return round(percent / 100.0, 9)


def us_day(text: str) -> date:
    """The day of a time as Microsoft writes it: month first.

    >>> us_day("12/31/2019 10:00 AM").isoformat()
    '2019-12-31'

    Raises:
        Unusable: it is no such time.
    """
    for form in _US_TIMES:
        try:
            return datetime.strptime(text.strip(), form).date()  # noqa: DTZ007
        except ValueError:
            continue
    raise Unusable(Why.BAD_DAY, f"{text[:40]!r} is no day like 12/31/2019")


def last_days(today: date, days: int) -> list[date]:
    """The days before `today`, oldest first."""
    return [today - timedelta(days=back) for back in range(days, 0, -1)]


def _readings(row: Sequence[str], ips: SendingIps, today: date) -> Iterator[Reading]:
    if len(row) < _NEEDED:
        raise Unusable(Why.BAD_ROW, f"{len(row)} cells; data.aspx has {len(COLUMNS)}")
    told = dict(zip(COLUMNS, (cell.strip() for cell in row), strict=False))
    ip = told["ip_address"]
    name = ips.domain_of(ip)
    if name is None:
        detail = f"{ip[:45]} belongs to no domain; add it to deliverability.sending_ips"
        raise Unusable(Why.UNMAPPED_IP, detail)
    day = plausible_day(us_day(told["activity_start"]), today)
    colour = _COLOURS.get(told["filter_result"].upper())
    if colour is None:
        raise Unusable(
            Why.BAD_COLOUR, f"{told['filter_result'][:20]!r} is not GREEN, YELLOW or RED"
        )
    recipients = count(told["message_recipients"])
    rate = middle_of_band(told["complaint_rate"])
    traps = count(told["traphits"] or "0")
    yield _reading(name, day, "snds_filter_result", ip, colour)
    yield _reading(name, day, "snds_complaint_rate", ip, rate, recipients)
    yield _reading(name, day, "snds_traphits", ip, traps)
    yield _reading(name, day, "snds_message_recipients", ip, recipients)


def _reading(
    name: str, day: date, metric: str, part: str, value: float | None, n: float | None = None
) -> Reading:
    return Reading(
        sending_domain=name,
        mailbox_provider=MAILBOX_PROVIDER,
        day=day,
        metric=metric,
        part=part,
        value=None if value is None else float(value),
        n=n,
    )


def _is_range(cells: Sequence[str]) -> bool:
    return _number(cells[0]) >= 0 and _number(cells[1]) >= _number(cells[0])


def _number(ip: str) -> int:
    """An IPv4 address as a number, -1 when it is none."""
    parts = ip.split(".")
    if len(parts) != 4 or not all(part.isdigit() and int(part) < 256 for part in parts):
        return -1
    return sum(int(part) << shift for part, shift in zip(parts, (24, 16, 8, 0), strict=True))
