"""Tables of runs: fit a law to measured mixtures, and propose one."""

from mixwright.lazy import lazy

__getattr__ = lazy(
    __name__,
    {
        "LAWS": "laws",
        "RunDesign": "design.design",
        "RunPlan": "design.plan",
        "RunSearch": "search",
        "RunSearchResult": "result",
        "RunTable": "table",
        "autoscale": "transfer",
        "influence": "dependence",
        "read_comparisons": "comparisons",
        "sensitivity": "dependence",
        "transfers": "transfer",
    },
)
