"""Limits per institution: which domain has which, that they hold, which one binds, and what it costs."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from itertools import count, pairwise, takewhile
from pathlib import Path

import pytest
import sink
from conftest import Project
from simulated import sent_by_a_run

from outreach import address, forecast, institutions, throttle
from outreach.agenda import Entry
from outreach.forecast import Past
from outreach.institutions import DomainLimits
from outreach.ledger import Ledger
from outreach.model import Limit
from outreach.pace import Pace
from outreach.settings import parse_institutions, parse_limits
from outreach.times import iso

HOUR, DAY = 3600, 86400
START = 1_337_000_000.0
FREE = "gmail.com"
ROWS = tomllib.loads(Path(institutions.__file__).with_name("freemail.toml").read_text("utf-8"))["provider"]


def limits(per_domain: str = "unlimited", per_institution: str = "unlimited") -> DomainLimits:
    made = parse_institutions(per_institution)
    return DomainLimits(parse_limits(per_domain), made.per_institution, made.named)


def foresee(domains: Sequence[str], rate: str, held: DomainLimits) -> forecast.Forecast:
    entries = [Entry(number, name) for number, name in enumerate(domains)]
    return forecast.make(entries, Pace(parse_limits(rate), held), START)


# Which domain has which limits -------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_every_row_of_the_table_has_domains_as_the_ledger_counts_them_and_a_dated_source(
    row: dict[str, object],
) -> None:
    assert set(row) == {"name", "domains", "source", "month"}
    assert isinstance(row["domains"], list)
    assert row["domains"]
    for domain in row["domains"]:
        assert domain == address.domain(address.parse(f"x@{domain}"))
    assert row["source"]
    assert str(row["month"]).startswith("20")


def test_no_domain_stands_in_the_table_twice() -> None:
    counted = Counter(domain for row in ROWS for domain in row["domains"])
    assert [domain for domain, count in counted.items() if count > 1] == []


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("gmail.com", True),
        ("yahoo.co.jp", True),
        ("hotmail.fr", True),
        ("mail.ru", True),
        ("qq.com", True),
        ("riseup.net", True),
        ("bundestag.de", False),
        ("europarl.europa.eu", False),
        ("parliament.uk", False),
        ("parliament.example", False),
        ("mail.parliament.example", False),
        ("gmail.com.parliament.example", False),
    ],
)
def test_free_mail_providers_are_told_from_institutions(domain: str, expected: bool) -> None:
    assert institutions.is_free_mail(domain) is expected


@pytest.mark.parametrize(
    ("per_domain", "per_institution", "domain", "expected"),
    [
        ("60/hour", "unlimited", "parliament.example", ["60/hour"]),
        ("60/hour", "unlimited", FREE, ["60/hour"]),
        ("60/hour", "6/day", "parliament.example", ["60/hour", "6/day"]),
        ("60/hour", "6/day", FREE, ["60/hour"]),
        ("60/hour", "6/day, parliament.example=60/day", "parliament.example", ["60/hour", "60/day"]),
        ("60/hour", "6/day, parliament.example=60/day", "party.example", ["60/hour", "6/day"]),
        ("60/hour", "6/day, parliament.example=60/day", "mail.parliament.example", ["60/hour", "6/day"]),
        ("60/hour", "6/day, parliament.example=unlimited", "parliament.example", ["60/hour"]),
        ("60/hour", f"6/day, {FREE}=30/day", FREE, ["60/hour", "30/day"]),
        ("unlimited", "unlimited, p.example=6/day, p.example=2/hour", "p.example", ["6/day", "2/hour"]),
        ("unlimited", "unlimited, p.example=6/day", "q.example", []),
        ("unlimited", "6/day, köln.example=1/day", "xn--kln-sna.example", ["1/day"]),
    ],
)
def test_a_named_domain_has_its_own_limits_instead_of_those_of_institutions(
    per_domain: str, per_institution: str, domain: str, expected: list[str]
) -> None:
    assert list(map(str, limits(per_domain, per_institution).of(domain))) == expected


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (limits(), False),
        (limits("60/hour"), True),
        (limits(per_institution="6/day"), True),
        (limits(per_institution="unlimited, p.example=6/day"), True),
        (limits(per_institution="p.example=unlimited"), False),
    ],
)
def test_limits_that_limit_nobody_count_as_none(held: DomainLimits, expected: bool) -> None:
    assert bool(held) is expected


# Which limit binds -------------------------------------------------------------------------------

DEPUTIES = ["parliament.example"] * 700 + [FREE] * 300
DEFAULT = "100/hour, 400/day"


@pytest.mark.parametrize(
    ("rate", "per_institution", "binds", "days", "without"),
    [
        (DEFAULT, "unlimited", "400/day", 2.5, 700 / 60 / 24),
        (DEFAULT, "6/day", "6/day per institution", 700 / 6, 2.5),
        (DEFAULT, "6/day, parliament.example=60/day", "60/day to parliament.example", 700 / 60, 2.5),
        (DEFAULT, "6/day, parliament.example=unlimited", "400/day", 2.5, 700 / 60 / 24),
        # Those that stand last in the list begin at once, because their limit decides the end.
        (DEFAULT, f"unlimited, {FREE}=30/day", f"30/day to {FREE}", 300 / 30, 2.5),
        ("unlimited", "unlimited", "60/hour per mail domain", 700 / 60 / 24, 0),
        ("unlimited", "6/day", "6/day per institution", 700 / 6, 700 / 60 / 24),
    ],
)
def test_700_deputies_and_300_people_at_a_free_mail_provider(
    rate: str, per_institution: str, binds: str, days: float, without: float
) -> None:
    foreseen = foresee(DEPUTIES, rate, limits("60/hour", per_institution))
    end = foreseen.end
    assert end.limit == binds
    assert end.at - START == pytest.approx(days * DAY, rel=0.12)
    assert end.without is not None
    assert end.without - START == pytest.approx(without * DAY, rel=0.12, abs=1)


@pytest.mark.parametrize(
    ("rate", "per_institution", "deputies", "people"),
    [
        (DEFAULT, "unlimited", "400/day", "400/day"),
        (DEFAULT, "6/day", "6/day per institution", "400/day"),
        (DEFAULT, "6/day, parliament.example=60/day", "60/day to parliament.example", "400/day"),
        (DEFAULT, f"6/day, {FREE}=7/day", "6/day per institution", f"7/day to {FREE}"),
        ("unlimited", "6/day", "6/day per institution", "60/hour per mail domain"),
        ("1000/hour", "unlimited", "60/hour per mail domain", "60/hour per mail domain"),
    ],
)
def test_the_free_mail_provider_is_not_held_by_the_limit_of_institutions(
    rate: str, per_institution: str, deputies: str, people: str
) -> None:
    first, second = foresee(DEPUTIES, rate, limits("60/hour", per_institution)).domains
    assert (first.domain, first.letters, first.kind) == ("parliament.example", 700, "institution")
    assert (second.domain, second.letters, second.kind) == (FREE, 300, "free-mail")
    assert (first.end.limit, second.end.limit) == (deputies, people)
    for end in (first.end, second.end):
        assert end.without is not None
        assert end.without < end.at


@pytest.mark.parametrize("rate", [DEFAULT, "unlimited"])
@pytest.mark.parametrize(
    "per_institution", ["unlimited", "6/day", "6/day, parliament.example=60/day, parliament.example=7/hour"]
)
def test_each_domain_ends_when_a_run_is_done_with_it(rate: str, per_institution: str) -> None:
    held = limits("60/hour", per_institution)
    foreseen = foresee(DEPUTIES, rate, held)
    ends: dict[str, float] = {}
    sent = sent_by_a_run(DEPUTIES, parse_limits(rate), held, START)
    for at, domain in sent:
        ends[domain] = at
    assert {one.domain: one.end.at for one in foreseen.domains} == pytest.approx(ends, abs=1e-3)
    assert foreseen.end.at == pytest.approx(max(ends.values()), abs=1e-3)
    for domain in ends:
        times = [at for at, name in sent if name == domain]
        for limit in held.of(domain):
            windows = zip(times, times[limit.count :], strict=False)
            assert all(later - first >= limit.seconds - 1e-3 for first, later in windows)


@pytest.mark.parametrize(
    ("domains", "rate", "held"),
    [
        ([], DEFAULT, limits("60/hour", "6/day")),
        (["a.example"], DEFAULT, limits("60/hour", "6/day")),
        (["a.example"] * 500, "unlimited", limits()),
        (["a.example"] * 500, "unlimited", limits(per_institution="b.example=1/day")),
        (["a.example", "b.example", FREE], "unlimited", limits("1/day", "1/day")),
    ],
)
def test_where_nothing_waits_nothing_binds(domains: list[str], rate: str, held: DomainLimits) -> None:
    foreseen = foresee(domains, rate, held)
    assert foreseen.end == forecast.End(START, None, None)
    assert all(one.end == foreseen.end for one in foreseen.domains)


@pytest.mark.parametrize(
    ("rate", "per_domain", "per_institution", "binds"),
    [
        ("unlimited", "60/hour", "a.example=60/hour", "60/hour per mail domain"),
        ("60/hour", "60/hour", "unlimited", "60/hour"),
    ],
)
def test_of_two_limits_as_tight_one_is_named_and_nothing_is_gained_without_it(
    rate: str, per_domain: str, per_institution: str, binds: str
) -> None:
    end = foresee(["a.example"] * 100, rate, limits(per_domain, per_institution)).end
    assert end.limit == binds
    assert end.without == pytest.approx(end.at, rel=0, abs=0.05 * (end.at - START))


@pytest.mark.parametrize(("letters", "told"), [(20, []), (21, ["a.example"])])
def test_domains_with_over_20_letters_are_told_of(letters: int, told: list[str]) -> None:
    foreseen = foresee(["b.example"] * 3 + ["a.example"] * letters, DEFAULT, limits())
    assert [one.domain for one in foreseen.domains] == told


def test_a_few_mails_can_bind_the_whole() -> None:
    end = foresee(["a.example"] * 3 + [FREE] * 100, DEFAULT, limits("60/hour", "a.example=1/day")).end
    assert end.limit == "1/day to a.example"


def test_many_letters_to_many_named_domains_cost_a_bounded_number_of_simulations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Work is counted, not timed: how often the account's history is asked for its last mail."""
    runs = 0

    def history(n: int) -> None:
        nonlocal runs
        runs += n == 1

    monkeypatch.setattr(forecast, "_MOST_MAILS", 25_000)
    domains = [f"d{n % 1000}.example" for n in range(2_000)]
    named = {f"d{n}.example": (Limit(1, DAY),) for n in range(500)}
    held = DomainLimits((Limit(60, HOUR),), (), named)
    entries = [Entry(number, name) for number, name in enumerate(domains)]
    foreseen = forecast.make(entries, Pace((Limit(9000, HOUR),), held), START, Past(history))
    assert 5 < runs <= 1 + 12  # once in each simulation, of 25,000 letters in all
    assert foreseen.end.limit is not None


