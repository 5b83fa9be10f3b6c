"""Stop a run that goes wrong for everybody, before it harms the account.

It counts what the server says in one run: refusals of the message that are all alike, their share, and the
share of mailboxes that do not exist. The next run counts anew. Pure; the numbers are those of the design.
Complaints are those that came while the run goes on, with our token.
"""

from __future__ import annotations

from collections import deque

from outreach.model import Kind, Outcome, Scope, Verdict

_EQUAL = 5  # refusals in a row, all alike
_WINDOW, _REFUSED_SHARE = 100, 0.10  # of the last so many
_COMPLAINTS_AT_LEAST, _COMPLAINTS_SHARE = 2, 0.001
_DEAD_AFTER, _DEAD_AT_LEAST, _DEAD_SHARE = 50, 5, 0.05


class Breaker:
    """Takes the outcome of every attempt that the server answered, and says when it is enough."""

    def __init__(self) -> None:
        self._alike: tuple[str, int] = ("", 0)
        self._last: deque[bool] = deque(maxlen=_WINDOW)  # whether the message was refused
        self._answered = 0
        self._dead = 0

    def saw(self, outcome: Outcome) -> str:
        """Count an outcome; return why the run must stop, or an empty string."""
        refused = outcome.verdict is Verdict.FAILED and outcome.scope is Scope.MESSAGE
        answered = outcome.code is not None or refused  # too large by the server's own announcement
        if not answered or outcome.verdict is Verdict.DEFERRED or outcome.scope is Scope.SESSION:
            return ""
        self._answered += 1
        self._last.append(refused)
        self._dead += outcome.verdict is Verdict.FAILED and outcome.kind is Kind.BAD_MAILBOX
        if outcome.verdict is Verdict.SENT:
            self._alike = ("", 0)
        elif refused:
            alike = f"{outcome.code} {outcome.enhanced} {outcome.kind}"
            self._alike = (alike, self._alike[1] + 1 if self._alike[0] == alike else 1)
        words = f"{outcome.code} {outcome.reply}" if outcome.code else outcome.reason
        if self._alike[1] >= _EQUAL:
            return f"the server refused {_EQUAL} messages in a row: {words}"
        if len(self._last) == _WINDOW and (count := sum(self._last)) >= _WINDOW * _REFUSED_SHARE:
            return f"the server refused {count} of the last {_WINDOW} messages, the last one with: {words}"
        enough = self._dead >= _DEAD_AT_LEAST and self._answered >= _DEAD_AFTER
        if enough and self._dead >= self._answered * _DEAD_SHARE:
            return f"{self._dead} of {self._answered} mailboxes do not exist, the last: {words}"
        return ""

    @staticmethod
    def complained(complaints: int, sent: int) -> str:
        """Return why the run must stop when so many of those who got the letter complain, or nothing."""
        if complaints < max(_COMPLAINTS_AT_LEAST, sent * _COMPLAINTS_SHARE):
            return ""
        return f"{complaints} of {sent} readers marked the letter as spam"
