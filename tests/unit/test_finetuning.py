"""The fine-tuning: losses and masks, learning, exact resume, and vectors on disk."""

import json

import numpy as np
import pytest
import torch
from tests.unit.finetuning_world import (
    N_ITEMS,
    N_USERS,
    planted_triplets,
    settings,
    tiny_model,
    train_split,
    world,
)
from tests.unit.text_world import prepared

from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.data.nearest import nearest_items
from hnlmrec.errors import ConfigError, DataError, TrainingDivergedError
from hnlmrec.finetuning import (
    CFShape,
    CollaborativeEncoder,
    FinetuningConfig,
    FinetuningTexts,
    GenerationConfig,
    TextsConfig,
    Triplets,
    finetune,
    generate_embeddings,
    generate_hard_negatives,
    hard_negative_prompt,
    item_prompt,
    preference_prompt,
    trainer,
    vectors_by_number,
)
from hnlmrec.finetuning.batches import contrastive_batch, epoch_batches
from hnlmrec.finetuning.evaluation import area_under_curve
from hnlmrec.finetuning.generate import choose_pairs
from hnlmrec.finetuning.losses import LOSSES, cosines
from hnlmrec.finetuning.updates import learning_rate_factor
from hnlmrec.rng import RandomStreams

CONFIG = {
    "epochs": 1,
    "batch_size": 8,
    "gradient_accumulation": 1,
    "learning_rate": 3e-3,
    "head_learning_rate": 3e-3,
    "temperature": 0.2,
    "anchor_weight": 0.0,
    "warmup_share": 0.0,
}

NONE = np.zeros(0, np.int64)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), n_layers=1)


@pytest.fixture(scope="module")
def inputs():
    return world()


NAMES = ("hard_over_interacted", "hard_over_random")


def make(model, inputs, **changes):
    options = {"lora_dropout": 0.1, **changes}
    return CollaborativeEncoder(settings(model, **options), CFShape.of(inputs), seed=1, device="cpu")


def run(encoder, inputs, out, triplets=None, progress=None, **changes):
    config = FinetuningConfig(**{**CONFIG, **changes})
    triplets = planted_triplets([7]) if triplets is None else triplets
    return finetune(encoder, triplets, inputs, config, streams=RandomStreams(0), out=out, progress=progress)


def losses(folder, name="loss"):
    return [json.loads(line)[name] for line in (folder / "losses.jsonl").read_text().splitlines()]


def test_the_losses_are_their_formulas():
    rng = torch.Generator().manual_seed(0)
    queries, documents = torch.randn(3, 4, generator=rng), torch.randn(5, 4, generator=rng)
    similarity = cosines(queries, documents)
    assert similarity[1, 2] == pytest.approx(float(torch.cosine_similarity(queries[1], documents[2], dim=0)))
    targets, weights = torch.tensor([0, 1, 2]), torch.zeros(3, 5)
    weights[:, 3:] = torch.tensor([1.0, 2.0])
    pairwise = LOSSES["pairwise_logistic"](similarity, targets, weights, 0.05)
    nce = LOSSES["info_nce"](similarity, targets, weights, 0.05)
    for row in range(3):
        gaps = [(similarity[row, row] - similarity[row, b]).item() / 0.05 for b in (3, 4, 4)]
        assert pairwise[row] == pytest.approx(-np.mean([np.log(1 / (1 + np.exp(-gap))) for gap in gaps]), rel=1e-4)
        assert nce[row] == pytest.approx(np.log(1 + sum(np.exp(-gap) for gap in gaps)), rel=1e-4)


def test_a_query_without_negatives_costs_nothing():
    for loss in LOSSES.values():
        similarity = torch.zeros(1, 2, requires_grad=True)
        value = loss(similarity, torch.tensor([0]), torch.zeros(1, 2), 0.05)
        value.sum().backward()
        assert value.item() == 0.0
        assert torch.isfinite(similarity.grad).all()


