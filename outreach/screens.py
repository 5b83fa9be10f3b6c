"""What people read when a command ends: the plan, the end of a run, status and report, from their documents.

The documents are those that `--json` prints; nothing is worked out here. Imported by the commands that draw.
"""

from __future__ import annotations

import datetime
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outreach import languages
from outreach.console import Console
from outreach.diagnosis import Reason
from outreach.errors import Problem, printable
from outreach.model import Came, Mark, State
from outreach.settings import Settings
from outreach.times import day, gap, lasts, through, when

if TYPE_CHECKING:
    from outreach.bounces import Bounce
    from outreach.classify import Answer
    from outreach.delivery import Result
    from outreach.ledger import Delivery, Mailing, Suppression
    from outreach.lists import ContactList
    from outreach.replies import Summary


_DOMAINS = 12  # that a plan names on the screen
# What people read instead of our words for states.
_SAY = {
    State.PLANNED: "planned",
    State.SENDING: "being sent",
    State.SENT: "accepted by the mail server",
    State.DEFERRED: "to be tried again",
    State.FAILED: "failed",
    State.UNKNOWN: "in doubt (may have arrived)",
    State.SUPPRESSED: "suppressed",
    State.CANCELLED: "cancelled",
}


def plan(console: Console, document: dict[str, Any], settings: Settings) -> None:
    """Show who gets what, who does not and why, and when it would end."""
    if settings.sender is None:
        console.say("OUTREACH_FROM is not set yet; the fingerprint will change with it")
    console.out(
        f"{document['total']} letters, mailing {document['mailing']}, fingerprint {document['fingerprint']}"
    )
    for name in ("audience", "language", "country"):
        counts = document[f"by_{name}"]
        shown = ", ".join(f"{key or '(none)'} {count}" for key, count in list(counts.items())[:12])
        console.out(f"  by {name:9} {shown}{', …' if len(counts) > 12 else ''}")
    if document["already"]:
        console.out(f"  {document['already']} of them are done with already")
    if document["fallbacks"]:
        languages = sorted({one["wanted"] for one in document["fallbacks"]})
        console.out(
            f"  fallback     {len(document['fallbacks'])} get another language or the general ask; "
            f"wanted: {', '.join(languages)} (send asks for --allow-fallback)"
        )
    for one in document["stale"]:
        where = f"{one['file']}:{one['line']}"
        console.out(f"  stale        {where}: {one['problem']} (send asks for --allow-stale)")
    if document["excluded"]:
        console.out(f"{len(document['excluded'])} get no letter:")
        for one in document["excluded"][:20]:
            console.out(f"  {one['email']}: {one['reason']}")
        if len(document["excluded"]) > 20:
            console.out(f"  … and {len(document['excluded']) - 20} more (--json lists all)")
    if document["total"] and document["already"] == document["total"]:
        console.out("Nothing is left to send.")
    elif document["total"]:
        for domain in document["unused_limits"]:
            console.out(f"OUTREACH_PER_INSTITUTION names {domain}, where nobody of these is.")
        at = f"At {settings.pace} it"
        if document["not_before"]:
            console.out(f"Nothing leaves before {when(document['not_before'])}.")
        _days(console, document["window_days"])
        if document["own_clock"]:
            console.out(f"{document['own_clock']} go by your own clock: no country or time zone is known.")
        if document["starts"] and when(document["starts"]) != when(time.time()):
            at += f" begins {when(document['starts'])} and"
        console.out(f"{at} ends {when(document['ends'])}.")
        _binding(console, document)


def _days(console: Console, by_days: dict[str, list[str]]) -> None:
    """Say where the working week is another one; those with most countries are the rest."""
    usual, *others = sorted(by_days, key=lambda days: -len(by_days[days])) or [""]
    said = []
    for days in others:
        shown = [code or "no country" for code in by_days[days][:12]]
        said.append(f"{days} to {', '.join(shown)}{', …' if len(by_days[days]) > 12 else ''}")
    if said:
        console.out(f"Letters leave {'; '.join(said)}; {usual} to all others.")


