"""The words of a language: how a reader is greeted, and the footer below the letter.

Read from templates/_languages/<tag>.toml. In each list of patterns the first one wins whose {fields} are
all known for this contact, so a missing title or name never leaves a gap. A contact's own `salutation`
column wins over everything. Pure once the TOML text is there. Raises LetterError for a bad TOML file.
Known limit: full names are never cut into given and family name; the list must have them in two columns.
"""

from __future__ import annotations

import re
import string
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from outreach import languages
from outreach.errors import LetterError, Problem
from outreach.model import NAME_PARTS, Contact, Identity, name_part

_NAMES = ("name", "family", "given")
# What a greeting may use; each name also in the form of address, where a language has one (vocative).
_FIELDS = {"title", "organisation", *_NAMES, *(f"{name}_vocative" for name in _NAMES)}
_MAX_SOURCE = 50_000  # characters of a language file
_MAX_DOTS = 1_000  # a key of 20,000 parts takes tomllib ten seconds
_MAX_FOOTER = 3_000  # characters
_MAX_LINES = 30
_GENDERS = ("f", "m", "unknown", "organisation", "group")
# Scripts that write family and given name without a blank.
_JOINED = re.compile(r"[\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


@dataclass(frozen=True, slots=True)
class Phrases:
    """What one language file holds, checked."""

    file: str
    registers: Mapping[str, str]
    titles: Mapping[str, Mapping[str, str]]  # as lists write them, folded → gender → as it is said
    greetings: Mapping[str, Mapping[str, list[str]]]
    vocative: Mapping[str, Mapping[str, str]]  # gender → ending → ending
    family_name_first: bool
    lower_after: str
    footer: str
    opt_out: str

    def greet(self, contact: Contact, direction: str = "ltr") -> str:
        """Return the greeting for this reader, punctuation included, for text that runs `direction`."""
        if own := contact.fields.get("salutation"):
            return languages.isolate(own, direction)
        _, _, pattern, known = self._pick(contact)
        return _fill(pattern, known, direction)

    def why(self, contact: Contact) -> str:
        """Say which rule of the language file greets this reader."""
        if contact.fields.get("salutation"):
            return "the contact's own column `salutation`"
        register, gender, pattern, _ = self._pick(contact)
        return f"{self.file}: [greeting.{register}] {gender} = {pattern!r}"

    def _pick(self, contact: Contact) -> tuple[str, str, str, dict[str, str]]:
        """Return register, gender, pattern and the values known for it."""
        gender = _gender(contact)
        known = self._known(contact, gender)
        register = self.registers.get(contact.audience, "formal")
        patterns = self.greetings[register][gender]
        pattern = next(p for p in patterns if all(known[name] for name in _fields_of(p)))
        return register, gender, pattern, known

    def wants_capital(self, greeting: str) -> bool:
        """Tell whether the letter goes on with a capital; after a German comma, say, it does not."""
        return bool(self.lower_after) and greeting.rstrip()[-1:] not in self.lower_after

    def foot(self, sender: Identity, reply_to: Identity, direction: str = "ltr") -> str:
        """Return the lines below the letter: why, from whom, and how to refuse further letters."""
        values = {"sender": sender.name or sender.address, "reply_to": reply_to.address}
        return _fill(f"{self.footer.strip()}\n{self.opt_out.strip()}", values, direction)

    def _known(self, contact: Contact, gender: str) -> dict[str, str]:
        family, given = (name_part(contact.fields, part) for part in ("family", "given"))
        name = contact.name
        if family and given and (self.family_name_first or not name):
            parts = (family, given) if self.family_name_first else (given, family)
            name = ("" if all(map(_JOINED.fullmatch, parts)) else " ").join(parts)
        known = {"name": name or family or given, "family": family, "given": given}
        for one in _NAMES:
            own = contact.fields.get(f"{one}_vocative", "")
            known[f"{one}_vocative"] = own or self._in_vocative(known[one], gender)
        return known | {"title": self._title(contact.title, gender), "organisation": contact.organisation}

    def _title(self, written: str, gender: str) -> str:
        """Return a title as it is said; "Dear MP Ann Lee" is wrong, "Dear Dr Ann Lee" is right."""
        for text in (written, *written.split()):  # of several, the first known is the highest
            if forms := self.titles.get(_fold(text)):
                return forms.get(gender, forms.get("unknown", ""))
        return ""

    def _in_vocative(self, name: str, gender: str) -> str:
        """Return a name in the form of address, or nothing when a word of it follows none of the rules."""
        rules = self.vocative.get(gender, {})
        words = re.split(r"([\s-]+)", name)
        for n, word in enumerate(words[::2]):
            ending = max((end for end in rules if word.endswith(end)), key=len, default=None)
            if ending is None:
                return ""
            words[2 * n] = word[: len(word) - len(ending)] + rules[ending]
        return "".join(words) if name else ""


def _fill(pattern: str, values: Mapping[str, str], direction: str) -> str:
    plain = pattern.format_map(values)
    isolated = {name: languages.isolate(value, direction) for name, value in values.items()}
    shown = pattern.format_map({name: languages.shown(value) for name, value in isolated.items()})
    return languages.Isolated(plain, shown) if shown != plain else plain


def _fold(title: str) -> str:
    return re.sub(r"[\s.]", "", unicodedata.normalize("NFC", title)).casefold()


def parse(file: str, text: str) -> Phrases:
    """Read one language file. Raises LetterError with every problem."""
    try:
        if len(text) > _MAX_SOURCE or text.count(".") > _MAX_DOTS:
            raise ValueError("it is too large for the words of a language")
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError too
        problem = Problem(file, None, f"is no valid TOML: {error}")
        raise LetterError(f"{file} is no valid TOML: {error}", problems=[problem]) from None
    problems: list[Problem] = []

    def say(words: str) -> None:
        problems.append(Problem(file, None, words))

    greetings = _table(data.get("greeting"))
    registers = _table(data.get("registers"))
    if not all(isinstance(name, str) for name in registers.values()):
        say('registers must be like { party = "comrades" }')
        registers = {}
    for register in ["formal", *dict.fromkeys(name for name in registers.values() if name != "formal")]:
        for gender in _GENDERS:
            for wrong in _wrong(_table(greetings.get(register)).get(gender)):
                say(f"[greeting.{register}] {gender} {wrong}")
    footer = _table(data.get("footer"))
    for key in ("text", "opt_out"):
        words = footer.get(key, "")
        if not isinstance(words, str) or not words.strip():
            say(f"[footer] {key} is missing")
        elif len(words) > _MAX_FOOTER or words.count("\n") > _MAX_LINES:
            say(f"[footer] {key} is too long (over {_MAX_FOOTER} characters or {_MAX_LINES} lines)")
        elif unknown := [name for name in _fields_of(words) if name not in ("sender", "reply_to")]:
            say(f"[footer] {key} has an unknown field {{{unknown[0]}}}")
    lower_after, family_first = data.get("lower_after", ""), data.get("family_name_first", False)
    if not isinstance(lower_after, str) or not isinstance(family_first, bool):
        say('lower_after must be a text like ",", family_name_first true or false')
    known = {
        "name",
        "registers",
        "titles",
        "greeting",
        "footer",
        "vocative",
        "lower_after",
        "family_name_first",
    }
    if strange := sorted(set(data) - known):
        say(f"unknown key {strange[0]}; known: {', '.join(sorted(known))}")
    for where, table, keys in (
        ("footer", footer, ("text", "opt_out")),
        *((f"greeting.{name}", _table(table), _GENDERS) for name, table in greetings.items()),
    ):
        for key in sorted(set(table) - set(keys)):
            say(f"unknown key {key} in [{where}]; known: {', '.join(keys)}")
    titles, vocative = _titles(data.get("titles", {}), say), _vocative(data.get("vocative", {}), say)
    if problems:
        raise LetterError(f"{file} has problems", problems=problems)
    return Phrases(
        file,
        registers,
        titles,
        greetings,
        vocative,
        family_first,
        lower_after,
        footer["text"],
        footer["opt_out"],
    )


def _titles(data: object, say: Callable[[str], None]) -> dict[str, dict[str, str]]:
    """Read which titles stand before a name: written → said, or written → gender → said."""
    found: dict[str, dict[str, str]] = {}
    for written, said in data.items() if isinstance(data, dict) else [("", None)]:
        forms = dict.fromkeys(_GENDERS, said) if isinstance(said, str) else said
        if not isinstance(forms, dict) or not all(
            gender in _GENDERS and isinstance(form, str) for gender, form in forms.items()
        ):
            say('[titles] must be like "Dr" = "Dr.", or "Prof" = { f = "Professorin", m = "Professor" }')
            return {}
        found[_fold(written)] = forms
    return found


def _vocative(data: object, say: Callable[[str], None]) -> dict[str, dict[str, str]]:
    """Read the endings of names in the form of address: gender → ending → ending."""
    tables: dict[str, Any] = data if isinstance(data, dict) else {"": None}
    for gender, rules in tables.items():
        if (
            gender not in _GENDERS
            or not isinstance(rules, dict)
            or not all(isinstance(ending, str) for ending in rules.values())
        ):
            say('[vocative.f] and [vocative.m] must be like "ος" = "ε"')
            return {}
    return tables


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
    named = contact.name or any(name_part(contact.fields, part) for part in NAME_PARTS)
    return "organisation" if contact.organisation and not named else "unknown"


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
