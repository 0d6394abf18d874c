"""A damaged state gives either a run that goes on or one InputError, and then everything is as it was."""

import json
import operator
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damage import Target, cases, changed_values, check, one, stopped_late
from mixwright import InputError, Mixture, Observation
from mixwright.strategies import from_config
from mixwright.stream import Plan

torch = pytest.importorskip("torch")

from mixwright.gradients import GradientStatistics  # noqa: E402
from mixwright.stream import MixtureLoader, TokenRows  # noqa: E402
from mixwright.stream.adapters import Interleaved  # noqa: E402
from mixwright.training.checkpoint import _POSITION, load_checkpoint, read_position, save_checkpoint  # noqa: E402
from mixwright.watching import Watcher  # noqa: E402
from mixwright.watching.statistics import SampledStatistics  # noqa: E402

SIZES = {"web": 37, "law": 11, "code": 5}
LENGTHS = {name: np.arange(size) % 5 + 1 for name, size in SIZES.items()}
STRATEGIES = ("PiKE", "Balanced-PiKE", "GroupDRO", "DoReMi", "ODM", "ADO", "DoGE")


@dataclass(frozen=True)
class Stateful:
    """Something with a state: how it is made, what goes on with it, how it takes a state and from whom."""

    make: Callable[[], Any]
    go_on: Callable[[Any], object]
    load: Callable[[Any, Any], None] = lambda made, state: made.load_state_dict(state)
    other: Callable[[], Any] | None = None

    def state(self) -> Any:
        """Return a whole state."""
        return json.loads(json.dumps((self.other or self.make)().state_dict()))


def observation(step: int) -> Observation:
    rng = np.random.default_rng(step)
    gram = rng.normal(size=(3, 9))
    return Observation(
        step=step,
        batch_size=12,
        counts=[6, 4, 2],
        planned=[0.5, 0.3, 0.2],
        loss=rng.uniform(2, 3, 3),
        excess_loss=rng.uniform(0, 1, 3),
        reference_loss=rng.uniform(1, 2, 3),
        target_gram=rng.normal(size=(3, 1)),
        grad_sq_norm=rng.uniform(1, 2, 3),
        grad_variance=rng.uniform(1, 2, 3),
        gram=gram @ gram.T,
    )


def mixture(name: str) -> Mixture:
    made = Mixture(list(SIZES), from_config(name), lag=2)
    for step in range(6):
        made.observe(observation(step))
    return made


def observed(made: Mixture) -> object:
    made.observe(observation(6))
    return made.weights_for(8), made.state_dict()


def planned(weights: Any = (0.5, 0.3, 0.2), **options: Any) -> Plan:
    made = Plan(SIZES, weights, batch_size=12, seed=3, **options)
    list(islice(made, 5))
    return made


def loader(weights: Any = (0.5, 0.3, 0.2)) -> MixtureLoader:
    sources = {name: TokenRows(np.arange(4 * size), 4) for name, size in SIZES.items()}
    made = MixtureLoader(sources, Plan(SIZES, weights, batch_size=12, seed=3))
    list(islice(made, 5))
    return made


class Counted:
    """A stream with a state, as `datasets` has them."""

    def __init__(self, size: int) -> None:
        self.size, self.at = size, 0

    def __iter__(self) -> Iterator[dict[str, int]]:
        while self.at < self.size:
            self.at += 1
            yield {"id": self.at}
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if not 0 <= operator.index(state["at"]) <= self.size:
            raise ValueError(f"there is no row {state['at']}")
        self.at = state["at"]


def interleaved() -> Interleaved:
    made = Interleaved({name: Counted(size) for name, size in SIZES.items()}, planned())
    list(islice(made, 5))
    return made


def statistics() -> GradientStatistics:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(7, 3), torch.nn.Linear(3, 1))
    made = GradientStatistics(model, 3)
    with made.observe(torch.arange(8) % 3):
        model(torch.arange(24).reshape(8, 3) % 7).mean().backward()
    return made


def retired() -> Plan:
    """Return a plan from which a source was removed; it may come back."""
    made = Plan({name: SIZES[name] for name in ("web", "law")}, (0.6, 0.4), batch_size=12, seed=3)
    made.load_state_dict(planned().state_dict(), changed=True)
    list(islice(made, 2))
    return made


def sampled() -> SampledStatistics:
    made = SampledStatistics(3, every=2, steps=1)
    model = torch.nn.Sequential(torch.nn.Embedding(7, 3), torch.nn.Linear(3, 1))
    made.attach(model)
    for step in range(4):
        with made.observe(step, torch.arange(8) % 3):
            model(torch.arange(24).reshape(8, 3) % 7).mean().backward()
        if step == 1:
            made.take(step, 8)
    return made


