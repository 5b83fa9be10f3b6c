"""What people decide about mail that came back, and about letters: whose it is, what was done for the ask.

A person's word stands for our token: an opt-out or a bounce that nobody could prove acts once it is assigned.
Here too what scripts get of mails, and the promises that are due. Raises UsageError, LedgerError.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterable
from typing import Any

from outreach.archive import Archive
from outreach.errors import UsageError
from outreach.ledger import Delivery, Ledger, Mailing, others
from outreach.matching import Matcher, key_of
from outreach.model import Came, Mark, State
from outreach.received import Mail, Marked, Received, marked_columns
from outreach.replies import act, is_about
from outreach.settings import parse_duration
from outreach.times import iso, when


def find_mail(received: Received, text: str) -> Mail:
    """Return a mail by its number. Raises UsageError."""
    mail = received.mail(int(text)) if text.isdecimal() and len(text) < 15 else None
    if mail is None:
        raise UsageError(f"there is no mail {text}", "outreach replies list")
    return mail


def find_delivery(
    ledger: Ledger, received: Received, mail: str, mailing: Mailing | None, living: bool = True
) -> Delivery:
    """Return the newest letter to an address, of a mailing if one is named.

    `living`: where its mailbox is dead, the letter that stands in for it. Raises UsageError.
    """
    found = received.by_address(key_of(mail))
    found += [
        one
        for one in reversed(received.with_further_addresses())
        if key_of(mail) in map(key_of, others(one.contact))
    ]
    if mailing is not None:
        found = [one for one in found if one.mailing_id == mailing.id]
    arrived = [one for one in found if one.state in (State.SENT, State.UNKNOWN)]
    if one := next(iter(arrived or found), None):
        return ledger.stands_in(one) if living else one
    known = {one.address: one.contact.email for name in ledger.mailings() for one in ledger.deliveries(name)}
    near = difflib.get_close_matches(key_of(mail), known, 1, cutoff=0.8)
    hint = f"did you mean {known[near[0]]}?" if near else "outreach deliveries list"
    where = f"the mailing {mailing.name}" if mailing else "any mailing"
    raise UsageError(f"{mail} has no letter of {where}", hint)


def whose(
    ledger: Ledger, received: Received, text: str, mailing: Mailing | None
) -> tuple[Delivery, Mail | None]:
    """Return the letter that a mark is about, by a mail's number or by an address. Raises UsageError."""
    if not text.isdecimal():
        return find_delivery(ledger, received, text, mailing), None
    mail = find_mail(received, text)
    if mail.delivery_id is None:
        raise UsageError(
            f"nobody knows whose letter mail {mail.id} answers", f"outreach replies assign {mail.id} ADDRESS"
        )
    return ledger.delivery(mail.delivery_id), mail


def day_of(option: str, text: str | None, now: float, past: bool = False) -> datetime.date | None:
    """Read a day like 2027-01-31, or so many days from now (`past`: ago) like 14d. Raises UsageError."""
    if text is None:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip()):
            found = datetime.date.fromisoformat(text.strip())
        else:
            span = parse_duration(text)
            found = datetime.datetime.fromtimestamp(now - span if past else now + span).date()
        if not 1990 <= found.year <= 2200:
            raise ValueError(text)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{option} {text}: is no day", "write it like 2027-01-31, or 14d") from None
    if past and found > datetime.datetime.fromtimestamp(now).date():
        raise UsageError(f"{option} {text}: has not come yet", "a promise has --due")
    return found


def link_of(text: str) -> str:
    """Return a link that can be opened in a browser. Raises UsageError."""
    if text and not re.match(r"https?://[^\s/]", text, re.IGNORECASE):
        raise UsageError(f"--link {text}: is no address of a page", "write it like https://party.example/x")
    return text


def refuse_proven(mail: Mail, one: Delivery | None, yes: bool) -> None:
    """Refuse to overrule what a token proves without a word. Raises UsageError."""
    other = one is None or one.id != mail.delivery_id
    if mail.how == "token" and mail.acted and other and not yes and not mail.pending:
        raise UsageError(
            f"mail {mail.id} acted by {mail.reason}: {mail.acted}",
            "--yes takes that back all the same; outreach replies show says what was written",
        )


def moment(day: datetime.date | None, mail: Mail | None, now: float) -> float:
    """Return when somebody did something: on a day, else when their mail came, else now."""
    if day is not None:
        return min(datetime.datetime.combine(day, datetime.time(12)).timestamp(), now)
    return mail.at if mail else now


def assign(ledger: Ledger, number: int, one: Delivery, now: float) -> str:
    """Say whose letter a mail answers, by a person's word: then it acts as if our token had said so.

    What followed from the mail before is taken back.
    """
    received = Received(ledger)
    with ledger.transaction():
        mail = find_mail(received, str(number))
        _undo(ledger, received, mail, now)
        reports = mail.reports
        if not any(is_about(report, one) for report in reports):
            reports = [{**report, "recipient": one.address, "final": None} for report in reports]
        acted = act(ledger, Archive(ledger), one, mail.kind, reports, mail.sender, mail.id, now)
        received.add_match(mail.id, one.id, "person", "by a person's word", acted, False, now)
    return acted


