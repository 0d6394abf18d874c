"""A tiny Llama on disk with a tokenizer of its own, as transformers saves both, and runs that start from it."""

from pathlib import Path
from typing import Any

from comparing import QUIZ, SMALL
from tiny import KINDS

WORDS = [*" ".join(KINDS.values()).split(), "Question", "Answer", ":"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
STARTED: dict[str, Any] = {  # a comparison of two arms with LoRA
    **SMALL,
    "model": {"path": "llama", "adapter": {"rank": 2}},
    "targets": {"mix": "target.jsonl", "quiz": QUIZ},
    "proxy": {"tokens": 600},
    "final": {**SMALL["final"], "tokens": 4000, "evaluate_every": 100},
    "arms": ["uniform", "mixmin"],
    "charge_search": False,
}


def write_llama(folder: Path, positions: int = 64) -> Path:
    """Write the model and its tokenizer: one token for each word of the sources."""
    import tokenizers
    import torch
    import transformers

    vocabulary = {word: number for number, word in enumerate(["<eos>", "<unk>", *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<eos>"])
    own = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")
    own.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **SIZES, num_key_value_heads=1, vocab_size=len(vocabulary), max_position_embeddings=positions,
        bos_token_id=0, eos_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder
