"""What tells that a letter in doubt arrived after all.

Its Message-ID in a Sent folder, or its token in a mail that came back: who has seen it was sent it. That
nothing is found proves nothing, unless the provider keeps there what is sent by SMTP; then it is said.
"""

from __future__ import annotations

from collections.abc import Sequence

from outreach import mailing as mailings
from outreach.ledger import Delivery, Ledger, Mailing
from outreach.model import State
from outreach.received import Received

_KEEPS = 0.9  # of the accepted letters, in the Sent folder of a provider that keeps what is sent by SMTP
_MOST_ASKED = 5_000  # letters that are looked for, to tell whether a Sent folder keeps them


def settle(
    ledger: Ledger, mailing: Mailing, mails: Sequence[str], now: float
) -> tuple[list[tuple[Delivery, str]], list[Delivery]]:
    """Settle what there is evidence for; return that with the reason, and what stays in doubt.

    Of some addresses, or of all. Raises UsageError for an address that the mailing does not have.
    """
    doubtful = mailings.in_doubt(ledger, mailing, now)
    if mails:
        keys = mailings.keys_of(mails, {one.address: one for one in ledger.deliveries(mailing)}, mailing)
        doubtful = [one for one in doubtful if one.address in keys]
    received = Received(ledger)
    settled = []
    with ledger.transaction():
        there = received.was_written([one.message_id for one in doubtful])
        told = {
            mail.delivery_id: mail
            for mail in received.mails(deliveries=[one.id for one in doubtful])
            if mail.how == "token"
        }
        for one in doubtful:
            if one.message_id in there:
                why = "it lies in the Sent folder"
            elif mail := told.get(one.id):
                why = f"our token came back with mail {mail.id} ({mail.kind})"
            else:
                continue
            ledger.settle(mailing, [one.address], True, f"was in doubt; {why}")
            settled.append((one, why))
    done = {one.id for one, _ in settled}
    return settled, [one for one in doubtful if one.id not in done]


def words(ledger: Ledger, mailing: Mailing) -> str:
    """Say what it means that nothing was found."""
    received = Received(ledger)
    if not received.readings():
        return "no evidence: no Sent folder was read (outreach replies sync, with OUTREACH_IMAP_URL set)"
    sent = ledger.deliveries(mailing, (State.SENT,))[-_MOST_ASKED:]
    kept = len(received.was_written([one.message_id for one in sent]))
    if kept == 0:
        return (
            "no evidence is possible from the Sent folder: it has none of the letters of this mailing, "
            "so your provider does not keep there what is sent by SMTP"
        )
    if kept < len(sent) * _KEEPS:
        return (
            f"no evidence: the Sent folder has only {kept} of {len(sent)} letters that were accepted, "
            "so that one is not there shows nothing"
        )
    return (
        f"the Sent folder has {kept} of {len(sent)} letters that were accepted, and none in doubt: "
        "probably they did not leave"
    )
