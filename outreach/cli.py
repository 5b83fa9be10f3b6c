"""The command line: options → settings → one story → print. No logic of the trade lives here.

Everything heavy is imported inside the commands, so that --help stays quick. One handler, `main`, turns
OutreachError into a message and an exit code; a traceback only with --debug.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outreach import __version__
from outreach.console import Console, heard
from outreach.errors import Exit, LetterError, MailboxError, OutreachError, Problem, UsageError
from outreach.model import OPEN_STATES, Came, Mark, State
from outreach.times import lasts, through

if TYPE_CHECKING:
    from outreach.ledger import Ledger, Mailing
    from outreach.letters import Letter
    from outreach.lists import ContactList
    from outreach.model import Source
    from outreach.plan import Plan
    from outreach.settings import Settings

_SECTIONS = {
    "Start here": ("init", "rehearse", "preview", "send", "replies", "report"),
    "Look first": ("contacts", "letters", "plan", "settings"),
    "While it runs": ("status", "deliveries", "cancel", "resolve", "suppress"),
}
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
_REMARKS = 10  # about how lists were read
_ROWS = 200  # of mails, in a table
_MANY = 5_000  # letters; rendering more takes seconds, so say what goes on
_EXAMPLES = """\
Four ways to begin:

  outreach rehearse               a whole mailing into an inbox on this machine, nothing leaves it
  outreach init my-campaign       a new project folder, with an example list and letter
  outreach contacts check list.csv
  outreach --help
"""


@dataclass(slots=True)
class App:
    """What the options before the command say."""

    ledger: str | None
    console: Console

    def settings(self, **options: str | None) -> Settings:
        from outreach import settings

        loaded = settings.load(Path(), os.environ, {"LEDGER": self.ledger, **options})
        for warning in loaded.warnings:
            self.console.say(f"warning: {warning}")
        return loaded


class Commands(click.Group):
    """A group that shows its commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                rows = [(name, self.commands[name].get_short_help_str(70)) for name in names]
                formatter.write_dl(rows)


def _letter_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("letter", required=False)(command)


def _contacts_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--contacts",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The list; several times to merge lists. Default: contacts.csv",
    )(command)


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--except", "excepted", multiple=True, metavar="FIELD=VALUE", help="Not to these."),
        click.option(
            "--only",
            multiple=True,
            metavar="FIELD=VALUE",
            help="Only to these; same field = or, different fields = and.",
        ),
    ):
        command = option(command)
    return command


def _pace_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--not-before",
            metavar="WHEN",
            help="Nothing of the mailing leaves before, like 'mon 09:00'; now lifts it.",
        ),
        click.option(
            "--window", metavar="W", help="Sending hours of the reader, like 'mon-fri 09:00-18:00'."
        ),
        click.option("--rate-per-domain", metavar="R", help="Limits per recipient mail domain."),
        click.option("--rate", metavar="R", help="Limits, like '100/hour, 400/day' or unlimited."),
    ):
        command = option(command)
    return command


_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-C", "directory", type=click.Path(path_type=Path), metavar="DIR", help="Work in this project folder."
)
@click.option("--ledger", metavar="URL", help="Another ledger, like sqlite:///other.db")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, only results and errors.")
@click.option("--plain", is_flag=True, help="No colour, no bars.")
@click.version_option(__version__, prog_name="outreach")
@click.pass_context
def cli(
    ctx: click.Context, directory: Path | None, ledger: str | None, debug: bool, quiet: bool, plain: bool
) -> None:
    """Mass e-mail for people who campaign: nobody is mailed twice, nobody is forgotten.

    \b
    Example: outreach rehearse
    """
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise UsageError(f"-C {directory}: {error.strerror}") from None
    ctx.obj = App(ledger, Console(quiet, plain))
    if ctx.invoked_subcommand is None:
        _overview(ctx.obj)


