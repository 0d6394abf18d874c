"""What is refused, what is unknown, and that a model is as it was afterwards."""

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="gradient statistics need torch")

from gradients_by_hand import VOCABULARY, Small, batch, by_pairs, row_gradients, row_losses, small  # noqa: E402
from torch import nn  # noqa: E402

from mixwright import InputError  # noqa: E402
from mixwright.gradients import GradientStatistics  # noqa: E402

K = 3


def run(stats, model, source, ids=None, weight=None):
    with stats.observe(source, loss_weight=weight):
        row_losses(model, batch(len(source)) if ids is None else ids).mean().backward()


def refused(words, call):
    with pytest.raises(InputError) as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, ["found none", "`source`"]),
        ([0, 3], ["from 0 to 2", "found 3 for row 1"]),
        ([0, -1], ["found -1 for row 1"]),
        ([0.0, 1.0], ["whole number per row", "float64"]),
        ([[0, 1]], ["shape (1, 2)"]),
        ([], ["shape (0,)"]),
        ([0, 1, 2], ["'tokens'", "3 ids", "(2, 5)", "micro-batch"]),
    ],
)
def test_ids_that_do_not_fit(source, words):
    model = small()
    stats = GradientStatistics(model, K)
    refused(words, lambda: run(stats, model, source, batch(2)))
    assert type(model.tokens) is nn.Embedding
    run(stats, model, [0, 0])  # and it goes on
    assert stats.observation(0, 2).counts.tolist() == [2, 0, 0]


@pytest.mark.parametrize("weight", [[1.0], [0.5, np.nan], [0.5, -1.0]])
def test_weights_that_do_not_fit(weight):
    model = small()
    refused(["loss_weight"], lambda: run(GradientStatistics(model, K), model, [0, 1], weight=weight))


class WithParameter(Small):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(VOCABULARY))

    def forward(self, ids):
        return super().forward(ids) + self.shift


class OwnForward(nn.Linear):
    def forward(self, x):
        return super().forward(x).relu()


def with_module(module):
    model = small()
    model.extra = module
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (WithParameter, ["'shift'", "WithParameter", "level='micro-batch'"]),
        (lambda: with_module(nn.Conv1d(2, 2, 1)), ["'extra.bias'", "Conv1d", "level='micro-batch'"]),
        (lambda: with_module(OwnForward(2, 2)), ["'extra.bias'", "forward of its own"]),
        (lambda: with_module(nn.MultiheadAttention(4, 2)), ["'extra.in_proj_bias'", "MultiheadAttention"]),
        (lambda: with_module(nn.Embedding(3, 2, scale_grad_by_freq=True)), ["'extra.weight'"]),
        (lambda: with_module(nn.BatchNorm1d(2)), ["batch norm 'extra'", "depend on each other"]),
        (lambda: small().requires_grad_(False), ["trainable parameters, found none"]),
    ],
)
def test_models_that_cannot_be_split(model, words):
    refused(words, lambda: GradientStatistics(model(), K))


def test_a_batch_norm_is_refused_by_the_fallback_too():
    refused(["batch norm"], lambda: GradientStatistics(with_module(nn.BatchNorm1d(2)), K, "micro-batch"))


def test_shared_parameters_other_than_a_tied_head():
    model = small()
    model.again = nn.Linear(6, 12).double()
    model.again.weight = model.up.weight
    refused(["'up', 'again'", "untie"], lambda: GradientStatistics(model, K))


class Twice(Small):
    def forward(self, ids):
        return super().forward(ids) + super().forward(ids)


def test_a_layer_that_is_used_twice():
    torch.manual_seed(0)
    model = Twice()
    stats = GradientStatistics(model, K)
    refused(["2 times for 'tokens'", "by itself"], lambda: run(stats, model, [0, 1]))
    assert stats.observation(0, 2).counts.tolist() == [0, 0, 0]


class Functional(Small):
    """Uses the table of its embedding as the head without a layer for it."""

    def forward(self, ids):
        x = self.second(self.first(self.tokens(ids)))
        return x @ self.tokens.weight.T


