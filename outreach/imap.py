"""Read an IMAP account: some folders, those of spam, and of sent mail the headers.

Nothing is changed: folders are opened with EXAMINE, mails fetched with BODY.PEEK. A bookmark is the highest
UID of a batch, kept under the URL of the folder with its UIDVALIDITY (RFC 5092): a folder that is numbered
anew is read anew. A mail that a server cannot show is passed over when it shows another one.
Fails with MailboxError (a folder that is not there) and ServerError (wire.py); the session is over then.
Known limit: IDLE watches the first folder, the others have to wait.
"""

from __future__ import annotations

import contextlib
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from outreach import batches, folders
from outreach.batches import Batch, Mail
from outreach.errors import MailboxError, ServerError, printable
from outreach.model import Server, Source
from outreach.wire import Refusal, Session, readable

HEADERS = ("Message-ID", "In-Reply-To", "References", "Date", "From", "To", "Subject")  # of a sent mail
_MOST_HEADERS = 80_000
_WINDOW = 400  # mails whose sizes are asked for at once; a command line stays below 8 kB (RFC 7162 §4)

_Known = Callable[[str], Collection[str]]


@dataclass(frozen=True, slots=True)
class _Folder:
    name: str
    sent: bool = False
    named: bool = False  # by the user: then it has to be there


class _Listed(NamedTuple):
    marks: set[bytes]  # in lower case
    path: list[str]


class _State(NamedTuple):
    """What EXAMINE said. A folder in the same state has nothing new."""

    validity: int
    exists: int
    following: int  # UIDNEXT, 0 where a server does not say


