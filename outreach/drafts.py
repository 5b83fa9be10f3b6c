"""Write letter files: a new letter, a translator's copy, and the `Source:` line of a translation.

Never overwrites a file. The `Source:` line says which version of the source a translation follows; it is
written here and never by hand. Raises LetterError and UsageError.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from pathlib import Path

from outreach import languages, sources
from outreach.errors import LetterError, UsageError

_BLOCK = re.compile(r"\{%-?\s*block\s+\w+.*?%\}.*?\{%-?\s*endblock\b.*?%\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")


def new(templates: Path, name: str, language: str) -> Path:
    """Write a new letter of one commented file; return it."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a letter", "letters, digits, - and _, like spring-appeal")
    folder = templates / name
    if folder.exists():
        raise UsageError(f"{folder} is there already", "choose another name")
    path = folder / f"{language}.md"
    _write(templates, path, sources.new_letter(language))
    return path


def add(
    templates: Path, letter: str, shipped: Path, tag: str, source_language: str
) -> tuple[list[Path], sources.TemplateFile]:
    """Copy the source for a translator; return the files written, and the file that was copied.

    A file for an audience brings the language's general file along when it extends it and there is none;
    a language without greetings gets a copy of the source language's.
    """
    texts = sources.read(templates, letter, shipped)
    wanted = sources.tags_of(f"{tag.replace('_', '-')}.md")
    if wanted is None:
        raise UsageError(
            f"{tag!r} is no language, with or without an audience", "write a code like it, pt-BR or it.party"
        )
    language, audience = wanted
    files = {}
    for path, text in texts.items():
        if path.startswith(f"{letter}/") and (one := sources.take_apart(Path(path).name, text)[0]):
            files[one.file] = one
    first = sources.find(files.values(), source_language, audience)
    above = sources.find(files.values(), source_language, "")
    if first is None and language == source_language and audience and above is not None:
        return [_special(templates, letter, texts, above, audience)], above
    if first is None:
        asks = [one for one in files.values() if one.language == source_language]
        if near := difflib.get_close_matches(audience, [one.audience for one in asks], 1):
            hint = f"did you mean {language}.{near[0]}?"
        else:
            hint = f"in {source_language} there is {', '.join(one.file for one in asks) or 'nothing'}"
            if audience:
                hint += f"; begin with `outreach letters add {source_language}.{audience}`"
        raise LetterError(
            f"the letter {letter} has no {sources.file_name(source_language, audience)} to translate",
            hint,
        )
    if known := sources.find(files.values(), language, audience):
        raise UsageError(
            f"{letter}/{known.file} is there already",
            f"when it says what {first.file} says: outreach letters mark-current {letter}/{known.file}",
        )
    written = []
    if above is not None and first.parent == above.file and not sources.find(files.values(), language, ""):
        written.append(_copy(templates, letter, texts, above, language))
    written.append(_copy(templates, letter, texts, first, language))
    greetings = [f"_languages/{one}.toml" for one in languages.truncations(language)]
    source_greetings = f"_languages/{source_language}.toml"
    if source_greetings in texts and not any(path in texts for path in greetings):
        words = templates / greetings[-1]
        _write(templates, words, texts[source_greetings])
        written.append(words)
    return written, first


def _special(
    templates: Path, letter: str, texts: dict[str, str], above: sources.TemplateFile, audience: str
) -> Path:
    """Write the file of an audience in the source language, with the general ask to begin from."""
    found = _BLOCK.search(texts[f"{letter}/{above.file}"])
    if found is None:
        raise LetterError(
            f"{letter}/{above.file} has no block that a file for {audience} could replace",
            "put {% block ask %} and {% endblock %} around what is special, each on a line of its own",
        )
    path = templates / letter / sources.file_name(above.language, audience)
    _write(templates, path, f'Subject: {above.subject}\n\n{{% extends "{above.file}" %}}\n\n{found[0]}\n')
    return path


