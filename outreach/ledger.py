"""The one durable record: mailings, deliveries, attempts, suppressions, pace.

SQLAlchemy Core on SQLite (WAL, synchronous=EXTRA: an acknowledged commit survives a power cut). Only this
module and schema.py know SQL. A claim is a lease on a `planned` row; the intent (`sending`) is committed
before the final dot can leave. Whose leases are dead, locks.py knows.
Raises LedgerError: 65 when the file is no ledger of ours, 75 when it cannot be written now.
Known limit: SQLite only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import itertools
import json
import logging
import os
import secrets
import sqlite3
import time
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from outreach import address, schema
from outreach.errors import Exit, LedgerError
from outreach.locks import Locks
from outreach.model import (
    ANSWERS,
    HELD_STATES,
    OPEN_STATES,
    Came,
    Contact,
    Identity,
    Mark,
    Outcome,
    Scope,
    State,
    Verdict,
)
from outreach.pace import Slowed
from outreach.schema import about as _about
from outreach.schema import attempt as _attempt
from outreach.schema import delivery as _delivery
from outreach.schema import excluded as _excluded
from outreach.schema import file as _file
from outreach.schema import hold as _hold
from outreach.schema import inbound as _inbound
from outreach.schema import mailing as _mailing
from outreach.schema import mark as _mark
from outreach.schema import match as _match
from outreach.schema import metadata as _metadata
from outreach.schema import slot as _slot
from outreach.schema import slowed as _slowed
from outreach.schema import suppression as _suppression
from outreach.schema import version as _version
from outreach.throttle import LAST, History, Slot
from outreach.times import day, iso, span, start_of

_DAY = 86400
_MOST_VALUES = 500  # that one statement asks for
_SHARE = "share:"  # what the name of a shared key begins with in `about`; its check digits follow
_MAY_PASS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS)
_CLOCK = (
    "clock"  # in `about`: start of the machine, the time of day and its steady seconds when last compared
)
_REHEARSAL = "rehearsal"  # in `about`: nothing of it left the machine
_MOST_SET = 15 * 3600.0  # seconds that a clock is set by mistake; time zones differ by 14 hours from UTC
_UNDER_WAY = 200  # transactions at once, of all runs: more than there can be connections
_CLOCKS_DIFFER = 5.0  # seconds that are no reason to doubt the clock

logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())  # what fails is raised; nothing is logged


@dataclass(frozen=True, slots=True)
class Mailing:
    """One letter going once to a list."""

    id: int
    name: str
    letter: str
    today: str
    created_at: float
    not_before: float = 0.0  # nothing of it leaves before
    not_before_said: str = ""  # how that was written
    follows_id: int | None = None  # the mailing that it follows up


@dataclass(frozen=True, slots=True)
class Frozen:
    """Everything the messages of one version are made of, besides the contact."""

    id: int
    fingerprint: str
    sources: Mapping[str, str]
    language: str
    sender: Identity
    reply_to: Identity
    unsubscribe: str
    files: Mapping[str, str]  # that travel with the letter: name → digest


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery that a plan wants to exist."""

    contact: Contact
    language: str
    content_hash: str
    message_id: str
    follows_id: int | None = None  # the delivery whose silence it follows up
    instead_of_id: int | None = None  # the delivery that came back from a dead mailbox of the same person


@dataclass(frozen=True, slots=True)
class Delivery:
    """Mailing × recipient, as the ledger has it."""

    id: int
    version_id: int
    address: str
    domain: str
    contact: Contact
    language: str
    content_hash: str
    message_id: str
    state: State
    lease: str | None
    attempts: int
    first_attempt_at: float | None
    next_attempt_at: float
    finished_at: float | None
    reply: str
    reason: str
    mailing_id: int
    follows_id: int | None = None
    instead_of_id: int | None = None


@dataclass(frozen=True, slots=True)
class Suppression:
    """A standing refusal to write to an address key, to everybody at `@domain`, or to what has this hash."""

    value: str
    reason: str
    source: str
    at: float
    until: float | None = None  # None: for good
    dead: bool = False  # nobody refused: the mailbox does not exist

    def holds(self, now: float) -> bool:
        """Tell whether it is still to be obeyed."""
        return self.until is None or self.until > now


class Refusals:
    """Whom nobody writes to: the one look-up of plan, claim, intent, test mail and doubt."""

    def __init__(
        self,
        shared: Mapping[str, bytes],
        find: Callable[[Sequence[str]], Mapping[str, tuple[str, bool]]],
    ) -> None:
        """Take shared keys by check digits, and what finds values: the reason, and whether one is dead."""
        self._shared, self._find = shared, find

    def is_dead(self, key: str) -> bool:
        """Tell whether nobody refuses, but the mailbox of an address does not exist."""
        found = self._find(_forms(key, self._shared))
        return bool(found) and all(dead for _, dead in found.values())

    def of(self, key: str, domain: str, further: Iterable[str] = ()) -> str | None:
        """Return why nobody writes to a person with this address key, or None.

        Another address of theirs counts when it was refused itself: that is the person's word. It does not
        when only its mailbox is dead, or its domain is refused.
        """
        own = [*_forms(key, self._shared), *_forms(f"@{domain}", self._shared)]
        theirs = {form: mail for mail in further for form in _forms(address.key(mail), self._shared)}
        found = self._find([*own, *theirs])
        for form in own:
            if form in found:
                return found[form][0]
        for form, mail in theirs.items():
            if form in found and not found[form][1]:
                return f"{mail}, another address of theirs: {found[form][0]}"
        return None


def others(contact: Contact) -> list[str]:
    """Return the further addresses of everybody whom the letter to a contact greets."""
    further = [*contact.alternates, *(mail for one in contact.people for mail in one.alternates)]
    return list(dict.fromkeys(further))


def same_person(one: Contact, other: Contact) -> bool:
    """Tell whether two contacts that share an address are one person, as far as their names say so."""
    return not one.name or not other.name or one.name.casefold() == other.name.casefold()


def is_held(one: Delivery, held: Container[str]) -> bool:
    """Tell whether a letter waits for a person's decision, by the address keys that are held."""
    return any(key in held for key in (one.address, *(address.key(mail) for mail in others(one.contact))))


def hashed(value: str, check: str, key: bytes) -> str:
    """Return an address key or `@domain` as a refusal that names nobody (suppressions.py)."""
    return f"hmac:{check}:{hmac.digest(key, value.encode(), 'sha256').hex()}"


def _forms(value: str, shared: Mapping[str, bytes]) -> list[str]:
    """Return everything that a refusal of this value may be written as."""
    return [value, *(hashed(value, check, key) for check, key in shared.items())]


class EmptyLedgerError(LedgerError):
    """A ledger file that nothing was written to: another process is about to, or died before it did."""


