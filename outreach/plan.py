"""Who gets what: contacts × letter − suppressed − whoever has it already, or rests → a plan.

The whole list is planned before anything leaves: every letter is rendered once, its content hashed, and
whoever gets none is listed with the reason, so that nobody is forgotten. A plan only reads the ledger.
Also here: the filters that choose what one run sends, and how long it would take.
Raises LetterError, ContactsError (nothing to send), UsageError (filters).
"""

from __future__ import annotations

import datetime
import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from outreach import address, alternates, coverage, forecast, languages, message, places
from outreach.agenda import Entry
from outreach.errors import ContactsError, LetterError, Problem, UsageError
from outreach.following import FollowUp
from outreach.forecast import Past
from outreach.ledger import Ledger, Refusals, others, same_person
from outreach.letters import Choice, Letter
from outreach.lists import ContactList
from outreach.model import CONTACT_COLUMNS, HELD_STATES, OPEN_STATES, Contact, Identity, Rendered
from outreach.pace import Pace
from outreach.settings import Settings
from outreach.times import iso
from outreach.windows import Window

_REASONS = 6  # that are named when nobody is left
NOBODY = Identity("Your name", "you@outreach.example")  # shown before a sender is set


@dataclass(frozen=True, slots=True)
class Item:
    """One letter of the plan: to whom, from which files, and what its content is."""

    contact: Contact
    choice: Choice
    content_hash: str


@dataclass(slots=True)
class Plan:
    """What a mailing is to be."""

    name: str
    letter: Letter
    contacts: ContactList
    sender: Identity
    reply_to: Identity
    unsubscribe: str
    today: datetime.date
    items: list[Item] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)  # (email, reason)
    again: bool = False
    done: set[str] = field(default_factory=set)  # keys of those with whom this mailing is finished
    refused: dict[str, Contact] = field(default_factory=dict)  # who refuses or has answered, by address key
    follow_up: FollowUp | None = None  # the mailing whose silent readers this one is for

    @property
    def fingerprint(self) -> str:
        """12 hex digits that identify the whole mailing: who gets which content."""
        return message.fingerprint({address.key(i.contact.email): i.content_hash for i in self.items})

    @property
    def fallbacks(self) -> list[Item]:
        """Who gets another language than theirs, or the general ask where a special one exists."""
        return [item for item in self.items if not item.choice.complete]


def make(
    name: str,
    letter: Letter,
    contacts: ContactList,
    settings: Settings,
    ledger: Ledger | None,
    now: float,
    again: bool = False,
    follow_up: FollowUp | None = None,
) -> Plan:
    """Plan a mailing. With `again`, whoever has this letter under another name gets it once more.

    A follow-up is for the silent readers of another mailing; OUTREACH_REST does not hold it up.
    """
    sender = settings.sender or NOBODY
    mailing = ledger.mailing(name) if ledger else None
    today = (
        datetime.date.fromisoformat(mailing.today)
        if mailing
        else datetime.datetime.fromtimestamp(now).astimezone().date()
    )
    plan = Plan(name, letter, contacts, sender, settings.reply_to or sender, settings.unsubscribe, today)
    plan.again, plan.follow_up = again, follow_up
    letter.check_variables([column for column in contacts.columns if column not in CONTACT_COLUMNS])
    plan.excluded += [(one.value or f"line {one.line}", one.problem) for one in contacts.rejected]
    refusals = ledger.refusals(now) if ledger else None
    holders = ledger.holders(letter.name, besides=name) if ledger and not again else {}
    resting = ledger.resting(name, settings.rest, now) if ledger and settings.rest and not follow_up else {}
    had: dict[str, str] = {}  # address key → whose name
    elsewhere = {key: name for key, (_, name) in holders.items()}
    known_keys: set[str] = set()
    if ledger and mailing:
        known = ledger.deliveries(mailing)
        known_keys = {one.address for one in known}
        plan.done = {one.address for one in known if one.state not in OPEN_STATES}
        back = ledger.came_back(mailing)
        had = {
            one.address: one.contact.name for one in known if one.state in HELD_STATES and one.id not in back
        }
    followed: set[int] = set()
    for listed in contacts.contacts:
        contact = _reachable(listed, refusals) if refusals else listed
        key = address.key(contact.email)
        reason = refusals.of(key, address.domain(contact.email), others(contact)) if refusals else None
        if reason is not None:
            plan.excluded.append((contact.email, f"suppressed: {reason}"))
            plan.refused[key] = contact
        elif follow_up and (words := follow_up.reason(contact)) and key not in plan.done:
            plan.excluded.append((contact.email, words))
            plan.refused[key] = contact
        elif follow_up and (first := follow_up.letter_to(contact)) and first.id in followed:
            plan.excluded.append((contact.email, "the letter to this address is followed up already"))
        elif key in holders:
            plan.excluded.append(
                (contact.email, f"has this letter already, by the mailing {holders[key][0]}")
            )
        elif key not in known_keys and (other := _has_it(contact, had) or _has_it(contact, elsewhere)):
            plan.excluded.append((contact.email, f"has this letter already, at {other}"))
        elif key not in plan.done and (words := resting.get(key)):
            plan.excluded.append((contact.email, words))
        else:
            plan.items.append(item(plan, contact))
            first = follow_up.letter_to(contact) if follow_up else None
            followed |= {first.id} if first else set()
    return plan


