"""What a person wrote in a reply: without the letter it answers, signature, device line and disclaimer.

Quotes are known by their marks (`>`), by the line above them ("On … wrote:"), by a separator, or by a block of
headers, in the words of phrases/*.toml. An answer below or between the lines of a quotation is kept whole, with
what it answers: there a cut would lose words. In doubt a line stays. Time grows with the length of the text.
Known limits: answers written inside an Outlook quotation in another colour cannot be told from it; a name without
a closing above it stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from outreach import phrases

_MOST_LINES = 5_000
_RULE = re.compile(r"\s*[-_=*~#–—]{3,}\s*")
_MARKED = re.compile(r"\s{0,3}(?:[^\W\d_]{0,4}>|[|»›])")  # SC> is The Bat!
_LABEL = re.compile(r"[>|\s*_]*([^:@<>]{1,30}?)\s?[*_]*\s?:[*_]*(?:\s|$|(?=[^/\\]))(.*)")
_PS = re.compile(
    r"\s*(p\.? ?p?\.? ?s\.?|n\. ?b\.|p\.? ?d\.?|п\.? ?[сп]\.?|з\.? ?[иі]\.?|υ\.? ?γ\.?|נ\.? ?ב\.?|u\.? ?i\.|附言|又及|追伸|ملاحظة)[\s:.,–-]",
    re.IGNORECASE,
)
_CUT_ADDRESS = re.compile(
    r"(<[^<>\s@]{1,64}@[^<>\s]{1,255})\n> ?(?=\S[^\n]{0,40}:\s*\n)"
)  # as Gmail wraps it
_CARETS = re.compile(r">{2,3} .{3,200} >{2,3}")  # GroupWise
_SHORT = 90  # characters of a line in a signature
_SIGNATURE = 14  # lines of one
_AUTHOR = re.compile(r"\s*[-–—/]{1,2}\s?[^\W\d_][\w.'’-]*( [^\W\d_][\w.'’-]*){0,2}\s*")
_SENTENCE = re.compile(r"[.!?…]\s*$")
_CONTACT = re.compile(
    r"@|www\.|https?://|\+?\d[\d\s()/.-]{5,}\d|\||\b(tel|fax|mob|phone|e-?mail|тел|факс)\b", re.IGNORECASE
)


def visible(text: str) -> str:
    """Return what was written anew: paragraphs as they stand, blank lines joined to one."""
    text = _CUT_ADDRESS.sub(r"\1>", text)
    lines = [line.rstrip() for line in text.split("\n")[:_MOST_LINES]]
    above, below = _parts(lines)
    if not _has_words(above):
        above = below
    shown = tidy(_unsigned(above))
    return shown if shown else tidy(above)


def is_quoted(line: str) -> bool:
    """Tell whether a line is marked as quoted."""
    return _MARKED.match(line) is not None


def _parts(lines: list[str]) -> tuple[list[str], list[str]]:
    """Return the lines above what is quoted, and what stands instead where nothing is above."""
    cut = _block(lines)
    head = lines if cut is None else lines[: cut[0]]
    rest = [] if cut is None else lines[cut[1] :]
    start = _attribution(head)
    if start is not None:
        begin, end = start
        if not any(_MARKED.match(line) for line in head[end : end + 6]):
            # not marked as a quotation: all of it is one
            if _has_words(head[:begin]):
                return head[:begin], []
        elif not _answers_below(head[end:]):
            return head[:begin], head[end:]
        else:
            return head, rest
    first = next((n for n, line in enumerate(head) if _MARKED.match(line)), None)
    if first is not None and not _answers_below(head[first:]):
        return _without_introduction(head[:first]), [_unmarked(line) for line in head[first:]]
    return head, rest


def _unmarked(line: str) -> str:
    return re.sub(r"^(\s{0,3}[>|»›]\s?)+", "", line)


def _has_words(lines: Sequence[str]) -> bool:
    return any(any(char.isalnum() for char in line) for line in lines) or any(
        line.strip() and not _RULE.fullmatch(line) for line in lines
    )


# -- where the quotation begins


@cache
def _separators() -> tuple[str, ...]:
    return tuple(sorted({phrases.fold(phrase) for _, _, phrase in phrases.entries("original_message")}))


@cache
def _labels() -> frozenset[str]:
    return frozenset(phrases.fold(phrase) for _, _, phrase in phrases.entries("quote_header"))


def _block(lines: list[str]) -> tuple[int, int] | None:
    """Return where a separator or a block of headers begins and ends."""
    for number, line in enumerate(lines):
        if len(line) > 300 or not line.strip():
            continue
        if _is_separator(line) and (not _MARKED.match(line) or line.startswith(">>")):
            headers = _headers(lines, number + 1)
            return number, headers or number + 1
        end = _headers(lines, number)
        if end and not line.lstrip().startswith(">"):
            return _back(lines, number), end
    return None


def _is_separator(line: str) -> bool:
    stripped = line.strip()
    if _CARETS.fullmatch(stripped):
        return True
    folded = phrases.fold(stripped)
    core = folded.strip("-_=*>~# :.")
    if not core or len(core) > 120:
        return False
    marked = stripped[0] in "-_=*~#–—" or stripped.endswith((":", "-", "_", "—"))
    hit = phrases.begins("original_message", core)
    return (
        hit is not None
        and hit.start == 0
        and marked
        and (hit.end == len(core) or "…" in hit.phrase or core[hit.end] in " -:")
    )


def _headers(lines: list[str], start: int) -> int:
    """Return where a block of header lines that begins at `start` ends, or 0 if there is none."""
    seen: set[str] = set()
    blank = 0
    end = 0
    told = False
    for number in range(start, min(start + 24, len(lines))):
        line = lines[number]
        if not line.strip("> |*"):
            blank += 1
            if blank > 1 or len(seen) >= 3:
                break
            continue
        match = _LABEL.match(line[:400])
        label = phrases.fold(match[1]) if match else ""
        if label in _labels() and len(label) > 0:
            assert match is not None
            seen.add(label)
            told = told or "@" in line or any(char.isdigit() for char in match[2])
            end = number + 1
            blank = 0
        elif not seen:
            return 0
        elif blank or number - end > 4:
            break
    return end if len(seen) >= 3 or (len(seen) == 2 and told and _is_opening(lines, start)) else 0


def _is_opening(lines: list[str], start: int) -> bool:
    """Tell whether a rule or an empty line, or the beginning, is above."""
    return (
        start == 0
        or not lines[start - 1].strip()
        or bool(_RULE.fullmatch(lines[start - 1]))
        or _is_separator(lines[start - 1])
    )


def _back(lines: list[str], number: int) -> int:
    """Return where what belongs to a block of headers begins: rules, and Lotus Notes' line of name and date."""
    place = number
    for above in range(number - 1, max(-1, number - 7), -1):
        line = lines[above].strip()
        if not line:
            continue
        if _RULE.fullmatch(line) or _is_separator(line) or (len(line) < 100 and _is_stamp(line)):
            place = above
        else:
            break
    return place


