"""A letter from a stranger: it reads only its own files, runs nothing, and takes neither time nor memory.

Every case is a whole command in a process of its own that may use 5 seconds of processor and 300 MB.
"""

from __future__ import annotations

import datetime
import os
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import forked
import pytest
from conftest import ENVIRONMENT, Project

from outreach.errors import LetterError
from outreach.letters import Letter
from outreach.model import Contact, Identity

S = "Subject: s\n\n"
SECRET = "root-of-all-secrets"
CPU_SECONDS, MEGABYTES = 5, 300
LOOP = "{% for i in range(100000) %}"
BOMBS = {
    "loops in loops": f"{S}{LOOP}{LOOP}{LOOP}x{{% endfor %}}{{% endfor %}}{{% endfor %}}",
    "a loop of much text": f"{S}{LOOP}{'y' * 90_000}{{% endfor %}}",
    "a loop in the subject": f"Subject: {LOOP}{LOOP}x{{% endfor %}}{{% endfor %}}\n\nx",
    "a text repeated": f"{S}{{{{ 'a' * 10**9 }}}}",
    "a list repeated": f"{S}{{{{ ([1] * 999999999)|length }}}}",
    "a power": f"{S}{{{{ 9 ** 9 ** 9 }}}}",
    "a product": f"{S}{{% set a = 999999999 %}}" + "{% set a = a * a %}" * 40 + "{{ a }}",
    "a filter with a size": f"{S}{{{{ 'x'|center(999999999) }}}}",
    "a method with a size": f"{S}{{{{ 'x'.ljust(999999999) }}}}",
    "a format with a size": f"{S}{{{{ '%0999999999d' % 1 }}}}",
    "a format method": f"{S}{{{{ '{{:>999999999}}'.format(1) }}}}",
    "a wide indent": f"{S}{{{{ 'a\nb'|indent(999999999) }}}}",
    "rounding": f"{S}{{{{ 1.5|round(999999999, 'ceil') }}}}",
    "batches": f"{S}{{{{ 'x'|batch(999999999, 'y')|list|length }}}}",
    "doubling by joining": f"{S}{{% set a = 'xxxxxxxx' %}}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
    "doubling by adding": f"{S}{{% set a = 'xxxxxxxx' %}}" + "{% set a = a + a %}" * 60 + "{{ a }}",
    "doubling by blocks": f"{S}{{% set a %}}xxxx{{% endset %}}"
    + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60,
    "doubling of lists": f"{S}{{% set a = ['x'] %}}" + "{% set a = [a, a] %}" * 60 + "{{ a|string }}",
    "comparing doubled lists": f"{S}{{% set a = [1] %}}{{% set b = [1] %}}"
    + "{% set a = [a, a] %}{% set b = [b, b] %}" * 40
    + "{{ a == b }}",
    "replacing": f"{S}{{% set a = 'xxxxxxxx' %}}" + "{% set a = a|replace('x', a) %}" * 20 + "{{ a }}",
    "joining": f"{S}{{% set a = 'xxxxxxxx' %}}" + "{% set a = a|list|join(a) %}" * 20 + "{{ a }}",
    "sorting again and again": f"{S}{LOOP}{{% set a = range(99999)|list|sort|unique|list %}}{{% endfor %}}",
    "comparing long texts": f"{S}{{% set a %}}{'x' * 80_000}{{% endset %}}"
    f"{LOOP}{{{{ a == a ~ '' }}}}{{% endfor %}}",
    "a recursive loop": f"{S}{{% for i in [1] recursive %}}{{{{ loop([1, 1]) }}}}{{% endfor %}}",
    "a block that shows itself": f"{S}{{% block a %}}{{{{ self.a() }}}}{{% endblock %}}",
    "deep brackets": f"{S}{{{{ {'(' * 900}1{')' * 900} }}}}",
    "deep conditions": f"{S}{'{% if name %}' * 400}{'{% endif %}' * 400}",
    "a long sum": f"{S}{{{{ 1{'+1' * 900} }}}}",
    "an endless number": f"{S}{{{{ {'9' * 1900} }}}}",
    "many tags": S + "{{ name }} " * 8_000,
    "a huge file": S + "x" * 200_000,
    "an enormous file": S + "x" * 3_000_000,
    "filters of lists": f"{S}{{% set x %}}{'a' * 40_000}{{% endset %}}"
    "{{ range(90000)|map('default', x)|select('lower')|sort|count }}",
    "sorting by attributes": f"{S}{{{{ range(50000)|sort(attribute='{'a,' * 400}a')|count }}}}",
    "a huge integer": f"{S}{{% set x %}}{'f' * 40_000}{{% endset %}}{{{{ x|int(base=16) }}}}",
    "a language of its own": f"{S}{{% set _language %}}a{'-a' * 20_000}{{% endset %}}"
    "{{ '2020-01-01'|date }}",
    "many numbers": f"{S}{{% for i in range(50000) %}}{{{{ i|number }}}}{{% endfor %}}",
    "searching from behind": f"{S}{{% set x %}}{'a' * 40_000}{{% endset %}}"
    "{{ x.rsplit(x[:20000] ~ 'b')|count }}",
    "a loop that opens emphasis": f"{S}{{% for i in range(12000) %}}*a{{% endfor %}}b*",
    "a loop that opens quotes": f"{S}A {{% for i in range(12000) %}}\n\n> B {{% endfor %}}",
    "emphasis in emphasis": S + "*a " * 12_000 + "b*" * 12_000,
    "many accents": S + "a" + "\u0301\u0323" * 20_000,
    "many items and tags": S + "> - a\n\nb\n\n" * 3_000 + "{% if name %}\n\na\n\n{% endif %}\n\n" * 480,
    "lists beside lists": S + "1. a\n1) a\n" * 4_000,
    "a filter of the program": f"{S}{{% for i in [1]|_turns(-9000000) %}}{LOOP}x{{% endfor %}}{{% endfor %}}",
    "a filter of the program by name": f"{S}{{{{ [5]|map('_turns', -900000)|list|count }}}}",
    "counters in counters": f"{S}{{% set n = _counter(a=1) %}}"
    + "{% set n = _counter(a=n, b=n) %}" * 26
    + "{{ n|string|count }}",
    "lists as texts": f"{S}{{% set l = ['{'x' * 1_500}'] %}}"
    + "{% set l = l + l %}" * 13
    + "{% if l is upper %}a{% endif %}{{ l|int }}{{ l|string|count }}{{ l|urlencode }}",
    "a long subject": "Subject: {% for i in range(60000) %}é {% endfor %}\n\nx",
    "half an element in a set": f"{S}{{% set x %}}*a{{% endset %}}b*\n\n"
    "{% for i in range(20000) %}{{ x }}{% endfor %}",
    "no headers at all": "x\n" * 190_000,
    "nested quotes": S + ">" * 90_000 + "x",
    "nested lists": S + "- " * 45_000 + "x",
    "brackets": S + "[" * 90_000,
    "links in links": S + "[a](" * 20_000,
    "emphasis": S + "*a **a " * 12_000,
    "backticks": S + "".join("`" * (n % 300) + "a" for n in range(600)),
    "entities": S + "&#x41;" * 15_000,
    "a table": S + "|a" * 300 + "\n" + "|-" * 300 + "\n" + ("|b" * 300 + "\n") * 120,
    "many lifted lines": S + "{% if name %}\n\nx\n\n{% endif %}\n\n" * 480,
    "deep lifted lines": S + "{% if name %}\n\n" * 90 + "x\n\n" + "{% endif %}\n\n" * 90,
}


