"""
Count models: seconds, memory and perplexity by the number of tokens, for bytes and for a BPE; and beside KenLM's.

`python benchmarks/ngram.py` prints a Markdown table; with --write it becomes benchmarks/results/ngram.md too. Tokens
are real ones: texts of all files of ../shared/data/text, pref and qa in random order, as many as a size
needs. Each line is a process of its own. Seconds are processor time on one core; memory is what Python and NumPy
allocate at most while counting, without the mapped file of tokens.

`--kenlm FOLDER`, where lmplz and query of https://github.com/kpu/kenlm are, adds a table of perplexities on the same
words: a document is a line, its end is predicted too, and the words that occur, the end and <unk> are the vocabulary;
other words are left out of the held-out texts.
"""

import argparse
import gzip
import json
import os
import platform
import random
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

from mixwright.text import TokenStore, byte_tokenizer, train_bpe, write_tokens
from mixwright.text.ngram import count_ngrams
from mixwright.text.target_rows import TargetRows

DATA = Path(__file__).parents[2] / "shared" / "data"
HELD_OUT = 200_000  # characters that no model is counted on
NOTES = """
Time and memory are linear in the tokens: ten times the bytes take 4 and 7 times as long, ten times the BPE tokens 11
times. Counting sorts one number a token (4 or 8 bytes, by how many n-grams there can be), and works on different
n-grams from there on: bytes take 8 bytes a token, and this BPE, whose 4-grams are mostly different, 26 to 40. So 50
million tokens, the default of max_tokens, need .4 to 2 GB. The largest BPE line is all the text there is: 39 million
tokens. Before (one sort with positions for each length), 10 million tokens took 8.2 s and 957 MiB as bytes, 8.0 s and
1,123 MiB as BPE, and ten times the tokens 16 to 40 times as long.

Perplexities equal KenLM's to 3e-6, relative: lmplz keeps 32-bit floats. `lmplz` writes its model as text, which
count_ngrams does not, so the seconds are not of the same work.

All languages and kinds of text are mixed here, and pairs share their prompts, so the figures say how it scales, not
how good a model of one source is.
"""
HEAD = "| tokens | order | n-grams | counting | scoring 1e6 tokens | model | peak memory | nats per byte | perplexity |"
KENLM = "| words | order | scored | perplexity here | KenLM's | apart | counting here | lmplz |"


def strings_of(row):
    """Return the texts of a row: its own, of questions and choices, or of a pair."""
    values = [row[key] for key in ("text", "question", "support", "prompt", "chosen", "rejected") if key in row]
    return [value if isinstance(value, str) else json.dumps(value) for value in values] + row.get("choices", [])


