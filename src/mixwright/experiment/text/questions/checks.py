"""Which quantities a question set has, and whether its held-out questions are enough for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mixwright.compare import Quantity
from mixwright.compare.questions import ACCURACY, ANSWER_LOSS, FEWEST
from mixwright.errors import InputError
from mixwright.experiment.text.config import TextConfig
from mixwright.experiment.text.inputs import Target, held_out_questions, held_out_texts
from mixwright.text import Question, Tokenizer

_QUANTITIES = {"accuracy": ACCURACY, "answer_loss": ANSWER_LOSS}
_LEAST = 2  # questions: with one nothing tells how much another would change


def quantities_of(target: Target, questions: Mapping[str, Question]) -> list[Quantity]:
    """
    Return what is measured on the held-out questions of a target: none where it is made of documents.

    By default a set whose questions have no other choices has no accuracy.
    """
    if target.config.kind != "questions":
        return []
    if target.config.metrics is not None:
        return [quantity for name, quantity in _QUANTITIES.items() if name in target.config.metrics]
    return [ACCURACY, ANSWER_LOSS] if _with_choices(questions) >= _LEAST else [ANSWER_LOSS]


def check_questions(config: TextConfig, targets: Iterable[Target]) -> None:
    """Raise InputError if a question set has too few held-out questions, or no choices where accuracy is asked for."""
    for target in targets:
        questions = held_out_questions(target)
        asked = quantities_of(target, questions)
        where, way_out = config.where("targets", target.name), "give more questions, raise held_out, or set metrics: []"
        if asked and len(questions) < _LEAST:
            raise InputError(
                f"{where}: should have at least {_LEAST} held-out questions for an interval over questions, found "
                f"{len(questions)} (held_out: {target.config.held_out:g}); {way_out}"
            )
        if ACCURACY in asked and (found := _with_choices(questions)) < _LEAST:
            raise InputError(
                f"{where}: should have at least {_LEAST} held-out questions with several choices for accuracy, found "
                f"{found} of {len(questions)}; add choices, or set metrics: answer_loss"
            )


def check_lengths_of_choices(config: TextConfig, targets: Iterable[Target], tokenizer: Tokenizer, context: int) -> None:
    """Raise InputError if a choice of a held-out question does not fit into the context."""
    for target in targets:
        questions = held_out_questions(target)
        asked = quantities_of(target, questions)
        every = (c for q in questions.values() for c in (q.answer, *(q.others if ACCURACY in asked else ())))
        texts = list(dict.fromkeys(every)) if asked else []
        for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
            if len(ids) > context:
                raise InputError(
                    f"{config.where('targets', target.name)}: a choice of a question should have at most {context} "
                    f"tokens (the context), found {len(ids)} in {text.strip()!r:.40}; raise the context, shorten the "
                    "choice, or set metrics: []"
                )


def few_questions(targets: Iterable[Target]) -> list[str]:
    """Return a sentence for each target of which a quantity has so few held-out questions that intervals are rough."""
    return [
        f"{target.name}: {count} held-out questions are few for {' and '.join(names)}: intervals over fewer than "
        f"{FEWEST} are rough"
        for target in targets
        for count, names in _by_count(target).items()
        if count < FEWEST
    ]


def _by_count(target: Target) -> dict[int, list[str]]:
    """Return the quantities of a target by how many held-out questions they rest on: accuracy on those with choices."""
    questions, found = held_out_questions(target), dict[int, list[str]]()
    for quantity in quantities_of(target, questions):
        counting = {t for t, question in questions.items() if quantity != ACCURACY or question.others}
        found.setdefault(sum(text in counting for text in held_out_texts(target)), []).append(quantity.name)
    return found


def _with_choices(questions: Mapping[str, Question]) -> int:
    return sum(bool(question.others) for question in questions.values())