def limited(project: Project, *arguments: str) -> tuple[int, str, int]:
    """Run a command within the limits; return exit code, what it said, and its peak memory in MB."""
    done = forked.run(arguments, project.folder, ENVIRONMENT | project.env, cpu_seconds=CPU_SECONDS)
    return done.returncode, done.stdout + done.stderr, done.megabytes


@pytest.fixture
def ready(project: Project) -> Project:
    project.write("contacts.csv", "email,name,language,city\nann@d.example.org,Ann,en,Bonn\n")
    return project


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS)
def test_no_template_takes_time_or_memory(ready: Project, source: str) -> None:
    ready.letter(source)
    code, said, megabytes = limited(ready, "preview")
    assert code != -signal.SIGXCPU and code != -signal.SIGKILL, "too much time"
    assert megabytes < MEGABYTES
    assert "Traceback" not in said and "error of the program" not in said, said[-2000:]
    assert code in (0, 65), said[-2000:]
    if code == 65:
        assert "hello/en.md" in said, "the file is named"


@pytest.mark.parametrize(
    "text",
    [
        f"x = {'1' * 5_000}",
        f"x{'.a' * 20_000} = 1",
        "x = " + "[" * 20_000,
        "x = " + "{a=" * 5_000,
        '[titles]\n"a' + "\\u0301\\u0323" * 3_000 + '" = "x"',
        "registers = { " + ", ".join(f'a{n} = "b{n}"' for n in range(2_000)) + " }",
        '[greeting.formal]\nf = ["{name:>999999999}"]',
        "\x1b]52;c;x\x07",
    ],
    ids=range(8),
)
def test_no_language_file_takes_time_or_memory(ready: Project, text: str) -> None:
    ready.letter(f"{S}{{{{ salutation }}}}")
    ready.write("templates/_languages/en.toml", text)
    code, said, megabytes = limited(ready, "preview")
    assert code == 65, said[-2000:]
    assert "en.toml" in said and "error of the program" not in said
    assert "\x1b" not in said
    assert megabytes < MEGABYTES and len(said) < 100_000


