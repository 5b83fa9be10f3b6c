"""Words of mail in 24 languages: found in any spelling, never across words, and none in our own letters."""

from __future__ import annotations

import re
import time
import tomllib
from pathlib import Path

import pytest

from outreach import phrases

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "outreach/phrases").glob("*.toml"))
SECTIONS = set(tomllib.loads((ROOT / "outreach/phrases/en.toml").read_text("utf-8")))
TWENTY_FOUR = [
    "en",
    "ru",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "el",
    "tr",
    "pl",
    "sv",
    "fi",
    "nl",
    "uk",
    "ar",
    "he",
    "da",
    "nb",
    "cs",
    "hu",
    "ro",
    "bg",
    "ja",
    "zh",
]
OURS = sorted((ROOT / "templates/_languages").glob("*.toml"))
LETTERS = sorted(path for path in (ROOT / "templates").glob("*/*.md"))


def test_there_are_the_languages_that_are_promised() -> None:
    assert sorted(phrases.languages()) == sorted(TWENTY_FOUR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_language_has_every_section_and_says_who_writes_so(path: Path) -> None:
    data = tomllib.loads(path.read_text("utf-8"))
    assert set(data) == SECTIONS
    assert 30 <= len(data["common"]) <= 100
    for section, rows in data.items():
        if section in ("common", "negation"):
            assert all(phrases.fold(word) for word in rows), section
            continue
        assert rows, section
        for who, some in rows.items():
            assert who.strip()
            assert some
            for phrase in some:
                assert phrases.fold(phrase).strip(" ."), (section, phrase)


def test_the_sections_are_explained() -> None:
    text = (ROOT / "docs/answers.md").read_text("utf-8").partition("## Languages")[2]
    assert {name for name in SECTIONS if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("section", ["opt_out", "opt_out_alone", "automatic_text"])
def test_nothing_in_our_own_letters_is_an_opt_out_or_an_automatic_answer(section: str) -> None:
    """They are quoted in answers, sometimes unmarked."""
    find = phrases.is_whole if section == "opt_out_alone" else phrases.first
    for path in OURS:
        footer = tomllib.loads(path.read_text("utf-8"))["footer"]
        for text in footer.values():
            assert find(section, phrases.fold(text)) is None, (path.name, text)
    for path in LETTERS:
        assert find(section, phrases.fold(path.read_text("utf-8"))) is None, path.name


@pytest.mark.parametrize("language", [path.stem for path in OURS if path.stem in TWENTY_FOUR])
def test_the_footer_of_a_language_is_known_to_be_of_that_language(language: str) -> None:
    path = ROOT / f"templates/_languages/{language}.toml"
    footer = tomllib.loads(path.read_text("utf-8"))["footer"]
    assert phrases.language(re.sub(r"\{.*?\}", "", " ".join(footer.values()))) == language


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  Automatische\nAntwort ", "automatische antwort"),
        ("АВТООТВЕТ: Ёлка, мой", "автоответ: елка, мои"),
        ("İSTANBUL ışık", "istanbul isik"),
        ("„Straße“ — «Ærø» Łódź", '"strasse" - "aero" lodz'),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("自動 返信", "自動返信"),
        ("על\u200f המשמר", "על המשמר"),
        ("٢٠١٢", "٢٠١٢"),
        ("I\u2019m away", "i'm away"),
    ],
)
def test_spellings_of_a_text_fold_into_one(text: str, folded: str) -> None:
    assert phrases.fold(text) == folded


def test_a_phrase_ends_where_a_word_ends() -> None:
    assert phrases.first("opt_out", "take me off the list")
    assert phrases.first("opt_out", "take me offline") is None
    assert phrases.first("absence", phrases.fold("自動返信：ただいま不在です")) is not None


def test_a_gap_holds_a_line_and_no_more() -> None:
    near, far = "x " * 20, "x " * 60
    assert phrases.first("automatic_subject", "anna is out of the office")
    assert phrases.first("bounce_subject", f"warning: message {near} delayed")
    assert phrases.first("bounce_subject", f"warning: message {far} delayed") is None


