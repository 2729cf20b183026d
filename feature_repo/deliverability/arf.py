"""Complaints as mailbox providers report them: ARF (RFC 5965), one mail per complaint.

A complaint is a reading of its own (part: a digest of the report), so that counts add up over
files and a report that comes twice counts once. Where the customer can be recovered, it is also a
`complained` event. Neither an address nor anything else of the mail is kept.
"""

from __future__ import annotations

import hashlib
import mailbox
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import Header
from email.message import Message
from email.parser import BytesParser
from email.utils import parseaddr, parsedate_to_datetime
from typing import Final

from feature_repo.deliverability.declaration import Complaints
from feature_repo.deliverability.mailbox_families import OTHER, family_of_reporter
from feature_repo.deliverability.reading import Reading, Unusable, Why, count, domain, plausible_day
from feature_repo.ingest.webhook.customers import LONGEST, address_digest
from feature_repo.ingest.webhook.mailboxes import family_of_address
from feature_repo.ingest.webhook.redaction import is_address

SOURCE: Final = "arf"
#: Kinds of feedback by which a person said that they do not want the mail (RFC 5965, 7.3).
COMPLAINING: Final = ("abuse", "fraud", "opt-out", "opt-out-list")

_FAULTS: Final = (
    *(MessageError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError),
    RecursionError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One report: its reading, and the customer if there is one."""

    reading: Reading
    #: When the provider reported it, aware UTC.
    reported_at: datetime
    #: Our id of who complained, None when it cannot be recovered.
    customer_id: str | None
    #: Message-ID of the mail, without its brackets.
    message_id: str | None
    kind: str

    @property
    def event_id(self) -> str:
        """Equal for reports of one person about one mail."""
        about = self.message_id or self.reading.part
        digest = hashlib.sha256(f"{self.customer_id}\n{about}".encode()).hexdigest()
        return f"arf:{digest[:32]}"


def split_mails(raw: bytes) -> Iterator[bytes]:
    """The mails of a file: an mbox holds several."""
    if not raw.startswith(b"From "):
        yield raw
        return
    with tempfile.NamedTemporaryFile(suffix=".mbox") as file:
        file.write(raw)
        file.flush()
        box = mailbox.mbox(file.name, create=False)
        try:
            for key in box.iterkeys():
                yield box.get_bytes(key)
        finally:
            box.close()


def parse(
    raw: bytes, declared: Complaints, identities: Mapping[str, str], now: datetime
) -> Complaint:
    """The complaint in a mail; `identities` gives customers by the digest of their address.

    Raises:
        Unusable: it is no feedback report, or says too little.
    """
    try:
        return _parse(raw, declared, identities, now)
    except Unusable:
        raise
    except _FAULTS as exc:
        detail = f"the mail cannot be taken apart ({type(exc).__name__})"
        raise Unusable(Why.BAD_REPORT, detail) from None


def _parse(
    raw: bytes, declared: Complaints, identities: Mapping[str, str], now: datetime
) -> Complaint:
    report = BytesParser().parsebytes(raw)
    feedback, original = _parts(report)
    kind = _text(feedback, "feedback-type").lower()
    if kind not in COMPLAINING:
        raise Unusable(Why.NO_COMPLAINT, f"Feedback-Type is {kind[:40]!r}")
    reported_at = _time(_text(report, "date")) or _time(_text(feedback, "arrival-date")) or now
    sent_at = (
        _time(_text(original, "date"))
        or _time(_text(feedback, "arrival-date"))
        or _time(_text(feedback, "received-date"))
        or reported_at
    )
    # The clock of whoever wrote the mail may be ahead; nobody complains of what is to come.
    reported_at = min(reported_at, now)
    reading = Reading(
        sending_domain=_sending_domain(feedback, original),
        mailbox_provider=_mailbox_provider(report, feedback, original),
        day=plausible_day(min(sent_at, reported_at).date(), now.date()),
        metric="complaints",
        part=hashlib.sha256(raw).hexdigest()[:16],
        value=count(_text(feedback, "incidents") or "1"),
    )
    return Complaint(
        reading=reading,
        reported_at=reported_at,
        customer_id=_customer(feedback, original, declared, identities),
        message_id=_text(original, "message-id").strip("<> ")[:LONGEST] or None,
        kind=kind,
    )


def _parts(report: Message) -> tuple[Message, Message]:
    """The fields of the report, and the headers of the mail it is about (maybe empty)."""
    feedback, original = None, Message()
    for part in report.walk():
        kind = part.get_content_type()
        payload = part.get_payload()
        if kind == "message/feedback-report":
            # Parsed as a mail without body; given as text when it was not.
            nested = payload[0] if isinstance(payload, list) and payload else None
            feedback = nested if isinstance(nested, Message) else _fields(part)
        elif kind == "message/rfc822" and isinstance(payload, list) and payload:
            original = payload[0] if isinstance(payload[0], Message) else original
        elif kind == "text/rfc822-headers":
            original = _fields(part)
    if feedback is None:
        raise Unusable(Why.NOT_ARF, "it has no part message/feedback-report")
    return feedback, original


def _fields(part: Message) -> Message:
    decoded = part.get_payload(decode=True)
    return BytesParser().parsebytes(
        decoded if isinstance(decoded, bytes) else b"", headersonly=True
    )


def _sending_domain(feedback: Message, original: Message) -> str:
    """The domain of From, as in events; else what the report names."""
    candidates = (
        _domain_part(_text(original, "from")),
        _text(feedback, "reported-domain"),
        _domain_part(_text(feedback, "original-mail-from")),
    )
    for candidate in candidates:
        if candidate:
            return domain(candidate)
    raise Unusable(Why.BAD_DOMAIN, "neither From nor Reported-Domain is there")


def _mailbox_provider(report: Message, feedback: Message, original: Message) -> str:
    """By the recipient's domain, which stays when the rest is redacted (RFC 6590)."""
    for address in (_text(feedback, "original-rcpt-to"), _text(original, "to")):
        family = family_of_address(parseaddr(address)[1])
        if family is not None:
            return family
    sender = parseaddr(_text(report, "from"))[1]
    return family_of_reporter("", sender) if sender else OTHER


def _customer(
    feedback: Message, original: Message, declared: Complaints, identities: Mapping[str, str]
) -> str | None:
    """By our header, else VERP, else the installation's table of addresses."""
    own = _text(original, declared.customer_header).strip()
    if not own and declared.verp is not None:
        sender = _text(feedback, "original-mail-from") or _text(original, "return-path")
        match = declared.verp.search(sender)
        own = (match["customer"] or "").strip() if match else ""
    if own and not is_address(own):
        return own[:LONGEST]
    address = own or parseaddr(_text(feedback, "original-rcpt-to"))[1]
    # No stand-in made of the address: a redacted one would make a customer that nobody is.
    return identities.get(address_digest(address)) if is_address(address) else None


def _text(message: Message, name: str) -> str:
    value: str | Header | None = message.get(name)
    return "" if value is None else " ".join(str(value).split())


def _domain_part(address: str) -> str:
    return parseaddr(address)[1].rpartition("@")[2]


def _time(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
