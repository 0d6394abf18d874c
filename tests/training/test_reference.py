"""Excess losses over a reference model: against a plain loop, each row once, exact resume, refusals."""

import json

import numpy as np
import pytest
import torch

from mixwright.errors import InputError
from mixwright.mixture import Mixture
from mixwright.strategies import DoReMi, Static
from mixwright.text import byte_tokenizer, train_bpe
from mixwright.training.batches import Batches
from mixwright.training.language_model import train
from mixwright.training.model import build_model
from mixwright.training.reference import Reference, ReferenceLosses, check_reference
from mixwright.training.settings import TrainingSettings

SPEC = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SETTINGS = {"steps": 12, "batch_size": 6, "context": 16, "learning_rate": 3e-3, "observe_every": 1, "lag": 2}
FILES = ("metrics.jsonl", "decisions.jsonl", "model/model.safetensors", "result.json")


@pytest.fixture
def path(stores, tmp_path):
    """Return the folder of a reference that knows one of the two sources."""
    settings = TrainingSettings(steps=30, batch_size=4, context=16, learning_rate=2e-2)
    return train(SPEC, stores, [1.0, 0.0], settings, tmp_path / "known", byte_tokenizer()).model_folder


def run(stores, folder, path, clip="token", progress=None, strategy=None, **changes):
    settings = TrainingSettings(**(SETTINGS | changes))
    asked = strategy or DoReMi(learning_rate=0.5)
    return train(SPEC, stores, asked, settings, folder, byte_tokenizer(), progress, reference=Reference(path, clip))


def observed(folder, name="excess_loss"):
    lines = (folder / "decisions.jsonl").read_text().splitlines()
    return np.array([json.loads(line)["observation"][name] for line in lines], float)


def files(folder):
    found = {name: (folder / name).read_bytes() for name in FILES}
    result = json.loads(found.pop("result.json"))
    return {**found, "result": {key: value for key, value in result.items() if key != "seconds"}}


