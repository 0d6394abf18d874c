"""The tokens of pairs are those of TRL's DPOTrainer; what was cut and left out is counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair_tokenizers import TEMPLATE, small_tokenizer

from mixwright.errors import InputError
from mixwright.preference.pairs.encode import EncodedPairs, encode_pairs
from mixwright.preference.pairs.pairs import read_pairs

PLAIN = [
    {"prompt": "What is the capital of France?", "chosen": " Paris.", "rejected": " Berlin."},
    {"prompt": "Human: how are you\n\nAssistant:", "chosen": " fine</s>", "rejected": " I am not well. " * 6},
    {"prompt": "Is the following statement something you would say?", "chosen": "Yes", "rejected": "No"},
    {"prompt": "the quick brown fox jumps " * 7, "chosen": "over the dog", "rejected": "over the lazy dog"},
    {"prompt": "qui", "chosen": "ck brown fox", "rejected": "ck lazy"},  # tokens merge across the border
]


def chat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    system = {"role": "system", "content": "You are kind."}
    return [
        {
            "prompt": [*([system] if i % 2 else []), {"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for i, row in enumerate(rows)
    ]


def implicit(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in rows]


def of_trl(rows: list[dict[str, Any]], tokenizer: Any, folder: Path, **settings: Any) -> list[dict[str, list[int]]]:
    """Return what TRL's own trainer trains on: input ids without padding, and the mask of the answers."""
    pytest.importorskip("trl")
    import datasets
    import transformers
    import trl

    config = transformers.GPTNeoXConfig(
        vocab_size=512, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model, reference = (transformers.GPTNeoXForCausalLM(config) for _ in range(2))
    args = trl.DPOConfig(output_dir=str(folder), report_to=[], use_cpu=True, bf16=False, **settings)
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=reference,
        args=args,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    found = []
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        masks = batch["attention_mask"].bool()
        found.append(
            {
                side: (batch["input_ids"][k][masks[k]].tolist(), batch["completion_mask"][k][masks[k]].tolist())
                for k, side in enumerate(("chosen", "rejected"))
            }
        )
    return found


def as_trl(encoded: EncodedPairs) -> list[dict[str, Any]]:
    found = []
    for i in range(len(encoded)):
        row = {}
        for side in ("chosen", "rejected"):
            ids, start = encoded.sequence(i, side)  # type: ignore[arg-type]
            row[side] = (ids.tolist(), [0] * start + [1] * (len(ids) - start))
        found.append(row)
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["plain", "chat", "implicit", "implicit chat"])
@pytest.mark.parametrize(
    ("max_length", "truncation"), [(None, "keep_start"), (24, "keep_start"), (24, "keep_end"), (12, "keep_end")]
)
def test_the_tokens_are_those_of_trl(kind: str, max_length: int | None, truncation: Any, tmp_path: Path) -> None:
    rows = {"plain": PLAIN, "chat": chat(PLAIN), "implicit": implicit(PLAIN)}.get(kind)
    rows = rows or implicit(chat(PLAIN))
    tokenizer = small_tokenizer(bos=kind != "chat", template=TEMPLATE)
    wanted = of_trl(rows, tokenizer, tmp_path, max_length=max_length, truncation_mode=truncation)
    encoded = encode_pairs(read_pairs(rows, "a"), tokenizer, max_length=max_length, truncation=truncation)
    wanted = [row for row in wanted if row["chosen"] != row["rejected"]]
    assert as_trl(encoded) == wanted
    assert len(encoded) + encoded.counts["long_prompts"] + encoded.counts["equal"] == len(rows)


def test_a_template_that_is_given_is_used_in_place_of_the_tokenizers() -> None:
    pairs = read_pairs(chat(PLAIN), "a")
    own = encode_pairs(pairs, small_tokenizer(template="{{ messages[0]['content'] }}x"), chat_template=TEMPLATE)
    assert own.fingerprint == encode_pairs(pairs, small_tokenizer(template=TEMPLATE)).fingerprint


@pytest.mark.parametrize(("template", "given"), [(None, "auto"), (TEMPLATE, None)])
def test_messages_without_a_template_are_an_error_that_says_what_to_give(template: Any, given: Any) -> None:
    with pytest.raises(InputError, match=r"source 'a'.*chat template.*chat_template"):
        encode_pairs(read_pairs(chat(PLAIN), "a"), small_tokenizer(template=template), chat_template=given)


def test_a_template_that_refuses_a_row_is_an_error_that_names_it() -> None:
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    with pytest.raises(InputError, match=r"source 'a': row 2: the chat template.*no system"):
        encode_pairs(read_pairs(chat(PLAIN), "a"), small_tokenizer(template=template))


