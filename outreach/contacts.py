"""Read contact lists: files become contacts and problems.

Takes files, answers with a ContactList; nothing is sent or stored here. Every row ends as exactly one of
kept, joined (somebody who shares an inbox with a kept row: one letter greets both) and rejected, with its
line, its column and a suggestion, so nobody can vanish. Several lists are merged: one letter per address and
person. Raises ContactsError when a file as a whole cannot be read, UsageError for a --map that fits no
column. Known limit: persons on two rows are recognised by their names as written, and only pointed out.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from outreach import address, columns, languages, tables
from outreach.errors import ContactsError, UsageError
from outreach.model import CONTACT_COLUMNS, LETTER_VARIABLES, NAME_PARTS, Contact, name_part
from outreach.sheets import TableError
from outreach.shelf import Shelf

# What is written in a list → what it stands for; None: nobody knows.
_READERS: dict[str, Callable[[str], str | None]] = {
    "country": languages.country_code,
    "language": languages.normalise_readers,
    "gender": columns.gender,
}
_PLAIN = tuple(name for name in CONTACT_COLUMNS if name != "email")
_PARTS = {name for names in NAME_PARTS.values() for name in names}
_COMPARED = ("name", "audience", "organisation", "country", "language", "gender", "title")
_OF_INBOX = (
    "audience",
    "organisation",
    "country",
    "language",
)  # the first who says it, of those who share one
_NOTHING = " \t\r\n,;|\xa0\x0b"  # a file of this only is empty
_NAME_WORD = re.compile(r"[^\W_]+")
_REVERSED = re.compile(r"[^\W\d]+, [^\W\d]+( [^\W\d]+)?")  # Lee, Ann
_MANY = 12  # people of one inbox that a further one is compared with, and that are named
_TWINS = 5  # rows of one name that a further one is compared with
_DISARMED = ("'=", "'+", "'-", "'@")
# Cells that are single words with single blanks between them: most are.
_SIMPLE = re.compile(r"(?:[!-&(-~](?:[!-~]| (?=[!-~]))*)?\Z")
_WEIRD = re.compile(r"  |^[ ']| $")
# UTF-8 that was taken for cp1252 or cp1251 once, and what could not be read at all.
_MOJIBAKE = re.compile(
    r"[ÃÂÐÑÎÏ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
    r"|[РС][\u0080-\u00bfЂ-Џѐ-џҐґ€‚„…†‡‰‹‘’“”•–—™›№]|\ufffd"
)
# What programs and people write where they have nothing. Null is a family name, NULL is not.
_EMPTY = re.compile(
    r"#N/A|#NV|#REF!|#VALUE!|#NAME\?|#NULL!|#DIV/0!|NULL|\(null\)|NaN|nan|[nN]/[aA]|n\.a\.|[-–—?]+"
)
_HONORIFIC = re.compile(
    r"(mrs?|ms|miss|frau|herrn?|mme|mlle|madame|monsieur|mademoiselle|sra?|señora?|signora?|dhr|mevr|mw"
    r"|г-жа|г-н|госпожа|господин)\.?\s+(?=\S)",
    re.IGNORECASE,
)
_YES = (
    "yes",
    "y",
    "1",
    "true",
    "x",
    "ja",
    "oui",
    "si",
    "sí",
    "sì",
    "sim",
    "да",
    "tak",
    "ano",
    "так",
    "wahr",
    "vrai",
    "on",
)


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong in one row, and what became of it: rejected, repaired or warning."""

    file: str
    line: int  # of a sheet: the row
    column: str  # as the list names it; nothing: the file as a whole
    value: str
    severity: str
    problem: str
    suggestion: str = ""
    cell: str = ""  # as spreadsheets call it: C5

    def __str__(self) -> str:
        value = f" {self.value!r}" if self.value else ""
        hint = f" → {self.suggestion}" if self.suggestion else ""
        what = f"{self.column}{value}: " if self.column or value else ""
        where = f"{self.file}:{self.line}" + (f" ({self.cell})" if self.cell else "")
        return f"{where}: {self.severity}: {what}{self.problem}{hint}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A rejected row as its file has it, for people who mend it there."""

    file: str
    line: int
    cell: str
    problem: str
    cells: tuple[str, ...]
    header: tuple[str, ...]


