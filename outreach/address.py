"""Mail addresses: parse, compare, put on the wire.

Identity of an address (docs/architecture.md, "Addresses"): stripped, NFC, domain as lower-case A-label
(RFC 5890), local part compared case-folded and sent as written; plus-tags and dots count.
`parse` refuses display names, quoted local parts, and the test domains that email-validator refuses; `mend`
makes out of what people write into a cell the addresses they can only have meant, and says what it did.
Known limit: whether the mailbox exists is only ever known by the server.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import idna

# What email-validator accepts as it stands, for plain addresses: a part of it, which a test holds. The domain
# must end in a word of letters that is no special name; labels have no hyphen at 3 and 4 (punycode).
_PLAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9_+-]|\.(?=[A-Za-z0-9_+-])){0,62}@"
    r"(?=[a-z0-9.-]{4,180}\Z)(?:[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9])){0,61}\.)+(?=[a-z]{2,18}\Z)[a-z]+\Z"
)
_NOT_PLAIN = ("test", "invalid", "local", "localhost", "onion", "arpa", "alt", "internal", "lan", "home")
# Names that never reach anybody (RFC 2606, RFC 6761).
_RESERVED = ("example", "test", "invalid", "localhost")
_RESERVED_DOMAINS = ("example.com", "example.net", "example.org")
_TOO_LONG = 1_000  # characters; 254 bytes are allowed


class AddressError(ValueError):
    """The text is no mail address; the message says why, in words for the list's owner."""


def parse(text: str) -> str:
    """Return the address as it is sent: local part as written, domain in lower case and NFC."""
    if is_plain(text):
        return text
    from email_validator import EmailNotValidError, validate_email  # a fifth of a second, mostly for nothing

    text = unicodedata.normalize("NFC", text.strip())
    if len(text) > _TOO_LONG:  # the library looks at every character first, many times
        raise AddressError("The email address is too long")
    try:
        result = validate_email(text, check_deliverability=False, allow_smtputf8=True, strict=True)
    except EmailNotValidError as error:
        raise AddressError(str(error).rstrip(".")) from None
    for char in result.local_part:
        if not char.isascii() and unicodedata.category(char)[0] not in "LMN":
            raise AddressError(f"the character {char!r} does not belong in an address")
    return f"{result.local_part}@{result.domain}"


def is_plain(text: str) -> bool:
    """Tell at a glance that a text is a usable address in its usual form; most are. No says nothing."""
    return _PLAIN.match(text) is not None and text.rpartition(".")[2] not in _NOT_PLAIN and "--" not in text


def domain(address: str) -> str:
    """Return the domain as a lower-case A-label."""
    name = address.rpartition("@")[2]
    return name.lower() if name.isascii() else idna.encode(name, uts46=True).decode("ascii")


def key(address: str) -> str:
    """Return what two spellings of one address have in common; the ledger compares these."""
    if address.isascii() and address.islower() and not address[0].isspace() and not address[-1].isspace():
        return address
    text = unicodedata.normalize("NFC", address.strip())
    return f"{text.rpartition('@')[0].casefold()}@{domain(text)}"


def wire(address: str) -> str:
    """Return the address for envelope and header: the domain as A-label, the local part as it is."""
    return f"{address.rpartition('@')[0]}@{domain(address)}"


def needs_smtputf8(address: str) -> bool:
    """Tell whether only a server with SMTPUTF8 (RFC 6531) can take this address."""
    return not address.rpartition("@")[0].isascii()


def is_reserved(address: str) -> bool:
    """Tell whether the domain is set aside for documentation and tests (RFC 2606)."""
    name = domain(address)
    return name.rpartition(".")[2] in _RESERVED or any(
        name == reserved or name.endswith(f".{reserved}") for reserved in _RESERVED_DOMAINS
    )


# Mending ------------------------------------------------------------------------------------------

