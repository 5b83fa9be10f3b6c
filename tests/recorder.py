"""A fast SMTP server on loopback, a process of its own, that keeps a record and misbehaves at will.

Record J is the truth about who was mailed: before the final dot is answered with 250, one line
`recipient \\t unix time \\t SHA-256 of the body` is appended to it in one write. Any number of clients may
die at any moment; what a client had handed over completely is recorded all the same, as on a real server.
A 4xx or 5xx to the dot means: not recorded. It listens on 127.0.0.1 only and delivers nothing.

`serve()` runs it for a test; by hand: `python tests/recorder.py --record J --port-file P [--faults random]`.
Faults are drawn for each session from the seed and the session's number:

    421, 451, 550     such an answer to any command, also at the greeting; 421 closes
    drop              the connection ends (FIN or RST) at any command, perhaps in the middle of an answer
    drop-recorded     … after the dot, and the mail was taken
    drop-unrecorded   … after the dot, and the mail was not taken
    dribble           answers byte by byte, also of several lines
    stall             silence for up to --stall-s before an answer
    no-notify         TLS ends without close_notify
    empty-data        DATA without a recipient gets 354, and its dot 554 (RFC 2920 allows that)
    lie               half the sessions announce PIPELINING, read one command of a group, and throw the rest
                      away; a client that waits for the other answers gets a 421 after a while
    extra             a reply too many now and then, but only before a 354
    random            all of them but `lie` and `extra`

Known limits: no AUTH; the order of clients, and so which mail meets which fault, depends on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import heapq
import itertools
import os
import random
import re
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

RANDOM = (
    "421",
    "451",
    "550",
    "drop",
    "drop-recorded",
    "drop-unrecorded",
    "dribble",
    "stall",
    "no-notify",
    "empty-data",
)
FAULTS = (*RANDOM, "lie", "extra")
SIZE = 50_000_000
_CHUNK = 256 * 1024
_LIE_SECONDS = 0.5  # how long a client waits for answers that never come
_PATH = re.compile(rb"<([^>]*)>")
_DECLARED = re.compile(rb"SIZE=(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Options:
    """How the server behaves."""

    record: Path
    seed: int = 0
    faults: frozenset[str] = frozenset()
    probability: float = 0.01
    stall: float = 0.5
    delay: float = 0.0
    pipelining: bool = True
    tls: ssl.SSLContext | None = None


class Server:
    """One thread, one selector, a heap of timers."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.record = os.open(options.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.clients: set[Client] = set()
        self.sessions = 0
        self.ended = False
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def run(self) -> None:
        """Serve until `ended` is set."""
        while not self.ended:
            patience = max(self._timers[0][0] - time.monotonic(), 0.0) if self._timers else None
            for key, ready in self.selector.select(patience):
                key.data(ready)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Call something after a while."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), what))

    def end_with(self, stream: int) -> None:
        """Stop when this stream ends: the server does not outlive who started it."""

        def look(ready: int) -> None:
            self.ended = not os.read(stream, 4096)

        self.selector.register(stream, selectors.EVENT_READ, look)

    def take(self, recipient: str, body: bytes) -> None:
        """Take responsibility for a mail."""
        line = f"{recipient}\t{time.time():.6f}\t{hashlib.sha256(body).hexdigest()}\n".encode()
        if os.write(self.record, line) != len(line):
            raise OSError("the record was cut short")

    def _accept(self, ready: int) -> None:
        while True:
            try:
                peer = self.listener.accept()[0]
            except BlockingIOError:
                return
            self.sessions += 1
            Client(self, peer, self.sessions)


