"""From a mixture and the places of its sources to a tool's own text, with a word for everything that is lost."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.formats._hub import loads_text
from mixwright.formats._job import Job
from mixwright.formats._registry import FORMATS, Format
from mixwright.formats.reading.places import Place, places_of
from mixwright.mixture_file import MixtureFile

_SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".py": "py", ".json": "json", ".md": "card"}
_WAY = "; --per-document (per_document=True) divides each weight by the mean length of its source's documents"
_NAMED = 5  # sources in a note on lengths
_MATTERS, _TINY, _MUCH = 0.01, 0.001, 1.5  # a difference of shares, a weight whose factor counts, and that factor
_EPOCHS = re.compile(r"the ([-+.\deE]+) epochs of source ")


@dataclass(frozen=True)
class Export:
    """
    A mixture in a tool's format.

    Parameters
    ----------
    text
        What the tool reads; `str(export)` is the same.
    notes
        Sentences that say what the tool does not hold, and what was done about it.
    format, form
        Which it is: ("megatron", "args"), ("streaming", "yaml") ...
    """

    text: str
    notes: tuple[str, ...]
    format: str
    form: str

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def write(self, path: str | PathLike[str], force: bool = False) -> None:
        """
        Write the text, atomically.

        Raises
        ------
        InputError
            The file is there already and `force` is False, or it cannot be written.
        """
        path = Path(path)
        check_free(path, force)
        with atomic_write(path) as handle:
            handle.write(self.text)


def check_free(path: Path, force: bool) -> None:
    """Raise InputError if a file should not be written at `path`."""
    if os.path.isdir(path):
        raise InputError(f"{path} should be a file to write, found a folder; add a file name")
    if os.path.lexists(path) and not force:
        raise InputError(f"{path} is there already; choose another name, or replace it (--force, or force=True)")


def form_of(path: Path | None, to: str) -> str | None:
    """Return the form that an output file's suffix asks for, or None; InputError if the format has no such form."""
    made = _format(to)
    form = _SUFFIXES.get(path.suffix.lower()) if path else None
    if form is None or form in made.forms:
        return form
    raise InputError(
        f"{made.name} is written as {' or '.join(made.forms)}, found the file {path}; choose another suffix"
    )


def export(
    mixture: MixtureFile | str | PathLike[str],
    to: str,
    paths: Mapping[str, Any] | None = None,
    *,
    form: str | None = None,
    seed: int = 0,
    allow_loss: bool = False,
    per_document: bool = False,
) -> Export:
    """
    Return a mixture as another tool reads it.

    Parameters
    ----------
    mixture
        A MixtureFile, or the path of a mixture.json.
    to : str
        One of `FORMATS`.
    paths : mapping
        {source: where it lives}: a path or name, a list of files, or a mapping with "path", "max_epochs" and arguments
        of the tool. Needed for every source with a weight above 0, except for "json" and "llama-factory".
    form : str or None
        Where a tool has several: "args" or "json" for megatron, "py" or "yaml" for streaming, "py", "yaml" or
        "card" (README.md) for datasets.
    seed : int
        For generated Python files and the YAML of datasets.
    allow_loss : bool
        Write although the tool cannot express all of it, and say what was lost in `notes`.
    per_document : bool
        The tool draws documents: divide each weight by the mean length of its source's documents, which mixture.json
        has of a search over texts, so that the tokens come out as the weights ask.

    Raises
    ------
    InputError
        An unknown format, missing or wrong paths, or something that the tool cannot express.

    Examples
    --------
    >>> from mixwright import MixtureFile
    >>> mixture = MixtureFile(sources=["web", "law"], weights=[0.75, 0.25], unit="tokens")
    >>> print(export(mixture, "megatron", {"web": "data/web_text", "law": "data/law_text"}), end="")
    0.75 data/web_text
    0.25 data/law_text
    """
    if not isinstance(mixture, MixtureFile):
        mixture = MixtureFile.read(mixture)
    made = _format(to)
    chosen = _form(made, form)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed should be a whole number of at least 0, found {seed!r}")
    places = {} if made.keys is None else places_of(paths, mixture.sources, made.keys)
    notes: list[str] = []
    places, uncut = _sampled_by(mixture, made, chosen, places, notes)
    if per_document:
        mixture = _by_documents(mixture, made, notes, exact=not uncut)
    kept = _kept(mixture, made, places, notes)
    job = Job(
        tuple(mixture.sources[i] for i in kept),
        tuple(mixture.weights[i] for i in kept),
        () if made.keys is None else tuple(places[mixture.sources[i]] for i in kept),
        mixture.unit,
        seed,
    )
    _check_places(job)
    lost = uncut + _lost(job, made, mixture, notes, per_document)
    if lost and not allow_loss:
        raise InputError(f"{'; '.join(lost)}; to write it anyway, use --allow-loss or allow_loss=True")
    job = _without_epochs(job, made)
    return Export(made.forms[chosen](job), (*lost, *notes), made.name, chosen)


