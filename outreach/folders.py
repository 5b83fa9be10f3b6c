"""Which folders of a mailbox hold spam and sent mail, told by their names (folders.toml).

Only asked where a server does not mark them itself (RFC 6154), and of Maildirs. The table is read once.
Known limits: a folder with a name of its own has to be named by the user.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal


def is_for(use: Literal["spam", "sent"], path: Sequence[str]) -> bool:
    """Tell whether a folder, given with those it lies in, is by its name for spam or for sent mail."""
    *above, name = map(_plain, path)
    return name in _names(use) and _names("above").issuperset(above)


@cache
def _names(use: str) -> frozenset[str]:
    data = tomllib.loads(Path(__file__).with_name("folders.toml").read_text("utf-8"))
    names = data["above"] if use == "above" else [name for row in data["names"] for name in row[use]]
    return frozenset(map(_plain, names))


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
