"""The oldest supported Python makes the same messages: the library's header code differs there.

Every CPython 3.11 can use the libraries that are installed for this one, so nothing is installed anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import ENVIRONMENT

HERE = Path(__file__).parent


def older() -> list[str]:
    """Return other interpreters of this minor version with a smaller micro version."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = {os.environ.get("OLDEST_PYTHON"), shutil.which(name), f"/usr/bin/{name}"}
    found = []
    for path in filter(None, places):
        if Path(path).exists():
            ask = [path, "-c", "import sys; print(*sys.version_info[:3])"]
            version = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split()
            if [int(part) for part in version] < list(sys.version_info[:3]) and version:
                found.append(path)
    return sorted(found)


def test_messages_are_right_on_the_oldest_python_too() -> None:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("another Python than the oldest supported minor version runs the tests")
    interpreters = older()
    if not interpreters:
        pytest.skip(f"no older CPython 3.11 than {sys.version.split()[0]} is here")
    places = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    libraries = os.pathsep.join([str(HERE.parent), *places])
    for path in interpreters:
        run = [path, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
        run += [str(HERE / "test_any_contact.py"), str(HERE / "test_message.py")]
        done = subprocess.run(
            run,
            cwd=HERE.parent,
            env=ENVIRONMENT | {"PYTHONPATH": libraries, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        assert " passed" in done.stdout