def test_who_is_whose_negative():
    train = Interactions.from_pairs([0, 0, 1, 2], [0, 1, 1, 2], 3, 6)
    columns = (np.array(values, np.int32) for values in ([0, 1, 2], [0, 1, 2], [4, 2, 5]))
    triplets = Triplets(*columns, np.zeros(3, bool))
    batch = contrastive_batch(triplets, np.zeros(3, bool), train, NONE)
    assert batch.items.tolist() == [0, 1, 2, 4, 5]
    assert batch.items[batch.targets].tolist() == [4, 2, 5]  # the hard items
    # The interacted items of the batch; for user 1 not item 2, which is that user's own positive document.
    assert batch.weights.tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert batch.queries[0] == hard_negative_prompt(0, 0)
    batch = contrastive_batch(triplets, np.ones(3, bool), train, NONE)
    assert batch.items[batch.targets].tolist() == [0, 1, 2]  # the interacted items
    # All items of the batch, item 2 twice, but for those of train(u): 0 and 1 of user 0, 1 of user 1, 2 of user 2.
    assert batch.weights.tolist() == [[0, 0, 2, 1, 1], [1, 0, 2, 1, 1], [1, 1, 0, 1, 1]]
    assert batch.queries[0] == preference_prompt(0, hidden=0)
    mixed = contrastive_batch(triplets, np.array([True, False, False]), train, NONE)
    assert [query.kind for query in mixed.queries] == ["preference", "hard_negative", "hard_negative"]
    assert mixed.items[mixed.targets].tolist() == [0, 2, 5]
    own = contrastive_batch(triplets, np.array([True, False, False]), train, NONE, own_weight=4.0)
    assert own.weights.tolist() == [[0, 0, 2, 4, 1], [1, 4, 0, 0, 0], [1, 1, 4, 0, 0]]  # items 4, 1 and 2
    wider = contrastive_batch(triplets, np.array([True, False, False]), train, np.array([3, 1, 3]))
    assert wider.items.tolist() == [0, 1, 2, 3, 4, 5]
    # User 0 has item 1; the hard-negative task knows no random items.
    assert wider.weights.tolist() == [[0, 0, 2, 2, 1, 1], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]


def test_batches_of_an_epoch_are_of_like_length():
    lengths = np.random.default_rng(0).integers(1, 100, 210)
    batches = epoch_batches(210, 10, lengths, np.random.default_rng(1))
    rows = np.concatenate(batches)
    assert sorted(rows.tolist()) == list(range(210))
    assert np.mean([np.ptp(lengths[batch]) for batch in batches]) < 10
    assert [len(batch) for batch in epoch_batches(25, 10, lengths, np.random.default_rng(1))] == [10, 10]
    assert [len(batch) for batch in epoch_batches(4, 10, lengths, np.random.default_rng(1))] == [4]


def test_the_rate_rises_and_falls():
    factors = [learning_rate_factor(step, 100, 0.1) for step in range(100)]
    assert max(factors) == factors[10] == 1.0
    assert all(np.diff(factors[:11]) > 0)
    assert all(np.diff(factors[10:]) < 0)
    assert 0 < factors[0] < 0.2
    assert 0 < factors[99] < 0.01
    assert learning_rate_factor(0, 1, 0.0) == 1.0


def test_area_under_the_curve():
    assert area_under_curve(np.array([2.0, 3.0]), np.array([1.0, 0.0, -1.0])) == 1.0
    assert area_under_curve(np.array([1.0, 3.0]), np.array([2.0])) == 0.5
    assert area_under_curve(np.array([1.0]), np.array([1.0])) == 0.5


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_planted_is_learned(model, inputs, tmp_path, loss):
    encoder = make(model, inputs, documents="cf", n_soft_tokens=2)
    triplets = planted_triplets()
    result = run(encoder, inputs, tmp_path, triplets, loss=loss, epochs=25)
    curve = losses(tmp_path)
    assert len(curve) == result.steps == 75
    assert np.mean(curve[-5:]) < 0.6 * np.mean(curve[:5])
    pairs = zip(triplets.users, triplets.positives, strict=True)
    asked = encoder.encode([hard_negative_prompt(user, item) for user, item in pairs], inputs)
    unit = inputs.items / np.linalg.norm(inputs.items, axis=1, keepdims=True)
    gain = (asked * (unit[triplets.hard] - unit[triplets.positives])).sum(axis=1)
    assert (gain > 0).mean() > 0.9


