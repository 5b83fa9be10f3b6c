"""Reports that a mail did not arrive, or that it did: whom they are about, and whether the address is dead.

First the machine-readable report (RFC 3464, RFC 6533), then what servers say in words: a header, what
flufl.bounce finds, which knows gateways of long ago, and last the addresses that a text names where reports
name them. What a server says is read by diagnosis.py. Whether a mail without a report is one nevertheless
takes two signs (`words_of_failure`): people write about bounces, too. Known limit: a report that names only
a user, or nobody, has no recipient here; the letter's own Message-ID may tell.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from outreach import diagnosis, machines, phrases, subjects
from outreach.diagnosis import Diagnosis, Reason
from outreach.inbound import Inbound, Report, addresses, groups, quietly


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a report says of one recipient. `permanent`: the address is dead."""

    recipient: str
    action: str  # failed, delayed, delivered, relayed, expanded (RFC 3464 §2.3.3)
    status: str  # RFC 3463, or empty
    permanent: bool
    reason: Reason
    diagnostic: str  # the server's words
    final: str = ""  # where it ended, when that is another address than the one written to


_ACTIONS = ("failed", "delayed", "delivered", "relayed", "expanded")
_STATUS_KINDS = ("message/delivery-status", "message/global-delivery-status")
_ADDRESS = re.compile(
    r"(?<![\w.+=~/-])((?:[\w.!#$%&'*+/=?^`{|}~-]{1,64}|\"[^\"\s@]{1,62}\")@(?:[\w](?:[\w-]{0,62})\.){0,8}[\w][\w-]{0,62})(?![\w@-])"
)
# Where the returned letter begins in a report without parts.
_COPY = re.compile(
    r"^(?:[ \t>|]{0,20}\*?(?:[-=_*#]{2,80}.{0,60}\b(?:cop(?:y|ie)|original|returned|header|unsent|kopie"
    r"|message (?:header|text|follows|body))|_{5,} ?[^\s_]"
    r"|(?:the )?original (?:message|mail)\b.{0,40}(?:follows|:)"
    r"|unsent message|old message:|your original message)"
    r"|(?:received|return-path|x-\w[\w-]{1,30}|message-id|mime-version|dkim-signature|delivered-to):[ \t])",
    re.IGNORECASE | re.MULTILINE,
)
_FAILURE = re.compile(
    r"fail|undeliver|not (?:be )?deliver|unable|could ?n[o']t|cannot|can't|unknown|no such|reject|error"
    r"|return|refus|bounce|not reach|did not|not exist|invalid|problem|recipient|delayed|was not|wasn't|full"
    r"|quota|wrong|no longer|postponed",
    re.IGNORECASE,
)
# Names of mailboxes that servers write from, and never the letter's recipient ...
_DAEMONS = re.compile(
    r"(mail-?er|mailer-?daemon|mail-?daemon|postmaster|maildaemon|mdaemon|mail-?delivery[\w.-]*|mail\.delivery[\w.]*|mailsystem"
    r"|daemon|mailmaster|mailadmin|mmdf|microsoftexchange\w+|systemadministrator|imss)[+@]",
    re.IGNORECASE,
)
# ... others, where nothing else speaks for people: `mail@` is many an office.
_PERHAPS_DAEMONS = re.compile(r"(mail|system|delivery|smtp|bounces?|listserv|majordomo)[+@]", re.IGNORECASE)
_DAEMON_NAME = re.compile(
    r"mail(er)?[ -]?(delivery|daemon|administrator|system|router)|delivery (sub)?system"
    r"|system administrator|postmaster"
    r"|internet mail|microsoft outlook$|mail gateway|message transfer|systemadministrator",
    re.IGNORECASE,
)
_HELPERS = re.compile(
    r"(hostmaster|root|admin|administrator|abuse|support|help|helpdesk|noc)[+@]", re.IGNORECASE
)
_DELAY = re.compile(
    r"delayed|will (?:be re|keep|continue|retry)|still being|not yet been delivered"
    r"|no action is required|do not need to resend|will be re-?tri",
    re.IGNORECASE,
)
_GIVEN_UP = re.compile(
    r"permanent|fatal|giv(?:en|ing) up|failed|could not be delivered to|undeliverable|returned"
    r"|cannot be delivered|not going to try",
    re.IGNORECASE,
)
_EXPANDED = re.compile(
    r"\((?:ultimately )?(?:expanded|generated) from:? ?<?([^<>()\s@]{1,64}@[^<>()\s@]{1,255})>?\)"
)
_MOST = 40  # recipients of one report
_FLUFL_READS = 20_000  # bytes, in lines of at most 1,000: some of its patterns explode
_FINAL = re.compile(r"^final-recipient:", re.IGNORECASE | re.MULTILINE)
_MESSAGE_ID = re.compile(r"message-id:\s*<([^<>\s]+)>", re.IGNORECASE)


