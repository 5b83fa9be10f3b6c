"""Letters: find the template for a reader, compile it once, render it strictly.

Takes the texts of a letter's files (sources.py), so that the same letter can be rendered from the ledger
later. Everything that can be wrong is found before anything is rendered: syntax, unknown variables, text or
blocks that would be lost in a child file, missing greetings and files, all with file and line. Contact
fields are data: never compiled, escaped in HTML, isolated where they run the other way.
Raises LetterError. A reader of two languages (`fr+nl`) gets both in one mail.
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
import re
import secrets
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import css_inline
from jinja2 import Template, TemplateSyntaxError, meta, nodes
from markupsafe import Markup

from outreach import attachments, languages, markdown, remote, salutations, sources
from outreach.attachments import AttachmentError, Load
from outreach.errors import LetterError, Problem
from outreach.languages import Step
from outreach.model import LETTER_VARIABLES, Attachment, Contact, Identity, Rendered
from outreach.sandbox import Environment, as_html, layout_problems
from outreach.sources import LAYOUT, TemplateFile

_BLOCK = re.compile(r"\{%-?\s*block\s+(\w+)")
# What all files of a letter may have together; sixty languages of the shipped letter have a third of it.
_MOST = {"characters": 800_000, "tags": 5_000, "brackets": 5_000}
_MOST_STYLED = 2_000_000  # tags × declarations of the style sheet
_LONGEST_SUBJECT = 32_000  # characters
_LONGEST_CHAIN = 5  # files that extend each other
_BETWEEN = "\n\n* * *\n\n"  # two languages in plain text
# In a contact's field: control characters, blanks where they break lines, and halves of characters.
_FIELD_CONTROLS: dict[int, int | None] = {
    number: ord(" ") if chr(number).isspace() else None
    for number in (*range(32), *range(127, 160))
    if chr(number) not in "\t\n"
}
_FIELD_CONTROLS |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)  # half a character
_BLANKS = re.compile(r"[^\S\u00a0\u2007\u202f]+")  # not the no-break spaces before a French colon
# Parses HTML as browsers do and writes it anew, its styles where they were.
_AS_PARSED = css_inline.CSSInliner(
    inline_style_tags=False, keep_style_tags=True, keep_at_rules=True, load_remote_stylesheets=False
)
_INLINED = css_inline.CSSInliner(keep_style_tags=False, keep_at_rules=True, load_remote_stylesheets=False)
_NOT_IN_SUBJECTS = (nodes.Extends, nodes.Block)


@dataclass(frozen=True, slots=True)
class Found:
    """Which file a reader of one language gets, by which way, and what is wrong with that."""

    file: TemplateFile
    wanted_language: str
    steps: tuple[Step, ...]  # tried one after the other; the last one had the file
    complete: bool  # the reader's own language, and the ask the source has for the audience
    stale: TemplateFile | None = None  # the file among this one and those it extends that is out of date


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files a contact gets: one, or two for a reader of two languages."""

    parts: tuple[Found, ...]  # each file once
    halves: tuple[Found, ...]  # one for each language of the reader

    @property
    def language(self) -> str:
        """The language of the letter: `fr`, or `fr+nl`."""
        return "+".join(one.file.language for one in self.parts)

    @property
    def file(self) -> str:
        """The names of the files."""
        return "+".join(one.file.file for one in self.parts)

    @property
    def wanted_language(self) -> str:
        """What the reader would have had first."""
        return "+".join(one.wanted_language for one in self.halves)

    @property
    def complete(self) -> bool:
        """Tell whether nothing falls back."""
        return all(one.complete for one in self.halves)


@dataclass(frozen=True, slots=True)
class _Part:
    """A letter in one language, before it is put into its frame."""

    subject: str
    text: str
    content: Markup
    footer: str
    language: str
    direction: str
    attachments: tuple[Attachment, ...]


