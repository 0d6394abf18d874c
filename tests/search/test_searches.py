"""What holds for every search in the list: one signature, one kind of result, one file."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import mixwright
from mixwright import Constraints, InputError, LikelihoodTable, MixtureFile, search
from mixwright.search import SEARCHES, SearchResult

SOURCES = ["web", "law", "code"]
DOCS = Path(__file__).parents[2] / "docs" / "search.md"


def table_evidence(sources=SOURCES):
    rng = np.random.default_rng(0)
    logs = -rng.gamma(3, 1, size=(60, 3)) - np.array([0.0, 0.4, 1.0])
    targets = np.repeat([0, 1], 30)
    return LikelihoodTable.from_array(logs, sources, targets=targets, target_names=["news", "books"])


def predictions(sources=SOURCES):
    rng = np.random.default_rng(0)
    F = rng.normal(size=(60, 3))
    return (F, F @ [0.7, 0.3, 0.0] + 0.1 * rng.normal(size=60)), {"sources": sources}


EVIDENCE = {
    "MixMin": lambda sources=SOURCES: ((table_evidence(sources).select("news"),), {}),
    "SquaredError": predictions,
    "WorstRegret": lambda sources=SOURCES: ((table_evidence(sources),), {}),
}


@pytest.fixture(params=list(SEARCHES))
def name(request):
    return request.param


def fit(name, sources=SOURCES, settings=None, **arguments):
    evidence, more = EVIDENCE[name](sources)
    return getattr(search, name)(**(settings or {})).fit(*evidence, **more, **arguments)


def test_the_list_is_what_is_tested_and_described(name):
    assert set(EVIDENCE) == set(SEARCHES)
    assert getattr(mixwright, name) is getattr(search, name)
    assert f"mixwright.{name}" in DOCS.read_text(encoding="utf-8")


def test_fit_has_one_signature(name):
    arguments = dict(inspect.signature(getattr(search, name).fit).parameters)
    assert next(iter(arguments.items()))[0] == "self"
    assert list(arguments)[1] == "evidence"
    for argument, default in (("sizes", None), ("constraints", None), ("seed", 0)):
        assert arguments[argument].kind is inspect.Parameter.KEYWORD_ONLY
        assert arguments[argument].default == default


def test_a_result_has_its_evidence(name, tmp_path):
    limits = Constraints(caps={"web": 0.3})
    result = fit(name, sizes={"law": 3.0, "web": 1.0, "code": 6.0}, constraints=limits)
    assert isinstance(result, SearchResult)
    assert result.sources == tuple(SOURCES)
    assert result.weights.sum() == pytest.approx(1)
    assert result.space.contains(result.weights, 1e-9)
    assert 0 <= result.gap <= 1e-6
    assert result.prior.tolist() == pytest.approx([1 / 3] * 3)
    assert result.natural.tolist() == pytest.approx([0.1, 0.3, 0.6])
    (cap,) = [b for b in result.binding if "cap" in b.constraint]
    low, high = result.interval().T
    assert (low <= high).all()
    assert low.min() >= 0
    assert high[0] <= 0.3 + 1e-6
    estimate, low, high = result.improvement(over={"code": 1.0})
    assert low <= estimate <= high
    assert estimate == result.improvement(over=[0, 0, 1.0])[0]
    assert result.verdict.startswith(
        ("the proxies favour it over uniform by", "no better than uniform on this evidence")
    )
    assert result.notes == ()
    assert repr(result).startswith(f"{name}Result(k=3, ")
    result.save(tmp_path / "mixture.json")
    written = MixtureFile.read(tmp_path / "mixture.json")
    assert written.sources == tuple(SOURCES)
    assert written.weights == pytest.approx(result.weights.tolist())
    assert written.certificate["gap"] == result.gap
    assert written.certificate["binding"][0]["price"] == pytest.approx(cap.price)
    assert written.verdict == result.verdict


def test_the_price_of_a_cap_is_what_relaxing_it_saves(name):
    settings = {"shrinkage": 0.0, "tolerance": 1e-9}
    alone = {"targets": ["news"]} if name == "WorstRegret" else {}  # of one target the regret is 0 whatever the cap
    tight = fit(name, settings=settings, constraints=Constraints(caps={"web": 0.3}), **alone)
    loose = fit(name, settings=settings, constraints=Constraints(caps={"web": 0.3001}), **alone)
    (cap,) = tight.binding
    of = (lambda r: r.best["news"]) if alone else (lambda r: r.objective)
    assert cap.price > 0
    assert (of(tight) - of(loose)) / 1e-4 == pytest.approx(cap.price, rel=0.02)


def test_numbers_by_name_are_those_in_order(name):
    by_name = fit(name, settings={"prior": {"law": 3.0, "web": 1.0}, "shrinkage": 0.3})
    in_order = fit(name, settings={"prior": [1.0, 3.0, 0.0], "shrinkage": 0.3})
    assert by_name.weights.tolist() == in_order.weights.tolist()
    sizes = {"code": 1.0, "web": 2.0, "law": 5.0}
    natural = {"prior": "natural", "shrinkage": 0.3}
    by_name = fit(name, settings=natural, sizes=sizes)
    assert by_name.weights.tolist() == fit(name, settings=natural, sizes=[2.0, 5.0, 1.0]).weights.tolist()


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"prior": {"lab": 1.0}}, {}, "prior should name a source; found 'lab'; did you mean 'law'"),
        ({"prior": {"law": "much"}}, {}, "the prior of source 'law' should be a number; found 'much'"),
        ({"prior": {}}, {}, "only zeros"),
        ({"prior": [1.0, 1.0]}, {}, r"prior should be one number per source \(3\); found 2"),
        ({"prior": "natural"}, {}, "needs the sizes"),
        ({"shrinkage": -1.0}, {}, "from 0 to 1,000,000, found -1.0"),
        ({"shrinkage": 1000001}, {}, "from 0 to 1,000,000, found 1000001"),
        ({"shrinkage": True}, {}, "shrinkage should be"),
        ({"tolerance": 0.0}, {}, "tolerance should be"),
        ({}, {"sizes": {"web": 1.0, "law": 2.0}}, "sizes should have a number for each source; found none for 'code'"),
        ({}, {"sizes": {"web": 1.0, "law": 2.0, "cod": 1.0}}, "did you mean 'code'"),
        ({}, {"sizes": [1.0, 2.0]}, "one number per source"),
        ({}, {"seed": -1}, "seed should be"),
        ({}, {"constraints": Constraints(caps={"wbe": 0.5})}, "did you mean 'web'"),
    ],
)
def test_input_that_does_not_fit(name, settings, arguments, message):
    with pytest.raises(InputError, match=message):
        fit(name, settings=settings, **arguments)


def test_constraints_should_be_constraints(name):
    with pytest.raises(TypeError, match=r"constraints should be a mixwright\.Constraints or None; found dict"):
        fit(name, constraints={"web": 0.5})


def test_the_names_of_a_file_are_matched_by_name(name, tmp_path):
    result = fit(name, settings={"prior": [0.2, 0.3, 0.5]})
    result.save(tmp_path / "mixture.json", sources=["code", "web", "law"])
    written = MixtureFile.read(tmp_path / "mixture.json")
    own = dict(zip(SOURCES, result.weights.tolist(), strict=True))
    assert dict(zip(written.sources, written.weights, strict=True)) == pytest.approx(own)
    assert written.sources == ("code", "web", "law")
    assert written.method["prior"] == pytest.approx([0.5, 0.2, 0.3])
    np.testing.assert_allclose(written.uncertainty["interval"], result.interval()[[2, 0, 1]])
    for names, message in (
        (["code", "web", "lax"], "found 'lax'; did you mean 'law'"),
        (["code", "web"], "3 names"),
        (["code", "web", "web"], "different names"),
    ):
        with pytest.raises(InputError, match=message):
            result.save(tmp_path / "other.json", sources=names)
    assert not (tmp_path / "other.json").exists()


def test_sources_without_names_are_named_in_order(name, tmp_path):
    result = fit(name, sources=None)
    result.save(tmp_path / "mixture.json", sources=["books", "law", "code"])
    written = MixtureFile.read(tmp_path / "mixture.json")
    assert written.sources == ("books", "law", "code")
    assert written.weights == pytest.approx(result.weights.tolist())


@pytest.mark.parametrize("over", ["best", {"lab": 1.0}, [1.0, 1.0, 0.0], [0.5, 0.5], {"web": 0.5}])
def test_what_cannot_be_compared_with(name, over):
    with pytest.raises(InputError, match="over"):
        fit(name).improvement(over=over)


@pytest.mark.parametrize("level", [0, 1, 90, True, "0.9"])
def test_levels_that_cannot_be(name, level):
    with pytest.raises(InputError, match="level should be between 0 and 1"):
        fit(name).verdict_at(level)
