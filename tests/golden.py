"""The shipped letter as it must arrive, built another way than the program builds it.

No Jinja2, no markdown-it: the files are put together by cutting and replacing text, the greetings are typed
by hand, and the HTML comes from another Markdown library (mistune). Run as a program it writes
tests/data/golden anew; read the difference before you commit it.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import mistune

HERE = Path(__file__).parent
TEMPLATES = HERE.parent / "templates"
GOLDEN = HERE / "data" / "golden"
SENDER = "Solidarity Committee"
ADDRESS = "press@mail.example"
AUDIENCES = ("", "party", "deputy", "human-rights")
LANGUAGES = ("en", "ru", "de", "fr", "es", "ar")

# Who gets it in each language: name, organisation, gender; and how they are greeted for each audience.
PEOPLE = {
    "en": ("Ann Lee", "Open Commons", "f"),
    "ru": ("Иван Ким", "Архив «Степь»", "m"),
    "de": ("Jana Köhlbrandt", "Neues Ufer & Söhne", "f"),
    "fr": ("Théo Vauclin", "Horizon partagé", "m"),
    "es": ("Lucía Benavídez", "Faro Común", "f"),
    "ar": ("يوسف التازي", "الساحة المفتوحة", "m"),
}
GREETINGS = {
    "en": ("Dear Ms Ann Lee,", "Dear Comrade Ann Lee,", "Dear Ms Ann Lee,", "Dear Ms Ann Lee,"),
    "ru": (
        "Уважаемый Иван Ким!",
        "Здравствуйте, товарищ Иван Ким!",
        "Уважаемый Иван Ким!",
        "Уважаемый Иван Ким!",
    ),
    "de": (
        "Sehr geehrte Frau Jana Köhlbrandt,",
        "Liebe Genossin Jana Köhlbrandt,",
        "Sehr geehrte Frau Jana Köhlbrandt,",
        "Sehr geehrte Frau Jana Köhlbrandt,",
    ),
    "fr": ("Monsieur,", "Cher camarade,", "Monsieur le Député,", "Monsieur,"),
    "es": (
        "Estimada Lucía Benavídez:",
        "Estimada compañera Lucía Benavídez:",
        "Estimada Lucía Benavídez:",
        "Estimada Lucía Benavídez:",
    ),
    "ar": (
        "السيد يوسف التازي المحترم،",
        "الرفيق العزيز يوسف التازي،",
        "السيد يوسف التازي المحترم،",
        "السيد يوسف التازي المحترم،",
    ),
}


def subject_and_markdown(language: str, audience: str) -> tuple[str, str]:
    """Return the subject and the letter as Markdown without any template tags."""
    general = (TEMPLATES / "solidarity" / f"{language}.md").read_text(encoding="utf-8")
    head, _, body = general.partition("\n\n")
    if audience:
        special = (TEMPLATES / "solidarity" / f"{language}.{audience}.md").read_text(encoding="utf-8")
        head = special.partition("\n\n")[0]
        ask = special.split("{% block ask %}")[1].split("{% endblock %}")[0]
        before, _, rest = body.partition("{% block ask %}")
        body = before + ask.strip() + rest.partition("{% endblock %}")[2]
    (subject,) = re.findall(r"^Subject: (.*)$", head, re.MULTILINE)
    _, organisation, _ = PEOPLE[language]
    for tag, value in (
        ("{{ salutation }}", GREETINGS[language][AUDIENCES.index(audience)]),
        ("{{ sender }}", SENDER),
        ("{% if organisation %}", ""),
        ("{% endif %}", ""),
        ("{{ organisation }}", organisation),
        ("{% block ask %}\n", ""),
        ("{% endblock %}\n", ""),
    ):
        body = body.replace(tag, value)
    assert not re.search(r"[{}]", body), body
    return subject, body.strip() + "\n"


def footer(language: str) -> str:
    """Return the footer, its lines as long as they are."""
    file = TEMPLATES / "_languages" / f"{language}.toml"
    data = tomllib.loads(file.read_text(encoding="utf-8"))["footer"]
    text = f"{data['text'].strip()}\n{data['opt_out'].strip()}"
    # Latin names inside Arabic are isolated.
    before, behind = ("\u2068", "\u2069") if language == "ar" else ("", "")
    text = text.replace("{sender}", f"{before}{SENDER}{behind}")
    return text.replace("{reply_to}", f"{before}{ADDRESS}{behind}")


def expected_text(language: str, audience: str) -> str:
    """Return subject and plain text as a reader gets them."""
    subject, markdown = subject_and_markdown(language, audience)
    words = markdown.replace("**", "").rstrip("\n")
    if language == "ar":
        words = words.replace(f"\n{SENDER}", f"\n\u2068{SENDER}\u2069")
    lines = [part for line in footer(language).split("\n") for part in textwrap.wrap(line, 76)]
    return f"Subject: {subject}\n\n{words}\n\n-- \n" + "\n".join(lines) + "\n"


def expected_html(language: str, audience: str) -> str:
    """Return the letter's content as HTML."""
    _, markdown = subject_and_markdown(language, audience)
    made = str(mistune.create_markdown(escape=True)(markdown))
    return made.replace(f">{SENDER}<", f"><bdi>{SENDER}</bdi><") if language == "ar" else made


def path(language: str, audience: str) -> Path:
    """Return the golden file of a letter."""
    return GOLDEN / f"{language}.{audience or 'general'}.txt"


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for language in LANGUAGES:
        for audience in AUDIENCES:
            path(language, audience).write_text(expected_text(language, audience), encoding="utf-8")
