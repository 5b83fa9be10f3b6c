"""Turn a rendered letter and its envelope into the bytes of a message (RFC 5322, MIME).

The standard library's EmailMessage with headers of our own that do no harm: values are never decoded,
identifiers are never folded into encoded words (CPython issue 85725), words are encoded by email.header,
internationalised domains travel as A-labels, dates are UTC, nothing names the machine. The finished header
block is checked line by line all the same. Files come encoded and are put in whole.
Raises MessageError when a message would not be what was asked for.
"""

from __future__ import annotations

import base64
import datetime
import email.errors
import hashlib
import hmac
import json
import secrets
import string
from collections.abc import Sequence
from email import policy
from email.header import Header
from email.headerregistry import BaseHeader, HeaderRegistry
from email.message import EmailMessage, MIMEPart
from email.utils import format_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from outreach import address
from outreach.model import Attachment, Contact, Identity, Rendered

_HEADERS = (
    "From",
    "To",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Content-Type",
)


_JOINERS = "\u200c\u200d"  # invisible, but part of Persian and Indic spelling
_NEED_QUOTING = bytes([ord("="), *range(127, 256)])


_NONCE = secrets.token_hex(8)
_ATOM = frozenset(string.ascii_letters + string.digits + " !#$%&'*+-/=?^_`{|}~")  # needs no quotes


class MessageError(ValueError):
    """This message cannot be built as it should be."""


class _Verbatim(BaseHeader):
    """A header whose value is what it says: nothing in it is decoded, and it stays on one line.

    The standard library's own classes decode encoded words in any value, so that a contact named
    `=?utf-8?q?=0ABcc:…?=` would become a header line.
    """

    max_count = 1

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        kwds["decoded"] = value
        kwds["parse_tree"] = None  # only the standard library's own fold() wants one

    def fold(self, *, policy: Any) -> str:
        return f"{self.name}: {self}{policy.linesep}"


class _Text(_Verbatim):
    """Words for people, in encoded words of at most 75 characters where ASCII does not do (RFC 2047)."""

    def fold(self, *, policy: Any) -> str:
        return f"{self.name}: {_encode(str(self), self.name, policy.linesep)}{policy.linesep}"


class _Mailbox(_Verbatim):
    """`Name <address>`, the name quoted or in encoded words (RFC 5322 §3.4, RFC 2047 §5)."""

    def fold(self, *, policy: Any) -> str:
        name, _, mail = str(self).rpartition(" <")
        if not name:
            return f"{self.name}: {mail.removesuffix('>')}{policy.linesep}"
        if _is_plain(name) and len(name) < 400:  # escapes may double it
            if not set(name) <= _ATOM:
                name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        else:
            name = _encode_always(name, self.name, policy.linesep)
        last = name.rpartition("\n")[2]
        space = " " if len(self.name) + len(last) + len(mail) < 74 else f"{policy.linesep} "
        return f"{self.name}: {name}{space}<{mail}{policy.linesep}"


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and len(text) < 900 and "=?" not in text


def _encode(text: str, header_name: str, linesep: str) -> str:
    return text if _is_plain(text) else _encode_always(text, header_name, linesep)


def _encode_always(text: str, header_name: str, linesep: str) -> str:
    return Header(text, "utf-8", maxlinelen=75, header_name=header_name).encode(linesep=linesep)


def _registry() -> HeaderRegistry:
    registry = HeaderRegistry(default_class=_Verbatim)  # type: ignore[arg-type]
    for name in ("date", "message-id", "in-reply-to", "references", "content-disposition"):
        registry.map_to_type(name, _Verbatim)
    for name in ("from", "to", "reply-to"):
        registry.map_to_type(name, _Mailbox)
    registry.map_to_type("subject", _Text)
    return registry


_POLICY = policy.SMTP.clone(header_factory=_registry(), max_line_length=78)
_POLICY_UTF8 = _POLICY.clone(utf8=True)


def build(
    rendered: Rendered,
    recipient: Contact,
    sender: Identity,
    reply_to: Identity,
    unsubscribe: str,
    message_id: str,
    date: datetime.datetime,
    thread: Sequence[str] = (),
) -> bytes:
    """Return the message as bytes with CRLF line ends.

    `unsubscribe` is a URL; `{token}` in it becomes the token of the Message-ID.
    `message_id` has its angle brackets, and so have those of the letters before it, the `thread`.
    Raises MessageError.
    """
    utf8 = address.needs_smtputf8(recipient.email)
    mail = EmailMessage(policy=_POLICY_UTF8 if utf8 else _POLICY)
    try:
        mail["From"] = _mailbox(sender.name, sender.address)
        mail["To"] = _mailbox(recipient.name, recipient.email)
        mail["Reply-To"] = _mailbox(reply_to.name, reply_to.with_token(token_of(message_id)))
        mail["Subject"] = rendered.subject
        mail["Date"] = format_datetime(date.astimezone(datetime.UTC).replace(microsecond=0))
        mail["Message-ID"] = message_id
        if thread:
            mail["In-Reply-To"], mail["References"] = thread[-1], " ".join(thread)
        link = unsubscribe or f"mailto:{address.wire(reply_to.shown)}?subject=unsubscribe%20{{token}}"
        mail["List-Unsubscribe"] = f"<{link.replace('{token}', token_of(message_id))}>"
        if link.startswith("https:"):
            mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
        mail.set_content(rendered.text, cte=_encoding(rendered.text))
        mail.add_alternative(rendered.html, subtype="html", cte=_encoding(rendered.html))
        _attach(mail, rendered)
        data = mail.as_bytes()
    except (ValueError, email.errors.MessageError) as error:
        raise MessageError(f"no message can be made for {recipient.email}: {error}") from error
    _check(data)
    if not rendered.attachments:
        return data
    head, _, body = data.partition(b"\r\n\r\n")
    for one in rendered.attachments:  # encoded once for the mailing, put in whole
        body = body.replace(_stand_in(one), encoded(one), 1)
    return head + b"\r\n\r\n" + body