def test_both_tasks_and_the_anchor_are_learned_together(model, inputs, tmp_path):
    encoder = make(model, inputs)
    result = run(encoder, inputs, tmp_path, preference_share=0.5, anchor_weight=0.5, epochs=20)
    for name in ("hard_negative", "preference", "anchor"):
        curve = losses(tmp_path, name)
        assert np.mean(curve[-4:]) < np.mean(curve[:4])
    assert set(result.before) == set(result.after)
    assert all(0 <= value <= 1 for value in result.after.values())
    assert result.before["cf_auc_hard"] == result.after["cf_auc_hard"]
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["after"] == result.after
    assert (written["triplets"], written["held_out"]) == (21, 3)
    loaded = CollaborativeEncoder.load(tmp_path, device="cpu")
    prompts = [hard_negative_prompt(0, 1), preference_prompt(3), item_prompt(2)]
    np.testing.assert_array_equal(loaded.encode(prompts, inputs), encoder.encode(prompts, inputs))


def test_the_step_sizes_are_those_of_the_groups(model, inputs, tmp_path):
    encoder = make(model, inputs)
    before = {name: value.detach().clone() for name, value in encoder.trainable().items()}
    run(encoder, inputs, tmp_path, max_steps=1, learning_rate=1e-9, head_learning_rate=1e-2)
    moved = {
        name: float((value.detach() - before[name]).abs().max()) for name, value in encoder.trainable().items()
    }
    assert max(size for name, size in moved.items() if "lora_" in name) < 1e-7
    assert min(size for name, size in moved.items() if "lora_" not in name) > 1e-4


@pytest.mark.parametrize(("maps_rate", "expected"), [(None, 1e-9), (1e-2, 1e-2)])
def test_maps_have_a_step_size_of_their_own(model, inputs, tmp_path, maps_rate, expected):
    encoder = make(model, inputs, residual=True, residual_maps=True, documents="cf")
    rates = {"learning_rate": 1e-9, "head_learning_rate": 1e-9, "maps_learning_rate": maps_rate}
    run(encoder, inputs, tmp_path, max_steps=1, preference_share=0.5, **rates)
    moved = float(encoder.residual_maps.chosen.detach().abs().max())  # AdamW's first update is of the step size
    assert moved == pytest.approx(expected, rel=0.01)


def test_opposite_tasks_are_learned_by_maps_of_their_own(model, inputs, tmp_path):
    """The hard-negative query turns away from the chosen item, the other one towards it; texts are fixed."""
    rates = {"learning_rate": 1e-9, "head_learning_rate": 1e-9, "maps_learning_rate": 3e-2}
    shared = {"residual": True, "documents": "cf", "lora_dropout": 0.0}
    gains = {}
    for name, changes in {"without": {}, "with": {"residual_maps": True}}.items():
        encoder = make(model, inputs, **shared, **changes)
        result = run(encoder, inputs, tmp_path / name, preference_share=0.5, epochs=25, own_weight=4.0, **rates)
        curve = losses(tmp_path / name)
        assert result.steps == len(curve) == 50
        gains[name] = np.mean(curve[-15:]) / np.mean(curve[:15])
    assert gains["without"] > 0.8
    assert gains["with"] < 0.6


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("evaluate_every", "parts"),
    [(0, {}), (2, {}), (2, {"residual": True, "residual_maps": True, "heads": "per_kind"})],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(model, inputs, tmp_path, evaluate_every, parts):
    options = {"epochs": 8, "preference_share": 0.5, "gradient_accumulation": 2, "checkpoint_every": 3}
    options["evaluate_every"] = evaluate_every
    whole = make(model, inputs, **parts)
    expected = run(whole, inputs, tmp_path / "whole", **options)

    def kill(done, total, loss):
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        run(make(model, inputs, **parts), inputs, tmp_path / "killed", progress=kill, **options)
    told = []
    resumed = make(model, inputs, **parts)
    result = run(resumed, inputs, tmp_path / "killed", progress=lambda *now: told.append(now[0]), **options)
    assert told[0] == 4  # after the checkpoint of update 3
    assert result == expected
    assert resumed.fingerprint == whole.fingerprint
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    if evaluate_every:
        curves = [(tmp_path / name / "evaluations.jsonl").read_text() for name in ("killed", "whole")]
        assert curves[0] == curves[1]
    assert not (tmp_path / "killed" / "checkpoint.safetensors").exists()


