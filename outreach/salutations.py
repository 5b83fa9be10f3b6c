"""The words of a language: how a reader is greeted, and the footer below the letter.

Read from templates/_languages/<tag>.toml. In each list of patterns the first one wins whose {fields} are
all known for this contact, so a missing title or name never leaves a gap. A contact's own `salutation`
column wins over everything. People who share an inbox are greeted each by their own rule, in one sentence;
nobody is passed over: where one of them has no name, all get the greeting of a group.
Pure once the TOML text is there. Raises LetterError for a bad TOML file.
Known limits: full names are never cut into given and family name; the list must have them in two columns.
A salutation of the list keeps its capital behind another greeting, unless the language begins so too.
"""

from __future__ import annotations

import re
import string
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from outreach import languages
from outreach.errors import LetterError, Problem
from outreach.model import NAME_PARTS, Contact, Identity, name_part

_NAMES = ("name", "family", "given")
# What a greeting may use; each name also in the form of address, where a language has one (vocative).
_FORMS = {*_NAMES, *(f"{name}_vocative" for name in _NAMES)}
_PARTS = _FORMS - {"name", "name_vocative"}
_FIELDS = {"title", "organisation", *_FORMS}
_MAX_SOURCE = 50_000  # characters of a language file
_MAX_DOTS = 1_000  # a key of 20,000 parts takes tomllib ten seconds
_MAX_FOOTER = 3_000  # characters
_MAX_LINES = 30
_GENDERS = ("f", "m", "unknown", "organisation", "group")
# Scripts that write family and given name without a blank.
_JOINED = re.compile(r"[\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_MOST_PEOPLE = 5  # are greeted by their names in one greeting
_END = re.compile(r"\s*[,;:!،，：！]$")  # the sign behind a greeting; not ".", which may end a name


@dataclass(frozen=True, slots=True)
class Together:
    """How a language greets several people at once, checked."""

    between: str  # two greetings
    beginnings: Mapping[str, str]  # first word of a greeting → as it is written behind another one
    plural: Mapping[str, str]  # what several people would be greeted with one by one → all of them at once
    links: tuple[str, str]  # between the names of a list, and before the last
    lists: Mapping[str, tuple[str, list[str]]]  # register → the words around {people}, patterns for each


class _Piece(NamedTuple):
    """The greeting of one person: a pattern and what fills it, or (known is None) the list's salutation."""

    text: str
    known: Mapping[str, str] | None = None
    rule: str = "the contact's own column `salutation`"
    gender: str = ""
    neutral: bool = False  # says nothing of the gender: does not go with other greetings in every language
    passed_over: bool = False  # has a name that the language cannot put into a greeting

    def __str__(self) -> str:
        return self.text if self.known is None else self.text.format_map(self.known)

    @property
    def names(self) -> bool:
        """Tell whether the person's name is in it."""
        return self.known is None or _names_somebody(self.text)


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
    together: Together
    footer: str
    opt_out: str

    def greet(self, contact: Contact, direction: str = "ltr") -> str:
        """Return the greeting for this reader, punctuation included, for text that runs `direction`."""
        _, pieces = self._greet(contact)
        filled = [
            languages.isolate(piece.text, direction)
            if piece.known is None
            else _fill(piece.text, piece.known, direction)
            for piece in pieces
        ]
        return filled[0] if len(filled) == 1 else _concatenated(filled)

    def why(self, contact: Contact) -> str:
        """Say which rule of the language file greets this reader, or those who share the inbox."""
        return self._greet(contact)[0]

    def _greet(self, contact: Contact) -> tuple[str, list[_Piece]]:
        """Return why a reader is greeted so, and the parts of the greeting."""
        if contact.people and not contact.fields.get("salutation"):
            return self._greet_people(contact)
        piece = self._piece(contact)
        return piece.rule if piece.known is None else f"{self.file}: {piece.rule}", [piece]

    def _piece(self, contact: Contact, register: str = "", without: Collection[str] = ()) -> _Piece:
        """Return the greeting of one person, as if nothing were known of the fields named in `without`."""
        if own := contact.fields.get("salutation"):
            return _Piece(own)
        gender = _gender(contact)
        known = self._known(contact, gender) | dict.fromkeys(without, "")
        register = register or self._register(contact)
        patterns = self.greetings[register][gender]
        pattern = next(p for p in patterns if all(known[name] for name in _fields_of(p)))
        return _Piece(
            pattern,
            known,
            f"[greeting.{register}] {gender} = {pattern!r}",
            gender,
            neutral=pattern in self.greetings[register]["unknown"],
            passed_over=not _fields_of(pattern) and any(map(_names_somebody, patterns)),
        )

    def _register(self, contact: Contact) -> str:
        return self.registers.get(contact.audience, "formal")

    # Several people, one inbox -----------------------------------------------------------------

    def _greet_people(self, contact: Contact) -> tuple[str, list[_Piece]]:
        """Greet each as they would be greeted alone, in one greeting, or all as a group."""
        people = contact.people
        said = f"{len(people)} people share this inbox"
        registers = {self._register(one) for one in people}
        register = registers.pop() if len(registers) == 1 else "formal"  # the one that suits everybody

        def as_group(because: str) -> tuple[str, list[_Piece]]:
            # A title or an organisation that is not everybody's would pass the others over.
            shared = contact.organisation if len({one.organisation for one in people}) == 1 else ""
            group = replace(contact, gender="group", title="", organisation=shared)
            piece = self._piece(group, register, without=_FORMS)
            return f"{said}, {because}: {self.file}: {piece.rule}", [piece]

        if len(people) > _MOST_PEOPLE:
            return as_group("too many to greet by name")
        if not all(map(_can_be_named, people)):
            return as_group("and not all of them can be named")
        pieces = [self._piece(one) for one in people]
        by_list = all(piece.known is not None for piece in pieces) and any(piece.neutral for piece in pieces)
        if by_list and register in self.together.lists:
            if listed := self._listed(people, register):
                return f"{said}: {self.file}: [together.list.{register}]", listed
            return as_group("and not all of them can be named")
        if any(piece.gender == "unknown" and not piece.names for piece in pieces):
            return as_group("and not all of them can be named")
        counts = Counter(map(str, pieces))
        if len(counts) < len(pieces):  # of two sisters, each needs her whole name
            pieces = [
                self._piece(one, without=_PARTS) if counts[str(piece)] > 1 else piece
                for one, piece in zip(people, pieces, strict=True)
            ]
        if any(piece.passed_over for piece in pieces):
            pieces = [self._piece(one, without=_FORMS) for one in people]
        if not any(piece.names for piece in pieces):
            pieces = _women_first(pieces)
        untitled = (self._piece(one, without=_FORMS | {"title"}) for one in people)
        different = self._each_once(pieces) or self._each_once(_women_first(untitled))
        if not different:
            return as_group("who would be greeted alike")
        rules = "; ".join(dict.fromkeys(piece.rule for piece in different))
        return f"{said}: {self.file}: {rules}", self._joined(different)

    def _each_once(self, pieces: list[_Piece]) -> list[_Piece]:
        """Return each greeting once, in the plural where it is for several; nothing if there is no plural."""
        counts = Counter(map(str, pieces))
        found = {str(piece): piece for piece in pieces}
        for text, count in counts.items():
            piece = found[text]
            if count > 1 and not piece.names:
                if text not in self.together.plural:
                    return []
                plural = self.together.plural[text]
                found[text] = _Piece(plural, {}, f"[together.plural] {plural!r}")
        return list(found.values())

    def _listed(self, people: Iterable[Contact], register: str) -> list[_Piece]:
        """Return one greeting with all names in a list; nothing when one of them has no form for it."""
        frame, patterns = self.together.lists[register]
        before, behind = frame.split("{people}")
        each = []
        for one in people:
            known = self._known(one, _gender(one)) | {"title": self._title(one.title, "unknown")}
            fitting = [p for p in patterns if all(known[name] for name in _fields_of(p))]
            if not fitting:
                return []
            each.append(_Piece(fitting[0], known))
        middle, last = self.together.links
        pieces = [_Piece(before, {}), each[0]]
        for n, piece in enumerate(each[1:], 2):
            pieces += [_Piece(last if n == len(each) else middle, {}), piece]
        return [*pieces, _Piece(behind, {})]

    def _joined(self, pieces: list[_Piece]) -> list[_Piece]:
        """Make one greeting of several: one sign at its end, the later ones in lower case."""
        beginnings = self.together.beginnings
        joined = pieces[:1]
        for piece in pieces[1:]:
            before = joined.pop()
            begin = _first_word(piece.text)
            foreign = piece.known is None and begin not in beginnings
            if before.text.endswith("!") and (foreign or before.text.startswith("¡")):
                joined += [before, _Piece(" ", {}), piece]  # Chère Ann ! Salut, Bob !
            else:
                text = beginnings.get(begin, begin) + piece.text[len(begin) :]
                joined.append(before._replace(text=_END.sub("", before.text)))
                joined += [_Piece(self.together.between, {}), piece._replace(text=text)]
        return joined

    # Around the greeting -----------------------------------------------------------------------

    def wants_capital(self, greeting: str) -> bool:
        """Tell whether the letter goes on with a capital; after a German comma, say, it does not."""
        return bool(self.lower_after) and greeting.rstrip()[-1:] not in self.lower_after

    def foot(self, sender: Identity, reply_to: Identity, direction: str = "ltr") -> str:
        """Return the lines below the letter: why, from whom, and how to refuse further letters."""
        values = {"sender": sender.name or sender.address, "reply_to": reply_to.shown}
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


def _concatenated(texts: list[str]) -> str:
    plain, shown = "".join(texts), "".join(map(languages.shown, texts))
    return languages.Isolated(plain, shown) if shown != plain else plain


def _fold(title: str) -> str:
    return re.sub(r"[\s.]", "", unicodedata.normalize("NFC", title)).casefold()


@lru_cache(64)
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
        "together",
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
    together = _together(data.get("together", {}), greetings, say)
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
        together,
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


def _together(data: object, greetings: Mapping[str, Any], say: Callable[[str], None]) -> Together:
    """Read how several people are greeted at once; every key may be left out."""
    if not isinstance(data, dict):
        say("together must be a table: [together]")
        data = {}
    known = ("between", "capitals", "plural", "and", "list")
    for key in sorted(set(data) - set(known)):
        say(f"unknown key {key} in [together]; known: {', '.join(known)}")
    between, plural, lists = data.get("between", ", "), data.get("plural", {}), _table(data.get("list", {}))
    capitals, links = data.get("capitals", []), data.get("and", [", ", ", "])
    if not _are_words([between]):
        say('[together] between must be a text without fields, like ", "')
    if not isinstance(capitals, list) or not all(
        isinstance(word, str) and word and _first_word(word) == word for word in capitals
    ):
        say('[together] capitals must be a list of words, like ["Madame", "Monsieur"]')
        capitals = []
    if not isinstance(plural, dict) or not _are_words([*plural, *plural.values()]):
        say('[together.plural] must be like "Madame," = "Mesdames,"')
        plural = {}
    if not isinstance(links, list) or len(links) != 2 or not _are_words(links):
        say('[together] and must be two texts, between names and before the last: [", ", " and "]')
        links = [", ", ", "]
    if lists != data.get("list", {}):
        say("[together] list must hold tables: [together.list.formal]")
    for register, form in lists.items():
        where = f"[together.list.{register}]"
        frame, each = _table(form).get("all"), _table(form).get("each")
        if register not in greetings:
            say(f"{where} belongs to no greetings; there are: {', '.join(sorted(greetings)) or 'none'}")
        if set(_table(form)) != {"all", "each"}:
            say(f'{where} must be like all = "Hello {{people}}!", each = ["{{name}}"]')
        elif not isinstance(frame, str) or _fields_of(frame) != ["people"]:
            say(f"{where} all must be a text with {{people}} in it once, and no other field")
        elif wrong := _wrong(each, bare=False):
            say(f"{where} each {wrong[0]}")
    lines = [some for register in greetings.values() for some in _table(register).values()]
    patterns = [text for some in lines if isinstance(some, list) for text in some if isinstance(text, str)]
    beginnings = {_first_word(text) for text in (*patterns, *plural.values())} - {""}
    return Together(
        between,
        {word: word[0].lower() + word[1:] for word in beginnings} | {word: word for word in capitals},
        plural,
        (links[0], links[1]),
        {name: (_table(form).get("all", ""), _table(form).get("each", [])) for name, form in lists.items()},
    )


def _are_words(texts: Iterable[object]) -> bool:
    return all(isinstance(text, str) and text and not _fields_of(text) for text in texts)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _wrong(patterns: object, bare: bool = True) -> list[str]:
    """Say what is wrong with a list of greetings; the last one must be `bare`, need no field."""
    if not isinstance(patterns, list) or not patterns:
        return ["is missing"]
    if not all(isinstance(pattern, str) and pattern.strip() for pattern in patterns):
        return ["must be a list of texts"]
    unknown = [name for pattern in patterns for name in _fields_of(pattern) if name not in _FIELDS]
    if unknown:
        return [f"has an unknown field {{{unknown[0]}}}"]
    if not bare:
        return [] if all(map(_names_somebody, patterns)) else ["must have a name in each of its texts"]
    return ["is wrong: its last greeting must need no field"] if _fields_of(patterns[-1]) else []


def _gender(contact: Contact) -> str:
    if contact.gender:
        return contact.gender
    return "organisation" if contact.organisation and not _has_name(contact) else "unknown"


def _has_name(contact: Contact) -> bool:
    return bool(contact.name or any(name_part(contact.fields, part) for part in NAME_PARTS))


def _can_be_named(contact: Contact) -> bool:
    """Tell whether this is a person whose name we know, or whom the list greets itself."""
    if contact.fields.get("salutation"):
        return True
    return _has_name(contact) and _gender(contact) in ("f", "m", "unknown")


def _names_somebody(pattern: str) -> bool:
    return not _FORMS.isdisjoint(_fields_of(pattern))


def _women_first(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Put greetings without names into their usual order: Madame, Monsieur."""
    return sorted(pieces, key=lambda piece: piece.gender == "m")


def _first_word(text: str) -> str:
    found = re.match(r"\w+", text)
    return found[0] if found else ""


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