def test_neither_a_long_footer_nor_many_styles_crash_the_program(ready: Project) -> None:
    ready.letter(f"{S}x")
    words = (Path(__file__).parent.parent / "templates/_languages/en.toml").read_text()
    ready.write("templates/_languages/en.toml", words.replace('text = """', 'text = """' + "a\n" * 20_000))
    code, said, _ = limited(ready, "preview")
    assert code == 65 and "too long" in said
    ready.write("templates/_languages/en.toml", words)
    ready.write(
        "templates/_layout.html",
        "<p>{{ content }}{% for line in footer.splitlines() %}{{ line }}"
        + "<div>" * 900
        + "{% endfor %}</p>",
    )
    code, said, _ = limited(ready, "preview")
    assert code == 65 and "too many tags" in said
    rules = "".join(f"a{n}:1;" for n in range(1_500))
    ready.write(
        "templates/_layout.html", f"<style>strong{{{rules}}}</style>{{{{ content }}}}{{{{ footer }}}}"
    )
    ready.letter(f"{S}{{% for i in range(9000) %}}a **b**{{% endfor %}}")
    code, said, _ = limited(ready, "preview")
    assert code == 65 and "too many elements" in said


@pytest.mark.parametrize(
    "source",
    [
        "{% set x %}*a*{% endset %}\n\n{{ x[:1] }}img src=https://evil.example/{{ name }} {{ x[3:4] }}",
        "{% block a %}\n*a*\n{% endblock %}\n\n{{ super()[:1] }}img src=//evil.example {{ super()[2:3] }}",
        "{{ name[:1] }}img src=//evil.example{{ name[-1:] }}",
        "{% set x = name ~ '<b>' %}{{ x[5:6] }}b{{ x|last }}",
        "{{ '<'|e }}b>",
        "{{ '<b>'|safe }}",
    ],
)
def test_no_piece_of_a_value_becomes_markup(source: str) -> None:
    texts = {"hello/en.md": S + source, "_layout.html": "{{ content }}{{ footer }}"}
    me = Identity("", "me@d.example.org")
    try:
        made = Letter("hello", texts).render(
            Contact("ann@d.example.org", name="<ريما>"), me, me, datetime.date(2012, 5, 14)
        )
    except LetterError:
        return
    assert not re.search(r"<(?!/?(html|head|body|p|bdi)>)", made.html), made.html


def test_a_chain_of_files_has_an_end(ready: Project) -> None:
    ready.letter(f"{S}x\n\n{{% block a %}}\nx\n{{% endblock %}}\n")
    for n in range(200):
        above = f"en.a{n - 1}.md" if n else "en.md"
        ready.write(f"templates/hello/en.a{n}.md", f'{{% extends "{above}" %}}\n')
    code, said, _ = limited(ready, "preview")
    assert code == 65 and "more than 5 steps" in said