def _attach(mail: EmailMessage, rendered: Rendered) -> None:
    """Add the files: images beside the HTML that shows them (RFC 2387), the others behind the letter."""
    # The standard library draws random boundaries; ours follow the content, so previews compare.
    boundary = hashlib.sha256(f"{rendered.text}\0{rendered.html}".encode()).hexdigest()[:32]
    mail.set_boundary(boundary)
    images = [_part(one, mail.policy) for one in rendered.attachments if one.cid]
    others = [_part(one, mail.policy) for one in rendered.attachments if not one.cid]
    if images:
        html = next(part for part in mail.iter_parts() if part.get_content_subtype() == "html")
        assert isinstance(html, MIMEPart)
        html.make_related(boundary=f"{boundary}r")
        html.set_param("type", "text/html")
        for part in images:
            html.attach(part)
    if others:
        mail.make_mixed(boundary=f"{boundary}m")
        for part in others:
            mail.attach(part)


def _part(one: Attachment, its_policy: Any) -> Any:
    """Return a part whose body is a stand-in for the encoded file."""
    part = MIMEPart(policy=its_policy)
    part["Content-Type"] = one.kind
    part["Content-Transfer-Encoding"] = "base64"
    place = "inline" if one.cid else "attachment"
    part["Content-Disposition"] = f"{place}; {_file_name(one.name)}"
    if one.cid:
        part["Content-ID"] = f"<{one.cid}>"
    part.set_payload(_stand_in(one).decode())
    return part


@lru_cache(maxsize=64)
def encoded(one: Attachment) -> bytes:
    """Return a file in base64, in lines of 76 characters (RFC 2045 §6.8); once for the whole mailing."""
    step = 57 * 1_000  # whole lines at a time: encodebytes keeps an object for every line
    pieces = (one.data[at : at + step] for at in range(0, len(one.data), step))
    return b"".join(base64.encodebytes(piece).replace(b"\n", b"\r\n") for piece in pieces)


def _file_name(name: str) -> str:
    """Write the name of a file as a parameter (RFC 2183, RFC 2231 §4)."""
    if name.isascii() and name.isprintable():
        return 'filename="' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"filename*=UTF-8''{quote(name, safe='')}"


def _stand_in(one: Attachment) -> bytes:
    """Return a line that no text can hold: in an encoded part, = stands before two digits or at the end."""
    return f"={_NONCE}{one.digest}{'i' if one.cid else ''}=\r\n".encode()


def _mailbox(name: str, mail: str) -> str:
    kept = (char if char.isprintable() or char in _JOINERS else " " for char in name)
    name = " ".join("".join(kept).split())
    return f"{name} <{address.wire(mail)}>"


def _encoding(text: str) -> str:
    """Choose the smaller transfer encoding; base64 for mostly Latin text looks like spam."""
    raw = text.encode()
    quoted = len(raw) + 2 * (len(raw) - len(raw.translate(None, _NEED_QUOTING)))
    return "quoted-printable" if quoted <= len(raw) * 4 / 3 else "base64"


def _check(data: bytes) -> None:
    head, _, body = data.partition(b"\r\n\r\n")
    names = [
        line.partition(b":")[0].decode("ascii", "replace")
        for line in head.split(b"\r\n")
        if line[:1] not in (b" ", b"\t")
    ]
    if len(set(names)) != len(names) or not set(names) <= set(_HEADERS):
        raise MessageError(f"the header block is not as it should be: {', '.join(names)}")
    if b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""):
        raise MessageError("a header holds a line break")
    if any(len(line) > 998 for line in data.split(b"\r\n")):  # RFC 5322 §2.1.1
        raise MessageError("a line is longer than 998 bytes")
    if not body:
        raise MessageError("the message has no body")


def new_message_id(key: bytes, recipient: str, domain: str) -> str:
    """Return `<token@domain>`; the token proves that this ledger wrote to this recipient."""
    nonce = secrets.token_bytes(10)
    return f"<{_token(key, nonce, recipient)}@{domain}>"


def verify_token(key: bytes, token: str, recipient: str) -> bool:
    """Tell whether a token was made by this ledger for this recipient."""
    try:
        nonce = base64.b32decode(token.upper())[:10]
        token.encode("ascii")
    except ValueError:
        return False
    return hmac.compare_digest(_token(key, nonce, recipient), token.lower())


def _token(key: bytes, nonce: bytes, recipient: str) -> str:
    proof = hmac.digest(key, nonce + address.key(recipient).encode(), "sha256")[:15]
    return base64.b32encode(nonce + proof).decode("ascii").lower()


def token_of(message_id: str) -> str:
    """Return the token inside a Message-ID of ours."""
    return message_id.strip("<>").partition("@")[0]


def content_hash(rendered: Rendered, sender: Identity, reply_to: Identity, unsubscribe: str) -> str:
    """Return what identifies a message's content, files included, without Date, Message-ID and token."""
    parts = [
        rendered.subject,
        rendered.text,
        rendered.html,
        f"{sender.name} <{sender.address}>",
        f"{reply_to.name} <{reply_to.address}>",
        unsubscribe,
        *(f"{one.name} {one.kind} {one.digest} {one.cid}" for one in rendered.attachments),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def fingerprint(hashes: dict[str, str]) -> str:
    """Return 12 hex digits over the sorted (address, content hash) pairs of a whole mailing."""
    text = "".join(f"{mail}\0{digest}\n" for mail, digest in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