_BLANKS = re.compile(r"[\s\u00a0\u2000-\u200f\u2028-\u202f\u2060-\u2064\u3000\ufeff\u00ad]+")
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad]"
)
_WIDE = re.compile(r"[\uff01-\uff5e\ufe6b\ufe52\uff61\u3002]")
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u00b4`\u2032"), "'")
_AT = re.compile(r"\s*[(\[{<]\s*(?:at|ät|æt|a|arroba|chez|malpa|małpa|собака|@)\s*[)\]}>]\s*", re.IGNORECASE)
_DOT = re.compile(r"\s*[(\[{<]\s*(?:dot|punkt|point|punto|ponto|точка|\.)\s*[)\]}>]\s*", re.IGNORECASE)
_AT_WORD = re.compile(r"^(\S+) (?:at|AT) (?!www\.)(\S+(?:(?: (?:dot|DOT) |\.)\S+)+)$")
# A name may hold a comma, as in `Lee, Ann <ann@…>`.
_NAMED = re.compile(
    r"(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|(?<![^<>;,\"])((?:[^<>;,\"@/\d]*,\s)?[^<>;,\"]*?))"
    r"\s*<\s*(?:mailto:)?([^<>]*)>",
    re.IGNORECASE,
)
# Words before an address are a name or a label when there are two of them or a sign; `ann lee@…` is neither.
_AROUND = re.compile(
    r"((?:[^@\s]+\s+){2,}|[^@]*[:(\[\u2013\u2014]\s*|)"
    r"((?!/)[^@\s()\[\]:]+@[^@\s()\[\]:]+)\s*((?:[(\[][^@]*)?[)\]]?)"
)
# `ann,lee@…` is one address with a slip, or a word beside another person's address: nobody knows.
_UNCUT = re.compile(r"((?:^|[\s;,|])[\w.+'{-]+)([,/])(?=[\w.+'}-]+@)")
_KEPT = {",": "\0", "/": "\1"}  # meanwhile
# What an address looks like at least; to say so is much faster than to parse.
_CHANCE = re.compile(r"\s*[^\s\"(),:;<>\[\]\\@]+@(?=[^@.]*\.)[^\s\"(),:;<>\[\]\\@]+\s*\Z")
_AND = re.compile(r"\s+(?:and|or|und|oder|et|ou|y|e|o|i|и|или|&)\s+", re.IGNORECASE)
_SIGNS = "'*|{}/"  # no address begins with these, though it might
_EDGES = " \t\r\n,;:.<>()[]{}|/\\\"'\u00ab\u00bb\u201c\u201d\u201e*\u2022-\u2013\u2014"
# Endings of domains beyond those of countries, where two addresses are glued together.
_ENDINGS = (
    "com", "org", "net", "info", "edu", "gov", "int", "eu", "mil", "biz", "coop", "ngo", "ong", "name", "pro",
    "museum", "media", "press", "news", "online", "site", "party", "vote", "world", "international", "berlin",
    "wien", "cat", "eus", "gal", "scot", "wales", "paris", "london", "community", "social", "green", "global",
    "foundation", "africa", "asia", "example",
)  # fmt: skip
_MOST = 50  # addresses of one cell
_LONGEST = 4_000  # characters of a cell; looking at one takes time that grows with its square


@dataclass(frozen=True, slots=True)
class Mended:
    """What a cell means: its addresses, the first one being the main one, and what was done to read it."""

    addresses: tuple[str, ...] = ()
    said: tuple[str, ...] = ()  # repairs, in words; nothing when the cell was in order
    name: str = ""  # that stood around the first address
    problem: str = ""  # why there is no address
    suggestion: str = ""


def mend(cell: str) -> Mended:
    """Read a cell of a list: one address or several, repaired where only one meaning is possible."""
    if is_plain(cell):
        return Mended((cell,))
    if len(cell) > _LONGEST:
        return Mended(problem=f"the cell has {len(cell)} characters: too many for addresses")
    text, said = _tidy(cell)
    if not text:
        return Mended(problem="there is no address")
    whole = "there is no address"
    try:
        found = parse(text)
        if text[0] not in _SIGNS:
            return Mended((found,), tuple(said))
    except AddressError as error:
        whole = str(error)
    good: list[str] = []
    bad: list[str] = []
    name = ""
    for written, part in _parts(text, said):
        several = _one(part, said)
        name = name or ("" if good else written)
        good += several
        if not several and part.strip(_EDGES):
            bad.append(part.strip())
    good = list({key(one): one for one in reversed(good)}.values())[::-1]
    if len(good) > _MOST:
        said.append(f"{len(good)} addresses, of which {_MOST} are kept")
        good = good[:_MOST]
    if not good:
        return Mended(problem=whole, suggestion=_suggestion(text))
    bad = [one for one in bad if "@" in one or len(good) > 1 or not name]
    if bad:
        said.append(f"unusable: {', '.join(bad)[:100]}; used {good[0]}")
    elif not said and len(good) == 1:
        said.append(f"read as {good[0]}")
    if len(good) > 1 and not bad:
        said.append(f"several addresses; {good[0]} gets the letter, kept: {', '.join(good[1:])}")
    return Mended(tuple(good), tuple(dict.fromkeys(said)), name)


def _tidy(cell: str) -> tuple[str, list[str]]:
    """Do to the whole cell what can be done without knowing how many addresses it holds."""
    said = []
    text = unicodedata.normalize("NFC", cell)
    if _INVISIBLE.search(text):
        text = _INVISIBLE.sub("", text)
        said.append("invisible characters were taken out")
    if _WIDE.search(text):
        text = unicodedata.normalize("NFKC", text).replace("\u3002", ".")
        said.append("full-width characters were made plain")
    bare = text.strip(" \t\r\n\u00a0\u3000")
    if bare != text:
        said.append("spaces were taken off")
    plain = _DOT.sub(".", _AT.sub("@", bare))
    if "@" not in plain and (word := _AT_WORD.match(plain)):
        plain = f"{word[1]}@{re.sub(' dot ', '.', word[2], flags=re.IGNORECASE)}"
    if plain != bare and "@" in plain:
        said.append("a written-out @ or dot was read as one")
        bare = plain
    return bare, said


def _parts(text: str, said: list[str]) -> list[tuple[str, str]]:
    """Cut a text into what may be one address each, with the name that stood around it."""
    found = []
    rest = text
    if "<" in text and ">" in text:
        for one in _NAMED.finditer(text):
            if "@" not in one[4]:
                continue
            name = next((part for part in (one[1], one[2], one[3]) if part), "").replace("\\", "")
            name = name.strip(_EDGES)
            name += ")" if name.count("(") > name.count(")") else ""
            found.append(("" if "@" in name else name, one[4]))
            rest = rest.replace(one[0], ";", 1)
        if found:
            said.append("the name around it was taken off" if found[0][0] else "the brackets were taken off")
    rest = _UNCUT.sub(lambda one: one[1] + _KEPT[one[2]], rest)
    if rest.count("@") > 1:
        rest = rest.replace("/", ";")
    pieces = re.split(r"[;,|\n\r\t\u060c\u061b\u3001]+", rest) if rest.strip(_EDGES) else []
    for piece in (one.replace("\0", ",").replace("\1", "/") for one in pieces):
        if piece.count("@") > 1:
            found += [("", one) for one in re.split(r"\s+", _AND.sub(" ", piece).strip())]
        elif re.match(r"\s*mailto:", piece, re.IGNORECASE):
            found.append(("", piece))
        elif (around := _AROUND.fullmatch(piece.strip())) and (around[1] or around[3]):
            said.append("the words around it were taken off")
            found.append((_name(around[1]), around[2]))
        else:
            found.append(("", piece))
    return found


def _name(words: str) -> str:
    """Return words before an address if they can be a name; `write to` and `tel. 12` cannot."""
    found = words.strip(_EDGES).split()
    capitals = all(word[0].isalpha() and not word[0].islower() for word in found)
    return " ".join(found) if capitals and len(found) <= 5 and ":" not in words else ""


def _usable(text: str) -> bool:
    try:
        parse(text)
    except AddressError:
        return False
    return True


def _one(part: str, said: list[str]) -> list[str]:
    """Return the address that a part of a cell means; two, where two are glued together."""
    text = part.strip()
    if re.match(r"mailto:", text, re.IGNORECASE):
        text = re.sub(r"(?i)^mailto:(//)?", "", text).partition("?")[0].replace("%40", "@")
        said.append("mailto: was taken off")
    steps = (
        ("", lambda one: one),
        ("signs around it were taken off", lambda one: one.strip(_EDGES)),
        ("spaces were taken out", lambda one: _closed(one.strip(_EDGES))),
        ("a typographic apostrophe was made plain", lambda one: one.translate(_APOSTROPHES).strip(_EDGES)),
    )  # fmt: skip
    before = ""
    for words, step in steps[text[:1] in _SIGNS :]:
        tried = step(text)
        if tried == before or not _CHANCE.match(tried):
            continue
        before = tried
        try:
            found = parse(tried)
        except AddressError:
            continue
        if words:
            said.append(words)
        return [found]
    if text.count("@") == 2:
        pair = _unglued(_BLANKS.sub("", text.strip(_EDGES)))
        if pair:
            said.append("two addresses were glued together")
        return pair
    return []


def _closed(text: str) -> str:
    """Take out the spaces that can only be slips: at the @, before a dot of the domain, behind its first."""
    local, _, name = text.partition("@")
    name = re.sub(r"^([^.\s]+\.)\s+", r"\1", re.sub(r"\s+\.", ".", name.strip()))
    return f"{local.rstrip()}@{name}"


def _unglued(text: str) -> list[str]:
    """Cut two addresses apart that nothing separates: where the first domain ends is known by its ending."""
    first, middle, last = text.split("@")
    cuts = []
    if middle.lower().startswith(last.lower()):
        cuts.append(len(last))
    elif middle.rpartition(".")[2].lower() in _endings():
        return []  # `a@party.net@x.example`: a slip of another kind
    labels = [
        n
        for n in range(1, len(middle))
        if middle[:n].rpartition(".")[2].lower() in _endings() and "." in middle[:n] and middle[n] != "."
    ]
    cuts += sorted(labels, key=lambda n: -len(middle[:n].rpartition(".")[2]))
    for cut in cuts:
        try:
            return [parse(f"{first}@{middle[:cut]}"), parse(f"{middle[cut:].lstrip('.,;:' + _SIGNS)}@{last}")]
        except AddressError:
            continue
    return []


@cache
def _endings() -> frozenset[str]:
    from outreach import languages

    return frozenset((*_ENDINGS, "uk", "su", *(code.lower() for code in languages.country_codes())))


def _suggestion(text: str) -> str:
    """Return what may have been meant, where that is for a person to decide."""
    if len(text) > _TOO_LONG:
        return ""
    bare = _BLANKS.sub("", text.strip(_EDGES)).translate(_APOSTROPHES)
    tries: Sequence[str] = (
        re.sub(r"(@\S+)\s.*", r"\1", text.strip(_EDGES)),
        bare if bare != text.strip(_EDGES) else "",
        re.sub(r"@+", "@", bare),
        re.sub(r"\.+", ".", bare).replace(".@", "@").replace("@.", "@"),
        bare.replace(",", "."),
        re.sub(r"[#&§]", "@", bare, count=1) if "@" not in bare else bare,
    )
    for one in tries:
        if one != text and one.count("@") == 1 and _usable(one):
            return f"{one}?"
    return ""
