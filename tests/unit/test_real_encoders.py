"""Real models: the sentence encoder and the chat model that the demo uses."""

import numpy as np
import pytest

from hnlmrec.encoders import CausalLMEncoder, SentenceTransformerEncoder

pytestmark = pytest.mark.real_llm

TITLES = [
    "Toy Story (1995), animated film for children",
    "A Bug's Life, animated comedy for children",
    "Treatise on tax law",
]


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("sentence_transformers")
    return SentenceTransformerEncoder("all-minilm-l6-v2", device="cpu")


@pytest.fixture(scope="module")
def smollm():
    pytest.importorskip("gguf")
    return CausalLMEncoder("smollm2-135m-instruct", device="cpu", max_length=64)


@pytest.mark.parametrize("name", ["minilm", pytest.param("smollm", marks=pytest.mark.slow)])
def test_meaning_and_batches(name, request, capfd):
    encoder = request.getfixturevalue(name)
    texts = [*TITLES, "", "x", TITLES[0]]
    together = encoder.encode(texts, batch_size=4)
    assert together.shape == (6, encoder.size)
    alone = np.concatenate([encoder.encode([text], batch_size=1) for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-4 * np.abs(alone).max())
    assert not together[3].any()
    np.testing.assert_array_equal(together[0], together[5])
    toy, bug, tax = (vector / np.linalg.norm(vector) for vector in together[:3])
    assert toy @ bug > toy @ tax + 0.05
    assert capfd.readouterr().out == ""  # the bars of a loading model would break --json


@pytest.mark.slow
def test_last_token_pooling_reads_the_whole_text(smollm):
    encoder = CausalLMEncoder(str(smollm.path), device="cpu", max_length=64, pooling="last", template="{text} is")
    encoder.__dict__["_model"] = smollm._model  # the same weights, loaded once
    one, other = encoder.encode(["a good film", "a dull film"], batch_size=2)
    assert not np.allclose(one, other)
    np.testing.assert_allclose(encoder.encode(["a dull film"])[0], other, atol=1e-3 * np.abs(other).max())
