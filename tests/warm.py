"""What a command loads when it needs it, loaded before the fork (forked.py): libraries, tables, locales."""

import gc
import importlib
from pathlib import Path

_MODULES = (
    *("babel.core", "charset_normalizer", "css_inline", "email_validator", "idna.uts46data", "langcodes"),
    *("pytest", "rich.progress"),
    *("outreach.asking", "outreach.clean", "outreach.cli", "outreach.mailing", "outreach.preview"),
    *("outreach.project", "outreach.proofs", "outreach.rehearsal", "outreach.report", "outreach.screens"),
)
for _name in _MODULES:
    importlib.import_module(_name)

from outreach import columns, languages, salutations  # noqa: E402

columns.field_of("Adresse")
columns.gender("Frau")
languages.country_code("Deutschland")
languages.language_code("Deutsch")
languages.chain("de", "CH", "en", ("fr", "it"))
for _file in (Path(__file__).parent.parent / "templates" / "_languages").glob("*.toml"):
    salutations.parse(f"_languages/{_file.name}", _file.read_text("utf-8"))
gc.collect()
gc.freeze()  # no child looks through all this again
