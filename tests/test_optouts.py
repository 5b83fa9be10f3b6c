# ruff: noqa: E501 - tables read better with a case on a line
"""Opt-outs in 24 languages: tests/data/opt_outs.toml, and the ways in which a wish is turned round."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from outreach import classify, optouts, phrases

SENTENCES = tomllib.loads((Path(__file__).parent / "data" / "opt_outs.toml").read_text("utf-8"))
QUOTED = (
    "\n\nOn Sun, 13 May 2012 at 9:00, Committee <press@committee.example> wrote:\n> Dear Sir or Madam,\n>\n"
    "> Reply with the word STOP and we will never write to this address again.\n"
)


def kind(sentence: str) -> str:
    subject, _, text = (
        sentence[2:].partition("||") if sentence.startswith("S:") else ("", "", sentence + QUOTED)
    )
    head = f"From: a@b.example\nSubject: {subject or 'Re: Freedom for the prisoners'}\nContent-Type: text/plain; charset=utf-8\n"
    return str(classify.read(f"{head}\n{text}\n".encode()).kind)


@pytest.mark.parametrize("language", SENTENCES)
def test_wishes_are_heard_and_nothing_else_is_taken_for_one(language: str) -> None:
    said = SENTENCES[language]
    assert [one for one in said["wishes"] if kind(one) != "opt-out"] == []
    assert [one for one in said["harmless"] if kind(one) != "reply"] == []


def test_known_faults_are_still_there() -> None:
    """When one is mended, move it to the others."""
    missed = [one for said in SENTENCES.values() for one in said["missed"] if kind(one) == "opt-out"]
    mistaken = [one for said in SENTENCES.values() for one in said["mistaken"] if kind(one) == "reply"]
    assert missed + mistaken == []


def test_few_are_missed_and_fewer_mistaken() -> None:
    counts = {
        name: sum(len(said[name]) for said in SENTENCES.values())
        for name in ("wishes", "missed", "harmless", "mistaken")
    }
    assert counts["missed"] * 20 < counts["wishes"]
    assert counts["mistaken"] * 50 < counts["harmless"]


@pytest.mark.parametrize(
    "text", ["STOP", "stop!", "  Stop.  ", "STOP STOP STOP!!1", "S T O P", "<STOP>", "🛑 STOP", "„STOP“"]
)
def test_the_word_alone_in_any_dress(text: str) -> None:
    assert optouts.find("Re: x", text)


@pytest.mark.parametrize(
    ("subject", "text", "found"),
    [
        ("unsubscribe", "", True),
        ("STOP", "", True),
        ("STOP - Freedom for the prisoners", "", True),
        ("Please remove me from your list", "", True),
        ("Re: STOP the trial", "We sign.", False),
        ("Re: Stop!", "We sign.", False),
        ("Stop", "A long letter about the trial. " * 20, False),
    ],
)
def test_a_subject_counts_unless_it_is_ours(subject: str, text: str, found: bool) -> None:
    assert (optouts.find(subject, text) is not None) == found


@pytest.mark.parametrize(
    "text",
    [
        "Please do not unsubscribe me.",
        "Bitte nehmen Sie mich nicht aus dem Verteiler.",
        'The consul answered: "unsubscribe me", and no more.',
        "Do not send me attachments.",
        "Do not write to me in English.",
        "Take my name off the petition.",
    ],
)
def test_a_wish_that_is_turned_round_is_none(text: str) -> None:
    assert optouts.find("Re: x", text) is None


def test_a_negation_counts_on_its_side_of_a_comma() -> None:
    def negated(sentence: str) -> bool:
        folded = phrases.fold(sentence)
        hit = phrases.first("opt_out", folded)
        assert hit is not None
        return phrases.negated(folded, hit)

    assert negated("please do not unsubscribe me")
    assert not negated("I do not know you, unsubscribe me")
