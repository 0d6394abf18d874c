"""A reference in a Trainer: excess by hand, each row asked once, exact resume, refusals before the first step."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")

from trainers import (  # noqa: E402
    NAMES,
    STEPS,
    decisions,
    documents,
    excess_by_hand,
    model,
    reference_model,
    run,
    sources,
    trainer,
    transformers,
)

from mixwright import AMAR, DoReMi, InputError, LossRatio, PiKE  # noqa: E402
from mixwright.integrations.reference import TrainerReference, row_keys  # noqa: E402
from mixwright.integrations.row_losses import targets_of  # noqa: E402
from mixwright.integrations.transformers import use_mixture  # noqa: E402
from mixwright.training import Reference  # noqa: E402


@pytest.mark.parametrize("clip", [None, "example", "none"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_excess_is_that_of_a_plain_loop(tmp_path, clip, accumulate):
    path = reference_model(tmp_path / "reference")
    over = str(path) if clip is None else Reference(path, clip)
    arguments = {"learning_rate": 0.0}
    _, callback, steps = run(tmp_path, DoReMi(), accumulate=accumulate, reference=over, arguments=arguments)
    net, other = model().eval(), transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    expected = excess_by_hand(net, other, [b for step in steps.batches[-2:] for b in step], clip or "token")
    np.testing.assert_allclose(callback.observation.excess_loss, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected).max() > 0.1


def test_weights_go_to_what_the_reference_knows_better(tmp_path):
    known = trainer(tmp_path / "known", max_steps=60, learning_rate=3e-2, save_strategy="no")
    use_mixture(known, sources(), {"a": 1.0, "b": 0.0, "c": 0.0})
    known.train()
    known.save_model(str(tmp_path / "reference"))
    options = {"reference": tmp_path / "reference", "observe_every": 1, "lag": 1, "log": tmp_path / "log.jsonl"}
    _, callback, _ = run(tmp_path / "r", DoReMi(learning_rate=0.5), **options)
    weights = callback.mixture.weights_for(STEPS - 1)
    assert weights[0] > 0.5
    assert max(weights[1:]) < 1 / 3
    excess = np.array([line["observation"]["excess_loss"] for line in decisions(tmp_path / "log.jsonl")], float)
    assert (excess[:, 0] > 0.5).all()
    assert np.nanmax(excess[:, 1:]) < excess[:, 0].min()  # nan: no row of a source was drawn


def test_amar_over_a_reference_weights_the_loss(tmp_path):
    _, callback, _ = run(
        tmp_path / "r", AMAR(0.5), reference=reference_model(tmp_path / "reference"), observe_every=1, lag=1
    )
    assert callback.row_weights.sampling.tolist() == pytest.approx([1 / 3] * 3)
    assert callback.reference.reference.clip == "example"  # what AMAR asks for
    assert callback.mixture.weights_for(STEPS - 1) != pytest.approx([1 / 3] * 3)


def test_each_row_goes_through_the_reference_once(tmp_path, monkeypatch):
    path, passes, found = reference_model(tmp_path / "reference"), [], TrainerReference._computed

    def counted(self, inputs, targets):
        passes.append(len(targets))
        return found(self, inputs, targets)

    monkeypatch.setattr(TrainerReference, "_computed", counted)
    few = {"max_steps": 20, "save_strategy": "no"}  # 240 rows of 90: more than two epochs
    _, first, steps = run(tmp_path / "r", DoReMi(), reference=path, arguments=few)
    rows = {
        (s, r) for step in steps.batches for b in step for s, r in zip(b.source.tolist(), b.row.tolist(), strict=True)
    }
    tokens = [int(row["attention_mask"].sum()) - 1 for i, n in enumerate((40, 30, 20)) for row in documents(i, n)]
    assert len(rows) == 90
    assert first.reference.tokens == sum(tokens)
    assert len(passes) < 20
    monkeypatch.setattr(TrainerReference, "_computed", None)  # all of it is kept
    _, second, _ = run(tmp_path / "r", DoReMi(), reference=path, arguments=few)
    assert first.mixture.state_dict() == second.mixture.state_dict()


def test_rows_are_known_by_their_content_whatever_their_padding():
    ids = torch.tensor([[5, 6, 7, 0, 0], [5, 6, 8, 0, 0], [0, 0, 5, 6, 7]])
    inputs = {"input_ids": ids, "attention_mask": ids.ne(0).long()}
    labels = torch.where(ids == 0, -100, ids)
    right, other, left = row_keys(inputs, targets_of({"labels": labels}, True))
    short = {name: value[:1, :3] for name, value in inputs.items()}
    assert row_keys(short, targets_of({"labels": labels[:1, :3]}, True)) == [right]
    assert other != right
    assert left != right  # one token more is learned there: the first, from padding
    masked = labels.clone()
    masked[:, 1] = -100  # of a prompt
    assert row_keys(inputs, targets_of({"labels": masked}, True))[0] != right


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "losses lost"])
def test_a_resume_goes_on_bit_by_bit(tmp_path, lost):
    path, options = reference_model(tmp_path / "reference"), {"lag": 1, "sampling": "uniform"}
    whole, first, _ = run(tmp_path / "whole", DoReMi(), reference=path, **options)
    if lost:
        for file in (tmp_path / "whole" / "reference_losses").iterdir():
            file.unlink()
    again, second, _ = run(tmp_path / "whole", DoReMi(), tmp_path / "whole" / "checkpoint-3", reference=path, **options)
    assert first.mixture.state_dict() == second.mixture.state_dict()
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    clipped = Reference(path, "none")
    with pytest.raises(InputError, match="reference and its clip should be the checkpoint's"):
        run(tmp_path / "whole", DoReMi(), tmp_path / "whole" / "checkpoint-3", reference=clipped, **options)


def test_held_out_losses_of_the_reference_are_the_trainers(tmp_path):
    path = reference_model(tmp_path / "reference")
    held = {name: [{**r, "labels": r["input_ids"]} for r in documents(i, 6, False)] for i, name in enumerate(NAMES)}
    arguments = {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset": held, "per_device_eval_batch_size": 4}
    _, callback, _ = run(tmp_path / "r", LossRatio(), reference=path, arguments=arguments)
    other = trainer(tmp_path / "o", made=transformers.AutoModelForCausalLM.from_pretrained(path), eval_dataset=held)
    expected = [other.evaluate(held[name])["eval_loss"] for name in NAMES]
    np.testing.assert_allclose(callback.observation.reference_loss, expected, rtol=1e-6)
    assert not (tmp_path / "r" / "reference_losses").exists()  # no row of the training needs it


def test_a_row_that_the_reference_finds_impossible_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        TrainerReference, "_computed", lambda self, inputs, targets: torch.full(targets.shape, float("nan"))
    )
    with pytest.raises(InputError, match="should give finite losses, found others; choose another"):
        run(tmp_path / "r", DoReMi(), reference=reference_model(tmp_path / "reference"))


def words(folder, last="w3"):
    """Save a tokenizer; return it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    inner = Tokenizer(WordLevel({"[PAD]": 0, "w1": 1, "w2": 2, last: 3}, unk_token="[PAD]"))
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]")
    made.save_pretrained(folder)
    return made