@dataclass(slots=True)
class ContactList:
    """One or several lists, read."""

    file: str
    format: str = "csv"
    encoding: str = "utf-8"
    delimiter: str = ","
    rows: int = 0
    joined: int = 0  # rows whose people are greeted in the letter of another row
    columns: tuple[str, ...] = ()
    contacts: Shelf[Contact] = field(init=False)
    problems: Shelf[RowProblem] = field(init=False)
    refused: Shelf[Refused] = field(init=False)
    _counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.contacts = Shelf(self._pack, self._unpack)
        self.problems = Shelf(
            lambda one: tuple(getattr(one, name) for name in RowProblem.__slots__),
            lambda row: RowProblem(*row),
        )
        self.refused = Shelf(
            lambda one: tuple(getattr(one, name) for name in Refused.__slots__), lambda row: Refused(*row)
        )

    def count(self, severity: str) -> int:
        """Return in how many rows there is a problem of this severity."""
        return self._counts[severity]

    @property
    def rejected(self) -> list[RowProblem]:
        """The problems that cost a row its letter."""
        return [problem for problem in self.problems if problem.severity == "rejected"]

    def drop(self, wrong: Callable[[Contact], str], column: str = "email") -> None:
        """Reject the contacts about which `wrong` says something; everybody else stays."""
        before, self.contacts = self.contacts, Shelf(self._pack, self._unpack)
        for one in before:
            problem = wrong(one)
            if not problem:
                self.contacts.append(one)
                continue
            for person in one.people or (one,):
                self.problems.append(
                    RowProblem(person.file, person.line, column, one.email, "rejected", problem)
                )
            rows = len(one.people) or 1
            self._counts["rejected"] += rows
            self.joined -= rows - 1

    @property
    def remarks(self) -> list[RowProblem]:
        """What is to be known about a file as a whole: how it was read."""
        return [problem for problem in self.problems if not problem.column and problem.severity == "warning"]

    @property
    def extra(self) -> list[str]:
        """The list's own columns, in their order."""
        return [name for name in self.columns if name not in CONTACT_COLUMNS]

    def _pack(self, one: Contact) -> tuple[Any, ...]:
        return (
            one.email,
            one.alternates,
            one.line,
            one.file,
            *(getattr(one, name) for name in _PLAIN),
            tuple(one.fields),
            tuple(one.fields.values()),
            tuple(self._pack(person) for person in one.people),
        )

    def _unpack(self, row: tuple[Any, ...]) -> Contact:
        email, alternates, line, file, *plain, names, values, people = row
        given = dict(zip(names, values, strict=True))
        extra = self.extra  # of all lists: what another one has is empty here
        fields = {name: given.get(name, "") for name in extra} if len(extra) != len(given) else given
        persons = tuple(map(self._unpack, people))
        return Contact(email, *plain, **{"fields": fields, "alternates": alternates, "line": line,
                                         "file": file, "people": persons})  # fmt: skip


def read(
    paths: Sequence[Path],
    encoding: str | None = None,
    maps: Mapping[str, str] | None = None,
    sets: Mapping[str, str] | None = None,
) -> ContactList:
    """Read one or several lists into one; an address gets one letter, where it stands first.

    `maps` says which column is a field (by header or number), `sets` what a field is where a row leaves it
    empty. Raises ContactsError when a file is missing or no list, UsageError when these two do not fit.
    """
    merged = ContactList(file=", ".join(str(path) for path in paths))
    merge = _Merge(merged)
    sets = dict(sets or {})
    for name, value in sets.items():
        if name in _READERS and not _READERS[name](value):
            raise UsageError(f"--set {name}={value}: there is no such {name}", "write it like DE, de, f")
    for path in paths:
        _read_file(path, encoding, dict(maps or {}), sets, merge)
    merge.finish()
    return merged


