"""What a person wrote in a reply: without the letter it answers, signature, device line and disclaimer.

Quotations are known by their marks (`>`), by the line above them ("On … wrote:"), by a separator, or by a
block of headers, in the words of phrases/*.toml. An answer below or between quoted lines is kept whole, with
what it answers: there a cut would lose words. A signature is cut only where nothing in it could be a
sentence. In doubt a line stays: words that are lost are worse than a name too many. Time grows with the
length of the text. Known limits: answers inside an Outlook quotation in another colour cannot be told from
it; a name without a closing above it stays.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache, lru_cache

from outreach import phrases

_MOST_LINES = 3_000
_MOST_TRIED = 300  # lines that may stand above a quotation
_RULE = re.compile(r"\s*[-_=*~#–—―─━]{3,}\s*")
# SC> is The Bat!; » is a mark only where it does not open a German or Danish quotation.
_MARKED = re.compile(r"\s{0,3}(?:[^\W\d_]{0,4}[>＞]|[|]|[»›](?![^»›]{0,2000}[«‹]))")
_LABEL = re.compile(r"([^:：@<>*_|]{1,30}?)\s?[*_]{0,3}\s?[:：][*_]{0,3}(?!//)(.*)")
_CUT_ADDRESS = re.compile(
    r"(<[^<>\s@]{1,64}@[^<>\s]{1,255})\n> ?(?=\S[^\n]{0,40}:\s*\n)"
)  # as Gmail wraps it
_CLOCK = re.compile(r"(?<![\d.])\d{1,2} ?[:.h時点] ?\d{2}(?![\d.])|\d時|\d点")
_DATE = re.compile(r"\d{1,4} ?[./-] ?\d{1,2} ?[./-] ?\d{1,4}|\d{4}|\d{1,2}\.? [^\W\d]")
_ADDRESS_AT_END = re.compile(r"<[^<>\s]+@[^<>\s]+>\W{0,3}$")
_PS = re.compile(
    r"\s*(?:[PРр]\.? ?[PРр]?\.? ?[SСс]\.?|p\.? ?d\.?|n\. ?b\.|п\.? ?[сп]\.?|з\.? ?[иіы]\.?"
    r"|υ\.? ?γ\.?|נ\W{0,2}ב\.?|u\.? ?i\.|附言|又及|追伸|追记|ملاحظة|ملحوظة)[\s:：、.,–-]",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!?…;:؟。！？：][»”“\"’')\]]{0,3}\s*$")
_SHORT_WORD = re.compile(r"(?:^|\W)\w{1,4}\.\W*$")  # z.o.o., e. V., A. P.
_CONTACT = re.compile(
    r"@|www\.|https?://|\+?\d[\d\s()/.-]{5,}\d|\||\b(?:tel|fax|mob|phone|e-?mail|тел|факс|моб)\b|℡",
    re.IGNORECASE,
)
_AUTHOR = re.compile(r"\s*[-–—/]{1,2}\s?[^\W\d_][\w.'’-]*( [^\W\d_][\w.'’-]*){0,2}\s*")
_LONGEST = 90  # characters of a line in a signature
_SIGNATURE = 16  # lines of one


def visible(text: str) -> str:
    """Return what was written anew: paragraphs as they stand, blank lines joined to one."""
    above = unquoted(text)
    return tidy(_unsigned(above)) or tidy(above)


@lru_cache(maxsize=2)
def unquoted(text: str) -> tuple[str, ...]:
    """Return the lines that are not the quoted letter: the signature is still there."""
    text = _CUT_ADDRESS.sub(r"\1>", text)
    lines = text.split("\n")[:_MOST_LINES]
    above, below = _parts(lines)
    return tuple(above if _has_words(above) else below)


def own(text: str) -> str:
    """Return what a person wrote, without quoted lines in between; the signature is there."""
    return "\n".join(line for line in unquoted(text) if not is_quoted(line))


def is_quoted(line: str) -> bool:
    """Tell whether a line is marked as quoted."""
    return _MARKED.match(line) is not None


def _parts(lines: list[str]) -> tuple[list[str], list[str]]:
    """Return the lines above what is quoted, and what stands instead where nothing is above."""
    block = _block(lines)
    if block and _answers_below(lines[block[1] :]):
        return lines, []
    head = lines[: block[0]] if block else lines
    rest = lines[block[1] :] if block else []
    if found := _attribution(head):
        begin, end = found
        if not any(is_quoted(line) for line in head[end : end + 6]):
            if _has_words(head[:begin]):  # not marked as a quotation: all of it is one
                return head[:begin], []
        elif not _answers_below(head[end:]):
            return head[:begin], [_unmarked(line) for line in head[end:]]
        else:
            return head, rest
    first = next((number for number, line in enumerate(head) if is_quoted(line)), None)
    if first is not None and not _answers_below(head[first:]):
        return _without_introduction(head[:first]), [_unmarked(line) for line in head[first:]]
    return head, rest


def _unmarked(line: str) -> str:
    return re.sub(r"^(\s{0,3}[>|＞»›]\s?)+", "", line)


def _has_words(lines: Sequence[str]) -> bool:
    return any(line.strip() and not _RULE.fullmatch(line) for line in lines)


# -- where the quotation begins


def _block(lines: list[str]) -> tuple[int, int] | None:
    """Return where a separator or a block of headers begins and ends."""
    for number, line in enumerate(lines):
        if len(line) > 300 or not line.strip():
            continue
        if end := _carets(lines, number):
            return number, end
        if is_quoted(line):
            continue
        sure = _is_separator(line)
        if sure:
            headers = _headers(lines, number + 1)
            if sure == "rule" or headers or _next_is_marked(lines, number + 1):
                return number, headers or number + 1
        if end := _headers(lines, number) or _notes_headers(lines, number):
            return _back(lines, number), end
    return None


def _carets(lines: list[str], number: int) -> int:
    """Return where GroupWise's line ends, which it wraps: `>>> Ann <ann@b> 06/18/12 05:30 >>>`."""
    if not lines[number].startswith(">>> "):
        return 0
    joined = ""
    for end in range(number, min(number + 3, len(lines))):
        joined += lines[end].strip() + " "
        if joined.rstrip().endswith((">>>", ":")) and ("@" in joined or _CLOCK.search(joined)):
            return end + 1
    return 0


