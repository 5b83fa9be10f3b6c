"""Write files that only their owner can read: lists and reports name people.

A file is there whole or as it was before. Raises UsageError.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from outreach.errors import UsageError


def write(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file with mode 600, or replace one; a pipe or a device is written to."""
    parts = [data] if isinstance(data, bytes) else data
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb") as out:
                out.writelines(parts)
            return
        path = path.resolve()  # through a link
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
                out.writelines(parts)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
