"""The words by which mail in many languages says what it is: find them in a text, and tell its language.

phrases/<language>.toml holds them by section, and by the program or the people who write so. Text and phrase
are compared folded (`fold`), at word boundaries; `…` in a phrase stands for up to 60 characters, `{a|b}` for
one of several. Phrases are found by their first words, so the time hardly grows with their number.
Pure, but for reading its own files once. What a phrase means is decided in classify.py and its neighbours.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import tomli  # the compiled original of tomllib: it reads a megabyte of tables three times as fast

_FOLDER = Path(__file__).with_name("phrases")
_CROWD = 6  # phrases with the same first word
_GAP = 60  # characters
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u0640\u064b-\u065f\u0670\u3099\u309a"
    "\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad\ufe0f]"
)
_ALIKE = str.maketrans(
    "ıłøđ“”„‟«»‹›‘’‚‛`´ʼ′–—−‐‑‒―。、，：；！？（）「」『』【】〔〕・،؛؟\xa0\u3000",
    "ilod\"\"\"\"\"\"''''''''''-------.,,:;!?()\"\"\"\"[][].,;? \x20",
)
_TWO = (("æ", "ae"), ("œ", "oe"), ("ß", "ss"))
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_BETWEEN_CJK = re.compile(f"(?<=[{_CJK}]) (?=[{_CJK}])")
_TOKEN = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]+|[^\\w\\s]|_")
_WORD = re.compile(f"[^\\W\\d_{_CJK}]+")


@dataclass(frozen=True, slots=True)
class Hit:
    """A phrase that was found. `start` and `end` count characters of the folded text."""

    phrase: str  # as it stands in the table
    said: str  # as it stands in the folded text
    languages: tuple[str, ...]  # all that have it
    start: int
    end: int

    @property
    def language(self) -> str:
        """The language it tells, if only one has it."""
        return self.languages[0] if len(self.languages) == 1 else ""


_Piece = str | re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Phrase:
    text: str
    languages: tuple[str, ...]
    parts: tuple[str, ...]  # between gaps


def fold(text: str) -> str:
    """Return what spellings of a text have in common: case, accents, kinds of quotes, blanks and widths."""
    return _short(text) if len(text) < 200 else _fold(text)


@lru_cache(maxsize=4096)
def _short(text: str) -> str:
    """Lines are folded many times: is it a label, a closing, a device?"""
    return _fold(text)


def _fold(text: str) -> str:
    text = unicodedata.normalize("NFKC", text.translate(_ALIKE)).casefold().translate(_ALIKE)
    text = _MARKS.sub("", unicodedata.normalize("NFD", text)).translate(_ALIKE)
    for one, two in _TWO:
        text = text.replace(one, two)
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return _BETWEEN_CJK.sub("", text)


@cache
def languages() -> tuple[str, ...]:
    """Return the languages there are phrases for."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


@cache
def _data(language: str) -> dict[str, Any]:
    return tomli.loads((_FOLDER / f"{language}.toml").read_text("utf-8"))


@cache
def entries(section: str) -> tuple[tuple[str, str, str], ...]:
    """Return (language, who, phrase) of a section, as written."""
    return tuple(
        (language, who, phrase)
        for language in languages()
        for who, phrases in _data(language).get(section, {}).items()
        for phrase in phrases
    )


@cache
def words(*sections: str) -> frozenset[str]:
    """Return the phrases of some sections, folded."""
    return frozenset(fold(phrase) for section in sections for _, _, phrase in entries(section))


@cache
def _index(section: str) -> dict[str, list[_Phrase]]:
    """Return the phrases of a section by the words that they begin with, the longest first.

    Where many begin alike, or with a short word, by the first two.

    Only first words are folded here; the rest of a phrase is prepared when a text has its first word.
    """
    alike: dict[str, tuple[str, set[str]]] = {}
    for language, _, phrase in entries(section):
        alike.setdefault(phrase.lower(), (phrase, set()))[1].add(language)
    found: dict[str, list[_Phrase]] = {}
    for phrase, having in alike.values():
        parts = tuple(part for part in (part.strip() for part in phrase.split("…")) if part)
        one = _Phrase(phrase, tuple(sorted(having)), parts)
        for key in _keys(parts[0]):
            found.setdefault(key, []).append(one)
    for word in [word for word, some in found.items() if len(some) > _CROWD and " " not in word]:
        for one in found.pop(word):
            for key in _two_words(one.parts[0], word) or {word}:
                found.setdefault(key, []).append(one)
    for some in found.values():
        some.sort(key=lambda one: -len(one.text))
    return found


