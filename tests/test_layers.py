"""The module table of docs/architecture.md is true, and `--help` stays light."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "outreach"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
_ROW = re.compile(r"^\| (\d) \| `(\w+)\.py` \| .+ \|$", re.MULTILINE)
TABLE = [
    (int(layer), name) for layer, name in _ROW.findall((ROOT / "docs/architecture.md").read_text("utf-8"))
]

IMPORTERS = {
    "aiosmtpd": {"rehearsal"},
    "babel": {"languages"},
    "charset_normalizer": {"charsets"},
    "click": {"after", "before", "console", "during", "shell"},
    "css_inline": {"letters"},
    "dns": {"dns"},
    "dotenv": {"settings"},
    "email_validator": {"address"},
    "flufl": {"bounces"},
    "imapclient": {"files", "wire"},
    "jinja2": {"letters", "sandbox"},
    "langcodes": {"languages"},
    "markdown_it": {"markdown"},
    "python_calamine": {"sheets"},
    "rich": {"console"},
    "smtplib": {"connection"},
    "sqlalchemy": {"ledger", "received", "schema"},
    "sqlite3": {"ledger"},
    "tenacity": {"connection"},
    "tomli": {"phrases"},
    "xlsxwriter": {"clean"},
}
HEAVY = (
    "aiosmtpd",
    "babel",
    "charset_normalizer",
    "css_inline",
    "dns",
    "dotenv",
    "email_validator",
    "flufl",
    "imapclient",
    "jinja2",
    "langcodes",
    "markdown_it",
    "python_calamine",
    "rich",
    "sqlalchemy",
    "tenacity",
    "tomli",
    "xlsxwriter",
)


@functools.cache
def imported(module: str) -> tuple[tuple[int, str], ...]:
    """Return (line, dotted name) of every import, also those inside functions and under TYPE_CHECKING."""
    found: list[tuple[int, str]] = []
    tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}.py:{node.lineno}: a relative import"
            assert node.module is not None
            if node.module == "outreach":
                names = [alias.name for alias in node.names]
                found += (
                    (node.lineno, f"outreach.{name if name in MODULES else '__init__'}") for name in names
                )
            else:
                found.append((node.lineno, node.module))
    return tuple(found)


def test_the_table_names_every_module_once() -> None:
    assert sorted(name for _, name in TABLE) == MODULES


def test_the_table_is_ordered_by_layer() -> None:
    layers = [layer for layer, _ in TABLE]
    assert layers == sorted(layers)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_above_it(module: str) -> None:
    order = [name for _, name in TABLE]
    above = order[: order.index(module)]
    wrong = [
        f"{module}.py:{line} imports {name}"
        for line, name in imported(module)
        if name.startswith("outreach.") and name.split(".")[1] not in above
    ]
    assert wrong == []


@pytest.mark.parametrize("library", IMPORTERS)
def test_a_library_is_imported_where_the_design_says(library: str) -> None:
    found = {
        module for module in MODULES for _, name in imported(module) if name.partition(".")[0] == library
    }
    assert found == IMPORTERS[library]


def loads(*arguments: str) -> tuple[str, set[str]]:
    """Return what a command says, and the libraries that it loads."""
    code = "import sys; from outreach.cli import run; run(sys.argv[1:]); print('\\n', *sys.modules)"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout, {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_loads_nothing_heavy() -> None:
    said, loaded = loads("--help")
    assert "rehearse" in said
    assert "click" in loaded
    assert sorted(loaded & set(HEAVY)) == []


def test_checking_a_list_loads_neither_ledger_nor_letters() -> None:
    said, loaded = loads("contacts", "check", "contacts.example.csv")
    assert "contacts.example.csv: " in said
    assert "email_validator" in loaded
    assert sorted(loaded & {"sqlalchemy", "jinja2", "markdown_it"}) == []
