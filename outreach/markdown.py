"""Turn a Markdown letter template into an HTML template and a text template, once.

Markdown and Jinja do not mix by themselves, so a tag inside a line becomes one private-use character
before Markdown and comes back behind it; a line of nothing but `{% %}` is lifted out and put back between
the blocks: an opening one before the block that starts on the next line, its end behind the block that
ended on the line before, both at one level of the document. Pure: text in, two template texts out.
Raises MarkdownError with the line. Refuses raw HTML, images, and block tags other than
if, for, block, set and extends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

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
_FIRST_PLACEHOLDER = 0xF0000  # supplementary private use area A
_PLACEHOLDER = re.compile("[\U000f0000-\U000ffffd]")
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


@dataclass(slots=True)
class _Lifted:
    """A line of nothing but `{% %}`; `cut` is the number of kept lines above it."""

    tag: str
    word: str
    cut: int
    line: int
    placeholder: str


@dataclass(slots=True)
class _Node:
    """A block of the document: where it stands in the tokens and in the lines."""

    type: str
    first: int  # index of its (opening) token
    last: int  # index of its (closing) token
    start: int  # first line
    end: int  # line behind the last
    children: list[_Node] = field(default_factory=list)


def convert(source: str) -> Converted:
    """Convert one template file's body. Jinja's own syntax is expected to be valid already."""
    if found := _PLACEHOLDER.search(source):
        raise MarkdownError(
            source.count("\n", 0, found.start()) + 1, "a private-use character cannot be kept"
        )
    kept, lifted, tags = _split(source)
    tokens = _parser().parse("\n".join(kept))
    _refuse_images(tokens)
    _weave(tokens, kept, lifted)
    extends = "".join(f"{one.tag}\n" for one in lifted if one.word == "extends")
    html = _restore(_escape_braces(_parser().renderer.render(tokens, _parser().options, {})), tags)
    text = _restore(_escape_braces(_Text(tokens).render()), tags)
    return Converted(extends + html, extends + text)


def _split(source: str) -> tuple[list[str], list[_Lifted], list[str]]:
    """Take the tags out: a list of kept lines, the lifted tag lines, and the tags behind placeholders."""
    tags: list[str] = []
    words: list[str] = []

    def hide(found: re.Match[str]) -> str:
        tag = found[0]
        if tag.startswith("{#"):
            return "" if "\n" not in tag else "\n" * tag.count("\n")
        tags.append(" ".join(tag.split("\n")))
        words.append(_word(tag))
        if (
            tag.startswith("{%")
            and words[-1] not in (*_OPENING, *_MIDDLE, "set", "extends")
            and not words[-1].startswith("end")
        ):
            line = source.count("\n", 0, found.start()) + 1
            raise MarkdownError(line, f"the tag {{% {words[-1]} %}} is not known in letters")
        return chr(_FIRST_PLACEHOLDER + len(tags) - 1) + "\n" * tag.count("\n")

    original = source.split("\n")
    hidden = _TAG.sub(hide, source).split("\n")
    kept: list[str] = []
    lifted: list[_Lifted] = []
    for number, line in enumerate(hidden, 1):
        inside = _PLACEHOLDER.findall(line)
        numbers = [ord(char) - _FIRST_PLACEHOLDER for char in inside]
        if inside and not _PLACEHOLDER.sub("", line).strip() and all(words[n] for n in numbers):
            lifted += [
                _Lifted(tags[n], words[n], len(kept), number, chr(_FIRST_PLACEHOLDER + n)) for n in numbers
            ]
        elif line.strip() or not original[number - 1].strip():
            kept.append(line)  # a line that held only a comment, or the tail of a tag, goes
    return kept, lifted, tags


def _word(tag: str) -> str:
    found = re.match(r"\{%[-+]?\s*(\w+)", tag)
    return found[1] if found else ""


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    # A placeholder in a link's address stays one character instead of being percent-encoded.
    parser.normalizeLink = lambda url: "".join(  # type: ignore[method-assign]
        part if _PLACEHOLDER.fullmatch(part) else normalizeLink(part)
        for part in re.split(f"({_PLACEHOLDER.pattern})", url)
    )
    return parser


def _refuse_images(tokens: Sequence[Token]) -> None:
    for token in tokens:
        for child in token.children or ():
            if child.type == "image":
                raise MarkdownError((token.map or [0])[0] + 1, "images are not supported in letters yet")


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


def _weave(tokens: list[Token], kept: list[str], lifted: list[_Lifted]) -> None:
    """Insert the lifted tags into the token list as raw pieces."""
    root = _tree(tokens, len(kept))
    before: dict[int, list[_Lifted]] = {}
    for one, index in _places(root, kept, lifted):
        before.setdefault(index, []).append(one)
    for index in sorted(before, reverse=True):
        tokens[index:index] = [
            Token("html_block", "", 0, content=one.placeholder + "\n", block=True)
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
        if one.word in _OPENING or one.word == "set":
            groups.append([one])
            parents.append(stack[-1] if stack else None)
            if one.word != "set":
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
    if one.word in _OPENING or one.word == "set":  # before the next block, else behind the last
        return rest[0].first if rest else level.last
    return done[-1].last + 1 if done else (rest[0].first if rest else level.last)


def _end(node: _Node, kept: list[str]) -> int:
    end = min(node.end, len(kept))
    while end > node.start and not kept[end - 1].strip():
        end -= 1
    return end


# Putting the tags back ---------------------------------------------------------------------------


def _escape_braces(text: str) -> str:
    """Keep braces that Markdown produced (from entities, say) from becoming tags."""
    return re.sub(r"\{(?=[{%#])", "{{ '{' }}", text) if re.search(r"\{[{%#]", text) else text


def _restore(template: str, tags: list[str]) -> str:
    template = re.sub(
        r'(href=")([^"]*)(")', lambda m: m[1] + _PLACEHOLDER.sub(_in_link(tags), m[2]) + m[3], template
    )
    return _PLACEHOLDER.sub(lambda m: tags[ord(m[0]) - _FIRST_PLACEHOLDER], template)


def _in_link(tags: list[str]) -> Callable[[re.Match[str]], str]:
    """Guard values in a link's address: a whole address must be harmless, a part is percent-encoded."""

    def guard(found: re.Match[str]) -> str:
        tag = tags[ord(found[0]) - _FIRST_PLACEHOLDER]
        if not tag.startswith("{{"):
            return tag
        inner = tag[2:-2].strip().strip("-").strip()
        return f"{{{{ ({inner})|{'urlencode' if found.start() else 'link'} }}}}"

    return guard


