"""Read the mail that arrived: an IMAP account, a Maildir, an mbox file, a folder of .eml files.

Every source gives its new mails in small batches, each with the bookmarks that are to be kept with it; what
is bookmarked is not read again. Whoever keeps nothing reads everything anew, and the tail of an interrupted
read comes again, so the caller throws out doubles by their content.
Nothing is changed: folders are opened with EXAMINE, mails fetched with BODY.PEEK, files only read. The
certificate is always verified, and there is no login without TLS unless the server's setting says so.
IMAPClient speaks IMAP, over a connection of our own that ends what never ends: a silent server, an answer
of any length. After a failure the next `batches()` connects anew.
Fails with MailboxError (65: files, and folders that are not there) and ServerError (69 unreachable or cut
off, 77 login refused). A mail that a server cannot show, twice, is left out when it shows another one.
Known limits: no OAuth, no proxy; IDLE watches the first folder, the others have to wait; a Maildir's folders
are those of Maildir++; an mbox is not locked; of a mail only the first MOST bytes are read.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import imaplib
import io
import itertools
import logging
import os
import re
import selectors
import socket
import ssl
import stat
import time
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import imapclient  # type: ignore[import-untyped]
from imapclient import imap_utf7

from outreach.connection import tls_context
from outreach.errors import Exit, MailboxError, ServerError, printable
from outreach.model import Security, Server, Source

MOST = 2_000_000  # bytes of a mail that are read; what is longer is cut there

_BATCH_MAILS, _BATCH_BYTES = 50, 4_000_000
_CONNECT_SECONDS = 30.0  # for one address of the server
_ANSWER_SECONDS = 60.0  # of silence in an answer
_WHOLE_SECONDS = 600.0  # for a whole answer: a batch over a slow line
_BRIEF_SECONDS = 3.0  # for what is only polite
_ALIVE_SECONDS = 15.0  # for a connection that was left alone
_IDLE_SECONDS = 25 * 60.0  # servers end a session after 30 minutes (RFC 2177)
_POLL_SECONDS = 1.0  # between two looks at folders of files
_MOST_BYTES = 64 * 1024 * 1024  # of one answer of a server
_MOST_LINE = 8 * 1024 * 1024  # a million UIDs
_MOST_HEADERS = 80_000  # of a mail in a Sent folder
_MOST_WORDS = 300
_WINDOW = 400  # mails whose sizes are asked for at once; a command line stays below 8 kB (RFC 7162 §4)

_HEADERS = ("Message-ID", "In-Reply-To", "References", "Date", "From", "To", "Subject")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# The library writes what goes over the wire, logins and mails, to its loggers.
logging.getLogger("imapclient").setLevel(logging.CRITICAL + 1)
logging.getLogger("imapclient").propagate = False

_NEWS = ("EXISTS", "RECENT")
_BAD = re.compile(r"""\w+ command error: BAD \[(b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*")\]""")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it arrived; of a Sent folder only some headers."""

    at: float  # when it arrived: INTERNALDATE; of files their mtime; of mbox the From_ line's date, else 0.0
    raw: bytes  # at most MOST bytes
    where: str  # for people: the folder, or the file


@dataclass(frozen=True, slots=True)
class Batch:
    """Some mails, and what is to be remembered in the same commit. Without mails: they had gone."""

    place: str  # under what the bookmarks are kept
    mails: tuple[Mail, ...]
    bookmarks: tuple[str, ...]
    sent: bool = False  # from a Sent folder


class Mailbox(Protocol):
    """Where answers arrive."""

    def batches(self, known: Callable[[str], Collection[str]], since: float = 0.0) -> Iterator[Batch]:
        """Yield the mails whose bookmark is not known; `known` gives the bookmarks kept for a place.

        `since` (seconds since the epoch, IMAP only): what arrived before the day before is not read. A later
        read with an earlier `since` does not go back behind the bookmarks.
        """
        ...

    def wait(self, seconds: float, stop: int | None = None) -> None:
        """Return when there may be something new, after `seconds`, or when `stop` can be read from."""
        ...

    def close(self) -> None:
        """End the session, if there is one."""
        ...


def open_mailbox(source: Source, password: str | None) -> Mailbox:
    """Open a source of mail: log in, or look whether the files are there."""
    match source.kind:
        case "imap":
            return _Imap(source, password)
        case "maildir":
            return _Maildir(source)
        case "mbox":
            return _Mbox(source)
        case "eml":
            return _Letters(source)
        case kind:
            raise MailboxError(f"{kind!r} is no kind of mailbox", "there are imap, maildir, mbox and eml")


# Which folders hold spam and sent mail, where the server does not say so (RFC 6154).


def _words(text: str) -> frozenset[str]:
    return frozenset(_plain(word) for word in text.split("|"))


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


_SPAM = _words(
    "spam|junk|junk e-mail|junk email|junk mail|junk-e-mail|junkmail|bulk|bulk mail|spambox|spamverdacht"
    "|spam-verdacht|unerwünscht|unerwünschte werbung|courrier indésirable|indésirables"
    "|pourriel|pourriels|correo no deseado|no deseado|correo basura|basura|lixo eletrônico"
    "|lixo electrónico|posta indesiderata|indesiderata|ongewenst|ongewenste e-mail|ongewenste reclame"
    "|спам|нежелательная почта|небажана пошта|непажаданая пошта|нежелана поща|wiadomości-śmieci"
    "|wiadomości śmieci|niechciane|nevyžádaná pošta|nevyžiadaná pošta|levélszemét|nedorite"
    "|mesaje nedorite|skräppost|søppelpost|uønsket mail|uønsket e-mail|roskaposti|neželjena pošta"
    "|neželena pošta|ανεπιθύμητα|ανεπιθύμητη αλληλογραφία|istenmeyen|istenmeyen e-posta|gereksiz"
    "|gereksiz e-posta|önemsiz e-posta|迷惑メール|垃圾邮件|垃圾郵件|스팸|스팸함|정크 메일|البريد العشوائي"
    "|البريد غير الهام|بريد مزعج|הודעות זבל|דואר זבל|ספאם|هرزنامه"
)
_SENT = _words(
    "sent|sent mail|sent-mail|sent items|sent messages|sent objects|sent e-mail|gesendet"
    "|gesendete|gesendete objekte|gesendete elemente|gesendete nachrichten|envoyés"
    "|envoyé|messages envoyés|éléments envoyés|courrier envoyé|objets envoyés|enviados|enviado"
    "|elementos enviados|mensajes enviados|correo enviado|itens enviados|mensagens enviadas|enviadas"
    "|e-mails enviados|inviati|inviata|posta inviata|messaggi inviati|elementi inviati|verzonden"
    "|verzonden items|verzonden berichten|отправленные|отправленное|надіслані|відправлені"
    "|адпраўленыя|изпратени|wysłane|elementy wysłane|poczta wysłana|odeslané|odeslaná pošta|odoslané"
    "|odoslaná pošta|elküldött|elküldött elemek|elküldött üzenetek|trimise|elemente trimise"
    "|mesaje trimise|skickat|skickade|skickade objekt|sendt|sendte|sendte elementer|sendt post|lähetetyt"
    "|lähetetyt kohteet|poslano|poslane stavke|poslato|απεσταλμένα|σταλμένα|gönderilmiş|gönderilenler"
    "|gönderilmiş öğeler|gönderilmiş postalar|送信済み|送信済みアイテム|送信済みメール|已发送|已发送邮件"
    "|已傳送|寄件備份|已傳送的郵件|보낸편지함|보낸 편지함|보낸 메일함|المرسلة|البريد المرسل"
    "|العناصر المرسلة|الرسائل المرسلة|נשלח|נשלחו|דואר שנשלח|הודעות שנשלחו|פריטים שנשלחו"
    "|ارسال شده|فرستاده‌ شده"
)
_ABOVE = _words("inbox|[gmail]|[google mail]|mail")  # where such folders may lie besides the top


def _is_one_of(names: frozenset[str], parts: Sequence[str]) -> bool:
    *above, last = map(_plain, parts)
    return last in names and all(part in _ABOVE for part in above)


# IMAP


@dataclass(frozen=True, slots=True)
class _Folder:
    name: str
    sent: bool = False
    named: bool = False  # by the user: then it has to be there


@dataclass(frozen=True, slots=True)
class _State:
    """What EXAMINE said. A folder in the same state has nothing new."""

    validity: int
    exists: int
    following: int  # UIDNEXT, 0 where a server does not say


class _Refusal(Exception):
    """The server did not do one thing; the session goes on."""

    def __init__(self, words: str, nonsense: bool = False) -> None:
        super().__init__(words)
        self.words, self.nonsense = words, nonsense


class _Imap:
    def __init__(self, source: Source, password: str | None) -> None:
        assert source.server is not None
        self._source, self._server, self._password = source, source.server, password
        self._client: Any = None
        self._examined = ""
        self._states: dict[str, _State] = {}
        self._first = ""
        self._connect()

    def batches(self, known: Callable[[str], Collection[str]], since: float = 0.0) -> Iterator[Batch]:
        self._revive()
        folders = self._folders()
        self._first = next((folder.name for folder in folders if not folder.sent), "")
        for folder in folders:
            yield from self._read(folder, known, since)

    def wait(self, seconds: float, stop: int | None = None) -> None:
        end = time.monotonic() + seconds
        folder = _Folder(self._first or "INBOX")
        # Without a connection there was a failure, and the caller lets some time pass.
        if self._client is not None and self._offers("IDLE"):
            before = self._states.get(folder.name)
            state = self._examine(folder)
            if before is not None and state is not None and state != before:
                return
            try:
                while state is not None and (left := end - time.monotonic()) > 0:
                    if self._ask(self._idle, min(left, _IDLE_SECONDS), stop):
                        return
            except _Refusal:
                pass  # it offers IDLE, and does not do it
        _readable(end - time.monotonic(), stop)

    def close(self) -> None:
        client, self._client, self._examined = self._client, None, ""
        if client is None:
            return
        client.wire.hurry(_BRIEF_SECONDS)
        with contextlib.suppress(Exception):
            client.wire.logout()
        with contextlib.suppress(Exception):
            client.wire.shutdown()

    # The session

    def _connect(self) -> None:
        client = None
        try:
            client = _Client(self._server)
            self._log_in(client.wire)
        except ServerError:
            _abandon(client)
            raise
        except Exception as error:
            _abandon(client)
            # Without the cause: it may quote what was sent.
            raise _explain(self._server, error, self._password) from None
        except BaseException:
            _abandon(client)
            raise
        self._client = client

    def _log_in(self, wire: _Wire) -> None:
        user, password, where = self._server.user, self._password or "", str(self._server)
        if wire.state != "NONAUTH":
            return  # a server of one's own that asks for nothing
        if not user or not password:
            raise ServerError(
                f"{where} wants a login, and there is no user or no password",
                "set OUTREACH_IMAP_USER and OUTREACH_IMAP_PASSWORD_COMMAND",
                exit_code=Exit.REFUSED,
            )
        if not set(user + password).isdisjoint("\0\r\n"):
            raise ServerError(
                "the login name or password has a line break", "check both", exit_code=Exit.REFUSED
            )
        try:
            if "AUTH=PLAIN" in wire.capabilities:
                wire.authenticate("PLAIN", _Once(f"\0{user}\0{password}".encode()))
            elif "LOGINDISABLED" in wire.capabilities:
                raise ServerError(f"{where} takes no login over this connection", "use imaps:// and port 993")
            elif not (user + password).isascii():
                raise ServerError(
                    f"the login name or password has letters outside ASCII, which {where} cannot take",
                    "make an app password, or change the password",
                    exit_code=Exit.REFUSED,
                )
            else:
                wire.login(_quoted(user), password)  # which quotes the password, and only that
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            words = _said(error, self._password)
            if re.search(
                r"\[(UNAVAILABLE|INUSE|LIMIT)\]", words
            ):  # RFC 5530: nothing is wrong with the login
                raise ServerError(f"{where} does not let us in now: {words}", "try again later") from None
            raise ServerError(
                f"{where} refuses the login: {words}",
                "check OUTREACH_IMAP_USER and the password; many providers want an app password",
                exit_code=Exit.REFUSED,
            ) from None

    def _revive(self) -> None:
        """Connect when there is no connection, or one that died in its sleep."""
        if self._client is not None:
            wire = self._client.wire
            try:
                wire.hurry(_ALIVE_SECONDS)
                wire.noop()
                wire.hurry()
            except (OSError, imaplib.IMAP4.error):
                self._drop()
        if self._client is None:
            self._connect()

    def _drop(self) -> None:
        client, self._client, self._examined = self._client, None, ""
        _abandon(client)

    def _ask(self, method: Callable[..., _T], *arguments: Any) -> _T:
        """Do one thing with the server. Raises _Refusal, and ServerError when the session is over."""
        try:
            return method(*arguments)
        except (OSError, imaplib.IMAP4.abort) as error:
            self._drop()
            raise _explain(self._server, error, self._password) from error
        except imapclient.exceptions.ProtocolError as error:
            raise _Refusal(_said(error, self._password), nonsense=True) from error
        except imaplib.IMAP4.error as error:
            raise _Refusal(_said(error, self._password)) from error
        except Exception as error:  # the parsers trust the server to some degree
            raise _Refusal(f"an answer that makes no sense ({type(error).__name__})", True) from error
        except BaseException:
            self._drop()  # what was under way is left half done
            raise

    def _offers(self, capability: str) -> bool:
        try:
            return bool(self._ask(self._client.has_capability, capability))
        except _Refusal:
            return False

    def _failed(self, what: str, words: str) -> ServerError:
        return ServerError(f"{self._server}: {what}: {words}"[: _MOST_WORDS + 200], "try again later")

    # Folders

    def _folders(self) -> list[_Folder]:
        """Sent mail first: answers refer to it."""
        there = self._list()
        taken = [_Folder(self._find(there, name), named=True) for name in self._source.folders]
        spam = self._special(there, self._source.spam, b"\\junk", _SPAM, sent=False)
        sent = self._special(there, self._source.sent, b"\\sent", _SENT, sent=True)
        names = {folder.name for folder in taken}
        found = {folder.name: folder for folder in [*sent, *spam] if folder.name not in names}
        return [
            *(folder for folder in found.values() if folder.sent),
            *dict.fromkeys(taken),
            *(folder for folder in found.values() if not folder.sent),
        ]

    def _list(self) -> dict[str, tuple[list[bytes], str]]:
        """Return the folders that can be opened: name → attributes in lower case, separator of levels."""
        client = self._client
        listed: list[tuple[Any, Any, Any]] = []
        if self._offers("SPECIAL-USE"):
            with contextlib.suppress(_Refusal):
                listed = self._ask(client.list_special_folders)
        try:
            listed = listed or self._ask(client.list_folders)
        except _Refusal as refusal:
            raise self._failed("the folders cannot be listed", refusal.words) from refusal
        there = {}
        for attributes, separator, name in listed:
            lower = [
                bytes(attribute).lower() for attribute in attributes or () if isinstance(attribute, bytes)
            ]
            if isinstance(name, str) and not {b"\\noselect", b"\\nonexistent"} & set(lower):
                there[name] = (lower, separator.decode() if isinstance(separator, bytes) else "")
        return there

    def _find(self, there: Collection[str], name: str) -> str:
        """Return the folder as the server spells it."""
        if name in there:
            return name
        for one in there:
            if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", name):
                return one
            if one.upper() == name.upper() == "INBOX":  # RFC 3501 §5.1
                return one
        if name.upper() == "INBOX":
            return name  # it is always there, listed or not
        folders = ", ".join(sorted(there))
        raise MailboxError(
            printable(f"{self._server} has no folder {name!r}"),
            printable(f"it has: {folders}")[:2000] if folders else "it lists no folder at all",
        )

    def _special(
        self,
        there: dict[str, tuple[list[bytes], str]],
        name: str | None,
        attribute: bytes,
        names: frozenset[str],
        sent: bool,
    ) -> list[_Folder]:
        if name is not None:
            return [_Folder(self._find(there, name), sent, named=True)] if name else []
        marked = [one for one, (attributes, _) in there.items() if attribute in attributes]
        named = [
            one
            for one, (_, separator) in there.items()
            if _is_one_of(names, one.split(separator) if separator else [one])
        ]
        return [_Folder(one, sent) for one in marked or named]

    def _examine(self, folder: _Folder) -> _State | None:
        """Open a folder so that nothing can change in it; None when one that nobody named is closed to us."""
        self._examined = ""
        try:
            answer = self._ask(self._client.select_folder, folder.name, True)
        except _Refusal as refusal:
            if not folder.named and not refusal.nonsense:
                return None
            raise self._failed(
                f"the folder {printable(folder.name)!r} cannot be opened", refusal.words
            ) from refusal
        if b"UIDVALIDITY" not in answer:
            raise self._failed(
                f"the folder {printable(folder.name)!r}", "it does not number its mails for good"
            )
        self._examined = folder.name
        return _State(answer[b"UIDVALIDITY"], answer.get(b"EXISTS", 0), answer.get(b"UIDNEXT", 0))

    def _place(self, folder: _Folder, validity: int) -> str:
        user, host = quote(self._server.user, safe=""), self._server.host
        return f"imap://{user}@{host}/{quote(folder.name)};UIDVALIDITY={validity}"  # RFC 5092

    # Mails

    def _read(
        self, folder: _Folder, known: Callable[[str], Collection[str]], since: float
    ) -> Iterator[Batch]:
        state = self._examine(folder)
        if state is None:
            return
        place = self._place(folder, state.validity)
        highest = max((int(mark) for mark in known(place) if mark.isascii() and mark.isdigit()), default=0)
        if state.exists and not 0 < state.following <= highest + 1:
            uids = self._search(folder, highest, since)
            for start in range(0, len(uids), _WINDOW):
                yield from self._window(folder, state, place, uids[start : start + _WINDOW])
        self._states[folder.name] = state

    def _window(self, folder: _Folder, state: _State, place: str, uids: list[int]) -> Iterator[Batch]:
        self._return_to(folder, state)
        sizes: dict[int, int] = dict.fromkeys(uids, _MOST_HEADERS) if folder.sent else self._sizes(uids)
        for group in _groups(uids, sizes):
            self._return_to(folder, state)
            yield Batch(place, tuple(self._mails(folder, group)), (str(group[-1]),), folder.sent)

    def _return_to(self, folder: _Folder, state: _State) -> None:
        """Open the folder again if the caller did something else between two batches."""
        if self._client is None:
            raise ServerError(f"{self._server}: the connection is closed", "try again")
        if self._examined != folder.name:
            now = self._examine(folder)
            if now is None or now.validity != state.validity:
                name = printable(folder.name)
                raise ServerError(f"{self._server}: the folder {name!r} has become another one", "try again")

    def _search(self, folder: _Folder, highest: int, since: float) -> list[int]:
        """Return the UIDs above the highest one that is known, ascending."""
        criteria = ["UID", f"{highest + 1}:*"]
        if since > 0:
            day = datetime.fromtimestamp(since, UTC) - timedelta(days=1)
            criteria += ["SINCE", f"{day.day}-{_MONTHS[day.month - 1]}-{day.year}"]
        try:
            kind, lines = self._ask(self._client.wire.uid, "SEARCH", *criteria)
        except _Refusal as refusal:
            raise self._failed(f"the folder {printable(folder.name)!r}", refusal.words) from refusal
        if kind != "OK":
            raise self._failed(f"the folder {printable(folder.name)!r}", _clean(lines[-1], self._password))
        found = {
            int(number)
            for line in lines
            if isinstance(line, bytes)
            for number in line.partition(b"(")[0].split()  # after that: MODSEQ
            if number.isdigit() and len(number) <= 10
        }
        # To `n:*` a server answers with its last mail even when that is below n (RFC 3501 §6.4.8).
        return sorted(uid for uid in found if uid > highest)

    def _sizes(self, uids: list[int]) -> dict[int, int]:
        try:
            answers = self._ask(self._client.fetch, uids, ["RFC822.SIZE"])
        except _Refusal:
            return {}
        sizes = {uid: answer.get(b"RFC822.SIZE") for uid, answer in answers.items()}
        return {uid: size for uid, size in sizes.items() if isinstance(size, int)}

    def _mails(self, folder: _Folder, uids: list[int]) -> Iterator[Mail]:
        """Return those that are still there; what is missing in an answer is asked for once more."""
        body = f"BODY.PEEK[]<0.{MOST}>"
        if folder.sent:
            body = f"BODY.PEEK[HEADER.FIELDS ({' '.join(_HEADERS)})]<0.{_MOST_HEADERS}>"
        found, refused = self._fetch(uids, body)
        if missing := [uid for uid in uids if uid not in found]:
            again, refused = self._fetch(missing, body)
            found |= again
        # One mail may be broken on the server. When it shows none, it is the server, and none is passed over.
        if refused and not found:
            raise self._failed(f"mails in {printable(folder.name)!r} cannot be read", refused[-1])
        return (Mail(*found[uid], printable(folder.name)) for uid in uids if uid in found)

    def _fetch(self, uids: list[int], body: str) -> tuple[dict[int, tuple[float, bytes]], list[str]]:
        """Return uid → time of arrival, bytes; and the refusals. What is refused is asked for one by one."""
        found: dict[int, tuple[float, bytes]] = {}
        try:
            answers = self._ask(self._client.fetch, uids, ["INTERNALDATE", body])
        except _Refusal as refusal:
            if len(uids) > 1:
                refused = []
                for uid in uids:
                    one, words = self._fetch([uid], body)
                    found |= one
                    refused += words
                return found, refused
            # What makes no sense now will not later; a mail that is gone is no failure (RFC 5530).
            passing = refusal.nonsense or "[EXPUNGEISSUED]" in refusal.words
            return {}, [] if passing else [refusal.words]
        for uid, answer in answers.items():
            if (mail := _mail_of(answer)) is not None:
                found[uid] = mail
        return found, []

    def _idle(self, seconds: float, stop: int | None) -> bool:
        """Wait until the server says something; tell whether the caller has something to do now."""
        wire = self._client.wire
        wire.begin_idle()
        at_once = wire.buffered() or wire.has_news()
        ready = _readable(0.0 if at_once else seconds, stop, wire.sock.fileno())
        stopped = stop is not None and stop in ready
        if stopped:
            wire.hurry(_BRIEF_SECONDS)
        try:
            wire.end_idle()
        except (OSError, imaplib.IMAP4.abort):
            if not stopped:
                raise
            self._drop()
            return True
        wire.hurry()
        return stopped or wire.has_news()


def _mail_of(answer: dict[bytes, Any]) -> tuple[float, bytes] | None:
    """Return the time of arrival and the bytes; None without a body (NIL, or about something else)."""
    raw = next((value for key, value in answer.items() if key.startswith(b"BODY[")), None)
    if not isinstance(raw, bytes):
        return None
    at = 0.0
    if isinstance(arrived := answer.get(b"INTERNALDATE"), datetime):
        with contextlib.suppress(ValueError, OverflowError):  # a zone of 99 hours
            at = (arrived if arrived.tzinfo else arrived.replace(tzinfo=UTC)).timestamp()
    return at, raw[:MOST]


def _groups(uids: list[int], sizes: dict[int, int]) -> Iterator[list[int]]:
    """Put together what makes a batch; a mail of unknown size counts as long."""
    group: list[int] = []
    total = 0
    for uid in uids:
        size = min(sizes.get(uid, MOST), MOST)
        if group and (len(group) == _BATCH_MAILS or total + size > _BATCH_BYTES):
            yield group
            group, total = [], 0
        group.append(uid)
        total += size
    if group:
        yield group


class _Client(imapclient.IMAPClient):  # type: ignore[misc]
    """The library, on our connection."""

    wire: _Wire

    def __init__(self, server: Server) -> None:
        self._server = server
        super().__init__(server.host, server.port, ssl=False, timeout=_ANSWER_SECONDS)
        self._imap.debug = 0  # it would format every mail for a log that nobody reads
        self.normalise_times = False  # times with their zone

    def _create_IMAP4(self) -> _Wire:
        self.wire = _Wire(self._server)
        return self.wire

    def list_special_folders(self) -> list[tuple[Any, Any, Any]]:
        """List as `list_folders()`, and ask for the special use (RFC 6154 §5.2)."""
        lines = self._raw_command_untagged(b"LIST", [b'""', b'"*"', b"RETURN", b"(SPECIAL-USE)"], uid=False)
        return list(self._proc_folder_list(lines))


class _Wire(imaplib.IMAP4):
    """A connection. Every answer has to come in time and to end; with TLS before anything of ours is said."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self.hurry()
        super().__init__(server.host, server.port)
        if server.security is Security.STARTTLS:
            try:
                self._start_tls()
            except BaseException:
                self.shutdown()
                raise

    def hurry(self, seconds: float | None = None) -> None:
        """From the next command on be content with so little time; without an argument: with the usual."""
        self._silence = _ANSWER_SECONDS if seconds is None else seconds
        self._whole = _WHOLE_SECONDS if seconds is None else seconds

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        server = self._server
        # Loading the authorities takes longer than a whole session without TLS.
        self._context = None if server.security is Security.OFF else _context(server)
        self.host, self.port = server.host, server.port
        self.sock = socket.create_connection((server.host, server.port), _CONNECT_SECONDS)
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if server.security is Security.TLS:
            self._wrap()
        self._expect()

    def _wrap(self) -> None:
        assert self._context is not None
        self.sock.settimeout(_ANSWER_SECONDS)  # for the whole handshake
        self.sock = self._context.wrap_socket(
            self.sock, server_hostname=self._server.tls_name or self._server.host
        )

    def _start_tls(self) -> None:
        where = str(self._server)
        if self.state != "NONAUTH":  # a greeting in between may claim that, to keep TLS away
            raise ServerError(f"{where} says that we are logged in, before TLS", "use imaps:// and port 993")
        if "STARTTLS" not in self.capabilities:
            raise ServerError(
                f"{where}: it offers no STARTTLS, so password and mails would travel in plain text",
                "try imaps:// and port 993, or ask the provider",
            )
        kind, data = self._simple_command("STARTTLS")
        if kind != "OK":
            raise ServerError(f"{where} refuses STARTTLS: {_clean(data[-1])}", "try imaps:// and port 993")
        if self._buffer:  # it may come from before TLS (CVE-2021-33515)
            raise ServerError(f"{where} spoke out of turn before TLS", "use imaps:// and port 993")
        self._wrap()
        self.untagged_responses.clear()
        self._get_capabilities()

    def _expect(self) -> None:
        self._left, self._deadline = _MOST_BYTES, time.monotonic() + self._whole

    def send(self, data: Any) -> None:
        self._expect()
        self.sock.settimeout(self._silence)
        self.sock.sendall(data)

    def _fill(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.sock.settimeout(min(left, self._silence))
        data = self.sock.recv(65536)
        if not data:
            raise self.abort("EOF")
        self._left -= len(data)
        if self._left < 0:
            raise self.abort("its answer never ends")
        self._buffer += data

    def _take(self, size: int) -> bytes:
        with memoryview(self._buffer) as view:
            data = bytes(view[:size])
        del self._buffer[:size]
        return data

    def read(self, size: int) -> bytes:
        if size > _MOST_BYTES:
            raise self.abort("it sends far more than was asked for")
        while len(self._buffer) < size:
            self._fill()
        return self._take(size)

    def readline(self) -> bytes:
        looked = 0
        while (end := self._buffer.find(b"\n", looked)) < 0:
            looked = len(self._buffer)
            if looked > _MOST_LINE:
                raise self.abort("a line of its answer never ends")
            self._fill()
        return self._take(end + 1)

    def buffered(self) -> bool:
        """Tell whether there is something to read that waiting for the socket would not notice."""
        return bool(self._buffer or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()))

    def shutdown(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def begin_idle(self) -> None:
        """Send IDLE. Some servers say what is new before they agree, where the library gives up."""
        for name in _NEWS:
            self.untagged_responses.pop(name, None)
        self._idle_tag = self._command("IDLE")
        while self._get_response() is not None:
            if self.tagged_commands.get(self._idle_tag):
                refusal = self.tagged_commands.pop(self._idle_tag)
                raise self.error(str(refusal))

    def has_news(self) -> bool:
        """Tell whether mails came since IDLE began; flags and removals are no news."""
        return not self.untagged_responses.keys().isdisjoint(_NEWS)

    def end_idle(self) -> None:
        """Send DONE, and read to the end of the answer."""
        self.send(b"DONE\r\n")
        self._command_complete("IDLE", self._idle_tag)


def _context(server: Server) -> ssl.SSLContext:
    try:
        return tls_context(server)
    except OSError as error:
        raise ServerError(
            f"the authority {printable(server.ca_file)} cannot be read: {error.strerror or error}",
            "check ?ca=FILE in OUTREACH_IMAP_URL",
        ) from None


class _Once:
    """Answers one challenge; the server that goes on asking would be answered for ever."""

    def __init__(self, answer: bytes) -> None:
        self._answer: bytes | None = answer

    def __call__(self, challenge: bytes) -> bytes:
        answer, self._answer = self._answer, None
        if answer is None:
            raise imaplib.IMAP4.abort("it goes on asking after the login was sent")
        return answer


def _abandon(client: Any) -> None:
    if client is not None:
        with contextlib.suppress(Exception):
            client.wire.shutdown()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _forms(password: str) -> tuple[str, ...]:
    """Return all that a password looks like on the wire, but for what AUTHENTICATE makes of it."""
    return _quoted(password)[1:-1], password


def _readable(seconds: float, *files: int | None) -> set[int]:
    """Wait for any of the files; return those that can be read from."""
    with selectors.DefaultSelector() as selector:
        for file in files:
            if file is not None:
                selector.register(file, selectors.EVENT_READ)
        if not selector.get_map():
            time.sleep(max(0.0, seconds))
            return set()
        return {key.fd for key, _ in selector.select(max(0.0, seconds))}


def _said(error: Exception, password: str | None) -> str:
    """Return a server's words out of an error of the library."""
    words = error.args[0] if error.args else type(error).__name__
    if isinstance(words, str) and (bad := _BAD.fullmatch(words)):
        words = ast.literal_eval(bad[1])  # the library puts them down as Python writes bytes
    return _clean(words, password)


def _clean(words: object, password: str | None = None) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    for secret in _forms(password) if password else ():
        text = text.replace(secret, "…")  # some servers quote the command that they refuse
    return printable(text)[:_MOST_WORDS]


def _explain(server: Server, error: Exception, password: str | None) -> ServerError:
    """Turn a failure into one sentence and the next step."""
    where = str(server)
    match error:
        case ServerError():
            return error
        case ssl.SSLCertVerificationError():
            return ServerError(
                f"{where}: the certificate does not verify: {error.verify_message}",
                "check the host in OUTREACH_IMAP_URL (?tls_name=NAME; ?ca=FILE for an authority of your own)",
            )
        case ssl.SSLError():
            return ServerError(
                f"{where}: no secure connection: {error.reason or error}",
                "imaps:// is for port 993, imap:// for port 143",
            )
        case socket.gaierror():
            return ServerError(
                f"{server.host} is not found", "check the spelling in OUTREACH_IMAP_URL, and the network"
            )
        case TimeoutError():
            return ServerError(
                f"{where} does not answer", "check host and port, and whether a firewall is between"
            )
        case ConnectionRefusedError():
            return ServerError(f"{where} refuses connections: nothing listens there", "check host and port")
        case imaplib.IMAP4.abort() if "EOF" in str(error) or "socket error" in str(error):
            return ServerError(f"{where} closed the connection", "try again later")
        case imaplib.IMAP4.error():
            return ServerError(f"{where} does not go on: {_said(error, password)}", "try again later")
        case OSError():
            return ServerError(f"{where} cannot be reached: {error.strerror or error}", "check the network")
        case _:
            # Not its text: an encoding error, for one, quotes the password.
            return ServerError(
                f"{where} answers what makes no sense ({type(error).__name__})", "try again later"
            )


# Files


class _Files:
    """What the sources have in common that are files."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._path = Path(source.path)
        self._watched: dict[Path, tuple[int, int] | None] = {}
        with _reading(self._path):
            self._check(self._path.stat())

    def _check(self, status: os.stat_result) -> None:
        raise NotImplementedError

    def wait(self, seconds: float, stop: int | None = None) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if any(_stamp(path) != stamp for path, stamp in self._watched.items()):
                return
            if _readable(min(left, _POLL_SECONDS), stop):
                return

    def close(self) -> None:
        pass

    def _watch(self, path: Path) -> None:
        """Note how it looks before it is read."""
        self._watched[path] = _stamp(path)

    def _place(self, path: Path) -> str:
        return f"{self._source.kind}:{_text(path.resolve())}"


class _Maildir(_Files):
    """A Maildir, with its Maildir++ subfolders. A bookmark is a unique name, which a mail keeps for good."""

    def _check(self, status: os.stat_result) -> None:
        if not _is_maildir(self._path):
            raise MailboxError(
                f"{printable(_text(self._path))} is not a Maildir",
                "a Maildir is a folder with new/, cur/ and tmp/",
            )

    def batches(self, known: Callable[[str], Collection[str]], since: float = 0.0) -> Iterator[Batch]:
        self._watched = {}
        for folder, sent in self._folders():
            place = self._place(folder)
            yield from _batches(place, self._read(folder, sent, frozenset(known(place))), sent)

    def _folders(self) -> list[tuple[Path, bool]]:
        self._watch(self._path)
        with _reading(self._path):
            inside = sorted(path for path in self._path.iterdir() if path.name.startswith("."))
        folders = [(path, self._is_sent(path.name)) for path in inside if path.is_dir() and _is_maildir(path)]
        # Sent mail first: answers refer to it.
        return sorted([(self._path, False), *folders], key=lambda folder: not folder[1])

    def _is_sent(self, name: str) -> bool:
        parts = name.lstrip(".").split(".")
        with contextlib.suppress(ValueError):
            parts = [imap_utf7.decode(part.encode()) for part in parts]
        if self._source.sent is None:
            return _is_one_of(_SENT, parts)
        return bool(self._source.sent) and self._source.sent.lstrip(".") in ("/".join(parts), ".".join(parts))

    def _read(self, folder: Path, sent: bool, known: frozenset[str]) -> Iterator[tuple[Mail, str]]:
        for name in ("new", "cur"):
            self._watch(folder / name)
        there = _list_maildir(folder)
        for unique in sorted(there.keys() - known):
            if unique not in there:
                continue
            read = _read_file(there[unique])
            if read is None:  # it was read or flagged by another program, or it is gone
                there = _list_maildir(folder)
                read = _read_file(there[unique]) if unique in there else None
            if read is not None:
                raw, status = read
                raw = _headers_of(raw) if sent else raw
                yield Mail(status.st_mtime, raw, printable(_text(there[unique]))), unique


def _is_maildir(path: Path) -> bool:
    return (path / "new").is_dir() and (path / "cur").is_dir()


def _list_maildir(folder: Path) -> dict[str, str]:
    """Return unique name → file. A mail that goes from new to cur meanwhile is found in one of both."""
    there = {}
    for name in ("new", "cur"):
        path = str(folder / name)
        with contextlib.suppress(FileNotFoundError), _reading(path, gone=True), os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    there[_text(entry.name.partition(":")[0])] = entry.path
    return there


def _headers_of(raw: bytes) -> bytes:
    """Keep of a mail what is kept of a Sent folder."""
    wanted = {name.lower().encode() for name in _HEADERS}
    kept = []
    keep = False
    for line in io.BytesIO(raw):
        if not line.strip():
            break
        if not line.startswith((b" ", b"\t")):
            keep = line.partition(b":")[0].strip().lower() in wanted
        if keep:
            kept.append(line)
    return b"".join(kept)[:_MOST_HEADERS]


class _Letters(_Files):
    """A folder of .eml files with all that is in it, or one such file. A bookmark is size, time and name."""

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
            raise MailboxError(f"{printable(str(self._path))} is neither a folder nor a file")

    def batches(self, known: Callable[[str], Collection[str]], since: float = 0.0) -> Iterator[Batch]:
        self._watched = {}
        place = self._place(self._path)
        yield from _batches(place, self._read(frozenset(known(place))))

    def _read(self, known: frozenset[str]) -> Iterator[tuple[Mail, str]]:
        for path, relative in self._files():
            with contextlib.suppress(FileNotFoundError), _reading(path, gone=True):
                if _letter_mark(path.stat(), relative) in known:
                    continue
            read = _read_file(path)
            if read is not None:
                raw, status = read
                yield Mail(status.st_mtime, raw, printable(_text(path))), _letter_mark(status, relative)

    def _files(self) -> Iterator[tuple[Path, str]]:
        if not self._path.is_dir():
            self._watch(self._path)
            yield self._path, _text(self._path.name)
            return
        for folder, folders, names in os.walk(self._path, onerror=self._refuse):
            self._watch(Path(folder))
            folders.sort()
            for name in sorted(names):
                if name.lower().endswith(".eml") and not name.startswith("._"):
                    path = Path(folder, name)
                    yield path, _text(path.relative_to(self._path))

    def _refuse(self, error: OSError) -> None:
        if isinstance(error, FileNotFoundError) and error.filename != str(self._path):
            return  # a folder in it that has gone meanwhile
        with _reading(str(error.filename)):
            raise error


def _letter_mark(status: os.stat_result, relative: str) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {relative}"


_MARK = re.compile(r"(\d+)-(\d+)-([0-9a-f]+)", re.ASCII)
_QUOTED_FROM = re.compile(rb">+From ")
_PIECE = 65536
_FROM_DATE = re.compile(
    rb"\b(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) +(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d))?"
    rb"(?P<zone> +([A-Z]{1,5}|[+-]\d{4}))? +(?P<year>\d{4})(?P<after> +[+-]\d{4})?"
)


class _Mbox(_Files):
    """An mbox file. A bookmark says where the last mail begins, where it ends, and what was before that."""

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise MailboxError(f"{printable(str(self._path))} is not a file, as an mbox is")

    def batches(self, known: Callable[[str], Collection[str]], since: float = 0.0) -> Iterator[Batch]:
        self._watched = {}
        self._watch(self._path)
        place = self._place(self._path)
        with _reading(self._path), self._path.open("rb") as file:
            start = _resume(file, known(place))
            # A bookmark is only needed for the last mail of a batch, and it costs a look back.
            for batch in _batches(place, _mbox_mails(file, start, printable(_text(self._path)))):
                yield replace(batch, bookmarks=(_mbox_mark(file, batch.bookmarks[-1]),))


def _mbox_mark(file: io.BufferedReader, bounds: str) -> str:
    """Return the bookmark, and leave the file where it is."""
    position = file.tell()
    check = _check_before(file, int(bounds.partition("-")[2]))
    file.seek(position)
    return f"{bounds}-{check}"


def _check_before(file: io.BufferedReader, end: int) -> str:
    """Return a check of the beginning and of what lies before `end`: a file that was tidied is another."""
    file.seek(0)
    digest = hashlib.sha256(file.read(min(end, 4096)))
    file.seek(max(0, end - _PIECE))
    digest.update(file.read(min(end, _PIECE)))
    return digest.hexdigest()[:24]


def _resume(file: io.BufferedReader, known: Collection[str]) -> int:
    """Return where to read on: after the last mail, or at its beginning when it was not whole then."""
    size = os.fstat(file.fileno()).st_size
    marks = sorted(
        ((int(match[2]), int(match[1]), match[3]) for mark in known if (match := _MARK.fullmatch(mark))),
        reverse=True,
    )
    for end, start, check in marks:
        if end > size or _check_before(file, end) != check:
            continue
        file.seek(max(0, end - 3))
        before = file.read(min(end, 3))
        blank = before.endswith((b"\n\n", b"\n\r\n"))
        following = file.readline(_PIECE)
        while before.endswith(b"\n") and following in (b"\n", b"\r\n"):
            blank, following = True, file.readline(_PIECE)
        if end == size or not following or (blank and following.startswith(b"From ")):
            return end
        return start
    return 0


def _mbox_mails(file: io.BufferedReader, position: int, where: str) -> Iterator[tuple[Mail, str]]:
    """Yield the mails from a position on, each with its bounds. What grows at the end stays for next time."""
    raw = bytearray()
    start, at = -1, 0.0
    begins = blank = True  # a line; after an empty one
    file.seek(position)
    while line := file.readline(_PIECE):
        if begins and blank and line.startswith(b"From "):
            if start >= 0:
                yield Mail(at, _mbox_raw(raw, blank), where), f"{start}-{position}"
            start, at, raw = position, _from_date(line), bytearray()
        elif start >= 0:
            if len(raw) <= MOST:
                raw += line[1:] if begins and _QUOTED_FROM.match(line) else line
        elif line.strip():
            raise MailboxError(
                f"{where} is not an mbox", "an mbox begins with a line 'From …'; for a single mail use eml"
            )
        position += len(line)
        blank = begins and line in (b"\n", b"\r\n")
        begins = line.endswith(b"\n")
    if start >= 0 and os.fstat(file.fileno()).st_size == position:
        yield Mail(at, _mbox_raw(raw, blank), where), f"{start}-{position}"


def _mbox_raw(raw: bytearray, blank: bool) -> bytes:
    """Return the mail without the empty line that belongs to the next one."""
    if blank and len(raw) <= MOST:
        return bytes(raw[: -2 if raw.endswith(b"\r\n") else -1])
    return bytes(raw[:MOST])


def _from_date(line: bytes) -> float:
    """Return the date of a From_ line, as UTC where it has no zone (RFC 4155), else 0.0."""
    match = _FROM_DATE.search(line)
    if match is None:
        return 0.0
    try:
        month = _MONTHS.index(match["month"].decode()) + 1
        year, day, hour, minute, second = (
            int(match[name] or 0) for name in ("year", "day", "hour", "minute", "second")
        )
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        zone = (match["after"] or match["zone"] or b"").strip()
        if zone[:1] in (b"+", b"-"):
            moment -= timedelta(hours=int(zone[:3]), minutes=int(zone[:1] + zone[3:]))
        return moment.timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _batches(place: str, found: Iterable[tuple[Mail, str]], sent: bool = False) -> Iterator[Batch]:
    """Put mails together, few enough to lie in memory."""
    mails: list[tuple[Mail, str]] = []
    total = 0
    for mail, mark in itertools.chain(found, [(None, "")]):
        size = len(mail.raw) if mail is not None else 0
        if mails and (mail is None or len(mails) == _BATCH_MAILS or total + size > _BATCH_BYTES):
            yield Batch(place, tuple(one for one, _ in mails), tuple(one for _, one in mails), sent)
            mails, total = [], 0
        if mail is not None:
            mails.append((mail, mark))
            total += size


def _read_file(path: Path | str) -> tuple[bytes, os.stat_result] | None:
    """Return the beginning of a file and its status; None when it is gone or no file."""
    try:
        with _reading(path, gone=True):
            # A pipe would be waited for.
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
            try:
                status = os.fstat(number)
                if not stat.S_ISREG(status.st_mode):
                    return None
                pieces = bytearray()
                while len(pieces) < MOST and (piece := os.read(number, MOST - len(pieces))):
                    pieces += piece
                return bytes(pieces), status
            finally:
                os.close(number)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _reading(path: Path | str, gone: bool = False) -> Iterator[None]:
    """Explain what the system says about a file; with `gone`, a missing one is for the caller."""
    where = printable(_text(path))
    try:
        yield
    except FileNotFoundError:
        if gone:
            raise
        raise MailboxError(f"{where} does not exist", "check the spelling") from None
    except PermissionError:
        raise MailboxError(
            f"{where} may not be read", "change its permissions, or run as its owner"
        ) from None
    except OSError as error:
        raise MailboxError(f"{where} cannot be read: {error.strerror or error}") from None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _text(path: Path | str) -> str:
    """Return a path as text that can be stored; names are any bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