def main() -> None:
    """Run the command line and leave with its exit code."""
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C, unless whoever started us has them ignored, like nohup
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not stop a mailing
    try:
        code = _main(sys.argv[1:])
    except KeyboardInterrupt:  # while it was still being loaded, or said its last words
        code = _interrupted()
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)  # all is said and done: one more must not change the exit code
    if code == Exit.INTERRUPTED:
        # Python itself would die of SIGINT here, where the signal came while it ran a text (`exec`, as data
        # classes are made), though it was heard.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _main(arguments: Sequence[str]) -> int:
    console = Console(plain="--plain" in arguments)
    try:
        result = cli.main(args=list(arguments), prog_name="outreach", standalone_mode=False)
        return int(result or 0)
    except OutreachError as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        console.error(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader went away, as `head` does
        return Exit.OK
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # heard while Python made a class (3.11)
            return _interrupted()
        if "--debug" in arguments:
            raise
        if isinstance(error, OSError) and error.strerror:
            hint = "nothing is lost; run the same command again when that is put right"
            where = f" ({error.filename})"[:300] if error.filename else ""
            console.error(OutreachError(f"the system refuses: {error.strerror}{where}", hint))
            return Exit.STOPPED if error.errno in _PASSING else Exit.DATA
        if isinstance(error, UnicodeEncodeError) and any(not one.isprintable() for one in arguments):
            console.error(UsageError("an argument is no readable text", "is the terminal set to UTF-8?"))
            return Exit.USAGE
        text = " ".join(str(error).split())[:300]
        console.error(
            OutreachError(
                f"an error of the program itself: {type(error).__name__}: {text}",
                "run it again with --debug and report what it prints (it may show addresses)",
            )
        )
        return Exit.PROGRAM


def _interrupted() -> int:
    click.echo("interrupted; nothing more was sent", err=True)
    return Exit.INTERRUPTED


# Helpers -----------------------------------------------------------------------------------------


def _pick_letter(settings: Settings, given: str | None, templates: Path | None = None) -> tuple[Path, str]:
    from outreach import sources

    folder = templates or settings.templates
    if name := given or settings.letter:
        return folder, name
    names = sources.names(folder)
    if len(names) == 1:
        return folder, names[0]
    if not names:
        raise LetterError(f"there is no letter in {folder}", "`outreach init` makes a project with one")
    raise UsageError(f"which letter? there are {', '.join(names)}", f"outreach … {names[0]}")


def _read(
    app: App, settings: Settings, letter: str | None, files: Sequence[Path], shipped_too: bool = False
) -> tuple[ContactList, Letter]:
    """Read list and letter; with `shipped_too` the shipped ones stand in for missing ones."""
    from outreach import contacts, project, proofs

    paths = list(files) or [settings.contacts]
    templates = settings.templates
    if shipped_too:
        if not files and not settings.contacts.exists():
            paths = [project.shipped("contacts.example.csv")]
        if not templates.exists():
            templates = project.shipped("templates")
    folder, name = _pick_letter(settings, letter, templates)
    problems: list[OutreachError] = []
    people: ContactList | None = None
    try:
        people = contacts.read(paths)
    except OutreachError as error:
        problems.append(error)
    try:
        text = project.open_letter(settings, folder, name, paths)
    except OutreachError as error:
        problems.append(error)
    if len(problems) == 2:  # show both at once
        first, second = problems
        raise OutreachError(
            f"{first.message}; {second.message}", first.hint or second.hint, second.problems, Exit.DATA
        )
    if problems or people is None:
        raise problems[0]
    for words in proofs.doubts(people, text):
        app.console.say(f"warning: {words}")
    for remark in people.remarks[:_REMARKS]:
        app.console.say(str(remark))
    return people, text


def _plan(
    app: App,
    settings: Settings,
    people: ContactList,
    letter: Letter,
    ledger: Ledger | None,
    name: str | None = None,
    again: bool = False,
    follow_up: Any = None,
) -> Plan:
    from outreach import plan

    if len(people.contacts) > _MANY:
        app.console.say(f"rendering {len(people.contacts)} letters …")
    return plan.make(name or letter.name, letter, people, settings, ledger, time.time(), again, follow_up)


@contextlib.contextmanager
def _existing_ledger(settings: Settings) -> Any:
    """The ledger if there is one, None otherwise."""
    from outreach.ledger import EmptyLedgerError, Ledger

    try:
        ledger = Ledger(settings.ledger) if settings.ledger.exists() else None
    except EmptyLedgerError:
        ledger = None
    if ledger is None:
        yield None
        return
    with ledger:
        yield ledger


@contextlib.contextmanager
def _reading(settings: Settings) -> Any:
    """The ledger, to be read; what a run that died left behind is settled first, if that can be written."""
    from outreach.errors import LedgerError
    from outreach.ledger import Ledger

    with Ledger(settings.ledger) as ledger:
        with contextlib.suppress(LedgerError):
            ledger.settle_dead_runs(time.time())
        yield ledger


def _find_mailing(ledger: Ledger, name: str | None) -> Mailing:
    if name is not None:
        if found := ledger.mailing(name):
            return found
        known = ", ".join(one.name for one in ledger.mailings()) or "none"
        raise UsageError(f"there is no mailing {name!r}", f"mailings: {known}")
    if mailings := ledger.mailings():
        return mailings[0]
    raise UsageError("nothing was sent yet", "outreach send --dry-run")


def _dump(document: object) -> None:
    """Print a JSON document; what would command a terminal is escaped."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    click.echo(_COMMANDS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


# Control characters beyond those that JSON escapes, and marks that turn the direction of a text.
_COMMANDS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def _dump_members(members: Iterable[tuple[str, object]]) -> None:
    """Print a JSON document member by member, and long lists item by item: they may not fit into memory."""
    try:
        _write_members(members)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader went away, as `head` does


def _write_members(members: Iterable[tuple[str, object]]) -> None:
    out = sys.stdout
    encode = json.JSONEncoder(ensure_ascii=False).encode
    out.write("{")
    for number, (name, value) in enumerate(members):
        out.write(f"{',' if number else ''}\n  {json.dumps(name)}: ")
        if isinstance(value, Iterator):
            before = "["
            for item in value:
                out.write(f"{before}\n    {encode(item)}")
                before = ","
            out.write("[]" if before == "[" else "\n  ]")
        else:
            out.write(encode(value))
    out.write("\n}\n")
    out.flush()


# Before sending ----------------------------------------------------------------------------------


@cli.command()
@click.argument("directory", required=False, default=".", type=click.Path(path_type=Path))
@click.option("--from", "sender", metavar="ADDRESS", help="Who writes: Name <address>, or an address.")
@click.pass_obj
def init(app: App, directory: Path, sender: str | None) -> None:
    """Make a new project folder with list, letter and settings.

    \b
    Example: outreach init my-campaign --from "Solidarity Committee <press@mail.example>"

    Never overwrites anything.
    """
    from outreach import project
    from outreach.settings import parse_identity

    console = app.console
    reply_to = None
    try:
        if sender is None and console.interactive:
            name = click.prompt("Your organisation's name", err=True)
            mail = click.prompt("The address you write from", err=True)
            sender = f"{name} <{mail}>"
            answer = click.prompt("Answers go to", default=mail, err=True)
            reply_to = parse_identity(answer) if answer != mail else None
        identity = parse_identity(sender) if sender else None
    except ValueError as error:
        raise UsageError(f"that is no sender: {error}", "write it like Name <me@mail.example>") from None
    written, kept, provider = project.create(directory, identity, reply_to)
    for path in written:
        console.say(f"wrote {path}{'/' if path.is_dir() else ''}")
    for path in kept:
        console.say(f"kept  {path}{'/' if path.is_dir() else ''} (it was there)")
    if provider is not None:
        console.say(f"{provider.name} is known: {provider.smtp or 'it offers no SMTP'}; {provider.password}")
        if provider.note:
            console.say(f"  {provider.note}")
    where = "" if directory == Path() else f"cd {directory}; "
    console.next_step(f"{where}outreach rehearse")


@cli.group()
def contacts() -> None:
    """Check contact lists, and clean them.

    \b
    Example: outreach contacts check list.csv
    """


def _reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a list is to be read."""
    for option in (
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="FIELD=VALUE",
            help="What a field is where a row has nothing.",
        ),
        click.option(
            "--map",
            "maps",
            multiple=True,
            metavar="FIELD=COLUMN",
            help="Which column is a field, by its header or number.",
        ),
        click.option("--encoding", metavar="E", help="The file's encoding, like cp1251. Default: found out"),
    ):
        command = option(command)
    return command


@contacts.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@_reading_options
@click.option("--dns", is_flag=True, help="Ask the name server for every mail domain; it learns your list.")
@_json_option
@click.pass_obj
def contacts_check(
    app: App,
    file: Path | None,
    encoding: str | None,
    maps: tuple[str, ...],
    sets: tuple[str, ...],
    dns: bool,
    as_json: bool,
) -> int:
    """Read a list and say what is kept, repaired and rejected, and why.

    \b
    Example: outreach contacts check list.csv

    CSV in any encoding, Excel, OpenDocument, JSON. Exit code 1 when rows were rejected.
    """
    from outreach import contacts as reading
    from outreach import lists, screens

    path = file or app.settings().contacts
    people = reading.read([path], encoding, _pairs("--map", maps), _pairs("--set", sets))
    if dns:
        _ask_domains(app, people)
    if as_json:
        _dump_members(lists.as_json(people))
    else:
        screens.contacts(app.console, people)
        given = [
            ("--encoding", encoding),
            *(("--map", one) for one in maps),
            *(("--set", one) for one in sets),
        ]
        how = [word for option, value in given if value for word in (option, value)]
        plan = ["outreach", "plan", *(["--contacts", str(file)] if file else [])]
        clean = ["outreach", "contacts", "clean", str(path), *how, "-o", "clean.csv"]
        app.console.next_step(shlex.join(clean if how or people.count("repaired") else plan))
    return Exit.SOME_FAILED if people.count("rejected") else Exit.OK


