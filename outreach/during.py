"""The commands that send, watch and stop: send, status, cancel, resolve, suppress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outreach.console import heard
from outreach.errors import Exit, OutreachError, UsageError
from outreach.shell import (
    REMARKS,
    App,
    cli,
    contacts_option,
    dump,
    existing_ledger,
    filter_options,
    find_mailing,
    json_option,
    letter_argument,
    mailbox_password,
    make_plan,
    pace_options,
    read_inputs,
    reading,
)
from outreach.times import through

if TYPE_CHECKING:
    from outreach.ledger import Ledger
    from outreach.settings import Settings


@cli.command()
@letter_argument
@contacts_option
@click.option("--name", metavar="MAILING", help="The mailing's name. Default: the letter's")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N letters in this run.")
@click.option("--dry-run", is_flag=True, help="Show the plan, send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--approved", metavar="FINGERPRINT", help="Do not ask, if the plan is the one with this fingerprint."
)
@click.option("--test-to", metavar="ADDRESS", help="Only send test mails, to this address of your own.")
@click.option("--to", metavar="EMAIL", help="With --test-to: the letter of this contact.")
@pace_options
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
@json_option
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
    people, text = read_inputs(app, settings, letter, files)
    with existing_ledger(settings) as existing:
        silent = _follow_up(existing, settings, name or text.name, follow_up, after)
        made = make_plan(app, settings, people, text, existing, name, again or test_to is not None, silent)
        changes = mailing.compare(made, existing, retry_failed)
        chosen = mailing.chooser(made, changes, only, excepted)
        if test_address is not None:
            server = mailing.check_account([test_address], settings)
            consent = asking.Consent(app.console, settings, made, changes, server)
            done = asking.test(consent, test_address, to, chosen, limit)
            if as_json:
                dump({"test_to": test_address, "sent": done})
            return Exit.OK
        if not changes.open and not (dry_run and silent):
            story.refuse_nothing(made)
        asking.say_vanished(app.console, changes)
        asking.say_waiting(app.console, made, changes)
        embargo = mailing.embargo(changes.mailing, not_before, time.time())
        if dry_run:
            document = story.document(
                made, settings, existing, only, excepted, limit, time.time(), embargo.at if embargo else None
            )
            if as_json:
                dump(document)
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
            dump(document)
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
        first = find_mailing(ledger, follow_up)
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
            secret = mailbox_password(app, settings, source)
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
        found = find_mailing(ledger, name)
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
        found = find_mailing(ledger, name)
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
@json_option
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
        dump(suppressions.document(found, time.time()))
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
    for note in made.notes[:REMARKS]:
        app.console.say(note)
    if len(made.notes) > REMARKS:
        app.console.say(f"… and {len(made.notes) - REMARKS} more remarks")
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
            found = suppressions.of_mailing(ledger, find_mailing(ledger, name))
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


@cli.command()
@click.argument("mailing", required=False)
@json_option
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
        with reading(settings) as ledger:
            found = find_mailing(ledger, mailing)
            document = report.status(ledger, found, settings)
        if as_json:
            dump(document)
        else:
            if watch and app.console.on_terminal:
                click.clear()
            screens.status(app.console, document)
        if not watch:
            break
        time.sleep(2)
    if not as_json:
        left = document["counts"]["planned"] + document["counts"]["deferred"]
        letter, name = document["letter"], document["mailing"]
        again = f"outreach send {letter}" + (f" --name {name}" if name != letter else "")
        app.console.next_step(again if left else "outreach report -o report.csv")
