"""What a server's words in a report say about an address: is it dead, and if not, what was the matter?

Status codes lie: Exim writes 5.0.0 for a full mailbox and for a missing one, gateways write 5.1.1 for spam.
So words come first (of known providers: refusals.toml; then general ones: diagnoses.toml; then those of
other languages: phrases/), the code (RFC 3463) only where the words say nothing. An address is dead only
when something says exactly that; a full mailbox, a policy, spam, a size, time or the network are living
people. Doubt is the milder reading. Pure. The table for people: docs/answers.md.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from outreach import phrases, verdicts
from outreach.model import Kind


class Reason(StrEnum):
    """Why a mail did not arrive."""

    BAD_MAILBOX = "bad-mailbox"
    MAILBOX_FULL = "mailbox-full"
    SPAM = "spam"  # or our reputation, a list of senders, a policy
    SIZE = "size"
    EXPIRED = "expired"
    NETWORK = "network"
    RELAY = "relay"
    LOOP = "loop"
    BUSY = "busy"  # too much mail for this recipient, or from us; greylisting
    REFUSED = "refused"  # by a rule of the recipient or of the organisation
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was the matter; `dead` when no mail will ever arrive there; `said` is what decided."""

    reason: Reason
    dead: bool
    said: str


_OF_KIND = {
    Kind.BAD_MAILBOX: Reason.BAD_MAILBOX,
    Kind.MAILBOX_FULL: Reason.MAILBOX_FULL,
    Kind.SPAM: Reason.SPAM,
    Kind.SIZE: Reason.SIZE,
    Kind.RELAY: Reason.RELAY,
    Kind.GREYLISTED: Reason.BUSY,
    Kind.BUSY: Reason.BUSY,
    Kind.QUOTA: Reason.BUSY,
    Kind.SLOW_DOWN: Reason.BUSY,
    Kind.CROWDED: Reason.BUSY,
    Kind.SENDER: Reason.SPAM,
    Kind.LOGIN: Reason.RELAY,
}

_NOISE = re.compile(
    r"https?://\S+|<?[^\s@]{1,64}@[^\s@]{1,255}>?|\b(?:[\w-]+\.){1,6}[a-z]{2,12}\b(?=[\[\s):,;]|$)|\[[\d.:a-f]+\]",
    re.IGNORECASE,
)
_OTHER_LANGUAGES = (
    ("mailbox_full", Reason.MAILBOX_FULL, False),
    ("too_large", Reason.SIZE, False),
    ("bad_mailbox", Reason.BAD_MAILBOX, True),
    ("called_spam", Reason.SPAM, False),
    ("expired", Reason.EXPIRED, False),
)
_SURE = (Reason.MAILBOX_FULL, Reason.SIZE, Reason.LOOP, Reason.BAD_MAILBOX)
_CODE = re.compile(r"(?<![\d.])([245]\d\d)(?=[\s-]|$)")
_STATUS = re.compile(r"(?<![\d.])([45]\.\d{1,3}\.\d{1,3})(?![\d.])")
_ABOUT_THE_SENDER = ("1.7", "1.8")  # RFC 3463 §3.2
_CANNOT_LAST = re.compile(
    r"temporar|try (again|later)|retry|not an error|deferred|maintenance|migration", re.IGNORECASE
)


def enhanced(text: str) -> str:
    """Return the first enhanced status code of a failure in a text, or an empty string (RFC 3463)."""
    found = _STATUS.search(text)
    return found[1] if found else ""


def status_code(field: str) -> str:
    """Return the code of a report's Status field (RFC 3464 §2.3.4), or an empty string."""
    found = re.match(r"\s*([245]\.\d{1,3}\.\d{1,3})", field)
    return found[1] if found else ""


def diagnose(status: str, words: str, around: str = "", action: str = "failed") -> Diagnosis:
    """Return what was the matter: by words about this recipient, by the status, or by all the text `around`.

    That may hold what scanners and offices add below any mail, so a status that tells more is believed first.
    """
    lasting = action == "failed" and not status.startswith("4")
    found = _by_words(status, words[:4000], action) if words.strip() else None
    if found is None and around.strip():
        found = _by_words(status, around[:6000], action)
        if found is not None and status[2:] in _BY_STATUS and found.reason not in _SURE:
            found = None
    if found is None:
        found = _by_status(status, lasting and not _CANNOT_LAST.search(words))
    if found.dead and (not lasting or status[2:] in _ABOUT_THE_SENDER):
        return Diagnosis(found.reason, False, found.said)
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of diagnoses.toml."""

    reason: Reason
    dead: bool
    words: re.Pattern[str]


@lru_cache(maxsize=1)
def rows() -> tuple[_Row, ...]:
    """Return what many servers say; the first fitting row counts."""
    data = _data()
    found = []
    for row in data["words"]:
        pattern = "|".join(row["any"])
        for name, words in data["names"].items():
            pattern = pattern.replace(f"<{name}>", words)
        found.append(_Row(Reason(row["reason"]), row["dead"], re.compile(pattern, re.IGNORECASE)))
    return tuple(found)


def plain(text: str) -> str:
    """Return a server's words without what only disturbs: addresses, links, hosts, spellings."""
    text = _NOISE.sub(" ", text)
    for pattern, other in _SPELLINGS:
        text = pattern.sub(other, text)
    return " ".join(text.split())


