"""The reading of a mailbox: once, for as long as somebody waits, or beside a run that sends.

Beside a run it is a child process that speaks through the ledger only, and ends with its standard input: a
run that is killed takes it along. A mailbox that cannot be reached is tried again, and never stops a mailing.
Raises SettingsError, MailboxError, ServerError.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from outreach import mailbox, replies
from outreach.errors import Exit, LedgerError, OutreachError, SettingsError
from outreach.ledger import Ledger
from outreach.model import Security, Source
from outreach.received import Received
from outreach.replies import Summary
from outreach.settings import PREFIX, Settings, is_loopback, mailbox_user, parse_source

EVERY = 300.0  # seconds between two looks at a server that does not tell of new mail
_FILES_EVERY = 1.0
_AGAIN = (10.0, 30.0, 60.0, 300.0)  # seconds until the next try, after so many failures
_GRACE = 5.0


def source_of(settings: Settings, text: str | None) -> Source:
    """Return where answers arrive: as given, or as the settings say. Raises SettingsError."""
    try:
        source = parse_source(text, settings.directory) if text else settings.source
    except ValueError as error:
        raise SettingsError(f"--source {error}") from None
    if source is None:
        raise SettingsError(
            "nobody has said where answers arrive",
            "set OUTREACH_IMAP_URL, like imaps://mail.example, or say --source maildir:PATH",
        )
    if source.server is None:
        return source
    server = source.server
    if server.security is Security.OFF and not is_loopback(server.host):
        raise SettingsError(
            f"{server} would get your password in plain text (?tls=off)",
            "take ?tls=off out of OUTREACH_IMAP_URL",
        )
    user = mailbox_user(settings, source)
    if not user:
        raise SettingsError("the mailbox has no login name", "set OUTREACH_IMAP_USER")
    return replace(source, server=replace(server, user=user))


def read(
    ledger: Ledger,
    source: Source,
    password: str | None,
    observe: Callable[[Summary], None] = lambda summary: None,
    everything: bool = False,
) -> Summary:
    """Read what is new, once."""
    known = Received(ledger).last_read(str(source)) is not None  # a slip of the pen is not noted
    with _open(ledger, source, password, known) as box:
        return replies.sync(ledger, box, str(source), observe, everything)


@contextlib.contextmanager
def _open(
    ledger: Ledger, source: Source, password: str | None, note: bool = True
) -> Iterator[mailbox.Mailbox]:
    """Open a mailbox; what goes wrong is also noted in the ledger."""
    box: mailbox.Mailbox | None = None
    try:
        box = mailbox.open_mailbox(source, password)
        yield box
    except OutreachError as error:
        with contextlib.suppress(LedgerError):  # perhaps that is what failed
            if note:
                replies.fail(ledger, str(source), error.message)
        raise
    finally:
        if box is not None:
            box.close()


class _Over(Exception):
    """Whoever started this reading is gone."""


def watch(
    ledger: Ledger,
    source: Source,
    password: str | None,
    say: Callable[[Summary], None],
    trouble: Callable[[str], None],
    stop: int | None = None,
) -> None:
    """Read what is new whenever something is, until interrupted or (`stop`, a descriptor) told to end.

    Raises what cannot get better: a refused login, and in the foreground whatever the first try raises.
    """

    def observe(summary: Summary) -> None:
        if stop is not None and select.select([stop], [], [], 0)[0]:
            raise _Over

    failures, good = 0, False
    every = EVERY if source.server else _FILES_EVERY
    with contextlib.suppress(_Over):
        while True:
            try:
                with _open(ledger, source, password) as box:
                    while True:
                        summary = replies.sync(ledger, box, str(source), observe)
                        failures, good = 0, True
                        if summary.new:
                            say(summary)
                        box.wait(every, stop)
                        observe(summary)
            except OutreachError as error:
                hopeless = error.exit_code == Exit.REFUSED or isinstance(error, SettingsError)
                if hopeless or (not good and stop is None):
                    raise
                trouble(error.message)
                pause = _AGAIN[min(failures, len(_AGAIN) - 1)]
                failures += 1
                if stop is None:
                    time.sleep(pause)
                elif select.select([stop], [], [], pause)[0]:
                    return


@contextlib.contextmanager
def beside(settings: Settings, source: Source | None, password: str | None) -> Iterator[None]:
    """Let a child process read answers as long as this lasts."""
    if source is None:
        yield
        return
    ledger = f"sqlite:///{settings.ledger.resolve()}"
    # -P: no file of the project folder may stand in for a module of ours.
    command = ["-P", "-m", "outreach", "-q", "--ledger", ledger, "replies", "sync", "--watch", "--attached"]
    environment = dict(os.environ)
    if password:  # asked for once, by whoever started us
        environment[f"{PREFIX}IMAP_PASSWORD"] = password

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 (ourselves)
            [sys.executable, *command],
            cwd=Path.cwd(),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run; the child ends with it
        )

    over = threading.Event()
    children = [start()]

    def keep() -> None:
        """Start another one when a child ends by itself; none where the login is refused."""
        for pause in itertools.chain(_AGAIN, itertools.repeat(_AGAIN[-1])):
            code = children[-1].wait()
            if over.is_set() or code in (Exit.REFUSED, Exit.SETTINGS):
                return
            if code not in (Exit.OK, Exit.DATA, Exit.UNREACHABLE, Exit.STOPPED):  # it said nothing itself
                with contextlib.suppress(OutreachError), Ledger(settings.ledger, create=True) as open_ledger:
                    replies.fail(open_ledger, str(source), f"the reading ended with code {code}")
            if over.wait(pause):
                return
            children.append(start())

    watcher = threading.Thread(target=keep, daemon=True, name="answers")
    watcher.start()
    try:
        yield
    finally:
        over.set()
        for child in children:
            _end(child)
        watcher.join(_GRACE)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.stdin:
        with contextlib.suppress(OSError):
            child.stdin.close()
    try:
        child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
