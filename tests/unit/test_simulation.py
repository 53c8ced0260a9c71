"""Worlds with planted preferences, and the gradients of samplers in them, against what can be summed exactly."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from hnlmrec.alignment import AlignmentConfig, SemanticProjector
from hnlmrec.config import build
from hnlmrec.errors import ConfigError, DataError, UnknownChoiceError
from hnlmrec.losses import bpr
from hnlmrec.models import MODELS
from hnlmrec.negative_sampling import SAMPLERS, SamplerResources
from hnlmrec.rng import RandomStreams
from hnlmrec.simulation.generated import generated_negatives, judge_world
from hnlmrec.simulation.gradients import measure_gradients
from hnlmrec.simulation.ideal import risk_gradient
from hnlmrec.simulation.measures import describe
from hnlmrec.simulation.methods import METHODS, MethodsConfig, choose_methods, positives_of
from hnlmrec.simulation.study import SimulationConfig, simulate, simulation_text
from hnlmrec.simulation.world import WorldConfig, plant_world
from hnlmrec.training import TrainingConfig
from hnlmrec.training.recognised import RecognisedPositives

SMALL = WorldConfig(n_users=40, n_items=60, n_factors=4, liked_share=0.15, text_size=8)


@pytest.fixture(scope="module")
def world():
    return plant_world(SMALL, RandomStreams(0))


def make_model(world, name="mf", size=4, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    model = MODELS[name](world.dataset, MODELS[name].Config(embedding_size=size), generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, scale, generator=generator)
    return model


def make_sampler(world, name, **settings):
    resources = SamplerResources(world.dataset, item_vectors=world.item_texts, embedding_size=4)
    return SAMPLERS[name].build(resources, SAMPLERS[name].Config(**settings))


def measured(world, model, sampler, *, n_draws=100, liked=None):
    truth = torch.from_numpy(world.liked if liked is None else liked)
    rng = torch.Generator().manual_seed(2)
    pairs = positives_of(world.dataset.train, None)
    return measure_gradients(model, sampler, pairs, truth, rng, n_draws=n_draws)


def test_shares_are_those_asked_for():
    config = WorldConfig(n_users=400, n_items=500, liked_share=0.1, observed_share=0.3, valid_share=0.2)
    world = plant_world(config, RandomStreams(3))
    data = world.dataset
    assert world.probabilities.mean() == pytest.approx(0.1, abs=1e-6)
    assert world.liked.mean() == pytest.approx(0.1, rel=0.03)
    observed = len(data.train) + len(data.valid)
    assert observed / world.liked.sum() == pytest.approx(0.3, rel=0.03)
    assert len(data.valid) / observed == pytest.approx(0.2, rel=0.1)
    assert observed + len(data.test) == world.liked.sum()


def test_observed_pairs_are_liked_and_false_negatives_are_the_other_liked_ones(world):
    assert not (world.train & ~world.liked).any()
    assert np.array_equal(world.false_negatives | world.train, world.liked)
    assert world.false_negatives.sum() == len(world.dataset.valid) + len(world.dataset.test)


def test_exposure_is_by_popularity():
    flat, skewed = (
        plant_world(SMALL.model_copy(update={"popularity_skew": skew}), RandomStreams(0)) for skew in (0.0, 2.0)
    )
    spread = [np.sort(w.train.sum(axis=0))[-6:].sum() / w.train.sum() for w in (flat, skewed)]
    assert spread[1] > spread[0] + 0.1


def test_texts_tell_more_with_less_noise_and_nothing_else_changes():
    worlds = [plant_world(SMALL.model_copy(update={"text_snr": snr}), RandomStreams(0)) for snr in (0.1, 10.0)]
    assert np.array_equal(worlds[0].liked, worlds[1].liked)
    assert np.array_equal(worlds[0].train, worlds[1].train)
    told = [np.corrcoef((w.user_texts @ w.item_texts.T).ravel(), w.probabilities.ravel())[0, 1] for w in worlds]
    assert told[0] < 0.3
    assert told[1] > 0.6


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"text_size": 3}, "at least 4"), ({"observed_share": 1e-9, "n_users": 3}, "nothing is observed")],
)
def test_a_world_that_cannot_be_is_refused(changes, match):
    with pytest.raises(DataError, match=match):
        plant_world(SMALL.model_copy(update=changes), RandomStreams(0))


def test_the_risk_gradient_is_that_of_the_sum_over_all_pairs(world):
    model = make_model(world)
    users, items = model.user_embedding, model.item_embedding
    scores = users @ items.T
    terms = []
    for user in range(len(scores)):
        chosen, others = np.flatnonzero(world.liked[user]), np.flatnonzero(~world.liked[user])
        terms.append(functional.softplus(scores[user, others] - scores[user, chosen][:, None]).mean(dim=1).sum())
    loss = torch.stack(terms).sum() / world.liked.sum()
    expected = torch.cat(torch.autograd.grad(loss, [users, items]))
    torch.testing.assert_close(risk_gradient(model, world.liked, ~world.liked), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "n"), [("uniform", 1), ("dns", 8)])
@pytest.mark.parametrize("model_name", ["mf", "lightgcn"])
def test_draws_agree_with_the_exact_expectation(world, model_name, name, n):
    model = make_model(world, model_name)
    settings = {"n_candidates": n} if n > 1 else {}
    halves = measured(world, model, make_sampler(world, name, **settings))
    mean = (halves[0].mean + halves[1].mean) / 2
    exact = risk_gradient(model, world.train, ~world.train, n_candidates=n)
    error = ((halves[0].spread + halves[1].spread) / 2 / 100) ** 0.5  # of the mean of 100 draws
    assert float((mean - exact).norm()) < 1.3 * error
    assert float((mean - exact).norm()) < 0.15 * float(exact.norm())


def test_the_oracle_of_uniform_sampling_draws_true_negatives(world):
    """Uniform given true is uniform over the true ones, which can be summed; the bias is the difference."""
    model = make_model(world)
    halves = measured(world, model, make_sampler(world, "uniform"), n_draws=200)
    exact = risk_gradient(model, world.train, ~world.train)
    oracle = risk_gradient(model, world.train, ~world.liked)
    said = describe(halves, {"oracle": oracle}, world.dataset.n_users)
    assert said["bias"] == pytest.approx(float((exact - oracle).norm() / oracle.norm()), rel=0.15)
    cosine = torch.cosine_similarity(exact.flatten(), oracle.flatten(), dim=0)
    assert said["cosine"] == pytest.approx(float(cosine), abs=0.01)
    assert said["cosine_oracle"] == pytest.approx(said["cosine"], abs=0.01)
    degrees = world.train.sum(axis=1)
    false = world.false_negatives.sum(axis=1) / (world.dataset.n_items - degrees)
    assert said["false_share"] == pytest.approx((false * degrees).sum() / degrees.sum(), rel=0.05)


def test_the_mean_of_the_draws_is_the_gradient_of_the_trainers_loss(world):
    model = make_model(world)
    train = positives_of(world.dataset.train, None)
    sampler = make_sampler(world, "softmax_v", n_negatives=5)
    first, _ = measured(world, model, sampler, n_draws=4)
    rng, each = torch.Generator().manual_seed(2), []
    for _ in range(2):
        negatives = sampler.sample(train.users, train.items, model.propagate(), rng)
        users = model.user_embedding[train.users]
        positive = (users * model.item_embedding[train.items]).sum(1)
        negative = (model.item_embedding[negatives.items] * users[:, None]).sum(2)
        loss = bpr(positive, negative, negatives.weights)
        each.append(torch.cat(torch.autograd.grad(loss, [model.user_embedding, model.item_embedding])))
    torch.testing.assert_close(first.mean, (each[0] + each[1]) / 2, rtol=1e-4, atol=1e-7)


def test_without_false_negatives_there_is_no_bias(world):
    halves = measured(
        world, make_model(world), make_sampler(world, "dns", n_candidates=32), n_draws=4, liked=world.train
    )
    said = describe(halves, {}, world.dataset.n_users)
    assert said["false_share"] == 0
    assert said["bias"] == said["bias_users"] == said["bias_items"] == 0
    assert said["cosine"] > 0.99
    assert np.isnan(said["hardness_false"])


def test_pairs_without_any_true_negative_get_uniform_true_ones(world):
    """A generated negative that is always false leaves its pair without a rule; the share of these is told."""
    table = generated_negatives(world, behaviour_weight=-5.0, per_pair=1)  # seeks what is liked
    generator = torch.Generator().manual_seed(0)
    projector = SemanticProjector(world.item_texts, 4, AlignmentConfig(), generator=generator)
    resources = SamplerResources(world.dataset, table, projector, world.item_texts, 4)
    sampler = SAMPLERS["semantic"].build(resources, SAMPLERS["semantic"].Config(alpha=1.0))
    halves = measured(world, make_model(world), sampler, n_draws=16)
    share = world.liked[table.users, table.items].mean()
    assert share > 0.5
    assert halves[0].facts["unreachable_share"] == pytest.approx(share, abs=0.02)
    assert halves[0].oracle.isfinite().all()


def test_harder_candidates_are_more_often_false_once_the_model_knows_something(world):
    """A model that ranks by the truth: the hardest candidates are the liked ones."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.linalg.svd(torch.from_numpy(np.log(world.probabilities / (1 - world.probabilities))).float())
    users, items = truth[0][:, :4] * truth[1][:4].sqrt(), truth[2][:4].T * truth[1][:4].sqrt()
    model = MODELS["mf"](
        world.dataset, MODELS["mf"].Config(embedding_size=4), generator=generator, initial=(users, items)
    )
    shares = [
        measured(world, model, make_sampler(world, "dns", n_candidates=n), n_draws=8)[0].facts for n in (1, 4, 16)
    ]
    assert shares[0]["false_share"] < shares[1]["false_share"] < shares[2]["false_share"]
    assert shares[0]["hardness"] < shares[1]["hardness"] < shares[2]["hardness"]


