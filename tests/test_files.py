"""Maildirs, mbox files and folders of letters are read while other programs work in them."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from mailboxes import AT, Keeper, LettersPlace, MaildirPlace, MboxPlace, Place, numbered

from outreach import batches, files
from outreach.errors import Exit, MailboxError
from outreach.model import Source


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
    with place.open() as box:
        found = {(batch.sent, mail.raw) for batch in box.batches(Keeper()) for mail in batch.mails}
    assert found == {
        (False, b"Subject: inbox\n\nHello\n"),
        (False, b"Subject: .Spam\nX: y\n\nHello\n"),
        (True, b"Subject: .Gesendet\nX: y"),
        (False, b"Subject: .K&APY-ln.2024\nX: y\n\nHello\n"),
    }


def test_a_mail_that_is_opened_by_its_owner_is_the_same_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_MAILS", 1)
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
                    file.rename(tmp_path / "Maildir/cur" / f"{file.name}:2,S")
        assert len(found) < 4  # what has moved meanwhile comes with the next reading
        found += [mail.raw for mail in keeper.read(box)]
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
    monkeypatch.setattr(batches, "MOST_MAILS", 1)
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
        ("From ", 0),
        ("From a somewhere", 0),
    ],
)
def test_dates_of_an_mbox(line: str, at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert files._from_date(line.encode()) == at
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_mbox_is_never_wholly_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    with path.open("wb") as file:
        file.write(b"From a\nSubject: long\n\n" + (b"x" * 9999 + b"\n") * 1200 + b"\n")
        for number in range(300):
            file.write(b"From a\nSubject: %d\n\n" % number + b"0123456789abcdef" * 64 * 64 + b"\n\n")
    tracemalloc.start()
    try:
        with Place(Source("mbox", str(path))).open() as box:
            sizes = [len(mail.raw) for batch in box.batches(Keeper()) for mail in batch.mails]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sizes) == 301 and sizes[0] == batches.MOST
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

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with place.open() as box:
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(MailboxError, match=r"000000\.eml may not be read"):
            list(box.batches(Keeper()))
