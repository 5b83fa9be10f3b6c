"""Send a letter to yourself first: the mail a contact would get, to your own address and nobody else's.

The message is made by the code that sends; the subject is marked, and envelope and To line name only the
tester, so that an answer to all reaches nobody. It is no delivery, but it counts against the account's
limits, and a suppressed address gets no test either. Raises ServerError, StoppedError, UsageError.
"""

from __future__ import annotations

import datetime
import selectors
import time
from collections.abc import Sequence
from dataclasses import replace

from outreach import address, message
from outreach import plan as plans
from outreach.connection import Opened, Opening
from outreach.delivery import Orders
from outreach.errors import Exit, OutreachError, ServerError, StoppedError, UsageError
from outreach.ledger import Ledger, others
from outreach.links import Link
from outreach.model import Contact, Outcome, Scope, Verdict
from outreach.plan import Plan
from outreach.smtp import BodyWanted, Finished, Phase

MOST = 12  # letters of one test


def send(plan: Plan, contacts: Sequence[Contact], to: str, orders: Orders, ledger: Ledger) -> int:
    """Send the letters of these contacts to one address; return how many the server accepted."""
    now = time.time()
    tester = _tester(plan, to)
    with ledger.transaction():
        _refuse_suppressed(to, tester, ledger)
    messages = [_message(plan, contact, to, ledger, now) for contact in contacts]
    selector = selectors.DefaultSelector()
    link = Link(_open(orders), False, selector)
    done = 0
    try:
        for data in messages:
            with ledger.transaction():
                _refuse_suppressed(to, tester, ledger)
                _refuse_full(orders, ledger)
                domain = address.domain(to)
                now = time.time()
                slot = ledger.take_slot(orders.account, domain, now, now, now)
            outcome = _deliver(link, selector, address.wire(plan.sender.address), to, data)
            if not outcome.reached_rcpt:
                ledger.release_slot(slot)
            if outcome.verdict is not Verdict.SENT:
                words = f"{outcome.code} {outcome.reply}" if outcome.code else outcome.reason
                raise ServerError(
                    f"{orders.server} did not take the test to {to}: {words}",
                    f"{done} of {len(messages)} test mails were accepted",
                    exit_code=Exit.REFUSED if outcome.verdict is Verdict.FAILED else Exit.UNREACHABLE,
                )
            done += 1
    finally:
        link.session.quit()
        link.write()
        link.close()
        selector.close()
    return done


def _message(plan: Plan, contact: Contact, to: str, ledger: Ledger, now: float) -> bytes:
    rendered = plans.render(plan, contact)
    return message.build(
        replace(rendered, subject=f"[TEST] {rendered.subject}"),
        Contact(to, name=contact.name),
        plan.sender,
        plan.reply_to,
        plan.unsubscribe,
        message.new_message_id(ledger.key, to, address.domain(plan.sender.address)),
        datetime.datetime.fromtimestamp(now, datetime.UTC),
    )


def _tester(plan: Plan, to: str) -> list[Contact]:
    """Return who this address is, as far as the list knows: a person who refused gets no test either."""
    key = address.key(to)
    known = [one for one in plan.contacts.contacts if key in map(address.key, (one.email, *others(one)))]
    return [Contact(to), *known]


def _refuse_suppressed(to: str, tester: Sequence[Contact], ledger: Ledger) -> None:
    for one in tester:
        reason = ledger.refusal(address.key(one.email), address.domain(one.email), others(one), time.time())
        if reason is not None:
            raise UsageError(f"{to} is suppressed: {reason}", "a test goes to an address of your own")


def _refuse_full(orders: Orders, ledger: Ledger) -> None:
    """A test does not wait for its turn, but it never goes beyond a limit."""
    history, now = ledger.history(account=orders.account), time.time()
    for limit in orders.pace.rate:
        oldest = history(limit.count)
        if oldest is not None and oldest.at + limit.seconds > now:
            raise StoppedError(
                f"the limit of {limit} is used up", "tests count too; try again later, or with a smaller one"
            )


def _open(orders: Orders) -> Opened:
    opening = Opening(orders.server, orders.user, orders.password, orders.ehlo_name, lambda: None)
    try:
        while (result := opening.result()) is None:
            time.sleep(0.02)
    except BaseException:
        opening.cancel()
        raise
    if isinstance(result, OutreachError):
        raise result
    return result


def _deliver(link: Link, selector: selectors.BaseSelector, sender: str, to: str, data: bytes) -> Outcome:
    """Take one message through the session."""
    session, smtputf8 = link.session, address.needs_smtputf8(to)
    if refusal := session.refusal(data, smtputf8):
        return refusal
    if not session.takes:
        return Outcome(Verdict.DEFERRED, Scope.SESSION, reason="the server closed the connection")
    session.begin(sender, address.wire(to), data, smtputf8)
    outcome: Outcome | None = None
    while outcome is None or session.phase is Phase.RESET:
        link.write()
        tick = time.monotonic()
        selector.select(max((link.deadline or tick) - tick, 0.0))
        for event in link.read() + link.overdue(time.monotonic()):
            if isinstance(event, BodyWanted):
                session.permit()
            elif isinstance(event, Finished):
                outcome = event.outcome
    return outcome
