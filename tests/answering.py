"""Mails as people and machines answer letters, for the tests of what follows from them."""

from __future__ import annotations

import email
import email.policy
import itertools
from email.message import EmailMessage
from email.utils import format_datetime, localtime
from pathlib import Path

_numbers = itertools.count()
US = "press@outreach.example"


def letter(raw: bytes) -> EmailMessage:
    """Read a letter that arrived."""
    return email.message_from_bytes(raw, policy=email.policy.default)


def mail(
    sender: str,
    text: str,
    subject: str = "Hello",
    to: EmailMessage | None = None,
    token: str = "",
    **headers: str,
) -> bytes:
    """Return a mail; an answer to a letter (`to`), or to a Message-ID (`token`)."""
    made = EmailMessage(policy=email.policy.SMTP)
    made["From"], made["To"], made["Date"] = sender, US, format_datetime(localtime())
    made["Subject"] = subject if to is None else f"Re: {to['Subject']}"
    made["Message-ID"] = (
        f"<m{next(_numbers)}.{abs(hash((sender, text)))}@{sender.rpartition('@')[2].strip('>')}>"
    )
    if name := token or (str(to["Message-ID"]) if to is not None else ""):
        made["In-Reply-To"] = made["References"] = name
    for header, value in headers.items():
        del made[header.replace("_", "-")]
        made[header.replace("_", "-")] = value
    made.set_content(text)
    return made.as_bytes()


def bounce(
    recipient: str,
    message_id: str,
    status: str = "5.1.1",
    words: str = "550 5.1.1 no such user",
    action: str = "failed",
) -> bytes:
    """Return a report (RFC 3464) with the headers of the letter in it."""
    domain = recipient.rpartition("@")[2]
    inside = f"From: {US}\nTo: {recipient}\nSubject: Hello\nMessage-ID: {message_id}\n" if message_id else ""
    returned = f"--b\nContent-Type: text/rfc822-headers\n\n{inside}\n" if inside else ""
    text = (
        f"From: MAILER-DAEMON@{domain}\nTo: {US}\nSubject: Undelivered Mail Returned to Sender\n"
        f"Date: {format_datetime(localtime())}\nMessage-ID: <b{next(_numbers)}@{domain}>\n"
        "Auto-Submitted: auto-replied\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain\n\nYour mail to {recipient} could not be delivered.\n"
        f"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.{domain}\n\n"
        f"Final-Recipient: rfc822; {recipient}\nAction: {action}\nStatus: {status}\n"
        f"Diagnostic-Code: smtp; {words}\n\n{returned}--b--\n"
    )
    return text.replace("\n", "\r\n").encode()


def complaint(message_id: str, recipient: str = "") -> bytes:
    """Return a feedback report (RFC 5965) about a letter."""
    named = f"Original-Rcpt-To: {recipient}\n" if recipient else ""
    text = (
        f"From: fbl@provider.example.org\nTo: {US}\nSubject: complaint about message\n"
        f"Date: {format_datetime(localtime())}\nMessage-ID: <c{next(_numbers)}@provider.example.org>\n"
        'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nThis is a complaint.\n"
        "--b\nContent-Type: message/feedback-report\n\n"
        f"Feedback-Type: abuse\nUser-Agent: x/1\nVersion: 1\n{named}\n"
        f"--b\nContent-Type: message/rfc822\n\nFrom: {US}\nSubject: Hello\nMessage-ID: {message_id}\n\n"
        "Text\n\n--b--\n"
    )
    return text.replace("\n", "\r\n").encode()


def refusal(recipient: str, message_id: str) -> bytes:
    """Return a notification that a reader's filter refused the letter (RFC 5429 §2.2, RFC 8098)."""
    text = (
        f"From: {recipient}\nTo: {US}\nSubject: Automatically rejected mail\n"
        f"Date: {format_datetime(localtime())}\nMessage-ID: <r{next(_numbers)}@x.example.org>\n"
        "Auto-Submitted: auto-replied (rejected)\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=disposition-notification; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nYour message was automatically rejected: no mass mail.\n"
        "--b\nContent-Type: message/disposition-notification\n\nReporting-UA: sieve\n"
        f"Final-Recipient: rfc822; {recipient}\nOriginal-Message-ID: {message_id}\n"
        "Disposition: automatic-action/MDN-sent-automatically; deleted\n\n--b--\n"
    )
    return text.replace("\n", "\r\n").encode()


def drop(maildir: Path, *mails: bytes) -> None:
    """Put mails into a Maildir, as a delivering program does."""
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True, exist_ok=True)
    for raw in mails:
        number = next(_numbers)
        path = maildir / "tmp" / f"1700000000.{number}.here"
        path.write_bytes(raw)
        path.rename(maildir / "new" / path.name)
