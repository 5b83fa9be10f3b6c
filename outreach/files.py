"""Mail in files: a Maildir, an mbox, a folder of .eml files. They are only read.

Whoever waits for news reads again every second: what is bookmarked is passed over by its name.
Fails with MailboxError: not there, not of this kind, may not be read.
Known limits: a Maildir's folders are those of Maildir++; a mail that is moved while it is read comes with the
next reading; an mbox is not locked, and a mail that was read half written comes again when it is whole.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import io
import os
import re
import select
from collections.abc import Callable, Collection, Iterable, Iterator
from email.utils import parsedate_tz
from pathlib import Path

from imapclient import imap_utf7  # type: ignore[import-untyped]

from outreach import batches, folders
from outreach.batches import Batch, Mail
from outreach.errors import MailboxError, printable
from outreach.model import Source

_Known = Callable[[str], Collection[str]]
_LOOK_SECONDS = 1.0  # until whoever waits looks again
_PIECE = 65536
_QUOTED_FROM = re.compile(rb">+From ")


class _Files:
    """What the kinds have in common."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._path = Path(source.path)
        with self._explained():
            self._path.stat()
        self._check()

    def _check(self) -> None:
        """Raise MailboxError when it is not of this kind."""

    def _read(self, known: _Known) -> Iterator[Batch]:
        raise NotImplementedError

    def batches(self, known: _Known, since: float = 0.0) -> Iterator[Batch]:
        with self._explained():
            yield from self._read(known)

    def wait(self, seconds: float, stop: int | None = None) -> None:
        select.select([stop] if stop is not None else [], [], [], min(seconds, _LOOK_SECONDS))

    def close(self) -> None:
        pass

    def _place(self, path: Path) -> str:
        return f"{self._source.kind}:{_text(path.resolve())}"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Explain what the system says about a file."""
        try:
            yield
        except OSError as error:
            where = printable(_text(error.filename or self._path))
            match error:
                case FileNotFoundError():
                    raise MailboxError(f"{where} does not exist", "check the spelling") from None
                case PermissionError():
                    raise MailboxError(
                        f"{where} may not be read", "change its permissions, or run as its owner"
                    ) from None
                case _:
                    raise MailboxError(f"{where} cannot be read: {error.strerror or error}") from None


def _text(path: Path | str) -> str:
    """Return a path as text that can be stored; names are any bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _read_file(path: Path) -> tuple[bytes, os.stat_result] | None:
    """Return the beginning of a file and its status; None when it is gone, or a folder."""
    try:
        with path.open("rb") as file:
            return file.read(batches.MOST), os.fstat(file.fileno())
    except (FileNotFoundError, IsADirectoryError):
        return None


def _batches(place: str, found: Iterable[tuple[Mail, str]], sent: bool = False) -> Iterator[Batch]:
    """Put together mails and their bookmarks."""
    for group in batches.grouped(((mail, mark), len(mail.raw)) for mail, mark in found):
        mails, marks = zip(*group, strict=True)
        yield Batch(place, mails, marks, sent)


class Maildir(_Files):
    """A Maildir, with its Maildir++ subfolders. A bookmark is a unique name, which a mail keeps for good."""

    def _check(self) -> None:
        if not _is_maildir(self._path):
            raise MailboxError(
                f"{printable(_text(self._path))} is not a Maildir",
                "a Maildir is a folder with new/, cur/ and tmp/",
            )

    def _read(self, known: _Known) -> Iterator[Batch]:
        inside = sorted(path for path in self._path.glob(".*") if _is_maildir(path))
        found = [(self._path, False), *((path, self._is_sent(path.name)) for path in inside)]
        for folder, sent in sorted(found, key=lambda one: not one[1]):  # sent first: answers refer to it
            place = self._place(folder)
            yield from _batches(place, _maildir_mails(folder, sent, frozenset(known(place))), sent)

    def _is_sent(self, name: str) -> bool:
        parts = name.lstrip(".").split(".")
        with contextlib.suppress(ValueError):  # not every program writes names so
            parts = [imap_utf7.decode(os.fsencode(part)) for part in parts]
        if self._source.sent is None:
            return folders.is_for("sent", parts)
        return bool(self._source.sent) and self._source.sent.lstrip(".") in ("/".join(parts), ".".join(parts))


def _is_maildir(path: Path) -> bool:
    return (path / "new").is_dir() and (path / "cur").is_dir()


def _maildir_mails(folder: Path, sent: bool, known: frozenset[str]) -> Iterator[tuple[Mail, str]]:
    # A mail that goes from new to cur meanwhile is found in one of both.
    files = [file for name in ("new", "cur") for file in (folder / name).iterdir()]
    there = {_text(file.name.partition(":")[0]): file for file in files if not file.name.startswith(".")}
    for unique in sorted(there.keys() - known):
        if (read := _read_file(there[unique])) is not None:
            raw, status = read
            raw = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0] if sent else raw
            yield Mail(status.st_mtime, raw, printable(_text(there[unique]))), unique