def test_the_best_encoder_on_held_out_triplets_is_kept(model, inputs, tmp_path, caplog, monkeypatch):
    """Measured at 0, 2 and 4 updates: that of the highest quality is written, and the encoder put back to it."""
    states, measured = {}, []

    def remember(done, total, loss):
        states[done] = encoder.fingerprint

    monkeypatch.setattr(trainer, "evaluate_triplets", lambda *_, **__: dict.fromkeys(NAMES, measured.pop(0)))
    for kept, qualities in ((0, (0.6, 0.2, 0.5)), (2, (0.1, 0.7, 0.4)), (4, (0.1, 0.3, 0.4))):
        measured[:] = qualities
        encoder, out = make(model, inputs), tmp_path / f"kept-{kept}"
        result = run(encoder, inputs, out, epochs=4, max_steps=4, evaluate_every=2, progress=remember)
        assert (result.steps, result.kept) == (4, kept)
        assert set(result.after.values()) == {max(qualities)}
        assert json.loads((out / "metrics.json").read_text())["kept"] == kept
        assert CollaborativeEncoder.load(out, device="cpu").fingerprint == encoder.fingerprint
        assert [done for done, state in states.items() if state == encoder.fingerprint] == [kept] * (kept > 0)
        assert ("the encoder as it was is kept" in caplog.text) == (kept == 0)
        caplog.clear()


def test_a_checkpoint_of_another_run_is_refused(model, inputs, tmp_path):
    def kill(done, total, loss):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        run(make(model, inputs), inputs, tmp_path, epochs=2, checkpoint_every=1, progress=kill)
    with pytest.raises(ConfigError, match="differs in: config"):
        run(make(model, inputs), inputs, tmp_path, epochs=3)
    with pytest.raises(ConfigError, match="differs in: encoder"):
        run(make(model, inputs, pooling="mean"), inputs, tmp_path, epochs=2)


def test_a_run_leaves_the_global_generator_alone_and_repeats_itself(model, inputs, tmp_path):
    before = torch.get_rng_state()
    for name in ("one", "two"):
        run(make(model, inputs), inputs, tmp_path / name, max_steps=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert losses(tmp_path / "one") == losses(tmp_path / "two")


def test_gradient_checkpointing_changes_no_loss(model, inputs, tmp_path):
    for flag in (False, True):
        run(make(model, inputs), inputs, tmp_path / str(flag), max_steps=3, gradient_checkpointing=flag)
    np.testing.assert_allclose(losses(tmp_path / "True"), losses(tmp_path / "False"), rtol=1e-4)


def test_random_negatives_and_bfloat16_can_be_trained_with(model, inputs, tmp_path):
    config = settings(model, documents="cf")
    encoder = CollaborativeEncoder(config, CFShape.of(inputs), seed=1, device="cpu", precision="bfloat16")
    run(encoder, inputs, tmp_path, preference_share=1.0, n_random=5, epochs=10)
    curve = losses(tmp_path)
    assert np.mean(curve[-4:]) < np.mean(curve[:4])
    assert "hard_negative" not in json.loads((tmp_path / "losses.jsonl").read_text().splitlines()[0])


def test_bad_runs_are_told(model, inputs, tmp_path):
    with pytest.raises(DataError, match="all triplets are held out"):
        run(make(model, inputs), inputs, tmp_path, planted_triplets(range(N_USERS)))
    with pytest.raises(ConfigError, match="outputs of length 3 with CF vectors of length 6"):
        run(make(model, inputs, output_size=3), inputs, tmp_path, anchor_weight=0.1)
    broken = make(model, inputs)
    with torch.no_grad():
        broken.head[0].weight.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError, match="update 1 is nan"):
        run(broken, inputs, tmp_path, planted_triplets())


