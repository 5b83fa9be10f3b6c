"""Read any bytes as a mail that came back: its headers, the text a person reads, and its reports.

The standard library takes a mail apart; what it raises on is read as headers and one text. Nothing here
raises, and nothing takes long: of a mail the first 2 MB are looked at, of a text the first 200,000
characters. Knows formats (RFC 5322, 2045-2047, 2231, 3676, 3464, 3798, 5965), not what a mail means: that is
classify.py.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import itertools
import quopri
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from functools import cached_property
from typing import TypeVar

from outreach import charsets, hypertext

MOST_BYTES = 2_000_000
MOST_TEXT = 200_000  # characters
_MOST_PARTS = 200
_MOST_TEXTS = 12  # parts that are read as the text
_MOST_HEADERS = 1_000  # lines
_MOST_HEAD = 200_000  # bytes
_MOST_VALUE = 20_000  # characters of one header
MOST_READ = 60_000_000  # bytes of a file
_ATTACHED = re.compile(
    rb"(?m)^(?:[A-Za-z0-9+/]{40,100}={0,2}\r?\n){400,}"
)  # base64 of a file, 20 kB at least
_MOST_LINE = 300_000  # bytes
_MOST_WORDS = 200  # encoded ones, of one header
_BLANK = re.compile(rb"\r?\n\r?\n")
_MOST_DEPTH = 30
_ENCODED = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,20})?\?([bBqQ])\?([^?]{0,2000})\?=")
_FIELD = re.compile(r"([!-9;-~]{1,80}?)\s{0,3}:(.*)")
_REPORTS = (
    "message/delivery-status",
    "message/global-delivery-status",  # RFC 6533
    "message/disposition-notification",
    "message/global-disposition-notification",
    "message/feedback-report",
)
_RETURNED = (
    "message/rfc822",
    "message/global",
    "text/rfc822-headers",
    "message/global-headers",
    "message/news",
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of a mail, or a message inside it. `depth` counts the messages around it."""

    kind: str  # media type, lower case
    depth: int
    attached: bool
    flowed: bool
    delsp: bool
    alternative: int  # which multipart/alternative it is in; 0 for none
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """The fields of a machine's report, group by group: of the mail, then of each recipient (RFC 3464
    §2.1).
    """

    kind: str
    groups: tuple[dict[str, str], ...]
    depth: int = 0  # messages around it


