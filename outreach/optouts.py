"""Does a person want no more mail from us? Only their own words count, never our quoted footer.

A single word that is the whole answer, a line, or the subject; or a sentence with a phrase of phrases/*.toml
that nothing turns round: a negation beside it, quotation marks, words that show it is about something else
(`opt_out_not`). Some phrases need an object about mail (`opt_out_open`, `mail_words`): "do not send me" is
one, "do not send me attachments" is none. Binding: in doubt between a rude reply and an opt-out it is an
opt-out. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from outreach import machines, phrases, subjects

_SENTENCES = re.compile(r"(?<=\w\w[.;])\s+|(?<=[!?؟])\s+|[。！？；]|\n\s*\n")
_PARTS = re.compile(r"\s[-–—|:]\s|[:：]\s")
_NOT_LETTERS = re.compile(r"[\W\d_]+")
_REACH = 80  # characters behind a phrase
_WRAPPED = 60  # characters; programs break lines later
_MOST_TEXT = 8_000  # characters
_MOST_WORDS = 40  # below a subject that says STOP


def find(subject: str, text: str, shown: str = "") -> tuple[str, phrases.Hit] | None:
    """Return where a person says so, and the phrase.

    `text` are the lines that they wrote themselves, `shown` those without signature and disclaimer.
    """
    if whole := alone(text) or alone(shown):
        return f"the whole text is “{whole.said}”", whole
    for sentence in _SENTENCES.split(text[:_MOST_TEXT]):
        for part in _parts(sentence):
            if hit := wish(phrases.fold(part)):
                return f"text “{hit.said}”", hit
    if not text.strip() or not subjects.is_answer(subject):  # "Re: STOP" may answer a letter of that name
        bare = subjects.bare(subject)
        title = next((hit for part in (bare, *_PARTS.split(bare)) if (hit := alone(part))), None)
        title = title or wish(phrases.fold(bare))
        if title is not None and len(text.split()) <= _MOST_WORDS:
            return f"the subject says “{title.said}”", title
    return _in_a_line(text)


def _parts(sentence: str) -> Iterator[str]:
    """Yield a sentence, and what stands above a line break that no program made: a name may follow."""
    yield sentence
    lines = sentence.split("\n")
    for number, line in enumerate(lines[:-1][:5]):
        if len(line) < _WRAPPED:
            yield "\n".join(lines[: number + 1])


def _in_a_line(text: str) -> tuple[str, phrases.Hit] | None:
    """Return a first line that is only such a word, when hardly more than a name stands below."""
    first, *rest = [line for line in text.split("\n") if line.strip()] or [""]
    below = " ".join(rest)
    hit = alone(first) if rest and len(rest) <= 3 else None
    if hit and len(below.split()) <= 4 and not re.search(r"[.!?。！？](?:\s|$)", below):
        return f"a line is “{hit.said}”", hit
    return None


def alone(text: str) -> phrases.Hit | None:
    """Return the word that is all of a text: STOP, also as "STOP STOP!!1", "S T O P" or "<stop>"."""
    if len(text) > 200:
        return None
    words = _NOT_LETTERS.sub(" ", phrases.fold(text)).split()
    if len(words) > 1 and all(len(word) == 1 for word in words):
        words = ["".join(words)]
    words = [word for number, word in enumerate(words) if not number or word != words[number - 1]]
    return phrases.is_whole("opt_out_alone", phrases.fold(" ".join(words))) or phrases.is_whole(
        "opt_out_alone", phrases.fold(text)
    )


def wish(sentence: str) -> phrases.Hit | None:
    """Return the phrase by which a folded sentence wishes for no more mail, if nothing turns the wish
    round.
    """
    vetoes = {one for hit in phrases.find("opt_out_not", sentence) for one in hit.languages}
    for section in ("opt_out", "opt_out_open"):
        for hit in phrases.find(section, sentence):
            if (
                vetoes & set(hit.languages)
                or phrases.negated(sentence, hit)
                or machines.quoted(sentence, hit)
            ):
                continue
            rest = sentence[hit.end :].strip(" .,!;:?")
            polite = phrases.begins("closing", rest) or phrases.begins("thanks", rest)
            if section == "opt_out" or not rest or polite or _about_mail(rest, hit):
                return hit
    return None


def _about_mail(rest: str, hit: phrases.Hit) -> bool:
    found = phrases.find("mail_words", rest[:_REACH])
    return any(set(one.languages) & set(hit.languages) for one in found)
