"""The tables of the ledger, and how a ledger of an older version becomes one of this.

A change of a table is a new VERSION and a function in MIGRATIONS that makes it out of the version before.
ledger.py runs them, behind a copy of the file; nothing here opens anything.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

VERSION = 5

metadata = MetaData()
about = Table("about", metadata, Column("name", Text, primary_key=True), Column("value", LargeBinary))
mailing = Table(
    "mailing",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("letter", Text, nullable=False),
    Column("today", Text, nullable=False),  # the date that letters show, fixed at the first plan
    Column("created_at", Float, nullable=False),
    Column("not_before", Float, nullable=False, default=0.0, server_default="0"),  # an embargo
    Column("not_before_said", Text, nullable=False, default="", server_default=""),  # in whose words
    Column("follows_id", Integer),  # the mailing that this one follows up
)
version = Table(
    "version",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("mailing_id", ForeignKey("mailing.id"), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("frozen", LargeBinary, nullable=False),  # zlib JSON: everything messages are made of
    Column("created_at", Float, nullable=False),
)
file = Table(  # what travels with letters, each once, whichever mailings and versions have it
    "file",
    metadata,
    Column("digest", Text, primary_key=True),  # SHA-256, hex
    Column("data", LargeBinary, nullable=False),
)
delivery = Table(
    "delivery",
    metadata,
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
    Column("follows_id", Integer),  # the delivery whose silence this letter follows up
    Column("instead_of_id", Integer),  # the delivery that came back from a dead mailbox of the same person
    sa.UniqueConstraint("mailing_id", "address"),
    Index("delivery_due", "mailing_id", "state", "next_attempt_at"),
    Index("delivery_address", "address"),
    Index("delivery_domain", "domain"),
    Index("delivery_follows", "follows_id", sqlite_where=sa.text("follows_id IS NOT NULL")),
    Index("delivery_instead", "instead_of_id", sqlite_where=sa.text("instead_of_id IS NOT NULL")),
    Index("delivery_lease", "lease", sqlite_where=sa.text("lease IS NOT NULL")),
)
excluded = Table(
    "excluded",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("mailing_id", ForeignKey("mailing.id"), nullable=False),
    Column("email", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    sa.UniqueConstraint("mailing_id", "email", "reason"),
)
attempt = Table(  # append-only
    "attempt",
    metadata,
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
suppression = Table(
    "suppression",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("value", Text, nullable=False, unique=True),  # an address key, @domain, or the hash of either
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("until", Float),
    # Nobody refused: the mailbox does not exist. Says nothing about the person's other addresses.
    Column("dead", Integer, nullable=False, default=0, server_default="0"),
)
slot = Table(  # transactions that reached RCPT, or may: what limits count
    "slot",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("ideal", Float, nullable=False),
    Column("domain_ideal", Float, nullable=False, server_default="0"),  # by the limits of the domain
    Index("slot_account", "account", "at"),
    Index("slot_domain", "domain", "at"),
)

slowed = Table(  # when a server last asked an account for less
    "slowed",
    metadata,
    Column("account", Text, primary_key=True),
    Column("gap", Float, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("resume_at", Float, nullable=False),
    Column("words", Text, nullable=False),
)

inbound = Table(  # append-only: mail that came back
    "inbound",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),  # of what makes it this mail, wherever it lies
    Column("source", Text, nullable=False),  # the account or the files
    Column("place", Text, nullable=False),  # folder or file, for people
    Column("at", Float, nullable=False),  # when it arrived
    Column("read_at", Float, nullable=False),
    Column("kind", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("name", Text, nullable=False),  # of the sender
    Column("subject", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("returns", Text),  # a date
    Column("reports", Text, nullable=False),  # JSON: what it says of recipients
    Column("text", Text, nullable=False),  # what a person wrote anew
    Column("raw", LargeBinary, nullable=False),  # zlib
    Index("inbound_message", "message_id"),
)
match = Table(  # append-only: whose letter a mail answers; the last one of a mail holds
    "match",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("inbound_id", ForeignKey("inbound.id"), nullable=False, index=True),
    Column("delivery_id", Integer, index=True),
    Column("how", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("acted", Text, nullable=False),  # what followed
    Column("pending", Integer, nullable=False),  # a person is to decide
    Column("at", Float, nullable=False),
)
mark = Table(  # append-only: what a person did for the ask; the last one of a delivery holds
    "mark",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("delivery_id", ForeignKey("delivery.id"), nullable=False, index=True),
    Column("inbound_id", Integer),
    Column("answer", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("link", Text, nullable=False),
    Column("due", Text),  # a date
    Column("answered_at", Float, nullable=False),
    Column("at", Float, nullable=False),
)
hold = Table(  # nothing leaves for these until a person has decided on the mail
    "hold",
    metadata,
    Column("address", Text, primary_key=True),
    Column("inbound_id", ForeignKey("inbound.id"), primary_key=True),
)
written = Table(  # what lies in a Sent folder, as far as it is ours or answers something
    "written",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("in_reply_to", Text, nullable=False, index=True),
    Column("at", Float, nullable=False),
)
bookmark = Table(  # how far a folder was read
    "bookmark",
    metadata,
    Column("place", Text, primary_key=True),
    Column("name", Text, primary_key=True),
)
reading = Table(  # when the mail of a source was last read to its end, and what went wrong since
    "reading",
    metadata,
    Column("source", Text, primary_key=True),
    Column("at", Float),
    Column("tried_at", Float, nullable=False),
    Column("error", Text, nullable=False),
)


def _add_files(connection: sa.Connection) -> None:
    """Version 2 keeps the files that travel with letters."""
    file.create(connection, checkfirst=True)


def _tell_dead_mailboxes(connection: sa.Connection) -> None:
    """Version 3 tells a mailbox that does not exist from somebody who asked to stop."""
    connection.execute(sa.text("ALTER TABLE suppression ADD COLUMN dead INTEGER NOT NULL DEFAULT 0"))
    bounced = sa.and_(suppression.c.source.like("mailing %"), suppression.c.reason.like("bad mailbox%"))
    connection.execute(sa.update(suppression).where(bounced).values(dead=1))


def _add_pace(connection: sa.Connection) -> None:
    """Version 4 keeps embargoes, what a server asked for, and a schedule for each domain."""
    connection.execute(sa.text("ALTER TABLE mailing ADD COLUMN not_before FLOAT NOT NULL DEFAULT 0"))
    connection.execute(sa.text("ALTER TABLE mailing ADD COLUMN not_before_said TEXT NOT NULL DEFAULT ''"))
    connection.execute(sa.text("ALTER TABLE slot ADD COLUMN domain_ideal FLOAT NOT NULL DEFAULT 0"))
    connection.execute(sa.update(slot).values(domain_ideal=slot.c.at))
    slowed.create(connection, checkfirst=True)


def _add_answers(connection: sa.Connection) -> None:
    """Version 5 keeps mail that came back, and which letters follow others."""
    for one in (inbound, match, mark, hold, written, bookmark, reading):
        one.create(connection, checkfirst=True)
    connection.execute(sa.text("ALTER TABLE mailing ADD COLUMN follows_id INTEGER"))
    connection.execute(sa.text("ALTER TABLE delivery ADD COLUMN follows_id INTEGER"))
    connection.execute(sa.text("ALTER TABLE delivery ADD COLUMN instead_of_id INTEGER"))
    for name, column in (("follows", "follows_id"), ("instead", "instead_of_id"), ("domain", "domain")):
        some = f" WHERE {column} IS NOT NULL" if column.endswith("_id") else ""
        index = f"CREATE INDEX IF NOT EXISTS delivery_{name} ON delivery ({column}){some}"
        connection.execute(sa.text(index))


# version → what makes it out of the one before
MIGRATIONS = {2: _add_files, 3: _tell_dead_mailboxes, 4: _add_pace, 5: _add_answers}
