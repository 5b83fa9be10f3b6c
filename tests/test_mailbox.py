"""Mail is read from every source once, whole, and without a trace; what goes wrong is said, in time."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import dovecot
import pytest

from outreach import mailbox
from outreach.errors import Exit, MailboxError, ServerError
from outreach.mailbox import Batch, Mail, Mailbox, open_mailbox
from outreach.model import Security, Server, Source

MAILS = [
    b"From: a@x.example\nSubject: lines\n\nHello\n\nFrom here on, dots:\n.\n..\n>From there\n>>From afar\n",
    "From: b@x.example\nSubject: Grüße, 8 bits\n\nStraße\n".encode() + b"\xff\xfe\n",
    b"From: c@x.example\nSubject: no end of line\n\nHello",
    b"From: d@x.example\nSubject: nothing\n\n",
    b"From: e@x.example\nSubject: long\n\n" + b"x" * 70_000 + b"\nFrom me\n" + b"0123456789abcdef\n" * 9000,
    b'From: f@x.example\nSubject: for a parser {5}\n\n* 1 FETCH (FLAGS ())\n) "NIL" {99999}\n',
]
AT = 1_700_000_000  # of the first mail, one a minute


class Keeper:
    """Keeps bookmarks, as the ledger does."""

    def __init__(self) -> None:
        self.kept: dict[str, set[str]] = {}

    def __call__(self, place: str) -> Collection[str]:
        return self.kept.get(place, set())

    def keep(self, batch: Batch) -> None:
        self.kept.setdefault(batch.place, set()).update(batch.bookmarks)

    def read(self, box: Mailbox, since: float = 0.0) -> list[Mail]:
        found = []
        for batch in box.batches(self, since):
            assert len(batch.mails) <= 50
            self.keep(batch)
            found += batch.mails
        return found


class Place:
    """A source of one kind under test: `add` and `remove` do what other programs do."""

    def __init__(self, source: Source, password: str | None = None) -> None:
        self.source, self.password = source, password
        self.count = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[Mailbox]:
        box = open_mailbox(self.source, self.password)
        try:
            yield box
        finally:
            box.close()

    def read(self, keeper: Keeper) -> list[Mail]:
        with self.open() as box:
            return keeper.read(box)

    def add(self, raw: bytes) -> None:
        raise NotImplementedError

    def remove(self, number: int) -> None:
        raise NotImplementedError

    def stored(self, raw: bytes) -> bytes:
        return raw

    def look(self) -> Any:
        """All that could have changed by reading."""
        root = Path(self.source.path)
        paths = [root, *root.rglob("*")]
        status = [(str(path), path.stat()) for path in sorted(paths)]
        return [
            (name, one.st_mode, one.st_mtime_ns, one.st_ctime_ns, one.st_size, one.st_ino)
            for name, one in status
        ]


class ImapPlace(Place):
    def __init__(self, server: dovecot.Dovecot) -> None:
        super().__init__(imap(server), server.password)
        self.server = server

    def add(self, raw: bytes) -> None:
        self.server.deliver(raw, at=AT + 60 * self.count)
        self.count += 1

    def remove(self, number: int) -> None:
        uid = sorted(self.server.snapshot()["INBOX"])[number]
        self.server.expunge([uid])

    def stored(self, raw: bytes) -> bytes:
        return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def look(self) -> Any:
        return self.server.snapshot()


class MaildirPlace(Place):
    def __init__(self, path: Path) -> None:
        for name in ("new", "cur", "tmp"):
            (path / name).mkdir(parents=True)
        super().__init__(Source("maildir", str(path)))
        self.files: list[Path] = []

    def add(self, raw: bytes) -> None:
        name = f"{AT + self.count}.{self.count:06d}.host"
        draft, file = (Path(self.source.path, folder, name) for folder in ("tmp", "new"))
        draft.write_bytes(raw)
        os.utime(draft, (AT + 60 * self.count,) * 2)
        self.files.append(draft.rename(file))
        self.count += 1

    def remove(self, number: int) -> None:
        self.files.pop(number).unlink()


class LettersPlace(Place):
    def __init__(self, path: Path) -> None:
        path.mkdir()
        super().__init__(Source("eml", str(path)))
        self.files: list[Path] = []

    def add(self, raw: bytes) -> None:
        file = Path(
            self.source.path, f"day {self.count // 3}", f"{self.count:06d}.{['eml', 'EML'][self.count % 2]}"
        )
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(raw)
        os.utime(file, (AT + 60 * self.count,) * 2)
        self.files.append(file)
        self.count += 1

    def remove(self, number: int) -> None:
        self.files.pop(number).unlink()


class MboxPlace(Place):
    def __init__(self, path: Path) -> None:
        path.touch()
        super().__init__(Source("mbox", str(path)))

    def add(self, raw: bytes) -> None:
        when = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(AT + 60 * self.count))
        with Path(self.source.path).open("ab") as file:
            file.write(f"From someone@x.example {when}\n".encode())
            file.write(re.sub(rb"^(>*From )", rb">\1", self.stored(raw), flags=re.MULTILINE) + b"\n")
        self.count += 1

    def remove(self, number: int) -> None:
        """As a mail program that tidies up."""
        path = Path(self.source.path)
        mails = re.split(rb"(?m)^(?=From someone)", path.read_bytes())[1:]
        path.write_bytes(b"".join(mails[:number] + mails[number + 1 :]))

    def stored(self, raw: bytes) -> bytes:
        return raw if raw.endswith(b"\n") else raw + b"\n"  # there is no other way to write it


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dovecot.Dovecot]:
    dovecot.require()
    with dovecot.run(tmp_path_factory.mktemp("dovecot")) as server:
        yield server


@pytest.fixture
def server(running: dovecot.Dovecot) -> dovecot.Dovecot:
    running.clear()
    return running


@pytest.fixture(params=["imap", "maildir", "mbox", "eml"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    match request.param:
        case "imap":
            return ImapPlace(request.getfixturevalue("server"))
        case "maildir":
            return MaildirPlace(tmp_path / "Maildir")
        case "mbox":
            return MboxPlace(tmp_path / "mbox")
        case _:
            return LettersPlace(tmp_path / "letters")


def imap(server: dovecot.Dovecot, security: Security = Security.TLS, **options: Any) -> Source:
    port = server.tls_port if security is Security.TLS else server.port
    return Source(
        "imap", server=Server(server.host, port, security, server.user, "", str(server.ca_file)), **options
    )


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"From: a@x.example\nSubject: %d\n\nHello\n" % number for number in range(start, start + count)]


# What holds for every source


def test_every_mail_is_read_once_as_it_is_and_nothing_is_changed(place: Place) -> None:
    keeper = Keeper()
    assert place.read(keeper) == []
    for raw in [*MAILS, *(raw.replace(b"\n", b"\r\n") for raw in MAILS[:2])]:
        place.add(raw)
    before = place.look()
    found = place.read(keeper)
    assert [mail.raw for mail in found] == [
        place.stored(raw) for raw in [*MAILS, *(raw.replace(b"\n", b"\r\n") for raw in MAILS[:2])]
    ]
    assert [mail.at for mail in found] == [AT + 60 * number for number in range(len(found))]
    assert all(mail.where for mail in found)
    assert place.read(keeper) == []
    assert place.look() == before
    place.add(b"Subject: new\n\nHello\n")
    assert [mail.raw for mail in place.read(keeper)] == [place.stored(b"Subject: new\n\nHello\n")]
    assert place.read(keeper) == []


def test_a_session_goes_on_finding_what_is_new(place: Place) -> None:
    keeper = Keeper()
    with place.open() as box:
        for number in range(3):
            assert keeper.read(box) == []
            place.add(numbered(1, number)[0])
            assert [mail.raw for mail in keeper.read(box)] == [place.stored(numbered(1, number)[0])]


def test_after_any_batch_reading_goes_on_from_its_bookmarks(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "_BATCH_MAILS", 4)
    for raw in numbered(19):
        place.add(raw)
    for committed in range(6):
        keeper = Keeper()
        found: list[bytes] = []
        with place.open() as box:
            for number, batch in enumerate(box.batches(keeper)):
                if number == committed:
                    break  # this one was read, and not kept
                keeper.keep(batch)
                found += [mail.raw for mail in batch.mails]
        assert len(found) == min(4 * committed, 19)
        found += [mail.raw for mail in place.read(keeper)]
        assert found == [place.stored(raw) for raw in numbered(19)]


def test_what_is_removed_meanwhile_is_not_there_and_the_rest_is(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "_BATCH_MAILS", 2)
    for raw in numbered(7):
        place.add(raw)
    keeper = Keeper()
    found = []
    with place.open() as box:
        for batch in box.batches(keeper):
            if not found and not isinstance(place, MboxPlace):  # whose file is open, and read on
                place.remove(5)
                place.remove(3)
            found += batch.mails
            keeper.keep(batch)
    if isinstance(place, MboxPlace):
        assert len(found) == 7
        place.remove(3)
        assert len(place.read(keeper)) == 4  # tidied up: read anew from where it is as it was
    else:
        assert [mail.raw for mail in found] == [
            place.stored(raw) for number, raw in enumerate(numbered(7)) if number not in (3, 5)
        ]
    assert place.read(keeper) == []


def test_a_long_mail_is_cut_and_batches_stay_small(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "MOST", 10_000)
    monkeypatch.setattr(mailbox, "_BATCH_BYTES", 25_000)
    for number in range(5):
        place.add(b"Subject: %d\n\n" % number + b"%d\n" % number * 30_000)
    keeper = Keeper()
    with place.open() as box:
        batches = list(box.batches(keeper))
    assert [len(batch.mails) for batch in batches] == [2, 2, 1]
    assert all(len(mail.raw) == 10_000 for batch in batches for mail in batch.mails)
    for batch in batches:
        keeper.keep(batch)
    assert place.read(keeper) == []


def test_waiting_ends_with_new_mail_or_the_stop_or_the_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "_POLL_SECONDS", 0.1)
    reading, writing = os.pipe()
    try:
        with place.open() as box:
            list(box.batches(Keeper()))
            assert 0.1 <= seconds(lambda: box.wait(0.1)) < 2
            with after(0.1, lambda: place.add(b"Subject: new\n\nHello\n")):
                assert seconds(lambda: box.wait(60, reading)) < 5
            box.wait(0)
            list(box.batches(Keeper()))
            place.add(b"Subject: between\n\nHello\n")  # before the waiting begins
            assert seconds(lambda: box.wait(60, reading)) < 5
            list(box.batches(Keeper()))
            with after(0.1, lambda: os.write(writing, b"x")):
                assert 0.05 < seconds(lambda: box.wait(60, reading)) < 2
            assert seconds(lambda: box.wait(60, reading)) < 1
            assert len(list(box.batches(Keeper()))) == 1  # the session goes on
    finally:
        os.close(reading)
        os.close(writing)


def seconds(what: Callable[[], object]) -> float:
    start = time.monotonic()
    what()
    return time.monotonic() - start


@contextlib.contextmanager
def after(delay: float, what: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(delay, what)
    timer.start()
    try:
        yield
    finally:
        timer.join()


# IMAP


@pytest.mark.parametrize("security", Security)
def test_any_protection_gives_the_same_and_leaves_no_trace(
    server: dovecot.Dovecot, security: Security
) -> None:
    for name in ("INBOX", "Junk", "Sent"):
        server.deliver(b"Subject: %s\n\nHello\n" % name.encode(), name)
    before = server.snapshot()
    assert all("\\Recent" in flags for mails in before.values() for flags, _, _ in mails.values())
    box = open_mailbox(imap(server, security), server.password)
    found = [mail.where for batch in box.batches(Keeper()) for mail in batch.mails]
    box.close()
    assert sorted(found) == ["INBOX", "Junk", "Sent"]
    assert server.snapshot() == before


def test_of_a_sent_folder_only_headers_are_read(server: dovecot.Dovecot) -> None:
    raw = (
        b"Received: from here\nMessage-ID: <1@x.example>\nIn-Reply-To: <0@x.example>\nBcc: secret@x.example\n"
        b"References: <00@x.example>\n <0@x.example>\nDate: Tue, 14 Nov 2023 22:13:20 +0000\n"
        b"From: a@x.example\nTo: b@x.example\nSubject: Re: x\nX-Other: y\n\nprivate\n"
    )
    server.deliver(raw, "Sent")
    box = open_mailbox(imap(server), server.password)
    (batch,) = box.batches(Keeper())
    box.close()
    lines = batch.mails[0].raw.split(b"\r\n")
    assert batch.sent and b"private" not in lines
    assert {line.split(b":")[0] for line in lines if line and line[:1] != b" "} == {
        name.encode() for name in mailbox._HEADERS
    }


def test_a_folder_that_is_numbered_anew_is_read_anew(server: dovecot.Dovecot) -> None:
    keeper = Keeper()
    place = ImapPlace(server)
    for raw in numbered(3):
        place.add(raw)
    assert len(place.read(keeper)) == 3
    server.change_uidvalidity()
    assert len(place.read(keeper)) == 3
    assert place.read(keeper) == []
    assert len(keeper.kept) == 2
    (host,) = {name.partition(";")[0] for name in keeper.kept}
    assert host == "imap://press%40outreach.example@127.0.0.1/INBOX"


def test_what_arrived_long_before_is_not_read(server: dovecot.Dovecot) -> None:
    place = ImapPlace(server)
    day = 86400
    for days in (-30, -3, -1, 0, 5):
        server.deliver(b"Subject: %d\n\nHello\n" % days, at=AT + days * day)
    with place.open() as box:
        found = Keeper().read(box, since=AT)
        assert [mail.at for mail in found] == [AT + days * day for days in (-1, 0, 5)]
        assert len(Keeper().read(box)) == 5
        assert Keeper().read(box, since=AT + 300 * day) == []


def test_times_are_right_whatever_the_zone(server: dovecot.Dovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.client() as client:
        for when in (
            '"14-Nov-2023 22:13:20 +0000"',
            '" 5-Jul-2024 01:00:00 -0730"',
            '"15-Nov-2023 11:13:20 +1300"',
        ):
            tag = client._simple_command  # imaplib's own append() takes no zone
            client.literal = b"Subject: x\r\n\r\n"
            assert tag("APPEND", "INBOX", "()", when)[0] == "OK"
    for zone in ("UTC", "America/St_Johns", "Pacific/Auckland"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            found = [mail.at for mail in ImapPlace(server).read(Keeper())]
        finally:
            monkeypatch.undo()
            time.tzset()
        assert found == [1_700_000_000, 1_720_168_200, 1_700_000_000]


def test_folders_are_those_of_the_user_with_spam_and_sent(server: dovecot.Dovecot) -> None:
    with server.client() as client:
        for name in ("Answers", "K&APY-ln", "Papierkorb"):
            client.create(name)
    for name in ("INBOX", "Junk", "Sent", "Answers", "K&APY-ln", "Papierkorb"):
        server.deliver(b"Subject: %s\n\nHello\n" % name.encode(), name)

    def read(**options: Any) -> set[tuple[str, bool]]:
        box = open_mailbox(imap(server, **options), server.password)
        try:
            return {(mail.where, batch.sent) for batch in box.batches(Keeper()) for mail in batch.mails}
        finally:
            box.close()

    assert read() == {("INBOX", False), ("Junk", False), ("Sent", True)}
    assert read(spam="", sent="") == {("INBOX", False)}
    assert read(folders=("inbox", "Köln", "Köln"), spam="Answers", sent="Papierkorb") == {
        ("INBOX", False),
        ("Köln", False),
        ("Answers", False),
        ("Papierkorb", True),
    }
    assert read(folders=("Sent",)) == {("Sent", False), ("Junk", False)}
    for options in ({"folders": ("INBOX", "Antworten")}, {"spam": "Antworten"}, {"sent": "Antworten"}):
        with pytest.raises(MailboxError, match="has no folder 'Antworten'") as error:
            read(**options)
        assert "it has: Answers, INBOX, Junk, Köln, Papierkorb, Sent" in error.value.hint


@pytest.mark.parametrize(
    ("names", "spam", "sent"),
    [
        (["INBOX", "INBOX.Spam", "INBOX.Sent", "INBOX.Archive.Sent"], ["INBOX.Spam"], ["INBOX.Sent"]),
        (
            ["INBOX", "Junk E-mail", "Sent Items", "Sent Messages"],
            ["Junk E-mail"],
            ["Sent Items", "Sent Messages"],
        ),
        (["INBOX", "[Gmail]/Spam", "[Gmail]/Gesendet"], ["[Gmail]/Spam"], ["[Gmail]/Gesendet"]),
        (["Courrier indésirable", "Éléments envoyés"], ["Courrier indésirable"], ["Éléments envoyés"]),
        (["Спам", "Отправленные"], ["Спам"], ["Отправленные"]),
        (["迷惑メール", "送信済み", "البريد العشوائي"], ["迷惑メール", "البريد العشوائي"], ["送信済み"]),
        (["INBOX", "Spam-Regeln", "Absent"], [], []),
    ],
)
def test_spam_and_sent_are_known_by_name(names: list[str], spam: list[str], sent: list[str]) -> None:
    for table, expected in ((mailbox._SPAM, spam), (mailbox._SENT, sent)):
        assert [name for name in names if mailbox._is_one_of(table, re.split(r"[./]", name))] == expected


def test_the_word_of_the_server_about_spam_and_sent_counts_more_than_names(lie: Callable[..., Liar]) -> None:
    folders = [r'() "." INBOX', r'() "." INBOX.Spam', r'(\HasNoChildren \junk) "." "INBOX.M&APw-ll"']
    folders += [
        r'(\Sent) "." INBOX.Out',
        r'() "." "INBOX.Sent"',
        r"(\Noselect \Junk) NIL Nowhere",
        '() "." 2024',
    ]
    listed = "".join(f"* LIST {folder}\r\n" for folder in folders).encode() + b"TAG OK done\r\n"
    offered = b"* CAPABILITY IMAP4rev1 SPECIAL-USE\r\nTAG OK done\r\n"
    for answers in (
        {"CAPABILITY": offered, 'LIST "" "*" RETURN (SPECIAL-USE)': listed},
        {"CAPABILITY": offered, 'LIST "" "*" RETURN': b"TAG BAD what\r\n", "LIST": listed},
        {"LIST": listed},
    ):
        liar = lie(answers)
        box = open_mailbox(Source("imap", server=liar.source.server), "secret")
        found = {(mail.where, batch.sent) for batch in box.batches(Keeper()) for mail in batch.mails}
        box.close()
        assert found == {("INBOX", False), ("INBOX.Müll", False), ("INBOX.Out", True)}


def test_a_server_without_idle_is_waited_for_and_read(tmp_path: Path) -> None:
    dovecot.require()
    with dovecot.run(tmp_path, idle=False, starttls=False) as server:
        box = open_mailbox(imap(server, Security.OFF), server.password)
        assert list(box.batches(Keeper())) == []
        server.deliver(b"Subject: new\n\nHello\n")
        assert 0.3 <= seconds(lambda: box.wait(0.3)) < 2
        assert len(list(box.batches(Keeper()))) == 1
        box.close()
        # It has no TLS, so the connection would be open to read.
        with pytest.raises(ServerError, match="offers no STARTTLS") as error:
            open_mailbox(imap(server, Security.STARTTLS), server.password)
        assert error.value.exit_code == Exit.UNREACHABLE


def test_idle_is_renewed_and_the_marks_of_other_clients_wake_nobody(
    server: dovecot.Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.deliver(b"Subject: x\n\nHello\n")
    monkeypatch.setattr(mailbox, "_IDLE_SECONDS", 0.2)
    box = open_mailbox(imap(server), server.password)
    list(box.batches(Keeper()))

    def flag() -> None:
        with server.client() as client:
            client.select("INBOX")
            client.uid("STORE", "1:*", "+FLAGS", r"(\Seen)")

    with after(0.3, flag):
        assert 0.9 <= seconds(lambda: box.wait(0.9)) < 3
    box.close()


def test_a_session_that_was_cut_is_begun_anew(server: dovecot.Dovecot) -> None:
    server.deliver(b"Subject: x\n\nHello\n")
    box = open_mailbox(imap(server), server.password)
    assert len(list(box.batches(Keeper()))) == 1
    box._client.wire.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
    with pytest.raises(ServerError):
        box.wait(5)
    assert seconds(lambda: box.wait(0.2)) < 2
    assert len(list(box.batches(Keeper()))) == 1
    box.close()
    box.close()


def test_between_two_batches_anything_may_be_done(
    server: dovecot.Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "_BATCH_MAILS", 2)
    place = ImapPlace(server)
    for raw in numbered(5):
        place.add(raw)
    server.deliver(b"Subject: spam\n\nHello\n", "Junk")
    with place.open() as box:
        found = 0
        for batch in box.batches(Keeper()):
            box.wait(0.05)
            assert sum(len(one.mails) for one in box.batches(Keeper())) == 6
            found += len(batch.mails)
        assert found == 6


def test_a_wrong_password_is_said_and_is_in_no_text(server: dovecot.Dovecot) -> None:
    for password in ("hunter2hunter2", "Grüße€"):
        with pytest.raises(ServerError, match="refuses the login") as error:
            open_mailbox(imap(server), password)
        assert error.value.exit_code == Exit.REFUSED
        assert password not in error.value.message + error.value.hint
        assert error.value.__cause__ is None
    for missing in (None, ""):
        with pytest.raises(ServerError, match="wants a login") as error:
            open_mailbox(imap(server), missing)
        assert error.value.exit_code == Exit.REFUSED


def test_letters_outside_ascii_in_the_password_are_sent_as_utf_8(tmp_path: Path) -> None:
    dovecot.require()
    with dovecot.run(tmp_path, password="Grüße-€-пароль") as server:
        box = open_mailbox(imap(server), server.password)
        assert list(box.batches(Keeper())) == []
        box.close()


def test_a_certificate_is_verified(server: dovecot.Dovecot) -> None:
    for security, port in ((Security.TLS, server.tls_port), (Security.STARTTLS, server.port)):
        for name, authority in (("", ""), ("mail.example.org", str(server.ca_file))):
            source = Source("imap", server=Server(server.host, port, security, server.user, name, authority))
            with pytest.raises(ServerError, match="certificate does not verify") as error:
                open_mailbox(source, server.password)
            assert error.value.exit_code == Exit.UNREACHABLE
    source = Source(
        "imap", server=Server(server.host, server.tls_port, Security.TLS, server.user, "", "/no/ca")
    )
    with pytest.raises(ServerError, match="authority /no/ca cannot be read"):
        open_mailbox(source, server.password)


def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        source = Source("imap", server=Server("127.0.0.1", held.getsockname()[1], Security.OFF, "me"))
        with pytest.raises(ServerError, match="nothing listens") as error:
            open_mailbox(source, "secret")
    assert error.value.exit_code == Exit.UNREACHABLE


def test_nothing_is_logged(server: dovecot.Dovecot, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ImapPlace(server).read(Keeper())
    assert [record for record in caplog.records if record.name.startswith("imap")] == []


READ_ALL = """
import resource, sys
from outreach.mailbox import open_mailbox
from outreach.model import Security, Server, Source
host, port, user, ca_file, password = sys.argv[1:]
source = Source("imap", server=Server(host, int(port), Security.TLS, user, "", ca_file))
box = open_mailbox(source, password)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(len(batch.mails) for batch in box.batches(lambda place: ()))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_mailbox(server: dovecot.Dovecot) -> None:
    raw = b"Subject: x\n\n" + b"0123456789abcdef" * 64 * 20
    for _ in range(2000):
        server.deliver(raw)
    told = [server.host, str(server.tls_port), server.user, str(server.ca_file), server.password]
    command = [sys.executable, "-c", READ_ALL, *told]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    count, kilobytes = map(int, done.stdout.split())
    assert count == 2000
    assert kilobytes < 15_000  # all together have 40 MB


