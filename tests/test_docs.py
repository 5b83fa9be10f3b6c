"""The documentation tells the truth: commands, options, settings, exit codes, links, addresses."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from outreach import settings
from outreach.cli import cli
from outreach.errors import Exit
from outreach.pace import spacing

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ENV_EXAMPLE = ROOT / ".env.example"
_SETTING = re.compile(r"OUTREACH_([A-Z][A-Z_]*)")
_ENV_LINE = re.compile(r"^# OUTREACH_([A-Z_]+)=(.*)$", re.MULTILINE)


def read(path: Path) -> str:
    return path.read_text("utf-8")


def commands(command: click.Command = cli, name: str = "outreach") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, groups included."""
    yield name, command
    if isinstance(command, click.Group):
        for below, sub in command.commands.items():
            yield from commands(sub, f"{name} {below}")


COMMANDS = dict(commands())


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def without_code(text: str) -> str:
    """Take out fenced blocks: a # in them is no heading."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# Commands ----------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """Return docs/commands.md by heading."""
    _, *parts = re.split(r"^## (.+)$", read(ROOT / "docs/commands.md"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_command_has_its_section_and_no_other_has_one() -> None:
    assert sorted(sections()) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_in_the_table_are_those_of_the_command(name: str) -> None:
    said = {
        option
        for line in sections()[name].splitlines()
        if line.startswith("| `-")
        for option in re.findall(r"`(--?\w[\w-]*)", line.split(" | ")[0])
    }
    there = {
        option
        for one in COMMANDS[name].params
        if isinstance(one, click.Option) and not one.hidden
        for option in (*one.opts, *one.secondary_opts)
    }
    there |= {"-h", "--help"} if name == "outreach" else set()
    assert said == there


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_an_example(name: str) -> None:
    words = COMMANDS[name].help or ""
    assert "Example: outreach" in words
    example = re.search(r"Example: (outreach.*)", words)
    assert example is not None
    assert example[1].startswith(name)


def test_every_option_says_what_it_does() -> None:
    silent = [
        f"{name} {one.opts[0]}"
        for name, command in COMMANDS.items()
        for one in command.params
        if isinstance(one, click.Option) and not one.help
    ]
    assert silent == []


def test_commands_in_examples_exist() -> None:
    """What stands behind a `$ outreach` or in `outreach …` is a command, and its options are real."""
    known = {name.removeprefix("outreach").strip() for name in COMMANDS}
    wrong = []
    for path in DOCS:
        for found in re.finditer(r"(?:^\$ |`|&& )outreach((?: [^`\n]+)?)", read(path), re.MULTILINE):
            words = found[1].split()
            while words and words[0].startswith("-"):
                del words[: 2 if words[0] in ("-C", "--ledger") else 1]
            if not words or not re.fullmatch(r"[a-z]+", words[0]):
                continue
            name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
            if name not in known:
                wrong.append(f"{path.name}: outreach {name}")
                continue
            options = {
                option
                for one in COMMANDS[f"outreach {name}"].params
                for option in (*one.opts, *one.secondary_opts)
            } | {"-h", "--help"}
            used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            wrong += [f"{path.name}: outreach {name} {option}" for option in sorted(used - options)]
    assert wrong == []


def test_every_exit_code_is_in_the_readme() -> None:
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", read(ROOT / "README.md"), re.MULTILINE)]
    assert codes == sorted(Exit)


# Providers ---------------------------------------------------------------------------------------

PROVIDERS = tomllib.loads(read(ROOT / "outreach/providers.toml"))["provider"]


def test_what_providers_publish_is_in_the_documentation_with_date_and_source() -> None:
    expected = [
        f"| {row['name']} | {row['limits']} | {row['rate']} | {row['checked'] or 'not confirmed'} "
        f"| [source]({row['source']}). {row['note']} |"
        for row in PROVIDERS
        if row["limits"]
    ]
    said = (
        read(ROOT / "docs/sending.md")
        .partition("### What providers allow\n")[2]
        .partition("\nFor providers")[0]
    )
    assert [line for line in said.splitlines() if "[source](" in line] == expected


@pytest.mark.parametrize("row", PROVIDERS, ids=lambda row: row["name"])
def test_the_pace_that_is_proposed_stays_below_what_the_provider_publishes(row: dict[str, str]) -> None:
    proposed, published = map(settings.parse_limits, (row["rate"], row["limits"] or "unlimited"))
    assert spacing(proposed) > spacing(published)


# Settings ----------------------------------------------------------------------------------------


def settings_table(heading: str) -> dict[str, str]:
    """Return name → default of one table of docs/settings.md."""
    part = read(ROOT / "docs/settings.md").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `OUTREACH_([A-Z_]+)` \| (\S.*?) \| \S.* \|$", part, re.MULTILINE)
    return {name: "" if default == "–" else default.strip("`") for name, default in rows}


def test_every_setting_is_documented_with_its_default() -> None:
    honoured, planned = settings_table("All settings"), settings_table("Not supported yet")
    assert not set(honoured) & set(planned)
    assert honoured | planned == settings.DEFAULTS


def test_env_example_has_every_setting_that_is_honoured_with_its_default() -> None:
    lines = dict(_ENV_LINE.findall(read(ENV_EXAMPLE)))
    honoured = settings_table("All settings")
    assert sorted(lines) == sorted(honoured)
    assert {name: lines[name] for name, default in honoured.items() if default} == {
        name: default for name, default in honoured.items() if default
    }


@pytest.mark.parametrize("on", [False, True], ids=["as it is", "every line switched on"])
def test_env_example_loads(tmp_path: Path, on: bool) -> None:
    text = read(ENV_EXAMPLE)
    if on:
        text = _ENV_LINE.sub(r"OUTREACH_\1=\2", text)
    (tmp_path / ".env").write_text(text, "utf-8")
    loaded = settings.load(tmp_path, {}, {})
    origins = {value.origin.partition(":")[0] for value in loaded.values.values()}
    assert origins == ({"default", ".env"} if on else {"default"})


def test_every_setting_that_is_mentioned_exists() -> None:
    wrong = [
        f"{path.name}: OUTREACH_{name}"
        for path in (*DOCS, ENV_EXAMPLE, *(ROOT / "outreach").glob("*.py"))
        for name in _SETTING.findall(read(path).replace("OUTREACH_SMTP_URl", ""))  # a shown misspelling
        if name not in settings.DEFAULTS
    ]
    assert wrong == []


# Links and words ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", without_code(read(path)))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, place = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.is_file():
            wrong.append(link)
        elif place:
            headings = re.findall(r"^#+ (.+)$", without_code(read(target)), re.MULTILINE)
            if place not in map(anchor, headings):
                wrong.append(link)
    assert wrong == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", read(ROOT / "README.md")))
    assert linked == {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}


@cache
def texts() -> dict[str, str]:
    """Return every text file of the repository that is tracked or not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    found = {}
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if not name or not path.is_file():
            continue
        data = path.read_bytes()
        if path.suffix == ".eml":
            data = data.replace(b"=\n", b"")  # soft line ends of quoted-printable
        if b"\0" not in data:
            found[name] = data.decode("utf-8", "replace")
    return found