def _has_it(contact: Contact, had: Mapping[str, str]) -> str:
    """Return another address at which everybody of a contact has the letter; an empty text if there is none.

    `had`: the names of those who have it, by address key.
    """
    found = ""
    for person in contact.people or (contact,):
        keys = [address.key(mail) for mail in others(person)]
        names = {key: had[key] for key in keys if key in had}
        same = (key for key, name in names.items() if same_person(person, Contact("", name)))
        found = next(same, "")
        if not found:
            return ""
    return found


def _reachable(contact: Contact, refusals: Refusals) -> Contact:
    """Return a contact at the next address, where the mailbox of the first one is known to be dead."""
    tried: set[str] = set()
    found: Contact | None = contact
    while found is not None:
        key = address.key(found.email)
        refused = found is not contact and refusals.of(key, address.domain(found.email)) is not None
        if not refused and not refusals.is_dead(key):
            break
        tried.add(key)
        found = alternates.next_contact(found, tried)
    return found or contact


def render(plan: Plan, contact: Contact) -> Rendered:
    """Return the letter of one contact. Raises LetterError."""
    subject = plan.follow_up.subject(contact) if plan.follow_up else ""
    return plan.letter.render(contact, plan.sender, plan.reply_to, plan.today, subject)


def item(plan: Plan, contact: Contact) -> Item:
    """Render the letter of one contact, and say what identifies it. Raises LetterError."""
    rendered = render(plan, contact)
    digest = message.content_hash(rendered, plan.sender, plan.reply_to, plan.unsubscribe)
    return Item(contact, plan.letter.choose(contact), digest)


def refuse_gaps(letter: Letter, items: Iterable[Item], allow_fallback: bool, allow_stale: bool) -> None:
    """Refuse other languages, the general ask for a special one, old translations. Raises LetterError."""
    going = list(items)
    problems: list[Problem] = []
    hints = []
    if not allow_fallback and (missing := coverage.gaps(letter, ((i.contact, i.choice) for i in going))):
        problems += missing
        hints.append("--allow-fallback")
    if not allow_stale and (old := coverage.outdated(letter, (i.choice for i in going))):
        problems += old
        hints.append("--allow-stale")
    if problems:
        raise LetterError(
            f"not every reader would get a correct letter ({letter.name})",
            f"correct it; or say {' '.join(hints)} to send all the same",
            problems,
        )


def refuse_nothing(plan: Plan) -> None:
    """Refuse a plan without letters. Raises ContactsError."""
    if plan.items:
        return
    reasons = Counter(reason.partition(":")[0] for _, reason in plan.excluded).most_common(_REASONS)
    why = "; ".join(f"{count} × {reason}" for reason, count in reasons) or "it has no rows"
    hint = "`outreach contacts check` shows the list, `outreach plan` who is left out and why"
    raise ContactsError(
        f"nobody in {plan.contacts.file} is left to write to: {why}",
        "the same with --dry-run lists everybody, with the reason" if plan.follow_up else hint,
    )


# Choosing ---------------------------------------------------------------------------------------


def chooser(
    only: Sequence[str], excepted: Sequence[str], contacts: Iterable[Contact], columns: Iterable[str]
) -> Callable[[Contact], bool]:
    """Return the test for --only (same field = or, different fields = and) and --except (any excludes).

    Raises UsageError for a field that is not there and for a value that no contact has.
    """
    known = [*CONTACT_COLUMNS, *[column for column in columns if column not in CONTACT_COLUMNS]]
    people = list(contacts)
    wanted: dict[str, set[str]] = {}
    unwanted: dict[str, set[str]] = {}
    for texts, target in ((only, wanted), (excepted, unwanted)):
        for text in texts:
            name, value = _filter(text, known, people)
            target.setdefault(name, set()).add(value)

    def chosen(contact: Contact) -> bool:
        return all(_value(contact, name) in values for name, values in wanted.items()) and not any(
            _value(contact, name) in values for name, values in unwanted.items()
        )

    return chosen


