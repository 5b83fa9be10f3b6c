"""Consent: the question before a run, with a look and a test mail first; the password.

Without a terminal nothing is asked: --yes or --approved stand for the answer, or the command ends with 2.
Raises UsageError when the answer is no, and what previews and test mails raise.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outreach.console import Console
from outreach.errors import OutreachError, SettingsError, UsageError

if TYPE_CHECKING:
    from outreach.ledger import Ledger
    from outreach.mailing import Changes, Embargo
    from outreach.model import Contact, Server
    from outreach.plan import Plan
    from outreach.settings import Settings

_NAMED = 10  # people who are named one by one


@dataclass(slots=True)
class Consent:
    """What a person says to a run, on the command line and when asked."""

    console: Console
    settings: Settings
    plan: Plan
    changes: Changes
    server: Server
    yes: bool = False
    approved: str | None = None
    add_new: bool = False
    revise: bool = False
    _password: list[str | None] = field(default_factory=list)

    def joins(self) -> bool:
        """Find out whether contacts that are new in the list join a mailing that has begun."""
        if self.changes.mailing is None or self.add_new:
            return True
        if not self.changes.new:
            return False
        new = self.changes.new
        if self.yes or self.approved or not self.console.interactive:
            some = ", ".join(item.contact.email for item in new[:3])
            self.console.say(f"{len(new)} new in the list are left out ({some}); --add-new adds them")
            return False
        answer = self.console.ask(f"Add {len(new)} new contacts to the mailing {self.plan.name}? [y/N]")
        return answer in ("y", "yes")

    def ask(
        self,
        chosen: Callable[[Contact], bool],
        limit: int | None,
        joins: bool,
        ledger: Ledger | None,
        embargo: Embargo | None = None,
    ) -> int:
        """Ask once; return how many letters go. Raises UsageError when the answer is no."""
        from outreach import mailing

        if self.approved:
            mailing.refuse_unapproved(self.approved, self.plan, self.changes, ledger, joins, self.revise)
        question = mailing.question(
            self.plan,
            self.changes,
            chosen,
            limit,
            joins,
            self.revise,
            self.settings,
            ledger,
            time.time(),
            embargo,
        )
        if question.count == 0 or self.yes or self.approved:
            return question.count
        if not self.console.interactive:
            raise UsageError(
                "there is no terminal to ask on",
                f"say --yes to send, or --approved {self.plan.fingerprint}; --dry-run to look",
            )
        while True:
            answer = self.console.ask(question.text)
            if answer in question.accepted:
                return question.count
            if answer == "p":
                self._show(chosen)
            elif answer == "t":
                self._test(chosen)
            else:
                raise UsageError("nothing was sent", "outreach preview, outreach rehearse")

    def password(self) -> str | None:
        """Return the password, asked for at most once."""
        if not self._password:
            self._password.append(_password(self.console, self.settings))
        return self._password[0]

    def going(self, chosen: Callable[[Contact], bool]) -> Callable[[Contact], bool]:
        """Choose among those of a follow-up who get a letter."""
        if self.plan.follow_up is None:
            return chosen
        going = {item.contact.email for item in self.plan.items}
        return lambda contact: chosen(contact) and contact.email in going

    def _show(self, chosen: Callable[[Contact], bool]) -> None:
        from outreach import preview

        now = datetime.datetime.now(datetime.UTC)
        for contact in preview.choose(self.plan, None, None, None, False, self.going(chosen)):
            self.console.say(preview.as_text(self.plan, contact, now) + "\n" + "─" * 72)

    def _test(self, chosen: Callable[[Contact], bool]) -> None:
        """Send test mails to the sender; what goes wrong is said, and the question asked again."""
        try:
            test(self, self.plan.sender.address, None, chosen)
        except OutreachError as error:
            self.console.error(error)


def test(
    consent: Consent,
    to: str,
    contact: str | None,
    chosen: Callable[[Contact], bool],
    limit: int | None = None,
) -> int:
    """Send a test mail for each language and audience, or the letter of one contact, to an address."""
    from outreach import mailing, preview, trial
    from outreach.ledger import Ledger

    plan, settings, console = consent.plan, consent.settings, consent.console
    going = consent.going(chosen)
    contacts = preview.choose(plan, contact, None, None, False, None if contact else going)
    most = min(trial.MOST, limit or trial.MOST)
    if len(contacts) > most:
        console.say(f"{len(contacts)} kinds of letters; the first {most} are sent as a test")
        contacts = contacts[:most]
    say_changed(console, plan, consent.changes)
    orders = mailing.orders(settings, consent.server, consent.password())
    with Ledger(settings.ledger, create=True) as ledger:
        done = trial.send(plan, contacts, to, orders, ledger)
    for one in contacts:
        console.say(f"  {plan.letter.choose(one).file}, as {one.email} would get it")
    console.say(f"{done} test mail{'s' if done != 1 else ''} to {to}, marked [TEST]")
    return done


def _password(console: Console, settings: Settings) -> str | None:
    password = settings.password()
    if password is None and settings.user:
        if not console.interactive:
            raise SettingsError(
                f"there is no password for {settings.user}",
                "set OUTREACH_SMTP_PASSWORD_COMMAND or OUTREACH_SMTP_PASSWORD in .env",
            )
        password = console.secret(f"Password for {settings.user}")
    return password


def say_vanished(console: Console, changes: Changes) -> None:
    """Name who is still to get a letter, but is no longer in the list."""
    for one in changes.vanished[:10]:
        console.say(
            f"no longer in the list, still to be sent: {one.contact.email} (outreach cancel stops it)"
        )
    if len(changes.vanished) > 10:
        console.say(f"… and {len(changes.vanished) - 10} more that are no longer in the list")


def say_waiting(console: Console, plan: Plan, changes: Changes) -> None:
    """Name whose second letter is planned and does not leave now, and why."""
    for one in changes.open[:_NAMED]:
        words = plan.follow_up.reason(one.contact) if plan.follow_up else None
        if words is not None:
            console.say(f"not now: {one.contact.email} {words}")


def say_changed(console: Console, plan: Plan, changes: Changes) -> None:
    """Say that what is seen now is not what a mailing that has begun was planned with."""
    if changes.changed:
        console.say(
            f"the mailing {plan.name} has begun; {len(changes.changed)} of its unsent letters would be "
            "different now: `outreach send` refuses that without --revise"
        )


def say_problems(console: Console, problems: Sequence[object], most: int = 20) -> None:
    """Name what a run would refuse, or what was allowed."""
    for one in problems[:most]:
        console.say(f"  {one}")
    if len(problems) > most:
        console.say(f"  … and {len(problems) - most} more")
