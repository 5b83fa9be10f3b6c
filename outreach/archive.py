"""The letters of the ledger, made again from what was frozen when they were planned.

One look-up for whoever sends a letter, shows it as it was sent, or writes a second time about it. A letter
that follows up another one has its subject, with `Re:` before it, and names it (RFC 5322 §3.6.4).
Raises LetterError and MessageError; StoppedError when a letter is not what was planned any more.
"""

from __future__ import annotations

import datetime

from outreach import message
from outreach.errors import StoppedError
from outreach.ledger import Delivery, Frozen, Ledger
from outreach.letters import Letter
from outreach.model import Contact, Rendered
from outreach.subjects import answering

_MOST_REFERENCES = 10


class Archive:
    """Reads versions from a ledger and compiles each letter once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._frozen: dict[int, Frozen] = {}
        self._letters: dict[int, Letter] = {}
        self._mailings: dict[int, tuple[str, datetime.date]] = {}

    def version(self, number: int) -> Frozen:
        """Return what the messages of a version are made of."""
        if number not in self._frozen:
            self._frozen[number] = self._ledger.version(number)
        return self._frozen[number]

    def render(self, one: Delivery, contact: Contact | None = None) -> Rendered:
        """Return the letter of a delivery; or as it would be for another contact."""
        letter, frozen = self._letter(one), self.version(one.version_id)
        today = self._mailing(one)[1]
        return letter.render(
            contact or one.contact, frozen.sender, frozen.reply_to, today, self._followed_subject(one)
        )

    def content_hash(self, one: Delivery, rendered: Rendered) -> str:
        """Return what identifies the content of a letter, as its plan has it."""
        frozen = self.version(one.version_id)
        return message.content_hash(rendered, frozen.sender, frozen.reply_to, frozen.unsubscribe)

    def subject(self, one: Delivery) -> str:
        """Return the subject of the letter of a delivery."""
        return self.render(one).subject

    def build(self, one: Delivery, date: datetime.datetime) -> bytes:
        """Return the message of a delivery. Raises StoppedError when it is not what was planned."""
        rendered = self.render(one)
        if self.content_hash(one, rendered) != one.content_hash:
            raise StoppedError(
                f"the letter to {one.contact.email} renders differently now than when it was planned",
                "another version of the program? go back to it, or say --revise to send it as it is now",
            )
        frozen = self.version(one.version_id)
        return message.build(
            rendered,
            one.contact,
            frozen.sender,
            frozen.reply_to,
            frozen.unsubscribe,
            one.message_id,
            date,
            self.thread(one),
        )

    def thread(self, one: Delivery) -> tuple[str, ...]:
        """Return the Message-IDs of the letters before this one, the first one first."""
        found: list[str] = []
        while one.follows_id is not None and len(found) < _MOST_REFERENCES:
            one = self._ledger.delivery(one.follows_id)
            found.insert(0, one.message_id)
        return tuple(found)

    def _followed_subject(self, one: Delivery) -> str:
        if one.follows_id is None:
            return ""
        return answering(self.subject(self._ledger.delivery(one.follows_id)))

    def _letter(self, one: Delivery) -> Letter:
        if one.version_id not in self._letters:
            frozen = self.version(one.version_id)
            self._letters[one.version_id] = Letter(
                self._mailing(one)[0],
                frozen.sources,
                frozen.language,
                lambda name: self._ledger.file(frozen.files[name]),
            )
        return self._letters[one.version_id]

    def _mailing(self, one: Delivery) -> tuple[str, datetime.date]:
        if one.mailing_id not in self._mailings:
            mailing = self._ledger.mailing_of(one.mailing_id)
            self._mailings[one.mailing_id] = (mailing.letter, datetime.date.fromisoformat(mailing.today))
        return self._mailings[one.mailing_id]