def test_many_files_take_no_time_either(ready: Project) -> None:
    for n in range(300):
        ready.write(f"templates/hello/en.a{n}.md", S + "{{ name|upper }} *a **a\n\n" * 300)
    ready.letter(S + "x")
    code, said, megabytes = limited(ready, "letters", "check")
    assert code in (0, 65), said[-2000:]
    assert megabytes < MEGABYTES


# Files -------------------------------------------------------------------------------------------


@pytest.fixture
def outside(ready: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is none of the letter's business."""
    path = tmp_path_factory.mktemp("outside") / "secret.md"
    path.write_text(f"Subject: s\n\n{SECRET}\n")
    return path


@pytest.mark.parametrize(
    "place",
    [
        "templates/hello/de.md",
        "templates/_layout.html",
        "templates/_languages/en.toml",
        "templates/hello/p.png",
    ],
)
def test_a_link_out_of_the_folder_is_refused(ready: Project, outside: Path, place: str) -> None:
    ready.letter(S + ("![x](p.png)" if place.endswith("png") else "x"))
    link = ready.folder / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    code, said, _ = limited(ready, "preview")
    assert code == 65, said
    assert "leads out of" in said
    assert SECRET not in said


def test_a_folder_that_is_a_link_out_of_the_templates_is_refused(ready: Project, outside: Path) -> None:
    (ready.folder / "templates").mkdir()
    (outside.parent / "en.md").write_text(f"{S}{SECRET}")
    (ready.folder / "templates" / "hello").symlink_to(outside.parent)
    code, said, _ = limited(ready, "preview")
    assert code == 65 and SECRET not in said, said


@pytest.mark.parametrize("special", ["fifo", "/dev/zero", "folder", "circle"])
@pytest.mark.parametrize("place", ["de.md", "p.png"])
def test_what_is_no_file_is_never_read(ready: Project, special: str, place: str) -> None:
    ready.letter(S + "![x](p.png)")
    path = ready.folder / "templates" / "hello" / place
    if special == "fifo":
        os.mkfifo(path)
    elif special == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if special == "circle" else special)
    code, said, _ = limited(ready, "preview")
    assert code == 65, said
    assert place in said


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../outside.pdf", "inside the project folder"),
        ("/etc/passwd", "inside the project folder"),
        ("files/../../outside.pdf", "inside the project folder"),
        (".env", "your own data"),
        (".ssh/id", "your own data"),
        ("outreach.db", "your own data"),
        ("contacts.csv", "your own data"),
        ("gone.pdf", "there is no file gone.pdf"),
        ("files", "is no file"),
        ("large.bin", "25 MB"),
        ("{{ name }}.pdf", "there is no file"),
        ("", "inside the project folder"),
    ],
)
@pytest.mark.parametrize("how", ["Attach", "image"])
def test_what_may_not_travel_is_refused_with_its_line(ready: Project, name: str, says: str, how: str) -> None:
    (ready.folder / "files").mkdir()
    (ready.folder / ".ssh").mkdir()
    for file in (".env", ".ssh/id", "outreach.db"):
        ready.write(file, "")
    with (ready.folder / "large.bin").open("wb") as large:
        large.truncate(25_000_001)
    if how == "Attach":
        ready.letter(f"Subject: s\nAttach: {name}\n\nx\n")
        line = 2
    else:
        ready.letter(f"{S}![a picture](<{name}>)\n")
        line = 3
        if name in ("", "{{ name }}.pdf"):
            says = "hello/en.md:3"
    code, said, _ = limited(ready, "preview")
    assert code == 65, said
    assert f"hello/en.md:{line}: " in said
    assert says in said