OPENS = "{% if add_generation_prompt %}<|assistant|>\n<think>\n{% endif %}"
THINKS = TEMPLATE.replace("{% if add_generation_prompt %}<|assistant|>\n{% endif %}", OPENS)
SYSTEM_LAST = "{% if loop.last and messages[0].role == 'system' %}({{ messages[0].content }}){% endif %}"
MOVED = TEMPLATE.replace("<|{{", SYSTEM_LAST + "<|{{")


def test_what_a_template_opens_an_answer_with_at_inference_alone_is_noted() -> None:
    assert THINKS != TEMPLATE
    tokenizer = small_tokenizer(template=THINKS)
    encoded = encode_pairs(read_pairs(chat(PLAIN), "a"), tokenizer, max_length=None)
    (note,) = encoded.notes
    assert note.startswith(
        "a: 5 of 5 pairs are trained on without '<think>\\n', with which the chat template ends a prompt at inference "
        "(first in row 1)"
    )
    assert tokenizer.decode(encoded.sequence(0, "chosen")[0]).endswith("<|assistant|>\nParis.</s>\n")
    opened = chat(PLAIN)
    for row in opened:
        for side in ("chosen", "rejected"):
            row[side][0]["content"] = "<think>\n" + row[side][0]["content"]
    assert encode_pairs(read_pairs(opened, "a"), tokenizer, max_length=None).notes == ()


ANSWERS = {"chosen": "Paris.", "rejected": "Rome."}


def test_a_short_question_that_is_also_in_the_generation_prompt_is_no_fault() -> None:
    template = THINKS.replace("<think>\n", "<think>\n\n</think>\n")
    row = {
        "prompt": [{"role": "user", "content": "hi"}],
        **{side: [{"role": "assistant", "content": text}] for side, text in ANSWERS.items()},
    }
    tokenizer = small_tokenizer(template=template)
    encoded = encode_pairs(read_pairs([row], "a"), tokenizer, max_length=None)
    assert "without '<think>\\n\\n</think>\\n'" in encoded.notes[0]
    assert tokenizer.decode(encoded.sequence(0, "chosen")[0]).endswith("<|assistant|>\nParis.</s>\n")


def test_a_template_that_writes_the_prompt_in_another_way_before_an_answer_is_refused() -> None:
    message = r"row 2: .*'\(You are kind.*in the prompt alone and .* a part of the prompt would be scored as the answer"
    with pytest.raises(InputError, match=message):
        encode_pairs(read_pairs(chat(PLAIN), "a"), small_tokenizer(template=MOVED))
    without_system = [row for row in chat(PLAIN) if len(row["prompt"]) == 1]
    assert encode_pairs(read_pairs(without_system, "a"), small_tokenizer(template=MOVED)).notes == ()


def test_a_template_that_writes_no_answer_is_an_error_that_says_so() -> None:
    template = "{% for m in messages %}{% if m.role != 'assistant' %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(InputError, match=r"5 of 5 pairs have an answer without tokens.*check that the chat template"):
        encode_pairs(read_pairs(chat(PLAIN), "a"), small_tokenizer(template=template), max_length=200)


def test_a_template_that_ends_every_text_with_eos_is_no_fault() -> None:
    template = TEMPLATE + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
    assert encode_pairs(read_pairs(chat(PLAIN), "a"), small_tokenizer(template=template), max_length=None).notes == ()


def test_a_bos_or_an_eos_that_is_there_is_not_doubled() -> None:
    import tokenizers

    tokenizer = small_tokenizer(bos=True)
    own = encode_pairs(read_pairs(PLAIN, "a"), tokenizer, max_length=None)
    rendered = [row | {"prompt": "<s>" + row["prompt"]} for row in PLAIN]
    again = encode_pairs(read_pairs(rendered, "a"), tokenizer, max_length=None)
    assert again.fingerprint == own.fingerprint
    assert again.notes == ("a: 5 of 5 pairs have a prompt that starts with the tokenizer's BOS: it is kept once",)
    bare = small_tokenizer()  # adds none: the one in the text is the only one
    assert encode_pairs(read_pairs(rendered, "a"), bare, max_length=None).fingerprint == own.fingerprint
    both = tokenizers.processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer.backend_tokenizer.post_processor = both
    ended = encode_pairs(read_pairs(PLAIN, "a"), tokenizer, max_length=None)
    assert ended.fingerprint == own.fingerprint
    assert ended.chosen(0).tolist().count(1) == 1


def test_a_tokenizer_without_eos_is_an_error() -> None:
    tokenizer = small_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="EOS"):
        encode_pairs(read_pairs(PLAIN, "a"), tokenizer)


