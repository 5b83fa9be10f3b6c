"""The SMTP client without a socket: every reply in every phase, every split, every lost connection."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outreach.model import Outcome, Scope, Verdict
from outreach.smtp import BodyWanted, Closed, Event, Finished, Phase, Session

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests

SENDER, RECIPIENT = "press@mail.example", "ann@party.example"
BODY = b"Subject: x\r\n\r\nThe body\r\n"
SENT, DEFERRED, FAILED, UNKNOWN = Verdict.SENT, Verdict.DEFERRED, Verdict.FAILED, Verdict.UNKNOWN
OURS, THEIRS, LETTER = Scope.SESSION, Scope.RECIPIENT, Scope.MESSAGE
# What the server says to get a session into each phase.
STEPS = {
    Phase.MAIL: [],
    Phase.RCPT: [b"250 ok\r\n"],
    Phase.DATA: [b"250 ok\r\n", b"250 ok\r\n"],
    Phase.INTENT: [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"],
    Phase.BODY: [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"],
    Phase.DOT: [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"],
}
IN_A_MAIL = tuple(STEPS)


def written(session: Session, count: int | None = None) -> bytes:
    """Let the socket take what wants to be written."""
    data = bytes(session.outgoing[:count])
    session.wrote(len(data))
    return data


def at(phase: Phase, message: bytes = BODY, extensions: dict[str, str] | None = None) -> Session:
    """A session in the middle of a mail."""
    session = Session(extensions or {})
    session.begin(SENDER, RECIPIENT, message)
    written(session)
    for reply in STEPS[phase]:
        session.receive(reply)
        written(session)
    if phase in (Phase.BODY, Phase.DOT):
        session.permit()
        written(session, None if phase is Phase.DOT else len(session.outgoing) - 1)
    assert session.phase is phase
    return session


def outcome(events: Sequence[Event]) -> Outcome:
    (finished,) = [one for one in events if isinstance(one, Finished)]
    return finished.outcome


# One mail ----------------------------------------------------------------------------------------


def test_a_mail_goes_mail_rcpt_data_body_dot() -> None:
    session = Session({"size": "1000", "8bitmime": ""})
    session.begin(SENDER, RECIPIENT, BODY)
    assert written(session) == b"MAIL FROM:<press@mail.example> SIZE=%d\r\n" % len(BODY)
    assert session.receive(b"250 2.1.0 Ok\r\n") == []
    assert written(session) == b"RCPT TO:<ann@party.example>\r\n"
    assert session.receive(b"250 2.1.5 Ok\r\n") == []
    assert written(session) == b"DATA\r\n"
    assert session.receive(b"354 End data with <CR><LF>.<CR><LF>\r\n") == [BodyWanted()]
    assert written(session) == b""
    session.permit()
    assert written(session) == BODY + b".\r\n"
    assert session.receive(b"250 2.0.0 Ok: queued as 4711\r\n") == [
        Finished(Outcome(SENT, THEIRS, 250, "2.0.0", "2.0.0 Ok: queued as 4711", reached_rcpt=True))
    ]
    assert session.phase is Phase.READY


def test_one_session_takes_many_mails_and_says_goodbye() -> None:
    session = Session({})
    for number in range(3):
        session.begin(SENDER, f"ann{number}@party.example", BODY)
        assert b" SIZE=" not in written(session)
        for reply in STEPS[Phase.DOT]:
            session.receive(reply)
            written(session)
        session.permit()
        written(session)
        assert outcome(session.receive(b"250 ok\r\n")).verdict is SENT
    session.quit()
    assert written(session) == b"QUIT\r\n"
    assert session.receive(b"221 bye\r\n") == [Closed()]
    assert session.phase is Phase.CLOSED


def test_a_goodbye_waits_for_the_end_of_a_mail() -> None:
    for phase in IN_A_MAIL:
        session = at(phase)
        before = bytes(session.outgoing)
        session.quit()
        assert (session.phase, bytes(session.outgoing)) == (phase, before)


@pytest.mark.parametrize(
    ("extensions", "smtputf8", "options"),
    [
        ({}, False, b""),
        ({"size": ""}, False, b" SIZE=24"),
        ({"size": "0"}, False, b" SIZE=24"),
        ({"size": "9999", "8bitmime": "", "smtputf8": ""}, False, b" SIZE=24"),
        ({"size": "9999", "8bitmime": "", "smtputf8": ""}, True, b" SIZE=24 SMTPUTF8 BODY=8BITMIME"),
        ({"smtputf8": ""}, True, b" SMTPUTF8"),
    ],
)
def test_mail_announces_what_the_server_knows(
    extensions: dict[str, str], smtputf8: bool, options: bytes
) -> None:
    session = Session(extensions)
    session.begin(SENDER, "grüße@party.example", BODY, smtputf8)
    assert written(session) == b"MAIL FROM:<press@mail.example>" + options + b"\r\n"
    session.receive(b"250 ok\r\n")
    assert written(session) == "RCPT TO:<grüße@party.example>\r\n".encode()


@pytest.mark.parametrize(
    ("extensions", "smtputf8", "refused"),
    [
        ({}, False, None),
        ({"size": ""}, False, None),
        ({"size": "0"}, False, None),  # RFC 1870: no fixed maximum
        ({"size": "24"}, False, None),
        ({"size": "many"}, False, None),
        ({"size": "23"}, False, (FAILED, LETTER, "24 bytes, the server takes 23")),
        ({"size": "24", "smtputf8": ""}, True, None),
        ({"size": "24"}, True, (FAILED, THEIRS, "no SMTPUTF8")),
    ],
)
def test_what_the_server_announces_not_to_take_is_refused_before_the_wire(
    extensions: dict[str, str], smtputf8: bool, refused: tuple[Verdict, Scope, str] | None
) -> None:
    session = Session(extensions)
    made = session.refusal(BODY, smtputf8)
    if refused is None:
        assert made is None
    else:
        assert made is not None
        assert (made.verdict, made.scope, made.reached_rcpt) == (*refused[:2], False)
        assert refused[2] in made.reason
    assert not session.outgoing
    assert session.phase is Phase.READY


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "reply", "verdict", "scope", "enhanced", "after"),
    [
        # MAIL: about the sender, so about us; except for what is about the message
        (Phase.MAIL, "451 try later", DEFERRED, OURS, "", Phase.RESET),
        (Phase.MAIL, "450 4.7.1 slow down", DEFERRED, OURS, "4.7.1", Phase.RESET),
        (Phase.MAIL, "550 sender refused", FAILED, OURS, "", Phase.RESET),
        (Phase.MAIL, "530 5.7.0 authentication required", FAILED, OURS, "5.7.0", Phase.RESET),
        (Phase.MAIL, "553 5.1.8 sender address rejected", FAILED, OURS, "5.1.8", Phase.RESET),
        (Phase.MAIL, "452 4.3.1 out of room", DEFERRED, LETTER, "4.3.1", Phase.RESET),
        (Phase.MAIL, "552 5.3.4 message too big", FAILED, LETTER, "5.3.4", Phase.RESET),
        (Phase.MAIL, "555 what SIZE?", FAILED, LETTER, "", Phase.RESET),
        (Phase.MAIL, "550 5.6.7 no SMTPUTF8 here", FAILED, LETTER, "5.6.7", Phase.RESET),
        # RCPT: about the recipient, unless it says that it is about us
        (Phase.RCPT, "550 5.1.1 user unknown", FAILED, THEIRS, "5.1.1", Phase.RESET),
        (Phase.RCPT, "550 no such user", FAILED, THEIRS, "", Phase.RESET),
        (Phase.RCPT, "551 user not local", FAILED, THEIRS, "", Phase.RESET),
        (Phase.RCPT, "553 mailbox name not allowed", FAILED, THEIRS, "", Phase.RESET),
        (Phase.RCPT, "552 5.2.2 mailbox full", FAILED, THEIRS, "5.2.2", Phase.RESET),
        (Phase.RCPT, "452 4.2.2 mailbox full", DEFERRED, THEIRS, "4.2.2", Phase.RESET),
        (Phase.RCPT, "450 4.2.0 greylisted", DEFERRED, THEIRS, "4.2.0", Phase.RESET),
        (Phase.RCPT, "451 4.7.1 greylisted, come back", DEFERRED, THEIRS, "4.7.1", Phase.RESET),
        (Phase.RCPT, "450 4.7.1 relay busy", DEFERRED, THEIRS, "4.7.1", Phase.RESET),
        (Phase.RCPT, "550 5.7.1 blocked by policy", FAILED, THEIRS, "5.7.1", Phase.RESET),
        (Phase.RCPT, "550 5.7.1 relaying denied", FAILED, OURS, "5.7.1", Phase.RESET),
        (Phase.RCPT, "554 5.7.1 <a@b.example>: Relay access denied", FAILED, OURS, "5.7.1", Phase.RESET),
        (Phase.RCPT, "454 4.7.1 relay access denied", DEFERRED, OURS, "4.7.1", Phase.RESET),
        (Phase.RCPT, "530 5.7.0 must issue STARTTLS", FAILED, OURS, "5.7.0", Phase.RESET),
        (Phase.RCPT, "535 who are you", FAILED, OURS, "", Phase.RESET),
        (Phase.RCPT, "550 please log in first", FAILED, OURS, "", Phase.RESET),
        (Phase.RCPT, "550 not authorised", FAILED, OURS, "", Phase.RESET),
        (Phase.RCPT, "550 5.4.6 daily quota reached", FAILED, OURS, "5.4.6", Phase.RESET),
        (Phase.RCPT, "451 4.7.0 too many messages from you", DEFERRED, OURS, "4.7.0", Phase.RESET),
        (Phase.RCPT, "550 5.1.1 no relay for unknown users", FAILED, THEIRS, "5.1.1", Phase.RESET),
        # DATA and the dot: about the message, unless the enhanced code says whose
        (Phase.DATA, "451 later", DEFERRED, LETTER, "", Phase.RESET),
        (Phase.DATA, "554 no valid recipients", FAILED, LETTER, "", Phase.RESET),
        (Phase.DATA, "550 5.1.1 user unknown", FAILED, THEIRS, "5.1.1", Phase.RESET),
        (Phase.DOT, "451 4.3.0 later", DEFERRED, LETTER, "4.3.0", Phase.READY),
        (Phase.DOT, "452 4.2.2 mailbox full", DEFERRED, THEIRS, "4.2.2", Phase.READY),
        (Phase.DOT, "550 5.7.1 looks like spam", FAILED, LETTER, "5.7.1", Phase.READY),
        (Phase.DOT, "554 spam", FAILED, LETTER, "", Phase.READY),
        (Phase.DOT, "552 5.3.4 too big", FAILED, LETTER, "5.3.4", Phase.READY),
        (Phase.DOT, "550 5.1.1 user unknown", FAILED, THEIRS, "5.1.1", Phase.READY),
        (Phase.DOT, "552 5.2.2 over quota", FAILED, THEIRS, "5.2.2", Phase.READY),
        # Refused while the body is on its way: nothing was accepted, the session is out of step
        (Phase.BODY, "552 5.3.4 too big", FAILED, LETTER, "5.3.4", Phase.CLOSED),
        (Phase.BODY, "451 4.3.0 disk full", DEFERRED, LETTER, "4.3.0", Phase.CLOSED),
        (Phase.BODY, "550 5.2.1 disabled", FAILED, THEIRS, "5.2.1", Phase.CLOSED),
    ],
)
def test_a_refusal_is_judged_by_phase_code_and_words(
    phase: Phase, reply: str, verdict: Verdict, scope: Scope, enhanced: str, after: Phase
) -> None:
    session = at(phase)
    events = session.receive(f"{reply}\r\n".encode())
    made = outcome(events)
    assert (made.verdict, made.scope) == (verdict, scope)
    assert (made.code, made.enhanced, made.reply) == (int(reply[:3]), enhanced, reply[4:])
    assert made.reason == ""  # the server's words are never mixed with ours
    assert made.reached_rcpt is (phase is not Phase.MAIL)
    assert not made.lost
    assert session.phase is after
    assert (Closed() in events) is (after is Phase.CLOSED)
    assert bytes(session.outgoing) == (b"RSET\r\n" if after is Phase.RESET else b"")


@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA])
def test_after_a_refusal_the_session_is_reset_and_takes_the_next_mail(phase: Phase) -> None:
    session = at(phase)
    session.receive(b"550 no\r\n")
    assert not session.busy
    assert written(session) == b"RSET\r\n"
    assert session.receive(b"250 ok\r\n") == []
    assert session.phase is Phase.READY
    session.begin(SENDER, "bo@party.example", BODY)
    assert written(session).startswith(b"MAIL FROM:")


@pytest.mark.parametrize("reply", [b"500 what?\r\n", b"354 go\r\n", b"garbage\r\n"])
def test_a_reset_that_fails_closes_the_session_and_touches_no_mail(reply: bytes) -> None:
    session = at(Phase.RCPT)
    session.receive(b"550 no\r\n")
    assert session.receive(reply) == [Closed()]
    assert session.phase is Phase.CLOSED


@pytest.mark.parametrize("phase", IN_A_MAIL)
def test_421_ends_the_session_in_any_phase_and_charges_nobody(phase: Phase) -> None:
    session = at(phase)
    events = session.receive(b"421 4.3.2 shutting down\r\n")
    made = outcome(events)
    assert (made.verdict, made.scope, made.code) == (DEFERRED, OURS, 421)
    assert made.reply == "4.3.2 shutting down"
    assert events[-1] == Closed()
    assert session.phase is Phase.CLOSED
    assert not session.outgoing


def test_421_between_two_mails_is_only_the_end_of_the_session() -> None:
    idle, reset = Session({}), at(Phase.MAIL)
    reset.receive(b"550 no\r\n")
    for session in (idle, reset):
        assert session.receive(b"421 idle too long\r\n") == [Closed()]
        assert session.phase is Phase.CLOSED


# Replies that are none ---------------------------------------------------------------------------


@pytest.mark.parametrize("phase", IN_A_MAIL)
@pytest.mark.parametrize(
    "reply",
    [
        b"\r\n",
        b"ok\r\n",
        b"25\r\n",
        b"100 hm\r\n",
        b"600 hm\r\n",
        b"999\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\xff\xfe\x00\r\n",
        b" 250 ok\r\n",
        b"250-a\r\n550 b\r\n",  # two codes in one reply
        b"250-a\r\nb\r\n",
    ],
)
def test_garbage_ends_the_session_and_is_in_doubt_only_after_the_dot(phase: Phase, reply: bytes) -> None:
    session = at(phase)
    events = session.receive(reply)
    made = outcome(events)
    assert made.verdict is (UNKNOWN if phase is Phase.DOT else DEFERRED)
    assert (made.scope, made.lost) == (OURS, True)
    assert made.reason and not made.reply
    assert made.reached_rcpt is (phase is not Phase.MAIL)
    assert events[-1] == Closed()
    assert session.phase is Phase.CLOSED
    assert not session.outgoing


@pytest.mark.parametrize(
    ("phase", "reply"),
    [
        (Phase.MAIL, b"354 go\r\n"),
        (Phase.RCPT, b"354 go\r\n"),
        (Phase.DATA, b"250 ok\r\n"),
        (Phase.DATA, b"334 go\r\n"),
        (Phase.INTENT, b"250 ok\r\n"),
        (Phase.INTENT, b"550 no\r\n"),
        (Phase.BODY, b"250 ok\r\n"),
        (Phase.BODY, b"354 go\r\n"),
    ],
)
def test_a_reply_out_of_turn_is_tried_again_elsewhere(phase: Phase, reply: bytes) -> None:
    session = at(phase)
    events = session.receive(reply)
    made = outcome(events)
    assert made.verdict is not UNKNOWN  # nothing can have been accepted
    assert made.verdict is not SENT
    assert events[-1] == Closed()


def test_a_354_to_the_dot_leaves_the_mail_in_doubt() -> None:
    made = outcome(at(Phase.DOT).receive(b"354 go on\r\n"))
    assert (made.verdict, made.code) == (UNKNOWN, 354)


@pytest.mark.parametrize(
    ("lines", "reply", "enhanced"),
    [
        (["550 5.1.1 no such user"], "5.1.1 no such user", "5.1.1"),
        (["550-5.1.1 no such", "550 5.1.1 user"], "5.1.1 no such user", "5.1.1"),
        (["550-first", "550-second", "550 third"], "first second third", ""),
        (["550-5.7.1 see", "550 https://x.example/"], "5.7.1 see https://x.example/", "5.7.1"),
        (["550"], "", ""),
        (["550-", "550 "], "", ""),
        (["550 5.1.1"], "5.1.1", "5.1.1"),
        (["550 5.1.1x"], "5.1.1x", ""),
        (["550 tab\there\x1b[31m"], "tab here [31m", ""),
        (["550 größe"], "größe", ""),
        (["550-5.1.1 195.1.1.7 is listed", "550 5.1.1 sorry"], "5.1.1 195.1.1.7 is listed sorry", "5.1.1"),
        (["550 " + "x" * 5000], "x" * 1000, ""),
    ],
)
def test_the_words_of_a_reply_are_kept_as_one_printable_line(
    lines: Sequence[str], reply: str, enhanced: str
) -> None:
    for end in ("\r\n", "\n"):
        made = outcome(at(Phase.RCPT).receive("".join(line + end for line in lines).encode()))
        assert (made.reply, made.enhanced) == (reply, enhanced)


def test_bytes_that_are_no_utf8_stay_readable() -> None:
    assert outcome(at(Phase.RCPT).receive(b"550 gr\xf6\xdfe\r\n")).reply == r"gr\xf6\xdfe"


@pytest.mark.parametrize("phase", IN_A_MAIL)
@pytest.mark.parametrize("piece", [b"x" * 1000, b"250-more\r\n" * 100, b"250 " + b"x" * 996])
def test_an_endless_reply_ends_the_session_within_64_kilobytes(phase: Phase, piece: bytes) -> None:
    session = at(phase)
    events: list[Event] = []
    for _ in range(100):
        events += session.receive(piece)
        if events:
            break
    assert outcome(events).verdict is (UNKNOWN if phase is Phase.DOT else DEFERRED)
    assert events.count(Closed()) == 1
    assert session.phase is Phase.CLOSED


def test_a_closed_session_stays_closed_and_silent() -> None:
    session = at(Phase.RCPT)
    assert session.receive(b"garbage\r\n" + b"x" * 100_000).count(Closed()) == 1
    assert session.receive(b"250 ok\r\n" * 10_000) == []
    assert session.lost("again") == []
    session.quit()
    assert not session.outgoing
    assert not session.busy
    assert session.patience is None


# Lost connections --------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", IN_A_MAIL)
def test_a_lost_connection_is_in_doubt_only_after_the_last_byte(phase: Phase) -> None:
    session = at(phase)
    events = session.lost("the connection broke")
    made = outcome(events)
    assert made.lost
    assert made.scope is OURS
    assert made.code is None and not made.reply
    assert "the connection broke" in made.reason
    assert made.verdict is (UNKNOWN if phase is Phase.DOT else DEFERRED)
    assert ("may have been accepted" in made.reason) is (phase is Phase.DOT)
    assert made.reached_rcpt is (phase is not Phase.MAIL)
    assert events[-1] == Closed()
    assert not session.outgoing


def test_a_connection_lost_between_two_mails_touches_no_mail() -> None:
    idle, reset, leaving = Session({}), at(Phase.RCPT), Session({})
    reset.receive(b"550 no\r\n")
    leaving.quit()
    for session in (idle, reset, leaving):
        assert session.lost("gone") == [Closed()]
        assert session.phase is Phase.CLOSED


@PROPERTY
@given(st.lists(st.integers(1, 20), max_size=12))
def test_the_mail_is_in_doubt_exactly_when_every_byte_of_the_dot_was_taken(takes: Sequence[int]) -> None:
    session = at(Phase.INTENT)
    session.permit()
    whole = bytes(session.outgoing)
    taken = b"".join(written(session, count) for count in takes)
    assert whole.startswith(taken)
    complete = len(taken) == len(whole)
    assert session.phase is (Phase.DOT if complete else Phase.BODY)
    assert outcome(session.lost("gone")).verdict is (UNKNOWN if complete else DEFERRED)


def test_a_half_answer_to_the_dot_is_no_answer() -> None:
    for half in (b"250 2.0.0 ok", b"250-2.0.0 ok\r\n", b"2"):
        session = at(Phase.DOT)
        assert session.receive(half) == []
        assert outcome(session.lost("gone")).verdict is UNKNOWN


# Every split of the bytes ------------------------------------------------------------------------

_REPLIES = st.lists(
    st.sampled_from(
        [
            b"250 ok\r\n",
            b"250-a\r\n250-b\r\n250 c\r\n",
            b"250\n",
            b"354 go\r\n",
            b"450 4.2.0 later\r\n",
            b"550-5.1.1 no\r\n550 5.1.1 such user\r\n",
            b"421 bye\r\n",
            b"garbage\r\n",
            b"250-x\r\n550 y\r\n",
            b"gr\xf6\xdfe\r\n",
        ]
    ),
    max_size=8,
)


def talk(replies: Sequence[Sequence[bytes]]) -> tuple[list[Event], bytes, Phase]:
    """Play a server's replies, each in pieces; the body leaves as soon as it is wanted."""
    session = Session({})
    session.begin(SENDER, RECIPIENT, BODY)
    events: list[Event] = []
    out = written(session)
    for pieces in replies:
        for piece in pieces:
            new = session.receive(piece)
            events += new
            if BodyWanted() in new:
                session.permit()
        out += written(session)
    return events, out, session.phase