@cache
def _piece(text: str) -> _Piece:
    """Return a piece of a phrase: folded text, or a pattern where it has alternatives, like `take {me|us}
    off`.

    An empty one makes the group optional, with the blank beside it: `please {do|} not`.
    """
    if "{" not in text:
        return fold(text)
    pattern = ""
    rest = text
    while match := _GROUP.search(rest):
        before, behind = rest[: match.start()], rest[match.end() :]
        options = [re.escape(fold(option)) for option in match[1].split("|")]
        group = "(?:" + "|".join(sorted(filter(None, options), key=len, reverse=True)) + ")"
        pattern += _literal(before)
        if "" in options and behind.startswith(" "):
            group, behind = f"(?:{group} )?", behind[1:]
        elif "" in options and before.endswith(" ") and not behind:
            pattern, group = pattern.removesuffix("\\ "), f"(?: {group})?"
        elif "" in options:
            group = f"{group}?"
        pattern += group
        rest = behind
    return re.compile(pattern + _literal(rest))


_GROUP = re.compile(r"\{([^{}]*)\}")


def _literal(text: str) -> str:
    """Return folded text for a pattern, with the blanks at its ends, where groups may stand."""
    begins = " " if text[:1] == " " else ""
    ends = " " if len(text) > 1 and text[-1:] == " " else ""
    return re.escape(begins + fold(text) + ends)


def _keys(text: str) -> set[str]:
    """Return what a piece may begin with: a word, and the next where it is short, or a character."""
    if match := _LONG_WORD.match(text):  # most of them, quickly
        return {_word(match[0])}
    if match := _LONG_WORDS.match(text):
        return {_word(option.partition(" ")[0]) for option in match[1].split("|")}
    found: set[str] = set()
    for word, rest in _heads(text):
        following = _following(rest) if _is_short(word) else {""}
        found |= {f"{word} {one}".strip() for one in following}
    return found


def _two_words(text: str, word: str) -> set[str]:
    """Return a word with each that may follow it, where a piece begins with it; alone, where nothing may."""
    rests = [rest for first, rest in _heads(text) if first == word]
    return {f"{word} {one}".strip() for rest in rests for one in _following(rest)}


def _following(text: str) -> set[str]:
    """Return each word that a text may begin with, and nothing where it may be over."""
    text = text.lstrip()
    if match := _GROUP.match(text):
        behind = text[match.end() :]
        return {word for option in match[1].split("|") for word in _following(option + behind)}
    return {next((word for word, _ in _heads(text)), "")}


_LETTER = f"[^\\W_{_CJK}]"
_OPTION = f"{_LETTER}{{3,}}(?: [^{{}}|]*)?"
_LONG_WORD = re.compile(f"{_LETTER}{{3,}}(?![\\w{{])")
_LONG_WORDS = re.compile(f"\\{{((?:{_OPTION}\\|)*{_OPTION})\\}}(?= |$)")  # {take|put me} off


def _is_short(word: str) -> bool:
    return len(word) < 3 or is_cjk(word[0])


def _heads(text: str) -> Iterator[tuple[str, str]]:
    """Yield each first word of a piece, folded, with what follows."""
    text = text.lstrip()
    if match := _GROUP.match(text):
        for option in match[1].split("|"):
            yield from _heads(option + text[match.end() :])
    elif match := _TOKEN.match(text):
        yield _word(match[0]), text[match.end() :]


@cache
def _word(text: str) -> str:
    return _fold(text)


@lru_cache(maxsize=64)
def _tokens(folded: str) -> tuple[tuple[int, str, str], ...]:
    """Return where the words of a folded text begin, each word, and the same with the next one.

    A text is searched for many sections in a row.
    """
    found = [(match.start(), match[0]) for match in _TOKEN.finditer(folded)]
    followed = itertools.zip_longest(found, found[1:], fillvalue=(0, ""))
    return tuple((start, word, f"{word} {following}") for (start, word), (_, following) in followed)


