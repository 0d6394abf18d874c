"""What a model says to questions: which choice it takes, and the loss of the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixwright.compare.questions import ACCURACY, ANSWER_LOSS
from mixwright.text import Question, Tokenizer
from mixwright.text.target_rows import TargetRows
from mixwright.training.scoring import evaluate


def bytes_of(choice: str) -> int:
    """Return the length of a choice in bytes of UTF-8, without the white space that stands before it."""
    return len(choice.lstrip().encode())


def answer(
    model: Any, questions: Sequence[Question], tokenizer: Tokenizer, context: int, batch_size: int
) -> dict[str, list[float | None]]:
    """
    Return {quantity: [q]} of questions under a model.

    Each choice has its log-likelihood given the prompt, per byte, so that long choices are not at a disadvantage.

    - accuracy: 1 where the right choice has the highest one, else 0; None where there is no other choice.
    - answer loss: minus that of the right choice, nats per byte.
    """
    choices = [(q.answer, *q.others) for q in questions]
    prompts = tokenizer.encode([q.prompt for q, own in zip(questions, choices, strict=True) for _ in own])
    answers = tokenizer.encode([choice for own in choices for choice in own])
    rows = TargetRows.from_questions(zip(prompts, answers, strict=True), context, "answer", tokenizer.bos)
    nats = evaluate(model, rows, batch_size).nats
    per_byte = nats / np.array([bytes_of(choice) for own in choices for choice in own])
    parts = np.split(per_byte, np.cumsum([len(own) for own in choices])[:-1])
    right = [float(part[0] < part[1:].min()) if len(part) > 1 else None for part in parts]
    return {ACCURACY.name: right, ANSWER_LOSS.name: [float(part[0]) for part in parts]}