def _read_file(
    path: Path, encoding: str | None, maps: Mapping[str, str], sets: Mapping[str, str], merge: _Merge
) -> None:
    name = str(path)
    try:
        found = False
        unread = []
        unfit: UsageError | None = None
        for table in tables.read(path, encoding, columns.score):
            try:
                if _read_table(table, maps, sets, merge):
                    found = True
                    continue
            except UsageError as error:  # another sheet may have that column
                unfit = error
            unread.append(table.name)
        if not found:
            raise unfit or _no_addresses(name, unread)
        for one in unread:
            merge.remark(one, 1, "this sheet has no column of addresses and is not read")
    except FileNotFoundError:
        raise ContactsError(
            f"there is no contact list {name}",
            "name it with --contacts FILE, or make one with `outreach init`",
        ) from None
    except OSError as error:
        raise ContactsError(f"{name} cannot be read: {error.strerror}") from None
    except TableError as error:
        where = f"{name}:{error.line}:" if error.line else name
        raise ContactsError(f"{where} {error}", error.hint.replace("FILE", name)) from None


def _no_addresses(name: str, sheets: Sequence[str]) -> ContactsError:
    if not sheets:
        return ContactsError(f"{name} is empty: it has no visible sheet with anything in it", "")
    where = f" (sheets: {', '.join(sheets)})" if len(sheets) > 1 else ""
    return ContactsError(
        f"{name}: no column holds e-mail addresses{where}",
        f"head it `email`, or name it: outreach contacts check {name} --map email=COLUMN",
    )


def _read_table(table: tables.Table, maps: Mapping[str, str], sets: Mapping[str, str], merge: _Merge) -> bool:
    """Read one table of a file; tell whether it has a column of addresses."""
    first: list[tables.Record] = []
    for record in table.records:
        if any(cell.strip() for cell in record[1]):
            first.append(record)
        if len(first) >= columns.HEADER_ROWS + 40:
            break
    if all(not cell.strip(_NOTHING) for _, cells in first for cell in cells):
        if table.format in ("csv", "json"):
            raise ContactsError(
                f"{table.name} is empty",
                f"its first line must name the columns: {','.join(CONTACT_COLUMNS)}",
            )
        return False
    header = columns.find([cells for _, cells in first], maps)
    if header is None or "email" not in header.names:
        if table.format in ("csv", "json"):
            shown = ", ".join(cell.strip() for cell in first[0][1] if cell.strip())[:200]
            raise ContactsError(
                f"{table.name}:{first[0][0]}: no column is named email, and none holds addresses; "
                f"found: {shown}",
                f"name it: outreach contacts check {table.name} --map email=COLUMN",
            )
        return False
    people = merge.people
    people.format, people.encoding, people.delimiter = table.format, table.encoding, table.delimiter
    rows = _Rows(table, header, sets, merge)
    at = header.row
    for line, found, hint in table.notes:
        merge.remark(table.name, line, found, hint)
    for line, cells in first[:at] if at > 0 else ():
        words = " ".join(filter(None, map(str.strip, cells)))
        merge.remark(table.name, line, "stands above the header and is not read", value=words)
    rows.say_header(first[at][0] if at >= 0 else first[0][0])
    for line, cells in first[at + 1 :]:
        rows.read(line, cells)
    for line, cells in table.records:
        rows.read(line, cells)
    return True


