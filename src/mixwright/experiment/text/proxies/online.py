"""Proxy runs of online methods (DoReMi, DoGE), whose mean weights are the answer, and the reference models of arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mixwright.errors import InputError
from mixwright.experiment.core.compare_config import ArmConfig
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.text.compare_config import CompareConfig
from mixwright.experiment.text.inputs import TokenSource, check_model_folder
from mixwright.experiment.text.proxies.cost import flops_per_token
from mixwright.experiment.text.proxies.neural import named_rate, settings_for
from mixwright.experiment.text.reference import MadeReference, make_reference
from mixwright.strategies import from_config
from mixwright.text import Tokenizer
from mixwright.training.language_model import train
from mixwright.training.reference import check_reference
from mixwright.training.settings import TrainingSettings

METHODS = {"doremi": "DoReMi", "doge": "DoGE"}  # searches, and the strategies of their proxy runs


def check_reference_of(config: CompareConfig) -> None:
    """Raise InputError if no arm reads the reference, or it is no model or could not read a row of the trainings."""
    taking = [arm for arm in config.arms if config.reference_of(arm) is not None]
    reading = [arm.title for arm in taking if arm.strategy is not None and "excess_loss" in config.needs_of(arm)]
    where, chosen = config.where("reference"), config.reference
    if chosen is None:
        return
    if not taking:
        raise InputError(f"{where}: no arm reads it; remove it, or add an arm such as DoReMi or LossRatio")
    if chosen.path is not None:
        check_model_folder(where, chosen.path)
    elif reading and config.proxy_setting("context") < config.final.context:
        raise InputError(
            f"{where}: a reference that is trained here is a proxy model, with the context "
            f"{config.proxy_setting('context')}, but {reading[0]} reads its losses on rows of {config.final.context} "
            "tokens; raise proxy: context"
        )


def check_tokens_of_reference(config: CompareConfig, tokenizer: Tokenizer) -> None:
    """Raise InputError if the reference of a configuration has another tokenizer or vocabulary."""
    if config.reference is not None and config.reference.path is not None:
        context = max(config.final.context, config.proxy_setting("context"))
        with named(config.where("reference")):
            check_reference(config.reference.path, tokenizer, context, config.model.spec())


def online_settings(config: CompareConfig) -> TrainingSettings:
    """Return the settings of a proxy run; it observes every step, as the papers do."""
    return replace(settings_for(config, config.proxy.tokens, proxy=True), observe_every=1, lag=config.final.lag)


def reference_of(
    config: CompareConfig,
    folder: Path,
    tokenizer: Tokenizer,
    sources: Sequence[TokenSource],
    arm: ArmConfig,
    progress: Progress | None = None,
) -> MadeReference | None:
    """
    Return the reference of an arm, trained in the folder of its seed if it is not there; None if the arm has none.

    It is a proxy model, trained on the arm's prior.
    """
    chosen = config.reference_of(arm)
    if chosen is None:
        return None
    name = arm.strategy if arm.strategy is not None else METHODS[str(arm.search)]
    clip = from_config(name, sources=[source.name for source in sources]).excess_clip
    stores = {source.name: source.train for source in sources}
    settings, spec = settings_for(config, config.proxy.tokens, proxy=True), config.proxy_model().spec()
    place = folder / "reference" / arm.prior
    with named_rate(config, "the reference", proxy=True):
        return make_reference(chosen, clip, spec, stores, arm.prior, settings, place, tokenizer, progress)


def mean_weights(
    config: CompareConfig,
    folder: Path,
    tokenizer: Tokenizer,
    sources: Sequence[TokenSource],
    arm: ArmConfig,
    progress: Progress | None = None,
) -> list[float]:
    """Return the mean weights [k] of the proxy run of an arm's method, made in the folder of its seed, or resumed."""
    names = [source.name for source in sources]
    strategy = from_config(METHODS[str(arm.search)], sources=names)
    made = reference_of(config, folder, tokenizer, sources, arm)
    stores = {source.name: source.train for source in sources}
    with named_rate(config, f"the proxy run of {arm.title}", proxy=True):
        trained = train(
            config.proxy_model().spec(),
            stores,
            strategy,
            online_settings(config),
            folder / "proxy_runs" / f"{arm.search}_{arm.prior}",
            tokenizer,
            progress,
            prior=arm.prior,
            reference=made.reference if made else None,
        )
    return [(trained.average or trained.weights)[name] for name in names]


@dataclass(frozen=True)
class OnlineCost:
    """
    What an arm takes besides its own training, in operations.

    `before` it starts (reference and proxy run), and `per_token` that it is then trained on (passes of the reference).
    """

    before: float
    per_token: float

    def tokens(self, budget: int, flops_per_token: float, charged: bool) -> float:
        """Return the cost as tokens of the final training, of which the arm has `budget`, this cost included or not."""
        before, more = self.before / flops_per_token, self.per_token / flops_per_token
        trained = max(budget - before, 0.0) / (1 + more) if charged else budget
        return before + trained * more


def online_cost(config: CompareConfig, tokenizer: Tokenizer, arm: ArmConfig) -> OnlineCost:
    """Return what an arm with a reference or a proxy run costs."""
    context, settings = config.proxy_setting("context"), online_settings(config)
    proxy = flops_per_token(config.proxy_model().spec(), tokenizer, context)
    run = settings.steps * settings.batch_size * settings.context
    before, forward, chosen = 0.0, 0.0, config.reference_of(arm)
    if chosen is not None and chosen.path is not None:
        forward = flops_per_token({"path": str(chosen.path)}, tokenizer, context) / 3
    elif chosen is not None:
        step = settings.batch_size * settings.context
        before, forward = proxy * step * -(-(chosen.tokens or run) // step), proxy / 3
    if arm.proxy_run:
        return OnlineCost(before + run * (proxy + forward), 0.0)
    # a strategy that reads held-out losses alone needs no pass over the rows that are trained on
    return OnlineCost(before, forward if "excess_loss" in config.needs_of(arm) else 0.0)
