"""Start a mailing, or continue it: compare the plan with the ledger, ask, record, send.

Running `send` again continues: whoever has the letter never gets it again. What changed since is never
mixed in silently: changed letters are refused or revised, added contacts wait for consent, vanished ones
are listed, and what has not left can be cancelled. Nothing is recorded before consent.
Raises SettingsError, UsageError, and what plan and delivery raise.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from outreach import address, delivery, message, suppressions, windows
from outreach import plan as plans
from outreach.errors import Exit, Problem, SettingsError, StoppedError, UsageError
from outreach.ledger import Delivery, Ledger, Mailing, NewDelivery, is_held, others
from outreach.model import HELD_STATES, OPEN_STATES, Contact, Security, Server, State
from outreach.plan import Item, Plan
from outreach.settings import Settings, is_loopback
from outreach.times import when

_TYPE_THE_NUMBER = 500  # above this, "y" is not enough
# Why a delivery cannot be cancelled.
_SAID = {
    State.PLANNED: "is being sent right now",
    State.SENDING: "is being sent right now",
    State.DEFERRED: "is being sent right now",
    State.SENT: "has the letter already",
    State.UNKNOWN: "may have the letter already",
    State.FAILED: "has failed, nothing more goes there",
    State.SUPPRESSED: "is suppressed, nothing goes there",
}


@dataclass(slots=True)
class Changes:
    """What a plan differs in from the mailing that the ledger already has."""

    mailing: Mailing | None
    new: list[Item] = field(default_factory=list)
    changed: list[Delivery] = field(default_factory=list)  # not yet sent, would be another letter now
    vanished: list[Delivery] = field(default_factory=list)  # not yet sent, no longer in the list
    open: list[Delivery] = field(default_factory=list)
    failed: list[Delivery] = field(default_factory=list)  # among the open ones: to be tried again


def compare(plan: Plan, ledger: Ledger | None, retry_failed: bool = False) -> Changes:
    """Compare a plan with the mailing of the same name.

    With `retry_failed`, what has failed counts as open, for whoever is in the list and not suppressed.
    """
    mailing = ledger.mailing(plan.name) if ledger else None
    if ledger is None or mailing is None:
        return Changes(None, new=list(plan.items))
    changes = Changes(mailing)
    known = {one.address: one for one in ledger.deliveries(mailing)}
    listed = {address.key(contact.email) for contact in plan.contacts.contacts}
    hashes = {address.key(item.contact.email): item for item in plan.items}
    listed |= hashes.keys()
    changes.new = [item for key, item in hashes.items() if key not in known]
    # Another address of theirs has it, or gets it.
    replaced = {one.instead_of_id for one in known.values() if one.state in HELD_STATES}
    for key, one in known.items():
        if one.state is State.FAILED and retry_failed and key in hashes and one.id not in replaced:
            changes.failed.append(one)
        elif one.state not in OPEN_STATES:
            continue
        changes.open.append(one)
        if key not in listed and one.instead_of_id is None:
            changes.vanished.append(one)
        elif key in hashes and hashes[key].content_hash != one.content_hash:
            changes.changed.append(one)
    return changes


def refuse_changes(plan: Plan, changes: Changes, ledger: Ledger | None, revise: bool = False) -> None:
    """Refuse to continue a mailing with other letters than it began with. Raises UsageError."""
    if changes.mailing is None or ledger is None:
        return
    if changes.mailing.letter != plan.letter.name:
        raise UsageError(
            f"the mailing {plan.name} sends the letter {changes.mailing.letter}, not {plan.letter.name}",
            "choose another --name",
        )
    if changes.changed and not revise:
        some = ", ".join(one.contact.email for one in changes.changed[:3])
        raise UsageError(
            f"the mailing {plan.name} has begun, and {len(changes.changed)} of its unsent letters "
            f"would now be different ({some}{', …' if len(changes.changed) > 3 else ''})",
            "put back what was changed; or --revise, so that those who have not got it get the new version; "
            f"or a new mailing: --name {plan.name}-2",
            [
                Problem(one, None, "was changed")
                for one in _what_changed(plan, changes, changes.mailing, ledger)
            ],
        )


def _what_changed(plan: Plan, changes: Changes, mailing: Mailing, ledger: Ledger) -> list[str]:
    """Name the files and settings that differ from the newest version of a mailing."""
    versions = ledger.versions(mailing)
    if not versions:
        return []
    last = versions[max(versions)]
    found = []
    carried = {name: hashlib.sha256(data).hexdigest() for name, data in plan.letter.carried.items()}
    for before, after in ((last.sources, plan.letter.sources), (last.files, carried)):
        names = sorted({*before, *after})
        found += [name for name in names if before.get(name) != after.get(name)]
    settings = (
        ("OUTREACH_FROM", last.sender, plan.sender),
        ("OUTREACH_REPLY_TO", last.reply_to, plan.reply_to),
        ("OUTREACH_UNSUBSCRIBE", last.unsubscribe, plan.unsubscribe),
        ("OUTREACH_LANGUAGE", last.language, plan.letter.source_language),
    )
    found += [name for name, before, after in settings if before != after]
    if found:
        return found
    earlier = {one.address: one.contact for one in changes.changed}
    lists = any(
        replace(item.contact, line=0, file="") != replace(earlier[key], line=0, file="")
        for item in plan.items
        if (key := address.key(item.contact.email)) in earlier
    )
    return [plan.contacts.file if lists else "the program"]


def joining(plan: Plan, changes: Changes, add_new: bool, revise: bool) -> list[Item]:
    """Return the letters that this run plans anew: first ones, added ones, and with `revise` all unsent."""
    items = list(changes.new) if add_new or changes.mailing is None else []
    return items + (revised(plan, changes) if revise else [])


def revised(plan: Plan, changes: Changes) -> list[Item]:
    """Return the unsent letters as they would be now, also for people who are no longer in the list."""
    planned = {address.key(item.contact.email): item for item in plan.items}
    return [planned.get(one.address) or plans.item(plan, one.contact) for one in changes.open]


def check_account(recipients: Sequence[str], settings: Settings) -> Server:
    """Return the server, once we may send to these with these settings. Raises SettingsError, UsageError."""
    problems = []
    if settings.server is None:
        problems.append(
            Problem("", None, "OUTREACH_SMTP_URL is not set", "the mail server, like smtp://mail.example:587")
        )
    if settings.sender is None:
        problems.append(
            Problem("", None, "OUTREACH_FROM is not set", "who writes, like Name <me@mail.example>")
        )
    if problems or settings.server is None or settings.sender is None:
        raise SettingsError(
            "the account is not set up", "write it in .env; `outreach init` makes one", problems
        )
    server = settings.server
    if is_loopback(server.host):
        return server
    if server.security is Security.OFF and settings.user:
        raise SettingsError(
            f"{server} would get your password in plain text (?tls=off)",
            "take ?tls=off out of OUTREACH_SMTP_URL",
        )
    if recipients and all(address.is_reserved(mail) for mail in recipients):
        raise UsageError(
            f"{'every address in this list' if len(recipients) > 1 else recipients[0]} "
            "is an example and cannot exist",
            "try it with `outreach rehearse`; put your own contacts into contacts.csv",
        )
    if address.is_reserved(settings.sender.address):
        raise SettingsError(
            f"OUTREACH_FROM is {settings.sender.address}, an address that cannot exist",
            "answers and bounces must reach you: set your real address",
        )
    return server


def chooser(
    plan: Plan, changes: Changes, only: Sequence[str], excepted: Sequence[str]
) -> Callable[[Contact], bool]:
    """Return the test for this run's filters, over the list and over what the ledger still has to send."""
    people = [*plan.contacts.contacts, *(one.contact for one in changes.open)]
    return plans.chooser(only, excepted, people, plan.contacts.columns)