def _names_used(tree: nodes.Template, names: set[str]) -> Iterator[tuple[str, int]]:
    """Yield where these names are read, besides where a loop or the file itself sets them."""

    def walk(node: nodes.Node, bound: frozenset[str]) -> Iterator[tuple[str, int]]:
        if isinstance(node, nodes.Name) and node.ctx == "load" and node.name in names - bound:
            yield node.name, node.lineno
        if isinstance(node, nodes.For):
            inside = bound | {name.name for name in _targets(node.target)} | {"loop"}
            yield from walk(node.iter, bound)
            for child in (*node.body, *([node.test] if node.test else [])):
                yield from walk(child, inside)
            for child in node.else_:
                yield from walk(child, bound)
            return
        for child in node.iter_child_nodes():
            yield from walk(child, bound)

    own: set[str] = set()
    for node in tree.body:  # what a file sets on its top level is known below that, in its blocks too
        yield from walk(node, frozenset(own))
        own |= _names_set([node])


def _names_set(body: list[nodes.Node]) -> set[str]:
    return {
        target.name
        for node in body
        if isinstance(node, nodes.Assign | nodes.AssignBlock)
        for target in node.find_all(nodes.Name)
        if target.ctx == "store"
    }


def _targets(target: nodes.Node) -> list[nodes.Name]:
    return [target] if isinstance(target, nodes.Name) else list(target.find_all(nodes.Name))