class _Rows:
    """The rows of one table on their way to contacts."""

    def __init__(
        self, table: tables.Table, header: columns.Header, sets: Mapping[str, str], merge: _Merge
    ) -> None:
        self.table, self.header, self.merge = table, header, merge
        self.people = merge.people
        self.line, self.cells, self.found = 0, [""], set[str]()
        self.width = len(header.names)
        self.spread = table.format in ("xlsx", "ods", "xls")
        self.sets = sets
        self.email = header.email
        self.usual = [name for name in header.names if name in _PLAIN or name in _PARTS]
        self.own = [
            (n, name) for n, name in enumerate(header.names) if not name.startswith("\0") and n != self.email
        ]
        names = [name for name in header.names if not name.startswith("\0")]
        names += [name for name in self.sets if name not in names]
        people = merge.people
        people.columns = tuple(dict.fromkeys((*people.columns, *names)))
        self.extra = tuple(name for name in names if name not in CONTACT_COLUMNS)

    def say_header(self, line: int) -> None:
        """Say what is to be known about the columns."""
        self.line = line
        for column, found, hint in self.header.notes:
            self.say("warning", column, "", found, hint)
        names = self.header.names
        for name in names:
            if name in LETTER_VARIABLES[len(CONTACT_COLUMNS) :] and name != "salutation":
                self.say("warning", name, "", "the program sets this itself; column unused")
        for name, near in columns.misspelt([one for one in names if not one.startswith("\0")]):
            problem = f"a column of this list's own; is {near} meant?"
            self.say("warning", name, "", problem, f"write {near} in the header")

    def say(
        self,
        severity: str,
        column: str,
        value: str,
        problem: str,
        suggestion: str = "",
        index: int | None = None,
    ) -> None:
        """Report something about the row at hand."""
        if index is None and column in self.header.names:
            index = self.header.names.index(column)
        cell = _letters(index) + str(self.line) if self.spread and index is not None else ""
        value = value[:200]
        self.merge.say(
            RowProblem(self.table.name, self.line, column, value, severity, problem, suggestion, cell),
            self.found,
        )

    def reject(
        self, index: int | None, value: str, problem: str, suggestion: str = "", column: str = ""
    ) -> None:
        """Report that this row gets no letter of its own, and keep it as it is."""
        column = column or (self.header.names[index] if index is not None else "")
        self.say("rejected", column, value, problem, suggestion, index)
        cell = _letters(index if index is not None else self.email) + str(self.line)
        self.people.refused.append(
            Refused(self.table.name, self.line, cell, problem, tuple(self.cells), tuple(self.header.shown))
        )

    def read(self, line: int, cells: list[str]) -> None:
        """Read one row: keep it, join it to another, or reject it."""
        self.line, self.cells, self.found = line, cells, set()
        width = len(cells)
        if width > self.width and any(cell.strip() for cell in cells[self.width :]):
            self.people.rows += 1
            extra = next(cell for cell in cells[self.width :] if cell.strip())
            self.reject(
                None,
                extra,
                f"the row has {width} cells, the header {self.width}",
                f'put a value that holds "{self.table.delimiter}" in double quotes',
                f"column {self.width + 1}",
            )
            return
        if self.again(cells):
            self.say("warning", "email", cells[self.email], "the header once more; skipped")
            return
        self.people.rows += 1
        if width < self.width:
            cells = cells + [""] * (self.width - width)
            if not self.spread and self.table.format != "json":
                missing = self.header.names[width].removeprefix("\0")
                self.say("warning", missing, "", "the row ends early; the missing cells are empty", "", width)
        contact = self.contact(cells)
        if contact is not None:
            self.merge.add(contact, self)

    def again(self, cells: list[str]) -> bool:
        """Tell whether a row is the header once more, as printed lists have it on each page."""
        shown = self.header.shown
        return (
            self.header.row >= 0
            and self.email < len(cells)
            and cells[self.email].strip() == shown[self.email]
            and [cell.strip() for cell in cells] == shown
        )

    def contact(self, cells: list[str]) -> Contact | None:
        """Return the contact of a row; None when it has no usable address."""
        cell = _armed(cells[self.email])
        mended = address.mend(cell) if not address.is_plain(cell) else None
        mails: tuple[str, ...] = mended.addresses if mended else (cell,)
        simple = _SIMPLE.match
        values = {name: cells[n] if simple(cells[n]) else self.clean(name, cells[n]) for n, name in self.own}
        for name in self.usual:  # in a column of the list's own, "-" may mean something
            if _EMPTY.fullmatch(values[name]):
                values[name] = ""
        for name, value in self.sets.items():
            if not values.get(name):
                values[name] = value
        if mended:
            if mended.said:
                self.say("repaired", "email", cell, "; ".join(mended.said))
            if (
                mended.name
                and not values.get("name")
                and not any(name_part(values, part) for part in NAME_PARTS)
            ):
                values["name"] = self.clean("name", mended.name)
        further = [mail for n in self.header.alternates for mail in self.alternates(n, cells[n])]
        for n in self.header.opt_out:
            if cells[n].strip().casefold() in _YES:
                self.reject(n, cells[n], "the list says that this person wants no mail")
                return None
        if not mails and further:
            self.say(
                "repaired", "email", cell, f"no usable address here; used {further[0]} of another column"
            )
            mails = (further.pop(0),)
        if not mails:
            problem = mended.problem if mended else "there is no address"
            self.reject(self.email, cell, problem, mended.suggestion if mended else "")
            return None
        others = {}
        if further or len(mails) > 1:
            others = {address.key(mail): mail for mail in (*mails[1:], *further)}
            others.pop(address.key(mails[0]), None)
        country, language = values.get("country", ""), values.get("language", "")
        if country:
            country = self.known("country", country)
        if language:
            language = self.known("language", language)
        gender = values.get("gender", "")
        if gender:
            gender = self.known("gender", gender)
        for column in ("title", "salutation"):  # "Mrs" says who is greeted, not how
            word = values.get(column, "")
            if word and len(word) < 20 and (said := columns.gender(word)) in ("f", "m") and word != "Fr.":
                values[column] = ""
                gender = gender or str(said)
        values["name"] = name = self.named(values.get("name", ""))
        if found := _HONORIFIC.match(name):
            name = name[found.end() :]
            if not gender:
                gender = columns.gender(found[1]) or ""
                self.say("repaired", "name", values["name"], f"read as {name}, who is {gender}")
        title = values.get("title", "")
        if title and name.startswith(f"{title} "):
            name = name.removeprefix(title).strip()
        if _REVERSED.fullmatch(name):
            words = "has a comma: greetings say it as it stands"
            self.say("warning", "name", name, words, "family name last, without a comma")
        fields = {one: values.get(one, "") for one in self.extra}
        if not name and fields:
            name = " ".join(
                part for part in (name_part(fields, "given"), name_part(fields, "family")) if part
            )
        return Contact(
            mails[0],
            name,
            "-".join(values.get("audience", "").lower().split()),
            values.get("organisation", ""),
            country,
            language,
            gender,
            values.get("title", ""),
            fields=fields,
            alternates=tuple(others.values()),
            line=self.line,
            file=self.table.name,
        )

    def named(self, name: str) -> str:
        """Return a name, unless it is an address: address books put that where they have no name."""
        if "@" in name and " " not in name and address.mend(name).addresses:
            self.say("repaired", "name", name, "is an address; treated as empty")
            return ""
        return name

    def clean(self, column: str, cell: str) -> str:
        """Return a cell as text: NFC, no controls, and single blanks in what stands on one line."""
        usual = cell.isprintable() and not _WEIRD.search(cell) and unicodedata.is_normalized("NFC", cell)
        if usual and not _MOJIBAKE.search(cell):
            return cell
        text = unicodedata.normalize("NFC", _armed(cell)).replace("\r\n", "\n").replace("\r", "\n")
        if column in CONTACT_COLUMNS or column in _PARTS:
            text = " ".join(text.split())
        kept = "".join(
            char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs")
        )
        kept = languages.without_controls(kept).strip()
        if len(kept) != len(text.strip()):
            self.say("repaired", column, "", "control characters were taken out")
        if "\ufffd" in kept:
            self.say("warning", column, kept, "holds a sign that stands for what was lost", "look it up")
        elif _MOJIBAKE.search(kept) and (meant := _undone(text.strip())):
            self.say("warning", column, kept, "looks as if it was read in the wrong encoding", f"{meant}?")
        return kept

    def known(self, column: str, text: str) -> str:
        """Return what a word of the list stands for; a warning and nothing when nobody knows it."""
        read = _READERS[column]
        value = read(text)
        if value is None:
            self.say("warning", column, text, f"unknown {column}; treated as empty")
            value = ""
        return value or (read(self.sets[column]) or "" if column in self.sets else "")

    def alternates(self, index: int, cell: str) -> Sequence[str]:
        """Return the addresses of a further column; what is unusable there is said."""
        if not cell.strip():
            return ()
        mended = address.mend(_armed(cell))
        column = self.header.shown[index]
        if not mended.addresses:
            self.say("warning", column, cell, f"no usable further address: {mended.problem}", "", index)
        elif said := [one for one in mended.said if not one.startswith("several addresses")]:
            self.say("repaired", column, cell, "; ".join(said), "", index)
        return mended.addresses


