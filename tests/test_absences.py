"""The day of return, as people write days: every shape of a date, in the words of 24 languages."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path

import pytest

from outreach import absences, classify, phrases

ANSWERS = tomllib.loads((Path(__file__).parent / "data" / "returns.toml").read_text("utf-8"))
SENT = datetime.date(2012, 5, 14)  # a Monday


def returns(text: str, sent: datetime.date = SENT, away: bool = True) -> str | None:
    language = phrases.language(text) or "en"
    found = absences.returns(text, language, sent, away)
    return found.isoformat()[5:] if found and found.year == sent.year else found and found.isoformat()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        # numbers
        ("I am out of the office until 25/05/2012.", "05-25"),
        ("I am out of the office until 25.05.2012.", "05-25"),
        ("I am out of the office until 25-05-2012.", "05-25"),
        ("I am out of the office until 2012-05-25.", "05-25"),
        ("I am out of the office until 25.5.", "05-25"),
        ("I am out of the office until 25/5/12.", "05-25"),
        ("I am out of the office until 06/05/2012.", "06-05"),  # not 6 May, which is over
        ("I am out of the office until 5/25.", "05-25"),
        ("Jsem na dovolené do 25. 5. 2012.", "05-25"),
        # words
        ("I am on leave until 25 May 2012.", "05-25"),
        ("I am on leave until the 25th of May.", "05-25"),
        ("I am on leave until May 25th, 2012.", "05-25"),
        ("I am on leave until Friday, 25 May.", "05-25"),
        ("I'm on vacation through May 25.", "05-25"),
        ("Ich bin bis zum 25. Mai 2012 nicht im Büro.", "05-25"),
        ("Ich bin bis einschließlich Freitag, den 25.05. nicht im Büro.", "05-25"),
        ("Je suis absent du bureau jusqu'au 1er juin.", "06-01"),
        ("Estoy de vacaciones hasta el 25 de mayo de 2012.", "05-25"),
        ("Estou de férias até 25 de maio.", "05-25"),
        ("Sono fuori ufficio fino al 25 maggio 2012 compreso.", "05-25"),
        ("Ik ben met vakantie tot en met 25 mei.", "05-25"),
        ("Jag är på semester till och med den 25 maj.", "05-25"),
        ("Jeg er på ferie til og med 25. mai.", "05-25"),
        ("Olen lomalla 25. toukokuuta asti.", "05-25"),
        ("Jestem na urlopie do 25 maja 2012 r. włącznie.", "05-25"),
        ("Jsem mimo kancelář do 25. května včetně.", "05-25"),
        ("Я в отпуске до 25 мая включительно.", "05-25"),
        ("Я у відпустці до 25 травня.", "05-25"),
        ("В отпуск съм до 25 май.", "05-25"),
        ("Απουσιάζω μέχρι τις 25 Μαΐου.", "05-25"),
        ("25 Mayıs tarihine kadar izindeyim.", "05-25"),
        ("אני בחופשה עד 25 במאי.", "05-25"),
        ("أنا في إجازة حتى ٢٥ أيار ٢٠١٢.", "05-25"),
        ("أنا في إجازة حتى 25 مايو.", "05-25"),
        ("5月25日まで不在にしております。", "05-25"),
        ("平成24年5月25日まで休暇をいただいております。", "05-25"),
        ("我休假至5月25日。", "05-25"),
        ("本人休假至民國101年5月25日。", "05-25"),
        # return beats end
        ("I am away until 25 May and will be back on 28 May.", "05-28"),
        ("Ich bin vom 14.5. bis 25.5. im Urlaub und am 29.05. wieder im Büro.", "05-29"),
        # ranges
        ("I am on leave from Monday 14 May to Friday 25 May.", "05-25"),
        ("I am on leave: 14 May - 25 May 2012.", "05-25"),
        ("I am on leave 14-25 May.", "05-25"),
        ("Ich bin vom 14.-25. Mai im Urlaub.", "05-25"),
        ("Ich bin im Urlaub: 14.05.2012 - 25.05.2012.", "05-25"),
        ("休暇期間:5月14日～25日。不在にしております。", "05-25"),
        # days of the week and weeks
        ("I am out of the office and will be back on Thursday.", "05-17"),
        ("I am out of the office and will be back on Monday.", "05-21"),
        ("I will be back on Monday, 28 May.", "05-28"),
        ("Jag är tillbaka vecka 22.", "05-28"),
        # over New Year
        ("I am out of the office until 2 January.", "2013-01-02"),
    ],
)
def test_the_day_of_return_is_read(text: str, day: str) -> None:
    sent = datetime.date(2012, 12, 20) if "January" in text else SENT
    assert returns(text, sent) == day


@pytest.mark.parametrize(
    "text",
    [
        "I am out of the office.",
        "I am on sick leave. The consultation runs until 31 August, see our site for it.",
        "I am out of the office from 14 May.",
        "Thank you for your letter of 6 May about the trial of 12 June.",
        "I am out of the office until 31 February.",
        "I am out of the office until 99/99/9999.",
        "I am out of the office until 1 May 1999.",
        "I am out of the office until further notice. Call 020 7946 0000.",
        "",
    ],
)
def test_no_day_is_invented(text: str) -> None:
    assert returns(text) is None


def test_an_end_counts_only_in_an_absence() -> None:
    assert returns("You can sign until 25 May.", away=False) is None
    assert returns("I will be back on 25 May.", away=False) == "05-25"


@pytest.mark.parametrize("language", phrases.languages())
def test_the_months_of_a_language_are_known(language: str) -> None:
    """Each language's own word for the end, with the fifth month as CLDR writes a date in it."""
    from outreach import languages

    section = [one for one in phrases.entries("until") if one[0] == language and "…" not in one[2]]
    day = languages.date(datetime.date(2012, 5, 25), language)
    found = {absences.returns(f"{phrase} {day}", language, SENT) for _, _, phrase in section}
    if section:
        assert datetime.date(2012, 5, 25) in found, day


def answered(text: str, sent: str) -> str:
    date = datetime.date.fromisoformat(sent).strftime("%a, %d %b %Y 10:05:29 +0200")
    head = (
        f"From: a@b.example\nSubject: Automatic reply: Freedom\nDate: {date}\nAuto-Submitted: auto-replied\n"
    )
    answer = classify.read(f"{head}Content-Type: text/plain; charset=utf-8\n\n{text}\n".encode())
    return answer.returns.isoformat() if answer.returns else ""


@pytest.mark.parametrize("language", ANSWERS)
def test_automatic_answers_tell_the_day(language: str) -> None:
    wrong = [text for text, sent, day in ANSWERS[language]["right"] if answered(text, sent) != day]
    assert wrong == []


def test_known_faults_are_still_there() -> None:
    """When one is mended, move it to the others."""
    faults = [one for said in ANSWERS.values() for one in said["wrong"]]
    assert [text for text, sent, day in faults if answered(text, sent) == day] == []