def test_a_parameter_that_is_used_outside_its_layer():
    torch.manual_seed(0)
    model = Functional(tied=False)
    refused(["'tokens'", "used elsewhere", "micro-batch"], lambda: run(GradientStatistics(model, K), model, [0, 1]))
    stats = GradientStatistics(model, K, check=False)
    run(stats, model, [0, 1])  # the check can be switched off


class FusedHead(Small):
    """Multiplies by the head's weight itself, as heads do that are fused with the loss."""

    def forward(self, ids):
        return nn.functional.linear(self.second(self.first(self.tokens(ids))), self.head.weight)


@pytest.mark.parametrize("weight", [None, [0.2, 0.3]])
@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_is_passed_by(tied, weight):
    torch.manual_seed(0)
    model = FusedHead(tied=tied)
    stats = GradientStatistics(model, 1, check=False)

    def observed():
        with stats.observe([0, 0], weight):
            (row_losses(model, batch(2)) * torch.tensor(weight or [0.5, 0.5])).sum().backward()

    refused(["'head'", "used elsewhere"], observed)


def test_no_backward_pass_and_one_outside():
    model = small()
    stats = GradientStatistics(model, K)

    def forward_only():
        with stats.observe([0, 1]):
            row_losses(model, batch(2))

    refused(["loss.backward() should be called within"], forward_only)


def test_one_source_per_micro_batch_is_checked():
    model = small()
    stats = GradientStatistics(model, K, "micro-batch")
    refused(["one source, found [0, 1]"], lambda: run(stats, model, [0, 1]))
    refused(["same loss_weight"], lambda: run(stats, model, [0, 0], weight=[0.25, 0.75]))


@pytest.mark.parametrize(
    "arguments",
    [{"num_sources": 0}, {"num_sources": True}, {"level": "rows"}, {"mode": "both"}, {"half_life": 0.0}],
)
def test_arguments(arguments):
    refused([next(iter(arguments))], lambda: GradientStatistics(small(), **{"num_sources": K, **arguments}))


def test_optimisers_without_second_moments():
    model = small()
    refused(["Adam", "found SGD"], lambda: GradientStatistics(model, K, optimizer=torch.optim.SGD(model.parameters())))
    partial = GradientStatistics(model, K, optimizer=torch.optim.Adam(model.up.parameters()))
    refused(["every trainable parameter", "'tokens'"], lambda: run(partial, model, [0, 1]))


@pytest.mark.parametrize("level", ["example", "micro-batch"])
def test_the_model_is_as_it_was_also_after_an_exception(level):
    model = small()
    before = {name: (type(m), set(vars(m))) for name, m in model.named_modules()}
    stats = GradientStatistics(model, K, level)

    def fails():
        with stats.observe([0, 0]):
            row_losses(model, batch(2)).mean().backward()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert {name: (type(m), set(vars(m))) for name, m in model.named_modules()} == before
    assert np.isnan(stats.observation(0, 2).grad_sq_norm).all()
    run(stats, model, [0, 0])
    assert {name: (type(m), set(vars(m))) for name, m in model.named_modules()} == before


def test_one_observe_at_a_time():
    model = small()
    stats, other = GradientStatistics(model, K), GradientStatistics(model, K)

    def nested():
        with stats.observe([0, 0]):
            run(other, model, [0, 0])

    refused(["once at a time"], nested)
    assert type(model.up) is nn.Linear


def test_unknown_is_nan_and_names_the_remedy():
    model = small()
    stats = GradientStatistics(model, K)
    run(stats, model, [0, 1, 0])
    run(stats, model, [1, 0])
    found = stats.observation(1, 5)
    assert found.counts.tolist() == [3, 2, 0]
    assert np.isfinite(found.grad_sq_norm[0])
    assert np.isnan(found.grad_sq_norm[1:]).all()
    assert np.isnan(found.grad_variance[1:]).all()
    assert np.isfinite(found.gram[0, 1])
    assert "sources [1]" in stats.notes[0]
    assert "co_locate=2" in stats.notes[0]