def _is_stamp(line: str) -> bool:
    """Tell whether a line is only a name with an address, or a date and time."""
    date = re.search(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}", line) and re.search(r"\d{1,2}[:.]\d{2}", line)
    address = re.search(r"<[^<>\s]+@[^<>\s]+>$", line)
    return bool(date or address) and not _SENTENCE.search(line)


@cache
def _attributions() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return the pieces of each line above a quotation, by the word it ends with; open begins with a gap."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for _, _, phrase in phrases.entries("attribution"):
        pieces = tuple(phrases.fold(piece).strip() for piece in phrase.split("…"))
        pieces = tuple(pieces[:-1]) + (pieces[-1].rstrip(" :"),)
        found.setdefault(pieces[-1], []).append(pieces)
    return {end: tuple(dict.fromkeys(some)) for end, some in found.items()}


def _attribution(lines: list[str]) -> tuple[int, int] | None:
    """Return where the line above a quotation begins and ends; programs wrap it."""
    for number, line in enumerate(lines):
        stripped = line.rstrip()
        if not stripped or _MARKED.match(line) or len(line) > 300:
            continue
        folded = phrases.fold(stripped)
        closed = folded.endswith((":", "-")) or ":" in folded[-3:]
        marked = _next_is_marked(lines, number + 1)
        if not closed and not marked:
            continue
        joined = ""
        loose: tuple[int, int] | None = None
        for begin in range(number, max(-1, number - 4), -1):
            above = lines[begin].strip()
            if not above or _MARKED.match(lines[begin]):
                break
            joined = f"{above} {joined}".strip()
            if len(joined) > 400:
                break
            how = _is_attribution(phrases.fold(joined), closed, marked)
            if how == "whole":
                return begin, number + 1
            if how == "end":
                loose = loose or (begin, number + 1)
        if loose is not None:
            return loose
    return None


