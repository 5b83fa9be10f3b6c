"""The one durable record: mailings, deliveries, attempts, suppressions, pace.

SQLAlchemy Core on SQLite (WAL, synchronous=FULL: an acknowledged commit survives a power cut). Only this
module knows SQL. A run holds an operating-system lock on a file beside the ledger; its leases are dead
exactly when that lock can be taken, so a crash is told from a slow neighbour without a clock. A claim is
a lease on a `planned` row; the intent (`sending`) is committed before the final dot can leave.
Raises LedgerError: 65 when the file is no ledger of ours, 75 when it cannot be written now.
Known limit: SQLite only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

from outreach import address
from outreach.errors import Exit, LedgerError
from outreach.model import HELD_STATES, OPEN_STATES, Contact, Identity, Outcome, Scope, State, Verdict
from outreach.throttle import History, Slot

SCHEMA_VERSION = 2
_DAY = 86400

_metadata = MetaData()
_about = Table("about", _metadata, Column("name", Text, primary_key=True), Column("value", LargeBinary))
_mailing = Table(
    "mailing",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("letter", Text, nullable=False),
    Column("today", Text, nullable=False),  # the date that letters show, fixed at the first plan
    Column("created_at", Float, nullable=False),
)
_version = Table(
    "version",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("mailing_id", ForeignKey("mailing.id"), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("frozen", LargeBinary, nullable=False),  # zlib JSON: everything messages are made of
    Column("created_at", Float, nullable=False),
)
_file = Table(  # what travels with letters, each once, whichever mailings and versions have it
    "file",
    _metadata,
    Column("digest", Text, primary_key=True),  # SHA-256, hex
    Column("data", LargeBinary, nullable=False),
)
_delivery = Table(
    "delivery",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("mailing_id", ForeignKey("mailing.id"), nullable=False),
    Column("version_id", ForeignKey("version.id"), nullable=False),
    Column("address", Text, nullable=False),  # the key by which addresses are the same
    Column("domain", Text, nullable=False),
    Column("contact", Text, nullable=False),  # JSON
    Column("language", Text, nullable=False),  # of the letter
    Column("content_hash", Text, nullable=False),
    Column("message_id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("lease", Text),
    Column("attempts", Integer, nullable=False, default=0),
    Column("first_attempt_at", Float),
    Column("next_attempt_at", Float, nullable=False, default=0.0),
    Column("finished_at", Float),
    Column("reply", Text, nullable=False, default=""),  # the server's last words
    Column("reason", Text, nullable=False, default=""),  # ours
    sa.UniqueConstraint("mailing_id", "address"),
    Index("delivery_due", "mailing_id", "state", "next_attempt_at"),
    Index("delivery_address", "address"),
    Index("delivery_lease", "lease", sqlite_where=sa.text("lease IS NOT NULL")),
)
_excluded = Table(
    "excluded",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("mailing_id", ForeignKey("mailing.id"), nullable=False),
    Column("email", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    sa.UniqueConstraint("mailing_id", "email", "reason"),
)
_attempt = Table(  # append-only
    "attempt",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("delivery_id", ForeignKey("delivery.id"), nullable=False, index=True),
    Column("started_at", Float, nullable=False),
    Column("at", Float, nullable=False),
    Column("server", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("code", Integer),
    Column("enhanced", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
_suppression = Table(
    "suppression",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("value", Text, nullable=False, unique=True),  # an address key, or @domain
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("until", Float),
)
_slot = Table(  # transactions that reached RCPT, or may: what limits count
    "slot",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("ideal", Float, nullable=False),
    Index("slot_account", "account", "at"),
    Index("slot_domain", "domain", "at"),
)


@dataclass(frozen=True, slots=True)
class Mailing:
    """One letter going once to a list."""

    id: int
    name: str
    letter: str
    today: str
    created_at: float


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


@dataclass(frozen=True, slots=True)
class Suppression:
    """A standing refusal to write to an address key, or to everybody at `@domain`."""

    value: str
    reason: str
    source: str
    at: float
    until: float | None


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
                    f"there is no ledger {path}", "`outreach send` or `outreach rehearse` makes it"
                )
            _create_private(path)
        engine = sa.create_engine(
            "sqlite://", creator=self._connect, poolclass=sa.pool.StaticPool, isolation_level=None
        )
        sa.event.listen(engine, "begin", _begin)
        self._engine = engine
        self._inode = path.stat().st_ino
        self._run: str | None = None
        self._lock: BinaryIO | None = None
        with self._guard():
            # Whoever writes begins at once: a transaction that reads first would fail when another writes.
            self._connection = engine.connect().execution_options(immediate=create)
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
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA foreign_keys = ON")
        return raw

    def _prepare(self, create: bool) -> None:
        with self._connection.begin():
            if sa.inspect(self._connection).has_table("about"):
                version = int(self._about("schema") or b"0")
                if version == 1:  # 2 added the table `file`
                    _metadata.create_all(self._connection)
                    self._connection.execute(
                        sa.update(_about).where(_about.c.name == "schema").values(value=b"2")
                    )
                elif version != SCHEMA_VERSION:
                    raise LedgerError(
                        f"the ledger {self.path} has version {version}, this program knows {SCHEMA_VERSION}",
                        "update outreach, or use the version that wrote the ledger",
                    )
            elif sa.inspect(self._connection).get_table_names():
                raise LedgerError(f"{self.path} is a database, but no ledger of outreach")
            elif create:
                _metadata.create_all(self._connection)
                rows = [
                    {"name": "schema", "value": str(SCHEMA_VERSION).encode()},
                    {"name": "key", "value": secrets.token_bytes(32)},
                ]
                self._connection.execute(sa.insert(_about), rows)
            else:
                raise EmptyLedgerError(
                    f"{self.path} is empty: nothing was sent yet", "outreach send --dry-run"
                )
        with self._connection.begin():
            self.key: bytes = self._about("key") or b""

    def _about(self, name: str) -> bytes | None:
        query = sa.select(_about.c.value).where(_about.c.name == name)
        found: bytes | None = self._connection.execute(query).scalar()
        return found

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

    def _execute(self, statement: sa.Executable, rows: Any = None) -> sa.CursorResult[Any]:
        """Run one statement, in the transaction at hand or in one of its own."""
        if self._connection.in_transaction():
            return self._connection.execute(statement, rows)
        with self._guard(), self._connection.begin():
            result = self._connection.execute(statement, rows)
            return result.freeze()() if result.returns_rows else result  # type: ignore[return-value]

    # Mailings --------------------------------------------------------------------------------

    def mailings(self) -> list[Mailing]:
        """Return all mailings, the newest first."""
        rows = self._execute(sa.select(_mailing).order_by(_mailing.c.id.desc())).mappings()
        return [Mailing(**row) for row in rows]

    def mailing(self, name: str) -> Mailing | None:
        """Return a mailing by its name."""
        row = self._execute(sa.select(_mailing).where(_mailing.c.name == name)).mappings().first()
        return Mailing(**row) if row else None

    def create_mailing(self, name: str, letter: str, today: str, now: float) -> Mailing:
        """Create a mailing and return it."""
        values = {"name": name, "letter": letter, "today": today, "created_at": now}
        result = self._execute(sa.insert(_mailing).values(**values))
        (number,) = result.inserted_primary_key or (0,)
        return Mailing(int(number), name, letter, today, now)

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
        if (known := self._execute(same).scalar()) is not None:
            return int(known)
        values = {"mailing_id": mailing.id, "fingerprint": fingerprint, "frozen": data, "created_at": now}
        (number,) = self._execute(sa.insert(_version).values(**values)).inserted_primary_key or (0,)
        return int(number)

    def versions(self, mailing: Mailing) -> dict[int, Frozen]:
        """Return the frozen versions of a mailing by number."""
        query = sa.select(_version).where(_version.c.mailing_id == mailing.id)
        versions = {}
        for row in self._execute(query):
            data = json.loads(zlib.decompress(row.frozen))
            versions[row.id] = Frozen(
                row.id,
                row.fingerprint,
                data["sources"],
                data["language"],
                Identity(**data["sender"]),
                Identity(**data["reply_to"]),
                data["unsubscribe"],
                data.get("files", {}),
            )
        return versions

    def _add_file(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if self._execute(sa.select(_file.c.digest).where(_file.c.digest == digest)).scalar() is None:
            self._execute(sa.insert(_file).values(digest=digest, data=data))
        return digest

    def file(self, digest: str) -> bytes:
        """Return a file that travels with a letter."""
        data: bytes = self._execute(sa.select(_file.c.data).where(_file.c.digest == digest)).scalar_one()
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
        return {row.fingerprint for row in self._execute(query)}

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
            }
            for one in new
        ]
        if rows:
            self._execute(sa.insert(_delivery), rows)

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
            done += self._execute(change.values(**values)).rowcount
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
            return self._execute(sa.update(_delivery).where(*where).values(**values)).rowcount
        return sum(
            self._execute(
                sa.update(_delivery).where(*where, _delivery.c.address == one).values(**values)
            ).rowcount
            for one in addresses
        )

    def add_excluded(self, mailing: Mailing, excluded: Iterable[tuple[str, str]], now: float) -> None:
        """Record who gets no letter and why, each (email, reason) once."""
        rows = [
            {"mailing_id": mailing.id, "email": email, "reason": reason, "at": now}
            for email, reason in excluded
        ]
        if rows:
            self._execute(sa.insert(_excluded).prefix_with("OR IGNORE"), rows)

    def excluded(self, mailing: Mailing) -> list[tuple[str, str]]:
        """Return who gets no letter and why."""
        query = sa.select(_excluded.c.email, _excluded.c.reason).where(_excluded.c.mailing_id == mailing.id)
        return [(row.email, row.reason) for row in self._execute(query.order_by(_excluded.c.id))]

    def deliveries(self, mailing: Mailing, states: Sequence[State] | None = None) -> list[Delivery]:
        """Return the deliveries of a mailing in the order they were planned."""
        query = sa.select(_delivery).where(_delivery.c.mailing_id == mailing.id).order_by(_delivery.c.id)
        if states is not None:
            query = query.where(_delivery.c.state.in_([state.value for state in states]))
        return [_to_delivery(row) for row in self._execute(query)]

    def delivery(self, number: int) -> Delivery:
        """Return one delivery."""
        return _to_delivery(self._execute(sa.select(_delivery).where(_delivery.c.id == number)).one())

    def counts(self, mailing: Mailing) -> dict[State, int]:
        """Return how many deliveries are in each state; every state is there."""
        query = (
            sa.select(_delivery.c.state, sa.func.count())
            .where(_delivery.c.mailing_id == mailing.id)
            .group_by(_delivery.c.state)
        )
        found = dict(map(tuple, self._execute(query)))
        return {state: found.get(state.value, 0) for state in State}

    def holders(self, letter: str, besides: str) -> dict[str, str]:
        """Return who has this letter, or may get it, under another mailing: address key → mailing name."""
        query = (
            sa.select(_delivery.c.address, _mailing.c.name)
            .join(_mailing, _mailing.c.id == _delivery.c.mailing_id)
            .where(
                _mailing.c.letter == letter,
                _mailing.c.name != besides,
                _delivery.c.state.in_([state.value for state in HELD_STATES]),
            )
        )
        return {row.address: row.name for row in self._execute(query)}

    def attempts(self, mailing: Mailing) -> dict[int, list[tuple[float, Outcome]]]:
        """Return every attempt of a mailing by delivery: (when it ended, outcome)."""
        query = (
            sa.select(_attempt)
            .join(_delivery, _delivery.c.id == _attempt.c.delivery_id)
            .where(_delivery.c.mailing_id == mailing.id)
            .order_by(_attempt.c.id)
        )
        found: dict[int, list[tuple[float, Outcome]]] = {}
        for row in self._execute(query):
            outcome = Outcome(
                Verdict(row.verdict), Scope(row.scope), row.code, row.enhanced, row.reply, row.reason
            )
            found.setdefault(row.delivery_id, []).append((row.at, outcome))
        return found

    def sent_since(self, mailing: Mailing, since: float) -> tuple[int, float | None]:
        """Return how many were accepted since then, and when the first of them was."""
        query = sa.select(sa.func.count(), sa.func.min(_delivery.c.finished_at)).where(
            _delivery.c.mailing_id == mailing.id,
            _delivery.c.state == State.SENT.value,
            _delivery.c.finished_at >= since,
        )
        count, first = tuple(self._execute(query).one())
        return int(count), first

    # Suppressions ----------------------------------------------------------------------------

    def suppress(self, value: str, reason: str, source: str, now: float) -> None:
        """Refuse to write to an address key (or @domain) from now on."""
        values = {"value": value, "reason": reason, "source": source, "at": now, "until": None}
        self._execute(sa.insert(_suppression).prefix_with("OR IGNORE").values(**values))

    def suppressions(self, now: float) -> dict[str, str]:
        """Return what is refused now: address key or @domain → reason."""
        query = sa.select(_suppression.c.value, _suppression.c.reason).where(_still(now))
        return {row.value: row.reason for row in self._execute(query)}

    def unsuppress(self, value: str) -> bool:
        """Take a refusal back; tell whether there was one."""
        return self._execute(sa.delete(_suppression).where(_suppression.c.value == value)).rowcount == 1

    def list_suppressions(self) -> list[Suppression]:
        """Return every refusal, the oldest first."""
        return [
            Suppression(row.value, row.reason, row.source, row.at, row.until)
            for row in self._execute(sa.select(_suppression).order_by(_suppression.c.id))
        ]

    # Runs and leases -------------------------------------------------------------------------

    def begin_run(self, now: float) -> tuple[int, int]:
        """Take part in the sending: settle what dead runs left behind, then hold a lock of our own.

        Returns how many claims were freed and how many mails became `unknown`.
        """
        run = secrets.token_hex(8)
        with self._guard():
            self._lock = _lock_file(self._lock_path(run))
        self._run = run
        self.forget_old_slots(now)
        return self.settle_dead_runs(now)

    def end_run(self) -> None:
        """Give the lock back; leases that are left are dead from then on."""
        if self._lock is not None and self._run is not None:
            self._lock_path(self._run).unlink(missing_ok=True)
            self._lock.close()
        self._lock = self._run = None

    def _lock_path(self, run: str) -> Path:
        return self.path.with_name(f"{self.path.name}.run-{run}")

    def settle_dead_runs(self, now: float) -> tuple[int, int]:
        """Free the claims of runs that died; what they were handing over becomes `unknown`. Count both."""
        freed = unknown = 0
        with self.transaction():
            leases = self._execute(
                sa.select(_delivery.c.lease).where(_delivery.c.lease.is_not(None)).distinct()
            )
            dead = [row.lease for row in leases if row.lease != self._run and self._is_dead(row.lease)]
            for run in dead:
                mine = _delivery.c.lease == run
                doubtful = self._execute(
                    sa.select(_delivery.c.id).where(mine, _delivery.c.state == State.SENDING.value)
                ).all()
                words = "the program ended while the mail was being handed over: it may have been accepted"
                outcome = Outcome(Verdict.UNKNOWN, Scope.SESSION, reason=words)
                for row in doubtful:
                    self.record(row.id, outcome, State.UNKNOWN, now, now, "", reason=words)
                unknown += len(doubtful)
                freed += self._execute(sa.update(_delivery).where(mine).values(lease=None)).rowcount
        for run in dead:
            self._lock_path(run).unlink(missing_ok=True)
        return freed, unknown

    def _is_dead(self, run: str) -> bool:
        path = self._lock_path(run)
        if not path.exists():
            return True
        try:
            _lock_file(path).close()
        except BlockingIOError:
            return False
        return True

    # The sending turn: call these inside one `transaction()` -----------------------------------

    def history(self, account: str | None = None, domain: str | None = None) -> History:
        """Return the n-th most recent transaction of an account or of a recipient domain."""
        where = _slot.c.account == account if account is not None else _slot.c.domain == domain

        def nth(n: int) -> Slot | None:
            query = (
                sa.select(_slot.c.at, _slot.c.ideal, _slot.c.id)
                .where(where)
                .order_by(_slot.c.at.desc())
                .limit(1)
                .offset(n - 1)
            )
            row = self._execute(query).first()
            if row is None:
                return None
            return Slot(row.at, row.ideal if account is not None else row.at, row.id)

        return nth

    def claim(self, number: int, now: float) -> bool:
        """Lease a delivery that is due; False when somebody else has it, or it is not to be sent any more.

        A suppression that came after the plan is obeyed here.
        """
        row = self._execute(
            sa.select(_delivery.c.address, _delivery.c.domain).where(_delivery.c.id == number)
        ).one()
        still_open = (
            _delivery.c.id == number,
            _delivery.c.lease.is_(None),
            _delivery.c.state.in_([state.value for state in OPEN_STATES]),
        )
        refused = self._execute(
            sa.select(_suppression.c.reason).where(
                _suppression.c.value.in_([row.address, f"@{row.domain}"]), _still(now)
            )
        ).scalar()
        if refused is not None:
            values: dict[str, Any] = {
                "state": State.SUPPRESSED.value,
                "reason": refused,
                "finished_at": now,
            }
            self._execute(sa.update(_delivery).where(*still_open).values(**values))
            return False
        values = {
            "lease": self._run,
            "first_attempt_at": sa.func.coalesce(_delivery.c.first_attempt_at, now),
        }
        due = _delivery.c.next_attempt_at <= now
        return self._execute(sa.update(_delivery).where(*still_open, due).values(**values)).rowcount == 1

    def take_slot(self, account: str, domain: str, now: float, ideal: float) -> int:
        """Count a transaction against the limits; return its number."""
        values = {"account": account, "domain": domain, "at": now, "ideal": ideal}
        (number,) = self._execute(sa.insert(_slot).values(**values)).inserted_primary_key or (0,)
        return int(number)

    def release_slot(self, number: int) -> None:
        """Uncount a transaction that never reached RCPT."""
        self._execute(sa.delete(_slot).where(_slot.c.id == number))

    def forget_old_slots(self, now: float) -> None:
        """Drop what no limit can count any more."""
        self._execute(sa.delete(_slot).where(_slot.c.at < now - 2 * _DAY))

    def intend(self, number: int) -> None:
        """Write down that the body of this mail may leave now."""
        mine = (_delivery.c.id == number, _delivery.c.lease == self._run)
        done = self._execute(sa.update(_delivery).where(*mine).values(state=State.SENDING.value))
        if done.rowcount != 1:
            raise LedgerError(f"delivery {number} is not ours any more", exit_code=Exit.STOPPED)

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
    ) -> None:
        """Append an attempt and move the delivery to its next state, lease released."""
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
        self._execute(sa.insert(_attempt).values(**values))
        words = f"{outcome.code} {outcome.reply}".strip() if outcome.code else ""
        change: dict[str, Any] = {
            "state": state.value if counts or state is not State.PLANNED else _back(),
            "lease": None,
            "reply": words,
            "reason": reason or outcome.reason,
        }
        if counts:
            change["attempts"] = _delivery.c.attempts + 1
        if next_attempt_at is not None:
            change["next_attempt_at"] = next_attempt_at
        if state not in OPEN_STATES:
            change["finished_at"] = now
        self._execute(sa.update(_delivery).where(_delivery.c.id == number).values(**change))


def _back() -> sa.ColumnElement[str]:
    """Where a delivery goes back to when an attempt does not count."""
    return sa.case((_delivery.c.attempts > 0, State.DEFERRED.value), else_=State.PLANNED.value)


def _still(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(_suppression.c.until.is_(None), _suppression.c.until > now)


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
        ) from None


def _lock_file(path: Path) -> BinaryIO:
    """Open a file and hold an exclusive lock on it. Raises BlockingIOError when another process does."""
    handle = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+b")
    try:
        if os.name == "nt":
            import msvcrt

            try:
                msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            except OSError:
                raise BlockingIOError from None
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        handle.close()
        raise
    return handle


def _contact_to_json(contact: Contact) -> str:
    return json.dumps(asdict(contact), ensure_ascii=False)


def _to_delivery(row: Any) -> Delivery:
    contact = json.loads(row.contact)
    contact["alternates"] = tuple(contact["alternates"])
    return Delivery(
        row.id,
        row.version_id,
        row.address,
        row.domain,
        Contact(**contact),
        row.language,
        row.content_hash,
        row.message_id,
        State(row.state),
        row.lease,
        row.attempts,
        row.first_attempt_at,
        row.next_attempt_at,
        row.finished_at,
        row.reply,
        row.reason,
    )
