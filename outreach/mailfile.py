"""Mail that came back, from files: read, understood, told. Touches no ledger and no network.

A file is one mail, as a mail program saves it (`.eml`), whatever its bytes. What is no mail at all is a
problem with its file and what to do; the others are read all the same.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from outreach import classify, inbound
from outreach.classify import Answer
from outreach.errors import Problem

_OUTLOOK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # a compound file: [MS-CFB] 2.2
_HEADERS = (
    "from",
    "to",
    "subject",
    "date",
    "received",
    "message-id",
    "return-path",
    "content-type",
    "mime-version",
)
_BOX = re.compile(rb"\r?\n\r?\nFrom [^\r\n]+\r?\n(?=[!-9;-~]+:)")  # mbox: the next mail


def read_files(names: Iterable[str], problems: list[Problem]) -> Iterator[tuple[str, Answer]]:
    """Yield each file, as it was named, with what it is; what cannot be read is added to `problems`."""
    for name in names:
        try:
            raw = _bytes(name)
        except OSError as error:
            hint = f"name the files in it: {shlex.quote(name.rstrip('/'))}/*" if Path(name).is_dir() else ""
            problems.append(Problem(name, None, f"cannot be read: {error.strerror or error}", hint))
            continue
        following = _BOX.search(raw) if raw.startswith(b"From ") else None
        if following is not None:
            problems.append(
                Problem(name, None, "holds several mails: only the first was read", "save each as a file")
            )
            raw = raw[: following.start() + 1]
        if not raw.strip():
            problems.append(Problem(name, None, "is empty"))
        elif raw.startswith(_OUTLOOK):
            problems.append(Problem(name, None, "is a message of Outlook, no mail file", "save it as .eml"))
        elif b"\0" in raw and not any(map(inbound.read(raw).has, _HEADERS)):
            problems.append(Problem(name, None, "is no mail"))
        else:
            yield name, classify.read(raw)


def _bytes(name: str) -> bytes:
    """Return what a file begins with, as far as it is looked at."""
    if name == "-":
        return sys.stdin.buffer.read(inbound.MOST_READ)
    with Path(name).open("rb") as file:
        return file.read(inbound.MOST_READ)
