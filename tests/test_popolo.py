"""JSON lists: who stands where, and persons of Popolo with their party and addresses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach import popolo

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests


def read(document: Any) -> list[dict[str, str]]:
    """Return the objects of a document as rows of text, without what is empty."""
    text = document if isinstance(document, str) else json.dumps(document)
    rows = (popolo.flat(one) for _, one in popolo.objects(text))
    return [{name: value for name, value in row.items() if value} for row in rows]


def lines(text: str) -> list[int]:
    return [line for line, _ in popolo.objects(text)]


# Lists -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        ([], []),
        ([{"email": "a@x.example"}], [{"email": "a@x.example"}]),
        ({"members": [{"email": "a@x.example"}]}, [{"email": "a@x.example"}]),
        ({"total": 1, "next": None, "members": [{"email": "a@x.example"}]}, [{"email": "a@x.example"}]),
        ({"email": "a@x.example"}, [{"email": "a@x.example"}]),
        ({"email": "a@x.example", "offices": [{"city": "Bonn"}]},
         [{"email": "a@x.example", "offices": '[{"city": "Bonn"}]'}]),
    ],
)  # fmt: skip
def test_a_list_is_the_document_or_the_one_list_in_it(document: Any, rows: list[dict[str, str]]) -> None:
    assert read(document) == rows


def test_several_lists_are_not_chosen_among() -> None:
    with pytest.raises(ValueError, match="several lists: a, b"):
        read({"a": [{"email": "a@x.example"}], "b": [{"email": "b@x.example"}]})


@pytest.mark.parametrize("text", ["[3]", '["a@x.example"]', '[{"email": "a@x.example"}, null]', "[[]]"])
def test_a_list_of_anything_but_objects_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match="line 1: is no object"):
        read(text)


def test_an_object_has_the_line_where_it_begins() -> None:
    assert lines('[{"a": 1}, {"a": 2}]') == [1, 1]
    assert lines('\n[\n  {"a":\n 1},\n\n  {"a": "x\\ny"}, {"a": 3}\n]\n') == [3, 6, 6]
    assert lines('{"x": 1,\n "list": [\n{"a": 1},\n{"a": 2}]\n}') == [3, 4]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (12, "12"),
        (49301234567890, "49301234567890"),
        ("0301234", "0301234"),
        (True, "yes"),
        (False, "no"),
        (None, ""),
        (["a", "b", 3, None], "a; b; 3; "),
        ([], ""),
        ([{"a": "ü"}], '[{"a": "ü"}]'),
    ],
)
def test_a_value_is_text_as_people_write_it(value: object, text: str) -> None:
    assert popolo.flat({"field": value}) == {"field": text}


def test_numbers_stay_as_they_are_written() -> None:
    assert read('[{"a": 1.50, "b": 1e999, "c": -0, "d": ' + "9" * 5000 + "}]") == [
        {"a": "1.50", "b": "1e999", "c": "-0", "d": "9" * 5000}
    ]


def test_names_within_names_are_joined() -> None:
    assert popolo.flat({"name": {"first": "Ann", "of": {"birth": "Lee"}}}) == {
        "name_first": "Ann",
        "name_of_birth": "Lee",
    }


# Popolo ------------------------------------------------------------------------------------------

PARLIAMENT = {
    "persons": [
        {
            "id": "1",
            "name": "Ann Lee",
            "honorific_prefix": "Dr",
            "given_name": "Ann",
            "family_name": "Lee",
            "gender": "female",
            "email": "ann@house.example",
            "contact_details": [
                {"type": "email", "value": "ann@party.example"},
                {"type": "email", "value": "ann@house.example"},
                {"type": "voice", "value": "+49 30 1234"},
            ],
            "images": [{"url": "https://house.example/1.png"}],
        },
        {"id": "2", "name": "Bo Ray", "contact_details": [{"type": "Email", "value": "bo@house.example"}]},
        {"id": "3", "name": "Cy Coe"},
    ],
    "organizations": [
        {"id": "red", "name": "Red Party", "classification": "party", "email": "office@red.example"},
        {"id": "blue", "name": "Blue Party", "classification": "party"},
        {"id": "house", "name": "House", "classification": "legislature"},
    ],
    "memberships": [
        {"person_id": "1", "organization_id": "house", "on_behalf_of_id": "red"},
        {"person_id": "2", "organization_id": "house", "start_date": "2010"},
        {"person_id": "2", "organization_id": "blue", "start_date": "2001", "end_date": "2009"},
        {"person_id": "2", "organization_id": "red", "start_date": "2009"},
        {"person_id": "9", "organization_id": "house"},
    ],
}


def test_a_person_has_all_addresses_once_the_party_as_organisation_and_the_chamber() -> None:
    ann, bo, cy, red = read(PARLIAMENT)
    assert ann == {
        "email": "ann@house.example; ann@party.example",
        "name": "Ann Lee",
        "title": "Dr",
        "given_name": "Ann",
        "family_name": "Lee",
        "gender": "female",
        "organisation": "Red Party",
        "chamber": "House",
    }
    assert bo == {
        "email": "bo@house.example",
        "name": "Bo Ray",
        "organisation": "Red Party",
        "chamber": "House",
    }
    assert cy == {"name": "Cy Coe"}, "who has no address is not left out in silence"
    assert red == {"email": "office@red.example", "organisation": "Red Party", "gender": "organisation"}


def test_a_person_alone_has_party_and_addresses_too() -> None:
    alone = {
        "name": "Ann Lee",
        "contact_details": [{"type": "email", "value": "ann@house.example"}],
        "memberships": [{"organization": {"name": "Red Party", "classification": "party"}}],
    }
    wanted = [{"email": "ann@house.example", "name": "Ann Lee", "organisation": "Red Party"}]
    assert read([alone]) == wanted
    assert read(alone) == wanted
    assert read({"results": [alone]}) == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"organizations": [1, 2]},
        {"organizations": 5},
        {"organizations": "red"},
        {"organizations": [{"id": ["red"]}]},
        {"organizations": [{"id": None, "name": "X"}]},
        {"memberships": [None]},
        {"memberships": {"a": 1}},
        {"memberships": [{"person_id": {}, "organization_id": []}]},
        {"memberships": [{"person_id": None, "organization_id": "red"}, {}]},
        {
            "memberships": [
                {"person_id": "1", "organization": "red", "start_date": 5},
                {"person_id": "1", "start_date": []},
            ]
        },
        {"organizations": None, "memberships": None},
    ],
)
def test_a_document_that_is_not_quite_popolo_still_gives_its_people(change: dict[str, Any]) -> None:
    rows = read(PARLIAMENT | change)
    assert [row["name"] for row in rows if "name" in row] == ["Ann Lee", "Bo Ray", "Cy Coe"]
    assert "organisation" not in rows[2], "a seat without a person is nobody's"


def test_addresses_may_be_a_list() -> None:
    assert read({"persons": [{"email": ["a@x.example", "b@x.example", None, ""], "name": "Ann"}]}) == [
        {"email": "a@x.example; b@x.example", "name": "Ann"}
    ]


# Any JSON ----------------------------------------------------------------------------------------

_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@PROPERTY
@given(
    st.lists(st.dictionaries(st.text(min_size=1, max_size=5), _VALUE, min_size=1, max_size=4), max_size=4),
    st.sampled_from([None, 1]),
)
def test_every_object_of_a_list_is_found_in_order_with_its_line(
    objects: list[dict[str, Any]], indent: int | None
) -> None:
    text = json.dumps(objects, indent=indent)
    found = list(popolo.objects(text))
    assert [one for _, one in found] == json.loads(text, parse_int=str, parse_float=str) or any(
        {"contact_details", "memberships"} & set(one) for one in objects
    )
    rows = text.split("\n")
    for line, _ in found:
        assert "{" in rows[line - 1]


@PROPERTY
@given(st.text('[]{}",:\n 1aé\\nulltrue', max_size=30))
def test_any_text_is_json_or_an_error_that_says_where(text: str) -> None:
    try:
        list(popolo.objects(text))
    except json.JSONDecodeError as error:
        assert error.lineno >= 1
        if text.lstrip(" \n")[:1] in ("[", "{"):
            with pytest.raises(ValueError):
                json.loads(text)
    except ValueError as error:
        assert "line" in str(error) or "several lists" in str(error)
