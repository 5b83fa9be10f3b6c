"""What came back? The kind of a mail, the evidence that decided, and what a person wrote.

Structure first (reports: RFC 3464, 5965, 8098), then what only machines write (machines.py), then a person's
wish for no more mail (optouts.py). In doubt a mail is a reply: a person then looks at it, and a person who
is taken for a machine would be passed over. Pure: bytes in, a value out; never raises, never takes a second.
What follows from a mail is decided elsewhere: a sender can be forged, and nothing here is proof. The order
for people: docs/answers.md.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from typing import Any

from outreach import absences, bounces, diagnosis, inbound, machines, optouts, phrases, quotes, subjects
from outreach.bounces import Bounce
from outreach.diagnosis import Reason
from outreach.inbound import Inbound, Report
from outreach.model import Came

_OURS = re.compile(r"\b[a-z2-7]{40}\b")


@dataclass(frozen=True, slots=True)
class Answer:
    """A mail that came back, understood. `text` is what a person wrote anew."""

    kind: Came
    evidence: str
    language: str = ""
    bounces: tuple[Bounce, ...] = ()  # the most serious first
    returns: datetime.date | None = None
    text: str = ""
    sender: str = ""
    subject: str = ""
    date: datetime.datetime | None = None


def read(raw: bytes) -> Answer:
    """Say what a mail is. Takes any bytes."""
    return of(inbound.read(raw))


def of(mail: Inbound) -> Answer:
    """Say what a mail is that was read already; what cannot be understood is a reply."""
    try:
        return understand(mail)
    except Exception:  # a fault of ours; no mail may be lost by it
        text = inbound.quietly(lambda: mail.text, "")
        return Answer(Came.REPLY, "not understood by an error of the program: read it yourself", text=text)


def understand(mail: Inbound) -> Answer:
    """Say what a mail is. Raises where `of` would say that it cannot."""
    answer = _complaint(mail) or _receipt(mail) or _bounce(mail) or _from_a_mailbox(mail)
    return replace(answer, sender=mail.sender, subject=mail.subject[:500], date=mail.date)


# -- reports


def _reports(mail: Inbound, *kinds: str) -> list[Report]:
    """Return the reports that a mail is; those that a person forwards are only parts of it."""
    if mail.kind == "multipart/mixed" and not bounces.daemon(mail) and not machines.submitted(mail):
        return []
    return [report for report in mail.reports if not report.depth and report.kind.endswith(kinds)]


def _complaint(mail: Inbound) -> Answer | None:
    """RFC 5965; and the older form of Hotmail, which sends the letter back with a header of its own."""
    for report in _reports(mail, "feedback-report"):
        about = next(iter(report.groups), {}).get("feedback-type", "abuse").strip().lower()
        kind = Came.OPT_OUT if about.startswith("opt-out") else Came.COMPLAINT
        if about in ("not-spam", "auth-failure", "dmarc", "tls-report"):
            kind = Came.OTHER
        text = quotes.visible(mail.text) if kind is Came.OTHER else ""
        return Answer(kind, f"feedback report: {about} (RFC 5965)", phrases.language(mail.text), text=text)
    if mail.report_type == "feedback-report":
        return Answer(Came.COMPLAINT, "feedback report (RFC 5965)")
    if any("x-hmxmroriginalrecipient" in one for one in (dict(mail.headers), *mail.returned)):
        return Answer(Came.COMPLAINT, "header X-HmXmrOriginalRecipient (Hotmail's junk mail reporting)")
    return None


def _receipt(mail: Inbound) -> Answer | None:
    """Message disposition notifications (RFC 8098): read, deleted unread, or refused by the reader's
    filter.
    """
    for report in _reports(mail, "disposition-notification"):
        fields = next((group for group in report.groups if "disposition" in group), {})
        mode, _, what = fields.get("disposition", "").lower().partition(";")
        what = what.strip().split("/")[0]
        tongue = phrases.language(mail.text)
        unread = phrases.first("read_receipt", phrases.fold(f"{mail.subject} {mail.text[:500]}"))
        if what.startswith(("deleted", "denied", "failed")) and "automatic-action" in mode and unread is None:
            # RFC 5429 §2.2: a Sieve script refuses so
            names = (fields.get("original-recipient", ""), fields.get("final-recipient", ""))
            recipient = next((one for one in map(bounces.address, names) if one), "")
            words = " ".join(mail.text.split())
            reason = diagnosis.diagnose("", words).reason
            reason = reason if reason in (Reason.MAILBOX_FULL, Reason.SIZE) else Reason.REFUSED
            bounce = Bounce(recipient, "failed", "", False, reason, words[:500])
            return Answer(Came.BOUNCE, f"disposition: {what} by a filter (RFC 5429)", tongue, (bounce,))
        text = quotes.tidy(mail.text.split("\n"))
        return Answer(Came.OTHER, f"disposition: {what or 'unknown'} (RFC 8098)", tongue, text=text)
    return None


def _bounce(mail: Inbound) -> Answer | None:
    reports = _reports(mail, "delivery-status")
    found = bounces.from_report(mail) if reports else []
    if reports and found:
        if (
            found[0].action in ("delivered", "relayed")
            and machines.submitted(mail)
            and not bounces.daemon(mail)
        ):
            return None  # a mailbot wraps its answer so
        evidence = "delivery status notification (RFC 3464)"
    elif reports:
        evidence = "delivery status notification (RFC 3464) that names nobody"
    elif mail.get("x-failed-recipients"):
        evidence = "header X-Failed-Recipients"
    else:
        evidence = bounces.words_of_failure(mail)
    if not evidence:
        return None
    found = found or bounces.from_words(mail)
    first = found[0]
    kind = Came.BOUNCE if first.action == "failed" else Came.OTHER
    what = f"{first.action}: {first.reason}" if first.action in ("failed", "delayed") else first.action
    return Answer(kind, f"{evidence}; {what}", bounces.language(mail), tuple(found))


# -- people, and machines that answer for them


def _from_a_mailbox(mail: Inbound) -> Answer:
    text, own = quotes.visible(mail.text), quotes.own(mail.text)
    signs = machines.weigh(mail, text)
    tongue = phrases.language(own or mail.subject, signs.hits)
    circular = _is_circular(mail)
    if signs.points >= machines.ENOUGH and not (circular and signs.points < 2 * machines.ENOUGH):
        back = _returns(mail, text, tongue, signs)
        return Answer(Came.AUTO_REPLY, "; ".join(signs.reasons), tongue, returns=back, text=text)
    if circular:
        return Answer(Came.OTHER, "header List-Unsubscribe: a circular", tongue, text=text)
    subject = _OURS.sub(" ", mail.subject).strip()  # List-Unsubscribe puts our token there
    if wish := optouts.find(subject, own, text if own.startswith(text) else ""):
        return Answer(Came.OPT_OUT, wish[0], phrases.language(own, wish[1:]), text=text)
    if mail.has("x-list-administrivia"):
        return Answer(Came.OTHER, "header X-List-Administrivia: a list's own notice", tongue, text=text)
    daemon = bounces.daemon(mail)
    answers = subjects.is_answer(mail.subject) or mail.has("in-reply-to")
    if daemon and not answers and not daemon.startswith("empty"):
        return Answer(Came.OTHER, f"{daemon}, but no report", tongue, text=text)
    why = "no sign of a machine"
    if signs.reasons:
        why = "too few signs of a machine: " + "; ".join(signs.reasons)
    return Answer(Came.REPLY, why, tongue, text=text)


def _returns(mail: Inbound, text: str, tongue: str, signs: machines.Signs) -> datetime.date | None:
    """Return the date of return: in the text, else in the subject. Behind a colon there, ours may name
    days.
    """
    sent = mail.date.date() if mail.date else None
    away = "absence" in signs.sections or ("subject" in signs.sections and "receipt" not in signs.sections)
    return (
        absences.returns(text, tongue, sent, away)
        or absences.returns(mail.subject.partition(": ")[0], tongue, sent)
        or absences.returns(mail.subject, tongue, sent, away=False)
    )


def _is_circular(mail: Inbound) -> bool:
    """Tell whether a mail went to a list of ours or others', and is no person's word there (RFC 2369)."""
    robot = re.search(r"-(help|owner|request|return\S*|bounces?)@", mail.sender)
    discussed = "@" in mail.get("list-post") and not robot
    answers = mail.has("in-reply-to") or subjects.is_answer(mail.subject)
    return mail.has("list-unsubscribe") and not answers and not discussed


def document(name: str, answer: Answer) -> dict[str, Any]:
    """Return what scripts get of a mail (`replies classify --json`)."""
    reports = [
        {
            "recipient": one.recipient or None,
            "action": one.action,
            "status": one.status or None,
            "permanent": one.permanent,
            "reason": str(one.reason),
            "diagnostic": one.diagnostic,
        }
        for one in answer.bounces
    ]
    return {
        "file": name,
        "kind": str(answer.kind),
        "evidence": answer.evidence,
        "language": answer.language or None,
        "bounce": next(iter(reports), None),
        "returns": answer.returns.isoformat() if answer.returns else None,
        "text": answer.text,
        "from": answer.sender or None,
        "subject": answer.subject,
        "date": answer.date.isoformat() if answer.date else None,
        "bounces": reports,
    }