def test_files_that_are_too_much_together_are_refused(ready: Project) -> None:
    for n in range(3):
        with (ready.folder / f"{n}.bin").open("wb") as large:
            large.truncate(9_000_000)
    ready.letter("Subject: s\nAttach: 0.bin\nAttach: 1.bin\nAttach: 2.bin\n\nx\n")
    code, said, _ = limited(ready, "preview")
    assert code == 65
    assert "hello/en.md:2: the files have 27.0 MB" in said
    ready.letter("Subject: s\nAttach: 0.bin\nAttach: 1.bin\n\nx\n")
    code, said, _ = limited(ready, "preview")
    assert code == 0, said
    assert "0.bin (9.0 MB)" in said


@pytest.mark.parametrize("name", ["p.svg", "p.pdf", "p.txt", "p"])
def test_an_image_must_be_one_that_mail_programs_show(ready: Project, name: str) -> None:
    ready.write(name, "x")
    ready.letter(f"{S}![x]({name})")
    code, said, _ = limited(ready, "preview")
    assert code == 65
    assert "hello/en.md:3" in said and ".png" in said


def test_a_file_under_another_name_is_still_ones_own(ready: Project) -> None:
    ready.letter("Subject: s\nAttach: info.txt\n\nx\n")
    ready.write(".env", f"# {SECRET}\n")
    os.link(ready.folder / ".env", ready.folder / "templates" / "hello" / "info.txt")
    code, said, _ = limited(ready, "preview", "--to", "ann@d.example.org", "--format", "eml")
    assert code == 65 and "your own data" in said and SECRET not in said


@pytest.mark.parametrize(
    "name", ["press.csv", "report.CSV", "env.bak", "previews/001.eml", "outreach.db-journal"]
)
def test_lists_and_reports_travel_from_the_letters_own_folder_only(ready: Project, name: str) -> None:
    ready.write(name, "x")
    ready.letter(f"Subject: s\nAttach: {name}\n\nx\n")
    code, said, _ = limited(ready, "preview")
    assert code == 65 and "belongs into the letter's folder" in said
    ready.write(f"templates/hello/{name}", "x")
    code, said, _ = limited(ready, "preview")
    assert code == 0, said


def test_many_names_of_one_file_are_one_file(ready: Project) -> None:
    with (ready.folder / "large.bin").open("wb") as large:
        large.truncate(20_000_000)
    names = "\n".join(f"Attach: {'./' * n}large.bin" for n in range(40))
    ready.letter(f"Subject: s\n{names}\n\nx\n")
    code, said, megabytes = limited(ready, "preview")
    assert megabytes < MEGABYTES
    assert (code, said.count("large.bin")) == (0, 1), said
    for n in range(5):
        with (ready.folder / f"{n}.bin").open("wb") as large:
            large.truncate(20_000_000)
        ready.write(f"templates/hello/en.a{n}.md", f"Subject: s\nAttach: {n}.bin\n\nx\n")
    code, said, megabytes = limited(ready, "preview")
    assert code == 65 and "60.0 MB" in said
    assert megabytes < MEGABYTES


def test_marking_a_translation_writes_into_no_other_file(ready: Project) -> None:
    ready.letter(S + "x")
    victim = ready.write("victim.txt", "mine")
    ready.write("templates/hello/de.md", "Subject: s\nSource: en 00000000\n\nx\n")
    (ready.folder / "templates/hello/.de.md.new").symlink_to(victim)
    code, said, _ = limited(ready, "letters", "mark-current", "hello/de.md")
    assert code == 0, said
    assert victim.read_text() == "mine"
    ready.write("templates/other/fr.md", S + "x")
    (ready.folder / "templates/hello/fr.md").symlink_to("../other/fr.md")
    code, said, _ = limited(ready, "letters", "mark-current", "hello/fr.md")
    assert code == 2 and "no file of a letter" in said


def test_adding_a_language_writes_nothing_outside(ready: Project, outside: Path) -> None:
    ready.letter(S + "x")
    (ready.folder / "templates/_languages").symlink_to(outside.parent)
    before = sorted(outside.parent.iterdir())
    code, said, _ = limited(ready, "letters", "add", "fi")
    assert code != 0 and "leads out" in said
    assert sorted(outside.parent.iterdir()) == before


