"""The standing refusals as people type them, read them from files and share them with other groups.

Files: any contact list; one address or @domain on a line; an export of another ledger; a keyed export of an
allied group. A keyed one holds HMAC-SHA256 hashes under a key made from a common passphrase, so that groups
keep each other's people out without showing them (docs/sending.md says what that does not hide).
Answers with refusals for the ledger, and with every line that is none. Raises UsageError, ContactsError
(nothing usable), SettingsError (no passphrase).
"""

from __future__ import annotations

import csv
import datetime
import hashlib
import hmac
import io
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outreach import address, columns, contacts, tables
from outreach.errors import ContactsError, Problem, SettingsError, UsageError, printable
from outreach.ledger import Ledger, Mailing, Suppression, hashed, others
from outreach.model import HELD_STATES
from outreach.settings import parse_duration
from outreach.sheets import TableError
from outreach.times import iso

PLAIN = ("value", "reason", "source", "since", "until")  # columns of an export
KEYED = ("hmac", "until", "key")
# The same everywhere, or groups could not compare: the passphrase alone has to be hard to guess.
_SALT = b"outreach shared refusals 1"
_N, _R, _P = 2**15, 8, 1
_MEMORY = 64 * 2**20  # bytes that scrypt may take; it needs 128 * n * r, half of that
_CHECKED = b"outreach check digits 1"  # no address, so it hashes like nobody
_HASHED = re.compile(r"hmac:[0-9a-f]{8}:[0-9a-f]{64}")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


@dataclass(frozen=True, slots=True)
class Shared:
    """What a passphrase becomes: the key of the hashes, and the digits that tell it from another one."""

    check: str
    key: bytes = field(repr=False)


@dataclass(slots=True)
class Import:
    """What a file of refusals came to."""

    found: dict[str, Suppression] = field(default_factory=dict)  # by value
    over: int = 0  # refusals whose time has passed
    problems: list[Problem] = field(default_factory=list)  # lines that are no refusal
    notes: list[str] = field(default_factory=list)  # what was repaired, and how the file was read
    shared: Shared | None = None  # of a keyed file


def value_of(text: str) -> str:
    """Return what the ledger compares for an address, a `@domain` or a listed hash. Raises UsageError."""
    if _HASHED.fullmatch(text):
        return text
    try:
        return _value(text)
    except address.AddressError as error:
        if "@" not in text and _is_domain(text):
            raise UsageError(
                f"{text!r} is a mail domain, not an address", f"write @{text} for everybody there"
            ) from None
        raise UsageError(
            f"{text!r} is no address: {error}", "write ann@party.example or @party.example"
        ) from None


def _value(text: str) -> str:
    if text.startswith("@"):
        return "@" + address.domain(address.parse(f"x{text}"))
    return address.key(address.parse(text))


def _is_domain(text: str) -> bool:
    try:
        address.parse(f"x@{text}")
    except address.AddressError:
        return False
    return True


def until_of(text: str, now: float) -> float:
    """Return when a refusal ends: with a day like 2027-01-31, or after a span like 90d. Raises UsageError."""
    hint = "write a day like 2027-01-31, or a span like 90d"
    try:
        end = _end_of_day(text) if _DAY.fullmatch(text) else now + parse_duration(text)
        datetime.datetime.fromtimestamp(end, datetime.UTC)  # a calendar that goes so far
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"--until {text}: is no day and no span", hint) from None
    if end <= now:
        raise UsageError(f"--until {text} is over already", hint)
    return end


def _end_of_day(text: str) -> float:
    next_day = datetime.date.fromisoformat(text) + datetime.timedelta(days=1)
    return datetime.datetime.combine(next_day, datetime.time()).timestamp()


def document(refusals: Iterable[Suppression], now: float) -> list[dict[str, Any]]:
    """Return the document of `suppress list --json`."""
    return [
        {
            "value": one.value,
            "reason": one.reason,
            "source": one.source,
            "at": iso(one.at),
            "until": iso(one.until),
            "holds": one.holds(now),
            "dead": one.dead,
        }
        for one in refusals
    ]


# Keys -------------------------------------------------------------------------------------------


def shared_by(passphrase: str) -> Shared:
    """Make the key that groups with the same passphrase share. Takes a tenth of a second, on purpose."""
    secret = unicodedata.normalize("NFC", passphrase.strip()).encode()
    key = hashlib.scrypt(secret, salt=_SALT, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=32)
    return Shared(hmac.digest(key, _CHECKED, "sha256").hex()[:8], key)


def _passphrase(passphrase: str, why: str, hint: str) -> Shared:
    if not passphrase:
        raise SettingsError(f"{why}: OUTREACH_SHARE_KEY is not set", hint)
    return shared_by(passphrase)


# Reading ----------------------------------------------------------------------------------------


