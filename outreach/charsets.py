"""In which encoding is a text that is not UTF-8? Known, certain enough, or asked for with samples.

Guessing damages names: on a short list, and among the encodings of western, central and Turkish Europe on
any list, several readings make sense. So a guess counts only when its reading is plausible (one script, words
with sensible capitals) and the encodings that are easily taken for it read the text alike or not plausibly.
Raises TableError with the possible readings. charset-normalizer makes the first guess. Known limit: kz1048
(Kazakh, Tajik) is read as cp1251, which has other letters in a few places.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from outreach.sheets import TableError

_MARK = "\udcff"  # stands for what does not decode; no text can hold it
codecs.register_error("outreach.mark", lambda error: (_MARK, getattr(error, "end", 0)))
_ENOUGH = 40  # letters beyond ASCII, to be certain
_ODD = 0.1  # the share of words that may make no sense, names being what they are
_MANY = 300  # of them, to be certain of the script
_SAMPLE = 40_000  # bytes of lines beyond ASCII that are looked at
_COUNTED = 4_000_000  # bytes in which such lines are counted
# Encodings that are taken for one another, each with its usual name.
_FAMILIES = (
    ("cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5", "mac-cyrillic"),
    ("cp1253", "iso8859-7"),
    ("cp1255", "iso8859-8"),
    ("cp1256", "iso8859-6"),
    ("cp932", "euc-jp"),
    ("gb18030", "big5"),
    ("cp949",),
    ("cp874",),
)
_WEST = ("cp1252", "cp1250", "cp1254", "cp1257", "iso8859-2", "mac-roman", "cp850")
_EAGER = ("cp932", "euc-jp", "gb18030", "big5", "cp949", "cp874")  # what almost any bytes may be
_SIGNS = set("،؛؟«»„“”‘’‚–—…№°·•©®§€£\u00a0\u00ad´`¿¡ªº、。・「」『』（）：，；！？")
# Signs that no word has in it, and an apostrophe that none begins with: what is Ά in cp1253.
_STUCK = re.compile(r"[^\W\d_][€£§©®°¡¿№]|[£§©®¡¿][^\W\d_][^\W\d_]|(?<![\w’])’[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Guess:
    """An encoding that is certain enough: its first line beyond ASCII, and how that reads."""

    name: str
    line: int
    sample: str


def named(encoding: str) -> str:
    """Return the codec somebody asked for. Raises TableError when there is none of that name."""
    try:
        "".encode(encoding)
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise TableError(
            f"cannot be read: there is no encoding {encoding!r}", "known ones: utf-8, cp1251, cp1252, utf-16"
        ) from None
    return "utf-8-sig" if name == "utf-8" else encoding


def utf_16(start: bytes) -> str:
    """Return the name of UTF-16 without a byte-order mark, which empty bytes give away; else nothing."""
    start = start[: len(start) // 2 * 2]
    empty = [start[n::2].count(0) for n in (0, 1)]
    if len(start) < 8 or max(empty) * 16 < len(start) or min(empty) * 20 > max(empty):
        return ""
    name = "utf-16-le" if empty[1] > empty[0] else "utf-16-be"
    text = start.decode(name, "replace")
    odd = sum(unicodedata.category(one) in ("Cc", "Cn", "Co") and one not in "\t\r\n" for one in text)
    return name if odd * 100 <= len(text) else ""


def first_wrong(raw: IO[bytes], charset: str) -> int:
    """Return the first line of a file that does not decode; a decoder itself only knows its chunk."""
    raw.seek(0)
    line = 1
    with contextlib.suppress(UnicodeError, LookupError):
        decoder = codecs.getincrementaldecoder(charset)("outreach.mark")
        ended = ""  # \r, when \n may follow
        while chunk := raw.read(1 << 16):
            text = ended + decoder.decode(chunk)
            before, mark, _ = text.partition(_MARK)
            ended = "\r" if before.endswith("\r") and not mark else ""
            before = before.removesuffix("\r") if ended else before
            line += before.count("\n") + before.count("\r") - before.count("\r\n")
            if mark:
                break
    return line


def undecodable(raw: IO[bytes], charset: str) -> TableError:
    """Return what to say about a file that is not in its encoding."""
    name = charset.removesuffix("-sig").upper()
    return TableError(f"is not {name}", "is that the right --encoding?", first_wrong(raw, charset))


def guess(raw: IO[bytes]) -> Guess:
    """Return the encoding of a file that is not UTF-8, if it is certain. Raises TableError with readings."""
    first = first_wrong(raw, "utf-8")
    raw.seek(0)
    data, broken, whole = b"", 0, 0
    for line in _high_lines(raw):
        try:
            line.decode("utf-8")
            whole += 1
        except UnicodeDecodeError:
            broken += 1
            if len(data) < _SAMPLE:
                data += line[:_SAMPLE] + b"\n"
    if whole > broken:
        rest = f", and neither are {broken - 1} more lines" if broken > 1 else ""
        raise TableError(f"is not UTF-8{rest}, but the rest is", "mend that in a text editor", first)
    readings = _readings(data)
    name = _best(data)
    if name and _certain(name, readings):
        return Guess(name, first, _shown(readings[name]))
    likely = [one for one in (name, *_WEST, *(family[0] for family in _FAMILIES)) if one in readings]
    shares = {one: _strange(readings[one]) for one in dict.fromkeys(likely)}
    most = max(min(shares.values(), default=1), 1 / 3)  # Turkish words may look strange too
    ranked = sorted(shares, key=lambda one: shares[one] > _ODD)
    sensible = {one: readings[one] for one in ranked if shares[one] <= most and shares[one] < 1}
    said: dict[str, str] = {}  # sample → encoding; where several read alike, the most usual one
    for one, text in sensible.items():
        sample = _shown(text, [other for other in sensible.values() if other != text])
        if one == _WEST[0] or sample not in said:
            said[sample] = one
    some = ";".join(f" {one}: {sample}" for sample, one in list(said.items())[:5])
    raise TableError(
        "is not UTF-8, and its encoding is not certain" + (f"; it may read{some}" if some else ""),
        "find the reading that is right, and name it: "
        "outreach contacts clean FILE --encoding NAME -o contacts.csv",
        first,
    )


def _high_lines(raw: IO[bytes]) -> Iterator[bytes]:
    counted = 0
    while counted < _COUNTED and (lines := raw.read(1 << 16) + raw.readline()):
        if not lines.isascii():
            counted += len(lines)
            yield from (line for line in lines.splitlines() if not line.isascii())


def _readings(data: bytes) -> dict[str, str]:
    found = {}
    for name in (*_WEST, *(one for family in _FAMILIES for one in family)):
        try:
            found[name] = data.decode(name)
        except UnicodeDecodeError:
            continue
    return found


def _best(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data).best()
    if best is None:
        return ""
    wanted = codecs.lookup(best.encoding).name
    ours = {codecs.lookup(one).name: one for family in (*_FAMILIES, _WEST) for one in family}
    aliases = {"shift_jis": "cp932", "gbk": "gb18030", "gb2312": "gb18030", "euc_kr": "cp949"}
    return ours.get(wanted, aliases.get(wanted, ""))


def _certain(name: str, readings: dict[str, str]) -> bool:
    family = next((family for family in _FAMILIES if name in family), ())
    text = readings.get(name, "")
    letters = sum(not char.isascii() and char.isalpha() for char in text)
    if not family or letters < _ENOUGH or not _plausible(text):
        return False
    # A few words of koi8-r may be Greek; of many words, the first guess knows the script.
    sure = letters >= _MANY and name not in _EAGER
    rivals = (*family, *_EAGER) if sure else readings.keys() - {*_WEST}
    return _common(name, text) and not any(
        readings.get(one, text) != text and _common(one, readings[one]) and _plausible(readings[one])
        for one in rivals
    )


def _common(name: str, text: str) -> bool:
    """Tell whether a reading as Chinese has usual characters; what is Japanese has very rare ones."""
    if name != "gb18030":
        return True
    beyond = [char for char in text if not char.isascii()]
    usual = sum(len(char.encode("gb2312", "ignore")) > 0 for char in beyond)
    return usual * 10 >= len(beyond) * 9


def _plausible(text: str) -> bool:
    """Tell whether a reading makes sense: words of one script, with capitals where words have them."""
    return _strange(text) <= _ODD


def _strange(text: str) -> float:
    """Return how many of the words beyond ASCII make no sense; all when there are signs of none."""
    beyond = (char for char in text if not (char.isascii() or char.isalnum() or char in _SIGNS))
    odd = any(unicodedata.category(char) not in ("Mn", "Mc") for char in beyond)
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    if odd or not words or _STUCK.search(text):
        return 1
    strange = 0
    for word in words:
        scripts = {unicodedata.name(char, "? ").split()[0] for char in word}
        cased = (
            word.islower() or word.isupper() or word.istitle() or word[1:].islower() or word.lower() == word
        )
        mixed = len(scripts - {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}) > 1
        accents = "LATIN" in scripts and sum(not char.isascii() for char in word) * 2 > len(word) > 2
        strange += mixed or not cased or accents or "HALFWIDTH" in scripts
    return strange / len(words)


def _shown(text: str, others: Sequence[str] = ()) -> str:
    """Return a few words beyond ASCII of a reading, first those that other readings have not."""
    words = dict.fromkeys(word for word in _WORD.findall(text) if not word.isascii())
    known = [set(_WORD.findall(other)) for other in others]
    return ", ".join(sorted(words, key=lambda word: sum(word in one for one in known))[:5])[:100]


def decode(data: bytes, declared: str = "") -> str:
    """Return the text of bytes from a mail, whatever is declared; what does not decode becomes U+FFFD.

    Never raises. Declared charsets are believed unless the bytes contradict them: many programs write one
    charset and declare another, or none at all.
    """
    return _SURROGATES.sub("\ufffd", _decoded(data, declared)).replace("\0", "")


_SURROGATES = re.compile("[\ud800-\udfff]")  # UTF-7 and others can hold half a character


def _decoded(data: bytes, declared: str) -> str:
    name = declared.strip().strip("\"'").lower()
    known = _known(_MAIL_ALIASES.get(name, name))
    if data.isascii():
        if b"\x1b$" in data:
            return _iso_2022_jp(data)
        return data.decode(known if known in _SEVEN_BIT else "ascii", "replace")
    with contextlib.suppress(UnicodeDecodeError):  # UTF-8 is hardly ever met by chance
        return data.decode("utf-8")
    text = data.decode(known, "replace") if known and codecs.lookup(known).name != "ascii" else ""
    if text.count("\ufffd") * 50 > len(text):
        text = ""
    if text and not (_of_the_west(known) and _letters_beyond(text) > _MOSTLY):
        return text
    likely = _likely(data[:_SAMPLE])  # hardly any letter is ASCII: not western Europe, whatever is declared
    if likely or not text:
        return data.decode(likely or _best(data[:_SAMPLE]) or "cp1252", "replace")
    return text


_MOSTLY = 0.4  # of the letters; the languages of Latin script have fewer beyond ASCII


def _of_the_west(name: str) -> bool:
    return codecs.lookup(name).name in {
        codecs.lookup(one).name for one in (*_WEST, "iso8859-1", "iso8859-15")
    }


def _letters_beyond(text: str) -> float:
    letters = [char for char in text[:4000] if char.isalpha()]
    return sum(not char.isascii() for char in letters) / (len(letters) or 1)


def _likely(data: bytes) -> str:
    """Return the encoding of a text mostly of other than Latin letters, by the first reading that makes
    sense.
    """
    sensible = []
    for name in (one for family in _FAMILIES for one in family if one not in _EAGER):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(name)
            if _letters_beyond(text) > _MOSTLY and _plausible(text):
                sensible.append(name)
    best = _best(data) if len(sensible) != 1 else ""
    if sensible:
        return best if best in sensible else sensible[0]
    return best if best in _EAGER else ""


def _iso_2022_jp(data: bytes) -> str:
    """Decode ISO-2022-JP (RFC 1468) as it is really written: with the characters of Windows, like ①.

    Two bytes of JIS X 0208 are two of Shift_JIS, whose Windows version Python knows.
    """
    text = ""
    for number, chunk in enumerate(data.split(b"\x1b")):
        mark, rest = (chunk[:2], chunk[2:]) if number else (b"(B", chunk)
        if mark in (b"$B", b"$@"):
            text += b"".join(_shift_jis(*pair) for pair in zip(rest[::2], rest[1::2], strict=False)).decode(
                "cp932", "replace"
            )
        else:
            text += rest.decode("ascii", "replace")
    return text


def _shift_jis(first: int, second: int) -> bytes:
    if not (0x21 <= first <= 0x7E and 0x21 <= second <= 0x7E):
        return bytes(one for one in (first, second) if one < 0x21)  # a line that ends without its escape
    row, cell = first - 0x21, second - 0x21
    lead = row // 2 + (0x81 if row < 62 else 0xC1)
    return bytes((lead, cell + (0x9F if row % 2 else 0x40 + (cell >= 63))))


# What looks like ASCII; names that mail uses for what Python calls otherwise, or the
# smaller charset that is declared where the larger one is meant (WHATWG Encoding Standard).
_SEVEN_BIT = ("iso-2022-kr", "hz-gb-2312", "utf-7")
_NO_CHARSETS = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "unicode-escape")
_MAIL_ALIASES = {
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "iso-8859-8-i": "cp1255",
    "iso-8859-8": "cp1255",
    "unicode-1-1-utf-7": "utf-7",
    "x-mac-cyrillic": "mac-cyrillic",
    "windows-874": "cp874",
    "x-user-defined": "",
    "cp-850": "cp850",
}


def _known(name: str) -> str:
    """Return the codec of a declared charset, or nothing: unknown, or no charset at all (hex, rot13)."""
    try:
        good = isinstance(b"\xff-\xff".decode(name, "replace"), str) and name not in _NO_CHARSETS
    except (LookupError, ValueError):  # UnicodeError is one: some never replace
        good = False
    return name if good else ""
