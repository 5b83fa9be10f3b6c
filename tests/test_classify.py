# ruff: noqa: E501 - tables read better with a case on a line
"""Kinds of mail by their evidence: one header, one sentence, one trap at a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from outreach import classify, machines
from outreach.diagnosis import Reason

DOCS = (Path(__file__).parent.parent / "docs/answers.md").read_text("utf-8")
PLAIN = "Dear committee,\n\nthe board met on Monday, and we will write to the embassy.\n"
QUOTED = (
    "\nOn Mon, 7 May 2012 at 10:00, Committee <press@committee.example> wrote:\n> please help.\n> -- \n"
    "> Reply with the word STOP and we will never write to this address again.\n"
)


def mail(text: str = PLAIN, subject: str = "Re: Solidarity", **headers: str) -> bytes:
    head = {"From": "Ann <ann@party.example>", "To": "press@committee.example", "Subject": subject}
    head |= {"Date": "Tue, 8 May 2012 09:00:00 +0200", "Message-ID": "<1@party.example>"}
    head |= {"Content-Type": "text/plain; charset=utf-8"}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}
    return "".join(f"{name}: {value}\n" for name, value in head.items()).encode() + b"\n" + text.encode()


def kind(*arguments: str, **headers: str) -> str:
    return str(classify.read(mail(*arguments, **headers)).kind)


def test_a_person_is_a_person() -> None:
    answer = classify.read(mail(PLAIN + QUOTED))
    assert (answer.kind, answer.language, answer.returns, answer.bounces) == ("reply", "en", None, ())
    assert answer.text == PLAIN.strip()
    assert answer.evidence == "no sign of a machine"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Auto-Submitted", "auto-replied"),
        ("Auto-Submitted", "Auto-Generated; type=vacation"),
        ("Auto-Submitted", "auto-replied (vacation)"),
        ("X-Autoreply", "yes"),
        ("X-Autoreply", ""),
        ("X-Autorespond", "Solidarity"),
        ("X-Mail-Autoreply", "1"),
        ("Precedence", "auto_reply"),
        ("X-FC-MachineGenerated", "true"),
        ("X-POST-MessageClass", "9; Autoresponder"),
        ("X-MS-Exchange-Generated-Message-Source", "Mailbox Rules Agent"),
        ("X-MS-Exchange-Inbox-Rules-Loop", "ann@party.example"),
        ("X-Mailer", "vacation 1.2.7"),
    ],
)
def test_a_header_that_only_machines_write_decides(name: str, value: str) -> None:
    answer = classify.read(mail(**{name.replace("-", "_"): value}))
    assert answer.kind == "auto-reply"
    assert name.lower() in answer.evidence.lower()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Auto-Submitted", "no"),
        ("Auto-Submitted", "No (a person wrote this)"),
        ("Precedence", "bulk"),
        ("Precedence", "list"),
        ("X-Auto-Response-Suppress", "All"),
        ("X-Autoreply", "no"),
        ("Return-Path", "<>"),
        ("List-Id", "<friends.lists.example>"),
        ("List-Unsubscribe", "<mailto:leave@lists.example>"),
        ("X-Mailer", "OTRS Mail Service (2.0.4)"),
        ("From", "noreply@party.example"),
        ("From", "Postmaster <postmaster@party.example>"),
    ],
)
def test_a_header_that_people_s_mail_has_too_does_not_decide(name: str, value: str) -> None:
    assert kind(**{name.replace("-", "_"): value}) == "reply"


@pytest.mark.parametrize(
    "text",
    [
        "I am on holiday until 5 May, but I have asked my colleagues to sign.",
        "We have received your letter and the board will discuss it. In urgent cases call me.",
        "I was out of the office last week. During my absence nobody read your letter; in urgent cases, phone.",
        "Thank you for your e-mail. We have received your message and will get back to you as soon as possible.",
        "My mailbox was full; the message could not be delivered, they said. Now it works.",
        "Your first letter was in my spam folder.",
        "Bitte nehmen Sie Frau Meier nicht von der Liste.",
        "We will never stop writing to the ambassador. Please do not unsubscribe me.",
        "Stop the torture!\n\nWe sign.",
        "I got an automatic reply from the embassy.",
    ],
)
def test_what_people_say_about_absence_spam_and_lists_is_a_reply(text: str) -> None:
    assert kind(text + "\n" + QUOTED) == "reply"


def test_words_of_absence_decide_with_a_subject_of_absence() -> None:
    text = "I am out of the office until 5 June 2012.\n"
    answer = classify.read(mail(text, "Out of office: Solidarity"))
    assert (answer.kind, str(answer.returns)) == ("auto-reply", "2012-06-05")
    assert kind(text, "Solidarity") == "reply"


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("STOP", "Re: Solidarity"),
        ("Stop.\n\nSent from my iPhone", "Re: Solidarity"),
        ("", "unsubscribe"),
        ("Please take me off your list.", "Re: Solidarity"),
        ("Hello,\n\nplease do not send me any more mails.\n\nRegards\nAnn", "Re: Solidarity"),
        ("Bitte nehmen Sie mich aus Ihrem Verteiler.", "AW: Solidarität"),
        ("Прошу удалить мой адрес из вашей рассылки.", "Re: Солидарность"),
        ("配信停止", "Re: Solidarity"),
    ],
)
def test_a_wish_for_no_more_mail_is_an_opt_out(text: str, subject: str) -> None:
    assert kind(text + "\n" + QUOTED, subject) == "opt-out"


@pytest.mark.parametrize(
    "quote",
    [
        QUOTED,
        "\n-----Original Message-----\nFrom: Committee\nSent: Monday\nTo: Ann\nSubject: Solidarity\n\nplease help.\n"
        "Reply with the word STOP and we will never write to this address again.\n",
        "\nReply with the word STOP and we will never write to this address again.\n",
        "\n| Reply with the word STOP and we will never write to this address again.\n",
    ],
)
def test_our_own_footer_is_never_an_opt_out(quote: str) -> None:
    assert kind(f"We support you.\n{quote}") == "reply"


def test_a_circular_is_neither_a_reply_nor_an_opt_out() -> None:
    text = "Our newsletter of May.\n\nTo unsubscribe me from this list, click here.\n"
    assert kind(text, "News of May", List_Unsubscribe="<mailto:leave@list.example>") == "other"


def report(
    kind: str, fields: str, text: str = "See below.", subject: str = "Report", sender: str = "x@mx.example"
) -> bytes:
    return (
        f"From: {sender}\nTo: press@committee.example\nSubject: {subject}\nDate: Tue, 8 May 2012 09:00:00 +0200\n"
        f"Content-Type: multipart/report; report-type={kind.partition('/')[2]}; boundary=b\n\n"
        f"--b\nContent-Type: text/plain\n\n{text}\n--b\nContent-Type: {kind}\n\n{fields}\n--b\n"
        "Content-Type: message/rfc822\n\nMessage-ID: <abc@committee.example>\nTo: ann@party.example\n\nDear Ann\n--b--\n"
    ).encode()


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ("abuse", "complaint"),
        ("fraud", "complaint"),
        ("opt-out", "opt-out"),
        ("not-spam", "other"),
        ("auth-failure", "other"),
    ],
)
def test_feedback_reports_say_what_they_are(about: str, expected: str) -> None:
    raw = report("message/feedback-report", f"Feedback-Type: {about}\nUser-Agent: x\nVersion: 1\n")
    assert classify.read(raw).kind == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("failed", "bounce"),
        ("delayed", "other"),
        ("delivered", "other"),
        ("relayed", "other"),
        ("expanded", "other"),
    ],
)
def test_delivery_reports_say_what_happened(action: str, expected: str) -> None:
    fields = f"Reporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; ann@party.example\nAction: {action}\nStatus: 5.1.1\n"
    answer = classify.read(report("message/delivery-status", fields))
    assert answer.kind == expected
    assert (answer.bounces[0].recipient, answer.bounces[0].action) == ("ann@party.example", action)
    assert answer.bounces[0].permanent == (action == "failed")


@pytest.mark.parametrize(
    ("disposition", "text", "expected"),
    [
        (
            "automatic-action/MDN-sent-automatically; deleted",
            "was automatically rejected: I take no mass mail.",
            "bounce",
        ),
        ("manual-action/MDN-sent-manually; displayed", "was read.", "other"),
        ("manual-action/MDN-sent-automatically; deleted", "was deleted without being read.", "other"),
        (
            "automatic-action/MDN-sent-automatically; deleted",
            "was deleted without being read on Monday.",
            "other",
        ),
        ("automatic-action/MDN-sent-automatically; dispatched", "", "other"),
    ],
)
def test_a_refusal_may_come_as_a_disposition_notification(disposition: str, text: str, expected: str) -> None:
    fields = f"Final-Recipient: rfc822; ann@party.example\nDisposition: {disposition}\n"
    answer = classify.read(report("message/disposition-notification", fields, text))
    assert answer.kind == expected
    assert not any(one.permanent for one in answer.bounces)
    if expected == "bounce":
        assert (answer.bounces[0].recipient, answer.bounces[0].reason) == (
            "ann@party.example",
            Reason.REFUSED,
        )


def test_a_mailbot_that_wraps_its_answer_into_a_report_is_an_automatic_answer() -> None:
    fields = "Final-Recipient: rfc822; ann@party.example\nAction: delivered\nStatus: 2.0.0\n"
    raw = report("message/delivery-status", fields, "I am away.", sender="ann@party.example")
    assert classify.read(b"Auto-Submitted: auto-replied\n" + raw).kind == "auto-reply"


def test_a_person_who_forwards_a_bounce_is_a_person() -> None:
    inner = report(
        "message/delivery-status", "Final-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n"
    )
    raw = (
        b"From: ann@party.example\nSubject: Fwd: Undelivered Mail Returned to Sender\n"
        b"Content-Type: multipart/mixed; boundary=outer\n\n--outer\nContent-Type: text/plain\n\n"
        b"Look what I got. Is this address wrong?\n--outer\nContent-Type: message/rfc822\n\n"
        + inner
        + b"\n--outer--\n"
    )
    answer = classify.read(raw)
    assert (answer.kind, answer.text) == ("reply", "Look what I got. Is this address wrong?")


def test_the_document_has_the_keys_that_scripts_read() -> None:
    document = classify.document("a.eml", classify.read(mail()))
    assert list(document) == [
        "file",
        "kind",
        "evidence",
        "language",
        "bounce",
        "returns",
        "text",
        "from",
        "subject",
        "date",
        "bounces",
    ]
    fields = "Final-Recipient: rfc822; ann@party.example\nAction: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 552 full\n"
    bounce = classify.document("b.eml", classify.read(report("message/delivery-status", fields)))["bounce"]
    assert list(bounce) == ["recipient", "action", "status", "permanent", "reason", "diagnostic"]


def test_the_documentation_names_the_headers_and_the_reasons() -> None:
    said = {name.lower() for name in re.findall(r"`([A-Za-z-]+)", DOCS)}
    assert {name for name, _ in machines.TELLING_HEADERS} - said == set()
    assert {str(reason) for reason in Reason} - said == set()
