"""The matrix: each stage of a session × whatever a server may say there, and the outcome that the table says.

Mails are tried with bytes only, one by one, together, and behind another mail. Openings need sockets, as
smtplib reads from one. Time-outs are injected: patience is shortened, nothing waits for minutes.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Project

from outreach import cli, connection, smtp
from outreach.connection import Opened, Opening
from outreach.errors import Exit, ServerError
from outreach.model import Scope, Security, Server, Verdict
from outreach.smtp import Closed, Finished, Phase, Session

DEFERRED, FAILED, SENT, UNKNOWN = Verdict.DEFERRED, Verdict.FAILED, Verdict.SENT, Verdict.UNKNOWN
OURS, THEIRS, LETTER = Scope.SESSION, Scope.RECIPIENT, Scope.MESSAGE
LATER = {421: (DEFERRED, OURS)}  # everywhere
TABLE = {
    "mail": LATER
    | {450: (DEFERRED, OURS), 451: (DEFERRED, OURS), 452: (DEFERRED, LETTER), 454: (DEFERRED, OURS)}
    | {535: (FAILED, OURS), 550: (FAILED, OURS), 552: (FAILED, LETTER), 553: (FAILED, OURS)}
    | {554: (FAILED, OURS), 471: (DEFERRED, OURS), 571: (FAILED, OURS)},
    "rcpt": LATER
    | {450: (DEFERRED, THEIRS), 451: (DEFERRED, THEIRS), 452: (DEFERRED, THEIRS), 454: (DEFERRED, THEIRS)}
    | {535: (FAILED, OURS), 550: (FAILED, THEIRS), 552: (FAILED, THEIRS), 553: (FAILED, THEIRS)}
    | {554: (FAILED, THEIRS), 471: (DEFERRED, THEIRS), 571: (FAILED, THEIRS)},
    "data": LATER
    | {450: (DEFERRED, LETTER), 451: (DEFERRED, LETTER), 452: (DEFERRED, LETTER), 454: (DEFERRED, LETTER)}
    | {535: (FAILED, OURS), 550: (FAILED, LETTER), 552: (FAILED, LETTER), 553: (FAILED, LETTER)}
    | {554: (FAILED, LETTER), 471: (DEFERRED, LETTER), 571: (FAILED, LETTER)},
}
TABLE["dot"] = TABLE["data"]
CODES = tuple(TABLE["mail"])
CELLS = [(stage, code) for stage in TABLE for code in CODES]
BEFORE = {"mail": b"", "rcpt": b"250 ok\r\n", "data": b"250 ok\r\n" * 2, "dot": b""}
# How a reply may look; each says the same.
SHAPES = {
    "one line": lambda code: b"%d %d.0.0 no\r\n" % (code, code // 100),
    "several lines": lambda code: b"%d-%d.0.0 no\r\n%d-\r\n%d no\r\n" % (code, code // 100, code, code),
    "8-bit bytes": lambda code: b"%d %d.0.0 \xff\xfe\xc3\xa9\r\n" % (code, code // 100),
    "600 bytes": lambda code: b"%d %d.0.0 %s\r\n" % (code, code // 100, b"x" * 600),
    "bare line feeds": lambda code: b"%d %d.0.0 no\n" % (code, code // 100),
}


def taken(session: Session) -> None:
    while size := len(session.outgoing):
        session.wrote(size)


def at(stage: str, manner: str) -> Session:
    """A session that waits for the answer to a stage of its (last) mail."""
    session = Session({} if manner == "one by one" else {"pipelining": ""})
    session.begin("press@mail.example", "ann@party.example", b"x\r\n")
    taken(session)
    if manner == "behind" or stage == "dot":
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            session.receive(reply)
            taken(session)
        session.permit()
        if manner == "behind":
            session.begin("press@mail.example", "bo@party.example", b"x\r\n")
        taken(session)
    if manner == "behind":
        session.receive(b"250 ok\r\n")
        if stage == "dot":
            session.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
            session.permit()
            taken(session)
    for reply in BEFORE[stage].splitlines(keepends=True):
        session.receive(reply)
        taken(session)
    assert session.phase is Phase(stage)
    return session


@pytest.mark.parametrize("manner", ["one by one", "together", "behind"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("stage", "code"), CELLS)
def test_a_refusal_has_the_outcome_of_the_table(stage: str, code: int, shape: str, manner: str) -> None:
    session = at(stage, manner)
    events = session.receive(SHAPES[shape](code))
    (outcome,) = [one.outcome for one in events if isinstance(one, Finished)]
    assert (outcome.verdict, outcome.scope) == TABLE[stage][code]
    assert (outcome.code, outcome.enhanced) == (code, f"{code // 100}.0.0")
    assert (Closed() in events) is (code == 421)
    assert b"body" not in bytes(session.outgoing)
    assert not session.busy


@pytest.mark.parametrize("manner", ["one by one", "together", "behind"])
@pytest.mark.parametrize("stage", TABLE)
@pytest.mark.parametrize("bytes_said", [0, 1, 3, 7])
def test_silence_is_in_doubt_only_after_the_dot(stage: str, manner: str, bytes_said: int) -> None:
    session = at(stage, manner)
    assert session.patience is not None
    before = session.step
    for byte in b"250-slow\r\n"[:bytes_said]:
        session.receive(bytes([byte]))
    assert session.step == before  # trickling bytes do not prolong the deadline
    events = session.lost("the server was silent")
    (outcome,) = [one.outcome for one in events if isinstance(one, Finished)]
    assert (outcome.verdict, outcome.scope) == (UNKNOWN if stage == "dot" else DEFERRED, OURS)
    assert outcome.lost
    assert events[-1] == Closed()


# Opening -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(stage: str, reply: bytes | None, gap: float = 0.0) -> Iterator[int]:
    """Answer everything well but one stage: `reply` in pieces of a byte with gaps, or (None) never."""
    good = {
        "greeting": b"220 hello\r\n",
        "ehlo": b"250-hello\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n",
        "starttls": b"454 only here to be refused\r\n",
        "auth": b"235 fine\r\n",
    }
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def say(session: socket.socket, what: str) -> None:
            if what != stage:
                session.sendall(good.get(what, b"221 bye\r\n"))
            elif reply is None:
                ended.wait(10)
            elif gap:
                for byte in reply:
                    session.sendall(bytes([byte]))
                    if ended.wait(gap):
                        return
            else:
                session.sendall(reply)

        def work() -> None:
            with contextlib.suppress(OSError):
                while True:
                    session = listener.accept()[0]
                    with session, contextlib.suppress(OSError):
                        if stage == "connect":
                            continue
                        say(session, "greeting")
                        for line in session.makefile("rb"):
                            say(session, line.split()[0].decode().lower())

        threading.Thread(target=work, daemon=True).start()
        yield listener.getsockname()[1]
        ended.set()


def open_session(port: int, stage: str) -> Opened | ServerError:
    security = Security.STARTTLS if stage == "starttls" else Security.OFF
    woken = threading.Event()
    target = Server("127.0.0.1", port, security)
    opening = Opening(target, "me", "secret", "[127.0.0.1]", woken.set, tries=1)
    assert woken.wait(20)
    result = opening.result()
    assert result is not None
    return result


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("code", [421, 450, 451, 452, 454, 535, 550, 552, 553, 554, 471, 571])
@pytest.mark.parametrize("stage", ["greeting", "ehlo", "starttls", "auth"])
def test_a_refusal_while_opening_is_passing_or_for_good(stage: str, code: int, shape: str) -> None:
    with server(stage, SHAPES[shape](code)) as port:
        result = open_session(port, stage)
    if stage == "ehlo":  # RFC 5321 §3.2: HELO is tried then, and this server takes it; but it offers no login
        assert isinstance(result, ServerError)
        return
    assert isinstance(result, ServerError)
    assert result.exit_code == (Exit.REFUSED if code >= 500 else Exit.UNREACHABLE)
    assert str(code) in result.message
    assert "secret" not in result.message + result.hint


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "starttls", "auth"])
@pytest.mark.parametrize("reply", [None, b"220-" + b"slow " * 400])
def test_one_deadline_holds_for_a_whole_opening(
    stage: str, reply: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_DEADLINE_SECONDS", 0.5)
    with server(stage, reply, 0.02) as port:
        result = open_session(port, stage)
    assert isinstance(result, ServerError)
    assert result.exit_code == Exit.UNREACHABLE
    assert "does not answer" in result.message


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        ("connect", b""),
        ("greeting", b"HTTP/1.1 400 Bad Request\r\n"),
        ("greeting", b"\xff\xfe\r\n"),
        ("greeting", b"220-hello\r\n" * 60_000),
        ("ehlo", b"250-" + b"x" * 20_000 + b"\r\n"),
        ("auth", b"334 not base64 at all!\r\n"),
        ("auth", b"250 fine?\r\n"),
    ],
)
def test_nonsense_while_opening_is_one_clear_message(stage: str, reply: bytes) -> None:
    with server(stage, reply) as port:
        result = open_session(port, stage)
    assert isinstance(result, ServerError)
    assert result.exit_code in (Exit.UNREACHABLE, Exit.REFUSED)
    assert "\n" not in result.message
    assert len(result.message) < 500


def test_a_port_that_nobody_listens_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    result = open_session(port, "connect")
    assert isinstance(result, ServerError)
    assert "refuses connections" in result.message


# A few cells over real sockets, with the loop ------------------------------------------------------


@contextlib.contextmanager
def slow_server(silent_at: str, pipelining: bool, gap: float | None) -> Iterator[tuple[int, list[bytes]]]:
    """Take mails, but fall silent at one stage, or answer there a byte at a time."""
    bodies: list[bytes] = []
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(session: socket.socket, stage: str, reply: bytes) -> None:
            if stage != silent_at:
                session.sendall(reply)
            elif gap is None:
                ended.wait(20)
            else:
                for byte in reply:
                    session.sendall(bytes([byte]))
                    ended.wait(gap)

        def talk(session: socket.socket) -> None:
            session.sendall(b"220 hello\r\n")
            lines = session.makefile("rb")
            for line in lines:
                word = line.split()[0].decode().lower()
                if word == "ehlo":
                    session.sendall(b"250-hello\r\n250 %s\r\n" % (b"PIPELINING" if pipelining else b"HELP"))
                elif word == "data":
                    answer(session, "data", b"354 go\r\n")
                    body = b"".join(itertools.takewhile(b".\r\n".__ne__, lines))
                    if body:
                        bodies.append(body)
                    answer(session, "dot", b"250 2.0.0 taken with a long and friendly text\r\n")
                else:
                    answer(session, word, b"250 ok\r\n")

        def work() -> None:
            with contextlib.suppress(OSError):
                while True:
                    session = listener.accept()[0]
                    with session, contextlib.suppress(OSError):
                        talk(session)

        threading.Thread(target=work, daemon=True).start()
        yield listener.getsockname()[1], bodies
        ended.set()


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("gap", [None, 0.05])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
def test_over_a_socket_silence_and_trickling_end_at_the_deadline(
    project: Project, stage: str, gap: float | None, pipelining: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for phase in ("mail", "rcpt", "data", "dot"):
        monkeypatch.setitem(smtp._PATIENCE, phase, 0.25)
    monkeypatch.setattr(smtp, "_PATIENCE_AT_FIRST", 0.25)
    project.contacts(1)
    project.letter()
    monkeypatch.chdir(Path.cwd())  # -C changes it
    monkeypatch.setenv("OUTREACH_FROM", project.env["OUTREACH_FROM"])
    with slow_server(stage, pipelining, gap) as (port, bodies):
        monkeypatch.setenv("OUTREACH_SMTP_URL", f"smtp://127.0.0.1:{port}")
        limits = ("--rate", "unlimited", "--rate-per-domain", "unlimited")
        code = cli.run(["-q", "-C", str(project.folder), "send", "--yes", "--no-wait", *limits])
    (row,) = project.report().values()
    if stage == "dot":
        assert (code, row["state"], len(bodies)) == (Exit.SOME_FAILED, "unknown", 1)
    else:
        assert (code, row["state"], bodies) == (Exit.STOPPED, "planned", [])
