"""SMTP client as a pure state machine (RFC 5321): bytes in, events out, and bytes to write.

It owns no socket and no clock. A session hands over after EHLO, TLS and login; from then on one message
at a time goes MAIL → RCPT → DATA → body → dot, and comes to exactly one Outcome. Every phase is a named
state, so "safe to try again" and "may have arrived" are never confused: only once the last byte of the
final dot was handed to the socket is a mail in doubt. The body is not written before `permit()`, so the
caller can write its intent down first. The server's words stay apart from ours.
Known limits: no pipelining yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from outreach.model import Outcome, Scope, Verdict

_REPLY = re.compile(rb"([2-5][0-9][0-9])([ -]?)(.*)", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")
_LONGEST_REPLY = 64 * 1024
# RFC 5321 §4.5.3.2: how long to wait, in seconds, in each phase.
_PATIENCE = {"mail": 300, "rcpt": 300, "data": 120, "body": 180, "dot": 600, "reset": 300, "quit": 10}
# A refusal that is about us, not about the recipient it names.
_ABOUT_US = re.compile(
    r"relay|authenticat\w+ (is )?(required|needed)|(must|please) (first )?(authenticate|log ?in)"
    r"|credential|not authori[sz]ed(?! for)|sender (address )?(rejected|denied)"
    r"|quota exceeded for sender|sending (limit|quota)|too many messages|daily (limit|quota)",
    re.IGNORECASE,
)


class Phase(StrEnum):
    """Where a session stands."""

    READY = "ready"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    INTENT = "intent"  # the server said 354; the body waits for our permit
    BODY = "body"
    DOT = "dot"  # everything is written, the answer is not there: in doubt
    RESET = "reset"
    QUIT = "quit"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class BodyWanted:
    """The server takes the body now; call `permit()` once the intent is durable."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The mail came to an end."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over; open another one."""


Event = BodyWanted | Finished | Closed


class Session:
    """One SMTP session after its opening."""

    def __init__(self, extensions: Mapping[str, str]) -> None:
        """`extensions` are the EHLO keywords in lower case with their parameters."""
        self.extensions = extensions
        self.phase = Phase.READY
        self._incoming = b""
        self._lines: list[bytes] = []
        self._outgoing = bytearray()
        self._recipient = ""
        self._message = b""
        self._reached_rcpt = False

    # What the caller says ----------------------------------------------------------------------

    def begin(self, sender: str, recipient: str, message: bytes, smtputf8: bool = False) -> None:
        """Start a transaction. `message` has CRLF line ends and no dot-stuffing; addresses are wire form."""
        assert self.phase is Phase.READY, self.phase
        if re.search(r"[\r\n]", sender + recipient):  # no assert: this must hold under python -O as well
            raise ValueError("an address is one line")
        self._recipient, self._message, self._reached_rcpt = recipient, message, False
        options = f" SIZE={len(message)}" if "size" in self.extensions else ""
        if smtputf8:
            options += " SMTPUTF8" + (" BODY=8BITMIME" if "8bitmime" in self.extensions else "")
        self._command(Phase.MAIL, f"MAIL FROM:<{sender}>{options}")

    def refusal(self, message: bytes, smtputf8: bool) -> Outcome | None:
        """Tell before a transaction what this server would refuse by its own announcement."""
        size = self.extensions.get("size", "").split()
        if size and size[0].isdecimal() and 0 < int(size[0]) < len(message):
            reason = f"the message has {len(message)} bytes, the server takes {size[0]}"
            return Outcome(Verdict.FAILED, Scope.MESSAGE, reason=reason)
        if smtputf8 and "smtputf8" not in self.extensions:
            reason = "the server cannot take an address with such letters before the @ (no SMTPUTF8)"
            return Outcome(Verdict.FAILED, Scope.RECIPIENT, reason=reason)
        return None

    def permit(self) -> None:
        """Let the body leave; from its last byte on the mail is in doubt until the server answers."""
        assert self.phase is Phase.INTENT, self.phase
        self.phase = Phase.BODY
        stuffed = self._message.replace(b"\r\n.", b"\r\n..")  # RFC 5321 §4.5.2
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        self._outgoing += stuffed  # not joined first: with files it is large
        self._outgoing += b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"

    def quit(self) -> None:
        """Say goodbye; the answer does not matter."""
        if self.phase is Phase.READY:
            self._command(Phase.QUIT, "QUIT")

    @property
    def outgoing(self) -> bytearray:
        """What wants to be written to the socket."""
        return self._outgoing

    def wrote(self, count: int) -> None:
        """Say that the socket took the first `count` bytes of `outgoing`."""
        del self._outgoing[:count]
        if self.phase is Phase.BODY and not self._outgoing:
            self.phase = Phase.DOT

    @property
    def busy(self) -> bool:
        """Tell whether a mail is under way."""
        return self.phase not in (Phase.READY, Phase.RESET, Phase.QUIT, Phase.CLOSED)

    @property
    def patience(self) -> float | None:
        """How many seconds the server may be silent now; None when nothing is expected of it."""
        return _PATIENCE.get(self.phase.value)

    # What the socket says ------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the server."""
        events: list[Event] = []
        self._incoming += data
        while self.phase is not Phase.CLOSED:
            line, newline, rest = self._incoming.partition(b"\n")
            if len(line) + sum(map(len, self._lines)) > _LONGEST_REPLY:
                return events + self._broken("the server's reply never ends")
            if not newline:
                return events
            self._incoming = rest
            events += self._line(line.rstrip(b"\r"))
        self._incoming = b""
        return events

    def lost(self, reason: str) -> list[Event]:
        """Say that the connection is gone (end of file, error, time-out)."""
        if self.phase is Phase.CLOSED:
            return []
        return self._broken(reason)

    def _line(self, line: bytes) -> list[Event]:
        found = _REPLY.fullmatch(line)
        if not found or (self._lines and self._lines[0][:3] != line[:3]):
            return self._broken(f"the server said what is no SMTP reply: {_words([line])[:200]}")
        self._lines.append(line)
        if found[2] == b"-":
            return []
        lines, self._lines = self._lines, []
        return self._reply(int(found[1]), _words([one[4:] for one in lines]))

    def _reply(self, code: int, words: str) -> list[Event]:
        if self.phase is Phase.QUIT:
            self.phase = Phase.CLOSED
            return [Closed()]
        if code == 421:  # RFC 5321 §3.8: the server closes, whatever we asked
            return self._finish_and_close(self._outcome(Verdict.DEFERRED, Scope.SESSION, code, words))
        good = code // 100 == 2
        match self.phase:
            case Phase.MAIL if good:
                self._reached_rcpt = True
                self._command(Phase.RCPT, f"RCPT TO:<{self._recipient}>")
                return []
            case Phase.RCPT if good:
                self._command(Phase.DATA, "DATA")
                return []
            case Phase.DATA if code == 354:
                self.phase = Phase.INTENT
                return [BodyWanted()]
            case Phase.DOT if good:
                self.phase = Phase.READY
                return [Finished(self._outcome(Verdict.SENT, Scope.RECIPIENT, code, words))]
            case Phase.DOT if code // 100 == 3:
                outcome = self._outcome(
                    Verdict.UNKNOWN, Scope.MESSAGE, code, words, "no answer to the final dot"
                )
                return self._finish_and_close(outcome)
            case Phase.BODY if code >= 400:
                # Refused before everything was written: nothing was accepted, the stream is out of step.
                return self._finish_and_close(self._judge(code, words))
            case Phase.MAIL | Phase.RCPT | Phase.DATA | Phase.DOT if code >= 400:
                outcome = self._judge(code, words)
                if self.phase is Phase.DOT:
                    self.phase = Phase.READY
                else:
                    self._command(Phase.RESET, "RSET")
                return [Finished(outcome)]
            case Phase.RESET if good:
                self.phase = Phase.READY
                return []
        return self._broken(f"the server said {code} {words[:200]} out of turn")

    # Verdicts ----------------------------------------------------------------------------------

    def _judge(self, code: int, words: str) -> Outcome:
        """Scope × severity of a refusal, by the phase it came in (docs/architecture.md, the table)."""
        verdict = Verdict.FAILED if code >= 500 else Verdict.DEFERRED
        found = _ENHANCED.match(words)
        subject = found[1][2:].partition(".")[0] if found else ""
        scope = Scope.MESSAGE
        if self.phase is Phase.MAIL:
            about_message = code in (452, 552, 555) or (found and found[1][1:] in (".3.4", ".6.7"))
            scope = Scope.MESSAGE if about_message else Scope.SESSION
        elif self.phase is Phase.RCPT:
            about_us = code in (530, 535) or (
                code != 450 and subject not in ("1", "2") and _ABOUT_US.search(words)
            )
            scope = Scope.SESSION if about_us else Scope.RECIPIENT
        elif subject in ("1", "2"):
            scope = Scope.RECIPIENT
        elif _ABOUT_US.search(words):  # a used-up quota is often said only here
            scope = Scope.SESSION
        return self._outcome(verdict, scope, code, words)

    def _outcome(self, verdict: Verdict, scope: Scope, code: int, words: str, reason: str = "") -> Outcome:
        found = _ENHANCED.match(words)
        return Outcome(verdict, scope, code, found[1] if found else "", words, reason, self._reached_rcpt)

    def _broken(self, reason: str) -> list[Event]:
        if self.phase is Phase.DOT:
            doubt = f"{reason}, after the whole mail was handed over: it may have been accepted"
            return self._finish_and_close(
                Outcome(Verdict.UNKNOWN, Scope.SESSION, reason=doubt, reached_rcpt=True, lost=True)
            )
        return self._finish_and_close(
            Outcome(
                Verdict.DEFERRED, Scope.SESSION, reason=reason, reached_rcpt=self._reached_rcpt, lost=True
            )
        )

    def _finish_and_close(self, outcome: Outcome) -> list[Event]:
        events: list[Event] = [Finished(outcome)] if self.busy else []
        self.phase = Phase.CLOSED
        self._outgoing.clear()
        return [*events, Closed()]

    def _command(self, phase: Phase, line: str) -> None:
        self.phase = phase
        self._outgoing += line.encode() + b"\r\n"


def _words(lines: list[bytes]) -> str:
    """The server's words as printable text; 8-bit bytes as UTF-8 where they are, else as escapes."""
    texts = [line.decode("utf-8", "backslashreplace") for line in lines]
    # Each line of a reply repeats the enhanced code; keep the first (RFC 2034 §4).
    if found := _ENHANCED.match(texts[0]):
        texts[1:] = [text.removeprefix(found[1]) for text in texts[1:]]
    text = " ".join(" ".join(texts).split())
    return "".join(char if char.isprintable() else " " for char in text).strip()[:1000]