class Ledger:
    """An open ledger. One connection, one thread; close it when done."""

    def __init__(self, path: Path, create: bool = False) -> None:
        """Open the ledger file: to read it, or (`create`) to make it if need be and write.

        Raises LedgerError when it is missing, not ours, or newer than this program.
        """
        self.path = path
        if not path.exists():
            if not create:
                raise LedgerError(
                    f"there is no ledger {path}",
                    "`outreach send` makes it; that of a rehearsal: --ledger sqlite:///rehearsal/rehearsal.db",
                )
            _create_private(path)
        engine = sa.create_engine(
            "sqlite://", creator=self._connect, poolclass=sa.pool.StaticPool, isolation_level=None
        )
        sa.event.listen(engine, "begin", _begin)
        self._engine = engine
        self._locks = Locks(path)
        self._inode = path.stat().st_ino
        if path.stat().st_nlink > 1:
            raise LedgerError(
                f"the ledger {path} has a second name (a hard link)",
                "two programs could use it without knowing of each other; remove one of the names",
            )
        with self._guard():
            # Whoever writes begins at once: a transaction that reads first would fail when another writes.
            self._connection = engine.connect().execution_options(immediate=create)
            self._raw: sqlite3.Connection = self._connection.connection.dbapi_connection  # type: ignore[assignment]
            self._prepare(create)

    def _connect(self) -> sqlite3.Connection:
        raw = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        raw.execute("PRAGMA busy_timeout = 30000")
        for _ in range(100):  # two first starts at once: this one does not wait by itself
            try:
                raw.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                time.sleep(0.05)
        # As FULL is with WAL. Where WAL cannot be had, the removal of the journal is made durable as well:
        # otherwise a power cut could roll back an intent whose mail has left.
        raw.execute("PRAGMA synchronous = EXTRA")
        raw.execute("PRAGMA foreign_keys = ON")
        return raw

    def _prepare(self, create: bool) -> None:
        version = schema.VERSION
        with self._connection.begin():
            if sa.inspect(self._connection).has_table("about"):
                version = self._schema()
            elif sa.inspect(self._connection).get_table_names():
                raise LedgerError(f"{self.path} is a database, but no ledger of outreach")
            elif create:
                _metadata.create_all(self._connection)
                rows = [
                    {"name": "schema", "value": str(schema.VERSION).encode()},
                    {"name": "key", "value": secrets.token_bytes(32)},
                ]
                self._connection.execute(sa.insert(_about), rows)
            else:
                raise EmptyLedgerError(
                    f"{self.path} is empty: nothing was sent yet", "outreach send --dry-run"
                )
        if version != schema.VERSION:
            self._upgrade(version)
        with self._connection.begin():
            self.key: bytes = self._about("key") or b""

    def _schema(self) -> int:
        text = self._about("schema") or b""
        return int(text) if text.isdigit() else 0

    def _upgrade(self, version: int) -> None:
        """Bring an older ledger up to date, step by step and all at once, behind a copy of what it was."""
        if not 1 <= version < schema.VERSION:
            raise LedgerError(
                f"the ledger {self.path} has version {version}, this program knows {schema.VERSION}",
                "update outreach, or use the version that wrote the ledger",
            )
        if any(not self._locks.is_dead(run) for run in self._locks.others()):
            raise LedgerError(
                f"the ledger {self.path} is in use by an older version of this program",
                "wait until that has ended, or stop it; then run again",
                exit_code=Exit.STOPPED,
            )
        self._copy(self.path.with_name(f"{self.path.name}.version-{version}"))
        connection = self._connection.execution_options(immediate=True)
        with connection.begin():
            # Another process may have been quicker.
            for number in range(self._schema() + 1, schema.VERSION + 1):
                schema.MIGRATIONS[number](connection)
                row = sa.update(_about).where(_about.c.name == "schema").values(value=str(number).encode())
                connection.execute(row)

    def _copy(self, to: Path) -> None:
        """Copy the ledger as it is on the disk; the copy is there whole, or not at all."""
        part = to.with_name(f"{to.name}.{secrets.token_hex(4)}")
        _create_private(part)
        try:
            with contextlib.closing(sqlite3.connect(part)) as copy:
                self._raw.backup(copy)
            part.replace(to)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _about(self, name: str) -> bytes | None:
        query = sa.select(_about.c.value).where(_about.c.name == name)
        found: bytes | None = self._connection.execute(query).scalar()
        return found

    @property
    def is_rehearsal(self) -> bool:
        """Tell whether everything in this ledger was played."""
        query = sa.select(_about.c.value).where(_about.c.name == _REHEARSAL)
        return self.execute(query).scalar() is not None

    def call_rehearsal(self) -> None:
        """Say that everything in this ledger is played."""
        self.execute(sa.insert(_about).prefix_with("OR IGNORE").values(name=_REHEARSAL, value=b"1"))

    def close(self) -> None:
        """End the run, if there is one, and close the file."""
        self.end_run()
        with contextlib.suppress(sa.exc.DBAPIError):
            self._connection.close()
            self._engine.dispose()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, sqlite3.Error, OSError) as error:
            words = str(getattr(error, "orig", None) or error)
            if "malformed" in words or "not a database" in words:
                raise LedgerError(
                    f"the ledger {self.path} is damaged: {words}", "put back a copy; do not send without it"
                ) from error
            raise LedgerError(
                f"the ledger {self.path} cannot be used now: {words}",
                "is the disk full, or the folder read-only? nothing more was sent; run again after that",
                exit_code=Exit.STOPPED,
            ) from error

    def _still_there(self) -> None:
        """Stop when the file was removed or replaced: what is written now would be read by nobody."""
        try:
            there = self.path.stat().st_ino == self._inode
        except OSError:
            there = False
        if self._locks.lost:
            raise LedgerError(
                f"the lock file of this run beside {self.path} was removed",
                "others may have taken over what it was sending; nothing more is sent, run again",
                exit_code=Exit.STOPPED,
            )
        if not there:
            raise LedgerError(
                f"the ledger {self.path} was removed or replaced while this program used it",
                "put it back before anything else is sent; without it people would be mailed twice",
                exit_code=Exit.STOPPED,
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together, or not at all."""
        self._still_there()
        with self._guard(), self._connection.begin():
            yield

    def execute(self, statement: sa.Executable, rows: Any = None) -> sa.CursorResult[Any]:
        """Run one statement, in the transaction at hand or in one of its own."""
        if self._connection.in_transaction():
            return self._connection.execute(statement, rows)
        with self._guard(), self._connection.begin():
            result = self._connection.execute(statement, rows)
            return result.freeze()() if result.returns_rows else result  # type: ignore[return-value]

    def _fast(self, statement: _Statement, **values: Any) -> sqlite3.Cursor:
        """Run a prepared statement, in the transaction at hand."""
        with self._guard():
            return self._raw.execute(statement.sql, statement.values(values))

    # Mailings --------------------------------------------------------------------------------

    def mailings(self) -> list[Mailing]:
        """Return all mailings, the newest first."""
        rows = self.execute(sa.select(_mailing).order_by(_mailing.c.id.desc())).mappings()
        return [Mailing(**row) for row in rows]

    def mailing(self, name: str) -> Mailing | None:
        """Return a mailing by its name."""
        row = self.execute(sa.select(_mailing).where(_mailing.c.name == name)).mappings().first()
        return Mailing(**row) if row else None

    def mailing_of(self, number: int) -> Mailing:
        """Return a mailing by its number."""
        row = self.execute(sa.select(_mailing).where(_mailing.c.id == number)).mappings().one()
        return Mailing(**row)

    def create_mailing(
        self, name: str, letter: str, today: str, now: float, follows_id: int | None = None
    ) -> Mailing:
        """Create a mailing and return it."""
        values = {"name": name, "letter": letter, "today": today, "created_at": now, "follows_id": follows_id}
        result = self.execute(sa.insert(_mailing).values(**values))
        (number,) = result.inserted_primary_key or (0,)
        return Mailing(int(number), name, letter, today, now, follows_id=follows_id)

    def add_version(
        self,
        mailing: Mailing,
        fingerprint: str,
        sources: Mapping[str, str],
        files: Mapping[str, bytes],
        language: str,
        sender: Identity,
        reply_to: Identity,
        unsubscribe: str,
        now: float,
    ) -> int:
        """Freeze what messages are made of; return the version's number. The same again is kept once."""
        frozen = {
            "sources": dict(sources),
            "files": {name: self._add_file(data) for name, data in files.items()},
            "language": language,
            "sender": asdict(sender),
            "reply_to": asdict(reply_to),
            "unsubscribe": unsubscribe,
        }
        data = zlib.compress(json.dumps(frozen).encode())
        same = sa.select(_version.c.id).where(
            _version.c.mailing_id == mailing.id,
            _version.c.fingerprint == fingerprint,
            _version.c.frozen == data,
        )
        if (known := self.execute(same).scalar()) is not None:
            return int(known)
        values = {"mailing_id": mailing.id, "fingerprint": fingerprint, "frozen": data, "created_at": now}
        (number,) = self.execute(sa.insert(_version).values(**values)).inserted_primary_key or (0,)
        return int(number)

    def versions(self, mailing: Mailing) -> dict[int, Frozen]:
        """Return the frozen versions of a mailing by number."""
        query = sa.select(_version).where(_version.c.mailing_id == mailing.id)
        return {row.id: _to_frozen(row) for row in self.execute(query)}

    def version(self, number: int) -> Frozen:
        """Return one frozen version."""
        return _to_frozen(self.execute(sa.select(_version).where(_version.c.id == number)).one())

    def _add_file(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if self.execute(sa.select(_file.c.digest).where(_file.c.digest == digest)).scalar() is None:
            self.execute(sa.insert(_file).values(digest=digest, data=data))
        return digest

    def file(self, digest: str) -> bytes:
        """Return a file that travels with a letter."""
        data: bytes = self.execute(sa.select(_file.c.data).where(_file.c.digest == digest)).scalar_one()
        return data

    def fingerprints(self, mailing: Mailing) -> set[str]:
        """Return the fingerprints under which the deliveries that may still leave were planned."""
        query = (
            sa.select(_version.c.fingerprint)
            .join(_delivery, _delivery.c.version_id == _version.c.id)
            .where(
                _delivery.c.mailing_id == mailing.id,
                _delivery.c.state.in_([state.value for state in OPEN_STATES]),
            )
            .distinct()
        )
        return {row.fingerprint for row in self.execute(query)}

    # Deliveries ------------------------------------------------------------------------------

    def add_deliveries(self, mailing: Mailing, version: int, new: Iterable[NewDelivery]) -> None:
        """Record deliveries as planned."""
        rows = [
            {
                "mailing_id": mailing.id,
                "version_id": version,
                "address": address.key(one.contact.email),
                "domain": address.domain(one.contact.email),
                "contact": _contact_to_json(one.contact),
                "language": one.language,
                "content_hash": one.content_hash,
                "message_id": one.message_id,
                "state": State.PLANNED.value,
                "follows_id": one.follows_id,
                "instead_of_id": one.instead_of_id,
            }
            for one in new
        ]
        if rows:
            self.execute(sa.insert(_delivery), rows)

    def revise(self, mailing: Mailing, version: int, new: Iterable[NewDelivery]) -> int:
        """Give deliveries that are still open, and that nobody is sending, another version; count them."""
        done = 0
        for one in new:
            change = sa.update(_delivery).where(
                _delivery.c.mailing_id == mailing.id,
                _delivery.c.address == address.key(one.contact.email),
                _delivery.c.state.in_([state.value for state in OPEN_STATES]),
                _delivery.c.lease.is_(None),
            )
            values = {
                "version_id": version,
                "contact": _contact_to_json(one.contact),
                "language": one.language,
                "content_hash": one.content_hash,
            }
            done += self.execute(change.values(**values)).rowcount
        return done

    def cancel(self, mailing: Mailing, addresses: Iterable[str] | None, now: float) -> int:
        """Take deliveries out that have not left, by address key or (None) all; count them."""
        where = [
            _delivery.c.mailing_id == mailing.id,
            _delivery.c.state.in_([state.value for state in OPEN_STATES]),
            _delivery.c.lease.is_(None),
        ]
        values = {"state": State.CANCELLED.value, "reason": "cancelled by hand", "finished_at": now}
        if addresses is None:
            return self.execute(sa.update(_delivery).where(*where).values(**values)).rowcount
        return sum(
            self.execute(
                sa.update(_delivery).where(*where, _delivery.c.address == one).values(**values)
            ).rowcount
            for one in addresses
        )

    def settle(
        self,
        mailing: Mailing,
        addresses: Iterable[str],
        arrived: bool,
        reason: str = "was in doubt; settled by hand: it arrived",
    ) -> int:
        """Settle deliveries in doubt: they were accepted, or are to be sent once more. Count them."""
        if arrived:
            values: dict[str, Any] = {"state": State.SENT.value, "reason": reason}
        else:
            values = _anew("was in doubt; sent again by hand")
        return self._change(mailing, addresses, State.UNKNOWN, values)

    def reopen(self, mailing: Mailing, addresses: Iterable[str]) -> int:
        """Give failed deliveries another try; count them."""
        return self._change(mailing, addresses, State.FAILED, _anew("failed before; tried again by hand"))

    def _change(
        self, mailing: Mailing, addresses: Iterable[str], state: State, values: Mapping[str, Any]
    ) -> int:
        change = sa.update(_delivery).where(
            _delivery.c.mailing_id == mailing.id,
            _delivery.c.state == state.value,
            _delivery.c.lease.is_(None),
        )
        return sum(
            self.execute(change.where(_delivery.c.address == one).values(**values)).rowcount
            for one in addresses
        )

    def add_excluded(self, mailing: Mailing, excluded: Iterable[tuple[str, str]], now: float) -> None:
        """Record who gets no letter and why, each (email, reason) once."""
        rows = [
            {"mailing_id": mailing.id, "email": email, "reason": reason, "at": now}
            for email, reason in excluded
        ]
        if rows:
            self.execute(sa.insert(_excluded).prefix_with("OR IGNORE"), rows)

    def excluded(self, mailing: Mailing) -> list[tuple[str, str]]:
        """Return who gets no letter and why."""
        query = sa.select(_excluded.c.email, _excluded.c.reason).where(_excluded.c.mailing_id == mailing.id)
        return [(row.email, row.reason) for row in self.execute(query.order_by(_excluded.c.id))]

    def deliveries(self, mailing: Mailing, states: Sequence[State] | None = None) -> list[Delivery]:
        """Return the deliveries of a mailing in the order they were planned."""
        query = sa.select(_delivery).where(_delivery.c.mailing_id == mailing.id).order_by(_delivery.c.id)
        if states is not None:
            query = query.where(_delivery.c.state.in_([state.value for state in states]))
        return [_to_delivery(*tuple(row)) for row in self.execute(query)]

    def deliveries_to(self, mailing: Mailing, keys: Sequence[str]) -> list[Delivery]:
        """Return the deliveries of a mailing to some address keys."""
        return self.find_deliveries(
            sa.and_(_delivery.c.mailing_id == mailing.id, _delivery.c.address.in_(keys))
        )

    def open_to(self, key: str) -> list[Delivery]:
        """Return the deliveries to an address key that may still leave and that nobody is sending."""
        may_leave = _delivery.c.state.in_([state.value for state in OPEN_STATES])
        return self.find_deliveries(
            sa.and_(_delivery.c.address == key, may_leave, _delivery.c.lease.is_(None))
        )

    def has_letter(self, mailing: Mailing, keys: Sequence[str], besides: Iterable[int] = ()) -> bool:
        """Tell whether one of these addresses has the letter of a mailing, or may get it, by whatever one."""
        query = (
            sa.select(_delivery.c.id)
            .join(_mailing, _mailing.c.id == _delivery.c.mailing_id)
            .where(
                _mailing.c.letter == mailing.letter,
                _delivery.c.address.in_(keys),
                _delivery.c.state.in_([state.value for state in HELD_STATES]),
                _delivery.c.id.not_in(list(besides)),
                _delivery.c.id.not_in(_CAME_BACK),
            )
        )
        return self.execute(query.limit(1)).scalar() is not None

    def related(self, one: Delivery) -> set[int]:
        """Return the letters of one person that belong together: follow-ups, and those to other addresses."""
        found, ahead = {one.id}, [one.id]
        while ahead:
            number = ahead.pop()
            near = [value for value in self._fast(_PARENTS, number=number).fetchone() if value is not None]
            near += [row[0] for row in self._fast(_CHILDREN, number=number)]
            ahead += [value for value in near if value not in found]
            found |= set(near)
        return found

    def stands_in(self, one: Delivery) -> Delivery:
        """Return the delivery that stands in for one whose mailbox is dead, at last; else that one."""
        seen = {one.id}
        while row := self._fast(_STANDS_IN, number=one.id).fetchone():
            if row[0] in seen:
                break
            seen.add(row[0])
            one = self.delivery(row[0])
        return one

    def find_deliveries(self, where: sa.ColumnElement[bool], newest: int | None = None) -> list[Delivery]:
        """Return deliveries of whatever mailing, in the order they were planned; or the `newest` so many."""
        order = _delivery.c.id if newest is None else _delivery.c.id.desc()
        query = sa.select(_delivery).where(where).order_by(order).limit(newest)
        return [_to_delivery(*tuple(row)) for row in self.execute(query)]

    def delivery(self, number: int) -> Delivery:
        """Return one delivery."""
        return _to_delivery(*self._fast(_DELIVERY, number=number).fetchone())

    def counts(self, mailing: Mailing) -> dict[State, int]:
        """Return how many deliveries are in each state; every state is there."""
        query = (
            sa.select(_delivery.c.state, sa.func.count())
            .where(_delivery.c.mailing_id == mailing.id)
            .group_by(_delivery.c.state)
        )
        found = dict(map(tuple, self.execute(query)))
        return {state: found.get(state.value, 0) for state in State}

    def came_back(self, mailing: Mailing) -> set[int]:
        """Return the deliveries of a mailing that came back from a mailbox that does not exist."""
        mine = sa.select(_delivery.c.id).where(
            _delivery.c.mailing_id == mailing.id, _delivery.c.id.in_(_CAME_BACK)
        )
        return {row.id for row in self.execute(mine)}

    def holders(self, letter: str, besides: str) -> dict[str, tuple[str, str]]:
        """Return who has this letter, or may get it, under another mailing.

        By address key: the name of the mailing, and of the person. What came back from a dead mailbox is not
        counted.
        """
        query = (
            sa.select(
                _delivery.c.address,
                _mailing.c.name,
                sa.func.json_extract(_delivery.c.contact, "$.name").label("person"),
            )
            .join(_mailing, _mailing.c.id == _delivery.c.mailing_id)
            .where(
                _mailing.c.letter == letter,
                _mailing.c.name != besides,
                _delivery.c.state.in_([state.value for state in HELD_STATES]),
                _delivery.c.id.not_in(_CAME_BACK),
            )
        )
        return {row.address: (row.name, row.person or "") for row in self.execute(query)}

    def attempts(self, mailing: Mailing) -> dict[int, list[tuple[float, Outcome]]]:
        """Return every attempt of a mailing by delivery: (when it ended, outcome)."""
        query = (
            sa.select(_attempt)
            .join(_delivery, _delivery.c.id == _attempt.c.delivery_id)
            .where(_delivery.c.mailing_id == mailing.id)
            .order_by(_attempt.c.id)
        )
        found: dict[int, list[tuple[float, Outcome]]] = {}
        for row in self.execute(query):
            outcome = Outcome(
                Verdict(row.verdict), Scope(row.scope), row.code, row.enhanced, row.reply, row.reason
            )
            found.setdefault(row.delivery_id, []).append((row.at, outcome))
        return found

    def tries(self, number: int) -> list[dict[str, Any]]:
        """Return every attempt of one delivery as scripts read it, the first one first."""
        query = sa.select(_attempt).where(_attempt.c.delivery_id == number).order_by(_attempt.c.id)
        return [
            {
                "at": iso(row.started_at),
                "ended": iso(row.at),
                "server": row.server,
                "verdict": row.verdict,
                "code": row.code,
                "reply": row.reply,
                "reason": row.reason,
            }
            for row in self.execute(query)
        ]

    def sent_since(self, mailing: Mailing, since: float) -> tuple[int, float | None]:
        """Return how many were accepted since then, and when the first of them was."""
        query = sa.select(sa.func.count(), sa.func.min(_delivery.c.finished_at)).where(
            _delivery.c.mailing_id == mailing.id,
            _delivery.c.state == State.SENT.value,
            _delivery.c.finished_at >= since,
        )
        count, first = tuple(self.execute(query).one())
        return int(count), first

    # Suppressions ----------------------------------------------------------------------------

    def suppress(self, new: Iterable[Suppression], now: float) -> list[Suppression]:
        """Refuse to write there from now on; return what holds. Call it inside one `transaction()`.

        No refusal is ever shortened: of two, the one that lasts longer holds.
        """
        hold: dict[str, Suppression] = {}
        wanted = iter(new)
        while some := list(itertools.islice(wanted, _MOST_VALUES)):
            asked = sa.select(_suppression).where(_suppression.c.value.in_({one.value for one in some}))
            known = {one.value: one for one in map(_to_suppression, self.execute(asked))}
            written: dict[str, Suppression] = {}
            for one in some:
                before = known.get(one.value)
                kept = _stronger(before, one) if before and before.holds(now) else one
                if kept is not before:
                    known[one.value] = written[one.value] = kept
            if written:
                rows = [asdict(one) | {"dead": int(one.dead)} for one in written.values()]
                self.execute(sa.insert(_suppression).prefix_with("OR REPLACE"), rows)
            hold |= {one.value: known[one.value] for one in some}
        return list(hold.values())

    def refusals(self, now: float) -> Refusals:
        """Return whom nobody writes to, read once: for a plan, which asks about everybody."""
        columns = (_suppression.c.value, _suppression.c.reason, _suppression.c.dead)
        rows = self.execute(sa.select(*columns).where(_still(now)))
        known = {row.value: (row.reason, bool(row.dead)) for row in rows}
        return Refusals(
            self.share_keys(), lambda values: {value: known[value] for value in values if value in known}
        )

    def refusal(self, key: str, domain: str, further: Iterable[str], now: float) -> str | None:
        """Return why nobody writes to this address now, or None. Call it inside one `transaction()`."""

        def find(values: Sequence[str]) -> dict[str, tuple[str, bool]]:
            found: dict[str, tuple[str, bool]] = {}
            for at in range(0, len(values), _MOST_VALUES):
                some = values[at : at + _MOST_VALUES]
                given = {f"value{number}": value for number, value in enumerate(some)}
                rows = self._fast(_suppressed(len(some)), now=now, **given)
                found |= {value: (reason, bool(dead)) for value, reason, dead in rows}
            return found

        return Refusals(self.share_keys(), find).of(key, domain, further)

    def is_dead(self, key: str, now: float) -> bool:
        """Tell whether nobody refuses, but the mailbox of an address does not exist. In a transaction."""
        rows = self._fast(_suppressed(1), now=now, value0=key).fetchall()
        return bool(rows) and all(dead for _, _, dead in rows)

    def unsuppress(self, value: str) -> bool:
        """Take a refusal back, in every form that it has; tell whether there was one."""
        forms = _forms(value, self.share_keys())
        return self.execute(sa.delete(_suppression).where(_suppression.c.value.in_(forms))).rowcount > 0

    def take_back(self, value: str, source: str) -> bool:
        """Take a refusal back that stands on this source alone; tell whether there was one."""
        mine = sa.and_(_suppression.c.value == value, _suppression.c.source == source)
        return self.execute(sa.delete(_suppression).where(mine)).rowcount > 0

    def count_suppressions(self) -> int:
        """Return how many refusals there are, also what is over."""
        return int(self.execute(sa.select(sa.func.count()).select_from(_suppression)).scalar_one())

    def list_suppressions(self) -> list[Suppression]:
        """Return every refusal, the oldest first, also what is over."""
        return list(map(_to_suppression, self.execute(sa.select(_suppression).order_by(_suppression.c.id))))

    def share_keys(self) -> dict[str, bytes]:
        """Return the keys of the hashes that were imported, by their check digits."""
        return {name.removeprefix(_SHARE): key for name, key in self._fast(_SHARED)}

    def add_share_key(self, check: str, key: bytes) -> None:
        """Keep the key of hashes, so that they hold without the passphrase."""
        values = {"name": f"{_SHARE}{check}", "value": key}
        self.execute(sa.insert(_about).prefix_with("OR IGNORE").values(**values))

    def close_refused(self, mailing: Mailing | None, key: str, reason: str, now: float) -> int:
        """Take out what has not left to an address, in one mailing or in all; count it."""
        change = sa.update(_delivery).where(
            _delivery.c.mailing_id == mailing.id if mailing else sa.true(),
            _delivery.c.address == key,
            _delivery.c.state.in_([state.value for state in OPEN_STATES]),
            _delivery.c.lease.is_(None),
        )
        values = {"state": State.SUPPRESSED.value, "reason": reason, "finished_at": now}
        return self.execute(change.values(**values)).rowcount

    def reopen_refused(self, key: str, reason: str, now: float) -> None:
        """Plan again what was taken out for a refusal that is taken back.

        What was planned for another address instead is taken out; where it has left, nothing is planned.
        """
        for one in self.find_deliveries(_delivery.c.address == key):
            stand_in = self.stands_in(one)
            if stand_in.id != one.id:
                if stand_in.state not in OPEN_STATES or stand_in.lease is not None:
                    continue
                words = "not needed: the mailbox before it lives"
                values = {"state": State.CANCELLED.value, "reason": words, "finished_at": now}
                row = sa.update(_delivery).where(_delivery.c.id == stand_in.id)
                self.execute(row.values(**values, instead_of_id=None))
            if one.state is State.SUPPRESSED and one.reason == reason:
                again = _anew("planned again: the refusal was taken back")
                self.execute(sa.update(_delivery).where(_delivery.c.id == one.id).values(**again))

    def held(self) -> set[str]:
        """Return the address keys for which nothing leaves until a person has decided on a mail of theirs."""
        return {row.address for row in self.execute(sa.select(_hold.c.address))}

    def resting(self, besides: str, rest: int, now: float) -> dict[str, str]:
        """Return who got another mailing within `rest` seconds, or gets it right now: address key → words."""
        query = (
            sa.select(_delivery.c.address, _mailing.c.name, _delivery.c.state, _delivery.c.finished_at)
            .join(_mailing, _mailing.c.id == _delivery.c.mailing_id)
            .where(_mailing.c.name != besides, _had_since(now - rest))
            .order_by(_delivery.c.finished_at)
        )
        return {row.address: _rests(rest, *tuple(row)[1:]) for row in self.execute(query)}

    # Runs and leases -------------------------------------------------------------------------

    def begin_run(self, now: float) -> tuple[int, int]:
        """Take part in the sending: settle what dead runs left behind, then hold a lock of our own.

        Returns how many claims were freed and how many mails became `unknown`.
        """
        with self._guard():
            self._locks.take()
        self._refuse_damaged()
        self.forget_old_slots(now)
        settled = self.settle_dead_runs(now)
        for run in self._locks.others():
            self._locks.bury(run)
        return settled

    def _refuse_damaged(self) -> None:
        """Look through the whole file before the first mail leaves. Raises LedgerError."""
        with self._guard():
            found = [str(row[0]) for row in self.execute(sa.text("PRAGMA quick_check(1)"))]
            if "I/O error" in found[0]:
                raise sqlite3.OperationalError("disk I/O error")  # it may pass
        if found != ["ok"]:
            raise LedgerError(
                f"the ledger {self.path} is damaged: {' '.join(found[0].split())[:200]}",
                "put back a copy; do not send without it",
            )

    def mend_times(self, now: float, longest_wait: float, boot: str = "", steady: float = 0.0) -> float:
        """Make times of the ledger fit a clock that was set; return by how many seconds it was, roughly.

        As long as the machine runs (`boot`), its `steady` seconds say by how much it was set: all times move
        along, so that limits hold as if nothing had happened. Since an earlier start only a clock that was
        set back can be seen: slots of the future end now, with their distances kept. Who was deferred and
        would wait longer than `longest_wait` seconds is due now. Known limit: a clock that was wrong since
        the machine's start is taken as right.
        """
        with self.transaction():
            moved = self._clock_moved(now, boot, steady)
            if moved:
                self._move_times(moved, 0.0)
            latest = self.execute(sa.select(sa.func.max(_slot.c.at))).scalar() or 0.0
            ahead = latest - now if latest - now > _CLOCKS_DIFFER else 0.0
            if ahead:
                self._move_times(-ahead, now)
            waits = sa.and_(_delivery.c.lease.is_(None), _delivery.c.state == State.DEFERRED.value)
            too_long = _delivery.c.next_attempt_at > now + longest_wait
            self.execute(sa.update(_delivery).where(waits, too_long).values(next_attempt_at=now))
            later = _delivery.c.first_attempt_at > now
            self.execute(sa.update(_delivery).where(later).values(first_attempt_at=now))
        return moved - ahead

    def _move_times(self, seconds: float, since: float) -> None:
        """Move what is later than `since`: what limits count, what a server asked for, who waits for long."""
        deferred = _delivery.c.state == State.DEFERRED.value
        for table, which, names in (
            (_slot, sa.true(), ("at", "ideal", "domain_ideal")),
            (_slowed, sa.true(), ("asked_at", "resume_at")),
            (_delivery, deferred, ("first_attempt_at", "next_attempt_at")),
        ):
            values = {name: table.c[name] + seconds for name in names}
            self.execute(sa.update(table).where(table.c[names[0]] > since, which).values(values))

    def _clock_moved(self, now: float, boot: str, steady: float) -> float:
        """Return by how many seconds the clock was set since this was last asked, in this start.

        More than zones differ by is not believed: then the steady seconds are those of another clock.
        """
        if not boot:
            return 0.0
        before, *times = (self._about(_CLOCK) or b" 0 0").decode().rsplit(" ", 2)
        wall_then, steady_then = map(float, times)
        moved = (now - wall_then) - (steady - steady_then)
        if before == boot and abs(moved) <= _CLOCKS_DIFFER:
            return 0.0
        self.execute(sa.delete(_about).where(_about.c.name == _CLOCK))
        value = f"{boot} {now!r} {steady!r}".encode()
        self.execute(sa.insert(_about).values(name=_CLOCK, value=value))
        return moved if before == boot and abs(moved) <= _MOST_SET else 0.0

    def end_run(self) -> None:
        """Give the lock back; leases that are left are dead from then on."""
        self._locks.give_back()

    def settle_dead_runs(self, now: float) -> tuple[int, int]:
        """Free the claims of runs that died; what they were handing over becomes `unknown`. Count both."""
        freed = unknown = 0
        leases = self.execute(sa.select(_delivery.c.lease).where(_delivery.c.lease.is_not(None)).distinct())
        dead = [row.lease for row in leases if self._locks.is_dead(row.lease)]
        if not dead:
            return 0, 0
        with self.transaction():
            for run in dead:
                mine = _delivery.c.lease == run
                doubtful = self.execute(
                    sa.select(_delivery.c.id).where(mine, _delivery.c.state == State.SENDING.value)
                ).all()
                words = "the program ended while the mail was being handed over: it may have been accepted"
                outcome = Outcome(Verdict.UNKNOWN, Scope.SESSION, reason=words)
                for row in doubtful:
                    self.record(row.id, outcome, State.UNKNOWN, now, now, "", reason=words, run=run)
                unknown += len(doubtful)
                freed += self.execute(sa.update(_delivery).where(mine).values(lease=None)).rowcount
        for run in dead:
            self._locks.bury(run)
        return freed, unknown

    # The sending turn: call these inside one `transaction()` -----------------------------------

    def history(self, account: str | None = None, domain: str | None = None) -> History:
        """Return the n-th most recent transaction of an account or of a recipient domain."""
        over, began = _OF_DOMAIN if account is None else _OF_ACCOUNT
        whose = domain or "" if account is None else account

        def nth(n: int) -> Slot | None:
            statement = began if n == LAST else over
            row = self._fast(statement, whose=whose, skipped=max(n - 1, 0)).fetchone()
            return Slot(*row) if row else None

        return nth

    def recent(self, account: str) -> History:
        """Return the same history of an account, read once: for a simulation, which asks for all of it."""
        query = sa.select(_slot.c.at, _slot.c.ideal, _slot.c.id).where(_slot.c.account == account)
        found = [
            Slot(row.at, row.ideal, row.id)
            for row in self.execute(query.order_by(_slot.c.at.desc(), _slot.c.id.desc()))
        ]
        last = max(found, key=lambda slot: slot.seed, default=None)
        return lambda n: last if n == LAST else found[n - 1] if n <= len(found) else None

    def last_slot(self) -> int:
        """Return the number of the last transaction of any account; 0 when there is none."""
        return int(self.execute(sa.select(sa.func.max(_slot.c.id))).scalar() or 0)

    def slowed(self, account: str) -> Slowed:
        """Return what is known of the last time that a server asked this account for less."""
        row = self._fast(_SLOWED, account=account).fetchone()
        return Slowed(*row) if row else Slowed()

    def slow_down(self, account: str, slowed: Slowed) -> None:
        """Keep what a server asked an account for, for every run from now on."""
        self.execute(sa.delete(_slowed).where(_slowed.c.account == account))
        self.execute(sa.insert(_slowed).values(account=account, **asdict(slowed)))

    def set_not_before(self, mailing: Mailing, at: float, said: str = "") -> None:
        """Let nothing of a mailing leave before a time, however that was `said`; 0 lifts it."""
        row = sa.update(_mailing).where(_mailing.c.id == mailing.id)
        self.execute(row.values(not_before=at, not_before_said=said))

    def refusals_of_us(self, number: int) -> int:
        """Return how often a delivery was refused as if it were the sender's fault."""
        query = sa.select(sa.func.count()).where(
            _attempt.c.delivery_id == number,
            _attempt.c.verdict == Verdict.FAILED.value,
            _attempt.c.scope == Scope.SESSION.value,
        )
        return int(self.execute(query).scalar_one())

    def claim(self, number: int, now: float, rest: int = 0) -> Delivery | None:
        """Lease a delivery that is due; None when somebody else has it, or it is not to be sent any more.

        A suppression that came after the plan is obeyed here, and so are an answer to the letter that is
        followed up, a hold, and a mailing that left meanwhile to somebody who is to have `rest` seconds
        between two.
        """
        one = self.delivery(number)
        if one.lease is not None or one.state not in OPEN_STATES or one.next_attempt_at > now:
            return None
        if self._fast(_EMBARGO, number=number).fetchone()[0] > now:
            return None
        if self._closed(one, now, rest) or self._is_held(one) or self.away_until(one, now):
            return None
        self._fast(_LEASE, number=number, run=self._locks.own)
        return replace(one, lease=self._locks.own)

    def _closed(self, one: Delivery, now: float, rest: int) -> bool:
        """Close a delivery to somebody who refuses, has answered, or is to be left in peace; tell whether."""
        state, reason = State.SUPPRESSED, self.refusal(one.address, one.domain, others(one.contact), now)
        if reason is None and one.follows_id is not None:
            related = self.related(one)
            if any(self._fast(_ANSWERED, followed=number).fetchone() for number in related):
                state, reason = State.CANCELLED, "has answered meanwhile"
        if reason is None and rest:
            row = self._fast(_HAD, number=one.id, address=one.address, since=now - rest).fetchone()
            if row is not None:
                state, reason = State.CANCELLED, _rests(rest, *row)
        if reason is None:
            return False
        values = {"state": state.value, "reason": reason, "finished_at": now, "lease": None}
        self.execute(sa.update(_delivery).where(_delivery.c.id == one.id).values(**values))
        return True

    def _is_held(self, one: Delivery) -> bool:
        """Tell whether a mail that a person is to decide on holds this letter, at whichever address."""
        keys = [one.address, *(address.key(mail) for mail in others(one.contact))]
        return any(self._fast(_HELD, address=key).fetchone() for key in keys)

    def away_until(self, one: Delivery, now: float) -> float:
        """Return when somebody is back for whom a follow-up has to wait; 0 when it has not."""
        if one.follows_id is None:
            return 0.0
        days = [self._fast(_RETURNS, number=number).fetchone()[0] for number in self.related(one)]
        back = max((day for day in days if day), default="")
        return start_of(back) if back and start_of(back) > now else 0.0

    def release(self, number: int) -> None:
        """Give a claim back: nothing of the mail itself has left."""
        self._fast(_RELEASE, number=number, run=self._locks.own)

    def take_slot(self, account: str, domain: str, now: float, ideal: float, domain_ideal: float) -> int:
        """Count a transaction against the limits; return its number."""
        cursor = self._fast(
            _TAKE_SLOT, account=account, domain=domain, at=now, ideal=ideal, domain_ideal=domain_ideal
        )
        return int(cursor.lastrowid or 0)

    def close_slot(self, number: int, now: float) -> None:
        """Let a transaction count from now: the server has answered, so it saw the mail before."""
        self._fast(_CLOSE_SLOT, slot=number, at=now)

    def release_slot(self, number: int) -> None:
        """Uncount a transaction that never reached RCPT."""
        self.execute(sa.delete(_slot).where(_slot.c.id == number))

    def forget_old_slots(self, now: float) -> None:
        """Drop what no limit can count any more, by the clock and by the last slot: a clock may be wrong."""
        latest = self.execute(sa.select(sa.func.max(_slot.c.at))).scalar() or now
        self.execute(sa.delete(_slot).where(_slot.c.at < min(now, latest) - 2 * _DAY))

    def intend(self, one: Delivery, now: float, rest: int = 0) -> bool:
        """Write down that the body of this mail may leave now; False when it must not any more."""
        if self._closed(one, now, rest):
            return False
        if self._is_held(one):
            self._fast(_RELEASE, number=one.id, run=self._locks.own)
            return False
        if self._fast(_INTEND, number=one.id, run=self._locks.own).rowcount != 1:
            raise LedgerError(f"delivery {one.id} is not ours any more", exit_code=Exit.STOPPED)
        return True

    def record(
        self,
        number: int,
        outcome: Outcome,
        state: State,
        started_at: float,
        now: float,
        server: str,
        counts: bool = True,
        next_attempt_at: float | None = None,
        reason: str = "",
        run: str | None = None,
    ) -> None:
        """Append an attempt and move the delivery to its next state, lease released.

        The lease is ours, or that of a dead `run`. Raises LedgerError when it is somebody else's by now.
        """
        values: dict[str, Any] = {
            "delivery_id": number,
            "started_at": started_at,
            "at": now,
            "server": server,
            "verdict": outcome.verdict.value,
            "scope": outcome.scope.value,
            "code": outcome.code,
            "enhanced": outcome.enhanced,
            "reply": outcome.reply,
            "reason": outcome.reason,
        }
        self._fast(_ATTEMPT, **values)
        words = f"{outcome.code} {outcome.reply}".strip() if outcome.code else ""
        still_open = state in OPEN_STATES
        done = self._fast(
            _RECORD,
            number=number,
            run=run or self._locks.own,
            new_state=state.value,
            charged=int(counts),
            begun=started_at,
            due=next_attempt_at,
            ended=None if still_open else now,
            words=words,
            why=reason or outcome.reason,
        )
        if done.rowcount != 1:
            raise LedgerError(f"delivery {number} is not ours any more", exit_code=Exit.STOPPED)


def _anew(reason: str) -> dict[str, Any]:
    """Return what makes a delivery planned again, as if never tried; its attempts stay on record."""
    return {
        "state": State.PLANNED.value,
        "attempts": 0,
        "first_attempt_at": None,
        "next_attempt_at": 0.0,
        "finished_at": None,
        "reason": reason,
    }


def _still(now: float | sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
    return sa.or_(_suppression.c.until.is_(None), _suppression.c.until > now)


def _to_suppression(row: Any) -> Suppression:
    return Suppression(row.value, row.reason, row.source, row.at, row.until, bool(row.dead))


def _stronger(before: Suppression, new: Suppression) -> Suppression:
    """Return which of two refusals holds: somebody's word before a dead mailbox, then the longer one."""
    longer = before.until is not None and (new.until is None or new.until > before.until)
    if before.dead and not new.dead:
        return new if longer else replace(new, until=before.until)
    if longer and new.dead == before.dead:
        return new
    by_mail = before.source.startswith("mail ") and not new.source.startswith("mail ")
    # What a mail did may be taken back; what somebody says besides must outlive that.
    return replace(before, reason=new.reason, source=new.source) if by_mail and not new.dead else before


def _had_since(since: float | sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
    """Select deliveries that arrived since then, or may have; what is being handed over is now."""
    ended = _delivery.c.state.in_([State.SENT.value, State.UNKNOWN.value])
    return sa.or_(_delivery.c.state == State.SENDING.value, sa.and_(ended, _delivery.c.finished_at > since))


def _rests(rest: int, mailing: str, state: str, at: float | None) -> str:
    """Say why somebody is left in peace for now."""
    setting = f"OUTREACH_REST is {span(rest)}"
    if state == State.SENDING or at is None:
        return f"is getting the mailing {mailing} right now; {setting}"
    got = "got" if state == State.SENT else "may have got"
    return f"{got} the mailing {mailing} on {day(at)}; {setting}"


def _begin(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _create_private(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be made: {error.strerror}",
            "is the folder there, and may you write in it?",
            exit_code=Exit.STOPPED if error.errno in _MAY_PASS else Exit.DATA,
        ) from None


def _to_frozen(row: Any) -> Frozen:
    data = json.loads(zlib.decompress(row.frozen))
    return Frozen(
        row.id,
        row.fingerprint,
        data["sources"],
        data["language"],
        Identity(**data["sender"]),
        Identity(**data["reply_to"]),
        data["unsubscribe"],
        data.get("files", {}),
    )


def _contact_to_json(contact: Contact) -> str:
    values = asdict(contact)
    for one in (values, *values["people"]):  # most share their inbox with nobody
        if not one["people"]:
            del one["people"]
    return json.dumps(values, ensure_ascii=False)


def _to_contact(values: dict[str, Any]) -> Contact:
    people = tuple(map(_to_contact, values.get("people", ())))
    return Contact(**values | {"alternates": tuple(values["alternates"]), "people": people})


def _to_delivery(
    number: int,
    mailing_id: int,
    version_id: int,
    key: str,
    domain: str,
    contact: str,
    language: str,
    content_hash: str,
    message_id: str,
    state: str,
    lease: str | None,
    attempts: int,
    first_attempt_at: float | None,
    next_attempt_at: float,
    finished_at: float | None,
    reply: str,
    reason: str,
    follows_id: int | None,
    instead_of_id: int | None,
) -> Delivery:
    """Make a delivery of a row; the columns come in the order of the table."""
    return Delivery(
        number,
        version_id,
        key,
        domain,
        _to_contact(json.loads(contact)),
        language,
        content_hash,
        message_id,
        State(state),
        lease,
        attempts,
        first_attempt_at,
        next_attempt_at,
        finished_at,
        reply,
        reason,
        mailing_id,
        follows_id,
        instead_of_id,
    )


class _Statement:
    """A statement of the sending turn: compiled once by SQLAlchemy, run on the driver's own cursor.

    A turn has some ten of them, and SQLAlchemy takes ten times as long to run one as SQLite does.
    """

    def __init__(self, statement: sa.ClauseElement) -> None:
        compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
        self.sql, self._fixed = str(compiled), compiled.params
        self._order: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]

    def values(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(given[name] if name in given else self._fixed[name] for name in self._order)


def _given(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, required=False)


_this = _delivery.c.id == _given("number")
_ours = sa.and_(_this, _delivery.c.lease == _given("run"))
_DELIVERY = _Statement(sa.select(_delivery).where(_this))


@cache
def _suppressed(count: int) -> _Statement:
    """Ask for so many values at once: two, unless somebody has further addresses or a group shared hashes."""
    some = _suppression.c.value.in_([_given(f"value{number}") for number in range(count)])
    columns = (_suppression.c.value, _suppression.c.reason, _suppression.c.dead)
    return _Statement(sa.select(*columns).where(some, _still(_given("now"))))


_SHARED = _Statement(sa.select(_about.c.name, _about.c.value).where(_about.c.name.startswith(_SHARE)))
_self = _delivery.alias()
_HAD = _Statement(
    sa.select(_mailing.c.name, _delivery.c.state, _delivery.c.finished_at)
    .join(_mailing, _mailing.c.id == _delivery.c.mailing_id)
    .where(
        _delivery.c.address == _given("address"),
        _delivery.c.mailing_id
        != sa.select(_self.c.mailing_id).where(_self.c.id == _given("number")).scalar_subquery(),
        _had_since(_given("since")),
    )
    .order_by(_delivery.c.finished_at.desc())
    .limit(1)
)
_HELD = _Statement(sa.select(_hold.c.address).where(_hold.c.address == _given("address")).limit(1))
_later = _match.alias()
_newest = sa.select(sa.func.max(_later.c.id)).where(_later.c.inbound_id == _match.c.inbound_id)
_later_mark = _mark.alias()
_last_mark = sa.select(sa.func.max(_later_mark.c.id)).where(_later_mark.c.delivery_id == _mark.c.delivery_id)
_ANSWERED = _Statement(  # a person's answer, or what says that no more is wanted there
    sa.union_all(
        sa.select(_match.c.id)
        .join(_inbound, _inbound.c.id == _match.c.inbound_id)
        .where(
            _match.c.delivery_id == _given("followed"),
            _inbound.c.kind.in_([kind.value for kind in ANSWERS]),
            _match.c.id == _newest.scalar_subquery(),
        ),
        sa.select(_mark.c.id).where(
            _mark.c.delivery_id == _given("followed"),
            _mark.c.answer != Mark.NONE.value,
            _mark.c.id == _last_mark.scalar_subquery(),
        ),
    ).limit(1)
)
_CAME_BACK = (  # deliveries whose mailbox does not exist, by a report that is proven
    sa.select(_match.c.delivery_id)
    .join(_inbound, _inbound.c.id == _match.c.inbound_id)
    .where(
        _inbound.c.kind == Came.BOUNCE.value,
        _inbound.c.reports.contains('"permanent": true', autoescape=True),
        _match.c.how.in_(["token", "person"]),
        _match.c.acted != "",
        _match.c.delivery_id.is_not(None),
        _match.c.id == _newest.scalar_subquery(),
    )
)
_RETURNS = _Statement(
    sa.select(sa.func.max(_inbound.c.returns))
    .select_from(_inbound)
    .join(_match, _match.c.inbound_id == _inbound.c.id)
    .where(
        _match.c.delivery_id == _given("number"),
        _match.c.id == _newest.scalar_subquery(),
        _inbound.c.kind == Came.AUTO_REPLY.value,
    )
)
_PARENTS = _Statement(sa.select(_delivery.c.follows_id, _delivery.c.instead_of_id).where(_this))
_CHILDREN = _Statement(
    sa.select(_delivery.c.id).where(
        sa.or_(_delivery.c.follows_id == _given("number"), _delivery.c.instead_of_id == _given("number"))
    )
)
_STANDS_IN = _Statement(
    sa.select(_delivery.c.id).where(_delivery.c.instead_of_id == _given("number")).limit(1)
)
_LEASE = _Statement(sa.update(_delivery).where(_this).values(lease=_given("run")))
_RELEASE = _Statement(sa.update(_delivery).where(_ours).values(lease=None))
_INTEND = _Statement(sa.update(_delivery).where(_ours).values(state=State.SENDING.value))
_TAKE_SLOT = _Statement(
    sa.insert(_slot).values(
        {name: _given(name) for name in ("account", "domain", "at", "ideal", "domain_ideal")}
    )
)
_CLOSE_SLOT = _Statement(sa.update(_slot).where(_slot.c.id == _given("slot")).values(at=_given("at")))


def _nth(whose: sa.Column[Any], ideal: sa.Column[Any]) -> _Statement:
    """Ask for one of the last transactions of an account or a domain, by when it was over."""
    return _Statement(_last_ones(whose, ideal).limit(1).offset(_given("skipped")))


def _last(whose: sa.Column[Any], ideal: sa.Column[Any]) -> _Statement:
    """Ask for the one that began last: only what was under way then can be over later."""
    few = _last_ones(whose, ideal).limit(_UNDER_WAY).subquery()
    return _Statement(sa.select(few).order_by(few.c.id.desc()).limit(1))


def _last_ones(whose: sa.Column[Any], ideal: sa.Column[Any]) -> sa.Select[Any]:
    query = sa.select(_slot.c.at, ideal, _slot.c.id).where(whose == _given("whose"))
    return query.order_by(_slot.c.at.desc(), _slot.c.id.desc())


_OF_ACCOUNT = (_nth(_slot.c.account, _slot.c.ideal), _last(_slot.c.account, _slot.c.ideal))
_OF_DOMAIN = (_nth(_slot.c.domain, _slot.c.domain_ideal), _last(_slot.c.domain, _slot.c.domain_ideal))
_SLOWED = _Statement(
    sa.select(_slowed.c.gap, _slowed.c.asked_at, _slowed.c.resume_at, _slowed.c.words).where(
        _slowed.c.account == _given("account")
    )
)
_EMBARGO = _Statement(
    sa.select(_mailing.c.not_before)
    .join(_delivery, _delivery.c.mailing_id == _mailing.c.id)
    .where(_delivery.c.id == _given("number"))
)
_ATTEMPT = _Statement(
    sa.insert(_attempt).values({one.name: _given(one.name) for one in _attempt.c if not one.primary_key})
)
_RECORD = _Statement(
    sa.update(_delivery)
    .where(_ours)
    .values(
        # An attempt that does not count leaves it where it was: deferred, if it was tried before.
        state=sa.case(
            (sa.and_(_given("charged") == 0, _delivery.c.attempts > 0), State.DEFERRED.value),
            else_=_given("new_state"),
        ),
        lease=None,
        attempts=_delivery.c.attempts + _given("charged"),
        # Giving up counts from the first attempt that was charged, not from one that was taken back.
        first_attempt_at=sa.case(
            (_given("charged") == 1, sa.func.coalesce(_delivery.c.first_attempt_at, _given("begun"))),
            else_=_delivery.c.first_attempt_at,
        ),
        next_attempt_at=sa.func.coalesce(_given("due"), _delivery.c.next_attempt_at),
        finished_at=sa.func.coalesce(_given("ended"), _delivery.c.finished_at),
        reply=_given("words"),
        reason=_given("why"),
    )
)