def _ends(section: str, folded: str, token: tuple[int, str, str]) -> list[tuple[int, _Phrase]]:
    """Return where the phrases end that begin with a word, or with it and the next."""
    index = _index(section)
    start, word, both = token
    some = index.get(word, [])
    if both in index:
        some = [*some, *index[both]]
    return [(end, phrase) for phrase in some if (end := _fits(phrase, folded, start))]


def find(section: str, folded: str) -> Iterator[Hit]:
    """Yield the phrases of a section in a folded text, in their order there, the longest of each place."""
    index = _index(section)
    for token in _tokens(folded):
        if token[1] not in index and token[2] not in index:
            continue
        ends = _ends(section, folded, token)
        if ends:
            yield _hit(folded, ends, max(end for end, _ in ends), token[0])


def _hit(folded: str, ends: list[tuple[int, _Phrase]], end: int, start: int) -> Hit:
    """Return one hit for all phrases that end alike, with the languages of all of them."""
    alike = [phrase for other, phrase in ends if other == end]
    having = sorted({language for phrase in alike for language in phrase.languages})
    return Hit(alike[0].text, folded[start:end], tuple(having), start, end)


def first(section: str, folded: str) -> Hit | None:
    """Return the first phrase of a section in a folded text."""
    return next(find(section, folded), None)


def begins(section: str, folded: str) -> Hit | None:
    """Return the phrase that a folded text begins with; one with `…` in front may stand anywhere."""
    return next((hit for hit in find(section, folded) if hit.start == 0 or hit.phrase[0] == "…"), None)


def is_whole(section: str, folded: str) -> Hit | None:
    """Return the phrase that a folded text is, but for punctuation around it."""
    core = folded.strip(" .,!?;:\"'()[]*-_")
    tokens = _tokens(core)
    if not tokens:
        return None
    ends = _ends(section, core, (0, *tokens[0][1:]))
    return _hit(core, ends, len(core), 0) if any(end == len(core) for end, _ in ends) else None


def _fits(phrase: _Phrase, folded: str, start: int) -> int:
    """Return where a phrase that begins at `start` ends, or 0."""
    parts = phrase.parts
    end = _end(_piece(parts[0]), folded, start)
    for part in parts[1:] if end else ():
        end = _next_end(_piece(part), folded, end)
        if not end:
            break
    return end


def _end(piece: _Piece, folded: str, start: int) -> int:
    """Return where a piece that begins at `start` ends, if a word ends there; else 0."""
    if isinstance(piece, str):
        end = start + len(piece) if folded.startswith(piece, start) else 0
    else:
        match = piece.match(folded, start)
        end = match.end() if match else 0
    return end if end and _bounded(folded, end) else 0


def _next_end(piece: _Piece, folded: str, start: int) -> int:
    """Return where a piece ends that begins at most a gap behind `start`, or 0."""
    place = start
    while place <= start + _GAP:
        if isinstance(piece, str):
            place = folded.find(piece, place, start + _GAP + len(piece))
        else:
            match = piece.search(folded, place, start + _GAP + 200)
            place = match.start() if match else -1
        if place < 0 or place > start + _GAP:
            return 0
        if _bounded(folded, place) and (end := _end(piece, folded, place)):
            return end
        place += 1
    return 0


def _bounded(text: str, place: int) -> bool:
    """Tell whether a word may begin or end here. In Chinese and Japanese, anywhere."""
    if place <= 0 or place >= len(text):
        return True
    before, behind = text[place - 1], text[place]
    return not (before.isalnum() and behind.isalnum()) or is_cjk(before) or is_cjk(behind)


def is_cjk(char: str) -> bool:
    """Tell whether words are not parted by blanks in the script of a character."""
    return "\u3040" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7af"


@cache
def _common() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for language in languages():
        for word in {fold(word) for word in _data(language)["common"]}:
            found.setdefault(word, []).append(language)
    return found


@cache
def negations() -> dict[str, frozenset[str]]:
    """Return the words of each language that turn a wish round."""
    return {
        language: frozenset(fold(word) for word in _data(language).get("negation", ()))
        for language in languages()
    }