class Letter:
    """A compiled letter: finds and renders for any contact."""

    def __init__(
        self, name: str, texts: Mapping[str, str], source_language: str = "en", load: Load | None = None
    ) -> None:
        """Compile every file. Raises LetterError with every problem of every file.

        `load` reads the files that travel with the letter, by their names.
        """
        self.name, self.sources, self.source_language = name, texts, source_language
        self.files: dict[str, TemplateFile] = {}
        self._by_tags: dict[tuple[str, str], TemplateFile] = {}
        self.problems: list[Problem] = []
        self.variables: dict[str, Problem] = {}  # each name a letter uses → where first
        self.carried: dict[str, bytes] = {}  # the files that travel with the letter
        self.stale: dict[str, TemplateFile] = {}  # file → the original that changed since
        self.untouched: set[str] = set()  # files that say what `letters new` wrote
        self.copies: dict[str, TemplateFile] = {}  # file → the original that it still says word for word
        self._load = load
        self._attached: dict[tuple[str, bool], Attachment] = {}
        self._images: dict[str, list[Attachment]] = {}  # file → what it shows
        self._lines: dict[str, dict[str, tuple[int, ...]]] = {}  # of the converted templates
        self._sets: dict[str, set[str]] = {}  # names that a file sets on its top level
        self._choices: dict[tuple[str, str, str], Choice] = {}
        html: dict[str, str] = {}
        text: dict[str, str] = {}
        self._parsing = Environment({}, html=True)
        for path, source in texts.items():
            if path.startswith(f"{name}/"):
                self._take_apart(path.removeprefix(f"{name}/"), source)
        if not self.files and not self.problems:
            raise LetterError(
                f"the letter {name} has no files like {source_language}.md",
                f"write {name}/{source_language}.md: a Subject: line, an empty line, the letter",
            )
        self._refuse_size()
        for one in self.files.values():
            self._compile(one, html, text)
        self._phrases: dict[str, salutations.Phrases] = {}
        for path, source in texts.items():
            if path.startswith("_languages/"):
                try:
                    self._phrases[Path(path).stem] = salutations.parse(path, source)
                except LetterError as error:
                    self.problems += error.problems or [Problem(path, None, error.message)]
        self._html = Environment(html, html=True, own=True)
        self._text = Environment(text, html=False, own=True)
        self._plain = Environment({}, html=False, isolating=False)
        self._subjects: dict[str, Template] = {}
        self._layout = self._parse_layout()
        self._check_files()
        if self.problems:
            raise LetterError(f"the letter {name} has problems", problems=sorted(self.problems, key=_order))
        self._tags = tuple(self.languages)

    # Reading ---------------------------------------------------------------------------------

    def _say(self, file: str, line: int | None, text: str, suggestion: str = "") -> None:
        self.problems.append(Problem(f"{self.name}/{file}" if file else "", line, text, suggestion))

    def _take_apart(self, file: str, source: str) -> None:
        one, problems = sources.take_apart(file, source)
        for line, text, suggestion in problems:
            self._say(file, line, text, suggestion)
        if one is None:
            return
        if other := self._by_tags.get((one.language, one.audience)):
            self._say(file, None, f"is the same letter as {other.file}", "remove one of them")
        self.files[file] = self._by_tags[one.language, one.audience] = one

    def _refuse_size(self) -> None:
        """Refuse what would take seconds to compile, whoever wrote it: all files of a letter together."""
        size: dict[str, Callable[[str], int]] = {
            "characters": len,
            "tags": lambda body: len(re.findall(r"\{[{%#]", body)),
            "brackets": lambda body: body.count("["),
        }
        for what, most in _MOST.items():
            counts = {file: size[what](one.body) for file, one in self.files.items()}
            if sum(counts.values()) > most:
                file = max(counts, key=lambda name: counts[name])
                text = f"the letter has over {most} {what} in its files together, {counts[file]} of them here"
                raise LetterError(
                    f"the letter {self.name} is too large", problems=[Problem(f"{self.name}/{file}", 1, text)]
                )

    def _compile(self, one: TemplateFile, html: dict[str, str], text: dict[str, str]) -> None:
        for part, offset, is_subject in (
            (one.subject or "", one.subject_line - 1, True),
            (one.body, one.body_line - 1, False),
        ):
            try:
                tree = self._parsing.parse(part)
                self._parsing.compile(part)  # finds unknown filters, and blocks that stand twice
                unknown = meta.find_undeclared_variables(tree) - self._names_inherited(one)
            except TemplateSyntaxError as error:
                words = error.message or "syntax error"
                line, hint = error.lineno, ""
                if "No filter" in words:
                    hint = "known: " + ", ".join(
                        name for name in sorted(self._parsing.filters) if name[0] != "_"
                    )
                elif "Unexpected end of template" in words and (opened := _unclosed(part)):
                    line, words, hint = *opened, "add it"
                elif "unexpected" in words:
                    hint = "is a tag closed as it was opened, {{ … }} or {% … %}?"
                self._say(one.file, line + offset, words, hint)
                return
            if is_subject and (node := next(tree.find_all(_NOT_IN_SUBJECTS), None)):
                self._say(one.file, node.lineno + offset, "a Subject holds text, values and conditions only")
                return
            for name, line in _names_used(tree, unknown):
                where = Problem(f"{self.name}/{one.file}", line + offset, name)
                self.variables.setdefault(name, where)
            if mine := next((name for name in tree.find_all(nodes.Name) if name.name == "self"), None):
                self._say(
                    one.file, mine.lineno + offset, "self is a word of the template language", "rename it"
                )
        self._check_child(one, tree)
        images: list[Attachment] = []

        def image(name: str) -> str:
            images.append(self._attach(name, inline=True))
            return f"cid:{images[-1].cid}"

        try:
            converted = markdown.convert(one.body, image)
        except markdown.MarkdownError as error:
            self._say(one.file, error.line + one.body_line - 1, error.problem)
            return
        self._images[one.file] = images
        html[one.file], text[one.file] = converted.html, converted.text
        self._lines[one.file] = {"html": converted.html_lines, "text": converted.text_lines}
        if not one.body.strip():
            self._say(one.file, None, "the letter is empty")

    def _attach(self, name: str, inline: bool) -> Attachment:
        """Return a file as a part of a message, read and encoded once. Raises AttachmentError."""
        if (name, inline) not in self._attached:
            if name not in self.carried:
                if self._load is None:
                    raise AttachmentError(f"there is no file {name}")
                self.carried[name] = self._load(name)
            self._attached[name, inline] = attachments.make(name, self.carried[name], inline)
        return self._attached[name, inline]

    def _names_inherited(self, one: TemplateFile) -> set[str]:
        """What the files above set on their top level."""
        found: set[str] = set()
        for above in list(self.ancestry(one))[1:]:
            if above.file not in self._sets:
                self._sets[above.file] = set()
                with contextlib.suppress(TemplateSyntaxError):
                    self._sets[above.file] = _names_set(self._parsing.parse(above.body).body)
            found |= self._sets[above.file]
        return found

    def _check_child(self, one: TemplateFile, tree: nodes.Template) -> None:
        """What stands outside the blocks of a child file would be lost in silence: refuse it."""
        if not one.parent:
            if extends := tree.find(nodes.Extends):
                line = extends.lineno + one.body_line - 1
                self._say(one.file, line, "extends must come first and name a file", '{% extends "en.md" %}')
            return
        for node in tree.body:
            if isinstance(node, nodes.Extends | nodes.Block | nodes.Assign):
                continue
            pieces = node.nodes if isinstance(node, nodes.Output) else [node]
            for piece in pieces:
                text = piece.data if isinstance(piece, nodes.TemplateData) else "x"
                if text.strip():
                    # A text begins on the line of the tag before it.
                    line = piece.lineno + text[: -len(text.lstrip())].count("\n") + one.body_line - 1
                    self._say(
                        one.file,
                        line,
                        "this stands outside any block and would be lost",
                        "move it into a block",
                    )
                    break
        if one.parent not in self.files:
            self._say(one.file, one.body_line, f"extends {one.parent}, which is not there")
            return
        ancestry = [above.file for above in self.ancestry(one)]
        if self.files[ancestry[-1]].parent in ancestry:
            self._say(one.file, one.body_line, f"extends {one.parent}, which leads back to this file")
            return
        if len(ancestry) > _LONGEST_CHAIN:
            self._say(one.file, one.body_line, f"extends files over more than {_LONGEST_CHAIN} steps")
            return
        known = {name for file in ancestry[1:] for name in _BLOCK.findall(self.files[file].body)}
        for block in tree.find_all(nodes.Block):
            if block.name not in known:
                at = block.lineno + one.body_line - 1
                here = ", ".join(sorted(known)) or "none"
                self._say(one.file, at, f"{one.parent} has no block {block.name}", f"blocks there: {here}")

    def _parse_layout(self) -> Template:
        """Compile the frame, and look at what it becomes: nothing loaded, nothing lost."""
        source = self.sources.get(LAYOUT, "")
        problems: list[tuple[int | None, str]] = []
        try:
            layout = self._html.from_string(source)
            tree = self._parsing.parse(source)
            used = meta.find_undeclared_variables(tree)
        except TemplateSyntaxError as error:
            self.problems.append(Problem(LAYOUT, error.lineno, error.message or "syntax error"))
            return self._html.from_string("")
        known = {"content", "lang", "dir", "subject", "sender", "footer"}
        problems += [(line, f"unknown variable {name}") for name, line in _names_used(tree, used - known)]
        problems += [
            (None, f"does not show {{{{ {name} }}}}") for name in sorted({"content", "footer"} - used)
        ]
        problems += remote.find(source)
        problems += layout_problems(tree) if not problems else []
        for tag in self.languages if not problems else ():
            problems += [(None, words) for words in self._look_at(layout, tag)]
            if problems:
                break
        self.problems += [Problem(LAYOUT, line, words) for line, words in dict.fromkeys(problems)]
        return layout

    def _look_at(self, layout: Template, tag: str) -> list[str]:
        """Return what is wrong with the frame of a language; what readers are shown is the same for all."""
        marks = {name: f"{name}{secrets.token_hex(8)}" for name in ("subject", "sender", "content")}
        for count in (1, 3):  # a footer of one line, and one with a first, a middle and a last
            lines = [f"footer{secrets.token_hex(8)}" for _ in range(count)]
            values = {**marks, "content": Markup("<p>{}</p>").format(marks["content"]), "lang": tag}
            values |= {"footer": "\n".join(lines), "dir": languages.direction(tag)}
            try:
                framed = self._frame(layout, values)
            except Exception as error:
                return [f"cannot be rendered: {error}"]
            shown = (marks["content"], *lines)
            if found := remote.check(_AS_PARSED.inline(framed), [*marks.values(), *lines], shown):
                return found
        return []

    def _frame(self, layout: Template, values: Mapping[str, object]) -> str:
        """Put a letter into its frame; refuse what would be too much for css-inline."""
        framed = self._html.render(layout, values)
        tags = framed.count("<")
        if tags - str(values["content"]).count("<") > 2 * remote.MAX_TAGS:
            raise ValueError(f"the frame has too many tags (over {2 * remote.MAX_TAGS})")
        if tags * self.sources.get(LAYOUT, "").count(";") > _MOST_STYLED:
            raise ValueError("there are too many elements for so many styles")
        return framed

    def _check_files(self) -> None:
        greets = self.variables.get("salutation")
        for one in self.files.values():
            if self._with_subject(one) is None and one.subject is None:
                self._say(one.file, 1, "has no Subject: line", "begin the file with Subject: …")
            if greets and self._phrases_for(one.language, strict=True) is None:
                tag = one.language
                self._say(one.file, None, f"there are no greetings in {tag}", f"write _languages/{tag}.toml")
            for name, line in one.attach:
                try:
                    self._attach(name, inline=False)
                except AttachmentError as error:
                    self._say(one.file, line, str(error))
            with contextlib.suppress(AttachmentError):  # what is missing was said above
                together = [*self._attachments(one), *self._all_images(one)]
                try:
                    attachments.refuse_size(together)
                except AttachmentError as error:
                    self._say(one.file, one.attach[0][1] if one.attach else None, str(error))
            self._compare_with_original(one)

    def _compare_with_original(self, one: TemplateFile) -> None:
        """Note whether a translation follows an old version of its source, or is still a copy of it."""
        if sources.essence(self._text_of(one)) == sources.essence(sources.new_letter(one.language)):
            self.untouched.add(one.file)
        first = sources.original(self.files, one, self.source_language)
        if first is None:
            if one.source and one.source[0] != one.language:
                missing = sources.file_name(one.source[0], one.audience)
                self._say(one.file, one.source_line, f"its source {missing} is not there")
            return
        if one.source and one.source[1] != sources.digest(self._text_of(first)):
            self.stale[one.file] = first
        if sources.is_copy(one, self._text_of(one), first, self._text_of(first)):
            self.copies[one.file] = first

    def _text_of(self, one: TemplateFile) -> str:
        return self.sources[f"{self.name}/{one.file}"]

    def _attachments(self, one: TemplateFile) -> list[Attachment]:
        """What travels with a file: its own Attach lines, or those of the nearest file it extends."""
        lines = next((above.attach for above in self.ancestry(one) if above.attach), ())
        return list(dict.fromkeys(self._attach(name, inline=False) for name, _ in lines))

    def _all_images(self, one: TemplateFile) -> list[Attachment]:
        return list(
            dict.fromkeys(image for above in self.ancestry(one) for image in self._images.get(above.file, ()))
        )

    def _with_subject(self, one: TemplateFile) -> TemplateFile | None:
        """The file itself if it has a subject, or the nearest one it extends that has."""
        return next((above for above in self.ancestry(one) if above.subject), None)

    def ancestry(self, one: TemplateFile | None) -> Iterator[TemplateFile]:
        """Return the file and what it extends, nearest first; stops where a circle would close."""
        seen: set[str] = set()
        while one is not None and one.file not in seen:
            seen.add(one.file)
            yield one
            one = self.files.get(one.parent) if one.parent else None

    def _phrases_for(self, language: str, strict: bool = False) -> salutations.Phrases | None:
        tags = languages.truncations(language) + ([] if strict else ["en"])
        return next((self._phrases[tag] for tag in tags if tag in self._phrases), None)

    # Using -----------------------------------------------------------------------------------

    def check_variables(self, columns: Iterable[str]) -> None:
        """Refuse names that no contact has. Raises LetterError with file and line of each."""
        known = {*LETTER_VARIABLES, *columns}
        problems = []
        for name, where in self.variables.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1, cutoff=0.7)
                hint = (
                    f"did you mean {near[0]}? " if near else ""
                ) + f"there are: {', '.join(sorted(known))}"
                problems.append(Problem(where.file, where.line, f"no contact has {name!r}", hint))
        if problems:
            raise LetterError(
                f"the letter {self.name} uses what the list does not have",
                "correct the name, or add the column to the list",
                problems=sorted(problems, key=_order),
            )

    @property
    def languages(self) -> list[str]:
        """The languages this letter is written in, the source language first."""
        tags = {one.language for one in self.files.values()}
        return sorted(tags, key=lambda tag: (tag != self.source_language, tag))

    def choose(self, contact: Contact) -> Choice:
        """Return the files this contact gets (docs/letters.md, "Which file wins").

        Raises LetterError when not even the default language has one.
        """
        key = contact.language, contact.country, contact.audience
        if key not in self._choices:
            halves = tuple(self._find(language, contact) for language in languages.split(contact.language))
            parts = {one.file.file: one for one in reversed(halves)}
            self._choices[key] = Choice(tuple(reversed(parts.values())), halves)
        return self._choices[key]

    def _find(self, language: str, contact: Contact) -> Found:
        steps = languages.chain(language, contact.country, self.source_language, self._tags)
        for n, step in enumerate(steps, 1):
            for audience in dict.fromkeys((contact.audience, "")):
                if one := self._by_tags.get((step.tag, audience)):
                    wanted = steps[0].tag
                    old = next((above for above in self.ancestry(one) if above.file in self.stale), None)
                    return Found(one, wanted, steps[:n], self._is_complete(one, contact, wanted), old)
        tried = ", ".join(step.tag for step in steps)
        raise LetterError(
            f"the letter {self.name} has nothing for {contact.email}: tried {tried}"
            + (f" for {contact.audience}" if contact.audience else ""),
            f"write {self.name}/{self.source_language}.md, the letter for everybody else",
        )

    def _is_complete(self, one: TemplateFile, contact: Contact, wanted: str) -> bool:
        own = one.language in languages.truncations(wanted) or languages.same(wanted, one.language)
        special = (self.source_language, contact.audience) in self._by_tags
        translated = not any(above.file in self.copies for above in self.ancestry(one))
        translated = translated and not self.lacks_words(one.language)
        return own and translated and (one.audience == contact.audience or not special)

    def is_untouched(self, one: TemplateFile) -> bool:
        """Tell whether nobody has written this file, or one that it extends."""
        return any(above.file in self.untouched for above in self.ancestry(one))

    def lacks_words(self, language: str) -> bool:
        """Tell whether greetings and footer of a language are missing, or still those of the source."""
        words, source = (self._phrases_for(tag, strict=True) for tag in (language, self.source_language))
        if languages.same(language, self.source_language) or source is None:
            return False
        return words is None or replace(words, file="") == replace(source, file="")

    def render(
        self,
        contact: Contact,
        sender: Identity,
        reply_to: Identity,
        today: datetime.date,
        subject: str = "",
    ) -> Rendered:
        """Return the letter for one contact; `subject` replaces its own where it goes on in a thread.

        Raises LetterError when a template fails on this contact.
        """
        choice = self.choose(contact)
        parts = [self._render(one.file, contact, sender, reply_to, today) for one in choice.parts]
        first = parts[0]
        subject = subject or " / ".join(dict.fromkeys(part.subject for part in parts))
        content, footer = first.content, first.footer
        if len(parts) > 1:
            content = Markup("\n<hr>\n").join(
                Markup('<div lang="{}" dir="{}">\n{}</div>').format(
                    part.language, part.direction, part.content
                )
                for part in parts
            )
            footer = Markup("\n").join(
                Markup('<span lang="{}" dir="{}" style="display: block">{}</span>').format(
                    part.language, part.direction, _lines(part.footer)
                )
                for part in parts
            )
        with self._blaming(choice.file, contact):
            framed = self._frame(
                self._layout,
                {
                    "content": content,
                    "lang": first.language,
                    "dir": first.direction,
                    "subject": subject,
                    "sender": languages.isolate(sender.name or sender.address, first.direction),
                    "footer": footer,
                },
            )
            html = _INLINED.inline(framed)
        text = _BETWEEN.join(part.text for part in parts)
        feet = "\n\n".join(_wrapped(languages.shown(part.footer)) for part in parts if part.footer)
        if feet:
            text = f"{text}\n\n-- \n{feet}"
        attached = tuple(dict.fromkeys(one for part in parts for one in part.attachments))
        with self._blaming(choice.file, contact):
            attachments.refuse_size(attached)
        return Rendered(subject, text + "\n", html, choice.language, first.direction, choice.file, attached)

    def _render(
        self,
        one: TemplateFile,
        contact: Contact,
        sender: Identity,
        reply_to: Identity,
        today: datetime.date,
    ) -> _Part:
        """Render one file."""
        phrases = self._phrases_for(one.language)
        direction = languages.direction(one.language)
        greeting = phrases.greet(_cleaned(contact), direction) if phrases else _clean(contact.name)
        own = {name: getattr(contact, name) for name in LETTER_VARIABLES if hasattr(contact, name)}
        values: dict[str, object] = {
            name: languages.isolate(_clean(value), direction)
            for name, value in {
                **contact.fields,
                **own,
                "country_name": languages.country_name(contact.country, one.language),
                "today": languages.date(today, one.language),
                "sender": sender.name or sender.address,
            }.items()
        }
        values |= {
            "salutation": greeting,
            "_language": one.language,
            "_capital": phrases is not None and phrases.wants_capital(greeting),
        }
        named = self._with_subject(one) or one
        if one.file not in self._subjects:
            self._subjects[one.file] = self._plain.from_string(named.subject or "")
        with self._blaming(named.file, contact, "subject"):
            subject = _BLANKS.sub(" ", self._plain.render(self._subjects[one.file], values)).strip()
            if len(subject) > _LONGEST_SUBJECT:
                raise ValueError(f"the Subject has over {_LONGEST_SUBJECT} characters")
            if not subject:
                raise ValueError("the Subject is empty; write {% if … %} … {% else %} … {% endif %} in it")
        with self._blaming(one.file, contact, "text"):
            text = self._text.render(self._text.get_template(one.file), values)
        with self._blaming(one.file, contact, "html"):
            content = self._html.render(self._html.get_template(one.file), values)
        images = [image for image in self._all_images(one) if f"cid:{image.cid}" in content]
        return _Part(
            subject=subject,
            text=re.sub(r"\n{3,}", "\n\n", text).strip("\n"),
            content=Markup(content),  # noqa: S704 (rendered with autoescape on)
            footer=phrases.foot(sender, reply_to, direction) if phrases else "",
            language=one.language,
            direction=direction,
            attachments=(*images, *self._attachments(one)),
        )

    def explain_greeting(self, contact: Contact) -> list[str]:
        """Say for each language of a contact's letter which rule of which file made the greeting."""
        lines = []
        for part in self.choose(contact).parts:
            phrases = self._phrases_for(part.file.language)
            if phrases is None:
                continue
            greeting = phrases.greet(_cleaned(contact), languages.direction(part.file.language))
            lines.append(f"greeting  {greeting}  ({phrases.why(contact)})")
        return lines

    @contextlib.contextmanager
    def _blaming(self, file: str, contact: Contact, part: str = "") -> Iterator[None]:
        """Whatever a template does wrong is the letter's fault, not the program's: name file and line."""
        try:
            yield
        except Exception as error:
            at, line = file, self.files[file].subject_line if part == "subject" else None
            for frame in traceback.extract_tb(error.__traceback__):
                lines = self._lines.get(frame.filename, {}).get(part, ())
                if frame.lineno and frame.lineno <= len(lines):
                    at = frame.filename
                    line = lines[frame.lineno - 1] + self.files[at].body_line - 1
            where = f"{contact.file}:{contact.line}" if contact.line else contact.email
            place = f"{self.name}/{at}" + (f":{line}" if line else "")
            raise LetterError(
                f"{place}: cannot be rendered for {contact.email} ({where}): {error or type(error).__name__}"
            ) from error


