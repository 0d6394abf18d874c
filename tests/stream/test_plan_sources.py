"""Other sources for a plan and a loader under way: rows go on where they were, parts go on in their source's order."""

import json

import numpy as np
import pytest
from streams import SIZES, plan, rows_of, sources, take, tokens

from mixwright import GroupDRO, InputError, Mixture, Observation
from mixwright.source_change import SourceChange
from mixwright.stream.sources.tokens import TokenRows

NAMES = tuple(SIZES)
EVEN, ODD = np.arange(0, 37, 2), np.arange(1, 37, 2)
ADD = SourceChange.add(NAMES, {"d": 0.25})
REMOVE = SourceChange.remove(NAMES, ["b"])
SPLIT = SourceChange.split(NAMES, "a", {"even": len(EVEN), "odd": len(ODD)})
ROWS_OF_A = {"even": EVEN, "odd": ODD}
ROWS = {"even": EVEN, "odd": ODD, "d": 20}


def drawn(steps, made, names=None):
    """Return the (source, row) pairs that steps draw; rows of parts as those of their source."""
    out = []
    for step in steps:
        for s, r in zip(step.source.tolist(), step.row.tolist(), strict=True):
            name = made.sources[s]
            out.append(("a", int(made.tables[name][r])) if name in made.tables else (name, r))
    return out


def of(pairs, name):
    return [row for source, row in pairs if source == name]