@contacts.command("clean")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="CLEAN",
    help="A .csv or .xlsx file.",
)
@click.option("--rejects", type=click.Path(path_type=Path), metavar="REJECTS", help="Where rejected rows go.")
@_reading_options
@click.pass_obj
def contacts_clean(
    app: App,
    file: Path,
    target: Path,
    rejects: Path | None,
    encoding: str | None,
    maps: tuple[str, ...],
    sets: tuple[str, ...],
) -> int:
    """Write a list out again, repaired; and the rejected rows with what is wrong, to be mended.

    \b
    Example: outreach contacts clean partner.xlsx -o contacts.csv --rejects rejects.csv

    The list itself is not changed. Exit code 1 when rows were rejected.
    """
    from outreach import clean, screens
    from outreach import contacts as reading

    clean.refuse_names(file, target, rejects)
    people = reading.read([file], encoding, _pairs("--map", maps), _pairs("--set", sets), keep_refused=True)
    clean.write(people, target)
    if rejects is not None:
        clean.write_rejects(people, rejects)
    screens.contacts(app.console, people)
    app.console.say(f"wrote {target}: {len(people.contacts) + people.joined} rows")
    count = people.count("rejected")
    if rejects is not None:
        app.console.say(f"wrote {rejects}: {count} rejected rows")
    elif count:
        app.console.say(f"{count} rejected rows are not in it; --rejects FILE writes them")
    app.console.next_step(f"outreach plan --contacts {target}")
    return Exit.SOME_FAILED if count else Exit.OK


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Read FIELD=VALUE options. Raises UsageError."""
    from outreach import columns

    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        field = columns.name_of(name)
        if not equals or not field or not value.strip() or field[0].isdigit():
            raise UsageError(f"{option} {text!r} is not FIELD=…", f"write it like {option} country=DE")
        if field in found:
            raise UsageError(f"{option} names {field} twice", "say it once")
        found[field] = value.strip()
    if option == "--set" and (wrong := {"email", "alternates"} & found.keys()):
        raise UsageError(f"--set {wrong.pop()} would give everybody one address", "--map names a column")
    return found


def _ask_domains(app: App, people: ContactList) -> None:
    """Reject whose mail domain takes no mail; who could not be asked about is said."""
    from outreach import address, dns

    app.console.say("asking the name server about every mail domain of the list; it learns them")
    found = dns.check(address.domain(one.email) for one in people.contacts)
    dead = {name: one.words for name, one in found.items() if one.state is dns.State.NO_MAIL}
    unknown = {one.words: name for name, one in found.items() if one.state is dns.State.UNKNOWN}
    people.drop(lambda one: dead.get(address.domain(one.email), ""))
    count = sum(one.state is dns.State.UNKNOWN for one in found.values())
    if count:
        words, name = next(iter(unknown.items()))
        app.console.say(f"{count} domains are not known to be good or bad ({name}: {words}); try again later")


@cli.group()
def letters() -> None:
    """Write letters and check their translations.

    \b
    Example: outreach letters check
    """


@letters.command("new")
@click.argument("name")
@click.pass_obj
def letters_new(app: App, name: str) -> None:
    """Begin a new letter: one file with comments that explain it.

    \b
    Example: outreach letters new spring-appeal
    """
    from outreach import drafts

    settings = app.settings()
    path = drafts.new(settings.templates, name, settings.language)
    app.console.say(f"wrote {path}")
    app.console.next_step(f"write it, then outreach preview {name}")


@letters.command("add")
@click.argument("tag", metavar="LANG[.AUDIENCE]")
@_letter_argument
@click.pass_obj
def letters_add(app: App, tag: str, letter: str | None) -> None:
    """Copy the source for a translator, with the line that says which version it is.

    \b
    Example: outreach letters add it.party

    As long as the copy says what the source says, `send` counts it as missing.
    """
    from outreach import drafts, project

    settings = app.settings()
    folder, name = _pick_letter(settings, letter)
    written, first = drafts.add(folder, name, project.shipped("templates"), tag, settings.language)
    own = first.language == tag.partition(".")[0]
    for path in written:
        app.console.say(f"wrote {path}" + ("" if own else f", to be translated from {first.language}"))
    app.console.next_step(f"{'write' if own else 'translate'} it, then outreach letters check {name}")


@letters.command("mark-current")
@click.argument("file", type=click.Path())
@click.pass_obj
def letters_mark_current(app: App, file: str) -> None:
    """Say that a translation is up to date with its source.

    \b
    Example: outreach letters mark-current solidarity/de.md
    """
    from outreach import drafts, project

    settings = app.settings()
    path, value = drafts.mark_current(
        settings.templates, project.shipped("templates"), file, settings.language
    )
    app.console.say(f"{path}: Source: {value}")
    app.console.next_step(f"outreach letters check {path.parent.name}")


@letters.command("check")
@_letter_argument
@_contacts_option
@_json_option
@click.pass_obj
def letters_check(app: App, letter: str | None, files: tuple[Path, ...], as_json: bool) -> int:
    """Show which audience has which language, and everything that is wrong.

    \b
    Example: outreach letters check --contacts contacts.csv

    With a list, only what this list needs must be there. Exit code 65 when something is missing, out of
    date or wrong.
    """
    from outreach import proofs, screens

    settings = app.settings()
    folder, name = _pick_letter(settings, letter)
    document = proofs.document(settings, folder, name, files)
    if as_json:
        _dump(document)
    else:
        screens.letters(app.console, document)
        app.console.next_step("outreach preview" if not document["problems"] else "the lines above")
    return Exit.DATA if document["problems"] else Exit.OK


@cli.command()
@_letter_argument
@_contacts_option
@click.option("--to", metavar="EMAIL", help="The letter of this contact.")
@click.option("--language", metavar="L", help="Only letters in this language.")
@click.option("--audience", metavar="A", help="Only letters to this audience.")
@click.option("--all", "everybody", is_flag=True, help="Every contact, not one per language and audience.")
@click.option("--explain", is_flag=True, help="Say why this language, letter and greeting.")
@click.option(
    "--format", "form", type=click.Choice(["text", "html", "eml"]), help="Default: text, or by -o's suffix."
)
@click.option(
    "-o", "target", type=click.Path(path_type=Path), metavar="PATH", help="A file, or a folder for many."
)
@click.pass_obj
def preview(
    app: App,
    letter: str | None,
    files: tuple[Path, ...],
    to: str | None,
    language: str | None,
    audience: str | None,
    everybody: bool,
    explain: bool,
    form: str | None,
    target: Path | None,
) -> None:
    """Show the exact message a contact would get.

    \b
    Example: outreach preview --to maria@party.example
    """
    import datetime

    from outreach import preview as story

    settings = app.settings()
    people, text = _read(app, settings, letter, files)
    with _existing_ledger(settings) as ledger:
        plan = _plan(app, settings, people, text, ledger, again=True)
    chosen = story.choose(plan, to, language, audience, everybody)
    if settings.sender is None:
        app.console.say("OUTREACH_FROM is not set yet; a made-up sender stands in")
    now = datetime.datetime.now(datetime.UTC)
    if form is None:
        form = {".eml": "eml", ".html": "html", ".htm": "html"}.get(target.suffix if target else "", "text")
    if target is not None:
        written = story.write(plan, chosen, form, target, now)
        app.console.say(f"wrote {len(written)} file{'s' if len(written) > 1 else ''}: {written[0]}"
                        + (" …" if len(written) > 1 else ""))  # fmt: skip
        return
    if form != "text" and len(chosen) > 1:
        raise UsageError(
            f"{len(chosen)} messages as {form} need a folder", "-o FOLDER, or choose one with --to"
        )
    for number, contact in enumerate(chosen):
        if explain:
            app.console.out("\n".join(story.explain(plan, contact)) + "\n")
        if form == "eml":
            app.console.out(story.eml(plan, contact, now).decode("utf-8"), newline=False)
        elif form == "html":
            app.console.out(story.as_html(plan, contact))
        else:
            app.console.out(story.as_text(plan, contact, now), newline=False)
        if number + 1 < len(chosen):
            app.console.out("\n" + "─" * 72)
    app.console.next_step("outreach plan")


@cli.command()
@_letter_argument
@_contacts_option
@_filter_options
@click.option("--name", metavar="MAILING", help="The mailing's name. Default: the letter's")
@_pace_options
@_json_option
@click.pass_obj
def plan(
    app: App,
    letter: str | None,
    files: tuple[Path, ...],
    only: tuple[str, ...],
    excepted: tuple[str, ...],
    name: str | None,
    rate: str | None,
    rate_per_domain: str | None,
    window: str | None,
    not_before: str | None,
    as_json: bool,
) -> None:
    """Show who gets what, who does not and why, and how long it takes.

    \b
    Example: outreach plan --only country=DE
    """
    from outreach import asking, mailing, screens
    from outreach import plan as story

    settings = app.settings(RATE=rate, RATE_PER_DOMAIN=rate_per_domain, WINDOW=window)
    mailing.embargo(None, not_before, 0.0)  # what nobody can read is said before the list is
    people, text = _read(app, settings, letter, files)
    with _existing_ledger(settings) as ledger:
        made = _plan(app, settings, people, text, ledger, name)
        changes = mailing.compare(made, ledger)
        asking.say_vanished(app.console, changes)
        asking.say_changed(app.console, made, changes)
        embargo = mailing.embargo(changes.mailing, not_before, time.time())
        document = story.document(
            made, settings, ledger, only, excepted, None, time.time(), embargo.at if embargo else None
        )
    if as_json:
        _dump(document)
    else:
        screens.plan(app.console, document, settings)
    app.console.next_step("outreach rehearse, then outreach send")


@cli.command()
@_letter_argument
@_contacts_option
@click.option("-o", "folder", default="rehearsal", type=click.Path(path_type=Path), metavar="DIR",
              help="Where inbox and ledger go. Default: rehearsal")  # fmt: skip
@_json_option
@click.pass_obj
def rehearse(app: App, letter: str | None, files: tuple[Path, ...], folder: Path, as_json: bool) -> int:
    """Send the whole mailing into an inbox on this machine, and report.

    \b
    Example: outreach rehearse

    Needs no settings. Nothing leaves this machine. Addresses that begin with busy+, gone+ or full+ play
    temporary and permanent failures; reply+, away+, bounce+ and stop+ answer as people and machines do.
    """
    from outreach import delivery, mailing, reader, rehearsal, report, screens
    from outreach import plan as story
    from outreach.ledger import Ledger

    settings = app.settings(REST="0", PROXY="")
    people, text = _read(app, settings, letter, files, shipped_too=True)
    inbox = rehearsal.prepare(folder)
    with inbox.serve() as port, Ledger(folder / rehearsal.LEDGER, create=True) as ledger:
        acted = rehearsal.settings_for(settings, folder, port)
        made = _plan(app, acted, people, text, ledger)
        story.refuse_nothing(made)
        _say_gaps(app, made)
        server = mailing.check_account([one.contact.email for one in made.items], acted)
        running = mailing.record(made, mailing.compare(made, ledger), True, ledger, time.time())
        app.console.say(
            f"Rehearsing {len(made.items)} letters into {folder / 'inbox'}; nothing leaves this machine."
        )
        with app.console.progress() as observe:
            orders = mailing.orders(acted, server, None, breaker=False)
            chosen = [one.id for one in ledger.deliveries(running)]
            result = delivery.run(ledger, running, chosen, orders, observe)
            came = reader.read(ledger, reader.source_of(acted, None), None)
            if other := [one.id for one in ledger.deliveries(running, OPEN_STATES)]:
                result = delivery.run(ledger, running, other, orders, observe)  # a second address
        document = report.document(ledger, running) | {"rehearsal": True}
        now = time.time()
        ends = story.duration([item.contact for item in made.items], settings, None, now)[1]
    document |= {"inbox": str(folder / "inbox"), "messages": len(inbox), "real_seconds": round(ends - now)}
    document |= {"answers_in": str(folder / "answers"), "notes": came.notes}
    if as_json:
        _dump(document)
    else:
        screens.report(app.console, document)
        app.console.out(
            f"\n{len(inbox)} messages lie in {folder / 'inbox'} (a Maildir; open it with any mail program), "
            f"{came.new} answers in {folder / 'answers'}."
        )
        app.console.out(
            f"What came back is played: outreach --ledger sqlite:///{folder / rehearsal.LEDGER} replies list"
        )
        app.console.out(f"The real one would take {lasts(ends - now)} at {settings.pace}.")
        app.console.next_step("outreach preview, then outreach send --dry-run")
    if result.error is not None:
        raise result.error
    return Exit.INTERRUPTED if result.interrupted else Exit.OK


@cli.command()
@_json_option
@click.pass_obj
def settings(app: App, as_json: bool) -> None:
    """Show every setting and where it comes from; secrets masked.

    \b
    Example: outreach settings
    """
    from outreach.errors import SettingsError
    from outreach.settings import PREFIX, SECRETS, read_values

    hidden, wrong = list(SECRETS), None
    try:
        values = app.settings().values
    except SettingsError as error:  # show them all the same: this is where one looks
        values, wrong = read_values(Path(), os.environ, {"LEDGER": app.ledger})[0], error
        hidden += ["SMTP_URL", "IMAP_URL", "LEDGER"]  # a password may stand in it, in the wrong place
    rows = [
        (PREFIX + name, "(set)" if name in hidden and value.text else value.text, value.origin)
        for name, value in values.items()
    ]
    if as_json:
        _dump({name: {"value": text, "origin": origin} for name, text, origin in rows})
    else:
        app.console.table(("setting", "value", "from"), rows)
    if wrong is not None:
        raise wrong


# Sending -----------------------------------------------------------------------------------------


@cli.command()
@_letter_argument
@_contacts_option
@click.option("--name", metavar="MAILING", help="The mailing's name. Default: the letter's")
@_filter_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N letters in this run.")
@click.option("--dry-run", is_flag=True, help="Show the plan, send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--approved", metavar="FINGERPRINT", help="Do not ask, if the plan is the one with this fingerprint."
)
@click.option("--test-to", metavar="ADDRESS", help="Only send test mails, to this address of your own.")
@click.option("--to", metavar="EMAIL", help="With --test-to: the letter of this contact.")
@_pace_options
@click.option("--connections", type=int, metavar="N", help="Connections at once.")
@click.option(
    "--wait/--no-wait", default=True, help="Stay until all is done, or end when nothing is due now."
)
@click.option("--add-new", is_flag=True, help="Contacts added to the list since join the mailing.")
@click.option("--revise", is_flag=True, help="Those who have not got it yet get the letter as it is now.")
@click.option("--again", is_flag=True, help="Also to those who have this letter by another mailing.")
@click.option(
    "--retry-failed", is_flag=True, help="Another try for those that failed, never suppressed ones."
)
@click.option("--allow-fallback", is_flag=True, help="Send where a language or a special ask is missing.")
@click.option("--allow-stale", is_flag=True, help="Send translations whose source changed since.")
@click.option("--no-replies", is_flag=True, help="Do not read answers meanwhile.")
@click.option(
    "--follow-up", metavar="MAILING", help="To those who got this mailing and are silent, in its thread."
)
@click.option(
    "--after", metavar="SPAN", help="With --follow-up: only who has had so long to answer, like 14d."
)
@_json_option
@click.pass_obj
def send(
    app: App,
    letter: str | None,
    files: tuple[Path, ...],
    name: str | None,
    only: tuple[str, ...],
    excepted: tuple[str, ...],
    limit: int | None,
    dry_run: bool,
    yes: bool,
    approved: str | None,
    test_to: str | None,
    to: str | None,
    rate: str | None,
    rate_per_domain: str | None,
    window: str | None,
    not_before: str | None,
    connections: int | None,
    wait: bool,
    add_new: bool,
    revise: bool,
    again: bool,
    retry_failed: bool,
    allow_fallback: bool,
    allow_stale: bool,
    no_replies: bool,
    follow_up: str | None,
    after: str | None,
    as_json: bool,
) -> int:
    """Send a mailing, or continue it. Whoever has the letter never gets it again.

    \b
    Example: outreach send --limit 10

    While it sends, answers are read when OUTREACH_IMAP_URL is set: who asks to stop gets nothing more.
    """
    from outreach import asking, delivery, following, mailing, reader, report, screens
    from outreach import plan as story
    from outreach.ledger import Ledger

    settings = app.settings(
        RATE=rate,
        RATE_PER_DOMAIN=rate_per_domain,
        WINDOW=window,
        CONNECTIONS=None if connections is None else str(connections),
    )
    mailing.embargo(None, not_before, 0.0)  # what nobody can read is said before the list is
    test_address = _test_address(test_to, to, dry_run)
    if name is not None and not name.strip():
        raise UsageError("a mailing needs a name", "leave --name out: then it has the letter's")
    people, text = _read(app, settings, letter, files)
    with _existing_ledger(settings) as existing:
        silent = _follow_up(existing, settings, name or text.name, follow_up, after)
        made = _plan(app, settings, people, text, existing, name, again or test_to is not None, silent)
        changes = mailing.compare(made, existing, retry_failed)
        chosen = mailing.chooser(made, changes, only, excepted)
        if test_address is not None:
            server = mailing.check_account([test_address], settings)
            consent = asking.Consent(app.console, settings, made, changes, server)
            done = asking.test(consent, test_address, to, chosen, limit)
            if as_json:
                _dump({"test_to": test_address, "sent": done})
            return Exit.OK
        if not changes.open:
            story.refuse_nothing(made)
        asking.say_vanished(app.console, changes)
        embargo = mailing.embargo(changes.mailing, not_before, time.time())
        if dry_run:
            document = story.document(
                made, settings, existing, only, excepted, limit, time.time(), embargo.at if embargo else None
            )
            if as_json:
                _dump(document)
            else:
                screens.plan(app.console, document, settings)
            mailing.refuse_changes(made, changes, existing, revise)
            joining = mailing.joining(made, changes, True, revise)
            story.refuse_gaps(text, joining, allow_fallback, allow_stale)
            return Exit.OK
        server = mailing.check_account([item.contact.email for item in made.items], settings)
        mailing.refuse_changes(made, changes, existing, revise)
        if silent is not None:
            following.refuse_unread(silent, time.time())
        consent = asking.Consent(app.console, settings, made, changes, server, yes, approved, add_new, revise)
        joins = consent.joins()
        story.refuse_gaps(text, mailing.joining(made, changes, joins, revise), allow_fallback, allow_stale)
        count = consent.ask(chosen, limit, joins, existing, embargo)
    password = consent.password() if count else None
    source, secret = _beside(app, settings, password) if count and not no_replies else (None, None)
    with Ledger(settings.ledger, create=True) as ledger:
        running = mailing.record(made, changes, joins, ledger, time.time(), revise, chosen, embargo)
        # Nothing to ask about was nothing to consent to, whatever was given back meanwhile.
        ready = mailing.select(ledger, running, chosen, limit, time.time()) if count else []
        selected = [one.id for one in ready]
        if selected and wait:
            app.console.say(
                "Closing the lid only pauses: it goes on when the machine wakes. "
                "Ctrl-C stops; the same command continues."
            )
        orders = mailing.orders(settings, server, password, wait=wait, follow_up=silent is not None)
        beside = reader.beside(settings, source if selected else None, secret)
        with app.console.progress() as observe, beside:
            result = delivery.run(ledger, running, selected, orders, observe)
        document = report.status(ledger, running, settings)
    with heard(1):
        if as_json:
            _dump(document)
        else:
            screens.end(app.console, document, result)
    if result.error is not None:
        app.console.error(result.error)
    return mailing.exit_code(result)


def _follow_up(
    ledger: Ledger | None, settings: Settings, name: str, follow_up: str | None, after: str | None
) -> Any:
    """Return the mailing that is followed up and who of it is silent, if this mailing is a follow-up."""
    from outreach import following, reader
    from outreach.settings import parse_duration

    if after is not None and follow_up is None:
        raise UsageError("--after goes with --follow-up", "outreach send LETTER --follow-up MAILING")
    known = ledger.mailing(name) if ledger else None
    if follow_up is None:
        if ledger is None or known is None or known.follows_id is None:
            return None
        first = ledger.mailing_of(known.follows_id)  # it goes on as what it began as
    elif ledger is None:
        raise UsageError("nothing was sent yet", "outreach send --dry-run")
    else:
        first = _find_mailing(ledger, follow_up)
    if first.name == name:
        raise UsageError(
            f"the mailing {name} cannot follow up itself", "write a second letter: outreach letters new NAME"
        )
    try:
        span = parse_duration(after) if after is not None else 0
    except ValueError as error:
        raise UsageError(f"--after {error}") from None
    source = str(reader.source_of(settings, None)) if settings.source else ""
    found = following.find(ledger, first, span, time.time(), source)
    following.refuse_other(found, known, ledger)
    return found


def _beside(app: App, settings: Settings, password: str | None) -> tuple[Any, str | None]:
    """Return where answers are read while sending, and the password; nothing where they cannot be."""
    from outreach import reader

    if settings.source is None:
        return None, None
    try:
        source = reader.source_of(settings, None)
        if source.server is None:
            return source, None
        secret = settings.mailbox_password() or password
        if secret is None:
            secret = _mailbox_password(app, settings, source)
    except OutreachError as error:
        app.console.say(f"answers are not read meanwhile: {error.message}")
        return None, None
    return source, secret


def _test_address(test_to: str | None, to: str | None, dry_run: bool) -> str | None:
    """Check the options of a test mail."""
    from outreach import address

    if test_to is None:
        if to is not None:
            raise UsageError(
                "--to goes with --test-to", "outreach preview --to shows a letter without sending it"
            )
        return None
    if dry_run:
        raise UsageError("--dry-run sends nothing, not even a test", "outreach preview shows the letters")
    try:
        return address.parse(test_to)
    except address.AddressError as error:
        raise UsageError(f"--test-to {test_to}: {error}", "write an address of your own") from None


def _say_gaps(app: App, made: Plan) -> None:
    """Say what a rehearsal passes over and `send` would refuse."""
    from outreach import asking
    from outreach import plan as story

    try:
        story.refuse_gaps(made.letter, made.items, False, False)
    except LetterError as error:
        app.console.say(f"{error.message}; `outreach send` will refuse this:")
        asking.say_problems(app.console, error.problems)


@cli.command()
@click.option("--mailing", "name", metavar="MAILING", help="Of this mailing. Default: the newest")
@click.option("--all", "everybody", is_flag=True, help="All that has not left yet.")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS…]")
@click.pass_obj
def cancel(app: App, name: str | None, everybody: bool, addresses: tuple[str, ...]) -> None:
    """Stop letters that have not left yet, for good.

    \b
    Example: outreach cancel ann@party.example
    """
    from outreach import mailing
    from outreach.ledger import Ledger

    if everybody == bool(addresses):
        raise UsageError("cancel whom?", "name addresses, or say --all")
    with Ledger(app.settings().ledger) as ledger:
        found = _find_mailing(ledger, name)
    with Ledger(app.settings().ledger, create=True) as ledger:
        done, left = mailing.cancel(ledger, found, addresses, everybody, time.time())
    for words in left:
        app.console.say(f"not cancelled: {words}")
    app.console.out(f"{found.name}: {done} cancelled")
    app.console.next_step("outreach status")


@cli.command()
@click.option("--mailing", "name", metavar="MAILING", help="Of this mailing. Default: the newest")
@click.option("--all", "everybody", is_flag=True, help="All that are in doubt.")
@click.option("--sent", is_flag=True, help="They arrived.")
@click.option("--resend", is_flag=True, help="They did not: send them once more.")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS…]")
@click.pass_obj
def resolve(
    app: App, name: str | None, everybody: bool, sent: bool, resend: bool, addresses: tuple[str, ...]
) -> int:
    """Settle letters in doubt: by evidence, else by your word: arrived, or to be sent once more.

    \b
    Example: outreach resolve ann@party.example --sent

    Without --sent or --resend those are settled that lie in your Sent folder, or that somebody answered; the
    others are shown.
    """
    from outreach import decisions, evidence, mailing, screens
    from outreach.ledger import Ledger
    from outreach.received import Received

    if sent and resend:
        raise UsageError("--sent or --resend, not both")
    if (sent or resend) and everybody == bool(addresses):
        raise UsageError("settle which ones?", "name addresses, or say --all")
    with Ledger(app.settings().ledger) as ledger:
        found = _find_mailing(ledger, name)
    with Ledger(app.settings().ledger, create=True) as ledger:
        if not (sent or resend):
            settled, doubtful = evidence.settle(ledger, found, addresses, time.time())
            for one, why in settled:
                app.console.out(f"{one.contact.email}: it arrived: {why}")
            screens.in_doubt(app.console, found, doubtful)
            if doubtful:
                app.console.say(evidence.words(ledger, found))
                app.console.say(decisions.last_read_words(Received(ledger)))
            return Exit.SOME_FAILED if doubtful else Exit.OK
        done, left = mailing.resolve(ledger, found, addresses, everybody, sent, time.time())
    for words in left:
        app.console.say(f"not settled: {words}")
    app.console.out(f"{found.name}: {done} {'settled: arrived' if sent else 'to be sent once more'}")
    app.console.next_step("outreach status" if sent else "outreach send")
    return Exit.OK


def _until_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    words = f"Through this day, 2027-01-31, or for a span, 90d. Default: {default}"
    return click.option("--until", metavar="DATE", help=words)


@cli.group()
def suppress() -> None:
    """Keep the standing refusals: addresses and domains that are never written to.

    \b
    Example: outreach suppress add ann@party.example --reason "asked to stop"
    """


@suppress.command("add")
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS|@DOMAIN…")
@click.option("--reason", default="asked to stop", metavar="TEXT", help="Why. Default: asked to stop")
@click.option("--source", default="by hand", metavar="TEXT", help="Who said so, and where. Default: by hand")
@_until_option("for good")
@click.pass_obj
def suppress_add(app: App, addresses: tuple[str, ...], reason: str, source: str, until: str | None) -> None:
    """Refuse to write to these from now on, in every mailing, also in one that runs.

    \b
    Example: outreach suppress add ann@party.example @parliament.example

    A refusal that is there already is never shortened.
    """
    from outreach import suppressions
    from outreach.ledger import Ledger, Suppression

    now = time.time()
    ends = suppressions.until_of(until, now) if until else None
    values = [suppressions.value_of(text) for text in addresses]
    new = [Suppression(value, reason, source, now, ends) for value in values]
    with Ledger(app.settings().ledger, create=True) as ledger, ledger.transaction():
        holds = ledger.suppress(new, now)
    for one in holds:
        how = "any more" if one.until is None else through(one.until)
        app.console.say(f"{one.value}: no mailing of this ledger writes there {how} ({one.reason})")


@suppress.command("remove")
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS|@DOMAIN…")
@click.pass_obj
def suppress_remove(app: App, addresses: tuple[str, ...]) -> None:
    """Take refusals back, by the person's own wish only.

    \b
    Example: outreach suppress remove ann@party.example
    """
    from outreach import address, suppressions
    from outreach.ledger import Ledger

    values = [suppressions.value_of(text) for text in addresses]
    still = {}
    with Ledger(app.settings().ledger, create=True) as ledger, ledger.transaction():
        missing = [value for value in values if not ledger.unsuppress(value)]
        for value in values:
            if "@" in value[1:] and value not in missing:
                still[value] = ledger.refusal(value, address.domain(value), (), time.time())
    for value, why in still.items():
        if why is not None:
            app.console.say(f"{value} is refused still, by its mail domain: {why}")
    if missing:
        raise UsageError(f"not suppressed: {', '.join(missing)}", "outreach suppress list")


@suppress.command("list")
@_json_option
@click.pass_obj
def suppress_list(app: App, as_json: bool) -> None:
    """Show who is not written to, why, and until when.

    \b
    Example: outreach suppress list
    """
    from outreach import screens, suppressions
    from outreach.ledger import Ledger

    with Ledger(app.settings().ledger, create=True) as ledger:
        found = ledger.list_suppressions()
    if as_json:
        _dump(suppressions.document(found, time.time()))
    else:
        screens.suppressions(app.console, found, time.time())


@suppress.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--reason", metavar="TEXT", help="Why; instead of what the file says.")
@click.option("--source", metavar="TEXT", help="Who said so. Default: what the file says, or its name")
@_until_option("what the file says")
@click.pass_obj
def suppress_import(app: App, file: Path, reason: str | None, source: str | None, until: str | None) -> int:
    """Refuse everybody in a list: of any kind, or exported by another ledger or an allied group.

    \b
    Example: outreach suppress import stop.csv --reason "asked our partner to stop"

    A contact list, one address or @domain on a line, or a file of `outreach suppress export`. Exit code 1
    when some lines hold no address; the others are refused all the same.
    """
    from outreach import suppressions
    from outreach.ledger import Ledger

    now = time.time()
    ends = suppressions.until_of(until, now) if until else None
    settings = app.settings()
    made = suppressions.read(file, settings.share_key, now, reason, source, ends)
    with Ledger(settings.ledger, create=True) as ledger, ledger.transaction():
        if made.shared is not None:
            ledger.add_share_key(made.shared.check, made.shared.key)
        before = ledger.count_suppressions()
        ledger.suppress(made.found.values(), now)
        new = ledger.count_suppressions() - before
    for note in made.notes[:_REMARKS]:
        app.console.say(note)
    if len(made.notes) > _REMARKS:
        app.console.say(f"… and {len(made.notes) - _REMARKS} more remarks")
    for problem in made.problems:
        app.console.out(str(problem))
    said = [f"refused from now on: {len(made.found)} (new: {new})"]
    said += [f"over, left out: {made.over}"] if made.over else []
    said += [f"no address: {len(made.problems)}"] if made.problems else []
    app.console.out(f"{file}: {'; '.join(said)}")
    app.console.next_step("outreach suppress list")
    return Exit.SOME_FAILED if made.problems else Exit.OK


@suppress.command("export")
@click.option("--mailing", "name", metavar="MAILING", help="The people of this mailing, not the refusals.")
@click.option("-o", "target", type=click.Path(path_type=Path), metavar="FILE", help="Write to this file.")
@click.option("--keyed", is_flag=True, help="As hashes under OUTREACH_SHARE_KEY; so it is when that is set.")
@click.option("--open", "in_the_open", is_flag=True, help="With the addresses, for everybody to read.")
@click.pass_obj
def suppress_export(app: App, name: str | None, target: Path | None, keyed: bool, in_the_open: bool) -> None:
    """Write the refusals that hold, or the people of a mailing, for another ledger or an allied group.

    \b
    Example: outreach suppress export --mailing spring --keyed -o for-friends.csv

    With OUTREACH_SHARE_KEY set it holds hashes only. What these do not hide is in docs/sending.md.
    """
    from outreach import private, suppressions
    from outreach.ledger import Ledger

    if keyed and in_the_open:
        raise UsageError("--keyed or --open, not both")
    settings = app.settings()
    with Ledger(settings.ledger) as ledger:
        if name is None:
            found = suppressions.standing(ledger, time.time())
        else:
            found = suppressions.of_mailing(ledger, _find_mailing(ledger, name))
    if keyed or (not in_the_open and (settings.share_key or name is not None)):
        text, left = suppressions.as_keyed_csv(found, settings.share_key)
    else:
        text, left = suppressions.as_csv(found)
    for words in left:
        app.console.say(words)
    if target is None:
        sys.stdout.buffer.write(text.encode())
        return
    private.write(target, text.encode())
    app.console.say(f"wrote {target}, entries: {len(text.splitlines()) - 1}")


# Answers -----------------------------------------------------------------------------------------


@cli.group()
def replies() -> None:
    """Read and follow what comes back: answers, absences, bounces, opt-outs.

    \b
    Example: outreach replies sync
    """


@replies.command("sync")
@click.option(
    "--source", "text", metavar="URL", help="Instead of OUTREACH_IMAP_URL: maildir:PATH, mbox:PATH, eml:PATH."
)
@click.option("--watch", is_flag=True, help="Go on reading until Ctrl-C.")
@click.option("--all", "everything", is_flag=True, help="Also mail from before the first mailing.")
@click.option("--attached", is_flag=True, hidden=True, help="End with standard input.")
@_json_option
@click.pass_obj
def replies_sync(
    app: App, text: str | None, watch: bool, everything: bool, attached: bool, as_json: bool
) -> None:
    """Read new mail, find out whose letter it answers, and act on it. Changes nothing in the mailbox.

    \b
    Example: outreach replies sync

    Hard bounces, opt-outs and complaints that carry our token stop what has not left. Whatever is not proven
    waits for you: outreach replies list --unmatched.
    """
    from outreach import reader, screens
    from outreach.ledger import Ledger

    if watch and as_json:
        raise UsageError("--watch or --json, not both", "replies list --json shows what was read")
    settings = app.settings()
    source = reader.source_of(settings, text)
    password = _mailbox_password(app, settings, source)
    with Ledger(settings.ledger, create=True) as ledger:
        if watch:
            reader.watch(
                ledger,
                source,
                password,
                lambda summary: screens.reading(app.console, summary, str(source)),
                lambda words: app.console.say(f"{words}; trying again"),
                0 if attached else None,
            )
            return
        with app.console.working(f"reading {source}") as told:
            summary = reader.read(
                ledger,
                source,
                password,
                lambda summary: told(f"{summary.new} new mails"),
                everything,
            )
        if as_json:
            _dump(screens.reading_document(summary, str(source)))
        else:
            screens.reading(app.console, summary, str(source))
    app.console.next_step(
        "outreach replies list --unmatched" if summary.pending else "outreach replies list --unanswered"
    )


def _mailbox_password(app: App, settings: Settings, source: Source) -> str | None:
    """Return the password of a mailbox, asked for if need be."""
    from outreach.errors import SettingsError

    if source.server is None:
        return None
    password = settings.mailbox_password()
    if password is None:
        if not app.console.interactive:
            raise SettingsError(
                f"there is no password for {source}",
                "set OUTREACH_IMAP_PASSWORD_COMMAND or OUTREACH_IMAP_PASSWORD in .env",
            )
        password = app.console.secret(f"Password for {source}")
    return password


@replies.command("list")
@click.option("--kind", type=click.Choice([str(kind) for kind in Came]), help="Only mails of this kind.")
@click.option("--unmatched", is_flag=True, help="What you are to decide on: whose is it, is it true?")
@click.option("--unanswered", is_flag=True, help="People's answers that nobody has dealt with.")
@click.option("--due", is_flag=True, help="Promises whose day has come.")
@click.option("--account", metavar="A", help="Only from this mailbox.")
@_json_option
@click.pass_obj
def replies_list(
    app: App,
    kind: str | None,
    unmatched: bool,
    unanswered: bool,
    due: bool,
    account: str | None,
    as_json: bool,
) -> None:
    """List what came back.

    \b
    Example: outreach replies list --unanswered

    Circulars and receipts that belong to no letter are only shown with --kind other.
    """
    import datetime

    from outreach import decisions, screens
    from outreach.received import Received

    if due and (kind or unmatched or unanswered or account):
        raise UsageError("--due goes with no other choice", "it lists people, not mails")
    with _reading(app.settings()) as ledger:
        received = Received(ledger)
        read, left = decisions.last_read_words(received), []
        if due:
            rows = decisions.due(ledger, datetime.date.today())
        else:
            kinds = [Came(kind)] if kind else []
            mails = received.mails(kinds, unmatched, account)
            mails = [one for one in mails if kind or one.delivery_id or one.kind is not Came.OTHER]
            rows = decisions.document(ledger, mails, guess=as_json)
            rows = [row for row in rows if not unanswered or decisions.is_unanswered(row)]
            if not as_json:
                left = rows[:-_ROWS]
                numbers = {row["id"] for row in rows[-_ROWS:]}
                rows = decisions.document(ledger, [one for one in mails if one.id in numbers])
    if as_json:
        _dump(rows)
    elif due:
        screens.due(app.console, rows)
    else:
        if left:
            app.console.say(f"{len(left)} earlier ones are left out; --json lists all")
        screens.mails(app.console, rows, unmatched)
    app.console.say(read)
    if rows and not as_json:
        shown = next((row["id"] for row in rows if row["id"]), None)
        app.console.next_step(f"outreach replies show {shown or 'ID'}")


@replies.command("show")
@click.argument("number", metavar="ID")
@click.option("--raw", is_flag=True, help="The mail as it came, to be saved or opened elsewhere.")
@_json_option
@click.pass_obj
def replies_show(app: App, number: str, raw: bool, as_json: bool) -> None:
    """Show one mail: what was written, whose letter it answers, what followed from it.

    \b
    Example: outreach replies show 12
    """
    from outreach import decisions, screens
    from outreach.received import Received

    with _reading(app.settings()) as ledger:
        received = Received(ledger)
        mail = decisions.find_mail(received, number)
        if raw:
            sys.stdout.buffer.write(received.raw(mail.id))
            return
        (row,) = decisions.document(ledger, [mail])
    if as_json:
        _dump(row)
    else:
        screens.mail(app.console, row)


@replies.command("assign")
@click.argument("number", metavar="ID")
@click.argument("mail", metavar="ADDRESS")
@click.option("--mailing", "name", metavar="MAILING", help="Of this mailing. Default: the newest letter")
@click.pass_obj
def replies_assign(app: App, number: str, mail: str, name: str | None) -> None:
    """Say whose letter a mail answers: then a bounce or an opt-out counts as if it had been proven.

    \b
    Example: outreach replies assign 12 ann@party.example
    """
    from outreach import decisions
    from outreach.ledger import Ledger
    from outreach.received import Received

    with Ledger(app.settings().ledger, create=True) as ledger:
        found = decisions.find_mail(Received(ledger), number)
        mailing = _find_mailing(ledger, name) if name else None
        one = decisions.find_delivery(ledger, Received(ledger), mail, mailing)
        acted = decisions.assign(ledger, found.id, one, time.time())
        of = Received(ledger).mailing_names()[one.mailing_id]
    said = f"{found.kind} {found.id} answers the letter to {one.contact.email} (mailing {of})"
    app.console.out(said + (f"; {acted}" if acted else ""))


@replies.command("dismiss")
@click.argument("number", metavar="ID")
@click.pass_obj
def replies_dismiss(app: App, number: str) -> None:
    """Say that nothing follows from a mail: it is forged, or has nothing to do with us.

    \b
    Example: outreach replies dismiss 12

    What it held may leave again.
    """
    from outreach import decisions
    from outreach.ledger import Ledger
    from outreach.received import Received

    with Ledger(app.settings().ledger, create=True) as ledger:
        found = decisions.find_mail(Received(ledger), number)
        freed = decisions.dismiss(ledger, found.id, time.time())
    free = f"; free again: {', '.join(freed)}" if freed else ""
    app.console.out(f"{found.kind} {found.id} is put aside{free}")


@replies.command("mark")
@click.argument("whose", metavar="ID|ADDRESS")
@click.argument("answer", type=click.Choice([str(mark) for mark in Mark]))
@click.option("--note", default="", metavar="TEXT", help="In your words.")
@click.option("--link", default="", metavar="URL", help="Where it can be seen.")
@click.option("--due", metavar="DATE", help="When a promise is due: 2027-01-31, or in 14d.")
@click.option("--on", metavar="DATE", help="When they did. Default: the day of the mail, or today")
@click.option("--mailing", "name", metavar="MAILING", help="Of this mailing. Default: the newest letter")
@click.pass_obj
def replies_mark(
    app: App,
    whose: str,
    answer: str,
    note: str,
    link: str,
    due: str | None,
    on: str | None,
    name: str | None,
) -> None:
    """Note what somebody did for the ask; by address also for what came by phone, post or the press.

    \b
    Example: outreach replies mark ann@party.example promised --note "motion in March" --due 2027-03-15

    The last mark counts; earlier ones stay on record.
    """
    from outreach import decisions
    from outreach.ledger import Ledger
    from outreach.received import Received

    now = time.time()
    ends, done = decisions.day_of("--due", due, now), decisions.day_of("--on", on, now, past=True)
    with Ledger(app.settings().ledger, create=True) as ledger:
        one, mail = decisions.whose(
            ledger, Received(ledger), whose, _find_mailing(ledger, name) if name else None
        )
        at = decisions.moment(done, mail, now)
        decisions.mark(ledger, one, mail, Mark(answer), note, link, ends, at, now)
        of = Received(ledger).mailing_names()[one.mailing_id]
    until = f", due {ends}" if ends else ""
    app.console.out(f"{one.contact.email} (mailing {of}): {answer}{until}")
    app.console.next_step("outreach replies list --due" if ends else "outreach report")


@replies.command("classify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_json_option
@click.pass_obj
def replies_classify(app: App, files: tuple[str, ...], as_json: bool) -> None:
    """Say what a mail is, why, and what a person wrote in it. Changes nothing.

    \b
    Example: outreach replies classify answer.eml

    FILE is one mail, as a mail program saves it (.eml), or - for standard input. Needs no project folder.
    """
    from outreach import classify, mailfile, screens

    problems: list[Problem] = []
    found = list(mailfile.read_files(files, problems))
    if as_json:
        _dump([classify.document(name, answer) for name, answer in found])
    else:
        screens.answers(app.console, found)
    if problems:
        raise MailboxError(f"{len(problems)} of {len(files)} not read, or not wholly", problems=problems)


@cli.group()
def deliveries() -> None:
    """See single letters, and everything about one person.

    \b
    Example: outreach deliveries show ann@party.example
    """


@deliveries.command("list")
@click.argument("mailing", required=False)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([str(state) for state in State]),
    help="Only in this state; several times for several.",
)
@click.option(
    "--answer",
    "answers",
    multiple=True,
    type=click.Choice([*(str(mark) for mark in Mark), "none"]),
    help="Only with this mark.",
)
@_filter_options
@_json_option
@click.pass_obj
def deliveries_list(
    app: App,
    mailing: str | None,
    states: tuple[str, ...],
    answers: tuple[str, ...],
    only: tuple[str, ...],
    excepted: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the letters of a mailing: to whom, where each stands, what came back.

    \b
    Example: outreach deliveries list --state unknown
    """
    from outreach import people, screens
    from outreach import plan as plans

    with _reading(app.settings()) as ledger:
        found = _find_mailing(ledger, mailing)
        everybody = [one.contact for one in ledger.deliveries(found)]
        columns = list(dict.fromkeys(name for one in everybody for name in one.fields))
        chosen = plans.chooser(only, excepted, everybody, columns)
        rows = people.rows(ledger, found, [State(state) for state in states], answers, chosen)
    if as_json:
        _dump(rows)
    else:
        screens.deliveries(app.console, rows)
        app.console.next_step("outreach deliveries show ADDRESS")


