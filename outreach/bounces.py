"""Reports that a mail did not arrive, or that it did: whom they are about, and whether the address is dead.

First the machine-readable report (RFC 3464, RFC 6533), then what servers say in words: a header, lines that name an
address beside words of failure, and last flufl.bounce, which knows gateways of long ago. What a server says is
read by diagnosis.py. Finds what a report says; whether the mail *is* a report is for classify.py.
Known limit: a report that names only a user, or nobody, has no recipient here; the letter's own Message-ID may tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from outreach import diagnosis, phrases
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


_ACTIONS = ("failed", "delayed", "delivered", "relayed", "expanded")
_STATUS_KINDS = ("message/delivery-status", "message/global-delivery-status")
_ADDRESS = re.compile(
    r"(?<![\w.+=~/-])([\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[\w](?:[\w-]{0,62})\.){0,8}[\w][\w-]{0,62})(?![\w@-])"
)
# Where the returned letter begins in a report without parts.
_COPY = re.compile(
    r"^(?:[ \t>*|]*(?:[-=_*#]{2,}.{0,60}\b(?:cop(?:y|ie)|original|returned|message (?:header|text|follows|body)|header|unsent|kopie)"
    r"|_{5,} ?[^\s_]|(?:the )?original (?:message|mail)\b.{0,40}(?:follows|:)|unsent message|old message:|your original message)"
    r"|(?:received|return-path|x-\w[\w-]{1,30}|message-id|mime-version|dkim-signature|delivered-to):[ \t])",
    re.IGNORECASE | re.MULTILINE,
)
_FAILURE = re.compile(
    r"fail|undeliver|not (?:be )?deliver|unable|could ?n[o']t|cannot|can't|unknown|no such|reject|error|return|refus|bounce|"
    r"not reach|did not|not exist|invalid|problem|recipient|delayed|was not|wasn't|full|quota|wrong|no longer|postponed",
    re.IGNORECASE,
)
_DAEMONS = re.compile(
    r"^(mailer-?daemon|mail-?daemon|postmaster|maildaemon|mdaemon|mail-?er|daemon|hostmaster|root|admin|administrator|abuse|support|help|helpdesk|noc)[+@]",
    re.IGNORECASE,
)
_DELAY = re.compile(
    r"delayed|will (?:be re|keep|continue|retry)|still being|has not yet been delivered|not yet been delivered|no action is required|do not need to resend|will be re-?tri",
    re.IGNORECASE,
)
_GIVEN_UP = re.compile(
    r"(?:permanent|fatal|giv(?:en|ing) up|failed|could not be delivered to|undeliverable|returned|cannot be delivered|not going to try)",
    re.IGNORECASE,
)
_EXPANDED = re.compile(r"\((?:expanded|generated) from:? ?<?([^<>()\s]+@[^<>()\s]+?)>?\)")


def from_report(mail: Inbound) -> list[Bounce]:
    """Return what a machine-readable report says, failures first."""
    found = [
        bounce
        for report in mail.reports
        if report.kind in _STATUS_KINDS and not report.depth
        for bounce in _of_report(mail, report)
    ]
    found.sort(key=lambda one: _ACTIONS.index(one.action) if one.action in _ACTIONS else 9)
    return found


def _of_report(mail: Inbound, report: Report) -> Iterator[Bounce]:
    groups = [group for group in report.groups if _recipient_of(group)]
    for group in groups:
        recipient = _recipient_of(group)
        final = address(group.get("final-recipient", ""))
        action = group.get("action", "failed").split("(")[0].strip().lower().split(" ")[0].strip(";")
        action = action if action in _ACTIONS else "failed"
        status = diagnosis.status_code(group.get("status", "")) or diagnosis.enhanced(
            group.get("diagnostic-code", "")
        )
        words = _words(group.get("diagnostic-code", ""))
        near = _about(mail.text, (recipient, final))
        text = own_words(mail.text) if len(groups) == 1 else ""
        if match := _EXPANDED.search(near):
            recipient = match[1].lower()
        if action in ("failed", "delayed"):
            judged = diagnosis.diagnose(status, f"{words}\n{near}", text, action)
        else:
            judged = Diagnosis(Reason.OTHER, False, action)
        yield Bounce(recipient, action, status, judged.dead, judged.reason, (words or near).strip()[:500])


def _recipient_of(group: dict[str, str]) -> str:
    """Return whom the letter was addressed to: the original recipient where the report knows it."""
    for name in ("original-recipient", "final-recipient", "x-actual-recipient", "remote-recipient"):
        found = address(group.get(name, ""))
        if found:
            return found
    return ""


def address(field: str) -> str:
    """Return the address in a field like `rfc822; a@b` (RFC 3464 §2.3.1, RFC 6533 §3), in lower case."""
    kind, semicolon, text = field.partition(";")
    text = (text if semicolon else kind).strip()
    if "\\x{" in text:  # RFC 6533 §3
        text = re.sub(r"\\x\{([0-9A-Fa-f]{1,6})\}", lambda match: chr(min(int(match[1], 16), 0x10FFFF)), text)
    if re.search(r"\+[0-9A-F]{2}", text) and "=" not in text and "orcpt" in kind:
        text = re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text)
    text = text.strip().strip("<>\"' ")
    if " " in text or "<" in text or "@" not in text:
        some = addresses(text) if "@" in text else []
        match = _ADDRESS.search(text)
        text = match[1] if match else next(iter(some), "")
    return text.strip("<>\"'. ").lower()


def _words(field: str) -> str:
    kind, semicolon, text = field.partition(";")
    return text.strip() if semicolon and len(kind) < 20 else field.strip()


def own_words(text: str) -> str:
    """Return what a server says itself, without the copy of the letter below it."""
    match = _COPY.search(text, 1)
    while match is not None and not text[: match.start()].strip():
        match = _COPY.search(text, match.end())
    return text[: match.start()] if match else text


def _about(text: str, names: tuple[str, ...]) -> str:
    """Return the paragraph of a report that tells of an address."""
    text = own_words(text)
    lines = text.split("\n")
    for name in names:
        if not name:
            continue
        for number, line in enumerate(lines):
            if name in line.lower():
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


def from_words(mail: Inbound) -> list[Bounce]:
    """Return what a report without a machine-readable part says."""
    text = own_words(mail.text)
    if not text.strip() and mail.returned:
        text = mail.subject
    header = [one for value in mail.all("x-failed-recipients") for one in addresses(value)]
    found = header or _named(mail, text) or _of_flufl(mail) or _of_returned(mail)
    if not header and (spilt := _spilt(mail)):
        return spilt
    bounces = []
    for recipient in dict.fromkeys(found):
        near = _about(text, (recipient,))
        status = diagnosis.enhanced(near) or diagnosis.enhanced(text)
        delayed = _is_delay(mail, text)
        action = "delayed" if delayed else "failed"
        judged = diagnosis.diagnose(status, near, text, action)
        bounces.append(
            Bounce(
                recipient, action, status, judged.dead, judged.reason, " ".join((near or text).split())[:500]
            )
        )
    if not bounces:
        action = "delayed" if _is_delay(mail, text) else "failed"
        status = diagnosis.enhanced(text)
        judged = diagnosis.diagnose(status, text, "", action)
        bounces.append(Bounce("", action, status, judged.dead, judged.reason, " ".join(text.split())[:500]))
    return bounces


def named(mail: Inbound) -> list[str]:
    """Return the addresses that the words of a report name, where they also tell what was the matter."""
    text = own_words(mail.text)
    found = _named(mail, text)
    judged = diagnosis.diagnose(diagnosis.enhanced(text), text)
    return found if judged.reason is not Reason.OTHER else []


def _spilt(mail: Inbound) -> list[Bounce]:
    """Return what reports say that stand where none should: in a message inside, or in the text itself."""
    inner = [one for one in mail.reports if one.kind in _STATUS_KINDS and one.depth]
    for text in (mail.text, mail.inside):
        if re.search(r"^final-recipient:", text, re.IGNORECASE | re.MULTILINE):
            inner.append(Report(_STATUS_KINDS[0], tuple(groups(text))))
    return [bounce for report in inner for bounce in _of_report(mail, report)]


def _is_delay(mail: Inbound, text: str) -> bool:
    subject = mail.subject.lower()
    if "delay" in subject:
        return not _GIVEN_UP.search(subject.replace("delivery status notification", ""))
    return (
        bool(_DELAY.search(text[:3000]))
        and not _GIVEN_UP.search(text[:3000])
        and not _GIVEN_UP.search(subject)
    )


def _ours(mail: Inbound) -> set[str]:
    """Return the addresses that cannot be the recipient: ours, and the server's."""
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
    return known