@dataclass(frozen=True, slots=True)
class Embargo:
    """Before which moment nothing of a mailing may leave, and how that was written."""

    at: float
    said: str


def embargo(mailing: Mailing | None, text: str | None, now: float) -> Embargo | None:
    """Read --not-before; None when it was not given.

    The same words mean the moment that they meant first: the same command continues, also after it. A moment
    that is past by now is refused: it was meant otherwise, or would lift an embargo by accident.
    Raises UsageError.
    """
    if text is None:
        return None
    said = " ".join(text.lower().split())
    if mailing is not None and mailing.not_before and said == mailing.not_before_said:
        return Embargo(mailing.not_before, said)
    try:
        at = windows.parse_moment(text, now)
    except ValueError as error:
        raise UsageError(f"--not-before: {error}") from None
    if 0 < at <= now:
        raise UsageError(
            f"--not-before {text}: that is past", "write a later moment; now lifts an embargo that holds"
        )
    return Embargo(at, said)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before a run, and which answers mean yes."""

    text: str
    count: int
    accepted: frozenset[str]


def question(
    plan: Plan,
    changes: Changes,
    chosen: Callable[[Contact], bool],
    limit: int | None,
    joins: bool,
    revise: bool,
    settings: Settings,
    ledger: Ledger | None,
    now: float,
    embargo: Embargo | None = None,
) -> Question:
    """Put the run into one sentence. Above 500 letters the answer is their number."""
    items = [item.contact for item in changes.new if joins]
    going = [one.contact for one in changes.open if one.address not in plan.refused]
    people = [contact for contact in [*going, *items] if chosen(contact)][:limit]
    held = changes.mailing.not_before if changes.mailing else 0.0
    not_before = embargo.at if embargo else held
    ends = plans.duration(people, settings, ledger, now, not_before)[1]
    pace = str(settings.pace)
    if not_before > now:
        pace += f", not before {when(not_before)}"
    if held > now and not_before != held:
        pace += f" (so far: not before {when(held)})"
    if settings.pace or not_before > now:
        pace += f", until {when(ends)}"
    count = len(people)
    if changes.mailing is not None:
        begin = f"Continue {plan.name}: {_many(count, 'letter')} still to send"
        if again := [one for one in changes.failed if chosen(one.contact)]:
            begin += f", {len(again)} of them failed before"
        if revise and changes.changed:
            begin += f"; {_many(len(changes.changed), 'unsent letter')} of the mailing in a new version;"
    else:
        counts = plans.totals([item for item in plan.items if chosen(item.contact)][:limit])
        languages, countries = len(counts["by_language"]), len([c for c in counts["by_country"] if c])
        begin = (
            f"Send {_many(count, 'letter')} in {_many(languages, 'language')} "
            f"to {_many(countries, 'country')}"
        )
    if plan.follow_up:
        begin += f", a follow-up to the silent ones of {plan.follow_up.mailing.name},"
    sender = f"{plan.sender.name} <{plan.sender.address}>" if plan.sender.name else plan.sender.address
    if count > _TYPE_THE_NUMBER:
        return Question(
            f"{begin} as {sender}, {pace}? [type {count} to send / t = test to me first / p = preview]",
            count,
            frozenset({str(count)}),
        )
    choices = "[y/N/t = test to me first/p = preview]"
    return Question(f"{begin} as {sender}, {pace}? {choices}", count, frozenset({"y", "yes"}))


def _many(count: int, word: str) -> str:
    if count == 1:
        return f"1 {word}"
    return f"{count} {word[:-1]}ies" if word.endswith("y") else f"{count} {word}s"


def record(
    plan: Plan,
    changes: Changes,
    add_new: bool,
    ledger: Ledger,
    now: float,
    revise: bool = False,
    chosen: Callable[[Contact], bool] = lambda contact: True,
    embargo: Embargo | None = None,
) -> Mailing:
    """Write the plan down: mailing, frozen version, deliveries, and who gets none and why.

    Of the failed ones that are to be tried again, those that are chosen.
    Raises StoppedError when another process wrote something down since the plan was made.
    """
    with ledger.transaction():
        _refuse_overtaken(plan, changes, ledger)
        follows = plan.follow_up.mailing.id if plan.follow_up else None
        mailing = changes.mailing or ledger.create_mailing(
            plan.name, plan.letter.name, plan.today.isoformat(), now, follows
        )
        _close_refused(plan, changes, mailing, ledger, now)
        ledger.reopen(mailing, [one.address for one in changes.failed if chosen(one.contact)])
        new = changes.new if add_new or changes.mailing is None else []
        again = revised(plan, changes) if revise else []
        if new or again:
            version = ledger.add_version(
                mailing,
                plan.fingerprint,
                plan.letter.sources,
                plan.letter.carried,
                plan.letter.source_language,
                plan.sender,
                plan.reply_to,
                plan.unsubscribe,
                now,
            )
            ledger.add_deliveries(mailing, version, _deliveries(plan, new, ledger))
            ledger.revise(mailing, version, _deliveries(plan, again, ledger))
        ledger.add_excluded(mailing, plan.excluded, now)
        if embargo is not None:
            ledger.set_not_before(mailing, embargo.at, embargo.said)
            mailing = replace(mailing, not_before=embargo.at, not_before_said=embargo.said)
    return mailing


def _close_refused(plan: Plan, changes: Changes, mailing: Mailing, ledger: Ledger, now: float) -> None:
    """Take out who refuses by an address that only the list of today knows; the claim would not see it."""
    for key in plan.refused.keys() & {one.address for one in changes.open}:
        contact = plan.refused[key]
        reason = ledger.refusal(key, address.domain(contact.email), others(contact), now)
        if reason is not None:
            ledger.close_refused(mailing, key, reason, now)


def _deliveries(plan: Plan, items: Sequence[Item], ledger: Ledger) -> Iterator[NewDelivery]:
    domain = address.domain(plan.sender.address)
    for item in items:
        message_id = message.new_message_id(ledger.key, item.contact.email, domain)
        first = plan.follow_up.letter_to(item.contact) if plan.follow_up else None
        yield NewDelivery(
            item.contact,
            item.choice.language,
            item.content_hash,
            message_id,
            first.id if first else None,
        )


def refuse_unapproved(
    approved: str, plan: Plan, changes: Changes, ledger: Ledger | None, joins: bool, revise: bool
) -> None:
    """Refuse a mailing that is not the one whose fingerprint was approved. Raises UsageError."""
    wanted = approved.strip().lower()
    goes_on = changes.mailing is not None and not (joins and changes.new) and not revise
    # What was planned then is what goes on now, even if somebody is suppressed since.
    planned = ledger.fingerprints(changes.mailing) if ledger and changes.mailing and goes_on else set()
    if wanted != plan.fingerprint and planned != {wanted}:
        raise UsageError(
            f"this is not the mailing that was approved: it is {plan.fingerprint}, not {approved}",
            "list, letter or settings changed since; look at it again: outreach preview, outreach plan",
        )


def cancel(
    ledger: Ledger, mailing: Mailing, mails: Sequence[str], everybody: bool, now: float
) -> tuple[int, list[str]]:
    """Take out what has not left; return how many, and what cannot be cancelled any more, in words.

    Raises UsageError for an address that this mailing does not have; then nothing is cancelled.
    """
    ledger.settle_dead_runs(now)
    with ledger.transaction():
        deliveries = {one.address: one for one in ledger.deliveries(mailing)}
        keys = list(deliveries) if everybody else keys_of(mails, deliveries, mailing)
        done = ledger.cancel(mailing, None if everybody else keys, now)
        left = {one.address: one for one in ledger.deliveries(mailing)}
        open_still = (*OPEN_STATES, State.SENDING)
        said = [
            f"{left[key].contact.email}: {_SAID[left[key].state]}"
            for key in keys
            if left[key].state is not State.CANCELLED and (not everybody or left[key].state in open_still)
        ]
    return done, said


def keys_of(mails: Sequence[str], deliveries: Mapping[str, Delivery], mailing: Mailing) -> list[str]:
    """Return the address keys of what somebody typed. Raises UsageError for one not in the mailing."""
    keys = [suppressions.value_of(mail) for mail in mails]
    for mail, key in zip(mails, keys, strict=True):
        if key not in deliveries:
            near = difflib.get_close_matches(key, deliveries, 1)
            hint = f"did you mean {deliveries[near[0]].contact.email}?" if near else "outreach report"
            raise UsageError(f"{mail} is not in the mailing {mailing.name}", hint)
    return keys


def in_doubt(ledger: Ledger, mailing: Mailing, now: float) -> list[Delivery]:
    """Return the deliveries of a mailing that may have arrived, and are not sent again by themselves."""
    ledger.settle_dead_runs(now)
    return ledger.deliveries(mailing, (State.UNKNOWN,))


def resolve(
    ledger: Ledger, mailing: Mailing, mails: Sequence[str], everybody: bool, arrived: bool, now: float
) -> tuple[int, list[str]]:
    """Settle deliveries in doubt by the user's word; return how many, and what is not settled, in words.

    They arrived, or they are to be sent once more; never to a suppressed address. Raises UsageError for an
    address that this mailing does not have; then nothing is settled.
    """
    ledger.settle_dead_runs(now)
    with ledger.transaction():
        deliveries = {one.address: one for one in ledger.deliveries(mailing)}
        doubtful = [key for key, one in deliveries.items() if one.state is State.UNKNOWN]
        keys = doubtful if everybody else keys_of(mails, deliveries, mailing)
        said = [
            f"{deliveries[key].contact.email}: is not in doubt, but {deliveries[key].state}"
            for key in keys
            if deliveries[key].state is not State.UNKNOWN
        ]
        keys = [key for key in keys if deliveries[key].state is State.UNKNOWN]
        if not arrived:
            for key in list(keys):
                one = deliveries[key]
                reason = ledger.refusal(key, one.domain, others(one.contact), now)
                if reason is not None:
                    said.append(f"{one.contact.email}: is suppressed: {reason}")
                    keys.remove(key)
        return ledger.settle(mailing, keys, arrived), said


def _refuse_overtaken(plan: Plan, changes: Changes, ledger: Ledger) -> None:
    """What the plan was compared with must still hold inside the transaction that records it."""
    begun = changes.mailing is None and ledger.mailing(plan.name) is not None
    holders = {} if plan.again else ledger.holders(plan.letter.name, besides=plan.name)
    joining = [
        *(address.key(item.contact.email) for item in changes.new),
        *(one.address for one in changes.failed),
    ]
    known = (
        {one.address for one in ledger.deliveries(changes.mailing)}
        if changes.mailing and changes.new
        else set()
    )
    twice = any(address.key(item.contact.email) in known for item in changes.new)
    if begun or twice or any(key in holders for key in joining):
        raise StoppedError(
            f"another process began to send {plan.letter.name} while this one was planning",
            "nothing was recorded; run the same command again: it joins in",
        )


def select(
    ledger: Ledger, mailing: Mailing, chosen: Callable[[Contact], bool], limit: int | None, now: float
) -> list[Delivery]:
    """Return the open deliveries that one run is to handle; with a limit, those that can leave first."""
    found = [one for one in ledger.deliveries(mailing, OPEN_STATES) if chosen(one.contact)]
    if limit is not None:  # what waits, or is somebody else's, must not keep the others from their turn
        held = ledger.held()
        found.sort(key=lambda one: (one.lease is not None, is_held(one, held), max(one.next_attempt_at, now)))
    return found[:limit]


def orders(
    settings: Settings,
    server: Server,
    password: str | None,
    wait: bool = True,
    breaker: bool = True,
    follow_up: bool = False,
) -> delivery.Orders:
    """Turn settings into the orders of a run."""
    return delivery.Orders(
        server=server,
        user=settings.user if password else "",
        password=password,
        ehlo_name=settings.ehlo_name,
        pace=settings.pace,
        connections=settings.connections,
        retry=settings.retry,
        give_up=settings.give_up,
        wait=wait,
        breaker=breaker,
        account=settings.account,
        rest=0 if follow_up else settings.rest,
    )


def exit_code(result: delivery.Result) -> int:
    """Return the exit code of a run: 130 > 77, 69 > 75 > 1 > 0."""
    counts = result.progress.counts
    if result.interrupted:
        return Exit.INTERRUPTED
    if result.error is not None and result.error.exit_code in (Exit.REFUSED, Exit.UNREACHABLE):
        return result.error.exit_code
    if result.error is not None or any(counts[state] for state in (*OPEN_STATES, State.SENDING)):
        return Exit.STOPPED
    if counts[State.FAILED] or counts[State.UNKNOWN]:
        return Exit.SOME_FAILED
    return Exit.OK