def _binding(console: Console, document: dict[str, Any]) -> None:
    """Say which limit decides when it ends, for the whole and for each domain with many letters."""
    if document["limit"]:
        ends, without = (_seconds(document[name]) for name in ("ends", "ends_without"))
        later = when(without)
        if ends == without:
            later = "as late: another limit is as tight"
        elif later == when(ends):
            later = f"{lasts(ends - without)} sooner"
        console.out(f"{_whose(document['limit'])} binds; without it, it would end {later}.")
    if document["domains"]:
        head = ("domain", "letters", "most/hour", "most/day", "what binds", "ends", "without it")
        rows = [
            (
                one["domain"],
                one["letters"],
                one["most_in_an_hour"],
                one["most_in_a_day"],
                _whose(one["limit"]) if one["limit"] else "nothing",
                when(one["ends"]),
                when(one["ends_without"]) if one["limit"] else "",
            )
            for one in document["domains"][:_DOMAINS]
        ]
        console.out()
        console.table(head, rows)
    if len(document["domains"]) > _DOMAINS:
        console.out(f"  … and {len(document['domains']) - _DOMAINS} more domains (--json lists all)")


def _seconds(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment).timestamp()


def _whose(limit: str) -> str:
    return limit if " " in limit else f"{limit} of the account"


def contacts(console: Console, people: ContactList) -> None:
    """Show what a list came to: every problem, then the counts."""
    for problem in people.problems:
        console.out(printable(str(problem)))
    said = [f"{len(people.contacts)} kept ({people.count('repaired')} repaired)"]
    if people.joined:
        said.append(f"{people.joined} share an inbox with one of them")
    said.append(f"{people.count('rejected')} rejected")
    console.out(f"{people.file}: {people.rows} rows, {', '.join(said)}")


def suppressions(console: Console, refusals: list[Suppression], now: float) -> None:
    """Show whom nobody writes to; hashes, which name nobody, as a count."""
    rows = []
    hashes: Counter[tuple[str, str]] = Counter()
    for one in refusals:
        kind, _, rest = one.value.partition(":")
        if kind == "hmac":
            hashes[one.source, rest[:8]] += one.holds(now)
        else:
            until = through(one.until) + ("" if one.holds(now) else ": over")
            rows.append((one.value, one.reason, one.source, day(one.at), until))
    console.table(("address", "reason", "source", "since", "until"), rows)
    for (source, check), count in hashes.items():
        console.out(f"hashes from {source}: {count} (check digits {check}; --json lists them)")


def letters(console: Console, document: dict[str, Any]) -> None:
    """Show the matrix language × audience, what is wrong, and what is worth knowing."""
    states = {(one["language"], one["audience"]): one["state"] for one in document["cells"]}
    if states:
        audiences = document["audiences"]
        rows = [
            (language, *(states.get((language, audience), "–") for audience in audiences))
            for language in dict.fromkeys(language for language, _ in states)
        ]
        head = (document["letter"], *(audience or "everybody else" for audience in audiences))
        console.table(head, rows)
    for title, found in (("", document["problems"]), ("good to know:", document["notes"])):
        if found:
            console.out(f"\n{title}" if title else "")
        for one in found:
            problem = Problem(one["file"], one["line"], one["problem"], one["suggestion"])
            console.out(f"  {problem}")
    if not document["problems"]:
        everything = "Everything is there." if not document["notes"] else "The letter itself is complete."
        console.out(f"\n{everything}" if states else "")


