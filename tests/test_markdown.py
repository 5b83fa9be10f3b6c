"""Markdown with Jinja2 becomes an HTML and a text template that say the same, for every shape of a letter."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment as Jinja
from jinja2 import TemplateSyntaxError

from outreach import markdown
from outreach.markdown import MarkdownError
from outreach.sandbox import Environment

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests

CONTEXT = {
    "name": "Ann & Bo",
    "url": "https://x.example/?a=1&b=2",
    "mail": "ann@x.example",
    "items": ["one", "<two>"],
    "rows": [{"a": "1", "b": "2"}, {"a": "3", "b": "|"}],
    "tree": [("x", ["1", "2"]), ("y", [])],
    "yes": "yes",
    "no": "",
}


def render(source: str, name: str = "en.md", **parents: str) -> tuple[str, str]:
    """Convert the way letters.py does, render both; empty lines do not count."""
    files = {f"{other}.md": markdown.convert(text, "cid:{}".format) for other, text in parents.items()}
    files[name] = markdown.convert(source, "cid:{}".format)
    as_html = Environment({file: one.html for file, one in files.items()}, html=True, own=True)
    as_text = Environment({file: one.text for file, one in files.items()}, html=False, own=True)
    made = as_html.get_template(name).render(CONTEXT)
    text = as_text.get_template(name).render(CONTEXT)
    return re.sub(r"\n+", "\n", made).strip("\n"), re.sub(r"\n{3,}", "\n\n", text).strip("\n")


FRAGMENTS = {
    "a paragraph": ("Hello\nworld", "<p>Hello\nworld</p>", "Hello\nworld"),
    "two paragraphs": ("A\n\n\nB", "<p>A</p>\n<p>B</p>", "A\n\nB"),
    "a heading": ("# Hi {{ name }}\n\nA", "<h1>Hi Ann &amp; Bo</h1>\n<p>A</p>", "Hi Ann & Bo\n\nA"),
    "emphasis": ("**a** *b* `c`", "<p><strong>a</strong> <em>b</em> <code>c</code></p>", "a b c"),
    "emphasis around a tag": ("**{{ name }}**!", "<p><strong>Ann &amp; Bo</strong>!</p>", "Ann & Bo!"),
    "a line break": ("a\\\nb", "<p>a<br />\nb</p>", "a\nb"),
    "a rule": ("a\n\n---\n\nb", "<p>a</p>\n<hr />\n<p>b</p>", "a\n\n* * *\n\nb"),
    "characters of HTML": ("a < b & c > d", "<p>a &lt; b &amp; c &gt; d</p>", "a < b & c > d"),
    "raw HTML is text": ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>", "<b>x</b>"),
    "an entity": ("a&nbsp;b &copy;", "<p>a\xa0b ©</p>", "a\xa0b ©"),
    "an escape": (r"\*a\*", "<p>*a*</p>", "*a*"),
    # Tags in a line
    "a tag": ("Dear {{ name }},", "<p>Dear Ann &amp; Bo,</p>", "Dear Ann & Bo,"),
    "tags side by side": ("{{ yes }}{{ yes }}", "<p>yesyes</p>", "yesyes"),
    "quotes inside a tag": ("{{ no or \"a'b\" }} {{ no or '<' }}", "<p>a&#39;b &lt;</p>", "a'b <"),
    "stars inside a tag": ("{{ 2 * 3 * 4 }} *x*", "<p>24 <em>x</em></p>", "24 x"),
    "underscores": ("{{ items|join('_') }}_a_", "<p>one_&lt;two&gt;_a_</p>", "one_<two>_a_"),
    "braces inside strings": ("{{ '}}' }} {{ '{{' }} {{ '%}' }}", "<p>}} {{ %}</p>", "}} {{ %}"),
    "a choice in a line": ("a {% if yes %}b{% else %}c{% endif %} d", "<p>a b d</p>", "a b d"),
    "a choice at the start of a line": ("{% if no %}b{% else %}c{% endif %} d", "<p>c d</p>", "c d"),
    "a choice at the end of a line": (
        "We ask you{% if yes %} (you){% endif %}\nto act",
        "<p>We ask you (you)\nto act</p>",
        "We ask you (you)\nto act",
    ),
    "a choice not taken at the end of a line": (
        "We ask you{% if no %} (you){% endif %}\nto act",
        "<p>We ask you\nto act</p>",
        "We ask you\nto act",
    ),
    "a choice at the start of an item's second line": (
        "- a\n  {% if yes %}b{% endif %} c",
        "<ul>\n<li>a\nb c</li>\n</ul>",
        "- a\n  b c",
    ),
    "a loop in a line": (
        "a{% for x in items %}, {{ x }}{% endfor %}.",
        "<p>a, one, &lt;two&gt;.</p>",
        "a, one, <two>.",
    ),
    "a tag over two lines": ("{{ yes\n | upper }}", "<p>YES</p>", "YES"),
    "trimmed blanks": ("a {{- yes -}} b", "<p>ayesb</p>", "ayesb"),
    "a tag in code": ("`{{ name }}`", "<p><code>Ann &amp; Bo</code></p>", "Ann & Bo"),
    "a tag in a code block": (
        "```\n{{ name }}\n  x\n```",
        "<pre><code>Ann &amp; Bo\n  x\n</code></pre>",
        "Ann & Bo\n  x",
    ),
    # Braces that are text
    "lonely braces": ("{ a } { % b", "<p>{ a } { % b</p>", "{ a } { % b"),
    "entities that make a tag": ("&#123;&#123; name }}", "<p>{{ name }}</p>", "{{ name }}"),
    "entities that make a block": ("&lbrace;% if x %}", "<p>{% if x %}</p>", "{% if x %}"),
    "entities that make a comment": ("&#123;# x #}", "<p>{# x #}</p>", "{# x #}"),
    "a brace right before a tag": ("&#123;{{ yes }}}", "<p>{yes}</p>", "{yes}"),
    "a brace right before a choice": ("&#123;{% if yes %}x{% endif %}", "<p>{x</p>", "{x"),
    # Links
    "a link": (
        "[site](https://x.example/?a=1&b=2)",
        '<p><a href="https://x.example/?a=1&amp;b=2">site</a></p>',
        "site (https://x.example/?a=1&b=2)",
    ),
    "a bare address": (
        "<https://x.example/>",
        '<p><a href="https://x.example/">https://x.example/</a></p>',
        "https://x.example/",
    ),
    "a mail address": ("<a@x.example>", '<p><a href="mailto:a@x.example">a@x.example</a></p>', "a@x.example"),
    "a tag as a whole link": (
        "[{{ name }}]({{ url }})",
        '<p><a href="https://x.example/?a=1&amp;b=2">Ann &amp; Bo</a></p>',
        "Ann & Bo (https://x.example/?a=1&b=2)",
    ),
    "a tag as a part of a link": (
        "[x](https://x.example/?q={{ name }})",
        '<p><a href="https://x.example/?q=Ann%20%26%20Bo">x</a></p>',
        "x (https://x.example/?q=Ann%20%26%20Bo)",
    ),
    "a tag as a mail link": (
        "[write](mailto:{{ mail }})",
        '<p><a href="mailto:ann@x.example">write</a></p>',
        "write (ann@x.example)",
    ),
    "an address that is shown as itself": (
        "[{{ url }}]({{ url }})",
        '<p><a href="https://x.example/?a=1&amp;b=2">https://x.example/?a=1&amp;b=2</a></p>',
        "https://x.example/?a=1&b=2",
    ),
    "a mail address that is shown as itself": (
        "[{{ mail }}](mailto:{{ mail }})",
        '<p><a href="mailto:ann@x.example">ann@x.example</a></p>',
        "ann@x.example",
    ),
    "a tag in a link's reference": (
        "[x][there]\n\n[there]: {{ url }}",
        '<p><a href="https://x.example/?a=1&amp;b=2">x</a></p>',
        "x (https://x.example/?a=1&b=2)",
    ),
    "a script is no link": ("[x](javascript:a)", "<p>[x](javascript:a)</p>", "[x](javascript:a)"),
    "a link with a title": (
        '[x](https://x.example "a & b")',
        '<p><a href="https://x.example" title="a &amp; b">x</a></p>',
        "x (https://x.example)",
    ),
    "a link around emphasis": (
        "[**a** {{ yes }}](https://x.example)",
        '<p><a href="https://x.example"><strong>a</strong> yes</a></p>',
        "a yes (https://x.example)",
    ),
    "a choice inside a link's words": (
        "[a{% if no %} b{% else %} c{% endif %}](https://x.example)",
        '<p><a href="https://x.example">a c</a></p>',
        "a c (https://x.example)",
    ),
    "a choice around a link": (
        "{% if yes %}[a](https://x.example){% endif %}.",
        '<p><a href="https://x.example">a</a>.</p>',
        "a (https://x.example).",
    ),
    "a phone number": ("[call](tel:+491)", '<p><a href="tel:+491">call</a></p>', "call (tel:+491)"),
    # Images
    "an image": ("![a *b*](p.png)", '<p><img src="cid:p.png" alt="a b" /></p>', "[a b]"),
    "an image in a line": (
        "x ![{{ name }}](p.png) y",
        '<p>x <img src="cid:p.png" alt="Ann &amp; Bo" /> y</p>',
        "x [Ann & Bo] y",
    ),
    "an image without words": (
        "x\n\n![](p.png)\n\ny",
        '<p>x</p>\n<p><img src="cid:p.png" alt="" /></p>\n<p>y</p>',
        "x\n\ny",
    ),
    "an image by its address in the mail": (
        "![a](cid:p.png)",
        '<p><img src="cid:p.png" alt="a" /></p>',
        "[a]",
    ),
    "an image with blanks in its name": (
        "![a](<my p.png>)",
        '<p><img src="cid:my p.png" alt="a" /></p>',
        "[a]",
    ),
    "an image as a link": (
        "[![a](p.png)](https://x.example)",
        '<p><a href="https://x.example"><img src="cid:p.png" alt="a" /></a></p>',
        "[a] (https://x.example)",
    ),
    # Lists
    "a list": ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>", "- a\n- b"),
    "a list right behind a text": (
        "a:\n- b\n\nc",
        "<p>a:</p>\n<ul>\n<li>b</li>\n</ul>\n<p>c</p>",
        "a:\n\n- b\n\nc",
    ),
    "a numbered list": ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>', "3. a\n4. b"),
    "a nested list": (
        "- a\n  - b\n    1. c\n- d",
        "<ul>\n<li>a\n<ul>\n<li>b\n<ol>\n<li>c</li>\n</ol>\n</li>\n</ul>\n</li>\n<li>d</li>\n</ul>",
        "- a\n  - b\n    1. c\n- d",
    ),
    "an item of two paragraphs": (
        "- a\n\n  b",
        "<ul>\n<li>\n<p>a</p>\n<p>b</p>\n</li>\n</ul>",
        "- a\n\n  b",
    ),
    "an item that is a quote": (
        "- > q",
        "<ul>\n<li>\n<blockquote>\n<p>q</p>\n</blockquote>\n</li>\n</ul>",
        "- > q",
    ),
    "an item that is code": (
        "- ```\n  c\n  ```",
        "<ul>\n<li>\n<pre><code>c\n</code></pre>\n</li>\n</ul>",
        "- c",
    ),
    "an item that is a list": ("- - a", "<ul>\n<li>\n<ul>\n<li>a</li>\n</ul>\n</li>\n</ul>", "- - a"),
    "an empty item": ("1.\n2. b", "<ol>\n<li></li>\n<li>b</li>\n</ol>", "1. \n2. b"),
    "a loop of items": (
        "{% for x in items %}\n- {{ x }}\n{% endfor %}",
        "<ul>\n<li>one</li>\n<li>&lt;two&gt;</li>\n</ul>",
        "- one\n- <two>",
    ),
    "a loop between items": (
        "- a\n{% for x in items %}\n- {{ x }}\n{% endfor %}\n- z",
        "<ul>\n<li>a</li>\n<li>one</li>\n<li>&lt;two&gt;</li>\n<li>z</li>\n</ul>",
        "- a\n- one\n- <two>\n- z",
    ),
    "a loop in a loop of items": (
        "{% for x, more in tree %}\n- {{ x }}\n{% for y in more %}\n  - {{ y }}\n{% endfor %}\n{% endfor %}",
        "<ul>\n<li>x\n<ul>\n<li>1</li>\n<li>2</li>\n</ul>\n</li>\n<li>y\n<ul>\n</ul>\n</li>\n</ul>",
        "- x\n  - 1\n  - 2\n- y",
    ),
    "a loop of numbered items counts": (
        "1. a\n{% for x in items %}\n2. {{ x }}\n{% endfor %}",
        "<ol>\n<li>a</li>\n<li>one</li>\n<li>&lt;two&gt;</li>\n</ol>",
        "1. a\n2. one\n3. <two>",
    ),
    "a choice of items": (
        "- a\n{% if no %}\n- b\n{% elif yes %}\n- c\n{% else %}\n- d\n{% endif %}\n- e",
        "<ul>\n<li>a</li>\n<li>c</li>\n<li>e</li>\n</ul>",
        "- a\n- c\n- e",
    ),
    "a loop of whole lists": (
        "{% for x in items %}\n\n- {{ x }}\n\n  p\n\n{% endfor %}",
        "<ul>\n<li>\n<p>one</p>\n<p>p</p>\n</li>\n</ul>\n"
        "<ul>\n<li>\n<p>&lt;two&gt;</p>\n<p>p</p>\n</li>\n</ul>",
        "- one\n\n  p\n\n- <two>\n\n  p",
    ),
    # Tables and quotes
    "a table": (
        "| a | b |\n|---|---|\n| 1 | **2** |",
        "<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n"
        "<td><strong>2</strong></td>\n</tr>\n</tbody>\n</table>",
        "a | b\n1 | 2",
    ),
    "a loop of rows": (
        "| a | b |\n|---|---|\n{% for r in rows %}\n| {{ r.a }} | {{ r.b }} |\n{% endfor %}\n| 5 | 6 |\n\nz",
        "<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n<tbody>\n"
        "<tr>\n<td>1</td>\n<td>2</td>\n</tr>\n<tr>\n<td>3</td>\n<td>|</td>\n</tr>\n"
        "<tr>\n<td>5</td>\n<td>6</td>\n</tr>\n</tbody>\n</table>\n<p>z</p>",
        "a | b\n1 | 2\n3 | |\n5 | 6\n\nz",
    ),
    "a filter in a cell": (
        "| a |\n|---|\n| {{ yes|upper }} |",
        "<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>YES</td>\n</tr>\n"
        "</tbody>\n</table>",
        "a\nYES",
    ),
    "a quote": (
        "> {{ name }}\n> b\n>\n> c\n\nd",
        "<blockquote>\n<p>Ann &amp; Bo\nb</p>\n<p>c</p>\n</blockquote>\n<p>d</p>",
        "> Ann & Bo\n> b\n>\n> c\n\nd",
    ),
    "a list in a quote": (
        "> - a\n> - b",
        "<blockquote>\n<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n</blockquote>",
        "> - a\n> - b",
    ),
    "a loop of quotes": (
        "{% for x in items %}\n> {{ x }}\n{% endfor %}",
        "<blockquote>\n<p>one</p>\n</blockquote>\n<blockquote>\n<p>&lt;two&gt;</p>\n</blockquote>",
        "> one\n\n> <two>",
    ),
    # Tags on their own lines
    "a choice of paragraphs": (
        "{% if no %}\n\nA\n\n{% elif yes %}\n\nB\n\nC\n\n{% else %}\n\nD\n\n{% endif %}\n\nE",
        "<p>B</p>\n<p>C</p>\n<p>E</p>",
        "B\n\nC\n\nE",
    ),
    "a choice with its lines close by": (
        "A\n\n{% if yes %}\nB\n{% endif %}\n\nC",
        "<p>A</p>\n<p>B</p>\n<p>C</p>",
        "A\n\nB\n\nC",
    ),
    "a choice not taken": ("A\n\n{% if no %}\nB\n{% endif %}\n\nC", "<p>A</p>\n<p>C</p>", "A\n\nC"),
    "a condition over two lines": ("{% if yes\n   and not no %}\nA\n{% endif %}", "<p>A</p>", "A"),
    "a choice around a loop": (
        "{% if yes %}\n\n{% for x in items %}\n- {{ x }}\n{% endfor %}\n\n{% endif %}\n\nZ",
        "<ul>\n<li>one</li>\n<li>&lt;two&gt;</li>\n</ul>\n<p>Z</p>",
        "- one\n- <two>\n\nZ",
    ),
    "a block": (
        "A\n\n{% block ask %}\nB\n\nC\n{% endblock %}\n\nD",
        "<p>A</p>\n<p>B</p>\n<p>C</p>\n<p>D</p>",
        "A\n\nB\n\nC\n\nD",
    ),
    "a block in a block": (
        "{% block a %}\n\nA\n\n{% block b %}\nB\n{% endblock %}\n\nC\n\n{% endblock %}",
        "<p>A</p>\n<p>B</p>\n<p>C</p>",
        "A\n\nB\n\nC",
    ),
    "an empty block": ("A\n\n{% block x %}{% endblock %}\n\nB", "<p>A</p>\n<p>B</p>", "A\n\nB"),
    "a block in a line": ("A {% block x %}b{% endblock %} C", "<p>A b C</p>", "A b C"),
    "a variable of one's own": ("{% set x = name %}\n\n{{ x }}", "<p>Ann &amp; Bo</p>", "Ann & Bo"),
    "a variable set in the middle": ("A\n\n{% set x = 'X' %}\nB {{ x }}", "<p>A</p>\n<p>B X</p>", "A\n\nB X"),
    "trim marks on a line of its own": ("{%- if yes -%}\nA\n{%- endif -%}", "<p>A</p>", "A"),
    # Comments
    "a comment in a line": ("a{# **b** #}c", "<p>ac</p>", "ac"),
    "a comment on its own line": ("a\n{# b #}\nc", "<p>a\nc</p>", "a\nc"),
    "a comment over lines": ("a\n{# b\n\n# c #}\nd", "<p>a\nd</p>", "a\nd"),
    "a comment between paragraphs": ("a\n\n{# b #}\n\nc", "<p>a</p>\n<p>c</p>", "a\n\nc"),
    "a tag in a comment": ("a{# {{ b }} {% if %} #}", "<p>a</p>", "a"),
    "nothing": ("", "", ""),
}


@pytest.mark.parametrize(("source", "as_html", "as_text"), FRAGMENTS.values(), ids=FRAGMENTS)
def test_a_fragment_becomes_html_and_text(source: str, as_html: str, as_text: str) -> None:
    assert render(source) == (as_html, as_text)


def test_a_child_file_replaces_a_block_and_keeps_its_shape() -> None:
    parent = "A\n\n{% block ask %}\nB\n{% endblock %}\n\nC"
    child = '{% extends "parent.md" %}\n\n{% block ask %}\n\n- x\n\nY {{ name }}\n\n{% endblock %}\n'
    assert render(child, "child.md", parent=parent) == (
        "<p>A</p>\n<ul>\n<li>x</li>\n</ul>\n<p>Y Ann &amp; Bo</p>\n<p>C</p>",
        "A\n\n- x\n\nY Ann & Bo\n\nC",
    )


def test_super_adds_to_the_parents_block_without_empty_paragraphs() -> None:
    parent = "A\n\n{% block ask %}\nB\n{% endblock %}\n\nC"
    child = '{% extends "parent.md" %}\n\n{% block ask %}\n{{ super() }}\n\nmore\n{% endblock %}\n'
    assert render(child, "child.md", parent=parent) == (
        "<p>A</p>\n<p>B</p>\n<p>more</p>\n<p>C</p>",
        "A\n\nB\n\nmore\n\nC",
    )


def test_inheritance_over_two_levels_replaces_blocks_inside_blocks() -> None:
    top = "A\n\n{% block ask %}\nB\n\n{% block when %}\n- soon\n{% endblock %}\n\nC\n{% endblock %}\n\nD"
    loop = "{% for x in items %}\n- {{ x }}\n{% endfor %}"
    middle = f'{{% extends "top.md" %}}\n\n{{% block when %}}\n- today\n{loop}\n{{% endblock %}}'
    bottom = (
        '{% extends "middle.md" %}\n\n{% block when %}\n\n{{ super() }}\n\n> {{ name }}\n\n{% endblock %}\n'
    )
    assert render(bottom, "bottom.md", top=top, middle=middle) == (
        "<p>A</p>\n<p>B</p>\n<ul>\n<li>today</li>\n<li>one</li>\n<li>&lt;two&gt;</li>\n</ul>\n"
        "<blockquote>\n<p>Ann &amp; Bo</p>\n</blockquote>\n<p>C</p>\n<p>D</p>",
        "A\n\nB\n\n- today\n- one\n- <two>\n\n> Ann & Bo\n\nC\n\nD",
    )


def test_super_stays_in_a_line_where_its_block_is_in_the_line() -> None:
    parent = "A {% block x %}b{% endblock %} C"
    child = '{% extends "parent.md" %}\n\n{% block x %}{{ super() }}, c{% endblock %}\n'
    assert render(child, "child.md", parent=parent) == ("<p>A b, c C</p>", "A b, c C")


# Mistakes, with their line -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "line", "problem"),
    [
        ("A\n\n{% include 'x' %}", 3, "{% include %} is not known"),
        ("A {% import 'x' as y %}", 1, "{% import %} is not known"),
        ("\n{% from 'x' import y %}", 2, "{% from %} is not known"),
        ("{% macro f() %}{% endmacro %}", 1, "{% macro %} is not known"),
        ("A\nB\n{% raw %}x{% endraw %}", 3, "{% raw %} is not known"),
        ("{% call f() %}x{% endcall %}", 1, "{% call %} is not known"),
        ("{% filter upper %}x{% endfilter %}", 1, "{% filter %} is not known"),
        ("{% autoescape false %}x{% endautoescape %}", 1, "{% autoescape %} is not known"),
        ("{% with x = 1 %}x{% endwith %}", 1, "{% with %} is not known"),
        ("{#\n\n#}\n{%- do x %}", 4, "{% do %} is not known"),
        ("A\n{% if x %}\nB\n{% endif %}\nC", 2, "no whole paragraphs"),
        ("{% if x %}\nA\n{% else %}\nB\n{% endif %}", 1, "no whole paragraphs"),
        ("Z\n\n{% block a %}\nA\n{% if b %}\nB\n{% endif %}\nC\n{% endblock %}", 5, "no whole paragraphs"),
        ("- a\n\n{% if x %}\n- b\n\nc\n{% endif %}", 3, "no whole paragraphs"),
        ("A {% if x %}\n\nB\n\n{% endif %}", 5, "opening tag stands inside a line"),
        ("A\n\n{% if x %}\n\nB {% endif %}", 3, "its end stands inside a line"),
        ("A\n\n![x](y.png)", 3, "there is no image y.png"),
        ("{% if x %}\n\n![x](y.png)\n\n{% endif %}", 3, "there is no image y.png"),
        ("A\n\n{# a\ncomment #}\n\n![x](y.png)", 6, "there is no image y.png"),
        ("| a |\n|---|\n| 1 |\n| ![x](y.png) |", 4, "there is no image y.png"),
        ("{% block a %}\nso {{ super() }}\n{% endblock %}", 2, "needs a line of its own"),
        ("{% block a %}\n\n{{ super() }} more\n\n{% endblock %}", 3, "needs a line of its own"),
        ("A\n\n[x](there)", 3, "it must begin with https://"),
        ("A\n\n- a\n- [x](#there)", 4, "it must begin with https://"),
        ("A\n\n[x]({% if y %}a{% endif %})", 3, "around the whole link"),
        ("A\n\n![x](https://x.example/p.png)", 3, "lies elsewhere"),
        ("A\n\n![x]({{ p }})", 3, "without tags"),
        ("A\n\nB \U000f0000", 3, "private-use character"),
        ("\U000ffffd", 1, "private-use character"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_its_line(source: str, line: int, problem: str) -> None:
    with pytest.raises(MarkdownError) as caught:
        markdown.convert(source)
    assert problem in caught.value.problem
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("A\n\n| a |\n|---|\n| 1 | {{ name }} |", 5),  # a cell more than the header has
        ("| a |\n|---|\n| 1 | {% if yes %} |\n| {% endif %} |", 3),
        ("A\n\n[x]: {{ url }}", 3),  # an address that nobody links to
        ("```{% if yes %}\nx\n```\n\nB{% endif %}", 1),
    ],
)
def test_a_tag_that_markdown_would_drop_is_refused_never_lost(source: str, line: int) -> None:
    with pytest.raises(MarkdownError) as caught:
        markdown.convert(source)
    assert caught.value.line == line


# Any letter at all -------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [
        "{{ name }}",
        "{% if yes %}",
        "{% endif %}",
        "{% for x in items %}",
        "{% endfor %}",
        "{{ x|default(1) }}",
        "{# c #}",
        "{",
        "}",
        "%",
        "{{ '}}' }}",
        "a",
        "<b>",
        "&",
        "&#123;",
        "- ",
        "1. ",
        "> ",
        "# ",
        "| a | b |",
        "|---|---|",
        "**",
        "`",
        "```",
        "[x](",
        ")",
        "https://x.example/",
        "\n",
        "\n",
        "\n\n",
        " ",
        "    ",
    ]
)


@PROPERTY
@given(st.lists(_PIECES, max_size=14).map("".join))
@example("&#123;{{ name }}")
@example("{**{{ name }}**")  # the text version drops the stars
@example("```{% if yes %}- {% endif %}")  # … and what follows a fence
def test_valid_jinja_stays_valid_or_is_refused_with_a_line(source: str) -> None:
    try:
        Jinja().parse(source)
    except TemplateSyntaxError:
        return  # letters.py refuses these first
    try:
        converted = markdown.convert(source)
    except MarkdownError as error:
        assert 1 <= error.line <= source.count("\n") + 1
        return
    for template in (converted.html, converted.text):
        Environment({}, html=True, own=True).parse(template)


@PROPERTY
@given(st.text(st.characters(exclude_categories=["Cs", "Co", "Cc"], exclude_characters="{}"), max_size=60))
def test_plain_words_say_the_same_in_text_and_html(words: str) -> None:
    """A text without any Markdown or Jinja in it arrives word for word in both."""
    letters = "".join(char for char in words if char.isalnum() or char == " ")
    source = " ".join(("x" + letters).split())
    made, text = render(source)
    assert text == source
    assert html.unescape(re.sub(r"</?p>", "", made)) == source
