"""Fuzz one target with atheris (libFuzzer): `python fuzz/run.py TARGET [--seconds 60] [--corpus FOLDER]`.

atheris is no dependency of the package: `pip install atheris` first. Inputs grow by coverage of the package.
It ends at the first fault, and leaves the input in `crash-…`; a mended one becomes a test in
tests/property/test_hostile_input.py. The last lines tell the number of inputs tried.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

import atheris

TARGETS = {
    **dict.fromkeys(("reply", "answer", "headers", "prompt_field", "prompt_file"), "texts"),
    **dict.fromkeys(("config", "folder", "lightgcn", "packed"), "files"),
}


def main() -> None:
    """Fuzz the target that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="a folder of inputs that is kept and added to")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    with atheris.instrument_imports(include=["hnlmrec"]):
        module = importlib.import_module(TARGETS[options.target])
    corpus = options.corpus or Path(tempfile.mkdtemp())
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(module.SEEDS[options.target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [sys.argv[0], f"-max_total_time={options.seconds}", "-max_len=4096", "-print_final_stats=1"]
    atheris.Setup([*arguments, str(corpus)], module.TARGETS[options.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
