"""What came back, in the ledger: mails, whose letter they answer, what people did, whom a doubt holds.

Mails, matches and marks are only ever added; the last match of a mail and the last mark of a delivery hold.
A mail is kept once, by a digest of what makes it this mail. Every statement runs in the transaction at hand,
or in one of its own. Raises LedgerError.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from outreach import schema
from outreach.ledger import Delivery, Ledger, Mailing
from outreach.model import Came, Mark, State
from outreach.schema import bookmark as _bookmark
from outreach.schema import delivery as _delivery
from outreach.schema import hold as _hold
from outreach.schema import inbound as _inbound
from outreach.schema import mailing as _mailing
from outreach.schema import mark as _mark
from outreach.schema import match as _match
from outreach.schema import reading as _reading
from outreach.schema import written as _written
from outreach.times import iso

_MOST = 400  # values of one statement


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to be kept."""

    digest: str
    source: str
    place: str
    at: float
    kind: Came
    evidence: str
    language: str
    sender: str
    name: str
    subject: str
    message_id: str
    returns: str | None
    reports: Sequence[Mapping[str, Any]]
    text: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as the ledger has it, with the match that holds."""

    id: int
    source: str
    place: str
    at: float
    kind: Came
    evidence: str
    language: str
    sender: str
    name: str
    subject: str
    message_id: str
    returns: str | None
    reports: Sequence[Mapping[str, Any]]
    text: str
    delivery_id: int | None
    how: str
    reason: str
    acted: str
    pending: bool


@dataclass(frozen=True, slots=True)
class Marked:
    """What a person did for the ask, by a person's word."""

    delivery_id: int
    inbound_id: int | None
    answer: Mark
    note: str
    link: str
    due: str | None
    answered_at: float
    at: float


@dataclass(frozen=True, slots=True)
class Reading:
    """When the mail of a source was last read to its end, when that was last tried, and what went wrong."""

    source: str
    at: float | None
    tried_at: float
    error: str


