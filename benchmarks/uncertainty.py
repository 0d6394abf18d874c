"""
What small samples do, and whether the uncertainty is honest, on simulated targets whose population losses are exact.

`python benchmarks/uncertainty.py` prints Markdown tables; --write puts them in benchmarks/results/uncertainty.md too.
"""

import argparse
from pathlib import Path

import numpy as np

from mixwright import MixMin
from mixwright.testing import SimulatedTarget
from official import entropic_steps


def small_samples(truth, spread, n, draws, k=99):
    """Return the mean held-out excess loss of uniform, exact, official and cv, over draws of four targets."""
    found = []
    for draw in range(draws):
        target = SimulatedTarget.make(k, truth, spread, seed=27_000 + draw % 4)
        L = target.draw(n, 250_000 + draw)
        P = np.exp(L - L.max(1, keepdims=True))
        cv = MixMin(shrinkage="cv").fit(L, seed=draw)
        weights = [np.full(k, 1 / k), MixMin(shrinkage=0.0).fit(L).weights, entropic_steps(P), cv.weights]
        found.append([target.excess(np.maximum(w, 1e-300)) for w in weights])
    return np.mean(found, axis=0)


def coverage(k, truth, spread, n, repetitions):
    """Return the share of "no better" verdicts, the coverage of the 90 % interval, and mean estimate and truth."""
    none, inside, estimates, truths = 0, 0, [], []
    for repetition in range(repetitions):
        target = SimulatedTarget.make(k, truth, spread, seed=33_000 + repetition // 5)
        result = MixMin().fit(target.draw(n, 280_000 + repetition), seed=repetition)
        estimate, low, high = result.improvement()
        true = target.loss(np.full(k, 1 / k)) - target.loss(result.weights)
        none += result.verdict.startswith("no better")
        inside += low <= true <= high
        estimates.append(estimate)
        truths.append(true)
    return none / repetitions, inside / repetitions, np.mean(estimates), np.mean(truths)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/uncertainty.md")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=100)
    arguments = parser.parse_args()
    lines = []

    def say(line):
        lines.append(line)
        print(line, flush=True)

    say(f"## Mean held-out excess loss, K = 99, {arguments.draws} draws of 4 targets (nats per row)\n")
    say("| truth, spread | n | uniform | exact | official, 100 steps | cv | goal for cv | met |")
    say("|---|---|---|---|---|---|---|---|")
    for truth, spread in (("sparse", 0.35), ("sparse", 0.5), ("dense", 1.35), ("dense", 0.5)):
        for n in (50, 200, 1000, 5000):
            uniform, exact, official, cv = small_samples(truth, spread, n, arguments.draws)
            best = min(uniform, exact)
            goal = 1.3 * best if n == 50 else max(1.1 * best, best + 0.003)
            row = [f"{x:.4f}" for x in (uniform, exact, official, cv, goal)]
            say(f"| {truth}, {spread} | {n} | " + " | ".join(row) + f" | {'yes' if cv <= goal else 'no'} |")
    times = f"{arguments.repetitions} repetitions"
    say(f"\n## Verdicts and coverage of the 90 % interval of the improvement, n = 300, {times}\n")
    say("| truth, spread | K | 'no better' | covered | mean estimate | mean truth |")
    say("|---|---|---|---|---|---|")
    for k in (6, 30):
        for truth, spread in (("uniform", 0.5), ("sparse", 0.5), ("sparse", 1.0), ("dense", 1.0)):
            none, inside, estimate, true = coverage(k, truth, spread, 300, arguments.repetitions)
            say(f"| {truth}, {spread} | {k} | {none:.0%} | {inside:.0%} | {estimate:.4f} | {true:.4f} |")
    if arguments.write:
        head = "# Small samples and honest uncertainty\n\n`python benchmarks/uncertainty.py --write`. "
        head += "No constant was chosen on these seeds.\n\n"
        Path(__file__).with_name("results").joinpath("uncertainty.md").write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