def test_gradients_that_are_not_finite_are_left_out():
    model, ids = small(tied=False), batch(5).clamp(min=1)
    with torch.no_grad():
        model.tokens.weight[0] = torch.nan
    ids[4, 2] = 0
    stats = GradientStatistics(model, K)
    run(stats, model, [0, 0, 2, 2, 1], ids)
    found = stats.observation(0, 5)
    gram, _ = by_pairs([(row_gradients(model, row_losses(model, ids[:4])), [0, 0, 2, 2])], K)
    np.testing.assert_allclose(found.gram, gram, rtol=1e-11)
    assert "source 1 had gradients that are not finite 1 times" in stats.notes[0]


def test_averages_and_their_state():
    model = small()
    parts = [[0, 0, 1, 1, 2], [1, 1, 2, 0, 0], [2, 2, 0, 1, 1]]
    stats = GradientStatistics(model, K, half_life=1)
    grams = []
    for step, source in enumerate(parts):
        run(stats, model, source, batch(5, seed=step))
        if step == 2:
            saved = json.loads(json.dumps(stats.state_dict()))
        grams.append(stats.observation(step, 5))
    want = [(row_gradients(model, row_losses(model, batch(5, seed=s))), source) for s, source in enumerate(parts)]
    norms = [np.diag(by_pairs([part], K)[0]) for part in want]
    expected = (0.25 * 2 * norms[0][0] + 0.5 * 2 * norms[1][0]) / (0.25 * 2 + 0.5 * 2)
    assert grams[2].grad_sq_norm[0] == pytest.approx(expected, rel=1e-11)
    assert grams[2].counts.tolist() == [1, 2, 2]  # since the last observation
    again = GradientStatistics(model, K, half_life=1)
    again.load_state_dict(saved)
    resumed = again.observation(2, 5)
    assert np.array_equal(resumed.gram, grams[2].gram, equal_nan=True)
    assert np.array_equal(resumed.grad_variance, grams[2].grad_variance, equal_nan=True)
    refused(["num_sources"], lambda: GradientStatistics(model, K + 1).load_state_dict(saved))
    refused(["level"], lambda: GradientStatistics(model, K, "source").load_state_dict(saved))
    refused(["state_dict"], lambda: again.load_state_dict({}))


def test_more_fields_and_ids_as_tensors():
    model = small()
    stats = GradientStatistics(model, K)
    run(stats, model, torch.tensor([0, 0, 1]))
    found = stats.observation(4, 3, loss=[1.0, 2.0, np.nan], counts=[30, 40, 0])
    assert found.loss[0] == 1.0
    assert found.counts.tolist() == [30, 40, 0]


def test_an_operation_in_place_on_a_layers_output():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 1)).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    want = row_gradients(model, model(x).flatten())
    for mode in ("fused", "mirror"):
        stats = GradientStatistics(model, K, mode=mode)
        model.zero_grad()
        with stats.observe([0, 0, 0, 1, 1, 2]):
            model(x).mean().backward()
        gram, _ = by_pairs([(want, [0, 0, 0, 1, 1, 2])], K)
        np.testing.assert_allclose(stats.observation(0, 6).gram, gram, rtol=1e-11)


def test_the_products_for_a_gpu_give_the_same_sums():
    from mixwright.gradients.totals import Totals

    pieces = [torch.randn(6, n, dtype=torch.float64) for n in (7, 512)]
    found = []
    for in_turn in (True, False):
        totals = Totals([3, 0, 1, 2], pieces[0])
        totals.in_turn = in_turn
        sums = [totals.add(p).clone() for p in pieces]
        found.append((totals.result(), *sums))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_torch_is_loaded_where_it_is_used():
    code = "import sys, mixwright; mixwright.gradients.Sums; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    blocked = "import sys; sys.modules['torch'] = None; import mixwright; mixwright.gradients.GradientStatistics"
    found = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert "pip install 'mixwright[lm]'" in found.stderr
