"""Whatever an IMAP server says, reading changes nothing there, loses no mail, ends, and is explained."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mailboxes import Keeper, seconds

from outreach import batches, wire
from outreach.errors import Exit, ServerError
from outreach.mailbox import open_mailbox
from outreach.model import Security, Server, Source


class Liar:
    """An IMAP server of one mailbox that says what the test wants. Answers: command → text, or a function."""

    def __init__(
        self,
        answers: dict[str, Any],
        mails: int = 3,
        greeting: bytes = b"* OK hello\r\n",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.answers, self.mails, self.greeting, self.context = answers, mails, greeting, context
        self.heard: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def source(self) -> Source:
        return Source(
            "imap",
            server=Server("127.0.0.1", self.listener.getsockname()[1], Security.OFF, 'me "x"'),
            spam="",
            sent="",
        )

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, ValueError):
                connection.sendall(self.greeting)
                file = connection.makefile("rb")
                while line := file.readline():
                    tag, _, command = line.decode().strip().partition(" ")
                    self.heard.append(command)
                    if not self.answer(connection, tag, command):
                        break
                    if command == "STARTTLS" and self.context is not None:
                        connection = self.context.wrap_socket(connection, server_side=True)
                        file = connection.makefile("rb")
                connection.shutdown(socket.SHUT_RDWR)  # a close would wait for the file

    def answer(self, connection: socket.socket, tag: str, command: str) -> bool:
        for start, what in self.answers.items():
            if command.startswith(start):
                said = what(command) if callable(what) else what
                break
        else:
            said = self.usual(command)
        if said is None:
            return False
        if isinstance(said, Iterator):
            for part in said:
                connection.sendall(part)
            return False
        connection.sendall(said.replace(b"TAG", tag.encode()))
        return "LOGOUT" not in command

    def usual(self, command: str) -> bytes:
        numbers = range(1, self.mails + 1)
        match command.split():
            case ["CAPABILITY", *_]:
                said = b"* CAPABILITY IMAP4rev1 IDLE\r\n"
            case ["LIST", *_]:
                said = b'* LIST () "/" INBOX\r\n'
            case ["EXAMINE", *_]:
                said = b"* %d EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 7] x\r\n" % self.mails
            case ["UID", "SEARCH", *_]:
                said = b"* SEARCH " + b" ".join(b"%d" % number for number in numbers) + b"\r\n"
            case ["UID", "FETCH", wanted, *_]:
                said = b"".join(
                    self.mail(int(uid), b"RFC822.SIZE 20" if "SIZE" in command else None)
                    for uid in wanted.split(",")
                )
            case ["LOGOUT"]:
                said = b"* BYE\r\n"
            case _:
                said = b""
        return said + b"TAG OK done\r\n"

    def mail(self, uid: int, what: bytes | None = None) -> bytes:
        what = what or b'INTERNALDATE "14-Nov-2023 22:13:20 +0000" BODY[]<0> {4}\r\nS:%2d' % uid
        return b"* %d FETCH (UID %d %s)\r\n" % (uid, uid, what)


@pytest.fixture
def lie(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Liar]]:
    monkeypatch.setattr(wire, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(wire, "_GOODBYE_SECONDS", 0.1)
    made: list[Liar] = []

    def make(answers: dict[str, Any], **options: Any) -> Liar:
        made.append(Liar(answers, **options))
        return made[-1]

    yield make
    for one in made:
        one.listener.close()


def read(liar: Liar, keeper: Keeper | None = None, source: Source | None = None) -> list[bytes]:
    box = open_mailbox(source or liar.source, 'pass "word" \\')
    try:
        return [mail.raw for mail in (keeper or Keeper()).read(box)]
    finally:
        box.close()


ALL = [b"S: 1", b"S: 2", b"S: 3"]


def test_the_commands_are_those_that_change_nothing(lie: Callable[..., Liar]) -> None:
    liar = lie({})
    assert read(liar) == ALL
    assert 'LOGIN "me \\"x\\"" "pass \\"word\\" \\\\"' in liar.heard
    words = {" ".join(command.split()[: 2 if command.startswith("UID") else 1]) for command in liar.heard}
    assert words == {
        "CAPABILITY", "LOGIN", "LIST", "EXAMINE", "UID SEARCH", "UID FETCH", "LOGOUT"
    }  # fmt: skip
    fetched = [command for command in liar.heard if "FETCH" in command]
    assert fetched == [
        "UID FETCH 1,2,3 (RFC822.SIZE)",
        "UID FETCH 1,2,3 (INTERNALDATE BODY.PEEK[]<0.2000000>)",
    ]


def test_the_word_of_the_server_about_spam_and_sent_counts_more_than_names(lie: Callable[..., Liar]) -> None:
    folders = [r'() "." INBOX', r'() "." INBOX.Spam', r'(\HasNoChildren \junk) "." "INBOX.M&APw-ll"']
    folders += [
        r'(\Sent) "." INBOX.Out',
        r'() "." "INBOX.Sent"',
        r"(\Noselect \Junk) NIL Nowhere",
        '() "." 2024',
    ]
    listed = "".join(f"* LIST {folder}\r\n" for folder in folders).encode() + b"TAG OK done\r\n"
    offered = b"* CAPABILITY IMAP4rev1 SPECIAL-USE LIST-EXTENDED\r\nTAG OK done\r\n"
    for answers in (
        {"CAPABILITY": offered, 'LIST "" "*" RETURN (SPECIAL-USE)': listed},
        {
            "CAPABILITY": offered.replace(b" LIST-EXTENDED", b""),
            'LIST "" "*" RETURN': b"TAG BAD what\r\n",
            "LIST": listed,
        },
        {"LIST": listed},
    ):
        liar = lie(answers)
        box = open_mailbox(Source("imap", server=liar.source.server), "secret")
        found = {(mail.where, batch.sent) for batch in box.batches(Keeper()) for mail in batch.mails}
        box.close()
        assert found == {("INBOX", False), ("INBOX.Müll", False), ("INBOX.Out", True)}


def test_a_last_mail_that_was_not_asked_for_is_not_read(lie: Callable[..., Liar]) -> None:
    liar = lie({"UID SEARCH": b"* SEARCH 3\r\nTAG OK done\r\n"})
    keeper = Keeper()
    keeper.kept["imap://me%20%22x%22@127.0.0.1/INBOX;UIDVALIDITY=7"] = {"3", "2"}
    assert read(liar, keeper) == []
    assert "UID SEARCH UID 4:*" in liar.heard


@pytest.mark.parametrize(
    "said",
    [
        b"* SEARCH 1 2 3\r\nTAG OK done\r\n",
        b"* SEARCH 3 1 2 2 (MODSEQ 917162500)\r\nTAG OK done\r\n",
        b"* SEARCH 1 2 3 99999999999999999999999 x\r\n* 9 EXISTS\r\nTAG OK done\r\n",
    ],
)
def test_a_search_is_understood(lie: Callable[..., Liar], said: bytes) -> None:
    assert read(lie({"UID SEARCH": said})) == ALL


def fetching(*answers: bytes) -> Callable[[str], bytes]:
    """The answers to all asking for bodies, one after the other; then the usual."""
    left = list(answers)
    sizes = b"".join(b"* %d FETCH (UID %d RFC822.SIZE 20)\r\n" % (uid, uid) for uid in (1, 2, 3))

    def answer(command: str) -> bytes:
        if "SIZE" in command:
            return sizes + b"TAG OK done\r\n"
        return left.pop(0) if left else b"TAG OK done\r\n"

    return answer


BODY = b'INTERNALDATE "14-Nov-2023 22:13:20 +0000" BODY[]<0> {4}\r\nS:%2d'


def bodies(*uids: int) -> bytes:
    return b"".join(b"* %d FETCH (UID %d %s)\r\n" % (uid, uid, BODY % uid) for uid in uids)


OK = b"TAG OK done\r\n"


NIL = b"* 2 FETCH (UID 2 BODY[]<0> NIL)\r\n"
FLAGS = b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n"
UNASKED = b"* 2 FETCH (FLAGS ())\r\n* 5 FETCH (UID 3 FLAGS ())\r\n* 1 EXPUNGE\r\n"
NO = b"TAG NO this one is broken\r\n"
IN_QUOTES = b'* 1 FETCH (UID 1 BODY[] "S: 1")\r\n'
BAD_DATE = b'* 1 FETCH (BODY[] {4}\r\nS: 1 UID 1 INTERNALDATE "99-Foo-0000 00:00:00 +9999")\r\n'
NONSENSE = [b'* 2 FETCH (UID 2 BODY[] "\r\n', b"* 2 FETCH (((\r\n"]


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([bodies(1) + FLAGS + bodies(3) + OK], [1, 3]),
        ([bodies(1) + NIL + bodies(3) + OK], [1, 3]),
        ([bodies(1, 3, 2, 17) + UNASKED + OK], [1, 2, 3]),
        ([NO, bodies(1) + OK, NO, bodies(3) + OK], [1, 3]),
        ([bodies(1) + NONSENSE[0] + OK, bodies(1) + OK, NONSENSE[1] + OK, bodies(3) + OK], [1, 3]),
        ([IN_QUOTES + bodies(2, 3) + OK], [1, 2, 3]),
        ([BAD_DATE + bodies(2, 3) + OK], [1, 2, 3]),
        ([b"TAG NO [EXPUNGEISSUED] gone\r\n"] * 8, []),
        ([OK, OK], []),
    ],
)
def test_one_bad_mail_costs_no_other(
    lie: Callable[..., Liar], answers: list[bytes], found: list[int]
) -> None:
    keeper = Keeper()
    assert read(lie({"UID FETCH": fetching(*answers)}), keeper) == [b"S:%2d" % uid for uid in found]
    assert set().union(*keeper.kept.values()) == {"3"}


def test_a_server_that_shows_no_mail_at_all_is_a_failure_and_nothing_is_passed_over(
    lie: Callable[..., Liar],
) -> None:
    keeper = Keeper()
    with pytest.raises(ServerError, match=r"mails in 'INBOX' cannot be read: .*storage") as error:
        read(lie({"UID FETCH": b"TAG NO the \x07 storage is away\r\n"}), keeper)
    assert "\x07" not in error.value.message
    assert keeper.kept == {}


def flood(part: bytes) -> Callable[[str], Iterator[bytes]]:
    def answer(_: str) -> Iterator[bytes]:
        while True:
            yield part

    return answer


def silence(_: str) -> Iterator[bytes]:
    time.sleep(1.5)
    return iter(())


LITERAL = b"* 1 FETCH (UID 1 BODY[]<0> {1000}\r\nSubject: x"
NEVER_ENDS: dict[str, Any] = {
    "cut in a literal": ("UID FETCH", lambda _: iter([LITERAL]), "closed the connection"),
    "cut in a line": ("UID SEARCH", lambda _: iter([b"* SEARCH 1 2"]), "closed the connection"),
    "silent": ("UID SEARCH", silence, "does not answer"),
    "a line without an end": ("UID SEARCH", flood(b"1 " * 50_000), "a line of its answer never ends"),
    "a literal without an end": ("UID FETCH", b"* 1 FETCH (BODY[] {99999999999}\r\n", "far more"),
    "not IMAP": ("EXAMINE", b"HTTP/1.1 400 Bad Request\r\n", "unexpected response"),
    "nested": ("UID FETCH 1", b"* 1 FETCH " + b"(" * 99_999 + b"\r\nTAG OK done\r\n", None),
    "says goodbye": ("LIST", b"* BYE over quota\r\n", "over quota|closed"),
    "asks for ever": ("LOGIN", lambda _: iter([b"+ go on\r\n"] * 50), "closed the connection"),
    "folder closed": ("EXAMINE", b"TAG NO [NOPERM] not yours\r\n", "'INBOX' cannot be opened: .*not yours"),
    "bad numbers": (
        "EXAMINE",
        b"* OK [UIDVALIDITY 99x] y\r\nTAG OK done\r\n",
        "cannot be opened|does not number",
    ),
    "bad list": ("LIST", b'* LIST (((" \r\nTAG OK done\r\n', "folders cannot be listed"),
    "search refused": ("UID SEARCH", b"TAG NO no\r\n", "'INBOX': .*no$"),
    "search not understood": ("UID SEARCH", b"TAG BAD what\r\n", "'INBOX': .*what'$"),
    "quotes the login": (
        "LOGIN",
        lambda line: b"TAG BAD what is " + line.encode() + b"\r\n",
        "refuses the login",
    ),
    "busy": ("LOGIN", b"TAG NO [UNAVAILABLE] the directory is down\r\n", "does not let us in now"),
}


@pytest.mark.parametrize("name", NEVER_ENDS)
def test_whatever_a_server_does_it_ends_in_time_and_is_said(lie: Callable[..., Liar], name: str) -> None:
    command, answer, words = NEVER_ENDS[name]
    liar = lie({command: answer})
    start = time.monotonic()
    if words is None:
        assert read(liar) == ALL[1:]
    else:
        with pytest.raises(ServerError, match=words) as error:
            read(liar)
        assert "word" not in error.value.message
        assert error.value.message.isprintable() and len(error.value.message) < 500
        expected = Exit.REFUSED if "refuses the login" in words else Exit.UNREACHABLE
        assert error.value.exit_code == expected
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "greeting",
    [
        b"* BYE too many connections\r\n",
        b"220 mail.example ESMTP\r\n",
        b"",
        b"* OK x",
        b"* OK " + b"x" * 9_000_000,
    ],
)
def test_a_wrong_greeting_is_said(lie: Callable[..., Liar], greeting: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(ServerError) as error:
        read(lie({}, greeting=greeting))
    assert error.value.exit_code == Exit.UNREACHABLE
    assert time.monotonic() - start < 3


def test_batches_before_a_cut_stay_valid(lie: Callable[..., Liar], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_MAILS", 1)
    keeper = Keeper()
    liar = lie({"UID FETCH 2 ": lambda _: iter([LITERAL])})
    with pytest.raises(ServerError, match="closed the connection"):
        read(liar, keeper)
    assert set().union(*keeper.kept.values()) == {"1"}
    liar.answers = {}
    assert read(liar, keeper) == ALL[1:]


def test_no_tls_no_login(lie: Callable[..., Liar]) -> None:
    """Neither a server without STARTTLS, nor one that says that we are in already, gets the password."""
    for greeting in (b"* OK hello\r\n", b"* PREAUTH welcome\r\n"):
        liar = lie({}, greeting=greeting)
        server = liar.source.server
        assert server is not None
        with pytest.raises(ServerError) as error:
            open_mailbox(
                Source("imap", server=Server(server.host, server.port, Security.STARTTLS, "me")), "secret"
            )
        assert error.value.exit_code == Exit.UNREACHABLE
        assert liar.heard in (["CAPABILITY"], ["CAPABILITY", "LOGOUT"])


def test_what_was_said_before_tls_is_not_believed(lie: Callable[..., Liar], tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    for injected in (b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", b"* 7 EXISTS\r\n* OK [UIDVALIDITY 99] x\r\n"):
        answers = {
            "CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK done\r\n",
            "STARTTLS": injected + b"TAG OK begin\r\n" + injected,
        }
        liar = lie(answers, context=context)
        server = liar.source.server
        assert server is not None
        server = replace(server, security=Security.STARTTLS, ca_file=str(tmp_path / "ca.pem"))
        keeper = Keeper()
        assert read(liar, keeper, replace(liar.source, server=server)) == ALL
        assert [command.split()[0] for command in liar.heard[:4]] == [
            "CAPABILITY",
            "STARTTLS",
            "CAPABILITY",
            "LOGIN",
        ]
        assert [place[-1] for place in keeper.kept] == ["7"]


def test_a_login_that_cannot_be_sent_is_not_tried(lie: Callable[..., Liar]) -> None:
    liar = lie({})
    with pytest.raises(ServerError, match="outside ASCII") as error:
        open_mailbox(liar.source, "Grüße")
    assert error.value.exit_code == Exit.REFUSED
    assert [command for command in liar.heard if "LOGIN" in command] == []


@pytest.mark.parametrize(
    ("answer", "at_once"),
    [
        (b"* 4 EXISTS\r\n+ idling\r\n", True),  # before it agrees
        (b"+ idling\r\n* 4 EXISTS\r\n", True),
        (b"+ idling\r\n* OK still here\r\n", False),
        (b"TAG NO not today\r\n", False),
        (b"TAG BAD what\r\n", False),
    ],
)
def test_idle_of_many_kinds(lie: Callable[..., Liar], answer: bytes, at_once: bool) -> None:
    class Idler(Liar):
        tag = ""

        def answer(self, connection: socket.socket, tag: str, command: str) -> bool:
            if command == "IDLE":
                self.tag = tag
                time.sleep(0.05)
            if tag == "DONE":
                connection.sendall(f"{self.tag} OK done\r\n".encode())
                return True
            return super().answer(connection, tag, command)

    liar = Idler({"IDLE": answer})
    try:
        box = open_mailbox(liar.source, "secret")
        assert len(Keeper().read(box)) == 3
        lasted = seconds(lambda: box.wait(0.25))
        assert (lasted < 0.22) if at_once else (0.25 <= lasted < 1.5)
        assert len(Keeper().read(box)) == 3
        box.close()
    finally:
        liar.listener.close()
