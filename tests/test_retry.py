"""What happens after an attempt: the whole table, and who counts as dead."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from outreach import retry
from outreach.model import Kind, Outcome, Scope, State, Verdict
from outreach.retry import Decision, Run
from outreach.verdicts import Stage, judge

GO_ON, PAUSE, SLOW_DOWN, STOP = Run.GO_ON, Run.PAUSE, Run.SLOW_DOWN, Run.STOP
DEAD = Kind.BAD_MAILBOX
SENT, DEFERRED, FAILED, UNKNOWN = Verdict.SENT, Verdict.DEFERRED, Verdict.FAILED, Verdict.UNKNOWN
OURS, THEIRS, LETTER = Scope.SESSION, Scope.RECIPIENT, Scope.MESSAGE
NOW = 1_337_000_000.0
STEPS = (300, 900, 3600)
GIVE_UP = 3 * 86400


def decide(
    outcome: Outcome,
    attempts: int = 1,
    losses: int = 0,
    first: float = NOW,
    steps: Sequence[int] = STEPS,
    give_up: int = GIVE_UP,
) -> Decision:
    return retry.decide(outcome, attempts, losses, first, NOW, steps, give_up)


@pytest.mark.parametrize(
    ("outcome", "losses", "state", "counts", "suppress", "run"),
    [
        # verdict  scope                     losses  state          counts suppress run
        (Outcome(SENT, THEIRS, 250), 0, State.SENT, True, False, GO_ON),
        (Outcome(SENT, LETTER, 250), 0, State.SENT, True, False, GO_ON),
        # in doubt: never again by itself
        (Outcome(UNKNOWN, OURS, reason="lost", lost=True), 0, State.UNKNOWN, True, False, PAUSE),
        (Outcome(UNKNOWN, OURS, reason="lost", lost=True), 9, State.UNKNOWN, True, False, PAUSE),
        (Outcome(UNKNOWN, LETTER, 354), 0, State.UNKNOWN, True, False, PAUSE),
        # the server refuses us: the run stops, the recipient is not charged
        (Outcome(FAILED, OURS, 530, "5.7.0", "5.7.0 log in"), 0, State.PLANNED, False, False, STOP),
        (Outcome(FAILED, OURS, 550, "5.1.1", "5.1.1 sender"), 0, State.PLANNED, False, False, STOP),
        (Outcome(FAILED, OURS, 550, kind=Kind.QUOTA), 0, State.PLANNED, False, False, STOP),
        # the session is in trouble: another one, later, for free
        (Outcome(DEFERRED, OURS, 421, "4.3.2", "4.3.2 bye"), 0, State.PLANNED, False, False, PAUSE),
        (Outcome(DEFERRED, OURS, 421, "4.3.2", "4.3.2 bye"), 9, State.PLANNED, False, False, PAUSE),
        (Outcome(DEFERRED, OURS, reason="lost", lost=True), 0, State.PLANNED, False, False, PAUSE),
        (Outcome(DEFERRED, OURS, reason="lost", lost=True), 2, State.PLANNED, False, False, PAUSE),
        # … but a recipient that loses the connection each time waits like any other
        (Outcome(DEFERRED, OURS, reason="lost", lost=True), 3, State.DEFERRED, True, False, PAUSE),
        (Outcome(DEFERRED, OURS, reason="lost", lost=True), 9, State.DEFERRED, True, False, PAUSE),
        # the server wants less from us for now: everybody waits, nobody is charged
        (Outcome(DEFERRED, OURS, 451, kind=Kind.QUOTA), 0, State.PLANNED, False, False, SLOW_DOWN),
        (Outcome(DEFERRED, OURS, 452, kind=Kind.CROWDED), 0, State.PLANNED, False, False, SLOW_DOWN),
        (Outcome(DEFERRED, OURS, 421, kind=Kind.SLOW_DOWN), 9, State.PLANNED, False, False, SLOW_DOWN),
        # later
        (Outcome(DEFERRED, THEIRS, 450, "4.2.0", "4.2.0 greylisted"), 0, State.DEFERRED, True, False, GO_ON),
        (Outcome(DEFERRED, LETTER, 451, "4.3.0", "4.3.0 later"), 0, State.DEFERRED, True, False, GO_ON),
        (Outcome(DEFERRED, THEIRS, 450, kind=DEAD), 0, State.DEFERRED, True, False, GO_ON),
        # never
        (Outcome(FAILED, THEIRS, 550, "5.1.1", kind=DEAD), 0, State.FAILED, True, True, GO_ON),
        (Outcome(FAILED, THEIRS, 550, "5.7.1", "5.7.1 policy"), 0, State.FAILED, True, False, GO_ON),
        (Outcome(FAILED, THEIRS, 552, kind=Kind.MAILBOX_FULL), 0, State.FAILED, True, False, GO_ON),
        (Outcome(FAILED, THEIRS, 550, "", "go away"), 0, State.FAILED, True, False, GO_ON),
        (Outcome(FAILED, LETTER, 554, kind=Kind.SPAM), 0, State.FAILED, True, False, GO_ON),
        (Outcome(FAILED, LETTER, 550, kind=DEAD), 0, State.FAILED, True, False, GO_ON),
        (Outcome(FAILED, LETTER, reason="too big"), 0, State.FAILED, True, False, GO_ON),
    ],
)
def test_the_table_of_outcomes(
    outcome: Outcome, losses: int, state: State, counts: bool, suppress: bool, run: Run
) -> None:
    made = decide(outcome, losses=losses)
    assert (made.state, made.counts, made.suppress, made.run) == (state, counts, suppress, run)
    assert (made.next_attempt_at is not None) is (state is State.DEFERRED)


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("losses", [0, 5])
def test_every_outcome_has_a_decision_and_a_failure_a_reason(
    verdict: Verdict, scope: Scope, lost: bool, losses: int
) -> None:
    made = decide(Outcome(verdict, scope, reason="our words", lost=lost), losses=losses)
    assert made.state in (State.SENT, State.PLANNED, State.DEFERRED, State.FAILED, State.UNKNOWN)
    assert (made.state is State.UNKNOWN) is (verdict is UNKNOWN)
    assert (made.state is State.SENT) is (verdict is SENT)
    assert not (made.suppress and made.state is not State.FAILED)
    if made.state in (State.FAILED, State.UNKNOWN) or made.run is STOP:
        assert made.reason


@pytest.mark.parametrize(
    ("attempts", "step"),
    [(1, 300), (2, 900), (3, 3600), (4, 3600), (50, 3600)],
)
def test_the_waits_grow_and_the_last_one_repeats(attempts: int, step: int) -> None:
    """A greylisting server wants at least its time: the jitter only adds, a tenth at most."""
    for scope in (THEIRS, LETTER):
        for _ in range(20):
            made = decide(Outcome(DEFERRED, scope, 450), attempts=attempts)
            assert made.state is State.DEFERRED
            assert made.next_attempt_at is not None
            assert NOW + step <= made.next_attempt_at <= NOW + 1.1 * step


def test_waits_of_two_recipients_differ_so_that_they_do_not_come_back_together() -> None:
    assert len({decide(Outcome(DEFERRED, THEIRS, 450)).next_attempt_at for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("attempts", "waited", "give_up", "state", "reason"),
    [
        (1, 0, 331, State.DEFERRED, ""),
        (1, 0, 299, State.FAILED, "gave up after 1 attempt"),
        (1, 0, 0, State.FAILED, "gave up after 1 attempt"),
        (2, 300, 1300, State.DEFERRED, ""),
        (2, 300, 1199, State.FAILED, "gave up after 2 attempts"),
        (9, GIVE_UP - 3961, GIVE_UP, State.DEFERRED, ""),
        (9, GIVE_UP - 3599, GIVE_UP, State.FAILED, "gave up after 9 attempts"),
        (9, GIVE_UP + 1, GIVE_UP, State.FAILED, "gave up after 9 attempts"),
    ],
)
def test_giving_up_counts_from_the_first_attempt(
    attempts: int, waited: int, give_up: int, state: State, reason: str
) -> None:
    made = decide(Outcome(DEFERRED, THEIRS, 450), attempts, first=NOW - waited, give_up=give_up)
    assert (made.state, made.reason) == (state, reason)
    assert not made.suppress  # nobody said that the mailbox is gone


def test_session_trouble_is_never_given_up_on_a_recipient() -> None:
    for outcome in (
        Outcome(DEFERRED, OURS, 421),
        Outcome(DEFERRED, OURS, reason="lost", lost=True),
        Outcome(FAILED, OURS, 535),
    ):
        assert decide(outcome, attempts=99, first=NOW - 10 * GIVE_UP).state is State.PLANNED


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome(FAILED, LETTER, reason="the message is too big"), "the message is too big"),
        (Outcome(FAILED, THEIRS, 550, "5.1.1", "5.1.1 unknown"), "refused for good"),
        (Outcome(FAILED, OURS, 535, "", "who?"), "the server refuses the sender"),
        (Outcome(UNKNOWN, OURS, reason="may have arrived"), "may have arrived"),
    ],
)
def test_the_reason_is_ours_and_never_the_servers_words(outcome: Outcome, reason: str) -> None:
    assert decide(outcome).reason == reason


# Who is dead -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("enhanced", "reply", "dead"),
    [
        ("5.1.1", "5.1.1 bad destination mailbox", True),
        ("5.1.2", "5.1.2 bad destination system", True),
        ("5.1.3", "5.1.3 bad syntax", True),
        ("5.1.6", "5.1.6 moved", True),
        ("5.1.10", "5.1.10 null MX", True),  # RFC 7505
        ("5.2.1", "5.2.1 mailbox disabled", True),
        ("5.2.2", "5.2.2 mailbox full, user unknown", False),  # the code wins over the words
        ("5.7.1", "5.7.1 user unknown to our policy", False),
        ("5.0.0", "5.0.0 unknown user", False),
        ("5.1.8", "5.1.8 bad sender", False),
        ("5.1.11", "5.1.11 x", False),
        ("4.1.1", "4.1.1 user unknown", False),
        ("", "user unknown", True),
        ("", "sorry, Unknown User (#5.1.1)", True),
        ("", "unknown recipient", True),
        ("", "No such user here", True),
        ("", "no such mailbox", True),
        ("", "mailbox not found", True),
        ("", "mailbox unavailable", False),
        ("", "The account does not exist", True),
        ("", "this address doesn't exist", True),
        ("", "recipient does not exist", True),
        ("", "Invalid recipient", True),
        ("", "invalid mailbox", True),
        ("", "", False),
        ("", "rejected by policy", False),
        ("", "mailbox full", False),
        ("", "quota exceeded", False),
        ("", "message looks like spam", False),
        ("", "try again later", False),
    ],
)
def test_a_mailbox_is_dead_only_when_the_server_says_so(enhanced: str, reply: str, dead: bool) -> None:
    code = 450 if enhanced.startswith("4") else 550
    made = judge(Stage.RCPT, code, reply)
    assert made.enhanced == enhanced
    assert decide(made).suppress is dead


@pytest.mark.parametrize("verdict", [SENT, DEFERRED, UNKNOWN])
def test_only_a_refusal_for_good_can_say_that_a_mailbox_is_dead(verdict: Verdict) -> None:
    assert not decide(Outcome(verdict, THEIRS, 550, "5.1.1", "5.1.1 user unknown", kind=DEAD)).suppress


@pytest.mark.parametrize("scope", [OURS, LETTER])
def test_only_a_refusal_of_the_recipient_can_say_that_a_mailbox_is_dead(scope: Scope) -> None:
    assert not decide(Outcome(FAILED, scope, 550, "5.1.1", "5.1.1 user unknown", kind=DEAD)).suppress
