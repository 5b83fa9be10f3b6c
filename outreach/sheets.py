"""Read spreadsheets: the visible sheets of an Excel or OpenDocument file, row by row, as text.

A hostile or broken file can ask a reader for any amount of memory, and the library's answer is to abort the
process. So it runs in a child process with limits on memory and time, which hands over rows as JSON lines;
popolo.py reads JSON documents in such a child as well. The file is the child's stdin: it may lose its name.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

MAX_BYTES = 30_000_000  # of a file; a hundred thousand rows of ten cells have four million
MAX_CELLS = 2_000  # of a row
MAX_CELL = 131_072  # characters; what Python's csv takes
MAX_ROW = 1_000_000  # characters
_MAX_UNPACKED = 400_000_000  # bytes, as the file itself says
_MAX_PARTS = 5_000
_MEMORY = 192 * 1024 * 1024  # bytes of address space of the child
_SECONDS = 6  # of its processor time
_TOO_LARGE = "is too large to be read, or damaged: it takes more memory or time than a list can need"
_AS_CSV = "save the sheet as CSV (UTF-8)"


class TableError(ValueError):
    """The file is no table that can be read; the message says why, `hint` what to do, `line` where."""

    def __init__(self, message: str, hint: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.hint, self.line = hint, line


def read(path: Path, raw: IO[bytes]) -> Iterator[tuple[str, int, list[str]]]:
    """Yield (sheet, row, cells) of every visible sheet; rows count from 1, as spreadsheets show them.

    A hidden sheet is a row 0 without cells.
    Raises TableError, also in the middle.
    """
    if os.fstat(raw.fileno()).st_size > MAX_BYTES:
        raise TableError(
            f"is too large for a spreadsheet of contacts (over {MAX_BYTES // 1_000_000} MB)", _AS_CSV
        )
    for said in child(raw, ["outreach.sheets", str(path)], f"take out what is not needed, or {_AS_CSV}"):
        yield said["sheet"], said["row"], said["cells"]


def refuse_row(line: int, cells: Sequence[str]) -> None:
    """Refuse a row that no list of contacts has. Raises TableError."""
    if len(cells) > MAX_CELLS:
        raise TableError(
            f"has a row of over {MAX_CELLS:,} cells: that is no contact list",
            "take out what stands far to the right, and check what separates the cells",
            line,
        )
    sizes = [*map(len, cells), 0]
    if max(sizes) > MAX_CELL or sum(sizes) > MAX_ROW:
        raise TableError(
            "has a cell or a row with far more text than a contact can need",
            "take that text out, or is it the right file?",
            line,
        )


def child(raw: IO[bytes], arguments: Sequence[str], hint: str) -> Iterator[dict[str, Any]]:
    """Yield what a module of ours says about a file, read in a child process with limits: see `told`.

    `hint` is for a file that goes beyond them. Raises TableError, also in the middle.
    """
    command = [sys.executable, "-P", "-m", *arguments]
    with subprocess.Popen(  # noqa: S603 (ourselves)
        command, stdin=raw, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        whole = False
        try:
            for line in child.stdout:
                said = json.loads(line)
                if "error" in said:
                    raise TableError(said["error"], said["hint"], said["line"])
                if "end" in said:
                    whole = True
                    break
                yield said
        except json.JSONDecodeError:
            whole = False
        finally:
            if not whole:
                child.kill()
        child.stdout.close()
        child.wait()
    if not whole:
        raise TableError(_TOO_LARGE, hint)


# The child process ---------------------------------------------------------------------------------


def told(rows: Callable[[IO[bytes]], Iterator[dict[str, Any]]]) -> None:
    """Say, in the child, what is in the file on stdin: its rows as JSON lines; what is wrong; the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(BrokenPipeError, MemoryError):  # without an end it was too large
        try:
            sys.stdin.buffer.seek(0)
            for row in rows(sys.stdin.buffer):
                _say(**row)
            _say(end=True)
        except TableError as error:
            _say(error=str(error), hint=error.hint, line=error.line)
        sys.stdout.flush()
    os._exit(0)  # nothing to tidy up, and nobody to say it to


def _say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")


def _refuse_bombs(raw: IO[bytes]) -> None:
    """Refuse what is large by its own account, before anything is unpacked."""
    if not zipfile.is_zipfile(raw):
        return
    try:
        with zipfile.ZipFile(raw) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError):
        raise TableError("is a damaged spreadsheet", "open it and save it again") from None
    if len(parts) > _MAX_PARTS or sum(part.file_size for part in parts) > _MAX_UNPACKED:
        raise TableError("unpacks to far more than a list of contacts can be", _AS_CSV)
    names = {part.filename for part in parts}
    if not names & {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}:
        raise TableError("is a ZIP file, not a contact list", "unpack it, and name the table inside")


def _sheets(raw: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file."""
    _refuse_bombs(raw)
    raw.seek(0)
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetVisibleEnum

    try:
        try:
            book = CalamineWorkbook.from_filelike(raw)  # by its bytes: a name may lie
        except CalamineError:
            book = CalamineWorkbook.from_path(sys.argv[1])  # says what is wrong, a password for one
        for sheet in book.sheets_metadata:
            if sheet.visible is not SheetVisibleEnum.Visible:
                yield {"sheet": sheet.name, "row": 0, "cells": []}
                continue
            table = book.get_sheet_by_name(sheet.name)
            before = [""] * (table.start[1] if table.start else 0)
            for number, row in enumerate(table.iter_rows(), 1):
                cells = before + [_text(cell) for cell in row]
                while cells and (not cells[-1] or cells[-1].isspace()):
                    del cells[-1]
                if cells:
                    refuse_row(number, cells)
                    yield {"sheet": sheet.name, "row": number, "cells": cells}
    except PasswordError:
        raise TableError("is locked with a password", "save a copy without a password") from None
    except CalamineError as error:
        words = " ".join(str(error).split())[:200]
        raise TableError(f"is a damaged spreadsheet ({words})", "open it and save it again") from None
    except (MemoryError, TableError, GeneratorExit):
        raise
    except BaseException:  # the library's own panics are no Exception
        raise TableError("is a damaged spreadsheet", "open it and save it again") from None


def _text(cell: object) -> str:
    """Return a cell as it is meant: a number that is whole has no `.0`."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return str(cell)


if __name__ == "__main__":
    told(_sheets)
