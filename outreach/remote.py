"""What a frame would load from elsewhere, run, or hide: looked at in its source and in what it becomes.

A mail that loads a picture tells its sender who reads it, when and where; the people written to here may be
watched. `find` reads the source, for messages with their lines; `check` reads the HTML that css-inline has
parsed and written anew, so that no trick of spelling is left, and knows what is allowed instead of what is
not. Pure. Known limit: what a mail program makes of harmless styles is its own affair.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser

MAX_TAGS = 1_000  # in a frame; css-inline walks down nested elements on a stack of fixed size
_MOST = 20  # problems that are named


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOADING_TAGS = _words(
    "applet audio base embed form frame frameset iframe input link object script source track video"
)
_LOADING = _words("action background data formaction poster ping src srcset xlink:href")
_TAGS = _words(
    "html head meta title style body div span p h1 h2 h3 h4 h5 h6 ul ol li dl dt dd a b i u s em strong "
    "small big sub sup br hr blockquote pre code table caption colgroup col thead tbody tfoot tr th td img "
    "bdi bdo center font section article header footer main address figure figcaption abbr"
)
_ATTRIBUTES = _words(
    "lang dir class id style title alt href name content charset width height align valign border color face "
    "size bgcolor cellpadding cellspacing colspan rowspan span scope role start type target rel"
)
_LINK = re.compile(r"https?://|mailto:|tel:|#", re.IGNORECASE)
_CSS = re.compile(
    r"@(?!media\b)|\\|(?:url|src|image|image-set|cross-fade|element|expression|paint)\s*\("
    r"|behavior\s*:|-moz-binding|javascript:|progid|https?:|<",
    re.IGNORECASE,
)


def find(html: str) -> list[tuple[int, str]]:
    """Return what the source of a frame loads or runs, each with its line."""
    if html.count("<") > MAX_TAGS:
        return [(1, f"has too many tags (over {MAX_TAGS})")]
    finder = _Finder()
    finder.feed(html)
    finder.close()
    return finder.found[:_MOST]


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[int, str]] = []
        self.within: list[str] = []  # style or title, where text is not shown

    def say(self, words: str) -> None:
        self.found.append((self.getpos()[0], words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within = [tag]
        if tag in _LOADING_TAGS:
            self.say(f"<{tag}> would load or run something; a letter does not")
        for name, value in attrs:
            self.attribute(name, (value or "").strip())

    def attribute(self, name: str, value: str) -> None:
        if name.startswith("on"):
            self.say(f"{name}= would run a script")
        elif name in _LOADING:
            self.say(f"{name}= would load something from elsewhere; use an image in the letter instead")
        elif name == "style" and _CSS.search(value):
            self.say("this style would load something from elsewhere")
        elif name == "href" and not _LINK.match(value):
            self.say(f"a link leads to {value[:60] or 'nothing'}; it must begin with https:// or mailto:")
        elif name == "http-equiv":
            self.say("http-equiv= would change how the letter is shown")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        self.within = []

    def handle_data(self, data: str) -> None:
        if self.within == ["style"] and (found := _CSS.search(data)):
            line = self.getpos()[0] + data.count("\n", 0, found.start())
            self.found.append((line, f"{found[0]} would load something from elsewhere"))


def check(html: str, values: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Return what is wrong with a frame that css-inline has written, its `values` put in.

    None of the values may stand inside a tag, a style or a comment; those `shown` must stand in the text.
    """
    checker = _Checker(values)
    checker.feed(html)
    checker.close()
    words = [words for _, words in checker.found]
    text = " ".join("".join(checker.text).split())
    words += [f"does not show {one!r}" for one in shown if " ".join(one.split()) not in text]
    return list(dict.fromkeys(words))[:_MOST]


class _Checker(_Finder):
    """As the finder, but knowing what is allowed."""

    def __init__(self, values: Sequence[str]) -> None:
        super().__init__()
        self.values = values
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        if tag not in _TAGS:
            self.say(f"<{tag}> is not known in a frame")

    def attribute(self, name: str, value: str) -> None:
        super().attribute(name, value)
        if name not in _ATTRIBUTES and not name.startswith("aria-"):
            self.say(f"{name}= is not known in a frame")
        self.refuse_values(value, f"inside {name}=")

    def refuse_values(self, text: str, where: str) -> None:
        if any(value in text for value in self.values):
            self.say(f"a value stands {where}; it belongs between the tags")

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if self.within == ["style"]:
            self.refuse_values(data, "inside a style")
        elif self.within != ["title"]:
            self.text.append(data)

    def handle_comment(self, data: str) -> None:
        if re.search(r"[<>\[\]]", data):
            self.say("a comment holds tags, which some mail programs read")
        self.refuse_values(data, "inside a comment")

    def handle_pi(self, data: str) -> None:
        self.say("<? is not known in a frame")

    def unknown_decl(self, data: str) -> None:
        self.say("<![ is not known in a frame")
