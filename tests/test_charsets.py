"""Encodings: a list is read rightly, or its owner is asked; names are never damaged in silence."""

from __future__ import annotations

import io
import itertools
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach import charsets
from outreach.sheets import TableError

# No wall clock in tests; not more examples, since each reads files.
PROPERTY = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])

# Given and family names; every list is made of them.
NAMES = {
    "ru": (
        "Анна Борис Вера Глеб Дарья Егор Жанна Зоя Иван Кирилл Мария Нина Ольга Пётр Роман Семён Юлия Яков",
        "Абрамов Белова Волков Гусева Дёмин Ершова Жуков Ильин Козлова Лебедев Орлова Попов Цветкова Юдин",
    ),
    "uk": (
        "Олександр Ірина Юрій Наталія Євген Ганна Ґанна Сергій Андрій",
        "Шевченко Бойко Коваленко Їжакевич Ґудзь Мельник Кравчук Поліщук",
    ),
    "bg": (
        "Георги Мария Иван Елена Петър Десислава Николай Цветана",
        "Иванов Димитрова Петров Георгиева Стоянов Христова Ангелов Цонева",
    ),
    "el": (
        "Γιώργος Μαρία Δημήτρης Ελένη Κώστας Άννα Νίκος Σοφία Ηλίας Χρήστος Ζωή Θεόδωρος Ξένια",
        "Παπαδόπουλος Αντωνίου Γεωργίου Ιωαννίδης Οικονόμου Βασιλείου Ζαχαρίας Ψαράς Φωτίου",
    ),
    "he": (
        "דוד שרה משה רחל יעקב לאה יוסף מרים אברהם חנה",
        "כהן לוי מזרחי פרץ ביטון דהן פרידמן מלכה אזולאי",
    ),
    "ar": (
        "محمد فاطمة أحمد مريم علي خديجة يوسف زينب إبراهيم نور",
        "الحسيني العلي حداد خوري منصور سعيد الزهراني قاسم",
    ),
    "ja": (
        "太郎 花子 次郎 さくら 健太 美咲 翔太 陽子 大輔 ひろみ",
        "佐藤 鈴木 高橋 田中 伊藤 渡辺 山本 中村 小林 加藤",
    ),
    "zh": (
        "伟 芳 娜 敏 静 丽 强 磊 建国 秀英",
        "王 李 张 刘 陈 杨 赵 黄 周 欧阳",
    ),
    "ko": (
        "민준 서연 지훈 수빈 현우 지은",
        "김 이 박 최 정 강 조",
    ),
    "th": (
        "สมชาย สมหญิง ประเสริฐ มาลี",
        "ใจดี ศรีสุข ทองดี วงศ์",
    ),
    "de": (
        "Jürgen Jörg Käthe Günther Björn Sören Anna",
        "Müller Schröder Weiß Böhm Köhler Groß Jäger Schmidt",
    ),
    "fr": (
        "Élodie François Hélène Jérôme Zoé Chloé Benoît",
        "Lefèvre Dubœuf Côté Noël Bérégovoy Crémieux",
    ),
    "pl": (
        "Łukasz Małgorzata Paweł Zofia Grażyna Bożena Michał",
        "Wiśniewski Wójcik Kamiński Zieliński Woźniak",
    ),
    "cs": (
        "Jiří Tomáš Kateřina Zdeněk Růžena Šárka",
        "Dvořák Černý Němec Růžička Šťastný Kříž",
    ),
    "hu": (
        "György Ágnes Ödön Zsófia Ferenc Áron",
        "Kovács Tóth Szőke Fűzfa Kőműves Nagy",
    ),
    "tr": (
        "Ayşe Çağla Gülşen İbrahim Oğuz Şule Yiğit Ömer",
        "Yılmaz Öztürk Şahin Çelik Aydın Güneş Doğan Kılıç",
    ),
}
ENCODINGS = {
    "ru": ["cp1251", "koi8-r", "iso8859-5", "mac-cyrillic", "cp866"],
    "uk": ["cp1251", "koi8-u", "cp1125"],
    "bg": ["cp1251", "iso8859-5"],
    "el": ["cp1253", "iso8859-7", "cp737"],
    "he": ["cp1255", "iso8859-8", "cp862"],
    "ar": ["cp1256", "iso8859-6"],
    "ja": ["cp932", "euc-jp"],
    "zh": ["gb18030"],
    "ko": ["cp949"],
    "th": ["cp874"],
    "de": ["cp1252", "cp850", "mac-roman"],
    "fr": ["cp1252", "mac-roman"],
    "pl": ["cp1250", "iso8859-2", "cp852"],
    "cs": ["cp1250", "iso8859-2"],
    "hu": ["cp1250"],
    "tr": ["cp1254", "cp857"],
}
CASES = [(language, encoding) for language, names in ENCODINGS.items() for encoding in names]
# Encodings of a script of their own, in which a long list can be told from any other.
CERTAIN = {
    ("ru", "cp1251"),
    ("ru", "koi8-r"),
    ("uk", "koi8-u"),
    ("bg", "cp1251"),
    ("he", "cp1255"),
    ("ar", "cp1256"),
    ("ja", "cp932"),
    ("th", "cp874"),
}


