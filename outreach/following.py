"""A second letter to those who got the first one and are silent.

Silent is whose letter was accepted, and of whom nothing came: no answer, no opt-out, no returned letter, no
mark by hand. A letter in doubt is never followed up; an absence is waited out. The second letter goes on in
the thread of the first (archive.py). Reads the ledger only. Raises StoppedError, UsageError.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from outreach import address
from outreach.archive import Archive
from outreach.errors import StoppedError, UsageError
from outreach.ledger import Delivery, Ledger, Mailing
from outreach.model import ANSWERS, Came, State
from outreach.received import Mail, Received
from outreach.subjects import answering
from outreach.times import day, lasts

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

    def reason(self, key: str) -> str | None:
        """Return why an address gets no second letter, or None."""
        if key not in self.letters:
            return f"has no letter of the mailing {self.mailing.name}"
        return self.reasons.get(key)

    def subject(self, mail: str) -> str:
        """Return the subject of the second letter: that of the first, with `Re:` before it."""
        one = self.letters.get(address.key(mail))
        return answering(self.archive.subject(one)) if one else ""


def find(ledger: Ledger, mailing: Mailing, after: int, now: float) -> FollowUp:
    """Find out who is silent, and has had `after` seconds to answer, absences not counted."""
    received = Received(ledger)
    found = FollowUp(mailing, Archive(ledger), last_read=received.last_read())
    mails: dict[int, list[Mail]] = {}
    for mail in received.of_mailing(mailing):
        mails.setdefault(mail.delivery_id or 0, []).append(mail)
    marks = received.marks(mailing)
    for one in ledger.deliveries(mailing):
        found.letters[one.address] = one
        if one.id in marks:
            found.reasons[one.address] = f"answered: {marks[one.id].answer}"
        elif reason := _reason(one, mails.get(one.id, []), after, now):
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
        back = datetime.date.fromisoformat(max(away))
        begun = max(begun, datetime.datetime.combine(back, datetime.time()).timestamp())
        if begun > now:
            return f"is away until {back}"
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