def _is_separator(line: str) -> str:
    """Tell whether a line parts an answer from a quotation: by a rule around it ("rule"), or by its words."""
    folded = phrases.fold(line)
    core = folded.strip("-_=*>~# :.")
    if not core or len(core) > 120:
        return ""
    hit = phrases.begins("original_message", core)
    if hit is None or hit.start:
        return ""
    open_ended = "…" in hit.phrase and ("@" in line or bool(_DATE.search(line)))
    if hit.end != len(core) and not open_ended and core[hit.end] not in " -:":
        return ""
    if folded[0] in "-_=*~#" or folded[-1] in "-_=*~#":
        return "rule"
    return "words" if hit.end == len(core) or open_ended else ""


@cache
def _labels() -> frozenset[str]:
    return phrases.words("quote_header", "quote_sender")


@cache
def _senders() -> frozenset[str]:
    return phrases.words("quote_sender")


def _headers(lines: list[str], start: int) -> int:
    """Return where a block of header lines that begins at `start` ends, or 0 if there is none.

    People write "Date:" and "Subject:" themselves, so one line must name a sender, or an address.
    """
    seen: set[str] = set()
    blank = end = 0
    sender = told = False
    for number in range(start, min(start + 24, len(lines))):
        line = lines[number]
        if not line.strip("> |*"):
            blank += 1
            if blank > 1 or len(seen) >= 3 or (seen and not sender):
                break
            continue
        match = _LABEL.match(line[:400].lstrip("> |*_\t\xa0"))
        label = phrases.fold(match[1]) if match else ""
        if match and label in _labels():
            seen.add(label)
            told = told or "@" in line or any(char.isdigit() for char in match[2])
            sender = sender or "@" in line or (label in _senders() and any(map(str.isalpha, match[2])))
            end = number + 1
            blank = 0
        elif not seen:
            return 0
        elif blank or number - end > 4:
            break
    enough = len(seen) >= 3 or (len(seen) == 2 and told and _is_opening(lines, start))
    return end if sender and enough else 0


def _notes_headers(lines: list[str], start: int) -> int:
    """Return where the block of Lotus Notes ends: name and date, then labels alone on their lines."""
    if not _is_stamp(lines[start].strip()):
        return 0
    seen: set[str] = set()
    end = 0
    for number in range(start + 1, min(start + 14, len(lines))):
        label = phrases.fold(lines[number].partition(":")[0])
        if label in _labels():
            seen.add(label)
            end = number + 1
            if number + 1 < len(lines) and phrases.fold(lines[number + 1].partition(":")[0]) not in _labels():
                end += bool(lines[number + 1].strip()) and ":" not in lines[number]
    return end if len(seen) >= 2 else 0


