"""Check a letter as a whole: the matrix of translations, and everything that is wrong with its files.

Compiles and renders every template. With a list, what this list needs must be there; without one, every
audience of the letter in every language of the letter. `document` is what `letters check` shows.
Raises ContactsError for a list that cannot be read and LetterError for a letter that is not there; what is
wrong with the letter is in the document.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from outreach import contacts, coverage, languages, project, sources
from outreach.errors import LetterError, OutreachError, Problem
from outreach.letters import Letter
from outreach.lists import ContactList
from outreach.model import CONTACT_COLUMNS, LETTER_VARIABLES, Contact
from outreach.settings import Settings


def document(settings: Settings, templates: Path, name: str, lists: Sequence[Path]) -> dict[str, Any]:
    """Return the document of `letters check --json`: the matrix, problems, and notes that stop nothing."""
    people = contacts.read(lists) if lists else _project_list(settings)
    try:
        letter = project.open_letter(settings, templates, name, lists)
    except LetterError as error:
        if not error.problems:  # there is no such letter
            raise
        return _document(name, settings.language, [], [], [], error.problems, [])
    readers = coverage.needed(letter, people.contacts if people and lists else None)
    cells = coverage.cells(letter, readers)
    problems = [*coverage.problems_of(letter, cells), *_unknown_names(letter, people)]
    if not problems:
        problems += _try_out(letter, people)
    notes = [*coverage.unwritten(letter), *_without_source(letter)]
    if people and not lists:
        notes += _wanted_by(letter, people, settings)
    audiences = sorted({reader.audience for reader in readers})
    return _document(name, letter.source_language, letter.languages, audiences, cells, problems, notes)


def _document(
    name: str,
    source: str,
    tags: Sequence[str],
    audiences: Sequence[str],
    cells: Sequence[coverage.Cell],
    problems: Sequence[Problem],
    notes: Sequence[Problem],
) -> dict[str, Any]:
    def listed(found: Sequence[Problem]) -> list[dict[str, object]]:
        return [
            {"file": one.file, "line": one.line, "problem": one.text, "suggestion": one.suggestion}
            for one in found
        ]

    return {
        "letter": name,
        "source": source,
        "languages": list(tags),
        "audiences": list(audiences),
        "cells": [
            {"language": one.language, "audience": one.audience, "state": one.state.value, "file": one.file}
            for one in cells
        ],
        "problems": listed(problems),
        "notes": listed(notes),
    }


def _project_list(settings: Settings) -> ContactList | None:
    """The project's own list, if there is one that can be read; it tells which columns there are."""
    try:
        return contacts.read([settings.contacts]) if settings.contacts.exists() else None
    except OutreachError:
        return None


def _unknown_names(letter: Letter, people: ContactList | None) -> list[Problem]:
    """Names that no contact has; without a list, those that look like a misspelt name of the program."""
    if people is not None:
        try:
            letter.check_variables([one for one in people.columns if one not in CONTACT_COLUMNS])
        except LetterError as error:
            return error.problems
        return []
    found = []
    for name, where in letter.variables.items():
        near = difflib.get_close_matches(name, LETTER_VARIABLES, 1, cutoff=0.75)
        if name not in LETTER_VARIABLES and near:
            found.append(
                Problem(where.file, where.line, f"no contact has {name!r}", f"did you mean {near[0]}?")
            )
    return found


def _try_out(letter: Letter, people: ContactList | None) -> list[Problem]:
    if people is not None and people.contacts:
        return coverage.try_out(letter, people.contacts[0])
    if set(letter.variables) <= set(LETTER_VARIABLES):
        return coverage.try_out(letter, Contact("reader@outreach.example"))
    return []  # what its own columns hold, nobody knows


def doubts(people: ContactList, letter: Letter) -> list[str]:
    """Return what looks like a misspelling and would quietly give readers another letter."""
    said = [str(one) for one in people.problems if one.severity == "warning" and "meant?" in one.problem]
    audiences = sorted({one.audience for one in letter.files.values()} - {""})
    for audience in sorted({contact.audience for contact in people.contacts} - {"", *audiences}):
        if near := difflib.get_close_matches(audience, audiences, 1, cutoff=0.75):
            said.append(
                f"{people.file}: the audience {audience!r} has no ask of its own; is {near[0]} meant?"
            )
    return said


def _without_source(letter: Letter) -> list[Problem]:
    """Translations of which nobody can tell whether they are up to date."""
    return [
        Problem(
            f"{letter.name}/{one.file}",
            1,
            "has no Source: line, so a change of the source goes unnoticed",
            f"outreach letters mark-current {letter.name}/{one.file}",
        )
        for one in letter.files.values()
        if one.source is None and sources.original(letter.files, one, letter.source_language)
    ]


def _wanted_by(letter: Letter, people: ContactList, settings: Settings) -> list[Problem]:
    """What the project's list would need beyond the letter's own languages and audiences."""
    lacking: Counter[str] = Counter()
    for contact in people.contacts:
        try:
            choice = letter.choose(contact)
        except LetterError:
            lacking["any language"] += 1
            continue
        for part in choice.halves:
            if not part.complete:
                own = languages.same(part.wanted_language, part.file.language)
                words = letter.lacks_words(part.file.language)
                what = " (greetings)" if words else f".{contact.audience}" if contact.audience else ""
                lacking[f"{part.wanted_language}{what if own else ''}"] += 1
    if not lacking:
        return []
    said = ", ".join(f"{tag} ({count})" for tag, count in lacking.most_common(12))
    return [
        Problem(
            people.file,
            1,
            f"has readers whom this letter does not serve fully: {said}",
            f"outreach letters check {letter.name} --contacts {settings.contacts}",
        )
    ]
