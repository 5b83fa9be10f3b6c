"""Turn a Markdown letter template into an HTML template and a text template, once.

Markdown and Jinja do not mix by themselves, so a tag inside a line becomes one private-use character
before Markdown and comes back behind it; a line of nothing but `{% %}` is lifted out and put back between
the blocks: an opening one before the block that starts on the next line, its end behind the block that
ended on the line before, both at one level of the document. Pure: text in, two template texts out.
Raises MarkdownError with the line. Refuses raw HTML, links that lead nowhere, images that do not travel with
the letter, and block tags other than if, for, block, set and extends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.common.normalize_url import normalizeLink
from markdown_it.token import Token

_STRING = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
_TAG = re.compile(
    rf"\{{\{{(?:{_STRING}|[^\"'}}]|\}}(?!\}}))*\}}\}}|\{{%(?:{_STRING}|[^\"'%]|%(?!\}}))*%\}}|\{{#.*?#\}}",
    re.DOTALL,
)
_OPENING = ("if", "for", "block")
_MIDDLE = ("elif", "else")
_SINGLE = ("set", "super")  # stand alone before a block
_KNOWN = (*_OPENING, *_MIDDLE, "set", "extends")
_FIRST_PLACEHOLDER = 0xF0000  # supplementary private use area A
_DROPPED = "\U000ffffd"
_PLACEHOLDER = re.compile("[\U000f0000-\U000ffffc]")
_SALUTATION = re.compile(r"\{\{[-+]?\s*salutation\s*[-+]?\}\}")
_ADDRESS = re.compile(r"https?://[^/]|mailto:.|tel:.", re.IGNORECASE | re.DOTALL)
_DEEPEST = 50  # elements inside each other within a line
_MOST_PLACES = 3_000_000  # lifted tags × blocks; each pair is looked at
_LEVELS = ("root", "bullet_list_open", "ordered_list_open", "tbody_open", "list_item_open", "blockquote_open")


class MarkdownError(ValueError):
    """A letter cannot be converted; `line` counts from 1 in the text that was given."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line, self.problem = line, problem


@dataclass(frozen=True, slots=True)
class Converted:
    """The two templates that one Markdown template becomes."""

    html: str
    text: str
    html_lines: tuple[int, ...]  # for each line of the template, the line of the source
    text_lines: tuple[int, ...]


@dataclass(slots=True)
class _Lifted:
    """A line of nothing but `{% %}`; `cut` is the number of kept lines above it."""

    tag: str
    word: str
    cut: int
    line: int
    placeholder: str


@dataclass(slots=True)
class _Taken:
    """A source without its tags."""

    kept: list[str] = field(default_factory=list)  # the lines that Markdown sees
    numbers: list[int] = field(default_factory=list)  # where each of them stood
    lifted: list[_Lifted] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)  # what each placeholder stands for
    words: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    guards: dict[str, str] = field(default_factory=dict)  # a tag inside a link's address → its guarded twin

    def hide(self, tag: str, word: str, line: int) -> str:
        """Keep a tag; return its placeholder."""
        if len(self.tags) >= ord(_DROPPED) - _FIRST_PLACEHOLDER:
            raise MarkdownError(line, "the letter has too many tags")
        self.tags.append(tag)
        self.words.append(word)
        self.lines.append(line)
        return chr(_FIRST_PLACEHOLDER + len(self.tags) - 1)


@dataclass(slots=True)
class _Node:
    """A block of the document: where it stands in the tokens and in the lines."""

    type: str
    first: int  # index of its (opening) token
    last: int  # index of its (closing) token
    start: int  # first line
    end: int  # line behind the last
    children: list[_Node] = field(default_factory=list)


def _no_image(name: str) -> str:
    raise ValueError(f"there is no image {name}")


