"""One connection after its opening: the socket, the SMTP session on it, and the deadline of its next answer.

It moves bytes between the two and never blocks; what the answers mean, and what goes next, is for others.
TLS on a non-blocking socket may want to write before it can read, and the other way round (OpenSSL,
SSL_read(3)): both are honoured. A deadline belongs to one reply: bytes that trickle in do not prolong it.
"""

from __future__ import annotations

import selectors
import ssl
import time

from outreach.connection import Opened
from outreach.smtp import Event, Phase, Session

_CHUNK = 64 * 1024


class Link:
    """A socket with its session, registered with a selector until it is closed."""

    def __init__(self, opened: Opened, pipelining: bool, selector: selectors.BaseSelector) -> None:
        self.session = Session(opened.extensions, pipelining)
        self._socket = opened.socket
        self._selector = selector
        self._wants_write = False  # TLS cannot read before it has written
        self._mask = selectors.EVENT_READ
        self._step = -1  # of the session, when the deadline was set
        self.deadline: float | None = None  # monotonic seconds
        self._heard_at = time.monotonic()
        selector.register(self._socket, self._mask, self)

    def read(self) -> list[Event]:
        """Read until the socket has no more."""
        self._wants_write = False
        events: list[Event] = []
        while self.session.phase is not Phase.CLOSED:
            try:
                data = self._socket.recv(_CHUNK)
            except ssl.SSLWantWriteError:
                self._wants_write = True
                break
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            except OSError as error:
                return events + self.session.lost(f"the connection broke: {error.strerror or error}")
            if not data:
                return events + self.session.lost("the server closed the connection")
            self._heard_at = time.monotonic()
            events += self.session.receive(data)
        return events

    @property
    def idle_seconds(self) -> float:
        """How long the server has said nothing."""
        return time.monotonic() - self._heard_at

    def write(self) -> None:
        """Write what the socket takes, and set the deadline for the answer."""
        session, blocked = self.session, False
        try:
            while outgoing := session.outgoing:
                session.wrote(self._socket.send(outgoing[:_CHUNK]))
        except (BlockingIOError, ssl.SSLWantWriteError):
            blocked = True
        except ssl.SSLWantReadError:
            pass  # TLS has to read first; every turn tries again
        except OSError:
            pass  # reading will find the end of the connection, and what the server said before it
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if blocked or self._wants_write else 0)
        if mask != self._mask and self._socket.fileno() >= 0:
            self._mask = mask
            self._selector.modify(self._socket, mask, self)
        patience = session.patience
        if patience is None:
            self.deadline = None
        elif self.deadline is None or self._step != session.step:
            self.deadline = time.monotonic() + patience
        self._step = session.step

    def overdue(self, tick: float) -> list[Event]:
        """Return what happens when an answer has not come in time."""
        if self.deadline is None or self.deadline > tick or self._step != self.session.step:
            return []  # not yet; or it came in time, and this process was stopped meanwhile
        return self.session.lost(f"the server was silent for {self.session.patience or 0:.0f} s")

    def close(self) -> None:
        """Let go of the socket, without a word."""
        self._selector.unregister(self._socket)
        self._socket.close()
