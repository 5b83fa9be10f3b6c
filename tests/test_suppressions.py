"""Whoever refused is never written to, by any way through the program; and refusals can be shared."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sink
import xlsxwriter
from conftest import Project
from test_ledger import BEFORE_ANSWERS

from outreach import suppressions, times
from outreach.errors import ContactsError, SettingsError, UsageError
from outreach.ledger import Ledger, NewDelivery, Refusals, Suppression, hashed, others
from outreach.model import Contact, Identity, Outcome, Scope, State, Verdict

UNLIMITED = ("send", "--yes", "--rate", "unlimited", "--rate-per-domain", "unlimited")
NOW = 1_800_000_000.0
DAY = 86400
PASSPHRASE = "four plain words here"
ME = Identity("Committee", "me@outreach.example")
BOB = "bob@d.example.org"


@pytest.fixture
def ready(project: Project) -> Iterator[tuple[Project, sink.Sink]]:
    """A project with a letter, and a server."""
    project.letter()
    with sink.run() as server:
        project.env["OUTREACH_SMTP_URL"] = server.url
        yield project, server


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "outreach.db", create=True) as opened:
        yield opened


def people(project: Project, *cells: str) -> None:
    """Write a list with these addresses; a cell may hold several."""
    rows = [f'"{cell}",Person {number},party,DE,en' for number, cell in enumerate(cells)]
    project.write("contacts.csv", "\n".join(["email,name,audience,country,language", *rows]) + "\n")


def states(project: Project) -> dict[str, str]:
    return {mail: row["state"] for mail, row in project.report().items()}


def refuse(ledger: Ledger, *values: str, now: float = NOW, **more: object) -> list[Suppression]:
    with ledger.transaction():
        new = [Suppression(value, "said stop", "by hand", now, **more) for value in values]  # type: ignore[arg-type]
        return ledger.suppress(new, now)


def begin(ledger: Ledger, name: str, *contacts: Contact) -> list[int]:
    """Plan a mailing to these; return the numbers of its deliveries."""
    with ledger.transaction():
        mailing = ledger.create_mailing(name, name, "2026-11-25", NOW)
        version = ledger.add_version(mailing, "f", {}, {}, "en", ME, ME, "", NOW)
        new = [NewDelivery(one, "en", "h", f"<{name}.{one.email}>") for one in contacts]
        ledger.add_deliveries(mailing, version, new)
    return [one.id for one in ledger.deliveries(mailing)]


# What is a refusal of whom -------------------------------------------------------------------------

# The cell of a list; what is refused; whether that excludes the person.
SAME = [
    ("ann@party.example.org", "ann@party.example.org", True),
    ("Ann@party.example.org", "ANN@Party.Example.ORG", True),
    ("ann@grüne.example.org", "ann@xn--grne-1ra.example.org", True),
    ("ann@xn--grne-1ra.example.org", "ann@GRÜNE.example.org", True),
    ("жёлтый@d.example.org", "ЖЁЛТЫЙ@d.example.org", True),
    ("ann@party.example.org", "@party.example.org", True),
    ("ann@party.example.org", "@PARTY.example.org", True),
    ("ann@grüne.example.org", "@xn--grne-1ra.example.org", True),
    ("ann@xn--grne-1ra.example.org", "@grüne.example.org", True),
    ("ann@party.example.org; lee@home.example.org", "Lee@home.example.org", True),
    ("ann@party.example.org; lee@grüne.example.org", "lee@xn--grne-1ra.example.org", True),
    ("ann@party.example.org; a@b.example.org; lee@home.example.org", "lee@home.example.org", True),
    ("ann@party.example.org; lee@home.example.org", "@home.example.org", False),
    ("ann@sub.party.example.org", "@party.example.org", False),
    ("ann@party.example.org", "@sub.party.example.org", False),
    ("ann+press@party.example.org", "ann@party.example.org", False),
    ("ann@party.example.org", "anna@party.example.org", False),
]


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
@pytest.mark.parametrize(("cell", "refused", "out"), SAME)
def test_plan_and_claim_and_intent_agree_on_who_refused(
    ledger: Ledger, cell: str, refused: str, out: bool, keyed: bool
) -> None:
    first, *rest = re.split("; ", cell)
    contact = Contact(first, alternates=tuple(rest))
    early, late = begin(ledger, "early", contact)[0], begin(ledger, "late", contact)[0]
    ledger.begin_run(NOW)
    with ledger.transaction():
        claimed = ledger.claim(early, NOW)
    assert claimed is not None
    value = suppressions.value_of(refused)
    if keyed:
        shared = suppressions.shared_by(PASSPHRASE)
        with ledger.transaction():
            ledger.add_share_key(shared.check, shared.key)
        value = hashed(value, shared.check, shared.key)
    refuse(ledger, value)
    found = ledger.refusals(NOW).of(claimed.address, claimed.domain, others(contact))
    assert (found is not None) is out
    with ledger.transaction():
        assert ledger.refusal(claimed.address, claimed.domain, others(contact), NOW) == found
        assert ledger.intend(claimed, NOW) is not out
        assert (ledger.claim(late, NOW) is None) is out
    if out:
        assert [ledger.delivery(number).state for number in (early, late)] == [State.SUPPRESSED] * 2
        assert ledger.delivery(late).reason == found
        assert ledger.delivery(early).lease is None


def test_a_reason_without_words_is_a_refusal_all_the_same(ready: tuple[Project, sink.Sink]) -> None:
    project, server = ready
    people(project, "ann@d.example.org", BOB)
    project.run("suppress", "add", "ann@d.example.org", "--reason", "")
    assert project.json("plan", "--json")["total"] == 1
    project.run(*UNLIMITED)
    assert server.recipients == [BOB]


def test_everybody_whom_a_letter_greets_can_refuse_it(ledger: Ledger) -> None:
    one = Contact("desk@d.example.org", "Ann", alternates=("ann@home.example.org",))
    two = Contact("desk@d.example.org", "Bob", alternates=("bob@home.example.org",))
    desk = Contact("desk@d.example.org", "Ann, Bob", alternates=one.alternates, people=(one, two))
    (number,) = begin(ledger, "spring", desk)
    refuse(ledger, "bob@home.example.org")
    ledger.begin_run(NOW)
    with ledger.transaction():
        assert ledger.claim(number, NOW) is None
    assert "bob@home.example.org" in ledger.delivery(number).reason


@pytest.mark.parametrize(
    ("value", "dead", "out"),
    [
        ("ann@d.example.org", True, True),  # the address itself: nobody writes to a mailbox that is gone
        ("lee@home.example.org", True, False),  # another one of hers is gone: she refused nothing
        ("lee@home.example.org", False, True),
    ],
)
def test_a_dead_mailbox_is_no_word_of_the_person(ledger: Ledger, value: str, dead: bool, out: bool) -> None:
    (number,) = begin(ledger, "spring", Contact("ann@d.example.org", alternates=("lee@home.example.org",)))
    refuse(ledger, value, dead=dead)
    ledger.begin_run(NOW)
    with ledger.transaction():
        assert (ledger.claim(number, NOW) is None) is out


def test_many_addresses_of_one_person_are_all_asked_about(ledger: Ledger) -> None:
    further = tuple(f"a{number}@d.example.org" for number in range(1200))
    (number,) = begin(ledger, "spring", Contact("ann@d.example.org", alternates=further))
    refuse(ledger, further[-1])
    ledger.begin_run(NOW)
    with ledger.transaction():
        assert ledger.claim(number, NOW) is None


def test_a_look_up_asks_for_nothing_more_than_it_needs() -> None:
    asked: list[int] = []

    def find(values: object) -> dict[str, tuple[str, bool]]:
        asked.append(len(list(values)))  # type: ignore[call-overload]
        return {}

    Refusals({}, find).of("ann@d.example.org", "d.example.org")
    Refusals({"1": b"k"}, find).of("ann@d.example.org", "d.example.org", ["a@b.example"])
    assert asked == [2, 6]


# Until when ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "until", "reason"),
    [
        # (until, dead) of what is there, and of what comes on top of it; what holds then.
        ((None, False), (None, False), None, "first"),
        ((None, False), (NOW + DAY, False), None, "first"),
        ((NOW + DAY, False), (None, False), None, "second"),
        ((NOW + DAY, False), (NOW + 2 * DAY, False), NOW + 2 * DAY, "second"),
        ((NOW + 2 * DAY, False), (NOW + DAY, False), NOW + 2 * DAY, "first"),
        ((NOW - 1, False), (NOW + DAY, False), NOW + DAY, "second"),  # the first was over
        ((NOW - 1, False), (None, True), None, "second"),
        ((None, True), (None, False), None, "second"),  # her word, on top of a dead mailbox
        ((None, True), (NOW + DAY, False), None, "second"),
        ((None, False), (None, True), None, "first"),
        ((NOW + DAY, False), (None, True), NOW + DAY, "first"),
    ],
)
def test_adding_twice_never_shortens_a_refusal(
    ledger: Ledger,
    first: tuple[float | None, bool],
    second: tuple[float | None, bool],
    until: float | None,
    reason: str,
) -> None:
    for words, (ends, dead) in (("first", first), ("second", second)):
        with ledger.transaction():
            one = Suppression("ann@d.example.org", words, "by hand", NOW, ends, dead)
            (holds,) = ledger.suppress([one], NOW)
    assert ledger.list_suppressions() == [holds]
    assert (holds.until, holds.reason) == (until, reason)
    assert holds.dead is (reason == "second" and second[1])


def test_a_refusal_ends_when_it_said(ledger: Ledger) -> None:
    (number,) = begin(ledger, "spring", Contact("ann@d.example.org"))
    refuse(ledger, "ann@d.example.org", until=NOW + DAY)
    assert ledger.refusals(NOW + DAY - 1).of("ann@d.example.org", "d.example.org") == "said stop"
    assert ledger.refusals(NOW + DAY).of("ann@d.example.org", "d.example.org") is None
    ledger.begin_run(NOW)
    with ledger.transaction():
        assert ledger.claim(number, NOW + DAY) is not None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90d", 90 * DAY), ("12h", 12 * 3600), (" 30M ", 1800), ("1s", 1)]
)
def test_a_span_counts_from_now(text: str, seconds: int) -> None:
    assert suppressions.until_of(text, NOW) == NOW + seconds


def test_a_day_holds_to_its_end_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for zone, ends in (
        ("UTC", "2027-02-01T00:00:00Z"),
        ("Europe/Berlin", "2027-01-31T23:00:00Z"),
        ("America/New_York", "2027-02-01T05:00:00Z"),
    ):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        until = suppressions.until_of("2027-01-31", NOW)
        document = suppressions.document([Suppression("@d.example", "", "", NOW, until)], NOW)
        assert document[0]["until"] == ends
        assert times.through(until) == "through 2027-01-31"
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "text",
    ["2027-02-30", "31.01.2027", "20270131", "tomorrow", "", "90", "0d", "2020-01-01", "9999-12-31", "-1d"],
)
def test_a_day_that_is_none_or_over_is_an_error_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        suppressions.until_of(text, NOW)
    assert "90d" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("party.example", "write @party.example"),
        ("grüne.example", "write @grüne.example"),
        ("nobody", "ann@party.example"),
        ("@", "ann@party.example"),
        ("@nothing", "ann@party.example"),
        ("hmac:12345678:12", "ann@party.example"),
    ],
)
def test_what_is_neither_address_nor_domain_is_refused_with_the_way_to_write_it(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        suppressions.value_of(text)
    assert hint in caught.value.hint


def test_add_says_what_holds_and_list_shows_it(project: Project) -> None:
    done = project.run("suppress", "add", "Ann@D.example.org", "@party.example.org", "--until", "2099-12-31")
    assert "ann@d.example.org: no mailing of this ledger writes there through 2099-12-31" in done.stderr
    done = project.run("suppress", "add", "ann@d.example.org", "--reason", "wrote STOP", "--source", "Lea")
    assert "there any more (wrote STOP)" in done.stderr
    done = project.run("suppress", "add", "ann@d.example.org", "--until", "1d", "--reason", "for now")
    assert "there any more (wrote STOP)" in done.stderr
    assert "@party.example" in project.run("suppress", "add", "party.example", code=2).stderr
    project.run("suppress", "add", "lee@d.example.org", "--until", "2020-01-01", code=2)
    shown = {one["value"]: one for one in project.json("suppress", "list", "--json")}
    assert set(shown) == {"ann@d.example.org", "@party.example.org"}
    assert shown["ann@d.example.org"]["until"] is None
    assert shown["ann@d.example.org"]["source"] == "Lea"
    assert shown["@party.example.org"]["until"] == "2100-01-01T00:00:00Z"
    with contextlib.closing(sqlite3.connect(project.folder / "outreach.db")) as raw:
        raw.execute("UPDATE suppression SET until = 86400 WHERE value = '@party.example.org'")
        raw.commit()
    assert "1970-01-01: over" in project.run("suppress", "list").stdout
    shown = {one["value"]: one["holds"] for one in project.json("suppress", "list", "--json")}
    assert shown == {"ann@d.example.org": True, "@party.example.org": False}


# Every way through the program ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "refused"),
    [
        ("Ann@grüne.example.org", "ANN@xn--grne-1ra.example.org"),
        ("ann@party.example.org; lee@home.example.org", "LEE@home.example.org"),
    ],
)
def test_a_new_mailing_and_one_that_goes_on_leave_out_who_refused(
    ready: tuple[Project, sink.Sink], cell: str, refused: str
) -> None:
    project, server = ready
    people(project, BOB, cell)
    project.run(*UNLIMITED, "--limit", "1", code=75)
    project.run("suppress", "add", refused, "--reason", "wrote STOP")
    project.run(*UNLIMITED)
    assert list(states(project).values()) == ["sent", "suppressed"]
    project.write("templates/other/en.md", "Subject: Other\n\nOther.\n")
    (left,) = project.json("plan", "other", "--json")["excluded"]
    assert "wrote STOP" in left["reason"]
    project.run(*UNLIMITED, "other")
    assert server.recipients == [BOB, BOB]


def again(project: Project, server: sink.Sink) -> None:
    project.run(*UNLIMITED)
    server.record.clear()
    project.run("suppress", "add", "lee@home.example.org")
    project.run(*UNLIMITED, "--name", "second", "--again")


def retried(project: Project, server: sink.Sink) -> None:
    server.rcpt_replies = {"ann@d.example.org": ["550 5.7.1 policy"]}
    project.run(*UNLIMITED, code=1)
    server.record.clear()
    project.run("suppress", "add", "lee@home.example.org")
    project.run(*UNLIMITED, "--retry-failed", code=1)
    people(project, BOB)  # and when the list does not know her any more
    project.run(*UNLIMITED, "--retry-failed", code=1)


def resent(project: Project, server: sink.Sink) -> None:
    server.after_data = lambda mail: None if mail.startswith("ann@") else "250 taken"
    server.keep_when_cut = False
    project.run(*UNLIMITED, code=1)
    server.record.clear()
    server.after_data = lambda mail: "250 taken"
    project.run("suppress", "add", "lee@home.example.org")
    assert "is suppressed" in project.run("resolve", "ann@d.example.org", "--resend").stderr
    project.run(*UNLIMITED, code=1)


def refused_after_resend(project: Project, server: sink.Sink) -> None:
    server.after_data = lambda mail: None if mail.startswith("ann@") else "250 taken"
    server.keep_when_cut = False
    project.run(*UNLIMITED, code=1)
    server.record.clear()
    server.after_data = lambda mail: "250 taken"
    project.run("resolve", "ann@d.example.org", "--resend")
    project.run("suppress", "add", "lee@home.example.org")
    project.run(*UNLIMITED)


def revised(project: Project, server: sink.Sink) -> None:
    project.run(*UNLIMITED, "--only", f"email={BOB}", code=75)
    server.record.clear()
    project.run("suppress", "add", "lee@home.example.org")
    project.letter("Subject: Hello again\n\nDear {{ name }},\n\nplease help us.\n")
    project.run(*UNLIMITED, "--revise")


def revised_without_the_address(project: Project, server: sink.Sink) -> None:
    """The list forgets the address that she refused with; what was planned still knows it."""
    project.run(*UNLIMITED, "--only", f"email={BOB}", code=75)
    server.record.clear()
    project.run("suppress", "add", "lee@home.example.org")
    people(project, BOB, "x@d.example.org")
    project.run(*UNLIMITED)


def added(project: Project, server: sink.Sink) -> None:
    people(project, BOB)
    project.run(*UNLIMITED)
    server.record.clear()
    project.run("suppress", "add", "lee@home.example.org")
    people(project, BOB, "ann@d.example.org; lee@home.example.org")
    project.run(*UNLIMITED, "--add-new")


def known_by_another_address(project: Project, server: sink.Sink) -> None:
    """Only the list of today says that who refused is somebody whose letter is planned."""
    people(project, BOB, "ann@d.example.org")
    project.run(*UNLIMITED, "--limit", "1", code=75)
    server.record.clear()
    project.run("suppress", "add", "lee@home.example.org")
    people(project, BOB, "ann@d.example.org; lee@home.example.org")
    project.run(*UNLIMITED)
    assert states(project)["ann@d.example.org"] == "suppressed"


def cancelled_and_added_again(project: Project, server: sink.Sink) -> None:
    project.run(*UNLIMITED, "--only", f"email={BOB}", code=75)
    server.record.clear()
    project.run("cancel", "ann@d.example.org")
    project.run("suppress", "add", "ann@D.example.org")
    project.run(*UNLIMITED, "--add-new")
    project.run(*UNLIMITED, "--name", "second", "--again")


def imported_without_a_passphrase(project: Project, server: sink.Sink) -> None:
    """The hashes hold when the passphrase is set no longer."""
    project.run(*UNLIMITED, "--only", f"email={BOB}", code=75)
    server.record.clear()
    text, _ = suppressions.as_keyed_csv([Suppression("lee@home.example.org", "", "", NOW)], PASSPHRASE)
    project.write("allies.csv", text)
    project.env["OUTREACH_SHARE_KEY"] = PASSPHRASE
    project.run("suppress", "import", "allies.csv")
    del project.env["OUTREACH_SHARE_KEY"]
    project.run(*UNLIMITED)
    project.run(*UNLIMITED, "--name", "second", "--again")


@pytest.mark.parametrize(
    "way",
    [
        again,
        retried,
        resent,
        refused_after_resend,
        revised,
        revised_without_the_address,
        added,
        known_by_another_address,
        cancelled_and_added_again,
        imported_without_a_passphrase,
    ],
)
def test_no_way_leads_to_who_refused(
    ready: tuple[Project, sink.Sink], way: Callable[[Project, sink.Sink], None]
) -> None:
    project, server = ready
    people(project, BOB, "ann@d.example.org; lee@home.example.org")
    way(project, server)
    assert set(server.recipients) <= {BOB, "x@d.example.org"}


def test_a_test_mail_does_not_reach_who_refused(ready: tuple[Project, sink.Sink]) -> None:
    project, server = ready
    people(project, BOB, "ann@d.example.org; lee@home.example.org", "eve@d.example.org; eve@home.example.org")
    refused = ("me@d.example.org", "me@grüne.example.org", "@xn--rte-sna.example.org")
    project.run("suppress", "add", *refused, "lee@home.example.org", "eve@d.example.org")
    for to in (
        "ME@d.example.org",
        "me@xn--grne-1ra.example.org",
        "anybody@RÖTE.example.org",
        "lee@home.example.org",
        "Ann@d.example.org",  # she refused with her other address
        "eve@home.example.org",
    ):
        done = project.run("send", "--test-to", to, "--rate", "unlimited", code=2)
        assert "is suppressed" in done.stderr
    assert server.record == []
    project.run("send", "--test-to", "tester@d.example.org", "--rate", "unlimited")
    assert server.recipients == ["tester@d.example.org"]


@pytest.mark.parametrize("how", ["alternate", "keyed"])
@pytest.mark.parametrize("announced", ["PIPELINING", "8BITMIME"])
def test_who_refuses_while_the_server_waits_for_the_body_gets_none(
    project: Project, announced: str, how: str
) -> None:
    project.letter()
    people(project, BOB, "ann@d.example.org; lee@home.example.org")
    told, go_on = threading.Event(), threading.Event()

    def before_body(rcpt: bytes) -> None:
        if b"ann@d.example.org" in rcpt:
            told.set()
            go_on.wait(30)

    with sink.by_hand(announced, before_body) as server:
        project.env |= {"OUTREACH_SMTP_URL": server.url, "OUTREACH_SHARE_KEY": PASSPHRASE}
        process = project.start(*UNLIMITED, "--connections", "1")
        assert told.wait(30)
        if how == "alternate":
            project.run("suppress", "add", "lee@home.example.org")
        else:
            text, _ = suppressions.as_keyed_csv([Suppression("@d.example.org", "", "", NOW)], PASSPHRASE)
            project.write("allies.csv", text)
            project.run("suppress", "import", "allies.csv")
        go_on.set()
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert [b"bob@" in rcpt for rcpt, body in server.bodies if b"Subject" in body] == [True]
    assert states(project)["ann@d.example.org"] == "suppressed"


def test_a_mailbox_that_is_gone_leaves_the_person_another_one(ready: tuple[Project, sink.Sink]) -> None:
    project, server = ready
    people(project, "old@home.example.org", BOB)
    server.rcpt_replies = {"old@home.example.org": ["550 5.1.1 no such user"]}
    project.run(*UNLIMITED, code=1)
    (dead,) = project.json("suppress", "list", "--json")
    assert dead["dead"] is True
    project.write("templates/other/en.md", "Subject: Other\n\nOther.\n")
    people(project, BOB, "ann@d.example.org; old@home.example.org")
    assert project.json("plan", "other", "--json")["excluded"] == []
    project.run("suppress", "add", "old@home.example.org", "--until", "90d")
    (left,) = project.json("plan", "other", "--json")["excluded"]
    assert left["email"] == "ann@d.example.org"
    assert "old@home.example.org, another address of theirs" in left["reason"]


def test_a_refusal_that_is_taken_back_is_taken_back_as_a_hash_too(project: Project) -> None:
    project.env["OUTREACH_SHARE_KEY"] = PASSPHRASE
    text, _ = suppressions.as_keyed_csv([Suppression("ann@d.example.org", "", "", NOW)], PASSPHRASE)
    project.write("allies.csv", text)
    project.run("suppress", "import", "allies.csv")
    (one,) = project.json("suppress", "list", "--json")
    assert one["value"].startswith("hmac:")
    assert one["source"] == "allies.csv"
    shown = project.run("suppress", "list").stdout
    assert "hashes from allies.csv: 1" in shown
    project.run("suppress", "add", "@d.example.org")
    assert "refused still" in project.run("suppress", "remove", "ann@d.example.org").stderr
    assert [one["value"] for one in project.json("suppress", "list", "--json")] == ["@d.example.org"]
    project.run("suppress", "import", "allies.csv")
    project.run("suppress", "remove", one["value"])
    assert "not suppressed" in project.run("suppress", "remove", one["value"], code=2).stderr


# Import --------------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str | bytes, **more: object) -> suppressions.Import:
    path = tmp_path / "stop.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return suppressions.read(path, PASSPHRASE, NOW, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "values", "wrong"),
    [
        ("ann@d.example\nLEE@Home.example\n", ["ann@d.example", "lee@home.example"], []),
        ("@party.example\nann@d.example\n", ["@party.example", "ann@d.example"], []),
        ("ann@d.example; lee@d.example\n@party.example\n",
         ["ann@d.example", "lee@d.example", "@party.example"], []),
        ("ann@d.example, lee@d.example\nbob@d.example\n",
         ["ann@d.example", "lee@d.example", "bob@d.example"], []),
        ("ann@d.example\n\nnobody\nAnn <Lee@d.example>\n", ["ann@d.example", "lee@d.example"], [3]),
        ("People who said stop\n@party.example\nann@d.example\n", ["@party.example", "ann@d.example"], [1]),
        ("ann@grüne.example\n@GRÜNE.example", ["ann@xn--grne-1ra.example", "@xn--grne-1ra.example"], []),
        ("ann@d.example\nann@D.example\n", ["ann@d.example"], []),
        ("E-Mail;Name\nann@d.example, lee@d.example;Ann\n@party.example;\nnobody;Bob\n",
         ["ann@d.example", "lee@d.example", "@party.example"], [4]),
        ("email,name\nann@d.example,Ann\nANN@d.example,Ann\n", ["ann@d.example"], []),
        ("name,email,alternates\nAnn,ann@d.example,lee@d.example\n", ["ann@d.example", "lee@d.example"], []),
        ("email\n@party.example\nann@d.example\n", ["@party.example", "ann@d.example"], []),
        ("email,name,Do not email\nann@d.example,Ann,yes\nlee@d.example,Lee,\n",
         ["ann@d.example", "lee@d.example"], []),
        ("email,name\nann@d.example,Ann,lee@d.example\n, , x\n", ["ann@d.example", "lee@d.example"], [3]),
        ("\ufeffvalue,reason,source,since,until\nann@d.example,x,y,,\n@party.example,,,,\nnobody,,,,\n",
         ["ann@d.example", "@party.example"], [4]),
        ("ann@d.example\nlee@d.example\n".encode("utf-16"), ["ann@d.example", "lee@d.example"], []),
    ],
)  # fmt: skip
def test_any_list_can_be_imported_and_what_is_no_address_is_named(
    tmp_path: Path, text: str | bytes, values: list[str], wrong: list[int]
) -> None:
    made = read(tmp_path, text)
    assert sorted(made.found) == sorted(values)
    assert [one.line for one in made.problems] == wrong


@pytest.mark.parametrize("text", ["", "\n\n", "nobody\nnothing\n", "email,name\n,Ann\n", "value,reason\n"])
def test_a_file_with_nothing_to_refuse_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ContactsError):
        read(tmp_path, text)


def test_an_import_says_why_from_where_and_until_when(tmp_path: Path) -> None:
    export = (
        "value,reason,source,since,until\n"
        "ann@d.example,wrote STOP,by hand,2026-01-02T03:04:05Z,2027-06-30T22:00:00Z\n"
        "lee@d.example,'=cmd(),,2999-01-01T00:00:00Z,\n"
        "old@d.example,,,,2026-01-01T00:00:00Z\n"
        "odd@d.example,,,,soon\n"
        "gone@d.example,bad mailbox: 550 unknown,mailing spring,,\n"
    )
    made = read(tmp_path, export)
    ann, lee, gone = made.found.values()
    assert (ann.reason, ann.source) == ("wrote STOP", "by hand")
    assert [document["at"] for document in suppressions.document([ann], NOW)] == ["2026-01-02T03:04:05Z"]
    assert [document["until"] for document in suppressions.document([ann], NOW)] == ["2027-06-30T22:00:00Z"]
    assert (lee.reason, lee.source, lee.at, lee.until) == ("=cmd()", "stop.csv", NOW, None)
    assert (gone.dead, ann.dead) == (True, False)
    assert made.over == 1
    assert [str(one).partition(":5: ")[2] for one in made.problems] == [
        "'soon' is no day: write it like 2027-01-31"
    ]
    made = read(tmp_path, export, reason="asked Lea", source="Lea", until=NOW + DAY)
    assert {(one.reason, one.source, one.until) for one in made.found.values()} == {
        ("asked Lea", "Lea", NOW + DAY)
    }


def test_the_command_imports_what_is_usable_and_ends_with_1_for_the_rest(project: Project) -> None:
    project.write("stop.txt", "ann@d.example.org\nnobody\n@party.example.org\n")
    done = project.run("suppress", "import", "stop.txt", "--reason", "wrote STOP", "--until", "30d", code=1)
    assert "stop.txt:2: 'nobody' is no address" in done.stdout
    assert "stop.txt: refused from now on: 2 (new: 2); no address: 1" in done.stdout
    done = project.run("suppress", "import", "stop.txt", code=1)
    assert "(new: 0)" in done.stdout
    shown = project.json("suppress", "list", "--json")
    assert [(one["value"], one["reason"], one["source"], one["until"]) for one in shown] == [
        ("ann@d.example.org", "on an imported list", "stop.txt", None),
        ("@party.example.org", "on an imported list", "stop.txt", None),
    ]
    project.write("stop.txt", "nobody\n")
    assert "nobody" in project.run("suppress", "import", "stop.txt", code=65).stderr
    assert "no file" in project.run("suppress", "import", "none.txt", code=65).stderr


def test_a_spreadsheet_of_refusals_is_a_list_like_any_other(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "stop.xlsx") as book:
        sheet = book.add_worksheet()
        cells = [["Name", "E-Mail"], ["Ann", "ann@d.example"], ["", "@party.example"], ["Bob", "nobody"]]
        for number, row in enumerate(cells):
            sheet.write_row(number, 0, row)
    made = suppressions.read(tmp_path / "stop.xlsx", "", NOW)
    assert sorted(made.found) == ["@party.example", "ann@d.example"]
    assert [one.line for one in made.problems] == [4]


# Export and allied groups --------------------------------------------------------------------------


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_plain_export_moves_the_refusals_to_another_ledger(tmp_path: Path) -> None:
    ours = [
        Suppression("ann@d.example.org", "wrote STOP, twice", "by hand", NOW - DAY),
        Suppression("@xn--grne-1ra.example.org", '=HYPERLINK("x")', "Lea", NOW, NOW + DAY),
        Suppression("gone@d.example.org", "bad mailbox: 550 unknown", "mailing spring", NOW, dead=True),
        Suppression("=x@d.example.org", "'=x", "'", NOW),
        Suppression("жёлтый@d.example.org", "написал", "by hand", NOW),
    ]
    text, left = suppressions.as_csv(ours)
    assert left == []
    assert [row["value"] for row in rows(text)][:2] == ["ann@d.example.org", "@xn--grne-1ra.example.org"]
    assert not any(cell[:1] in ("=", "+", "-") for row in rows(text) for cell in row.values())
    made = read(tmp_path, text)
    assert list(made.found.values()) == ours
    assert made.problems == []


def test_refusals_go_from_group_to_group_as_hashes_only(tmp_path: Path, project: Project) -> None:
    north, south = project, Project(tmp_path / "south", dict(project.env))
    south.folder.mkdir()
    for one in (north, south):
        one.env["OUTREACH_SHARE_KEY"] = PASSPHRASE
    north.run("suppress", "add", "Ann@D.example.org", "--reason", "a secret reason")
    north.run("suppress", "add", "@GRÜNE.example.org", "--until", "2099-12-31")
    with Ledger(north.folder / "outreach.db", create=True) as ledger:
        refuse(ledger, "over@d.example.org", until=NOW - 30 * 365 * DAY)
        refuse(ledger, "gone@d.example.org", dead=True)
    done = north.run("suppress", "export", "-o", "for-south.csv")
    assert "entries: 2" in done.stderr
    assert "mailboxes that do not exist, left out: 1" in done.stderr
    path = north.folder / "for-south.csv"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text("utf-8")
    assert text == north.run("suppress", "export", "--keyed").stdout
    assert text.splitlines()[0] == "hmac,until,key"
    assert all(re.fullmatch(r"[0-9a-f]{64}", row["hmac"]) for row in rows(text))
    assert sorted(row["until"] for row in rows(text)) == ["", "2100-01-01T00:00:00Z"]
    assert "example" not in text and "secret" not in text
    assert [row["hmac"] for row in rows(text)] == sorted(row["hmac"] for row in rows(text))

    south.letter()
    people(south, "ANN@d.example.org", "bob@grüne.example.org", "bob@sub.grüne.example.org", BOB)
    south.write("for-south.csv", text)
    assert "refused from now on: 2" in south.run("suppress", "import", "for-south.csv").stdout
    del south.env["OUTREACH_SHARE_KEY"]
    left = south.json("plan", "--json")["excluded"]
    assert [one["email"] for one in left] == ["ANN@d.example.org", "bob@grüne.example.org"]
    assert {one["reason"] for one in left} == {"suppressed: kept out by an allied group"}
    # Without the passphrase nothing of it can be passed on as addresses; with it, as the same hashes.
    assert rows(south.run("suppress", "export").stdout) == []
    south.env["OUTREACH_SHARE_KEY"] = PASSPHRASE
    assert south.run("suppress", "export").stdout == text
    south.env["OUTREACH_SHARE_KEY"] = "quite another phrase"
    done = south.run("suppress", "export")
    assert rows(done.stdout) == []
    assert "hashes made with another passphrase, left out: 2" in done.stderr


def test_a_wrong_passphrase_is_noticed_and_imports_nothing(project: Project) -> None:
    text, _ = suppressions.as_keyed_csv([Suppression("ann@d.example.org", "", "", NOW)], PASSPHRASE)
    project.write("allies.csv", text)
    done = project.run("suppress", "import", "allies.csv", code=78)
    assert "OUTREACH_SHARE_KEY is not set" in done.stderr
    project.env["OUTREACH_SHARE_KEY"] = "four plain words hear"
    done = project.run("suppress", "import", "allies.csv", code=65)
    assert "another passphrase" in done.stderr
    assert suppressions.shared_by(PASSPHRASE).check in done.stderr
    assert project.json("suppress", "list", "--json") == []
    project.env["OUTREACH_SHARE_KEY"] = f"  {PASSPHRASE} "
    project.run("suppress", "import", "allies.csv")
    broken = text + "12,,12345678\n" + "0" * 64 + ",,12345678\n"
    project.write("allies.csv", broken)
    done = project.run("suppress", "import", "allies.csv", code=1)
    assert "allies.csv:3: is no hash" in done.stdout
    assert "allies.csv:4: was made with another passphrase (check digits 12345678)" in done.stdout


def test_the_key_is_what_the_documentation_says() -> None:
    """Other programs, and other versions of this one, must come to the same hashes."""
    shared = suppressions.shared_by("correct horse battery staple")
    assert shared == suppressions.shared_by(" correct horse battery staple\n")
    assert (shared.check, shared.key.hex()) == (
        "f0dd82ac",
        "62e16d450a049c85b5b1dfe1ac300c0fb7e235627daeb11d0cb7cfaed94fdb83",
    )
    assert hashed("ann@party.example", shared.check, shared.key) == (
        "hmac:f0dd82ac:293fd3f240264541c086e5e19cb632b0b940f1cbf86fde0cf1014cb2c8444d84"
    )


def test_the_people_of_a_mailing_are_shared_as_hashes_or_in_the_open_when_told(
    ready: tuple[Project, sink.Sink],
) -> None:
    project, server = ready
    mails = ["a@d.example.org", "b@d.example.org", "c@d.example.org", "e@d.example.org", "f@d.example.org"]
    people(project, "a@d.example.org; alt@d.example.org", *mails[1:])
    server.rcpt_replies = {"b@d.example.org": ["550 5.7.1 policy"], "c@d.example.org": ["451 later"]}
    project.run(*UNLIMITED, "--no-wait", "--limit", "4", code=75)
    project.run("suppress", "add", "z@d.example.org")
    expected = ["a@d.example.org", "alt@d.example.org", *mails[2:]]  # one failed: she has nothing
    done = project.run("suppress", "export", "--mailing", "hello", code=78)
    assert "OUTREACH_SHARE_KEY is not set" in done.stderr
    assert "--open" in done.stderr
    project.run("suppress", "export", "--keyed", code=78)
    assert "z@d.example.org" in project.run("suppress", "export").stdout
    open_ = project.run("suppress", "export", "--mailing", "hello", "--open").stdout
    assert [row["value"] for row in rows(open_)] == expected
    project.env["OUTREACH_SHARE_KEY"] = PASSPHRASE
    project.run("suppress", "export", "--open", "--keyed", code=2)
    project.run("suppress", "export", "--mailing", "none", code=2)
    shared = suppressions.shared_by(PASSPHRASE)
    hashes = sorted(hashed(mail, shared.check, shared.key).rpartition(":")[2] for mail in expected)
    keyed = project.run("suppress", "export", "--mailing", "hello").stdout
    assert [row["hmac"] for row in rows(keyed)] == hashes
    assert "z@d.example.org" in project.run("suppress", "export", "--open").stdout


def test_a_passphrase_is_a_secret_and_a_short_one_is_refused(project: Project) -> None:
    project.env["OUTREACH_SHARE_KEY"] = PASSPHRASE
    shown = project.run("settings").stdout
    assert "OUTREACH_SHARE_KEY" in shown and PASSPHRASE not in shown
    project.env["OUTREACH_SHARE_KEY"] = "eleven char"
    done = project.run("settings", code=78)
    assert "too short" in done.stderr and "eleven char" not in done.stdout + done.stderr


def test_without_a_passphrase_nothing_is_hashed() -> None:
    with pytest.raises(SettingsError):
        suppressions.as_keyed_csv([], "")


# Rest ----------------------------------------------------------------------------------------------


def test_who_got_another_mailing_lately_rests_and_is_listed(ready: tuple[Project, sink.Sink]) -> None:
    project, server = ready
    people(project, "ann@d.example.org", BOB, "c@d.example.org")
    server.after_data = lambda mail: None if mail == BOB else "250 taken"
    server.rcpt_replies = {"c@d.example.org": ["550 5.7.1 policy"]}
    project.run(*UNLIMITED, "--name", "spring", code=1)
    project.write("templates/other/en.md", "Subject: Other\n\nOther.\n")
    assert project.json("plan", "other", "--json")["total"] == 3  # rest is 0
    project.env["OUTREACH_REST"] = "14d"
    plan = project.json("plan", "other", "--json")
    assert plan["total"] == 1  # who failed got nothing
    reasons = [one["reason"] for one in plan["excluded"]]
    assert re.fullmatch(r"got the mailing spring on \d{4}-\d\d-\d\d; OUTREACH_REST is 14d", reasons[0])
    assert reasons[1].startswith("may have got the mailing spring on ")
    server.after_data = lambda mail: "250 taken"
    server.record.clear()
    project.run(*UNLIMITED, "other")
    assert server.recipients == ["c@d.example.org"]
    assert len(project.json("report", "other", "--format", "json")["excluded"]) == 2
    # Nobody is left out of the mailing that they have: they rest from others.
    assert project.json("plan", "hello", "--name", "spring", "--json")["total"] == 3
    with contextlib.closing(sqlite3.connect(project.folder / "outreach.db")) as raw:
        raw.execute(f"UPDATE delivery SET finished_at = finished_at - {15 * DAY} WHERE address = ?", [BOB])
        raw.commit()
    project.run(*UNLIMITED, "other", "--add-new")
    assert server.recipients == ["c@d.example.org", BOB]
    excluded = [one["email"] for one in project.json("report", "other", "--format", "json")["excluded"]]
    assert excluded == ["ann@d.example.org", BOB]  # nothing of what was recorded is lost


def test_two_mailings_planned_at_once_reach_nobody_twice(ready: tuple[Project, sink.Sink]) -> None:
    project, server = ready
    people(project, BOB, "ann@d.example.org", "c@d.example.org")
    project.write("templates/other/en.md", "Subject: Other\n\nOther.\n")
    project.env["OUTREACH_REST"] = "36h"
    project.run(*UNLIMITED, "hello", "--only", f"email={BOB}", code=75)
    project.run(*UNLIMITED, "other", "--only", "email=ann@d.example.org", code=75)
    assert server.recipients == [BOB, "ann@d.example.org"]
    project.run(*UNLIMITED, "hello")
    project.run(*UNLIMITED, "other")
    assert server.recipients == [BOB, "ann@d.example.org", "c@d.example.org"]
    found = {row["email"]: row for row in project.json("report", "hello", "--format", "json")["deliveries"]}
    assert [found[mail]["state"] for mail in found] == ["sent", "cancelled", "sent"]
    assert re.search(
        r"got the mailing other on .*; OUTREACH_REST is 36h", found["ann@d.example.org"]["server_reply"]
    )


@pytest.mark.parametrize(
    ("state", "age", "rest", "out"),
    [
        (State.SENT, 10 * DAY, 14 * DAY, True),
        (State.UNKNOWN, 10 * DAY, 14 * DAY, True),
        (State.SENDING, 10 * DAY, 14 * DAY, True),
        (State.SENT, 15 * DAY, 14 * DAY, False),
        (State.FAILED, 10 * DAY, 14 * DAY, False),
        (State.SENT, 10 * DAY, 0, False),
    ],
)
def test_the_claim_and_the_intent_know_who_rests(
    ledger: Ledger, state: State, age: int, rest: int, out: bool
) -> None:
    ann = Contact("ann@d.example.org")
    (first,), (second,), (third,) = (begin(ledger, name, ann) for name in ("spring", "summer", "autumn"))
    ledger.begin_run(NOW)
    outcome = Outcome(Verdict.FAILED if state is State.FAILED else Verdict.SENT, Scope.RECIPIENT)
    with ledger.transaction():
        claimed = ledger.claim(second, NOW, rest)
        assert claimed is not None
        one = ledger.claim(first, NOW, rest)
        assert one is not None
        ledger.intend(one, NOW, rest)
        if state is not State.SENDING:
            ledger.record(first, outcome, state, NOW - age, NOW - age, "")
        assert (ann.email in ledger.resting("summer", rest, NOW)) is out
        assert ann.email not in ledger.resting("spring", rest, NOW)
        assert ledger.intend(claimed, NOW, rest) is not out
        if out:
            assert ledger.delivery(second).state is State.CANCELLED
            assert ledger.claim(third, NOW, rest) is None
            assert ledger.delivery(third).reason.startswith(
                {State.SENT: "got the mailing spring", State.UNKNOWN: "may have got the mailing spring"}.get(
                    state, "is getting the mailing spring right now"
                )
            )


# Ledgers of the version before ---------------------------------------------------------------------


def test_a_ledger_of_version_2_learns_which_mailboxes_are_dead(tmp_path: Path) -> None:
    path = tmp_path / "outreach.db"
    with Ledger(path, create=True) as ledger:
        refuse(ledger, "ann@d.example.org", "@party.example.org")
        with ledger.transaction():
            bounced = "bad mailbox: 550 5.1.1 no such user"
            ledger.suppress([Suppression("gone@d.example.org", bounced, "mailing spring", NOW)], NOW)
            ledger.suppress([Suppression("told@d.example.org", bounced, "by hand", NOW)], NOW)
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(
            "ALTER TABLE suppression DROP COLUMN dead; UPDATE about SET value = '2' WHERE name = 'schema';"
            "DROP TABLE slowed; ALTER TABLE mailing DROP COLUMN not_before;"
            "ALTER TABLE mailing DROP COLUMN not_before_said;"
            "ALTER TABLE slot DROP COLUMN domain_ideal;"
            f"{BEFORE_ANSWERS}"
        )
    with Ledger(path, create=True) as ledger:
        found = {one.value: one.dead for one in ledger.list_suppressions()}
        assert found == {
            "ann@d.example.org": False,
            "@party.example.org": False,
            "gone@d.example.org": True,
            "told@d.example.org": False,
        }
        refuse(ledger, "gone@d.example.org")
        assert not any(one.dead for one in ledger.list_suppressions())
    with contextlib.closing(sqlite3.connect(tmp_path / "outreach.db.version-2")) as copy:
        assert copy.execute("SELECT count(*) FROM suppression").fetchone() == (4,)
