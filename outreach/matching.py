"""Whose letter does a mail answer, and may it act?

Token first: the Message-ID of every letter holds one that only its recipient and the servers on the way have
seen (message.py). Then the sender's address, then the sender's organisation with the same subject; whatever
is left waits for a person, with guesses. A sender can be forged, a token cannot: without ours a bounce or a
complaint changes nothing, and a wish for no more mail only holds what is planned for that address. A token
that belongs to somebody else than the mail speaks of counts as none.
Reads the ledger only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from outreach import address, inbound, languages, message, phrases, subjects
from outreach.archive import Archive
from outreach.classify import Answer
from outreach.errors import OutreachError
from outreach.inbound import Inbound
from outreach.institutions import is_free_mail
from outreach.ledger import Delivery, Ledger, others
from outreach.model import Came, State
from outreach.received import Mail, Received

_TOKEN = re.compile(r"(?<![A-Za-z2-7])[A-Za-z2-7]{40}(?![A-Za-z2-7])")
_RECIPIENTS = ("to", "cc", "delivered-to", "x-original-to", "envelope-to")  # a plus-address of ours
_ARRIVED = (State.SENT, State.UNKNOWN, State.SENDING)
_MOST_TOKENS = 50
_MOST_COLLEAGUES = 20  # whose subjects are compared
_MOST_GUESSES = 5


@dataclass(frozen=True, slots=True)
class Match:
    """Whose letter a mail answers. `proven`: our token says so, of the very person that the mail is about."""

    delivery: Delivery | None
    how: str  # token, address, organisation, nobody
    reason: str
    proven: bool = False
    holds: tuple[str, ...] = ()  # address keys for which nothing is to leave until a person has decided

    def pending(self, kind: Came) -> bool:
        """Tell whether a person is to decide; nobody needs to about circulars and receipts."""
        return bool(self.holds) or (self.delivery is None and kind is not Came.OTHER)


@dataclass(frozen=True, slots=True)
class Guess:
    """To whom an unmatched mail may belong, and why."""

    delivery: Delivery
    reason: str


@dataclass(slots=True)
class Found:
    """The traces of our letters in a mail."""

    deliveries: list[Delivery] = field(default_factory=list)
    strange: bool = False  # a token in the place of ours that this ledger did not make


def key_of(mail: str) -> str:
    """Return the key of an address as a mail has it; of what is no address, the text in lower case."""
    if "@" not in mail.strip("@ "):
        return mail.strip().lower()
    try:
        return address.key(mail)
    except ValueError:  # UnicodeError of the A-label included
        return mail.strip().lower()


class Matcher:
    """Finds letters in one ledger; for one reading, as it remembers who has several addresses."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._received = Received(ledger)
        self.archive = Archive(ledger)

    def prepare(self) -> None:
        """Read what takes long, before a transaction has to wait for it."""
        _ = self._further, self._own_addresses

    def match(self, mail: Inbound, answer: Answer) -> Match:
        """Return whose letter a mail answers."""
        found = self._tokens(mail, answer)
        if answer.bounces or answer.kind is Came.BOUNCE:
            return self._returned(found, [one.final or one.recipient for one in answer.bounces])
        if answer.kind is Came.COMPLAINT or is_feedback(mail, answer.kind):
            return self._returned(found, _complained(mail))
        sender = key_of(answer.sender)
        wish = answer.kind is Came.OPT_OUT
        by_token = self._own(found.deliveries, sender)
        by_address = None if by_token else self._by_address(sender, mail, wish)
        if by_token is None and by_address is None:  # from somebody unknown: an assistant, another address
            by_token = next(iter(found.deliveries), None)
        if by_token is not None:
            return self._by_token(by_token, sender, answer)
        strange = "; it names a letter that is not ours" if found.strange else ""
        strange = "; the token in it is that of another recipient" if found.deliveries else strange
        holds = (sender,) if wish and sender else ()
        if one := by_address:
            return Match(
                one, "address", f"from {answer.sender}, without our token{strange}", holds=_both(holds, one)
            )
        if one := self._colleague(sender, mail, answer):
            why = f"from {answer.sender}, of the same mail domain, with the same subject{strange}"
            return Match(one, "organisation", why, holds=_both(holds, one))
        return Match(None, "nobody", f"no letter of ours fits{strange}", holds=holds)

    def _by_token(self, one: Delivery, sender: str, answer: Answer) -> Match:
        same = sender in _keys(one)
        reason = f"our token for {one.contact.email}"
        if not same:
            reason += f", from another address: {answer.sender or 'none'}"
        if answer.kind is Came.OPT_OUT and not same:
            holds = tuple(key for key in dict.fromkeys((one.address, sender)) if key)
            return Match(one, "token", reason, holds=holds)
        return Match(one, "token", reason, proven=same)

    def _returned(self, found: Found, recipients: Sequence[str]) -> Match:
        """Match what a machine says about a letter: a bounce or a complaint."""
        named = {key_of(one) for one in recipients if one}
        for one in found.deliveries:
            if not named or named & {one.address}:
                return Match(one, "token", f"our token for {one.contact.email}", proven=True)
        if found.deliveries:
            one = found.deliveries[0]
            about = ", ".join(sorted(named))
            return Match(None, "nobody", f"the token is that of {one.contact.email}, not of {about}")
        strange = "a letter that is not ours" if found.strange else "no letter of ours"
        return Match(None, "nobody", f"it names {strange}: anybody could have written it")

    def is_ours(self, mail: Inbound, answer: Answer) -> bool:
        """Tell whether a mail is our own: a letter, a test, or what we wrote to somebody, with a copy to us.

        What a machine says about a letter never is, whoever stands in From. Who is in the own list, and
        answers a letter to the own address, is a reader.
        """
        if answer.bounces or answer.kind in (Came.BOUNCE, Came.COMPLAINT, Came.AUTO_REPLY):
            return False
        token = message.token_of("".join(mail.get("message-id").split())).lower()
        to = inbound.first_address(mail.get("to"))
        if token and (self._received.by_token(token) or message.verify_token(self._ledger.key, token, to)):
            return True
        sender = key_of(mail.sender)
        if sender not in self._own_addresses:
            return False
        letters = (self._received.by_token(one) for one in _tokens(mail, False))
        return not any(one is not None and one.address == sender for one in letters)

    @cached_property
    def _own_addresses(self) -> set[str]:
        """The address keys that our letters are from, and that answers to them go to."""
        found = set()
        for mailing in self._ledger.mailings():
            for frozen in self._ledger.versions(mailing).values():
                found |= {key_of(frozen.sender.address), key_of(frozen.reply_to.shown)}
        return found

    # Traces ------------------------------------------------------------------------------------

    def _tokens(self, mail: Inbound, answer: Answer) -> Found:
        found = Found()
        machine = bool(answer.bounces) or answer.kind in (Came.BOUNCE, Came.COMPLAINT)
        machine = machine or is_feedback(mail, answer.kind)
        for token in list(dict.fromkeys(_tokens(mail, machine)))[:_MOST_TOKENS]:
            one = self._received.by_token(token)
            if one is not None and message.verify_token(self._ledger.key, token, one.contact.email):
                if one.id not in [known.id for known in found.deliveries]:
                    found.deliveries.append(one)
            else:
                found.strange = True
        return found

    @staticmethod
    def _own(deliveries: Sequence[Delivery], sender: str) -> Delivery | None:
        """Return the letter to the sender, where a mail has traces of several."""
        return next((one for one in deliveries if sender in _keys(one)), None)

    # Address -----------------------------------------------------------------------------------

    def _by_address(self, sender: str, mail: Inbound, wish: bool) -> Delivery | None:
        """Return the newest letter to an address; of several, one with the same subject."""
        if not sender:
            return None
        known = self._received.by_address(sender)
        known += [one for one in self._further.get(sender, ()) if one.id not in [each.id for each in known]]
        arrived = [one for one in known if one.state in _ARRIVED] or (known if wish else [])
        if len(arrived) > 1:
            subject = _bare(mail.subject)
            same = (one for one in arrived[:_MOST_COLLEAGUES] if _bare(self._subject(one)) == subject)
            return next(same, arrived[0])
        return arrived[0] if arrived else None

    @cached_property
    def _further(self) -> dict[str, list[Delivery]]:
        """Deliveries by the further addresses of their people, the newest first."""
        found: dict[str, list[Delivery]] = {}
        for one in self._received.with_further_addresses():
            for mail in others(one.contact):
                found.setdefault(key_of(mail), []).insert(0, one)
        return found

    # Organisation ------------------------------------------------------------------------------

    def _colleague(self, sender: str, mail: Inbound, answer: Answer) -> Delivery | None:
        """Return the one letter to the sender's mail domain that has this subject."""
        domain = sender.rpartition("@")[2]
        if not domain or is_free_mail(domain) or not subjects.is_answer(mail.subject):
            return None
        near = self._received.by_domain(domain, _MOST_COLLEAGUES + 1)
        if not near or len(near) > _MOST_COLLEAGUES:
            return None
        subject = _bare(mail.subject)
        same = [one for one in near if _bare(self._subject(one)) == subject]
        people = {one.address for one in same}
        return same[0] if len(people) == 1 else None

    def _subject(self, one: Delivery) -> str:
        try:
            return self.archive.subject(one)
        except OutreachError:
            return ""

    # Guesses -----------------------------------------------------------------------------------

    def guesses(self, mail: Mail) -> list[Guess]:
        """Return to whom a mail may belong that nobody has settled."""
        found: list[Guess] = []
        whole = inbound.read(self._received.raw(mail.id))
        for token in list(dict.fromkeys(_tokens(whole, True)))[:_MOST_TOKENS]:
            if one := self._received.by_token(token):
                found.append(Guess(one, "it has the token of this letter"))
        keys = [key_of(str(one["recipient"])) for one in mail.reports if one.get("recipient")]
        for key in keys:
            found += [Guess(one, "the report names this address") for one in self._received.by_address(key)]
        sender = key_of(mail.sender)
        known = [*self._received.by_address(sender), *self._further.get(sender, ())]
        found += [Guess(one, "the same address") for one in known]
        domain = sender.rpartition("@")[2]
        if domain and not is_free_mail(domain):
            near = self._received.by_domain(domain, 200)
            name = phrases.fold(mail.name)
            named = [one for one in near if name and phrases.fold(one.contact.name) == name]
            found += [Guess(one, "the same name and mail domain") for one in named]
            found += [Guess(one, "the same mail domain") for one in near]
        unique = {one.delivery.address: one for one in reversed(found)}
        return list(reversed(unique.values()))[:_MOST_GUESSES]