def _copy(
    templates: Path, letter: str, texts: dict[str, str], first: sources.TemplateFile, language: str
) -> Path:
    text = texts[f"{letter}/{first.file}"]
    path = templates / letter / sources.file_name(language, first.audience)
    if first.parent:
        general = sources.tags_of(first.parent)
        parent = sources.file_name(language, general[1]) if general else first.parent
        text = re.sub(
            r"(\{%-?\s*extends\s+[\"'])" + re.escape(first.parent),
            lambda found: found[1] + parent,
            text,
            count=1,
        )
    _write(
        templates,
        path,
        _with_source(text, f"{first.language} {sources.digest(texts[f'{letter}/{first.file}'])}"),
    )
    return path


def mark_current(templates: Path, shipped: Path, file: str, source_language: str) -> tuple[Path, str]:
    """Write into a translation that it says what its source says now; return file and `Source:` value."""
    path = _find(templates, file)
    letter = path.parent.name
    texts = sources.read(templates, letter, shipped)
    one = sources.take_apart(path.name, texts[f"{letter}/{path.name}"])[0]
    assert one is not None
    language = one.source[0] if one.source else source_language
    if one.language == language:
        raise UsageError(
            f"{path} is the source itself, no translation", f"the language of the source is {language}"
        )
    original = f"{letter}/{sources.file_name(language, one.audience)}"
    if original not in texts:
        raise LetterError(
            f"{path} has no source: {original} is not there", "write it, or rename the translation"
        )
    first = sources.take_apart(Path(original).name, texts[original])[0]
    if first is not None and sources.is_copy(one, texts[f"{letter}/{path.name}"], first, texts[original]):
        raise UsageError(f"{path} still says what {original} says, or said", "translate it first")
    value = f"{language} {sources.digest(texts[original])}"
    with path.open(encoding="utf-8", newline="") as opened:
        before = opened.read()
    _replace(path, _with_source(before, value))
    return path, value


def _find(templates: Path, file: str) -> Path:
    given = Path(file if file.endswith(".md") else f"{file}.md")  # de.party, as `letters add` takes it
    tried = [given, templates / given, *(templates / name / given for name in sources.names(templates))]
    found = [path for path in dict.fromkeys(tried) if path.is_file()]
    if not found:
        raise UsageError(f"there is no file {file}", "name it like solidarity/de.md")
    path = found[0]
    if len({one.resolve() for one in found}) > 1:
        raise UsageError(
            f"several letters have {file}", f"say which: {', '.join(str(one) for one in found[:3])}"
        )
    inside = path.resolve().parent.parent == templates.resolve()
    if not inside or path.is_symlink() or sources.tags_of(path.name) is None:
        raise UsageError(f"{file} is no file of a letter in {templates}", "name it like solidarity/de.md")
    return templates / path.resolve().parent.name / path.name


def _with_source(text: str, value: str) -> str:
    """Put the `Source:` line into the headers, where it was or behind the last; all else stays."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.split("\n")
    bare = [line.strip("\r\ufeff \t") for line in lines]
    size = bare.index("") if "" in bare else len(bare)
    if bare and bare[0].startswith(("{%", "{#")):  # no headers at all
        return f"Source: {value}{end}{end}{text}"
    for number in range(size):
        if re.match(r"source[ \t]*:", bare[number], re.IGNORECASE):
            lines[number] = f"Source: {value}" + end.removesuffix("\n")
            return "\n".join(lines)
    lines[size:size] = [f"Source: {value}" + end.removesuffix("\n")]
    return "\n".join(lines)


def _write(templates: Path, path: Path, text: str) -> None:
    """Write a new file inside the templates folder, wherever its links lead."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(templates.resolve()):
            raise UsageError(f"{path.parent} is a link that leads out of {templates}", "nothing was written")
        with path.open("x", encoding="utf-8", newline="") as out:
            out.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "nothing was overwritten") from None


def _replace(path: Path, text: str) -> None:
    """Put a whole new file in the place of an old one, with its mode."""
    beside: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
        beside = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            out.write(text)
        beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)
    except OSError as error:
        if beside is not None:
            beside.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