def watcher(statistics: SampledStatistics | None = None) -> Watcher:
    made = Watcher(Mixture(list(SIZES), from_config("GroupDRO")), 2, 12, statistics=statistics)
    for step in range(3):
        made.add(np.array([[6, 4, 2], [12.0, 9, 5 + step]]), np.array([0.5, 0.3, 0.2]))
        made.observe(step)
    return made


def watched(made: Watcher) -> object:
    made.add(np.array([[6, 4, 2], [12.0, 9, 5]]), np.array([0.5, 0.3, 0.2]))
    return made.observe(4), made.state_dict()


class InText:
    """What has its state in a text, the stream's: here it may be damaged, too."""

    def __init__(self, batches: Any, get: Callable[[], Any], put: Callable[[Any], None]) -> None:
        self.batches, self.get, self.put = batches, get, put

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def state_dict(self) -> Any:
        state = self.get()
        return {**state, "stream": json.loads(state["stream"])}

    def load_state_dict(self, state: Any) -> None:
        if isinstance(state, dict) and not isinstance(state.get("stream", ""), str):
            state = {**state, "stream": json.dumps(state["stream"])}
        self.put(state)


def in_grain(change: bool = False) -> InText:
    from mixwright.integrations.grain import PlanBatches

    sources = {name: TokenRows(np.arange(4 * size), 4) for name, size in SIZES.items()}
    made = iter(PlanBatches(sources, _changing(whole()) if change else whole(), accumulate=2))
    list(islice(made, 9))
    return InText(made, made.get_state, made.set_state)


def in_torchtitan(change: bool = False) -> InText:
    from mixwright.integrations.torchtitan import Given, MixtureDataLoader

    sources = {name: TokenRows(np.arange(4 * size), 4) for name, size in SIZES.items()}
    plan = _changing(whole()) if change else whole()
    made = MixtureDataLoader(Given(lambda *rank: MixtureLoader(sources, plan, *rank), None), dp_world_size=1, dp_rank=0)
    list(islice(made, 5))
    return InText(made, made.state_dict, made.load_state_dict)


def whole() -> Plan:
    return Plan(SIZES, (0.5, 0.3, 0.2), batch_size=12, seed=3)


def a_step(made: Any) -> object:
    return list(islice(made, 3)), made.state_dict()


def _changed(plan: Plan, state: Any) -> None:
    plan.load_state_dict(state, changed=True)


TARGETS = {
    "plan": Stateful(planned, a_step),
    "plan in tokens": Stateful(lambda: planned(unit="tokens", lengths=LENGTHS), a_step),
    "plan with independent draws": Stateful(lambda: planned(draw="iid"), a_step),
    "plan of a changed weight": Stateful(lambda: _changing(planned()), a_step),
    "loader": Stateful(loader, a_step),
    "loader with a mixture": Stateful(lambda: loader(Mixture(list(SIZES), from_config("PiKE"))), a_step),
    "streams": Stateful(interleaved, a_step),
    "plan with a removed source": Stateful(retired, a_step),
    "plan whose source comes back": Stateful(planned, a_step, _changed, retired),
    "gradient statistics": Stateful(statistics, lambda made: made.state_dict()),
    "sampled gradient statistics": Stateful(sampled, lambda made: (made.take(5, 8), made.state_dict())),
    "watcher": Stateful(watcher, watched),
    "watcher with gradient statistics": Stateful(lambda: watcher(sampled()), watched),
    **{f"mixture of {name}": Stateful(lambda name=name: mixture(name), observed) for name in STRATEGIES},
}


for package, stream in (("grain", in_grain), ("torchtitan", in_torchtitan)):
    if find_spec(package):
        TARGETS[f"stream in {package}"] = Stateful(stream, a_step)
        TARGETS[f"stream in {package} with a change"] = Stateful(lambda stream=stream: stream(change=True), a_step)


def _changing(plan: Plan) -> Plan:
    plan.set_weights([0.2, 0.2, 0.6], 9)
    return plan


def reads_or_refuses_state(target: Stateful, state: Any) -> None:
    made = target.make()
    before = json.dumps(made.state_dict())
    with stopped_late():
        try:
            target.load(made, state)
        except InputError:
            assert json.dumps(made.state_dict()) == before
            return
        with suppress(InputError):
            target.go_on(made)


def checkpoint() -> Target:
    """Return the checkpoint of a small training, and what copies it into a model like its own."""

    def parts() -> tuple[Any, Any]:
        model = torch.nn.Linear(3, 2)
        return model, torch.optim.AdamW(model.parameters())

    model, optimizer = parts()
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    with TemporaryDirectory() as folder:
        save_checkpoint(Path(folder) / "made.safetensors", model, optimizer, dict.fromkeys(_POSITION, 1))
        content = (Path(folder) / "made.safetensors").read_bytes()

    def read(path: Path) -> Any:
        if (position := read_position(path)) is not None:  # None: the training begins again
            load_checkpoint(path, *parts())
        return position

    return one("last.safetensors", content, None, read)