def convert(source: str, image: Callable[[str], str] = _no_image) -> Converted:
    """Convert one template file's body. Jinja's own syntax is expected to be valid already.

    `image` gives the address of an inline image by the name of its file, or raises ValueError.
    """
    if found := re.search(f"{_PLACEHOLDER.pattern}|{_DROPPED}", source):
        raise MarkdownError(_line(source, found.start()), "a private-use character cannot be kept")
    taken = _take_apart(source)
    count = len(taken.tags)
    parser = _parser()
    tokens = parser.parse("\n".join(taken.kept))
    _place_images(tokens, taken, image)
    _guard_links(tokens, taken)
    _open_with_a_capital(tokens, taken)
    _weave(tokens, taken)
    html = str(parser.renderer.render(tokens, parser.options, {}))
    text = _Text(tokens, taken).render()
    _refuse_losses(taken, count, html, text)
    _refuse_crossings(tokens, taken)
    extends = "".join(f"{one.placeholder}\n" for one in taken.lifted if one.word == "extends")
    html, text = extends + html, extends + text
    return Converted(
        _restore(html, taken.tags), _restore(text, taken.tags), _lines(html, taken), _lines(text, taken)
    )


def _lines(template: str, taken: _Taken) -> tuple[int, ...]:
    """Return for each line of a template the line of the source where its last tag stood."""
    found, last = [], 1
    for line in template.split("\n"):
        for char in _PLACEHOLDER.findall(line):
            last = taken.lines[ord(char) - _FIRST_PLACEHOLDER] or last
        found.append(last)
    return tuple(found)


def _line(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1


def _take_apart(source: str) -> _Taken:
    """Take the tags out, so that Markdown sees none."""
    taken = _Taken()

    def hide(found: re.Match[str]) -> str:
        tag = found[0]
        tail = f"\n{_DROPPED}" * tag.count("\n")
        if tag.startswith("{#"):
            return _DROPPED + tail
        line, word = _line(source, found.start()), _word(tag)
        if tag.startswith("{%") and word not in _KNOWN and not word.startswith("end"):
            raise MarkdownError(line, f"the tag {{% {word} %}} is not known in letters")
        return taken.hide(" ".join(tag.split("\n")), word, line) + tail

    for number, line in enumerate(_TAG.sub(hide, source).split("\n"), 1):
        whole = line.replace(_DROPPED, "")
        if line != whole and not whole.strip():
            continue  # a line that held only a comment, or the tail of a tag
        inside = [ord(char) - _FIRST_PLACEHOLDER for char in _PLACEHOLDER.findall(whole)]
        alone = not _PLACEHOLDER.sub("", whole).strip()
        words = [taken.words[n] for n in inside]
        if "super" in words and "block" not in words and not (alone and all(words)):
            raise MarkdownError(number, "{{ super() }} needs a line of its own")
        if inside and alone and all(words):
            taken.lifted += [
                _Lifted(taken.tags[n], taken.words[n], len(taken.kept), number, chr(_FIRST_PLACEHOLDER + n))
                for n in inside
            ]
        else:
            taken.kept.append(whole)
            taken.numbers.append(number)
    return taken


def _word(tag: str) -> str:
    """Name a tag that may stand on a line of its own: of `{% %}` its first word, and `super`."""
    found = re.match(r"\{%[-+]?\s*(\w+)|\{\{[-+]?\s*(super)\(\)\s*[-+]?\}\}", tag)
    return (found[1] or found[2]) if found else ""


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 200}).enable("table")
    # A placeholder in a link's address stays one character instead of being percent-encoded.
    parser.normalizeLink = lambda url: "".join(  # type: ignore[method-assign]
        part if _PLACEHOLDER.fullmatch(part) else normalizeLink(part)
        for part in re.split(f"({_PLACEHOLDER.pattern})", url)
    )
    return parser


def _children(tokens: Sequence[Token], kind: str, taken: _Taken) -> Iterator[tuple[Token, int]]:
    """Yield the inline tokens of a kind with the line of their block."""
    for token in tokens:
        for child in token.children or ():
            if child.type == kind:
                yield child, taken.numbers[token.map[0] if token.map else 0]


