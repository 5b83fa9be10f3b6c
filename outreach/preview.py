"""Show the exact message a contact would get, before anything is sent.

Chooses the contacts to look at and writes their messages as text, HTML or .eml. The message is made by the
very code that sends; only Date and Message-ID are not yet final. Raises UsageError when nobody fits.
"""

from __future__ import annotations

import datetime
import difflib
import email
import email.policy
import re
from collections.abc import Sequence
from pathlib import Path

from outreach import address, message
from outreach.errors import UsageError
from outreach.model import Contact, Rendered
from outreach.plan import Plan
from outreach.report import write_private

_SHOWN_HEADERS = ("From", "To", "Reply-To", "Subject", "List-Unsubscribe")


def choose(
    plan: Plan, to: str | None, language: str | None, audience: str | None, everybody: bool
) -> list[Contact]:
    """Return whose letters to show: one address, all, or one per language × audience."""
    contacts = plan.contacts.contacts
    if to is not None:
        wanted = address.key(to) if "@" in to else to
        for contact in contacts:
            if wanted in (address.key(contact.email), *map(address.key, contact.alternates)):
                return [contact]
        near = difflib.get_close_matches(to, [contact.email for contact in contacts], 1)
        raise UsageError(f"{to} is not in {plan.contacts.file}", f"did you mean {near[0]}?" if near else "")
    chosen: dict[tuple[str, str] | int, Contact] = {}
    for number, contact in enumerate(contacts):
        found = plan.letter.find(contact).file
        if language and language.lower() not in (found.language.lower(), contact.language.lower()):
            continue
        if audience is not None and audience.lower() != contact.audience:
            continue
        chosen.setdefault(number if everybody else (found.language, contact.audience), contact)
    if not chosen:
        raise UsageError(
            "no contact fits this preview",
            f"languages of the letter: {', '.join(plan.letter.languages)}; "
            f"audiences of the list: {', '.join(sorted({c.audience for c in contacts} - {''})) or 'none'}",
        )
    return list(chosen.values())


def render(plan: Plan, contact: Contact) -> Rendered:
    """Return the letter of one contact."""
    return plan.letter.render(contact, plan.sender, plan.reply_to, plan.today)


def eml(plan: Plan, contact: Contact, now: datetime.datetime) -> bytes:
    """Return the message of one contact as it would be sent now."""
    message_id = f"<preview@{address.domain(plan.sender.address)}>"
    return message.build(
        render(plan, contact), contact, plan.sender, plan.reply_to, plan.unsubscribe, message_id, now
    )


def as_text(plan: Plan, contact: Contact, now: datetime.datetime) -> str:
    """Return headers and plain text as a reader's mail program would show them."""
    mail = email.message_from_bytes(eml(plan, contact, now), policy=email.policy.default)
    # Not the parsed To: some versions of Python put a blank into a long name when they decode it.
    to = f"{contact.name} <{contact.email}>" if contact.name else contact.email
    headers = [f"{name}: {to if name == 'To' else mail[name]}" for name in _SHOWN_HEADERS if mail[name]]
    body = mail.get_body(("plain",))
    text = body.get_content().replace("\r\n", "\n") if body is not None else ""
    found = plan.letter.find(contact)
    return f"# {plan.letter.name}/{found.file.file}\n" + "\n".join(headers) + f"\n\n{text}"


def explain(plan: Plan, contact: Contact) -> list[str]:
    """Say why this contact gets this file."""
    found = plan.letter.find(contact)
    where = f"{contact.file}:{contact.line}"
    lines = [
        f"contact   {contact.email} ({where})",
        f"language  {contact.language or 'none given'}, country {contact.country or 'none given'}"
        f" → wanted {found.wanted_language}",
        f"audience  {contact.audience or 'none given'}",
        f"letter    {plan.letter.name}/{found.file.file}" + ("" if found.complete else "  (a fallback)"),
    ]
    if contact.fields.get("salutation"):
        lines.append("greeting  the contact's own column `salutation`")
    else:
        lines.append(f"greeting  _languages/{found.file.language}.toml, gender {contact.gender or 'unknown'}")
    return lines


def write(
    plan: Plan, contacts: Sequence[Contact], form: str, target: Path, now: datetime.datetime
) -> list[Path]:
    """Write previews to a file (one contact) or into a folder; return the files written."""
    suffix = {"text": ".txt", "html": ".html", "eml": ".eml"}[form]
    if len(contacts) == 1 and not target.is_dir():
        paths = [target]
    else:
        target.mkdir(parents=True, exist_ok=True)
        paths = [target / f"{n:03}-{_slug(c.email)}{suffix}" for n, c in enumerate(contacts, 1)]
    for path, contact in zip(paths, contacts, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, _content(plan, contact, form, now))
    return paths


def _content(plan: Plan, contact: Contact, form: str, now: datetime.datetime) -> bytes:
    if form == "eml":
        return eml(plan, contact, now)
    if form == "html":
        return render(plan, contact).html.encode()
    return as_text(plan, contact, now).encode()


def _slug(text: str) -> str:
    return re.sub(r"[^\w.@-]", "_", text)[:80]
