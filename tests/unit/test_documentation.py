"""The documentation cannot rot: the README's tree is the tree, and links lead somewhere."""

import hashlib
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_readme_lists_every_file_of_the_package():
    specification = importlib.util.spec_from_file_location("tree", ROOT / "docs/tree.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    shown = module.BLOCK.search(module.README.read_text(encoding="utf-8"))
    assert shown, "README.md has no file tree"
    assert shown[0] == module.tree(), "run `make readme`"
    bare = [line.split()[0] for line in shown[0].splitlines() if len(line.split()) == 1 and not line.endswith("/")]
    assert not bare, "these files do not say what they are"


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_secret_scan_finds_a_key(tmp_path):
    command = [ROOT / ".ci/secrets"]
    if not (ROOT / ".venv/bin/detect-secrets-hook").exists():
        pytest.skip("detect-secrets is not installed in .venv")
    (tmp_path / "clean.py").write_text('digest = "' + hashlib.sha256(b"").hexdigest() + '"\n')
    assert subprocess.run([*command, tmp_path / "clean.py"], check=False, capture_output=True).returncode == 0
    (tmp_path / "leak.py").write_text("key = 'AKIA" + "QYLPMN5HHHFPZAM2'\n")
    assert subprocess.run([*command, tmp_path / "leak.py"], check=False, capture_output=True).returncode == 1
