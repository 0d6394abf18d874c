"""
Fine-tune on several tasks with TRL's SFTTrainer, while PiKE moves the weights of the tasks.

    python examples/sft_pike.py                                   # two tiny tasks and a tiny model, seconds
    python examples/sft_pike.py --source chat chat.jsonl --source code code.jsonl --model models/smollm2

A file has a line {"prompt": ..., "completion": ...} (or "messages", or "text") for each example. `--model` is a folder
of transformers, or a name on the hub. In place of "PiKE" goes any strategy, a mixture.json, or weights; docs/which.md
says when weights that move are worth it. Needs: pip install 'mixwright[trl]'
"""

import argparse
import json
from pathlib import Path

from datasets import Dataset, concatenate_datasets
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

import tiny_data
from mixwright import use_mixture

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--source", nargs=2, action="append", default=[], metavar=("NAME", "FILE"))
parser.add_argument("--model", metavar="FOLDER")
parser.add_argument("--run", default="runs/sft", metavar="FOLDER")
parser.add_argument("--steps", type=int, default=40)
given = parser.parse_args()
files, model = dict(given.source) or tiny_data.tasks(), given.model or tiny_data.model()
texts = {name: Path(path).read_text(encoding="utf-8") for name, path in files.items()}
tasks = {name: [json.loads(line) for line in text.split("\n") if line] for name, text in texts.items()}

settings = {"per_device_train_batch_size": 8, "learning_rate": 1e-3, "logging_steps": 10, "report_to": []}
settings |= {"bf16": False, "gradient_checkpointing": False}  # for a CPU; a large model may need both
trainer = SFTTrainer(
    AutoModelForCausalLM.from_pretrained(model),
    SFTConfig(f"{given.run}/trainer", max_steps=given.steps, max_length=256, loss_type="nll", **settings),
    train_dataset=concatenate_datasets([Dataset.from_list(rows) for rows in tasks.values()]),
    processing_class=AutoTokenizer.from_pretrained(model),
)
sources, first = {}, 0
for name, rows in tasks.items():  # SFTTrainer made tokens of all rows, in the same order
    sources[name] = trainer.train_dataset.select(range(first, first + len(rows)))
    first += len(rows)
callback = use_mixture(trainer, sources, "PiKE", collate="trainer", log=f"{given.run}/decisions.jsonl")
trainer.train()
trainer.save_model(f"{given.run}/model")
print(callback.loader.ledger().table())  # the shares that were asked for, and those that were drawn
