"""Mailboxes for the tests: one of each kind, filled as other programs do it, and a keeper of bookmarks."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import dovecot

from outreach.mailbox import Batch, Mail, Mailbox, open_mailbox
from outreach.model import Security, Server, Source

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


def imap(server: dovecot.Dovecot, security: Security = Security.TLS, **options: Any) -> Source:
    port = server.tls_port if security is Security.TLS else server.port
    return Source(
        "imap", server=Server(server.host, port, security, server.user, "", str(server.ca_file)), **options
    )


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"From: a@x.example\nSubject: %d\n\nHello\n" % number for number in range(start, start + count)]


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
