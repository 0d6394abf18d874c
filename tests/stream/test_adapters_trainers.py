"""The stream under the Trainer of transformers and under Lightning: the same rows, also after a resume."""

import json

import pytest

torch = pytest.importorskip("torch", reason="the trainers need torch")

from streams import SIZES, plan, rows_of, sources, take  # noqa: E402

from mixwright.errors import InputError  # noqa: E402
from mixwright.mixture import Mixture  # noqa: E402
from mixwright.strategies.schedule import Schedule  # noqa: E402
from mixwright.stream.loader import MixtureLoader  # noqa: E402

STEPS = 8
CHANGING = {0: [0.5, 0.3, 0.2], 3: [0.1, 0.1, 0.8], 6: [0.0, 0.9, 0.1]}


def expected():
    p = plan(weights=Mixture(SIZES, Schedule(CHANGING)))
    return [list(zip(s.source.tolist(), s.row.tolist(), strict=True)) for s in take(p, STEPS)]


def loader(accumulate, workers):
    p = plan(weights=Mixture(SIZES, Schedule(CHANGING)))
    return MixtureLoader(sources(), p, accumulate=accumulate, num_workers=workers, steps=STEPS)


def trainer(folder, accumulate, workers, stop=STEPS, over=None):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from mixwright.stream.trainer import use_stream

    pytest.importorskip("accelerate", reason="the Trainer needs accelerate")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=64, n_positions=4, n_embd=8, n_layer=1, n_head=1)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=12 // accumulate, gradient_accumulation_steps=accumulate,
        max_steps=STEPS, save_steps=2, logging_steps=2, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    made = transformers.Trainer(transformers.GPT2LMHeadModel(config), arguments)
    callback = use_stream(made, over or loader(accumulate, workers))
    rows = []

    class Log(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            rows.append([pair for batch in callback.batches for pair in rows_of(batch)])
            control.should_training_stop = control.should_training_stop or state.global_step >= stop

    made.add_callback(Log())
    return made, rows


@pytest.mark.parametrize(("accumulate", "workers"), [(1, 0), (3, 2)])
def test_the_trainer_sees_the_plan_also_after_a_resume(tmp_path, accumulate, workers):
    whole, rows = trainer(tmp_path / "whole", accumulate, workers)
    whole.train()
    assert rows == expected()
    first, before = trainer(tmp_path / "parts", accumulate, workers, stop=5)
    first.train()
    assert before == rows[:5]
    again, after = trainer(tmp_path / "parts", accumulate, workers)
    again.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-4"))
    assert after == rows[4:]
    assert [line["epoch"] for line in again.state.log_history] == [line["epoch"] for line in whole.state.log_history]
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    finished, more = trainer(tmp_path / "parts", accumulate, workers)
    finished.train(resume_from_checkpoint=True)  # there is nothing left to do
    assert (more, finished.state.global_step, finished.state.epoch) == ([], STEPS, 1.0)
    assert {path.name for path in (tmp_path / "parts").glob("checkpoint-*")} == {
        f"checkpoint-{n}" for n in (2, 4, 6, 8)
    }


def test_a_stream_that_ends_ends_the_training_and_says_so(tmp_path, caplog):
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate")
    made, rows = trainer(tmp_path, 1, 0, over=MixtureLoader(sources(), plan(), steps=3))
    made.train()
    assert (len(rows), made.state.global_step) == (3, 3)
    assert "the stream ends before step 3, and max_steps is 8" in caplog.text


def test_settings_of_the_trainer_that_differ_are_refused(tmp_path):
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate")
    from mixwright.stream.trainer import use_stream

    made, _ = trainer(tmp_path, 1, 0)
    with pytest.raises(InputError, match="gradient_accumulation_steps"):
        use_stream(made, loader(2, 0))
    made.args.max_steps = -1
    with pytest.raises(InputError, match="max_steps"):
        use_stream(made, loader(1, 0))


def test_a_checkpoint_without_the_stream_is_refused(tmp_path):
    made, _ = trainer(tmp_path, 1, 0, stop=2)
    made.train()
    path = tmp_path / "checkpoint-2" / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["stateful_callbacks"]["MixtureCallback"]
    path.write_text(json.dumps(state))
    with pytest.raises(InputError, match="should hold the stream's state"):
        trainer(tmp_path, 1, 0)[0].train(resume_from_checkpoint=str(path.parent))


def test_what_is_padding_or_of_another_document_is_not_learned():
    pytest.importorskip("transformers", reason="transformers is not installed")
    from mixwright.stream.batches import Batch
    from mixwright.stream.trainer import language_model_inputs

    ids = torch.tensor([[5, 6, 7, 8]], dtype=torch.uint16)
    zero = torch.zeros(1, dtype=torch.int64)

    def labels(inputs):
        found = language_model_inputs(Batch(inputs, zero, zero, None, 0))
        assert found["input_ids"].dtype == torch.int64
        return found["labels"].tolist()

    assert labels(ids) == [[5, 6, 7, 8]]
    assert labels({"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 0, 0]])}) == [[5, 6, -100, -100]]
    assert labels({"input_ids": ids, "position_ids": torch.tensor([[0, 1, 0, 1]])}) == [[-100, 6, -100, 8]]
    with pytest.raises(InputError, match="inputs="):
        language_model_inputs(Batch(["text"], zero, zero, None, 0))


@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_saves_and_restores_the_loader(tmp_path, workers):
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")

    def fit(stop, resume=None):
        rows = []

        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))

            def training_step(self, batch, index):
                rows.append(rows_of(batch))
                return (self.weight - batch.source.float().mean()) ** 2

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 0.1)

        made = lightning.Trainer(
            max_steps=stop, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, use_distributed_sampler=False, default_root_dir=tmp_path,
        )  # fmt: skip
        made.fit(Module(), loader(1, workers), ckpt_path=resume)
        made.save_checkpoint(tmp_path / f"{stop}.ckpt", weights_only=False)
        return rows

    assert fit(5) == expected()[:5]
    assert fit(STEPS, tmp_path / "5.ckpt") == expected()[5:]