# In the ledger and on the wire -------------------------------------------------------------------


@pytest.fixture
def ready(project: Project) -> Project:
    project.letter()
    project.env |= {"OUTREACH_RATE": "unlimited", "OUTREACH_RATE_PER_DOMAIN": "unlimited"}
    return project


def write_list(project: Project, *domains: str) -> list[str]:
    mails = [f"person{number}@{domain}" for number, domain in enumerate(domains)]
    project.write("contacts.csv", "email,name,language\n" + "".join(f"{mail},N N,en\n" for mail in mails))
    return mails


def test_an_institution_gets_no_more_than_its_limit_whichever_run_and_mailing_sends(ready: Project) -> None:
    mails = write_list(
        ready, *["a.example.org"] * 4, *["b.example.org"] * 4, "c.example.org", "c.example.org"
    )
    ready.env["OUTREACH_PER_INSTITUTION"] = "1/day, B.example.ORG=2/day, c.example.org=unlimited"
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run("send", "--yes", "--no-wait", code=75)
        assert sorted(server.recipients) == sorted([mails[0], mails[4], *mails[8:]])
        ready.run("send", "--yes", "--no-wait", code=75)
        ready.run("send", "--yes", "--no-wait", "--name", "again", "--again", code=75)
        sent = Counter(address.domain(mail) for mail in server.recipients)
    assert sent == {"a.example.org": 1, "b.example.org": 1, "c.example.org": 4}  # b: spread over the day


