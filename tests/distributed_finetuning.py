"""What `accelerate launch` runs in tests/cli/test_processes.py: MODEL, OUT, after which update to die, [shard]."""

import json
import os
import sys
from pathlib import Path

from hnlmrec.finetuning import CFShape, CollaborativeEncoder, FinetuningConfig, finetune
from hnlmrec.finetuning.inputs import hard_negative_prompt, item_prompt
from hnlmrec.rng import RandomStreams
from tests.unit.finetuning_world import planted_triplets, settings, world

CONFIG = FinetuningConfig(
    epochs=4,
    batch_size=7,  # an odd number, so that the shares have to be filled up
    gradient_accumulation=2,
    learning_rate=3e-3,
    head_learning_rate=3e-3,
    temperature=0.2,
    preference_share=0.5,
    n_random=2,
    checkpoint_every=1,
    shard_base="shard" in sys.argv,
)


def main(model: Path, out: Path, last: int) -> None:
    inputs = world()
    parts = settings(model, lora_dropout=0.0, residual=True, residual_maps=True, heads="per_kind")
    encoder = CollaborativeEncoder(parts, CFShape.of(inputs), seed=1, device="cpu")

    def die(done: int, _total: int, _loss: float) -> None:
        if done == last:
            os._exit(9)

    streams = RandomStreams(0)
    result = finetune(encoder, planted_triplets([7]), inputs, CONFIG, streams=streams, out=out, progress=die)
    if os.environ.get("RANK", "0") == "0":
        prompts = [hard_negative_prompt(0, 1), item_prompt(2)]
        saved = CollaborativeEncoder.load(out, device="cpu")
        assert saved.encode(prompts, inputs).any(), "a new encoder belongs to this process alone"
        (out / "result.json").write_text(json.dumps([result.steps, dict(result.before), dict(result.after)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
