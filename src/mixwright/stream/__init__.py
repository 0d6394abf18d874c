"""The stream: weights to rows."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mixwright.errors import missing_extra
from mixwright.stream.plan.ledger import Ledger
from mixwright.stream.plan.plan import Plan, PlannedStep

_LATER = {
    "AnyRows": "sources.source",
    "ArrowRows": "sources.tables",
    "Batch": "batches",
    "Interleaved": "adapters",
    "JsonLines": "sources.tables",
    "MegatronRows": "sources.megatron",
    "MixtureLoader": "loader",
    "PaddedDocuments": "sources.tokens",
    "ParquetRows": "sources.tables",
    "PlanSampler": "slices",
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


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the plan needs numpy alone, the loader torch, the Trainer transformers."""
    if name in _LATER:
        try:
            value = getattr(import_module(f"mixwright.stream.{_LATER[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise missing_extra("torch", "lm") from None
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mixwright.stream' has no attribute {name!r}")