def _armed(cell: str) -> str:
    """Return a cell without the mark that clean.py puts before what spreadsheets would run."""
    return cell[1:] if cell[:2] in _DISARMED else cell


def _letters(index: int) -> str:
    """Return how spreadsheets call a column: A, B, … Z, AA."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(65 + rest) + name
    return name


def _undone(text: str) -> str:
    """Return what a text was before UTF-8 was taken for another encoding; nothing when it was not."""
    for charset in ("cp1252", "latin-1", "cp1251"):
        with contextlib.suppress(UnicodeError):
            return text.encode(charset).decode("utf-8")
    return ""


# Merging -------------------------------------------------------------------------------------------


class _Merge:
    """All lists together: an inbox gets one letter, and so does a person who gave two addresses."""

    def __init__(self, people: ContactList) -> None:
        self.people = people
        # By hash: of a main address, the contact; of a further one, its owner. What looks alike is compared.
        self.main: dict[int, int] = {}
        self.further: dict[int, int] = {}
        self.names = array("q")
        self.inboxes: dict[int, dict[str, Contact]] = {}  # that several share: by contact, then by name

    def say(self, problem: RowProblem, found: set[str]) -> None:
        """Report a problem; `found` are the severities this row has had."""
        if problem.severity not in found:
            found.add(problem.severity)
            self.people._counts[problem.severity] += 1
        self.people.problems.append(problem)

    def remark(self, file: str, line: int, problem: str, hint: str = "", value: str = "") -> None:
        """Report something about a file as a whole."""
        self.say(RowProblem(file, line, "", value[:200], "warning", problem, hint), set())

    def add(self, contact: Contact, row: _Rows) -> None:
        """Take a contact in: on its own, into the letter of its inbox, or not at all."""
        key = hash(address.key(contact.email))
        at = self.main.get(key)
        if at is not None:
            first = self.people.contacts[at]
            if address.key(first.email) == address.key(contact.email):
                self.same_inbox(at, first, contact, row)
                return
        claimed = [*self.owners(contact.email)]
        for owner, other in (*claimed, *(one for mail in contact.alternates for one in self.owners(mail))):
            if _same_person(other, contact):
                self.same_person(owner, other, contact, row)
                return
        for owner, other in claimed:
            kept = tuple(one for one in other.alternates if address.key(one) != address.key(contact.email))
            self.put(owner, replace(other, alternates=kept))
            words = f"stands as a further address at {_where(other, contact)} too; only this row has it now"
            row.say("warning", "email", contact.email, words)
        at = len(self.people.contacts)
        self.main[key] = at
        contact = self.claim(at, contact, row)
        self.people.contacts.append(contact)
        self.remember(contact)

    def claim(self, at: int, contact: Contact, row: _Rows) -> Contact:
        """Return a contact without the further addresses that belong to others; the rest are theirs now."""
        for mail in contact.alternates:
            for _, other in self.owners(mail):
                contact = replace(contact, alternates=tuple(one for one in contact.alternates if one != mail))
                row.say("warning", "email", mail, f"belongs to {_where(other, contact)}; left out here")
        for mail in contact.alternates:
            self.further[hash(address.key(mail))] = at
        return contact

    def put(self, at: int, person: Contact) -> None:
        """Put a changed person in their place: a contact, or one of those who share its inbox."""
        inbox, name = self.inboxes.get(at, {}), _name_key(person.name)
        if inbox:
            inbox[name] = person
        if not inbox or name == next(iter(inbox)):
            self.people.contacts.replace(at, person)

    def remember(self, person: Contact) -> None:
        """Remember a name, to find it on other rows."""
        if " " in (name := _name_key(person.name)):  # of a single word, many are namesakes
            self.names.append(hash(name))

    def owners(self, mail: str) -> Iterator[tuple[int, Contact]]:
        """Yield who has an address, main or further, with the place of the contact; mostly nobody."""
        key = address.key(mail)
        for index in {self.main.get(hash(key)), self.further.get(hash(key))} - {None}:
            at = index or 0
            for person in (*self.inboxes.get(at, {}).values(),) or (self.people.contacts[at],):
                if key in map(address.key, (person.email, *person.alternates)):
                    yield at, person
                    break

    def same_inbox(self, at: int, first: Contact, contact: Contact, row: _Rows) -> None:
        """Two rows with one address: the same person once more, or somebody who shares the inbox."""
        inbox = self.inboxes.get(at) or {_name_key(first.name): first}
        name = _name_key(contact.name)
        few = [*itertools.islice(inbox.values(), _MANY)]
        again = inbox.get(name) or next((one for one in few if _same_person(one, contact)), None)
        if again or not (first.name and contact.name):
            self.same_person(at, again or first, contact, row)
            return
        self.conflicts(first, contact, row, besides=("name", "gender", "title", "salutation"))
        for common in _OF_INBOX:  # what the first row leaves open, another one has said
            said = next((one for one in few if getattr(one, common)), first)
            if said is not first:
                self.conflict(common, getattr(said, common), getattr(contact, common), said, contact, row)
        contact = self.claim(at, contact, row)
        inbox[name] = contact
        self.inboxes[at] = inbox
        self.people.joined += 1
        self.remember(contact)
        names = ", ".join(one.name for one in itertools.islice(inbox.values(), _MANY))
        words = f"shares this inbox with {_where(first, contact)}; one letter greets {names}"
        row.say("warning", "email", contact.email, f"{words}{', …' if len(inbox) > _MANY else ''}")

    def finish(self) -> None:
        """Put the people of each shared inbox into one contact, and point out who stands on two rows."""
        for at, inbox in self.inboxes.items():
            self.people.contacts.replace(at, _together(tuple(inbox.values()), self.people.contacts[at]))
        self.point_out_twins()

    def same_person(self, at: int, first: Contact, contact: Contact, row: _Rows) -> None:
        """The same person on two rows: one letter, with what only the later row knows."""
        self.conflicts(first, contact, row)
        self.put(at, self.filled(first, contact, row))
        where = _where(first, contact)
        same = address.key(first.email) == address.key(contact.email)
        words = f"same address as {where}" if same else f"the person of {where}, under another address"
        row.reject(row.email, contact.email, f"{words}; kept once")

    def filled(self, first: Contact, contact: Contact, row: _Rows) -> Contact:
        """Return the first contact with what it leaves empty and the other one has."""
        changes: dict[str, Any] = {
            name: getattr(contact, name)
            for name in _COMPARED
            if getattr(contact, name) and not getattr(first, name)
        }
        own = {name: value for name, value in contact.fields.items() if value and not first.fields.get(name)}
        for name, value in (*changes.items(), *own.items()):
            row.say("warning", name, value, f"is taken from here for {_where(first, contact)}")
        known = {address.key(first.email), *map(address.key, first.alternates)}
        further = [mail for mail in (contact.email, *contact.alternates) if address.key(mail) not in known]
        further = [mail for mail in further if not any(self.owners(mail))]
        for mail in further:
            self.further.setdefault(hash(address.key(mail)), self.main.get(hash(address.key(first.email)), 0))
        if own:
            changes["fields"] = {**first.fields, **own}
        if further:
            changes["alternates"] = (*first.alternates, *further)
        return replace(first, **changes) if changes else first

    def conflicts(self, first: Contact, contact: Contact, row: _Rows, besides: Sequence[str] = ()) -> None:
        """Say where two rows contradict each other, with both sources."""
        for name in (*_COMPARED, *contact.fields):
            if name in besides or any(name in parts for parts in NAME_PARTS.values()):
                continue
            ours = getattr(first, name) if name in _COMPARED else first.fields.get(name, "")
            theirs = getattr(contact, name) if name in _COMPARED else contact.fields[name]
            if name == "name" and _fits(_tokens(ours), _tokens(theirs)):
                continue
            self.conflict(name, ours, theirs, first, contact, row)

    def conflict(
        self, name: str, ours: str, theirs: str, first: Contact, contact: Contact, row: _Rows
    ) -> None:
        """Say where two rows contradict each other in one field."""
        if ours and theirs and columns.fold(ours) != columns.fold(theirs):
            row.say("warning", name, theirs, f"{_where(first, contact)} says {ours!r}; that is used")

    def point_out_twins(self) -> None:
        """Say who stands on two rows with two addresses: they would get two letters."""
        ordered = sorted(self.names)
        twice = {one for one, after in itertools.pairwise(ordered) if one == after}
        if not twice:
            return
        seen: dict[str, list[tuple[str, str, str, int]]] = {}
        for contact in self.people.contacts:
            for person in contact.people or (contact,):
                name = _name_key(person.name)
                if " " in name and hash(name) in twice:
                    self.point_out(person, seen.setdefault(name, []))

    def point_out(self, person: Contact, others: list[tuple[str, str, str, int]]) -> None:
        """Say that somebody of that name stands on another row, unless in another country."""
        for email, country, file, line in others:
            if person.country and country and person.country != country:
                continue
            where = f"line {line}" if file == person.file else f"{file}:{line}"
            problem = f"may be the person of {where} ({email}); both get a letter"
            hint = "if it is one person, put both addresses on one row"
            words = (person.file, person.line, "name", person.name, "warning", problem, hint)
            self.say(RowProblem(*words), set())
            break
        if len(others) < _TWINS:
            others.append((person.email, person.country, person.file, person.line))


def _where(first: Contact, contact: Contact) -> str:
    return f"line {first.line}" if first.file == contact.file else f"{first.file}:{first.line}"


def _tokens(name: str) -> tuple[str, ...]:
    bare = "".join(
        one for one in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(one)
    )
    return tuple(_NAME_WORD.findall(bare))


def _name_key(name: str) -> str:
    """Return what two spellings of a name have in common."""
    return " ".join(sorted(_NAME_WORD.findall(name.casefold())))


def _same_person(one: Contact, other: Contact) -> bool:
    """Tell whether two rows can only mean one person, or one organisation where nobody is named."""
    if not one.name and not other.name:
        return True if one.email == other.email else bool(one.organisation) and columns.fold(
            one.organisation
        ) == columns.fold(other.organisation)  # fmt: skip
    ours, theirs = _tokens(one.name), _tokens(other.name)
    if not ours or not theirs:
        return one.name == other.name
    return _fits(ours, theirs) or _slip(set(ours) - set(theirs), set(theirs) - set(ours))


def _fits(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Tell whether every word of the shorter name is in the longer one; an initial stands for a name."""
    first, second = sorted((one, other), key=len)
    left = list(second)
    for word in first:
        same = (w for w in left if w == word)
        initials = (w for w in left if 1 in (len(word), len(w)) and w[0] == word[0])
        match = next(same, None) or next(initials, None)
        if match is None:
            return False
        left.remove(match)
    return True


