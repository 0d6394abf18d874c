"""One of several ranks: the gradients of steps whose rows are weighted, under the Trainer's DDP and the loop's."""

import sys
from pathlib import Path

import numpy as np
import torch
from trainers import NAMES, documents, model, sources, trainer, transformers

from mixwright.batch_losses import source_factors
from mixwright.integrations.row_losses import targets_of
from mixwright.integrations.transformers import use_mixture
from mixwright.stream import AnyRows
from mixwright.stream.trainer import language_model_inputs
from mixwright.text import TokenStore, byte_tokenizer
from mixwright.training import step as steps
from mixwright.training.batches import Batches
from mixwright.training.model import build_model
from mixwright.training.ranks import Ranks
from mixwright.training.settings import TrainingSettings
from two_ranks import leave

WEIGHTS, DRAWN = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
ROWS = 12
SPEC = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def flat(net):
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def weighted_gradient(trained, batches, weights=WEIGHTS, drawn=DRAWN, double=False):
    """Return the gradient of the step's objective: 1 / T x the sum over its tokens of w / q x the token's loss."""
    net, total = model(double=double), 0.0
    every = [language_model_inputs(batch) for batch in batches]
    _, count = trained.get_batch_samples(iter(every), len(every), torch.device("cpu"))
    tokens = int(count)  # T: what the Trainer divides by
    for batch, inputs in zip(batches, every, strict=True):
        targets = targets_of(inputs, True)
        asked = {name: value for name, value in inputs.items() if name != "labels"}
        logits = net(**asked, use_cache=False).logits.double()
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        rows = losses.view(len(batch), -1).sum(1)
        total = total + (torch.from_numpy(weights / drawn)[batch.source] * rows).sum()
    (total / tokens).backward()
    return flat(net)


class Gradients(transformers.TrainerCallback):
    """Keeps the gradient of each step, and the batches that it is of."""

    def __init__(self, callback):
        self.callback, self.found, self.batches = callback, [], []

    def on_pre_optimizer_step(self, args, state, control, model=None, **more):
        self.found.append(flat(model).clone())
        self.batches.append(list(self.callback.batches))


def packed(seed, count):
    """Return rows of two documents each, whose positions start again in the middle."""
    pairs = zip(documents(seed, count), documents(seed + 3, count), strict=True)
    rows = []
    for first, second in pairs:
        half = len(first["input_ids"]) // 2
        ids = np.concatenate([first["input_ids"][:half], second["input_ids"][:half] % 9 + 1 + 9 * seed])
        rows.append({"input_ids": ids, "position_ids": np.concatenate([np.arange(half)] * 2)})
    return rows


def trained(folder, ranks=1, accumulate=1, weights=WEIGHTS, sampling=DRAWN, pack=False, net=None, **arguments):
    """Train three steps that change nothing; return the Trainer, the callback and the gradients."""
    arguments = {
        "max_steps": 3, "max_grad_norm": 0.0, "learning_rate": 0.0, "save_strategy": "no",
        "per_device_train_batch_size": ROWS // ranks // accumulate,
    } | arguments  # fmt: skip
    if ranks > 1:
        arguments["ddp_backend"] = "gloo"
    new = trainer(folder, accumulate, net or model(double=True), **arguments)
    rows = {n: AnyRows(packed(i, 30)) for i, n in enumerate(NAMES)} if pack else sources()
    callback = use_mixture(new, rows, weights, sampling=sampling, observe_every=2)
    gradients = Gradients(callback)
    new.add_callback(gradients)
    new.train()
    return new, callback, gradients


def loop_gradient(tokens, ranks, accumulate=1):
    """Return the reference loop's gradient of its second step."""
    stores = {name: TokenStore.open(f"{tokens}/{name}") for name in NAMES}
    settings = TrainingSettings(steps=4, batch_size=ROWS, context=16, accumulate=accumulate)
    batches = Batches(stores, DRAWN, settings, ranks.rank, ranks.size)
    net = build_model(SPEC, byte_tokenizer(), 16, 0).double()
    stepper = steps.Stepper(ranks.wrap(net), settings, ranks, len(NAMES), None)
    for step in range(2):
        stepper.gradient(step, batches.next()._replace(factors=source_factors(WEIGHTS, DRAWN)))
    return flat(net)


def main(rank, size, folder):
    steps._CLIP = 1e9
    gradients = trained(folder / "out", size)[-1].found
    found = {"trainer": torch.stack(gradients), "loop": loop_gradient(folder / "tokens", Ranks(rank, size))}
    torch.save(found, folder / f"{size} {rank}.pt")
    leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
