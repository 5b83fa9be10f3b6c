"""What a frame would load from elsewhere, or run: found in the layout before it is used.

A mail that loads a picture tells its sender who reads it, when and where; the people written to here may
be watched. Pure: HTML in, (line, words) out. Known limit: it reads what is written, not what style sheets
of a mail program do with it.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

_TAGS = frozenset(
    "applet audio base embed form frame frameset iframe input link object script source track video".split()  # noqa: SIM905
)
_LOADING = ("action", "background", "data", "formaction", "poster", "ping", "src", "srcset", "xlink:href")
_CSS = re.compile(r"@import|url\s*\(|image-set\s*\(|expression\s*\(|javascript:|\\[0-9a-f]", re.IGNORECASE)


def find(html: str) -> list[tuple[int, str]]:
    """Return what loads or runs something, each with its line."""
    finder = _Finder()
    finder.feed(html)
    finder.close()
    return finder.found


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[int, str]] = []
        self._style = False

    def say(self, words: str) -> None:
        self.found.append((self.getpos()[0], words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        if tag in _TAGS:
            self.say(f"<{tag}> would load or run something; a letter does not")
        for name, value in attrs:
            text = (value or "").strip()
            if name.startswith("on"):
                self.say(f"{name}= would run a script")
            elif name in _LOADING:
                self.say(f"{name}= would load something from elsewhere; use an image in the letter instead")
            elif name == "style" and _CSS.search(text):
                self.say("this style would load something from elsewhere")
            elif name == "href" and not re.match(r"https?://|mailto:|tel:|#", text, re.IGNORECASE):
                self.say(f"a link leads to {text[:60] or 'nothing'}; it must begin with https:// or mailto:")
            elif name == "http-equiv":
                self.say("http-equiv= would change how the letter is shown")

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style and (found := _CSS.search(data)):
            line = self.getpos()[0] + data.count("\n", 0, found.start())
            self.found.append((line, f"{found[0]} would load something from elsewhere"))