def test_the_time_grows_with_the_text_only() -> None:
    """A generous bound, on the processor's time: a pattern that explodes would take for ever."""
    start = time.process_time()
    for text in ("remove me ", "warning: message ", "не ", "今後", "e-mail "):
        long = phrases.fold(text * 1_000)[:4_000]
        for section in SECTIONS - {"common", "negation"}:
            for _ in phrases.find(section, long):
                pass
    assert time.process_time() - start < 60


@pytest.mark.parametrize(
    ("phrase", "fits", "does_not"),
    [
        ("take {me|us} off", ("take me off", "take us off"), ("take off", "take them off")),
        ("{please|} stop", ("please stop", "stop"), ("pleasestop",)),
        ("unsubscribe {me|us|}", ("unsubscribe me", "unsubscribe"), ()),
        ("do {not|never|} write", ("do write", "do not write"), ("do notwrite",)),
        ("{我|本人}不想{再|}收到", ("我不想收到", "本人不想再收到"), ("不想收到",)),
        ("recipient(s) failed", ("recipient(s) failed",), ("recipients failed",)),
    ],
)
def test_alternatives_stand_in_braces(phrase: str, fits: tuple[str, ...], does_not: tuple[str, ...]) -> None:
    piece = phrases._piece(phrase)
    whole = re.compile(re.escape(piece)) if isinstance(piece, str) else piece
    assert all(whole.fullmatch(text) for text in fits)
    assert not any(whole.fullmatch(text) for text in does_not)
    assert all(any(text.startswith(key.split()[0]) for key in phrases._keys(phrase)) for text in fits)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "We have raised this with the ambassador and will write to you again."),
        ("de", "Wir haben das mit dem Botschafter besprochen und melden uns wieder bei Ihnen."),
        ("nl", "Wij hebben dit met de ambassadeur besproken en zullen u weer schrijven."),
        ("sv", "Vi har tagit upp detta med ambassadören och kommer att skriva till er igen."),
        ("da", "Vi har taget det op med ambassadøren og vender tilbage til jer igen."),
        ("nb", "Vi har tatt dette opp med ambassadøren og kommer tilbake til dere igjen."),
        ("fr", "Nous en avons parlé avec l’ambassadeur et nous vous écrirons de nouveau."),
        ("es", "Lo hemos planteado al embajador y les escribiremos de nuevo cuando haya respuesta."),
        ("pt", "Já falámos com o embaixador e voltaremos a escrever-vos quando houver uma resposta."),
        ("it", "Ne abbiamo parlato con l’ambasciatore e vi scriveremo di nuovo appena possibile."),
        ("ro", "Am discutat acest lucru cu ambasadorul și vă vom scrie din nou în curând."),
        ("pl", "Rozmawialiśmy o tym z ambasadorem i jeszcze do państwa napiszemy w tej sprawie."),
        ("cs", "Mluvili jsme o tom s velvyslancem a ještě vám v této věci napíšeme."),
        ("hu", "Beszéltünk erről a nagykövettel, és hamarosan ismét írunk önöknek."),
        ("fi", "Olemme ottaneet asian esille suurlähettilään kanssa ja kirjoitamme teille uudelleen."),
        ("tr", "Bu konuyu büyükelçi ile görüştük ve size yeniden yazacağız, daha sonra bilgi vereceğiz."),
        ("ru", "Мы говорили об этом с послом и ещё напишем вам."),
        ("uk", "Ми говорили про це з послом і ще напишемо вам."),
        ("bg", "Говорихме за това с посланика и ще ви пишем отново."),
        ("el", "Το θέσαμε στον πρέσβη και θα σας γράψουμε ξανά."),
        ("he", "העלינו את הנושא בפני השגריר ונכתוב לכם שוב."),
        ("ar", "لقد طرحنا هذا الأمر على السفير وسنكتب إليكم مرة أخرى."),
        ("ja", "この件は大使に伝えました。またご連絡いたします。"),
        ("zh", "我们已经向大使提出了这个问题，会再给你们写信。"),
        ("", "ok"),
        ("", "12.05.2012"),
    ],
)
def test_a_sentence_tells_its_language(language: str, text: str) -> None:
    assert phrases.language(text) == language
