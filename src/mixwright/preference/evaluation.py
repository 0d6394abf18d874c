"""Held-out pairs: their mean loss, accuracy, margin and excess."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mixwright.gradients.distributed import world_size
from mixwright.integrations.row_losses import precise
from mixwright.preference.arguments import check_sources
from mixwright.preference.losses import PairLoss
from mixwright.preference.pairs.rows import PairRows, collate_pairs


def held_out_sources(data: Any, loss: PairLoss) -> dict[str, PairRows]:
    """Return held-out pairs by name ("" for one set without); InputError if they lack what the loss needs."""
    if data is None:
        return {}
    named = dict(data) if isinstance(data, Mapping) else {"": data}
    for name, rows in named.items():
        check_sources({name: rows}, loss, "eval_dataset")
    return named


@torch.no_grad()
def evaluated(trainer: Any, rows: PairRows) -> dict[str, float]:
    """Return the means over all pairs under a PreferenceTrainer's model; each rank scores its share of them."""
    args, collate = trainer.args, collate_pairs(trainer.pad_token_id)
    model = trainer.model_wrapped if trainer.is_fsdp_enabled else trainer.model
    size, ranks = args.per_device_eval_batch_size, args.world_size
    order = sorted(range(len(rows)), key=lambda i: -rows[i].tokens)
    sums = torch.zeros(6, dtype=precise(args.device), device=args.device)
    training = model.training
    model.eval()
    for begin in range(0, len(rows), size * ranks):
        mine = order[begin + args.process_index : begin + size * ranks : ranks]
        inputs = trainer._prepare_inputs(
            collate([rows[i] for i in mine or order[:1]])
        )  # every rank takes part, even without pairs of its own (FSDP)
        with trainer.accelerator.autocast():
            found = trainer.pair_losses(model, inputs)
        loss, margin = found.loss.to(sums), found.margin.to(sums)
        excess = loss - inputs["specialist"] if "specialist" in inputs else torch.zeros_like(loss)
        if mine:
            each = [torch.ones_like(loss), loss, (margin > 0).to(sums), margin, excess, excess.clamp(min=0)]
            sums += torch.stack(each).sum(1)
    model.train(training)
    if world_size() > 1:
        torch.distributed.all_reduce(sums)
    pairs, loss, right, margin, excess, clipped = sums.tolist()
    means = {"loss": loss / pairs, "accuracy": right / pairs, "margin": margin / pairs}
    if rows.specialist is not None:
        of_clip = {"example": clipped, "source": max(excess, 0.0), "none": excess}
        means["excess"] = of_clip[trainer.steps.settings.clip] / pairs
    return means