def _refuse_crossings(tokens: Sequence[Token], taken: _Taken) -> None:
    """Refuse a choice or a loop inside a line that begins or ends in the middle of emphasis or of a link.

    Repeated or left out, half an element would open or close others; thousands of them crash what reads HTML.
    """
    for token in tokens:
        if token.type not in ("fence", "code_block", "inline"):
            continue
        line = taken.numbers[token.map[0] if token.map else 0]
        if token.type != "inline":
            _balance([token.content], taken, line)
        else:
            depth = 0
            pieces: list[str | int] = []
            for child in token.children or ():
                depth += child.nesting
                if depth > _DEEPEST:
                    raise MarkdownError(line, "emphasis is nested too deep")
                pieces += [child.nesting] if child.nesting else [child.content]
                for value in child.attrs.values():
                    _balance([str(value)], taken, line)
                if child.type == "image":
                    pieces.pop()
                    _balance([below.content for below in child.children or ()], taken, line)
            _balance(pieces, taken, line)


def _balance(pieces: Sequence[str | int], taken: _Taken, line: int) -> None:
    """Check that tags open and close at one depth; a number opens (1) or closes (-1) an element."""
    depth = 0
    opened: list[tuple[str, int]] = []
    for piece in pieces:
        if isinstance(piece, int):
            depth += piece
            if opened and depth < opened[-1][1]:
                raise MarkdownError(line, f"{opened[-1][0]} stands half inside emphasis or a link")
            continue
        for char in _PLACEHOLDER.findall(piece):
            number = ord(char) - _FIRST_PLACEHOLDER
            tag, word = taken.tags[number], taken.words[number]
            if word in _OPENING:
                opened.append((tag, depth))
            elif word in _MIDDLE or word.startswith("end"):
                if not opened:
                    if word == "endset":
                        continue
                    raise MarkdownError(line, f"{tag}: its opening tag stands in another paragraph or cell")
                if depth != opened[-1][1]:
                    raise MarkdownError(line, f"{opened[-1][0]} stands half inside emphasis or a link")
                if word.startswith("end"):
                    opened.pop()
    if opened:
        raise MarkdownError(line, f"{opened[-1][0]}: its end stands in another paragraph or cell")


def _place_images(tokens: Sequence[Token], taken: _Taken, image: Callable[[str], str]) -> None:
    """Give each image its address inside the message; what stands for it as text loses its isolates."""
    for one, line in _children(tokens, "image", taken):
        name = unquote(str(one.attrs.get("src", ""))).removeprefix("cid:")
        if _PLACEHOLDER.search(name):
            raise MarkdownError(
                line, "an image is the same for everybody; write its file's name without tags"
            )
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:|//", name):
            raise MarkdownError(
                line, f"the image {name} lies elsewhere; loading it would tell who reads the letter"
            )
        try:
            one.attrs["src"] = image(name)
        except ValueError as error:
            raise MarkdownError(line, str(error)) from None
        for child in one.children or ():
            child.content = _PLACEHOLDER.sub(lambda found: _guarded(found[0], "plain", taken), child.content)


def _guarded(placeholder: str, guard: str, taken: _Taken) -> str:
    """Return the placeholder of a tag's twin whose value goes through a filter."""
    number = ord(placeholder) - _FIRST_PLACEHOLDER
    tag = taken.tags[number]
    if not tag.startswith("{{"):
        return placeholder
    inner = tag[2:-2].strip().strip("-").strip()
    taken.guards[placeholder] = taken.hide(f"{{{{ ({inner})|{guard} }}}}", "", taken.lines[number])
    return taken.guards[placeholder]


def _guard_links(tokens: Sequence[Token], taken: _Taken) -> None:
    """Guard values in a link's address: a whole address must be harmless, a part is percent-encoded."""
    for one, line in _children(tokens, "link_open", taken):
        href = str(one.attrs.get("href", ""))
        first = _PLACEHOLDER.match(href)
        if first and not taken.tags[ord(first[0]) - _FIRST_PLACEHOLDER].startswith("{{"):
            raise MarkdownError(
                line, "a link cannot begin with a choice; put the choice around the whole link"
            )
        if not first and not _ADDRESS.match(href):
            words = _PLACEHOLDER.sub("…", href) or "nothing"
            raise MarkdownError(line, f"a link leads to {words}; it must begin with https:// or mailto:")
        one.attrs["href"] = _PLACEHOLDER.sub(
            lambda found: _guarded(found[0], "urlpart" if found.start() else "link", taken), href
        )


