"""One rank of a training, or a whole one: python training_on_a_rank.py TOKENS FOLDER KIND STRATEGY [ACCUMULATE]."""

import sys

import torch

from mixwright import PiKE, Static
from mixwright.text import TokenStore, byte_tokenizer
from mixwright.training.language_model import train
from mixwright.training.ranks import started_ranks
from mixwright.training.settings import TrainingSettings

SPEC = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def main(tokens, folder, kind, stop=0, accumulate=1):
    stores = {name: TokenStore.open(f"{tokens}/{name}") for name in ("abc", "digits")}
    settings = TrainingSettings(
        steps=12,
        batch_size=8,
        context=16,
        learning_rate=3e-3,
        evaluate_every=6,
        observe_every=4,
        lag=1,
        accumulate=accumulate,
        checkpoint_seconds=0.0,
    )

    def progress(stage, done, total, note):
        if stop and done == stop:
            raise SystemExit(3)

    def evaluate(model):
        model.eval()
        with torch.inference_mode():
            return {
                "x": float(model(input_ids=torch.arange(8)[None], use_cache=False).logits.float().logsumexp(-1).mean())
            }

    with started_ranks(kind) as ranks:
        strategy = PiKE(rule="restoring") if kind else Static([0.5, 0.5])
        result = train(SPEC, stores, strategy, settings, folder, byte_tokenizer(), progress, evaluate, ranks=ranks)
        assert abs(sum(result.weights.values()) - 1) < 1e-9


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