def test_an_odd_number_of_draws_is_refused(world):
    with pytest.raises(ValueError, match="even number"):
        measured(world, make_model(world), make_sampler(world, "uniform"), n_draws=5)


def test_generated_negatives_are_unobserved_and_behaviour_makes_them_true():
    world = plant_world(SMALL.model_copy(update={"text_snr": 5.0}), RandomStreams(0))
    near, far = (generated_negatives(world, behaviour_weight=w, per_pair=2) for w in (0.0, 1.0))
    for table in (near, far):
        assert len(table) == 2 * len(world.dataset.train)
        assert not world.train[table.users, table.items].any()
    uniform = world.false_negatives[~world.train].mean()
    assert world.liked[near.users, near.items].mean() > 2 * uniform
    assert world.liked[far.users, far.items].mean() < uniform


def test_the_judge_ranks_false_negatives_above_others_and_the_oracle_knows_them(world):
    judgements = judge_world(world, RandomStreams(0), MethodsConfig().judge)
    table = judgements.estimated.best(3)
    assert world.liked[table.users, table.items].mean() > 1.5 * world.false_negatives[~world.train].mean()
    assert len(judgements.true) == world.false_negatives.sum()


def test_recognised_positives_have_their_share_of_the_weight(world):
    judgements = judge_world(world, RandomStreams(0), MethodsConfig().judge).estimated
    options = TrainingConfig(recognised_share=0.25, recognised_per_user=2)
    pairs = positives_of(world.dataset.train, RecognisedPositives(judgements, options, torch.device("cpu")))
    n = len(world.dataset.train)
    assert float(pairs.weights.sum()) == pytest.approx(1)
    assert float(pairs.weights[n:].sum()) == pytest.approx(0.25)
    assert not world.train[pairs.users[n:], pairs.items[n:]].any()