def _filter(text: str, known: list[str], people: list[Contact]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name = name.strip().lower().replace(" ", "_")
    if not equals:
        raise UsageError(f"{text!r} is no filter", "write it like country=DE")
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"fields: {', '.join(known)}"
        raise UsageError(f"no contact has a field {name!r}", hint)
    value = value.strip()
    if name == "country":
        value = languages.country_code(value) or value
    folded = value.casefold()
    there = {_value(contact, name): _shown(contact, name) for contact in people}
    if folded not in there:
        near = difflib.get_close_matches(folded, [known for known in there if known], 1, cutoff=0.3)
        some = ", ".join(sorted(shown for shown in there.values() if shown)[:8]) or "nothing"
        hint = f"did you mean {name}={there[near[0]]}?" if near else f"{name} is one of {some}"
        raise UsageError(f"no contact has {name}={value}", hint)
    return name, folded


def _shown(contact: Contact, name: str) -> str:
    return str(getattr(contact, name)) if name in CONTACT_COLUMNS else contact.fields.get(name, "")


def _value(contact: Contact, name: str) -> str:
    return _shown(contact, name).casefold()


# Time -------------------------------------------------------------------------------------------


def duration(
    contacts: Iterable[Contact], settings: Settings, ledger: Ledger | None, now: float, begins: float = 0.0
) -> tuple[float, float]:
    """Return when the first and the last of these letters would leave, none before `begins`."""
    found = forecast.simulate(_entries(contacts, begins), *standing(settings, ledger, now))
    return found.first, found.last


def foresee(
    contacts: Iterable[Contact], settings: Settings, ledger: Ledger | None, now: float, begins: float = 0.0
) -> forecast.Forecast:
    """Return when these letters would leave, none before `begins`, and which limit binds."""
    return forecast.make(_entries(contacts, begins), *standing(settings, ledger, now))


def _entries(contacts: Iterable[Contact], begins: float) -> list[Entry]:
    return [
        Entry(number, address.domain(contact.email), begins, places.of(contact))
        for number, contact in enumerate(contacts)
    ]


def standing(settings: Settings, ledger: Ledger | None, now: float) -> tuple[Pace, float, Past]:
    """Return what a forecast asks besides the letters: the pace of a run that begins now, now, and the past.

    The ledger is asked once for each history.
    """
    if ledger is None:
        return settings.pace, now, forecast.NOTHING
    pace = ledger.slowed(settings.account).applied(settings.pace, now)
    of_domain = cache(lambda domain: cache(ledger.history(domain=domain)))
    return pace, now, Past(ledger.recent(settings.account), of_domain, ledger.last_slot())


def _window_days(window: Window, contacts: Iterable[Contact]) -> dict[str, list[str]]:
    """Return on which days something leaves to which countries, where that depends on the country."""
    found: dict[str, set[str]] = {}
    for contact in contacts if window.local else ():
        found.setdefault(window.days(places.of(contact)), set()).add(contact.country)
    return {days: sorted(countries) for days, countries in found.items()}


def totals(items: Iterable[Item]) -> dict[str, dict[str, int]]:
    """Count letters by audience, language of the letter and country."""
    counters: Mapping[str, Counter[str]] = {name: Counter() for name in ("audience", "language", "country")}
    for item in items:
        counters["audience"][item.contact.audience] += 1
        counters["language"][item.choice.language] += 1
        counters["country"][item.contact.country] += 1
    return {f"by_{name}": dict(counter.most_common()) for name, counter in counters.items()}


def document(
    plan: Plan,
    settings: Settings,
    ledger: Ledger | None,
    only: Sequence[str],
    excepted: Sequence[str],
    limit: int | None,
    now: float,
    not_before: float | None = None,
) -> dict[str, Any]:
    """Return the plan as scripts read it (`plan --json`): the whole fingerprint, the chosen letters."""
    chosen = chooser(only, excepted, plan.contacts.contacts, plan.contacts.columns)
    items = [item for item in plan.items if chosen(item.contact)][:limit]
    left = [item.contact for item in items if address.key(item.contact.email) not in plan.done]
    mailing = ledger.mailing(plan.name) if ledger else None
    begins = (mailing.not_before if mailing else 0.0) if not_before is None else not_before
    foreseen = foresee(left, settings, ledger, now, begins)
    return {
        "mailing": plan.name,
        "letter": plan.letter.name,
        "fingerprint": plan.fingerprint,
        "total": len(items),
        "already": len(items) - len(left),
        **totals(items),
        "excluded": [{"email": email, "reason": reason} for email, reason in plan.excluded],
        "fallbacks": [
            {
                "email": item.contact.email,
                "audience": item.contact.audience,
                "wanted": item.choice.wanted_language,
                "language": item.choice.language,
                "file": item.choice.file,
            }
            for item in items
            if not item.choice.complete
        ],
        "stale": [
            {"file": problem.file, "line": problem.line, "problem": problem.text}
            for problem in coverage.outdated(plan.letter, (item.choice for item in items))
        ],
        "not_before": iso(begins) if begins > now else None,
        "window_days": _window_days(settings.window, left),
        "own_clock": sum(not places.of(one).zone for one in left) if settings.window else 0,
        "unused_limits": sorted(
            settings.domain_limits.named.keys() - {address.domain(one.contact.email) for one in plan.items}
        ),
        "starts": iso(foreseen.starts),
        "ends": iso(foreseen.end.at),
        "limit": foreseen.end.limit,
        "ends_without": iso(foreseen.end.without),
        "domains": [
            {
                "domain": one.domain,
                "letters": one.letters,
                "kind": one.kind,
                "limit": one.end.limit,
                "ends": iso(one.end.at),
                "ends_without": iso(one.end.without),
                "most_in_an_hour": one.most_in_an_hour,
                "most_in_a_day": one.most_in_a_day,
            }
            for one in foreseen.domains
        ],
    }
