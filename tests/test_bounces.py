# ruff: noqa: E501 - tables read better with a case on a line
"""Bounces: whom they are about, what was the matter, and above all whether the address is dead."""

from __future__ import annotations

import pytest

from outreach import bounces, diagnosis, inbound
from outreach.diagnosis import Reason, diagnose

DEAD, LIVES = True, False


@pytest.mark.parametrize(
    ("words", "reason", "dead"),
    [
        # nobody there
        (
            "550 5.1.1 <a@b.example>: Recipient address rejected: User unknown in virtual mailbox table",
            "bad-mailbox",
            DEAD,
        ),
        ("550 No such user here", "bad-mailbox", DEAD),
        ("550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", "bad-mailbox", DEAD),
        ("553 sorry, no mailbox here by that name (#5.7.1)", "bad-mailbox", DEAD),
        ("550 Unrouteable address", "bad-mailbox", DEAD),
        ("User ann (ann@b.example) not listed in Domino Directory", "bad-mailbox", DEAD),
        ("550 Mailbox unavailable", "bad-mailbox", DEAD),
        ("550-5.1.1 The email account that you tried to reach does not exist.", "bad-mailbox", DEAD),
        (
            "554 delivery error: dd This user doesn't have a b.example account (ann@b.example) [0]",
            "bad-mailbox",
            DEAD,
        ),
        ("550 5.2.1 This mailbox has been deactivated", "bad-mailbox", DEAD),
        ("550 5.1.2 Host unknown (Name server: b.example: host not found)", "bad-mailbox", DEAD),
        ("Domain b.example does not exist", "bad-mailbox", DEAD),
        ("550 5.7.1 user unknown", "bad-mailbox", DEAD),
        ("Die eingegebene E-Mail-Adresse wurde nicht gefunden.", "bad-mailbox", DEAD),
        # no room
        ("552 5.2.2 Mailbox is full", "mailbox-full", LIVES),
        ("550 5.1.1 mailbox full", "mailbox-full", LIVES),
        ("452 4.2.2 Over quota", "mailbox-full", LIVES),
        ("550 The user's mailfolder is over its limit", "mailbox-full", LIVES),
        ("550 5.1.1 account inactive because mailbox is over its limit", "mailbox-full", LIVES),
        # us, the letter, a policy
        ("554 5.7.1 Message rejected as spam", "spam", LIVES),
        ("550 5.1.1 blocked by zen.list.example", "spam", LIVES),
        ("550 5.7.1 Unauthenticated email is not accepted due to the domain's DMARC policy", "spam", LIVES),
        ("552 5.3.4 Message size exceeds fixed limit", "size", LIVES),
        (
            "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
            "refused",
            LIVES,
        ),
        ("554 <a@b.example>: Relay access denied", "relay", LIVES),
        ("450 4.2.0 Greylisted, please try again in 5 minutes", "busy", LIVES),
        (
            "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents",
            "busy",
            LIVES,
        ),
        ("5.4.6 mail forwarding loop for a@b.example", "loop", LIVES),
        # the sender is the unknown one
        (
            "550 Sender address rejected: undeliverable address: User unknown in virtual mailbox table",
            "spam",
            LIVES,
        ),
        ("550 Sender verify failed: no such user here", "spam", LIVES),
        ("501 5.5.2 Helo command rejected: Host not found", "spam", LIVES),
        ("550 your domain has no MX records", "spam", LIVES),
        ("550 5.1.7 invalid address", "bad-mailbox", LIVES),
        # time and network
        ("retry timeout exceeded", "expired", LIVES),
        ("Delivery expired (message too old)", "expired", LIVES),
        ("connect to mx.b.example[192.0.2.1]:25: Connection refused", "network", LIVES),
        ("550 5.1.1 mailbox temporarily unavailable: server migration", "bad-mailbox", LIVES),
        ("550 no", "other", LIVES),
        ("", "other", LIVES),
    ],
)
def test_words_tell_more_than_codes(words: str, reason: str, dead: bool) -> None:
    status = diagnosis.enhanced(words) or "5.0.0"
    found = diagnose(status, words)
    assert (str(found.reason), found.dead) == (reason, dead), found.said


@pytest.mark.parametrize(
    ("status", "reason", "dead"),
    [
        ("5.1.1", "bad-mailbox", DEAD),
        ("5.1.10", "bad-mailbox", DEAD),
        ("5.2.1", "bad-mailbox", DEAD),
        ("4.1.1", "bad-mailbox", LIVES),
        ("5.2.2", "mailbox-full", LIVES),
        ("5.3.4", "size", LIVES),
        ("5.4.6", "loop", LIVES),
        ("5.7.1", "spam", LIVES),
        ("5.0.0", "other", LIVES),
        ("", "other", LIVES),
    ],
)
def test_without_words_the_code_decides(status: str, reason: str, dead: bool) -> None:
    found = diagnose(status, "")
    assert (str(found.reason), found.dead) == (reason, dead)


def test_nothing_that_may_still_arrive_is_dead() -> None:
    assert not diagnose("5.1.1", "550 user unknown", action="delayed").dead
    assert not diagnose("4.1.1", "450 user unknown").dead