# A server that lies


class Liar:
    """An IMAP server of one mailbox that says what the test wants. Answers: command → text, or a function."""

    def __init__(self, answers: dict[str, Any], mails: int = 3, greeting: bytes = b"* OK hello\r\n") -> None:
        self.answers, self.mails, self.greeting = answers, mails, greeting
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
    monkeypatch.setattr(mailbox, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(mailbox, "_WHOLE_SECONDS", 0.6)
    made: list[Liar] = []

    def make(answers: dict[str, Any], **options: Any) -> Liar:
        made.append(Liar(answers, **options))
        return made[-1]

    yield make
    for one in made:
        one.listener.close()


def read(liar: Liar, keeper: Keeper | None = None) -> list[bytes]:
    box = open_mailbox(liar.source, 'pass "word" \\')
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
        "CAPABILITY", "LOGIN", "NOOP", "LIST", "EXAMINE", "UID SEARCH", "UID FETCH", "LOGOUT"
    }  # fmt: skip
    fetched = [command for command in liar.heard if "FETCH" in command]
    assert fetched == [
        "UID FETCH 1,2,3 (RFC822.SIZE)",
        "UID FETCH 1,2,3 (INTERNALDATE BODY.PEEK[]<0.2000000>)",
    ]


def test_a_last_mail_that_was_not_asked_for_is_not_read(lie: Callable[..., Liar]) -> None:
    liar = lie({"UID SEARCH": b"* SEARCH 3\r\nTAG OK done\r\n"})
    keeper = Keeper()
    keeper.kept["imap://me%20%22x%22@127.0.0.1/INBOX;UIDVALIDITY=7"] = {"3", "2", "nonsense"}
    assert read(liar, keeper) == []
    assert "UID SEARCH UID 4:*" in liar.heard


