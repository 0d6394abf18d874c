"""
What verdicts over seeds are worth: false ones, seeds used, differences that can be seen.

`python benchmarks/power.py` makes the tables, keeps each under --folder, and goes on where it was stopped; `--write`
puts them into benchmarks/results/power.md. One process, some four minutes of one core. Losses are normal: a run's
standard deviation is 1, and a common movement of the seeds has deviation 0 or 3. "Better" and "worse" are judged by
`mixwright.compare` at 5 %.
"""

import argparse
from pathlib import Path

import numpy as np

import ema
from mixwright.compare.looks import Looks
from mixwright.compare.power import detectable
from mixwright.compare.spread import spread

HEAD = """# Power of comparisons

`python benchmarks/power.py --write`. Simulated losses, normal, a run's standard deviation 1 (of arms that scatter more:
as said); seeds move all arms together by 0 or 3. The chance of a false "better" should be at most 5 %, over all arms
and all looks. The last part is of real trainings.

"""
NOTE = """## What it says

- **Looks:** at most 5.0 % false positives in 24 settings where arms scatter equally, or by 1 to 25 times. A tenth of
  the 5 % stays unspent for this; in most settings that is more than needed. Where the baseline scatters 5 times as much
  as the arms it is up to 6.3 % with 9 arms (2 to 6 seeds; 5.5 % with 3 to 12), and at most 4.9 % with fewer arms.
- **Few seeds for large differences:** at 3 standard deviations 5 to 7 of at most 12 seeds, at 2 about 6 to 10. At 1 and
  below it goes on to the end: without a `margin` an arm that equals the baseline uses all seeds.
- **Arms that scatter differently:** the judge before this change, simulated in the same way (20,000 comparisons), was
  wrong in 19 % with 9 arms, 2 seeds and a baseline that scatters 25 times as much, 17 % with 3 seeds and 15 % with 6;
  with one such arm in 15 % with 2 seeds.
- **Averaged weights do not cut the noise of seeds at the end of a cosine.** The deviation of the paired difference is
  1.00 to 1.11 times that of the last step's weights. What 3 seeds can detect is .017 with the last step's weights, with
  2 and with 5 %, and .023 with 20 %. The loss is .0003 to .016 higher. The low rate at the end has averaged already.
- **While the rate is high they do, at a price.** After a quarter of the run (rate .91) the deviation of the difference
  is .75, .50, .36 and .30 of the last step's for averages over 2, 5, 10 and 20 % of the run, and 3 seeds can detect
  .021 in place of .041 with 5 %. After half (rate .59) it is .77 to .49, with limits that hold 1. But losses still fall
  fast there, and the average is of a younger model: with 5 % its loss is .05 higher after a quarter, and with 10 % and
  more the difference shrinks, too. Not measured: a constant rate (the training has none), longer runs, larger models.
- **Unfavourable:** false verdicts are still above 5 % where the baseline scatters 5 or 25 times as much as the arms: up
  to 8 % with 2 seeds, about 7 % with 3 seeds and 9 arms, at most 5.6 % with 5 arms from 3 seeds on. With 2 seeds the
  change costs up to a third of the power; with 3 seeds 2 to 6 points, with 4 and more at most 2.
"""
ERROR = 0.05
SIZES = [(2, Looks(2, 6)), (2, Looks(3, 12)), (3, Looks(3, 12)), (5, Looks(3, 12)), (9, Looks(2, 6)), (9, Looks(3, 12))]
MOVED = (0.0, 3.0)


def wide(rng, tables, arms):
    """Return deviations between 1 and 25 of every arm, the baseline among them."""
    return np.exp(rng.uniform(0, np.log(25), (tables, arms, 1)))