_SPELLINGS = (
    (re.compile(r"5\.1\.0 - unknown address error", re.IGNORECASE), " "),  # IronPort, before any refusal
    (re.compile(r"n['’]t\b", re.IGNORECASE), " not"),
    (re.compile(r"\bcannot\b", re.IGNORECASE), "can not"),
    (re.compile(r"\be-mail", re.IGNORECASE), "email"),
    (re.compile(r"\bmail ?(box|drop|folder)", re.IGNORECASE), "mailbox"),
)


@lru_cache(maxsize=256)
def _by_words(status: str, text: str, action: str) -> Diagnosis | None:
    one_line = " ".join(text.split())
    code = _CODE.search(one_line)
    number = int(code[1]) if code else 550
    inner = enhanced(one_line)
    for known in verdicts.refusals():
        if known.words is not None and known.fits(number, inner or status, one_line):
            reason = _OF_KIND.get(known.kind)
            if reason is not None:
                return Diagnosis(
                    reason, reason is Reason.BAD_MAILBOX, f"{known.provider}: {known.words.pattern}"[:120]
                )
    words = plain(one_line)
    for row in rows():
        if row.reason is Reason.EXPIRED and action == "delayed":
            continue  # not yet
        if match := row.words.search(words):
            return _doubted(
                Diagnosis(row.reason, row.dead, match[0][:120]), words, match.start(), match.end()
            )
    folded = phrases.fold(one_line)
    for section, reason, dead in _OTHER_LANGUAGES:
        if hit := phrases.first(section, folded):
            return _doubted(Diagnosis(reason, dead, hit.phrase), folded, hit.start, hit.end)
    if inner and inner != status:
        found = _by_status(inner, not inner.startswith("4") and not _CANNOT_LAST.search(words))
        if found.reason is not Reason.OTHER:
            return found
    return None


def _doubted(found: Diagnosis, text: str, start: int, end: int) -> Diagnosis:
    """Return a death as what it is where words beside it tell of now, of the sender, or of something else."""
    if found.dead and _CANNOT_LAST.search(text[max(0, start - 60) : end + 60]):
        return Diagnosis(Reason.OTHER, False, found.said)
    if found.dead and _somebody_else().search(text[max(0, start - 60) : end + 40]):
        return Diagnosis(Reason.SPAM, False, found.said)
    return found


@lru_cache(maxsize=1)
def _somebody_else() -> re.Pattern[str]:
    return re.compile("|".join(_data()["about"]["somebody_else"]), re.IGNORECASE)


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("diagnoses.toml").read_text("utf-8"))


# RFC 3463 §3 and its registry: subject.detail, where the words said nothing.
_BY_STATUS = {
    "1.1": Reason.BAD_MAILBOX,
    "1.2": Reason.BAD_MAILBOX,
    "1.3": Reason.BAD_MAILBOX,
    "1.6": Reason.BAD_MAILBOX,
    "1.10": Reason.BAD_MAILBOX,  # null MX (RFC 7505); Exchange Online: recipient not found
    "2.1": Reason.BAD_MAILBOX,
    "2.2": Reason.MAILBOX_FULL,
    "2.3": Reason.SIZE,
    "3.1": Reason.MAILBOX_FULL,  # mail system full
    "3.4": Reason.SIZE,
    "4.1": Reason.NETWORK,
    "4.2": Reason.NETWORK,
    "4.3": Reason.NETWORK,
    "4.4": Reason.NETWORK,
    "4.5": Reason.BUSY,
    "4.6": Reason.LOOP,
    "4.7": Reason.EXPIRED,
}


def _by_status(status: str, lasting: bool) -> Diagnosis:
    subject = status[2:]
    reason = _BY_STATUS.get(subject)
    if reason is None:
        reason = {"4": Reason.NETWORK, "6": Reason.REFUSED, "7": Reason.SPAM}.get(subject[:1], Reason.OTHER)
    if not lasting and reason in (Reason.BAD_MAILBOX, Reason.OTHER):
        reason = Reason.EXPIRED if reason is Reason.OTHER and status else reason
    return Diagnosis(reason, lasting and reason is Reason.BAD_MAILBOX, status)