def end(console: Console, document: dict[str, Any], result: Result) -> None:
    """Say where the mailing stands when a run ends."""
    counts = document["counts"]
    if document["not_before"]:
        console.out(f"Nothing leaves before {when(document['not_before'])}.")
    said = [f"{counts[state.value]} {_SAY[state]}" for state in State if counts[state.value]]
    console.out(f"{document['mailing']}: {', '.join(said) or 'nothing to send'}")
    if result.in_doubt:
        console.out(
            f"{result.in_doubt} in doubt: handed over, and no answer came. "
            "They are not sent again by themselves."
        )
    if result.interrupted:
        console.out("Stopped by you. The same command continues where it stands.")
    if document["held"]:
        console.out(f"{document['held']} held: an opt-out that nobody could prove waits for your decision.")
    left = counts["planned"] + counts["deferred"]
    after = (
        f"outreach resolve --mailing {document['mailing']}"
        if counts["unknown"]
        else "outreach report -o report.csv"
    )
    console.next_step("the same command continues" if left else after)


def in_doubt(console: Console, mailing: Mailing, doubtful: list[Delivery]) -> None:
    """Show what may have arrived, with what it can be found by, and how it is settled."""
    if not doubtful:
        console.out(f"{mailing.name}: nothing is in doubt")
        return
    console.out(f"{mailing.name}: {len(doubtful)} may have arrived; they are not sent again by themselves")
    rows = [(one.contact.email, when(one.finished_at or 0.0), one.message_id) for one in doubtful]
    console.table(("in doubt", "since", "Message-ID"), rows)
    console.next_step("look in your Sent folder; outreach resolve ADDRESS --sent, or --resend")


def status(console: Console, document: dict[str, Any]) -> None:
    """Show counts, expected end, and who waits until when."""
    played = ", a rehearsal" if document["rehearsal"] else ""
    console.out(f"{document['mailing']} (letter {document['letter']}{played})")
    for state in State:
        if count := document["counts"][state.value]:
            console.out(f"  {count:6} {_SAY[state]}")
    if document["ends"]:
        console.out(f"  ends {when(document['ends'])}, if it runs; {document['rate']} in the last hour")
    if document["not_before"]:
        console.out(f"  nothing leaves before {when(document['not_before'])}")
    if slowed := document["slowed"]:
        again = f"going on {when(slowed['resume_at'])}, " if slowed["resume_at"] else ""
        console.out(
            f"  the server asked for less {when(slowed['asked_at'])} ({slowed['reply']}): "
            f"{again}a mail every {gap(slowed['seconds_between'])} at most"
        )
    _answers(console, document)
    for one in document["deferred"][:10]:
        console.out(f"  again {when(one['until'])}: {one['email']}: {one['reply']}")


def _answers(console: Console, document: dict[str, Any]) -> None:
    """Say what came back, what was done for the ask, and how old that is."""
    came = [f"{count} {kind}" for kind, count in document["inbound"].items() if count]
    if came:
        console.out(f"  came back: {', '.join(came)}")
    done = [f"{count} {mark}" for mark, count in document["answers"].items() if count]
    if done:
        console.out(f"  answers: {', '.join(done)}")
    if document.get("held"):
        console.out(f"  {document['held']} held until you decide (outreach replies list --unmatched)")
    elif document.get("undecided"):
        console.out(f"  {document['undecided']} mails wait for you (outreach replies list --unmatched)")
    at = document["answers_read_at"]
    console.out(f"  answers last read {when(at)}" if at else "  the mailbox was never read")
    if document.get("answers_failed"):
        console.folded(f"they cannot be read: {printable(document['answers_failed'])}", "  ")


def report(console: Console, document: dict[str, Any]) -> None:
    """Show the totals of a delivery report, and who was not reached."""
    totals = document["totals"]
    played = (
        " (a rehearsal: nothing left this machine, all answers are played)"
        if document.get("rehearsal")
        else ""
    )
    console.out(f"\n{document['mailing']}: {totals['deliveries']} deliveries{played}")
    for state in State:
        if totals[state.value]:
            console.out(f"  {totals[state.value]:6} {_SAY[state]}")
    if document["excluded"]:
        console.out(f"  {len(document['excluded']):6} rows got no letter (rejected, duplicate or left out)")
    _answers(console, document)
    shown = [state for state in State if totals[state.value]]
    for name in ("audience", "language"):
        rows = [
            (value or "(none)", counts["total"], *(counts.get(state.value, 0) for state in shown))
            for value, counts in document[f"by_{name}"].items()
        ]
        console.out()
        console.table((f"by {name}", "total", *(state.value for state in shown)), rows)
    known = sum(1 for value in document["by_country"] if value)
    console.out(f"\n{known} countries")
    troubled = [row for row in document["deliveries"] if row["state"] in ("failed", "unknown", "deferred")]
    if troubled:
        console.out()
        rows = [(row["email"], row["state"], row["attempts"], row["server_reply"]) for row in troubled[:20]]
        console.table(("not delivered", "state", "attempts", "the server said"), rows)


