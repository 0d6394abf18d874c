"""What a format is: a tool's way to say how much of each source, and what it can and cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mixwright.formats import (
    croissant,
    dataset_card,
    hub_datasets,
    json_weights,
    litdata,
    llama_factory,
    megatron,
    olmo_core,
    streaming,
    trl,
)
from mixwright.formats._job import Job


@dataclass(frozen=True)
class Format:
    """
    One tool's format.

    Parameters
    ----------
    name
        What `--to` calls it.
    tool
        What messages call it.
    forms
        Writers by form; the first is the default. A form is chosen by the suffix of the output file, or by name.
    shares
        What the tool's shares are of: "rows", "tokens", or "any" where the file does not say.
    zeros
        None if it keeps sources of weight 0, otherwise why they are left out.
    epochs
        None if it can hold a source to a number of epochs, otherwise why not; asked for each number.
    keys
        What a place may say beside "path" and "max_epochs"; None if the format holds no paths.
    """

    name: str
    tool: str
    forms: Mapping[str, Callable[[Job], str]]
    shares: str
    zeros: str | None = None
    epochs: Callable[[float], str | None] = field(default=lambda epochs: "has no limit of epochs")
    keys: tuple[str, ...] | None = ()


def _never_repeats(epochs: float) -> str | None:
    return None if epochs >= 1 else "repeats no source, but cannot use less than all of one"


def _whole_epochs(epochs: float) -> str | None:
    return None if epochs == int(epochs) else "takes whole epochs only"


def _any_epochs(epochs: float) -> str | None:
    return None


_HUB: tuple[str, ...] = ("name", "data_dir", "data_files", "split")

FORMATS: dict[str, Format] = {
    made.name: made
    for made in (
        Format(
            "megatron",
            "Megatron-LM",
            {"args": megatron.write_args, "json": megatron.write_json},
            "tokens",
            "it takes only weights above 0",
        ),
        Format(
            "megatron-bridge",
            "Megatron-Bridge",
            {"yaml": megatron.write_bridge},
            "tokens",
            "it takes only weights above 0",
        ),
        Format(
            "automodel",
            "NeMo Automodel",
            {"yaml": megatron.write_automodel},
            "tokens",
            "it takes only weights above 0",
        ),
        Format(
            "datasets",
            "datasets",
            {"py": hub_datasets.write_script, "yaml": hub_datasets.write_yaml, "card": dataset_card.write},
            "rows",
            "interleave_datasets would wait for a source that it never draws",
            _whole_epochs,
            (*_HUB, "revision", "load_from_disk", "sample_by"),
        ),
        Format("trl", "TRL", {"yaml": trl.write}, "rows", None, _never_repeats, (*_HUB, "columns")),
        Format(
            "llama-factory",
            "LLaMA-Factory",
            {"yaml": llama_factory.write},
            "rows",
            "it would load a data set that it never draws",
            keys=None,
        ),
        Format(
            "streaming",
            "mosaicml-streaming",
            {"yaml": streaming.write_yaml, "py": streaming.write_script},
            "rows",
            "its rounding may give a stream of proportion 0 a sample",
            keys=("local", "remote", "split"),
        ),
        Format("litdata", "litdata", {"py": litdata.write}, "rows", None, _never_repeats),
        Format(
            "olmo-core",
            "OLMo-core",
            {"yaml": olmo_core.write},
            "tokens",
            "its rounding may give a source of ratio 0 some tokens",
            _any_epochs,
        ),
        Format("croissant", "Croissant", {"json": croissant.write}, "any", keys=("sha256",)),
        Format("json", "JSON", {"json": json_weights.write}, "any", keys=None),
    )
}
"""Every format by its name, in the order of the documentation."""
