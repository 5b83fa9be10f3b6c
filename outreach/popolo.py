"""JSON lists: objects with the line where each stands, people out of Popolo, and objects as rows of text.

Popolo (https://www.popoloproject.com/specs/) is how parliaments and their observers publish who sits where:
persons, organizations and memberships that tie them. A person's party is their organisation here.
A document is read as a whole, and may unfold to a hundred times its size: so `read` does it in a child
process with limits (sheets.py), and raises TableError. Known limit: only people and organizations are read.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from outreach import charsets, sheets
from outreach.sheets import TableError

_BLANK = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode  # a telephone number is no number
# Keys of a person that are rows of text here; what else is plain comes along under its own name.
_NAMES = {"honorific_prefix": "title", "given_name": "given_name", "family_name": "family_name"}


_MOST_VALUES = 20_000_000  # rows times fields


def read(raw: IO[bytes], charset: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the names of all fields as a header, then (line, cells) for each object of a JSON document."""
    for said in sheets.child(raw, ["outreach.popolo", charset], "write it as JSON lines, one object a line"):
        yield said["line"], said["cells"]


def _document(raw: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the same, in the child."""
    charset = sys.argv[1]
    try:
        found = list(objects(raw.read().decode(charset).lstrip("\ufeff")))
        yield from ({"line": line, "cells": cells} for line, cells in rows(lambda: iter(found)))
    except UnicodeDecodeError:
        raise charsets.undecodable(raw, charset) from None
    except TableError:
        raise
    except (ValueError, RecursionError) as error:
        raise refused(error) from None


def refused(error: ValueError | RecursionError) -> TableError:
    """Return what to say about a text that is no list in JSON."""
    if isinstance(error, json.JSONDecodeError):
        return TableError(f"is no JSON: {error.msg}", "check it, or save it as CSV", error.lineno)
    words = str(error)[:200] if isinstance(error, ValueError) else "it is nested too deep"
    return TableError(f"is no list of contacts: {words}", "a list of objects is wanted")


def rows(objects: Callable[[], Iterator[tuple[int, dict[str, Any]]]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the names of all fields as a header, then (line, cells) for each object."""
    names: dict[str, None] = {}
    for count, (line, one) in enumerate(objects(), 1):
        names |= dict.fromkeys(flat(one))
        if len(names) > sheets.MAX_CELLS or count * len(names) > _MOST_VALUES:
            raise TableError(
                f"has too many different fields ({len(names):,}) for {count:,} objects",
                "leave out those that no letter needs",
                line,
            )
    yield 1, list(names)
    for line, one in objects():
        row = flat(one)
        if any(cell.strip() for cell in row.values()):
            cells = [row.get(name, "") for name in names]
            sheets.refuse_row(line, cells)
            yield line, cells


def objects(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object) of a JSON document: a list, Popolo, or an object that holds one list.

    Raises ValueError (json.JSONDecodeError) for no JSON, RecursionError for what is nested too deep.
    """
    at = _skip(text, 0)
    if text.startswith("[", at):
        found, end = _elements(text, at)
    else:
        members, end = _members(text, at)
        lists = {key: value for key, value in members.items() if isinstance(value, _List)}
        itself = _is_alone(members) or any(isinstance(one, str) and "@" in one for one in members.values())
        if "persons" in lists:
            found = _people(members)
        elif itself or not lists:  # a contact of its own, as JSON lines have it
            found = _List([(at, {key: _bare(value) for key, value in members.items()})])
        elif len(lists) == 1:
            found = next(iter(lists.values()))
        else:
            raise ValueError(f"it holds several lists: {', '.join(lists)[:200]}")
    if _skip(text, end) != len(text):
        raise json.JSONDecodeError("more behind the end", text, _skip(text, end))
    line, last = 1, 0
    for start, value in found:
        line, last = line + text.count("\n", last, start), start
        if not isinstance(value, dict):
            raise ValueError(f"line {line}: is no object with named fields")
        yield line, _person(value, {}, {}) if _is_alone(value) else value


def flat(value: Mapping[str, Any], before: str = "", deep: int = 0) -> dict[str, str]:
    """Return an object as text by name: nested names joined by `_`, lists by `; `."""
    row: dict[str, str] = {}
    for key, one in value.items():
        name = f"{before}{key}"
        if isinstance(one, dict) and deep < 3:
            row |= flat(one, f"{name}_", deep + 1)
        elif isinstance(one, list) and all(not isinstance(part, dict | list) for part in one):
            row[name] = "; ".join(map(_text, one))
        elif isinstance(one, dict | list):
            row[name] = json.dumps(one, ensure_ascii=False)
        else:
            row[name] = _text(one)
    return row


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


class _List(list[tuple[int, Any]]):
    """Values with the place where each stands."""


def _bare(value: Any) -> Any:
    return [one for _, one in value] if isinstance(value, _List) else value


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _elements(text: str, at: int) -> tuple[_List, int]:
    found = _List()
    at = _skip(text, at + 1)
    if text.startswith("]", at):
        return found, at + 1
    while True:
        value, end = _decode(text, at)
        found.append((at, value))
        at = _skip(text, end)
        if text.startswith("]", at):
            return found, at + 1
        at = _next(text, at)


def _members(text: str, at: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    if not text.startswith("{", at):
        raise json.JSONDecodeError("Expecting a list or an object", text, at)
    at = _skip(text, at + 1)
    if text.startswith("}", at):
        return found, at + 1
    while True:
        key, at = _decode(text, at)
        at = _skip(text, at)
        if not isinstance(key, str) or not text.startswith(":", at):
            raise json.JSONDecodeError("Expecting a name and ':'", text, at)
        at = _skip(text, at + 1)
        begins = _skip(text, at + 1)
        if text.startswith("[", at) and text.startswith("{", begins):
            found[key], at = _elements(text, at)
        else:
            found[key], at = _decode(text, at)
        at = _skip(text, at)
        if text.startswith("}", at):
            return found, at + 1
        at = _next(text, at)


def _next(text: str, at: int) -> int:
    if not text.startswith(",", at):
        raise json.JSONDecodeError("Expecting ','", text, at)
    return _skip(text, at + 1)


# Popolo --------------------------------------------------------------------------------------------


def _is_alone(person: Mapping[str, Any]) -> bool:
    """Tell whether an object is a person of Popolo outside of a whole document."""
    return "contact_details" in person or "memberships" in person


def _objects(document: Mapping[str, Any], name: str) -> list[tuple[int, dict[str, Any]]]:
    found = document.get(name)
    return [(at, one) for at, one in found if isinstance(one, dict)] if isinstance(found, _List) else []


def _id(one: Mapping[str, Any], name: str) -> str:
    number = one.get(name)
    return number if isinstance(number, str) else ""


def _people(document: Mapping[str, Any]) -> _List:
    organizations = {
        number: one for _, one in _objects(document, "organizations") if (number := _id(one, "id"))
    }
    seats: dict[str, list[Mapping[str, Any]]] = {}
    for _, one in _objects(document, "memberships"):
        if person_id := _id(one, "person_id"):
            seats.setdefault(person_id, []).append(one)
    found = _List()
    for at, person in document["persons"]:
        row = _person(person, seats, organizations) if isinstance(person, dict) else person
        found.append((at, row))
    for at, one in _objects(document, "organizations"):
        if mails := _mails(one):
            row = {"email": "; ".join(mails), "organisation": one.get("name"), "gender": "organisation"}
            found.append((at, row))
    return _List(sorted(found, key=lambda pair: pair[0]))


def _person(
    person: Mapping[str, Any],
    seats: Mapping[str, Sequence[Mapping[str, Any]]],
    organizations: Mapping[str, Any],
) -> dict[str, Any]:
    own = person.get("memberships")
    memberships = [*seats.get(_id(person, "id"), ()), *(own if isinstance(own, list) else ())]
    memberships = [one for one in memberships if isinstance(one, dict)]
    memberships.sort(
        key=lambda one: (not one.get("end_date"), str(one.get("start_date") or "")), reverse=True
    )
    plain = {
        key: value
        for key, value in person.items()
        if key not in ("email", "id") and not isinstance(value, dict | list)
    }
    row: dict[str, Any] = {"email": "; ".join(_mails(person))}
    row |= {_NAMES.get(key, key): value for key, value in plain.items()}
    party = chamber = None
    for one in memberships:
        party = party or _organization(one, "on_behalf_of", organizations)
        body = _organization(one, "organization", organizations)
        if isinstance(body, dict) and body.get("classification") == "party":
            party = party or body
        else:
            chamber = chamber or body
    for name, body in (("organisation", party or chamber), ("chamber", chamber if party else None)):
        if isinstance(body, dict) and body.get("name"):
            row[name] = body["name"]
    return row


def _organization(membership: Mapping[str, Any], key: str, organizations: Mapping[str, Any]) -> Any:
    inside = membership.get(key)
    return inside if isinstance(inside, dict) else organizations.get(_id(membership, f"{key}_id"))


def _mails(one: Mapping[str, Any]) -> list[str]:
    details = one.get("contact_details")
    found = [*mails] if isinstance(mails := one.get("email"), list) else [mails]
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("type", "")).lower() in ("email", "e-mail", "mail"):
            found.append(detail.get("value"))
    return list(dict.fromkeys(mail for mail in found if isinstance(mail, str) and mail.strip()))


if __name__ == "__main__":
    sheets.told(_document)
