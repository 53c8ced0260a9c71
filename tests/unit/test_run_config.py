from __future__ import annotations

import pytest

from hnlmrec.errors import ConfigError
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.shipped import build_run_config


def given(*settings: str) -> RunConfig:
    return build_run_config({"data": {"source": "folder"}}, settings, "the test")


def test_keys_of_a_section_can_be_set_without_its_default_name() -> None:
    settings = [
        "model.embedding_size=7",
        "sampler.alpha=0.25",
        "pretrain.model.embedding_size=256",
        "pretrain.sampler.n_candidates=3",
    ]
    config = given(*settings)
    assert (config.model.name, config.model.embedding_size) == ("lightgcn", 7)
    assert (config.sampler.name, config.sampler.alpha) == ("semantic", 0.25)
    assert (config.pretrain.model.name, config.pretrain.model.embedding_size) == ("lightgcn", 256)
    assert (config.pretrain.sampler.name, config.pretrain.sampler.n_candidates) == ("dns", 3)


def test_absent_sections_are_those_of_the_default_names() -> None:
    config = given()
    assert config == given("model.name=lightgcn", "sampler.name=semantic", "pretrain.sampler.name=dns")
    assert RunConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("pretrain.model.embedding=8", r"pretrain\.model\.lightgcn\.embedding: unknown key.*'embedding_size'"),
        ("pretrain.sampler.name=dms", r"pretrain\.sampler.*'dms'.*'dns'"),
        ("model=3", r"model: .*given: 3"),
        ("compare.samplers=[{n_candidates=3}]", r"compare\.samplers\.0: .*'name'"),
    ],
)
def test_a_wrong_section_is_refused(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        given(setting)
