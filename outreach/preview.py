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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from outreach import address, attachments, languages, message, private, sources
from outreach import plan as plans
from outreach.errors import UsageError
from outreach.model import Contact, Rendered
from outreach.plan import Plan

_SHOWN_HEADERS = ("From", "To", "Reply-To", "Subject", "List-Unsubscribe")


def choose(
    plan: Plan,
    to: str | None,
    language: str | None,
    audience: str | None,
    everybody: bool,
    among: Callable[[Contact], bool] | None = None,
) -> list[Contact]:
    """Return whose letters to show: one address, all, or one per language × audience, of those `among`."""
    contacts = [one for one in plan.contacts.contacts if among is None or among(one)]
    if to is not None:
        wanted = address.key(to) if "@" in to else to
        for contact in contacts:
            if wanted in (address.key(contact.email), *map(address.key, contact.alternates)):
                return [contact]
        near = difflib.get_close_matches(to, [contact.email for contact in contacts], 1)
        raise UsageError(f"{to} is not in {plan.contacts.file}", f"did you mean {near[0]}?" if near else "")
    chosen: dict[tuple[str, str] | int, Contact] = {}
    for number, contact in enumerate(contacts):
        found = plan.letter.choose(contact).language
        known = [found, contact.language, *languages.split(found), *languages.split(contact.language)]
        if language and language.lower() not in map(str.lower, known):
            continue
        if audience is not None and audience.lower() != contact.audience:
            continue
        chosen.setdefault(number if everybody else (found, contact.audience), contact)
    if not chosen:
        raise UsageError(
            "no contact fits this preview",
            f"languages of the letter: {', '.join(plan.letter.languages)}; "
            f"audiences of the list: {', '.join(sorted({c.audience for c in contacts} - {''})) or 'none'}",
        )
    return list(chosen.values())


def render(plan: Plan, contact: Contact) -> Rendered:
    """Return the letter of one contact."""
    return plans.render(plan, contact)


def eml(plan: Plan, contact: Contact, now: datetime.datetime) -> bytes:
    """Return the message of one contact as it would be sent now."""
    return _build(plan, contact, render(plan, contact), now)


def _build(plan: Plan, contact: Contact, rendered: Rendered, now: datetime.datetime) -> bytes:
    message_id = f"<preview@{address.domain(plan.sender.address)}>"
    return message.build(rendered, contact, plan.sender, plan.reply_to, plan.unsubscribe, message_id, now)


def as_text(plan: Plan, contact: Contact, now: datetime.datetime) -> str:
    """Return headers and plain text as a reader's mail program would show them."""
    rendered = render(plan, contact)
    bare = replace(rendered, attachments=())  # they are named below; nobody reads their base64
    mail = email.message_from_bytes(_build(plan, contact, bare, now), policy=email.policy.default)
    # Not the parsed To: some versions of Python put a blank into a long name when they decode it.
    to = f"{contact.name} <{contact.email}>" if contact.name else contact.email
    headers = [f"{name}: {to if name == 'To' else mail[name]}" for name in _SHOWN_HEADERS if mail[name]]
    body = mail.get_body(("plain",))
    text = body.get_content().replace("\r\n", "\n") if body is not None else ""
    attached = [
        f"{one.name} ({attachments.megabytes(one.size)}{', shown in the letter' if one.cid else ''})"
        for one in rendered.attachments
    ]
    headers += [f"Attached: {', '.join(attached)}"] if attached else []
    file = plan.letter.choose(contact).file
    return f"# {plan.letter.name}/{file}\n" + "\n".join(headers) + f"\n\n{text}"


def as_html(plan: Plan, contact: Contact) -> str:
    """Return the HTML part, its images put in so that a browser shows them."""
    rendered = render(plan, contact)
    html = rendered.html
    for one in rendered.attachments:
        if one.cid:
            data = message.encoded(one).replace(b"\r\n", b"").decode()
            html = html.replace(f"cid:{one.cid}", f"data:{one.kind};base64,{data}")
    return html


def explain(plan: Plan, contact: Contact) -> list[str]:
    """Say step by step why this contact gets these files and this greeting."""
    letter = plan.letter
    choice = letter.choose(contact)
    given = contact.language or "no language"
    lines = [
        f"contact   {contact.email} ({contact.file}:{contact.line})",
        f"reads     {given}, country {contact.country or 'not given'}, "
        f"audience {contact.audience or 'not given'}",
    ]
    if contact.people:
        each = ", ".join(f"{one.name or 'no name'} ({one.file}:{one.line})" for one in contact.people)
        lines.append(f"people    {len(contact.people)} share this inbox: {each}")
    for part in choice.halves:
        audience = contact.audience
        for n, step in enumerate(part.steps, 1):
            names = [sources.file_name(step.tag, one) for one in dict.fromkeys((audience, ""))]
            hit = step is part.steps[-1]
            missing = names[: names.index(part.file.file)] if hit and part.file.file in names else names
            tried = [f"no {name}" for name in missing] + ([part.file.file] if hit else [])
            lines.append(f"{'language' if n == 1 else '':9} {n}. {step.tag}, {step.why}: {', '.join(tried)}")
        state = "complete" if part.complete else "a fallback"
        if part.stale:
            state += f", out of date ({part.stale.file})"
        lines.append(f"letter    {letter.name}/{part.file.file}, {state}")
    lines += letter.explain_greeting(contact)
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
        private.write(path, _content(plan, contact, form, now))
    return paths


def _content(plan: Plan, contact: Contact, form: str, now: datetime.datetime) -> bytes:
    if form == "eml":
        return eml(plan, contact, now)
    if form == "html":
        return as_html(plan, contact).encode()
    return as_text(plan, contact, now).encode()


def _slug(text: str) -> str:
    return re.sub(r"[^\w.@-]", "_", text)[:80]