def test_a_reference_with_another_vocabulary_is_refused_before_the_first_step(tmp_path):
    path = reference_model(tmp_path / "reference", vocab_size=40)
    with pytest.raises(InputError, match=r"vocabulary of the model in training \(31\), found 40; give a reference"):
        use_mixture(trainer(tmp_path), sources(), DoReMi(), reference=path)
    new = trainer(tmp_path)
    new.processing_class = words(path)  # the same tokenizer: one is padded
    use_mixture(new, sources(), DoReMi(), reference=path)
    words(path, last="w4")
    new = trainer(tmp_path)
    new.processing_class = words(tmp_path / "own")
    with pytest.raises(InputError, match="should have the tokenizer of this training, found another; give"):
        use_mixture(new, sources(), DoReMi(), reference=path)


@pytest.mark.parametrize(
    ("strategy", "given", "options", "message"),
    [
        (DoReMi(), "nothing", {}, "there should be a model .*, found no such folder; check the path"),
        (DoReMi(), "damaged", {}, "found that model.safetensors is damaged or cut off; copy or save"),
        (DoReMi(), 3, {}, "should be the folder of a model, or a Reference, found int"),
        (PiKE(), "reference", {}, "should go with a strategy that reads excess_loss or reference_loss, found PiKE"),
        (DoReMi(), None, {}, r"DoReMi needs excess_loss .*use_mixture with `reference=`"),
        (
            LossRatio(),
            "reference",
            {},
            "LossRatio needs eval_loss, reference_loss .*a Trainer does with an eval_dataset",
        ),
        (DoReMi(), "short", {"context": 8}, "reads at most 4 tokens at once, found a context of 8"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path, strategy, given, options, message):
    reference_model(tmp_path / "reference")
    reference_model(tmp_path / "short", n_positions=4)
    weights = reference_model(tmp_path / "damaged") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    given = str(tmp_path / given) if isinstance(given, str) else given
    with pytest.raises(InputError, match=message):
        use_mixture(trainer(tmp_path), sources(), strategy, reference=given, **options)
    assert not Path(tmp_path / "reference_losses").exists()
