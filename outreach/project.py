"""A project folder: make a new one, and find what ships with the program.

`init` writes .env (mode 600), contacts.csv and templates/, and never overwrites anything. Providers' servers
and limits come from providers.toml, without network. Raises UsageError when the folder cannot be made.
"""

from __future__ import annotations

import datetime
import os
import shutil
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from outreach import address, attachments, contacts, coverage, decisions, sources
from outreach.errors import OutreachError, UsageError
from outreach.ledger import Ledger
from outreach.letters import Letter
from outreach.model import OPEN_STATES, Identity, State
from outreach.received import Received
from outreach.settings import Settings
from outreach.times import when

_HERE = Path(__file__).parent
_LETTERS = 5  # that the overview looks into


def shipped(name: str) -> Path:
    """Return where a shipped file or folder lies: inside the wheel, or beside the package in a checkout."""
    inside = _HERE / "shipped" / name
    return inside if inside.exists() else _HERE.parent / name


def open_letter(settings: Settings, templates: Path, name: str, lists: Sequence[Path] = ()) -> Letter:
    """Read and compile a letter with the files that travel with it. Raises LetterError."""
    private = (settings.contacts, settings.ledger, *lists)
    load = attachments.loader(settings.directory, templates, name, private)
    return Letter(name, sources.read(templates, name, shipped("templates")), settings.language, load)


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known of a mail provider (providers.toml)."""

    name: str
    smtp: str
    imap: str
    rate: str
    limits: str
    password: str
    password_page: str
    source: str
    checked: str
    note: str


def provider_of(mail: str) -> Provider | None:
    """Return the provider of an address, if it is a known one."""
    data = tomllib.loads((_HERE / "providers.toml").read_text(encoding="utf-8"))
    domain = address.domain(mail)
    for one in data["provider"]:
        if domain in one["domains"]:
            return Provider(**{name: one[name] for name in Provider.__dataclass_fields__})
    return None


def create(
    directory: Path, sender: Identity | None, reply_to: Identity | None
) -> tuple[list[Path], list[Path], Provider | None]:
    """Make a project folder; return what was written, what was kept, and the provider if it is known."""
    provider = provider_of(sender.address) if sender else None
    written: list[Path] = []
    kept: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        env = directory / ".env"
        if env.exists():
            kept.append(env)
        else:
            handle = os.open(env, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(env_text(sender, reply_to, provider))
            written.append(env)
        people = directory / "contacts.csv"
        if people.exists():
            kept.append(people)
        else:
            handle = os.open(people, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as raw:
                raw.write(shipped("contacts.example.csv").read_bytes())
            written.append(people)
        templates = directory / "templates"
        if templates.exists():
            kept.append(templates)
        else:
            shutil.copytree(shipped("templates"), templates)
            written.append(templates)
    except OSError as error:
        raise UsageError(f"{directory} cannot be set up: {error.strerror}", "choose another folder") from None
    return written, kept, provider


def env_text(sender: Identity | None, reply_to: Identity | None, provider: Provider | None) -> str:
    """Return a commented .env."""

    def line(name: str, value: str, example: str) -> str:
        return f"OUTREACH_{name}={value}" if value else f"# OUTREACH_{name}={example}"

    known = provider is not None and provider.smtp
    parts = [
        "# Settings of this project. Only you should read this file (mode 600).",
        "# A line that begins with # is off. `outreach settings` shows what holds.",
        "",
        "# Who writes, and where answers go. Use your real address: answers must reach you.",
        line("FROM", _shown(sender), "Solidarity Committee <press@mail.example>"),
        line("REPLY_TO", _shown(reply_to), "press@mail.example"),
        "",
    ]
    if provider is not None:
        parts += [f"# {provider.name}: {provider.password}"]
        parts += [f"# {provider.password_page}"] if provider.password_page else []
        parts += [f"# {provider.note}"] if provider.note else []
        parts += [f"# Facts from {provider.source}" + (f", {provider.checked}" if provider.checked else "")]
    parts += [
        "# The mail server. smtp:// is STARTTLS (587), smtps:// is TLS from the start (465); both verified.",
        line("SMTP_URL", provider.smtp if provider and known else "", "smtp://mail.example:587"),
        "# The login name is the FROM address unless set here.",
        line("SMTP_USER", "", "press@mail.example"),
        "# The password, or better a command that prints it.",
        line("SMTP_PASSWORD_COMMAND", "", "pass show mail"),
        line("SMTP_PASSWORD", "", ""),
        "",
        "# Where answers arrive, with the same login unless set otherwise. It is only read, never changed.",
        line("IMAP_URL", provider.imap if provider and known else "", "imaps://mail.example/INBOX"),
        "",
        "# How fast. All limits hold at once; ask your provider for its own and stay below.",
    ]
    if provider is not None and provider.limits:
        parts.append(f"# {provider.name} publishes {provider.limits}.")
    parts += [
        line("RATE", provider.rate if provider and known else "", "100/hour, 400/day"),
        line("RATE_PER_DOMAIN", "", "60/hour"),
        "# Sending hours where the reader is; mon-fri are the working days there.",
        line("WINDOW", "", "mon-fri 09:00-18:00"),
        "",
        "# The language of the source letter, for readers whose own language it does not have.",
        line("LANGUAGE", "", "en"),
        "",
        "# All other settings: docs/settings.md, or `outreach settings`.",
        "",
    ]
    return "\n".join(parts)


def _shown(identity: Identity | None) -> str:
    if identity is None:
        return ""
    if not identity.name:
        return identity.address
    text = f"{identity.name} <{identity.address}>"
    if set(identity.name) & set("#'\"\\"):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def overview(settings: Settings) -> tuple[list[tuple[str, str]], str]:
    """Return where a project stands, as (topic, words), and the next command."""
    lines: list[tuple[str, str]] = []
    step = ""
    people = None
    try:
        people = contacts.read([settings.contacts])
        lines.append(("list", f"{len(people.contacts)} of {people.rows} usable ({settings.contacts})"))
    except OutreachError as error:
        lines.append(("list", error.message))
        step = f"outreach contacts check {settings.contacts}"
    found = sources.names(settings.templates)
    wanting: dict[str, str] = {}  # letters that lack something for this list → the command that says what
    for name in found[:_LETTERS]:
        try:
            letter = open_letter(settings, settings.templates, name)
        except OutreachError as error:
            first = f": {error.problems[0]}" if error.problems else ""
            lines.append(("letter", f"{error.message}{first}"))
            step = step or f"outreach letters check {name}"
            continue
        cells = coverage.cells(letter, coverage.needed(letter, people.contacts if people else None))
        lacking = sum(cell.state is not coverage.Coverage.COMPLETE for cell in cells)
        said = f"; not right for {lacking} of {len(cells)} kinds of readers in the list" if lacking else ""
        lines.append(("letter", f"{name} ({', '.join(letter.languages)}){said}"))
        if lacking:
            wanting[name] = f"outreach letters check {name} --contacts {settings.contacts}"
    if len(found) > _LETTERS:
        lines.append(("letter", f"… and {len(found) - _LETTERS} more"))
    if not found:
        lines.append(("letter", f"none in {settings.templates}"))
        step = step or "outreach init"
    if settings.server and settings.sender:
        lines.append(("account", f"{settings.sender.address} by {settings.server}"))
    else:
        missing = [n for n, v in (("FROM", settings.sender), ("SMTP_URL", settings.server)) if v is None]
        lines.append(("account", f"not set up: {', '.join(f'OUTREACH_{n}' for n in missing)} in .env"))
        step = step or "outreach rehearse"
    if settings.ledger.exists():
        with Ledger(settings.ledger) as ledger:
            for mailing in ledger.mailings():
                wanting.pop(mailing.letter, None)
            doubtful = ""
            for mailing in ledger.mailings()[:3]:
                counts = ledger.counts(mailing)
                said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
                open_still = any(counts[state] for state in OPEN_STATES)
                if open_still and mailing.not_before > time.time():
                    said += f"; nothing leaves before {when(mailing.not_before)}"
                lines.append(("mailing", f"{mailing.name}: {said or 'nobody yet'}"))
                if open_still:
                    step = step or f"outreach send {mailing.letter}" + (
                        f" --name {mailing.name}" if mailing.name != mailing.letter else ""
                    )
                if counts[State.UNKNOWN]:
                    doubtful = doubtful or f"outreach resolve --mailing {mailing.name}"
            received = Received(ledger)
            if ledger.mailings() and (received.last() or settings.source):
                waiting, due = received.pending(), len(decisions.due(ledger, datetime.date.today()))
                unread = sum(
                    map(decisions.is_unanswered, decisions.document(ledger, received.mails(), False))
                )
                said = f"{unread} that nobody has dealt with, {waiting} to decide on, {due} promises due"
                lines.append(("answers", f"{said}; {decisions.last_read_words(received)}"))
                step = step or ("outreach replies list --unmatched" if waiting else "")
                step = step or ("outreach replies list --unanswered" if unread else "")
                step = step or ("outreach replies list --due" if due else "")
            step = doubtful or step
            if ledger.mailings() and not wanting:
                step = step or "outreach report -o report.csv"
    return lines, step or next(iter(wanting.values()), "outreach send --dry-run")