CHECKPOINT = checkpoint()


@cases(8)
@given(data=st.data())
def test_a_damaged_checkpoint(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(CHECKPOINT, data, tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize("name", TARGETS)
@cases(8)
@given(data=st.data())
def test_a_damaged_state(name: str, data: st.DataObject) -> None:
    reads_or_refuses_state(TARGETS[name], data.draw(changed_values(TARGETS[name].state())))


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.other is None])
def test_the_whole_state(name: str) -> None:
    target = TARGETS[name]
    whole = target.make()
    state = json.loads(json.dumps(whole.state_dict()))
    target.go_on(whole)
    made = target.make()
    target.go_on(made)
    made.load_state_dict(deepcopy(state))
    assert json.loads(json.dumps(made.state_dict())) == state
    target.go_on(made)
    assert json.dumps(made.state_dict()) == json.dumps(whole.state_dict())


@pytest.mark.parametrize("updates", [10**400, 1.5, "3", None])
def test_a_count_of_a_strategy_that_is_none_is_refused(updates: Any) -> None:
    made = mixture("ODM")
    state = made.state_dict()
    state["state"]["updates"] = updates
    with pytest.raises(InputError, match="a whole number as 'updates'"):
        made.load_state_dict(state)


def test_a_plan_that_owes_millions_of_rows_is_refused() -> None:
    made = planned()
    state = made.state_dict()
    state["credit"] = [2e6, -1e6, -1e6]  # they sum to 0, and it would count them one by one
    with pytest.raises(InputError, match="'credit' has"):
        made.load_state_dict(state)


def test_streams_are_as_they_were_where_one_of_them_refuses() -> None:
    made = interleaved()
    before = json.dumps(made.state_dict())
    state = interleaved().state_dict()
    state["streams"]["code"]["at"] = 99
    list(islice(made, 20))
    moved = json.dumps(made.state_dict())
    assert moved != before
    with pytest.raises(InputError, match=r"the streams is damaged .there is no row 99."):
        made.load_state_dict(state)
    assert json.dumps(made.state_dict()) == moved


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("begin", -1, "'begin' of the state should be a whole number of at least 0, found -1"),
        ("batches", -3, "'batches' of the state should be a whole number of at least 0, found -3"),
        ("batches", 10**400, "next step should be at or soon after 0, found 5"),
        ("begin", 1.0, "'begin' .* found 1.0"),
        ("stream", "x", "PlanBatches is damaged .Expecting value"),
        ("stream", "[" * 100_000, "PlanBatches is damaged .maximum recursion"),
        ("stream", 3, "PlanBatches is damaged"),
        ("stream", {"fingerprints": {}}, "PlanBatches is damaged .it has no 'plan'"),
        ("accumulate", None, r"its accumulate .None."),
    ],
)
def test_a_state_in_grain_says_what_is_wrong(field: str, value: Any, says: str) -> None:
    pytest.importorskip("grain", reason="grain is not installed")
    made = in_grain()
    before = made.state_dict()
    with pytest.raises(InputError, match=says):
        made.load_state_dict({**before, field: value} if field != "stream" or value != 3 else {**made.get(), field: 3})
    assert made.state_dict() == before


@pytest.mark.parametrize("change", [False, True])
@pytest.mark.parametrize(
    ("stream", "says"),
    [("x", "damaged .Expecting"), ("[" * 100_000, "damaged"), ("[]", "MixtureLoader|damaged"), (3, "hold the stream")],
)
def test_a_state_in_torchtitan_says_what_is_wrong(stream: Any, says: str, change: bool) -> None:
    pytest.importorskip("torchtitan", reason="torchtitan is not installed")
    made = in_torchtitan(change)
    before = made.state_dict()
    with pytest.raises(InputError, match=says):
        made.put({"stream": stream})
    assert made.state_dict() == before


def test_a_mixture_without_weights_in_force_is_refused() -> None:
    made = mixture("PiKE")
    with pytest.raises(InputError, match="no weights are in force"):
        made.load_state_dict({**made.state_dict(), "pending": []})


def test_a_name_that_no_observation_has_is_not_asked_for() -> None:
    made = mixture("PiKE")
    state = json.loads(json.dumps(made.state_dict()))
    pool = state["state"]["inner"]["pool"]
    pool["fields"][0] = "/"
    made.load_state_dict(state)
    observed(made)