class Letters(_Files):
    """A folder of .eml files with all that is in it, or one such file. A bookmark is size, time and name."""

    def _read(self, known: _Known) -> Iterator[Batch]:
        place = self._place(self._path)
        yield from _batches(place, self._mails(frozenset(known(place))))

    def _mails(self, known: frozenset[str]) -> Iterator[tuple[Mail, str]]:
        for path in self._paths():
            relative = _text(path.relative_to(self._path) if path != self._path else path.name)
            with contextlib.suppress(FileNotFoundError):
                if _mark(path.stat(), relative) in known:
                    continue
            if (read := _read_file(path)) is not None:
                raw, status = read
                yield Mail(status.st_mtime, raw, printable(_text(path))), _mark(status, relative)

    def _paths(self) -> Iterator[Path]:
        if not self._path.is_dir():
            yield self._path
        for folder, inside, names in os.walk(self._path):
            inside.sort()
            for name in sorted(names):
                if name.lower().endswith(".eml") and not name.startswith("._"):
                    yield Path(folder, name)


def _mark(status: os.stat_result, relative: str) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {relative}"


class Mbox(_Files):
    """An mbox file. A bookmark says where the last mail begins, where it ends, and what was before that."""

    def _check(self) -> None:
        if not self._path.is_file():
            raise MailboxError(f"{printable(_text(self._path))} is not a file, as an mbox is")

    def _read(self, known: _Known) -> Iterator[Batch]:
        place = self._place(self._path)
        with self._path.open("rb") as file:
            # A bookmark is only needed for the last mail of a batch, and it costs a look back.
            for batch in _batches(place, self._mails(file, known(place))):
                position = file.tell()
                start, end = batch.bookmarks[-1].split("-")
                mark = f"{start}-{end}-{_check_before(file, int(end))}"
                file.seek(position)
                yield Batch(place, batch.mails, (mark,))

    def _mails(self, file: io.BufferedReader, known: Collection[str]) -> Iterator[tuple[Mail, str]]:
        """Yield the mails behind the last known one; that as well when it has grown."""
        last, last_end = 0, -1
        marks = [mark.split("-") for mark in known]
        for end, start, check in sorted(((int(end), int(start), check) for start, end, check in marks))[::-1]:
            if _check_before(file, end) == check:
                last, last_end = start, end
                break
        for mail, start, end in _mbox_mails(file, last, printable(_text(self._path))):
            if start == last and 0 <= end - last_end <= 2:  # an empty line came behind it
                continue
            yield mail, f"{start}-{end}"


def _check_before(file: io.BufferedReader, end: int) -> str:
    """Return a check of the beginning and of what lies before `end`: a file that was tidied is another."""
    file.seek(0)
    digest = hashlib.sha256(file.read(min(end, 4096)))
    file.seek(max(0, end - _PIECE))
    digest.update(file.read(min(end, _PIECE)))
    return digest.hexdigest()[:24]


def _mbox_mails(file: io.BufferedReader, position: int, where: str) -> Iterator[tuple[Mail, int, int]]:
    """Yield the mails from a position on, each with its beginning and its end."""
    raw = bytearray()
    start, at = -1, 0.0
    blank = True  # the line before was empty
    file.seek(position)
    while line := file.readline():
        if blank and line.startswith(b"From "):
            if start >= 0:
                yield Mail(at, _mbox_raw(raw, blank), where), start, position
            start, at, raw = position, _from_date(line), bytearray()
        elif start >= 0:
            if len(raw) <= batches.MOST:
                raw += line[1:] if _QUOTED_FROM.match(line) else line
        elif line.strip():
            raise MailboxError(
                f"{where} is not an mbox", "an mbox begins with a line 'From …'; for a single mail use eml"
            )
        position += len(line)
        blank = line in (b"\n", b"\r\n")
    if start >= 0:
        yield Mail(at, _mbox_raw(raw, blank), where), start, position


def _mbox_raw(raw: bytearray, blank: bool) -> bytes:
    """Return the mail without the empty line that belongs to the next one."""
    if blank and len(raw) <= batches.MOST:
        return bytes(raw.removesuffix(b"\n").removesuffix(b"\r"))
    return bytes(raw[: batches.MOST])


def _from_date(line: bytes) -> float:
    """Return the date of a From_ line, as UTC where it has no zone (RFC 4155), else 0.0."""
    words = line.decode("ascii", "replace").split(maxsplit=2)
    if len(words) < 3 or (date := parsedate_tz(words[2])) is None:
        return 0.0
    return calendar.timegm(date[:9]) - (date[9] or 0)
