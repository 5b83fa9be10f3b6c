"""Read spreadsheets: the visible sheets of an Excel or OpenDocument file, row by row, as text.

A hostile or broken file can ask a reader for any amount of memory, and the library's answer is to abort the
process. So it runs in a child process with limits on memory and time, which hands over rows as JSON lines.
Raises TableError, in words for the owner of the list. Formulas give the value the file holds for them.
Known limits: on systems without resource limits (Windows) only the size of the file is bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_BYTES = 30_000_000  # of a file; a hundred thousand rows of ten cells have four million
_MAX_UNPACKED = 400_000_000  # bytes, as the file itself says
_MAX_PARTS = 5_000
_MEMORY = 256 * 1024 * 1024  # bytes of address space of the child
_SECONDS = 8  # of its processor time
_TOO_LARGE = "is too large to be read, or damaged: it asks for more memory than a list can need"


class TableError(ValueError):
    """The file is no table that can be read; the message says why, `hint` what to do, `line` where."""

    def __init__(self, message: str, hint: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.hint, self.line = hint, line


def read(path: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Yield (sheet, row, cells) of every visible sheet; rows count from 1, as spreadsheets show them.

    Raises TableError, also in the middle.
    """
    _refuse_bombs(path)
    command = [sys.executable, "-P", "-m", "outreach.sheets", str(path)]
    with subprocess.Popen(  # noqa: S603 (ourselves)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        whole = False
        try:
            for line in child.stdout:
                said = json.loads(line)
                if "error" in said:
                    raise TableError(said["error"], said["hint"])
                if "end" in said:
                    whole = True
                    break
                yield said["sheet"], said["row"], said["cells"]
        except json.JSONDecodeError:
            whole = False
        finally:
            if not whole:
                child.kill()
        child.stdout.close()
        child.wait()
    if not whole:
        raise TableError(_TOO_LARGE, "take out what is not needed, or save the sheet as CSV (UTF-8)")


def _refuse_bombs(path: Path) -> None:
    """Refuse what is large by its own account, before anything is unpacked."""
    if path.stat().st_size > MAX_BYTES:
        raise TableError(
            f"is too large for a spreadsheet of contacts (over {MAX_BYTES // 1_000_000} MB)",
            "save the sheet as CSV (UTF-8)",
        )
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise TableError("is a damaged spreadsheet", "open it and save it again") from None
    if len(parts) > _MAX_PARTS or sum(part.file_size for part in parts) > _MAX_UNPACKED:
        raise TableError(
            "unpacks to far more than a list of contacts can be", "save the sheet as CSV (UTF-8)"
        )
    names = {part.filename for part in parts}
    if not names & {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}:
        raise TableError("is a ZIP file, not a contact list", "unpack it, and name the table inside")


# The child process ---------------------------------------------------------------------------------


def _main(path: str) -> None:
    """Print the rows of a file as JSON lines."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetVisibleEnum

    try:
        try:
            with Path(path).open("rb") as file:  # by its bytes: a name may lie
                book = CalamineWorkbook.from_filelike(file)
        except CalamineError:
            book = CalamineWorkbook.from_path(path)  # says what is wrong, a password for one
        for sheet in book.sheets_metadata:
            if sheet.visible is not SheetVisibleEnum.Visible:
                continue
            table = book.get_sheet_by_name(sheet.name)
            before = [""] * (table.start[1] if table.start else 0)
            for number, row in enumerate(table.iter_rows(), 1):
                cells = before + [_text(cell) for cell in row]
                while cells and not cells[-1]:
                    del cells[-1]
                if cells:
                    _say(sheet=sheet.name, row=number, cells=cells)
        _say(end=True)
    except PasswordError:
        _say(error="is locked with a password", hint="save a copy without a password")
    except CalamineError as error:
        words = " ".join(str(error).split())[:200]
        _say(error=f"is a damaged spreadsheet ({words})", hint="open it and save it again")


def _say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")


def _text(cell: object) -> str:
    """Return a cell as it is meant: a number that is whole has no `.0`."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return str(cell)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _main(sys.argv[1])
        sys.stdout.flush()
    os._exit(0)  # nothing to tidy up, and nobody to say it to
