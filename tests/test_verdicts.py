"""Whose fault a refusal is, how bad, what about: the words of providers, and the general table."""

from __future__ import annotations

import re

import pytest

from outreach.model import Kind, Scope, Verdict
from outreach.verdicts import Refusal, Stage, enhanced_code, judge, refusals

SENT, DEFERRED, FAILED, UNKNOWN = Verdict.SENT, Verdict.DEFERRED, Verdict.FAILED, Verdict.UNKNOWN
OURS, THEIRS, LETTER = Scope.SESSION, Scope.RECIPIENT, Scope.MESSAGE
SCOPES = {
    Kind.GREYLISTED: THEIRS,
    Kind.BUSY: THEIRS,
    Kind.MAILBOX_FULL: THEIRS,
    Kind.BAD_MAILBOX: THEIRS,
    Kind.SPAM: LETTER,
    Kind.SIZE: LETTER,
    Kind.QUOTA: OURS,
    Kind.SLOW_DOWN: OURS,
    Kind.CROWDED: OURS,
    Kind.RELAY: OURS,
    Kind.SENDER: OURS,
    Kind.LOGIN: OURS,
}


@pytest.mark.parametrize("row", refusals(), ids=lambda row: f"{row.provider}: {row.example[:40]}")
def test_the_words_of_a_provider_are_understood(row: Refusal) -> None:
    code, words = int(row.example[:3]), row.example[4:]
    for stage in (Stage.RCPT, Stage.DOT):
        made = judge(stage, code, words, reached_rcpt=True)
        assert made.kind is row.kind
        assert made.verdict is (FAILED if code >= 500 else DEFERRED)
        of_mailbox = row.kind is Kind.SIZE and made.enhanced == "5.2.3"  # it is this mailbox that takes less
        assert made.scope is (OURS if code == 421 else THEIRS if of_mailbox else SCOPES[row.kind])
        assert (made.code, made.reply, made.reason) == (code, words, "")
    assert judge(Stage.MAIL, code, words).kind is not Kind.BAD_MAILBOX  # there it is about the sender
    assert judge(Stage.AUTH, code, words).scope is OURS


def test_a_row_is_dated_and_has_a_source_and_kills_no_address_in_doubt() -> None:
    assert len(refusals()) > 100
    for row in refusals():
        assert re.match(r"https?://\S+$", row.source), row
        if row.kind is Kind.BAD_MAILBOX:
            assert row.example.startswith("5"), row
        if row.kind is Kind.GREYLISTED:
            assert row.example.startswith("4"), row


@pytest.mark.parametrize(
    "reply",
    [
        "550 Requested action not taken: mailbox unavailable",
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents more",
        "450 4.1.1 <ann@party.example>: Recipient address rejected: unverified address",
        "550 5.4.1 Recipient address rejected: Access denied.",
        "550 5.7.1 user unknown to our policy",
        "552 5.2.2 mailbox full, user unknown",
        "550 5.1.8 bad sender",
        "450 user unknown",
    ],
)
def test_an_address_is_not_given_up_in_doubt(reply: str) -> None:
    assert judge(Stage.RCPT, int(reply[:3]), reply[4:]).kind is not Kind.BAD_MAILBOX


