"""Mail that came back: fetch → classify → match → record → act.

What follows from a mail is written in the same transaction as the mail, so a reading that is killed at any
moment is simply done again. Hard bounces, opt-outs and complaints with our token refuse what has not left;
everything else only waits for a person (matching.py). Nothing changes in the mailbox.
Raises MailboxError, ServerError, LedgerError.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import getaddresses
from typing import Any, Protocol

from outreach import alternates, classify, inbound, mailbox
from outreach.archive import Archive
from outreach.classify import Answer
from outreach.inbound import Inbound
from outreach.ledger import Delivery, Ledger, Suppression
from outreach.matching import Matcher, is_feedback, key_of
from outreach.model import ANSWERS, Came
from outreach.received import NewMail, Received

_FAR = 86400.0  # seconds that a mail may be dated ahead of its arrival
_VOLATILE = re.compile(  # headers that a mail gets or loses while it lies somewhere
    rb"(?im)^(?:status|x-status|x-uid|x-keywords|x-mozilla-\S+|content-length|lines|return-path|delivered-to"
    rb"|x-original-to|x-imap\S*|x-gmail-labels):[^\n]*\n(?:[ \t][^\n]*\n)*"
)
_MOST_WORDS = 300  # of a server, in a refusal
_MOST_NOTES = 1_000  # of one reading


class Mailbox(Protocol):
    """Where mail is read: mailbox.py has the kinds."""

    def batches(
        self, known: Callable[[str], Any], since: float = 0.0
    ) -> Iterator[mailbox.Batch]: ...  # pragma: no cover


@dataclass(slots=True)
class Summary:
    """What a reading came to."""

    counts: Counter[Came] = field(default_factory=Counter)
    again: int = 0  # mails that were known already
    matched: int = 0
    pending: int = 0
    notes: list[str] = field(default_factory=list)  # what followed, in words

    @property
    def new(self) -> int:
        """How many mails were new."""
        return self.counts.total()


# Reading ----------------------------------------------------------------------------------------


def sync(
    ledger: Ledger,
    box: Mailbox,
    source: str,
    observe: Callable[[Summary], None] = lambda summary: None,
    everything: bool = False,
) -> Summary:
    """Read what is new in a mailbox, and act on it.

    Of a mail account, mail from before the first mailing is passed over, unless `everything` is asked for.
    """
    received, matcher, summary = Received(ledger), Matcher(ledger), Summary()
    started = time.time()
    with ledger.transaction():
        received.begin_reading(source, started)
    mailings = ledger.mailings()
    matcher.prepare()
    since = min((one.created_at for one in mailings), default=0.0)
    known = (lambda place: ()) if everything else received.bookmarks
    for batch in box.batches(known, 0.0 if everything else since):
        found = [] if batch.sent else _understood(batch, source, received, matcher, summary)
        with ledger.transaction():
            for new, mail, answer in found:
                _record(ledger, received, matcher, new, mail, answer, summary)
            for one in batch.mails if batch.sent else ():
                _note_written(received, inbound.read(one.raw), one.at)
            received.add_bookmarks(batch.place, batch.bookmarks)
        observe(summary)
    with ledger.transaction():
        received.end_reading(source, started)
    return summary


def fail(ledger: Ledger, source: str, words: str) -> None:
    """Note that a source could not be read, for whoever looks at the ledger."""
    with ledger.transaction():
        Received(ledger).begin_reading(source, time.time(), words)


def _understood(
    batch: mailbox.Batch, source: str, received: Received, matcher: Matcher, summary: Summary
) -> list[tuple[NewMail, Inbound, Answer]]:
    """Return the mails of a batch that the ledger does not have; outside a transaction, as it takes time."""
    mails = [(one, inbound.read(one.raw)) for one in batch.mails]
    digests = [digest(mail) for _, mail in mails]
    known = received.known(digests)
    found = []
    for (one, mail), name in zip(mails, digests, strict=True):
        if name in known:
            summary.again += 1
            continue
        known.add(name)
        answer = classify.of(mail)
        if matcher.is_ours(mail, answer):
            continue
        found.append((_new(name, one, mail, answer, source), mail, answer))
    return found


def _new(name: str, one: mailbox.Mail, mail: Inbound, answer: Answer, source: str) -> NewMail:
    written = mail.date.timestamp() if mail.date else 0.0
    now = time.time()
    at = one.at or written or now
    if source.startswith(("eml:", "mbox:")) and 0 < written < now + _FAR:
        at = written  # when a file was saved says nothing
    return NewMail(
        digest=name,
        source=source,
        place=one.where,
        at=at,
        kind=answer.kind,
        evidence=answer.evidence,
        language=answer.language,
        sender=answer.sender,
        name=_name(mail),
        subject=answer.subject,
        message_id=_message_id(mail),
        returns=answer.returns.isoformat() if answer.returns else None,
        reports=[
            {**row, "final": one.final or None}
            for row, one in zip(classify.document("", answer)["bounces"], answer.bounces, strict=True)
        ],
        text=answer.text,
        raw=one.raw,
    )


def digest(mail: Inbound) -> str:
    """Return what makes a mail this mail, wherever it lies and whatever happened to its headers there."""
    raw = mail.raw.replace(b"\r\n", b"\n")
    head, _, body = raw.partition(b"\n\n")
    names = ("message-id", "from", "date", "subject", "in-reply-to")
    if mail.get("message-id"):
        head = "\n".join(" ".join(mail.get(name).split()) for name in names).encode("utf-8", "replace")
    else:
        head = _VOLATILE.sub(b"", head + b"\n")
    return hashlib.sha256(head + b"\n\n" + body.rstrip()).hexdigest()


def _name(mail: Inbound) -> str:
    nobody: list[tuple[str, str]] = []
    found = inbound.quietly(lambda: getaddresses([mail.get("from")[:1000]]), nobody)
    return next((name for name, _ in found), "")[:200]


def _message_id(mail: Inbound) -> str:
    return "".join(mail.get("message-id").split())[:500]


def _note_written(received: Received, mail: Inbound, at: float) -> None:
    """Keep of a mail of ours that it was sent, and what it answers."""
    if name := _message_id(mail):
        received.add_written(name, "".join(mail.get("in-reply-to").split())[:500], at)


# Acting -----------------------------------------------------------------------------------------


def _record(
    ledger: Ledger,
    received: Received,
    matcher: Matcher,
    new: NewMail,
    mail: Inbound,
    answer: Answer,
    summary: Summary,
) -> None:
    """Keep a mail, and do what follows from it. Runs inside the transaction of its batch."""
    now = time.time()
    number = received.add(new, now)
    if number is None:  # somebody else was quicker
        summary.again += 1
        return
    found = matcher.match(mail, answer)
    acted = ""
    if found.delivery is not None and found.proven:
        sender = "" if is_feedback(mail, new.kind) else new.sender
        act_on = (found.delivery, new.kind, new.reports, sender, number, now)
        acted = act(ledger, matcher.archive, *act_on)
    for key in found.holds:
        received.hold(key, number)
    if found.holds:
        acted = f"held until you decide: {', '.join(found.holds)}"
    delivery = found.delivery.id if found.delivery else None
    pending = found.pending(new.kind)
    received.add_match(number, delivery, found.how, found.reason, acted, pending, now)
    summary.counts[new.kind] += 1
    summary.matched += found.delivery is not None
    summary.pending += pending
    if acted or new.kind in ANSWERS:
        who = found.delivery.contact.email if found.delivery else new.sender or "nobody"
        if len(summary.notes) < _MOST_NOTES:
            summary.notes.append(f"{new.kind}: {who}" + (f" ({acted})" if acted else ""))


def act(
    ledger: Ledger,
    archive: Archive,
    one: Delivery,
    kind: Came,
    reports: Sequence[Any],
    sender: str,
    number: int,
    now: float,
) -> str:
    """Do what follows from a mail about a letter; say what was done. Runs inside a transaction.

    Who asks to stop from another address is refused there as well.
    """
    words = {Came.OPT_OUT: "asked to stop", Came.COMPLAINT: "complained: marked the letter as spam"}
    fatal = [report for report in reports if report["permanent"] and is_about(report, one)]
    dead = kind is Came.BOUNCE and bool(fatal)
    if kind not in words and not dead:
        return ""
    source = f"mail {number}"
    said = " ".join(str(fatal[0].get(name) or "") for name in ("status", "diagnostic")) if dead else ""
    reason = " ".join((words.get(kind) or f"bad mailbox: {said}").split())[:_MOST_WORDS]
    reason = f"{reason} ({source})"
    keys = {one.address, key_of(sender)} if kind is Came.OPT_OUT else {one.address}
    for key in sorted(keys - {""}):
        ledger.suppress([Suppression(key, reason, source, now, dead=dead)], now)
        if not dead:
            ledger.close_refused(None, key, reason, now)
    done = f"nobody writes to {one.contact.email} any more"
    if dead:
        other = alternates.bury(ledger, archive, one, reason, now)
        done += f"; next: {other.contact.email}" if other else ""
    return done


def is_about(report: Any, one: Delivery) -> bool:
    """Tell whether a report is about the recipient of a letter; one that names nobody is."""
    named = report.get("final") or report["recipient"]
    return not named or key_of(named) == one.address