SCATTER = {
    "equal": lambda rng, tables, arms: 1.0,
    "one arm x 3": lambda rng, tables, arms: np.r_[np.ones(arms - 1), 3.0][:, None],
    "one arm x 25": lambda rng, tables, arms: np.r_[np.ones(arms - 1), 25.0][:, None],
    "baseline x 5": lambda rng, tables, arms: np.r_[5.0, np.ones(arms - 1)][:, None],
    "baseline x 25": lambda rng, tables, arms: np.r_[25.0, np.ones(arms - 1)][:, None],
    "all, x 1 to 25": wide,
}


def losses(rng, tables, arms, seeds, moved, gain=0.0, scatter="equal"):
    """Return losses [tables, arms, seeds]; arms besides the first, the baseline, are better by `gain`."""
    x = rng.normal(size=(tables, arms, seeds)) * SCATTER[scatter](rng, tables, arms)
    x += moved * rng.normal(size=(tables, 1, seeds))
    x[:, 1:] -= gain
    return x


def ends(x, tail):
    """Return the low and the high ends of the intervals [tables, m], and those of shared spreads alone."""
    mean = x[:, 1:].mean(-1) - x[:, :1].mean(-1)
    _, found = spread(x[:, 0], x[:, 1:], tail)
    half, shared = found.half(tail), found.shared.half(found.tails(tail)[0])
    return mean - half, mean + half, mean + shared


def sequential(x, looks):
    """Return whether a look calls an arm better [tables], the seeds used, and the share of better arms at the end."""
    tables, open_ = len(x), np.ones(len(x), bool)
    ever, used, better = np.zeros(tables, bool), np.full(tables, looks.at_most), np.zeros(tables)
    for seeds in looks.numbers:
        low, high, _ = ends(x[..., :seeds], looks.tail(seeds, ERROR))
        ever |= (high < 0).any(-1)
        better[open_] = (high < 0).mean(-1)[open_]
        done = open_ & (((high < 0) | (low > 0)).all(-1))
        used[done], open_ = seeds, open_ & ~done
    return ever, used, better


def share(values):
    return f"{100 * float(np.mean(values)):.1f}"


def table_of_looks(tables):
    """Return the false positives of the sequential rule."""
    names = ("equal", "all, x 1 to 25", "baseline x 5")
    lines = [f"| arms | seeds | moved | {' | '.join(names)} |", "|---|---|---|---|---|---|"]
    for arms, looks in SIZES:
        for moved in MOVED:
            rng = np.random.default_rng([1, arms, looks.at_most, int(moved)])
            found = [
                share(sequential(losses(rng, tables, arms, looks.at_most, moved, scatter=name), looks)[0])
                for name in names
            ]
            lines.append(f"| {arms} | {looks.at_least} to {looks.at_most} | {moved:g} | {' | '.join(found)} |")
    return lines


def table_of_seeds(tables):
    """Return the average seeds, and how often an arm is better at the end, for true differences."""
    lines = ["| arms | seeds | moved | 0 | 1 | 2 | 3 |", "|---|---|---|---|---|---|---|"]
    for arms, looks in SIZES:
        for moved in MOVED:
            rng = np.random.default_rng([2, arms, looks.at_most, int(moved)])
            row = []
            for gain in (0.0, 1.0, 2.0, 3.0):
                _, used, better = sequential(losses(rng, tables, arms, looks.at_most, moved, gain), looks)
                row.append(f"{used.mean():.1f} ({100 * better.mean():.0f} %)")
            lines.append(f"| {arms} | {looks.at_least} to {looks.at_most} | {moved:g} | {' | '.join(row)} |")
    return lines


def table_of_differences(tables):
    """Return the median detectable differences at fixed numbers of seeds."""
    many = (2, 3, 4, 6, 12)
    lines = [f"| arms | moved | {' | '.join(f'{n} seeds' for n in many)} |", "|---|---|" + "---|" * len(many)]
    for arms in (2, 3, 5, 9):
        for moved in MOVED:
            rng = np.random.default_rng([3, arms, int(moved)])
            seen = []
            for seeds in many:
                x = losses(rng, tables, arms, seeds, moved)
                seen.append(float(np.median(detectable(spread(x[:, 0], x[:, 1:], ERROR)[1], ERROR))))
            lines.append(f"| {arms} | {moved:g} | {' | '.join(f'{s:.2f}' for s in seen)} |")
    return lines