@PROPERTY
@given(
    st.one_of(_REPLIES, _REPLIES.map(lambda more: [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", *more])),
    st.data(),
)
def test_every_split_of_the_servers_bytes_gives_the_same_events(
    replies: Sequence[bytes], data: st.DataObject
) -> None:
    pieces = []
    for reply in replies:
        cuts = sorted(data.draw(st.sets(st.integers(1, len(reply) - 1))))
        pieces.append([reply[a:b] for a, b in zip([0, *cuts], [*cuts, len(reply)], strict=True)])
    assert talk(pieces) == talk([[reply] for reply in replies])
    assert talk(pieces) == talk([[bytes([byte]) for byte in reply] for reply in replies])


@PROPERTY
@given(st.lists(st.integers(1, 60), max_size=20))
def test_replies_may_arrive_glued_together_up_to_the_body(cuts: Sequence[int]) -> None:
    stream = b"250-a\r\n250 b\r\n250 ok\r\n354 go\r\n"
    session = at(Phase.MAIL)
    events: list[Event] = []
    for count in cuts:
        events += session.receive(stream[:count])
        stream = stream[count:]
    events += session.receive(stream)
    assert events == [BodyWanted()]
    assert written(session) == b"RCPT TO:<ann@party.example>\r\nDATA\r\n"


def test_a_long_reply_is_judged_the_same_at_once_and_in_pieces() -> None:
    reply = b"250-" + b"x" * 66_000 + b"\r\n250 ok\r\n"
    at_once, in_pieces = at(Phase.DOT), at(Phase.DOT)
    events: list[Event] = []
    for start in range(0, len(reply), 1000):
        events += in_pieces.receive(reply[start : start + 1000])
    assert at_once.receive(reply) == events


@PROPERTY
@given(st.lists(st.binary(max_size=60), max_size=12), st.sampled_from(IN_A_MAIL))
@example([b"250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n"], Phase.MAIL)
def test_any_bytes_from_the_server_end_in_at_most_one_outcome(chunks: Sequence[bytes], phase: Phase) -> None:
    session = at(phase)
    events: list[Event] = []
    for chunk in chunks:
        events += session.receive(chunk)
        if session.phase is not Phase.BODY:
            written(session)
    events += session.lost("gone")
    assert len([one for one in events if isinstance(one, Finished)]) == 1
    assert events.count(Closed()) == 1
    assert events[-1] == Closed()
    assert session.phase is Phase.CLOSED
    if phase is not Phase.DOT:  # the body never left
        assert outcome(events).verdict in (DEFERRED, FAILED)


# What leaves -------------------------------------------------------------------------------------


@PROPERTY
@given(st.lists(st.sampled_from([b".", b"..", b"x", b".x", b"", b"x.", b"From", b". "]), max_size=12))
def test_the_body_arrives_as_it_was_after_the_server_takes_the_dots_out(lines: Sequence[bytes]) -> None:
    message = b"".join(line + b"\r\n" for line in lines)
    session = at(Phase.INTENT, message)
    session.permit()
    rest = written(session)
    received: list[bytes] = []
    while True:  # as a server reads it (RFC 5321 §4.5.2)
        line, newline, rest = rest.partition(b"\r\n")
        assert newline
        if line == b".":
            break
        received.append(line.removeprefix(b"."))
    assert rest == b""
    assert b"".join(line + b"\r\n" for line in received) == message or (not message and received == [b""])


def test_a_body_without_a_last_line_end_gets_one() -> None:
    session = at(Phase.INTENT, b"x\r\n.y")
    session.permit()
    assert written(session) == b"x\r\n..y\r\n.\r\n"


@PROPERTY
@given(_REPLIES)
def test_no_byte_of_the_body_leaves_before_the_permit(replies: Sequence[bytes]) -> None:
    secret = b"Subject: secret\r\n\r\nsecret\r\n"
    session = Session({})
    session.begin(SENDER, RECIPIENT, secret)
    out = b""
    for reply in replies:
        session.receive(reply)
        out += written(session)
    assert b"secret" not in out
    assert set(out.split(b"\r\n")) <= {
        b"MAIL FROM:<press@mail.example>",
        b"RCPT TO:<ann@party.example>",
        b"DATA",
        b"RSET",
        b"",
    }


INJECTION = ["ann@x.example>\r\nRCPT TO:<evil@x.example", "ann@x.example\n", "ann\r@x.example"]


@pytest.mark.parametrize("address", INJECTION)
def test_a_line_break_in_an_address_is_never_written(address: str) -> None:
    for sender, recipient in ((address, RECIPIENT), (SENDER, address)):
        session = Session({})
        out = b""
        try:
            session.begin(sender, recipient, BODY)
            out += written(session)
            session.receive(b"250 ok\r\n")
        except (AssertionError, ValueError):
            pass
        out += written(session)
        assert out in (b"", b"MAIL FROM:<press@mail.example>\r\n")


def test_a_line_break_in_an_address_is_never_written_by_an_optimised_python_either() -> None:
    """`python -O` drops assert statements; this promise must not go with them."""
    code = f"""
from outreach.smtp import Session
for address in {INJECTION!r}:
    session = Session({{}})
    try:
        session.begin(address, "bo@x.example", b"x")
    except Exception:
        pass
    print(bytes(session.outgoing).count(b"\\n"))
"""
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True)
    assert all(int(count) <= 1 for count in done.stdout.split()), done.stdout
    assert "0" in done.stdout.split()


# Patience ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "seconds"),
    [  # RFC 5321 §4.5.3.2
        (Phase.MAIL, 300),
        (Phase.RCPT, 300),
        (Phase.DATA, 120),
        (Phase.INTENT, None),
        (Phase.BODY, 180),
        (Phase.DOT, 600),
    ],
)
def test_the_server_is_waited_for_as_long_as_the_standard_says(phase: Phase, seconds: int | None) -> None:
    assert at(phase).patience == seconds
    assert Session({}).patience is None


@pytest.mark.parametrize("phase", IN_A_MAIL)
def test_a_session_is_busy_exactly_while_a_mail_is_under_way(phase: Phase) -> None:
    session = at(phase)
    assert session.busy
    session.lost("gone")
    assert not session.busy
    assert not Session({}).busy
