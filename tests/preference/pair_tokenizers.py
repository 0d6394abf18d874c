"""Small tokenizers of transformers, trained on a few sentences."""

from typing import Any

import tokenizers
import transformers

TEXTS = [
    "What is the capital of France? Paris. Berlin.",
    "Human: how are you\n\nAssistant: fine, thank you. I am not well.",
    "Is the following statement something you would say? Yes No",
    "the quick brown fox jumps over the lazy dog 0123456789",
]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def small_tokenizer(bos: bool = False, template: str | None = None) -> Any:
    """Return a byte-level BPE with EOS "</s>"; `bos`: "<s>" is put before every text."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS * 3, trainer)
    if bos:
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
        )
    loaded = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    loaded.chat_template = template
    return loaded
