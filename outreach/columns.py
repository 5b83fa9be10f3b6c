"""Which column holds what: from the header of a list to the names of our fields.

People head their columns in their own language (`Courriel`, `Адрес эл. почты`, `Partei`); columns.toml has
the words, compared after folding. A column nobody knows stays a field of the list, under its own header. Also
here: which of the first rows is the header, and what the cells say about gender (genders.toml).
Raises UsageError for a --map that names no column. Known limit: only the first ten rows can be a header.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from outreach.errors import UsageError
from outreach.model import CONTACT_COLUMNS, LETTER_VARIABLES, NAME_PARTS

HEADER_ROWS = 10  # among these the header is looked for
_SPECIAL = ("alternates", "salutation", "timezone", *(names[0] for names in NAME_PARTS.values()))
_KNOWN = (*CONTACT_COLUMNS, *_SPECIAL)
_PART_NAMES = {name for names in NAME_PARTS.values() for name in names}
_ADDRESS = re.compile(r"[^\s@]@[^\s@]+\.\w")
_FOLDER = Path(__file__).parent


def fold(text: str) -> str:
    """Return what two spellings of a header or a word have in common."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def name_of(header: str) -> str:
    """Return a header as the name that letters use: lower case, `_` for spaces and signs."""
    return re.sub(r"\W+", "_", unicodedata.normalize("NFC", header).strip().lower()).strip("_")


@cache
def _fields() -> dict[str, str]:
    """Return our field for every folded header that is known."""
    return _folded("columns.toml")


@cache
def _genders() -> dict[str, str]:
    return _folded("genders.toml")


def _folded(file: str) -> dict[str, str]:
    tables = tomllib.loads((_FOLDER / file).read_text("utf-8"))
    return {
        fold(word): name
        for name, languages in tables.items()
        for words in languages.values()
        for word in words
    }


@lru_cache(4096)
def gender(text: str) -> str | None:
    """Return f, m, organisation, group or nothing for a word of a list; None when it is not known."""
    if text in ("f", "m"):  # before the table is loaded
        return text
    folded = fold(text)
    if not folded:
        return ""  # "-", "?"
    found = _genders().get(folded)
    return "" if found == "unknown" else found


def field_of(header: str) -> str:
    """Return our field for a header; nothing when it is a column of the list's own."""
    name = name_of(header)
    if name in _KNOWN:
        return name
    if name in _PART_NAMES:
        return next(part[0] for part in NAME_PARTS.values() if name in part)
    return _fields().get(fold(header), "")


@dataclass(slots=True)
class Header:
    """The columns of one table."""

    row: int  # index among the records; -1: there is none
    names: list[str]  # of each column, as letters use it
    shown: list[str]  # as the file writes them
    alternates: list[int] = field(default_factory=list)  # further columns with addresses
    opt_out: list[int] = field(default_factory=list)  # columns that say who wants no mail
    seconds: dict[str, int] = field(default_factory=dict)  # field → a further column that claims to be it
    notes: list[tuple[str, str, str]] = field(default_factory=list)  # (column, what was found, what to do)

    @property
    def email(self) -> int:
        """The index of the column with the address."""
        return self.names.index("email")

    def spot(self, name: str) -> int:
        """Return the index of a column by its name; the first one when it has none of that name."""
        return self.names.index(name) if name in self.names else 0


def score(cells: Sequence[str]) -> tuple[bool, int]:
    """Return whether a row heads a column of addresses, and how many of its cells are known headers."""
    fields = {field_of(cell) for cell in cells if 0 < len(cell) < 80 and "@" not in cell} - {""}
    return "email" in fields, len(fields)


def find(records: Sequence[Sequence[str]], maps: Mapping[str, str]) -> Header | None:
    """Find the header in the first rows of a table, or do without one. None: no column has addresses.

    `maps` are the user's own words: our field → header, or number, of the column. Raises UsageError.
    """
    header = _find(records, maps)
    if header is not None and "name" not in maps:
        _look_at_names(header, records[header.row + 1 :])
    return header


