"""
Do averaged weights cut the noise of seeds? Several averages of the same trainings, measured side by side.

    python benchmarks/ema.py --data ../shared/data --folder runs/ema
    python benchmarks/power.py --write

Two arms, uniform and natural, on the sources of half A of map.py cut to 420, 170, 80 and 70 kB (of one size the two
are the same weights). What was trained is kept in results/rows/ema.jsonl, a line for each training: a run goes on
where it was. The second command makes the tables. A training of 200 steps takes about 12 CPU seconds.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np

from map import BYTES, FINAL, HALVES, first
from map import read as read_texts
from mixwright.compare.power import detectable, with_seeds
from mixwright.compare.spread import spread
from mixwright.text import byte_tokenizer, write_tokens
from mixwright.training.settings import TrainingSettings, learning_rate_at
from online_text import SMALL

FIRST_SEED = 300
HELD_OUT, ROWS = 0.1, 80  # share of the pieces; rows of a source that are measured
ERROR = 0.05
COLUMNS = (
    "weights",
    "loss",
    "sd uniform",
    "sd natural",
    "sd of sources",
    "difference",
    "its sd",
    "over last's",
    "detectable: 3 seeds",
)
LAST = "last"  # the weights of the last step
SHARES = (0.02, 0.05, 0.1, 0.2)
PATH = Path(__file__).with_name("results") / "rows" / "ema.jsonl"


def read():
    """Return what was trained."""
    return [json.loads(line) for line in PATH.read_text().splitlines()] if PATH.exists() else []


def opened(data, folder):
    """Return the token stores, and the rows that are measured [n, context + 1] of each source."""
    stores, held = {}, {}
    for i, (name, found) in enumerate(read_texts(data, HALVES["A"]).items()):
        pieces = first(found, round(BYTES / 2.5**i))
        cut = max(4, round(HELD_OUT * len(pieces)))
        stores[name] = write_tokens(folder / "tokens" / name, pieces[cut:], byte_tokenizer())
        own = write_tokens(folder / "held_out" / name, pieces[:cut], byte_tokenizer())
        number = own.rows(FINAL["context"])
        chosen = np.linspace(0, number - 1, min(ROWS, number)).round().astype(int)
        held[name] = np.stack([own.row(int(i), FINAL["context"]) for i in chosen])
    return stores, held


class Watch:
    """Keeps several averages of a training, and measures all at some steps."""

    def __init__(self, held, steps, points):
        self.held, self.steps, self.points = held, steps, points
        self.step, self.averages, self.found = 0, {}, {}

    def __call__(self, model):
        """Take in the weights after a step: `evaluate` of a training that evaluates after each."""
        from mixwright.training.average import WeightAverage

        if not self.averages:
            self.averages = {share: WeightAverage(model, share * self.steps) for share in SHARES}
        for average in self.averages.values():
            average.update(model)
        self.step += 1
        if self.step in self.points:
            models = {LAST: model, **{str(share): average.model for share, average in self.averages.items()}}
            self.found[self.step] = {name: self.losses(own) for name, own in models.items()}
        return {}

    def losses(self, model):
        """Return the loss of each source, nats per byte."""
        import torch

        model.eval()
        tokens = torch.from_numpy(np.concatenate(list(self.held.values()))).long()
        with torch.no_grad():
            logits = model(input_ids=tokens[:, :-1], use_cache=False).logits.float()
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        rows, begin, found = each.view(len(tokens), -1).double().mean(1), 0, {}
        for name, own in self.held.items():
            found[name], begin = round(float(rows[begin : begin + len(own)].mean()), 6), begin + len(own)
        return found


def run(data, folder, lengths, seeds):
    """Train what is not there yet, seed by seed."""
    import torch

    from mixwright.training import train

    torch.set_num_threads(1)
    stores, held = opened(data, folder)
    rows = {name: store.rows(FINAL["context"]) for name, store in stores.items()}
    arms = {"uniform": [1 / len(rows)] * len(rows), "natural": [n / sum(rows.values()) for n in rows.values()]}
    done = {(row["steps"], row["arm"], row["seed"]) for row in read()}
    for steps in lengths:
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            for arm, weights in arms.items():
                if (steps, arm, seed) in done:
                    continue
                settings = TrainingSettings(
                    steps=steps, warmup=round(0.05 * steps), seed=seed, evaluate_every=1, checkpoint_seconds=1e6,
                    **{name: FINAL[name] for name in ("context", "batch_size", "learning_rate")},
                )  # fmt: skip
                watch = Watch(held, steps, {steps // 4, steps // 2, steps})
                place = folder / f"{arm}_{steps}_{seed}"
                train(SMALL, stores, weights, settings, place, byte_tokenizer(), evaluate=watch)
                with PATH.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"steps": steps, "arm": arm, "seed": seed, "loss": watch.found}) + "\n")
                print(steps, arm, seed, statistics.mean(watch.found[steps][LAST].values()), flush=True)


def losses_of(rows, arm, step, weights, source=None):
    """Return the loss of an arm's runs by seed [n]: of a source, or the average over the sources."""
    own = sorted((row["seed"], row["loss"][str(step)][weights]) for row in rows if row["arm"] == arm)
    return np.array([found[source] if source else statistics.mean(found.values()) for _, found in own])