def _is_opening(lines: list[str], start: int) -> bool:
    """Tell whether a rule or an empty line, or the beginning, is above."""
    above = lines[start - 1] if start else ""
    return not above.strip() or bool(_RULE.fullmatch(above)) or bool(_is_separator(above))


def _back(lines: list[str], number: int) -> int:
    """Return where a block of headers begins: with the rules, or Lotus Notes' name and date, above it."""
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
    date = re.search(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}", line) and _CLOCK.search(line)
    return bool(date or _ADDRESS_AT_END.search(line)) and not _SENTENCE.search(line) and len(line) < 120


@cache
def _attributions() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return the pieces of each line above a quotation, by the words it ends with; the first may be empty."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for _, _, phrase in phrases.entries("attribution"):
        *pieces, last = (phrases.fold(piece) for piece in phrase.split("…"))
        found.setdefault(last.rstrip(" :"), []).append((*pieces, last.rstrip(" :")))
    return {end: tuple(dict.fromkeys(some)) for end, some in found.items()}


def _attribution(lines: list[str]) -> tuple[int, int] | None:
    """Return where the line above a quotation begins and ends; programs wrap it."""
    tried = 0
    for number, line in enumerate(lines):
        if not line.strip() or is_quoted(line) or len(line) > 300 or tried > _MOST_TRIED:
            continue
        marked = _next_is_marked(lines, number + 1)
        folded = phrases.fold(line)
        closed = folded.endswith((":", "-")) or ":" in folded[-3:]
        if not closed and not marked and not (_CLOCK.search(line) and _DATE.search(line)):
            continue
        tried += 1
        if found := _joined_attribution(lines, number, closed, marked):
            return found
    return None


def _joined_attribution(lines: list[str], number: int, closed: bool, marked: bool) -> tuple[int, int] | None:
    """Try a line, and up to three above it, as one."""
    joined = ""
    loose: tuple[int, int] | None = None
    for begin in range(number, max(-1, number - 4), -1):
        above = lines[begin].strip()
        if not above or is_quoted(lines[begin]) or len(joined) > 400:
            break
        joined = f"{above} {joined}".strip()
        telling = "@" in joined or _CLOCK.search(joined) is not None
        if not telling and not marked:
            continue  # "On 2 May the ministry wrote:" is what people say
        bare = (
            len(joined) < 120
            and bool(_CLOCK.search(joined) and _DATE.search(joined))
            and not _SENTENCE.search(joined)
        )
        how = _is_attribution(phrases.fold(joined), closed or bare, marked)
        if how == "whole":
            return begin, number + 1
        if how == "end" and (loose is None or (telling and _is_opening(lines, begin))):
            loose = begin, number + 1
    return loose


def _next_is_marked(lines: list[str], start: int) -> bool:
    following = [line for line in lines[start : start + 7] if line.strip()]
    return bool(following) and is_quoted(following[0])


def _is_attribution(folded: str, closed: bool, marked: bool) -> str:
    """Tell whether a text leads to a quotation: by its beginning ("whole"), by its "end" only, or not."""
    core = folded.rstrip(" :-")
    digits = any(char.isdigit() for char in core)
    found = ""
    for end, patterns in _attributions().items():
        if (end and not core.endswith(end)) or (not end and not closed):
            continue
        for pieces in patterns:
            if (pieces[0] and not core.startswith(pieces[0])) or sum(map(len, pieces)) < 2:
                continue
            if not pieces[0] and (len(core) > 200 or len(core) < len(end) + 3):
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
        return "end"  # whatever the words: an address, a date, a colon, and a quotation below
    return found


def _without_introduction(lines: list[str]) -> list[str]:
    """Leave out a line that only leads to the quotation, in whatever language: it ends in a colon."""
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    last = kept[-1].rstrip() if kept else ""
    if last.endswith((":", "：")) and ("@" in last or _CLOCK.search(last)):
        kept.pop()
    return kept


def _answers_below(lines: list[str]) -> bool:
    """Tell whether a person wrote below or between quoted lines."""
    first = next((number for number, line in enumerate(lines) if is_quoted(line)), None)
    if first is None:
        return False
    rest = lines[first:]
    own: list[str] = []
    for number, line in enumerate(rest):
        if not line.strip() or is_quoted(line):
            continue
        before = rest[number - 1] if number else ""
        behind = rest[number + 1] if number + 1 < len(rest) else ""
        wrapped = len(before) > 60 and len(line) < 30 and line[:1].islower()
        if wrapped and is_quoted(before) and is_quoted(behind):
            continue  # the end of a long quoted line
        own.append(line)
    return any(any(map(str.isalnum, line)) for line in _unsigned(own, below=True))


