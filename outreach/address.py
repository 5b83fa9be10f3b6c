"""Mail addresses: parse, compare, put on the wire.

Identity of an address (docs/architecture.md, "Addresses"): stripped, NFC, domain as lower-case A-label
(RFC 5890), local part compared case-folded and sent as written; plus-tags and dots count.
Refuses what no reader can have meant: display names, quoted local parts, reserved test domains that
email-validator refuses. Known limit: whether the mailbox exists is only ever known by the server.
"""

from __future__ import annotations

import re
import unicodedata

import idna
from email_validator import EmailNotValidError, validate_email

_SEPARATORS = re.compile(r"[;,\s]+")
# Names that never reach anybody (RFC 2606, RFC 6761).
_RESERVED = ("example", "test", "invalid", "localhost")
_RESERVED_DOMAINS = ("example.com", "example.net", "example.org")


class AddressError(ValueError):
    """The text is no mail address; the message says why, in words for the list's owner."""


def parse(text: str) -> str:
    """Return the address as it is sent: local part as written, domain in lower case and NFC."""
    text = unicodedata.normalize("NFC", text.strip())
    try:
        result = validate_email(text, check_deliverability=False, allow_smtputf8=True, strict=True)
    except EmailNotValidError as error:
        raise AddressError(str(error).rstrip(".")) from None
    for char in result.local_part:
        if not char.isascii() and unicodedata.category(char)[0] not in "LMN":
            raise AddressError(f"the character {char!r} does not belong in an address")
    return f"{result.local_part}@{result.domain}"


def split(cell: str) -> list[str]:
    """Cut a cell that holds one or several addresses into its parts."""
    return [part for part in _SEPARATORS.split(cell.strip()) if part]


def domain(address: str) -> str:
    """Return the domain as a lower-case A-label."""
    name = address.rpartition("@")[2]
    return name.lower() if name.isascii() else idna.encode(name, uts46=True).decode("ascii")


def key(address: str) -> str:
    """Return what two spellings of one address have in common; the ledger compares these."""
    text = unicodedata.normalize("NFC", address.strip())
    return f"{text.rpartition('@')[0].casefold()}@{domain(text)}"


def wire(address: str) -> str:
    """Return the address for envelope and header: the domain as A-label, the local part as it is."""
    return f"{address.rpartition('@')[0]}@{domain(address)}"


def needs_smtputf8(address: str) -> bool:
    """Tell whether only a server with SMTPUTF8 (RFC 6531) can take this address."""
    return not address.rpartition("@")[0].isascii()


def is_reserved(address: str) -> bool:
    """Tell whether the domain is set aside for documentation and tests (RFC 2606)."""
    name = domain(address)
    return name.rpartition(".")[2] in _RESERVED or any(
        name == reserved or name.endswith(f".{reserved}") for reserved in _RESERVED_DOMAINS
    )
