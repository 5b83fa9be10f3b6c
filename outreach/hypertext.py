"""Turn the HTML of a mail into lines of text, as a mail program would quote it.

Paragraphs are parted by an empty line, what stands in a quotation begins with `> `, rules become a line of
underscores, and what is not shown (styles, scripts, hidden blocks) is left out. One pass over the text: time
grows with its length only. Does not load, run or check anything. Known limit: columns of tables stand side
by side, parted by a tab.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MOST = 400_000  # characters of HTML
_DEEPEST = 200
_BLOCKS = _words(
    "address article aside blockquote body center dd dir div dl dt fieldset footer form h1 h2 h3 h4 h5"
    " h6 header hr li main nav ol p pre section table tbody tr ul"
)
_APART = _words("p h1 h2 h3 h4 h5 h6 blockquote ul ol table")
_HIDDEN = _words("head style script title noscript template object svg select textarea")
_VOID = _words("area base br col embed hr img input link meta param source track wbr")
_NOT_SHOWN = re.compile(
    r"display\s{0,3}:\s{0,3}none|mso-hide\s{0,3}:\s{0,3}all|font-size\s{0,3}:\s{0,3}0(?![.\d])", re.IGNORECASE
)
_BAR = re.compile(r"border-left(?:-width|-style)?:(?!0|none)")
_TAGS = re.compile(r"<(?:html|body|div|p|br|table|span|font)\b[^>]{0,500}>", re.IGNORECASE)


def looks_like(text: str) -> bool:
    """Tell whether a text that claims to be plain is HTML."""
    start = text[:2000].lstrip().lower()
    return (
        start.startswith(("<!doctype html", "<html", "<body", "<div", "<p>", "<table"))
        and len(_TAGS.findall(text[:20_000])) > 2
    )


def to_text(source: str) -> str:
    """Return the lines that a reader sees. Never raises."""
    reader = _Reader()
    _tokens(source[:_MOST], reader)
    return reader.text()


_TAG = re.compile(r"<(/?)([A-Za-z][^\s/>]{0,40})")
_ATTRIBUTE = re.compile(
    r"""([A-Za-z-]{1,30})\s{0,5}=\s{0,5}(?:"([^"]{0,3000})"|'([^']{0,3000})'|([^\s"'>]{1,300}))"""
)
_RAW = re.compile(r"</(script|style|title|textarea|noscript|head)\b", re.IGNORECASE)


def _tokens(source: str, reader: _Reader) -> None:
    """Take HTML apart, in one pass. The standard library's parser takes for ever over tags that are not
    closed.
    """
    place = 0
    while place < len(source):
        tag = source.find("<", place)
        if tag < 0:
            reader.data(source[place:])
            return
        if tag > place:
            reader.data(source[place:tag])
        closer = (
            "-->" if source.startswith("<!--", tag) else "]]>" if source.startswith("<![CDATA[", tag) else ">"
        )
        end = source.find(closer, tag)
        if end < 0 and closer != ">":
            return  # a comment without an end hides the rest
        if end < 0:
            reader.data(source[tag:])  # no tag is closed any more
            return
        match = _TAG.match(source, tag)
        place = end + len(closer)
        if match is None:
            if source[tag + 1 : tag + 2] not in ("!", "?"):
                reader.data("<")
                place = tag + 1
            continue
        name = match[2].lower()
        if match[1]:
            reader.ends(name)
            continue
        inside = source[match.end() : min(end, match.end() + 6000)]
        reader.begins(
            name, {one[1].lower(): one[2] or one[3] or one[4] or "" for one in _ATTRIBUTE.finditer(inside)}
        )
        if name in ("script", "style"):
            closing = _RAW.search(source, place)
            if closing is None:
                return
            place = closing.start()


@dataclass(slots=True)
class _Open:
    """An element that is open."""

    tag: str
    quotes: bool
    hides: bool
    items: int = 0  # of a list, so far


def _quotes(tag: str, given: dict[str, str]) -> bool:
    """Tell whether an element holds a quotation. People indent with a bare blockquote; programs mark
    theirs.
    """
    style = given.get("style", "").replace(" ", "").lower()
    kind = f"{given.get('class', '')} {given.get('name', '')} {given.get('id', '')}".lower()
    barred = _BAR.search(style) is not None
    if tag == "blockquote":
        return "indent" not in kind and (
            "type" in given or "cite" in given or barred or "quote" in kind or "cite" in kind
        )
    return tag == "div" and barred and ("quote" in kind or "cite" in kind)


class _Reader:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.line: list[str] = []
        self.open: list[_Open] = []
        self.quoted = 0
        self.hidden = 0

    def begins(self, tag: str, given: dict[str, str]) -> None:
        if tag == "br":
            self._break()
            return
        if tag == "hr":
            self._break(if_any=True)
            if not self.hidden:
                self._add("_" * 32)
            self._break()
            return
        if tag in ("td", "th") and self.line:
            self.line.append("\t")
        if tag in _BLOCKS:
            if self.open and self.open[-1].tag == "p":
                self._close(len(self.open) - 1)  # as every browser does
            self._break(if_any=True)
            if tag in _APART:
                self._gap()
        if tag == "li" and not self.hidden:
            self.line.append(self._bullet())
        if tag in _VOID or len(self.open) >= _DEEPEST:
            return
        hides = tag in _HIDDEN or bool(_NOT_SHOWN.search(given.get("style", "")))
        one = _Open(tag, _quotes(tag, given), hides)
        self.open.append(one)
        self.quoted += one.quotes
        self.hidden += one.hides

    def _bullet(self) -> str:
        above = next((one for one in reversed(self.open) if one.tag in ("ol", "ul")), None)
        if above is None or above.tag == "ul":
            return "* "
        above.items += 1
        return f"{above.items}. "

    def ends(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._break(if_any=True)
        place = next((n for n in range(len(self.open) - 1, -1, -1) if self.open[n].tag == tag), None)
        if place is not None:
            self._close(place)
        if tag in _APART:
            self._gap()

    def _close(self, place: int) -> None:
        for one in self.open[place:]:
            self.quoted -= one.quotes
            self.hidden -= one.hides
        del self.open[place:]

    def data(self, data: str) -> None:
        data = html.unescape(data)
        if self.hidden:
            return
        if any(one.tag == "pre" for one in self.open):
            first, *rest = data.split("\n")
            self._add(first)
            for one in rest:
                self._break()
                self._add(one)
            return
        text = re.sub(r"[ \t\r\n\f]+", " ", data)
        if text == " " and not self.line:
            return
        self._add(text.lstrip(" ") if not self.line else text)

    def _add(self, text: str) -> None:
        if text:
            self.line.append(text.replace("\xa0", " "))

    def _break(self, if_any: bool = False) -> None:
        if self.hidden:
            return
        if self.line or not if_any:
            text = "".join(self.line).rstrip()
            self.lines.append("> " * min(self.quoted, 5) + text if self.quoted else text)
        self.line = []

    def _gap(self) -> None:
        if self.hidden or not self.lines or not self.lines[-1].strip("> "):
            return
        quoted = self.quoted and self.lines[-1].startswith(">")
        self.lines.append(("> " * min(self.quoted, 5)).rstrip() if quoted else "")

    def text(self) -> str:
        if self.line:
            self._break()
        while self.lines and not self.lines[-1].strip("> "):
            self.lines.pop()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self.lines)).strip("\n")
