"""Made-up comparisons for tests: cells with a known gain, arms with one mixture for each target or one for all."""

import numpy as np

from mixwright.compare import LOSS, ArmInfo, Cell, Comparison, Quantity

ACCURACY = Quantity("accuracy", "", higher=True)


def make_comparison(targets=("law", "code"), sources=("web", "books", "git"), seeds=(0, 1, 2), gain=0.1, seed=0):
    """Return a comparison of four arms in which `mixmin` is better than uniform by `gain` on every target."""
    rng = np.random.default_rng(seed)
    arms = [
        ArmInfo("uniform", "uniform", "equal weights"),
        ArmInfo("natural", "natural", "by size"),
        ArmInfo("best_single", "best_single", "the best single source", per_target=bool(targets)),
        ArmInfo("mixmin", "search", "MixMin per chunk", per_target=bool(targets)),
    ]
    moved = {s: rng.normal() * 0.04 for s in seeds}
    cells = []
    for arm in arms:
        for s in seeds:
            for target in targets if arm.per_target else [None]:
                better = gain if arm.name == "mixmin" else 0.0
                loss = {t: 2.5 + moved[s] + 0.003 * rng.normal() - better for t in targets}
                weights = dict(zip(sources, rng.dirichlet(np.ones(len(sources))).tolist(), strict=True))
                curve = [
                    {"step": n, "amount": 100 * n, "loss": {t: v + 1.0 / n - 0.1 for t, v in loss.items()}}
                    for n in range(1, 11)
                ]
                searched = 300 if arm.kind in ("search", "best_single") else 0
                cells.append(
                    Cell(
                        arm=arm.name,
                        seed=s,
                        target=target,
                        weights=weights,
                        values={LOSS.name: loss, "accuracy": {t: 0.5 + better + 0.01 * rng.random() for t in targets}},
                        source_loss={n: 3.0 + moved[s] + 0.01 * rng.normal() for n in sources},
                        curve=tuple(curve),
                        steps=10,
                        amount=1000 - searched,
                        search_cost=searched,
                        epochs={n: 10 * w for n, w in weights.items()},
                    )
                )
    return Comparison(arms, seeds, targets, sources, cells, (LOSS, ACCURACY))
