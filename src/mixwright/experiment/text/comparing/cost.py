"""What finding the mixtures of arms costs, in tokens of a final training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

from mixwright.errors import InputError
from mixwright.experiment.text.compare_config import ArmConfig, CompareConfig
from mixwright.experiment.text.compare_work import unit_of
from mixwright.experiment.text.inputs import Target, TokenSource
from mixwright.experiment.text.proxies.cost import flops_per_token, planned_proxies, proxy_cost
from mixwright.experiment.text.proxies.online import online_cost
from mixwright.experiment.text.proxies.scores import target_rows
from mixwright.text import Tokenizer


def is_neural(config: CompareConfig, arm: ArmConfig) -> bool:
    """Whether an arm searches with neural proxies."""
    return arm.searches and config.with_proxy(arm).proxy.kind == "neural"


class Costs:
    """What the arms of a comparison take before their trainings, and the steps that are left for these."""

    def __init__(
        self, config: CompareConfig, tokenizer: Tokenizer, sources: Sequence[TokenSource], targets: Sequence[Target]
    ) -> None:
        self.config, self.tokenizer, self.sources, self.targets = config, tokenizer, sources, targets

    def steps(self, number: int, arm: ArmConfig, goal: str | None) -> int:
        """Return the steps of an arm: those of its tokens, less what finding its mixture cost."""
        config = self.config
        step = config.final.batch_size * config.final.context
        if not config.charged(arm):
            return config.final.tokens // step
        charge = self.charge(arm, goal)
        if config.final.tokens - charge < step:
            raise InputError(
                f"{config.where('arms', str(number))}: the arm {arm.title} has {config.final.tokens:,} tokens, but "
                f"finding its mixture costs as much as training on {charge:,}; raise final: tokens, lower proxy: "
                "tokens, give fewer documents of the target (max_documents), or set charge_search: false"
            )
        steps = (config.final.tokens - charge) // step
        config.check_ema(steps)
        return steps

    def charge(self, arm: ArmConfig, goal: str | None) -> int:
        """
        Return the tokens of a final training that cost as much as finding the mixture of an arm for a target.

        Counting n-grams takes no operations that count beside a training: nothing is charged for count models.
        """
        if arm.proxy_run or self.config.reference_of(arm) is not None:
            cost, whole = (
                online_cost(self.config, self.tokenizer, self.sources, self.targets, arm),
                self.config.final.tokens,
            )
            return math.ceil(cost.tokens(whole, self._flops_per_token, self.config.charged(arm)))
        if not is_neural(self.config, arm):
            return 0
        targets = [t for t in self.targets if goal in (None, t.name)]
        scored = sum(self.scored[t.name, unit_of(self.config, arm, t)] for t in targets) * len(self.sources)
        flops, per_scored = self._proxy_flops
        return math.ceil((flops + per_scored * scored) / self._flops_per_token)

    @cached_property
    def scored(self) -> dict[tuple[str, str], int]:
        """Return the tokens that each neural proxy scores, by target and unit."""
        context, found = self.config.proxy_setting("context"), {}
        for arm in self.config.arms:
            for target in self.targets if is_neural(self.config, arm) else []:
                unit = unit_of(self.config, arm, target)
                if (target.name, unit) not in found:
                    rows = target_rows(target.search, self.tokenizer, context, unit)
                    found[target.name, unit] = int(rows.document_tokens.sum())
        return found

    @cached_property
    def _proxy_flops(self) -> tuple[float, float]:
        """Return the operations of training the proxies, and those of scoring one token with one proxy."""
        proxies = planned_proxies(self.config, list(self.config.sources))
        many = 10**9
        flops = proxy_cost(self.config, self.tokenizer, proxies, 0)[1]
        return flops, (proxy_cost(self.config, self.tokenizer, proxies, many)[1] - flops) / many

    @cached_property
    def _flops_per_token(self) -> float:
        return flops_per_token(self.config.model.spec(), self.tokenizer, self.config.final.context)