def _next_is_marked(lines: list[str], start: int) -> bool:
    following = [line for line in lines[start : start + 7] if line.strip()]
    return bool(following) and bool(_MARKED.match(following[0]))


def _is_attribution(folded: str, closed: bool, marked: bool) -> str:
    """Tell whether a text leads to a quotation: known from its beginning ("whole"), from its end only, or not."""
    core = folded.rstrip(" :-")
    digits = any(char.isdigit() for char in core)
    telling = digits or "@" in core
    if not telling and not marked:
        return ""
    found = ""
    for end, patterns in _attributions().items():
        if (end and not core.endswith(end)) or (not end and not closed):
            continue
        for pieces in patterns:
            if pieces[0] and not core.startswith(pieces[0]):
                continue
            if sum(map(len, pieces)) < 2 or (not pieces[0] and (len(core) > 200 or len(core) < len(end) + 3)):
                continue
            place = 0
            for piece in pieces:
                place = core.find(piece, place) + len(piece) if piece in core[place:] else -1
                if place < 0:
                    break
            else:
                if pieces[0]:
                    return "whole"
                found = "end"
    if closed and marked and "@" in core and digits and len(core) < 250:
        return found or "end"  # whatever the words: an address, a date, a colon, and a quotation below
    return found


def _without_introduction(lines: list[str]) -> list[str]:
    """Leave out a line that only leads to the quotation, in whatever language: it ends in a colon."""
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    if kept and kept[-1].rstrip().endswith((":", "：")) and ("@" in kept[-1] or re.search(r"\d", kept[-1])):
        kept.pop()
    return kept


def _answers_below(lines: list[str]) -> bool:
    """Tell whether a person wrote below or between quoted lines."""
    marks = [bool(_MARKED.match(line)) for line in lines]
    if True not in marks:
        return False
    first = marks.index(True)
    rest = lines[first:]
    own: list[str] = []
    for number, line in enumerate(rest):
        if not line.strip() or _MARKED.match(line):
            continue
        before = rest[number - 1] if number else ""
        behind = rest[number + 1] if number + 1 < len(rest) else ""
        if _MARKED.match(before) and _MARKED.match(behind) and len(before) > 60:
            continue  # a long quoted line that a server wrapped
        own.append(line)
    left = _unsigned(own, keep_all=False)
    return any(any(char.isalnum() for char in line) for line in left)


# -- what stands below the words


def _unsigned(lines: Sequence[str], keep_all: bool = True) -> list[str]:
    """Return the lines without signature, device line and disclaimer at their end."""
    kept = list(lines)
    for number, line in enumerate(kept):
        if (
            line.strip() in ("--", "—", "-- ", "--\xa0")
            and len(kept) - number <= 40
            and (number or not keep_all)
        ):
            kept = kept[:number]
            break
    kept = _undisclaimed(kept, keep_all)
    kept = _undeviced(kept)
    closed = _unclosed(kept)
    kept = _undeviced(closed)
    while kept and (not kept[-1].strip() or _RULE.fullmatch(kept[-1])):
        kept.pop()
    if len(kept) > 1 and _AUTHOR.fullmatch(kept[-1]) and not kept[-2].strip():
        kept.pop()
    return kept


def _undisclaimed(lines: list[str], keep_all: bool) -> list[str]:
    begins = False
    for number, line in enumerate(lines):
        stripped = line.strip(" *_-#>|[]")
        new = number == 0 or not lines[number - 1].strip() or bool(_RULE.fullmatch(lines[number - 1]))
        if new and stripped and not _MARKED.match(line) and (begins or not keep_all):
            folded = phrases.fold(" ".join(lines[number : number + 3]).strip(" *_-#>|[]")[:300])
            hit = phrases.begins("disclaimer", folded)
            if hit is not None and hit.start == 0 and phrases.first("automatic_text", folded) is None:
                return lines[:number]
        if _RULE.fullmatch(line) and (begins or not keep_all) and _is_footer(lines[number + 1 :]):
            return lines[:number]
        begins = begins or any(char.isalnum() for char in line)
    return lines


