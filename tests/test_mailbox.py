"""Mail is read from every source once, whole, and without a trace; on real servers and real files."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dovecot
import pytest
from mailboxes import (
    AT,
    ImapPlace,
    Keeper,
    LettersPlace,
    MaildirPlace,
    MboxPlace,
    Place,
    after,
    imap,
    numbered,
    seconds,
)

from outreach import batches
from outreach.errors import Exit, MailboxError, ServerError
from outreach.imap import HEADERS
from outreach.mailbox import open_mailbox
from outreach.model import Security, Server, Source

MAILS = [
    b"From: a@x.example\nSubject: lines\n\nHello\n\nFrom here on, dots:\n.\n..\n>From there\n>>From afar\n",
    "From: b@x.example\nSubject: Grüße, 8 bits\n\nStraße\n".encode() + b"\xff\xfe\n",
    b"From: c@x.example\nSubject: no end of line\n\nHello",
    b"From: d@x.example\nSubject: nothing\n\n",
    b"From: e@x.example\nSubject: long\n\n" + b"x" * 70_000 + b"\nFrom me\n" + b"0123456789abcdef\n" * 9000,
    b'From: f@x.example\nSubject: for a parser {5}\n\n* 1 FETCH (FLAGS ())\n) "NIL" {99999}\n',
]


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
    monkeypatch.setattr(batches, "MOST_MAILS", 4)
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
    monkeypatch.setattr(batches, "MOST_MAILS", 2)
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
    monkeypatch.setattr(batches, "MOST", 10_000)
    monkeypatch.setattr(batches, "MOST_BYTES", 25_000)
    for number in range(5):
        place.add(b"Subject: %d\n\n" % number + b"%d\n" % number * 30_000)
    keeper = Keeper()
    with place.open() as box:
        found = list(box.batches(keeper))
    assert [len(batch.mails) for batch in found] == [2, 2, 1]
    assert all(len(mail.raw) == 10_000 for batch in found for mail in batch.mails)
    for batch in found:
        keeper.keep(batch)
    assert place.read(keeper) == []


def test_waiting_ends_with_the_time_or_the_stop(place: Place) -> None:
    reading, writing = os.pipe()
    try:
        with place.open() as box:
            list(box.batches(Keeper()))
            assert 0.1 <= seconds(lambda: box.wait(0.1)) < 2
            box.wait(0)
            with after(0.1, lambda: os.write(writing, b"x")):
                assert 0.05 < seconds(lambda: box.wait(60, reading)) < 2
            assert seconds(lambda: box.wait(60, reading)) < 1
            place.add(b"Subject: new\n\nHello\n")
            assert len(list(box.batches(Keeper()))) == 1  # the session goes on
    finally:
        os.close(reading)
        os.close(writing)


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
        name.encode() for name in HEADERS
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


def test_a_server_tells_of_new_mail_and_the_marks_of_other_clients_wake_nobody(
    server: dovecot.Dovecot,
) -> None:
    server.deliver(b"Subject: x\n\nHello\n")
    box = open_mailbox(imap(server), server.password)
    list(box.batches(Keeper()))

    def flag() -> None:
        with server.client() as client:
            client.select("INBOX")
            client.uid("STORE", "1:*", "+FLAGS", r"(\Seen)")

    with after(0.1, flag):
        assert 0.5 <= seconds(lambda: box.wait(0.5)) < 3
    with after(0.1, lambda: server.deliver(b"Subject: new\n\nHello\n")):
        assert seconds(lambda: box.wait(60)) < 5
    list(box.batches(Keeper()))
    server.deliver(b"Subject: between\n\nHello\n")  # before the waiting begins
    assert seconds(lambda: box.wait(60)) < 5
    box.close()


def test_a_session_that_is_cut_is_said(server: dovecot.Dovecot) -> None:
    server.deliver(b"Subject: x\n\nHello\n")
    box = open_mailbox(imap(server), server.password)
    assert len(list(box.batches(Keeper()))) == 1
    box._session.client.wire.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(ServerError, match="closed the connection"):
            box.wait(5)
    with pytest.raises(ServerError, match="closed the connection"):
        list(box.batches(Keeper()))
    box.close()
    box.close()


def test_a_wrong_password_is_said_and_is_in_no_text(server: dovecot.Dovecot) -> None:
    for password in ("Grüße€hunter2",):  # a refusal takes its time
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
    raw = b"Subject: x\n\n" + b"0123456789abcdef" * 64 * 80
    for _ in range(500):
        server.deliver(raw)
    told = [server.host, str(server.tls_port), server.user, str(server.ca_file), server.password]
    command = [sys.executable, "-c", READ_ALL, *told]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    count, kilobytes = map(int, done.stdout.split())
    assert count == 500
    assert kilobytes < 15_000  # all together have 40 MB
