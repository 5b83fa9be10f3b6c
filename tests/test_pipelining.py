"""Commands sent together (RFC 2920): one round trip for each mail, and the same outcomes as one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach.model import Outcome, Scope, Verdict
from outreach.smtp import BodyWanted, Closed, Event, Finished, Phase, Session

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests
SENT, DEFERRED, FAILED, UNKNOWN = Verdict.SENT, Verdict.DEFERRED, Verdict.FAILED, Verdict.UNKNOWN
OURS, THEIRS, LETTER = Scope.SESSION, Scope.RECIPIENT, Scope.MESSAGE
SENDER = "press@mail.example"
GROUP = b"MAIL FROM:<press@mail.example>\r\nRCPT TO:<%s@party.example>\r\nDATA\r\n"


def written(session: Session) -> bytes:
    data = b""
    while piece := bytes(session.outgoing):
        session.wrote(len(piece))
        data += piece
    return data


def begun(name: str = "ann") -> Session:
    session = Session({"pipelining": ""})
    session.begin(SENDER, f"{name}@party.example", b"body of " + name.encode() + b"\r\n")
    written(session)
    return session


def followed() -> Session:
    """A session with one body on its way and the next mail behind it."""
    session = begun()
    session.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    session.permit()
    session.begin(SENDER, "bo@party.example", b"body of bo\r\n")
    written(session)
    assert session.phase is Phase.DOT
    return session


def outcomes(events: Sequence[Event]) -> list[tuple[Verdict, Scope]]:
    return [(one.outcome.verdict, one.outcome.scope) for one in events if isinstance(one, Finished)]


# One round trip ----------------------------------------------------------------------------------


def test_a_mail_costs_one_write_and_one_answer() -> None:
    session = Session({"pipelining": ""})
    session.begin(SENDER, "ann@party.example", b"body of ann\r\n")
    assert bytes(session.outgoing) == GROUP % b"ann"
    written(session)
    assert session.receive(b"250 ok\r\n250 ok\r\n354 go\r\n") == [BodyWanted()]
    for name, follower in ((b"ann", b"bo"), (b"bo", b"cy"), (b"cy", b"di")):
        session.permit()
        session.begin(SENDER, f"{follower.decode()}@party.example", b"body of " + follower + b"\r\n")
        assert bytes(session.outgoing) == b"body of " + name + b"\r\n.\r\n" + GROUP % follower
        assert not session.takes  # one behind is enough
        written(session)
        events = session.receive(b"250 taken\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        assert outcomes(events) == [(SENT, THEIRS)]
        assert events[-1] == BodyWanted()
    session.permit()
    assert written(session) == b"body of di\r\n.\r\n"
    assert outcomes(session.receive(b"250 taken\r\n")) == [(SENT, THEIRS)]
    assert session.phase is Phase.READY


def test_a_large_body_is_not_copied_and_the_next_mail_still_follows() -> None:
    body = b"x" * 70 + b"\r\n"
    session = Session({"pipelining": ""})
    session.begin(SENDER, "ann@party.example", body * 5000)
    written(session)
    session.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    session.permit()
    session.begin(SENDER, "bo@party.example", b"x\r\n")
    assert len(session.outgoing) == len(body) * 5000
    session.wrote(len(session.outgoing))
    assert session.phase is Phase.BODY  # the dot is not written yet
    assert bytes(session.outgoing) == b".\r\n" + GROUP % b"bo"
    session.wrote(2)
    assert session.phase is Phase.BODY
    session.wrote(1)
    assert session.phase is Phase.DOT


def test_nothing_follows_a_mail_whose_body_was_not_permitted() -> None:
    session = begun()
    assert not session.takes
    session.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert session.phase is Phase.INTENT
    assert not session.takes


def test_without_the_announcement_or_when_switched_off_it_goes_one_by_one() -> None:
    for session in (Session({}), Session({"pipelining": ""}, pipelining=False)):
        session.begin(SENDER, "ann@party.example", b"x\r\n")
        assert written(session) == b"MAIL FROM:<press@mail.example>\r\n"
    session = followed()
    session.pipelining = False  # in the middle: what is on its way still ends well
    assert outcomes(session.receive(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")) == [(SENT, THEIRS)]
    session.permit()
    assert not session.takes
    written(session)
    assert outcomes(session.receive(b"250 ok\r\n")) == [(SENT, THEIRS)]
    session.begin(SENDER, "cy@party.example", b"x\r\n")
    assert written(session) == b"MAIL FROM:<press@mail.example>\r\n"


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replies", "verdict", "scope", "reached"),
    [
        (["550 5.7.1 sender", "503 5.5.1 no MAIL", "503 5.5.1 no RCPT"], FAILED, OURS, False),
        (["250 ok", "550 5.1.1 unknown", "554 5.5.1 no valid recipients"], FAILED, THEIRS, True),
        (["250 ok", "450 4.2.0 greylisted", "354 go"], DEFERRED, THEIRS, True),
        (["250 ok", "250 ok", "451 4.3.0 later"], DEFERRED, LETTER, True),
        (["250 ok", "550-5.1.1 un", "550 5.1.1 known", "354 go"], FAILED, THEIRS, True),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_a_refused_mail_sends_no_body_and_the_session_goes_on(
    replies: list[str], verdict: Verdict, scope: Scope, reached: bool, behind: bool
) -> None:
    session = followed() if behind else begun("bo")
    data = "".join(f"{one}\r\n" for one in replies).encode()
    events = session.receive(b"250 ok\r\n" + data if behind else data)
    (made,) = [one.outcome for one in events if isinstance(one, Finished)][behind:]
    assert (made.verdict, made.scope, made.reached_rcpt) == (verdict, scope, reached)
    assert not session.busy
    if replies[-1].startswith("354"):
        assert written(session) == b".\r\n"  # nobody gets it: the server has no recipient
        assert session.phase is Phase.RESET
        session.receive(b"554 5.5.1 no valid recipients\r\n")
    else:
        assert written(session) == b"RSET\r\n"
        session.receive(b"250 ok\r\n")
    assert session.phase is Phase.READY
    assert not session.out_of_step
    session.begin(SENDER, "cy@party.example", b"x\r\n")
    assert written(session) == GROUP % b"cy"


@pytest.mark.parametrize("rcpt", [b"250 ok\r\n", b"251 will forward\r\n"])
def test_no_dot_is_sent_where_a_server_took_the_recipient_without_a_sender(rcpt: bytes) -> None:
    """Even a dot alone would be a mail then, an empty one."""
    session = begun()
    events = session.receive(b"451 4.3.0 later\r\n" + rcpt + b"354 go\r\n")
    assert outcomes(events) == [(DEFERRED, OURS)]
    assert events[-1] == Closed()
    assert not session.outgoing


def test_an_idle_session_is_asked_carefully() -> None:
    session = Session({"pipelining": ""})
    session.begin(SENDER, "ann@party.example", b"x\r\n", fresh=False)
    assert written(session) == b"MAIL FROM:<press@mail.example>\r\n"
    (made,) = [one.outcome for one in session.lost("gone") if isinstance(one, Finished)]
    assert not made.reached_rcpt  # nobody was named: it counts against no limit
    (made,) = [one.outcome for one in begun().lost("gone") if isinstance(one, Finished)]
    assert made.reached_rcpt


def test_a_lone_dot_that_is_taken_counts_for_nobody() -> None:
    session = begun()
    assert outcomes(session.receive(b"250 ok\r\n550 5.1.1 unknown\r\n354 go\r\n")) == [(FAILED, THEIRS)]
    assert written(session) == b".\r\n"
    assert session.receive(b"250 2.0.0 taken\r\n") == []
    assert session.phase is Phase.READY


def test_a_refusal_of_the_dot_leaves_the_mail_behind_untouched() -> None:
    session = followed()
    events = session.receive(b"554 5.7.1 spam\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert outcomes(events) == [(FAILED, LETTER)]
    assert events[-1] == BodyWanted()
    session.permit()
    assert written(session) == b"body of bo\r\n.\r\n"


@pytest.mark.parametrize(
    ("data", "first", "second"),
    [
        (b"421 4.3.2 bye\r\n", (DEFERRED, OURS), (DEFERRED, OURS)),  # after the dot: a clean failure
        (b"250 ok\r\n421 4.3.2 bye\r\n", (SENT, THEIRS), (DEFERRED, OURS)),
        (b"250 ok\r\n250 ok\r\n421 bye\r\n", (SENT, THEIRS), (DEFERRED, OURS)),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n421 bye\r\n", (SENT, THEIRS), (DEFERRED, OURS)),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n421 bye\r\n", (SENT, THEIRS), (DEFERRED, OURS)),
        (b"250 ok\r\n550 no\r\n421 bye\r\n", (SENT, THEIRS), (FAILED, OURS)),
        (b"354 go on\r\n", (UNKNOWN, LETTER), (DEFERRED, OURS)),
        (b"garbage\r\n", (UNKNOWN, OURS), (DEFERRED, OURS)),
        (b"250 ok\r\ngarbage\r\n", (SENT, THEIRS), (DEFERRED, OURS)),
    ],
)
def test_a_session_that_ends_leaves_at_most_the_first_in_doubt(
    data: bytes, first: tuple[Verdict, Scope], second: tuple[Verdict, Scope]
) -> None:
    session = followed()
    events = session.receive(data)
    assert outcomes(events) == [first, second]
    assert events[-1] == Closed()
    assert session.phase is Phase.CLOSED
    assert not session.outgoing


def test_a_lost_connection_leaves_at_most_the_first_in_doubt() -> None:
    assert outcomes(followed().lost("gone")) == [(UNKNOWN, OURS), (DEFERRED, OURS)]
    session = followed()
    session.receive(b"250 ok\r\n")
    assert outcomes(session.lost("gone")) == [(DEFERRED, OURS)]
    session = begun()
    session.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    session.permit()
    session.begin(SENDER, "bo@party.example", b"x\r\n")
    session.wrote(len(b"body of ann\r\n.\r"))  # one byte short of the end
    made = session.lost("gone")
    assert outcomes(made) == [(DEFERRED, OURS), (DEFERRED, OURS)]


def test_abandoning_writes_nothing_more_and_says_nothing() -> None:
    session = followed()
    session.receive(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert session.phase is Phase.INTENT
    session.abandon()
    assert session.phase is Phase.CLOSED
    assert not session.outgoing
    assert session.receive(b"250 ok\r\n") == []
    assert session.lost("gone") == []


# Servers that lie --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"250 ok\r\n250 ok\r\n250 ok\r\n",  # an answer too many
        b"250 ok\r\n354 go\r\n",  # one too few
        b"503 bad sequence of commands\r\n",
        b"554 SMTP synchronization error\r\n",
        b"500 5.5.1 what is all this\r\n",
        b"250 ok\r\nnonsense\r\n",
    ],
)
def test_a_server_that_does_not_take_what_it_announces_is_asked_again_one_by_one(data: bytes) -> None:
    session = begun()
    events = session.receive(data)
    ((verdict, scope),) = outcomes(events)
    assert (verdict, scope) == (DEFERRED, OURS)
    assert events[-1] == Closed()
    assert session.out_of_step


def test_silence_about_the_first_commands_sent_together_is_a_lie_too_and_costs_half_a_minute() -> None:
    session = begun()
    assert session.patience == 30
    session.receive(b"250 ok\r\n")
    assert session.patience == 30
    assert outcomes(session.lost("silent")) == [(DEFERRED, OURS)]
    assert session.out_of_step


def test_once_a_server_has_shown_that_it_can_it_has_the_time_of_the_standard() -> None:
    session = followed()
    assert session.patience == 600
    session.receive(b"250 ok\r\n")
    assert session.patience == 300
    session.lost("silent")
    assert not session.out_of_step  # slow or gone, but no liar


@pytest.mark.parametrize("data", [b"550 5.7.1 sender refused\r\n", b"250 ok\r\n554 5.7.1 relay denied\r\n"])
def test_a_refusal_with_a_reason_is_believed_at_once(data: bytes) -> None:
    session = begun()
    assert outcomes(session.receive(data)) == [(FAILED, OURS)]
    assert not session.out_of_step


def test_an_answer_too_many_never_makes_a_mail_sent() -> None:
    session = followed()
    events = session.receive(b"250 taken\r\n250 again\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert outcomes(events) == [(SENT, THEIRS), (DEFERRED, OURS)]
    assert session.out_of_step


# Together or one by one, in whatever pieces -------------------------------------------------------


@dataclass
class Script:
    """What a server says about one mail."""

    mail: int = 250
    rcpt: int = 250
    data: int = 354
    dot: int = 250
    lenient: bool = False  # 354 without a recipient, which RFC 2920 §3.2 allows
    lines: int = 1


@dataclass
class Server:
    """A server that keeps to RFC 5321 and RFC 2920, mail by mail after its script."""

    scripts: Iterator[Script]
    script: Script = field(default_factory=Script)
    pending: bytes = b""
    replies: bytes = b""
    recipient: bytes = b""
    sender: bytes = b""
    body: list[bytes] | None = None
    accepted: list[tuple[bytes, bytes]] = field(default_factory=list)

    def say(self, code: int, text: str = "x") -> None:
        lines = [f"{code}-{text}\r\n"] * (self.script.lines - 1) + [f"{code} {text}\r\n"]
        self.replies += "".join(lines).encode()

    def feed(self, data: bytes) -> None:
        self.pending += data
        while b"\r\n" in self.pending:
            line, _, self.pending = self.pending.partition(b"\r\n")
            if self.body is None:
                self.command(line)
            elif line == b".":
                self.end()
            else:
                self.body.append(line.removeprefix(b"."))

    def command(self, line: bytes) -> None:
        if line.startswith(b"MAIL"):
            assert not self.sender, "nested MAIL"
            self.script = next(self.scripts)
            self.say(self.script.mail)
            self.sender = line if self.script.mail == 250 else b""
        elif line.startswith(b"RCPT"):
            if not self.sender:
                return self.say(503)
            self.say(self.script.rcpt)
            self.recipient = line[9:-1] if self.script.rcpt == 250 else b""
        elif line == b"DATA":
            if not self.recipient and not (self.sender and self.script.lenient):
                return self.say(503)
            self.say(self.script.data if self.recipient else 354)
            if self.script.data == 354 or not self.recipient:
                self.body = []
        elif line == b"RSET":
            self.sender = self.recipient = b""
            self.say(250)
        else:
            raise AssertionError(line)

    def end(self) -> None:
        assert self.body is not None
        if not self.recipient:
            assert self.body == [], "a body for nobody"
            self.say(554)
        else:
            self.say(self.script.dot)
            if self.script.dot == 250:
                self.accepted.append((self.recipient, b"\r\n".join(self.body)))
        self.body, self.sender, self.recipient = None, b"", b""


def converse(
    scripts: Sequence[Script], pipelining: bool, cuts: Iterator[int]
) -> tuple[list[Outcome], list[tuple[bytes, bytes]]]:
    """Send one mail for each script, as the loop does; cut the bytes both ways as told."""
    server = Server(iter(scripts))
    session = Session({"pipelining": ""}, pipelining)
    waiting = [f"p{number}@party.example" for number in range(len(scripts))]
    made: list[Outcome] = []
    for _ in range(10_000):
        if session.phase is Phase.INTENT:
            session.permit()
        if waiting and session.takes:
            mail = waiting.pop(0)
            session.begin(SENDER, mail, f".body\r\n..of {mail}\r\n".encode())
        if outgoing := session.outgoing[: next(cuts)]:
            server.feed(bytes(outgoing))
            session.wrote(len(outgoing))
        size = next(cuts)
        data, server.replies = server.replies[:size], server.replies[size:]
        for event in session.receive(data):
            assert not isinstance(event, Closed)
            if isinstance(event, Finished):
                made.append(event.outcome)
        if not waiting and session.phase is Phase.READY and not session.outgoing and not server.replies:
            return made, server.accepted
    raise AssertionError(f"no end: {session.phase}")


def forever(sizes: Sequence[int]) -> Iterator[int]:
    while True:
        yield from sizes


scripts = st.lists(
    st.builds(
        Script,
        # 503 from a server that has not shown yet that it can would be taken for a lie: see above
        mail=st.sampled_from([250, 250, 250, 250, 550, 451]),
        rcpt=st.sampled_from([250, 250, 250, 550, 450, 553, 452]),
        data=st.sampled_from([354, 354, 354, 451, 550]),
        dot=st.sampled_from([250, 250, 550, 452, 552]),
        lenient=st.booleans(),
        lines=st.integers(1, 3),
    ),
    min_size=1,
    max_size=6,
)


@PROPERTY
@given(scripts, st.lists(st.integers(1, 200), min_size=1, max_size=8))
def test_together_and_one_by_one_come_to_the_same(script: list[Script], sizes: list[int]) -> None:
    one_by_one = converse(script, False, forever([10_000]))
    together = converse(script, True, forever(sizes))
    assert together == one_by_one
    for made, (mail, body) in zip(
        [made for made in together[0] if made.verdict is SENT], together[1], strict=True
    ):
        assert made.code == 250
        assert body == b".body\r\n..of " + mail


@PROPERTY
@given(
    st.lists(
        st.sampled_from(
            [b"250 ok\r\n", b"354 go\r\n", b"550 no\r\n", b"451 l", b"ater\r\n", b"421 bye\r\n", b"\r\n"]
        ),
        max_size=14,
    ),
    st.booleans(),
)
def test_whatever_a_server_says_each_mail_has_one_outcome_and_no_body_without_a_permit(
    said: list[bytes], lost: bool
) -> None:
    session = followed()
    made: list[Event] = []
    for data in said:
        made += session.receive(data)
        assert b"body of bo" not in written(session)
        assert len(outcomes(made)) <= 2
    if lost or session.busy:
        made += session.lost("gone")
    assert len(outcomes(made)) == 2
    assert [one for one in made if isinstance(one, Finished)][1].outcome.verdict is not SENT
    assert re.search("(?i)unknown", outcomes(made)[1][0]) is None