def losses_of_tokens(model, row):
    """Return the losses of a row's tokens, one by one."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(row[None, :-1]), use_cache=False).logits[0].double()
    chances = logits.log_softmax(-1).numpy()
    return [-chances[at, token] for at, token in enumerate(row[1:])]


@pytest.mark.parametrize("clip", ["token", "example", "none"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_excess_is_that_of_a_plain_loop(stores, tmp_path, path, clip, accumulate):
    run(stores, tmp_path / "run", path, clip, accumulate=accumulate, steps=1)
    mixture = Mixture({name: store.rows(16) for name, store in stores.items()}, DoReMi(learning_rate=0.5), lag=2)
    batch = Batches(stores, mixture, TrainingSettings(**SETTINGS)).next()
    model, reference = (build_model(s, byte_tokenizer(), 16, 0) for s in (SPEC, {"path": path}))
    sums, tokens = np.zeros(2), np.zeros(2)
    for source, row in zip(batch.source, batch.tokens, strict=True):
        differences = [
            a - b for a, b in zip(losses_of_tokens(model, row), losses_of_tokens(reference, row), strict=True)
        ]
        if clip == "token":
            differences = [max(d, 0.0) for d in differences]
        total = max(sum(differences), 0.0) if clip == "example" else sum(differences)
        sums[source], tokens[source] = sums[source] + total, tokens[source] + 16
    np.testing.assert_allclose(observed(tmp_path / "run")[0], sums / tokens, atol=1e-5)
    assert observed(tmp_path / "run")[0][0] > 0.5  # the reference knows this source


def test_weights_go_to_what_the_reference_knows_better(stores, tmp_path, path):
    result = run(stores, tmp_path / "run", path)
    assert result.weights["abc"] > 0.6
    assert result.average["abc"] > 0.55
    assert sum(result.average.values()) == pytest.approx(1)


def test_each_row_goes_through_the_reference_once(stores, tmp_path, path, monkeypatch):
    few = {"abc": stores["abc"], "digits": stores["digits"]}
    rows = {name: store.rows(16) for name, store in few.items()}
    steps = 2 * sum(rows.values()) // 6  # more than one epoch
    result = run(few, tmp_path / "run", path, steps=steps, observe_every=10, lag=8)
    drawn = {line["source"]: min(line["rows"], rows[line["source"]]) for line in result.ledger["sources"]}
    assert any(line["epochs"] > 1 for line in result.ledger["sources"])
    assert result.reference_tokens == 16 * sum(drawn.values())
    assert result.reference_flops > 0
    before = files(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    kept = next((tmp_path / "run" / "reference" / "losses").iterdir())
    with open(kept, "ab") as handle:
        handle.write(b"cut off")
    monkeypatch.setattr(ReferenceLosses, "_computed", None)  # all of it is kept
    run(few, tmp_path / "run", path, steps=steps, observe_every=10, lag=8)
    assert files(tmp_path / "run") == before


def test_another_reference_or_clip_is_another_training(stores, tmp_path, path):
    first = run(stores, tmp_path / "run", path, steps=2)
    again = run(stores, tmp_path / "run", path, clip="example", steps=2)
    assert first.fingerprint != again.fingerprint
    assert len(list((tmp_path / "run" / "reference" / "losses").iterdir())) == 2  # losses do not depend on the clip
    other = train(SPEC, stores, [0.5, 0.5], TrainingSettings(steps=1, context=16), tmp_path / "other", byte_tokenizer())
    run(stores, tmp_path / "run", other.model_folder, steps=2)
    assert len(list((tmp_path / "run" / "reference" / "losses").iterdir())) == 4


@pytest.mark.parametrize("stop", [1, 5, 11])
@pytest.mark.parametrize("lost", [False, True], ids=["kept", "losses lost"])
def test_interrupted_and_resumed_is_the_same(stores, tmp_path, path, stop, lost):
    def interrupt(stage, done, total, note):
        if done == stop:
            raise KeyboardInterrupt

    run(stores, tmp_path / "whole", path)
    with pytest.raises(KeyboardInterrupt):
        run(stores, tmp_path / "run", path, progress=interrupt)
    if lost:
        for file in (tmp_path / "run" / "reference" / "losses").iterdir():
            file.unlink()
    run(stores, tmp_path / "run", path)
    found, whole = files(tmp_path / "run"), files(tmp_path / "whole")
    if lost:  # what was computed before is not counted then
        for each in (found, whole):
            del each["result"]["reference_tokens"], each["result"]["reference_flops"]
    assert found == whole


def test_without_a_reference_nothing_is_written_and_the_strategy_is_refused(stores, tmp_path):
    settings = TrainingSettings(**SETTINGS)
    with pytest.raises(InputError, match=r"DoReMi needs excess_loss .*with `reference: MODEL`"):
        train(SPEC, stores, DoReMi(), settings, tmp_path / "run", byte_tokenizer())
    result = train(SPEC, stores, Static([0.5, 0.5]), settings, tmp_path / "run", byte_tokenizer())
    assert (result.average, result.reference_tokens) == (None, 0)
    assert not (tmp_path / "run" / "reference").exists()


def test_a_reference_that_cannot_be_compared_is_refused(stores, tmp_path, path):
    check_reference(path, byte_tokenizer(), 16, SPEC)
    with pytest.raises(InputError, match="reads at most 16 tokens at once, found a context of 32"):
        check_reference(path, byte_tokenizer(), 32, SPEC)
    other = train_bpe(["abc abd " * 50], 260)
    with pytest.raises(InputError, match=r"should have the vocabulary of this training \(260\), found 257; give"):
        check_reference(path, other, 16, SPEC)
    (path.parent / "tokenizer").mkdir()
    other.save(path.parent / "tokenizer")  # where a run has it
    with pytest.raises(InputError, match="should have the tokenizer of this training, found another; give"):
        check_reference(path, byte_tokenizer(), 16, SPEC)
    with pytest.raises(InputError, match="found another"):
        run(stores, tmp_path / "run", path)
    with pytest.raises(InputError, match="there should be a model"):
        check_reference(tmp_path / "nothing", byte_tokenizer(), 16, SPEC)
    with pytest.raises(InputError, match="clip should be 'token' or 'example' or 'none', found 'row'"):
        Reference(path, "row")


def test_a_padded_vocabulary_is_known_by_the_tokenizer_or_the_model_in_training(stores, tmp_path):
    padded = {**SPEC, "vocab_size": 320}
    settings = TrainingSettings(steps=1, context=16)
    path = train(padded, stores, [0.5, 0.5], settings, tmp_path / "padded", byte_tokenizer()).model_folder
    with pytest.raises(InputError, match=r"vocabulary of this training \(257\), found 320"):
        check_reference(path, byte_tokenizer(), 16, SPEC)
    check_reference(path, byte_tokenizer(), 16, {"path": str(path)})
    (path.parent / "tokenizer").mkdir()
    byte_tokenizer().save(path.parent / "tokenizer")
    check_reference(path, byte_tokenizer(), 16, SPEC)


def test_losses_that_are_not_finite_are_refused(stores, tmp_path, path, monkeypatch):
    def broken(*given):
        model = build_model(*given)
        if "path" in given[0]:
            torch.nn.init.constant_(model.get_output_embeddings().weight, float("nan"))
        return model

    monkeypatch.setattr("mixwright.training.reference.build_model", broken)
    with pytest.raises(InputError, match=r"should give finite losses, found others in row .* of (abc|digits); choose"):
        run(stores, tmp_path / "run", path)
