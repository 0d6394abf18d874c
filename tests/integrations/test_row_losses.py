"""Losses of rows out of logits, what the Trainer weighs rows by, and the sums between two observations."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="row losses need torch")

from mixwright.errors import InputError  # noqa: E402
from mixwright.integrations import row_losses  # noqa: E402
from mixwright.integrations.loss_weights import check_loss, loss_factor  # noqa: E402
from mixwright.integrations.row_losses import by_source, count_tokens, kept_nats, row_nats, targets_of  # noqa: E402
from mixwright.integrations.trainer_mixture import TOKENS, token_means, token_sums  # noqa: E402
from mixwright.watching.window import Window  # noqa: E402

LABELS = torch.tensor([[3, 1, 2, -100], [0, -100, 4, 1], [-100, -100, -100, -100]])


def test_targets_are_shifted_where_the_loss_shifts_them():
    shifted = targets_of({"labels": LABELS}, shifts=True)
    assert shifted.tolist() == [[1, 2, -100, -100], [-100, 4, 1, -100], [-100] * 4]
    assert count_tokens(shifted).tolist() == [2, 2, 0]
    assert targets_of({"labels": LABELS}, shifts=False) is LABELS
    assert targets_of({"labels": None, "shift_labels": LABELS}, shifts=True) is LABELS
    with pytest.raises(InputError, match="should have 'labels', found 'input_ids'"):
        targets_of({"input_ids": LABELS}, shifts=True)


@pytest.mark.parametrize("numbers", [1, 7, 1 << 24])
def test_losses_of_rows_are_sums_over_their_tokens(monkeypatch, numbers):
    monkeypatch.setattr(row_losses, "_NUMBERS", numbers)  # in pieces or at once
    logits = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = torch.autograd.grad(cross_entropy(logits.flatten(0, 1), LABELS.flatten(), reduction="sum"), logits)[0]
    np.testing.assert_allclose(torch.autograd.grad(row_nats(logits, LABELS).sum(), logits)[0], expected, atol=1e-15)
    with torch.no_grad():
        nats = row_nats(logits, LABELS)
    assert not nats.requires_grad
    by_hand = [
        -sum(logits[b, t].log_softmax(0)[y].item() for t, y in enumerate(row) if y >= 0)
        for b, row in enumerate(LABELS.tolist())
    ]
    np.testing.assert_allclose(nats.numpy(), by_hand, rtol=1e-13)
    assert by_source(torch.stack([nats, nats]), torch.tensor([1, 1, 0]), 3)[1].tolist() == [
        0,
        sum(nats[:2].tolist()),
        0,
    ]
    with pytest.raises(InputError, match="logits for each label"):
        row_nats(logits[:, :2], LABELS)


def test_low_precision_is_widened():
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(row_nats(logits, LABELS), row_nats(logits.float(), LABELS))


def test_losses_of_rows_are_read_from_what_the_loss_keeps():
    cross_entropy = torch.nn.functional.cross_entropy
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    flat = LABELS.flatten()
    for kept in (
        cross_entropy(logits.view(-1, 5), flat),
        cross_entropy(logits.view(-1, 5), flat, reduction="sum") / torch.tensor(7.0) * 2,
        cross_entropy(logits.view(-1, 5).double(), flat).float(),
    ):
        assert torch.equal(kept_nats(kept, LABELS).sum(1).float(), row_nats(logits, LABELS).float())
    other = LABELS.clone()
    other[0, 0] = 2
    for lost in (
        cross_entropy(logits.view(-1, 5), other.flatten()),  # other targets
        cross_entropy(logits.view(-1, 5), flat, label_smoothing=0.1),
        cross_entropy(logits.view(-1, 5), flat.where(flat >= 0, 4), ignore_index=4),
        cross_entropy(logits.view(-1, 5), flat) + logits.square().mean(),  # something is added
        logits.square().mean(),
        logits.detach().mean(),
    ):
        assert kept_nats(lost, LABELS) is None
    in_place = cross_entropy(logits.view(3, 5, 4), LABELS)  # classes second
    assert kept_nats(in_place, LABELS) is None


def trainer(takes=True, own=None, scaled=None, average=True, ranks=2, pieces=3, scale=None):
    scaler = None if scale is None else SimpleNamespace(get_scale=lambda: scale)
    return SimpleNamespace(
        args=SimpleNamespace(average_tokens_across_devices=average), model_accepts_loss_kwargs=takes,
        compute_loss_func=own, loss_is_scaled_for_ga=scaled, current_gradient_accumulation_steps=pieces,
        accelerator=SimpleNamespace(num_processes=ranks, scaler=scaler),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "items", "expected"),
    [
        (trainer(), torch.tensor(10), (2 / 10, 1)),
        (trainer(average=False), torch.tensor(10), (1 / 10, 1)),
        (trainer(scale=64.0), torch.tensor(10), (2 / 10, 64)),
        (trainer(takes=False), None, (1 / 4 / 3, 1)),
        (trainer(takes=False, own=sum), torch.tensor(10), (2 / 10, 1)),
        (trainer(takes=False, scaled=True), None, (1 / 4, 1)),
        (trainer(scaled=False), 10, (2 / 10 / 3, 1)),
    ],
)
def test_the_factor_of_the_trainers_loss(made, items, expected):
    assert loss_factor(made, items, torch.tensor([3, 1, 0])) == pytest.approx(expected)


def test_a_loss_that_is_something_else_is_refused(caplog):
    check_loss(1.0, 1.0005)
    check_loss(float("nan"), 1.0)
    with pytest.raises(InputError, match="auxiliary"):
        check_loss(1.01, 1.0)
    with caplog.at_level("WARNING"):
        check_loss(1.01, 1.0, None)
    assert "something else (1.01)" in caplog.text


def test_a_window_is_a_mean_over_tokens_and_unknown_losses_are_nan():
    window = Window(TOKENS, 3)
    for step in (
        [[6.0, 1.0, 0.0], [3.0, 2.0, 0.0], [2.0, 1.0, 0.0]],
        [[2.0, 8.0, 0.0], [1.0, 7.0, 0.0], [1.0, 2.0, 0.0]],
    ):
        window.add(token_sums(np.array(step), trained=True), np.array([0.5, 0.3, 0.2]))
    found = token_means(window)
    np.testing.assert_allclose(found["loss"], [2.0, 1.0, np.nan])
    assert found["counts"].tolist() == [3, 3, 0]
    bad = np.array([[np.nan, 1.0, 1.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
    window.add(token_sums(bad, trained=False), np.array([0.1, 0.7, 0.2]))
    found = token_means(window)
    np.testing.assert_allclose(found["loss"], [np.nan, 1.0, np.nan])
    assert found["counts"].tolist() == [5, 3, 0]  # of a step that was left out, only the source that caused it
