"""The test mail client itself: it shows threads as References make them, and changes nothing."""

from pathlib import Path

import mutt
import pytest


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """An empty Maildir."""
    mutt.require()
    top = tmp_path / "My $Mail"
    for name in ("new", "cur", "tmp"):
        (top / name).mkdir(parents=True)
    return top


def put(maildir: Path, number: int, subject: str, answers: int | None = None, flags: str = "") -> None:
    reference = f"In-Reply-To: <{answers}@x.example>\nReferences: <{answers}@x.example>\n" if answers else ""
    place = maildir / (f"cur/{number}.mail:2,{flags}" if flags else f"new/{number}.mail")
    place.write_text(
        f"From: a@x.example\nDate: Mon, 2 Nov 2026 10:00:{number:02} +0000\n"
        f"Message-ID: <{number}@x.example>\n{reference}Subject: {subject}\n\nHello\n"
    )


def state(maildir: Path) -> list[tuple[str, float, bytes]]:
    files = sorted(path for path in maildir.rglob("*") if path.is_file())
    return [(str(path), path.stat().st_mtime, path.read_bytes()) for path in files]


def test_an_answer_stands_below_its_letter_and_other_mail_apart(maildir: Path) -> None:
    put(maildir, 1, "Stand by us", flags="S")
    put(maildir, 2, "Another matter")
    put(maildir, 3, "Re: Stand by us", answers=1)
    put(maildir, 4, "Re: Stand by us", answers=3, flags="FS")
    before = state(maildir)
    assert mutt.threads(maildir) == [
        "Stand by us",
        "`->Re: Stand by us",
        "  `->Re: Stand by us",
        "Another matter",
    ]
    assert state(maildir) == before


def test_the_same_subject_alone_joins_nothing(maildir: Path) -> None:
    put(maildir, 1, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=")
    put(maildir, 2, "Re: =?utf-8?q?Gr=C3=BC=C3=9Fe?=")
    put(maildir, 3, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", answers=1)
    assert mutt.threads(maildir) == ["Grüße", "`->Grüße", "Re: Grüße"]


def test_an_empty_mailbox_shows_nothing_and_none_is_an_error(maildir: Path) -> None:
    assert mutt.threads(maildir) == []
    (maildir / "mbox").write_text("no mailbox\n")
    with pytest.raises(RuntimeError, match="mutt"):
        mutt.threads(maildir / "mbox")
