"""The files of a letter: find, read, take apart, and tell which version of the source they follow.

A letter is a folder of Markdown templates, `<language>[.<audience>].md`, with header lines. All are read
into plain texts first, so that a mailing can freeze them in the ledger and render the same letter later.
A translation says in its `Source:` line which version of the source language it was made from.
Raises LetterError with every problem. Refuses files whose links lead out of the templates folder.
"""

from __future__ import annotations

import hashlib
import re
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from outreach import languages
from outreach.errors import LetterError, Problem

LAYOUT = "_layout.html"
_MAX_BYTES = 400_000  # of one file
_MAX_TOGETHER = 5_000_000
_MAX_FILES = 500  # of one letter; sixty languages of the shipped one have 240
_MAX_MARKS = 30  # accents on one letter; putting thousands in order takes NFC minutes
_MOST_PROBLEMS = 20  # in the headers of one file
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FILE_NAME = re.compile(r"([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)(?:\.([\w-]+))?\.md")
_HEADER = re.compile(r"([A-Za-z][A-Za-z-]*):[ \t]*(.*)")
_SOURCE = re.compile(r"(\S+)[ \t]+(\S+)")
_EXTENDS = re.compile(r"\s*\{%-?\s*extends\s+[\"']([^\"']+)[\"']\s*-?%\}")

# What `letters new` writes; a file that still says this is no letter.
_NEW = """\
Subject: Write the subject here

{# This is a comment; readers never see it. Above the empty line stand headers, below it the letter, in
Markdown: **bold**, [a link](https://example.org), lists with - in front. Break lines where you like. #}
{{ salutation }}

Who you are and why you write: two or three sentences. An empty line begins a
new paragraph.

{# What you ask for stands in this block. `outreach letters add LANG.party` makes a file that says it
differently, for the audience `party` only. #}
{% block ask %}
What you ask of the reader{% if organisation %} and of {{ organisation }}{% endif %},
and until when.
{% endblock %}

{# Every column of the list is a name: {{ city }}. `outreach preview` shows the result. #}
Please answer this mail; people read it.

{{ sender }}
"""


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """One file of a letter, taken apart."""

    file: str  # its name in the letter's folder
    language: str
    audience: str
    subject: str | None
    subject_line: int
    attach: tuple[tuple[str, int], ...]  # names of files, with their lines
    source: tuple[str, str] | None  # the language it was made from, and the digest of that version
    source_line: int
    body: str
    body_line: int  # line of the file where the body starts
    parent: str = ""


def names(templates: Path) -> list[str]:
    """Return the letters in a templates folder: its sub-folders that hold Markdown files."""
    if not templates.is_dir():
        return []
    return sorted(
        folder.name
        for folder in templates.iterdir()
        if folder.is_dir() and folder.name[0] not in "._" and any(folder.glob("*.md"))
    )


def read(templates: Path, letter: str, shipped: Path) -> dict[str, str]:
    """Read every file a letter depends on, by its path inside the templates folder.

    Layout and language files that the project does not have are the shipped ones.
    Raises LetterError when the letter is not there or a file cannot be read.
    """
    folder = templates / letter
    if not letter or letter[0] in "._" or Path(letter).name != letter or not folder.is_dir():
        known = ", ".join(names(templates)) or "none"
        raise LetterError(f"there is no letter {letter!r} in {templates}", f"letters there: {known}")
    files = {f"{letter}/{path.name}": (path, templates) for path in sorted(folder.glob("*.md"))}
    for base in (templates, shipped):
        for path in (base / LAYOUT, *sorted((base / "_languages").glob("*.toml"))):
            if path.exists() or path.is_symlink():
                files.setdefault(path.relative_to(base).as_posix(), (path, base))
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    if len(files) > _MAX_FILES:
        raise LetterError(f"the letter {letter} has too many files (over {_MAX_FILES})", "split it in two")
    for name, (path, root) in files.items():
        try:
            sources[name] = _read_text(path, root)
        except ValueError as error:
            problems.append(Problem(str(path), None, str(error)))
    if sum(map(len, sources.values())) > _MAX_TOGETHER:
        problems.append(
            Problem(str(folder), None, f"its files have over {_MAX_TOGETHER} characters together")
        )
    if problems:
        raise LetterError(f"the letter {letter} cannot be read", problems=problems)
    return sources


