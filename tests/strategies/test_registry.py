import pytest
import yaml

from mixwright import BalancedPiKE, Every, Floor, Guard, InputError, PiKE, Schedule, Static, Temperature, Warmup
from mixwright.strategies import by_name, from_config
from mixwright.strategies.registry import check_named_before, known


def test_by_name():
    assert by_name("pike", rule="restoring", floor=0.03) == PiKE(rule="restoring", floor=0.03)
    assert by_name("Balanced-PiKE", tau=3) == by_name("balanced_pike", tau=3) == BalancedPiKE(3)
    assert by_name("floor", strategy=Static(), floor=0.1) == Floor(Static(), 0.1)
    assert set(known()) >= {"PiKE", "BalancedPiKE", "Static", "Schedule", "Temperature", "UniMax", "Guard", "Every"}


YAML = """
plain: {name: PiKE, rule: restoring, floor: 0.03}
text: pike
nested:
  name: Guard
  strategy:
    name: Every
    steps: 20
    strategy: {name: Balanced-PiKE, tau: 3}
wrapped:
  name: PiKE
  floor: 0.03
  wrap: [{name: Every, steps: 5}, {name: Warmup, steps: 100}, Guard]
schedule: {name: Schedule, weights: {0: [1, 0], 100: {hi: 0.75, en: 0.25}}, interpolate: true}
static: {name: static, weights: {hi: 0.25, en: 0.75}}
temperature: {name: temperature, temperature: 5, sizes: {en: 100, hi: 10}}
"""


def test_as_yaml():
    made = {name: from_config(config, ["en", "hi"]) for name, config in yaml.safe_load(YAML).items()}
    assert made == {
        "plain": PiKE(rule="restoring", floor=0.03),
        "text": Guard(Every(PiKE(rule="restoring"), 20)),
        "nested": Guard(Every(BalancedPiKE(3), 20)),
        "wrapped": Guard(Warmup(Every(PiKE(rule="restoring", floor=0.03), 5), 100)),
        "schedule": Schedule({0: [1, 0], 100: [0.25, 0.75]}, interpolate=True),
        "static": Static([0.75, 0.25]),
        "temperature": Temperature(5, [100, 10]),
    }
    assert from_config(made["nested"]) is made["nested"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("pyke", "strategy: there is no strategy 'pyke'; did you mean 'PiKE'"),
        ({"name": "PiKE", "flor": 0.1}, "strategy: PiKE has no parameter 'flor'; did you mean 'floor'"),
        ({"name": "PiKE", "rule": "best"}, "strategy: rule should be 'exponentiated'"),
        ({"name": "Temperature"}, "strategy: Temperature needs the parameter 'temperature', found none"),
        ({"rule": "optimal"}, "strategy.name should be the name of a strategy, found None"),
        (3, "strategy should be a name, or a mapping"),
        ({"name": "Guard"}, "Guard needs the parameter 'strategy'"),
        ({"name": "Guard", "strategy": {"name": "pik"}}, "strategy.strategy: there is no strategy 'pik'"),
        ({"name": "PiKE", "wrap": "Guard"}, r"strategy.wrap should be a list of wrappers"),
        (
            {"name": "PiKE", "wrap": ["Guard", {"name": "Every"}]},
            r"strategy.wrap\[1\]: Every needs the parameter 'steps'",
        ),
        ({"name": "PiKE", "wrap": ["Static"]}, r"strategy.wrap\[0\] should be a wrapper \(Every, Floor"),
        ({"name": "PiKE", "wrap": [{"steps": 3}]}, r"strategy.wrap\[0\] should be the name of a wrapper"),
        ({"name": "Static", "weights": {"en": 1.0}}, "should have a number for each source, found none for 'hi'"),
        ({"name": "Static", "weights": {"en": 1.0, "hj": 0.0}}, "names 'hj', which is no source; did you mean 'hi'"),
        ({"name": "Static", "weights": [0.4, 0.4]}, "strategy: weights should sum to 1"),
    ],
)
def test_errors_say_where(config, message):
    with pytest.raises(InputError, match=message):
        from_config(config, ["en", "hi"])


def test_names_need_sources():
    with pytest.raises(InputError, match=r"strategy.weights should be a list in source order here"):
        from_config({"name": "Static", "weights": {"en": 1.0}})


def test_steps_of_a_schedule_may_be_texts_as_yaml_and_json_give_them():
    made = from_config({"name": "schedule", "weights": {"0": {"a": 1, "b": 0}, "5": [0, 1]}}, sources=["a", "b"])
    assert made == Schedule({0: [1, 0], 5: [0, 1]})
    numbered = from_config({"name": "Static", "weights": {"0": 0.75, "5": 0.25}}, sources=["0", "5"])
    assert numbered == Static([0.75, 0.25])


def test_a_name_is_the_advised_form():
    """PiKE's printed rule has no fixed point and follows noise: by name it is the restoring rule in a Guard."""
    advised = Guard(Every(PiKE(rule="restoring"), 20))
    assert from_config("pike") == from_config({"name": "PiKE"}) == by_name("pike") == advised
    assert from_config({"name": "Floor", "floor": 0.1, "strategy": "pike"}) == Floor(advised, 0.1)
    assert PiKE() == PiKE(rule="exponentiated")


@pytest.mark.parametrize("given", [{"floor": 0.05}, {"rate": 0.1, "variance": False}, {"zeta1": 0.1, "zeta2": 0.2}])
def test_a_parameter_beside_the_name_changes_that_parameter_alone(given):
    advised = Guard(Every(PiKE(rule="restoring", **given), 20))
    assert from_config({"name": "PiKE", **given}) == by_name("pike", **given) == advised
    for rule in ("exponentiated", "restoring", "optimal"):  # whoever names the rule means it and nothing more
        assert from_config({"name": "PiKE", "rule": rule, **given}) == PiKE(rule=rule, **given)
    wrapped = {"wrap": [{"name": "Every", "steps": 5}], **given}
    assert (
        from_config({"name": "PiKE", **wrapped})
        == by_name("pike", **wrapped)
        == Every(PiKE(rule="restoring", **given), 5)
    )
    assert from_config({"name": "PiKE", "wrap": [], **given}) == PiKE(rule="restoring", **given)


def test_wrappers_are_not_offered_as_strategies():
    with pytest.raises(InputError, match="no strategy 'xyz'") as error:
        from_config("xyz")
    assert "Known: ADO, AMAR" in str(error.value)
    assert "Guard" not in str(error.value)


def test_what_a_name_meant_before_is_told_with_what_to_write():
    now = by_name("pike", floor=0.05)
    with pytest.raises(
        InputError, match=r"r was begun with PiKE\(.*, which PiKE by name meant before; .* write 'rule: e"
    ):
        check_named_before(repr(PiKE(floor=0.05)), now, "r")
    for before, strategy in ((PiKE(floor=0.1), now), (PiKE(), PiKE(rule="restoring")), (now, now)):
        check_named_before(repr(before), strategy, "r")
