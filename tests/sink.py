"""A real SMTP server on loopback that keeps its own record, for tests of the sending.

aiosmtpd in a thread of the test's process. Every accepted mail is appended to `record` before its 250 is
written, so the record is the truth about who was mailed, whatever the ledger says. Behaviour per recipient
can be scripted as {address: [reply to RCPT, ...]}; `after_data` may cut the connection instead of answering.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP


@dataclass
class Accepted:
    """A mail that the sink took responsibility for."""

    at: float
    recipient: str
    content: bytes


@dataclass
class ByHand:
    """A server that is written out; `bodies` are (RCPT line, body)."""

    url: str
    bodies: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass
class Sink:
    """The server's side of a test."""

    port: int = 0
    record: list[Accepted] = field(default_factory=list)
    sessions: int = 0
    rcpt_replies: dict[str, list[str]] = field(default_factory=dict)
    # What happens to a mail whose body is there: a reply, or None to cut the connection.
    after_data: Callable[[str], str | None] = lambda recipient: "250 2.0.0 taken"
    keep_when_cut: bool = True
    delay: float = 0.0
    clock: Callable[[], float] = time.time

    @property
    def recipients(self) -> list[str]:
        return [one.recipient for one in self.record]

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, host: str, replies: list[str]
    ) -> list[str]:
        self.sessions += 1
        session.host_name = host
        return replies

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, mail: str, options: list[str]
    ) -> str:
        replies = self.rcpt_replies.get(mail, [])
        reply = replies.pop(0) if replies else "250 2.1.5 fine"
        if reply.startswith("2"):
            envelope.rcpt_tos.append(mail)
        return reply

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.delay:
            await asyncio.sleep(self.delay)
        recipient = envelope.rcpt_tos[0]
        reply = self.after_data(recipient)
        if (reply or "").startswith("2") or (reply is None and self.keep_when_cut):
            self.record.append(Accepted(self.clock(), recipient, envelope.original_content))
        if reply is None:
            server.transport.abort()
            return "421 gone"
        return reply


@contextlib.contextmanager
def by_hand(keyword: str, before_body: Callable[[bytes], None] = lambda rcpt: None) -> Iterator[ByHand]:
    """Serve one session after the other, announcing one keyword; for what aiosmtpd would not announce or do.

    `before_body` is called with the RCPT line before DATA is answered, and may wait.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ByHand(f"smtp://127.0.0.1:{listener.getsockname()[1]}")

        def talk(session: socket.socket) -> None:
            session.sendall(b"220 hello\r\n")
            lines, rcpt = session.makefile("rb"), b""
            for line in lines:
                match line[:4].upper():
                    case b"EHLO":
                        session.sendall(f"250-hello\r\n250 {keyword}\r\n".encode())
                    case b"DATA":
                        before_body(rcpt)
                        session.sendall(b"354 go\r\n")
                        body = b"".join(itertools.takewhile(b".\r\n".__ne__, lines))
                        server.bodies.append((rcpt, body))
                        session.sendall(b"250 taken\r\n")
                    case word:
                        rcpt = line if word == b"RCPT" else rcpt
                        session.sendall(b"250 ok\r\n")

        def work() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as session, contextlib.suppress(OSError):
                        talk(session)

        threading.Thread(target=work, daemon=True).start()
        yield server


@contextlib.contextmanager
def run(port: int = 0, tls: ssl.SSLContext | None = None, **smtp_options: Any) -> Iterator[Sink]:
    """Serve on loopback until the block ends; with `tls`, TLS from the start."""
    sink = Sink()
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )  # else every session waits 40 ms for an ACK
    sink.port = listener.getsockname()[1]
    loop = asyncio.new_event_loop()
    started = threading.Event()

    def work() -> None:
        asyncio.set_event_loop(loop)

        def protocol() -> SMTP:
            return SMTP(sink, hostname="sink.example", enable_SMTPUTF8=True, loop=loop, **smtp_options)

        server = loop.run_until_complete(loop.create_server(protocol, sock=listener, ssl=tls))
        started.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield sink
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