class Imap:
    """An account. See batches.Mailbox."""

    def __init__(self, source: Source, server: Server, password: str | None) -> None:
        self._source, self._server = source, server
        self._session = Session(server, password)
        self._states: dict[str, _State] = {}
        self._first = _Folder("INBOX")

    def batches(self, known: _Known, since: float = 0.0) -> Iterator[Batch]:
        found = self._folders()
        self._first = next((folder for folder in found if not folder.sent), self._first)
        for folder in found:
            yield from self._read(folder, known, since)

    def wait(self, seconds: float, stop: int | None = None) -> None:
        end = time.monotonic() + seconds
        if self._session.offers("IDLE"):
            before = self._states.get(self._first.name)
            state = self._examine(self._first)
            if before is not None and state != before:
                return
            with contextlib.suppress(Refusal):  # it offers IDLE, and does not do it
                while (left := end - time.monotonic()) > 0:
                    if self._session.idle(left, stop):
                        return
        readable(end - time.monotonic(), stop)

    def close(self) -> None:
        self._session.close()

    def _failed(self, what: str, refusal: Refusal) -> ServerError:
        return ServerError(f"{self._server}: {what}: {refusal.words}", "try again later")

    # Folders

    def _folders(self) -> list[_Folder]:
        """Sent mail first: answers refer to it."""
        there = self._list()
        taken = [_Folder(self._find(there, name), named=True) for name in self._source.folders]
        spam = self._special(there, self._source.spam, b"\\junk", "spam")
        sent = self._special(there, self._source.sent, b"\\sent", "sent")
        names = {folder.name for folder in taken}
        further = [folder for folder in [*sent, *spam] if folder.name not in names]
        found = {folder.name: folder for folder in [*taken, *further]}.values()
        return sorted(found, key=lambda folder: not folder.sent)

    def _list(self) -> dict[str, _Listed]:
        """Return the folders that can be opened."""
        client = self._session.client
        special = self._session.offers("SPECIAL-USE", "LIST-EXTENDED")
        try:
            listed = self._session.ask(client.list_special_folders if special else client.list_folders)
        except Refusal as refusal:
            raise self._failed("the folders cannot be listed", refusal) from refusal
        there = {}
        for attributes, separator, name in listed:
            marks = {attribute.lower() for attribute in attributes}
            if not {b"\\noselect", b"\\nonexistent"} & marks:
                there[name] = _Listed(marks, name.split(separator.decode()) if separator else [name])
        return there

    def _find(self, there: Collection[str], name: str) -> str:
        """Return the folder as the server spells it."""
        if name.upper() == "INBOX":  # RFC 3501 §5.1
            return "INBOX"
        for one in there:
            if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", name):
                return one
        raise MailboxError(
            printable(f"{self._server} has no folder {name!r}"),
            printable(f"it has: {', '.join(sorted(there))}")[:2000],
        )

    def _special(
        self, there: dict[str, _Listed], name: str | None, mark: bytes, use: Literal["spam", "sent"]
    ) -> list[_Folder]:
        sent = use == "sent"
        if name is not None:
            return [_Folder(self._find(there, name), sent, named=True)] if name else []
        marked = [one for one, listed in there.items() if mark in listed.marks]
        named = [one for one, listed in there.items() if folders.is_for(use, listed.path)]
        return [_Folder(one, sent) for one in marked or named]

    def _examine(self, folder: _Folder) -> _State | None:
        """Open a folder so that nothing can change in it; None when one that nobody named is closed to us."""
        try:
            said = self._session.ask(self._session.client.select_folder, folder.name, True)
        except Refusal as refusal:
            if not folder.named:
                return None
            raise self._failed(
                f"the folder {printable(folder.name)!r} cannot be opened", refusal
            ) from refusal
        return _State(said.get(b"UIDVALIDITY", 0), said.get(b"EXISTS", 0), said.get(b"UIDNEXT", 0))

    # Mails

    def _read(self, folder: _Folder, known: _Known, since: float) -> Iterator[Batch]:
        state = self._examine(folder)
        if state is None:
            return
        user, name = quote(self._server.user, safe=""), quote(folder.name)
        place = f"imap://{user}@{self._server.host}/{name};UIDVALIDITY={state.validity}"
        highest = max(map(int, known(place)), default=0)
        if state.exists and not 0 < state.following <= highest + 1:
            uids = self._search(folder, highest, since)
            for start in range(0, len(uids), _WINDOW):
                window = uids[start : start + _WINDOW]
                sizes = dict.fromkeys(window, _MOST_HEADERS) if folder.sent else self._sizes(window)
                for group in batches.grouped((uid, sizes.get(uid, batches.MOST)) for uid in window):
                    yield Batch(place, self._mails(folder, group), (str(group[-1]),), folder.sent)
        self._states[folder.name] = state

    def _search(self, folder: _Folder, highest: int, since: float) -> list[int]:
        """Return the UIDs above the highest one that is known, ascending."""
        criteria: list[Any] = ["UID", f"{highest + 1}:*"]
        if since > 0:
            criteria += ["SINCE", datetime.fromtimestamp(since, UTC).date() - timedelta(days=1)]
        try:
            found = self._session.ask(self._session.client.search, criteria)
        except Refusal as refusal:
            raise self._failed(f"the folder {printable(folder.name)!r}", refusal) from refusal
        # To `n:*` a server answers with its last mail even when that is below n (RFC 3501 §6.4.8).
        return sorted({uid for uid in found if uid > highest})

    def _sizes(self, uids: list[int]) -> dict[int, int]:
        try:
            answers = self._session.ask(self._session.client.fetch, uids, ["RFC822.SIZE"])
        except Refusal:
            return {}
        return {
            uid: min(answer.get(b"RFC822.SIZE", batches.MOST), batches.MOST)
            for uid, answer in answers.items()
        }

    def _mails(self, folder: _Folder, uids: list[int]) -> tuple[Mail, ...]:
        """Return those that are still there."""
        body = f"BODY.PEEK[]<0.{batches.MOST}>"
        if folder.sent:
            body = f"BODY.PEEK[HEADER.FIELDS ({' '.join(HEADERS)})]<0.{_MOST_HEADERS}>"
        where = printable(folder.name)
        try:
            answers = self._fetch(uids, body)
        except Refusal as refusal:
            raise self._failed(f"mails in {where!r} cannot be read", refusal) from refusal
        mails = []
        for uid in uids:
            answer = answers.get(uid, {})
            raw = next((value for key, value in answer.items() if key.startswith(b"BODY[")), None)
            if raw is not None:  # not NIL, and not only about flags
                arrived = answer.get(b"INTERNALDATE")
                mails.append(Mail(arrived.timestamp() if arrived else 0.0, raw[: batches.MOST], where))
        return tuple(mails)

    def _fetch(self, uids: list[int], body: str) -> dict[int, dict[bytes, Any]]:
        """Fetch; what is refused together one by one, as one mail may be broken on the server.

        Raises Refusal when the server shows none: then none is to be passed over.
        """
        found: dict[int, dict[bytes, Any]] = {}
        refused: Refusal | None = None
        for group in [uids, *([uid] for uid in uids)]:
            try:
                found |= self._session.ask(self._session.client.fetch, group, ["INTERNALDATE", body])
            except Refusal as refusal:
                if not refusal.skip:
                    refused = refusal
            else:
                if group is uids:
                    break
        if refused and not found:
            raise refused
        return found
