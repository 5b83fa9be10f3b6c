"""Another address of the same person, after a mailbox turned out to be dead.

Only a hard bounce brings it into play: the server's word while sending, or a returned letter with our token.
The letter then goes to the next address that the list has, as a delivery of its own in the same mailing.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from outreach import address, message
from outreach.archive import Archive
from outreach.errors import LetterError
from outreach.ledger import Delivery, Ledger, NewDelivery, others
from outreach.model import HELD_STATES, Contact


def next_contact(contact: Contact, tried: Container[str]) -> Contact | None:
    """Return a person at the next of their addresses that was not tried (address keys); the others follow."""
    for number, mail in enumerate(contact.alternates):
        if address.key(mail) not in tried:
            left = [*contact.alternates[number + 1 :], *contact.alternates[:number], contact.email]
            return replace(contact, email=mail, alternates=tuple(left))
    return None


def plan(ledger: Ledger, archive: Archive, dead: Delivery, now: float) -> Delivery | None:
    """Plan the letter of a dead mailbox for the person's next address; return that delivery, or None.

    An address that refuses, or has a delivery in this mailing already, is passed over. Who got the letter at
    another address gets no second one. Of a shared inbox everybody gets an own letter; the first one is
    returned. Runs inside a transaction.
    """
    found = [_plan(ledger, archive, dead, one, now) for one in dead.contact.people or (dead.contact,)]
    return next((one for one in found if one is not None), None)


def _plan(ledger: Ledger, archive: Archive, dead: Delivery, person: Contact, now: float) -> Delivery | None:
    if not person.alternates:
        return None
    mailing = ledger.mailing_of(dead.mailing_id)
    keys = [address.key(mail) for mail in others(person)]
    theirs = ledger.deliveries_to(mailing, keys)
    before = _before(ledger, dead)
    if any(one.state in HELD_STATES and one.id not in before for one in theirs):
        return None
    if ledger.has_letter(mailing, [one.address for one in theirs] + keys, before | {dead.id}):
        return None
    tried = {dead.address, *(one.address for one in theirs)}
    while (contact := next_contact(person, tried)) is not None:
        key, domain = address.key(contact.email), address.domain(contact.email)
        tried.add(key)
        if ledger.refusal(key, domain, others(contact), now) is not None:
            continue
        try:
            digest = archive.content_hash(dead, archive.render(dead, contact))
        except LetterError:
            return None
        sender = archive.version(dead.version_id).sender
        message_id = message.new_message_id(ledger.key, contact.email, address.domain(sender.address))
        new = NewDelivery(contact, dead.language, digest, message_id, dead.follows_id, dead.id)
        ledger.add_deliveries(mailing, dead.version_id, [new])
        return next(iter(ledger.deliveries_to(mailing, [key])))
    return None


def bury(ledger: Ledger, archive: Archive, dead: Delivery, reason: str, now: float) -> Delivery | None:
    """Take out everything that is planned for a dead mailbox, and plan it for the next addresses.

    Returns the delivery that stands in for this one. Runs inside a transaction.
    """
    for one in ledger.open_to(dead.address):
        if one.id != dead.id:
            ledger.close_refused(ledger.mailing_of(one.mailing_id), one.address, reason, now)
            plan(ledger, archive, one, now)
    return plan(ledger, archive, dead, now)


def _before(ledger: Ledger, one: Delivery) -> set[int]:
    """Return the deliveries that came back before this one was planned."""
    found: set[int] = set()
    number = one.instead_of_id
    while number is not None and number not in found:
        found.add(number)
        number = ledger.delivery(number).instead_of_id
    return found