_LEADS = ("<", ":", "for", "to", "address", "recipient", "user", "smtp=", "rfc822=", "from", '"', "*", "-")
_NOT_THEM = re.compile(
    r"\b(?:from|sender|reply-to|return-path|contact|please|questions?|info|e-?mail us|write to|by|at|via|(?:message|in-reply)[\s-]?(?:id|to):?\s*<?)\b[^.]{0,30}$"
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
        for match in _ADDRESS.finditer(line[:1000]):
            address = re.sub(r"^(smtp|rfc822|dda:smtp)[=:]", "", match[1].strip(".'`").lower())
            domain = address.rpartition("@")[2]
            if address in ours or _DAEMONS.match(address) or re.fullmatch(r"[\d.]+", domain):
                continue
            before = line[: match.start()].strip().lower()
            behind = line[match.end() :].strip()
            begins = before in ("", "<", '"', "*", "-", "to:", "to: <", "rcpt to:<")
            score = 3.0 * (begins and len(words.split()) <= 2) + 2.0 * (begins or before.endswith(_LEADS))
            score += 2.0 * (begins and behind.startswith((">:", ":", ">...", "..."))) + 4.0 * (
                address in known
            )
            score += 3.0 if failing < 4 else 1.5 if failing < 8 else 0
            score -= 3.0 * bool(_NOT_THEM.search(before)) + 3.0 * before.startswith(("to:", "cc:", "from:"))
            score -= number / 100
            if ("." not in domain and score < 6) or score < 1:
                continue
            scores[address] = max(scores.get(address, -9), score)
    best = max(scores.values(), default=0)
    return [one for one, score in scores.items() if score >= best - 2.5]


def _of_flufl(mail: Inbound) -> list[str]:
    from email import message_from_bytes

    from flufl.bounce import all_failures

    if not mail.raw:
        return []
    failures = quietly(lambda: all_failures(message_from_bytes(mail.raw[:200_000])), (set(), set()))
    ours = _ours(mail)
    found = {one.decode("utf-8", "replace").strip().lower() for some in failures for one in some}
    return sorted(one for one in found if "@" in one and one not in ours)


def _of_returned(mail: Inbound) -> list[str]:
    """Return to whom the letter inside was addressed, if that is one."""
    for returned in mail.returned:
        to = [one for name in ("x-original-to", "to") for one in addresses(returned.get(name, ""))]
        if len(set(to)) == 1:
            return to[:1]
    return []