@dataclass(frozen=True)
class Inbound:
    """A mail that came back, readable."""

    headers: tuple[tuple[str, str], ...]  # name in lower case, decoded value
    kind: str  # media type of the whole
    report_type: str
    parts: tuple[Part, ...]
    reports: tuple[Report, ...]
    returned: tuple[dict[str, str], ...] = ()  # headers of messages inside
    raw: bytes = field(default=b"", repr=False)

    def get(self, name: str) -> str:
        """Return the first header of that name, decoded, or an empty string."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        """Return all headers of that name."""
        return [value for key, value in self.headers if key == name]

    def has(self, name: str) -> bool:
        """Tell whether there is such a header, also an empty one."""
        return any(key == name for key, _ in self.headers)

    @cached_property
    def subject(self) -> str:
        """The subject on one line."""
        return " ".join(self.get("subject").split())

    @cached_property
    def sender(self) -> str:
        """The address in From, in lower case; empty if there is none."""
        return first_address(self.get("from"))

    @cached_property
    def date(self) -> datetime.datetime | None:
        """When it was written, by its own word; else when the last server took it."""
        received = [value.rpartition(";")[2] for value in self.all("received")[:1]]
        for value in (self.get("date"), *received):
            found = _moment(value)
            if found is not None and 1990 < found.year < 2200:
                return found
        return None

    @cached_property
    def text(self) -> str:
        """What a person reads first: the plain text, or that of the HTML; without attachments."""
        shown: list[str] = []
        done: set[int] = set()
        body = [one for one in self.parts if one.depth == 0 and not one.attached][:_MOST_TEXTS]
        for part in body:
            if part.alternative and part.alternative in done:
                continue
            together = [one for one in body if part.alternative and one.alternative == part.alternative]
            chosen = _chosen(together) if together else part
            done.add(part.alternative)
            text = readable(chosen)
            if text.strip():
                shown.append(text)
            if sum(map(len, shown)) > MOST_TEXT:
                break
            if self.report_type and shown:
                break  # RFC 6522 §3: the first part is for people
        return "\n".join(shown)[:MOST_TEXT]

    @cached_property
    def inside(self) -> str:
        """What stands in messages inside, as far as it is text."""
        return "\n".join(one.text for one in self.parts if one.depth)[:MOST_TEXT]


def read(raw: bytes) -> Inbound:
    """Return any bytes as a mail; whatever cannot be read is left out."""
    if len(raw) > MOST_BYTES:
        raw = _ATTACHED.sub(b"", raw[:MOST_READ])[:MOST_BYTES]
    raw = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):  # saved by an editor as UTF-16
        raw = raw.decode("utf-16", "replace").encode("utf-8", "replace")
    if raw.startswith((b"From ", b">From ")):  # an mbox line
        raw = raw.partition(b"\n")[2]
    raw = _bounded(raw)
    try:
        mail: Message = message_from_bytes(raw, policy=policy.compat32)
        return _inbound(mail, raw)
    except Exception:  # whatever the library thinks of it
        head, text = _split(raw)
        mail = quietly(lambda: message_from_bytes(head, policy=policy.compat32), Message())
        plain = Part("text/plain", 0, False, False, False, 0, charsets.decode(text)[:MOST_TEXT])
        return Inbound(quietly(lambda: _headers(mail), ()), "text/plain", "", (plain,), (), (), raw)


def _bounded(raw: bytes) -> bytes:
    """Return what is looked at of a mail: the library needs long for thousands of headers or parts."""
    raw = raw[:MOST_BYTES]
    head = _BLANK.search(raw)
    end = head.start() if head else len(raw)
    if raw.count(b"\n", 0, end) > _MOST_HEADERS or end > _MOST_HEAD:
        lines = raw[: min(end, _MOST_HEAD)].split(b"\n")[:_MOST_HEADERS]
        raw = b"\n".join(lines) + raw[end:]
    for mark, most in ((b"\n--", _MOST_PARTS * 4), (b"boundary=", _MOST_DEPTH)):
        if raw.count(mark) > most:  # the library compares each line with each boundary
            raw = raw[: [match.start() for match in re.finditer(re.escape(mark), raw)][most]]
    return b"\n".join(line[:_MOST_LINE] for line in raw.split(b"\n"))


def _split(raw: bytes) -> tuple[bytes, bytes]:
    head, blank, text = raw.replace(b"\r\n", b"\n").partition(b"\n\n")
    return head + blank, text


def _inbound(mail: Message, raw: bytes) -> Inbound:
    kind = quietly(mail.get_content_type, "text/plain")
    said = quietly(lambda: str(mail.get_param("report-type", "")), "").lower()
    parts: list[Part] = []
    reports: list[Report] = []
    returned: list[dict[str, str]] = []
    for one, depth, alternative in _walk(mail):
        what = quietly(one.get_content_type, "text/plain")
        if what in _REPORTS:
            reports.append(Report(what, tuple(groups(_report_text(one))), depth))
        elif what in _RETURNED and len(returned) < 20:
            inner = one.get_payload() if one.is_multipart() else None
            if isinstance(inner, list) and inner and isinstance(inner[0], Message):
                found = dict(reversed(_headers(inner[0])))
            else:
                found = next(groups(_text(one)), {})
            returned.append(found)
        if not one.is_multipart() and what.startswith("text/") and what != "text/rfc822-headers":
            parts.append(_part(one, what, depth, alternative))
    broken = kind.startswith(("text/", "multipart/")) and not mail.is_multipart()
    if broken and not any(one.text.strip() for one in parts):
        _, text = _split(raw)  # parts that nobody can find
        parts.append(Part("text/plain", 0, False, False, False, 0, charsets.decode(text)[:MOST_TEXT]))
    report_type = said if kind == "multipart/report" or said else ""
    return Inbound(_headers(mail), kind, report_type, tuple(parts), tuple(reports), tuple(returned), raw)


def _walk(mail: Message) -> Iterator[tuple[Message, int, int]]:
    """Yield every part with the number of messages around it and its multipart/alternative."""
    stack: list[tuple[Message, int, int, int]] = [(mail, 0, 0, 0)]
    count = 0
    while stack and count < _MOST_PARTS:
        one, depth, alternative, level = stack.pop()
        count += 1
        yield one, depth, alternative
        inner = one.get_payload() if one.is_multipart() else None  # of other parts it decodes
        kind = quietly(one.get_content_type, "text/plain")
        if not isinstance(inner, list) or level >= _MOST_DEPTH or kind in _REPORTS:
            continue
        if kind == "multipart/alternative":
            alternative = alternative or count
        if not kind.startswith("multipart/"):
            depth += 1
        messages = [each for each in inner if isinstance(each, Message)]
        stack += [(each, depth, alternative, level + 1) for each in reversed(messages)]


def _part(one: Message, kind: str, depth: int, alternative: int) -> Part:
    disposition = quietly(lambda: str(one.get("content-disposition", "")), "").strip().lower()
    named = quietly(lambda: one.get_param("name"), None) is not None
    attached = disposition.startswith("attachment") or (named and not disposition.startswith("inline"))
    flowed = quietly(lambda: str(one.get_param("format", "")), "").lower() == "flowed"
    delsp = quietly(lambda: str(one.get_param("delsp", "")), "").lower() == "yes"
    return Part(kind, depth, attached, flowed, delsp, alternative, "" if attached else _text(one)[:MOST_TEXT])


def _text(one: Message) -> str:
    """Return the text of a part, its transfer encoding undone."""
    data = _bytes(one)
    text = charsets.decode(data, quietly(lambda: one.get_content_charset("") or "", ""))
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _bytes(one: Message) -> bytes:
    """Return what a part holds. Without `decode`, the library would spoil undeclared bytes."""
    data: object = quietly(lambda: one.get_payload(decode=True), None)
    return data if isinstance(data, bytes) else b""


def unencoded(data: bytes, encoding: str) -> bytes:
    """Undo a transfer encoding (RFC 2045 §6) where the library did not, also a damaged one."""
    if encoding.startswith("quoted"):
        return quopri.decodestring(data)
    if encoding.startswith("base64"):
        clean = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
        clean = clean[: len(clean) - (len(clean) % 4 == 1)]
        with contextlib.suppress(binascii.Error):
            return base64.b64decode(clean + b"=" * (-len(clean) % 4))
    return data


def _report_text(one: Message) -> str:
    """Return the fields of a report as text; the library reads them as messages, one a group."""
    inner = one.get_payload() if one.is_multipart() else None
    if not isinstance(inner, list):
        return _text(one)
    found = []
    for group in inner:
        if isinstance(group, Message):
            lines = [
                f"{name}: {value}".encode("utf-8", "surrogateescape") for name, value in group.raw_items()
            ]
            rest = _bytes(group)
            found.append(b"\n".join([*lines, *([b"", rest] if rest.strip() else [])]))
    encoding = quietly(lambda: str(one.get("content-transfer-encoding", "")), "").strip().lower()
    text = charsets.decode(unencoded(b"\n\n".join(found), encoding))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def groups(text: str) -> Iterator[dict[str, str]]:
    """Yield groups of fields: names in lower case, lines that go on joined; the first of a name counts."""
    found: dict[str, str] = {}
    last = ""
    for line in text[:MOST_TEXT].split("\n"):
        if not line.strip():
            if found:
                yield found
            found, last = {}, ""
        elif line[0] in " \t" and last:
            found[last] += " " + line.strip()
        elif match := _FIELD.match(line.strip()):
            last = match[1].lower()
            if last in found:
                last = f"{last} "  # another of the same name: kept out of the way
            found[last] = match[2].strip()
    if found:
        yield found


def _headers(mail: Message) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower().strip(), header_text(str(value))) for name, value in mail.raw_items())


def header_text(value: str) -> str:
    """Decode a header: RFC 2047, RFC 6532, and bytes that no standard allows."""
    value = re.sub(r"\r?\n[ \t]*", " ", value[:_MOST_VALUE].replace("\0", ""))
    if not value.isascii():
        data = value.encode("utf-8", "surrogateescape")
        value = charsets.decode(data)
    if "=?" not in value:
        return value.strip()
    found: list[tuple[str, str | bytes]] = []  # charset and bytes; or text
    end = 0
    for match in itertools.islice(_ENCODED.finditer(value), _MOST_WORDS):
        between = value[end : match.start()]
        if between.strip() or not found or not found[-1][0]:
            found.append(("", between))
        try:
            data = _word(match[2], match[3])
        except (ValueError, binascii.Error):
            found.append(("", match[0]))
        else:
            name = match[1].lower()
            if found and found[-1][0] == name and isinstance(found[-1][1], bytes):
                found[-1] = (name, found[-1][1] + data)  # a character may be cut in two
            else:
                found.append((name, data))
        end = match.end()
    found.append(("", value[end:]))
    return (
        "".join(charsets.decode(text, name) if isinstance(text, bytes) else text for name, text in found)
        .replace("\0", "")
        .strip()
    )


def _word(how: str, text: str) -> bytes:
    data = text.encode("ascii", "replace")
    if how in "qQ":
        return quopri.decodestring(data.replace(b"_", b" "), header=True)
    return unencoded(data, "base64")


def _chosen(parts: list[Part]) -> Part:
    """Return the part to read among alternatives: the plain text, unless it only says that there is none."""
    plain = [one for one in parts if one.kind == "text/plain" and one.text.strip()]
    html = [one for one in parts if one.kind == "text/html" and one.text.strip()]
    if plain and html and len(plain[0].text) < 200:
        rich = hypertext.to_text(html[0].text[:MOST_TEXT])
        if len(rich.split()) > len(plain[0].text.split()) and _is_stub(plain[0].text):
            return html[0]
    return (plain or html or parts)[0]


def _is_stub(text: str) -> bool:
    return "html" in text.lower() or not any(map(str.isalpha, text))


def readable(part: Part) -> str:
    """Return a part as lines of text; what it quotes begins with `>`."""
    if part.kind == "text/html":
        return hypertext.to_text(part.text)
    if part.kind not in ("text/plain", "text/enriched", "text/richtext"):
        return ""
    if hypertext.looks_like(part.text):  # declared as plain text
        return hypertext.to_text(part.text)
    return unflowed(part.text, part.delsp) if part.flowed else part.text


def unflowed(text: str, delsp: bool) -> str:
    """Join the lines of a flowed text into paragraphs (RFC 3676)."""
    out: list[str] = []
    soft = False
    depth = 0
    for line in text.split("\n"):
        stripped = line.lstrip(">")
        now = len(line) - len(stripped)
        content = stripped.removeprefix(" ")
        if soft and now == depth and content != "-- ":
            out[-1] += content
        else:
            out.append(">" * now + (" " if now else "") + content)
        depth = now
        soft = content.endswith(" ") and content != "-- "
        if soft and delsp:
            out[-1] = out[-1][:-1]
    return "\n".join(out)


def _moment(value: str) -> datetime.datetime | None:
    try:
        return parsedate_to_datetime(value)
    except Exception:  # it raises what it likes
        return None


def addresses(value: str) -> list[str]:
    """Return the addresses of a header, in lower case."""
    nobody: list[tuple[str, str]] = []
    found = quietly(lambda: getaddresses([value[:5000]]), nobody)
    good = [address.strip().lower() for _, address in found if "@" in address]
    return good or [
        one.lower() for one in re.findall(r"[^\s<>,;:\"()\[\]]{1,64}@[^\s<>,;:\"()\[\]]{1,255}", value[:5000])
    ]


def first_address(value: str) -> str:
    """Return the first address of a header, in lower case, or an empty string."""
    return next(iter(addresses(value)), "")


def quietly(call: Callable[[], T], otherwise: T) -> T:
    """Return what the library makes of a mail, or something else where it raises."""
    try:
        return call()
    except Exception:  # it raises what it likes, on what the world sends
        return otherwise
