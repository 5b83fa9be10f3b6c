"""Judge a server's refusal: whose fault, how bad, what about. One table for every stage of a session.

Scope × severity: the first digit says how bad (4yz later, 5yz never; RFC 5321 §4.2.1); the stage, the
enhanced code (RFC 3463, RFC 7505) and known words say whose fault. Words of providers stand in
refusals.toml, dated; the general ones here come after them. Status codes lie, so doubt is the milder
reading: a mailbox is dead only when code or words say exactly that.
Pure. Table for people: docs/architecture.md, "When a mail fails".
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from outreach.model import Kind, Outcome, Scope, Verdict


class Stage(StrEnum):
    """What the server's reply answers."""

    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"  # said before the whole body was there
    DOT = "dot"


_OPENING = (Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)
_ABOUT_US = (
    Kind.QUOTA,
    Kind.SLOW_DOWN,
    Kind.CROWDED,
    Kind.RELAY,
    Kind.SENDER,
    Kind.LOGIN,
    Kind.PROTOCOL,
)
_ABOUT_THEM = (Kind.GREYLISTED, Kind.BUSY, Kind.MAILBOX_FULL, Kind.BAD_MAILBOX)
_ABOUT_THE_MESSAGE = (Kind.SPAM, Kind.SIZE)

# RFC 3463 and its registry: subject.detail → kind.
_BY_ENHANCED = {
    "1.1": Kind.BAD_MAILBOX,
    "1.2": Kind.BAD_MAILBOX,  # bad system
    "1.3": Kind.BAD_MAILBOX,  # bad syntax
    "1.6": Kind.BAD_MAILBOX,  # moved
    "1.7": Kind.SENDER,
    "1.8": Kind.SENDER,
    "1.10": Kind.BAD_MAILBOX,  # null MX (RFC 7505)
    "2.1": Kind.BAD_MAILBOX,  # disabled
    "2.2": Kind.MAILBOX_FULL,
    "3.4": Kind.SIZE,
    "7.20": Kind.SPAM,  # no valid DKIM signature, no SPF, no reverse DNS (RFC 7372)
    "7.21": Kind.SPAM,
    "7.22": Kind.SPAM,
    "7.23": Kind.SPAM,
    "7.24": Kind.SPAM,
    "7.25": Kind.SPAM,
    "7.26": Kind.SPAM,
}
# RFC 4954 and RFC 5321, where the basic code alone is enough.
_BY_CODE = {530: Kind.LOGIN, 534: Kind.LOGIN, 535: Kind.LOGIN, 538: Kind.LOGIN}
_NOT_UNDERSTOOD = (500, 502, 503, 504)
# Less from us, please. Servers have no word for it in common, but these say nothing else; not after a code
# that tells of the recipient ("receiving mail too quickly").
_LESS_WORDS = re.compile(
    r"rate[ -]?limit|throttl|slow(er)?[ -]?down|too (fast|quickly|frequent)"
    r"|(sending|message|mail|e-mail) rate"
    r"|(hourly|daily|per[- ](minute|hour|day)) (\w+ )?(limit|quota)"
    r"|(limit|quota|maximum|max|more than|exceed\w*)\b.{0,60}\b(per|an|each|this|last) (minute|hour|day)\b"
    r"|too many (messages|mails|e-?mails|recipients|deliveries) (from|in|per|sent|this|today|within)"
    r"|message count limit",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\S+@\S+")  # may be called anything
# What any server may say. Only where no enhanced code tells of the recipient.
_WORDS_ABOUT_US = (
    (Kind.QUOTA, r"quota exceeded for sender|sending (limit|quota)|too many messages|daily (limit|quota)"),
    (Kind.RELAY, r"relay"),
    (Kind.SENDER, r"sender (address )?(rejected|denied)"),
    (
        Kind.LOGIN,
        r"authenticat\w+ (is )?(required|needed)|(must|please) (first )?(authenticate|log ?in)"
        r"|credential|not authori[sz]ed(?! for)",
    ),
)
_DEAD_WORDS = re.compile(
    r"user unknown|unknown (user|recipient)|no such (user|recipient|mailbox)|mailbox not found"
    r"|(user|recipient|mailbox|account|address) (does not|doesn't) exist|invalid (recipient|mailbox)",
    re.IGNORECASE,
)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row of refusals.toml."""

    provider: str
    kind: Kind
    codes: tuple[int, ...]
    enhanced: tuple[str, ...]
    words: re.Pattern[str] | None
    example: str
    source: str

    def fits(self, code: int, enhanced: str, words: str) -> bool:
        """Tell whether a reply is this one."""
        return (
            (not self.codes or code in self.codes)
            and (not self.enhanced or enhanced in self.enhanced)
            and (self.words is None or self.words.search(words) is not None)
        )


@lru_cache(maxsize=1)
def refusals() -> tuple[Refusal, ...]:
    """Return the known words of providers, the first fitting one counts."""
    data = tomllib.loads(Path(__file__).with_name("refusals.toml").read_text("utf-8"))
    return tuple(
        Refusal(
            row["provider"],
            Kind(row["kind"]),
            tuple(row.get("codes", ())),
            tuple(row.get("enhanced", ())),
            re.compile(row["words"], re.IGNORECASE) if "words" in row else None,
            row["example"],
            row["source"],
        )
        for row in data["refusal"]
    )


def enhanced_code(words: str) -> str:
    """Return the enhanced status code that begins a reply's text, or an empty string (RFC 2034)."""
    found = _ENHANCED.match(words)
    return found[1] if found else ""


def judge(stage: Stage, code: int, words: str, reached_rcpt: bool = False) -> Outcome:
    """Return the outcome of a reply that refuses (400 and above), at the stage it answers."""
    verdict = Verdict.FAILED if code >= 500 else Verdict.DEFERRED
    enhanced = enhanced_code(words)
    kind = _kind(stage, code, enhanced, words)
    # RFC 5321 §3.8: with 421 the server closes, whatever we asked.
    scope = Scope.SESSION if code == 421 else _scope(stage, code, enhanced, kind)
    return Outcome(verdict, scope, code, enhanced, words, reached_rcpt=reached_rcpt, kind=kind)


def _kind(stage: Stage, code: int, enhanced: str, words: str) -> Kind:
    for row in refusals():
        if row.fits(code, enhanced, words) and not (row.kind is Kind.BAD_MAILBOX and stage is Stage.MAIL):
            return row.kind
    subject = enhanced[2:]
    if code in _BY_CODE:
        return _BY_CODE[code]
    if stage in (Stage.MAIL, Stage.RCPT, Stage.DATA) and code in _NOT_UNDERSTOOD and subject[:2] != "1.":
        return Kind.PROTOCOL
    kind = _BY_ENHANCED.get(subject, Kind.OTHER)
    if kind is Kind.BAD_MAILBOX and (code < 500 or stage is Stage.MAIL):
        kind = Kind.OTHER  # not for good; or about the sender
    if kind is not Kind.OTHER:
        return kind
    if subject[:2] not in ("1.", "2.") and _LESS_WORDS.search(_ADDRESS.sub("", words)):
        return Kind.QUOTA if code >= 500 else Kind.SLOW_DOWN
    if subject[:2] not in ("1.", "2.") and not (stage is Stage.RCPT and code == 450):
        for about, pattern in _WORDS_ABOUT_US:
            if re.search(pattern, words, re.IGNORECASE):
                return about
    if not enhanced and code >= 500 and stage is not Stage.MAIL and _DEAD_WORDS.search(words):
        return Kind.BAD_MAILBOX
    return Kind.OTHER


def _scope(stage: Stage, code: int, enhanced: str, kind: Kind) -> Scope:
    if stage in _OPENING:
        return Scope.SESSION
    if stage is Stage.MAIL:  # about the sender, so about us; except for what is about the message
        of_message = kind is Kind.SIZE or code in (452, 552, 555) or enhanced[1:] == ".6.7"
        return Scope.MESSAGE if of_message and kind not in _ABOUT_US else Scope.SESSION
    if kind in _ABOUT_US:
        return Scope.SESSION
    if kind in _ABOUT_THEM or enhanced[2:4] in ("1.", "2."):
        return Scope.RECIPIENT
    if kind in _ABOUT_THE_MESSAGE or stage is not Stage.RCPT:
        return Scope.MESSAGE
    return Scope.RECIPIENT
