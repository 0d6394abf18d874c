"""
How much of each assay to train on, from Python; then a model of your own with the row weights.

    python examples/assays_in_python.py ../shared/data/chem/tox21.parquet SR-p53

Needs: pip install 'mixwright[tabular,chem]'
"""

import sys

from sklearn.linear_model import LogisticRegression

from mixwright.assays import AssaySearch, Booster, compare_arms, read_assays, split_target
from mixwright.assays.judge import average_precision


def main(path, target, trees=100, seeds=(0, 1, 2)):
    table = read_assays(path, invalid_smiles="skip")
    search = AssaySearch(target, classifier=Booster(trees=trees))

    # 1. Is it worth it? The same model with each mixture, on held-out molecules.
    found = compare_arms(search, table, seeds=seeds)
    for arm, value in sorted(found.average_precision.items(), key=lambda item: -item[1]):
        print(f"{arm:20} {value:.3f}")
    print(found.verdict)
    print(found.difference("search", "target_alone").verdict("target_alone"))

    # 2. The weights. The target's own training rows are a source too.
    split = split_target(table, target, "random", held_out=0.25, seed=0)
    search = AssaySearch(target, classifier=Booster(trees=trees)).fit(table, split=split)
    for source, weight in sorted(zip(search.sources_, search.weights_, strict=True), key=lambda item: -item[1])[:5]:
        print(f"{source:20} {weight:.3f}")
    print(search.result_.verdict)

    # 3. A model of your own, with the weights of the rows.
    own = LogisticRegression(C=0.1, max_iter=1000)
    own.fit(table.features[search.row_], search.label_, sample_weight=search.sample_weight_)
    held_out = table.labels[split.test, table.column(target)]
    for name, model in (("the search's booster", search), ("your own model", own)):
        score = model.predict_proba(table.features[split.test])[:, 1]
        print(f"{name:20} {average_precision(held_out, score):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