class Client:
    """One session: bytes in, commands in order, answers in order."""

    def __init__(self, server: Server, peer: socket.socket, number: int) -> None:
        self.server, self.options, self.socket = server, server.options, peer
        self.random = random.Random(f"{server.options.seed}/{number}")
        self.lies = "lie" in self.options.faults and self.random.random() < 0.5
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.sender = False
        self.recipient: str | None = None
        self.in_data = False
        self.scanned = 0
        self.paused = False
        self.dribbling = False
        self.closing = False
        self.closed = False
        self.handshaking = False
        self.wants = selectors.EVENT_READ
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.clients.add(self)
        server.selector.register(peer, self.wants, self._ready)
        if not self._misbehaves("421", "550", "drop", "stall", go_on=self._greet):
            self._greet()
        self._flush()

    # Socket ------------------------------------------------------------------------------------

    def _ready(self, ready: int) -> None:
        if self.handshaking:
            self._shake_hands()
        elif ready & selectors.EVENT_READ and not self.paused:
            self._read()
        self._flush()

    def _read(self) -> None:
        while not (self.closed or self.paused or self.closing or self.handshaking):
            try:
                data = self.socket.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                return self.close()
            if not data:
                return self.close()
            self.incoming += data
            self._work()

    def _work(self) -> None:
        while self.incoming and not (self.paused or self.closing or self.closed or self.handshaking):
            if self.in_data:
                if not self._data():
                    return
            else:
                line, newline, rest = self.incoming.partition(b"\n")
                if not newline:
                    return
                self.incoming = rest
                self._command(bytes(line.rstrip(b"\r")))
            if self.lies and self.incoming and not self.in_data:
                self.incoming.clear()
                self.server.later(_LIE_SECONDS, self._tire)

    def _flush(self) -> None:
        """Write what can be written; a byte now and then while dribbling."""
        if self.closed or self.handshaking:
            return
        blocked = False
        try:
            while self.outgoing and not self.dribbling:
                count = self.socket.send(self.outgoing)
                del self.outgoing[:count]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            blocked = True
        except OSError:
            return self.close()
        if self.closing and not self.outgoing:
            return self.close()
        self._watch((0 if self.paused else selectors.EVENT_READ) | (selectors.EVENT_WRITE if blocked else 0))

    def _watch(self, wants: int) -> None:
        if wants == self.wants:
            return
        if not self.wants:
            self.server.selector.register(self.socket, wants, self._ready)
        elif not wants:
            self.server.selector.unregister(self.socket)
        else:
            self.server.selector.modify(self.socket, wants, self._ready)
        self.wants = wants

    def close(self, hard: bool = False) -> None:
        """End the connection; `hard` with a reset."""
        if self.closed:
            return
        self.closed = True
        self._watch(0)
        self.server.clients.discard(self)
        if (
            isinstance(self.socket, ssl.SSLSocket)
            and not self.handshaking
            and not self._draws("no-notify", 0.5)
        ):
            with contextlib.suppress(OSError, ValueError):
                self.socket.unwrap()
        if hard:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _shake_hands(self) -> None:
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return self._watch(selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            return self._watch(selectors.EVENT_WRITE)
        except OSError:
            return self.close()
        self.handshaking = False
        self._read()

    # Misbehaviour ------------------------------------------------------------------------------

    def _draws(self, fault: str, probability: float | None = None) -> bool:
        if fault not in self.options.faults:
            return False
        return self.random.random() < (self.options.probability if probability is None else probability)

    def _misbehaves(self, *faults: str, go_on: Callable[[], None]) -> bool:
        """Draw a fault for the command at hand; True when it takes the place of the answer."""
        if not self.options.faults:
            return False
        if "drop" in faults and self._draws("drop"):
            self._drop("250 2.0.0 fine")
        elif "421" in faults and self._draws("421"):
            self._say("421 4.3.2 closing now")
            self.closing = True
        elif "451" in faults and self._draws("451"):
            self._say("451 4.3.0 not now")
        elif "550" in faults and self._draws("550"):
            self._say("550 5.3.0 not you")
        elif "stall" in faults and self._draws("stall"):
            self._pause(self.random.uniform(0, self.options.stall), go_on)
        else:
            return False
        return True

    def _drop(self, answer: str) -> None:
        """End the connection, perhaps in the middle of an answer, perhaps with earlier answers unwritten."""
        if self.random.random() < 0.5:
            self._flush()
            if not (self.outgoing or self.closed):
                with contextlib.suppress(OSError):
                    self.socket.send(answer.encode()[: self.random.randrange(1, len(answer))])
        self.close(hard=self.random.random() < 0.5)

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        """Do nothing for this client for a while: neither read nor go on with what was read."""
        self.paused = True

        def resume() -> None:
            if self.closed:
                return
            self.paused = False
            then()
            self._work()
            self._read()
            self._flush()

        self.server.later(seconds, resume)

    def _tire(self) -> None:
        """The client waits for answers to what was thrown away: it waited long enough."""
        if not self.closed:
            self._say("421 4.4.2 timed out")
            self.closing = True
            self._flush()

    def _say(self, reply: str) -> None:
        if self._draws("dribble"):
            code, words = reply[:3], reply[4:]
            if code != "354" and self.random.random() < 0.5:
                reply = f"{code}-{words}\r\n{code}-\r\n{code} {words}"
            if not self.dribbling:
                self.dribbling = True
                self.server.later(0.0, self._drip)
        self.outgoing += reply.encode() + b"\r\n"

    def _drip(self) -> None:
        if self.closed:
            return
        try:
            count = self.socket.send(self.outgoing[: self.random.randint(1, 3)])
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            count = 0
        except OSError:
            return self.close()
        del self.outgoing[:count]
        self.dribbling = bool(self.outgoing)
        if self.dribbling:
            self.server.later(self.random.uniform(0, 0.002), self._drip)
        else:
            self._flush()

    # Commands ----------------------------------------------------------------------------------

    def _greet(self) -> None:
        self._say("220 recorder.example ESMTP")

    def _command(self, line: bytes) -> None:
        if self._misbehaves("421", "451", "550", "drop", "stall", go_on=lambda: self._obey(line)):
            return
        self._obey(line)

    def _obey(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        match verb.upper():
            case b"MAIL":
                self._extra()
                self._mail(rest)
            case b"RCPT":
                self._extra()
                self._rcpt(rest)
            case b"DATA":
                self._begin_data()
            case b"EHLO" | b"HELO":
                self._forget()
                self._hello(verb.upper() == b"EHLO")
            case b"RSET":
                self._forget()
                self._say("250 2.0.0 forgotten")
            case b"NOOP":
                self._say("250 2.0.0 fine")
            case b"QUIT":
                self._say("221 2.0.0 bye")
                self.closing = True
            case b"STARTTLS" if self.options.tls and not isinstance(self.socket, ssl.SSLSocket):
                self._start_tls()
            case b"XOTHERS":  # not SMTP: how many other sessions are open
                self.outgoing += f"250 {len(self.server.clients) - 1}\r\n".encode()
            case _:
                self._say("502 5.5.1 unknown here")

    def _extra(self) -> None:
        if self._draws("extra"):
            self._say("250 2.0.0 one too many")

    def _hello(self, extended: bool) -> None:
        if not extended:
            return self._say("250 recorder.example")
        lines = ["recorder.example", "8BITMIME", "SMTPUTF8", f"SIZE {SIZE}", "ENHANCEDSTATUSCODES"]
        if self.options.pipelining:
            lines.append("PIPELINING")
        if self.options.tls and not isinstance(self.socket, ssl.SSLSocket):
            lines.append("STARTTLS")
        text = "".join(f"250-{one}\r\n" for one in lines[:-1]) + f"250 {lines[-1]}\r\n"
        self.outgoing += text.encode()

    def _forget(self) -> None:
        self.sender, self.recipient = False, None

    def _mail(self, rest: bytes) -> None:
        declared = _DECLARED.search(rest)
        if self.sender:
            self._say("503 5.5.1 one at a time")
        elif not _PATH.search(rest):
            self._say("501 5.5.4 whom?")
        elif declared and int(declared[1]) > SIZE:
            self._say("552 5.3.4 too big")
        else:
            self.sender, self.recipient = True, None
            self._say("250 2.1.0 fine")

    def _rcpt(self, rest: bytes) -> None:
        path = _PATH.search(rest)
        if not self.sender:
            self._say("503 5.5.1 MAIL first")
        elif self.recipient is not None:
            self._say("452 4.5.3 one recipient each")  # outreach promises that
        elif not path or not path[1]:
            self._say("501 5.1.3 whom?")
        else:
            self.recipient = path[1].decode("utf-8", "backslashreplace")
            self._say("250 2.1.5 fine")

    def _begin_data(self) -> None:
        if self.recipient is None and not (self.sender and self._draws("empty-data", 0.5)):
            return self._say("503 5.5.1 RCPT first")
        self._extra()
        self._say("354 go on")
        self.in_data, self.scanned = True, 0

    def _data(self) -> bool:
        """Look for the final dot; False when it is not there yet."""
        if self.incoming.startswith(b".\r\n"):
            end, size = 0, 3
        else:
            end, size = self.incoming.find(b"\r\n.\r\n", max(self.scanned - 4, 0)), 5
        if end < 0:
            self.scanned = len(self.incoming)
            return False
        body = bytes(self.incoming[: end + 2 if size == 5 else 0])
        del self.incoming[: end + size]
        self.in_data = False
        if not self._misbehaves("stall", go_on=lambda: self._wait(body)):
            self._wait(body)
        return True

    def _wait(self, body: bytes) -> None:
        if not self.options.delay:
            return self._end_of_data(body)
        if self.random.random() < 0.5:
            self._pause(self.options.delay, lambda: self._end_of_data(body))
        else:
            self._end_of_data(body, self.options.delay)

    def _end_of_data(self, body: bytes, delay: float = 0.0) -> None:
        """Take the mail, or not, and say so, or not."""
        recipient = self.recipient
        self._forget()
        if recipient is None:
            return self._say("554 5.5.1 no valid recipients")
        if self._draws("drop-unrecorded"):
            return self._drop("451 4.3.0 no")
        if self._misbehaves("421", "451", "550", go_on=lambda: None):
            return
        if body.startswith(b"."):
            body = body[1:]
        self.server.take(recipient, body.replace(b"\r\n..", b"\r\n."))
        if self._draws("drop-recorded"):
            return self._drop("250 2.0.0 taken")
        if delay:
            self._pause(delay, lambda: self._say("250 2.0.0 taken"))
        else:
            self._say("250 2.0.0 taken")

    def _start_tls(self) -> None:
        assert self.options.tls is not None
        self.incoming.clear()  # what came before TLS must not count (RFC 3207)
        self.outgoing += b"220 2.0.0 go on\r\n"
        self.dribbling = False
        self._flush()
        if self.closed:
            return
        self._watch(0)
        self.socket = self.options.tls.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self.handshaking = True
        self._shake_hands()


# For tests -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """A line of the record."""

    recipient: str
    at: float
    digest: str


@dataclass
class Running:
    """A recorder that runs as a process."""

    port: int
    record: Path
    process: subprocess.Popen[bytes]
    url: str
    _counted: tuple[int, int] = (0, 0)  # bytes and lines of the record that were seen

    @property
    def taken(self) -> list[Taken]:
        """Every mail that it took so far, the oldest first."""
        found = []
        for line in self.record.read_text("utf-8").splitlines():
            recipient, at, digest = line.split("\t")
            found.append(Taken(recipient, float(at), digest))
        return found

    @property
    def recipients(self) -> list[str]:
        """Whom it took a mail for so far, the oldest first."""
        return [one.recipient for one in self.taken]

    def count(self) -> int:
        """How many mails it took so far; cheap enough to ask all the time."""
        if self.record.stat().st_size > self._counted[0]:
            with self.record.open("rb") as lines:
                lines.seek(self._counted[0])
                more = lines.read()
            self._counted = (self._counted[0] + len(more), self._counted[1] + more.count(b"\n"))
        return self._counted[1]

    def settle(self) -> None:
        """Wait until every session has ended, so that nothing more can come into the record."""
        while True:
            with contextlib.suppress(OSError):
                if self._others() == 0:
                    return
            if self.process.poll() is not None:
                raise RuntimeError(f"the recorder has ended with {self.process.returncode}")
            time.sleep(0.005)

    def _others(self) -> int | None:
        """Ask how many other sessions are open; None when the server does not say, by a fault of its own."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as peer, peer.makefile("rb") as lines:
            peer.sendall(b"XOTHERS\r\n")
            for line in lines:
                if found := re.fullmatch(rb"250 (\d+)\r\n", line):
                    return int(found[1])
        return None


@contextlib.contextmanager
def serve(
    folder: Path,
    *,
    seed: int = 0,
    faults: str = "",
    probability: float | None = None,
    pipelining: bool = True,
    delay_ms: float = 0,
    stall_s: float | None = None,
    tls: tuple[Path, Path, Path] | None = None,
) -> Iterator[Running]:
    """Run a recorder until the block ends. `tls`: certificate, key, and the authority's file for the client.

    The record is `folder`/J and stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, port_file = folder / "J", folder / "port"
    port_file.unlink(missing_ok=True)
    record.touch()
    command = [sys.executable, __file__, "--record", str(record), "--port-file", str(port_file)]
    command += ["--seed", str(seed), "--delay-ms", str(delay_ms), "--with-parent"]
    command += ["--pipelining" if pipelining else "--no-pipelining"]
    command += ["--faults", faults] if faults else []
    command += ["--probability", str(probability)] if probability is not None else []
    command += ["--stall-s", str(stall_s)] if stall_s is not None else []
    command += ["--tls", str(tls[0]), str(tls[1])] if tls else []
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        while not port_file.exists():
            if process.poll() is not None:
                raise RuntimeError(f"the recorder did not start: exit {process.returncode}")
            time.sleep(0.005)
        port = int(port_file.read_text())
        url = f"smtp://127.0.0.1:{port}" + (f"?tls=starttls&ca={tls[2]}" if tls else "")
        yield Running(port, record, process, url)
        if process.poll() is not None:
            raise RuntimeError(f"the recorder has ended by itself with {process.returncode}")
    finally:
        process.terminate()
        process.communicate()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="An SMTP server on loopback that records, and misbehaves.")
    parser.add_argument("--record", type=Path, required=True, metavar="J")
    parser.add_argument("--port-file", type=Path, required=True, metavar="P")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", default="", help=f"random, or some of: {', '.join(FAULTS)}")
    parser.add_argument("--probability", type=float, default=0.01, help="of each fault at each command")
    parser.add_argument("--pipelining", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--tls", nargs=2, type=Path, metavar=("CERT", "KEY"), help="offer STARTTLS")
    parser.add_argument("--delay-ms", type=float, default=0, help="between the dot and its answer")
    parser.add_argument("--stall-s", type=float, default=0.5, help="the longest silence of the fault stall")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    given = parser.parse_args()
    names = {name for name in given.faults.split(",") if name}
    if "random" in names:
        names = names - {"random"} | set(RANDOM)
    if unknown := names - set(FAULTS):
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}")
    context = None
    if given.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*given.tls)
    server = Server(
        Options(
            given.record,
            given.seed,
            frozenset(names),
            given.probability,
            given.stall_s,
            given.delay_ms / 1000,
            given.pipelining,
            context,
        )
    )
    if given.with_parent:
        server.end_with(sys.stdin.fileno())
    fresh = given.port_file.with_suffix(".new")
    fresh.write_text(str(server.port))
    fresh.rename(given.port_file)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()


if __name__ == "__main__":
    main()
