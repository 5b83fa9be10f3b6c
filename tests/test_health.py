"""When a run pauses, slows down and stops: what concerns all, and not one recipient."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outreach.errors import Exit
from outreach.health import Health
from outreach.model import Kind, Outcome, Scope, State, Verdict
from outreach.retry import Decision, Run

NOW = 1_337_000_000.0
SENT = Outcome(Verdict.SENT, Scope.RECIPIENT, 250, reply="ok", reached_rcpt=True)
LOST = Outcome(Verdict.DEFERRED, Scope.SESSION, reason="gone", lost=True)
SLOW = Outcome(Verdict.DEFERRED, Scope.SESSION, 451, reply="slow down", kind=Kind.SLOW_DOWN)
CLOSING = Outcome(Verdict.DEFERRED, Scope.SESSION, 421, reply="rate limited", kind=Kind.SLOW_DOWN)
CROWDED = Outcome(Verdict.DEFERRED, Scope.SESSION, 421, reply="too many connections", kind=Kind.CROWDED)
NOT_US = Outcome(Verdict.FAILED, Scope.SESSION, 550, reply="not authorized", reached_rcpt=True)
SENDER = Outcome(Verdict.FAILED, Scope.SESSION, 553, reply="sender rejected")
QUOTA = Outcome(Verdict.FAILED, Scope.SESSION, 550, reply="limit", kind=Kind.QUOTA)
RUN = {SENT: Run.GO_ON, LOST: Run.PAUSE, SLOW: Run.SLOW_DOWN, CLOSING: Run.SLOW_DOWN, CROWDED: Run.SLOW_DOWN}


def see(health: Health, outcome: Outcome, now: float = NOW, left: int = 50, others: int = 0) -> str:
    decision = Decision(State.PLANNED, run=RUN.get(outcome, Run.STOP))
    return health.saw(outcome, decision, now, left, others)


def test_pauses_grow_to_five_minutes_and_twelve_in_a_row_stop_the_run() -> None:
    health, now, pauses = Health("mail.example:587", (300,)), NOW, []
    while health.stop is None:
        see(health, LOST, now)
        pauses.append(health.resume_at - now)
        see(health, LOST, now)  # another session that broke with it is no second trouble
        now = health.resume_at
    assert pauses == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 63.5, 127.5, 255.5, 300, 300, 300]
    assert health.stop.exit_code == Exit.UNREACHABLE
    assert "gone" in health.stop.message


def test_what_is_accepted_in_between_makes_it_forget_the_trouble() -> None:
    health, now = Health("mail.example:587", (300,)), NOW
    for _ in range(50):
        see(health, LOST, now)
        now = health.resume_at + 1
        see(health, SENT, now)
        assert health.resume_at < now
    assert health.stop is None


def test_slowing_down_waits_the_steps_of_a_deferred_recipient() -> None:
    health, now, waits = Health("mail.example:587", (300, 900, 3600)), NOW, []
    while health.stop is None:
        note = see(health, SLOW, now)
        waits.append(health.resume_at - now)
        assert ("wants less from us" in note) is (health.stop is None)
        assert see(health, SLOW, now) == ""
        now = health.resume_at
    assert waits == [300, 900] + [3600] * 6
    assert health.stop.exit_code == Exit.STOPPED


def test_one_connection_too_many_is_only_a_short_pause() -> None:
    health = Health("mail.example:587", (300,))
    assert see(health, CROWDED, others=2) == ""
    assert health.resume_at == NOW + 0.5
    assert see(health, CLOSING, now=NOW + 1, others=2), "a slower pace is another matter"
    assert health.asked_at == NOW + 1
    alone = Health("mail.example:587", (300,))
    assert see(alone, CROWDED)
    assert alone.resume_at == NOW + 300
    assert alone.asked_at == 0.0, "fewer connections were asked for, not a slower pace"


@pytest.mark.parametrize(
    ("outcome", "asked"), [(SLOW, NOW), (QUOTA, NOW), (LOST, 0.0), (SENDER, 0.0), (SENT, 0.0)]
)
def test_when_the_server_asks_for_less_it_is_noted_for_the_pace(outcome: Outcome, asked: float) -> None:
    health = Health("mail.example:587", (300,))
    see(health, outcome)
    assert health.asked_at == asked


@pytest.mark.parametrize(
    ("outcomes", "left", "code"),
    [
        ([SENDER], 50, Exit.REFUSED),  # at MAIL: certain at once
        ([QUOTA], 50, Exit.STOPPED),
        ([NOT_US], 50, None),  # after RCPT: one may be an odd recipient
        ([NOT_US, NOT_US], 50, Exit.REFUSED),
        ([NOT_US, SENT, NOT_US], 50, None),
        ([NOT_US], 1, Exit.REFUSED),  # nobody left to compare with
    ],
)
def test_a_refusal_of_the_account_stops_the_run(outcomes: list[Outcome], left: int, code: int | None) -> None:
    health = Health("mail.example:587", (300,))
    for outcome in outcomes:
        see(health, outcome, left=left)
    assert (health.stop and health.stop.exit_code) == code


def test_a_refusal_that_sounds_like_ours_is_about_the_recipient_once_others_were_accepted() -> None:
    health = Health("mail.example:587", (300,))

    def scope(number: int, outcome: Outcome, left: int = 9, before: int = 0) -> Scope:
        return health.weigh(number, outcome, left, lambda: before).scope

    assert scope(1, NOT_US) is Scope.SESSION
    assert scope(1, NOT_US) is Scope.SESSION
    assert scope(1, NOT_US, left=0) is Scope.SESSION  # nobody to compare with
    assert scope(1, NOT_US, left=0, before=2) is Scope.RECIPIENT  # but so it was in two runs before
    see(health, SENT)
    assert scope(1, NOT_US) is Scope.RECIPIENT
    assert scope(2, NOT_US) is Scope.SESSION  # not since this one was refused
    assert scope(3, NOT_US, left=0) is Scope.RECIPIENT  # the last one, after others
    assert scope(4, replace(NOT_US, kind=Kind.QUOTA), left=0, before=9) is Scope.SESSION
    assert scope(1, SENDER) is Scope.SESSION
    assert health.weigh(1, SENT, 0, lambda: 9) is SENT


def test_the_first_reason_to_stop_is_the_one_that_is_told() -> None:
    health = Health("mail.example:587", (300,))
    see(health, SENDER)
    see(health, QUOTA)
    assert health.stop is not None
    assert "sender rejected" in health.stop.message


@pytest.mark.parametrize("breaker", [True, False])
def test_the_breaker_can_be_left_out(breaker: bool) -> None:
    health = Health("mail.example:587", (300,), breaker)
    spam = Outcome(Verdict.FAILED, Scope.MESSAGE, 554, "5.7.1", "spam")
    for _ in range(20):
        health.saw(spam, Decision(State.FAILED), NOW, 50, 0)
    assert (health.stop is not None) is breaker
