import json
import warnings
from dataclasses import fields

import numpy as np
import pytest

from mixwright import GroupDRO, InputError, Mixture, Observation
from mixwright.observation import REPORTED_BY


def test_json_gives_it_back():
    given = Observation(
        step=3, batch_size=8, counts=[5, 0], loss=[2.5, np.nan], target_loss=[1, 2, 3], gram=[[1, 0.1], [0.1, 2]]
    )
    back = Observation.from_json(json.loads(json.dumps(given.to_json(), allow_nan=False)))
    assert (back.step, back.batch_size, back.given) == (3, 8, {"counts", "loss", "target_loss", "gram"})
    for name in back.given:
        np.testing.assert_array_equal(getattr(back, name), getattr(given, name))


def test_it_keeps_no_alias():
    loss = np.array([1.0, 2.0])
    given = Observation(step=0, batch_size=1, counts=[1, 0], loss=loss)
    loss[0] = 9
    assert given.loss[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        given.loss[0] = 3


def test_tensors_are_numbers():
    torch = pytest.importorskip("torch")
    loss = torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = Observation(step=0, batch_size=2, counts=torch.tensor([1, 1]), loss=loss)
    assert given.loss.tolist() == [1, 2]
    assert given.counts.dtype == given.loss.dtype == np.float64


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"step": -1}, "step of an observation should be a whole number of at least 0, found -1"),
        ({"batch_size": 0}, "batch_size"),
        ({"counts": [1, np.nan]}, "a source that was not seen has 0"),
        ({"counts": [1, -1]}, "counts of an observation should be at least 0"),
        ({"loss": [1.0]}, r"loss of an observation should have the shape \(2,\), found \(1,\)"),
        ({"loss": [1.0, np.inf]}, "should be finite"),
        ({"gram": [1.0, 2.0]}, "gram"),
        ({"loss": ["a", "b"]}, "should be numbers"),
        ({"reference_loss": [1.0]}, r"reference_loss of an observation should have the shape \(2,\), found \(1,\)"),
        ({"target_gram": [1.0, 2.0]}, "target_gram"),
        (
            {"target_gram": [[1.0], [2.0]], "target_loss": [1, 2]},
            r"target_gram .* the shape \(2, 2\), found \(2, 1\)",
        ),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(InputError, match=message):
        Observation(**{"step": 0, "batch_size": 4, "counts": [1, 3], **fields})


def test_unknown_and_missing_fields():
    with pytest.raises(InputError, match="no field 'losses'"):
        Observation.from_json({"step": 0, "batch_size": 1, "counts": [1], "losses": [1]})
    with pytest.raises(InputError, match="should have the field 'counts'"):
        Observation.from_json({"step": 0, "batch_size": 1})


def test_the_error_of_a_strategy_without_its_field_says_what_reports_it():
    """Every field says where it comes from, and `Mixture.check` repeats it before the first step."""
    assert set(REPORTED_BY) == {f.name for f in fields(Observation)[2:]}
    mixture = Mixture(["a", "b"], GroupDRO(loss="eval_loss"))
    with pytest.raises(
        InputError, match=r"GroupDRO needs eval_loss .* found loss; mixwright train .* eval_dataset .*; or use"
    ):
        mixture.check(["loss"])