def _read_text(path: Path, root: Path) -> str:
    """Read one file of a letter; what it is not is a ValueError."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root.resolve()):
            raise ValueError("is a link that leads out of the templates folder")
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no file")
        if status.st_size > _MAX_BYTES:
            raise ValueError(f"is too large for a letter (over {_MAX_BYTES // 1000} kB)")
        text = real.read_text(encoding="utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: {error.reason}; save it as UTF-8") from None
    except (OSError, RuntimeError) as error:
        words = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise ValueError(f"cannot be read: {words}") from None
    if found := _CONTROLS.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(f"has a control character in line {line} (U+{ord(found[0]):04X})")
    if _has_many_marks(text):
        raise ValueError(f"has more than {_MAX_MARKS} accents on one letter")
    return text


def _has_many_marks(text: str) -> bool:
    if text.isascii():
        return False
    run = 0
    for char in text:
        run = run + 1 if char >= "\u0300" and unicodedata.combining(char) else 0
        if run > _MAX_MARKS:
            return True
    return False


def tags_of(file: str) -> tuple[str, str] | None:
    """Return language and audience from a file's name; None when it is not named like a letter."""
    found = _FILE_NAME.fullmatch(file)
    language = languages.normalise(found[1]) if found else None
    return (language, (found[2] or "").lower()) if found and language else None


def take_apart(file: str, source: str) -> tuple[TemplateFile | None, list[tuple[int | None, str, str]]]:
    """Cut a file into headers and body; return it with its problems as (line, text, suggestion)."""
    problems: list[tuple[int | None, str, str]] = []
    tags = tags_of(file)
    if tags is None:
        named = _FILE_NAME.fullmatch(file)
        hint = (
            f"{named[1]} is no language code that is known" if named else "name it like de.md or de.party.md"
        )
        return None, [(None, "is not named like a letter", hint)]
    headers: dict[str, tuple[str, int]] = {}
    attach: list[tuple[str, int]] = []
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
            problems.append((number, "is no header line", "headers, then an empty line, then the letter"))
            if len(problems) >= _MOST_PROBLEMS:
                break
            continue
        name, value = header[1].lower(), header[2].strip()
        if name == "attach":
            attach.append((value, number))
            continue
        if name not in ("subject", "source"):
            problems.append((number, f"unknown header {header[1]}:", "known: Subject, Attach, Source"))
        elif name in headers:
            problems.append((number, f"a second {header[1]}:", "remove one of them"))
        headers[name] = (value, number)
    subject, subject_line = headers.get("subject", (None, 1))
    if subject == "":
        problems.append((subject_line, "the Subject is empty", ""))
    written, source_line = headers.get("source", ("", 1))
    version = _SOURCE.fullmatch(written)
    if "source" in headers and not version:
        problems.append(
            (source_line, "the Source is not like `en 3f2a9c1b`", f"outreach letters mark-current {file}")
        )
    text = "\n".join(lines[body:])
    extends = _EXTENDS.match(text)
    one = TemplateFile(
        file=file,
        language=tags[0],
        audience=tags[1],
        subject=subject,
        subject_line=subject_line,
        attach=tuple(attach),
        source=(languages.normalise(version[1]) or version[1], version[2]) if version else None,
        source_line=source_line,
        body=text,
        body_line=body + 1,
        parent=extends[1] if extends else "",
    )
    return one, problems


# Which version of the source a translation follows -------------------------------------------------


def essence(source: str) -> str:
    """Return what a translator has to follow: LF, NFC, no blanks at line ends, no `Source:` line."""
    lines = unicodedata.normalize("NFC", source.replace("\r\n", "\n")).split("\n")
    kept = [line.rstrip(" \t") for line in lines]
    for number, line in enumerate(kept):
        if not line:
            break
        if re.match(r"source[ \t]*:", line, re.IGNORECASE):
            del kept[number]
            break
    return "\n".join(kept)


def digest(source: str) -> str:
    """Return the 8 hex digits that stand for a version of a source file in a `Source:` line."""
    return hashlib.sha256(essence(source).encode("utf-8", "replace")).hexdigest()[:8]


def new_letter(language: str) -> str:
    """Return the text of a new letter, to be written over."""
    return _NEW.replace("LANG", language)


def is_copy(one: TemplateFile, text: str, first: TemplateFile, source: str) -> bool:
    """Tell whether a translation says word for word what its source says, or said when it was copied."""
    if languages.same(one.language, first.language):
        return False
    words = essence(text)
    if one.parent and first.parent:
        words = words.replace(f'"{one.parent}"', f'"{first.parent}"', 1)
        words = words.replace(f"'{one.parent}'", f"'{first.parent}'", 1)
    copied = one.source[1] if one.source else ""
    return words == essence(source) or digest(words) == copied


def file_name(language: str, audience: str) -> str:
    """Return the name of the file for a language and an audience."""
    return f"{language}.{audience}.md" if audience else f"{language}.md"


def original(
    files: Mapping[str, TemplateFile], one: TemplateFile, source_language: str
) -> TemplateFile | None:
    """Return the file that a translation was made from: the same audience in its source's language."""
    language = one.source[0] if one.source else source_language
    if one.language == language:
        return None
    return find(files.values(), language, one.audience)


def find(files: Iterable[TemplateFile], language: str, audience: str) -> TemplateFile | None:
    """Return the file of a language and an audience."""
    return next((one for one in files if (one.language, one.audience) == (language, audience)), None)