def _is_footer(lines: Sequence[str]) -> bool:
    """Tell whether lines below a rule are what a list or a scanner adds."""
    some = [line for line in lines if line.strip()]
    return (
        0 < len(some) <= 8
        and any("://" in line or "www." in line for line in some)
        and len("\n".join(some)) < 900
    )


def _undeviced(lines: list[str]) -> list[str]:
    for number, line in enumerate(lines):
        if len(line) > 160 or not line.strip() or _MARKED.match(line):
            continue
        folded = phrases.fold(line.strip(" -_*<>[]"))
        hit = phrases.begins("device", folded)
        if hit is None or hit.start or len(folded.split()) > 14:
            continue
        said, behind = folded[: hit.end], folded[hit.end :].strip(" .!>")
        if "," in said or ("." in said.rstrip(".") and "…" in hit.phrase) or len(behind.split()) > 6:
            continue
        below = [one for one in lines[number + 1 :] if one.strip()]
        if len(below) <= 2 and not any(_SENTENCE.search(one) for one in below):
            return lines[:number]
        if number == 0 or not lines[number - 1].strip():
            return lines[:number] + lines[number + 1 :]
    return lines


def _unclosed(lines: list[str]) -> list[str]:
    """Cut from the closing on, when only a signature follows; a postscript stays."""
    for number in range(len(lines) - 1, max(-1, len(lines) - 40), -1):
        line = lines[number]
        if len(line) > 80 or not line.strip() or _MARKED.match(line) or not _is_closing(line):
            continue
        below = lines[number + 1 :]
        postscript = next((n for n, one in enumerate(below) if _PS.match(one)), len(below))
        block, rest = below[:postscript], below[postscript:]
        if not _is_signature(block):
            return lines
        if not _has_words(lines[:number]):
            continue
        above = _unclosed(lines[:number]) if number and _is_closing(lines[number - 1]) else lines[:number]
        return above + ([""] + rest if rest else [])
    return lines


def _is_closing(line: str) -> bool:
    folded = phrases.fold(line).strip(" .,:!;-*~")
    if not folded or len(folded) > 70:
        return False
    hit = next((one for one in phrases.find("closing", folded) if one.start == 0), None)
    if hit is None:
        return False
    rest = folded[hit.end :].strip(" .,!")
    if not rest:
        return True
    if phrases.is_cjk(hit.phrase[0]):
        return len(rest) <= 6
    # "Best regards, Anna", "MfG Anna Muster", "Kind regards from Berlin"
    return (
        len(rest.split()) <= 4
        and not _SENTENCE.search(line.strip())
        and len(hit.phrase) > 2
        and (folded[hit.end] in ",-!" or len(hit.phrase.split()) > 1 or hit.phrase.isupper())
    )


def _is_signature(lines: Sequence[str]) -> bool:
    some = [line for line in lines if line.strip() and not _RULE.fullmatch(line)]
    if len(some) > _SIGNATURE + 10 or any(_MARKED.match(line) for line in some):
        return False
    sentences = 0
    for number, line in enumerate(some):
        if _CONTACT.search(line) or number == 0:
            continue
        if len(line) > _SHORT or (_SENTENCE.search(line) and len(line.split()) > 5):
            sentences += 1
    return (sentences == 0 and len(some) <= _SIGNATURE) or (
        sentences <= 2 and any(_CONTACT.search(one) for one in some)
    )


def tidy(lines: Sequence[str]) -> str:
    """Return lines as a text without empty lines around it, and one between paragraphs."""
    kept = list(lines)
    while kept and (not kept[-1].strip() or _RULE.fullmatch(kept[-1])):
        kept.pop()
    text = re.sub(r"\n(?:[ \t\xa0]*\n)+", "\n\n", "\n".join(kept))
    return text.strip("\n").rstrip()