def people(language: str, count: int) -> str:
    """Return a list of that many people."""
    given, family = (names.split() for names in NAMES[language])
    pairs = [f"{one} {other}" for one, other in itertools.product(given, family)]
    names = [pairs[n * 7 % len(pairs)] for n in range(count)]
    return "email,name,city\n" + "".join(f"a{n}@x.example,{name},Oslo\n" for n, name in enumerate(names))


def guess(data: bytes) -> charsets.Guess | TableError:
    try:
        return charsets.guess(io.BytesIO(data))
    except TableError as error:
        return error


@pytest.mark.parametrize("form", [str, str.upper], ids=["as usual", "capitals"])
@pytest.mark.parametrize("count", [40, 300])
@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_a_long_list_is_read_rightly_or_asked_for(
    language: str, encoding: str, count: int, form: type[str]
) -> None:
    text = form(people(language, count))
    found = guess(text.encode(encoding, "replace"))
    if isinstance(found, TableError):
        assert "its encoding is not certain" in str(found)
        assert (form, count, language, encoding) not in {(str, 300, *one) for one in CERTAIN}
        return
    assert text.encode(encoding, "replace").decode(found.name) == text.encode(encoding, "replace").decode(
        encoding
    )
    assert all(word in text for word in found.sample.split(", "))


@pytest.mark.parametrize(
    "case", ["de cp1252", "fr cp1252", "pl cp1250", "cs cp1250", "hu cp1250", "tr cp1254"]
)
@pytest.mark.parametrize("count", [1, 5, 40, 300])
def test_western_central_and_turkish_europe_are_always_asked_for_with_a_sample(case: str, count: int) -> None:
    language, encoding = case.split()
    text = people(language, count)
    found = guess(text.encode(encoding))
    assert isinstance(found, TableError)
    assert "its encoding is not certain; it may read" in str(found)
    words = {word for word in re.findall(r"\w+", text) if not word.isascii()}
    assert words & set(re.findall(r"\w+", str(found)))
    assert (found.line or 0) >= 2
    assert "--encoding" in found.hint


@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_a_short_list_is_always_asked_for(language: str, encoding: str) -> None:
    given, family = (names.split()[0] for names in NAMES[language])
    found = guess(f"email,name\na@x.example,{given} {family}\n".encode(encoding))
    if f"{given} {family}".isascii():
        return
    assert isinstance(found, TableError)
    assert found.line == 2


