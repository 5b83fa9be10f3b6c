"""Turn the HTML of a mail into lines of text, as a mail program would quote it.

Paragraphs are parted by an empty line, what stands in a quotation begins with `> `, rules become a line of
underscores, and what is not shown (styles, scripts, hidden blocks) is left out. One pass over the text: time grows
with its length only. Does not load, run or check anything. Known limit: columns of tables stand side by side,
parted by a tab.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

_MOST = 400_000  # characters of HTML
_DEEPEST = 200
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "dd",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tbody",
        "tr",
        "ul",
    ]
)
_APART = frozenset(
    ["p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "table"]
)  # an empty line before and behind
_HIDDEN = frozenset(
    ["head", "style", "script", "title", "noscript", "template", "object", "svg", "select", "textarea"]
)
_VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    ]
)
_NOT_SHOWN = re.compile(
    r"display\s{0,3}:\s{0,3}none|mso-hide\s{0,3}:\s{0,3}all|font-size\s{0,3}:\s{0,3}0(?![.\d])", re.IGNORECASE
)
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
    try:
        reader.feed(source[:_MOST])
        reader.close()
    except Exception:  # the parser gives up on some declarations
        return reader.text() or html.unescape(re.sub(r"<[^<>]{0,2000}>", " ", source[:_MOST]))
    return reader.text()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self.line: list[str] = []
        self.open: list[tuple[str, bool, bool]] = []  # tag, whether it quotes, whether it hides
        self.quoted = 0
        self.hidden = 0
        self.preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
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
        if tag == "li" and not self.hidden:
            self._break(if_any=True)
            self.line.append("* ")
        elif tag in _BLOCKS:
            self._break(if_any=True)
            if tag in _APART:
                self._gap()
        if tag in _VOID:
            return
        if len(self.open) >= _DEEPEST:
            return
        quotes = tag == "blockquote" and not self._is_indent(given)
        hides = tag in _HIDDEN or bool(_NOT_SHOWN.search(given.get("style", "")))
        self.open.append((tag, quotes, hides))
        self.quoted += quotes
        self.hidden += hides
        self.preformatted += tag == "pre"

    @staticmethod
    def _is_indent(given: dict[str, str]) -> bool:
        """Tell what people indented in Gmail from what a program quotes: both are a blockquote."""
        return "border:none" in given.get("style", "").replace(" ", "").lower() and not given.get("class")

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._break(if_any=True)
        for place in range(len(self.open) - 1, max(-1, len(self.open) - 20), -1):
            if self.open[place][0] == tag:
                for _, quotes, hides in self.open[place:]:
                    self.quoted -= quotes
                    self.hidden -= hides
                self.preformatted -= sum(one == "pre" for one, _, _ in self.open[place:])
                del self.open[place:]
                break
        if tag in _APART:
            self._gap()

    def handle_data(self, data: str) -> None:
        if self.hidden:
            return
        if self.preformatted:
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
        if self.hidden or not self.lines:
            return
        empty = "> " * min(self.quoted, 5)
        if self.lines[-1].strip("> "):
            self.lines.append(empty.rstrip())

    def text(self) -> str:
        if self.line:
            self._break()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self.lines)).strip("\n")
