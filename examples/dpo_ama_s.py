"""
DPO on preference pairs of several tasks, with AMA-S: more pairs of the task that is furthest behind its specialist.

    python examples/dpo_ama_s.py                                  # two tiny tasks and a tiny model, seconds
    python examples/dpo_ama_s.py --source helpful helpful.jsonl --source code code.jsonl --model runs/sft/model

A file has a line {"prompt": ..., "chosen": ..., "rejected": ...} for each pair, texts or chat messages. `--model` is a
folder of transformers, fine-tuned on similar answers. `mixwright prefer` does the same from a YAML file, resumes, and
measures on held-out pairs: docs/preference.md, which also says what AMA-S was worth.
Needs: pip install 'mixwright[preference]'
"""

import argparse

from transformers import AutoModelForCausalLM, TrainingArguments

import tiny_data
from mixwright import AMAS, PreferenceTrainer
from mixwright.preference import (
    PairLoss,
    PairRows,
    encode_pairs,
    load_pair_tokenizer,
    read_pairs,
    reference_log_probabilities,
    score_pairs,
)

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--source", nargs=2, action="append", default=[], metavar=("NAME", "FILE"))
parser.add_argument("--model", metavar="FOLDER")
parser.add_argument("--run", default="runs/dpo", metavar="FOLDER")
parser.add_argument("--steps", type=int, default=20)
given = parser.parse_args()
files, base = dict(given.source) or tiny_data.pairs(), given.model or tiny_data.model()
tokenizer, loss, sources = load_pair_tokenizer(base), PairLoss("sigmoid", beta=0.1), {}


def trainer(name, pairs, weights, **length):
    settings = {"per_device_train_batch_size": 8, "learning_rate": 1e-3, "logging_steps": 10, "report_to": []}
    arguments = TrainingArguments(f"{given.run}/{name}", save_strategy="no", **settings, **length)
    model = AutoModelForCausalLM.from_pretrained(base)
    return PreferenceTrainer(model, arguments, pairs, weights, loss=loss, processing_class=tokenizer)


for name, path in files.items():  # a specialist for each task: one epoch on its pairs alone
    pairs = encode_pairs(read_pairs(path, name), tokenizer, max_length=256)
    reference = reference_log_probabilities(AutoModelForCausalLM.from_pretrained(base), pairs)
    specialist = trainer(f"specialists/{name}", {name: PairRows(pairs, reference)}, "pooled", num_train_epochs=1)
    specialist.train()
    sources[name] = PairRows(pairs, reference, score_pairs(specialist.model, pairs, loss, reference).loss)

generalist = trainer("trainer", sources, AMAS(learning_rate=0.5), max_steps=given.steps)
generalist.train()
generalist.save_model(f"{given.run}/model")
print(generalist.loader.ledger().table())  # the shares that were asked for, and those that were drawn