def _slip(ours: set[str], theirs: set[str]) -> bool:
    """Tell whether two names differ by a slip in one word; Jan and Jana, Kowalski and Kowalska do not."""
    if len(ours) != 1 or len(theirs) != 1:
        return False
    one, other = *ours, *theirs
    return one[-1] == other[-1] and difflib.SequenceMatcher(None, one, other).ratio() > 0.8


def _together(persons: tuple[Contact, ...], first: Contact) -> Contact:
    """Return the contact of an inbox that several people share."""
    fields = dict(first.fields)
    for parts in NAME_PARTS.values():
        for name in parts:
            if name in fields:
                fields[name] = ", ".join(one.fields[name] for one in persons if one.fields.get(name))
    if "salutation" in fields:
        fields["salutation"] = ""
    names = ", ".join(person.name for person in persons)
    of_all: dict[str, Any] = {
        name: next((value for one in persons if (value := getattr(one, name))), "") for name in _OF_INBOX
    }
    return replace(first, name=names, gender="group", title="", fields=fields, people=persons, **of_all)


# For scripts ---------------------------------------------------------------------------------------


def as_json(people: ContactList) -> Iterator[tuple[str, object]]:
    """Yield the members of the document of `contacts check --json`; lists come as iterators."""
    yield "file", people.file
    yield "format", people.format
    yield "encoding", people.encoding
    yield "delimiter", people.delimiter
    yield "rows", people.rows
    yield "kept", len(people.contacts)
    yield "joined", people.joined
    yield "repaired", people.count("repaired")
    yield "rejected", people.count("rejected")
    yield "contacts", map(_contact_document, people.contacts)
    yield "problems", map(_problem_document, people.problems)


def _contact_document(one: Contact) -> dict[str, object]:
    document: dict[str, object] = {"line": one.line, "email": one.email, "alternates": list(one.alternates)}
    document |= {name: getattr(one, name) for name in _PLAIN}
    document["fields"] = dict(one.fields)
    if one.people:
        document["people"] = [
            {"line": person.line, "name": person.name, "gender": person.gender, "title": person.title}
            for person in one.people
        ]
    return document


def _problem_document(one: RowProblem) -> dict[str, object]:
    names = ("line", "column", "value", "severity", "problem", "suggestion", "cell")
    return {"file": one.file} | {name: getattr(one, name) for name in names}
