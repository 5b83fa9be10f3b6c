"""Everything the ledger knows about one person, over all mailings; and the list of deliveries.

Letters as they were sent, attempts with the server's words, what came back, what was done, whether somebody
refuses. Reads the ledger only. Raises UsageError for an address that it does not know.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from typing import Any

from outreach import address
from outreach.archive import Archive
from outreach.decisions import document as mails_as_rows
from outreach.decisions import find_delivery
from outreach.errors import OutreachError, UsageError
from outreach.ledger import Delivery, Ledger, Mailing, is_held, others
from outreach.matching import key_of
from outreach.model import Contact, State
from outreach.received import Mail, Marked, Received, marked_columns
from outreach.times import iso


def rows(
    ledger: Ledger,
    mailing: Mailing,
    states: Sequence[State] = (),
    answers: Sequence[str] = (),
    chosen: Callable[[Contact], bool] = lambda contact: True,
) -> list[dict[str, Any]]:
    """Return the deliveries of a mailing, with what came back, as scripts read them."""
    received = Received(ledger)
    marks = received.marks(mailing)
    came: dict[int, list[Mail]] = {}
    for mail in received.of_mailing(mailing):
        came.setdefault(mail.delivery_id or 0, []).append(mail)
    held = ledger.held()
    found = []
    for one in ledger.deliveries(mailing, states or None):
        marked = marks.get(one.id)
        fits = not answers or (marked.answer if marked else "none") in answers
        if fits and chosen(one.contact):
            found.append(row(one, came.get(one.id, []), marked, is_held(one, held)))
    return found


def row(one: Delivery, mails: Sequence[Mail], marked: Marked | None, held: bool) -> dict[str, Any]:
    """Return one delivery as scripts read it."""
    return {
        "email": one.contact.email,
        "name": one.contact.name,
        "audience": one.contact.audience,
        "organisation": one.contact.organisation,
        "country": one.contact.country,
        "language": one.language,
        "state": one.state.value,
        "attempts": one.attempts,
        "sent_at": iso(one.finished_at) if one.state is State.SENT else None,
        "next_attempt_at": iso(one.next_attempt_at) if one.state is State.DEFERRED else None,
        "held": held and one.state in (State.PLANNED, State.DEFERRED),
        "server_reply": one.reply or one.reason,
        "inbound": [{"kind": str(mail.kind), "at": iso(mail.at)} for mail in mails],
        **marked_columns(marked),
    }


def letters_to(ledger: Ledger, mail: str, mailing: Mailing | None) -> list[Delivery]:
    """Return the letters to a person, the oldest first; also those to another address of theirs.

    Raises UsageError when there is none.
    """
    received = Received(ledger)
    first = find_delivery(ledger, received, mail, mailing)
    keys = {key_of(mail), first.address, *(key_of(other) for other in others(first.contact))}
    found = {one.id: one for key in keys for one in received.by_address(key)}
    return [
        found[number] for number in sorted(found) if mailing is None or found[number].mailing_id == mailing.id
    ]


def person(ledger: Ledger, mail: str, mailing: Mailing | None) -> dict[str, Any]:
    """Return everything about one person, as scripts read it. Raises UsageError."""
    found = letters_to(ledger, mail, mailing)
    received, archive = Received(ledger), Archive(ledger)
    names, held = received.mailing_names(), ledger.held()
    mails = received.mails(deliveries=[one.id for one in found])
    contact = found[-1].contact
    with ledger.transaction():
        refusal = ledger.refusal(
            found[-1].address, address.domain(contact.email), others(contact), time.time()
        )
    return {
        "email": contact.email,
        "name": contact.name,
        "organisation": contact.organisation,
        "audience": contact.audience,
        "country": contact.country,
        "alternates": list(contact.alternates),
        "suppressed": refusal,
        "held": any(is_held(one, held) for one in found),
        "deliveries": [
            {
                "mailing": names[one.mailing_id],
                **row(
                    one,
                    [mail for mail in mails if mail.delivery_id == one.id],
                    next(iter(reversed(received.marks_of([one.id]))), None),
                    is_held(one, held),
                ),
                "message_id": one.message_id,
                "letter": _letter(archive, one),
                "tries": ledger.tries(one.id),
                "mails": mails_as_rows(ledger, [mail for mail in mails if mail.delivery_id == one.id]),
                "marks": [marked_columns(marked) for marked in received.marks_of([one.id])],
            }
            for one in found
        ],
    }


def _letter(archive: Archive, one: Delivery) -> dict[str, Any]:
    """Return the letter as it was sent; or why it cannot be shown."""
    try:
        rendered = archive.render(one)
    except OutreachError as error:
        return {"subject": None, "text": None, "problem": error.message}
    same = archive.content_hash(one, rendered) == one.content_hash
    return {
        "subject": rendered.subject,
        "text": rendered.text,
        "problem": None if same else "this version of the program renders it differently",
    }


def eml(ledger: Ledger, mail: str, mailing: Mailing | None) -> bytes:
    """Return the message to one person as it was sent. Raises UsageError when there are several."""
    found = letters_to(ledger, mail, mailing)
    found = [one for one in found if one.address == key_of(mail)] or found
    if len(found) > 1:
        names = Received(ledger).mailing_names()
        some = ", ".join(names[one.mailing_id] for one in found)
        raise UsageError(f"{mail} has {len(found)} letters: {some}", "choose one with --mailing NAME")
    one = found[0]
    at = next((tried["at"] for tried in reversed(ledger.tries(one.id))), None)
    now = datetime.datetime.now(datetime.UTC)
    return Archive(ledger).build(one, datetime.datetime.fromisoformat(at) if at else now)
