"""
Trainings on one and two ranks (gloo, CPU), each rank a fork of this process: torch is imported once.

Usage: python trainings_on_ranks.py TOKENS FOLDER. FOLDER/NAME is each training, codes.json has the exit codes.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from mixwright import DoReMi, PiKE
from mixwright.steering.known import read_record
from mixwright.steering.orders import Order, add_order, read_orders, write_orders
from mixwright.text import TokenPart, TokenStore, byte_tokenizer
from mixwright.training.language_model import train
from mixwright.training.model import build_model
from mixwright.training.ranks import started_ranks
from mixwright.training.reference import Reference
from mixwright.training.settings import TrainingSettings
from two_ranks import in_ranks

SPEC = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
STOPPED = 3
# name, kind, ranks, micro-batches, the step after which rank 0 dies; the same name again goes on
TRAININGS = (
    ("one", "ddp", 1, 2, 0),
    ("ddp", "ddp", 2, 1, 0),
    ("fsdp2", "fsdp2", 2, 1, 0),
    ("ddp stopped", "ddp", 2, 1, 7),
    ("ddp stopped", "ddp", 2, 1, 0),
    ("fsdp2 stopped", "fsdp2", 2, 1, 7),
    ("fsdp2 stopped", "fsdp2", 2, 1, 0),
    ("ddp begun", "ddp", 2, 1, 7),
    ("ddp begun", "fsdp2", 2, 1, 0),
    ("ddp stopped again", "ddp", 2, 1, 7),
    ("ddp stopped again", "ddp", 1, 1, 0),
    ("ddp steered", "ddp", 2, 1, 7),
    ("ddp steered", "ddp", 2, 1, 0),
    ("ddp scheduled", "ddp", 2, 1, 0),
    ("ddp regrouped", "ddp", 2, 1, 6),
    ("ddp regrouped", "ddp", 2, 1, 10),
    ("ddp regrouped", "ddp", 2, 1, 0),
    ("ddp regrouped whole", "ddp", 2, 1, 0),
    ("one over a reference", "ddp", 1, 2, 0),
    ("ddp over a reference", "ddp", 2, 1, 0),
    ("fsdp2 over a reference", "fsdp2", 2, 1, 0),
    ("ddp over a reference stopped", "ddp", 2, 1, 7),
    ("ddp over a reference stopped", "ddp", 2, 1, 0),
    ("one averaged", "ddp", 1, 2, 0),
    ("ddp averaged", "ddp", 2, 1, 0),
    ("fsdp2 averaged", "fsdp2", 2, 1, 0),
    ("fsdp2 averaged stopped", "fsdp2", 2, 1, 7),
    ("fsdp2 averaged stopped", "fsdp2", 2, 1, 0),
)
ORDERS = {3: {"pin": {"abc": 0.25}}, 7: {"weights": {"abc": 0.25, "digits": 0.75}, "at": 10}}  # by the step before

CHANGES = {2: {"split": {"digits": ["low", "high"]}}, 6: {"add": {"more": 0.25}}}


class OtherSources:
    """The sources of `CHANGES`, for `train`."""

    def __init__(self, tokens):
        self.tokens = tokens

    def store(self, name):
        if name in ("low", "high"):
            whole = TokenStore.open(f"{self.tokens}/digits")
            chosen = np.arange(0, 50) if name == "low" else np.arange(50, whole.documents)
            return TokenPart(name, whole, chosen, whole.folder)
        return TokenStore.open(f"{self.tokens}/{name}")

    def measured(self, names):
        return {}, evaluate

    def check_fed(self, strategy, names):
        pass


def evaluate(model):
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.arange(8)[None], use_cache=False).logits
    return {"x": float(logits.float().logsumexp(-1).mean())}


def work(tokens, folder, kind, accumulate, stop):
    stores = {name: TokenStore.open(f"{tokens}/{name}") for name in ("abc", "digits")}
    settings = TrainingSettings(
        steps=12, batch_size=8, context=16, learning_rate=3e-3, evaluate_every=6, observe_every=4, lag=1,
        accumulate=accumulate, checkpoint_seconds=0.0, ema=0.5 if "averaged" in folder.name else None,
    )  # fmt: skip

    def progress(stage, done, total, note):
        if folder.name == "ddp steered" and done in ORDERS and len(read_orders(folder)) <= [*ORDERS].index(done):
            add_order(folder, Order.of(ORDERS[done]), list(stores))
        if folder.name == "ddp regrouped" and done in CHANGES and len(read_record(folder)) < 2:
            add_order(folder, Order.of(CHANGES[done]), list(stores))
        if done == stop:
            os._exit(STOPPED)

    with started_ranks(kind) as ranks:
        if folder.name == "ddp scheduled" and ranks.main:
            folder.mkdir()
            schedule = [{**line["order"], "at": line["at"]} for line in read_record(folder.parent / "ddp steered")]
            write_orders(folder, map(Order.of, schedule))
        if folder.name == "ddp regrouped whole" and ranks.main:
            folder.mkdir()
            schedule = [{**line["order"], "at": line["at"]} for line in read_record(folder.parent / "ddp regrouped")]
            write_orders(folder, map(Order.of, schedule))
        over = Reference(folder.parent / "reference", "none") if "over a reference" in folder.name else None
        strategy = DoReMi() if over else PiKE(rule="restoring")
        train(
            SPEC, stores, strategy, settings, folder, byte_tokenizer(), progress, evaluate, ranks=ranks,
            reference=over, others=OtherSources(tokens),
        )  # fmt: skip
        if folder.name == "ddp":
            meet(ranks, folder / "late")


def meet(ranks, late):
    """Let rank 1 come late to where the ranks wait for each other; an error on one that did not wait."""
    if ranks.rank == 1:
        time.sleep(0.5)
        late.touch()
    ranks.wait()
    assert late.exists(), f"rank {ranks.rank} did not wait"


def main(tokens, out):
    found = []
    build_model(SPEC, byte_tokenizer(), 16, seed=7).save_pretrained(Path(out) / "reference")
    for name, kind, size, accumulate, stop in TRAININGS:
        codes = in_ranks(size, work, tokens, Path(out) / name, kind, accumulate, stop)
        left = (Path(out) / name / "checkpoints" / "last.safetensors").exists()
        found.append({"name": name, "codes": codes, "checkpoint": left})
    (Path(out) / "codes.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
