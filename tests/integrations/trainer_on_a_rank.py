"""One of two ranks: trains under DDP, then again from a checkpoint; writes what its Mixture was told and decided."""

import json
import sys
from pathlib import Path

import torch
from trainers import held_out, run

from mixwright import GRAPE, DoReMi, GroupDRO, PiKE
from mixwright.steering.known import read_record
from mixwright.steering.orders import Order, write_orders
from orders_by_hand import Orders
from two_ranks import leave

SETTINGS = {"observe_every": 4, "statistics_steps": 2}
ROWS = 6


def told(callback, steps):
    weights = [batches[0].weights.tolist() for batches in steps.batches]
    return {"observation": callback.observation.to_json(), "weights": weights, "logged": steps.logs}


def steered(rank, folder, arguments):
    """Train with orders that rank 0 finds on the way, go on from a checkpoint before them, and on that schedule."""
    found, arguments = {}, arguments | {"max_steps": 10}
    options = {"arguments": arguments, "observe_every": 2, "lag": 3, "num_workers": 1}
    orders = {4: {"pin": {"a": 0.5}}, 5: {"weights": {"a": 0.5, "c": 0.5}, "at": 9}} if rank == 0 else {}
    place = folder / "steered"
    found["steered"] = told(*run(place, GroupDRO(learning_rate=0.5), callbacks=[Orders(place, orders)], **options)[1:])
    after = run(place, GroupDRO(learning_rate=0.5), place / "checkpoint-3", **options)
    found["steered, after"] = told(*after[1:])
    if rank == 0:
        (folder / "scheduled").mkdir()
        record = [line for line in read_record(place) if "at" in line]
        write_orders(folder / "scheduled", [Order.of({**line["order"], "at": line["at"]}) for line in record])
    torch.distributed.barrier()
    found["scheduled"] = told(*run(folder / "scheduled", GroupDRO(learning_rate=0.5), **options)[1:])
    return found


def main(rank, folder):
    arguments = {"ddp_backend": "gloo", "per_device_train_batch_size": ROWS}
    whole = told(*run(folder / "whole", PiKE(), arguments=arguments, log=folder / "log.jsonl", **SETTINGS)[1:])
    checkpoint = folder / "whole" / "checkpoint-3"  # between the two steps that are sampled
    after = told(*run(folder / "after", PiKE(), checkpoint, arguments=arguments, **SETTINGS)[1:])
    over = told(*run(folder / "over", DoReMi(), arguments=arguments, reference=folder / "reference", **SETTINGS)[1:])
    shown = run(
        folder / "shown", GRAPE(), arguments=arguments | {"eval_dataset": held_out()}, targets="law", **SETTINGS
    )
    found = {
        "whole": whole,
        "after": after,
        "over": over,
        "shown": told(*shown[1:]),
        **steered(rank, folder, arguments),
    }
    (folder / f"{rank}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
