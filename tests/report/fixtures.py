"""Summaries to make pages of."""

from __future__ import annotations

import math
import random
from typing import Any

SCRIPT = "<script>alert(1)</script>"


def _search(mixture: str, target: str, unit: str, interval: list[list[float]], **changes: Any) -> dict[str, Any]:
    search = {
        "mixture": mixture,
        "target": target,
        "unit": unit,
        "method": "MixMin",
        "prior": "uniform",
        "shrinkage": 0.031,
        "loss": 142.8817,
        "objective": 142.9313,
        "gap": 3.2e-10,
        "tolerance": 1e-8,
        "rows": 1840,
        "documents": 412,
        "level": 0.9,
        "interval": interval,
        "improvement": {"over": "uniform", "estimate": 1.9313, "low": 1.2201, "high": 2.6088},
        "verdict": "better than uniform on this evidence",
    }
    return search | changes


def _curve(final: dict[str, float], points: int = 21) -> list[dict[str, Any]]:
    curve = []
    for i in range(points):
        fade = math.exp(-4 * i / (points - 1))
        loss = {t: round(v + 2.4 * fade - 2.4 * math.exp(-4), 5) for t, v in final.items()}
        curve.append({"step": 40 * i, "tokens": 40 * i * 4096, "loss": loss})
    return curve


def _run(mixture: str, loss: dict[str, float], sources: list[str]) -> dict[str, Any]:
    return {
        "mixture": mixture,
        "tokens": 3_276_800,
        "steps": 800,
        "seconds": 71.4,
        "loss": loss,
        "source_loss": {s: round(2.1 + 0.13 * i + loss["questions"] / 50, 4) for i, s in enumerate(sources)},
        "curve": _curve(loss),
    }


def _against(target: str, mixture: str, difference: float, half: float, verdict: str) -> dict[str, Any]:
    ends = {"low": difference - half, "high": difference + half}
    part = {"target": target, "mixture": mixture, "over": "uniform", "difference": difference, "level": 0.9}
    return part | ends | {"verdict": verdict}


def realistic() -> dict[str, Any]:
    """Five sources, two targets, four mixtures, with runs, intervals and cost."""
    names = ["stdlib code", "reference prose", "docstrings", "licence texts", "package descriptions"]
    sizes = [4_120_331, 1_004_871, 912_004, 288_120, 760_555]
    mixtures = {
        "uniform": ("uniform", [0.2] * 5),
        "natural": ("natural", [s / sum(sizes) for s in sizes]),
        "mixmin-chunk": ("search", [0.032, 0.541, 0.298, 0.009, 0.12]),
        "mixmin-questions": ("search", [0.214, 0.287, 0.411, 0.018, 0.07]),
    }
    losses = {
        "uniform": {"tutorial": 2.6255, "questions": 2.9012},
        "natural": {"tutorial": 2.6514, "questions": 2.8951},
        "mixmin-chunk": {"tutorial": 2.5905, "questions": 2.8897},
        "mixmin-questions": {"tutorial": 2.6022, "questions": 2.8941},
    }
    chunk = [[0.011, 0.058], [0.471, 0.612], [0.22, 0.377], [0.002, 0.021], [0.071, 0.166]]
    questions = [[0.09, 0.331], [0.142, 0.401], [0.248, 0.56], [0.003, 0.071], [0.02, 0.18]]
    better, same, worse = "better than uniform", "no better than uniform on this evidence", "worse than uniform"
    none = {"over": "uniform", "estimate": 0.0141, "low": -0.0082, "high": 0.0377}
    return {
        "schema": 1,
        "version": "0.1.0",
        "title": "How much of each kind of Python text for a tutorial?",
        "command": "mixwright search demo.yaml --out runs/demo",
        "created": "2025-06-14T09:31:07+00:00",
        "seed": 7,
        "sources": [
            {"name": n, "documents": 120 + 97 * i, "tokens": t}
            for i, (n, t) in enumerate(zip(names, sizes, strict=True))
        ],
        "targets": [
            {"name": "tutorial", "documents": 412, "rows": 1840, "held_out_documents": 103, "held_out_tokens": 61_440},
            {"name": "questions", "documents": 500, "rows": 500, "held_out_documents": 250, "held_out_tokens": 7_925},
        ],
        "searches": [
            _search("mixmin-chunk", "tutorial", "chunk", chunk),
            _search("mixmin-questions", "questions", "sequence", questions, improvement=none, verdict=same, rows=500),
        ],
        "mixtures": [{"name": n, "kind": kind, "weights": w} for n, (kind, w) in mixtures.items()],
        "runs": [_run(n, loss, names) for n, loss in losses.items()],
        "comparisons": [
            _against("tutorial", "natural", 0.0259, 0.0142, worse),
            _against("tutorial", "mixmin-chunk", -0.035, 0.0121, better),
            _against("tutorial", "mixmin-questions", -0.0233, 0.0131, better),
            _against("questions", "natural", -0.0061, 0.0199, same),
            _against("questions", "mixmin-chunk", -0.0115, 0.0183, same),
            _against("questions", "mixmin-questions", -0.0071, 0.0142, same),
        ],
        "cost": {
            "proxy_tokens": 2_048_000,
            "proxy_flops": 1.27e13,
            "final_tokens": 3_276_800,
            "final_flops": 1.13e14,
            "share": 0.1124,
            "seconds": {"tokens": 4.2, "proxies": 48.9, "scores": 21.3, "search": 0.8, "final": 285.5},
        },
        "verdict": "The mixture for “tutorial” beats uniform by 0.035 nats per token; for “questions” no mixture is "
        "better than uniform on this evidence.",
    }


