"""The words of the program as types, in the order the data flows.

contact → letter → rendered → message → delivery → attempt (outcome). Frozen values without behaviour;
nothing here reads a file, a clock or a socket. Times are UTC: `datetime` towards people and JSON,
seconds since the epoch (float) in the ledger and the sending loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# The columns every list may have; any other column becomes a field of the contact.
CONTACT_COLUMNS = ("email", "name", "audience", "organisation", "country", "language", "gender", "title")
# What a letter may use besides the fields of the list.
LETTER_VARIABLES = (*CONTACT_COLUMNS, "country_name", "salutation", "today", "sender")

# Columns that hold a part of a name; greetings use them.
NAME_PARTS = {
    "given": ("given_name", "first_name", "forename"),
    "family": ("family_name", "last_name", "surname"),
}


def name_part(fields: Mapping[str, str], part: str) -> str:
    """Return the given or the family name, from whichever column has it."""
    return next((fields[column] for column in NAME_PARTS[part] if fields.get(column)), "")


@dataclass(frozen=True, slots=True)
class Contact:
    """A row somebody gave us, with a usable primary address."""

    email: str
    name: str = ""
    audience: str = ""
    organisation: str = ""
    country: str = ""
    language: str = ""
    gender: str = ""
    title: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    alternates: tuple[str, ...] = ()
    line: int = 0
    file: str = ""
    people: tuple[Contact, ...] = ()  # those who share the inbox, each as their own row has them; else empty


PLUS = "+{token}"  # in an address for answers: each letter has its own


@dataclass(frozen=True, slots=True)
class Identity:
    """Who writes: a display name and an address, as in a From line."""

    name: str
    address: str

    @property
    def shown(self) -> str:
        """The address as people see it: without the place for a token."""
        return self.address.replace(PLUS, "")

    def with_token(self, token: str) -> str:
        """The address with a token where it has a place for one (RFC 5233)."""
        return self.address.replace(PLUS, f"+{token}")

    @property
    def domain(self) -> str:
        """The domain of the address."""
        return self.address.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` transactions in any `seconds` (a sliding window)."""

    count: int
    seconds: int

    def __str__(self) -> str:
        units = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
        return f"{self.count}/{units.get(self.seconds, f'{self.seconds}s')}"


class Security(StrEnum):
    """How a connection to a server is protected."""

    TLS = "tls"
    STARTTLS = "starttls"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Server:
    """Where and how to reach the submission server (RFC 6409, RFC 8314)."""

    host: str
    port: int
    security: Security
    user: str = ""
    tls_name: str = ""
    ca_file: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where answers arrive: an IMAP account, a Maildir, an mbox file, a folder of .eml files."""

    kind: str  # imap, maildir, mbox, eml
    path: str = ""  # of what is a file
    server: Server | None = None
    folders: tuple[str, ...] = ("INBOX",)
    spam: str | None = None  # None: found out; empty: there is none
    sent: str | None = None

    def __str__(self) -> str:
        if self.server is None:
            return f"{self.kind}:{self.path}"
        return f"{self.server.user or 'nobody'} at {self.server.host}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that travels with a letter."""

    name: str
    kind: str  # its media type
    size: int  # bytes of the file
    digest: str  # SHA-256, hex
    cid: str  # Content-ID of an inline image (RFC 2392), else empty
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A letter for one reader, before it is a message. Two languages: `fr+nl`."""

    subject: str
    text: str
    html: str
    language: str
    direction: str
    template: str
    attachments: tuple[Attachment, ...] = ()  # inline images have a cid


class State(StrEnum):
    """Where a delivery stands. `sent` means accepted by the next server, never read."""

    PLANNED = "planned"
    SENDING = "sending"
    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"


OPEN_STATES = (State.PLANNED, State.DEFERRED)  # may still leave
HELD_STATES = (
    State.PLANNED,
    State.SENDING,
    State.SENT,
    State.DEFERRED,
    State.UNKNOWN,
)  # has it, or may get it


class Verdict(StrEnum):
    """What one attempt came to."""

    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Scope(StrEnum):
    """Whose fault it is: this recipient's, this message's, or the whole session's."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    SESSION = "session"


class Kind(StrEnum):
    """What a refusal is about, where the server's code or words say it (verdicts.py)."""

    OTHER = ""
    GREYLISTED = "greylisted"
    BUSY = "busy"  # this recipient, for now
    MAILBOX_FULL = "mailbox-full"
    BAD_MAILBOX = "bad-mailbox"  # does not exist, or never takes mail again
    SPAM = "spam"  # the message, or our reputation
    SIZE = "size"
    QUOTA = "quota"  # our account's sending limit is used up
    SLOW_DOWN = "slow-down"  # too much from us for now
    CROWDED = "crowded"  # too many connections at once, or mails in one
    RELAY = "relay"
    SENDER = "sender"
    LOGIN = "login"
    PROTOCOL = "protocol"  # the server does not take our commands


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict of one attempt. `reply` is the server's words, `reason` ours; never mixed."""

    verdict: Verdict
    scope: Scope
    code: int | None = None
    enhanced: str = ""
    reply: str = ""
    reason: str = ""
    reached_rcpt: bool = False
    lost: bool = False  # the connection is gone, the server said nothing about this mail
    kind: Kind = Kind.OTHER


class Mark(StrEnum):
    """What a person did for the ask, by a person's word."""

    DONE = "done"
    PROMISED = "promised"
    FORWARDED = "forwarded"
    QUESTION = "question"
    REFUSED = "refused"
    NONE = "none"  # takes the mark before back


class Came(StrEnum):
    """What a mail that came back is."""

    REPLY = "reply"
    AUTO_REPLY = "auto-reply"
    BOUNCE = "bounce"
    OPT_OUT = "opt-out"
    COMPLAINT = "complaint"
    OTHER = "other"


# What tells that somebody is not silent, or not reached; an absence and a receipt do not.
ANSWERS = (Came.REPLY, Came.OPT_OUT, Came.COMPLAINT, Came.BOUNCE)