@pytest.mark.parametrize("compiled", [False, None])
@pytest.mark.parametrize("at", [0, 3, 5, 11])
def test_parts_draw_what_their_source_would_have_drawn_in_its_epoch(at, compiled):
    whole = plan(compiled=compiled)
    before = drawn(take(whole, at), whole)
    split = whole.with_sources(SPLIT, ROWS)
    assert split.step == at
    straight = of(drawn(take(plan(), 60), plan()), "a")
    after = of(drawn(take(split, 40), split), "a")
    first = len(of(before, "a"))
    rest = straight[first : first - first % 37 + 37]  # of the epoch at work
    for part in (EVEN, ODD):
        mine, expected = [r for r in after if r in part], [r for r in rest if r in part]
        assert mine[: len(expected)] == expected
        later = mine[len(expected) :]
        for epoch in range(len(later) // len(part)):  # each row once per epoch
            assert sorted(later[epoch * len(part) : (epoch + 1) * len(part)]) == part.tolist()
    lines = {line.source: line for line in split.ledger().lines}
    for line in lines.values():
        assert abs(line.rows - line.asked_amount) <= 2
    assert sum(lines[name].rows for name in ("even", "odd")) == len(of(before, "a")) + len(after)


@pytest.mark.parametrize("at", [0, 7])
def test_sources_that_stay_go_on_when_others_come_and_go(at):
    straight = drawn(take(plan(), 100), plan())
    for change, gone in ((ADD, "d"), (REMOVE, "b")):
        whole = plan()
        before = drawn(take(whole, at), whole)
        other = whole.with_sources(change, ROWS)
        after = drawn(take(other, 40), other)
        for name in set(NAMES) - {gone}:
            rows = of(before, name) + of(after, name)
            assert rows == of(straight, name)[: len(rows)]
        shares = np.array([len(of(after, name)) for name in other.sources]) / len(after)
        np.testing.assert_allclose(shares, change.weights(np.array([0.5, 0.3, 0.2])), atol=0.01)


def test_a_plan_goes_on_from_a_state_after_the_change_and_from_a_step_back():
    whole = plan(history=8)
    take(whole, 9)
    split = whole.with_sources(SPLIT, ROWS, step=7)
    assert split.step == 7
    rows = drawn(take(split, 20), split)
    again = plan()
    take(again, 7)
    assert drawn(take(again.with_sources(SPLIT, ROWS), 20), split) == rows
    saved = json.loads(json.dumps(split.state_dict()))
    resumed = plan().with_sources(SPLIT, ROWS, state=saved)  # of a plan that knows nothing of what was drawn
    assert drawn(take(resumed, 20), resumed) == drawn(take(split, 20), split)


def test_the_name_of_a_source_that_was_split_stays_its_own():
    whole = plan()
    take(whole, 5)
    split = whole.with_sources(SPLIT, ROWS)
    rows = {"a": 37, "b1": np.arange(20), "e": 20}
    for change in (
        SourceChange.add(split.sources, {"a": 0.1}),
        SourceChange.split(split.sources, "b", {"a": 1, "x": 1}),
    ):
        with pytest.raises(InputError, match="name of its own, found 'a', which was split"):
            split.with_sources(change, rows)
    later = split.with_sources(SourceChange.add(split.sources, {"e": 0.1}), rows)
    with pytest.raises(InputError, match="name of its own, found 'a', which was split"):
        later.with_sources(SourceChange.add(later.sources, {"a": 0.1}), rows)


def test_a_part_that_was_removed_comes_back_where_it_was():
    whole = plan()
    take(whole, 5)
    split = whole.with_sources(SPLIT, ROWS)
    first = of(drawn(take(split, 5), split), "a")
    gone = split.with_sources(SourceChange.remove(split.sources, ["odd"]), {})
    take(gone, 5)
    back = gone.with_sources(SourceChange.add(gone.sources, {"odd": 0.3}), {"odd": len(ODD)})
    np.testing.assert_array_equal(back.tables["odd"], split.tables["odd"])
    given = [
        r for r in (*of(drawn(take(plan(), 5), plan()), "a"), *first, *of(drawn(take(back, 5), back), "a")) if r % 2
    ]
    assert len(given) > 18
    assert sorted(given[:18]) == ODD.tolist()


def test_limits_of_a_source_are_those_of_its_parts():
    whole = plan(max_epochs={"a": 2})
    take(whole, 4)
    split = whole.with_sources(SPLIT, ROWS)
    given = drawn(take(split, 60), split)
    counts = [line.rows for line in split.ledger().lines]
    assert counts[:2] == [2 * len(EVEN), 2 * len(ODD)]
    assert len(of(given, "a")) == 2 * 37 - 24


@pytest.mark.parametrize(
    ("change", "rows", "said"),
    [
        (SPLIT, {"even": EVEN, "odd": ODD[1:]}, "each row of 'a' should be in a part, found none for row 1"),
        (SPLIT, {"even": EVEN, "odd": np.append(ODD, 2)}, "in one part once, found some of 'odd' again"),
        (SPLIT, {"even": EVEN, "odd": np.append(ODD, 37)}, "rows of 'a', from 0 to 36"),
        (SourceChange.remove(("x", "y"), ["y"]), {}, "one of the sources"),
        (SPLIT, {"even": np.arange(36), "odd": [36]}, r"'even' has 36 rows, the change says 19 \(of 37\)"),
        (SPLIT, {"even": EVEN, "ood": ODD}, "'odd', which should be given .* found 'ood'; did you mean 'odd'"),
        (ADD, {}, "'d', which should be given with its rows; found none"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, rows, said):
    with pytest.raises(InputError, match=said):
        plan().with_sources(change, rows)


def trained(loader, mixture, steps):
    """Train until a step; return (source name, row) of each step, rows of parts as those of their source."""
    out = []
    for batch in loader:
        pairs = (
            rows_of(batch)
            if mixture.sources == NAMES
            else list(zip(batch.source.tolist(), batch.inputs[:, 1].tolist(), strict=True))
        )
        out.append([(mixture.sources[s], r) for s, r in pairs])
        counts = np.bincount([s for s, _ in pairs], minlength=mixture.k)
        loss = [np.mean([r for s, r in pairs if s == i] or [0]) / 37 for i in range(mixture.k)]
        mixture.observe(Observation(batch.step, len(pairs), counts, loss=np.array(loss)))
        if loader.step == steps:
            return out
    return out


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_with_workers_goes_on_with_other_sources_and_resumes(workers):
    from mixwright.stream.loader import MixtureLoader

    def begun(num_workers):
        mixture = Mixture(SIZES, GroupDRO(learning_rate=0.3), lag=6)
        return MixtureLoader(sources(), plan(weights=mixture), num_workers=num_workers), mixture

    def changed(loader, state=None):
        other = loader.with_sources(SPLIT, {}, rows=ROWS_OF_A, state=state)
        return other, other.plan.driver

    new = {"d": TokenRows(tokens(3, 20), 4)}
    add = SourceChange.add(SPLIT.names, {"d": 0.25})
    runs = []
    for num_workers in (0, workers):
        loader, mixture = begun(num_workers)
        rows = trained(loader, mixture, 10)
        loader, mixture = changed(loader)
        rows += trained(loader, mixture, 20)
        saved = json.loads(json.dumps(loader.state_dict()))
        loader, mixture = loader.with_sources(add, new), None
        mixture = loader.plan.driver
        rows += trained(loader, mixture, 30)
        runs.append(rows)
    assert runs[0] == runs[1]
    assert {name for step in runs[0][20:] for name, _ in step} == {"even", "odd", "b", "c", "d"}
    loader, mixture = changed(begun(workers)[0], saved)
    assert loader.step == 20
    loader = loader.with_sources(add, new)
    assert trained(loader, loader.plan.driver, 25) == runs[0][20:25]
    saved = json.loads(json.dumps(loader.state_dict()))
    loader = changed(begun(workers)[0], saved)[0].with_sources(add, new, state=saved)
    assert trained(loader, loader.plan.driver, 30) == runs[0][25:]


def test_a_state_that_the_changes_do_not_lead_to_is_refused():
    from mixwright.stream.loader import MixtureLoader

    def begun():
        return MixtureLoader(sources(), plan())

    def read(loader, steps):
        for _ in zip(range(steps), loader, strict=False):
            pass
        return loader.state_dict()

    new, add = {"d": TokenRows(tokens(3, 20), 4)}, SourceChange.add(SPLIT.names, {"d": 0.25})
    loader = begun()
    early = read(loader, 4)
    loader = loader.with_sources(SPLIT, {}, rows=ROWS_OF_A)
    middle = read(loader, 3)
    late = read(loader.with_sources(add, new), 3)
    resumed = begun().with_sources(SPLIT, {}, rows=ROWS_OF_A, state=late)
    for use in (lambda: next(iter(resumed)), resumed.state_dict, lambda: next(resumed.plan)):
        with pytest.raises(InputError, match=r"this state has the sources even, odd, b, c, d, .* make the next change"):
            use()
    assert resumed.with_sources(add, new, state=late).step == 10
    resumed.load_state_dict(middle)
    assert next(iter(resumed)).step == 7
    removed = begun().with_sources(REMOVE, {}, state=early)  # it may have come back: known when it is used
    with pytest.raises(InputError, match="this state has the sources a, b, c, and the changes so far lead to a, c"):
        next(iter(removed))
    for state, said in (
        (early, "one after the change .* never had 'even'"),
        (read(MixtureLoader({"x": sources()["a"]}, plan(sizes={"x": 37}, weights=[1.0])), 2), "never had 'even'"),
        ({"foo": 1}, "a state of MixtureLoader.state_dict"),
        ({"version": 1, "plan": {"foo": 1}}, "what Plan.state_dict returned"),
    ):
        with pytest.raises(InputError, match=said):
            begun().with_sources(SPLIT, {}, rows=ROWS_OF_A, state=state)


@pytest.mark.parametrize(
    ("change", "given", "rows", "said"),
    [
        (ADD, {}, None, "'d', which should be given with its rows; found none"),
        (ADD, {"dd": [1]}, None, "new sources of the change; found 'dd'; did you mean 'd'"),
        (SPLIT, {}, {"even": EVEN, "od": ODD}, "parts of the change; found 'od'; did you mean 'odd'"),
        (SPLIT, {}, None, "'even', which should be given"),
        (REMOVE, {"d": [1]}, None, "new sources of the change; found 'd'"),
    ],
)
def test_a_loader_names_the_sources_that_a_change_brings(change, given, rows, said):
    from mixwright.stream.loader import MixtureLoader

    with pytest.raises(InputError, match=said):
        MixtureLoader(sources(), plan()).with_sources(change, given, rows=rows)