@deliveries.command("show")
@click.argument("mail", metavar="ADDRESS")
@click.option("--mailing", "name", metavar="MAILING", help="Only of this mailing.")
@click.option(
    "--format", "form", type=click.Choice(["text", "eml", "json"]), default="text", help="Default: text."
)
@click.pass_obj
def deliveries_show(app: App, mail: str, name: str | None, form: str) -> None:
    """Show everything about one person: letters as sent, attempts, answers, refusals.

    \b
    Example: outreach deliveries show ann@party.example
    """
    from outreach import people, screens

    with _reading(app.settings()) as ledger:
        mailing = _find_mailing(ledger, name) if name else None
        if form == "eml":
            sys.stdout.buffer.write(people.eml(ledger, mail, mailing))
            return
        document = people.person(ledger, mail, mailing)
    if form == "json":
        _dump(document)
    else:
        screens.person(app.console, document)


# After sending -----------------------------------------------------------------------------------


@cli.command()
@click.argument("mailing", required=False)
@_json_option
@click.option("--watch", is_flag=True, help="Show it again every two seconds.")
@click.pass_obj
def status(app: App, mailing: str | None, as_json: bool, watch: bool) -> None:
    """Show where a mailing stands: counts, pace, expected end, who waits.

    \b
    Example: outreach status
    """
    from outreach import report, screens

    settings = app.settings()
    while True:
        with _reading(settings) as ledger:
            found = _find_mailing(ledger, mailing)
            document = report.status(ledger, found, settings)
        if as_json:
            _dump(document)
        else:
            if watch and app.console.on_terminal:
                click.clear()
            screens.status(app.console, document)
        if not watch:
            break
        time.sleep(2)
    if not as_json:
        left = document["counts"]["planned"] + document["counts"]["deferred"]
        app.console.next_step("outreach send continues" if left else "outreach report -o report.csv")


