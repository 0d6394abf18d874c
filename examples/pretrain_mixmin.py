"""
Pre-train a model on the mixture that MixMin finds for a target.

    python examples/pretrain_mixmin.py                            # small texts that come with Python, seconds
    python examples/pretrain_mixmin.py --source web web.jsonl --source code code/ --target manuals.jsonl

A file has a line {"text": ...} for each document (docs/inputs.md has other forms). The search counts n-grams, which
takes seconds; with `"quick": False` it trains proxy models and compares final ones. Make `sizes` those of your model.
Needs: pip install 'mixwright[lm]' accelerate
"""

import argparse

from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

import tiny_data
from mixwright import use_mixture
from mixwright.experiment import drive, make

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--source", nargs=2, action="append", default=[], metavar=("NAME", "FILE"))
parser.add_argument("--target", metavar="FILE")
parser.add_argument("--run", default="runs/pretrain", metavar="FOLDER")
parser.add_argument("--steps", type=int, default=20)
given = parser.parse_args()
if given.source and not given.target:
    parser.error("--source needs --target: a sample of what the model should be good at")
sources, target = (dict(given.source), given.target) if given.source else tiny_data.texts()

# 1. The mixture.
tokenizer = {"kind": "bpe", "vocab_size": 1024}
search = make("search", {"sources": sources, "targets": {"target": target}, "tokenizer": tokenizer, "quick": True})
print(drive(search, given.run)["verdict"])

# 2. The training. The search has made the tokens.
sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt_neox", vocab_size=1024, **sizes))
settings = {"per_device_train_batch_size": 8, "learning_rate": 2e-3, "logging_steps": 10, "report_to": []}
trainer = Trainer(model, TrainingArguments(f"{given.run}/trainer", max_steps=given.steps, **settings))
tokens = {name: f"{given.run}/tokens/{name}/train" for name in sources}
callback = use_mixture(trainer, tokens, f"{given.run}/mixture.json", context=64)
trainer.train()
trainer.save_model(f"{given.run}/model")
print(callback.loader.ledger().table())  # the shares that were asked for, and those that were drawn
