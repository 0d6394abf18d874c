"""
Count models: seconds, memory and perplexity by the number of tokens, for bytes and for a BPE.

`python benchmarks/ngram.py` prints a Markdown table; with --write it becomes benchmarks/results/ngram.md too. Tokens
are real ones, none twice: documents of all files of ../shared/data/text in random order, as many as a size needs. Each
line is a process of its own, so that its peak memory is its own. Seconds are processor time on one core.
"""

import argparse
import gzip
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mixwright.text import TokenStore, byte_tokenizer, train_bpe, write_tokens
from mixwright.text.ngram import count_ngrams
from mixwright.text.target_rows import TargetRows

DATA = Path(__file__).parents[2] / "shared" / "data" / "text"
HELD_OUT = 200_000  # characters that no model is counted on
NOTES = """
Memory is what counting adds to the process, at its peak; "model" is what is left of it. At ten million tokens it is 100
to 118 bytes a token, so 50 million (the default of max_tokens) need about 6 GB. Ten times the tokens take 16 to 40
times as long: counting sorts, and small arrays fit into the caches. There is no line for 1e8 tokens: all files together
have fewer. All languages and kinds of text are mixed here, so the figures say how it scales, not how good a model of
one source is. KenLM is not compared: its estimator is not on PyPI.
"""
HEAD = "| tokens | order | n-grams | counting | scoring 1e6 tokens | model | peak memory | nats per byte | perplexity |"


def documents():
    """Return (held out, rest): all texts, in random order; long ones cut, so that a size is met."""
    texts = []
    for path in sorted(DATA.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            texts += [json.loads(line)["text"] for line in handle]
    pieces = list(dict.fromkeys(t[i : i + 20_000] for t in texts for i in range(0, len(t), 20_000)))
    random.Random(0).shuffle(pieces)
    held, size = [], 0
    while size < HELD_OUT:
        held.append(pieces.pop())
        size += len(held[-1])
    return held, pieces


def make_stores(folder):
    """Write the tokens of each tokenizer once."""
    held, rest = documents()
    for name, tokenizer in (("bytes", byte_tokenizer()), ("bpe", train_bpe(rest[:500], 4096))):
        write_tokens(folder / name / "train", rest, tokenizer, {"source": name})
        write_tokens(folder / name / "held_out", held, tokenizer)
    (folder / "bytes.txt").write_text(str(sum(len(t.encode()) for t in held)))


def peak():
    """Return the highest memory of this process so far, MiB; getrusage would give that of the parent, if higher."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(folder, name, tokens, order):
    """Count, score, and return the cells of a line."""
    store, held = (TokenStore.open(folder / name / part) for part in ("train", "held_out"))
    before, start = peak(), time.process_time()
    model = count_ngrams(store, order, tokens)
    counting, high = time.process_time() - start, peak() - before
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


def lines(folder, largest):
    """Yield lines; orders at a million tokens, order 4 at all sizes."""
    for name in ("bytes", "bpe"):
        there = TokenStore.open(folder / name / "train").tokens
        sizes = [s for s in (10**6, 10**7, 10**8) if s <= largest]
        wanted = [(10**6, order) for order in (2, 3, 4, 5, 6)] + [(size, 4) for size in sizes[1:] if size < 2 * there]
        for tokens, order in wanted:
            command = [sys.executable, __file__, "--one", str(folder), name, str(tokens), str(order)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            yield "| " + " | ".join(json.loads(done.stdout)) + " |"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/ngram.md")
    parser.add_argument("--largest", type=float, default=1e8, help="tokens of the largest size")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        folder, name, tokens, order = args.one
        print(json.dumps(measure(Path(folder), name, int(tokens), int(order))))
        return
    table = [HEAD, "|---|" + "--:|" * 8]
    with tempfile.TemporaryDirectory() as folder:
        make_stores(Path(folder))
        for line in lines(Path(folder), int(args.largest)):
            print(line, flush=True)
            table.append(line)
    if args.write:
        about = (__doc__ or "").strip().partition("\n\n")
        machine = f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}, one thread."
        text = f"# {about[0]}\n\n{about[2]}\n\n{machine}\n\n" + "\n".join(table) + "\n" + NOTES
        (Path(__file__).parent / "results" / "ngram.md").write_text(text)


if __name__ == "__main__":
    main()
