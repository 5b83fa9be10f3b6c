"""The words of a language: how a reader is greeted, and the footer below the letter.

Read from templates/_languages/<tag>.toml. In each list of patterns the first one wins whose {fields} are
all known for this contact, so a missing title or name never leaves a gap. A contact's own `salutation`
column wins over everything. Pure once the TOML text is there. Raises LetterError for a bad TOML file.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from outreach.errors import LetterError, Problem
from outreach.model import Contact, Identity

_FIELDS = {"name", "title", "organisation"}
_GENDERS = ("f", "m", "unknown", "organisation", "group")


@dataclass(frozen=True, slots=True)
class Phrases:
    """What one language file holds, checked."""

    registers: Mapping[str, str]
    titles: frozenset[str]
    greetings: Mapping[str, Mapping[str, list[str]]]
    footer: str

    def greet(self, contact: Contact) -> str:
        """Return the greeting for this reader, punctuation included."""
        if own := contact.fields.get("salutation"):
            return own
        register = self.greetings[self.registers.get(contact.audience, "formal")]
        known = {name: getattr(contact, name) for name in _FIELDS}
        if contact.title not in self.titles:  # "Dear MP Ann Lee" is wrong, "Dear Dr Ann Lee" is right
            known["title"] = ""
        return next(
            pattern.format(**known)
            for pattern in register[_gender(contact)]
            if all(known[name] for name in _fields_of(pattern))
        )

    def foot(self, sender: Identity, reply_to: Identity) -> str:
        """Return the lines below the letter: why, and how to refuse further letters."""
        return self.footer.format(sender=sender.name or sender.address, reply_to=reply_to.address).strip()


def parse(file: str, text: str) -> Phrases:
    """Read one language file. Raises LetterError with every problem."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LetterError(f"{file} is no valid TOML: {error}") from None
    problems: list[Problem] = []
    greetings = _table(data.get("greeting"))
    registers = _table(data.get("registers"))
    titles = data.get("titles", [])
    if not all(isinstance(name, str) for name in registers.values()):
        problems.append(Problem(file, None, 'registers must be like { party = "comrades" }'))
        registers = {}
    if not isinstance(titles, list) or not all(isinstance(title, str) for title in titles):
        problems.append(Problem(file, None, "titles must be a list of texts"))
        titles = []
    for register in ["formal", *dict.fromkeys(name for name in registers.values() if name != "formal")]:
        for gender in _GENDERS:
            patterns = _table(greetings.get(register)).get(gender)
            problems += [
                Problem(file, None, f"[greeting.{register}] {gender} {wrong}") for wrong in _wrong(patterns)
            ]
    footer = _table(data.get("footer")).get("text", "")
    if not isinstance(footer, str) or not footer.strip():
        problems.append(Problem(file, None, "[footer] text is missing"))
    elif wrong := [name for name in _fields_of(footer) if name not in ("sender", "reply_to")]:
        problems.append(Problem(file, None, f"[footer] text has an unknown field {{{wrong[0]}}}"))
    if problems:
        raise LetterError(f"{file} has problems", problems=problems)
    return Phrases(registers, frozenset(titles), greetings, footer)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _wrong(patterns: object) -> list[str]:
    """Say what is wrong with a list of greetings."""
    if not isinstance(patterns, list) or not patterns:
        return ["is missing"]
    if not all(isinstance(pattern, str) and pattern.strip() for pattern in patterns):
        return ["must be a list of texts"]
    unknown = [name for pattern in patterns for name in _fields_of(pattern) if name not in _FIELDS]
    if unknown:
        return [f"has an unknown field {{{unknown[0]}}}"]
    return ["is wrong: its last greeting must need no field"] if _fields_of(patterns[-1]) else []


def _gender(contact: Contact) -> str:
    if contact.gender:
        return contact.gender
    return "organisation" if contact.organisation and not contact.name else "unknown"


def _fields_of(pattern: str) -> list[str]:
    """Return the names in braces; anything but a plain name comes back as it stands, and is unknown."""
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        return ["unbalanced brace"]
    return [
        name if not spec and not conversion else f"{name}:{spec or conversion}"
        for _, name, spec, conversion in parts
        if name is not None
    ]
