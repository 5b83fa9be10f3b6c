"""Answer for the recipients of a rehearsal, as people and machines do, so that answers are rehearsed, too.

A role is the beginning of an address: reply+ (a person, now and then an assistant from another address),
away+ (a note of absence, RFC 3834), bounce+ (a delivery report, RFC 3464) and stop+ (no more mail, please).
The words are in actors.toml, in every language that has greetings; other letters are answered in English.
Which words, which mail program and which encoding follow from the recipient's address alone, so a rehearsal
can be repeated. Pure: bytes in, bytes out; the time is an argument. Only for letters that message.py built.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import quopri
import re
import textwrap
import tomllib
from dataclasses import dataclass
from email.header import Header
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any

from outreach import address, inbound, languages

ROLES = ("reply", "away", "bounce", "stop")
MANNERS = ("above", "below", "outlook", "html")  # how programs put answer and quotation together
_ASSISTANTS = 3  # every third answer comes from an assistant
VARIANTS = 5 * len(MANNERS) * _ASSISTANTS  # of the role that has most
_DAYS = range(5, 19)  # until somebody is back; what falls on a weekend becomes the Monday
_LANG = re.compile(r"<html[^>]{0,200}\slang=[\"']?([A-Za-z-]{2,35})", re.IGNORECASE)
_WIDTH = 72
_LONGEST = 998  # bytes of a line (RFC 5322 §2.1.1)
_DIAGNOSES = (
    "550 5.1.1 <{recipient}>: Recipient address rejected: User unknown in virtual mailbox table",
    "550 5.1.1 <{recipient}> User unknown; no such user here",
)
_REPORT = """This is the mail system at host mx.{domain}.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. The headers of it are attached below.

                   The mail system

{reason}
"""
_PROGRAMS = {
    "above": ("User-Agent", "Mozilla Thunderbird"),
    "below": ("User-Agent", "Mozilla Thunderbird"),
    "outlook": ("X-Mailer", "Microsoft Outlook 16.0"),
    "html": ("X-Mailer", "Webmail"),
}
_Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Person:
    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


@dataclass(frozen=True, slots=True)
class _Letter:
    """What an answer needs of the letter that it answers."""

    head: bytes
    sender: _Person
    reply_to: _Person
    recipient: _Person
    subject: str
    message_id: str
    date: datetime.datetime
    text: str
    language: str


class _Day:
    """A day that writes itself in a language: {day} or {day:d MMMM}."""

    def __init__(self, day: datetime.date, language: str) -> None:
        self._day, self._language = day, language

    def __format__(self, form: str) -> str:
        return languages.date(self._day, self._language, form or "long")


def answer(letter: bytes, recipient: str, now: datetime.datetime) -> bytes | None:
    """Return the mail that comes back for a letter to an address (that of RCPT), or None for no role."""
    digest = _digest(recipient)
    return play(letter, recipient, now, int.from_bytes(digest[:4], "big"))


def play(letter: bytes, recipient: str, now: datetime.datetime, variant: int) -> bytes | None:
    """Return one of the mails that may come back: below VARIANTS, every number is another one."""
    role, plus, _ = recipient.rpartition("@")[0].partition("+")
    role = role.lower()
    if not plus or role not in ROLES:
        return None
    now = now if now.tzinfo else now.replace(tzinfo=datetime.UTC)
    got = _read(letter, address.wire(recipient), now)
    if role == "bounce":
        return _bounce(got, now, variant)
    if role == "away":
        return _away(got, now, variant)
    return _person(got, role, now, variant)


def returns(recipient: str, now: datetime.datetime) -> datetime.date:
    """Return the day that an away+ address names, and others promise something for: a day of work."""
    day = now.date() + datetime.timedelta(days=_DAYS[_digest(recipient)[4] % len(_DAYS)])
    weekend = day.weekday() > 4
    return day + datetime.timedelta(days=7 - day.weekday() if weekend else 0)


def _digest(recipient: str) -> bytes:
    return hashlib.sha256(address.wire(recipient).lower().encode()).digest()


@cache
def words() -> dict[str, Any]:
    """Return actors.toml: by language what people and machines say."""
    return tomllib.loads(Path(__file__).with_name("actors.toml").read_text("utf-8"))


# -- the letter


def _read(letter: bytes, recipient: str, now: datetime.datetime) -> _Letter:
    mail = inbound.read(letter)
    sender = _mailbox(mail.get("from"))
    page = next((part.text for part in mail.parts if part.kind == "text/html"), "")
    tag = _LANG.search(page)
    spoken = languages.truncations(tag[1].lower()) if tag else []
    return _Letter(
        head=letter.replace(b"\r\n", b"\n").partition(b"\n\n")[0],
        sender=sender,
        reply_to=_mailbox(mail.get("reply-to")) if mail.get("reply-to") else sender,
        recipient=_Person(_mailbox(mail.get("to")).name, recipient),
        subject=mail.subject[:300],
        message_id=mail.get("message-id").strip(),
        date=mail.date or now,
        text=mail.text.strip("\n"),
        language=next((one for one in spoken if one in words()), "en"),
    )


def _mailbox(value: str) -> _Person:
    """Take `Name <address>` apart, as message.py writes it, decoded."""
    name, _, mail = value.strip().rpartition("<")
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    kept = "".join(char if char.isprintable() else " " for char in name)
    return _Person(" ".join(kept.split())[:200], mail.strip(" <>"))


# -- people


def _person(letter: _Letter, role: str, now: datetime.datetime, variant: int) -> bytes:
    """A person answers: their own words, and the letter below, above or beside them."""
    said = words()[letter.language]
    sentences = list(said[role].values())
    number, rest = variant % len(sentences), variant // len(sentences)
    manner, rest = MANNERS[rest % len(MANNERS)], rest // len(MANNERS)
    day = _Day(returns(letter.recipient.address, now), letter.language)
    sentence = sentences[number].format(day=day)
    writer = letter.recipient
    if role == "reply" and rest % _ASSISTANTS == 0:
        writer = _Person(said["office"], _desk(letter))
        sentence = f"{said['assistant']} {sentence[0].upper()}{sentence[1:]}"
    if manner in ("above", "below"):
        sentence = _wrapped(sentence)
    own = f"{said['hello']}\n\n{sentence}\n\n{said['bye']}\n{writer.name}".rstrip()
    charset = said["charset"] if (number + MANNERS.index(manner)) % 2 == 0 and manner != "html" else "utf-8"
    head: _Headers = [
        *_envelope(letter, writer, now, f"{said['re']}: {letter.subject}", role, charset),
        *_references(letter),
        _PROGRAMS[manner],
    ]
    if manner != "html":
        return _mail(head, _part(_quoting(letter, own, manner), "plain", charset))
    parts = [
        _part(f"{own}\n\n{_attribution(letter)}\n\n{_marked(letter.text)}", "plain", charset),
        _part(_page(letter, own), "html", charset),
    ]
    return _multipart(head, "alternative", parts)


def _desk(letter: _Letter) -> str:
    return f"office@{letter.recipient.address.rpartition('@')[2]}"


def _quoting(letter: _Letter, own: str, manner: str) -> str:
    """Put a person's words and the letter together as a mail program does."""
    body = letter.text.partition("\n-- \n")[0].rstrip()
    if manner == "above":
        return f"{own}\n\n{_attribution(letter)}\n{_marked(body)}\n"
    if manner == "below":  # those who answer below cut the quotation
        paragraphs = [one for one in body.split("\n\n") if len(one) > 80] or [body]
        return f"{_attribution(letter)}\n{_marked(paragraphs[-1])}\n\n{own}\n"
    said = words()[letter.language]
    sent = f"{languages.date(letter.date.date(), letter.language, 'full')} {letter.date:%H:%M}"
    values = (str(letter.sender), sent, str(letter.recipient), letter.subject)
    block = "\n".join(f"{label}: {value}" for label, value in zip(said["headers"], values, strict=True))
    return f"{own}\n\n{'_' * 32}\n{block}\n\n{letter.text}\n"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _attribution(letter: _Letter) -> str:
    said = words()[letter.language]
    line = said["attribution"].format(
        stamp=languages.date(letter.date.date(), letter.language, said["stamp"]),
        hour=letter.date.strftime(said["hour"]),
        name=letter.sender.name,
        address=letter.sender.address,
    )
    return " ".join(line.split())


