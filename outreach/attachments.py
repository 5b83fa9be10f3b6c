"""Files that travel with a letter: `Attach:` lines and inline images, read once.

A file is looked for beside the letter, then in the project folder, and must lie inside one of them after
every symbolic link is followed, so that a letter from elsewhere cannot take your files along; hidden files,
the ledger and the contact list never travel, other lists and reports only from the letter's own folder.
`loader` gives what reads them, `make` the part of a message. Raises AttachmentError.
Known limit: the size is that of the files; on the wire it is a third more.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from outreach.model import Attachment

MAX_BYTES = 25_000_000  # of all files of one message together; what large providers take
MAX_BYTES_OF_LETTER = 60_000_000  # in all its languages
# Not svg: it can hold scripts, and is mostly not shown.
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
# Outside the letter's folder: lists, ledgers, mails and reports, which name people.
_PERSONAL = re.compile(
    r"\.(bak|csv|db(-journal|-shm|-wal)?|eml|html?|json|key|log|mbox|ods|old|pem|sqlite|tsv|xlsx?)",
    re.IGNORECASE,
)

Load = Callable[[str], bytes]


class AttachmentError(ValueError):
    """A file cannot travel with a letter; the message says why."""


def loader(project: Path, templates: Path, letter: str, private: Iterable[Path] = ()) -> Load:
    """Return what reads the files of a letter by the name they are written with.

    `private` are files of the project that never travel: the contact list, the ledger.
    """
    hidden = [project / ".env", *private]
    known: dict[tuple[int, int], bytes] = {}

    def load(name: str) -> bytes:
        parts = PurePosixPath(name).parts
        if not parts or not name.isprintable() or "\\" in name or name.startswith("/") or ".." in parts:
            raise AttachmentError(
                "a file is named by its path inside the project folder, like files/appeal.pdf"
            )
        if any(part.startswith(".") for part in parts):
            raise AttachmentError(f"{name} holds your own data and never travels with a letter")
        try:
            for base, root in ((templates / letter, templates), (project, project)):
                path = base / name
                if path.exists() or path.is_symlink():
                    return _read(path, root, base == project, hidden, known)
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
            if isinstance(error, AttachmentError):
                raise
            words = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
            raise AttachmentError(f"{name[:200]} cannot be read: {words}") from None
        raise AttachmentError(f"there is no file {name}, neither in {templates / letter} nor in {project}")

    return load


def _read(
    path: Path, root: Path, shared: bool, hidden: Iterable[Path], known: dict[tuple[int, int], bytes]
) -> bytes:
    real = path.resolve(strict=True)
    if not real.is_relative_to(root.resolve()):
        raise AttachmentError(f"{path} is a link that leads out of {root}")
    inside = real.relative_to(root.resolve()).parts
    own = any(part.startswith(".") for part in inside) or _is_one_of(real, hidden)
    if own or (shared and _PERSONAL.fullmatch(real.suffix)):
        raise AttachmentError(
            f"{path.name} holds your own data and never travels with a letter"
            + ("" if own else "; a file like it that is meant to travel belongs into the letter's folder")
        )
    status = real.stat()
    if not stat.S_ISREG(status.st_mode):
        raise AttachmentError(f"{path} is no file")
    if status.st_size > MAX_BYTES:
        raise AttachmentError(f"{path.name} has {megabytes(status.st_size)}; {_TOGETHER}")
    key = status.st_dev, status.st_ino  # one file, whatever it is called
    together = status.st_size + sum(len(data) for other, data in known.items() if other != key)
    if together > MAX_BYTES_OF_LETTER:
        raise AttachmentError(
            f"with {path.name} the files of all languages have {megabytes(together)}; "
            f"they may have {megabytes(MAX_BYTES_OF_LETTER)}"
        )
    if key not in known:
        known[key] = real.read_bytes()
    return known[key]


def _is_one_of(path: Path, others: Iterable[Path]) -> bool:
    """Tell whether a file is one of others, by whatever name it is reached."""
    return any(other.exists() and path.samefile(other) for other in others)


def megabytes(size: int) -> str:
    """Say a size the way people do."""
    return f"{size / 1_000_000:.1f} MB" if size >= 100_000 else f"{-(-size // 1000)} kB"


_TOGETHER = (
    f"the files of a letter may have {MAX_BYTES // 1_000_000} MB together; put a link into the letter instead"
)


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
        data=data,
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
