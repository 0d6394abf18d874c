"""Search: evidence to weights, once."""

from mixwright.lazy import lazy

SEARCHES = {
    "MixMin": "mixmin",
    "SquaredError": "squared_error",
    "WorstRegret": "worst_regret",
}

__getattr__ = lazy(
    __name__,
    {
        **SEARCHES,
        "LikelihoodTable": "table.table",
        "pareto": "pareto",
        "Search": "result",
        "SearchResult": "result",
    },
)
