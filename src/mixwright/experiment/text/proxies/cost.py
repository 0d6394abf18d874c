"""What the proxies of a search cost: tokens and operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.proxies.neural import Proxy, settings_for
from mixwright.text import Tokenizer
from mixwright.training.model import build_model, forward_flops, training_flops


def planned_proxies(config: SearchConfig, names: Sequence[str]) -> list[Proxy]:
    """Return what the proxies will be, as far as their cost goes, before any is trained."""
    settings, known = settings_for(config, config.proxy.tokens, proxy=True), config.proxy.checkpoints
    tokens = settings.steps * settings.batch_size * settings.context
    return [Proxy(n, known.get(n, Path()), "", 0 if n in known else tokens) for n in names]


def flops_per_token(spec: Mapping[str, Any], tokenizer: Tokenizer, context: int) -> float:
    """Return the operations of training a model on one token."""
    return training_flops(build_model(spec, tokenizer, context, 0), 1)


def forward_flops_per_token(spec: Mapping[str, Any], tokenizer: Tokenizer, context: int) -> float:
    """Return the operations of a model's forward pass over one token."""
    return forward_flops(build_model(spec, tokenizer, context, 0), 1)


def proxy_cost(config: SearchConfig, tokenizer: Tokenizer, proxies: list[Proxy], scored: int) -> tuple[int, float]:
    """
    Return the tokens that the proxies were trained on, and the operations of training and scoring.

    Scoring is a forward pass: a third of a training step, or about half of one that trains an adapter.
    """
    context = config.proxy_setting("context")
    trained = sum(proxy.tokens for proxy in proxies)
    flops = 0.0
    for proxy in proxies:  # those trained here have one size
        if proxy.tokens == 0:
            flops += forward_flops_per_token({"path": str(proxy.model)}, tokenizer, context) * scored / len(proxies)
    if trained:
        model = build_model(config.proxy_model().spec(), tokenizer, context, 0)
        per_token, share = training_flops(model, 1), sum(proxy.tokens > 0 for proxy in proxies) / len(proxies)
        flops += per_token * (trained + scored * share / (per_token / forward_flops(model, 1)))
    return trained, flops
