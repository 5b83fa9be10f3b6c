"""Rehearse: send the whole mailing over real SMTP to an embedded inbox on loopback, and nowhere else.

An aiosmtpd server on 127.0.0.1 keeps a Maildir; the run uses the very code that sends, with a ledger of its
own. Recipients play roles by the beginning of their address: busy+ (451 once, then accepted), gone+
(550 5.1.1), full+ (452 for good); reply+, away+, bounce+ and stop+ answer (actors.py), into a Maildir of
their own. The server address is a constant here, so no setting can lead outside.
Each rehearsal starts afresh, and removes only what an earlier rehearsal made.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import mailbox
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP as SMTPServer

from outreach import actors
from outreach.errors import OutreachError, UsageError
from outreach.institutions import DomainLimits
from outreach.model import Identity, Security, Server, Source
from outreach.settings import Settings
from outreach.windows import ALWAYS

SENDER = Identity("Rehearsal", "rehearsal@outreach.example")
LEDGER = "rehearsal.db"
_MARK = ".outreach-rehearsal"
_HOST = "127.0.0.1"


class Inbox:
    """The server's side: who is busy, gone or full, a Maildir for the rest, and one for what comes back."""

    def __init__(self, folder: Path, answers: Path) -> None:
        self.folder = folder
        self.answers = answers
        self._maildir = mailbox.Maildir(folder)
        self._answers = mailbox.Maildir(answers)
        self._seen: set[str] = set()
        self.port = 0

    def __len__(self) -> int:
        return len(self._maildir)

    # aiosmtpd calls these; the names are its own.
    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, mail: str, options: list[str]
    ) -> str:
        """Answer RCPT as the recipient's role wants it."""
        role = mail.partition("+")[0].lower()
        if role == "gone":
            return "550 5.1.1 No such mailbox here (rehearsal)"
        if role == "full":
            return "452 4.2.2 Mailbox full (rehearsal)"
        if role == "busy" and mail.lower() not in self._seen:
            self._seen.add(mail.lower())
            return "451 4.7.1 Try again in a moment (rehearsal)"
        envelope.rcpt_tos.append(mail)
        return "250 2.1.5 Fine"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Keep the message."""
        for recipient in envelope.rcpt_tos:
            head = f"Delivered-To: {recipient}\r\n".encode()
            self._maildir.add(head + envelope.original_content)
            now = datetime.datetime.now().astimezone()
            with contextlib.suppress(Exception):  # the letter arrived, whatever is played
                if came := actors.answer(envelope.original_content, recipient, now):
                    self._answers.add(came)
        envelope.content = envelope.original_content = None  # both sides live in one process
        return "250 2.0.0 Kept in the rehearsal inbox"

    def serve(self) -> contextlib.AbstractContextManager[int]:
        """Listen on a free port of loopback; gives the port."""
        return _serve(self)


@contextlib.contextmanager
def _serve(inbox: Inbox) -> Iterator[int]:
    listener = socket.create_server((_HOST, 0))
    listener.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )  # else every session waits 40 ms for an ACK
    port = int(listener.getsockname()[1])
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def start() -> asyncio.Server:
        def protocol() -> SMTPServer:
            return SMTPServer(
                inbox,
                hostname="rehearsal.outreach.example",
                ident="rehearsal",
                enable_SMTPUTF8=True,
                loop=loop,
            )

        return await loop.create_server(protocol, sock=listener)

    def work() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=work, daemon=True, name="inbox")
    thread.start()
    try:
        if not started.wait(10):
            raise OutreachError("the rehearsal inbox does not start")
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def prepare(folder: Path) -> Inbox:
    """Clear what the last rehearsal left in this folder, and only that. Raises UsageError."""
    boxes = folder / "inbox", folder / "answers"
    for box in boxes:
        if box.exists() and not (box / _MARK).exists():
            raise UsageError(
                f"{box} is there and was not made by a rehearsal", "choose another folder: rehearse -o DIR"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for box in boxes:
            shutil.rmtree(box, ignore_errors=True)
        for left in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm"):
            (folder / left).unlink(missing_ok=True)
        inbox = Inbox(*boxes)
        for box in boxes:
            os.close(os.open(box / _MARK, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise UsageError(
            f"the rehearsal cannot write to {folder}: {error.strerror}",
            "choose another folder: rehearse -o DIR",
        ) from None
    return inbox


def settings_for(settings: Settings, folder: Path, port: int) -> Settings:
    """Return the settings of a rehearsal: loopback, unlimited, quick retries, a sender if there is none."""
    return replace(
        settings,
        sender=settings.sender or SENDER,
        server=Server(_HOST, port, Security.OFF),
        ledger=folder / LEDGER,
        rate=(),
        domain_limits=DomainLimits(),
        window=ALWAYS,
        rest=0,
        retry=(1,),
        give_up=5,
        connections=2,
        source=Source("maildir", str(folder / "answers")),
    )
