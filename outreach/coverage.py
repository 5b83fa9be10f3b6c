"""Who would not get a correct letter: missing and outdated translations, before anything is sent.

`cells` is the matrix audience × language of a letter, `gaps` and `outdated` are what `send` refuses unless
it is told otherwise (--allow-fallback, --allow-stale). A cell is complete when there is an own file, or the
language's general file while the source has none for that audience; a fallback when the reader would get
another language, or the general ask where the source has a special one; stale when the source changed
since; missing when there is nothing. Pure: reads a compiled letter.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from outreach import languages, sources
from outreach.errors import LetterError, Problem
from outreach.letters import Choice, Found, Letter
from outreach.model import Contact, Identity

_SHOWN = 3  # places named for a problem


class Coverage(StrEnum):
    """How well a reader is served."""

    COMPLETE = "complete"
    FALLBACK = "fallback"
    MISSING = "missing"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Cell:
    """What readers of one language and one audience get."""

    language: str
    audience: str
    state: Coverage
    file: str | None
    found: Found | None = None


def needed(letter: Letter, contacts: Iterable[Contact] | None) -> list[Contact]:
    """Return a reader for each language and audience of a list; without one, for all of the letter."""
    if contacts is None:
        audiences = sorted({one.audience for one in letter.files.values()})
        return [Contact("", language=tag, audience=one) for tag in letter.languages for one in audiences]
    found: dict[tuple[str, str], Contact] = {}
    for contact in contacts:
        for tag in languages.split(contact.language):
            chain = languages.chain(tag, contact.country, letter.source_language, tuple(letter.languages))
            found.setdefault((chain[0].tag, contact.audience), replace(contact, language=chain[0].tag))
    return [found[key] for key in sorted(found)]


def cells(letter: Letter, readers: Iterable[Contact]) -> list[Cell]:
    """Return the matrix."""
    made = []
    for reader in readers:
        try:
            (found,) = letter.choose(reader).parts
        except LetterError:
            made.append(Cell(reader.language, reader.audience, Coverage.MISSING, None))
            continue
        state = Coverage.COMPLETE if found.complete else Coverage.FALLBACK
        if found.complete and found.stale:
            state = Coverage.STALE
        made.append(Cell(reader.language, reader.audience, state, found.file.file, found))
    return made


def problems_of(letter: Letter, matrix: Iterable[Cell]) -> list[Problem]:
    """Return what keeps a matrix from being complete, each with file and line."""
    found: list[Problem] = []
    for cell in matrix:
        if cell.found is None:
            name = sources.file_name(cell.language, cell.audience)
            found.append(Problem(f"{letter.name}/{name}", 1, "is missing, and nothing stands in for it"))
        elif cell.state is Coverage.FALLBACK:
            found.append(_gap(letter, cell.found, cell.audience, f"readers of {cell.language}"))
        if cell.found is not None and cell.found.stale:
            found.append(_outdated(letter, cell.found))
    return list(dict.fromkeys(found))


def gaps(letter: Letter, readers: Iterable[tuple[Contact, Choice]]) -> list[Problem]:
    """Return what is missing for these readers, with who they are."""
    missing: dict[tuple[str, str, str], tuple[Found, list[Contact]]] = {}
    untouched = False
    for contact, choice in readers:
        untouched = untouched or any(letter.is_untouched(part.file) for part in choice.parts)
        for part in (half for half in choice.halves if not half.complete):
            key = part.file.file, part.wanted_language, contact.audience
            missing.setdefault(key, (part, []))[1].append(contact)
    return [
        *(unwritten(letter) if untouched else ()),
        *(
            _gap(letter, part, people[0].audience, _who(people, part.wanted_language))
            for part, people in missing.values()
        ),
    ]


def unwritten(letter: Letter) -> list[Problem]:
    """Return the files that still say what `letters new` wrote."""
    words = "still says what `outreach letters new` wrote"
    return [
        Problem(f"{letter.name}/{file}", 1, words, "write the letter") for file in sorted(letter.untouched)
    ]


def outdated(letter: Letter, choices: Iterable[Choice]) -> list[Problem]:
    """Return the translations in use whose source changed since."""
    found = [_outdated(letter, part) for choice in choices for part in choice.parts if part.stale]
    return list(dict.fromkeys(found))


def _who(people: Sequence[Contact], language: str) -> str:
    places = [f"{one.file}:{one.line}" if one.line else one.email for one in people[:_SHOWN]]
    more = ", …" if len(people) > _SHOWN else ""
    many = f"{len(people)} contact{'s' if len(people) > 1 else ''}"
    return f"{many} who read{'s' if len(people) == 1 else ''} {language} ({', '.join(places)}{more})"


def _gap(letter: Letter, part: Found, audience: str, who: str) -> Problem:
    if copy := next((one for one in letter.ancestry(part.file) if one.file in letter.copies), None):
        original = letter.copies[copy.file].file
        return Problem(
            f"{letter.name}/{copy.file}",
            1,
            f"still says what {original} says; {who} would get that",
            "translate it",
        )
    if letter.lacks_words(part.file.language) and languages.same(part.wanted_language, part.file.language):
        words = f"{letter.source_language} greetings and footer"
        return Problem(
            f"_languages/{part.file.language}.toml",
            1,
            f"is missing, or not translated: {who} would get {words} in {letter.name}/{part.file.file}",
            "write it; a copy of another language's file shows how",
        )
    own = languages.same(part.wanted_language, part.file.language)
    language = part.file.language if own else part.wanted_language
    special = sources.find(letter.files.values(), letter.source_language, audience) is not None
    name = sources.file_name(language, audience if special else "")
    instead = "the general ask" if own else f"the {part.file.language} letter"
    return Problem(
        f"{letter.name}/{name}",
        1,
        f"is missing: {who} would get {instead}, {letter.name}/{part.file.file}",
        f"outreach letters add {name.removesuffix('.md')} {letter.name}",
    )


def _outdated(letter: Letter, part: Found) -> Problem:
    old = part.stale
    assert old is not None
    original = letter.stale[old.file]
    digest = sources.digest(letter.sources[f"{letter.name}/{original.file}"])
    made_from = " ".join(old.source or ("", ""))
    return Problem(
        f"{letter.name}/{old.file}",
        old.source_line,
        f"is out of date: made from {original.file} as of {made_from}, which is {digest} now",
        f"bring it up to date, then: outreach letters mark-current {letter.name}/{old.file}",
    )


# Trying every file out -----------------------------------------------------------------------------


def try_out(letter: Letter, pattern: Contact) -> list[Problem]:
    """Render every file once for a made-up reader with this contact's fields; return what fails."""
    found = []
    me = Identity("Name", "me@outreach.example")
    for one in letter.files.values():
        reader = Contact(
            "reader@outreach.example",
            pattern.name or "Name",
            one.audience,
            pattern.organisation or "Organisation",
            pattern.country,
            one.language,
            fields=pattern.fields,
            file=pattern.file,
            line=pattern.line,
        )
        try:
            letter.render(reader, me, me, datetime.date(2012, 5, 14))
        except LetterError as error:
            found.append(Problem(f"{letter.name}/{one.file}", 1, error.message, error.hint))
    return found
