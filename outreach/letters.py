"""Letters: find the template for a reader, compile it once, render it strictly.

A letter is a folder of Markdown templates, `<language>[.<audience>].md`, with header lines. It is read
into plain texts first (`read_sources`), so that a mailing can freeze them in the ledger and render the
same letter later (`Letter(sources)`). Everything that can be wrong is found before anything is rendered:
syntax, unknown variables, text or blocks that would be lost in a child file, all with file and line.
Contact fields are data: never compiled, escaped in HTML. Known limits: no attachments, no images.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import css_inline
from babel.dates import format_date
from jinja2 import DictLoader, StrictUndefined, Template, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from markupsafe import Markup

from outreach import languages, markdown, salutations
from outreach.errors import LetterError, Problem
from outreach.model import LETTER_VARIABLES, Contact, Identity, Rendered

_FILE_NAME = re.compile(r"([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)(?:\.([\w-]+))?\.md")
_HEADER = re.compile(r"([A-Za-z][A-Za-z-]*):[ \t]*(.*)")
_BLOCK = re.compile(r"\{%-?\s*block\s+(\w+)")
_SAFE_SCHEMES = ("http", "https", "mailto", "tel")
LAYOUT = "_layout.html"


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """One file of a letter, taken apart."""

    file: str
    language: str
    audience: str
    subject: str | None
    subject_line: int
    body: str
    body_line: int  # line of the file where the body starts
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Which file a contact gets, and what it would have had to be for a complete one."""

    file: TemplateFile
    wanted_language: str
    complete: bool


class Environment(ImmutableSandboxedEnvironment):
    """Strict and sandboxed: an unknown name is an error, a template cannot reach Python."""

    def __init__(self, sources: Mapping[str, str], autoescape: bool) -> None:
        super().__init__(
            loader=DictLoader(sources),
            autoescape=autoescape,
            undefined=StrictUndefined,
            keep_trailing_newline=True,
        )
        self.filters |= {"link": link, "urlpart": lambda value: quote(str(value), safe="@")}
        self.globals["_counter"] = Namespace  # numbers the items of a list in plain text
        del self.filters["safe"]  # a contact's field is never markup
        del self.filters["random"], self.globals["lipsum"]  # a letter is the same each time it is rendered


_NOT_IN_SUBJECTS = (
    nodes.Extends,
    nodes.Block,
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Macro,
    nodes.CallBlock,
)


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
        if isinstance(node, nodes.Assign)
        for target in node.find_all(nodes.Name)
        if target.ctx == "store"
    }


def _targets(target: nodes.Node) -> list[nodes.Name]:
    return [target] if isinstance(target, nodes.Name) else list(target.find_all(nodes.Name))


def link(value: object) -> str:
    """Return an address that is harmless as a link (Jinja filter); raises ValueError for javascript: etc."""
    text = str(value).strip()
    if not text:
        raise ValueError("a link would be empty; write {% if … %} around it")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    if not scheme or scheme[1].lower() not in _SAFE_SCHEMES:
        raise ValueError(f"{text[:60]!r} is no link; it must begin with https:// or mailto:")
    return re.sub(r"[\s<>\"']", lambda found: f"%{ord(found[0]):02X}", text)


def names(templates: Path) -> list[str]:
    """Return the letters in a templates folder: its sub-folders that hold Markdown files."""
    if not templates.is_dir():
        return []
    return sorted(
        folder.name
        for folder in templates.iterdir()
        if folder.is_dir() and folder.name[0] not in "._" and any(folder.glob("*.md"))
    )


def read_sources(templates: Path, letter: str, shipped: Path) -> dict[str, str]:
    """Read every file a letter depends on, by its path inside the templates folder.

    Layout and language files that the project does not have are the shipped ones.
    Raises LetterError when the letter is not there or a file cannot be read.
    """
    folder = templates / letter
    if not letter or letter[0] in "._" or Path(letter).name != letter or not folder.is_dir():
        known = ", ".join(names(templates)) or "none"
        raise LetterError(f"there is no letter {letter!r} in {templates}", f"letters there: {known}")
    files = {f"{letter}/{path.name}": path for path in sorted(folder.glob("*.md"))}
    for base in (templates, shipped):
        for path in (base / LAYOUT, *sorted((base / "_languages").glob("*.toml"))):
            if path.is_file():
                files.setdefault(path.relative_to(base).as_posix(), path)
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    for name, path in files.items():
        try:
            sources[name] = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            problems.append(Problem(str(path), None, f"is not UTF-8: {error.reason}", "save it as UTF-8"))
        except OSError as error:
            problems.append(Problem(str(path), None, f"cannot be read: {error.strerror}"))
    if problems:
        raise LetterError(f"the letter {letter} cannot be read", problems=problems)
    return sources