def _format(to: str) -> Format:
    if to == "axolotl":
        raise InputError(
            "axolotl has no setting for a mixture (the `weight` of a data set is the part of its rows that it keeps); "
            "build the mixture and give it that folder as the only data set: export with to 'datasets' and form 'py', "
            'then call build().save_to_disk("mixed")'
        )
    if to not in FORMATS:
        nearest = get_close_matches(str(to), FORMATS, n=1)
        advice = f"did you mean {nearest[0]!r}?" if nearest else "choose one"
        raise InputError(f"a format should be one of {', '.join(FORMATS)}, found {to!r}; {advice}")
    return FORMATS[to]


def _form(made: Format, form: str | None) -> str:
    if form is None:
        return next(iter(made.forms))
    if form not in made.forms:
        raise InputError(
            f"{made.name} is written as {' or '.join(made.forms)}, found the form {form!r}; choose another"
        )
    return form


def _kept(mixture: MixtureFile, made: Format, places: Mapping[str, Place], notes: list[str]) -> list[int]:
    """Return the positions of the sources that are written; InputError names those without a path."""
    positions = list(range(len(mixture.sources)))
    zero = [i for i in positions if mixture.weights[i] == 0]
    placeless = [] if made.keys is None else [i for i in positions if mixture.sources[i] not in places]
    if missing := [mixture.sources[i] for i in placeless if mixture.weights[i] > 0]:
        shown = ", ".join(map(repr, missing[:10])) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise InputError(
            f"{made.tool} needs a path for every source with a weight, found none for {shown}; give --path "
            "SOURCE=PATH, or a file of them with --paths"
        )
    gone = zero if made.zeros else [i for i in zero if i in placeless]
    if gone:
        names = ", ".join(repr(mixture.sources[i]) for i in gone[:10]) + (" ..." if len(gone) > 10 else "")
        why = made.zeros or "no path was given"
        notes.append(f"left out, with weight 0: {names} ({why}); the shares of the others are the same")
    return [i for i in positions if i not in set(gone)]


def _check_places(job: Job) -> None:
    """Raise InputError if two sources live at the same place."""
    seen: dict[str, str] = {}
    for name, _, place in job if job.places else ():
        key = repr((place.files, sorted(place.options.items())))
        if key in seen:
            raise InputError(
                f"sources should have different paths, found the same for {seen[key]!r} and {name!r}; correct "
                "one path, or add their weights up"
            )
        seen[key] = name


def _lost(job: Job, made: Format, mixture: MixtureFile, notes: list[str], per_document: bool) -> list[str]:
    """Return what the tool cannot express; what is only to be known goes to the notes."""
    lost, lengths = [], _lengths_of(mixture)
    if per_document:
        pass  # shares of documents for a tool that draws them
    elif mixture.unit == "tokens" and made.shares == "rows":
        lost.append(
            f"the weights are shares of tokens, {made.tool} takes shares of rows: they agree only where all rows have "
            f"the same length{_WAY if lengths else ''}"
        )
    elif mixture.unit == "rows" and made.shares == "tokens":
        notes.append(
            f"the weights are shares of rows, {made.tool} takes shares of tokens: they agree where all rows have the "
            "same length, for example sequences packed to the context"
        )
    elif made.shares == "rows" and lengths:
        notes += _note_on_lengths(mixture, made, lengths)
    elif made.shares == "rows" and mixture.evidence.get("unit") == "chunk":
        notes.append(
            f"the weights were found on chunks of text of one length, {made.tool} takes shares of the rows in your "
            "files: they agree where documents of all sources are of one length on average, or are packed to one"
        )
    elif mixture.unit == "tokens" and made.shares == "any":
        notes.append(f"{made.tool} does not record that the weights are shares of tokens; keep that in mind")
    for name, _, place in job if job.places else ():
        reason = made.epochs(place.max_epochs) if place.max_epochs is not None else None
        if reason:
            lost.append(f"{name!r} should be used for {place.max_epochs:g} epochs at most, but {made.tool} {reason}")
    _note_recorded(mixture, notes)
    return lost


def _note_recorded(mixture: MixtureFile, notes: list[str]) -> None:
    """Note limits of epochs that the weights rest on: they are kept within the budget of the search alone."""
    binding = mixture.certificate.get("binding")
    labels = (
        [str(b.get("constraint", "")) for b in binding if isinstance(b, Mapping)] if isinstance(binding, list) else []
    )
    if found := [label for label in labels if _EPOCHS.match(label)]:
        notes.append(
            f"the weights rest on {'; '.join(found)}, for the budget of the search; a longer training repeats more "
            "unless its path sets max_epochs"
        )


def _without_epochs(job: Job, made: Format) -> Job:
    """Return the job without the limits of epochs that the tool cannot hold (they were allowed to be lost)."""
    places = tuple(
        Place(p.files, p.options) if p.max_epochs is not None and made.epochs(p.max_epochs) else p for p in job.places
    )
    return Job(job.sources, job.weights, places, job.unit, job.seed)


