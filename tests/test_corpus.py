"""Lists as people make them: each file of tests/data/contacts is read as the JSON beside it says.

The expectations are written by hand, from what the owner of the list would expect: `shows` says why the
file is there, `options` how it is read, `exit` how the command ends. Then either `error`, what it has to say,
or what it read: numbers, contacts (what is empty is left out) and every problem, of which `says`, `suggests`
and `value` are parts of the words. `after` names a list that is read before it, as with two `--contacts`.
make_lists.py makes those that no text editor writes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import make_lists
import pytest

from outreach import clean, cli, contacts, lists
from outreach.errors import ContactsError
from outreach.model import CONTACT_COLUMNS, Contact

HERE = Path(__file__).parent / "data" / "contacts"
WANTED = {
    path.name.removesuffix(".json"): json.loads(path.read_text("utf-8"))
    for path in sorted(HERE.glob("*.json"))
    if (HERE / path.name.removesuffix(".json")).exists()
}
ALONE = [name for name, wanted in WANTED.items() if "after" not in wanted]
TOGETHER = [name for name, wanted in WANTED.items() if "after" in wanted]
READ = [name for name, wanted in WANTED.items() if wanted.get("contacts")]


def read(names: Iterable[str], wanted: Mapping[str, Any]) -> contacts.ContactList:
    """Read lists in this process, with the options of an expectation."""
    options = wanted.get("options", [])
    pairs = list(zip(options[::2], options[1::2], strict=True))
    given = {
        kind: dict(value.split("=", 1) for option, value in pairs if option == kind)
        for kind in ("--map", "--set")
    }
    encoding = dict(pairs).get("--encoding")
    return contacts.read(
        [Path(name) for name in names], encoding, given["--map"], given["--set"], keep_refused=True
    )


def full(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not empty."""
    shown: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            value = full(value)
        elif isinstance(value, list):
            value = [full(one) if isinstance(one, dict) else one for one in value]
        if value not in ("", [], {}):
            shown[name] = value
    return shown


def meets(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a problem is the one that is wanted."""
    same = all(found[name] == wanted[name] for name in ("line", "column", "severity"))
    words = all(
        wanted.get(ours, "") in found[theirs]
        for ours, theirs in (("says", "problem"), ("suggests", "suggestion"), ("value", "value"))
    )
    place = wanted.get("cell", "") in found["cell"] and found["file"].endswith(
        f"[{wanted['sheet']}]" if "sheet" in wanted else ""
    )
    return same and words and place


def compare(document: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Hold what was read against what a person expects of it."""
    assert [full(one) for one in document["contacts"]] == wanted["contacts"]
    unexpected = list(document["problems"])
    missing = []
    for one in wanted["problems"]:
        found = next((problem for problem in unexpected if meets(problem, one)), None)
        if found is None:
            missing.append(one)
        else:
            unexpected.remove(found)
    assert (missing, unexpected) == ([], []), wanted["shows"]
    assert {name: document[name] for name in wanted["read"]} == wanted["read"]
    assert document["rows"] == document["kept"] + document["joined"] + document["rejected"]


@pytest.mark.parametrize("name", ALONE)
def test_a_list_is_read_as_its_owner_expects(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the whole command line, but in this process: starting it takes longer than reading a list."""
    wanted = WANTED[name]
    monkeypatch.chdir(HERE)
    code = cli.run(["contacts", "check", name, "--json", *wanted.get("options", [])])
    said = capsys.readouterr()
    assert code == wanted["exit"], said.err
    if "error" in wanted:
        assert said.out == ""
        for words in wanted["error"]:
            assert words in said.err
        assert "→" in said.err, "an error names the next step"
    else:
        document = json.loads(said.out)
        assert document["file"] == name
        compare(document, wanted)


@pytest.mark.parametrize("name", TOGETHER)
def test_two_lists_are_read_as_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    people = read([WANTED[name]["after"], name], WANTED[name])
    document = {
        key: value if isinstance(value, str | int) else list(value)
        for key, value in dict[str, Any](lists.as_json(people)).items()
    }
    compare(document, WANTED[name])


@pytest.mark.parametrize("suffix", clean.SUFFIXES)
@pytest.mark.parametrize("name", READ)
def test_a_cleaned_list_has_the_same_people_and_cleaning_it_changes_nothing(
    name: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    try:
        people = read([name], WANTED[name])
    except ContactsError:
        pytest.skip("cannot be read, as another test says")
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    clean.write(people, first)
    again = contacts.read([first])
    assert [known(one) for one in again.contacts] == [known(one) for one in people.contacts]
    assert [one for one in again.problems if one.severity != "warning"] == []
    clean.write(again, second)
    assert second.read_bytes() == first.read_bytes()


def known(one: Contact) -> dict[str, Any]:
    """Return what is known about a contact, wherever it stood."""
    fields = {name: value for name, value in one.fields.items() if value}
    people = [known(person) for person in one.people]
    plain = {name: getattr(one, name) for name in (*CONTACT_COLUMNS, "alternates")}
    return plain | {"fields": fields, "people": people}


def test_every_list_has_its_expectation() -> None:
    beside = {f"{name}.json" for name in WANTED}
    assert {path.name for path in HERE.iterdir()} == {*WANTED, *beside, ".gitattributes"}
    assert all(wanted["shows"] for wanted in WANTED.values())
    assert len(WANTED) >= 36


def test_lists_are_small() -> None:
    assert {path.name for path in HERE.iterdir() if path.stat().st_size > 20_000} == set()


@pytest.mark.parametrize("name", make_lists.LISTS)
def test_a_made_list_is_what_its_script_makes(name: str) -> None:
    made, here = make_lists.LISTS[name](), (HERE / name).read_bytes()
    assert made == make_lists.LISTS[name](), "the same bytes each time"
    assert parts(made) == parts(here)


def parts(data: bytes) -> object:
    """Return the cells of a spreadsheet as it keeps them: how they are packed depends on versions."""
    if not data.startswith(b"PK"):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        cells = ("xl/worksheets/", "xl/sharedStrings", "content.xml")
        return {name: archive.read(name) for name in archive.namelist() if name.startswith(cells)}