def _open_with_a_capital(tokens: Sequence[Token], taken: _Taken) -> None:
    """Let the word behind the greeting follow it: small after a German comma, a capital after `!`."""
    for n, token in enumerate(tokens[:-3]):
        if token.type != "inline" or not _PLACEHOLDER.fullmatch(token.content):
            continue
        following = tokens[n + 3]
        if _SALUTATION.fullmatch(taken.tags[ord(token.content) - _FIRST_PLACEHOLDER]) and following.children:
            words = [child for child in following.children if child.nesting == 0]
            if words and words[0].type == "text" and words[0].content[:1].islower():
                small, rest = words[0].content[0], words[0].content[1:]
                tag = f"{{{{ {small.upper()!r} if _capital else {small!r} }}}}"
                words[0].content = taken.hide(tag, "", following.map[0] if following.map else 0) + rest


def _refuse_losses(taken: _Taken, count: int, html: str, text: str) -> None:
    """Refuse a tag that Markdown dropped: in a cell too many, an unused link definition, a fence's head."""
    # A link that is shown as its own address stands once in the text, so there any equal tag will do.
    original = {twin: char for char, twin in taken.guards.items()}
    said = {
        taken.tags[ord(original.get(char, char)) - _FIRST_PLACEHOLDER] for char in _PLACEHOLDER.findall(text)
    }
    for number, tag in enumerate(taken.tags[:count]):
        char = chr(_FIRST_PLACEHOLDER + number)
        if taken.words[number] == "extends":
            continue
        if not (char in html or taken.guards.get(char, char) in html) or tag not in said:
            raise MarkdownError(taken.lines[number], f"{tag} would be lost here: Markdown drops it")


# Putting the lifted lines back ------------------------------------------------------------------


def _tree(tokens: Sequence[Token], lines: int) -> _Node:
    root = _Node("root", -1, len(tokens), 0, lines)
    stack = [root]
    for n, token in enumerate(tokens):
        if token.nesting >= 0 and token.type != "inline":
            start, end = token.map or (stack[-1].start, stack[-1].end)
            node = _Node(token.type, n, n, start, end)
            stack[-1].children.append(node)
            if token.nesting:
                stack.append(node)
        elif token.nesting < 0:
            stack.pop().last = n
    return root


def _weave(tokens: list[Token], taken: _Taken) -> None:
    """Insert the lifted tags into the token list as raw pieces."""
    if len(taken.lifted) * len(tokens) > _MOST_PLACES:
        raise MarkdownError(taken.lifted[0].line, "too many tags on lines of their own in so long a letter")
    root = _tree(tokens, len(taken.kept))
    before: dict[int, list[_Lifted]] = {}
    for one, index in _places(root, taken.kept, taken.lifted):
        before.setdefault(index, []).append(one)
    for index in sorted(before, reverse=True):
        tokens[index:index] = [
            Token("html_block", "", 0, content=one.placeholder, block=True)
            for one in sorted(before[index], key=lambda one: one.line)
        ]


def _places(root: _Node, kept: list[str], lifted: list[_Lifted]) -> Iterator[tuple[_Lifted, int]]:
    """Yield each lifted tag with the index of the token it stands before."""
    groups: list[list[_Lifted]] = []  # [opening, middles…, end], in order of their openings
    parents: list[list[_Lifted] | None] = []
    stack: list[list[_Lifted]] = []
    for one in lifted:
        if one.word == "extends":
            continue
        if one.word in _OPENING or one.word in _SINGLE:
            groups.append([one])
            parents.append(stack[-1] if stack else None)
            if one.word not in _SINGLE:
                stack.append(groups[-1])
        elif not stack:
            raise MarkdownError(one.line, f"{one.tag}: its opening tag stands inside a line of text")
        else:
            stack[-1].append(one)
            if one.word.startswith("end"):
                stack.pop()
    if stack:
        raise MarkdownError(stack[-1][0].line, f"{stack[-1][0].tag}: its end stands inside a line of text")
    levels: dict[int, _Node] = {}
    for group, parent in zip(groups, parents, strict=True):
        top = levels[id(parent)] if parent is not None else root
        level = _level(top, group, kept)
        levels[id(group)] = level
        for one in group:
            index = _boundary(level, one, kept)
            if index is not None:  # `_level` chose this level because it is
                yield one, index


