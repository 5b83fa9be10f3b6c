"""Several rows, one person: one letter each, nobody twice, nobody lost, and both sources named."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach import address, contacts, merging
from outreach.lists import ContactList

# No wall clock in tests; not more examples, since each reads files.
PROPERTY = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def merged(folder: Path, *lists: str) -> ContactList:
    """Read lists a.csv, b.csv, …; their columns are parted by `|`."""
    paths = []
    for name, text in zip("abcdef", lists, strict=False):
        path = folder / f"{name}.csv"
        path.write_text("\n".join(line.strip() for line in text.strip().split("\n")) + "\n", encoding="utf-8")
        paths.append(path)
    people = contacts.read(paths, keep_refused=True)
    assert people.rows == len(people.contacts) + people.joined + len(people.rejected)
    assert len(people.refused) == len(people.rejected)
    return people


def mails(people: ContactList) -> list[tuple[str, ...]]:
    return [(one.email, *one.alternates) for one in people.contacts]


def said(people: ContactList, *severities: str) -> list[str]:
    """Return problems as `file:line column: words`."""
    wanted = [one for one in people.problems if one.severity in (severities or ("warning", "rejected"))]
    words = [f"{Path(one.file).name}:{one.line} {one.column}: {one.problem}" for one in wanted]
    folder = str(Path(people.problems[0].file).parent) + "/" if words else ""
    return [one.replace(folder, "") for one in words]


# The same person ---------------------------------------------------------------------------------


def test_what_the_first_row_leaves_empty_is_taken_from_the_later_one_and_told(tmp_path: Path) -> None:
    people = merged(
        tmp_path,
        "email|name|country\na@x.example|Ann Lee|",
        "email|name|country|city\nA@x.example||FR|Paris",
    )
    (one,) = people.contacts
    assert (one.name, one.country, one.fields, one.file) == (
        "Ann Lee",
        "FR",
        {"city": "Paris"},
        str(tmp_path / "a.csv"),
    )
    assert said(people) == [
        "b.csv:2 country: is taken from here for a.csv:2",
        "b.csv:2 city: is taken from here for a.csv:2",
        "b.csv:2 email: same address as a.csv:2; kept once",
    ]


def test_where_two_rows_contradict_each_other_the_first_counts_and_both_are_named(tmp_path: Path) -> None:
    people = merged(
        tmp_path,
        "email|name|country|gender|note\na@x.example|Ann Lee|DE|f|left\nb@x.example|Bo|DE|m|",
        "email|name|country|gender|note\na@x.example|Lee, Ann|FR|m|Left!\na@x.example|ANN LEE|DE|f|right",
    )
    one = people.contacts[0]
    assert (one.country, one.gender, one.fields["note"]) == ("DE", "f", "left")
    warnings = said(people, "warning")
    assert "b.csv:2 country: a.csv:2 says 'DE'; that is used" in warnings
    assert "b.csv:2 gender: a.csv:2 says 'f'; that is used" in warnings
    assert "b.csv:3 note: a.csv:2 says 'left'; that is used" in warnings
    assert not any("b.csv:2 note" in one for one in warnings), "signs and capitals are no contradiction"


def test_three_lists_are_merged_in_their_order_and_the_first_source_is_named(tmp_path: Path) -> None:
    lists = [
        "email|name|country\na@x.example|Ann Lee|",
        "email|name|country\na@x.example|Ann Lee|FR",
        "email|name|country|seat\na@x.example|Ann Lee|GB|7",
    ]
    people = merged(tmp_path, *lists)
    assert [(one.country, one.fields["seat"]) for one in people.contacts] == [("FR", "7")]
    assert said(people) == [
        "b.csv:2 country: is taken from here for a.csv:2",
        "b.csv:2 email: same address as a.csv:2; kept once",
        "c.csv:2 country: a.csv:2 says 'FR'; that is used",
        "c.csv:2 seat: is taken from here for a.csv:2",
        "c.csv:2 email: same address as a.csv:2; kept once",
    ]
    other = merged(tmp_path, lists[2], lists[1], lists[0])
    assert [one.country for one in other.contacts] == ["GB"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ann Lee", "Ann Lee"),
        ("Ann Lee", "Lee Ann"),
        ("Ann Lee", "LEE, Ann"),
        ("Ann Lee", "ann lee"),
        ("Ann Lee", "Dr. Ann Lee"),
        ("Ann Lee", "A. Lee"),
        ("Ann Lee", "Ann"),
        ("Ann Maria Lee", "Ann Lee"),
        ("Zoé Noël", "Zoe Noel"),
        ("John Smith", "Jon Smith"),
        ("Jürgen Müller", "Jürgen Mueller"),
        ("李伟", "李伟"),
        ("***", "***"),
        ("", "Ann Lee"),
        ("Ann Lee", ""),
        ("", ""),
    ],
)
def test_names_that_can_be_one_persons_are_one_letter(tmp_path: Path, first: str, second: str) -> None:
    people = merged(tmp_path, f"email|name\na@x.example|{first}\na@x.example|{second}")
    assert (len(people.contacts), people.joined) == (1, 0)
    assert people.contacts[0].people == ()
    assert people.contacts[0].name == (first or second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ann Lee", "Bo Ray"),
        ("Ann Lee", "Bo Lee"),
        ("Jan Novák", "Jana Nováková"),
        ("Jan Kowalski", "Jana Kowalska"),
        ("Иван Иванов", "Ивана Иванова"),
        ("Alexander Petrov", "Alexandra Petrova"),
        ("Daniel Lee", "Daniela Lee"),
        ("Mario Rossi", "Maria Rossi"),
        ("A. Lee", "Bo Lee"),
        ("王伟", "王芳"),
    ],
)
def test_names_that_are_two_peoples_share_the_inbox_and_both_are_greeted(
    tmp_path: Path, first: str, second: str
) -> None:
    people = merged(tmp_path, f"email|name\na@x.example|{first}\nA@X.example|{second}")
    (one,) = people.contacts
    assert (people.joined, people.rejected) == (1, [])
    assert [(person.name, person.line) for person in one.people] == [(first, 2), (second, 3)]
    assert one.name == f"{first}, {second}"
    assert (one.gender, one.title) == ("group", "")


# A shared inbox ----------------------------------------------------------------------------------


def test_everybody_who_shares_an_inbox_keeps_their_own_fields_and_what_is_common_is_the_letters(
    tmp_path: Path,
) -> None:
    people = merged(
        tmp_path,
        "email|name|gender|title|country|language|family name\ndesk@x.example|Ann Lee|f|Dr|||Lee",
        "email|name|gender|country|language\ndesk@x.example|Bo Ray|m|FR|fr",
        "email|name|country\nDesk@x.example|Cy Coe|GB",
    )
    (one,) = people.contacts
    assert (one.email, one.name, one.country, one.language) == (
        "desk@x.example",
        "Ann Lee, Bo Ray, Cy Coe",
        "FR",
        "fr",
    )
    assert one.fields == {"family_name": "Lee"}
    ann, bo, cy = one.people
    assert (ann.gender, ann.title, ann.country, ann.fields) == ("f", "Dr", "", {"family_name": "Lee"})
    assert (bo.gender, bo.country, bo.language, bo.file) == ("m", "FR", "fr", str(tmp_path / "b.csv"))
    assert (cy.name, cy.email, cy.line) == ("Cy Coe", "Desk@x.example", 2)
    assert all(person.people == () for person in one.people)
    assert said(people) == [
        "b.csv:2 email: shares this inbox with a.csv:2; one letter greets Ann Lee, Bo Ray",
        "c.csv:2 country: b.csv:2 says 'FR'; that is used",
        "c.csv:2 email: shares this inbox with a.csv:2; one letter greets Ann Lee, Bo Ray, Cy Coe",
    ]


def test_who_shares_an_inbox_is_greeted_once(tmp_path: Path) -> None:
    people = merged(
        tmp_path,
        "email|name|country\ndesk@x.example|Ann Lee|DE\ndesk@x.example|Bo Ray|DE\ndesk@x.example|Ray, Bo|FR",
        "email|name|country\ndesk@x.example|A. Lee|DE\ndesk@x.example||DE",
    )
    (one,) = people.contacts
    assert (one.name, people.joined, len(people.rejected)) == ("Ann Lee, Bo Ray", 1, 3)
    assert "a.csv:4 country: line 3 says 'DE'; that is used" in said(people), "compared with the same person"
    assert not any("Ann Lee, Bo Ray'" in words for words in said(people))


def test_an_inbox_of_very_many_people_takes_no_more_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_MOST", 2)
    rows = "a@x.example,Ann Lee\na@x.example,Bo Ray\na@x.example,Cy Coe\na@x.example,Bo Ray\n"
    (tmp_path / "list.csv").write_text(f"email,name\n{rows}")
    people = contacts.read([tmp_path / "list.csv"])
    assert [one.name for one in people.contacts] == ["Ann Lee, Bo Ray"]
    assert (people.rows, people.joined) == (4, 1)
    assert [(one.line, one.problem) for one in people.rejected] == [
        (4, "2 people share this inbox already; it gets one letter"),
        (5, "same address as line 3; kept once"),
    ]


def test_an_organisation_without_names_is_one_contact(tmp_path: Path) -> None:
    people = merged(tmp_path, "email|organisation\noffice@x.example|Red\noffice@x.example|Blue")
    assert (people.contacts[0].organisation, people.joined) == ("Red", 0)
    assert said(people) == [
        "a.csv:3 organisation: line 2 says 'Red'; that is used",
        "a.csv:3 email: same address as line 2; kept once",
    ]


# Further addresses -------------------------------------------------------------------------------


def test_a_person_under_a_further_address_is_one_letter(tmp_path: Path) -> None:
    for lists in (
        ["email|name\na@x.example; b@x.example|Ann Lee", "email|name\nb@x.example|Ann Lee"],
        ["email|name|email 2\na@x.example|Ann Lee|b@x.example", "email|name\nB@x.example|A. Lee"],
    ):
        people = merged(tmp_path, *lists)
        assert mails(people) == [("a@x.example", "b@x.example")]
        assert said(people, "rejected") == [
            "b.csv:2 email: the person of a.csv:2, under another address; kept once"
        ]


def test_a_further_address_leads_to_whom_it_belongs_to_in_any_order(tmp_path: Path) -> None:
    people = merged(
        tmp_path,
        "email|name\nb@x.example|Ann Lee",
        "email|name\na@x.example; b@x.example; c@x.example|Ann Lee",
    )
    assert mails(people) == [("b@x.example", "a@x.example", "c@x.example")]
    people = merged(
        tmp_path, "email|name\na@x.example b@x.example|Ann Lee", "email|name\nc@x.example b@x.example|Ann Lee"
    )
    assert mails(people) == [("a@x.example", "b@x.example", "c@x.example")]


def test_the_address_of_another_row_belongs_to_that_row(tmp_path: Path) -> None:
    people = merged(tmp_path, "email|name\na@x.example b@x.example|Ann Lee", "email|name\nb@x.example|Bo Ray")
    assert mails(people) == [("a@x.example",), ("b@x.example",)]
    assert said(people) == [
        "b.csv:2 email: stands as a further address at a.csv:2 too; only this row has it now"
    ]
    people = merged(tmp_path, "email|name\nb@x.example|Bo Ray", "email|name\na@x.example b@x.example|Ann Lee")
    assert mails(people) == [("b@x.example",), ("a@x.example",)]
    assert said(people) == ["b.csv:2 email: belongs to a.csv:2; left out here"]


def test_a_further_address_of_two_people_stays_with_the_first(tmp_path: Path) -> None:
    people = merged(
        tmp_path, "email|name\na@x.example desk@x.example|Ann Lee\nb@x.example desk@x.example|Bo Ray"
    )
    assert mails(people) == [("a@x.example", "desk@x.example"), ("b@x.example",)]
    assert said(people) == ["a.csv:3 email: belongs to line 2; left out here"]


def test_a_row_that_ties_two_kept_ones_gives_no_address_to_two_of_them(tmp_path: Path) -> None:
    people = merged(
        tmp_path,
        "email|name\na@x.example|Ann Lee\nb@x.example|Ann Lee\nc@x.example a@x.example b@x.example|Ann Lee",
    )
    assert mails(people) == [("a@x.example", "c@x.example"), ("b@x.example",)]


def test_further_addresses_of_people_who_share_an_inbox_are_theirs_alone(tmp_path: Path) -> None:
    people = merged(
        tmp_path,
        "email|name\ndesk@x.example|Ann Lee\ndesk@x.example; bo@x.example|Bo Ray",
        "email|name\nbo@x.example|Bo Ray\ndesk@x.example; bo2@x.example|Bo Ray\nbo2@x.example|Cy Coe",
    )
    assert mails(people) == [("desk@x.example",), ("bo2@x.example",)]
    assert [person.alternates for person in people.contacts[0].people] == [(), ("bo@x.example",)]
    assert said(people)[1:] == [
        "b.csv:2 email: the person of a.csv:3, under another address; kept once",
        "b.csv:3 email: same address as a.csv:3; kept once",
        "b.csv:4 email: stands as a further address at a.csv:3 too; only this row has it now",
    ]


# Twins -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "flagged"),
    [
        ("a@x.example|Ann Lee|\nb@x.example|Ann Lee|", True),
        ("a@x.example|Ann Lee|\nb@x.example|LEE, Ann|", True),
        ("a@x.example|Ann Lee|DE\nb@x.example|Ann Lee|", True),
        ("a@x.example|Ann Lee|DE\nb@x.example|Ann Lee|DE", True),
        ("a@x.example|Ann Lee|DE\nb@x.example|Ann Lee|FR", False),
        ("a@x.example|Ann|\nb@x.example|Ann|", False),  # one word is no name
        ("a@x.example|Ann Lee|\nb@x.example|A. Lee|", False),
        ("desk@x.example|Bo Ray|\ndesk@x.example|Ann Lee|\nb@x.example|Ann Lee|", True),
        ("desk@x.example|Ann Lee|\ndesk@x.example|Bo Ray|\nb@x.example|Ann Lee|", True),
        ("b@x.example|Ann Lee|\ndesk@x.example|Bo Ray|\ndesk@x.example|Ann Lee|", True),
    ],
)
def test_persons_on_two_rows_are_pointed_out_and_both_get_a_letter(
    tmp_path: Path, rows: str, flagged: bool
) -> None:
    people = merged(tmp_path, f"email|name|country\n{rows}")
    assert len(people.contacts) == 2
    twins = [one for one in people.problems if "may be the person of" in one.problem]
    assert len(twins) == flagged
    if twins:
        assert "both get a letter" in twins[0].problem
        assert "put both addresses on one row" in twins[0].suggestion


def test_twins_in_two_lists_are_named_with_their_file(tmp_path: Path) -> None:
    people = merged(tmp_path, "email|name\na@x.example|Ann Lee", "email|name\nb@x.example|Ann Lee")
    assert said(people) == ["b.csv:2 name: may be the person of a.csv:2 (a@x.example); both get a letter"]


# The lists together ------------------------------------------------------------------------------


def test_a_column_that_only_one_list_has_is_empty_for_the_others(tmp_path: Path) -> None:
    people = merged(tmp_path, "email|city\na@x.example|Oslo", "seat|email\n7|b@x.example")
    assert people.columns == ("email", "city", "seat")
    assert [one.fields for one in people.contacts] == [
        {"city": "Oslo", "seat": ""},
        {"city": "", "seat": "7"},
    ]


def test_the_same_list_twice_is_that_list_once(tmp_path: Path) -> None:
    text = "email|name|city\na@x.example|Ann Lee|Oslo\ndesk@x.example|Bo Ray|\ndesk@x.example|Cy Coe|Bonn"
    once, twice = merged(tmp_path, text), merged(tmp_path, text, text)
    assert twice.contacts == once.contacts
    assert (twice.joined, len(twice.rejected), twice.count("warning")) == (1, 3, once.count("warning"))


def test_dropping_contacts_keeps_the_sum(tmp_path: Path) -> None:
    people = merged(
        tmp_path,
        "email|name\na@x.example|Ann Lee\ndesk@y.example|Bo Ray\ndesk@y.example|Cy Coe\nb@x.example|Dee Fox",
    )
    people.drop(lambda one: "takes no mail" if one.email.endswith("@y.example") else "")
    assert [one.email for one in people.contacts] == ["a@x.example", "b@x.example"]
    assert (people.rows, people.joined, people.count("rejected")) == (4, 0, 2)
    assert [(one.line, one.problem) for one in people.rejected] == [
        (3, "takes no mail"),
        (4, "takes no mail"),
    ]


_ADDRESS = st.sampled_from(["a@x.example", "A@x.example", "b@x.example", "c@x.example", "d@брюке.example"])
_ROW = st.tuples(
    st.lists(_ADDRESS, max_size=3).map("; ".join) | st.just("nobody"),
    st.sampled_from(["", "Ann Lee", "Lee Ann", "Bo Ray", "Cy", "Ann", "王伟"]),
    st.sampled_from(["", "DE", "FR"]),
)


@PROPERTY
@given(st.lists(st.lists(_ROW, max_size=6), min_size=1, max_size=3))
def test_whatever_the_lists_everybody_gets_one_letter_and_every_row_is_accounted_for(
    lists: list[list[tuple[str, str, str]]],
) -> None:
    texts = ["\n".join(["email|name|country", *("|".join(row) for row in rows)]) for rows in lists]
    with tempfile.TemporaryDirectory() as folder:
        people = merged(Path(folder), *texts)
    addresses = []
    for one in people.contacts:
        further = {mail for person in (one, *one.people) for mail in person.alternates}
        addresses += [address.key(mail) for mail in (one.email, *further)]
    assert len(set(addresses)) == len(addresses), "an address belongs to one contact"
    given_addresses = {
        address.key(mail) for rows in lists for row in rows for mail in row[0].split("; ") if "@" in mail
    }
    assert {address.key(one.email) for one in people.contacts} <= given_addresses
    assert given_addresses == {*addresses}, "no address is lost"
    places = [(person.file, person.line) for one in people.contacts for person in one.people or (one,)]
    places += [(one.file, one.line) for one in people.rejected]
    assert len(set(places)) == len(places) == people.rows, "every row once: kept, joined or rejected"
    greeted = {word for one in people.contacts for word in one.name.replace(",", "").split()}
    names = [name for rows in lists for mail, name, _ in rows if name and "@" in mail]
    assert all(set(name.split()) & greeted for name in names), "nobody is forgotten"