# -- what stands below the words


def _unsigned(lines: Sequence[str], below: bool = False) -> list[str]:
    """Return the lines without signature, device line and disclaimer at their end.

    `below`: they stand below a quotation, and may be nothing but a signature.
    """
    kept = _undashed(list(lines), below)
    kept = _undisclaimed(kept, below)
    kept = _undeviced(kept)
    kept = _unclosed(kept)
    kept = _undeviced(kept)
    while kept and (not kept[-1].strip() or _RULE.fullmatch(kept[-1])):
        kept.pop()
    if len(kept) > 1 and _AUTHOR.fullmatch(kept[-1]) and not kept[-2].strip():
        kept.pop()
    return kept


def _undashed(lines: list[str], below: bool) -> list[str]:
    """Cut at the mark of a signature (RFC 3676 §4.3). Without its blank it may be a divider: then only above
    one.
    """
    dashes = [number for number, line in enumerate(lines) if line.strip() in ("--", "—", "––")]
    if len(dashes) != 1:
        return lines
    number = dashes[0]
    block = lines[number + 1 :]
    postscript = next((place for place, line in enumerate(block) if _PS.match(line)), len(block))
    block, rest = block[:postscript], block[postscript:]
    sure = lines[number].rstrip("\r") in ("-- ", "--\xa0")
    if any(is_quoted(line) for line in block) or not (number or below) or len(block) > 40:
        return lines
    if not sure and any(_is_prose(line) for line in block):
        return lines
    return [*lines[:number], *(["", *rest] if rest else [])]


def _undisclaimed(lines: list[str], below: bool) -> list[str]:
    """Cut a legal or a scanner's paragraph, and all below it: only where the words have ended before, or
    surely.
    """
    ended = below
    for number, line in enumerate(lines):
        stripped = line.strip(" *_-#>|[]")
        new = number == 0 or not lines[number - 1].strip() or bool(_RULE.fullmatch(lines[number - 1]))
        if stripped and new and not is_quoted(line) and (below or _has_words(lines[:number])):
            paragraph = list(itertools.takewhile(str.strip, lines[number : number + 12]))
            folded = phrases.fold(" ".join(paragraph)[:1500]).lstrip(" *_-#>|[]")
            hit = phrases.begins("disclaimer", folded)
            if hit is not None and hit.start == 0 and phrases.first("automatic_text", folded[:300]) is None:
                again = next((one for one in phrases.find("disclaimer", folded) if one.start > hit.end), None)
                if ended or again is not None or hit.end == len(phrases.fold(stripped)):
                    return lines[:number]
        if _RULE.fullmatch(line) and (ended or len(line.strip()) >= 20) and _is_footer(lines[number + 1 :]):
            return lines[:number]
        ended = ended or _is_device(line) or line.strip() in ("--", "—")
        ended = ended or (_is_closing(line) and not _is_thanks(line))
    return lines


def _is_footer(lines: Sequence[str]) -> bool:
    """Tell whether lines below a rule are what a list or a scanner adds."""
    some = [line for line in lines if line.strip()]
    linked = any("://" in line or "www." in line for line in some)
    return 0 < len(some) <= 8 and linked and sum(_is_prose(line) for line in some) <= 1


def _is_device(line: str) -> bool:
    """Tell whether a telephone or a program wrote a line: short, and nothing more in it."""
    if len(line) > 160 or not line.strip() or is_quoted(line):
        return False
    folded = phrases.fold(line.strip(" -_*<>[]"))
    hit = phrases.begins("device", folded)
    if hit is None or hit.start or len(folded.split()) > 14:
        return False
    said, behind = folded[: hit.end], folded[hit.end :].strip(" .!>")
    gap = "…" in hit.phrase and "." in said.rstrip(".")
    return not ("," in said or gap or len(behind.split()) > 6)


def _undeviced(lines: list[str]) -> list[str]:
    for number in range(max(0, len(lines) - 60), len(lines)):
        if not _is_device(lines[number]):
            continue
        below = [one for one in lines[number + 1 :] if one.strip()]
        if len(below) <= 2 and not any(_is_prose(one) for one in below):
            return lines[:number]
        if number == 0 or not lines[number - 1].strip():
            return lines[:number] + lines[number + 1 :]
    return lines


