"""What stops a command.

    OutreachError             message, hint (the next step), problems (all at once), exit code
    ├── UsageError       2    an option or a consent is missing or makes no sense
    ├── ContactsError   65    the list cannot be read
    ├── LetterError     65    a letter is missing or wrong
    ├── MailboxError    65    mail that came back cannot be read
    ├── LedgerError     65    the ledger cannot be read (75: it cannot be written, run again)
    ├── ServerError     69    the mail server cannot be reached (77: it refuses us)
    ├── StoppedError    75    stopped before the end; run again
    └── SettingsError   78    a setting is missing or wrong

What happens to a single mail is never an exception: see model.Outcome. One handler, in shell.py,
prints these; a traceback appears only with --debug.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line (sysexits.h where it has one)."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    DATA = 65
    UNREACHABLE = 69
    PROGRAM = 70
    STOPPED = 75
    REFUSED = 77
    SETTINGS = 78
    INTERRUPTED = 130


def printable(text: str) -> str:
    """Return a text on one line, without what would command a terminal; files and lists come from anybody."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in an input: where, what, and what to do about it."""

    file: str
    line: int | None
    text: str
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return printable(f"{where}{self.text}" + (f" ({self.suggestion})" if self.suggestion else ""))


class OutreachError(Exception):
    """A command cannot go on. `hint` says what to do now."""

    exit_code: int = Exit.SOME_FAILED

    def __init__(
        self,
        message: str,
        hint: str = "",
        problems: Sequence[Problem] = (),
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = list(problems)
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(OutreachError):
    """An option, an argument or a consent is missing or wrong."""

    exit_code = Exit.USAGE


class ContactsError(OutreachError):
    """The contact list is missing or unreadable as a whole; single bad rows are data, not errors."""

    exit_code = Exit.DATA


class LetterError(OutreachError):
    """A letter is missing, does not compile or does not render."""

    exit_code = Exit.DATA


class MailboxError(OutreachError):
    """Mail that came back cannot be read."""

    exit_code = Exit.DATA


class LedgerError(OutreachError):
    """The ledger cannot be opened or read (65), or not be written now (75)."""

    exit_code = Exit.DATA


class ServerError(OutreachError):
    """The mail server cannot be reached (69) or refuses us (77)."""

    exit_code = Exit.UNREACHABLE
    kind = ""  # what its refusal is about, as verdicts.py judged it


class StoppedError(OutreachError):
    """The run stopped before its end by a rule of ours; the same command continues."""

    exit_code = Exit.STOPPED


class SettingsError(OutreachError):
    """A setting is missing, unknown or malformed."""

    exit_code = Exit.SETTINGS