def test_what_a_scanner_adds_below_does_not_count() -> None:
    found = diagnose("5.1.1", "", "Delivery failed.\n\nThis mail was checked for viruses and spam.")
    assert (found.reason, found.dead) == (Reason.BAD_MAILBOX, DEAD)


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("rfc822; Ann@Party.example", "ann@party.example"),
        ("rfc822;<ann@party.example>", "ann@party.example"),
        ("RFC822; ann+2Bnews@party.example", "ann+news@party.example"),
        ("utf-8; \\x{430}\\x{43D}@party.example", "ан@party.example"),
        ("utf-8; \\x{D800}@party.example", "\ufffd@party.example"),
        ("rfc822; ann@party.example (forwarded)", "ann@party.example"),
        ("IMCEASMTP-ann+40party+2Eexample@gateway.example", "ann@party.example"),
        ("ann@party.example", "ann@party.example"),
        ("LOCAL; ann", ""),
        ("X400; /C=us/A= /P=x/", ""),
        ("", ""),
    ],
)
def test_the_address_in_a_field(field: str, address: str) -> None:
    assert bounces.address(field) == address


def words(
    text: str, subject: str = "Mail delivery failed", sender: str = "MAILER-DAEMON@mx.example"
) -> inbound.Inbound:
    return inbound.read(
        f"From: {sender}\nTo: press@committee.example\nReturn-Path: <>\nSubject: {subject}\n\n{text}\n".encode()
    )


@pytest.mark.parametrize(
    "text",
    [
        "Your message could not be delivered to\n\n<ann@party.example>:\nno such user",
        "I'm afraid I wasn't able to deliver your message.\n\n<ann@party.example>:\nSorry, no mailbox here by that name.",
        "did not reach the following recipient(s):\n\nann@party.example on Mon, 14 May 2012 10:05\n  unknown recipient",
        "Failed addresses follow:\n ann@party.example ... unknown host\nFor help write to helpdesk@mx.example.",
        "Votre message à ann@party.example n'a pas pu être remis : utilisateur inconnu.",
        "RCPT TO:<ann@party.example>\n550 5.1.1 unknown user",
        "The message you sent from press@committee.example to Ann <ann@party.example> failed: mailbox not found.",
        "The following address failed:\n\n  fwd@elsewhere.example\n    (generated from ann@party.example)\n    550 no such user",
        "550 user unknown\n\n--- Below this line is a copy of the message.\n\nTo: ann@party.example\nFrom: x@y.example\n"
        "\nann@party.example",
    ],
)
def test_a_report_in_words_names_the_recipient(text: str) -> None:
    found = bounces.from_words(words(text))
    if "Below this line" in text:
        assert found[0].recipient == ""  # the copy is not the server's word
    else:
        assert [one.recipient for one in found] == ["ann@party.example"]
    assert found[0].permanent


def test_the_returned_letter_tells_to_whom_when_nothing_else_does() -> None:
    raw = (
        b"From: MAILER-DAEMON@mx.example\nSubject: Undeliverable\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n"
        b"550 user unknown\n--b\nContent-Type: message/rfc822\n\nTo: Ann <ann@party.example>\n\nDear Ann\n--b--\n"
    )
    assert bounces.from_words(inbound.read(raw))[0].recipient == "ann@party.example"


@pytest.mark.parametrize(
    ("fields", "encoding"),
    [
        ("Final-Recipient: rfc822; ann@party.example\nAction: failed\nStatus: 5.1.1\n", "7bit"),
        ("Final-Recipient: rfc822; ann=40party.example\nAction: failed\nStatus: 5.1.1\n", "quoted-printable"),
        (
            "RmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGFubkBwYXJ0eS5leGFtcGxlCkFjdGlvbjogZmFpbGVkClN0YXR1czogNS4xLjEK\n",
            "base64",
        ),
    ],
)
def test_a_report_is_read_in_any_transfer_encoding(fields: str, encoding: str) -> None:
    head = "" if encoding == "base64" else "Reporting-MTA: dns; mx.example\n\n"
    raw = (
        "From: MAILER-DAEMON@mx.example\nSubject: x\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        f"--b\n\nSorry.\n--b\nContent-Type: message/delivery-status\nContent-Transfer-Encoding: {encoding}\n\n{head}{fields}\n--b--\n"
    )
    found = bounces.from_report(inbound.read(raw.encode()))
    assert [(one.recipient, one.status, one.permanent) for one in found] == [
        ("ann@party.example", "5.1.1", True)
    ]


def test_failures_come_first_of_several_recipients() -> None:
    raw = (
        b"From: MAILER-DAEMON@mx.example\nSubject: x\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        b"--b\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n"
        b"Final-Recipient: rfc822; a@b.example\nAction: delivered\nStatus: 2.0.0\n\n"
        b"Final-Recipient: rfc822; ann@party.example\nAction: failed\nStatus: 5.1.1\n\n--b--\n"
    )
    assert [one.recipient for one in bounces.from_report(inbound.read(raw))] == [
        "ann@party.example",
        "a@b.example",
    ]


@pytest.mark.parametrize(
    ("subject", "text", "headers"),
    [
        (
            "Re: Mail delivery failed",
            "Your message could not be delivered, you wrote. To whom?",
            "Return-Path: <ann@party.example>",
        ),
        (
            "Mail delivery failed?",
            "Your message could not be delivered to ann@party.example.",
            "Return-Path: <ann@party.example>",
        ),
        ("A letter", "The letter to the prison was returned to sender.", "Return-Path: <>"),
    ],
)
def test_people_write_about_bounces_too(subject: str, text: str, headers: str) -> None:
    mail = inbound.read(f"From: bea@party.example\n{headers}\nSubject: {subject}\n\n{text}\n".encode())
    assert bounces.words_of_failure(mail) == ""
