"""
What gradient statistics add to a training step: Pythia-160M's shape, rows of 1,024 tokens, bf16, eager and compiled.

    python benchmarks/gpu/overhead.py --out FOLDER [--size tiny]

Each way takes turns with the plain step (A B A B ...): forward, backward, clipping and AdamW. A ratio is the median
over rounds of (way / plain). FOLDER/overhead.jsonl gets a line as soon as a way is measured, and what is there is not
measured again; FOLDER/overhead.md is the table of all of it. On a CPU `torch.compile` has the backend aot_eager: that
is for a smoke test, not for figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from mixwright.gradients import GradientStatistics

SIZES = {  # hidden size, layers, heads, vocabulary; rows and tokens of each in a step; steps of a turn, rounds
    "large": ((768, 12, 12, 50_304), (16, 1_024), 10, 5),
    "tiny": ((32, 2, 2, 512), (8, 32), 2, 2),
}
WAYS = {  # level and number of sources
    "source level, K = 4": ("source", 4),
    "example level, K = 4": ("example", 4),
    "example level, K = 8": ("example", 8),
}
SAMPLED = 4 / 10  # of the steps: the default of trainings
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
HEAD = """# Gradient statistics in bf16: what they cost

`python benchmarks/gpu/overhead.py --size {size}`; {machine}.
A GPT-NeoX with {parameters:,} parameters (large: the shape of Pythia-160M), {rows} rows of {tokens:,} tokens in a step,
parameters in float32, autocast to bf16, AdamW; rows sorted by source. Time of a sampled step over that of a plain one,
median of {rounds} rounds. Trainings sample 4 of 10 steps by default: the last column but one is what that makes of it.

| | way | plain step | sampled step, ratio | least to largest | 4 of 10 sampled | peak memory, ratio |
|---|---|---|---|---|---|---|
"""


class Training:
    """A model with its optimiser and the rows of a step."""

    def __init__(self, size: str, compiled: bool) -> None:
        (hidden, layers, heads, vocabulary), (rows, tokens), *_ = SIZES[size]
        torch.manual_seed(0)
        config = transformers.GPTNeoXConfig(
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            vocab_size=vocabulary,
            max_position_embeddings=tokens,
            bos_token_id=0,
            eos_token_id=0,
        )
        self.model: Any = transformers.GPTNeoXForCausalLM(config).to(DEVICE)
        self.parameters = self.model.num_parameters()
        self.ids = torch.randint(0, vocabulary, (rows, tokens + 1), device=DEVICE)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        if compiled:
            self.model = torch.compile(self.model, backend="inductor" if CUDA else "aot_eager")

    def step(self, observed: Any = None) -> None:
        """Take a step; `observed`: the context of the statistics."""
        self.optimizer.zero_grad(set_to_none=True)
        with observed or nullcontext():
            with torch.autocast(DEVICE, torch.bfloat16):
                logits = self.model(input_ids=self.ids[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), self.ids[:, 1:].flatten())
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def seconds(self, steps: int, stats: GradientStatistics | None = None, source: Any = None) -> float:
        """Return the seconds of some steps."""
        _wait()
        begin = time.perf_counter()
        for _ in range(steps):
            self.step(stats.observe(source) if stats else None)
        _wait()
        return time.perf_counter() - begin

    def measure(self, way: str, steps: int, rounds: int) -> dict[str, Any]:
        """Return seconds of plain and observed steps, and the peak memory of both."""
        level, k = WAYS[way]
        stats = GradientStatistics(self.model, k, level, check=False)
        rows = len(self.ids)
        source = np.arange(rows) * k // rows
        memory = [_peak(lambda: self.seconds(2)), _peak(lambda: self.seconds(2, stats, source))]  # and warm up
        turns = [(self.seconds(steps), self.seconds(steps, stats, source)) for _ in range(rounds)]
        return {"plain": [a / steps for a, _ in turns], "observed": [b / steps for _, b in turns], "memory": memory}


def _wait() -> None:
    if CUDA:
        torch.cuda.synchronize()


def _peak(work: Any) -> int | None:
    """Return the most bytes that the GPU holds during some work; None on a CPU."""
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() if CUDA else None


def machine() -> str:
    """Return what is measured on."""
    return f"{torch.cuda.get_device_name() if CUDA else platform.machine()}, torch {torch.__version__}"


def measure(size: str, path: Path) -> None:
    """Measure what is not in the file yet."""
    known = {(line["mode"], line["way"]) for line in read(path, size)}
    *_, steps, rounds = SIZES[size]
    for mode in ("eager", "compiled"):
        missing = [way for way in WAYS if (mode, way) not in known]
        training = Training(size, mode == "compiled") if missing else None
        for way in missing:
            found = training.measure(way, steps, rounds)
            about = {"size": size, "machine": machine(), "mode": mode, "way": way, "parameters": training.parameters}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(about | found) + "\n")
            print(row(about | found), flush=True)


def read(path: Path, size: str) -> list[dict[str, Any]]:
    """Return what was measured on this machine at a size."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return [line for line in lines if (line["size"], line["machine"]) == (size, machine())]


def row(line: dict[str, Any]) -> str:
    """Return a row of the table."""
    ratios = [b / a for a, b in zip(line["plain"], line["observed"], strict=True)]
    ratio, (plain, observed) = statistics.median(ratios), line["memory"]
    cells = [line["mode"], line["way"], f"{1e3 * statistics.median(line['plain']):.1f} ms", f"{ratio:.3f}"]
    cells += [f"{min(ratios):.3f} to {max(ratios):.3f}", f"{1 + SAMPLED * (ratio - 1):.3f}"]
    return f"| {' | '.join([*cells, f'{observed / plain:.3f}' if plain else ''])} |"


def write(size: str, path: Path) -> None:
    """Write the table of what was measured, beside the file."""
    lines = read(path, size)
    (_, (rows, tokens), _, rounds) = SIZES[size]
    about = {"size": size, "machine": machine(), "parameters": lines[0]["parameters"] if lines else 0, "rounds": rounds}
    text = HEAD.format(**about, rows=rows, tokens=tokens) + "".join(row(line) + "\n" for line in lines)
    path.with_suffix(".md").write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*SIZES], default="large")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "overhead.jsonl"
    try:
        measure(given.size, path)
    finally:
        write(given.size, path)


if __name__ == "__main__":
    main()