def negated(sentence: str, hit: Hit) -> bool:
    """Tell whether a word right before or behind turns a wish round: up to four words, not across a comma."""
    before = re.split(r"[,.:;()]", sentence[: hit.start])[-1]
    behind = re.split(r"[,.:;()]", sentence[hit.end :])[0]
    inside = sentence[hit.start : hit.end] if "…" in hit.phrase else ""
    for language in hit.languages:
        words = negations().get(language, frozenset())
        said = fold(hit.phrase)
        if any(_has_word(inside, word) and not _has_word(said, word) for word in words):
            return True
        if language in ("ja", "zh"):
            if any(before.endswith(word) or behind.startswith(word) for word in words):
                return True
            continue
        near = [" ".join(before.split()[-4:])]
        near += [" ".join(behind.split()[:2])] if language in _NOT_LAST else []
        if any(_has_word(part, word) for word in words for part in near):
            return True
    return False


_NOT_LAST = ("de", "nl", "da", "nb", "sv")  # "nehmen Sie mich bitte nicht": the negation comes behind


def _has_word(text: str, word: str) -> bool:
    return word in text and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


# Letters that only one of our languages has, or that it has far more often; in folded text they are gone.
_LETTERS = {
    "uk": "іїєґ",
    "ru": "ыэё",
    "bg": "ъ",
    "hu": "őű",
    "pl": "ąęłńśźż",
    "cs": "ěřů",
    "ro": "țșăţ",
    "tr": "ğış",
    "pt": "ãõ",
    "es": "ñ¿¡",
    "de": "ß",
    "fr": "œçê",
}


def language(text: str, hits: Iterable[Hit | None] = ()) -> str:
    """Return the language of a text, or an empty string: by its script, letters, and frequent little words.

    `hits` are phrases that were found in it; they decide between near relatives, and for a short text.
    """
    text = text[:5000]
    scripts = Counter(_script(char) for char in text if char.isalpha())
    if not scripts:
        return ""
    script, count = scripts.most_common(1)[0]
    letters = sum(scripts.values())
    if (
        scripts["kana"] * 20 > scripts["kana"] + scripts["han"] + 1
        and scripts["kana"] + scripts["han"] > letters / 4
    ):
        return "ja"
    if script == "arabic" and sum(map(text.count, _PERSIAN)) * 25 > letters:
        return ""
    if script in _ONE_LANGUAGE and count > letters / 3:
        return _ONE_LANGUAGE[script]
    scores: Counter[str] = Counter()
    common = _common()
    folded = fold(text)
    for word in _WORD.findall(folded):
        found = common.get(word, ()) if len(word) > 1 or not word.isascii() else ()
        for one in found:
            scores[one] += 6 // len(found)
    for hit in hits:
        for one in hit.languages if hit else ():
            scores[one] += 6 // len(hit.languages) if hit else 0
    lower = text.lower()
    for one, chars in _LETTERS.items():
        scores[one] += 3 * min(10, sum(lower.count(char) for char in chars))
    if script == "cyrillic":
        scores = Counter({one: scores[one] for one in ("ru", "uk", "bg")})
    else:
        scores = Counter({one: scores[one] for one in scores if one not in _OTHER_SCRIPTS})
    if not scores:
        return ""
    (best, points), (_, second) = [*scores.most_common(2), ("", 0)][:2]
    return best if points >= 6 or points >= 3 > second else ""


_ONE_LANGUAGE = {"han": "zh", "kana": "ja", "hebrew": "he", "arabic": "ar", "greek": "el"}
_PERSIAN = "پچژگکی"  # and Urdu: none of ours
_OTHER_SCRIPTS = frozenset((*_ONE_LANGUAGE.values(), "ru", "uk", "bg"))


def _script(char: str) -> str:
    if char < "\u0370":
        return "latin"
    if char < "\u0400":
        return "greek"
    if char < "\u0530":
        return "cyrillic"
    if "\u0590" <= char < "\u0600":
        return "hebrew"
    if "\u0600" <= char < "\u0780":
        return "arabic"
    if "\u3040" <= char <= "\u30ff":
        return "kana"
    if "\u3400" <= char <= "\u9fff":
        return "han"
    return "greek" if "\u1f00" <= char <= "\u1fff" else "latin"
