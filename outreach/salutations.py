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
    greetings = data.get("greeting", {})
    registers = data.get("registers", {})
    for register in {"formal", *registers.values()}:
        for gender in _GENDERS:
            patterns = greetings.get(register, {}).get(gender)
            where = f"[greeting.{register}] {gender}"
            if not isinstance(patterns, list) or not patterns:
                problems.append(Problem(file, None, f"{where} is missing"))
            elif wrong := [n for pattern in patterns for n in _fields_of(pattern) if n not in _FIELDS]:
                problems.append(Problem(file, None, f"{where} has an unknown field {{{wrong[0]}}}"))
            elif _fields_of(patterns[-1]):
                problems.append(Problem(file, None, f"{where}: its last greeting must need no field"))
    footer = data.get("footer", {}).get("text", "")
    if wrong := [name for name in _fields_of(footer) if name not in ("sender", "reply_to")]:
        problems.append(Problem(file, None, f"[footer] text has an unknown field {{{wrong[0]}}}"))
    elif not footer.strip():
        problems.append(Problem(file, None, "[footer] text is missing"))
    if problems:
        raise LetterError(f"{file} has problems", problems=problems)
    return Phrases(registers, frozenset(data.get("titles", ())), greetings, footer)


def _gender(contact: Contact) -> str:
    if contact.gender:
        return contact.gender
    return "organisation" if contact.organisation and not contact.name else "unknown"


def _fields_of(pattern: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None]
    except ValueError:
        return ["unbalanced brace"]
