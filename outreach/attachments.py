"""Files that travel with a letter: `Attach:` lines and inline images, read and encoded once.

A file is looked for beside the letter, then in the project folder, and must lie inside one of them after
every symbolic link is followed, so that a letter from elsewhere cannot take your files along; hidden files,
the ledger and the contact list never travel. `load` gives the bytes, `make` the part of a message.
Raises AttachmentError. Known limit: the size is that of the files; on the wire it is a third more.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import stat
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from outreach.model import Attachment

MAX_BYTES = 25_000_000  # of all files of one message together; what large providers take
_IMAGES = (
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
)  # svg can hold scripts and is mostly not shown
_LEDGER_ENDINGS = (".db", ".db-wal", ".db-shm")

Load = Callable[[str], bytes]


class AttachmentError(ValueError):
    """A file cannot travel with a letter; the message says why."""


def loader(project: Path, templates: Path, letter: str, private: Iterable[Path] = ()) -> Load:
    """Return what reads the files of a letter by the name they are written with.

    `private` are files of the project that never travel: the contact list, the ledger.
    """
    roots = [(templates / letter, templates), (project, project)]
    hidden = {path.resolve() for path in private}

    def load(name: str) -> bytes:
        if not name or "\\" in name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise AttachmentError(
                "a file is named by its path inside the project folder, like files/appeal.pdf"
            )
        for base, root in roots:
            path = base / name
            if path.exists() or path.is_symlink():
                return _read(path, root, hidden)
        raise AttachmentError(f"there is no file {name}, neither in {templates / letter} nor in {project}")

    return load


def _read(path: Path, root: Path, hidden: set[Path]) -> bytes:
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root.resolve()):
            raise AttachmentError(f"{path} is a link that leads out of {root}")
        inside = real.relative_to(root.resolve()).parts
        if any(part.startswith(".") for part in inside) or real in hidden or real.suffix in _LEDGER_ENDINGS:
            raise AttachmentError(f"{path.name} holds your own data and never travels with a letter")
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AttachmentError(f"{path} is no file")
        if status.st_size > MAX_BYTES:
            raise AttachmentError(f"{path.name} has {megabytes(status.st_size)}; {_TOGETHER}")
        return real.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        words = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise AttachmentError(f"{path} cannot be read: {words}") from None


def megabytes(size: int) -> str:
    """Say a size the way people do."""
    return f"{size / 1_000_000:.1f} MB" if size >= 100_000 else f"{-(-size // 1000)} kB"


_TOGETHER = f"the files of a letter may have {MAX_BYTES // 1_000_000} MB together"


def refuse_size(attachments: Iterable[Attachment]) -> None:
    """Refuse what no mailbox would take. Raises AttachmentError."""
    size = sum(one.size for one in attachments)
    if size > MAX_BYTES:
        raise AttachmentError(f"the files have {megabytes(size)}; {_TOGETHER}")


def make(name: str, data: bytes, inline: bool) -> Attachment:
    """Return the part of a message for a file; an inline one must be an image that mail programs show."""
    title = unicodedata.normalize("NFC", Path(name).name)
    if not title.isprintable():
        raise AttachmentError(f"the name {title!r} has control characters")
    kind = mimetypes.guess_type(title, strict=False)[0] or "application/octet-stream"
    if inline and kind not in _IMAGES:
        raise AttachmentError(f"{title} is no image that mail programs show; use .png, .jpg, .gif or .webp")
    if kind.startswith(("message/", "multipart/")):
        kind = "application/octet-stream"  # RFC 2045 §6.4: these cannot be base64
    if kind.startswith("text/") and _is_utf8(data):
        kind += "; charset=utf-8"
    digest = hashlib.sha256(data).hexdigest()
    return Attachment(
        name=title,
        kind=kind,
        size=len(data),
        digest=digest,
        cid=f"{digest[:24]}@letter" if inline else "",
        encoded=base64.encodebytes(data).replace(b"\n", b"\r\n"),
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