def documents():
    """Return (held out, rest): all texts, in random order; long ones cut, so that a size is met."""
    texts = []
    for path in sorted(path for part in ("text", "pref", "qa") for path in (DATA / part).glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            texts += ["\n".join(strings_of(json.loads(line))) for line in handle]
    pieces = list(dict.fromkeys(t[i : i + 20_000] for t in texts for i in range(0, len(t), 20_000)))
    random.Random(0).shuffle(pieces)
    held, size = [], 0
    while size < HELD_OUT:
        held.append(pieces.pop())
        size += len(held[-1])
    return held, pieces


def make_stores(folder):
    """Write the tokens of each tokenizer once."""
    if (folder / "bytes.txt").exists():
        return
    held, rest = documents()
    for name, tokenizer in (("bytes", byte_tokenizer()), ("bpe", train_bpe(rest[:500], 4096))):
        write_tokens(folder / name / "train", rest, tokenizer, {"source": name})
        write_tokens(folder / name / "held_out", held, tokenizer)
    (folder / "bytes.txt").write_text(str(sum(len(t.encode()) for t in held)))


def measure(folder, name, tokens, order):
    """Count, score, and return the cells of a line."""
    store, held = (TokenStore.open(folder / name / part) for part in ("train", "held_out"))
    start = time.process_time()
    model = count_ngrams(store, order, tokens)
    counting = time.process_time() - start
    tracemalloc.start()  # a second time: watching takes time
    count_ngrams(store, order, tokens)
    high = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    lists = [np.asarray(held.document(i)) for i in range(held.documents)]
    rows = TargetRows.from_documents(lists, 256, "sequence", held.bos)
    start = time.process_time()
    loss, scored = -model.score(rows).sum(), int(rows.document_tokens.sum())
    scoring = (time.process_time() - start) / scored * 1e6
    grams = sum(level.keys.size for level in model.levels)
    size = sum(a.nbytes for level in model.levels for a in (level.keys, level.counts, level.total, level.spare))
    per_byte = loss / int((folder / "bytes.txt").read_text())
    return [
        f"{min(tokens, store.tokens):,} {name}", str(order), f"{grams:,}", f"{counting:.1f} s", f"{scoring:.1f} s",
        f"{size / 2**20:,.0f} MiB", f"{high:,.0f} MiB", f"{per_byte:.3f}", f"{np.exp(loss / scored):.2f}",
    ]  # fmt: skip


class Words:
    """Ids as words for both: 0 stands for <s> here and for <unk> in KenLM's base, 1 for </s>, predicted at the end."""

    bos, fingerprint = 0, "words"

    def __init__(self, texts):
        self.ids = {word: i for i, word in enumerate(dict.fromkeys(w for text in texts for w in text.split()), start=2)}
        self.vocab_size = len(self.ids) + 2

    def encode(self, texts):
        """Return the ids of each text and the end."""
        return [np.array([*(self.ids[word] for word in text.split()), 1]) for text in texts]


def spelled(store, tokens):
    """Return documents of a store as words, up to a number of tokens."""
    count = max(1, int(np.searchsorted(store.offsets, tokens)) - 1) if tokens else store.documents
    return [" ".join(map(str, store.document(i))) for i in range(count)]


def beside_kenlm(programs, folder, name, tokens, order):
    """Return the cells of a line: perplexity and processor seconds of both."""
    train, held = (
        spelled(TokenStore.open(folder / name / part), n) for part, n in (("train", tokens), ("held_out", 0))
    )
    words = Words(train)
    held = [" ".join(word for word in text.split() if word in words.ids) for text in held]
    store = write_tokens(folder / "words", train, words)
    start = time.process_time()
    model = count_ngrams(store, order)
    ours = time.process_time() - start
    lists = words.encode(held)
    starts = np.cumsum([0, *map(len, lists[:-1])])
    scored = sum(map(len, lists))
    nats = -model.log_probabilities(np.concatenate(lists), starts).sum()
    before, arpa = os.times(), folder / "kenlm.arpa"
    command = [programs / "lmplz", "-o", order, "--discount_fallback", "-S", "4G", "-T", folder, "--arpa", arpa]
    subprocess.run([str(c) for c in command], input="\n".join([*train, ""]), text=True, check=True, capture_output=True)
    after = os.times()
    theirs = after.children_user + after.children_system - before.children_user - before.children_system
    done = subprocess.run(
        [str(programs / "query"), "-v", "sentence", str(arpa)], input="\n".join([*held, ""]), text=True, check=True,
        capture_output=True,
    )  # fmt: skip
    found = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("Total:")]
    assert len(found) == len(held), (len(found), len(held))
    kenlm = -sum(found) * np.log(10)
    perplexities = np.exp(nats / scored), np.exp(kenlm / scored)
    return [
        f"{sum(len(t.split()) + 1 for t in train):,} {name}", str(order), f"{scored:,}", f"{perplexities[0]:.4f}",
        f"{perplexities[1]:.4f}", f"{perplexities[0] / perplexities[1] - 1:+.1e}", f"{ours:.1f} s", f"{theirs:.1f} s",
    ]  # fmt: skip


def kenlm_lines(programs, folder):
    """Yield lines."""
    for name, tokens, order in [("bytes", 10**6, 3), ("bytes", 10**6, 6), ("bpe", 10**6, 2), ("bpe", 10**6, 4),
                                ("bytes", 10**7, 4), ("bpe", 10**7, 4)]:  # fmt: skip
        yield "| " + " | ".join(beside_kenlm(programs, folder, name, tokens, order)) + " |"


def lines(folder, largest):
    """Yield lines; orders at a million tokens, order 4 at all sizes."""
    for name in ("bytes", "bpe"):
        there = TokenStore.open(folder / name / "train").tokens
        sizes = [s for s in (10**6, 10**7, 10**8) if s <= largest]
        wanted = [(10**6, order) for order in (2, 3, 4, 5, 6)] + [(size, 4) for size in sizes[1:] if size < 3 * there]
        for tokens, order in wanted:
            command = [sys.executable, __file__, "--one", str(folder), name, str(tokens), str(order)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            yield "| " + " | ".join(json.loads(done.stdout)) + " |"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/ngram.md")
    parser.add_argument("--largest", type=float, default=1e8, help="tokens of the largest size")
    parser.add_argument("--folder", type=Path, default=Path("runs/ngram"), help="where tokens are kept")
    parser.add_argument("--kenlm", type=Path, help="folder of lmplz and query")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        folder, name, tokens, order = args.one
        print(json.dumps(measure(Path(folder), name, int(tokens), int(order))))
        return
    table = [HEAD, "|---|" + "--:|" * 8]
    make_stores(args.folder)
    for line in lines(args.folder, int(args.largest)):
        print(line, flush=True)
        table.append(line)
    if args.kenlm:
        table += ["", "Beside KenLM, on the same words:", "", KENLM, "|---|" + "--:|" * 7]
        for line in kenlm_lines(args.kenlm, args.folder):
            print(line, flush=True)
            table.append(line)
    if args.write:
        about = (__doc__ or "").strip().partition("\n\n")
        machine = f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}, one thread."
        text = f"# {about[0]}\n\n{about[2]}\n\n{machine}\n\n" + "\n".join(table) + "\n" + NOTES
        (Path(__file__).parent / "results" / "ngram.md").write_text(text)


if __name__ == "__main__":
    main()