@pytest.fixture(scope="module")
def dataset():
    empty = Interactions.from_pairs([], [], N_USERS, N_ITEMS)
    users = Vocabulary((f"u{n}" for n in range(N_USERS)), "user")
    items = Vocabulary((f"i{n}" for n in range(N_ITEMS)), "item")
    return InteractionDataset(users, items, train_split(), empty, empty)


def test_vectors_of_all_pairs(model, inputs, dataset, tmp_path):
    encoder, config = make(model, inputs), GenerationConfig(chunk_size=5, batch_size=3)
    table = generate_hard_negatives(encoder, inputs, dataset, config, streams=RandomStreams(0), out=tmp_path)
    assert len(table) == len(dataset.train)
    assert table.vectors.dtype == np.float16
    loaded = HardNegativeTable.load(tmp_path, dataset)
    vectors, found = loaded.lookup([2, 2], [3, 9])
    assert found[:, 0].tolist() == [True, False]  # (2, 9) is no train pair
    expected = encoder.encode([hard_negative_prompt(2, 3)], inputs)
    np.testing.assert_allclose(vectors[0], expected, atol=2e-3)
    assert (loaded.items == -1).all()


def test_a_vector_stands_for_the_nearest_item_that_the_user_has_not(model, inputs, dataset, tmp_path):
    encoder, config = make(model, inputs), GenerationConfig(granularity="per_user")
    catalogue = generate_embeddings(encoder, inputs, dataset, "items", config, out=tmp_path)
    table = generate_hard_negatives(
        encoder, inputs, dataset, config, streams=RandomStreams(0), out=tmp_path, catalogue=catalogue
    )
    items, _ = catalogue.rows(dataset.items.all_ids)
    nearest = nearest_items(table.vectors, table.users, items, (dataset.train,))
    assert table.items.tolist() == nearest[:, 0].tolist()
    assert not dataset.train.contains(table.users, table.items).any()


def test_vectors_of_users_stand_for_all_their_pairs(model, inputs, dataset, tmp_path):
    encoder = make(model, inputs)
    for granularity, k, count in (("per_user", 1, 1), ("k_per_user", 2, 2)):
        config = GenerationConfig(granularity=granularity, k=k)
        table = generate_hard_negatives(
            encoder, inputs, dataset, config, streams=RandomStreams(0), out=tmp_path / granularity
        )
        assert len(table) == N_USERS * count
        assert table.max_per_pair == count
        assert table.lookup([4], [5], k=count)[1].all()
    with pytest.raises(ValueError, match="k is read with granularity k_per_user"):
        GenerationConfig(k=2)


def test_pairs_are_drawn_by_the_seed(dataset):
    config = GenerationConfig(max_pairs_per_user=2)
    users, items = choose_pairs(dataset, config, RandomStreams(0))
    assert np.bincount(users).tolist() == [2] * N_USERS
    assert dataset.train.contains(users, items).all()
    again = choose_pairs(dataset, config, RandomStreams(0))[1]
    other = choose_pairs(dataset, config, RandomStreams(1))[1]
    np.testing.assert_array_equal(items, again)
    assert (items != other).any()


