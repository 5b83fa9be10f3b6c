"""What readers see: letters in a real Chromium, on a wide and a narrow window, by day and by night."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Project

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
READERS = {
    "de": "lorenz.wuerdemann@offenes-land.example",
    "ru": "melkumyants@rabochaya-vesna.example",
    "ar": "rima@ard-wa-amal.example",
    "ar, an organisation": "info@damir-network.example",
    "en": "rosalind.achterberg@parliament.example",
    "fr+ar": "both@d.example.org",
    "ar, a Latin name": "latin@d.example.org",
    "de, a name that never ends": "long@d.example.org",
}
MORE = f"""
both@d.example.org,Maria Lopez,party,Org & Co,MA,fr+ar,f,,Rabat
latin@d.example.org,"Maria Lopez (NGO)",party,"Workers, United",TN,ar,f,,Tunis
long@d.example.org,{"Ä" * 3000},party,{"w" * 3000},DE,de,,,Bonn
"""
WINDOWS = [(width, scheme) for width in (1200, 390) for scheme in ("light", "dark")]
# Luminance and contrast: WCAG 2.2, 1.4.3.
MEASURE = """() => {
  const light = text => {
    const [r, g, b] = text.match(/[0-9.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!colour.endsWith(', 0)')) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const contrasts = [...document.querySelectorAll('p, li, a, td, th, span, blockquote')].map(node => {
    const [one, two] = [light(getComputedStyle(node).color), light(ground(node))];
    return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  });
  return {
    lang: document.documentElement.lang,
    dir: document.documentElement.dir,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    contrast: Math.min(...contrasts),
    size: Math.min(...[...document.querySelectorAll('p, li')].map(
      node => parseFloat(getComputedStyle(node).fontSize))),
    sides: [...document.querySelectorAll('.page > p:not(.footer), [lang] > p:not(.footer)')].map(node => {
      const range = document.createRange();
      range.selectNodeContents(node);
      const text = [...range.getClientRects()], box = node.getBoundingClientRect();
      return [Math.min(...text.map(r => r.left)) - box.left, box.right - Math.max(...text.map(r => r.right))];
    }),
  };
}"""


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the HTML of every reader."""
    project = Project(
        tmp_path_factory.mktemp("browser"), {"OUTREACH_FROM": "Solidarity Committee <press@outreach.example>"}
    )
    project.run("init", ".")
    with (project.folder / "contacts.csv").open("a", encoding="utf-8") as out:
        out.write(MORE.lstrip("\n"))
    for who, mail in READERS.items():
        project.run("preview", "--to", mail, "-o", f"out/{name(who)}.html")
    return project.folder / "out"


def name(who: str) -> str:
    return re.sub(r"\W+", "-", who)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        if os.environ.get("REQUIRE_SERVERS"):
            pytest.fail("Chromium is not installed: apt-get install chromium")
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        # As root, which CI is, Chromium's own sandbox does not start; it opens our own files only.
        opened = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if not os.getuid() else []
        )
        yield opened
        opened.close()


@pytest.mark.parametrize("who", READERS)
def test_a_letter_is_readable_in_every_window(browser: Any, letters: Path, who: str) -> None:
    file = letters / f"{name(who)}.html"
    for width, scheme in WINDOWS:
        requests: list[str] = []
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.on("request", lambda request, seen=requests: seen.append(request.url))
        page.goto(file.as_uri())
        seen = page.evaluate(MEASURE)
        page.close()
        assert requests == [file.as_uri()], "nothing is loaded"
        language = re.split(r"[+,]", who)[0]
        direction = "rtl" if language == "ar" else "ltr"
        assert (seen["lang"], seen["dir"]) == (language, direction)
        assert seen["overflow"] <= 0, f"{width} px"
        assert seen["contrast"] >= 4.5, scheme
        assert seen["size"] >= 13
        if "+" not in who:  # paragraphs begin at the side where their language begins
            assert all((left if direction == "ltr" else right) <= 1 for left, right in seen["sides"])


def test_names_of_the_other_direction_keep_their_order_and_their_brackets(
    browser: Any, letters: Path
) -> None:
    """In `… العزيزة Maria Lopez (NGO)،` the bracket stays behind the name and the comma ends the line."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.goto((letters / f"{name('ar, a Latin name')}.html").as_uri())
    order = page.evaluate("""() => {
      const greeting = document.querySelectorAll('.page > p')[1];
      const walker = document.createTreeWalker(greeting, NodeFilter.SHOW_TEXT), found = {};
      for (let node; node = walker.nextNode();)
        for (let n = 0; n < node.data.length; n++) {
          const range = document.createRange();
          range.setStart(node, n); range.setEnd(node, n + 1);
          found[node.data[n]] ??= range.getBoundingClientRect().left;
        }
      return found;
    }""")
    page.close()
    assert order["،"] < order["M"] < order["L"] < order["("] < order["N"] < order[")"] < order["ا"]


def test_two_languages_stand_in_one_mail_each_in_its_direction(browser: Any, letters: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((letters / f"{name('fr+ar')}.html").as_uri())
    parts = page.evaluate(
        "[...document.querySelectorAll('.page > div')].map(one => [one.lang, one.dir, one.innerText])"
    )
    page.close()
    assert [part[:2] for part in parts] == [["fr", "ltr"], ["ar", "rtl"]]
    assert "Chère camarade," in parts[0][2] and "الرفيقة العزيزة" in parts[1][2]
