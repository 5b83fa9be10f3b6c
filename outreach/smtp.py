"""SMTP client as a pure state machine (RFC 5321): bytes in, events out, and bytes to write.

It owns no socket and no clock. A session hands over after EHLO, TLS and login; from then on each message
goes MAIL → RCPT → DATA → body → dot, and comes to exactly one Outcome. Every phase is a named state, so
"safe to try again" and "may have arrived" are never confused: only once the last byte of the final dot was
handed to the socket is a mail in doubt. The body is not written before `permit()`, so the caller can write
its intent down first. The server's words stay apart from ours.

Where the server allows it (RFC 2920), MAIL, RCPT and DATA travel together, and those of the next message
right behind the body of this one: one round trip for each message. So a session holds up to two mails: the
current one, and the next one that follows it. A server whose answers do not fit is `out_of_step`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from outreach.model import Kind, Outcome, Scope, Verdict
from outreach.verdicts import Stage, enhanced_code, judge

_REPLY = re.compile(rb"([2-5][0-9][0-9])([ -]?)(.*)", re.DOTALL)
_LONGEST_REPLY = 64 * 1024
_PROGRESS = 8 * 1024  # bytes; a server that takes less in three minutes is taken for gone
_JOINED = 64 * 1024  # bytes; smaller pieces are written together
# RFC 5321 §4.5.3.2: how long to wait, in seconds, in each phase.
_PATIENCE = {"mail": 300, "rcpt": 300, "data": 120, "body": 180, "dot": 600, "reset": 300, "quit": 10}
# The first commands sent together show whether the server takes them. Nothing is lost if it is only slow.
_PATIENCE_AT_FIRST = 30
_NOT_PIPELINED = (500, 501, 502, 503, 554)  # what servers say that cannot do what they announce


class Phase(StrEnum):
    """Where a session stands: the phase of its current mail, if it has one."""

    READY = "ready"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    INTENT = "intent"  # the server said 354; the body waits for our permit
    BODY = "body"
    DOT = "dot"  # everything is written, the answer is not there: in doubt
    RESET = "reset"  # a mail was refused; the rest of its answers are still to come
    QUIT = "quit"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class BodyWanted:
    """The server takes the body of the current mail now; call `permit()` once the intent is durable."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The current mail came to an end. The one behind it, if there is one, is current now."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over; open another one."""


Event = BodyWanted | Finished | Closed


@dataclass(slots=True, eq=False)
class _Mail:
    recipient: str
    message: bytes
    grouped: bool  # MAIL, RCPT and DATA are sent together
    phase: Phase = Phase.MAIL
    reached_rcpt: bool = False
    ended: bool = False  # refused; what the server still says about it does not matter
    taken: bool = False  # … but it has the recipient all the same


class Session:
    """One SMTP session after its opening."""

    def __init__(self, extensions: Mapping[str, str], pipelining: bool = True) -> None:
        """`extensions` are the EHLO keywords in lower case with their parameters."""
        self.extensions = extensions
        # Whether commands travel together from here on; to be switched off at any time.
        self.pipelining = pipelining and "pipelining" in extensions
        self.out_of_step = False  # it announced pipelining, and its answers did not fit
        self.step = 0  # grows with every reply, and with what the socket took: the server is alive
        self._mails: deque[_Mail] = deque()  # the current one, and the next
        self._expected: deque[tuple[Phase, _Mail | None]] = deque()  # what the replies to come answer
        self._trusted = not self.pipelining  # the server has shown that it takes commands sent together
        self._closed = False
        self._incoming = b""
        self._lines: list[bytes] = []  # of a reply that goes on
        self._size = 0  # of these
        self._outgoing: deque[bytes] = deque()
        self._written = 0  # bytes of the first piece
        self._taken = 0  # bytes since the last step
        self._until_dot = 0  # bytes to write until the current mail is in doubt

    # What the caller says ----------------------------------------------------------------------

    def begin(
        self, sender: str, recipient: str, message: bytes, smtputf8: bool = False, fresh: bool = True
    ) -> None:
        """Start a transaction, or let it follow the current one (see `takes`).

        `message` has CRLF line ends and no dot-stuffing; addresses are in wire form. A session that is not
        `fresh`, that has been idle for a while, may be dead: then MAIL goes alone first, since a RCPT that
        was written counts as one that arrived.
        """
        assert self.takes, self.phase
        if re.search(r"[\r\n]", sender + recipient):  # no assert: this must hold under python -O as well
            raise ValueError("an address is one line")
        grouped = self.pipelining and (fresh or bool(self._mails))
        mail = _Mail(recipient, message, grouped, reached_rcpt=grouped)
        self._mails.append(mail)
        options = f" SIZE={len(message)}" if "size" in self.extensions else ""
        if smtputf8:
            options += " SMTPUTF8" + (" BODY=8BITMIME" if "8bitmime" in self.extensions else "")
        self._command(Phase.MAIL, f"MAIL FROM:<{sender}>{options}", mail)
        if mail.grouped:
            self._command(Phase.RCPT, f"RCPT TO:<{recipient}>", mail)
            self._command(Phase.DATA, "DATA", mail)

    @property
    def takes(self) -> bool:
        """Tell whether `begin()` may be called: nothing is under way, or only a body, with room behind it."""
        if self.phase is Phase.READY:
            return True
        return self.pipelining and len(self._mails) == 1 and self.phase in (Phase.BODY, Phase.DOT)

    def refusal(self, message: bytes, smtputf8: bool) -> Outcome | None:
        """Tell before a transaction what this server would refuse by its own announcement."""
        size = self.extensions.get("size", "").split()
        if size and size[0].isdecimal() and len(size[0]) <= 20 and 0 < int(size[0]) < len(message):
            reason = f"the message has {len(message)} bytes, the server takes {size[0]}"
            return Outcome(Verdict.FAILED, Scope.MESSAGE, reason=reason, kind=Kind.SIZE)
        if smtputf8 and "smtputf8" not in self.extensions:
            reason = "the server cannot take an address with such letters before the @ (no SMTPUTF8)"
            return Outcome(Verdict.FAILED, Scope.RECIPIENT, reason=reason)
        return None

    def permit(self) -> None:
        """Let the body leave; from its last byte on the mail is in doubt until the server answers."""
        assert self.phase is Phase.INTENT, self.phase
        mail = self._mails[0]
        mail.phase = Phase.BODY
        stuffed = mail.message.replace(b"\r\n.", b"\r\n..")  # RFC 5321 §4.5.2
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        self._until_dot = sum(map(len, self._outgoing)) - self._written
        for piece in (stuffed, b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"):
            self._write(piece)
            self._until_dot += len(piece)
        self._expected.append((Phase.DOT, mail))

    def quit(self) -> None:
        """Say goodbye; the answer does not matter."""
        if self.phase is Phase.READY:
            self._command(Phase.QUIT, "QUIT")

    def abandon(self) -> None:
        """Leave without a word: no event comes any more, and nothing more is written."""
        self._closed = True
        self._mails.clear()
        self._expected.clear()
        self._outgoing.clear()
        self._written = 0

    @property
    def outgoing(self) -> memoryview:
        """What wants to be written to the socket next."""
        return memoryview(self._outgoing[0])[self._written :] if self._outgoing else memoryview(b"")

    def wrote(self, count: int) -> None:
        """Say that the socket took the first `count` bytes of `outgoing`."""
        if count == 0:
            return
        self._taken += count
        if self._taken >= _PROGRESS or len(self.outgoing) == count:
            self.step, self._taken = self.step + 1, 0
        self._written += count
        if self._written == len(self._outgoing[0]):
            self._outgoing.popleft()
            self._written = 0
        if self.phase is Phase.BODY:
            self._until_dot -= count
            if self._until_dot <= 0:
                self._mails[0].phase = Phase.DOT

    @property
    def phase(self) -> Phase:
        """Where the session stands."""
        if self._closed:
            return Phase.CLOSED
        if self._mails:
            return self._mails[0].phase
        if self._expected:
            return Phase.QUIT if self._expected[0][0] is Phase.QUIT else Phase.RESET
        return Phase.READY

    @property
    def named(self) -> bool:
        """Tell whether the server was told the recipient of the current mail."""
        return bool(self._mails) and self._mails[0].reached_rcpt

    @property
    def busy(self) -> bool:
        """Tell whether a mail is under way."""
        return bool(self._mails) and not self._closed

    @property
    def patience(self) -> float | None:
        """How many seconds the server may be silent now; None when nothing is expected of it."""
        if self._closed or not self._expected:
            return None
        what = self._expected[0][0]
        if what is Phase.DOT and self.phase is Phase.BODY:
            what = Phase.BODY
        patience = _PATIENCE[what.value]
        return min(patience, _PATIENCE_AT_FIRST) if self._in_question else patience

    @property
    def _in_question(self) -> bool:
        """Tell whether commands sent together wait for the first proof that the server takes them."""
        return not self._trusted and bool(self._expected) and self._expected[0][0] is not Phase.QUIT

    # What the socket says ------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the server."""
        events: list[Event] = []
        self._incoming += data
        while not self._closed:
            line, newline, rest = self._incoming.partition(b"\n")
            if len(line) + self._size > _LONGEST_REPLY:
                return events + self._broken("the server's reply never ends")
            if not newline:
                return events
            self._incoming = rest
            events += self._line(line.rstrip(b"\r"))
        self._incoming = b""
        return events

    def lost(self, reason: str) -> list[Event]:
        """Say that the connection is gone (end of file, error, time-out)."""
        return [] if self._closed else self._broken(reason)

    def _line(self, line: bytes) -> list[Event]:
        found = _REPLY.fullmatch(line)
        if not found or (self._lines and self._lines[0][:3] != line[:3]):
            return self._broken(f"the server said what is no SMTP reply: {words_of([line])[:200]}", True)
        self._lines.append(line)
        self._size += len(line) + 2
        if found[2] == b"-":
            return []
        lines, self._lines, self._size = self._lines, [], 0
        self.step += 1
        return self._reply(int(found[1]), words_of([one[4:] for one in lines]))

    def _reply(self, code: int, words: str) -> list[Event]:
        if not self._expected:
            if code == 421:  # RFC 5321 §3.8: it may close at any time
                return self._end(self._judge(Stage.DATA, code, words))
            return self._broken(f"the server said {code} {words[:200]} out of turn", True)
        what, mail = self._expected.popleft()
        if what is Phase.QUIT:
            self._closed = True
            return [Closed()]
        if code == 421:
            stage = what if mail is None or mail.phase is not Phase.BODY else Phase.BODY
            return self._end(self._judge(Stage(stage.value), code, words) if self._mails else None)
        if mail is None or mail.ended:
            return self._remains(what, mail, code, words)
        match what:
            case Phase.MAIL if code // 100 == 2:
                mail.phase, mail.reached_rcpt = Phase.RCPT, True
                if not mail.grouped:
                    self._command(Phase.RCPT, f"RCPT TO:<{mail.recipient}>", mail)
                return []
            case Phase.RCPT if code // 100 == 2:
                mail.phase = Phase.DATA
                if not mail.grouped:
                    self._command(Phase.DATA, "DATA", mail)
                return []
            case Phase.DATA if code == 354:
                self._trusted = True
                mail.phase = Phase.INTENT
                return [BodyWanted()]
            case Phase.MAIL | Phase.RCPT | Phase.DATA if code >= 400:
                return self._refused(what, mail, code, words)
            case Phase.DOT:
                return self._answered(mail, code, words)
        return self._broken(f"the server said {code} {words[:200]} out of turn", True)

    def _refused(self, what: Phase, mail: _Mail, code: int, words: str) -> list[Event]:
        """End a mail before its body."""
        about_protocol = code in _NOT_PIPELINED and enhanced_code(words)[1:4] in ("", ".5.")
        if self._in_question and about_protocol:
            # What it says may be about our commands and not about the mail: ask again, one by one.
            return self._broken(f"the server said {code} {words[:200]} to commands sent together", True)
        mail.reached_rcpt = what is not Phase.MAIL
        outcome = self._judge(Stage(what.value), code, words)
        mail.ended = True
        self._mails.popleft()
        if what is Phase.DATA:
            self._trusted = True
        if not mail.grouped or what is Phase.DATA:
            self._command(Phase.RESET, "RSET")
        return [Finished(outcome)]

    def _remains(self, what: Phase, mail: _Mail | None, code: int, words: str) -> list[Event]:
        """Take what is still said about a mail that was refused already."""
        if what is Phase.DATA:
            self._trusted = True
            if code == 354 and mail is not None and mail.taken:
                return self._end(None)  # even a dot alone would be a mail now
            if code == 354:  # the server has no recipient and wants a body all the same: an empty one
                self._write(b".\r\n")
                self._expected.append((Phase.DOT, None))
                return []
            if code >= 400:
                self._command(Phase.RESET, "RSET")
                return []
        elif code // 100 == 2 or (code >= 400 and what is not Phase.RESET):
            if mail is not None and what is Phase.RCPT:
                mail.taken = code < 400
            return []
        return self._broken(f"the server said {code} {words[:200]} out of turn", True)

    def _answered(self, mail: _Mail, code: int, words: str) -> list[Event]:
        """Take the answer to the final dot, or one that came before the dot was written."""
        if mail.phase is Phase.BODY:
            if code < 400:
                return self._broken(f"the server said {code} {words[:200]} before the end of the mail", True)
            # Refused before everything was written: nothing was accepted, the stream is out of step.
            return self._end(self._judge(Stage.BODY, code, words))
        if code // 100 == 3:
            doubt = "no answer to the final dot"
            outcome = Outcome(Verdict.UNKNOWN, Scope.MESSAGE, code, "", words, doubt, reached_rcpt=True)
            return self._end(outcome)
        self._mails.popleft()
        if code >= 400:
            return [Finished(judge(Stage.DOT, code, words, reached_rcpt=True))]
        enhanced = enhanced_code(words)
        return [Finished(Outcome(Verdict.SENT, Scope.RECIPIENT, code, enhanced, words, reached_rcpt=True))]

    # Ends --------------------------------------------------------------------------------------

    def _judge(self, stage: Stage, code: int, words: str) -> Outcome:
        return judge(stage, code, words, bool(self._mails) and self._mails[0].reached_rcpt)

    def _broken(self, reason: str, nonsense: bool = False) -> list[Event]:
        """End the session: the connection is gone, or the server says `nonsense`."""
        if "pipelining" in self.extensions and (nonsense or self._in_question):
            self.out_of_step = True
        if self.phase is Phase.DOT:
            doubt = f"{reason}, after the whole mail was handed over: it may have been accepted"
            return self._end(
                Outcome(Verdict.UNKNOWN, Scope.SESSION, reason=doubt, reached_rcpt=True, lost=True)
            )
        reached = bool(self._mails) and self._mails[0].reached_rcpt
        return self._end(
            Outcome(Verdict.DEFERRED, Scope.SESSION, reason=reason, reached_rcpt=reached, lost=True)
        )

    def _end(self, outcome: Outcome | None) -> list[Event]:
        """Close: the current mail has this outcome, the one behind it has none of its own."""
        events: list[Event] = [Finished(outcome)] if self._mails and outcome else []
        for mail in list(self._mails)[1:]:
            reason = "the session ended with the mail before"
            behind = Outcome(Verdict.DEFERRED, Scope.SESSION, reason=reason, reached_rcpt=mail.reached_rcpt)
            events.append(Finished(behind))
        self.abandon()
        return [*events, Closed()]

    # Bytes -------------------------------------------------------------------------------------

    def _command(self, phase: Phase, line: str, mail: _Mail | None = None) -> None:
        self._write(line.encode() + b"\r\n")
        self._expected.append((phase, mail))

    def _write(self, data: bytes) -> None:
        """Append to what wants to be written; small pieces travel together, large ones are not copied."""
        if not data:
            return
        last = self._outgoing[-1] if self._outgoing else b""
        if last and len(last) + len(data) <= _JOINED:
            self._outgoing[-1] = last + data
        else:
            self._outgoing.append(data)


def words_of(lines: list[bytes]) -> str:
    """The server's words as printable text; 8-bit bytes as UTF-8 where they are, else as escapes."""
    texts = [line.decode("utf-8", "backslashreplace") for line in lines]
    # Each line of a reply repeats the enhanced code; keep the first (RFC 2034 §4).
    if code := enhanced_code(texts[0]):
        texts[1:] = [text.removeprefix(code) for text in texts[1:]]
    text = " ".join(" ".join(texts).split())
    return "".join(char if char.isprintable() else " " for char in text).strip()[:1000]