# -- reports for machines


def from_report(mail: Inbound) -> list[Bounce]:
    """Return what a machine-readable report says, failures first."""
    reports = [one for one in mail.reports if one.kind in _STATUS_KINDS and not one.depth]
    return _ordered([bounce for report in reports for bounce in _of_report(mail, report)])


def _ordered(found: list[Bounce]) -> list[Bounce]:
    return sorted(found, key=lambda one: _ACTIONS.index(one.action))


def _of_report(mail: Inbound, report: Report) -> Iterator[Bounce]:
    about = [group for group in report.groups if _recipient_of(group)][:_MOST]
    for group in about:
        recipient, final = _recipient_of(group), address(group.get("final-recipient", ""))
        near = _about(mail.text, (recipient, final))
        if match := _EXPANDED.search(near):
            recipient = match[1].lower()
        text = own_words(mail.text) if len(about) == 1 else ""
        judged = _judged(recipient, group, near, text)
        yield replace(judged, final=final) if final not in ("", recipient) else judged


def _judged(recipient: str, group: dict[str, str], near: str, text: str) -> Bounce:
    """Return what a group of fields says, with the words around."""
    action = re.split(r"[\s(;]", group.get("action", "failed").strip().lower())[0]
    action = action if action in _ACTIONS else "failed"
    words = _after_type(group.get("diagnostic-code", ""))
    status = diagnosis.status_code(group.get("status", "")) or diagnosis.enhanced(words)
    judged = Diagnosis(Reason.OTHER, False, action)
    if action in ("failed", "delayed"):
        judged = diagnosis.diagnose(status, f"{words}\n{near}", text, action)
    return Bounce(recipient, action, status, judged.dead, judged.reason, (words or near).strip()[:500])


def _recipient_of(group: dict[str, str]) -> str:
    """Return whom the letter was addressed to: the original recipient where the report knows it."""
    for name in ("original-recipient", "final-recipient", "x-actual-recipient", "remote-recipient"):
        if found := address(group.get(name, "")):
            return found
    return ""


def address(field: str) -> str:
    """Return the address in a field like `rfc822; a@b` (RFC 3464 §2.3.1, RFC 6533 §3), in lower case."""
    text = _after_type(field)
    text = re.sub(r"\\x\{([0-9A-Fa-f]{1,6})\}", _character, text)  # RFC 6533 §3
    text = text.replace("+2B", "+").replace("+3D", "=").strip("<>\"' ")  # RFC 3461 §4: xtext
    if text[:5].lower() == "imcea":  # Exchange wraps what is no address of the internet
        text = re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text.partition("-")[2])
        text = text.rpartition("@")[0]
    if " " in text or "<" in text:
        match = _ADDRESS.search(text)
        text = match[1] if match else ""
    return text.strip("<>\"'. ").lower() if "@" in text else ""


def _after_type(field: str) -> str:
    """Return what stands behind the type of a field: `rfc822; a@b`, `smtp; 550 no`."""
    kind, semicolon, text = field.partition(";")
    return text.strip() if semicolon and len(kind) < 20 else field.strip()


