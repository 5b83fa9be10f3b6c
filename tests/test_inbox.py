"""Mail as it comes back: each mail of tests/data/inbox is understood as the JSON beside it says.

All were written for this project, in the shapes of the programs that their names and `shows` tell, and what
is expected is what a careful secretary would say. `text` is compared line by line.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from outreach import classify, phrases
from outreach.model import Came

HERE = Path(__file__).parent / "data" / "inbox"
NAMES = sorted(path.stem for path in HERE.glob("*.eml"))
WANTED = {name: json.loads((HERE / f"{name}.json").read_text("utf-8")) for name in NAMES}
_DOMAIN = re.compile(rb"@([A-Za-z0-9.-]+\.[A-Za-z]{2,})")


def said(name: str) -> dict[str, Any]:
    return classify.document(name, classify.read((HERE / f"{name}.eml").read_bytes()))


@pytest.mark.parametrize("name", NAMES)
def test_a_mail_is_understood_as_a_secretary_would(name: str) -> None:
    wanted, got = WANTED[name], said(name)
    assert got["kind"] == wanted["kind"], got["evidence"]
    assert got["language"] == wanted["language"]
    assert got["returns"] == wanted["returns"]
    assert got["text"].split("\n") == wanted["text"].split("\n")
    if wanted["bounce"] is None:
        assert got["bounce"] is None
    else:
        assert wanted["bounce"].keys() == {"recipient", "action", "status", "permanent", "reason"}
        for key, value in wanted["bounce"].items():
            assert got["bounce"][key] == (None if value == "" else value), key


def test_there_is_every_kind_in_every_language() -> None:
    kinds = Counter(wanted["kind"] for wanted in WANTED.values())
    assert set(kinds) == set(map(str, Came))
    assert len(NAMES) >= 120
    for language in phrases.languages():
        here = [WANTED[name]["kind"] for name in NAMES if name.startswith(f"{language}-")]
        assert len(here) >= 6, language
        assert {"reply", "auto-reply", "opt-out"} <= set(here), language


def test_no_mail_of_the_corpus_names_a_real_domain() -> None:
    allowed = re.compile(rb"(^|\.)(example|example\.org)\.?$", re.IGNORECASE)
    for name in NAMES:
        raw = (HERE / f"{name}.eml").read_bytes().replace(b"=\n", b"")
        texts = [raw] + [part.get_payload(decode=True) or b"" for part in message_from_bytes(raw).walk()]
        found = {domain for text in texts for domain in _DOMAIN.findall(text)}
        assert not {one for one in found if not allowed.search(one)}, name