_NOTES = 20  # of one reading
_MOST_ROWS = 500  # of letters, in a table
_FEW = 5  # mails that are shown with what they say
_ABOUT = 60  # characters of a mail in a table


def answers(console: Console, found: list[tuple[str, Answer]]) -> None:
    """Show what mails are: a few with their text, many in a table."""
    if len(found) > _FEW:
        alone = len({Path(name).parent for name, _ in found}) == 1  # a long path on each line says nothing
        names = [Path(name).name if alone else name for name, _ in found]
        rows = [
            (printable(name), answer.kind, answer.language, printable(answer.sender), _about(answer))
            for name, (_, answer) in zip(names, found, strict=True)
        ]
        console.table(("file", "what", "in", "from", "about"), rows)
        counts = Counter(str(answer.kind) for _, answer in found)
        console.out("\n" + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
        return
    for number, (name, answer) in enumerate(found):
        console.out("\n" if number else "", newline=False)
        _answer(console, name, answer)


def _answer(console: Console, name: str, answer: Answer) -> None:
    language = f" in {languages.name(answer.language)}" if answer.language else ""
    console.out(f"{printable(name)}: {answer.kind}{language}")
    written = f", {answer.date:%d %b %Y}" if answer.date else ""
    console.folded(f"from {printable(answer.sender) or 'nobody'}{written}: {printable(answer.subject)}", "  ")
    console.folded(f"because of: {printable(answer.evidence)}", "  ")
    for bounce in answer.bounces[:_FEW]:
        console.folded(_fate(bounce), "  ")
        if bounce.diagnostic:
            console.folded(f"the server said: {printable(' '.join(bounce.diagnostic.split()))}", "    ")
    if len(answer.bounces) > _FEW:
        console.out(f"  and {len(answer.bounces) - _FEW} more")
    if answer.returns:
        console.out(f"  {_returns(answer)}")
    if answer.text:
        console.out()
        for line in answer.text.split("\n"):
            console.folded(printable(line), "  │ ")


def _about(answer: Answer) -> str:
    """Say in a cell what follows from a mail, or how it begins."""
    if answer.bounces:
        more = f" and {len(answer.bounces) - 1} more" if len(answer.bounces) > 1 else ""
        return _fate(answer.bounces[0]) + more
    text = _returns(answer) or printable(" ".join((answer.text or answer.evidence).split()))
    return text if len(text) <= _ABOUT else text[: _ABOUT - 1] + "…"


def _fate(bounce: Bounce) -> str:
    who = printable(bounce.recipient) or "somebody unnamed"
    what = f"{bounce.action} ({bounce.reason})" if bounce.reason is not Reason.OTHER else bounce.action
    fate = "the address is dead" if bounce.permanent else "the address may well live"
    return f"{who}: {what}" + (f"; {fate}" if bounce.action == "failed" else "")


def _returns(answer: Answer) -> str:
    day = answer.returns
    return f"returns: {day:%a} {day.day} {day:%b %Y}" if day else ""


# What came back ---------------------------------------------------------------------------------


def reading_document(summary: Summary, source: str) -> dict[str, Any]:
    """Return what scripts get of a reading (`replies sync --json`)."""
    return {
        "source": source,
        "new": summary.new,
        "again": summary.again,
        "matched": summary.matched,
        "pending": summary.pending,
        "inbound": {str(kind): summary.counts[kind] for kind in Came},
        "notes": summary.notes,
    }


def reading(console: Console, summary: Summary, source: str) -> None:
    """Say what a reading brought."""
    for note in summary.notes[:_NOTES]:
        console.folded(printable(note), "  ")
    if len(summary.notes) > _NOTES:
        console.out(f"  … and {len(summary.notes) - _NOTES} more (outreach replies list)")
    said = [f"{summary.counts[kind]} {kind}" for kind in Came if summary.counts[kind]]
    console.out(f"{source}: {summary.new} new" + (f" ({', '.join(said)})" if said else ""))
    if summary.pending:
        console.out(f"{summary.pending} wait for your decision: outreach replies list --unmatched")


def mails(console: Console, rows: list[dict[str, Any]], guesses: bool) -> None:
    """Show mails in a table; with what they may belong to, where that is to be decided."""
    if not rows:
        console.out("nothing")
        return
    last = "perhaps of" if guesses else "answer"
    shown = []
    for row in rows:
        if guesses:
            cell = "; ".join(f"{one['email']} ({one['reason']})" for one in row["guesses"][:2])
        else:
            cell = row["answer"] or ("wrote back" if row["written_back"] else "")
            cell = "put aside" if row["reason"].startswith("dismissed") else cell
        shown.append(
            (
                row["id"],
                when(row["at"]),
                row["kind"],
                printable(_who(row)),
                _cut(printable(_of_mail(row))),
                printable(cell),
            )
        )
    console.table(("id", "came", "what", "who", "about", last), shown)


def _who(row: dict[str, Any]) -> str:
    """Say who wrote: the reader, and from where if not from the address of the letter."""
    sender, reader = row["from"] or "nobody", row["email"]
    if reader is None or sender == reader.lower():
        return str(sender)
    return str(reader) if row["bounces"] else f"{sender} for {reader}"


def _cut(text: str) -> str:
    return text if len(text) <= _ABOUT else text[: _ABOUT - 1] + "…"


def _of_mail(row: dict[str, Any]) -> str:
    """Say in a cell what follows from a mail, or how it begins."""
    if row["bounces"]:
        first = row["bounces"][0]
        other = first["recipient"] and first["recipient"] != (row["email"] or "").lower()
        return f"{first['action']} ({first['reason']})" + (f": {first['recipient']}" if other else "")
    if row["returns"]:
        return f"is back on {row['returns']}"
    _, quoted, behind = row["text"].rpartition("\n>")
    below = behind.partition("\n")[2] if quoted else ""  # who answers below the quotation
    return " ".join((below.strip() or row["text"] or row["subject"]).split())


def mail(console: Console, row: dict[str, Any]) -> None:
    """Show one mail: what it is, whose, what followed, and what was written."""
    language = f" in {languages.name(row['language'])}" if row["language"] else ""
    console.out(f"{row['id']}: {row['kind']}{language}, {when(row['at'])}")
    name = f"{printable(row['name'])} " if row["name"] else ""
    sender = printable(row["from"] or "nobody")
    console.folded(f"from {name}{f'<{sender}>' if name else sender}: {printable(row['subject'])}", "  ")
    if row["email"]:
        console.folded(f"about the letter to {row['email']} (mailing {row['mailing']})", "  ")
    console.folded(f"because: {printable(row['reason'])}", "  ")
    if row["acted"]:
        console.folded(f"so: {printable(row['acted'])}", "  ")
    for bounce in row["bounces"][:_FEW]:
        words = f": {printable(' '.join(bounce['diagnostic'].split()))}" if bounce["diagnostic"] else ""
        fate = "dead" if bounce["permanent"] else "may live"
        who = printable(bounce["recipient"] or "nobody")
        console.folded(f"{who}: {bounce['action']}, {bounce['reason']}, {fate}{words}", "  ")
    if row["returns"]:
        console.out(f"  is back on {row['returns']}")
    _mark(console, row, "  ")
    if row["text"]:
        console.out()
        for line in row["text"].split("\n"):
            console.folded(printable(line), "  │ ")
    if row["pending"]:
        console.out()
        for one in row["guesses"]:
            console.out(f"  perhaps of {one['email']} (mailing {one['mailing']}): {one['reason']}")
        decide = f"outreach replies assign {row['id']} ADDRESS, or outreach replies dismiss {row['id']}"
        console.out(f"  to decide: {decide}")
    elif row["kind"] == Came.REPLY and not row["answer"]:
        marks = "|".join(str(one) for one in Mark if one is not Mark.NONE)
        console.next_step(f"outreach replies mark {row['id']} {marks}")


def _mark(console: Console, row: dict[str, Any], before: str) -> None:
    if not row["answer"]:
        return
    said = f"{row['answer']}, {when(row['answer_at'])}"
    said += f", due {row['due']}" if row["due"] else ""
    said += f": {printable(row['note'])}" if row["note"] else ""
    console.folded(said + (f" <{printable(row['link'])}>" if row["link"] else ""), before)


def due(console: Console, rows: list[dict[str, Any]]) -> None:
    """Show the promises whose day has come."""
    if not rows:
        console.out("no promise is due")
        return
    console.table(
        ("due", "who", "organisation", "mailing", "what", "note"),
        [
            (
                row["due"],
                row["email"],
                printable(row["organisation"]),
                row["mailing"],
                row["answer"],
                printable(row["note"] or ""),
            )
            for row in rows
        ],
    )


def deliveries(console: Console, rows: list[dict[str, Any]]) -> None:
    """Show the letters of a mailing."""
    if not rows:
        console.out("nothing")
        return
    console.table(
        ("to", "name", "state", "came back", "answer", "the server said"),
        [
            (
                row["email"],
                printable(row["name"]),
                row["state"] + (", held" if row["held"] else ""),
                ", ".join(one["kind"] for one in row["inbound"]),
                row["answer"] or "",
                "" if row["state"] == State.SENT else _cut(printable(row["server_reply"])),
            )
            for row in rows[:_MOST_ROWS]
        ],
    )
    if len(rows) > _MOST_ROWS:
        console.out(f"… and {len(rows) - _MOST_ROWS} more (--json lists all)")


def person(console: Console, document: dict[str, Any]) -> None:
    """Show everything about one person."""
    about = [document[name] for name in ("name", "organisation", "audience", "country") if document[name]]
    console.out(f"{document['email']}: {printable(', '.join(about)) or 'no name'}")
    if document["alternates"]:
        console.out(f"  also {', '.join(document['alternates'])}")
    if document["suppressed"]:
        console.folded(f"nobody writes there: {printable(document['suppressed'])}", "  ")
    if document["held"]:
        console.out("  held: an opt-out waits for your decision (outreach replies list --unmatched)")
    for one in document["deliveries"]:
        letter = one["letter"]
        console.out(f"\n{one['mailing']}: {_SAY[State(one['state'])]}, to {one['email']}")
        for tried in one["tries"]:
            words = f"{tried['code'] or ''} {tried['reply'] or tried['reason']}".strip()
            console.folded(f"{when(tried['at'])} {tried['verdict']}: {printable(words)}", "  ")
        for row in one["mails"]:
            so = f" ({printable(row['acted'])})" if row["acted"] else ""
            console.folded(
                f"{when(row['at'])} {row['kind']} {row['id']}: {printable(_of_mail(row))}{so}", "  "
            )
        for row in one["marks"]:
            _mark(console, row, "  marked ")
        if letter["problem"]:
            console.folded(f"the letter: {printable(letter['problem'])}", "  ")
        if letter["text"] is not None:
            console.out()
            console.folded(printable(letter["subject"]), "  │ ")
            console.out("  │")
            for line in letter["text"].rstrip().split("\n"):
                console.folded(printable(line), "  │ ")
