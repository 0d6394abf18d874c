"""Comparisons to make pages of, summarised by `mixwright.compare` from made-up cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixwright.compare import LOSS, ArmInfo, Cell, Comparison, Quantity, summarise

ACCURACY = Quantity("accuracy", "", higher=True)
_KINDS = (
    ("uniform", "uniform", "equal weights", False),
    ("mixmin-chunk", "search", "MixMin, likelihood per chunk", True),
    ("natural", "natural", "in proportion to size", False),
    ("best_single", "best_single", "the best single source", True),
    ("online", "strategy", "weights that follow excess loss", False),
)
_NAMES = ("tutorial", "questions", "law", "medicine", "code review", "poems", "minutes", "letters")
_GAINS = {"mixmin-chunk": 0.05, "best_single": -0.08, "online": 0.006}


def comparison(
    arms: int = 5,
    targets: int = 2,
    seeds: int = 3,
    sources: int = 5,
    *,
    name: str = "",
    setting: str = "text",
    charged: bool = True,
    gain: float = 0.05,
) -> dict[str, Any]:
    """
    Return the summary of a made-up comparison, with the optional fields.

    Seeds move losses by .04, an arm within a seed by .004. With `name`, the first arm, target and source bear it.
    """
    infos = [ArmInfo(*kind[:3], per_target=kind[3] and targets > 0) for kind in _KINDS[:arms]]
    infos += [ArmInfo(f"mixture-{i}", "mixture", f"runs/{i}/mixture.json") for i in range(len(infos), arms)]
    wanted = [*_NAMES, *(f"target {i}" for i in range(targets))][:targets]
    names = ["web", "books", "code", "forum", "encyclopaedia", *(f"crawl/shard-{i:03d}" for i in range(sources))][
        :sources
    ]
    if name:
        infos[1] = ArmInfo(name, "search", name, per_target=True)
        wanted, names = [name, *wanted[1:]], [name, *names[1:]]
    found = _cells(infos, list(range(seeds)), wanted, names, gain, charged)
    unit = "rows" if setting == "assays" else "tokens"
    quantities = (Quantity("average precision", "", higher=True),) if setting == "assays" else (LOSS, ACCURACY)
    summary = summarise(Comparison(infos, range(seeds), wanted, names, found, quantities, unit=unit))
    arm_cost = {info.name: {"seconds": 71.25 + i} for i, info in enumerate(infos)}
    return summary | {
        "title": name or "Which mixture for Python questions?",
        "command": f"mixwright compare {name or 'compare'}.yaml",
        "data": setting,
        "budget": {"amount": 3_276_800, "charged": charged},
        "cost": arm_cost,
        "csv": f"{name or 'cells'}.csv",
    }


def _cells(
    arms: list[ArmInfo], seeds: list[int], targets: list[str], sources: list[str], gain: float, charged: bool
) -> list[Cell]:
    rng, cells = np.random.default_rng(5), []
    moved = rng.normal(size=len(seeds)) * 0.04
    shares = {arm.name: rng.dirichlet(np.full(len(sources), 0.6)) for arm in arms}
    shares["uniform"] = np.full(len(sources), 1 / len(sources))
    for number, arm in enumerate(arms):
        for seed in seeds:
            for target in targets if arm.per_target else [None]:
                better = gain if number == 1 else _GAINS.get(arm.name, 0.0)
                loss = {t: 2.6 + 0.2 * j + moved[seed] - better + 0.004 * rng.normal() for j, t in enumerate(targets)}
                cells.append(_cell(arm, seed, target, loss, shares[arm.name], sources, rng, number, charged))
    return cells


def _cell(
    arm: ArmInfo,
    seed: int,
    target: str | None,
    loss: dict[str, float],
    share: Any,
    sources: list[str],
    rng: np.random.Generator,
    number: int,
    charged: bool,
) -> Cell:
    weights = share + 0.02 * rng.random(len(sources)) * (arm.kind != "uniform")
    shown = dict(zip(sources, (weights / weights.sum()).tolist(), strict=True))
    searched = {"search": 360_000, "best_single": 160_000, "strategy": 40_000}.get(arm.kind, 0)
    curve = [
        {
            "step": 40 * i,
            "amount": 163_840 * i,
            "loss": {t: v + 2.4 * (np.exp(-i / 5) - np.exp(-4)) for t, v in loss.items()},
        }
        for i in range(21)
    ]
    gone = {s: 3.2 * w for s, w in shown.items()}
    right = {t: 0.5 - (v - 2.6) / 4 for t, v in loss.items()}
    return Cell(
        arm=arm.name,
        seed=seed,
        target=target,
        weights=shown,
        values={LOSS.name: loss, ACCURACY.name: right, "average precision": right},
        source_loss={
            s: 2.9 + 0.1 * (i % 7) + 0.01 * rng.normal() - 0.02 * (number == 1) for i, s in enumerate(sources)
        },
        curve=tuple(curve),
        steps=800,
        amount=3_276_800 - searched * charged,
        search_cost=searched,
        epochs=gone,
        start={s: 1 / len(sources) for s in sources} if arm.kind == "strategy" else None,
        notes=["the source books was gone through 3.2 times"] if arm.kind == "search" else [],
    )


def without_optional(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the summary as `summarise` gives it, without what the command adds."""
    return {k: v for k, v in summary.items() if k not in ("title", "command", "data", "budget", "cost", "csv")}