def _level(top: _Node, group: list[_Lifted], kept: list[str]) -> _Node:
    """Find the level of the document where the opening tag, its middles and its end can all stand.

    The outermost will do; a loop prefers the inside of a list or table body: one list, many items.
    """
    fitting = [
        node
        for node in _descend(top)
        if node.type in _LEVELS and all(_boundary(node, one, kept) is not None for one in group)
    ]
    if not fitting:
        raise MarkdownError(
            group[0].line,
            f"{group[0].tag} … {group[-1].tag}: no whole paragraphs, items or rows stand between them; "
            "leave an empty line before and behind the tag lines",
        )
    if group[0].word == "block" and fitting[0].type == "ordered_list_open":
        raise MarkdownError(group[0].line, f"{group[0].tag}: a block cannot stand between numbered items")
    if group[0].word == "for":
        inside = [node for node in fitting if node.type in _LEVELS[1:4]]
        return inside[-1] if inside else fitting[0]
    return fitting[0]


def _descend(node: _Node) -> Iterator[_Node]:
    yield node
    for child in node.children:
        yield from _descend(child)


def _boundary(level: _Node, one: _Lifted, kept: list[str]) -> int | None:
    """Return the token index of the gap between two blocks of this level where the tag stood, or None."""
    after = one.cut
    while after < len(kept) and not kept[after].strip():
        after += 1
    ahead = one.cut
    while ahead > 0 and not kept[ahead - 1].strip():
        ahead -= 1
    outside = level.type != "root" and not (level.start <= one.cut <= level.end)
    if outside:
        return None
    done = [child for child in level.children if _end(child, kept) <= ahead]
    rest = [child for child in level.children if child.start >= after]
    if len(done) + len(rest) != len(level.children):
        return None
    if one.word in _OPENING or one.word in _SINGLE:  # before the next block, else behind the last
        return rest[0].first if rest else level.last
    return done[-1].last + 1 if done else (rest[0].first if rest else level.last)


def _end(node: _Node, kept: list[str]) -> int:
    end = min(node.end, len(kept))
    while end > node.start and not kept[end - 1].strip():
        end -= 1
    return end


# Putting the tags back ---------------------------------------------------------------------------


def _restore(template: str, tags: list[str]) -> str:
    # Braces that Markdown produced (from entities, say) or that stand before a tag must not become tags.
    template = re.sub(r"\{(?=[{%#\U000f0000-\U000ffffc])", "{{ '{' }}", template)
    return _PLACEHOLDER.sub(lambda m: tags[ord(m[0]) - _FIRST_PLACEHOLDER], template)


# Plain text -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Margin:
    """What stands before each line inside an item or a quote: something on the first, then the rest."""

    first: str
    rest: str
    used: bool = False