def _tokens(mail: Inbound, machine: bool) -> Iterator[str]:
    """Yield what may be a token, the most telling places first."""
    places: list[str] = []
    if machine:
        places += [one.get("message-id", "") for one in mail.returned]
        places.append(mail.get("message-id"))  # Hotmail sends the letter itself back
    places += mail.all("in-reply-to")
    places += [" ".join(reversed(value.split())) for value in mail.all("references")]
    places += [value for name in _RECIPIENTS for value in mail.all(name)]
    places.append(mail.subject)
    if machine:
        places += [value for one in mail.returned for value in one.values()]
        places += [value for one in mail.reports for group in one.groups for value in group.values()]
        places += [mail.text, mail.inside]
    for text in places:
        for found in _TOKEN.finditer(text):
            yield found[0].lower()


def is_feedback(mail: Inbound, kind: Came) -> bool:
    """Tell whether a provider reports an opt-out in a person's name (RFC 5965)."""
    return kind is Came.OPT_OUT and any(one.kind.endswith("feedback-report") for one in mail.reports)


def _both(holds: tuple[str, ...], one: Delivery) -> tuple[str, ...]:
    """Return whom a wish for no more mail holds: who wrote it, and whose letter it may be about."""
    return tuple(dict.fromkeys([*holds, one.address])) if holds else ()


def _complained(mail: Inbound) -> list[str]:
    """Return whom a complaint names as the recipient (RFC 5965 §3.2); most are redacted."""
    fields = ("original-rcpt-to", "removal-recipient")
    values = [group.get(name, "") for one in mail.reports for group in one.groups for name in fields]
    found = [one for value in values for one in inbound.addresses(value)]
    return [one for one in found if not one.startswith(("redacted", "anonymous", "hidden", "*"))]


def _keys(one: Delivery) -> set[str]:
    """Return the keys of every address that the list has for those whom a letter greets."""
    return {one.address, *(key_of(mail) for mail in others(one.contact))}


def _bare(subject: str) -> str:
    return phrases.fold(subjects.bare(languages.without_controls(subject)))