def _unclosed(source: str) -> tuple[int, str] | None:
    """Return the line of the innermost tag that has no end, and what is wrong with it."""
    opened: list[tuple[int, str, str]] = []
    for found in re.finditer(r"\{%-?\s*(end)?(if|for|block|set)\b([^%]*)%\}", source):
        line = source.count("\n", 0, found.start()) + 1
        if found[1]:
            del opened[-1:]
        elif found[2] != "set" or "=" not in found[3]:
            opened.append((line, found[2], found[0]))
    if not opened:
        return None
    line, word, tag = opened[-1]
    return line, f"{tag} has no {{% end{word} %}}"


def _lines(text: str) -> Markup:
    return Markup("<br>").join(as_html(languages.shown(line)) for line in text.splitlines())


def _wrapped(text: str) -> str:
    """Break the lines of a footer for plain text, where nobody else does."""
    lines = (
        textwrap.wrap(line, 76, break_long_words=False, break_on_hyphens=False) for line in text.split("\n")
    )
    return "\n".join("\n".join(parts) for parts in lines)


def _clean(value: str) -> str:
    """Take out of a contact's field what is no text: control characters, halves of characters."""
    if value.isascii() and value.isprintable():
        return value
    return languages.without_controls(value.translate(_FIELD_CONTROLS))


def _cleaned(contact: Contact) -> Contact:
    return replace(
        contact,
        name=_clean(contact.name),
        title=_clean(contact.title),
        organisation=_clean(contact.organisation),
        fields={name: _clean(value) for name, value in contact.fields.items()},
        people=tuple(map(_cleaned, contact.people)),
    )


def _order(problem: Problem) -> tuple[str, int]:
    return problem.file, problem.line or 0
