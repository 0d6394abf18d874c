"""Proxy runs of online methods (DoReMi, DoGE, Aioli), whose mean weights are the answer, and references of arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.experiment.core.arms import MEASURED, OF_TARGETS
from mixwright.experiment.core.compare_config import ArmConfig
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.evaluation import HeldOut
from mixwright.experiment.text.inputs import Target, TokenSource
from mixwright.experiment.text.proxies.cost import forward_flops_per_token
from mixwright.experiment.text.proxies.neural import named_rate, settings_for
from mixwright.experiment.text.reference import MadeReference, make_reference
from mixwright.files import fingerprint
from mixwright.files.models import check_model_folder
from mixwright.strategies import Aioli, from_config
from mixwright.strategy import Strategy
from mixwright.strategy import check_fed as check_strategy_fed
from mixwright.text import Tokenizer
from mixwright.training.language_model import TrainingResult, train
from mixwright.training.model import build_model, forward_flops, training_flops
from mixwright.training.reference import check_reference
from mixwright.training.settings import TrainingSettings
from mixwright.watching.reference import REPORTED
from mixwright.watching.watcher import GIVEN

METHODS = {"doremi": "DoReMi", "doge": "DoGE", "aioli": "Aioli"}  # searches, and the strategies of their proxy runs
_MEASURED_ON = OF_TARGETS | {"eval_loss"}  # what targets change: losses of sources leave out their texts
_PERIODS = 5  # of perturbations and what follows from them, in a proxy run of Aioli


def method_of(arm: ArmConfig, sources: Sequence[str]) -> Strategy[Any]:
    """Return the strategy of the proxy run of an arm."""
    return from_config({"name": METHODS[str(arm.search)], **(arm.parameters or {})}, sources=sources)


def check_method(config: SearchConfig, arm: ArmConfig) -> None:
    """Raise InputError if the method of an arm's proxy run has other parameters, or needs what a proxy run has not."""
    given = GIVEN | config.measured | (REPORTED if config.reference_of(arm) is not None else frozenset())
    check_strategy_fed(method_of(arm, list(config.sources)), given, "sampling", "carry")


def check_fed(
    config: SearchConfig, tokenizer: Tokenizer, sources: Sequence[TokenSource], targets: Sequence[Target]
) -> None:
    """Raise InputError if the strategy of an arm, or of its proxy run, has nothing to measure losses on or no time."""
    names = [source.name for source in sources]
    of_trainings = HeldOut(targets, sources, tokenizer, config.final.context, config.final.batch_size)
    for where, arm in config.placed_arms():
        if arm.strategy is not None:
            with named(where):
                of_trainings.check_fed(from_config(arm.strategy, sources=names), config.held_out)
        if not arm.proxy_run:
            continue
        method = method_of(arm, names)
        _check_length(config, method, where)
        with named(where):
            _held(config, tokenizer, sources, targets).check_fed(method, config.held_out)


def _check_length(config: SearchConfig, method: Strategy[Any], where: str) -> None:
    if not isinstance(method, Aioli):
        return
    steps, first = online_settings(config, method).steps, 1 + len(config.sources) * method.sweeps
    if steps < first:
        raise InputError(
            f"{where}: a proxy run of aioli should have at least {first} steps, one for each perturbation of "
            f"{len(config.sources)} sources, found {steps}; raise proxy: tokens"
        )


def check_reference_of(config: SearchConfig) -> None:
    """Raise InputError if no arm reads the reference, or it is no model or could not read a row of the trainings."""
    taking = [arm for _, arm in config.placed_arms() if config.reference_of(arm) is not None]
    reading = _reading(config)
    where, chosen = config.where("reference"), config.reference
    if chosen is None:
        return
    if not taking:
        raise InputError(f"{where}: no arm reads it; remove it, or add an arm such as DoReMi or LossRatio")
    if chosen.path is not None:
        with named(where):
            check_model_folder(chosen.path)
    elif reading and config.proxy_setting("context") < config.final.context:
        raise InputError(
            f"{where}: a reference that is trained here is a proxy model, with the context "
            f"{config.proxy_setting('context')}, but {reading[0]} reads its losses on rows of {config.final.context} "
            "tokens; raise proxy: context"
        )


def _reading(config: SearchConfig) -> list[str]:
    """Return the arms whose own trainings go through the reference."""
    return [a.title for _, a in config.placed_arms() if a.strategy is not None and "excess_loss" in config.needs_of(a)]


def check_tokens_of_reference(config: SearchConfig, tokenizer: Tokenizer) -> None:
    """Raise InputError if the reference of a configuration has another tokenizer or vocabulary."""
    if config.reference is not None and config.reference.path is not None:
        context = max(config.proxy_setting("context"), config.final.context if _reading(config) else 0)
        with named(config.where("reference")):
            check_reference(config.reference.path, tokenizer, context, config.model.spec())