def _find(records: Sequence[Sequence[str]], maps: Mapping[str, str]) -> Header | None:
    first = records[:HEADER_ROWS]
    ranked = [(*_score(cells, maps), -n) for n, cells in enumerate(first) if not _has_address(cells)]
    has_email, known, at = max(ranked, default=(False, 0, 0))
    if has_email or (known and not maps):
        header = _read(first[-at], -at, maps)
        if "email" in header.names or _take_addresses(header, records[1 - at :]):
            return header
    guess = next((n for n, cells in enumerate(first) if _has_address(cells)), None)
    if guess is None:
        return _read(first[-at], -at, maps) if maps and first else None
    if guess > 0:  # the row above the first address is its header, whatever it says
        header = _read(first[guess - 1], guess - 1, maps)
        header.notes.append(("", "this line is taken as the header: " + ", ".join(header.shown)[:200], ""))
        found = "email" in header.names or _take_addresses(header, records[guess:])
        return header if found else None
    return _without_header(records, maps)


def _score(cells: Sequence[str], maps: Mapping[str, str]) -> tuple[bool, int]:
    has_email, known = score(cells)
    folded = {fold(cell) for cell in cells}
    named = sum(fold(where) in folded for where in maps.values())
    return has_email or ("email" in maps and fold(maps["email"]) in folded), known + named


def _has_address(cells: Sequence[str]) -> bool:
    return any(_ADDRESS.search(cell) for cell in cells)


def _number(where: str) -> int | None:
    return int(where) if re.fullmatch(r"[1-9]\d{0,4}", where.strip()) else None