# Plain text -------------------------------------------------------------------------------------


class _Text:
    """Write the token list as plain text, the way a person writes a mail."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens

    def render(self) -> str:
        return re.sub(r"\n{3,}", "\n\n", "".join(self.blocks())).lstrip("\n")

    def blocks(self) -> Iterator[str]:
        prefix: list[str] = []  # what each line begins with, by nesting of quotes and lists
        marker = ""  # the item's bullet, until its first line is written
        counters: list[int | None] = []
        cells: list[str] = []
        in_row = False
        for n, token in enumerate(self.tokens):
            kind = token.type
            if kind == "html_block":
                yield token.content
            elif kind == "inline":
                content = self.inline(token.children or ())
                if in_row:
                    cells.append(content)
                    continue
                indent = "".join(prefix)
                first = indent[: len(indent) - len(marker)] + marker if marker else indent
                lines = content.split("\n")
                yield first + lines[0] + "".join(f"\n{indent}{line}" for line in lines[1:]) + "\n"
                marker = ""
            elif kind in ("paragraph_close", "heading_close"):
                if not token.hidden and [t.type for t in self.tokens[n + 1 : n + 2]] != ["blockquote_close"]:
                    yield "".join(prefix).rstrip() + "\n"
            elif kind in ("bullet_list_open", "ordered_list_open"):
                counters.append(int(token.attrs.get("start", 1)) if kind[0] == "o" else None)
            elif kind in ("bullet_list_close", "ordered_list_close"):
                counters.pop()
                yield "" if counters else "\n"
            elif kind == "list_item_open":
                number = counters[-1]
                marker = "- " if number is None else f"{number}. "
                if number is not None:
                    counters[-1] = number + 1
                prefix.append(" " * len(marker))
            elif kind == "list_item_close":
                prefix.pop()
            elif kind == "blockquote_open":
                prefix.append("> ")
            elif kind == "blockquote_close":
                prefix.pop()
                yield "\n"
            elif kind in ("fence", "code_block"):
                indent = "".join(prefix)
                yield "".join(f"{indent}{line}\n" for line in token.content.rstrip("\n").split("\n")) + "\n"
            elif kind == "hr":
                yield "* * *\n\n"
            elif kind == "tr_open":
                in_row, cells = True, []
            elif kind == "tr_close":
                in_row = False
                yield "".join(prefix) + " | ".join(cells) + "\n"
            elif kind == "table_close":
                yield "\n"

    def inline(self, children: Sequence[Token]) -> str:
        parts: list[str] = []
        links: list[tuple[str, int]] = []
        for child in children:
            if child.type in ("text", "code_inline"):
                parts.append(child.content)
            elif child.type in ("softbreak", "hardbreak"):
                parts.append("\n")
            elif child.type == "link_open":
                links.append((str(child.attrs.get("href", "")), len(parts)))
            elif child.type == "link_close":
                href, start = links.pop()
                shown = href.removeprefix("mailto:")
                if "".join(parts[start:]) not in (href, shown):
                    parts.append(f" ({shown})")
        return "".join(parts)