def online_settings(config: SearchConfig, method: Strategy[Any]) -> TrainingSettings:
    """
    Return the settings of a proxy run.

    It observes every step, as the papers do; Aioli, whose stretches between observations should lower losses by more
    than noise, as seldom as five of its periods allow.
    """
    settings, every = settings_for(config, config.proxy.tokens, proxy=True), 1
    if isinstance(method, Aioli):
        every = max(1, settings.steps // (_PERIODS * method.period(len(config.sources))))
    return replace(settings, observe_every=every, lag=config.lag)


def _held(
    config: SearchConfig,
    tokenizer: Tokenizer,
    sources: Sequence[TokenSource],
    targets: Sequence[Target],
) -> HeldOut:
    """Return what a method is shown in a proxy run: never a text that a result on the targets rests on."""
    return HeldOut(targets, sources, tokenizer, config.proxy_setting("context"), config.proxy_setting("batch_size"))


def reads_targets(method: Strategy[Any]) -> bool:
    """Whether a method is shown losses or gradients of targets."""
    return bool(method.needs & OF_TARGETS)


def reference_of(
    config: SearchConfig,
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
    names = [source.name for source in sources]
    reading = method_of(arm, names) if arm.strategy is None else from_config(arm.strategy, sources=names)
    stores = {source.name: source.train for source in sources}
    settings, spec = settings_for(config, config.proxy.tokens, proxy=True), config.proxy_model().spec()
    place = folder / "reference" / arm.prior
    with named_rate(config, "the reference", proxy=True):
        return make_reference(
            chosen, reading.excess_clip, spec, stores, arm.prior, settings, place, tokenizer, progress
        )


def mean_weights(
    config: SearchConfig,
    folder: Path,
    tokenizer: Tokenizer,
    sources: Sequence[TokenSource],
    targets: Sequence[Target],
    arm: ArmConfig,
    progress: Progress | None = None,
) -> list[float]:
    """Return the mean weights [k] of the proxy run of an arm's method, made in the folder of its seed, or resumed."""
    made = reference_of(config, folder, tokenizer, sources, arm)
    return average_of(proxy_run(config, folder, tokenizer, sources, targets, arm, made, progress), sources)


def average_of(run: TrainingResult, sources: Sequence[TokenSource]) -> list[float]:
    """Return the mean weights [k] of a proxy run."""
    return [(run.average or run.weights)[source.name] for source in sources]


def proxy_run(
    config: SearchConfig,
    folder: Path,
    tokenizer: Tokenizer,
    sources: Sequence[TokenSource],
    targets: Sequence[Target],
    arm: ArmConfig,
    made: MadeReference | None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Return the proxy run of an arm's method over its reference, made in the folder of its seed, or resumed."""
    strategy = method_of(arm, [source.name for source in sources])
    held = _held(config, tokenizer, sources, targets)
    with named_rate(config, f"the proxy run of {arm.title}", proxy=True):
        return train(
            config.proxy_model().spec(),
            {source.name: source.train for source in sources},
            strategy,
            online_settings(config, strategy),
            folder / "proxy_runs" / _run_name(arm, strategy, targets),
            tokenizer,
            progress,
            prior=arm.prior,
            measures=held.strategy_measures(strategy),
            reference=made.reference if made else None,
        )


def _run_name(arm: ArmConfig, method: Strategy[Any], targets: Sequence[Target]) -> str:
    """Return the folder of a proxy run; it names the targets where they change what is measured for the method."""
    name = f"{arm.search}_{arm.prior}" + (f"_{fingerprint(arm.parameters)}" if arm.parameters else "")
    if not targets or not (method.needs | method.uses) & _MEASURED_ON:
        return name
    return f"{name}_{fingerprint([[t.name, t.fingerprint] for t in targets])}"


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


def online_cost(
    config: SearchConfig,
    tokenizer: Tokenizer,
    sources: Sequence[TokenSource],
    targets: Sequence[Target],
    arm: ArmConfig,
) -> OnlineCost:
    """Return what an arm with a reference or a proxy run costs."""
    context, settings = config.proxy_setting("context"), settings_for(config, config.proxy.tokens, proxy=True)
    model = build_model(config.proxy_model().spec(), tokenizer, context, 0)
    proxy, pass_of_proxy = training_flops(model, 1), forward_flops(model, 1)
    run = settings.steps * settings.batch_size * settings.context
    before, forward, chosen = 0.0, 0.0, config.reference_of(arm)
    if chosen is not None and chosen.path is not None:
        forward = forward_flops_per_token({"path": str(chosen.path)}, tokenizer, context)
    elif chosen is not None:
        step = settings.batch_size * settings.context
        before, forward = proxy * step * -(-(chosen.tokens or run) // step), pass_of_proxy
    if arm.proxy_run:
        measured = _measured_tokens(config, tokenizer, sources, targets, arm)
        return OnlineCost(before + run * (proxy + forward) + measured * pass_of_proxy, 0.0)
    # a strategy that reads held-out losses alone needs no pass over the rows that are trained on
    return OnlineCost(before, forward if "excess_loss" in config.needs_of(arm) else 0.0)


def _measured_tokens(
    config: SearchConfig,
    tokenizer: Tokenizer,
    sources: Sequence[TokenSource],
    targets: Sequence[Target],
    arm: ArmConfig,
) -> float:
    """Return the tokens of forward passes that what an arm's proxy run measures costs, at all of its observations."""
    method = method_of(arm, [source.name for source in sources])
    if not method.needs & (MEASURED | OF_TARGETS):
        return 0.0
    settings = online_settings(config, method)
    each = _held(config, tokenizer, sources, targets).strategy_tokens(method)
    return settings.steps // settings.observe_every * each