# Letters before the @, and a name with a top-level domain behind it. `press@@…`, decorators,
# `user@host` and `package@1.2` are no addresses.
_ADDRESS = re.compile(r"(?<![\w.+@/%-])[\w.+%'-]*[\w+]@((?:[\w-]+\.)+[^\W\d_]{2,}|xn--[\w-]+)(?![\w@-])")
_OURS = re.compile(r"(?:^|\.)example$|(?:^|\.)example\.org$")


def strange_addresses(text: str) -> list[str]:
    return [found[0] for found in _ADDRESS.finditer(text) if not _OURS.search(found[1].lower())]


def test_addresses_are_examples_only() -> None:
    wrong = [f"{name}: {mail}" for name, text in texts().items() for mail in strange_addresses(text)]
    assert wrong == []


def test_the_search_for_addresses_finds_what_it_should() -> None:
    at = "@"  # so that this file passes its own test
    strange = [f"someone{at}gmail.com", f"a.b+c{at}mail.köln.de", f"x{at}my-example.org", f"x{at}example.com"]
    fine = [
        "a@b.example",
        "x@sub.example.org",
        "press@@north.example",
        "@pytest.fixture",
        "user@host",
        "a@1.2.3",
    ]
    assert strange_addresses(", ".join(strange)) == strange
    assert strange_addresses(" ".join(fine)) == []


def test_nothing_names_the_machine_it_was_written_on() -> None:
    path = re.compile(r"(?<![\w.~])/(?:" + "work|root|home" + r")/[\w.]")
    wrong = [f"{name}: {found[0]}" for name, text in texts().items() for found in path.finditer(text)]
    assert wrong == []
