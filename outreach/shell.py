"""What all commands share: the options before a command, ways to open things, errors and exit codes.

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
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outreach import __version__
from outreach.console import Console
from outreach.errors import Exit, LetterError, OutreachError, UsageError

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


REMARKS = 10  # about how lists were read


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


def letter_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("letter", required=False)(command)


def contacts_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--contacts",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The list; several times to merge lists. Default: contacts.csv",
    )(command)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
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


def pace_options(command: Callable[..., Any]) -> Callable[..., Any]:
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


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


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
        code = run(sys.argv[1:])
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


def run(arguments: Sequence[str]) -> int:
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


def pick_letter(settings: Settings, given: str | None, templates: Path | None = None) -> tuple[Path, str]:
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


def read_inputs(
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
    folder, name = pick_letter(settings, letter, templates)
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
    for remark in people.remarks[:REMARKS]:
        app.console.say(str(remark))
    return people, text


def make_plan(
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
def existing_ledger(settings: Settings) -> Any:
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
def reading(settings: Settings) -> Any:
    """The ledger, to be read; what a run that died left behind is settled first, if that can be written."""
    from outreach.errors import LedgerError
    from outreach.ledger import Ledger

    with Ledger(settings.ledger) as ledger:
        with contextlib.suppress(LedgerError):
            ledger.settle_dead_runs(time.time())
        yield ledger


def find_mailing(ledger: Ledger, name: str | None) -> Mailing:
    if name is not None:
        if found := ledger.mailing(name):
            return found
        known = ", ".join(one.name for one in ledger.mailings()) or "none"
        raise UsageError(f"there is no mailing {name!r}", f"mailings: {known}")
    if mailings := ledger.mailings():
        return mailings[0]
    raise UsageError("nothing was sent yet", "outreach send --dry-run")


def dump(document: object) -> None:
    """Print a JSON document; what would command a terminal is escaped."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    click.echo(_COMMANDS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


# Control characters beyond those that JSON escapes, and marks that turn the direction of a text.
_COMMANDS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def dump_members(members: Iterable[tuple[str, object]]) -> None:
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


def mailbox_password(app: App, settings: Settings, source: Source) -> str | None:
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
