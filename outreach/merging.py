"""All lists together: an inbox gets one letter, and so does a person who gave two addresses.

Takes contacts one by one, in the order of the lists, and puts them into a ContactList: on their own, into the
letter of an inbox that several share, or rejected as the same person once more; what two rows contradict each
other about is reported with both sources. Known limit: persons are recognised by their names as written; who
seems to stand on two rows with two addresses is pointed out, and gets two letters.
"""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from outreach import address, columns
from outreach.lists import ContactList, RowProblem
from outreach.model import NAME_PARTS, Contact

_COMPARED = ("name", "audience", "organisation", "country", "language", "gender", "title")
_OF_INBOX = (
    "audience",
    "organisation",
    "country",
    "language",
)  # the first who says it, of those who share one
_NAME_WORD = re.compile(r"[^\W_]+")
_MANY = 12  # people of one inbox that a further one is compared with, and that are named
_MOST = 1_000  # people who share an inbox: with more of them, the column is no address of persons
_TWINS = 5  # rows of one name that a further one is compared with


class Row(Protocol):
    """The row that a contact stands on, to report on it."""

    email: int  # the column of the address

    def say(self, severity: str, column: str, value: str, problem: str) -> None:
        """Report something about the row."""

    def reject(self, index: int, value: str, problem: str) -> None:
        """Report that the row gets no letter of its own."""


class Merge:
    """The contacts so far, and who they are."""

    def __init__(self, people: ContactList) -> None:
        self.people = people
        # By hash: of a main address, the contact; of a further one, its owner. What looks alike is compared.
        self.main: dict[int, int] = {}
        self.further: dict[int, int] = {}
        self.names = array("q")
        # Inboxes that several share: by contact, then by name, their places among the persons.
        self.inboxes: dict[int, dict[str, int]] = {}
        self.persons = people.shelf()

    def add(self, contact: Contact, row: Row) -> None:
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

    def claim(self, at: int, contact: Contact, row: Row) -> Contact:
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
            self.persons.replace(inbox[name], person)
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
            for person in self.sharing(at) if at in self.inboxes else (self.people.contacts[at],):
                if key in map(address.key, (person.email, *person.alternates)):
                    yield at, person
                    break

    def sharing(self, at: int) -> Iterator[Contact]:
        """Yield those who share an inbox, in the order of the lists."""
        return (self.persons[one] for one in self.inboxes[at].values())

    def same_inbox(self, at: int, first: Contact, contact: Contact, row: Row) -> None:
        """Two rows with one address: the same person once more, or somebody who shares the inbox."""
        inbox, name = self.inboxes.get(at, {}), _name_key(contact.name)
        if name in inbox:
            again: Contact | None = self.persons[inbox[name]]
        elif len(inbox) == _MOST:
            words = f"{_MOST:,} people share this inbox already; it gets one letter"
            row.reject(row.email, contact.email, words)
            return
        else:
            few = [*itertools.islice(self.sharing(at), _MANY)] if inbox else [first]
            alike = (one for one in few if _name_key(one.name) == name or _same_person(one, contact))
            again = next(alike, None)
        if again or not (first.name and contact.name):
            self.same_person(at, again or first, contact, row)
            return
        self.conflicts(first, contact, row, besides=("name", "gender", "title", "salutation"))
        for common in _OF_INBOX:  # what the first row leaves open, another one has said
            said = next((one for one in few if getattr(one, common)), first)
            if said is not first:
                self.conflict(common, getattr(said, common), getattr(contact, common), said, contact, row)
        contact = self.claim(at, contact, row)
        if not inbox:
            self.inboxes[at] = inbox
            self.share(inbox, first)
        self.share(inbox, contact)
        self.people.joined += 1
        self.remember(contact)
        names = ", ".join(one.name for one in (*few, contact)[:_MANY])
        words = f"shares this inbox with {_where(first, contact)}; one letter greets {names}"
        row.say("warning", "email", contact.email, f"{words}{', …' if len(inbox) > _MANY else ''}")

    def share(self, inbox: dict[str, int], person: Contact) -> None:
        """Put a person to those who share an inbox."""
        inbox[_name_key(person.name)] = len(self.persons)
        self.persons.append(person)

    def finish(self) -> None:
        """Put the people of each shared inbox into one contact, and point out who stands on two rows."""
        for at in self.inboxes:
            self.people.contacts.replace(at, _together(tuple(self.sharing(at)), self.people.contacts[at]))
        self.point_out_twins()

    def same_person(self, at: int, first: Contact, contact: Contact, row: Row) -> None:
        """The same person on two rows: one letter, with what only the later row knows."""
        self.conflicts(first, contact, row)
        self.put(at, self.filled(first, contact, row))
        where = _where(first, contact)
        same = address.key(first.email) == address.key(contact.email)
        words = f"same address as {where}" if same else f"the person of {where}, under another address"
        row.reject(row.email, contact.email, f"{words}; kept once")

    def filled(self, first: Contact, contact: Contact, row: Row) -> Contact:
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

    def conflicts(self, first: Contact, contact: Contact, row: Row, besides: Sequence[str] = ()) -> None:
        """Say where two rows contradict each other, with both sources."""
        for name in (*_COMPARED, *contact.fields):
            if name in besides or any(name in parts for parts in NAME_PARTS.values()):
                continue
            ours = getattr(first, name) if name in _COMPARED else first.fields.get(name, "")
            theirs = getattr(contact, name) if name in _COMPARED else contact.fields[name]
            if name == "name" and _fits(_tokens(ours), _tokens(theirs)):
                continue
            self.conflict(name, ours, theirs, first, contact, row)

    def conflict(self, name: str, ours: str, theirs: str, first: Contact, contact: Contact, row: Row) -> None:
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
            self.people.report(RowProblem(*words), set())
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