def many_sources(k: int = 300) -> dict[str, Any]:
    """A search over many sources, with one strange name among them."""
    rng = random.Random(3)
    raw = [rng.random() ** 14 for _ in range(k)]
    weights = [r / sum(raw) for r in raw]
    summary = realistic()
    names = [f"crawl/shard-{i:03d}/{'forum' if i % 3 else 'encyclopaedia'}" for i in range(k)]
    names[k // 2] = SCRIPT
    summary["sources"] = [{"name": n, "documents": 900 + i, "tokens": 10**6 + 7919 * i} for i, n in enumerate(names)]
    summary["mixtures"] = [
        {"name": "uniform", "kind": "uniform", "weights": [1 / k] * k},
        {"name": "mixmin-chunk", "kind": "search", "weights": weights},
    ]
    interval = [[w * 0.6, w * 1.5] for w in weights]
    summary["searches"] = [_search("mixmin-chunk", "tutorial", "chunk", interval)]
    summary["runs"] = [r for r in summary["runs"] if r["mixture"] in ("uniform", "mixmin-chunk")]
    for run in summary["runs"]:
        run["source_loss"] = dict.fromkeys(names, 2.5)
    summary["comparisons"] = [c for c in summary["comparisons"] if c["mixture"] == "mixmin-chunk"]
    return summary


def search_only() -> dict[str, Any]:
    """A search without final training and without an estimate of the improvement."""
    summary = realistic()
    summary |= {"runs": [], "comparisons": [], "cost": None, "verdict": "unverified: nothing was trained"}
    summary["searches"] = [_search("mixmin-chunk", "tutorial", "chunk", summary["searches"][0]["interval"])]
    summary["searches"][0]["improvement"] = None
    return summary


def renamed(summary: dict[str, Any], name: str) -> dict[str, Any]:
    """Put `name` wherever a summary holds a text that people choose (sources, targets, mixtures, title, verdicts)."""
    summary["sources"][0]["name"] = name
    old_target, old_mixture = summary["targets"][0]["name"], summary["mixtures"][-1]["name"]
    summary["targets"][0]["name"] = summary["mixtures"][-1]["name"] = name
    for part in ("searches", "runs", "comparisons"):
        for entry in summary[part]:
            entry["mixture"] = name if entry["mixture"] == old_mixture else entry["mixture"]
            if entry.get("target") == old_target:
                entry["target"] = name
            if "verdict" in entry:
                entry["verdict"] = name
    for run in summary["runs"]:
        for losses in [run["loss"], *(point["loss"] for point in run["curve"])]:
            losses[name] = losses.pop(old_target)
    summary |= {"title": name, "verdict": name, "command": name}
    return summary