@cli.command()
@click.argument("mailing", required=False)
@click.option("--format", "form", type=click.Choice(["csv", "json"]), help="Default: by -o's suffix, or CSV.")
@click.option("-o", "target", type=click.Path(path_type=Path), metavar="FILE", help="Write to this file.")
@click.pass_obj
def report(app: App, mailing: str | None, form: str | None, target: Path | None) -> None:
    """Export the delivery report: a row per recipient. On a terminal: the totals.

    \b
    Example: outreach report -o report.csv
    """
    from outreach import private, screens
    from outreach import report as story

    if form is None and target is not None:
        form = target.suffix.lstrip(".").lower()
        if form not in ("csv", "json"):
            raise UsageError(f"{target} has no suffix of a report", "use .csv or .json, or --format")
    with _reading(app.settings()) as ledger:
        document = story.document(ledger, _find_mailing(ledger, mailing))
    if form is None and app.console.on_terminal:
        screens.report(app.console, document)
        app.console.next_step("outreach report -o report.csv")
        return
    if form == "json":
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    else:
        text = story.as_csv(document)
    if target is None:
        sys.stdout.buffer.write(text.encode())
        return
    private.write(target, text.encode())
    app.console.say(f"wrote {target}: {document['totals']['deliveries']} deliveries")


def _overview(app: App) -> None:
    """Say where the project stands, and the next command."""
    if not (Path("contacts.csv").exists() or Path("templates").is_dir() or Path(".env").exists()):
        app.console.out(_EXAMPLES, newline=False)
        return
    from outreach import project

    lines, step = project.overview(app.settings())
    for name, text in lines:
        app.console.out(f"{name:10}{text}")
    app.console.out(f"\nNext: {step}")
