"""What travels in the wheel: letter and list, so that a rehearsal works in any folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import ENVIRONMENT

CHECKOUT = Path(__file__).parent.parent


def test_installed_from_its_wheel_a_rehearsal_works_in_an_empty_folder(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path / "dist", CHECKOUT], check=True
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = ENVIRONMENT | {"PYTHONPATH": str(site)}
    where = [sys.executable, "-c", "import outreach; print(outreach.__file__)"]
    found = subprocess.run(where, cwd=empty, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(site / "outreach" / "__init__.py"), "not the checkout"
    run = [sys.executable, "-m", "outreach", "rehearse", "--json"]
    done = subprocess.run(run, cwd=empty, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["totals"]["deliveries"] == 60
    subprocess.run([*run[:-2], "init", "made"], cwd=empty, env=environment, check=True)
    assert (empty / "made" / "templates" / "solidarity" / "ru.md").exists()