def _slots(ledger: Ledger, domain: str) -> list[float]:
    """When the mails to a domain began, first one first."""
    found = map(ledger.history(domain=domain), count(1))
    return [slot.at for slot in takewhile(lambda slot: slot is not None, found) if slot is not None][::-1]


def test_one_institution_at_its_limit_holds_up_nobody_else(ready: Project) -> None:
    write_list(ready, *["a.example.org"] * 3, *["b.example.org"] * 6)
    ready.env["OUTREACH_PER_INSTITUTION"] = "unlimited, a.example.org=1/second"
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run("send", "--yes")
    with Ledger(ready.folder / "outreach.db") as ledger:
        held, free = (_slots(ledger, domain) for domain in ("a.example.org", "b.example.org"))
    assert (len(held), len(free)) == (3, 6)
    assert all(later - earlier >= 1 - 1e-3 for earlier, later in pairwise(held))
    assert max(free) < held[1]


def test_plan_says_in_json_which_limit_binds_and_when_it_ends_with_and_without(ready: Project) -> None:
    # Planned only: nothing of this leaves.
    write_list(ready, *["parliament.example"] * 40, *[FREE] * 30, *["party.example"] * 3)
    ready.env |= {
        "OUTREACH_RATE": DEFAULT,
        "OUTREACH_RATE_PER_DOMAIN": "60/hour",
        "OUTREACH_PER_INSTITUTION": "6/day",
    }
    plan = ready.json("plan", "--json")
    assert plan["total"] == 73
    assert plan["limit"] == "6/day per institution"
    assert plan["starts"] < plan["ends_without"] < plan["ends"]
    first, second = plan["domains"]
    assert first | {"ends_without": None} == {
        "domain": "parliament.example",
        "letters": 40,
        "kind": "institution",
        "limit": "6/day per institution",
        "ends": plan["ends"],
        "ends_without": None,
        "most_in_an_hour": 1,
        "most_in_a_day": 6,
    }
    assert first["ends_without"] < first["ends"]
    assert (second["domain"], second["kind"], second["limit"]) == (FREE, "free-mail", "400/day")
    assert second["ends"] < plan["ends"]