def read(
    path: Path,
    passphrase: str,
    now: float,
    reason: str | None = None,
    source: str | None = None,
    until: float | None = None,
) -> Import:
    """Read a file of refusals. What is given here replaces what the file says.

    Raises ContactsError when nothing in it is usable, SettingsError when it is keyed and there is no
    passphrase.
    """
    if not path.exists():
        raise ContactsError(f"there is no file {path}", "outreach suppress import FILE")
    made = Import()
    reader = _Reader(path, made, now, reason, source, until)
    kind, rows = _kind(path), _rows(path)
    if kind == "keyed":
        made.shared = _passphrase(
            passphrase, f"{path} is keyed", "set it to the passphrase that the groups agreed on"
        )
        reader.keyed(rows, made.shared)
    elif kind == "export":
        reader.export(rows)
    elif kind == "lines":
        reader.lines(rows)
    else:
        reader.contacts()
    if not made.found and not made.over:
        raise ContactsError(
            f"{path} holds no address to refuse",
            "one address or @domain on a line, a contact list, or a file of `outreach suppress export`",
            made.problems,
        )
    return made


def _rows(path: Path) -> Iterator[tables.Record]:
    for table in tables.read(path, None, columns.score):
        yield from table.records


def _kind(path: Path) -> str:
    """Return what kind of file of refusals it is; whatever is none of ours is a contact list."""
    kind = ""
    try:
        for table in tables.read(path, None, columns.score):
            if table.format != "csv":
                return "list"
            for _, cells in table.records:
                kind = kind or _kind_by([cell.strip().lower() for cell in cells])
                told = [cell for cell in cells if cell.strip()]
                if kind == "lines" and len(told) > 1 and not all("@" in cell for cell in told):
                    return "list"
                if kind == "list":
                    return kind
    except (TableError, OSError):
        return "list"  # contacts.py says what is wrong with it
    return kind or "list"


def _kind_by(head: Sequence[str]) -> str:
    if head[:2] == list(PLAIN[:2]):
        return "export"
    if head[:1] == ["hmac"] and "key" in head:
        return "keyed"
    return "list" if columns.score(head)[0] else "lines"


class _Reader:
    """A file on its way to refusals."""

    def __init__(
        self,
        path: Path,
        made: Import,
        now: float,
        reason: str | None,
        source: str | None,
        until: float | None,
    ) -> None:
        self.path, self.made, self.now = path, made, now
        self.reason, self.source, self.until = reason, source, until

    def keyed(self, rows: Iterator[tables.Record], shared: Shared) -> None:
        """Take hashes that were made with our passphrase."""
        strange = set()
        for line, row in _by_name(rows):
            value, check = row.get("hmac", "").lower(), row.get("key", "").lower()
            if not _HASHED.fullmatch(f"hmac:{check}:{value}"):
                self.refuse(line, "is no hash with its check digits")
            elif check != shared.check:
                strange.add(check)
                self.refuse(line, f"was made with another passphrase (check digits {check})")
            else:
                self.add(
                    line, f"hmac:{check}:{value}", "kept out by an allied group", until=row.get("until", "")
                )
        if strange and not self.made.found and not self.made.over:
            raise ContactsError(
                f"{self.path} was made with another passphrase than yours "
                f"(check digits {', '.join(sorted(strange))}; yours are {shared.check})",
                "agree on one passphrase, and set OUTREACH_SHARE_KEY to it",
            )

    def export(self, rows: Iterator[tables.Record]) -> None:
        """Take what another ledger wrote."""
        for line, row in _by_name(rows):
            text = _armed(row.get("value", ""))
            try:
                value = _value(text)
            except address.AddressError as error:
                self.refuse(line, f"{text!r} is no address: {error}")
                continue
            self.add(
                line,
                value,
                _armed(row.get("reason", "")),
                _armed(row.get("source", "")),
                row.get("since", ""),
                row.get("until", ""),
            )

    def lines(self, rows: Iterator[tables.Record]) -> None:
        """Take one address or @domain a line; several on a line as well."""
        for line, cells in rows:
            for cell in cells:
                if cell.strip():
                    self.cell(line, cell.strip())

    def contacts(self) -> None:
        """Take everybody in a contact list, under every address that the list knows."""
        people = contacts.read([self.path], keep_refused=True)
        self.made.notes += map(str, people.remarks)
        for problem in people.problems:
            if problem.severity == "repaired" and not problem.problem.startswith("several addresses"):
                self.made.notes.append(str(problem))
        for one in people.contacts:
            for mail in (one.email, *others(one)):
                self.add(one.line, address.key(mail))
        for problem, row in zip(people.rejected, people.refused, strict=True):
            # A @domain is no contact, a second row of somebody is no loss, and who wants no mail is meant.
            values = [value for cell in row.cells if "@" in cell for value in _values(cell.strip())[0]]
            for value in values:
                self.add(row.line, value)
            if not values:
                self.refuse(row.line, f"{problem.value!r}: {problem.problem}")

    def cell(self, line: int, text: str) -> None:
        values, found = _values(text)
        for value in values:
            self.add(line, value)
        if not values:
            self.refuse(line, f"{text[:200]!r} is no address: {found}")
        elif found:
            self.made.notes.append(f"{self.path}:{line}: {text[:200]!r}: {found}")

    def refuse(self, line: int, words: str) -> None:
        self.made.problems.append(Problem(str(self.path), line, words))

    def add(
        self, line: int, value: str, reason: str = "", source: str = "", since: str = "", until: str = ""
    ) -> None:
        """Take one refusal, unless it is over."""
        try:
            ends = self.until or (_moment(until) if until else None)
            at = min(_moment(since), self.now) if since else self.now
        except (ValueError, OverflowError, OSError):
            self.refuse(line, f"{until or since!r} is no day: write it like 2027-01-31")
            return
        reason = sys.intern(_tidy(self.reason or reason or "on an imported list"))  # mostly the same ones
        source = sys.intern(_tidy(self.source or source or self.path.name))
        # As the program itself writes it down (delivery.py).
        dead = reason.startswith("bad mailbox") and source.startswith("mailing ")
        one = Suppression(value, reason, source, at, ends, dead)
        if not one.holds(self.now):
            self.made.over += 1
        else:
            self.made.found.setdefault(value, one)