def test_long_prompts_are_dropped_and_counted_cut_or_an_error() -> None:
    pairs, tokenizer = read_pairs(PLAIN, "code"), small_tokenizer()
    whole = encode_pairs(pairs, tokenizer, max_length=None)
    assert len(whole) == 5
    assert whole.notes == ()
    limit = len(whole.prompt(3))
    dropped = encode_pairs(pairs, tokenizer, max_length=limit)
    assert 3 not in dropped.rows
    assert dropped.counts["long_prompts"] == 1
    assert f"code: 1 of 5 pairs have a prompt of {limit} tokens or more: they were left out" in dropped.notes
    cut = encode_pairs(pairs, tokenizer, max_length=limit, long_prompts="truncate")
    assert cut.rows.tolist() == [0, 1, 2, 3, 4]
    assert cut.chosen(3).tolist() == whole.chosen(3).tolist()
    assert len(cut.prompt(3)) + len(cut.rejected(3)) == limit
    assert whole.prompt(3).tolist()[-len(cut.prompt(3)) :] == cut.prompt(3).tolist()
    with pytest.raises(InputError, match=r"source 'code': row 4: the prompt should leave room .* found"):
        encode_pairs(pairs, tokenizer, max_length=limit, long_prompts="error")


def test_pairs_that_are_equal_once_cut_are_dropped_and_counted() -> None:
    rows = [
        {"prompt": "fox", "chosen": "brown dog " * 9 + "quick", "rejected": "brown dog " * 9 + "lazy"},
        {"prompt": "fox", "chosen": "quick", "rejected": "lazy"},
    ]
    encoded = encode_pairs(read_pairs(rows, "a"), small_tokenizer(), max_length=10)
    assert encoded.rows.tolist() == [1]
    assert encoded.counts == {"pairs": 2, "truncated": 1, "long_prompts": 0, "equal": 1, "empty": 0}
    assert "a: 1 of 2 pairs were cut to 10 tokens (keep_start)" in encoded.notes
    with pytest.raises(InputError, match="at least one pair with max_length=10"):
        encode_pairs(read_pairs(rows[:1], "a"), small_tokenizer(), max_length=10)


def test_lengths_are_those_of_the_answers_and_selected_pairs_keep_their_tokens() -> None:
    encoded = encode_pairs(read_pairs(PLAIN, "a"), small_tokenizer(), max_length=12, truncation="keep_end")
    assert encoded.lengths.tolist() == [[len(encoded.chosen(i)), len(encoded.rejected(i))] for i in range(len(encoded))]
    assert encoded.tokens.dtype == encoded.chosen(0).dtype == np.int32
    some = encoded.select([2, 0])
    assert some.rows.tolist() == [encoded.rows[2], encoded.rows[0]]
    assert [some.place(0), some.place(1)] == [encoded.place(2), encoded.place(0)] == ["row 3", "row 1"]
    assert as_trl(some) == [as_trl(encoded)[2], as_trl(encoded)[0]]
    assert some.fingerprint != encoded.fingerprint


def test_saved_pairs_come_back_the_same(tmp_path: Path) -> None:
    encoded = encode_pairs(read_pairs(PLAIN, "a"), small_tokenizer(), max_length=16)
    encoded.save(tmp_path / "a")
    loaded = EncodedPairs.load(tmp_path / "a")
    assert (loaded.name, loaded.counts, loaded.notes) == (encoded.name, encoded.counts, encoded.notes)
    assert loaded.fingerprint == encoded.fingerprint
    assert as_trl(loaded) == as_trl(encoded)
    assert loaded.place(1) == "row 2"


@pytest.mark.parametrize("damage", ["absent", "head", "cut", "changed"])
def test_damaged_pairs_are_an_error(damage: str, tmp_path: Path) -> None:
    encode_pairs(read_pairs(PLAIN, "a"), small_tokenizer()).save(tmp_path)
    tokens = tmp_path / "tokens.npy"
    if damage in ("absent", "head"):
        (tmp_path / {"absent": "rows.npy", "head": "encoded.json"}[damage]).unlink()
    elif damage == "cut":
        tokens.write_bytes(tokens.read_bytes()[:-4])
    else:
        np.save(tokens, np.load(tokens) + 1)
    with pytest.raises(InputError):
        EncodedPairs.load(tmp_path)


@pytest.mark.parametrize(
    "settings", [{"max_length": 1}, {"max_length": 7.5}, {"truncation": "keep_middle"}, {"long_prompts": "split"}]
)
def test_unknown_settings_are_errors(settings: Any) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        encode_pairs(read_pairs(PLAIN, "a"), small_tokenizer(), **settings)