def _character(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return chr(point) if point < 0xD800 or 0xDFFF < point < 0x110000 else "\ufffd"


@lru_cache(maxsize=8)
def own_words(text: str) -> str:
    """Return what a server says itself, without the copy of the letter below it."""
    match = _COPY.search(text, 1)
    while match is not None and not text[: match.start()].strip():
        match = _COPY.search(text, match.end())
    return text[: match.start()] if match else text


def _about(text: str, names: tuple[str, ...]) -> str:
    """Return the paragraph of a report that tells of an address."""
    lines = own_words(text).split("\n")
    for name in filter(None, names):
        for number, line in enumerate(lines):
            if name not in line.lower():
                continue
            block = [line]
            for below in lines[number + 1 : number + 16]:
                if not below.strip() and len(block) > 1:
                    break
                other = _ADDRESS.match(below.lstrip("<\"'*"))  # the next one, not indented
                if other and other[1].lower() not in names:
                    break
                block.append(below)
            if len(" ".join(block).replace(name, "").split()) > 3:
                return "\n".join(block)
    return ""


# -- reports in words


def words_of_failure(mail: Inbound) -> str:
    """Return why a mail without a report is one nevertheless: two signs out of sender, subject, text,
    address.

    An answer never is; nor a mail from a person's address whose envelope names it, which no server's report
    has.
    """
    sender = daemon(mail)
    if subjects.is_answer(mail.subject):
        return ""
    if not sender and mail.has("return-path") and not machines.submitted(mail):
        return ""
    title = phrases.begins("bounce_subject", subjects.folded(mail.subject))
    inside = phrases.first("bounce_text", phrases.fold(own_words(mail.text)[:6000]))
    signs = [
        sender,
        f"subject “{title.said}”" if title else "",
        f"text “{inside.said}”" if inside else "",
    ]
    weak = sender.startswith("empty")  # people's mail may have lost its path
    if sum(map(bool, signs)) < 2 or (weak and not title):
        names = named(mail) if title or (sender and (inside or not weak)) else []
        if not names:
            return ""
        signs.append(f"it names {names[0]} and a failure")
    return " and ".join(filter(None, signs))


def daemon(mail: Inbound) -> str:
    """Return what tells that a mail server wrote, or nothing."""
    name = mail.get("from").partition("<")[0]
    if _DAEMONS.match(mail.sender):
        return f"sender {mail.sender.partition('@')[0]}"
    bare = machines.null_path(mail) or bool(machines.submitted(mail)) or not mail.has("return-path")
    if bare and _PERHAPS_DAEMONS.match(mail.sender):
        return f"sender {mail.sender.partition('@')[0]}"
    if bare and _DAEMON_NAME.search(name):
        return f"sender {name.strip()}"
    if not mail.sender and "<>" in mail.get("from"):
        return "no sender"
    return "empty Return-Path" if machines.null_path(mail) else ""


def language(mail: Inbound) -> str:
    """Return the language in which a report speaks to people; what servers say is English anyway."""
    hits = [
        phrases.first("bounce_text", phrases.fold(mail.text[:3000])),
        phrases.begins("bounce_subject", subjects.folded(mail.subject)),
    ]
    foreign = next((hit.language for hit in hits if hit and hit.language not in ("", "en")), "")
    return foreign or phrases.language(own_words(mail.text), hits)


def named(mail: Inbound) -> list[str]:
    """Return the addresses that the words of a report name, where they also tell what was the matter."""
    text = own_words(mail.text)
    judged = diagnosis.diagnose(diagnosis.enhanced(text), text)
    told = judged.reason is not Reason.OTHER or _is_delay(mail, text)
    return (_named(mail, text) or _only(mail, text)) if told else []


def from_words(mail: Inbound) -> list[Bounce]:
    """Return what a report says whose machine-readable part is missing, misplaced or names nobody."""
    text = own_words(mail.text)
    header = [one for value in mail.all("x-failed-recipients") for one in addresses(value)]
    if not header and (spilt := _spilt(mail)):
        return spilt
    found = header or _of_flufl(mail) or _named(mail, text) or _only(mail, text) or _of_returned(mail)
    action = "delayed" if _is_delay(mail, text) else "failed"
    fields = _nameless(mail)
    recipients = list(dict.fromkeys(found or [""]))[:_MOST]
    if fields:
        return [_judged(one, fields, _about(text, (one,)), text) for one in recipients]
    result = []
    for recipient in recipients:
        near = _about(text, (recipient,))
        first = _EXPANDED.search(near)
        status = diagnosis.enhanced(near) or diagnosis.enhanced(text)
        judged = diagnosis.diagnose(status, near, text, action)
        words = " ".join((near or text).split())[:500]
        result.append(Bounce(recipient, action, status, judged.dead, judged.reason, words))
        if first and not header:
            result[-1] = replace(result[-1], recipient=first[1].lower())
    return result


def _nameless(mail: Inbound) -> dict[str, str]:
    """Return the fields of a report that names nobody, but says what happened."""
    for report in mail.reports:
        if report.kind in _STATUS_KINDS and not report.depth:
            for group in report.groups:
                if "status" in group or "diagnostic-code" in group:
                    return group
    return {}


def _spilt(mail: Inbound) -> list[Bounce]:
    """Return what reports say that stand where none should: in a message inside, or in a text."""
    inner = [one for one in mail.reports if one.kind in _STATUS_KINDS and one.depth]
    texts = [mail.text, mail.inside, *(one.text for one in mail.parts if not one.depth and not one.attached)]
    inner += [
        Report(_STATUS_KINDS[0], tuple(groups(text))) for text in dict.fromkeys(texts) if _FINAL.search(text)
    ]
    return _ordered([bounce for report in inner for bounce in _of_report(mail, report)])


def _is_delay(mail: Inbound, text: str) -> bool:
    subject = mail.subject.lower()
    if "delay" in subject:
        return not _GIVEN_UP.search(subject.replace("delivery status notification", ""))
    return (
        _DELAY.search(text[:3000]) is not None
        and not _GIVEN_UP.search(text[:3000])
        and not _GIVEN_UP.search(subject)
    )


def _ours(mail: Inbound) -> set[str]:
    """Return what cannot be the recipient: our addresses, the server's, and Message-IDs, which look like
    some.
    """
    known = {mail.sender}
    for name in (
        "to",
        "delivered-to",
        "x-original-to",
        "return-path",
        "reply-to",
        "errors-to",
        "sender",
        "envelope-to",
    ):
        for value in mail.all(name):
            known.update(addresses(value))
    for headers in (dict(mail.headers), *mail.returned):
        known.add(headers.get("message-id", "").strip("<> ").lower())
    known.update(one.lower() for one in _MESSAGE_ID.findall(mail.text))
    return known


def _candidates(mail: Inbound, line: str, ours: set[str]) -> Iterator[tuple[re.Match[str], str]]:
    for match in _ADDRESS.finditer(line[:1000]):
        found = re.sub(r"^(smtp|rfc822|dda:smtp)[=:]", "", match[1].strip(".'`").lower())
        domain = found.rpartition("@")[2]
        if found in ours or _DAEMONS.match(found) or found[:5] == "imcea" or re.fullmatch(r"[\d.]+", domain):
            continue
        yield match, found


_LEADS = ("<", ":", "for", "to", "address", "recipient", "user", "smtp=", "rfc822=", "from", '"', "*", "-")
_NOT_THEM = re.compile(
    r"\b(?:from|sender|reply-to|return-path|contact|please|questions?|info|e-?mail us|write to|by|at|via"
    r"|(?:message|in-reply)[\s-]?(?:id|to):?\s*<?)\b[^.]{0,30}$"
)


def _named(mail: Inbound, text: str) -> list[str]:
    """Return the addresses that a text names as those which failed, by what stands around them."""
    ours = _ours(mail)
    known = {
        one
        for returned in mail.returned
        for name in ("to", "cc")
        for one in addresses(returned.get(name, ""))
    }
    scores: dict[str, float] = {}
    lines = [line for line in (mail.subject, *text.split("\n")[:400]) if line.strip()]
    failing = 9  # lines since words of failure
    for number, line in enumerate(lines):
        words = _ADDRESS.sub(" ", line[:1000])
        told = bool(_FAILURE.search(words)) or phrases.first("bounce_text", phrases.fold(words)) is not None
        failing = 0 if told else failing + 1
        for match, found in _candidates(mail, line, ours):
            before = line[: match.start()].strip().lower()
            behind = line[match.end() :].strip()
            begins = before in ("", "<", '"', "*", "-", "to: <", "rcpt to:<")
            score = 3.0 * (begins and len(words.split()) <= 2) + 2.0 * (begins or before.endswith(_LEADS))
            score += 2.0 * (begins and behind.startswith((">:", ":", ">...", "..."))) + 4.0 * (found in known)
            score += 3.0 if failing < 4 else 1.5 if failing < 8 else 0
            score -= 3.0 * bool(_NOT_THEM.search(before)) + 3.0 * before.startswith(("to:", "cc:", "from:"))
            score -= number / 100 + 3.0 * bool(_HELPERS.match(found) and found not in known)
            if ("." in found.rpartition("@")[2] or score >= 6) and score >= 1:
                scores[found] = max(scores.get(found, -9), score)
    best = max(scores.values(), default=0)
    return [one for one, score in scores.items() if score >= best - 2.5]


def _only(mail: Inbound, text: str) -> list[str]:
    """Return the one address of a text that is neither ours nor the server's, whatever the language around
    it.
    """
    found = {one for _, one in _candidates(mail, text[:5000].replace("\n", " "), _ours(mail))}
    found = {one for one in found if not _HELPERS.match(one)}
    return list(found) if len(found) == 1 else []


def _of_flufl(mail: Inbound) -> list[str]:
    from email import message_from_bytes

    from flufl.bounce import all_failures

    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL + 1)  # it tells of its own errors
    raw = b"\n".join(line[:1000] for line in mail.raw[:_FLUFL_READS].split(b"\n"))
    nothing: frozenset[bytes] = frozenset()
    failures = quietly(lambda: all_failures(message_from_bytes(raw)), (nothing, nothing))
    ours = _ours(mail)
    found = {one.decode("utf-8", "replace").strip(" .").lower() for some in failures for one in some}
    found = {one for one in found if "@" in one and one not in ours}
    return sorted({one for one in found if not _HELPERS.match(one)} or found)


def _of_returned(mail: Inbound) -> list[str]:
    """Return to whom the letter inside was addressed, if that is one."""
    for returned in mail.returned:
        to = {one for name in ("x-original-to", "to") for one in addresses(returned.get(name, ""))}
        if len(to) == 1:
            return list(to)
    return []