@pytest.mark.parametrize(
    ("language", "encoding", "words"),
    [
        ("ru", "cp1251", "Анна"),
        ("el", "cp1253", "Γιώργος"),
        ("de", "cp1252", "Jürgen"),
        ("pl", "cp1250", "Łukasz"),
        ("tr", "cp1254", "Ayşe"),
        ("he", "cp1255", "דוד"),
    ],
)
def test_among_the_samples_of_a_short_list_is_the_right_one(language: str, encoding: str, words: str) -> None:
    found = guess(people(language, 2).encode(encoding)[:60])
    assert isinstance(found, TableError)
    assert words in str(found)


def test_samples_show_first_where_readings_differ() -> None:
    rows = "".join(
        f"a{n}@x.example,{name}\n"
        for n, name in enumerate(["Jörg", "Bärbel", "Grün", "Köhl", "Übel", "Íñigo"])
    )
    found = str(guess(f"email,name\n{rows}".encode("cp1252")))
    assert "cp1252: Íñigo" in found
    assert "cp1250: Íńigo" in found


def test_one_wrong_line_in_utf_8_is_pointed_out_not_taken_for_another_encoding() -> None:
    text = people("ru", 30).encode() + "z@x.example,Жуков\n".encode("cp1251")
    found = guess(text)
    assert isinstance(found, TableError)
    assert "but the rest is" in str(found)
    assert found.line == 32


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("language", NAMES)
def test_utf_16_without_a_mark_is_known(language: str, encoding: str) -> None:
    assert charsets.utf_16(people(language, 30).encode(encoding)) == encoding


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"a\0",
        bytes(1000),
        bytes(range(256)) * 8,
        b"email,name\na@x.example,\0\0\0\0\n",
        b"\x7fELF\2\1\1" + bytes(9),
    ],
)
def test_what_is_no_text_is_no_utf_16(data: bytes) -> None:
    assert charsets.utf_16(data) == ""


@PROPERTY
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cn", "Cc", "Co"])),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_a_text_in_utf_8_is_never_taken_for_utf_16(text: str, encoding: str) -> None:
    assert charsets.utf_16(text.encode(encoding)) == ""


@pytest.mark.parametrize(
    ("data", "charset", "line"),
    [
        (b"a\nb\n\xff\n", "utf-8", 3),
        (b"a\r\nb\r\n\xff\r\n", "utf-8", 3),
        (b"a\rb\r\xff\r", "utf-8", 3),
        (b"\xff", "utf-8", 1),
        (b"a\n" * 70_000 + b"\xff", "utf-8", 70_001),
        (b"x" * 65_535 + b"\r\n\xff", "utf-8", 2),  # a line end across two chunks
        ("a\nb\n".encode("utf-16") + b"\0", "utf-16", 3),
        (b"a\n\x98", "cp1251", 2),
    ],
)
def test_the_first_wrong_byte_is_found_with_its_line(data: bytes, charset: str, line: int) -> None:
    assert charsets.first_wrong(io.BytesIO(data), charset) == line


@pytest.mark.parametrize(
    ("given", "codec"), [("utf-8", "utf-8-sig"), ("UTF_8", "utf-8-sig"), ("cp1251", "cp1251")]
)
def test_an_encoding_may_be_named_as_people_write_it(given: str, codec: str) -> None:
    assert charsets.named(given) == codec


@pytest.mark.parametrize("name", ["nope", "rot13", "base64", "hex", "", "a b", "\0"])
def test_what_is_no_encoding_is_refused(name: str) -> None:
    with pytest.raises(TableError) as caught:
        charsets.named(name)
    assert "there is no encoding" in str(caught.value)
    assert "cp1251" in caught.value.hint


@PROPERTY
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: b"email,name\na@x.example," + data))
def test_any_bytes_are_guessed_or_asked_for_never_a_traceback(data: bytes) -> None:
    found = guess(data)
    if isinstance(found, charsets.Guess):
        data.decode(found.name)
        assert found.sample
    else:
        assert found.hint
