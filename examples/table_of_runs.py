"""
From small trainings on different mixtures to a mixture for a large one: a table, a law, its proposal.

    python examples/table_of_runs.py                              # 24 models that count pairs of bytes, seconds
    python examples/table_of_runs.py runs.csv --target qa --law auto

A table has a row for each run, with the columns w:SOURCE and loss:TARGET. The law `log_linear` is convex, so that its
optimum has a certificate; `auto` tries four laws, which takes a minute. Which mixtures to train, exports of trackers,
and how far to believe a law: docs/runs.md. Needs: pip install 'mixwright[runs]'
"""

import argparse
from pathlib import Path

import tiny_data
from mixwright import RunSearch, RunTable

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("table", nargs="?", metavar="FILE")
parser.add_argument("--target", default="target", metavar="NAME")
parser.add_argument("--law", default="log_linear")
parser.add_argument("--out", default="runs/table/mixture.json", metavar="FILE")
given = parser.parse_args()

table = RunTable.from_file(given.table or tiny_data.runs())
result = RunSearch(law=given.law, shrinkage="cv").fit(table, target=given.target, seed=0)
best, ends = result.incumbent, result.interval()
for i, source in enumerate(result.sources):
    low, high = ends[i]
    print(f"{source:12} {result.weights[i]:.3f} ({low:.3f} to {high:.3f}); in the best run {best.weights[i]:.3f}")
print(f"{result.law} predicts {result.predicted:.4f}, probably {result.optimism:.4f} too low")
print(f"the best run, {best.run}, measured {best.loss:.4f}")
print(result.verdict)
Path(given.out).parent.mkdir(parents=True, exist_ok=True)
result.save(given.out)
if given.table is None:  # here a training takes milliseconds
    print(f"trained, the proposal measured {tiny_data.train(result.weights):.4f}")