def _unclosed(lines: list[str]) -> list[str]:
    """Cut from the closing on, when only a signature follows; a postscript stays."""
    for last in range(len(lines) - 1, max(-1, len(lines) - 40), -1):
        if is_quoted(lines[last]):
            return lines
        length = _closing(lines, last)
        if not length:
            continue
        below = lines[last + length :]
        postscript = next((number for number, line in enumerate(below) if _PS.match(line)), len(below))
        block, rest = below[:postscript], below[postscript:]
        thanks = length == 1 and _is_thanks(lines[last])
        if thanks and not _has_words(block):
            continue  # said, not signed
        if not _is_signature(block, strict=thanks or not (block and block[0].strip())):
            return lines
        if not _has_words(lines[:last]):
            continue
        number = last
        while number > 1 and _is_closing(lines[number - 1]):  # "In solidarity," over "Best regards,"
            number -= 1
        return [*lines[:number], *(["", *rest] if rest else [])]
    return lines


def _closing(lines: list[str], number: int) -> int:
    """Return how many lines a closing has that begins here: one, or a formula of up to three; 0 if none
    does.
    """
    if _is_closing(lines[number]):
        return 1
    paragraph = [lines[number]]
    for line in lines[number + 1 : number + 4]:
        if not line.strip():
            break
        paragraph.append(line)
    whole = " ".join(paragraph)
    if len(paragraph) > 3 or len(whole) > 220 or len(lines[number]) < 20:
        return 0
    hit = next((one for one in phrases.find("closing", phrases.fold(whole[:80])) if one.start == 0), None)
    formula = hit is not None and len(hit.phrase.split()) >= 3 and len(re.findall(r"[.!?]", whole[:-1])) == 0
    return len(paragraph) if formula else 0


def _is_closing(line: str) -> bool:
    if len(line) > 80 or not line.strip() or is_quoted(line):
        return False
    folded = phrases.fold(line).strip(" .,:!;-*~")
    hit = next((one for one in phrases.find("closing", folded) if one.start == 0), None) if folded else None
    if hit is None:
        return False
    rest = folded[hit.end :].strip(" .,!")
    if not rest:
        return True
    if phrases.is_cjk(hit.phrase[0]):
        return len(rest) <= 4 and not _SENTENCE.search(line)
    # "Best regards, Anna", "MfG Anna Muster", "С уважением, Сизова А. П."
    ended = _SENTENCE.search(line.strip()) and not _SHORT_WORD.search(line)
    telling = folded[hit.end] in ",-!" or len(hit.phrase.split()) > 1 or hit.phrase.isupper()
    return len(rest.split()) <= 4 and not ended and telling


def _is_thanks(line: str) -> bool:
    return phrases.is_whole("thanks", phrases.fold(line)) is not None


def _is_signature(lines: Sequence[str], strict: bool) -> bool:
    """Tell whether lines hold a name and what belongs to it, and nothing that somebody says.

    `strict`: below thanks, or below an empty line, words may follow that end in no full stop.
    """
    some = [line for line in lines if line.strip() and not _RULE.fullmatch(line)]
    if len(some) > _SIGNATURE or any(is_quoted(line) or _is_prose(line) for line in some):
        return False
    if strict and any(line.rstrip().endswith((":", "：")) for line in some):
        return False  # "Thanks. These sign:"
    return not some or _CONTACT.search(some[0]) is not None or not _may_be_said(some[0], strict)


def _may_be_said(line: str, strict: bool) -> bool:
    """Tell whether a line below a closing may be words instead of a name, though no sentence ends in it."""
    words = line.split()
    small = sum(word[0].islower() for word in words)
    return len(words) > 8 or words[0][0].islower() or (strict and len(words) > 3 and small * 2 > len(words))


def _is_prose(line: str) -> bool:
    """Tell whether somebody says something in a line: a sentence, or more words than a name or a function
    has.
    """
    if not line.strip():
        return False
    words = len(line.split())
    ended = _SENTENCE.search(line) is not None
    cjk = sum(map(phrases.is_cjk, line))
    if cjk:
        return (ended and cjk > 5) or cjk > 40
    if _CONTACT.search(line):
        return ended and words > 8
    if len(line) > _LONGEST:
        return True
    if ended and words > 2:
        return words > 5 or not _SHORT_WORD.search(line)
    small = sum(word[0].islower() for word in line.split())
    return (words > 8 and small * 2 > words) or (words > 4 and re.search(r"\w{5,}[.!?] \w", line) is not None)


def tidy(lines: Sequence[str]) -> str:
    """Return lines as a text without empty lines around it, and one between paragraphs."""
    kept = [line.rstrip() for line in lines]
    while kept and (not kept[-1] or _RULE.fullmatch(kept[-1])):
        kept.pop()
    text = re.sub(r"\n(?:[ \t\xa0]*\n)+", "\n\n", "\n".join(kept))
    return text.strip("\n")