def test_a_file_that_is_named_to_command_a_terminal_does_not(ready: Project) -> None:
    ready.letter(S + "x")
    ready.write("templates/hello/\x1b[31mx\ny.md", S + "x")
    ready.write("templates/hello/de.md", "Subject: s\nSource: \x1b[31m\n\nx")
    code, said, _ = limited(ready, "preview")
    assert code == 65
    assert "\x1b" not in said


# What is loaded from elsewhere ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "html",
    [
        '<img src="https://x.example/p.png">',
        '<img src="{{ subject }}">',
        "<IMG SRC=//x.example/p.png>",
        '<link rel="stylesheet" href="https://x.example/s.css">',
        '<link rel=stylesheet href="/etc/passwd">',
        '<style>@import "https://x.example/s.css";</style>',
        "<style>p { background: url(https://x.example/p.png) }</style>",
        '<p style="background-image: url(//x.example/p)">x</p>',
        "<script>alert(1)</script>",
        '<p onclick="alert(1)">x</p>',
        '<meta http-equiv="refresh" content="0; url=https://x.example">',
        '<iframe src="https://x.example"></iframe>',
        '<object data="https://x.example"></object>',
        '<form action="https://x.example"><input></form>',
        '<base href="https://x.example">',
        '<video poster="https://x.example/p.png"></video>',
        '<table background="https://x.example/p.png"></table>',
        '<a href="javascript:alert(1)">x</a>',
        '<svg><image xlink:href="https://x.example/p.png"/></svg>',
        '<a href="https://x.example" ping="https://x.example/ping">x</a>',
    ],
)
def test_a_layout_that_loads_or_runs_something_is_refused(html: str) -> None:
    assert ("_layout.html", 3) in layout_refused(html)


def layout_refused(html: str) -> list[tuple[str, int | None]]:
    """Return where a layout with this line is refused."""
    layout = f"<html>\n<body>{{{{ content }}}}\n{html}\n{{{{ footer }}}}</body></html>"
    texts = {"hello/en.md": "Subject: {{ name }}\n\nx", "_layout.html": layout}
    with pytest.raises(LetterError) as caught:
        Letter("hello", texts)
    assert {one.file for one in caught.value.problems} == {"_layout.html"}
    assert len(caught.value.problems) <= 40
    return [(one.file, one.line) for one in caught.value.problems]


@pytest.mark.parametrize(
    "html",
    [
        '<{{ "img" }} {{ "src" }}="https://x.example/p.png">',
        "<{% if 1 %}img{% endif %} src=//x.example/p.png>",
        '<{{ "script" }}>alert(1)</{{ "script" }}>',
        '<p style="background-image:{{ "u" }}rl(https://x.example)">x</p>',
        '<style>@{{ "import" }} "https://x.example";</style>',
        '{# <!-- #}<img src="https://x.example/p.png">{# --> #}',
        "<!--> <img src=https://x.example/p.png> -->",
        "<!-- --!><img src=https://x.example/p.png> -->",
        "<![CDATA[ ><img src=https://x.example/p.png> ]]>",
        "<title><!-- </title><img src=https://x.example/p.png> --></title>",
        "<noscript><!-- </noscript><img src=https://x.example/p.png> --></noscript>",
        "<style/><b>{}body{background-image:url(https://x.example)}</b></style>",
        '<!--[if mso]><img src="https://x.example/p.png"><![endif]-->',
        "<style>p{background:u\\rl(https://x.example)}</style>",
        '<style>@\\import "https://x.example";</style>',
        "<p style=\"background: image('https://x.example/p.png')\">x</p>",
        '<svg><image href="https://x.example/p.png"/></svg>',
        '<svg><rect fill="url(https://x.example)"/></svg>',
        "<p {{ subject }}>x</p>",
        "<p title={{ subject }}>x</p>",
        '<p title="{{ subject }}">x</p>',
        '<p style="color:red;{{ subject }}">x</p>',
        "<style>{{ subject }}</style>",
        '<a href="https://{{ subject }}">x</a>',
        "<!-- {{ subject }} -->",
        "{% if 'evil' in subject %}<img src=https://x.example/p.png>{% endif %}",
        "{% if content == 'x' %}a{% endif %}",
        "{% for x in [1, 2] %}a{% endfor %}",
        "{% set x = footer %}",
        "{% extends 'en.md' %}",
        "{% block x %}x{% endblock %}",
        "{{ subject.upper().upper() }}",
        "{% for line in footer.splitlines() %}{{ line }}"
        "{% if loop.index == 2 %}<img src=//x>{% endif %}{% endfor %}",
        "{% for l in footer.splitlines() %}{{ l }}"
        "{% if loop.last %}<b title='{{ subject }}'>x</b>{% endif %}{% endfor %}",
        "{% for line in footer.splitlines() if 'x' in subject %}{{ line }}{% endfor %}",
        "{% for line in footer.splitlines() %}{{ line }}{% else %}<img src=//x.example>{% endfor %}",
        "{{ '<img src=//x.example>' }}",
        "<p style=\"filter:progid:DXImageTransform.Microsoft.AlphaImageLoader(src='https://x')\">x</p>",
        "{{ loop }}",
        "{{ " + "-" * 900 + "1 }}",
        "<div>" * 20_000,
        "{% for line in footer.splitlines() %}" + "<b>" * 900 + "{% endfor %}" + "<b onx=1>" * 900,
    ],
)
def test_no_trick_of_spelling_brings_something_into_a_layout(html: str) -> None:
    layout_refused(html)


