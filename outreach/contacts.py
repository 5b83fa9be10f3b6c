"""Read contact lists: files become contacts and problems.

Takes files, answers with a ContactList; nothing is sent or stored here. Every row ends as exactly one of
kept, joined (somebody who shares an inbox with a kept row: one letter greets both) and rejected, with its
line, its column and a suggestion, so nobody can vanish. Who is who on all the lists, merging.py knows.
Raises ContactsError when a file as a whole cannot be read, UsageError for a --map that fits no column.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from outreach import address, columns, languages, places, tables
from outreach.errors import ContactsError, UsageError
from outreach.lists import PLAIN, ContactList, Refused, RowProblem
from outreach.merging import Merge
from outreach.model import CONTACT_COLUMNS, LETTER_VARIABLES, NAME_PARTS, Contact, name_part
from outreach.sheets import TableError

# What is written in a list → what it stands for; None: nobody knows.
_READERS: dict[str, Callable[[str], str | None]] = {
    "country": languages.country_code,
    "language": languages.normalise_readers,
    "gender": columns.gender,
}
_PARTS = {name for names in NAME_PARTS.values() for name in names}
_HIDDEN = "is hidden"
_NOTHING = " \t\r\n,;|\xa0\x0b"  # a file of this only is empty
_REVERSED = re.compile(r"[^\W\d]+, [^\W\d]+( [^\W\d]+)?")  # Lee, Ann
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


def read(
    paths: Sequence[Path],
    encoding: str | None = None,
    maps: Mapping[str, str] | None = None,
    sets: Mapping[str, str] | None = None,
    keep_refused: bool = False,
) -> ContactList:
    """Read one or several lists into one; an address gets one letter, where it stands first.

    `maps` says which column is a field (by header or number), `sets` what a field is where a row leaves it
    empty. With `keep_refused`, rejected rows are kept as they are. Raises ContactsError when a file is
    missing or no list, UsageError when `maps` or `sets` do not fit.
    """
    merged = ContactList(file=", ".join(str(path) for path in paths), keep_refused=keep_refused)
    merge = Merge(merged)
    sets = dict(sets or {})
    for name, value in sets.items():
        if name in _READERS and not _READERS[name](value):
            raise UsageError(f"--set {name}={value}: there is no such {name}", "write it like DE, de, f")
    for path in paths:
        _read_file(path, encoding, dict(maps or {}), sets, merge)
    merge.finish()
    return merged


def _read_file(
    path: Path, encoding: str | None, maps: Mapping[str, str], sets: Mapping[str, str], merge: Merge
) -> None:
    name = str(path)
    try:
        found = False
        unread: dict[str, str] = {}  # sheet → why
        unfit: UsageError | None = None
        for table in tables.read(path, encoding, columns.score):
            if table.hidden:
                unread[table.name] = _HIDDEN
                continue
            try:
                if _read_table(table, maps, sets, merge):
                    found = True
                    continue
            except UsageError as error:  # another sheet may have that column
                unfit = error
            unread[table.name] = "has no column of addresses"
        if not found:
            raise unfit or _no_addresses(name, unread)
        for one, why in unread.items():
            merge.people.remark(one, 1, f"this sheet {why} and is not read")
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


def _no_addresses(name: str, sheets: Mapping[str, str]) -> ContactsError:
    if not set(sheets.values()) - {_HIDDEN}:
        return ContactsError(f"{name} is empty: it has no visible sheet with anything in it", "")
    shown = (f"{sheet}, which {why}" if why == _HIDDEN else sheet for sheet, why in sheets.items())
    where = f" (sheets: {', '.join(shown)})" if len(sheets) > 1 else ""
    return ContactsError(
        f"{name}: no column holds e-mail addresses{where}",
        f"head it `email`, or name it: outreach contacts check {name} --map email=COLUMN",
    )


def _read_table(table: tables.Table, maps: Mapping[str, str], sets: Mapping[str, str], merge: Merge) -> bool:
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
        merge.people.remark(table.name, line, found, hint)
    for line, cells in first[:at] if at > 0 else ():
        words = " ".join(filter(None, map(str.strip, cells)))
        merge.people.remark(table.name, line, "stands above the header and is not read", value=words)
    rows.say_header(first[at][0] if at >= 0 else first[0][0])
    for line, cells in first[at + 1 :]:
        rows.read(line, cells)
    for line, cells in table.records:
        rows.read(line, cells)
    return True


class _Rows:
    """The rows of one table on their way to contacts."""

    def __init__(
        self, table: tables.Table, header: columns.Header, sets: Mapping[str, str], merge: Merge
    ) -> None:
        self.table, self.header, self.merge = table, header, merge
        self.people = merge.people
        self.line, self.cells, self.found = 0, [""], set[str]()
        self.width = len(header.names)
        self.spread = table.format in ("xlsx", "ods", "xls")
        self.sets = sets
        self.email = header.email
        self.usual = [name for name in header.names if name in PLAIN or name in _PARTS]
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
        self.people.report(
            RowProblem(self.table.name, self.line, column[:100], value, severity, problem, suggestion, cell),
            self.found,
        )

    def reject(
        self, index: int | None, value: str, problem: str, suggestion: str = "", column: str = ""
    ) -> None:
        """Report that this row gets no letter of its own, and keep it as it is."""
        column = column or (self.header.names[index] if index is not None else "")
        self.say("rejected", column, value, problem, suggestion, index)
        if not self.people.keep_refused:
            return
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
        zone = values.get("timezone", "")
        if zone and places.zone_name(zone) is None:
            near = places.near(zone)
            hint = f"is {near} meant?" if near else "write a name like Asia/Tehran, or +03:30"
            self.say("warning", "timezone", zone, "is no time zone; the country's is taken", hint)
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
