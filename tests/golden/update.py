"""Writes the golden loss sequences anew, and says which changed: `python -m tests.golden.update`.

Look at what changed before you commit it: a number here may only change on purpose.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tests.golden.cases import loss_sequence, names

PATH = Path(__file__).parent / "loss_sequences.json"


def main() -> None:
    torch.set_num_threads(1)
    before = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    after = {name: loss_sequence(name) for name in names()}
    lines = [f"  {json.dumps(name)}: {json.dumps(case)}" for name, case in after.items()]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            print("new" if name not in before else "gone" if name not in after else "changed", name)


if __name__ == "__main__":
    main()