def ratio(values, plain, rng):
    """Return a standard deviation over that of other runs of the same seeds, with 90 % limits (seeds drawn again)."""
    drawn = rng.integers(0, len(plain), (4000, len(plain)))
    spread, other = values[drawn].std(1, ddof=1), plain[drawn].std(1, ddof=1)
    low, high = np.quantile(spread[other > 0] / other[other > 0], (0.05, 0.95))
    return f"{values.std(ddof=1) / plain.std(ddof=1):.2f} ({low:.2f} to {high:.2f})"


def table(steps, step):
    """Return the table of trainings of `steps` steps, measured after `step`; a row for each kind of weights."""
    rows = [row for row in read() if row["steps"] == steps]
    rows = [row for row in rows if len({r["arm"] for r in rows if r["seed"] == row["seed"]}) == 2]
    seeds, sources = len({row["seed"] for row in rows}), list(rows[0]["loss"][str(step)][LAST])
    rng, lines = np.random.default_rng([seeds, step]), []

    def runs(weights, source=None):
        return [losses_of(rows, arm, step, weights, source) for arm in ("uniform", "natural")]

    plain = runs(LAST)
    for weights in rows[0]["loss"][str(step)]:
        base, other = runs(weights)
        _, found = spread(base, other[None], ERROR)
        seen = [float(detectable(with_seeds(found, n, seeds), ERROR)[0]) for n in (3, seeds)]
        of_sources = [np.mean([v.std(ddof=1) for v in runs(weights, source)]) for source in sources]
        cells = [
            f"{base.mean():.4f}",
            f"{1000 * base.std(ddof=1):.1f}",
            f"{1000 * other.std(ddof=1):.1f}",
            f"{1000 * of_sources[0]:.1f} to {1000 * of_sources[-1]:.1f}",
            f"{1000 * (other - base).mean():+.1f}",
            f"{1000 * (other - base).std(ddof=1):.1f}",
            "" if weights == LAST else ratio(other - base, plain[1] - plain[0], rng),
            *(f"{1000 * difference:.1f}" for difference in seen),
        ]
        lines.append(f"| {weights} | {' | '.join(cells)} |")
    return seeds, lines


def tables(_):
    """Return what averaged weights do to the noise of seeds."""
    lines = []
    for steps in sorted({row["steps"] for row in read()}):
        for step in (steps // 4, steps // 2, steps):
            rate = learning_rate_at(step, TrainingSettings(steps=steps, warmup=round(0.05 * steps)))
            seeds, found = table(steps, step)
            head = [*COLUMNS, f"{seeds} seeds"]
            after = f"After {step} of {steps} steps (the rate is {rate / 1e-3:.2f} of its maximum); {seeds} seeds:"
            lines += [after, "", f"| {' | '.join(head)} |", "|---" * len(head) + "|", *found, ""]
    return lines[:-1]


def main():
    """Parse and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/ema"))
    parser.add_argument("--steps", type=int, nargs="+", default=[200])
    parser.add_argument("--seeds", type=int, default=8)
    given = parser.parse_args()
    run(given.data, given.folder, given.steps, given.seeds)


if __name__ == "__main__":
    main()
