"""The commands before sending: a project, lists, letters, previews, plans, the rehearsal, settings."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outreach.errors import Exit, LetterError, UsageError
from outreach.model import OPEN_STATES
from outreach.shell import (
    App,
    cli,
    contacts_option,
    dump,
    dump_members,
    existing_ledger,
    filter_options,
    json_option,
    letter_argument,
    make_plan,
    pace_options,
    pick_letter,
    read_inputs,
)
from outreach.times import lasts

if TYPE_CHECKING:
    from outreach.lists import ContactList
    from outreach.plan import Plan


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
@json_option
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
        dump_members(lists.as_json(people))
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
@letter_argument
@click.pass_obj
def letters_add(app: App, tag: str, letter: str | None) -> None:
    """Copy the source for a translator, with the line that says which version it is.

    \b
    Example: outreach letters add it.party

    As long as the copy says what the source says, `send` counts it as missing.
    """
    from outreach import drafts, project

    settings = app.settings()
    folder, name = pick_letter(settings, letter)
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
@letter_argument
@contacts_option
@json_option
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
    folder, name = pick_letter(settings, letter)
    document = proofs.document(settings, folder, name, files)
    if as_json:
        dump(document)
    else:
        screens.letters(app.console, document)
        app.console.next_step("outreach preview" if not document["problems"] else "the lines above")
    return Exit.DATA if document["problems"] else Exit.OK


@cli.command()
@letter_argument
@contacts_option
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
    people, text = read_inputs(app, settings, letter, files)
    with existing_ledger(settings) as ledger:
        plan = make_plan(app, settings, people, text, ledger, again=True)
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
@letter_argument
@contacts_option
@filter_options
@click.option("--name", metavar="MAILING", help="The mailing's name. Default: the letter's")
@pace_options
@json_option
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
    people, text = read_inputs(app, settings, letter, files)
    with existing_ledger(settings) as ledger:
        made = make_plan(app, settings, people, text, ledger, name)
        changes = mailing.compare(made, ledger)
        asking.say_vanished(app.console, changes)
        asking.say_changed(app.console, made, changes)
        embargo = mailing.embargo(changes.mailing, not_before, time.time())
        document = story.document(
            made, settings, ledger, only, excepted, None, time.time(), embargo.at if embargo else None
        )
    if as_json:
        dump(document)
    else:
        screens.plan(app.console, document, settings)
    app.console.next_step("outreach rehearse, then outreach send")


@cli.command()
@letter_argument
@contacts_option
@click.option("-o", "folder", default="rehearsal", type=click.Path(path_type=Path), metavar="DIR",
              help="Where inbox and ledger go. Default: rehearsal")  # fmt: skip
@json_option
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
    people, text = read_inputs(app, settings, letter, files, shipped_too=True)
    inbox = rehearsal.prepare(folder)
    with inbox.serve() as port, Ledger(folder / rehearsal.LEDGER, create=True) as ledger:
        ledger.call_rehearsal()
        acted = rehearsal.settings_for(settings, folder, port)
        made = make_plan(app, acted, people, text, ledger)
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
        document = report.document(ledger, running)
        now = time.time()
        ends = story.duration([item.contact for item in made.items], settings, None, now)[1]
    document |= {"inbox": str(folder / "inbox"), "messages": len(inbox), "real_seconds": round(ends - now)}
    document |= {"answers_in": str(folder / "answers"), "notes": came.notes}
    if as_json:
        dump(document)
    else:
        screens.report(app.console, document)
        app.console.out(
            f"\n{len(inbox)} messages lie in {folder / 'inbox'} (a Maildir; open it with any mail program), "
            f"{came.new} answers in {folder / 'answers'}."
        )
        if came.new:
            ledger_url = f"sqlite:///{folder / rehearsal.LEDGER}"
            app.console.out(f"What came back is played: outreach --ledger {ledger_url} replies list")
        app.console.out(f"The real one would take {lasts(ends - now)} at {settings.pace}.")
        app.console.next_step("outreach preview, then outreach send --dry-run")
    if result.error is not None:
        raise result.error
    return Exit.INTERRUPTED if result.interrupted else Exit.OK


@cli.command()
@json_option
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
        dump({name: {"value": text, "origin": origin} for name, text, origin in rows})
    else:
        app.console.table(("setting", "value", "from"), rows)
    if wrong is not None:
        raise wrong


def _say_gaps(app: App, made: Plan) -> None:
    """Say what a rehearsal passes over and `send` would refuse."""
    from outreach import asking
    from outreach import plan as story

    try:
        story.refuse_gaps(made.letter, made.items, False, False)
    except LetterError as error:
        app.console.say(f"{error.message}; `outreach send` will refuse this:")
        asking.say_problems(app.console, error.problems)
