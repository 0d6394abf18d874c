"""
How much of each assay to train on, to be good at one of them; then a model of your own with the weights of the rows.

    python examples/assays.py                                     # made-up molecules, seconds
    python examples/assays.py tox21.csv --target SR-p53 --trees 100 --seeds 3

A table (.csv or .parquet) has a column `smiles` and a column of 0, 1 or nothing for each assay. Other tables, such as
columns of numbers in place of SMILES: docs/assays.md. Needs: pip install 'mixwright[tabular,chem]'
"""

import argparse

from sklearn.linear_model import LogisticRegression

import tiny_data
from mixwright.assays import AssaySearch, Booster, compare_arms, read_assays, split_target
from mixwright.assays.judge import average_precision

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("table", nargs="?", metavar="FILE")
parser.add_argument("--target", default="target", metavar="NAME")
parser.add_argument("--trees", type=int, default=5)
parser.add_argument("--seeds", type=int, default=1)
given = parser.parse_args()
table = read_assays(given.table or tiny_data.molecules(), invalid_smiles="skip")

# 1. Is it worth it? The same model with each mixture, on held-out molecules.
search = AssaySearch(given.target, classifier=Booster(trees=given.trees))
found = compare_arms(search, table, seeds=range(given.seeds))
for arm, value in sorted(found.average_precision.items(), key=lambda item: -item[1]):
    print(f"{arm:20} {value:.3f}")
print(found.verdict)
print(found.difference("search", "target_alone").verdict("target_alone"))

# 2. The weights. The target's own training rows are a source too.
split = split_target(table, given.target, "random", held_out=0.25, seed=0)
search = AssaySearch(given.target, classifier=Booster(trees=given.trees)).fit(table, split=split)
for source, weight in sorted(zip(search.sources_, search.weights_, strict=True), key=lambda item: -item[1])[:5]:
    print(f"{source:20} {weight:.3f}")
print(search.result_.verdict)

# 3. A model of your own, with the weights of the rows.
own = LogisticRegression(C=0.1, max_iter=1000)
own.fit(table.features[search.row_], search.label_, sample_weight=search.sample_weight_)
held_out = table.labels[split.test, table.column(given.target)]
scores = {"the search's booster": search, "your own model": own}
for name, model in scores.items():
    scores[name] = average_precision(held_out, model.predict_proba(table.features[split.test])[:, 1])
    print(f"{name:20} {scores[name]:.3f}")
