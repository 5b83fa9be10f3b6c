"""Turn a rendered letter and its envelope into the bytes of a message (RFC 5322, MIME).

The standard library's EmailMessage with a policy that does no harm: identifier headers are never folded
into encoded words (CPython issue 85725), subjects are encoded by email.header, internationalised domains
travel as A-labels, dates are UTC, nothing names the machine. The finished header block is checked line
by line, since some CPython versions let an encoded word in a name become a header line.
Raises MessageError when a message would not be what was asked for.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import secrets
from email import policy
from email.header import Header
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from outreach import address
from outreach.model import Contact, Identity, Rendered

_HEADERS = (
    "From",
    "To",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Content-Type",
)


_NEED_QUOTING = bytes([ord("="), *range(127, 256)])


class MessageError(ValueError):
    """This message cannot be built as it should be."""


class _Unfolded(UnstructuredHeader, BaseHeader):
    """A header of identifiers: one line, never an encoded word."""

    def fold(self, *, policy: Any) -> str:
        return f"{self.name}: {self}{policy.linesep}"


class _Subject(UnstructuredHeader, BaseHeader):
    """A subject as RFC 2047 wants it: encoded words of at most 75 characters."""

    def fold(self, *, policy: Any) -> str:
        text = str(self)
        plain = text.isascii() and len(text) < 900 and "=?" not in text
        header = Header(text, "us-ascii" if plain else "utf-8", maxlinelen=75, header_name=self.name)
        return f"{self.name}: {header.encode(linesep=policy.linesep)}{policy.linesep}"


def _registry() -> HeaderRegistry:
    registry = HeaderRegistry()
    for name in ("message-id", "in-reply-to", "references", "list-unsubscribe", "list-unsubscribe-post"):
        registry.map_to_type(name, _Unfolded)
    registry.map_to_type("subject", _Subject)
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
) -> bytes:
    """Return the message as bytes with CRLF line ends.

    `unsubscribe` is a URL; `{token}` in it becomes the token of the Message-ID.
    `message_id` has its angle brackets. Raises MessageError.
    """
    utf8 = address.needs_smtputf8(recipient.email)
    mail = EmailMessage(policy=_POLICY_UTF8 if utf8 else _POLICY)
    try:
        mail["From"] = _mailbox(sender.name, sender.address)
        mail["To"] = _mailbox(recipient.name, recipient.email)
        mail["Reply-To"] = _mailbox(reply_to.name, reply_to.address)
        mail["Subject"] = rendered.subject
        mail["Date"] = format_datetime(date.astimezone(datetime.UTC).replace(microsecond=0))
        mail["Message-ID"] = message_id
        link = unsubscribe or f"mailto:{address.wire(reply_to.address)}?subject=unsubscribe"
        mail["List-Unsubscribe"] = f"<{link.replace('{token}', token_of(message_id))}>"
        if link.startswith("https:"):
            mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
        mail.set_content(rendered.text, cte=_encoding(rendered.text))
        mail.add_alternative(rendered.html, subtype="html", cte=_encoding(rendered.html))
        # The standard library draws a random boundary; ours follows the content, so previews compare.
        mail.set_boundary(hashlib.sha256(f"{rendered.text}\0{rendered.html}".encode()).hexdigest()[:32])
        data = mail.as_bytes()
    except (ValueError, UnicodeError) as error:
        raise MessageError(f"no message can be made for {recipient.email}: {error}") from error
    _check(data)
    return data


def _mailbox(name: str, mail: str) -> Address:
    name = " ".join("".join(char if char.isprintable() else " " for char in name).split())
    # Not addr_spec=: that refuses the letters that SMTPUTF8 allows.
    local, _, domain = address.wire(mail).rpartition("@")
    return Address(display_name=name, username=local, domain=domain)


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
    """Return what identifies a message's content, without Date, Message-ID and token."""
    parts = [
        rendered.subject,
        rendered.text,
        rendered.html,
        f"{sender.name} <{sender.address}>",
        f"{reply_to.name} <{reply_to.address}>",
        unsubscribe,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def fingerprint(hashes: dict[str, str]) -> str:
    """Return 12 hex digits over the sorted (address, content hash) pairs of a whole mailing."""
    text = "".join(f"{mail}\0{digest}\n" for mail, digest in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
