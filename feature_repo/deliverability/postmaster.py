"""Google Postmaster Tools v2, over HTTP: the domains, their daily numbers, their compliance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx

from feature_repo.deliverability.compliance import snapshot
from feature_repo.deliverability.errors import SourceRefused, SourceUnavailable
from feature_repo.deliverability.patience import PatientClient
from feature_repo.deliverability.postmaster_metrics import (
    FEEDBACK_LOOP_IDS,
    METRICS,
    Metric,
    domain_of_name,
    feedback_loop,
    loops_of,
    missing,
    readings_of,
)
from feature_repo.deliverability.reading import Reject, Taken, Unusable, Why, domain
from feature_repo.deliverability.settings import PostmasterSettings
from feature_repo.deliverability.tokens import Tokens
from feature_repo.errors import ConfigError

ROOT: Final = "https://gmailpostmastertools.googleapis.com/"
LARGEST_PAGE: Final = 200
LISTING_SCOPE: Final = "https://www.googleapis.com/auth/postmaster.domain"
READING_SCOPE: Final = "https://www.googleapis.com/auth/postmaster.traffic.readonly"

_MOST_PAGES: Final = 1_000
_LOOPS_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class Answered:
    """What Google told of one domain."""

    sending_domain: str
    taken: Taken


class Postmaster:
    """Asks for what `settings` say, with an access token per request."""

    def __init__(self, client: PatientClient, tokens: Tokens, settings: PostmasterSettings) -> None:
        self._client = client
        self._tokens = tokens
        self._settings = settings

    def pull(self, today: date) -> Iterator[Answered]:
        """Domain by domain, what is known of the last days before `today` (a UTC day).

        A domain that Google will not tell about is a reject; the others go on.

        Raises:
            SourceUnavailable: Google does not answer; what came before is good.
            SourceRefused: the credentials are not taken.
        """
        names, refused = self._domains()
        if refused:
            yield Answered("", Taken(rejects=refused))
        days = [today - timedelta(days=back) for back in range(self._settings.repull_days, 0, -1)]
        for name in names:
            yield Answered(name, self._told_of(name, days, today))

    def domains(self) -> Iterator[Mapping[str, Any]]:
        """The domains of the account, as Google lists them."""
        yield from self._pages("GET", "v2/domains", {"pageSize": LARGEST_PAGE}, "domains")

    def query(
        self, sending_domain: str, metrics: Sequence[Metric], days: Sequence[date]
    ) -> Iterator[object]:
        """The `domainStats` of consecutive days, page after page, in Google's order."""
        asked = {
            "metricDefinitions": [metric.definition() for metric in metrics],
            "timeQuery": {
                "dateRanges": {"dateRanges": [{"start": _date(days[0]), "end": _date(days[-1])}]}
            },
            "aggregationGranularity": "DAILY",
            "pageSize": LARGEST_PAGE,
        }
        path = f"v2/domains/{quote(sending_domain, safe='')}/domainStats:query"
        yield from self._pages("POST", path, asked, "domainStats")

    def _domains(self) -> tuple[list[str], list[Reject]]:
        """Names to ask about, and those that cannot be."""
        if self._settings.domains:
            return [_declared(name) for name in self._settings.domains], []
        names, refused = [], []
        for told in self.domains():
            try:
                name = domain_of_name(told.get("name"))
            except Unusable as exc:
                refused.append(exc.at("domains.list"))
                continue
            if told.get("verificationState") == "UNVERIFIED":
                detail = "Google shows numbers of verified domains only; verify it there"
                refused.append(Reject(name, Why.UNVERIFIED, detail))
            else:
                names.append(name)
        return names, refused

    def _told_of(self, name: str, days: Sequence[date], today: date) -> Taken:
        return _unless_refused(name, lambda: self._domain(name, days, today))

    def _domain(self, name: str, days: Sequence[date], today: date) -> Taken:
        taken = readings_of(
            name, self.query(name, METRICS, days), {m.name: m for m in METRICS}, today
        )
        if not taken.rejects:
            # A number that could not be read is not missing: it withdraws none that is known.
            taken.readings += missing(name, taken.readings, METRICS, days)
        # What else can be asked must not cost the numbers themselves.
        if self._settings.feedback_loops:
            taken.add(_unless_refused(name, lambda: self._loops(name, days, today)))
        if self._settings.compliance:
            taken.add(_unless_refused(name, lambda: self._compliance(name, today)))
        return taken

    def _compliance(self, name: str, today: date) -> Taken:
        path = f"v2/domains/{quote(name, safe='')}/complianceStatus"
        return snapshot(name, self._json("GET", path, {}), today)

    def _loops(self, name: str, days: Sequence[date], today: date) -> Taken:
        found = loops_of(self.query(name, [FEEDBACK_LOOP_IDS], days))
        metrics = [feedback_loop(number, loop) for number, loop in enumerate(found)]
        taken = Taken()
        for start in range(0, len(metrics), _LOOPS_AT_ONCE):
            part = metrics[start : start + _LOOPS_AT_ONCE]
            stats = self.query(name, part, days)
            taken.add(readings_of(name, stats, {m.name: m for m in part}, today))
        return taken

    def _pages(self, method: str, path: str, asked: Mapping[str, Any], key: str) -> Iterator[Any]:
        token: str | None = None
        for _ in range(_MOST_PAGES):
            page = dict(asked) if token is None else {**asked, "pageToken": token}
            told = self._json(method, path, page)
            listed = told.get(key, [])
            if not isinstance(listed, list):
                raise _garbled(path)
            yield from listed
            following = told.get("nextPageToken")
            if not following:
                return
            if following == token:
                break
            token = str(following)
        message = f"Postmaster Tools gives no end of pages of {path}. Pull again later."
        raise SourceUnavailable(message)

    def _json(self, method: str, path: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        response = self._send(method, path, asked)
        if response.status_code == 401:
            # Tokens can end early; once more with a new one.
            self._tokens.forget()
            response = self._send(method, path, asked)
        if response.status_code != 200:
            raise _refused(response, path)
        try:
            told = response.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise _garbled(path)
        return told

    def _send(self, method: str, path: str, asked: Mapping[str, Any]) -> httpx.Response:
        def request() -> httpx.Request:
            headers = {"authorization": f"Bearer {self._tokens.current()}"}
            if method == "GET":
                return httpx.Request(method, ROOT + path, params=dict(asked), headers=headers)
            return httpx.Request(method, ROOT + path, json=dict(asked), headers=headers)

        return self._client.send(request)


def _declared(name: str) -> str:
    try:
        return domain(name)
    except Unusable as exc:
        message = f"FORESEND_POSTMASTER_DOMAINS has {exc}; write domains with commas."
        raise ConfigError(message) from exc


def _unless_refused(name: str, ask: Callable[[], Taken]) -> Taken:
    """What is told, or the reject of a domain that Google will not tell about to this account.

    Raises:
        SourceRefused: it is the account that is refused, for every domain.
    """
    try:
        return ask()
    except SourceRefused as exc:
        if exc.status == 401:
            raise
        return Taken(rejects=[Reject(name, Why.REFUSED, str(exc))])


def _date(day: date) -> dict[str, int]:
    return {"year": day.year, "month": day.month, "day": day.day}


def _garbled(path: str) -> SourceUnavailable:
    message = f"Postmaster Tools answered {path} with something that is not its form."
    return SourceUnavailable(message)


def _refused(response: httpx.Response, path: str) -> SourceRefused:
    status = response.status_code
    cure = {
        401: "The credentials in FORESEND_POSTMASTER_* are not taken.",
        403: "Add the account as a user of the domain in Postmaster Tools, and enable the API "
        "gmailpostmastertools.googleapis.com in its project.",
        404: "Postmaster Tools does not know the domain for this account.",
    }.get(status, "Report it: Foresend asked for something that Google does not take.")
    return SourceRefused(f"Postmaster Tools answered {path} with status {status}. {cure}", status)