class Received:
    """The part of a ledger that is about mail that came back."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._run = ledger.execute

    # Reading -----------------------------------------------------------------------------------

    def bookmarks(self, place: str) -> set[str]:
        """Return how far a place was read."""
        query = sa.select(_bookmark.c.name).where(_bookmark.c.place == place)
        return {row.name for row in self._run(query)}

    def add_bookmarks(self, place: str, names: Iterable[str]) -> None:
        """Keep how far a place was read; in the transaction that keeps its mails."""
        rows = [{"place": place, "name": name} for name in names]
        if rows:
            self._run(sa.insert(_bookmark).prefix_with("OR IGNORE"), rows)

    def known(self, digests: Sequence[str]) -> set[str]:
        """Return which of these mails are kept already."""
        found: set[str] = set()
        for start in range(0, len(digests), _MOST):
            some = digests[start : start + _MOST]
            query = sa.select(_inbound.c.digest).where(_inbound.c.digest.in_(some))
            found |= {row.digest for row in self._run(query)}
        return found

    def add(self, mail: NewMail, now: float) -> int | None:
        """Keep a mail; return its number, or None when it is kept already."""
        values = {name: getattr(mail, name) for name in NewMail.__slots__}
        values |= {
            "read_at": now,
            "kind": mail.kind.value,
            "reports": json.dumps(list(mail.reports), ensure_ascii=False),
            "raw": zlib.compress(mail.raw),
        }
        done = self._run(sa.insert(_inbound).prefix_with("OR IGNORE").values(**values))
        if done.rowcount != 1:
            return None
        (number,) = done.inserted_primary_key or (0,)
        return int(number)

    def add_written(self, message_id: str, in_reply_to: str, at: float) -> None:
        """Keep what lies in a Sent folder."""
        values = {"message_id": message_id, "in_reply_to": in_reply_to, "at": at}
        self._run(sa.insert(_written).prefix_with("OR IGNORE").values(**values))

    def was_written(self, message_ids: Sequence[str]) -> set[str]:
        """Return which of these lie in a Sent folder."""
        found: set[str] = set()
        for start in range(0, len(message_ids), _MOST):
            some = list(message_ids[start : start + _MOST])
            query = sa.select(_written.c.message_id).where(_written.c.message_id.in_(some))
            found |= {row.message_id for row in self._run(query)}
        return found

    def begin_reading(self, source: str, now: float, error: str = "") -> None:
        """Note that a source is being read, or (`error`) why it could not be."""
        before = self._run(sa.select(_reading.c.at).where(_reading.c.source == source)).scalar()
        values = {"source": source, "at": before, "tried_at": now, "error": error}
        self._run(sa.insert(_reading).prefix_with("OR REPLACE").values(**values))

    def end_reading(self, source: str, now: float) -> None:
        """Note that all mail of a source was read."""
        values = {"source": source, "at": now, "tried_at": now, "error": ""}
        self._run(sa.insert(_reading).prefix_with("OR REPLACE").values(**values))

    def readings(self) -> list[Reading]:
        """Return what is known of each source, the one last read first."""
        rows = self._run(sa.select(_reading).order_by(sa.func.coalesce(_reading.c.at, 0.0).desc()))
        return [Reading(row.source, row.at, row.tried_at, row.error) for row in rows]

    def tried_last(self) -> Reading | None:
        """Return the source that was read last, or was to be."""
        return max(self.readings(), key=lambda one: one.tried_at, default=None)

    def last_read(self, source: str = "") -> float | None:
        """Return when answers were last read to their end, of a source or of whichever."""
        query = sa.select(sa.func.max(_reading.c.at))
        query = query.where(_reading.c.source == source) if source else query
        found: float | None = self._run(query).scalar()
        return found

    # Mails and matches -------------------------------------------------------------------------

    def add_match(
        self,
        mail: int,
        delivery: int | None,
        how: str,
        reason: str,
        acted: str,
        pending: bool,
        now: float,
    ) -> None:
        """Note whose letter a mail answers, how that is known, and what followed."""
        values = {
            "inbound_id": mail,
            "delivery_id": delivery,
            "how": how,
            "reason": reason,
            "acted": acted,
            "pending": int(pending),
            "at": now,
        }
        self._run(sa.insert(_match).values(**values))

    def mails(
        self,
        kinds: Sequence[Came] = (),
        unmatched: bool = False,
        source: str | None = None,
        since: int = 0,
        deliveries: Sequence[int] | None = None,
    ) -> list[Mail]:
        """Return mails, the oldest first; `unmatched`: those that a person is to decide on."""
        where: list[sa.ColumnElement[bool]] = [_inbound.c.id > since]
        if kinds:
            where.append(_inbound.c.kind.in_([kind.value for kind in kinds]))
        if unmatched:
            where.append(sa.or_(_match.c.pending == 1, _match.c.how == "nobody"))
        if source:
            where.append(_inbound.c.source.contains(source, autoescape=True))
        if deliveries is None:
            return list(self._mails(where))
        found: list[Mail] = []
        for start in range(0, len(deliveries), _MOST):
            found += self._mails([*where, _match.c.delivery_id.in_(deliveries[start : start + _MOST])])
        return sorted(found, key=lambda one: one.id)

    def mail(self, number: int) -> Mail | None:
        """Return one mail."""
        return next(self._mails([_inbound.c.id == number]), None)

    def of_mailing(self, mailing: Mailing) -> list[Mail]:
        """Return the mails that answer letters of a mailing, the oldest first."""
        mine = sa.select(_delivery.c.id).where(_delivery.c.mailing_id == mailing.id)
        return list(self._mails([_match.c.delivery_id.in_(mine)]))

    def raw(self, number: int) -> bytes:
        """Return a mail as it came."""
        data: bytes = self._run(sa.select(_inbound.c.raw).where(_inbound.c.id == number)).scalar_one()
        return zlib.decompress(data)

    def _mails(self, where: Sequence[sa.ColumnElement[bool]]) -> Iterator[Mail]:
        columns = [
            *(_inbound.c[name] for name in Mail.__slots__ if name in _inbound.c),
            *(_match.c[name] for name in ("delivery_id", "how", "reason", "acted", "pending")),
        ]
        query = (
            sa.select(*columns)
            .select_from(_inbound)
            .join(_match, _holds())
            .where(*where)
            .order_by(_inbound.c.id)
        )
        for row in self._run(query).mappings():
            values = dict(row)
            values |= {
                "kind": Came(row["kind"]),
                "reports": json.loads(row["reports"]),
                "pending": bool(row["pending"]),
            }
            yield Mail(**values)

    def counts(self, mailing: Mailing) -> dict[Came, int]:
        """Return how many mails of each kind answer letters of a mailing; every kind is there."""
        query = (
            sa.select(_inbound.c.kind, sa.func.count())
            .select_from(_inbound)
            .join(_match, _holds())
            .join(_delivery, _delivery.c.id == _match.c.delivery_id)
            .where(_delivery.c.mailing_id == mailing.id)
            .group_by(_inbound.c.kind)
        )
        found = dict(map(tuple, self._run(query)))
        return {kind: found.get(kind.value, 0) for kind in Came}

    def last(self) -> int:
        """Return the number of the newest mail; 0 when there is none."""
        return int(self._run(sa.select(sa.func.max(_inbound.c.id))).scalar() or 0)

    def pending(self) -> int:
        """Return how many mails wait for a person's decision."""
        query = (
            sa.select(sa.func.count())
            .select_from(_inbound)
            .join(_match, _holds())
            .where(_match.c.pending == 1)
        )
        return int(self._run(query).scalar_one())

    def complaints(self, mailing: Mailing, since: float) -> int:
        """Return how many people have complained about letters of a mailing since then."""
        query = (
            sa.select(sa.func.count(sa.distinct(_match.c.delivery_id)))
            .select_from(_inbound)
            .join(_match, _holds())
            .join(_delivery, _delivery.c.id == _match.c.delivery_id)
            .where(
                _inbound.c.kind == Came.COMPLAINT.value,
                _inbound.c.read_at >= since,
                _match.c.pending == 0,
                _delivery.c.mailing_id == mailing.id,
            )
        )
        return int(self._run(query).scalar_one())

    # Deliveries, as answers look for them ------------------------------------------------------

    def by_token(self, token: str) -> Delivery | None:
        """Return the delivery whose Message-ID has this token."""
        # The characters of a token sort between "<" and "{"; the index has the Message-IDs.
        start, end = f"<{token}@", f"<{token}A"
        where = sa.and_(_delivery.c.message_id >= start, _delivery.c.message_id < end)
        return next(iter(self._ledger.find_deliveries(where)), None)

    def by_address(self, key: str) -> list[Delivery]:
        """Return the deliveries to an address key, the newest first."""
        return list(reversed(self._ledger.find_deliveries(_delivery.c.address == key)))

    def by_domain(self, domain: str, most: int) -> list[Delivery]:
        """Return some of the deliveries to a mail domain that may have arrived, the newest first."""
        arrived = _delivery.c.state.in_([State.SENT.value, State.UNKNOWN.value, State.SENDING.value])
        where = sa.and_(_delivery.c.domain == domain, arrived)
        return self._ledger.find_deliveries(where, newest=most)

    def with_further_addresses(self) -> list[Delivery]:
        """Return the deliveries to people of whom more than one address is known."""
        one_only = _delivery.c.contact.contains('"alternates": []', autoescape=True)
        several = sa.or_(~one_only, _delivery.c.contact.contains('"people"', autoescape=True))
        return self._ledger.find_deliveries(several)

    # Holds -------------------------------------------------------------------------------------

    def hold(self, address: str, mail: int) -> None:
        """Let nothing leave for an address until a person has decided on a mail."""
        values = {"address": address, "inbound_id": mail}
        self._run(sa.insert(_hold).prefix_with("OR IGNORE").values(**values))

    def release(self, mail: int) -> list[str]:
        """Take back what a mail holds; return the address keys."""
        held = [row.address for row in self._run(sa.select(_hold).where(_hold.c.inbound_id == mail))]
        self._run(sa.delete(_hold).where(_hold.c.inbound_id == mail))
        return held

    # Marks -------------------------------------------------------------------------------------

    def add_mark(self, marked: Marked) -> None:
        """Note what a person did for the ask."""
        values = {name: getattr(marked, name) for name in Marked.__slots__} | {"answer": marked.answer.value}
        self._run(sa.insert(_mark).values(**values))

    def marks(self, mailing: Mailing | None = None) -> dict[int, Marked]:
        """Return the mark that holds, by delivery, of a mailing or of all."""
        newest = sa.select(sa.func.max(_mark.c.id)).group_by(_mark.c.delivery_id)
        query = sa.select(_mark).where(_mark.c.id.in_(newest))
        if mailing is not None:
            mine = sa.select(_delivery.c.id).where(_delivery.c.mailing_id == mailing.id)
            query = query.where(_mark.c.delivery_id.in_(mine))
        found = {}
        for row in self._run(query.where(_mark.c.answer != Mark.NONE.value)).mappings():
            values = {name: row[name] for name in Marked.__slots__}
            found[row["delivery_id"]] = Marked(**values | {"answer": Mark(row["answer"])})
        return found

    def marks_of(self, deliveries: Sequence[int]) -> list[Marked]:
        """Return every mark of some deliveries, the oldest first."""
        query = sa.select(_mark).where(_mark.c.delivery_id.in_(deliveries)).order_by(_mark.c.id)
        found = []
        for row in self._run(query).mappings():
            values = {name: row[name] for name in Marked.__slots__}
            found.append(Marked(**values | {"answer": Mark(row["answer"])}))
        return found

    def answered(self) -> set[str]:
        """Return the Message-IDs that a mail in a Sent folder answers."""
        rows = self._run(sa.select(_written.c.in_reply_to).where(_written.c.in_reply_to != ""))
        return {row.in_reply_to for row in rows}

    def mailing_names(self) -> dict[int, str]:
        """Return the names of all mailings by number."""
        return {row.id: row.name for row in self._run(sa.select(_mailing.c.id, _mailing.c.name))}


def _holds() -> sa.ColumnElement[bool]:
    """Join a mail with the match that holds: its last one."""
    later = schema.match.alias()
    newer = sa.select(sa.func.max(later.c.id)).where(later.c.inbound_id == _inbound.c.id).scalar_subquery()
    return sa.and_(_match.c.inbound_id == _inbound.c.id, _match.c.id == newer)


def marked_columns(marked: Marked | None) -> dict[str, Any]:
    """Return the columns that a mark fills; empty ones when there is none."""
    if marked is None:
        return dict.fromkeys(("answer", "answer_at", "note", "link", "due"))
    return {
        "answer": str(marked.answer),
        "answer_at": iso(marked.answered_at),
        "note": marked.note or None,
        "link": marked.link or None,
        "due": marked.due,
    }