class Letter:
    """A compiled letter: finds and renders for any contact."""

    def __init__(self, name: str, sources: Mapping[str, str], source_language: str = "en") -> None:
        """Compile every file. Raises LetterError with every problem of every file."""
        self.name, self.sources, self.source_language = name, sources, source_language
        self.files: dict[str, TemplateFile] = {}
        self.problems: list[Problem] = []
        self.variables: dict[str, Problem] = {}  # each name a letter uses → where first
        html: dict[str, str] = {}
        text: dict[str, str] = {}
        self._parsing = Environment({}, autoescape=True)
        for path, source in sources.items():
            if path.startswith(f"{name}/"):
                self._read(path, source)
        if not self.files and not self.problems:
            raise LetterError(
                f"the letter {name} has no files like {source_language}.md",
                f"write {name}/{source_language}.md: a Subject: line, an empty line, the letter",
            )
        for one in self.files.values():
            self._compile(one, html, text)
        self._phrases: dict[str, salutations.Phrases] = {}
        for path, source in sources.items():
            if path.startswith("_languages/"):
                try:
                    self._phrases[Path(path).stem] = salutations.parse(path, source)
                except LetterError as error:
                    self.problems += error.problems or [Problem(path, None, error.message)]
        self._html = Environment(html, autoescape=True)
        self._text = Environment(text, autoescape=False)
        self._layout = self._html.from_string(self._parse_layout())
        self._subjects: dict[str, Template] = {}
        self._inliner = css_inline.CSSInliner(
            keep_style_tags=False, keep_at_rules=True, load_remote_stylesheets=False
        )
        self._check_files()
        if self.problems:
            raise LetterError(f"the letter {name} has problems", problems=sorted(self.problems, key=_order))

    # Reading ---------------------------------------------------------------------------------

    def _say(self, file: str, line: int | None, text: str, suggestion: str = "") -> None:
        self.problems.append(Problem(f"{self.name}/{file}" if file else "", line, text, suggestion))

    def _read(self, path: str, source: str) -> None:
        file = path.removeprefix(f"{self.name}/")
        found = _FILE_NAME.fullmatch(file)
        if not found or not languages.normalise(found[1]):
            self._say(file, None, "is not named like a letter", "name it like de.md or de.party.md")
            return
        headers: dict[str, tuple[str, int]] = {}
        lines = source.split("\n")
        body = 0
        for number, line in enumerate(lines, 1):
            body = number
            if not line.strip():
                break
            header = _HEADER.fullmatch(line.rstrip())
            if not header:
                if number == 1 and line.startswith(("{%", "{#")):
                    body = 0  # no header lines at all: the body starts at once
                    break
                self._say(file, number, "is no header line", "headers, then an empty line, then the letter")
                continue
            name = header[1].lower()
            if name == "attach":
                self._say(file, number, "attachments are not supported by this version")
            elif name not in ("subject", "source"):
                self._say(file, number, f"unknown header {header[1]}:", "known: Subject, Source")
            elif name in headers:
                self._say(file, number, f"a second {header[1]}:")
            headers[name] = (header[2], number)
        subject, subject_line = headers.get("subject", (None, 1))
        if subject == "":
            self._say(file, subject_line, "the Subject is empty")
        language, audience = languages.normalise(found[1]) or found[1], (found[2] or "").lower()
        for other in self.files.values():
            if (other.language, other.audience) == (language, audience):
                self._say(file, None, f"is the same letter as {other.file}", "remove one of them")
        text = "\n".join(lines[body:])
        extends = re.match(r"\s*\{%-?\s*extends\s+[\"']([^\"']+)[\"']\s*-?%\}", text)
        self.files[file] = TemplateFile(
            file=file,
            language=language,
            audience=audience,
            subject=subject,
            subject_line=subject_line,
            body=text,
            body_line=body + 1,
            parent=extends[1] if extends else "",
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
                self._say(one.file, error.lineno + offset, error.message or "syntax error")
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
        try:
            converted = markdown.convert(one.body)
        except markdown.MarkdownError as error:
            self._say(one.file, error.line + one.body_line - 1, error.problem)
            return
        html[one.file], text[one.file] = converted.html, converted.text
        if not one.body.strip():
            self._say(one.file, None, "the letter is empty")

    def _names_inherited(self, one: TemplateFile) -> set[str]:
        """What the files above set on their top level."""
        found: set[str] = set()
        for above in list(self._ancestry(one))[1:]:
            with contextlib.suppress(TemplateSyntaxError):
                found |= _names_set(self._parsing.parse(above.body).body)
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
        ancestry = [above.file for above in self._ancestry(one)]
        if self.files[ancestry[-1]].parent in ancestry:
            self._say(one.file, one.body_line, f"extends {one.parent}, which leads back to this file")
            return
        known = {name for file in ancestry[1:] for name in _BLOCK.findall(self.files[file].body)}
        for block in tree.find_all(nodes.Block):
            if block.name not in known:
                at = block.lineno + one.body_line - 1
                here = ", ".join(sorted(known)) or "none"
                self._say(one.file, at, f"{one.parent} has no block {block.name}", f"blocks there: {here}")

    def _parse_layout(self) -> str:
        source = self.sources.get(LAYOUT, "")
        try:
            used = meta.find_undeclared_variables(self._parsing.parse(source))
            self._parsing.compile(source)
        except TemplateSyntaxError as error:
            self.problems.append(Problem(LAYOUT, error.lineno, error.message or "syntax error"))
            return ""
        for name in sorted(used - {"content", "lang", "dir", "subject", "sender", "footer"}):
            self.problems.append(Problem(LAYOUT, None, f"unknown variable {name}"))
        for name in sorted({"content", "footer"} - used):
            self.problems.append(Problem(LAYOUT, None, f"does not show {{{{ {name} }}}}"))
        return source

    def _check_files(self) -> None:
        for one in self.files.values():
            if self._subject(one) is None:
                self._say(one.file, 1, "has no Subject: line", "begin the file with Subject: …")
            uses_greeting = self.variables.get("salutation")
            if uses_greeting and self._phrases_for(one.language, strict=True) is None:
                tag = one.language
                self._say(one.file, None, f"there are no greetings in {tag}", f"write _languages/{tag}.toml")

    def _subject(self, one: TemplateFile) -> str | None:
        """The file's own subject, or that of the nearest file it extends."""
        return next((above.subject for above in self._ancestry(one) if above.subject), None)

    def _ancestry(self, one: TemplateFile | None) -> Iterator[TemplateFile]:
        """The file and what it extends, nearest first; stops where a circle would close."""
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
        problems = [
            Problem(
                where.file, where.line, f"no contact has {name!r}", f"columns: {', '.join(sorted(columns))}"
            )
            for name, where in self.variables.items()
            if name not in known
        ]
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

    def find(self, contact: Contact) -> Found:
        """Return the file this contact gets (docs/letters.md, "Which file wins").

        Raises LetterError when not even the default language has one.
        """
        chain = languages.chain(contact.language, contact.country, self.source_language)
        for tag in chain:
            for audience in dict.fromkeys((contact.audience, "")):
                for one in self.files.values():
                    if one.language == tag and one.audience == audience:
                        return Found(one, chain[0], self._is_complete(one, contact, chain[0]))
        raise LetterError(
            f"the letter {self.name} has nothing for {contact.email}: tried {', '.join(chain)}"
            + (f" for {contact.audience}" if contact.audience else ""),
            f"write {self.name}/{self.source_language}.md, the letter for everybody else",
        )

    def _is_complete(self, one: TemplateFile, contact: Contact, wanted: str) -> bool:
        own_language = one.language in languages.truncations(wanted)
        special = any(
            f.language == self.source_language and f.audience == contact.audience for f in self.files.values()
        )
        return own_language and (one.audience == contact.audience or not special)

    def render(
        self, contact: Contact, sender: Identity, reply_to: Identity, today: datetime.date
    ) -> Rendered:
        """Return the letter for one contact. Raises LetterError when a template fails on this contact."""
        one = self.find(contact).file
        phrases = self._phrases_for(one.language)
        direction = languages.direction(one.language)
        sender_name = sender.name or sender.address
        context: dict[str, object] = {
            **contact.fields,
            "email": contact.email,
            "name": contact.name,
            "audience": contact.audience,
            "organisation": contact.organisation,
            "country": contact.country,
            "country_name": languages.country_name(contact.country, one.language),
            "language": contact.language,
            "gender": contact.gender,
            "title": contact.title,
            "today": format_date(today, "long", locale=languages.locale(one.language) or "en"),
            "sender": sender_name,
            "salutation": phrases.greet(contact) if phrases else contact.name,
        }
        if one.file not in self._subjects:
            self._subjects[one.file] = self._text.from_string(self._subject(one) or "")
        footer = phrases.foot(sender, reply_to) if phrases else ""
        try:
            subject = " ".join(self._subjects[one.file].render(context).split())
            text = self._text.get_template(one.file).render(context)
            content = self._html.get_template(one.file).render(context)
            html = self._layout.render(
                content=Markup(content),  # noqa: S704 (rendered with autoescape on)
                lang=one.language,
                dir=direction,
                subject=subject,
                sender=sender_name,
                footer=footer,
            )
            html = self._inliner.inline(html)
        except Exception as error:  # whatever a template does wrong is the letter's fault, not the program's
            where = f"{contact.file}:{contact.line}" if contact.line else contact.email
            raise LetterError(
                f"{self.name}/{one.file} cannot be rendered for {contact.email} ({where}): {error}"
            ) from error
        if not subject:
            raise LetterError(f"{self.name}/{one.file}: the Subject is empty for {contact.email}")
        text = re.sub(r"\n{3,}", "\n\n", text.replace("\r", "")).strip("\n")
        if footer:
            text = f"{text}\n\n-- \n{footer}"
        return Rendered(subject, text + "\n", html, one.language, direction, one.file)


def _order(problem: Problem) -> tuple[str, int]:
    return problem.file, problem.line or 0