@pytest.mark.parametrize(
    ("stage", "reply", "scope", "kind"),
    [
        # The commands are not understood: that is between the server and us
        (Stage.MAIL, "503 5.5.1 bad sequence", OURS, Kind.PROTOCOL),
        (Stage.RCPT, "503 5.5.1 need MAIL first", OURS, Kind.PROTOCOL),
        (Stage.RCPT, "500 what?", OURS, Kind.PROTOCOL),
        (Stage.DATA, "502 no DATA here", OURS, Kind.PROTOCOL),
        (Stage.DOT, "500 5.5.2 line too long", LETTER, Kind.OTHER),
        # … but 501 at RCPT is about the address
        (Stage.RCPT, "501 5.1.3 bad address syntax", THEIRS, Kind.BAD_MAILBOX),
        (Stage.RCPT, "501 bad address syntax", THEIRS, Kind.OTHER),
        (Stage.MAIL, "501 5.1.7 bad sender address syntax", OURS, Kind.SENDER),
        # A login is missing, wherever that is said
        (Stage.RCPT, "530 5.7.0 Authentication required", OURS, Kind.LOGIN),
        (Stage.DOT, "535 5.7.8 who are you", OURS, Kind.LOGIN),
        # By the enhanced code alone
        (Stage.DOT, "550 5.7.26 unauthenticated", LETTER, Kind.SPAM),
        (Stage.RCPT, "452 4.2.2 x", THEIRS, Kind.MAILBOX_FULL),
        (Stage.DOT, "550 5.1.1 x", THEIRS, Kind.BAD_MAILBOX),
        (Stage.DOT, "552 5.3.4 x", LETTER, Kind.SIZE),
        (Stage.MAIL, "552 5.3.4 x", LETTER, Kind.SIZE),
        (Stage.RCPT, "550 5.2.3 x", THEIRS, Kind.OTHER),
        (Stage.MAIL, "550 5.1.1 x", OURS, Kind.OTHER),  # the sender's mailbox
        # By words alone, also at the dot
        (Stage.DOT, "550 no such user", THEIRS, Kind.BAD_MAILBOX),
        (Stage.DOT, "550 daily limit reached", OURS, Kind.QUOTA),
        # Codes that nobody has heard of go by their first digit and the stage
        (Stage.RCPT, "471 hm", THEIRS, Kind.OTHER),
        (Stage.RCPT, "599 hm", THEIRS, Kind.OTHER),
        (Stage.DATA, "471 hm", LETTER, Kind.OTHER),
        (Stage.MAIL, "599 hm", OURS, Kind.OTHER),
        # 421 closes, whatever it says
        (Stage.RCPT, "421 4.2.2 mailbox full", OURS, Kind.MAILBOX_FULL),
        # While opening it is always about us
        (Stage.GREETING, "554 5.7.1 blocked", OURS, Kind.OTHER),
        (Stage.EHLO, "550 5.1.1 x", OURS, Kind.BAD_MAILBOX),
    ],
)
def test_the_general_table(stage: Stage, reply: str, scope: Scope, kind: Kind) -> None:
    made = judge(stage, int(reply[:3]), reply[4:])
    assert (made.scope, made.kind) == (scope, kind)


@pytest.mark.parametrize("stage", Stage)
def test_the_first_digit_says_how_bad_it_is(stage: Stage) -> None:
    opening = stage in (Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)
    for code in (*range(400, 460), 471, *range(500, 560), 571, 599):
        made = judge(stage, code, "x")
        assert made.verdict is (FAILED if code >= 500 else DEFERRED)
        assert made.scope is OURS or not opening


@pytest.mark.parametrize(
    ("words", "code"),
    [("5.1.1 x", "5.1.1"), ("5.1.1", "5.1.1"), ("5.1.1x", ""), ("x 5.1.1", ""), ("", ""), ("3.1.1 x", "")],
)
def test_an_enhanced_code_begins_the_text(words: str, code: str) -> None:
    assert enhanced_code(words) == code


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DOT])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("450 4.7.1 You are sending too fast, slow down", Kind.SLOW_DOWN),
        ("451 4.7.1 Rate limit exceeded, try again later", Kind.SLOW_DOWN),
        ("421 4.7.0 rate limited", Kind.SLOW_DOWN),
        ("452 4.5.3 Too many recipients this hour", Kind.SLOW_DOWN),
        ("451 4.7.0 throttled", Kind.SLOW_DOWN),
        ("450 4.7.0 Sending rate too high", Kind.SLOW_DOWN),
        ("451 4.3.0 temporarily rejected: hourly limit reached", Kind.SLOW_DOWN),
        ("450 quota of 200 mails per hour exceeded", Kind.SLOW_DOWN),
        ("452 Too many emails sent", Kind.SLOW_DOWN),
        ("450 4.7.1 Recipient address rejected: Message count limit exceeded", Kind.SLOW_DOWN),
        ("451 4.7.1 Please try again later, max one message per minute", Kind.SLOW_DOWN),
        ("550 5.7.1 You have exceeded your hourly limit", Kind.QUOTA),
    ],
)
def test_less_from_us_is_understood_in_general_words(stage: Stage, reply: str, kind: Kind) -> None:
    made = judge(stage, int(reply[:3]), reply[4:])
    assert (made.kind, made.scope) == (kind, OURS)


@pytest.mark.parametrize(
    "reply",
    [
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
        "451 greylisted, try again in 5 minutes",
        "450 4.7.1 try again in one hour",
        "452 4.2.2 Mailbox full, over quota",
        "450 <ratelimit@throttled.example>: greylisted",
        "550 <too.fast.limit.per.hour@d.example> unknown user",
        "552 5.3.4 message size exceeds the maximum",
        "452 4.3.1 Insufficient system storage",
    ],
)
def test_other_words_are_no_wish_for_less(reply: str) -> None:
    for stage in (Stage.RCPT, Stage.DOT):
        assert judge(stage, int(reply[:3]), reply[4:]).kind not in (Kind.SLOW_DOWN, Kind.QUOTA, Kind.CROWDED)
