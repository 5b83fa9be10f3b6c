"""What became of a mailing: from the ledger to numbers, CSV and JSON.

Reads the ledger only. `document` is the one source: the JSON is it, the CSV is its deliveries, the
terminal shows its totals. A cell that a spreadsheet would take for a formula is disarmed.
Known limit: CSV and JSON only.
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from outreach import forecast, places, plan
from outreach.agenda import Entry
from outreach.ledger import Delivery, Ledger, Mailing, is_held
from outreach.model import OPEN_STATES, Mark, State
from outreach.received import Mail, Marked, Received, marked_columns
from outreach.settings import Settings
from outreach.times import iso

COLUMNS = (
    "email",
    "name",
    "audience",
    "organisation",
    "country",
    "language",
    "state",
    "attempts",
    "sent_at",
    "message_id",
    "server_reply",
    "inbound",
    "answer",
    "answer_at",
    "note",
    "link",
    "due",
)


def document(ledger: Ledger, mailing: Mailing) -> dict[str, Any]:
    """Return the delivery report of a mailing, as docs/report.md describes it."""
    deliveries = ledger.deliveries(mailing)
    attempts = ledger.attempts(mailing)
    ended = [at for tries in attempts.values() for at, _ in tries]
    unfinished = any(one.state in (*OPEN_STATES, State.SENDING) for one in deliveries)
    counts = Counter(one.state for one in deliveries)
    received = Received(ledger)
    marks = received.marks(mailing)
    answers = Counter(one.answer for one in marks.values())
    came: dict[int, list[Mail]] = {}
    for mail in received.of_mailing(mailing):
        came.setdefault(mail.delivery_id or 0, []).append(mail)
    return {
        "mailing": mailing.name,
        "letter": mailing.letter,
        "rehearsal": ledger.is_rehearsal,
        "started": iso(min(ended, default=None)),
        "finished": iso(max(ended, default=None)) if not unfinished else None,
        "totals": {"deliveries": len(deliveries)} | {state.value: counts[state] for state in State},
        "by_audience": _by(deliveries, "audience"),
        "by_country": _by(deliveries, "country"),
        "by_language": _by(deliveries, "language"),
        "answers": {str(mark): answers[mark] for mark in Mark if mark is not Mark.NONE},
        "inbound": {str(kind): count for kind, count in received.counts(mailing).items()},
        "answers_read_at": iso(received.last_read()),
        "deliveries": [
            _row(one, len(attempts.get(one.id, ())), came.get(one.id, []), marks.get(one.id))
            for one in deliveries
        ],
        "excluded": [{"email": email, "reason": reason} for email, reason in ledger.excluded(mailing)],
    }


def _by(deliveries: Iterable[Delivery], name: str) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for one in deliveries:
        value = one.language if name == "language" else str(getattr(one.contact, name))
        found.setdefault(value, Counter())[one.state.value] += 1
    ordered = sorted(found.items(), key=lambda pair: (-pair[1].total(), pair[0]))
    return {value: {"total": counts.total(), **counts} for value, counts in ordered}


def _row(one: Delivery, tries: int, mails: Sequence[Mail], marked: Marked | None) -> dict[str, Any]:
    contact = one.contact
    return {
        "email": contact.email,
        "name": contact.name,
        "audience": contact.audience,
        "organisation": contact.organisation,
        "country": contact.country,
        "language": one.language,
        "state": one.state.value,
        "attempts": tries,
        "sent_at": iso(one.finished_at) if one.state is State.SENT else None,
        "message_id": one.message_id,
        "server_reply": one.reply or one.reason,
        "inbound": [{"kind": str(mail.kind), "at": iso(mail.at)} for mail in mails],
        **marked_columns(marked),
    }


def as_csv(report: dict[str, Any]) -> str:
    """Return the deliveries as CSV with a byte-order mark, for spreadsheets."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in report["deliveries"]:
        cells = {**row, "inbound": "; ".join(f"{one['kind']} {one['at']}" for one in row["inbound"])}
        writer.writerow([_disarm(cells[name]) for name in COLUMNS])
    return "\ufeff" + out.getvalue()


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # what would command a terminal


def _disarm(value: object) -> object:
    """Keep a spreadsheet from running a contact's name as a formula."""
    if isinstance(value, str):
        value = _CONTROLS.sub("", value)
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value


def status(ledger: Ledger, mailing: Mailing, settings: Settings, now: float | None = None) -> dict[str, Any]:
    """Return counts by state, pace (mails accepted in the last hour) and expected end."""
    now = time.time() if now is None else now
    mailing = ledger.mailing(mailing.name) or mailing
    counts = ledger.counts(mailing)
    pending = ledger.deliveries(mailing, OPEN_STATES)
    pace, _, past = plan.standing(settings, ledger, now)
    ends = None
    if pending:
        entries = [
            Entry(
                one.id,
                one.domain,
                max(one.next_attempt_at, mailing.not_before),
                places.of(one.contact),
                tried=one.attempts > 0,
            )
            for one in pending
        ]
        ends = forecast.simulate(entries, pace, now, past).last
    slowed = ledger.slowed(settings.account)
    received, held = Received(ledger), ledger.held()
    tried = received.tried_last()
    answers = Counter(one.answer for one in received.marks(mailing).values())
    sent, _ = ledger.sent_since(mailing, now - 3600)
    return {
        "mailing": mailing.name,
        "letter": mailing.letter,
        "rehearsal": ledger.is_rehearsal,
        "counts": {state.value: count for state, count in counts.items()},
        "rate": sent,
        "ends": iso(ends),
        "not_before": iso(mailing.not_before) if pending and mailing.not_before > now else None,
        "slowed": {
            "asked_at": iso(slowed.asked_at),
            "resume_at": iso(pace.resume_at) if pace.resume_at else None,
            "seconds_between": round(slowed.least(now), 3),
            "reply": slowed.words,
        }
        if slowed.least(now) or pace.resume_at
        else None,
        "inbound": {str(kind): count for kind, count in received.counts(mailing).items()},
        "answers": {str(mark): answers[mark] for mark in Mark if mark is not Mark.NONE},
        "answers_read_at": iso(received.last_read()),
        "answers_failed": f"{tried.source}: {tried.error}" if tried and tried.error else None,
        "undecided": received.pending(),
        "held": sum(is_held(one, held) for one in pending),
        "deferred": [
            {"email": one.contact.email, "until": iso(one.next_attempt_at), "reply": one.reply or one.reason}
            for one in pending
            if one.state is State.DEFERRED
        ],
    }