def table_of_scatter(tables):
    """Return false verdicts of arms that scatter differently, by shared spreads alone and with own ones; the power."""
    lines = [f"| arms | seeds | {' | '.join(SCATTER)} | power, equal |", "|---|---|" + "---|" * (len(SCATTER) + 1)]
    for arms in (2, 3, 5, 9):
        for seeds, gain in ((2, 5.0), (3, 3.0), (4, 2.5), (6, 2.0)):
            rng, cells = np.random.default_rng([4, arms, seeds]), []
            for name in SCATTER:
                both = [ends(losses(rng, tables, arms, seeds, moved, scatter=name), ERROR)[1:] for moved in MOVED]
                cells.append([max(100 * float((one[i] < 0).any(-1).mean()) for one in both) for i in (1, 0)])
            both = [ends(losses(rng, tables, arms, seeds, moved, gain), ERROR)[1:] for moved in MOVED]
            power = [100 * np.mean([float((one[i] < 0).mean()) for one in both]) for i in (1, 0)]
            row = [f"{a:.1f} -> {b:.1f}" for a, b in cells] + [f"{power[0]:.0f} -> {power[1]:.0f}"]
            lines.append(f"| {arms} | {seeds} | {' | '.join(row)} |")
    return lines


PARTS = {
    "False positives of `seeds: {until: decided}`": (
        "Percent of 4,000 comparisons in which a look would have called an arm better, without a difference (standard "
        "error .3).",
        table_of_looks,
        4000,
    ),
    "Seeds used": (
        "300 comparisons: average seeds until all arms are decided, and in brackets how many arms are better at the "
        "end, for true differences of all arms from the baseline of 0 to 3 standard deviations of a run.",
        table_of_seeds,
        300,
    ),
    "Detectable differences": (
        "Median over 300 comparisons, in standard deviations of a run: called better with a chance of 80 %.",
        table_of_differences,
        300,
    ),
    "Arms that scatter differently": (
        "Percent of 1,000 comparisons with a false *better*, the worse of the two movements (standard error .7): with "
        "shared spreads alone -> with intervals at least as wide as the arm's own spread makes them (what `compare` "
        "does). Power: arms called better where they are, by 5, 3, 2.5 and 2 deviations with 2, 3, 4 and 6 seeds.",
        table_of_scatter,
        1000,
    ),
    "Averaged weights (EMA)": (
        "Measured, not simulated: `python benchmarks/ema.py`. A GPT-NeoX of .13 million parameters, trained as in "
        "map.py on half A, sources of 420, 170, 80 and 70 kB, seeds from 300 on; learning rate .002, warm-up "
        "5 %, cosine to a tenth. Each training is measured with the weights of its last step and with averages over "
        "shares of the run, on the same held-out rows. loss: of uniform, average over the sources, nats per byte; all "
        "others in thousandths of that. difference: natural minus uniform, paired by seed; sd of sources: of the "
        "largest and the smallest; over last's: its sd over that of the last step's weights, with 90 % limits.",
        ema.tables,
        0,
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/power"))
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    texts = []
    for number, (title, (about, table, tables)) in enumerate(PARTS.items()):
        kept = chosen.folder / f"part-{number}.md"
        if not kept.exists():
            kept.write_text("\n".join(table(tables)), encoding="utf-8")
        texts.append(f"## {title}\n\n{about}\n\n{kept.read_text(encoding='utf-8')}\n")
        print(texts[-1], flush=True)
    if chosen.write:
        path = Path(__file__).parent / "results" / "power.md"
        path.write_text("\n".join([HEAD.rstrip() + "\n", *texts, NOTE]), encoding="utf-8")


if __name__ == "__main__":
    main()