def test_plan_without_limits_says_that_nothing_binds(ready: Project) -> None:
    write_list(ready, *["parliament.example"] * 21)
    plan = ready.json("plan", "--json")
    assert (plan["limit"], plan["ends_without"]) == (None, None)
    (one,) = plan["domains"]
    assert (one["limit"], one["ends_without"], one["ends"]) == (None, None, plan["ends"])
    (row,) = re.findall(r"^parliament.example .*", ready.run("plan").stdout, re.MULTILINE)
    assert re.split(r"  +", row)[1:5] == ["21", "21", "21", "nothing"]


def test_plan_on_the_screen_names_the_limit_and_at_most_twelve_domains(ready: Project) -> None:
    write_list(ready, *[f"d{n}.example" for n in range(14) for _ in range(21 + n)])
    ready.env |= {"OUTREACH_RATE": "400/day", "OUTREACH_PER_INSTITUTION": "6/day, d13.example=unlimited"}
    shown = ready.run("plan").stdout.splitlines()
    at = next(number for number, line in enumerate(shown) if line.startswith("At 400/day, "))
    assert shown[at].startswith(
        "At 400/day, 6/day per institution, no institution limit to d13.example it ends "
    )
    assert shown[at + 1].startswith("6/day per institution binds; without it, it would end ")
    rows = [re.split(r"  +", line) for line in shown[at + 3 : -1]]
    assert rows[0] == ["domain", "letters", "most/hour", "most/day", "what binds", "ends", "without it"]
    assert rows[1][:2] + rows[1][3:5] == ["d13.example", "34", "34", "400/day of the account"]
    assert rows[2][:5] == ["d12.example", "33", "1", "6", "6/day per institution"]
    assert len(rows) == 1 + 12
    assert "  … and 2 more domains (--json lists all)" in shown
    assert len(ready.json("plan", "--json")["domains"]) == 14


def test_what_an_institution_got_today_counts_when_the_end_is_foreseen(ready: Project) -> None:
    write_list(ready, *["a.example.org"] * 2)
    ready.env["OUTREACH_PER_INSTITUTION"] = "1/day"
    with sink.run() as server:
        ready.env["OUTREACH_SMTP_URL"] = server.url
        ready.run("send", "--yes", "--no-wait", code=75)
        plan, status = ready.json("plan", "--json"), ready.json("status", "--json")
        with Ledger(ready.folder / "outreach.db") as ledger:
            slot = ledger.history(domain="a.example.org")(1)
    assert slot is not None
    assert plan["ends"] == plan["starts"] == status["ends"]
    assert plan["limit"] == "1/day per institution"
    waits = throttle.earliest([Limit(1, DAY)], lambda n: slot if n <= 1 else None)
    assert plan["ends"] == iso(waits)


def test_a_rehearsal_lifts_the_limit_and_tells_how_long_the_real_one_would_take(ready: Project) -> None:
    write_list(ready, *["a.example.org"] * 13)
    ready.env["OUTREACH_PER_INSTITUTION"] = "6/day"
    said = ready.json("rehearse", "--json")
    assert said["messages"] == 13
    assert said["real_seconds"] == pytest.approx(2 * DAY, rel=0.1)
    assert "at 6/day per institution." in ready.run("rehearse").stdout