class _Text:
    """Write the token list as plain text, the way a person writes a mail."""

    def __init__(self, tokens: Sequence[Token], taken: _Taken) -> None:
        self.tokens = tokens
        self.hide = taken.hide
        self.tags = taken.tags
        self.unguarded = {ord(twin): char for char, twin in taken.guards.items()}
        self.margins: list[_Margin] = []
        self.numbers: list[int | str | None] = []  # of lists: the next number, a counter's name, or a bullet

    def render(self) -> str:
        return re.sub(r"\n{3,}", "\n\n", "".join(self.blocks())).lstrip("\n")

    def lines(self, text: str) -> str:
        """Put the margins before each line."""
        return "".join(f"{self.margin()}{line}\n" for line in text.split("\n"))

    def margin(self) -> str:
        written = "".join(one.rest if one.used else one.first for one in self.margins)
        for one in self.margins:
            one.used = True
        return written

    def blocks(self) -> Iterator[str]:
        cells: list[str] = []
        in_row = False
        for n, token in enumerate(self.tokens):
            kind = token.type
            if kind == "html_block":
                yield token.content
            elif kind == "inline":
                if in_row:
                    cells.append(self.inline(token.children or ()))
                else:
                    yield self.lines(self.inline(token.children or ()))
            elif kind in ("paragraph_close", "heading_close"):
                if not token.hidden and [t.type for t in self.tokens[n + 1 : n + 2]] != ["blockquote_close"]:
                    yield "".join(one.rest for one in self.margins).rstrip() + "\n"
            elif kind in ("bullet_list_open", "ordered_list_open"):
                yield self.open_list(n, token)
            elif kind in ("bullet_list_close", "ordered_list_close"):
                self.numbers.pop()
                yield "" if self.numbers else "\n"
            elif kind == "list_item_open":
                yield from self.open_item()
            elif kind == "list_item_close":
                yield "" if self.margins[-1].used else f"{self.margin()}\n"
                self.margins.pop()
            elif kind == "blockquote_open":
                self.margins.append(_Margin("> ", "> "))
            elif kind == "blockquote_close":
                self.margins.pop()
                yield "\n"
            elif kind in ("fence", "code_block"):
                yield self.lines(token.content.rstrip("\n")) + "\n"
            elif kind == "hr":
                yield self.lines("* * *") + "\n"
            elif kind == "tr_open":
                in_row, cells = True, []
            elif kind == "tr_close":
                in_row = False
                yield self.lines(" | ".join(cells))
            elif kind == "table_close":
                yield "\n"

    def open_list(self, n: int, token: Token) -> str:
        """Begin to count; a list with tags between its items counts when it is rendered."""
        if token.type == "bullet_list_open":
            self.numbers.append(None)
            return ""
        start = int(token.attrs.get("start", 1))
        end = next(
            (
                m
                for m in range(n, len(self.tokens))
                if self.tokens[m].type == "ordered_list_close" and self.tokens[m].level == token.level
            ),
            len(self.tokens),
        )
        if not any(t.type == "html_block" for t in self.tokens[n:end]):
            self.numbers.append(start)
            return ""
        name = f"_list_{n}"  # no column begins with _
        self.numbers.append(name)
        return self.hide(f"{{% set {name} = _counter(n={start - 1}) %}}", "", 0)

    def open_item(self) -> Iterator[str]:
        number = self.numbers[-1]
        if isinstance(number, str):
            yield self.hide(f"{{% set {number}.n = {number}.n + 1 %}}", "", 0)
            value = self.hide(f"{{{{ {number}.n }}}}", "", 0)
            self.margins.append(_Margin(f"{value}. ", "   "))
            return
        marker = "- " if number is None else f"{number}. "
        if number is not None:
            self.numbers[-1] = number + 1
        self.margins.append(_Margin(marker, " " * len(marker)))

    def inline(self, children: Sequence[Token]) -> str:
        parts: list[str] = []
        links: list[tuple[str, int]] = []
        for child in children:
            if child.type in ("text", "code_inline"):
                parts.append(child.content)
            elif child.type in ("softbreak", "hardbreak"):
                parts.append("\n")
            elif child.type == "image":
                alt = "".join(below.content for below in child.children or ()).translate(self.unguarded)
                parts.append(f"[{alt}]" if alt.strip() else "")
            elif child.type == "link_open":
                links.append((str(child.attrs.get("href", "")), len(parts)))
            elif child.type == "link_close":
                href, start = links.pop()
                plain = _restore(href.translate(self.unguarded), self.tags)
                seen = _restore("".join(parts[start:]), self.tags)
                if seen not in (plain, plain.removeprefix("mailto:")):
                    parts.append(f" ({href.removeprefix('mailto:')})")
        return "".join(parts)
