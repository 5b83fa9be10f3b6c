"""A contact list as it was read: contacts, every problem, counts; and what scripts get of it.

The long parts lie on shelves, so that a list of 100,000 rows takes little memory. Filled by contacts.py and
merging.py. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from outreach.model import CONTACT_COLUMNS, Contact
from outreach.shelf import Shelf

PLAIN = tuple(name for name in CONTACT_COLUMNS if name != "email")


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong in one row, and what became of it: rejected, repaired or warning."""

    file: str
    line: int  # of a sheet: the row
    column: str  # our field, or the list's own column; nothing: the file as a whole
    value: str
    severity: str
    problem: str
    suggestion: str = ""
    cell: str = ""  # as spreadsheets call it: C5

    def __str__(self) -> str:
        value = repr(self.value) if self.value else ""
        hint = f" → {self.suggestion}" if self.suggestion else ""
        what = f"{self.column} {value}".strip() + ": " if self.column or value else ""
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
    keep_refused: bool = False
    contacts: Shelf[Contact] = field(init=False)
    problems: Shelf[RowProblem] = field(init=False)
    refused: Shelf[Refused] = field(init=False)  # only where they are asked for
    _counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.contacts = self.shelf()
        self.problems = Shelf(
            lambda one: tuple(getattr(one, name) for name in RowProblem.__slots__),
            lambda row: RowProblem(*row),
        )
        self.refused = Shelf(
            lambda one: tuple(getattr(one, name) for name in Refused.__slots__), lambda row: Refused(*row)
        )

    def shelf(self) -> Shelf[Contact]:
        """Return a place for contacts of this list."""
        return Shelf(self._pack, self._unpack)

    def report(self, problem: RowProblem, found: set[str]) -> None:
        """Keep a problem; `found` are the severities that its row has had."""
        if problem.severity not in found:
            found.add(problem.severity)
            self._counts[problem.severity] += 1
        self.problems.append(problem)

    def remark(self, file: str, line: int, problem: str, hint: str = "", value: str = "") -> None:
        """Keep something that is to be known about a file as a whole."""
        self.report(RowProblem(file, line, "", value[:200], "warning", problem, hint), set())

    def count(self, severity: str) -> int:
        """Return in how many rows there is a problem of this severity."""
        return self._counts[severity]

    @property
    def rejected(self) -> list[RowProblem]:
        """The problems that cost a row its letter."""
        return [problem for problem in self.problems if problem.severity == "rejected"]

    def drop(self, wrong: Callable[[Contact], str], column: str = "email") -> None:
        """Reject the contacts about which `wrong` says something; everybody else stays."""
        before, self.contacts = self.contacts, self.shelf()
        for one in before:
            problem = wrong(one)
            if not problem:
                self.contacts.append(one)
                continue
            for person in one.people or (one,):
                self.report(
                    RowProblem(person.file, person.line, column, one.email, "rejected", problem), set()
                )
            self.joined -= max(len(one.people) - 1, 0)

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
            *(getattr(one, name) for name in PLAIN),
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
    document |= {name: getattr(one, name) for name in PLAIN}
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
