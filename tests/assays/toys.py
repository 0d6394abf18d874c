"""Small tables of assays."""

from __future__ import annotations

import numpy as np

from mixwright.assays import AssayTable, Booster

SMALL = Booster(trees=15, depth=3, learning_rate=0.3, threads=1)


def planted(n: int = 400, seed: int = 0, features: int = 6) -> AssayTable:
    """Return a table: `twin` is the target's rule with noise, `base` has its base rate alone, `other` another rule."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, features))
    rule = X[:, 0] + 0.3 * X[:, 1]
    labels = np.stack(
        [
            rule > 0.8,
            rule + 0.2 * rng.normal(size=n) > 0.2,
            rng.random(n) < 0.22,
            X[:, 2] > 0,
        ],
        axis=1,
    ).astype(float)
    labels[rng.random(labels.shape) < 0.1] = np.nan
    return AssayTable.from_arrays(X, labels, ["target", "twin", "base", "other"])


ALKANES = ["C" * i for i in range(1, 13)]
RINGS = ["c1ccccc1" + "C" * i for i in range(1, 13)]
PYRIDINES = ["c1ccncc1" + "C" * i for i in range(1, 9)]
SMILES = [*ALKANES, *RINGS, *PYRIDINES]


def write_csv(path, columns):
    names = list(columns)
    lines = [",".join(names)]
    lines += [",".join("" if v is None else str(v) for v in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