def _read(cells: Sequence[str], row: int, maps: Mapping[str, str]) -> Header:
    shown = [cell.strip() for cell in cells]
    known = [field_of(cell) if 0 < len(cell) < 80 else "" for cell in shown]
    fields = list(known)
    for name, where in maps.items():
        index = _column(where, shown)
        fields = ["" if one == name else one for one in fields]
        fields[index] = name
    header = Header(row, [], shown)
    named = [name_of(cell) for cell in shown]
    for n, cell in enumerate(shown):
        own = named[n] or f"column_{n + 1}"
        name = fields[n]
        if name in _PART_NAMES and own in _PART_NAMES and name not in maps:
            name = own if own not in header.names else ""  # `first_name` stays what it is called
        elif name and name not in maps and name not in ("alternates", "opt_out"):
            # Of two columns for one field, the one that is called like it is meant.
            best = next((i for i, one in enumerate(named) if one == name and fields[i] == name), None)
            if (best if best is not None else fields.index(name)) != n:
                header.seconds.setdefault(name, n)
                name = "alternates" if name == "email" else ""
        if name == "opt_out":  # it stays a column of the list's own
            header.opt_out.append(n)
            name = fields[n] = ""
        if name == "alternates":
            header.alternates.append(n)
            header.names.append(f"\0{n}")  # no field of a letter
            continue
        free = name or _free(own, (*header.names, *fields))
        # By its short name it would be taken for what it is not: `email_2`, where --map took its place.
        meant = field_of(free)
        if not name and meant and (meant == "alternates" or not known[n]):
            free = _free(f"column_{n + 1}", (*header.names, *fields))
        if free != (name or own) or (fields[n] and not name):
            header.notes.append(
                (cell, f"a second column for {fields[n] or own}; letters know it as {free}", "")
            )
        header.names.append(free)
    return header


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name, or the same with a number, that no column has."""
    free, number, others = name, 1, set(taken)
    while free in others:
        number += 1
        free = f"{name}_{number}"
    return free


def _column(where: str, shown: Sequence[str]) -> int:
    """Return the index of a column by its header or number. Raises UsageError."""
    folded = [fold(cell) for cell in shown]
    if fold(where) in folded and fold(where):
        return folded.index(fold(where))
    number = _number(where)
    if number and number <= len(shown):
        return number - 1
    near = difflib.get_close_matches(fold(where), folded, 1)
    some = ", ".join(cell for cell in shown if cell)[:200]
    hint = f"did you mean {shown[folded.index(near[0])]}?" if near else f"columns: {some}"
    raise UsageError(f"no column is headed {where!r}", hint)


def _take_addresses(header: Header, records: Sequence[Sequence[str]]) -> bool:
    """Take the one column as email in which addresses stand; tell whether there is one."""
    counts = Counter(n for cells in records for n, cell in enumerate(cells) if _ADDRESS.search(cell))
    counts = Counter({n: count for n, count in counts.items() if n < len(header.names)})
    best = counts.most_common(2)
    if not best or (len(best) > 1 and best[1][1] * 2 > best[0][1]):
        return False
    at = best[0][0]
    called = header.shown[at] or f"number {at + 1}"
    header.names[at] = "email"
    header.notes.append((called, "holds addresses, and is taken as email", ""))
    return True


def _look_at_names(header: Header, records: Sequence[Sequence[str]]) -> None:
    """Look into the cells where headers leave open which part of a name a column holds."""

    def holds(whole: int, piece: int) -> bool:
        """Tell whether the cells of one column mostly hold those of another, and more."""
        pairs = [
            (fold(cells[whole]), fold(cells[piece])) for cells in records if max(whole, piece) < len(cells)
        ]
        pairs = [(one, other) for one, other in pairs if one and other]
        return bool(pairs) and 2 * sum(other in one != other for one, other in pairs) > len(pairs)

    for name in ("family_name", "given_name"):  # `nom` is the family name, unless `nom_de_famille` is in it
        at, second = header.names.index(name) if name in header.names else -1, header.seconds.get(name, -1)
        said = at >= 0 and name_of(header.shown[at]) == name  # in so many words, as clean lists do
        if at >= 0 <= second and not said and "name" not in header.names and holds(at, second):
            header.names[at], header.names[second] = "name", name
            header.notes = [note for note in header.notes if note[0] != header.shown[second]]
    if "apelido" in header.names and "given_name" in header.names and "family_name" not in header.names:
        header.names[header.names.index("apelido")] = "family_name"  # in Brazil a nickname, beside a surname
    part = {
        name: next((one for one in names if one in header.names), "") for name, names in NAME_PARTS.items()
    }
    if "name" not in header.names or bool(part["given"]) == bool(part["family"]):
        return
    at, own = header.names.index("name"), header.names.index(part["given"] or part["family"])
    pairs = [(fold(cells[at]), fold(cells[own])) for cells in records if max(at, own) < len(cells)]
    pairs = [(whole, piece) for whole, piece in pairs if whole and piece]
    if pairs and 2 * sum(piece in whole for whole, piece in pairs) < len(pairs):
        other = "family_name" if part["given"] else "given_name"
        header.names[at] = other
        header.notes.append((header.shown[at], f"holds only part of the names: taken as {other}", ""))


def _without_header(records: Sequence[Sequence[str]], maps: Mapping[str, str]) -> Header | None:
    width = max(map(len, records))
    header = Header(-1, [f"column_{n}" for n in range(1, width + 1)], [""] * width)
    for name, where in maps.items():
        number = _number(where)
        if number is None or number > width:
            raise UsageError(
                f"no column is headed {where!r}: the list has no header line",
                f"say the number of the column, 1 to {width}",
            )
        header.names[number - 1] = name
    if "email" not in header.names and not _take_addresses(header, records):
        return None
    header.notes.append(("", "the list has no header line", "--map FIELD=NUMBER names more of its columns"))
    return header


def misspelt(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return columns that look like a missing one of ours: `audiance` would switch off the asks."""
    found = []
    for name in names:
        near = difflib.get_close_matches(name, [*CONTACT_COLUMNS, "salutation"], 1, cutoff=0.8)
        if name not in (*_KNOWN, *LETTER_VARIABLES, *_PART_NAMES) and near and near[0] not in names:
            found.append((name, near[0]))
    return found