def _lengths_of(mixture: MixtureFile) -> dict[str, float]:
    """Return the mean tokens per document of each source that mixture.json has; empty if it lacks one."""
    found = mixture.evidence.get("tokens_per_document")
    if not isinstance(found, Mapping):
        return {}
    lengths: dict[str, float] = {}
    for name in mixture.sources:
        if (n := found.get(name)) is None:
            return {}
        try:
            lengths[name] = float(n) if isinstance(n, Real) and not isinstance(n, bool) else math.nan
        except OverflowError:
            lengths[name] = math.inf
        if not 0 < lengths[name] < math.inf:
            raise InputError(
                f"evidence.tokens_per_document of {name!r} in mixture.json should be a finite number above 0, found "
                f"{n!r:.40}; correct it, or search again"
            )
    return lengths


def _by_documents(mixture: MixtureFile, made: Format, notes: list[str], exact: bool) -> MixtureFile:
    """Return a mixture whose weights are shares of documents; InputError if there is no need or no way."""
    if made.shares == "tokens":
        raise InputError(f"{made.tool} takes shares of tokens, not of documents: leave --per-document out")
    lengths = _lengths_of(mixture)
    if not lengths:
        raise InputError(
            "mixture.json should have the mean tokens per document of each source for --per-document "
            "(evidence.tokens_per_document), found none; search again over texts with this version, or leave it out"
        )
    shares = [weight / lengths[name] for name, weight in zip(mixture.sources, mixture.weights, strict=True)]
    total = math.fsum(shares)
    said = ", ".join(f"{name} {lengths[name]:,.0f}" for name in list(lengths)[:_NAMED])
    so = ", so that the tokens come out as the mixture asks"
    if not exact:
        so = "; where the rows are other documents, the tokens do not come out as the mixture asks"
    notes.append(
        "the weights are shares of documents: each was divided by the mean tokens of its source's documents "
        f"({said}{', ...' if len(lengths) > _NAMED else ''}){so}"
    )
    return replace(mixture, weights=tuple(share / total for share in shares), unit="rows")


def _note_on_lengths(mixture: MixtureFile, made: Format, lengths: Mapping[str, float]) -> list[str]:
    """Return a sentence if, drawn by documents, sources get other shares of the tokens than their weights."""
    tokens = [weight * lengths[name] for name, weight in zip(mixture.sources, mixture.weights, strict=True)]
    shares = dict(zip(mixture.sources, (n / math.fsum(tokens) for n in tokens), strict=True))
    weights = dict(zip(mixture.sources, mixture.weights, strict=True))
    names = sorted(shares, key=lambda name: -abs(shares[name] - weights[name]))
    factors = [shares[name] / weight for name, weight in weights.items() if weight >= _TINY]
    if abs(shares[names[0]] - weights[names[0]]) < _MATTERS and all(1 / _MUCH < factor < _MUCH for factor in factors):
        return []
    said = ", ".join(
        f"{name} ({lengths[name]:,.0f} tokens in the mean) {shares[name]:.1%} in place of {weights[name]:.1%}".replace(
            "%", " %"
        )
        for name in names[:_NAMED]
    )
    return [
        f"the weights are shares of tokens, and {made.tool} draws rows of your files: where a row is a document, the "
        f"sources get these shares of the tokens: {said}{_WAY}; rows that are packed to one length need no change"
    ]


def _sampled_by(
    mixture: MixtureFile, made: Format, form: str, places: Mapping[str, Place], notes: list[str]
) -> tuple[dict[str, Place], list[str]]:
    """Return the places where text is cut into rows as the mixture's documents were, and where it cannot be."""
    ways, found = mixture.evidence.get("sample_by"), dict(places)
    lost: list[str] = []
    if made.name not in ("datasets", "trl") or not isinstance(ways, Mapping):
        return found, lost
    weights = dict(zip(mixture.sources, mixture.weights, strict=True))
    for name, place in places.items():
        way, own, text = ways.get(name), place.options.get("sample_by"), loads_text(place)
        if way not in ("document", "paragraph", "line") or weights[name] == 0 or text is False:
            continue
        if text and way == "paragraph":
            notes.append(f"a line of white space ends a paragraph of {name!r} in a search, and not in datasets")
        if text and way == "line" and (made.name, form) != ("datasets", "py"):
            notes.append(f"blank lines of {name!r} are rows for {made.tool}, and a search leaves them out; remove them")
        if own == way:
            continue
        if text and own is None and form in ("py", "yaml") and made.name == "datasets":
            found[name] = Place(place.files, {**place.options, "sample_by": way}, place.max_epochs)
        elif own is not None or way != "line":
            lost.append(_uncut(name, way, own, text))
    return found, lost


def _uncut(name: str, way: str, own: str | None, text: bool | None) -> str:
    """Return a sentence for a source whose text is not cut as it was when it was weighed, or may not be."""
    what = {"document": "the whole file", "paragraph": "a paragraph", "line": "a line"}[way]
    here, advice = "here each line of text is a row", "give JSON lines with one document a line"
    if own is not None:
        here, advice = f"here sample_by is {own!r}", "remove it from the place"
    elif text is None:
        here = "if its path holds text, each line is a row here"
        advice = "name its files with data_files, such as '**/*.txt' or '**/*.jsonl'"
    might = "are not" if text or own is not None else "may not be"
    return f"the rows of {name!r} {might} the documents that were weighed: {what} was a document, and {here}; {advice}"