def dismiss(ledger: Ledger, number: int, now: float) -> list[str]:
    """Say that nothing follows from a mail; return the addresses that are free again."""
    received = Received(ledger)
    with ledger.transaction():
        mail = find_mail(received, str(number))
        freed = _undo(ledger, received, mail, now)
        received.add_match(mail.id, None, "dismissed", "dismissed by a person", "", False, now)
    return freed


def _undo(ledger: Ledger, received: Received, mail: Mail, now: float) -> list[str]:
    """Take back what followed from a mail: holds, refusals, letters that were taken out."""
    freed = received.release(mail.id)
    source = f"mail {mail.id}"
    for one in ledger.list_suppressions():
        if one.source != source or not ledger.take_back(one.value, source):
            continue
        other = _other_mail(ledger, received, mail, one.value)
        if other is not None:  # it stands on that one from now on
            act(ledger, Archive(ledger), other[1], other[0].kind, other[0].reports, "", other[0].id, now)
            continue
        ledger.reopen_refused(one.value, one.reason, now)
        freed.append(one.value)
    return sorted(set(freed))


def _other_mail(ledger: Ledger, received: Received, mail: Mail, key: str) -> tuple[Mail, Delivery] | None:
    """Return another mail that refuses the same address, with its letter."""
    letters = {one.id: one for one in received.by_address(key)}
    for other in received.mails(deliveries=sorted(letters)):
        if other.id != mail.id and other.acted and not other.pending and other.delivery_id is not None:
            return other, letters[other.delivery_id]
    return None


def mark(
    ledger: Ledger,
    one: Delivery,
    mail: Mail | None,
    answer: Mark,
    note: str,
    link: str,
    due: datetime.date | None,
    answered_at: float,
    now: float,
) -> None:
    """Note what a person did for the ask."""
    number = mail.id if mail else None
    ends = due.isoformat() if due else None
    with ledger.transaction():
        Received(ledger).add_mark(Marked(one.id, number, answer, note, link, ends, answered_at, now))


def document(
    ledger: Ledger,
    mails: Iterable[Mail],
    guess: bool = True,
) -> list[dict[str, Any]]:
    """Return what scripts get of mails (`replies list --json`)."""
    received, matcher = Received(ledger), Matcher(ledger)
    marks, names, written = received.marks(), received.mailing_names(), received.answered()
    return [_row(ledger, one, marks, names, written, matcher if guess else None) for one in mails]


def _row(
    ledger: Ledger,
    mail: Mail,
    marks: dict[int, Marked],
    names: dict[int, str],
    written: set[str],
    matcher: Matcher | None,
) -> dict[str, Any]:
    one = ledger.delivery(mail.delivery_id) if mail.delivery_id is not None else None
    marked = marks.get(one.id) if one else None
    guesses = matcher.guesses(mail) if matcher and (mail.pending or mail.how == "nobody") else []
    return {
        "id": mail.id,
        "kind": str(mail.kind),
        "at": iso(mail.at),
        "from": mail.sender or None,
        "name": mail.name or None,
        "subject": mail.subject,
        "language": mail.language or None,
        "returns": mail.returns,
        "text": mail.text,
        "evidence": mail.evidence,
        "bounces": list(mail.reports),
        "source": mail.source,
        "folder": mail.place,
        "mailing": names[one.mailing_id] if one else None,
        "email": one.contact.email if one else None,
        "organisation": one.contact.organisation if one else None,
        "matched": mail.how if one else None,
        "reason": mail.reason,
        "acted": mail.acted or None,
        "pending": mail.pending,
        "guesses": [
            {
                "email": each.delivery.contact.email,
                "mailing": names[each.delivery.mailing_id],
                "reason": each.reason,
            }
            for each in guesses
        ],
        "written_back": bool(mail.message_id) and mail.message_id in written,
        **marked_columns(marked),
    }


def is_unanswered(row: dict[str, Any]) -> bool:
    """Tell whether a person wrote, and nobody wrote back, marked it, or put it aside."""
    return (
        row["kind"] == Came.REPLY
        and not row["written_back"]
        and row["answer"] is None
        and not row["reason"].startswith("dismissed")
    )


def due(ledger: Ledger, today: datetime.date) -> list[dict[str, Any]]:
    """Return the promises whose day has come, the oldest first, as rows of people."""
    received = Received(ledger)
    names = received.mailing_names()
    found = []
    for number, marked in received.marks().items():
        if marked.due is None or marked.due > today.isoformat() or marked.answer is Mark.DONE:
            continue
        one = ledger.delivery(number)
        found.append(
            {
                "id": marked.inbound_id,
                "mailing": names[one.mailing_id],
                "email": one.contact.email,
                "name": one.contact.name,
                "organisation": one.contact.organisation,
                **marked_columns(marked),
            }
        )
    return sorted(found, key=lambda row: str(row["due"]))


def last_read_words(received: Received) -> str:
    """Say when answers were last read, and what went wrong since."""
    readings = received.readings()
    if not readings:
        return "the mailbox was never read"
    first = readings[0]
    said = f"answers last read {when(first.at)}" if first.at else "the mailbox was never read to its end"
    tried = received.tried_last()
    wrong = tried if tried and tried.error else None
    return said + (f"; {wrong.source} could not be read: {wrong.error}" if wrong else "")
