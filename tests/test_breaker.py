"""When a run is stopped because it goes wrong for everybody."""

from __future__ import annotations

import pytest

from outreach.breaker import Breaker
from outreach.model import Kind, Outcome, Scope, Verdict

GOOD = Outcome(Verdict.SENT, Scope.RECIPIENT, 250)
SPAM = Outcome(Verdict.FAILED, Scope.MESSAGE, 554, "5.7.1", "5.7.1 spam", kind=Kind.SPAM)
LARGE = Outcome(Verdict.FAILED, Scope.MESSAGE, 552, "5.3.4", "5.3.4 too big", kind=Kind.SIZE)
GONE = Outcome(Verdict.FAILED, Scope.RECIPIENT, 550, "5.1.1", "5.1.1 unknown", kind=Kind.BAD_MAILBOX)
FULL = Outcome(Verdict.FAILED, Scope.RECIPIENT, 552, "5.2.2", "5.2.2 full", kind=Kind.MAILBOX_FULL)
LATER = Outcome(Verdict.DEFERRED, Scope.MESSAGE, 451, "4.3.0", "4.3.0 later")
OURS = Outcome(Verdict.FAILED, Scope.SESSION, 535, "5.7.8", "5.7.8 who", kind=Kind.LOGIN)
NOT_ASKED = Outcome(Verdict.FAILED, Scope.MESSAGE, reason="the message is too big")


def stopped_at(outcomes: list[Outcome]) -> int | None:
    breaker = Breaker()
    for number, outcome in enumerate(outcomes, 1):
        if breaker.saw(outcome):
            return number
    return None


@pytest.mark.parametrize(
    ("outcomes", "at"),
    [
        # five in a row that are all alike
        ([SPAM] * 9, 5),
        ([SPAM] * 4 + [GOOD] + [SPAM] * 4 + [GOOD], None),
        ([SPAM, LARGE] * 5, None),
        ([SPAM] * 4 + [LARGE] + [SPAM] * 5, 10),
        ([SPAM] * 2 + [GONE, LATER, FULL] + [SPAM] * 3, 8),  # what says nothing of the message is no break
        ([LATER] * 50 + [OURS] * 50, None),
        ([NOT_ASKED] * 9, 5),  # too large by the server's own announcement
        # ten of the last hundred
        (([GOOD] * 8 + [SPAM]) * 11 + [GOOD], 100),
        (([GOOD] * 11 + [SPAM]) * 40, None),
        ([GOOD] * 900 + ([GOOD] * 4 + [SPAM]) * 20, 950),
        # one mailbox in twenty does not exist
        ([GONE] * 49, None),
        ([GONE] * 50, 50),
        ([GONE] * 5 + [GOOD] * 45, 50),
        ([GONE] * 4 + [GOOD] * 45 + [GONE], 50),
        ([GONE] * 4 + [GOOD] * 46, None),
        (([GOOD] * 20 + [GONE]) * 50, None),
        ([GOOD] * 95 + [GONE] * 5, 100),
        ([FULL] * 200, None),
    ],
)
def test_when_it_is_enough(outcomes: list[Outcome], at: int | None) -> None:
    assert stopped_at(outcomes) == at


def test_the_servers_last_words_are_passed_on() -> None:
    breaker = Breaker()
    said = [breaker.saw(SPAM) for _ in range(5)]
    assert said[:4] == [""] * 4
    assert said[4].endswith("554 5.7.1 spam")
