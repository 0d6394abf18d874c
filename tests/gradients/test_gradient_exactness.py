"""Statistics from one backward pass against one backward pass per row, in float64 within 1e-12."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="gradient statistics need torch")

from gradients_by_hand import (  # noqa: E402
    Small,
    assert_near,
    assert_same,
    batch,
    by_pairs,
    family,
    row_gradients,
    row_losses,
    small,
)
from torch import nn  # noqa: E402

from mixwright.errors import InputError  # noqa: E402
from mixwright.gradients import GradientStatistics  # noqa: E402

K = 4
UNSORTED = [2, 0, 1, 0, 0, 2, 1, 0]  # unequal counts, source 3 absent
SORTED = [0, 0, 0, 0, 1, 1, 2, 3]
EXACT = 1e-12


def observed(model, ids, source, stats, weight=None):
    model.zero_grad()
    with stats.observe(source, loss_weight=weight):
        losses = row_losses(model, ids)
        (losses.mean() if weight is None else (losses * torch.as_tensor(weight)).sum()).backward()
    return stats.observation(0, len(ids))


@pytest.mark.parametrize("level", ["example", "source"])
@pytest.mark.parametrize("mode", ["fused", "mirror"])
@pytest.mark.parametrize("source", [UNSORTED, SORTED])
@pytest.mark.parametrize("tied", [True, False])
def test_a_small_model(tied, source, mode, level):
    model, ids = small(tied=tied), batch()
    want = row_gradients(model, row_losses(model, ids))
    found = observed(model, ids, source, GradientStatistics(model, K, level, mode))
    assert_near(found, want, source, K, EXACT, level)
    assert found.counts.tolist() == np.bincount(source, minlength=K).tolist()


class Only(nn.Module):
    """One layer behind a fixed nonlinearity."""

    def __init__(self, layer, size):
        super().__init__()
        self.layer, self.size = layer.double(), size

    def forward(self, x):
        return torch.sin(3 * self.layer(x)).flatten(1).cumsum(1).square().mean(1)


def conv1d():
    transformers = pytest.importorskip("transformers.pytorch_utils")
    return Only(transformers.Conv1D(3, 4), (3, 4))


LAYERS = {
    "linear of vectors": lambda: Only(nn.Linear(4, 3), (4,)),
    "linear, four dimensions": lambda: Only(nn.Linear(4, 3), (2, 3, 4)),
    "linear without bias": lambda: Only(nn.Linear(4, 3, bias=False), (5, 4)),
    "conv1d": conv1d,
    "layer norm": lambda: Only(nn.LayerNorm(4), (3, 4)),
    "layer norm of two dimensions": lambda: Only(nn.LayerNorm((3, 4)), (2, 3, 4)),
    "layer norm without bias": lambda: Only(nn.LayerNorm(4, bias=False), (3, 4)),
    "rms norm of heads": lambda: Only(nn.RMSNorm(4), (3, 2, 4)),
    "rms norm, own eps": lambda: Only(nn.RMSNorm(4, eps=0.1), (3, 4)),
}


@pytest.mark.parametrize("mode", ["fused", "mirror"])
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer(name, mode):
    torch.manual_seed(0)
    model = LAYERS[name]()
    with torch.no_grad():
        [p.normal_() for p in model.parameters()]
    x = torch.randn(8, *model.size, dtype=torch.float64)
    want = row_gradients(model, model(x))
    stats = GradientStatistics(model, K, mode=mode)
    with stats.observe(UNSORTED):
        model(x).mean().backward()
    assert_near(stats.observation(0, 8), want, UNSORTED, K, EXACT)
    total = torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()
    np.testing.assert_allclose(total, want.mean(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("frozen", [["layer.weight"], ["layer.bias"]])
def test_parameters_that_are_not_trained_do_not_count(frozen):
    model = Only(nn.Linear(4, 3), (4,))
    for name, p in model.named_parameters():
        p.requires_grad_(name not in frozen)
    x = torch.randn(8, 4, dtype=torch.float64)
    want = row_gradients(model, model(x))
    stats = GradientStatistics(model, K)
    with stats.observe(SORTED):
        model(x).mean().backward()
    assert_near(stats.observation(0, 8), want, SORTED, K, EXACT)


@pytest.mark.parametrize("kind", ["GPT2", "GPTNeoX", "Llama", "Qwen2", "Qwen3", "CTRL", "XLM"])
def test_families_of_transformers(kind):
    pytest.importorskip("transformers")
    ids = batch()
    for tied, dtype, relative in ((True, torch.float64, EXACT), (False, torch.float64, EXACT), (True, None, 1e-5)):
        model = family(kind, tied).to(dtype or torch.float32)
        want = row_gradients(model, row_losses(model, ids))
        found = observed(model, ids, UNSORTED, GradientStatistics(model, K))
        assert_near(found, want, UNSORTED, K, relative)


@pytest.mark.parametrize("mode", ["fused", "mirror"])
@pytest.mark.parametrize("trained", [["weight", "bias"], ["weight"], ["bias"]])
def test_a_tied_head_with_a_bias(mode, trained):
    model, ids = small(bias=True), batch()
    for name, parameter in model.head.named_parameters():
        parameter.requires_grad_(name in trained)
    want = row_gradients(model, row_losses(model, ids))
    found = observed(model, ids, UNSORTED, GradientStatistics(model, K, mode=mode))
    assert_near(found, want, UNSORTED, K, EXACT)


def test_a_gradient_beside_a_tied_head_with_a_bias_is_found():
    model, ids = small(bias=True), batch()
    stats = GradientStatistics(model, K)
    with pytest.raises(InputError, match="should come through the layer alone"), stats.observe(UNSORTED):
        (row_losses(model, ids).mean() + model.head.bias.square().sum() + model.head.bias.sum()).backward()


def test_rows_that_were_run_alone():
    pytest.importorskip("transformers")
    model, ids = family("GPT2").double(), batch()
    want = np.concatenate([row_gradients(model, row_losses(model, ids[b : b + 1])) for b in range(len(ids))])
    assert_near(observed(model, ids, UNSORTED, GradientStatistics(model, K)), want, UNSORTED, K, EXACT)


@pytest.mark.parametrize("level", ["example", "source"])
def test_accumulation_adds_up_pairs_within_micro_batches(level):
    model, parts = small(), [(batch(8, seed=1), UNSORTED), (batch(8, seed=2), SORTED), (batch(3, seed=3), [3, 3, 1])]
    want = [(row_gradients(model, row_losses(model, ids)), source) for ids, source in parts]
    stats = GradientStatistics(model, K, level)
    for ids, source in parts:
        with stats.observe(source, loss_weight=1 / len(ids) / 3):
            (row_losses(model, ids).mean() / 3).backward()
    found = stats.observation(7, 19)
    assert_same(found, *by_pairs(want, K, level), EXACT, level)
    assert (found.step, found.batch_size, found.counts.tolist()) == (7, 19, [8, 5, 3, 3])
    total = torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()
    np.testing.assert_allclose(total, np.mean([g.mean(0) for g, _ in want], 0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["fused", "mirror"])
@pytest.mark.parametrize("level", ["example", "source"])
@pytest.mark.parametrize("tied", [True, False])
def test_unequal_lengths_and_padding(tied, level, mode):
    model, ids = small(tied=tied, padding=0), batch(t=7)
    lengths = torch.tensor([7, 3, 5, 2, 6, 7, 4, 1])  # the last row has no token to predict: weight 0
    ids = torch.where(torch.arange(7) < lengths[:, None], ids.clamp(min=1), 0)
    counts = (lengths - 1).double()
    weight = counts / counts.sum()

    def losses():
        own = torch.nn.functional.cross_entropy(model(ids)[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
        return torch.where(torch.arange(1, 7) < lengths[:, None], own, 0).sum(1)

    want = row_gradients(model, losses() / counts.clamp(min=1))
    model.zero_grad()
    stats = GradientStatistics(model, K, level, mode)
    with stats.observe(UNSORTED, loss_weight=weight):
        (losses().sum() / counts.sum()).backward()
    found = stats.observation(0, 8)
    assert_near(found, want[:7], UNSORTED[:7], K, EXACT) if level == "example" else None
    gram, _ = by_pairs([(want[:7], UNSORTED[:7])], K)
    np.testing.assert_allclose(found.gram, gram, rtol=EXACT, atol=EXACT * np.nanmax(gram))  # rows are units then
    total = torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()
    np.testing.assert_allclose(total, weight.numpy() @ want, rtol=1e-9, atol=1e-12)


def test_weights_that_are_equal_within_a_source():
    model, ids, weight = small(), batch(), np.array([0.5, 1, 2, 1, 1, 0.5, 2, 1])
    want = row_gradients(model, row_losses(model, ids))
    assert_near(observed(model, ids, UNSORTED, GradientStatistics(model, K), weight), want, UNSORTED, K, EXACT)


def test_mirror_leaves_the_training_as_it_is_bit_by_bit():
    pytest.importorskip("transformers")
    for model in (small().float(), family("GPT2"), family("Llama")):
        ids = batch()
        row_losses(model, ids).mean().backward()
        plain = [p.grad.clone() for p in model.parameters()]
        for mode, same in (("mirror", torch.equal), ("fused", lambda a, b: torch.allclose(a, b, 1e-4, 1e-6))):
            observed(model, ids, UNSORTED, GradientStatistics(model, K, mode=mode))
            assert all(same(p.grad, g) for p, g in zip(model.parameters(), plain, strict=True)), mode


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(reentrant):
    pytest.importorskip("transformers")
    model, ids = family("GPT2").double(), batch()
    want = row_gradients(model, row_losses(model, ids))
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    assert_near(observed(model, ids, UNSORTED, GradientStatistics(model, K)), want, UNSORTED, K, EXACT)


def test_autocast():
    model, ids = small(width=16).float(), batch(t=8)
    want = row_gradients(model, row_losses(model, ids))
    for mode, backward_inside in (("fused", False), ("mirror", False), ("fused", True)):
        stats = GradientStatistics(model, K, mode=mode)
        model.zero_grad()
        with stats.observe(UNSORTED):
            with torch.autocast("cpu", torch.bfloat16):
                loss = row_losses(model, ids).float().mean()
                if backward_inside:
                    loss.backward()
            if not backward_inside:
                loss.backward()
        assert_near(stats.observation(0, 8), want, UNSORTED, K, 0.03)
        assert all(p.grad.dtype is torch.float32 for p in model.parameters())


@pytest.mark.parametrize(
    ("kind", "mode"), [("small", "fused"), ("small", "mirror"), pytest.param("GPT2", "fused", marks=pytest.mark.slow)]
)
def test_compiled_in_one_graph(kind, mode):
    pytest.importorskip("transformers")
    model, ids = (small() if kind == "small" else family(kind, layers=1).double()), batch()
    torch._dynamo.reset()
    want = row_gradients(model, row_losses(model, ids))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    plain = row_losses(compiled, ids).detach()
    stats = GradientStatistics(compiled, K, mode=mode)
    for source in (SORTED, UNSORTED):
        assert_near(observed(compiled, ids, source, stats), want, source, K, EXACT)
        assert torch.equal(row_losses(compiled, ids), plain)


@pytest.mark.parametrize("mode", ["fused", pytest.param("mirror", marks=pytest.mark.slow)])
def test_compiled_under_autocast(mode):
    pytest.importorskip("transformers")
    model, ids = family("GPT2", layers=1), batch(t=8)
    want = row_gradients(model, row_losses(model, ids))  # single precision, row by row
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    stats = GradientStatistics(compiled, K, mode=mode)
    with stats.observe(UNSORTED):
        with torch.autocast("cpu", torch.bfloat16):
            loss = row_losses(compiled, ids).float().mean()
        loss.backward()
    assert_near(stats.observation(0, 8), want, UNSORTED, K, 0.03)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()]).double().numpy()
    expected = want.mean(0)[: len(gradient)]
    assert np.linalg.norm(gradient - expected) < 0.03 * np.linalg.norm(expected)
    assert all(p.grad.dtype is torch.float32 for p in model.parameters())


@pytest.mark.parametrize("tied", [True, False])
def test_the_optimisers_metric(tied):
    model, ids = small(tied=tied), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.7), eps=1e-3)
    stats = GradientStatistics(model, K, optimizer=optimizer)
    assert np.isnan(observed(model, ids, UNSORTED, stats).grad_sq_norm).all()
    assert "first step" in stats.notes[0]
    for _ in range(3):
        row_losses(model, batch(seed=5)).mean().backward()
        optimizer.step()
    moments = [optimizer.state[p]["exp_avg_sq"] for p in model.parameters()]
    assert any((v == 0).any() for v in moments)  # tokens that no row had count as little as a thousandth of the mean
    raised = [v.clamp(min=1e-3 * float(v.mean())) for v in moments]
    factor = torch.cat([1 / ((v / (1 - 0.7**3)).sqrt() + 1e-3).flatten() for v in raised]).numpy()
    want = row_gradients(model, row_losses(model, ids)) * factor
    for mode in ("fused", "mirror"):
        stats = GradientStatistics(model, K, mode=mode, optimizer=optimizer)
        assert_near(observed(model, ids, UNSORTED, stats), want, UNSORTED, K, EXACT)


@pytest.mark.parametrize("mode", ["fused", "mirror"])
def test_a_parameter_without_a_gradient_so_far_is_left_out_of_the_metric(mode):
    model, ids = small(tied=False), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, eps=1e-8)
    row_losses(model, batch(seed=5)).mean().backward()
    name, first = next((n, p) for n, p in model.named_parameters() if p.ndim == 2)
    first.grad.zero_()  # as a matrix of an adapter whose other matrix is 0
    optimizer.step()
    moments = {n: optimizer.state[p]["exp_avg_sq"] for n, p in model.named_parameters()}
    factors = []
    for n, v in moments.items():
        raised = v.clamp(min=1e-3 * float(v.mean()))
        factors.append(torch.zeros_like(v) if n == name else 1 / ((raised / (1 - 0.999)).sqrt() + 1e-8))
    factor = torch.cat([f.flatten() for f in factors]).numpy()
    want = row_gradients(model, row_losses(model, ids)) * factor
    stats = GradientStatistics(model, K, mode=mode, optimizer=optimizer)
    assert_near(observed(model, ids, UNSORTED, stats), want, UNSORTED, K, EXACT)


def test_micro_batches_of_one_source_for_any_model():
    class Odd(Small):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.randn(6, dtype=torch.float64))

        def forward(self, ids):
            return super().forward(ids) + (self.shift * self.tokens(ids)).sum(-1, keepdim=True).sin()

    model = Odd()
    parts = [(batch(2, seed=i), source) for i, source in enumerate([0, 0, 1, 1, 1, 2])]
    want = [row_gradients(model, row_losses(model, ids)) for ids, _ in parts]
    stats = GradientStatistics(model, K, "micro-batch")
    for ids, source in parts:
        with stats.observe([source] * 2):
            row_losses(model, ids).mean().backward()
    found = stats.observation(0, 12)
    sums = [g.sum(0) for g in want]
    assert found.grad_sq_norm[0] == pytest.approx(sums[0] @ sums[1] / 4, rel=1e-12)
    pairs = sums[2] @ sums[3] + sums[2] @ sums[4] + sums[3] @ sums[4]
    assert found.grad_sq_norm[1] == pytest.approx(pairs / 12, rel=1e-12)
    assert found.gram[0, 2] == pytest.approx((sums[0] + sums[1]) @ sums[5] / 8, rel=1e-12)
    squares = (sums[0] @ sums[0] + sums[1] @ sums[1]) / 4
    assert found.grad_variance[0] == pytest.approx(squares - 2 * found.grad_sq_norm[0], rel=1e-9)
    assert np.isnan(found.grad_sq_norm[2:]).all()
    assert "[2]" in stats.notes[0]
    total = torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()
    np.testing.assert_allclose(total, sum(g.mean(0) for g in want), rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        model.shift += 1  # the optimiser's step: no products with gradients from before it
    with stats.observe([0, 0]):
        row_losses(model, parts[0][0]).mean().backward()
    assert np.isnan(stats.observation(1, 2).grad_sq_norm[0])