@pytest.mark.parametrize(
    "said",
    [
        b"* SEARCH 1 2\r\n* SEARCH 3\r\nTAG OK done\r\n",
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
        ([bodies(1) + NIL + bodies(3) + OK, bodies(2) + OK], [1, 2, 3]),
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


def drip(*first: bytes) -> Callable[[str], Iterator[bytes]]:
    def answer(_: str) -> Iterator[bytes]:
        yield from first
        while True:
            time.sleep(0.1)
            yield b"x"

    return answer


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
    "drips in a literal": ("UID FETCH", drip(LITERAL), "does not answer"),
    "drips in a line": ("UID SEARCH", drip(b"* SEARCH "), "does not answer"),
    "a line without an end": ("UID SEARCH", flood(b"1 " * 50_000), "a line of its answer never ends"),
    "lines without an end": ("LIST", flood(b"* OK still here\r\n" * 9999), "never ends|does not answer"),
    "a literal without an end": ("UID FETCH", b"* 1 FETCH (BODY[] {99999999999}\r\n", "far more"),
    "not IMAP": ("EXAMINE", b"HTTP/1.1 400 Bad Request\r\n", "unexpected response"),
    "nested": ("UID FETCH 1", b"* 1 FETCH " + b"(" * 99_999 + b"\r\nTAG OK done\r\n", None),
    "says goodbye": ("LIST", b"* BYE over quota\r\n", "over quota|closed"),
    "asks for ever": ("LOGIN", lambda _: iter([b"+ go on\r\n"] * 50), "closed the connection"),
    "folder closed": ("EXAMINE", b"TAG NO [NOPERM] not yours\r\n", "'INBOX' cannot be opened: .*not yours"),
    "no numbers": ("EXAMINE", b"* 1 EXISTS\r\nTAG OK done\r\n", "does not number"),
    "bad numbers": (
        "EXAMINE",
        b"* OK [UIDVALIDITY 99x] y\r\nTAG OK done\r\n",
        "cannot be opened|does not number",
    ),
    "bad list": ("LIST", b'* LIST (((" \r\nTAG OK done\r\n', "folders cannot be listed"),
    "search refused": ("UID SEARCH", b"TAG NO no\r\n", "'INBOX': no"),
    "search not understood": ("UID SEARCH", b"TAG BAD what\r\n", "'INBOX': what$"),
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
    monkeypatch.setattr(mailbox, "_BATCH_MAILS", 1)
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


def test_what_was_said_before_tls_is_not_believed(lie: Callable[..., Liar]) -> None:
    liar = lie(
        {
            "CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK done\r\n",
            "STARTTLS": b"TAG OK begin\r\n* CAPABILITY IMAP4rev1\r\n",
        }
    )
    server = liar.source.server
    assert server is not None
    with pytest.raises(ServerError, match="spoke out of turn"):
        open_mailbox(
            Source("imap", server=Server(server.host, server.port, Security.STARTTLS, "me")), "secret"
        )


def test_a_login_that_cannot_be_sent_is_not_tried(lie: Callable[..., Liar]) -> None:
    liar = lie({})
    for password, words in (("Grüße", "outside ASCII"), ("a\r\nb DELETE INBOX", "line break")):
        with pytest.raises(ServerError, match=words) as error:
            open_mailbox(liar.source, password)
        assert error.value.exit_code == Exit.REFUSED
    closed = lie({"CAPABILITY": b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK done\r\n"})
    with pytest.raises(ServerError, match="no login over this connection"):
        open_mailbox(closed.source, "secret")
    assert [command for command in liar.heard + closed.heard if "LOGIN" in command] == []


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
        lasted = seconds(lambda: box.wait(0.4))
        assert (lasted < 0.35) if at_once else (0.4 <= lasted < 1.5)
        assert len(Keeper().read(box)) == 3
        box.close()
    finally:
        liar.listener.close()


# Files


def test_a_maildir_has_subfolders_and_the_sent_one_is_told_apart(tmp_path: Path) -> None:
    place = MaildirPlace(tmp_path / "Maildir")
    place.add(b"Subject: inbox\n\nHello\n")
    for name in (".Spam", ".Gesendet", ".K&APY-ln.2024", ".not-one"):
        for folder in ("new", "cur", "tmp") if name != ".not-one" else ("new",):
            (tmp_path / "Maildir" / name / folder).mkdir(parents=True)
        (tmp_path / "Maildir" / name / "new" / "1.x").write_bytes(
            b"Subject: %s\nX: y\n\nHello\n" % name.encode()
        )
    (tmp_path / "Maildir/tmp/half").write_bytes(b"Subject: ha")
    (tmp_path / "Maildir/cur/.hidden").write_bytes(b"x")
    (tmp_path / "Maildir/cur/folder").mkdir()
    os.mkfifo(tmp_path / "Maildir/cur/pipe")
    with place.open() as box:
        found = {(batch.sent, mail.raw) for batch in box.batches(Keeper()) for mail in batch.mails}
    assert found == {
        (False, b"Subject: inbox\n\nHello\n"),
        (False, b"Subject: .Spam\nX: y\n\nHello\n"),
        (True, b"Subject: .Gesendet\n"),
        (False, b"Subject: .K&APY-ln.2024\nX: y\n\nHello\n"),
    }


def test_a_mail_that_is_opened_by_its_owner_is_the_same_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "_BATCH_MAILS", 1)
    place = MaildirPlace(tmp_path / "Maildir")
    for raw in numbered(4):
        place.add(raw)
    keeper = Keeper()
    found = []
    with place.open() as box:
        for number, batch in enumerate(box.batches(keeper)):
            keeper.keep(batch)
            found += [mail.raw for mail in batch.mails]
            if number == 0:
                for file in place.files:
                    file.rename(tmp_path / "Maildir/cur" / f"{file.name}:2,")
            else:
                for file in (tmp_path / "Maildir/cur").iterdir():
                    file.rename(file.with_name(file.name + "SR"[number % 2]))
    assert found == numbered(4)
    assert place.read(keeper) == []


def test_a_letter_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    place = LettersPlace(tmp_path / "letters")
    place.add(b"Subject: x\n\nHello\n")
    for name in ("notes.txt", "._0.eml", "eml"):
        (tmp_path / "letters" / name).write_bytes(b"x")
    (tmp_path / "letters/loop").symlink_to(tmp_path / "letters")
    keeper = Keeper()
    assert len(place.read(keeper)) == 1
    place.files[0].write_bytes(b"Subject: x\n\nHello, and more\n")
    assert [mail.raw for mail in place.read(keeper)] == [b"Subject: x\n\nHello, and more\n"]
    assert place.read(keeper) == []
    single = Place(Source("eml", str(place.files[0])))
    assert [mail.raw for mail in single.read(keeper)] == [b"Subject: x\n\nHello, and more\n"]
    assert single.read(keeper) == []


def test_names_of_any_bytes_make_bookmarks_that_can_be_stored(tmp_path: Path) -> None:
    for place in (LettersPlace(tmp_path / "l\udcff"), MaildirPlace(tmp_path / "m\udcff")):
        folder = Path(place.source.path)
        (folder / ("new/\udcfe" if place.source.kind == "maildir" else "\udcfe.eml")).write_bytes(
            b"Subject: x\n\n"
        )
        keeper = Keeper()
        assert len(place.read(keeper)) == 1
        assert place.read(keeper) == []
        for name, marks in keeper.kept.items():
            "".join([name, *marks]).encode()


def test_an_mbox_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    place, keeper = Place(Source("mbox", str(path))), Keeper()
    one = b"From - Tue Nov 14 22:13:20 2023\nSubject: 1\n\nHello\n"

    def read() -> list[bytes]:
        return [mail.raw for mail in place.read(keeper)]

    path.write_bytes(one)  # no empty line at the end
    assert read() == [b"Subject: 1\n\nHello\n"]
    path.write_bytes(one + b"\nFrom \r\nSubject: 2\r\n\r\nHel")
    assert read() == [b"Subject: 2\r\n\r\nHel"]
    path.write_bytes(path.read_bytes() + b"lo\r\n\r\nFrom here, as a text has it")
    # It was not whole, and comes again. A line that looks like a beginning is one: there is no other rule.
    assert read() == [b"Subject: 2\r\n\r\nHello\r\n", b""]
    path.write_bytes(one)
    assert read() == []  # as it was once
    path.write_bytes(one.replace(b"1", b"9", 1) + b"\n")
    assert read() == [b"Subject: 1\n\nHello\n"]
    path.write_bytes(b"")
    assert read() == []


def test_an_mbox_that_is_written_to_meanwhile_is_read_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "_BATCH_MAILS", 1)
    place, keeper = MboxPlace(tmp_path / "mbox"), Keeper()
    for raw in numbered(3):
        place.add(raw)
    path = tmp_path / "mbox"
    grown = path.read_bytes()
    path.write_bytes(grown[:-4])  # the last mail is on its way: "Hel"
    found: list[bytes] = []
    with place.open() as box:
        for batch in box.batches(keeper):
            keeper.keep(batch)
            found += [mail.raw for mail in batch.mails]
            with path.open("ab") as file:
                file.write(b"x")
    assert found[:2] == numbered(2)
    path.write_bytes(grown)
    assert place.read(keeper)[-1].raw == numbered(3)[2]


def test_an_mbox_that_grows_behind_its_last_mail_keeps_that_for_later(tmp_path: Path) -> None:
    place = MboxPlace(tmp_path / "mbox")
    for raw in numbered(3):
        place.add(raw)

    class Watched(io.BufferedReader):
        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            if not line:
                place.add(b"Subject: x\n\n")
            return line

    with Watched(io.FileIO(place.source.path)) as file:
        found = [mail.raw for mail, _ in mailbox._mbox_mails(file, 0, "here")]
    assert found == numbered(2)


def test_an_mbox_of_other_systems_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    place, keeper = Place(Source("mbox", str(path))), Keeper()
    for raw in (raw.replace(b"\n", b"\r\n") for raw in numbered(3)):
        with path.open("ab") as file:
            file.write(b"From - Tue Nov 14 22:13:20 2023\r\n" + raw + b"\r\n")
        assert [mail.raw for mail in place.read(keeper)] == [raw]


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("From a@x.example Tue Nov 14 22:13:20 2023", AT),
        ("From - Tue Nov 14 22:13:20 2023", AT),
        ("From 17999@xxx Tue Nov 14 22:13:20 +0000 2023", AT),
        ("From a Tue Nov 14 23:13:20 2023 +0100", AT),
        ("From a Tue Nov 14 18:43:20 -0330 2023", AT),
        ("From a Fri Dec  1 00:00:60 2023", 1701388859),
        ("From a Fri Dec 99 00:00:00 2023", 0),
        ("From ", 0),
        ("From a somewhere", 0),
    ],
)
def test_dates_of_an_mbox(line: str, at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert mailbox._from_date(line.encode()) == at
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_mbox_is_never_wholly_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    with path.open("wb") as file:
        file.write(b"From a\nSubject: endless line\n\n" + b"x" * 12_000_000 + b"\n\n")
        for number in range(300):
            file.write(b"From a\nSubject: %d\n\n" % number + b"0123456789abcdef" * 64 * 64 + b"\n\n")
    tracemalloc.start()
    try:
        with Place(Source("mbox", str(path))).open() as box:
            sizes = [len(mail.raw) for batch in box.batches(Keeper()) for mail in batch.mails]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sizes) == 301 and sizes[0] == mailbox.MOST
    assert most < 14_000_000


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("maildir", "missing", "does not exist"),
        ("mbox", "missing", "does not exist"),
        ("eml", "missing", "does not exist"),
        ("maildir", "folder", "is not a Maildir"),
        ("maildir", "text", "is not a Maildir"),
        ("mbox", "folder", "is not a file"),
        ("mbox", "text", "is not an mbox"),
        ("pop3", "text", "is no kind of mailbox"),
    ],
)
def test_what_is_no_mailbox_is_said(tmp_path: Path, kind: str, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("Hello\n")
    with pytest.raises(MailboxError, match=words) as error:
        Place(Source(kind, str(tmp_path / name))).read(Keeper())
    assert error.value.exit_code == Exit.DATA


def test_what_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = LettersPlace(tmp_path / "letters")
    place.add(b"Subject: x\n\n")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with place.open() as box:
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(MailboxError, match=r"000000\.eml may not be read"):
            list(box.batches(Keeper()))


def test_headers_are_taken_out_of_a_mail() -> None:
    assert mailbox._headers_of(b"") == b""
    assert (
        mailbox._headers_of(b"X: y\r\nSubject: a\r\n b\r\nZ: x\r\n c\r\n\r\nTo: body\r\n")
        == b"Subject: a\r\n b\r\n"
    )