def _by_name(rows: Iterator[tables.Record]) -> Iterator[tuple[int, dict[str, str]]]:
    names = [cell.strip().lower() for cell in next(rows)[1]]
    for line, cells in rows:
        yield line, {name: cell.strip() for name, cell in zip(names, cells, strict=False)}


def _values(text: str) -> tuple[list[str], str]:
    """Return the values that a cell holds; and what was repaired, or why there is none."""
    if text.startswith("@"):
        try:
            return [_value(text)], ""
        except address.AddressError as error:
            return [], str(error)
    mended = address.mend(text)
    said = [one for one in mended.said if not one.startswith("several addresses")]
    return [address.key(one) for one in mended.addresses], "; ".join(said) or mended.problem


def _moment(text: str) -> float:
    """Read what `iso` wrote, or a day, which counts to its end. Raises ValueError."""
    if _DAY.fullmatch(text):
        return _end_of_day(text)
    found = datetime.datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


def _tidy(text: str) -> str:
    return printable(" ".join(text.split()))[:300]


# Writing ----------------------------------------------------------------------------------------


def standing(ledger: Ledger, now: float) -> list[Suppression]:
    """Return the refusals that hold now."""
    return [one for one in ledger.list_suppressions() if one.holds(now)]


def of_mailing(ledger: Ledger, mailing: Mailing) -> list[Suppression]:
    """Return who got a letter of ours or may get it, as refusals for another group: all their addresses."""
    found: dict[str, Suppression] = {}
    for one in ledger.deliveries(mailing, HELD_STATES):
        at = one.finished_at or mailing.created_at
        for key in (one.address, *map(address.key, others(one.contact))):
            refusal = Suppression(key, "gets letters of an allied group", f"from {mailing.name}", at)
            found.setdefault(key, refusal)
    return list(found.values())


def as_csv(refusals: Iterable[Suppression]) -> tuple[str, list[str]]:
    """Return refusals as CSV with addresses and reasons, and what is left out."""
    rows, foreign = [], 0
    for one in refusals:
        if _HASHED.fullmatch(one.value):
            foreign += 1
            continue
        rows.append([_cell(one.value), _cell(one.reason), _cell(one.source), iso(one.at), iso(one.until)])
    left = [f"hashes of other groups, left out: {foreign} (whose they are is not known)"] if foreign else []
    return _csv(PLAIN, rows), left


def as_keyed_csv(refusals: Iterable[Suppression], passphrase: str) -> tuple[str, list[str]]:
    """Return refusals as CSV of hashes, in no order that tells anything, and what is left out.

    Raises SettingsError when there is no passphrase.
    """
    shared = _passphrase(
        passphrase,
        "hashes need a passphrase",
        "agree on one with the other groups and set it in .env; --open writes the addresses themselves",
    )
    rows, foreign, dead = [], 0, 0
    for one in refusals:
        if one.dead:  # nobody refused; and as a hash it would keep out people who have another address
            dead += 1
            continue
        known = _HASHED.fullmatch(one.value)
        if known and not one.value.startswith(f"hmac:{shared.check}:"):
            foreign += 1
            continue
        value = one.value if known else hashed(one.value, shared.check, shared.key)
        rows.append([value.rpartition(":")[2], iso(one.until), shared.check])
    left = [f"mailboxes that do not exist, left out: {dead} (nobody refused there)"] if dead else []
    left += [f"hashes made with another passphrase, left out: {foreign}"] if foreign else []
    return _csv(KEYED, sorted(rows, key=lambda row: str(row[0]))), left


def _csv(names: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue()


def _cell(text: str) -> str:
    """Keep a spreadsheet from running a reason as a formula; a @domain is left alone, it runs nothing."""
    harmless = not text.lstrip("'").startswith(_FORMULA) or (text[:1] == "@" and _is_domain(text[1:]))
    return text if harmless else f"'{text}"


def _armed(text: str) -> str:
    """Undo `_cell`."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text
