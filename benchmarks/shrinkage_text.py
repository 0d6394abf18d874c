"""Real likelihoods for benchmarks/shrinkage.py: documents of shared/data/text under count models of its sources."""

import gzip
import json
import random
import tempfile
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from mixwright import LikelihoodTable, MixMin
from mixwright.text import TokenStore, byte_tokenizer, write_tokens
from mixwright.text.ngram import count_ngrams
from mixwright.text.target_rows import TargetRows

DATA = Path(__file__).parents[2] / "shared" / "data" / "text"
LENGTH, TARGETS, COUNTED = 400, 400, 150_000  # bytes of a target document, documents of a target, bytes of a source
ASIDE = ("books_en", "pydocs_en", "shakespeare", "spec_peps", "web_k8s_en", "encyclopedia_factbook")
MIXED = (("books_en", "pydocs_en", "math_latex"), ("pydocs_es", "books_es"), ("code_python_stdlib", "web_k8s_en"))
UNITS = (16, 100)  # bytes of a row
SIZES = (20, 60, 200)


def halves():
    """Return {source: (pieces to count, pieces for targets)}: whole documents, in random order."""
    out = {}
    for path in sorted(DATA.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            texts = [json.loads(line)["text"] for line in handle]
        random.Random(0).shuffle(texts)
        middle = len(texts) // 2
        pieces = [[t[i : i + LENGTH] for t in part for i in range(0, min(len(t), 20 * LENGTH), LENGTH)]
                  for part in (texts[:middle], texts[middle:])]  # fmt: skip
        random.Random(1).shuffle(pieces[1])
        out[path.name.split(".")[0]] = pieces[0], [p for p in pieces[1] if len(p) > LENGTH // 2][:TARGETS]
    return out


def write(folder):
    """Write log-likelihoods of all target documents under all sources, by unit."""
    tokenizer, parts = byte_tokenizer(), halves()
    lists = [np.asarray(ids, np.int32) for _, pieces in parts.values() for ids in tokenizer.encode(pieces)]
    origin = np.repeat(np.arange(len(parts)), [len(pieces) for _, pieces in parts.values()])
    columns = {unit: [] for unit in UNITS}
    rows = {}
    for name, (counted, _) in parts.items():
        with tempfile.TemporaryDirectory() as temporary:
            write_tokens(Path(temporary) / "tokens", counted, tokenizer, {"source": name})
            store = TokenStore.open(Path(temporary) / "tokens")
            model = count_ngrams(store, 4, COUNTED)
            for unit in UNITS:
                rows[unit] = TargetRows.from_documents(lists, unit, "chunk", store.bos)
                columns[unit].append(model.score(rows[unit]))
    folder.mkdir(parents=True, exist_ok=True)
    for unit in UNITS:
        document = rows[unit].documents
        found = {"L": np.stack(columns[unit], 1), "document": document, "origin": origin[document]}
        np.savez(folder / f"table{unit}.npz", names=np.array(list(parts)), **found)


def jobs(folder, seeds):
    """Return (path, what a record needs) for subsamples of each target; the other documents are the fresh rows."""
    if not (folder / f"table{UNITS[-1]}.npz").exists():
        write(folder)
    tables = {unit: dict(np.load(folder / f"table{unit}.npz")) for unit in UNITS}
    targets = [(name,) for name in ASIDE] + list(MIXED)
    out = []
    for target, unit, n, seed in product(targets, UNITS, SIZES, range(seeds)):
        path = folder / f"{'+'.join(target)}-{unit}-{n}-{seed}.npz"
        out.append((path, partial(subsample, tables[unit], target, n, seed)))
    return out


def subsample(table, target, n, seed):
    """
    Return log-likelihoods of n documents and of the rest, whose own optimum is the best that weights can do there.

    A target of one source has no proxy of that source; one of several has all.
    """
    names = [str(x) for x in table["names"]]
    of = [names.index(name) for name in target]
    columns = [i for i in range(len(names)) if len(of) > 1 or i not in of]
    all_documents = np.unique(table["document"][np.isin(table["origin"], of)])
    drawn = np.random.default_rng([n, seed, *of]).permutation(all_documents)[:n]
    inside = np.isin(table["document"], drawn)
    rest = np.isin(table["origin"], of) & ~inside
    L = table["L"][:, columns]
    document = np.unique(table["document"][inside], return_inverse=True)[1]
    fresh = np.flatnonzero(rest)
    fresh = np.random.default_rng(seed).permutation(fresh)[:4000]
    best = MixMin(shrinkage=0.0, tolerance=1e-6).fit(LikelihoodTable.from_array(L[fresh])).weights
    return L[inside], document, L[fresh], best, seed, False
