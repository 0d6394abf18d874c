"""The stream: weights to rows."""

from __future__ import annotations

from mixwright.lazy import lazy
from mixwright.stream.plan.ledger import Ledger
from mixwright.stream.plan.plan import Plan, PlannedStep

_LATER = {
    "AnyRows": "sources.source",
    "ArrowRows": "sources.tables",
    "Batch": "batches",
    "Interleaved": "adapters",
    "JsonLines": "sources.lines",
    "MegatronRows": "sources.megatron",
    "MixtureLoader": "loader",
    "PaddedDocuments": "sources.tokens",
    "ParquetRows": "sources.tables",
    "PlanSampler": "slices",
    "PlanSource": "numbered",
    "Source": "sources.source",
    "SourceRows": "batches",
    "Sources": "gather",
    "StreamDataset": "adapters",
    "TokenRows": "sources.tokens",
    "as_datasets_iterable": "adapters",
    "megatron_documents": "sources.megatron",
    "open_source": "sources.opening",
    "use_stream": "trainer",
}

__all__ = ["Ledger", "Plan", "PlannedStep", *_LATER]


# The plan needs numpy alone, the loader torch, the Trainer transformers.
__getattr__ = lazy(__name__, _LATER, {"torch": "lm"})
