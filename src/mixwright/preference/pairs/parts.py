"""Where prompt and answer part: the tokens of texts and of chat messages, and what templates lose between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mixwright.errors import InputError
from mixwright.preference.pairs.pair_rows import Text
from mixwright.preference.pairs.pairs import Pairs

Three = tuple[list[int], list[int], list[int]]  # tokens of prompt, chosen and rejected answer
Lost = dict[str, list[int]]  # {text: the pairs in which it is lost}
_BATCH = 1024
_BOS = ""  # the key of prompts with their own BOS: no text is lost


def text_parts(pairs: Pairs, tokenizer: Any, lost: Lost) -> Iterator[Three]:
    """Yield the tokens of pairs of strings; `lost` gets the pairs whose prompt has the BOS that the tokenizer adds."""
    eos = tokenizer.eos_token
    if not eos:
        raise InputError(
            "the tokenizer should have an EOS token, which ends each answer, found none; set its eos_token"
        )
    bare = tokenizer(text="x", verbose=False)["input_ids"]
    bos = tokenizer.bos_token if bare[0] == tokenizer.bos_token_id else None
    end = "" if bare[-1] == tokenizer.eos_token_id else eos
    for begin in range(0, len(pairs), _BATCH):
        some = slice(begin, begin + _BATCH)
        prompts: list[Any] = list(pairs.prompt[some])
        if doubled := [i for i, prompt in enumerate(prompts, begin) if bos and prompt.startswith(bos)]:
            prompts = [prompt.removeprefix(bos) for prompt in prompts]
            lost.setdefault(_BOS, []).extend(doubled)
        texts = [prompts]
        for answers in (pairs.chosen[some], pairs.rejected[some]):
            ended = (str(answer).removesuffix(eos) + end for answer in answers)
            texts.append([prompt + answer for prompt, answer in zip(prompts, ended, strict=True)])
        ids = [tokenizer(text=part, verbose=False)["input_ids"] for part in texts]
        yield from (_split(*three) for three in zip(*ids, strict=True))


def chat_parts(pairs: Pairs, tokenizer: Any, chat_template: str | None, lost: Lost) -> Iterator[Three]:
    """Yield the tokens of pairs of messages; `lost` gets what is missing of the generation prompt before answers."""
    if chat_template is None or (chat_template == "auto" and not getattr(tokenizer, "chat_template", None)):
        found = "a tokenizer that has none" if chat_template == "auto" else "chat_template=None"
        raise InputError(
            f"source {pairs.name!r}: its rows are chat messages, which need a chat template, found {found}; give the "
            "template's text as chat_template, or rows that are strings"
        )
    own = {} if chat_template == "auto" else {"chat_template": chat_template}
    for i in range(len(pairs)):
        prompt: Any = pairs.prompt[i]
        wholes = [prompt + pairs.chosen[i], prompt + pairs.rejected[i]]
        try:
            start = _chat_ids(tokenizer, prompt, add_generation_prompt=True, **own)
            with_answers = [_chat_ids(tokenizer, messages, **own) for messages in wholes]
            cut = any(ids[: len(start)] != start for ids in with_answers)
            if cut and (text := _lost_text(tokenizer, prompt, wholes, own)):
                lost.setdefault(text, []).append(i)
            yield _split(start, *with_answers)
        except Exception as error:  # a template is a program, and raises what it likes
            what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            raise InputError(
                f"source {pairs.name!r}: {pairs.place(i)}: the chat template should take these messages, found "
                f"{what}; correct the row, or give another chat_template"
            ) from error


def notes_of_parts(pairs: Pairs, lost: Lost) -> list[str]:
    """Say what was lost between prompts and answers, in sentences."""
    total, notes = len(pairs), []
    for text, rows in lost.items():
        start = f"{pairs.name}: {len(rows):,} of {total:,} pairs "
        if text == _BOS:
            notes.append(start + "have a prompt that starts with the tokenizer's BOS: it is kept once")
            continue
        notes.append(
            start
            + f"are trained on without {text!r}, with which the chat template ends a prompt at inference (first in "
            f"{pairs.place(rows[0])}); give a chat_template that writes it before answers, too, or put it into them"
        )
    return notes


def _lost_text(tokenizer: Any, prompt: Text, wholes: list[Any], own: dict[str, Any]) -> str:
    """
    Return the end of the generation prompt that no answer follows in training; "" if only a token crosses the border.

    Raises
    ------
    InputError
        If the template writes the messages of the prompt in another way once an answer follows: parts of the prompt
        would be scored as the answer.
    """

    def text_of(messages: Any, **more: Any) -> str:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **more, **own))

    asked, last = text_of(prompt, add_generation_prompt=True), str(prompt[-1]["content"]).strip()  # type: ignore[index]
    messages_end = _common(asked, text_of(prompt))  # what comes after is the generation prompt: "hi" is in <think>, too
    if (at := asked.rfind(last, 0, messages_end)) >= 0:
        messages_end = at + len(last)
    found = ""
    for whole in map(text_of, wholes):
        end = _common(asked, whole)
        if end < messages_end:
            raise InputError(
                f"{asked[end : end + 60]!r} in the prompt alone and {whole[end : end + 60]!r} in its place once the "
                "answer follows, so that a part of the prompt would be scored as the answer"
            )
        found = max(found, asked[end:], key=len)
    return found


def _chat_ids(tokenizer: Any, messages: Text, **options: Any) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"])


def _split(prompt: list[int], with_chosen: list[int], with_rejected: list[int]) -> Three:
    """Split where prompt and answer part: a token across the border belongs to the answer, as in TRL."""
    end = min(_common(prompt, with_chosen), _common(prompt, with_rejected))
    return prompt[:end], with_chosen[end:], with_rejected[end:]


def _common(first: Any, second: Any) -> int:
    """Return how many tokens, or characters, at the start are the same."""
    if second[: len(first)] == first:
        return len(first)
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
