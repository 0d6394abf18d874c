import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from mixwright.text import byte_tokenizer, write_tokens

NEOX = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA = {"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(params=[NEOX, LLAMA], ids=["gpt_neox", "llama"])
def spec(request):
    return request.param


@pytest.fixture
def stores(tmp_path, tokenizer):
    texts = {"abc": ["abcabcabc" * 30] * 20, "digits": [f"{i * i} " * 9 for i in range(100)]}
    return {name: write_tokens(tmp_path / "tokens" / name, docs, tokenizer) for name, docs in texts.items()}