def test_every_sampler_is_a_method():
    assert {method.sampler for method in METHODS.values()} == set(SAMPLERS)


def test_an_unknown_method_lists_the_choices():
    with pytest.raises(UnknownChoiceError, match="did you mean 'uniform'"):
        choose_methods(("unifrom",))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"epochs": [5, 2]}, "ascend"),
        ({"n_draws": 5}, "n_draws"),
        ({"embedding_size": 40}, "projected"),
        ({"world": {"liked_share": 0.9}}, "liked_share"),
        ({"sampler": {}}, "did you mean 'samplers'"),
    ],
)
def test_a_wrong_configuration_is_refused(values, match):
    with pytest.raises(ConfigError, match=match):
        build(SimulationConfig, values)


def test_a_whole_simulation_is_written_and_repeatable(tmp_path):
    config = SimulationConfig(seeds=(0,), models=("mf",), epochs=(2,), embedding_size=4, n_draws=4, world=SMALL)
    result = simulate(config, tmp_path / "one")
    assert set(result.measures["method"]) == set(METHODS)
    assert len(result.measures) == len(METHODS)
    numbers = result.measures.drop("hardness_false").select(pl.selectors.float())
    assert numbers.to_numpy().min() > -1.01
    assert np.isfinite(numbers.to_numpy()).all()
    guarded = result.measures.filter(pl.col("method") == "dns + true guard")
    assert guarded["false_share"].max() == 0
    assert guarded["bias"].max() == pytest.approx(0, abs=1e-6)
    assert pl.read_parquet(tmp_path / "one/measures.parquet").equals(result.measures)
    described = json.loads((tmp_path / "one/result.json").read_text())
    assert described["config"]["world"]["n_users"] == 40
    assert (tmp_path / "one/bias_hardness.svg").read_text().startswith("<?xml")
    assert "dns + true guard" in simulation_text(result, config)


def test_a_simulation_repeats_to_the_last_digit_and_measures_what_it_trains(tmp_path):
    config = SimulationConfig(
        seeds=(0,),
        models=("lightgcn",),
        methods=("dns", "hnlmrec + guard + recognised"),
        epochs=(2,),
        embedding_size=4,
        n_draws=4,
        world=SMALL,
        outcomes=True,
        training=TrainingConfig(epochs=2, batch_size=64, drawn_per_epoch=0, device="cpu"),
    )
    one, two = (simulate(config, tmp_path / name) for name in ("one", "two"))
    assert one.measures.equals(two.measures, null_equal=True)
    assert one.outcomes.equals(two.outcomes)
    assert one.outcomes["recall@20"].is_between(0, 1).all()
    assert one.measures.filter(pl.col("method") != "dns")["false_positive_share"][0] > 0