def test_a_layout_must_show_its_footer_to_everybody(ready: Project) -> None:
    ready.letter(S + "x")
    ready.write("templates/_layout.html", "{{ content }}{% if lang == 'xx' %}{{ footer }}{% endif %}")
    code, said, _ = limited(ready, "preview")
    assert code == 65 and "_layout.html: does not show" in said


def test_a_plain_layout_of_ones_own_is_fine(ready: Project) -> None:
    ready.letter(S + "x")
    ready.write(
        "templates/_layout.html",
        "<!doctype html><html lang='{{ lang }}' dir={{ dir }}><head><title>{{ subject }}</title>"
        "<style>@media (max-width: 30em) { p { color: red } } p { margin: 0 }</style></head>"
        "<body class='{% if dir == \"rtl\" %}r{% endif %}'><!-- ours --><h1>{{ sender }}</h1>{{ content }}"
        "{% if footer %}<p>{% for line in footer.splitlines() %}{{ line }}"
        "{% if not loop.last %}<br>{% endif %}{% endfor %}</p>{% endif %}<a href='https://x.example'>us</a></body></html>",
    )
    code, said, _ = limited(ready, "preview", "--to", "ann@d.example.org", "--format", "html")
    assert code == 0, said
    assert '<p style="margin: 0;">x</p>' in said


# Links and images in letters ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("![x](https://x.example/p.png)", "lies elsewhere"),
        ("![x](//x.example/p.png)", "lies elsewhere"),
        ("![x](data:image/png;base64,AAAA)", "lies elsewhere"),
        ("![x]({{ city }})", "without tags"),
        ("[x](java{{ city }}script:alert)", "must begin with"),
        ("[x]({% if city %}javascript{% endif %}:alert)", "around the whole link"),
        ("[x](files/appeal.pdf)", "must begin with"),
        ("[x](ftp://x.example)", "must begin with"),
        ("[x](#top)", "must begin with"),
        ("[x]()", "must begin with"),
        ("[x](https:)", "must begin with"),
    ],
)
def test_a_link_or_image_that_is_none_is_refused_with_its_line(source: str, says: str) -> None:
    layout = "{{ content }}{{ footer }}"
    with pytest.raises(LetterError) as caught:
        Letter("hello", {"hello/en.md": f"{S}a\n\n{source}\n", "_layout.html": layout})
    ((file, line, text),) = [(one.file, one.line, one.text) for one in caught.value.problems]
    assert (file, line) == ("hello/en.md", 5)
    assert says in text


def test_the_limits_are_those_of_the_promise_and_do_bite(ready: Project) -> None:
    """The measuring itself is measured: a process that computes for ever is ended."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))

    endless = subprocess.run(
        [shutil.which("python3") or "python3", "-c", "while True: pass"], preexec_fn=limit, check=False
    )
    assert endless.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