def _marked(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def _page(letter: _Letter, own: str) -> str:
    way = languages.direction(letter.language)
    quoted = html.escape(letter.text).replace("\n", "<br>\n")
    return (
        f'<html><body><div dir="{way}">{html.escape(own, quote=False).replace(chr(10), "<br>" + chr(10))}'
        f'</div>\n<br>\n<div class="gmail_quote"><div dir="{way}" class="gmail_attr">'
        f'{html.escape(_attribution(letter))}<br></div>\n<blockquote class="gmail_quote" '
        'style="margin:0 0 0 .8ex;border-left:1px #ccc solid;padding-left:1ex">\n'
        f'<div dir="{way}">{quoted}</div>\n</blockquote></div></body></html>\n'
    )


# -- machines


def _away(letter: _Letter, now: datetime.datetime, variant: int) -> bytes:
    """A note of absence, with the day of return as people write it (RFC 3834)."""
    said = words()[letter.language]
    notes = list(said["away"].values())
    number, rest = variant % len(notes), variant // len(notes)
    note, _, title = notes[number].partition(" || ")
    day = _Day(returns(letter.recipient.address, now), letter.language)
    text = f"{note.format(day=day, desk=_desk(letter))}\n\n{said['bye']}\n{letter.recipient.name}".rstrip()
    charset = said["charset"] if rest % 2 else "utf-8"
    head: _Headers = [
        ("Return-Path", "<>"),  # RFC 3834 §3.3
        *_envelope(letter, letter.recipient, now, f"{title}: {letter.subject}", "away", charset),
        *(_references(letter) if rest % 3 else []),  # some servers leave them out
        ("Auto-Submitted", "auto-replied"),
        *([("X-Auto-Response-Suppress", "All")] if number == 0 else [("Precedence", "bulk")]),
    ]
    return _mail(head, _part(text + "\n", "plain", charset))


def _bounce(letter: _Letter, now: datetime.datetime, variant: int) -> bytes:
    """A delivery status notification to the sender of the envelope (RFC 3464), with the letter's headers."""
    recipient = letter.recipient.address
    domain = recipient.rpartition("@")[2]
    diagnosis = _DIAGNOSES[variant % len(_DIAGNOSES)].format(recipient=recipient)
    status = (
        f"Reporting-MTA: dns; mx.{domain}\nArrival-Date: {format_datetime(now.replace(microsecond=0))}\n\n"
        f"Final-Recipient: rfc822; {recipient}\nAction: failed\nStatus: 5.1.1\n"
        f"Remote-MTA: dns; mail.{domain}\nDiagnostic-Code: smtp; {diagnosis}\n"
    )
    head: _Headers = [
        ("Return-Path", "<>"),
        ("From", f"Mail Delivery System <MAILER-DAEMON@{domain}>"),
        ("To", letter.sender.address),
        ("Subject", "Undelivered Mail Returned to Sender"),
        ("Date", format_datetime(now.replace(microsecond=0))),
        ("Message-ID", _message_id(letter, "bounce", domain)),
        ("Auto-Submitted", "auto-replied"),
    ]
    reason = f"<{recipient}>: host mail.{domain} said: {diagnosis} (in reply to RCPT TO command)"
    text = _REPORT.format(domain=domain, reason=_wrapped(reason, "    "))
    parts = [
        _part(text, "plain", "us-ascii" if text.isascii() else "utf-8"),
        _as_it_is("message/delivery-status", status.encode()),
        _as_it_is("text/rfc822-headers", letter.head + b"\n"),
    ]
    return _multipart(head, "report; report-type=delivery-status", parts)


# -- bytes


def _envelope(
    letter: _Letter, writer: _Person, now: datetime.datetime, subject: str, role: str, charset: str
) -> _Headers:
    domain = writer.address.rpartition("@")[2]
    return [
        ("From", _written(writer, charset, "From")),
        ("To", _written(letter.reply_to, charset, "To")),
        ("Subject", _encoded(subject, charset, "Subject")),
        ("Date", format_datetime(now.replace(microsecond=0))),
        ("Message-ID", _message_id(letter, role, domain)),
    ]


def _references(letter: _Letter) -> _Headers:
    mark = letter.message_id
    return [("In-Reply-To", mark), ("References", mark)] if mark else []


def _message_id(letter: _Letter, role: str, domain: str) -> str:
    digest = hashlib.sha256(f"{role}\0{letter.message_id}\0{letter.recipient.address}".encode())
    return f"<{digest.hexdigest()[:24]}@{domain}>"


def _written(person: _Person, charset: str, header: str) -> str:
    """Write `Name <address>` for a header."""
    if not person.name:
        return person.address
    name = person.name
    if name.isascii() and "=?" not in name:
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    else:
        name = _encoded(name, charset, header)
    last = name.rpartition("\n")[2]
    space = " " if len(header) + len(last) + len(person.address) < 72 else "\r\n "
    return f"{name}{space}<{person.address}>"


def _encoded(text: str, charset: str, header: str) -> str:
    if text.isascii() and "=?" not in text:
        charset = "us-ascii"
    elif not _fits(text, charset):
        charset = "utf-8"
    return Header(text, charset, maxlinelen=75, header_name=header).encode(linesep="\r\n")


def _fits(text: str, charset: str) -> bool:
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        return False
    return True


def _part(text: str, subtype: str, charset: str) -> bytes:
    """Return a text with its headers: in its charset if it fits, else in UTF-8, as programs do."""
    charset = charset if _fits(text, charset) else "utf-8"
    data = text.encode(charset)
    strange = sum(byte > 126 for byte in data)
    short = all(len(line) < _LONGEST for line in data.split(b"\n"))
    if short and (not strange or (charset != "utf-8" and strange * 6 >= len(data))):
        how, body = "8bit" if strange else "7bit", data
    elif strange * 6 < len(data):
        how, body = "quoted-printable", quopri.encodestring(data)
    else:
        how, body = "base64", base64.encodebytes(data.replace(b"\n", b"\r\n"))
    head = f"Content-Type: text/{subtype}; charset={charset}\nContent-Transfer-Encoding: {how}\n\n"
    return head.encode() + body


def _as_it_is(kind: str, data: bytes) -> bytes:
    how = "7bit" if data.isascii() else "8bit"
    return f"Content-Type: {kind}\nContent-Transfer-Encoding: {how}\n\n".encode() + data


def _multipart(headers: _Headers, kind: str, parts: list[bytes]) -> bytes:
    boundary = "=_" + hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]
    body = b"".join(b"--" + boundary.encode() + b"\n" + part + b"\n" for part in parts)
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\n'
    return _mail(headers, head.encode() + body + f"--{boundary}--\n".encode())


def _mail(headers: _Headers, rest: bytes) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in (*headers, ("MIME-Version", "1.0")))
    return head.encode() + rest.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
