"""The commands after sending: what came back, single letters and people, reports."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outreach.errors import MailboxError, Problem, UsageError
from outreach.model import Came, Mark, State
from outreach.shell import (
    App,
    cli,
    dump,
    filter_options,
    find_mailing,
    json_option,
    mailbox_password,
    reading,
)

if TYPE_CHECKING:
    pass

_ROWS = 200  # of mails, in a table


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
@json_option
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
    password = mailbox_password(app, settings, source)
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
            dump(screens.reading_document(summary, str(source)))
        else:
            screens.reading(app.console, summary, str(source))
    app.console.next_step(
        "outreach replies list --unmatched" if summary.pending else "outreach replies list --unanswered"
    )


@replies.command("list")
@click.option("--kind", type=click.Choice([str(kind) for kind in Came]), help="Only mails of this kind.")
@click.option("--unmatched", is_flag=True, help="What you are to decide on: whose is it, is it true?")
@click.option("--unanswered", is_flag=True, help="People's answers that nobody has dealt with.")
@click.option("--due", is_flag=True, help="Promises whose day has come.")
@click.option("--account", metavar="A", help="Only from this mailbox.")
@json_option
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
    with reading(app.settings()) as ledger:
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
        dump(rows)
    elif due:
        screens.due(app.console, rows)
    else:
        if left:
            app.console.say(f"{len(left)} earlier ones are left out; --json lists all")
        screens.mails(app.console, rows, unmatched)
    app.console.say(read)
    if rows and not as_json:
        if due:
            app.console.next_step(f"outreach replies mark {rows[0]['email']} done")
        else:
            open_ones = [row for row in rows if row["pending"] or decisions.is_unanswered(row)]
            app.console.next_step(f"outreach replies show {(open_ones or rows[-1:])[0]['id']}")


@replies.command("show")
@click.argument("number", metavar="ID")
@click.option("--raw", is_flag=True, help="The mail as it came, to be saved or opened elsewhere.")
@json_option
@click.pass_obj
def replies_show(app: App, number: str, raw: bool, as_json: bool) -> None:
    """Show one mail: what was written, whose letter it answers, what followed from it.

    \b
    Example: outreach replies show 12
    """
    from outreach import decisions, screens
    from outreach.received import Received

    with reading(app.settings()) as ledger:
        received = Received(ledger)
        mail = decisions.find_mail(received, number)
        if raw:
            sys.stdout.buffer.write(received.raw(mail.id))
            return
        (row,) = decisions.document(ledger, [mail])
    if as_json:
        dump(row)
    else:
        screens.mail(app.console, row)


@replies.command("assign")
@click.argument("number", metavar="ID")
@click.argument("mail", metavar="ADDRESS")
@click.option("--yes", is_flag=True, help="Also against what the token in the mail says.")
@click.option("--mailing", "name", metavar="MAILING", help="Of this mailing. Default: the newest letter")
@click.pass_obj
def replies_assign(app: App, number: str, mail: str, yes: bool, name: str | None) -> None:
    """Say whose letter a mail answers: then a bounce or an opt-out counts as if it had been proven.

    \b
    Example: outreach replies assign 12 ann@party.example
    """
    from outreach import decisions
    from outreach.ledger import Ledger
    from outreach.received import Received

    with Ledger(app.settings().ledger, create=True) as ledger:
        found = decisions.find_mail(Received(ledger), number)
        mailing = find_mailing(ledger, name) if name else None
        one = decisions.find_delivery(ledger, Received(ledger), mail, mailing, living=False)
        decisions.refuse_proven(found, one, yes)
        acted = decisions.assign(ledger, found.id, one, time.time())
        of = Received(ledger).mailing_names()[one.mailing_id]
    said = f"{found.kind} {found.id} answers the letter to {one.contact.email} (mailing {of})"
    app.console.out(said + (f"; {acted}" if acted else ""))


@replies.command("dismiss")
@click.argument("number", metavar="ID")
@click.option("--yes", is_flag=True, help="Also what the token in the mail proves.")
@click.pass_obj
def replies_dismiss(app: App, number: str, yes: bool) -> None:
    """Say that nothing follows from a mail: it is forged, or has nothing to do with us.

    \b
    Example: outreach replies dismiss 12

    What it held may leave again, and what followed from it is taken back.
    """
    from outreach import decisions
    from outreach.ledger import Ledger
    from outreach.received import Received

    with Ledger(app.settings().ledger, create=True) as ledger:
        found = decisions.find_mail(Received(ledger), number)
        decisions.refuse_proven(found, None, yes)
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

    The last mark counts, earlier ones stay on record; `none` takes it back.
    """
    from outreach import decisions
    from outreach.ledger import Ledger
    from outreach.received import Received

    now = time.time()
    decisions.link_of(link)
    ends, done = decisions.day_of("--due", due, now), decisions.day_of("--on", on, now, past=True)
    with Ledger(app.settings().ledger, create=True) as ledger:
        one, mail = decisions.whose(
            ledger, Received(ledger), whose, find_mailing(ledger, name) if name else None
        )
        at = decisions.moment(done, mail, now)
        decisions.mark(ledger, one, mail, Mark(answer), note, link, ends, at, now)
        of = Received(ledger).mailing_names()[one.mailing_id]
    until = f", due {ends}" if ends else ""
    app.console.out(f"{one.contact.email} (mailing {of}): {answer}{until}")
    app.console.next_step("outreach replies list --due" if ends else "outreach report")


@replies.command("classify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@json_option
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
        dump([classify.document(name, answer) for name, answer in found])
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
    type=click.Choice([str(mark) for mark in Mark]),
    help="Only with this mark.",
)
@filter_options
@json_option
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

    with reading(app.settings()) as ledger:
        found = find_mailing(ledger, mailing)
        everybody = [one.contact for one in ledger.deliveries(found)]
        columns = list(dict.fromkeys(name for one in everybody for name in one.fields))
        chosen = plans.chooser(only, excepted, everybody, columns)
        rows = people.rows(ledger, found, [State(state) for state in states], answers, chosen)
    if as_json:
        dump(rows)
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

    with reading(app.settings()) as ledger:
        mailing = find_mailing(ledger, name) if name else None
        if form == "eml":
            sys.stdout.buffer.write(people.eml(ledger, mail, mailing))
            return
        document = people.person(ledger, mail, mailing)
    if form == "json":
        dump(document)
    else:
        screens.person(app.console, document)


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
    with reading(app.settings()) as ledger:
        document = story.document(ledger, find_mailing(ledger, mailing))
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
