"""Templates of strangers: the strict and bounded part of Jinja2 that letters may use.

A letter may come from anybody, so its template can do little: show values, choose, repeat, set a name,
extend. It reads no file and no Python object, calls nothing but what is listed here, and every render has
a budget of work, so that no template takes seconds or memory (docs/architecture.md, "Letters"). What is
not allowed is a TemplateSyntaxError with its line; what grows too large is a TemplateTooLargeError.
A value of the other direction is shown in isolates: <bdi> in HTML, U+2068 … U+2069 in plain text.
Known limit: the budget counts steps and characters, not time.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any
from urllib.parse import quote

from jinja2 import FunctionLoader, StrictUndefined, Template, TemplateSyntaxError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import BlockReference, Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from markupsafe import Markup, escape

from outreach import languages
from outreach.model import LETTER_VARIABLES

BUDGET = 500_000  # steps and characters of one render; a long letter with its frame takes 20,000
MAX_SOURCE = 50_000  # characters of one file
MAX_TAGS = 1_000  # in one file
_MAX_TAG = 2_000  # characters of one tag
_MAX_INTEGER = 10**15

_STATEMENTS = (nodes.Output, nodes.For, nodes.If, nodes.Block, nodes.Extends, nodes.Assign)
_TAG_NAMES = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.AssignBlock: "set … endset",  # its value would be markup, and pieces of markup are no markup
    nodes.FilterBlock: "filter",
    nodes.With: "with",
    nodes.ScopedEvalContextModifier: "autoescape",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Of Jinja's own filters those that neither make markup nor take a size: center(10**9) fills the memory.
_FILTERS = _words(
    "abs capitalize count d default first last length list lower reverse string title truncate upper "
    "urlencode wordcount"
)
_TAKING_LISTS = _words("count d default first join last length list reverse")
_TESTS_OF_VALUES = _words("divisibleby escaped even filter lower odd test upper")
_FILTERS_OF_LISTS = _words("map max min reject select sort unique")
_METHODS: dict[type, frozenset[str]] = {
    str: _words(
        "capitalize casefold count endswith find isalpha isdigit islower isupper lower partition "
        "removeprefix removesuffix split splitlines startswith strip title upper"
    ),
    dict: _words("get items keys values"),
    LoopContext: _words("changed cycle"),
}
_SUPER = 5_000  # steps for another file's block, whose own steps are not counted
_COSTLY = 50  # steps for a look into the tables of a language
_CALLABLE = frozenset().union(*_METHODS.values())
_LIST = re.compile(r"_list_\d+")  # a counter that markdown.py makes
_TAKEN = frozenset([*LETTER_VARIABLES, "loop", "self", "super", "range"])
_SAFE_SCHEMES = ("http", "https", "mailto", "tel")


class TemplateTooLargeError(ValueError):
    """A template would take more work, or make more text, than a letter can need."""


class Url(str):
    """The address of a link, ready to stand in an attribute."""

    __slots__ = ()


class Environment(ImmutableSandboxedEnvironment):
    """Jinja2 for letters: strict names, listed filters and calls, a budget for each render."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(
        self, sources: Mapping[str, str], html: bool, isolating: bool = True, own: bool = False
    ) -> None:
        """Make an environment whose templates can extend each other.

        `html` escapes every value, `isolating` marks those of the other direction; `own` templates were
        made by the program from checked ones, and may set names of its own.
        """
        super().__init__(
            # The file's name stands in tracebacks, so that an error can be traced to its line.
            loader=FunctionLoader(lambda name: (sources[name], name, None) if name in sources else None),
            autoescape=html,
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            cache_size=2_000,
        )
        self._html, self._isolating, self._own = html, isolating, own
        self._left = BUDGET
        self.finalize = self._finish
        ours: dict[str, Callable[..., Any]] = {
            "int": _int,
            "float": _float,
            "join": self._join,
            "replace": self._replace,
            "trim": lambda value: str(value).strip(),
            "link": link,
            "date": _date,
            "number": _number,
            "country": _country,
            "urlpart": lambda value: Url(quote(_bare(value), safe="@")),
            "plain": lambda value: Url(_bare(value)),
        }
        calls = ours | {name: FILTERS[name] for name in _FILTERS}
        self.filters = {name: self._bounded(call, name in _TAKING_LISTS) for name, call in calls.items()}
        self.filters |= {name: self._of_lists(FILTERS[name]) for name in _FILTERS_OF_LISTS}
        tests: Mapping[str, Any] = self.tests
        self.tests = {name: self._bounded(call, name not in _TESTS_OF_VALUES) for name, call in tests.items()}
        self.filters |= {"_part": self._part, "_cost": self._cost, "_turns": self._turns}
        self.globals = {"range": self.globals["range"], "_counter": Namespace}

    def render(self, template: Template, values: Mapping[str, object]) -> str:
        """Render within the budget. Raises TemplateTooLargeError, and what Jinja2 raises."""
        self._left = BUDGET
        pieces: list[str] = []
        for piece in template.generate(values):
            self.spend(len(piece))
            pieces.append(piece)
        return "".join(pieces)

    # What may stand in a template ------------------------------------------------------------------

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse, refuse what is not allowed, and weave the budget in."""
        self._left = BUDGET  # constants are worked out while compiling
        _refuse_size(source)
        try:
            tree = super()._parse(source, name, filename)
            _check(tree, name, filename, self._own)
            _instrument(tree)
        except (RecursionError, ValueError) as error:  # too deep, or an integer of 5,000 digits
            raise TemplateSyntaxError("is nested too deep", 1, name, filename) from error
        return tree

    def compile(self, source: Any, *arguments: Any, **options: Any) -> Any:
        """Compile; what Python's own compiler cannot take is a TemplateSyntaxError as well."""
        try:
            return super().compile(source, *arguments, **options)
        except (RecursionError, MemoryError, SyntaxError) as error:
            raise TemplateSyntaxError("is nested too deep", 1) from error

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Tell whether a template may read this: no internals, and of a type's methods those listed."""
        for kind, allowed in _METHODS.items():
            if isinstance(obj, kind) and callable(value):
                return attr in allowed
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what is listed, and count what it takes."""
        owner = getattr(obj, "__self__", None)
        known = isinstance(owner, tuple(_METHODS)) or isinstance(obj, BlockReference)
        if not known and obj not in self.globals.values():
            raise SecurityError("only methods like name.upper() can be called in letters")
        if isinstance(obj, BlockReference):
            self.spend(_SUPER)
        for value in (owner, *args, *kwargs.values()):
            self._cost(value)
        return self._cost(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Work out an operator on numbers; of texts and lists only `+`."""
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "+" and not numbers:
            self._cost(left)
            self._cost(right)
            if not any(isinstance(left, kind) and isinstance(right, kind) for kind in (str, list)):
                raise TypeError("+ adds numbers to numbers and texts to texts; use ~ between others")
        elif operator == "**":
            raise TypeError("** is not known in letters")
        elif not numbers:
            raise TypeError(f"{operator} works on numbers only in letters")
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and abs(result) > _MAX_INTEGER:
            raise TemplateTooLargeError("a number is too large")
        return result

    # The budget ------------------------------------------------------------------------------------

    def spend(self, work: int) -> None:
        """Take work off the budget. Raises TemplateTooLargeError when nothing is left."""
        self._left -= work
        if self._left < 0 or work < 0:
            raise TemplateTooLargeError("it repeats or grows without end")

    def _cost(self, value: Any) -> Any:
        """Count a value and give it back."""
        self.spend(1 + len(value) if isinstance(value, Sized) else 1)
        if isinstance(value, int) and abs(value) > _MAX_INTEGER:
            raise TemplateTooLargeError("a number is too large")
        return value

    def _part(self, value: Any) -> Any:
        """Count a value that becomes part of a text or a list; refuse what is itself a list."""
        if value is not None and not isinstance(value, str | int | float):
            if isinstance(value, StrictUndefined):
                str(value)  # raises, with the name
            if callable(value):
                raise TypeError("a method needs brackets, like name.upper()")
            raise TypeError("a list cannot be shown as it is; say how: |join(', ')")
        return self._cost(value)

    def _turns(self, items: Iterable[Any], weight: int) -> Iterator[Any]:
        """Count each turn of a loop by what is done in it."""
        for item in items:
            self.spend(weight)
            yield item

    def _bounded(self, call: Callable[..., Any], lists: bool) -> Callable[..., Any]:
        """Count what a filter or test takes and gives; without `lists` it takes single values only."""

        @functools.wraps(call)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            for value in (*args, *kwargs.values()):
                if isinstance(value, Context | Environment):
                    continue
                self._cost(value) if lists or isinstance(value, StrictUndefined) else self._part(value)
            return self._cost(call(*args, **kwargs))

        return bounded

    def _of_lists(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Bound a filter that looks at every item, and perhaps compares them."""
        bounded = self._bounded(call, lists=True)

        @functools.wraps(call)
        def of_lists(*args: Any, **kwargs: Any) -> Any:
            if set(kwargs) & {"attribute", "default"}:
                raise TypeError("the values of a list have no attributes")
            if any(isinstance(value, str) and value.startswith("_") for value in args[1:]):
                raise TypeError("that filter is not known in letters")
            before = next(n for n, value in enumerate(args) if not isinstance(value, Context | Environment))
            items = [self._part(item) for item in args[before]]
            self.spend(len(items) * 4)
            return bounded(*args[:before], items, *args[before + 1 :], **kwargs)

        return of_lists

    def _join(self, items: Iterable[Any], between: str = "") -> str:
        """Join what is shown of the items."""
        parts = []
        for item in items:
            parts.append(self._shown(self._part(item)))
            self._cost(between)
        return str(between).join(parts)

    def _replace(self, text: str, old: str, new: str) -> str:
        """Replace a text in another one."""
        text, old, new = str(text), str(old), str(new)
        self.spend(text.count(old) * len(new))
        return text.replace(old, new)

    # What a reader gets ----------------------------------------------------------------------------

    def _shown(self, value: Any) -> str:
        return languages.shown(value) if self._isolating and isinstance(value, str) else str(value)

    def _finish(self, value: Any) -> Any:
        """Return what is shown of a value."""
        self._part(value)
        if not isinstance(value, str) or isinstance(value, Url | Markup):
            return "" if value is None else value
        text = self._shown(value)
        return as_html(text) if self._html else text


def as_html(text: str) -> Markup:
    """Escape a text for HTML; isolates become <bdi>."""
    escaped = str(escape(text))
    escaped = escaped.replace(languages.FIRST_STRONG_ISOLATE, "<bdi>")
    return Markup(escaped.replace(languages.POP_ISOLATE, "</bdi>"))  # noqa: S704 (escaped above)


def _bare(value: object) -> str:
    """Return a value as it is where it is no text for readers: in an attribute."""
    return languages.without_controls(str(value))


def link(value: object) -> Url:
    """Return an address that is harmless as a link (Jinja filter); raises ValueError for javascript: etc."""
    text = _bare(value).strip()
    if not text:
        raise ValueError("a link would be empty; write {% if … %} around it")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    if not scheme or scheme[1].lower() not in _SAFE_SCHEMES:
        raise ValueError(f"{text[:60]!r} is no link; it must begin with https:// or mailto:")
    return Url(re.sub(r"[\s<>\"']", lambda found: f"%{ord(found[0]):02X}", text))


def _int(value: object, default: int = 0) -> int:
    """Read a whole number, else the default (Jinja filter)."""
    found = re.match(r"\s*([-+]?\d{1,15})(\.\d*)?\s*\Z", str(value)[:40], re.ASCII)
    return int(found[1]) if found else default


def _float(value: object, default: float = 0.0) -> float:
    """Read a number, else the default (Jinja filter)."""
    found = re.match(r"\s*[-+]?\d{1,15}(\.\d{0,15})?\s*\Z", str(value)[:40], re.ASCII)
    return float(found[0]) if found else default


def _look_up(context: Context) -> None:
    environment = context.environment
    assert isinstance(environment, Environment)
    environment.spend(_COSTLY)


@pass_context
def _date(context: Context, value: object, form: str = "long") -> str:
    """Write a day of the list (2012-05-06) out in the letter's language (Jinja filter)."""
    _look_up(context)
    text = str(value).strip()
    if form not in ("full", "long", "medium", "short"):
        raise ValueError(f"date({form!r}): the forms are full, long, medium and short")
    try:
        return languages.date(datetime.date.fromisoformat(text), context["_language"], form) if text else ""
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no date; write like 2012-05-06") from None


@pass_context
def _number(context: Context, value: object) -> str:
    """Write a number (12500, 0.5) with the separators of the letter's language (Jinja filter)."""
    _look_up(context)
    text = str(value).strip().replace(" ", "").replace("\u00a0", "")
    if not text:
        return ""
    if not re.fullmatch(r"[-+]?[0-9]{1,15}(\.[0-9]{1,9})?", text):
        raise ValueError(f"{text[:60]!r} is no number; write like 12500 or 0.5")
    return languages.number(float(text) if "." in text else int(text), context["_language"])


@pass_context
def _country(context: Context, value: object) -> str:
    """Name a country, given by code or name, in the letter's language (Jinja filter)."""
    _look_up(context)
    text = str(value).strip()
    code = languages.country_code(text) if text else ""
    if code is None:
        raise ValueError(f"{text[:60]!r} is no country; write like DE or Germany")
    return languages.country_name(code, context["_language"])


def _refuse_size(source: str) -> None:
    if len(source) > MAX_SOURCE:
        raise TemplateSyntaxError(f"is too long for a letter (over {MAX_SOURCE} characters)", 1)
    begins = [found.start() for found in re.finditer(r"\{[{%]", source)]
    if len(begins) > MAX_TAGS:
        line = source.count("\n", 0, begins[MAX_TAGS]) + 1
        raise TemplateSyntaxError(f"has too many tags (over {MAX_TAGS})", line)
    for begin in begins:
        end = min(position for position in (*_ends(source, begin), len(source)) if position >= 0)
        if end - begin > _MAX_TAG:
            line = source.count("\n", 0, begin) + 1
            raise TemplateSyntaxError(f"a tag is too long (over {_MAX_TAG} characters)", line)


def _ends(source: str, begin: int) -> tuple[int, int]:
    limit = begin + _MAX_TAG + 2
    return source.find("}}", begin, limit), source.find("%}", begin, limit)


def _check(tree: nodes.Template, name: str | None, filename: str | None, own: bool) -> None:
    def refuse(node: nodes.Node, text: str) -> None:
        raise TemplateSyntaxError(text, node.lineno or 1, name, filename)

    whole = {id(child) for node in tree.find_all(nodes.Output) for child in node.nodes}
    for node in tree.find_all(nodes.Node):
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            word = _TAG_NAMES.get(type(node), type(node).__name__.lower())
            refuse(node, f"the tag {{% {word} %}} is not known in letters")
        elif isinstance(node, nodes.For) and node.recursive:
            refuse(node, "a loop cannot be recursive in letters")
        elif isinstance(node, nodes.Filter) and node.name.startswith("_"):
            refuse(node, f"the filter {node.name} is not known in letters")
        elif isinstance(node, nodes.NSRef) and not (own and _LIST.fullmatch(node.name)):
            refuse(node, "only a name can be set in letters")
        elif isinstance(node, nodes.Name) and node.ctx == "store":
            counter = own and _LIST.fullmatch(node.name)
            if (node.name.startswith("_") or node.name in _TAKEN) and not counter:
                refuse(node, f"{node.name} is a name of the program; choose another one")
        elif isinstance(node, nodes.Call):
            called = node.node
            if isinstance(called, nodes.Name):
                if called.name not in ("super", "range", *(["_counter"] if own else [])):
                    refuse(node, f"{called.name}() cannot be called in letters")
                if called.name == "super" and id(node) not in whole:
                    refuse(node, "super() is shown as it is, {{ super() }}")
                if called.name == "_counter" and not all(
                    isinstance(k.value, nodes.Const) for k in node.kwargs
                ):
                    refuse(node, "_counter() cannot be called in letters")
            elif not isinstance(called, nodes.Getattr) or called.attr not in _CALLABLE:
                word = called.attr if isinstance(called, nodes.Getattr) else "this"
                refuse(node, f"{word}() cannot be called in letters")
        elif isinstance(node, nodes.Const) and isinstance(node.value, int) and node.value > _MAX_INTEGER:
            refuse(node, "a number is too large")


def layout_problems(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """Yield what a frame may not do: everything but show its values, whole and in the text.

    What depends on a reader (the subject, the letter) must not decide what the frame is, so that a frame
    that was looked at once is the same for everybody.
    """
    constant = {"lang", "dir"}

    def names(node: nodes.Node) -> set[str]:
        below = [*node.find_all(nodes.Name), *([node] if isinstance(node, nodes.Name) else [])]
        return {name.name for name in below}

    def fixed(node: nodes.Node) -> bool:
        place = isinstance(node, nodes.Getattr) and node.attr in ("first", "last")
        return names(node) <= constant or (place and names(node) == {"loop"})

    def walk(body: Iterable[nodes.Node], shown: frozenset[str]) -> Iterator[tuple[int, str]]:
        for node in body:
            if isinstance(node, nodes.Output):
                for child in node.nodes:
                    whole = isinstance(child, nodes.Name) and child.name in shown
                    known = names(child) and names(child) <= constant
                    if not (isinstance(child, nodes.TemplateData) or whole or known):
                        yield child.lineno, "a frame shows a value as it is, like {{ subject }}"
            elif isinstance(node, nodes.If):
                test = node.test.node if isinstance(node.test, nodes.Not) else node.test
                if not (fixed(test) or (isinstance(test, nodes.Name) and test.name == "footer")):
                    yield (
                        node.lineno,
                        "a choice in a frame depends on lang, dir, loop.first and loop.last only",
                    )
                yield from walk([*node.body, *node.elif_, *node.else_], shown)
            elif isinstance(node, nodes.For) and isinstance(node.target, nodes.Name):
                lines = node.iter.node if isinstance(node.iter, nodes.Filter) else None  # see _instrument
                called = lines.node if isinstance(lines, nodes.Call) else None
                footer = isinstance(called, nodes.Getattr) and called.attr == "splitlines"
                if not footer or names(node.iter) != {"footer"} or node.test or node.else_:
                    yield node.lineno, "a loop in a frame goes over footer.splitlines() only"
                yield from walk(node.body, shown | {node.target.name})
            else:
                yield node.lineno, "this tag is not known in a frame"

    shown = frozenset(["content", "lang", "dir", "subject", "sender", "footer"])
    yield from walk(tree.body, shown)


def _instrument(tree: nodes.Template) -> None:
    """Put counters around everything that repeats, grows, or looks at every character."""

    def counted(node: Any, by: str, *arguments: nodes.Expr) -> nodes.Filter:
        return nodes.Filter(node, by, list(arguments), [], None, None, lineno=node.lineno)

    def parts(items: list[nodes.Expr]) -> list[nodes.Expr]:
        static = (nodes.Const, nodes.List, nodes.Tuple, nodes.Dict)
        return [item if isinstance(item, static) else counted(item, "_part") for item in items]

    for node in list(tree.find_all(nodes.Node)):
        if isinstance(node, nodes.For):
            weight = 2 + sum(
                len(below.data) if isinstance(below, nodes.TemplateData) else 1
                for child in (*node.body, *([node.test] if node.test else []))
                for below in (child, *child.find_all(nodes.Node))
            )
            node.iter = counted(node.iter, "_turns", nodes.Const(weight, lineno=node.lineno))
        elif isinstance(node, nodes.Concat):
            node.nodes = parts(node.nodes)
        elif isinstance(node, nodes.List) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
            node.items = parts(node.items)
        elif isinstance(node, nodes.Pair):
            (node.value,) = parts([node.value])
        elif isinstance(node, nodes.Compare):
            node.expr = counted(node.expr, "_cost")
            for operand in node.ops:
                operand.expr = counted(operand.expr, "_cost")
        elif isinstance(node, nodes.Test):
            if node.name not in ("defined", "undefined"):
                node.node = counted(node.node, "_cost")
            node.args = [counted(one, "_cost") for one in node.args or []]
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            node.node = counted(node.node, "_cost")
