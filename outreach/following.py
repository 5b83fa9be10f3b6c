"""A second letter to those who got the first one and are silent.

Silent is whose letter was accepted, and of whom nothing came: no answer, no opt-out, no returned letter, no
mark by hand. A letter in doubt is never followed up; an absence is waited out. The second letter goes on in
the thread of the first (archive.py). Reads the ledger only. Raises StoppedError, UsageError.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from outreach import address
from outreach.archive import Archive
from outreach.errors import StoppedError, UsageError
from outreach.ledger import Delivery, Ledger, Mailing, others, same_person
from outreach.model import ANSWERS, Came, Contact, State
from outreach.received import Mail, Received
from outreach.subjects import answering
from outreach.times import day, lasts, start_of

JUST_BEFORE = 15 * 60.0  # seconds since answers were read, at most
_SAY = {
    Came.REPLY: "has answered",
    Came.OPT_OUT: "asked to stop",
    Came.COMPLAINT: "complained",
    Came.BOUNCE: "the letter came back",
}
_NOT_SENT = {
    State.UNKNOWN: "may not have got it: it is in doubt (outreach resolve)",
    State.FAILED: "did not get it: it failed",
}


@dataclass(slots=True)
class FollowUp:
    """A mailing that is followed up: its letters, and who is not written to again, with the reason."""

    mailing: Mailing
    archive: Archive
    letters: dict[str, Delivery] = field(default_factory=dict)  # by address key
    reasons: dict[str, str] = field(default_factory=dict)  # by address key
    last_read: float | None = None

    def letter_to(self, contact: Contact) -> Delivery | None:
        """Return the first letter to a contact, also where it went to another address of theirs."""
        first = self.letters.get(address.key(contact.email))
        if first is not None and first.address not in self.reasons:
            return first
        found = (self.letters.get(address.key(mail)) for mail in others(contact))
        theirs = [one for one in found if one is not None and same_person(contact, one.contact)]
        silent = next((one for one in theirs if one.address not in self.reasons), None)
        return first if first is not None and silent is None else silent or next(iter(theirs), None)

    def reason(self, contact: Contact) -> str | None:
        """Return why a contact gets no second letter, or None."""
        one = self.letter_to(contact)
        if one is None:
            return f"has no letter of the mailing {self.mailing.name}"
        return self.reasons.get(one.address)

    def subject(self, contact: Contact) -> str:
        """Return the subject of the second letter: that of the first, with `Re:` before it."""
        one = self.letter_to(contact)
        return answering(self.archive.subject(one)) if one else ""


def find(ledger: Ledger, mailing: Mailing, after: int, now: float, source: str = "") -> FollowUp:
    """Find out who is silent, and has had `after` seconds to answer, absences not counted.

    Silent means in the whole thread: to this letter, those before and behind it, and at other addresses.
    `source` is where answers arrive; when it was read is what counts.
    """
    received = Received(ledger)
    found = FollowUp(mailing, Archive(ledger), last_read=received.last_read(source))
    letters = ledger.deliveries(mailing)
    threads = {one.id: ledger.related(one) for one in letters}
    mails: dict[int, list[Mail]] = {}
    for mail in received.mails(deliveries=sorted(set().union(*threads.values()))):
        mails.setdefault(mail.delivery_id or 0, []).append(mail)
    marks = received.marks()
    for one in letters:
        found.letters[one.address] = one
        marked = next((marks[number] for number in threads[one.id] if number in marks), None)
        theirs = [mail for number in threads[one.id] for mail in mails.get(number, [])]
        returned = one.id if ledger.stands_in(one).id == one.id else 0
        # A letter that came back from one address says nothing of the one that stands in for it.
        theirs = [mail for mail in theirs if mail.kind is not Came.BOUNCE or mail.delivery_id == returned]
        if marked is not None:
            found.reasons[one.address] = f"you marked: {marked.answer}"
        elif ledger.stands_in(one).id != one.id:
            found.reasons[one.address] = "the letter came back; another address got it"
        elif reason := _reason(one, theirs, after, now):
            found.reasons[one.address] = reason
    return found


def _reason(one: Delivery, mails: list[Mail], after: int, now: float) -> str:
    """Return why a letter is not followed up, or an empty string."""
    if one.state is not State.SENT:
        return _NOT_SENT.get(one.state, f"did not get it: it is {one.state}")
    for mail in mails:
        if mail.kind in ANSWERS:
            return f"{_SAY[mail.kind]} on {day(mail.at)}"
    begun = one.finished_at or now
    away = [mail.returns for mail in mails if mail.kind is Came.AUTO_REPLY and mail.returns]
    if away:
        begun = max(begun, start_of(max(away)))
        if begun > now:
            return f"is away until {max(away)}"
    if begun + after > now:
        since = f"is back since {max(away)}" if away and begun != one.finished_at else "got the letter"
        return f"{since}, {lasts(now - begun)} ago; --after is {lasts(after)}"
    return ""


def refuse_unread(found: FollowUp, now: float) -> None:
    """Refuse to write a second time to people whose answer may lie unread. Raises StoppedError."""
    if found.last_read is None:
        raise StoppedError(
            "answers were never read, so nobody knows who is silent", "outreach replies sync, then again"
        )
    if found.last_read < now - JUST_BEFORE:
        raise StoppedError(
            f"answers were last read {lasts(now - found.last_read)} ago: some may have come since",
            "outreach replies sync, then the same command again",
        )


def refuse_other(found: FollowUp | None, known: Mailing | None, ledger: Ledger) -> None:
    """Refuse to go on with a mailing as if it followed up another one. Raises UsageError."""
    if known is None:
        return
    wanted = found.mailing.id if found else None
    if known.follows_id != wanted:
        of = (
            f"follows up {ledger.mailing_of(known.follows_id).name}"
            if known.follows_id
            else "is no follow-up"
        )
        raise UsageError(f"the mailing {known.name} {of}", "choose another --name")