def test_vectors_of_items_and_users(model, inputs, dataset, tmp_path):
    encoder = make(model, inputs)
    for kind, prompts, ids in (
        ("items", [item_prompt(n) for n in range(N_ITEMS)], dataset.items),
        ("users", [preference_prompt(n) for n in range(N_USERS)], dataset.users),
    ):
        generate_embeddings(encoder, inputs, dataset, kind, GenerationConfig(dtype="float32"), out=tmp_path)
        vectors = vectors_by_number(EmbeddingTable.load(tmp_path, kind), ids)
        np.testing.assert_allclose(vectors, encoder.encode(prompts, inputs), atol=1e-5)


def test_a_killed_generation_goes_on_and_other_inputs_begin_anew(model, inputs, dataset, tmp_path):
    encoder, config = make(model, inputs), GenerationConfig(chunk_size=10)

    def kill(done, total):
        if done > 10:
            raise Killed

    arguments = {"streams": RandomStreams(0), "out": tmp_path}
    with pytest.raises(Killed):
        generate_hard_negatives(encoder, inputs, dataset, config, **arguments, progress=kill)
    told = []
    table = generate_hard_negatives(
        encoder, inputs, dataset, config, **arguments, progress=lambda *now: told.append(now[0])
    )
    assert told[0] == 20
    prompts = [hard_negative_prompt(u, i) for u, i in zip(table.users, table.positives, strict=True)]
    np.testing.assert_allclose(table.vectors, encoder.encode(prompts, inputs), atol=2e-3)
    moved = type(inputs)(inputs.texts, inputs.users + 1, inputs.items)
    told.clear()
    generate_hard_negatives(
        encoder, moved, dataset, config, **arguments, progress=lambda *now: told.append(now[0])
    )
    assert told[0] == 10


def test_a_table_that_lacks_ids_is_told(dataset):
    table = EmbeddingTable(Vocabulary(["u0", "u1"]), np.zeros((2, 3), np.float32))
    with pytest.raises(DataError, match="lacks 6 of 8 users, for example 'u2'") as error:
        vectors_by_number(table, dataset.users)
    assert "same prepared data set" in str(error.value)


def test_texts_show_train_items_only(tmp_path):
    """Other held-out interactions leave every text as it is."""
    clean = FinetuningTexts.load(prepared(tmp_path / "clean", valid=(), test=()), TextsConfig(), RandomStreams(0))
    folder = prepared(tmp_path / "poisoned", valid=((0, 4), (1, 9)), test=((0, 5), (2, 6)))
    texts = FinetuningTexts.load(folder, TextsConfig(), RandomStreams(0))
    assert [texts.user(user) for user in range(3)] == [clean.user(user) for user in range(3)]
    assert texts.digest == clean.digest
    assert sorted(texts.user(0).split("; ")) == ["GoldenEye", "Toy Story", "Twins"]
    assert "Toy Story" not in texts.user(0, hidden=0)
    assert texts.items[1] == "GoldenEye. 1995; Action, Thriller."


def test_profiles_take_the_place_of_histories(tmp_path):
    folder = prepared(tmp_path / "data", profiles=True)
    written = {"item_profiles": {"i0": "A <film> of toys"}, "user_profiles": {"u1": "Likes fear."}}
    texts = FinetuningTexts.load(folder, TextsConfig(max_history=1), RandomStreams(0), **written)
    assert texts.items[0].endswith("A ‹film› of toys.")
    assert (texts.user(0), texts.user(1)) == ("Likes toys.", "Likes fear.")
    assert texts.user(2) == "Contact"  # a blank profile is none
    history = FinetuningTexts.load(folder, TextsConfig(user_text="history"), RandomStreams(0), **written)
    assert "Toy Story" in history.user(0)
    profile = FinetuningTexts.load(folder, TextsConfig(user_text="profile"), RandomStreams(0), **written)
    assert profile.user(2) == ""
