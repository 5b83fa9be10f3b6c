"""Mail that came back, from files: read, understood, told. Touches no ledger and no network.

A file is one mail, as a mail program saves it (`.eml`), whatever its bytes. What is no mail at all is a
problem with its file and what to do; the others are read all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from outreach import classify, inbound
from outreach.classify import Answer
from outreach.errors import Problem

_OUTLOOK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # a compound file: [MS-CFB] 2.2


def read_files(names: Iterable[str], problems: list[Problem]) -> Iterator[tuple[str, Answer]]:
    """Yield each file, as it was named, with what it is; what cannot be read is added to `problems`."""
    for name in names:
        try:
            raw, more = _bytes(name)
        except OSError as error:
            hint = f"name the files in it: {name.rstrip('/')}/*" if Path(name).is_dir() else ""
            problems.append(Problem(name, None, f"cannot be read: {error.strerror or error}", hint))
            continue
        if raw.startswith(_OUTLOOK):
            problems.append(Problem(name, None, "is a message of Outlook, no mail file", "save it as .eml"))
        elif not raw.strip():
            problems.append(Problem(name, None, "is empty"))
        else:
            if more:
                problems.append(
                    Problem(name, None, "holds several mails; only the first was read", "save each as a file")
                )
            yield name, classify.read(raw)


def _bytes(name: str) -> tuple[bytes, bool]:
    """Return what a file begins with, as far as it is looked at, and whether it is a box of several mails."""
    if name == "-":
        raw = sys.stdin.buffer.read(inbound.MOST_BYTES + 1)
    else:
        with Path(name).open("rb") as file:
            raw = file.read(inbound.MOST_BYTES + 1)
    return raw, raw.startswith(b"From ") and b"\n\nFrom " in raw.replace(b"\r\n", b"\n")
