"""Letters: the right file for a reader, everything that can be wrong found before anything is rendered."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from outreach import contacts, lists, preview, sandbox, sources
from outreach.errors import Exit, LetterError
from outreach.letters import Letter
from outreach.model import CONTACT_COLUMNS, Contact, Identity, Rendered
from outreach.plan import Plan

ROOT = Path(__file__).parent.parent
LAYOUT = '<html lang="{{ lang }}" dir="{{ dir }}"><body>{{ content }}<hr>{{ footer }}</body></html>'
ME = Identity("Committee", "me@mail.example")
ANSWERS = Identity("", "answers@mail.example")
TODAY = datetime.date(2012, 5, 14)
S = "Subject: s\n\n"
BASE = "Subject: base\n\nA\n\n{% block ask %}\nask\n{% endblock %}\n\nZ\n"
PHRASES = """
[greeting.formal]
f = ["Dear Ms {name},", "Dear Madam,"]
m = ["Dear Mr {name},", "Dear Sir,"]
unknown = ["Dear {name},", "Dear reader,"]
organisation = ["Dear all,"]
group = ["Dear all,"]
[footer]
text = "From {sender}, {reply_to}"
opt_out = "Say STOP"
"""


def letter(files: dict[str, str], layout: str = LAYOUT, phrases: Iterable[str] = ("en",)) -> Letter:
    texts = {f"l/{name}": text for name, text in files.items()}
    texts["_layout.html"] = layout
    # Each language has words of its own: a copy of the source's would count as none.
    texts |= {
        f"_languages/{tag}.toml": PHRASES.replace("Dear reader", f"Dear {tag} reader") for tag in phrases
    }
    return Letter("l", texts)


def problems(files: dict[str, str], **more: str) -> list[tuple[str, int | None, str]]:
    """The problems that a letter is refused with, as (file, line, text)."""
    with pytest.raises(LetterError) as caught:
        letter(files, **more)  # type: ignore[arg-type]
    assert caught.value.exit_code == Exit.DATA
    assert "l has problems" in caught.value.message
    return [(one.file, one.line, one.text) for one in caught.value.problems]


def contact(name: str = "", **known: str) -> Contact:
    """A contact; whatever is no column of every list becomes a field."""
    standard = {"email": "ann@party.example", "name": name}
    standard |= {key: known.pop(key) for key in list(known) if key in CONTACT_COLUMNS}
    return Contact(**standard, fields=known, file="list.csv", line=7)


def render(files: dict[str, str], to: Contact | None = None) -> Rendered:
    to = to or contact()
    made = letter(files)
    made.check_variables([*CONTACT_COLUMNS, *to.fields])
    return made.render(to, ME, ANSWERS, TODAY)


def body(text: str) -> str:
    """The text of a letter without its footer."""
    return text.partition("\n\n-- \n")[0]


# A letter as a whole -----------------------------------------------------------------------------


def test_a_letter_is_rendered_as_subject_text_and_html_with_its_footer() -> None:
    files = {
        "en.md": "Subject: To {{ name }}\n\n{{ salutation }}\n\n**Help** {{ city }} in {{ country_name }}"
        " until {{ today }}.\n\n"
        "{{ sender }} {{ email }} {{ audience }} {{ language }} {{ gender }}{{ title }}\n"
    }
    to = contact("Ann Lee", city="Bonn & Köln", country="DE", audience="party", gender="f", language="en")
    made = render(files, to)
    assert made.subject == "To Ann Lee"
    assert made.text == (
        "Dear Ms Ann Lee,\n\nHelp Bonn & Köln in Germany until May 14, 2012.\n\n"
        "Committee ann@party.example party en f\n\n-- \nFrom Committee, answers@mail.example\nSay STOP\n"
    )
    assert made.html == (
        '<html lang="en" dir="ltr"><head></head><body><p>Dear Ms Ann Lee,</p>\n'
        "<p><strong>Help</strong> Bonn &amp; Köln in Germany until May 14, 2012.</p>\n"
        "<p>Committee ann@party.example party en f</p>\n"
        "<hr>From Committee, answers@mail.example\nSay STOP</body></html>"
    )
    assert (made.language, made.direction, made.template) == ("en", "ltr", "en.md")


def test_the_letters_language_and_direction_are_its_files() -> None:
    files = {"en.md": f"{S}x", "ar.md": "Subject: s\n\n{{ country_name }}", "fr.md": f"{S}x"}
    made = render(files, contact(language="ar-EG", country="DE"))
    assert (made.language, made.direction) == ("ar", "rtl")
    assert 'lang="ar" dir="rtl"' in made.html
    assert body(made.text).strip() == "ألمانيا"


def test_contact_fields_are_data_never_compiled_and_escaped_in_html() -> None:
    hostile = '<script>alert("1")</script> {{ 7*7 }} {% raw %} [x](http://evil.example) **b** \\ &amp;'
    made = render({"en.md": "Subject: {{ q }}\n\n{{ q }}\n\n- {{ name }}"}, contact(hostile, q=hostile))
    assert made.subject == " ".join(hostile.split())
    assert body(made.text) == f"{hostile}\n\n- {hostile}"
    assert "<script" not in made.html
    assert "{{ 7*7 }}" in made.html
    assert "evil.example" in made.html and "href" not in made.html
    assert "&amp;amp;" in made.html


def test_a_subject_is_one_line_whatever_is_in_a_field() -> None:
    to = contact("Ann\r\nBcc: evil@x.example", salutation="Dear\n\tAnn")
    made = render({"en.md": "Subject: {{ salutation }} {{ name }}\n\nx"}, to)
    assert made.subject == "Dear Ann Ann Bcc: evil@x.example"


def test_an_empty_field_leaves_no_hole_of_empty_lines() -> None:
    made = render({"en.md": f"{S}A\n\n{{{{ q }}}}\n\n{{% if q %}}\nB\n{{% endif %}}\n\nC"}, contact(q=""))
    assert body(made.text) == "A\n\nC"


def test_a_line_of_text_keeps_its_end_behind_an_inline_choice() -> None:
    """As in the shipped human-rights letter: `your organisation{% if … %} (…){% endif %}`, next line."""
    files = {"en.md": f"{S}We ask you{{% if name %}} ({{{{ name }}}}){{% endif %}}\nto act."}
    for to, text in ((contact("Ann"), "We ask you (Ann)\nto act."), (contact(), "We ask you\nto act.")):
        made = render(files, to)
        assert body(made.text) == text
        assert f"<p>{text}</p>" in made.html


def test_names_are_the_folders_with_letters(tmp_path: Path) -> None:
    for name in ("b/en.md", "a/en.md", "_languages/en.toml", ".git/en.md", "_draft/en.md", "empty/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert sources.names(tmp_path) == ["a", "b"]
    assert sources.names(tmp_path / "nowhere") == []


# Headers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("Subjekt: x\nSubject: s\n\nx", 1, "unknown header Subjekt:"),
        ("Subject: s\nAttach: a.pdf\n\nx", 2, "there is no file a.pdf"),
        ("Subject: s\nSource: en 1\nSubject: t\n\nx", 3, "a second Subject:"),
        ("Subject: s\n folded\n\nx", 2, "is no header line"),
        ("Subject: s\nno header\n\nx", 2, "is no header line"),
        ("Subject : s\n\nx", 1, "is no header line"),
        ("Source: en 1\nSubject:\n\nx", 2, "the Subject is empty"),
        ("Source: en 1\n\nx", 1, "has no Subject: line"),
        ("\nx", 1, "has no Subject: line"),
        ("Hello,\n\nx", 1, "is no header line"),
        ("Subject: s\n\n", None, "the letter is empty"),
        ("Subject: s\n\n \n\n", None, "the letter is empty"),
        ("", None, "the letter is empty"),
    ],
)
def test_a_header_mistake_is_named_with_its_line(source: str, line: int | None, says: str) -> None:
    found = problems({"en.md": source})
    assert any(file == "l/en.md" and at == line and says in text for file, at, text in found), found


def test_header_names_have_any_case_and_a_bom_and_crlf_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "en.md").write_bytes(b"\xef\xbb\xbfSUBJECT:  Hi \r\nsource: en 1\r\n\r\nA\r\nB\r\n")
    texts = sources.read(tmp_path, "l", ROOT / "templates")
    made = Letter("l", texts).render(contact(), ME, ANSWERS, TODAY)
    assert made.subject == "Hi"
    assert body(made.text) == "A\nB"


@pytest.mark.parametrize("file", ["english.md", "xx.md", "en.party.extra.md", "README.md", "pt_BR.md", ".md"])
def test_a_file_that_is_not_named_like_a_letter_is_refused(file: str) -> None:
    assert problems({"en.md": f"{S}x", file: f"{S}x"}) == [(f"l/{file}", None, "is not named like a letter")]


def test_a_letter_without_files_says_which_to_write() -> None:
    with pytest.raises(LetterError) as caught:
        letter({})
    assert "en.md" in caught.value.hint


# Extending ---------------------------------------------------------------------------------------

PARTY = contact(audience="party")
GERMAN_PARTY = contact(audience="party", language="de")


def child(parent: str, text: str, subject: str = "") -> str:
    head = f"Subject: {subject}\n\n" if subject else ""
    return f'{head}{{% extends "{parent}" %}}\n\n{text}\n'


def block(text: str, name: str = "ask") -> str:
    return f"{{% block {name} %}}\n{text}\n{{% endblock %}}"


@pytest.mark.parametrize(
    ("files", "to", "subject", "text"),
    [
        ({"en.party.md": child("en.md", block("party"))}, PARTY, "base", "A\n\nparty\n\nZ"),
        ({"en.party.md": "\n" + child("en.md", block("party"))}, PARTY, "base", "A\n\nparty\n\nZ"),
        ({"en.party.md": child("en.md", block("party"), "own")}, PARTY, "own", "A\n\nparty\n\nZ"),
        ({"en.party.md": child("en.md", "")}, PARTY, "base", "A\n\nask\n\nZ"),
        (
            {"de.md": child("en.md", block("mitte")), "de.party.md": child("de.md", block("unten"))},
            GERMAN_PARTY,
            "base",
            "A\n\nunten\n\nZ",
        ),
        (
            {"de.md": child("en.md", block("mitte"), "Mitte"), "de.party.md": child("de.md", "")},
            GERMAN_PARTY,
            "Mitte",
            "A\n\nmitte\n\nZ",
        ),
        (
            {"de.md": child("en.md", ""), "de.party.md": child("de.md", block("unten"), "Unten")},
            GERMAN_PARTY,
            "Unten",
            "A\n\nunten\n\nZ",
        ),
        (
            {
                "de.md": child("en.md", block("mitte")),
                "de.party.md": child("de.md", block("so\n\n{{ super() }}")),
            },
            GERMAN_PARTY,
            "base",
            "A\n\nso\n\nmitte\n\nZ",
        ),
    ],
)
def test_a_child_replaces_blocks_and_inherits_the_rest_over_two_levels(
    files: dict[str, str], to: Contact, subject: str, text: str
) -> None:
    made = render({"en.md": BASE, **files}, to)
    assert made.subject == subject
    assert body(made.text) == text
    assert re.sub(r"</?p>|\n", "", made.html.partition("<body>")[2].partition("<hr>")[0]) == (
        text.replace("\n", "")
    )


@pytest.mark.parametrize(
    ("text", "lines", "says"),
    [
        (child("en.md", "lost\n\n" + block("x"), "s"), {5}, "outside any block"),
        (child("en.md", block("x") + "\n\n\nlost", "s"), {10}, "outside any block"),
        (child("en.md", block("x") + "\n\n{{ name }}", "s"), {9}, "outside any block"),
        (
            child("en.md", "{% if name %}\nlost\n{% endif %}\n\n" + block("x"), "s"),
            {5, 6},
            "outside any block",
        ),
        (child("en.md", "{% for x in name %}\n{{ x }}\n{% endfor %}", "s"), {5, 6}, "outside any block"),
        (
            child("en.md", "{% if name %}\n\n" + block("x") + "\n\n{% endif %}", "s"),
            {5, 6},
            "outside any block",
        ),
        ('{% extends "en.md" %} lost\n\n' + block("x"), {1}, "outside any block"),
        (child("en.md", block("x", "aks"), "s"), {5}, "en.md has no block aks"),
        (child("en.md", "\n" + block("x") + "\n\n" + block("y", "aks")), {8}, "en.md has no block aks"),
        (child("fr.md", block("x"), "s"), {3}, "extends fr.md, which is not there"),
        (child("en.party.md", block("x"), "s"), {3}, "leads back to this file"),
        ("Subject: s\n\n{% extends name %}\n\n" + block("x"), {3}, "extends must come first and name a file"),
        ("Subject: s\n\ntext\n\n{% extends 'en.md' %}", {5}, "extends must come first and name a file"),
    ],
)
def test_what_would_be_lost_in_a_child_file_is_refused_with_its_line(
    text: str, lines: set[int], says: str
) -> None:
    found = [one for one in problems({"en.md": BASE, "en.party.md": text}) if one[0] == "l/en.party.md"]
    assert found[0][1] in lines
    assert says in found[0][2]


def test_a_circle_of_files_is_refused() -> None:
    files = {"en.md": child("de.md", "", "s"), "de.md": child("fr.md", ""), "fr.md": child("en.md", "")}
    found = problems(files)
    assert {file for file, _, _ in found} == {"l/en.md", "l/de.md", "l/fr.md"}
    assert all("leads back to this file" in text for _, _, text in found)


def test_a_misspelled_block_names_the_blocks_there_are() -> None:
    with pytest.raises(LetterError) as caught:
        letter({"en.md": BASE, "en.party.md": child("en.md", block("x", "aks"))})
    assert "ask" in str(caught.value.problems[0])


def test_notes_and_variables_may_stand_outside_the_blocks_of_a_child() -> None:
    text = "{# for translators #}\n\n{% set deadline = 'May' %}\n\n" + block("by {{ deadline }}")
    made = render({"en.md": BASE, "en.party.md": child("en.md", text)}, PARTY)
    assert body(made.text) == "A\n\nby May\n\nZ"


# Names and syntax, found from the source ---------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "file", "line", "name"),
    [
        ({"en.md": "Subject: {{ nmae }}\n\nx"}, "l/en.md", 1, "nmae"),
        ({"en.md": "Source: en 1\nSubject: a {{ nmae }}\n\nx"}, "l/en.md", 2, "nmae"),
        ({"en.md": f"{S}A\n\nB {{{{ nmae }}}}"}, "l/en.md", 5, "nmae"),
        ({"en.md": f"{S}{{{{ name\n  ~ nmae }}}}"}, "l/en.md", 4, "nmae"),
        ({"en.md": f"{S}{{% if nmae %}}x{{% endif %}}"}, "l/en.md", 3, "nmae"),
        ({"en.md": f"{S}{{% if nmae is defined %}}x{{% endif %}}"}, "l/en.md", 3, "nmae"),
        ({"en.md": f"{S}\n{{{{ nmae|default('x') }}}}"}, "l/en.md", 4, "nmae"),
        ({"en.md": f"{S}[x](https://x.example/{{{{ nmae }}}})"}, "l/en.md", 3, "nmae"),
        ({"en.md": f"{S}{{% for x in name %}}{{{{ x }}}}{{% endfor %}}\n\n{{{{ x }}}}"}, "l/en.md", 5, "x"),
        ({"en.md": f"{S}{{{{ x }}}}\n\n{{% set x = 1 %}}"}, "l/en.md", 3, "x"),  # set too late
        ({"en.md": BASE, "en.party.md": child("en.md", block("\n{{ nmae }}"))}, "l/en.party.md", 5, "nmae"),
    ],
)
def test_a_name_that_no_contact_has_is_found_from_the_source_with_its_line(
    files: dict[str, str], file: str, line: int, name: str
) -> None:
    made = letter(files)
    with pytest.raises(LetterError) as caught:
        made.check_variables(["email", "name", "city"])
    assert caught.value.exit_code == Exit.DATA
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (file, line)
    assert repr(name) in problem.text
    assert "city" in problem.suggestion
    assert caught.value.hint
    made.check_variables(["email", name])


def test_all_unknown_names_are_shown_at_once() -> None:
    made = letter({"en.md": f"{S}{{{{ b }}}}\n\n{{{{ a }}}}", "de.md": "Subject: {{ c }}\n\nx"})
    with pytest.raises(LetterError) as caught:
        made.check_variables([])
    assert [(one.file, one.line) for one in caught.value.problems] == [
        ("l/de.md", 1),
        ("l/en.md", 3),
        ("l/en.md", 5),
    ]


def test_a_name_that_the_letter_sets_itself_is_known_in_its_blocks() -> None:
    made = render({"en.md": f"{S}{{% set v = 'V' %}}\n\n{{{{ v }}}}\n\n{block('{{ v }}')}"})
    assert body(made.text) == "V\n\nV"


def test_a_name_that_the_general_letter_sets_is_known_in_the_blocks_of_its_children() -> None:
    files = {"en.md": f"Subject: s\n\n{{% set v = 'V' %}}\n\nA\n\n{block('ask')}"}
    made = render({**files, "en.party.md": child("en.md", block("{{ v }}"))}, PARTY)
    assert body(made.text) == "A\n\nV"


@pytest.mark.parametrize("column", ["list_0", "list_3", "n", "namespace", "loop", "range", "self", "super"])
def test_no_column_is_shadowed_by_what_the_program_needs_itself(column: str) -> None:
    """A loop of numbered items counts when it is rendered; its counter is no business of the list."""
    source = f"{S}1. {{{{ {column} }}}}\n{{% for x in name %}}\n2. {{{{ x }}}}\n{{% endfor %}}"
    try:
        made = render({"en.md": source}, contact("ab", **{column: "own"}))
    except LetterError as error:
        assert column in str(error.problems or error)  # refused by its name is fine; something else is not
    else:
        assert body(made.text) == "1. own\n2. a\n3. b"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("Subject: {{ name }\n\nx", 1),
        ("Source: en 1\nSubject: {% if %}\n\nx", 2),
        (f"{S}A\n\n{{{{ name }}\n", 5),
        (f"{S}A\n\n{{% if %}}x{{% endif %}}", 5),
        (f"{S}{{% endif %}}", 3),
        (f"{S}{{{{ name | }}}}", 3),
        (f"{S}A\n\n{{{{ name|nosuchfilter }}}}", 5),
        (f"{S}A\n\n{{{{ name is nosuchtest }}}}", 5),
        ("Source: en 1\nSubject: {{ name|nosuchfilter }}\n\nx", 2),
        (f"{S}A\n\n{{{{ name|safe }}}}", 5),
        ("Subject: {{ name|safe }}\n\nx", 1),
        (f"{S}{block('A')}\n\n{block('B')}", 7),  # one block twice
        (f"{S}A\n\n{{% nosuchtag %}}", 5),
    ],
)
def test_a_syntax_error_is_found_before_rendering_with_its_line(source: str, line: int) -> None:
    assert [(file, at) for file, at, _ in problems({"en.md": source})] == [("l/en.md", line)]


def test_an_open_tag_is_an_error_of_its_file() -> None:
    ((file, line, text),) = problems({"en.md": f"{S}A\n\n{{% if name %}}\n\nB"})
    assert file == "l/en.md"
    assert line is not None and 5 <= line <= 7
    assert "endif" in text


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        (f"{S}a\n\n{{% block ask %}}\n\nb\n\nc\n", 5, "{% block ask %} has no {% endblock %}"),
        (f"{S}{{% if name %}}a{{% endif %}}\n\n{{% for x in name %}}\nb\n", 5, "{% for x in name %} has no"),
        (f"{S}{{% set a = 1 %}}\n\n{{% if name %}}\n\nb\n", 5, "{% if name %} has no {% endif %}"),
    ],
)
def test_an_open_tag_is_named_with_its_own_line(source: str, line: int, says: str) -> None:
    ((_, at, text),) = problems({"en.md": source})
    assert at == line and says in text


def test_a_subject_that_is_empty_for_somebody_names_the_line_and_the_contact() -> None:
    made = letter({"en.md": "Source: en 1\nSubject: {{ organisation }}\n\nx"})
    with pytest.raises(LetterError) as caught:
        made.render(contact(), ME, ANSWERS, TODAY)
    assert "l/en.md:2: " in caught.value.message
    assert "list.csv:7" in caught.value.message and "Subject is empty" in caught.value.message


def test_isolates_are_for_readers_and_never_stand_in_an_address() -> None:
    source = (
        f"{S}{{{{ name }}}} {{{{ [name, 'a']|join('+') }}}} [x](https://x.example/?q={{{{ [name]|join }}}})"
    )
    made = render({"en.md": source}, contact("ريما"))
    assert body(made.text) == (
        "\u2068ريما\u2069 \u2068ريما\u2069+a x (https://x.example/?q=%D8%B1%D9%8A%D9%85%D8%A7)"
    )
    assert "<bdi>ريما</bdi> <bdi>ريما</bdi>+a" in made.html
    assert 'href="https://x.example/?q=%D8%B1%D9%8A%D9%85%D8%A7"' in made.html


def test_an_error_while_rendering_names_the_line_of_the_file_it_stands_in() -> None:
    files = {
        "en.md": f"{S}A\n\n{{{{ q|date }}}}\n\n{block('ask')}\n",
        "en.party.md": child("en.md", block("one\n\n- two\n- {{ r|number }}")),
    }
    made = letter(files)
    for to, where in (
        (contact(q="x", r="1"), "l/en.md:5: "),
        (contact(q="", r="x", audience="party"), "l/en.party.md:7: "),
        (contact(q="x", r="1", audience="party"), "l/en.md:5: "),
    ):
        with pytest.raises(LetterError) as caught:
            made.render(to, ME, ANSWERS, TODAY)
        assert caught.value.message.startswith(where), caught.value.message


def test_all_problems_of_all_files_are_shown_at_once() -> None:
    found = problems(
        {
            "en.md": f"{S}A\n\n{{% if name %}}",
            "en.party.md": child("en.md", "lost", "s"),
            "de.md": "Sbject: x\n\n![x](y.png)",
            "fr.md": f"{S}{{% include 'en.md' %}}",
            "it.md": f"{S}{{{{ salutation }}}}",
            "english.md": "x",
        },
        layout="{{ content }}{{ nmae }}",
    )
    where = {(file, line) for file, line, _ in found}
    assert where >= {
        ("l/en.party.md", 5),
        ("l/de.md", 1),
        ("l/de.md", 3),
        ("l/fr.md", 3),
        ("l/english.md", None),
        ("_layout.html", None),
        ("l/it.md", None),
    }
    assert any(file == "l/en.md" for file, _, _ in found)
    assert found == sorted(found, key=lambda one: (one[0], one[1] or 0))


def test_a_letter_that_greets_needs_the_greetings_of_its_language() -> None:
    files = {"en.md": f"{S}{{{{ salutation }}}}", "de.md": f"{S}{{{{ salutation }}}}"}
    ((file, _, text),) = problems(files)
    assert (file, text) == ("l/de.md", "there are no greetings in de")
    letter(files, phrases=("en", "de"))
    letter({**files, "de.md": f"{S}x", "de-CH.md": f"{S}y"}, phrases=("en", "de"))


def test_a_bad_language_file_is_a_problem_of_the_letter() -> None:
    texts = {"l/en.md": f"{S}x", "_layout.html": LAYOUT, "_languages/en.toml": "x"}
    with pytest.raises(LetterError) as caught:
        Letter("l", texts)
    assert "_languages/en.toml" in str(caught.value.problems[0])


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ("", "does not show {{ content }}"),
        ("{{ content }}", "does not show {{ footer }}"),
        ("{{ content }}{{ footer }}{{ name }}", "unknown variable name"),
        ("{{ content }\n{{ footer }}", "unexpected"),
        ("{{ content|nosuchfilter }}{{ footer }}", "nosuchfilter"),
        ("{{ content }}{{ footer|safe }}", "safe"),
    ],
)
def test_a_layout_that_would_lose_something_is_refused(layout: str, says: str) -> None:
    found = problems({"en.md": f"{S}x"}, layout=layout)
    assert all(file == "_layout.html" for file, _, _ in found)
    assert any(says in text for _, _, text in found)


# Which file wins ---------------------------------------------------------------------------------

FILES = ("en", "en.party", "de", "de.party", "de-CH", "pt-BR", "fr.deputy", "el")


@pytest.mark.parametrize(
    ("language", "country", "audience", "file", "complete"),
    [
        ("en", "", "", "en.md", True),
        ("en", "", "party", "en.party.md", True),
        ("en", "", "deputy", "en.md", True),  # the source has no own ask for deputies either
        ("en-GB", "", "party", "en.party.md", True),
        ("de", "", "party", "de.party.md", True),
        ("de", "", "", "de.md", True),
        ("de-CH", "", "", "de-CH.md", True),
        ("de-CH", "", "party", "de-CH.md", False),  # a region's general file before the language's party file
        ("de-AT", "", "party", "de.party.md", True),
        ("pt-BR", "", "", "pt-BR.md", True),
        ("pt", "", "", "pt-BR.md", True),  # Brazil's Portuguese before English
        ("pt-PT", "", "party", "pt-BR.md", False),
        ("fr", "", "deputy", "fr.deputy.md", True),
        ("fr", "", "party", "en.party.md", False),
        ("fr-CA", "", "deputy", "fr.deputy.md", True),
        ("el", "", "party", "el.md", False),  # the general ask where the source has a special one
        ("el", "", "deputy", "el.md", True),
        ("it", "", "party", "en.party.md", False),
        ("", "DE", "party", "de.party.md", True),
        ("", "AT", "", "de.md", True),
        ("", "GR", "deputy", "el.md", True),
        ("", "CY", "", "el.md", True),
        ("", "JP", "party", "en.party.md", False),
        ("", "", "", "en.md", True),
        ("it", "CH", "", "de.md", False),  # a language of the country before the mailing's default
    ],
)
def test_which_file_wins(language: str, country: str, audience: str, file: str, complete: bool) -> None:
    found = _choice().choose(contact(language=language, country=country, audience=audience))
    assert (found.file, found.complete) == (file, complete)


@cache
def _choice() -> Letter:
    return letter({f"{name}.md": f"{S}{name}" for name in FILES}, phrases=("en", "de", "pt", "fr", "el"))


def test_a_letter_without_words_of_its_language_is_a_fallback() -> None:
    files = {"en.md": f"{S}x", "de.md": f"{S}y", "de-CH.md": f"{S}z", "en-GB.md": f"{S}w"}
    for phrases, complete in ((("en",), False), (("en", "de"), True)):
        made = letter(files, phrases=phrases)
        assert made.choose(contact(language="de")).complete is complete
        assert made.choose(contact(language="de-CH")).complete is complete
        assert made.choose(contact(language="en-GB")).complete
    texts = {f"l/{name}": text for name, text in files.items()} | {"_layout.html": LAYOUT}
    made = Letter("l", texts | {"_languages/en.toml": PHRASES, "_languages/de.toml": PHRASES})
    assert not made.choose(contact(language="de")).complete, "a copy is no translation"


def test_a_letter_without_the_default_language_says_what_to_write() -> None:
    made = letter({"de.md": f"{S}x"})
    assert made.choose(contact(language="de")).file == "de.md"
    with pytest.raises(LetterError, match=r"nothing for ann@party.example: tried fr, en for party") as caught:
        made.choose(contact(language="fr", audience="party"))
    assert "l/en.md" in caught.value.hint


def test_the_languages_of_a_letter_begin_with_its_source() -> None:
    assert _choice().languages == ["en", "de", "de-CH", "el", "fr", "pt-BR"]


# What a template may not do ----------------------------------------------------------------------


def refused(source: str, to: Contact | None = None) -> str:
    """The message that a letter is refused with, when it is compiled or when it is rendered."""
    with pytest.raises(LetterError) as caught:
        letter({"en.md": source}).render(to or contact("Ann"), ME, ANSWERS, TODAY)
    return " ".join([caught.value.message, *map(str, caught.value.problems)])


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "''['__class__']",
        "''|attr('__class__')",
        "name.__class__.__mro__",
        "().__class__.__base__.__subclasses__()",
        "[].__class__.__base__",
        "{}.__class__",
        "self.__class__",
        "self.__init__.__globals__",
        "self._TemplateReference__context",
        "salutation.format.__self__.__class__",
        "'{0.__class__}'.format(name)",
        "'%s'.format.__globals__",
        "'{0.__class__}'.format_map({'0': name})",
        "range.__class__",
        "cycler.__init__.__globals__",
        "joiner.__init__.__globals__.os",
        "namespace.__init__.__globals__",
        "lipsum.__globals__",
        "dict.__base__",
        "dict.mro()",
        "(name|upper).__class__",
        "[1].append(2)",
        "{}.update({'a': 1})",
        "range(10000000)|list",
        "name.missing",
        "name()",
        "1 / 0",
        "open('/etc/passwd')",
        "__import__('os')",
        "config",
        "request",
        "name|xmlattr",
        "'a'|dictsort",
    ],
)
def test_a_template_cannot_reach_python(expression: str) -> None:
    assert refused(f"{S}{{{{ {expression} }}}}")


@pytest.mark.parametrize("place", ["first", "later", "Subject"])
@pytest.mark.parametrize(
    "tag",
    [
        "{% include '/etc/passwd' %}",
        "{% include '_layout.html' %}",
        "{% include 'en.md' %}",
        "{% include name ignore missing %}",
        "{% import '/etc/passwd' as x %}{{ x }}",
        "{% from 'en.md' import x %}",
        "{% extends '/etc/passwd' %}",
        "{% extends '../../.env' %}",
    ],
)
def test_a_letter_cannot_read_other_files(tag: str, place: str) -> None:
    source, line = {
        "first": (f"{S}{tag}", 3),
        "later": (f"{S}A\n\n{tag}", 5),
        "Subject": (f"Subject: {tag}\n\nA", 1),
    }[place]
    assert [(file, at) for file, at, _ in problems({"en.md": source})] == [("l/en.md", line)]


@pytest.mark.parametrize("name", ["", ".", "..", "../l", "l/../l", "_x", ".x", "nowhere", "/etc"])
def test_a_letter_is_a_folder_inside_templates(tmp_path: Path, name: str) -> None:
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "en.md").write_text(f"{S}x")
    with pytest.raises(LetterError) as caught:
        sources.read(tmp_path, name, ROOT / "templates")
    assert caught.value.hint == "letters there: l"


def test_a_file_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "en.md").write_bytes(b"Subject: s\n\nJ\xfcrgen")
    with pytest.raises(LetterError) as caught:
        sources.read(tmp_path, "l", ROOT / "templates")
    assert "is not UTF-8" in str(caught.value.problems[0])


# Links -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "link"),
    [
        ("https://x.example/a?b=1&c=2#d", "https://x.example/a?b=1&c=2#d"),
        (" https://x.example/ ", "https://x.example/"),
        ("HTTPS://X.example/", "HTTPS://X.example/"),
        ("http://x.example", "http://x.example"),
        ("mailto:ann@x.example", "mailto:ann@x.example"),
        ("tel:+491234", "tel:+491234"),
        ("https://x.example/a b\"c'<d>", "https://x.example/a%20b%22c%27%3Cd%3E"),
    ],
)
def test_a_harmless_link_stays(value: str, link: str) -> None:
    assert sandbox.link(value) == link


@pytest.mark.parametrize(
    "value",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "java\nscript:alert(1)",
        "\x01javascript:alert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "file:///etc/passwd",
        "//evil.example/",
        "/path",
        "www.x.example",
        "x.example",
        ":",
        "http",
    ],
)
def test_a_link_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="is no link; it must begin with https://"):
        sandbox.link(value)
    assert "list.csv:7" in refused(f"{S}[x]({{{{ q }}}})", contact(q=value))


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_link_is_a_gap_and_refused(value: str) -> None:
    with pytest.raises(ValueError, match="link"):
        sandbox.link(value)
    assert "list.csv:7" in refused(f"{S}[x]({{{{ q }}}})", contact(q=value))
    made = render({"en.md": f"{S}A{{% if q %}} [x]({{{{ q }}}}){{% endif %}}"}, contact(q=""))
    assert body(made.text) == "A"


@pytest.mark.parametrize(
    ("source", "q", "href"),
    [
        ("[x]({{ q }})", "https://x.example/?a=1&b=2", "https://x.example/?a=1&b=2"),
        ("[x](https://x.example/{{ q }})", "a b?d&e", "https://x.example/a%20b%3Fd%26e"),
        ("[x](https://x.example/?q={{ q }})", "Ann & Bo", "https://x.example/?q=Ann%20%26%20Bo"),
        ("[x](https://x.example/?q={{ q }})", '"><script>', "https://x.example/?q=%22%3E%3Cscript%3E"),
        ("[x](mailto:{{ q }})", "ann@x.example", "mailto:ann@x.example"),  # RFC 6068: a plain @
        ("[x](mailto:{{ q }}?subject=a)", "a+b@x.example", "mailto:a%2Bb@x.example?subject=a"),
    ],
)
def test_a_value_in_a_link_leads_to_the_same_place_in_html_and_text(source: str, q: str, href: str) -> None:
    made = render({"en.md": S + source}, contact(q=q))
    assert re.findall(r'href="([^"]*)"', made.html) == [href.replace("&", "&amp;")]
    assert body(made.text) == f"x ({href.removeprefix('mailto:')})"


# Languages, two at a time ------------------------------------------------------------------------

FILES_OF_TWO = {
    "en.md": "Subject: Hello {{ name }}\n\n{{ salutation }}\n\nin {{ country_name }}",
    "fr.md": "Subject: Salut {{ name }}\n\n{{ salutation }}\n\nen {{ country_name }}",
    "ar.md": "Subject: x\n\n{{ salutation }}\n\n{{ country_name }}",
}


def pair(language: str, country: str = "BE") -> Rendered:
    made = letter(FILES_OF_TWO, phrases=("en", "fr", "ar"))
    return made.render(contact("Ann", language=language, country=country), ME, ANSWERS, TODAY)


def test_two_languages_make_one_letter_of_two_sections() -> None:
    made = pair("fr+ar")
    assert (made.language, made.direction, made.template) == ("fr+ar", "ltr", "fr.md+ar.md")
    assert made.subject == "Salut Ann / x"
    sections = body(made.text).split("\n\n* * *\n\n")
    assert sections == ["Dear Ann,\n\nen Belgique", "Dear \u2068Ann\u2069,\n\nبلجيكا"]
    assert '<html lang="fr" dir="ltr">' in made.html
    assert re.findall(r'<div lang="(\w+)" dir="(\w+)">', made.html) == [("fr", "ltr"), ("ar", "rtl")]
    assert made.text.count("Say STOP") == made.html.count("Say STOP") == 2


def test_an_equal_subject_stands_once_and_the_first_language_gives_the_direction() -> None:
    files = {"fr.md": f"{S}a", "ar.md": f"{S}b", "en.md": f"{S}c"}
    made = letter(files).render(contact(language="ar+fr"), ME, ANSWERS, TODAY)
    assert (made.subject, made.direction, made.language) == ("s", "rtl", "ar+fr")


def test_a_missing_half_is_a_gap_and_never_the_same_letter_twice() -> None:
    made = letter(FILES_OF_TWO, phrases=("en", "fr", "ar"))
    whole = made.choose(contact(language="fr+ar"))
    assert whole.complete and whole.file == "fr.md+ar.md"
    half = made.choose(contact(language="fr+nl", country="BE"))  # Belgium reads French as well
    assert not half.complete
    assert (half.file, half.wanted_language) == ("fr.md", "fr+nl")
    assert made.choose(contact(language="it+nl")).file == "en.md"


# The word behind the greeting --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ("Liebe Ann,", "Liebe Ann,\n\nwir schreiben."),
        ("Liebe Ann!", "Liebe Ann!\n\nWir schreiben."),
        ("Hallo", "Hallo\n\nWir schreiben."),
    ],
)
def test_the_word_behind_a_greeting_follows_the_greeting(own: str, text: str) -> None:
    phrases = 'lower_after = ","\n' + PHRASES
    texts = {"l/de.md": f"{S}{{{{ salutation }}}}\n\nwir schreiben.\n", "_layout.html": LAYOUT}
    made = Letter("l", {**texts, "_languages/de.toml": phrases}, "de")
    rendered = made.render(contact(salutation=own), ME, ANSWERS, TODAY)
    assert body(rendered.text) == text
    assert f"<p>{text.partition(chr(10) * 2)[2]}</p>" in rendered.html


def test_a_noun_keeps_its_capital_and_other_languages_their_letters() -> None:
    made = render({"en.md": f"{S}{{{{ salutation }}}}\n\niPhones ring."}, contact(salutation="Hi!"))
    assert body(made.text) == "Hi!\n\niPhones ring."


# Several people, one inbox -----------------------------------------------------------------------


def shared(*people: tuple[str, str], **known: str) -> Contact:
    """A contact of people who share an inbox: gender and name of each."""
    each = tuple(
        Contact("ann@party.example", name, gender=gender, file="list.csv", line=n, fields={"salutation": ""})
        for n, (gender, name) in enumerate(people, 2)
    )
    names = ", ".join(name for _, name in people)
    return Contact("ann@party.example", names, gender="group", file="list.csv", line=2, people=each, **known)


def test_one_letter_greets_all_who_share_an_inbox() -> None:
    files = {"en.md": "Subject: {{ salutation }}\n\n{{ salutation }}\n\nTo {{ name }} ({{ gender }})."}
    made = render(files, shared(("f", "Ann Lee"), ("m", "Bob <b>Ray</b>")))
    greeting = "Dear Ms Ann Lee, dear Mr Bob <b>Ray</b>,"
    assert made.subject == greeting
    assert body(made.text) == f"{greeting}\n\nTo Ann Lee, Bob <b>Ray</b> (group)."
    assert "<p>Dear Ms Ann Lee, dear Mr Bob &lt;b&gt;Ray&lt;/b&gt;,</p>" in made.html


def test_each_name_of_a_shared_inbox_is_text_and_keeps_its_direction() -> None:
    files = {"en.md": f"{S}x", "ar.md": f"{S}{{{{ salutation }}}}"}
    to = shared(("f", "Ann\u202e\x00 Lee"), ("m", "يوسف\ud800"), language="ar")
    made = letter(files, phrases=("en", "ar")).render(to, ME, ANSWERS, TODAY)
    assert body(made.text) == "Dear Ms \u2068Ann Lee\u2069, dear Mr يوسف\ufffd,"
    assert "<p>Dear Ms <bdi>Ann Lee</bdi>, dear Mr يوسف\ufffd,</p>" in made.html


def test_the_word_behind_a_shared_greeting_follows_its_end() -> None:
    phrases = 'lower_after = ","\n' + PHRASES
    for mark, word in ((",", "wir"), ("!", "Wir")):
        texts = {"l/de.md": f"{S}{{{{ salutation }}}}\n\nwir schreiben.\n", "_layout.html": LAYOUT}
        texts["_languages/de.toml"] = phrases.replace(',", "Dear Sir', f'{mark}", "Dear Sir')
        made = Letter("l", texts, "de").render(shared(("f", "Ann"), ("m", "Bob")), ME, ANSWERS, TODAY)
        assert body(made.text) == f"Dear Ms Ann, dear Mr Bob{mark}\n\n{word} schreiben."


def test_the_explanation_says_who_shares_the_inbox() -> None:
    made = letter({"en.md": f"{S}{{{{ salutation }}}}"})
    plan = Plan("x", made, lists.ContactList("list.csv"), ME, ANSWERS, "", TODAY)
    lines = preview.explain(plan, shared(("f", "Ann"), ("m", ""), language="en"))
    assert "people    2 share this inbox: Ann (list.csv:2), no name (list.csv:3)" in lines
    assert lines[-1] == (
        "greeting  Dear all,  (2 people share this inbox, and not all of them can be named: "
        "_languages/en.toml: [greeting.formal] group = 'Dear all,')"
    )
    assert not any("inbox" in line for line in preview.explain(plan, contact("Ann")))


# Days, numbers, countries ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "q", "text"),
    [
        ("q|date", "2012-05-06", "6. Mai 2012"),
        ("q|date('short')", "2012-05-06", "06.05.12"),
        ("q|date", "", ""),
        ("q|number", "12500", "12.500"),
        ("q|number", "12 500.5", "12.500,5"),
        ("q|number", "-3", "-3"),
        ("q|number", "", ""),
        ("q|country", "FR", "Frankreich"),
        ("q|country", "Russia", "Russland"),
        ("q|country", "", ""),
        ("1234|number", "", "1.234"),
    ],
)
def test_values_are_written_as_the_letters_language_writes_them(expression: str, q: str, text: str) -> None:
    files = {"en.md": f"{S}x", "de.md": f"{S}a {{{{ {expression} }}}} b"}
    made = render(files, contact(q=q, language="de"))
    assert body(made.text) == f"a {text} b"


@pytest.mark.parametrize(
    ("expression", "q", "says"),
    [
        ("q|date", "6.5.2012", "is no date; write like 2012-05-06"),
        ("q|date('tiny')", "2012-05-06", "full, long, medium and short"),
        ("q|number", "12,500", "is no number; write like 12500"),
        ("q|number", "9" * 99, "is no number"),
        ("q|country", "Atlantis", "is no country"),
    ],
)
def test_a_value_that_is_none_names_the_contact(expression: str, q: str, says: str) -> None:
    with pytest.raises(LetterError) as caught:
        letter({"en.md": f"{S}{{{{ {expression} }}}}"}).render(contact(q=q), ME, ANSWERS, TODAY)
    assert says in caught.value.message
    assert "list.csv:7" in caught.value.message


# Files that travel along -------------------------------------------------------------------------


def carrying(files: dict[str, str], to: Contact, *there: str) -> Rendered:
    texts = {f"l/{name}": text for name, text in files.items()} | {"_layout.html": LAYOUT}
    data = {name: name.encode() for name in there}
    made = Letter("l", texts, "en", data.__getitem__)
    assert set(made.carried) == set(there), "each is read, none besides"
    return made.render(to, ME, ANSWERS, TODAY)


def test_attach_lines_of_a_child_replace_those_above_as_a_whole() -> None:
    files = {
        "en.md": f"Subject: s\nAttach: a.pdf\nAttach: b.pdf\n\n{block('ask')}\n",
        "en.party.md": "Attach: c.pdf\n\n" + '{% extends "en.md" %}\n',
        "en.press.md": '{% extends "en.md" %}\n',
    }
    names = {
        audience: [
            one.name
            for one in carrying(files, contact(audience=audience), *["a.pdf", "b.pdf", "c.pdf"]).attachments
        ]
        for audience in ("", "party", "press")
    }
    assert names == {"": ["a.pdf", "b.pdf"], "party": ["c.pdf"], "press": ["a.pdf", "b.pdf"]}


def test_an_image_travels_only_where_it_is_shown() -> None:
    files = {"en.md": f"{S}a\n\n{{% if name %}}\n\n![for {{{{ name }}}}](p.png)\n\n{{% endif %}}\n\nb"}
    made = carrying(files, contact("Ann"), "p.png")
    (image,) = made.attachments
    assert image.cid and image.kind == "image/png"
    assert f'<img src="cid:{image.cid}" alt="for Ann">' in made.html
    assert body(made.text).rstrip() == "a\n\n[for Ann]\n\nb"
    made = carrying(files, contact(), "p.png")
    assert made.attachments == ()
    assert "<img" not in made.html


def test_files_are_read_and_encoded_once_for_all_readers() -> None:
    reads: list[str] = []

    def load(name: str) -> bytes:
        reads.append(name)
        return b"x" * 1000

    texts = {"l/en.md": "Subject: s\nAttach: a.pdf\n\n![x](p.png) ![y](p.png)", "_layout.html": LAYOUT}
    texts["l/de.md"] = texts["l/en.md"]
    made = Letter("l", texts, "en", load)
    letters = [
        made.render(contact(str(n), language=tag), ME, ANSWERS, TODAY)
        for n in range(3)
        for tag in ("en", "de")
    ]
    assert sorted(reads) == ["a.pdf", "p.png"]
    assert len({id(one) for each in letters for one in each.attachments}) == 2


def test_a_missing_file_is_named_with_every_line_that_wants_it() -> None:
    found = problems({"en.md": "Subject: s\nAttach: gone.pdf\n\nx\n\n![x](gone.png)"})
    assert [(line, text) for _, line, text in found] == [
        (2, "there is no file gone.pdf"),
        (6, "there is no file gone.png"),
    ]


# What we ship ------------------------------------------------------------------------------------


@cache
def shipped() -> Letter:
    return Letter("solidarity", sources.read(ROOT / "templates", "solidarity", ROOT / "templates"))


@cache
def example() -> contacts.ContactList:
    return contacts.read([ROOT / "contacts.example.csv"])


def test_the_shipped_letter_uses_only_what_the_example_list_has() -> None:
    shipped().check_variables(example().columns)


def test_the_shipped_letter_renders_for_every_row_of_the_example_list() -> None:
    sent = {}
    for to in example().contacts:
        made = shipped().render(to, ME, ANSWERS, TODAY)
        sent[to.email] = made
        for text in (made.subject, made.text, made.html):
            assert not re.search(r"\{\{|\{%|\{#|#\}|%\}|undefined|None", text), to
            assert not any("\U000f0000" <= char <= "\U000ffffd" for char in text)
        assert made.html.startswith("<!DOCTYPE html>")
        assert made.html.count('style="') > 10  # inlined: many mail programs drop <style>
        assert made.subject == made.subject.strip() != ""
        assert len(made.text) > 1000
        assert "Committee" in made.text
    assert len(sent) == 60


def test_no_line_of_the_shipped_letters_has_a_gap() -> None:
    """No doubled blank, no blank before a comma, no word grown together behind a bracket."""
    for to in example().contacts:
        made = shipped().render(to, ME, ANSWERS, TODAY)
        words = body(made.text).replace(to.organisation, "X") if to.organisation else body(made.text)
        assert not re.search(r"\S  +\S|\s,|\)\w|\(\s*\)", words), (to.email, made.template)
        assert len(re.findall(r"^$", words, re.MULTILINE)) < len(words.split("\n")) / 2


def test_every_audience_of_the_example_list_gets_its_own_ask() -> None:
    for to in example().contacts:
        (found,) = shipped().choose(to).parts
        assert found.file.audience == to.audience


def test_the_shipped_letters_extend_their_languages_general_letter() -> None:
    files = shipped().files
    assert {one.audience for one in files.values()} == {"", "party", "deputy", "human-rights"}
    for one in files.values():
        assert one.parent == (f"{one.language}.md" if one.audience else "")
