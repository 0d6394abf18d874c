"""Configuration of other evaluators of a final model."""

from __future__ import annotations

from pydantic import Field

from mixwright.experiment.core.config_parts import Count, FilePath, Names, Part


class EvaluateConfig(Part):
    """What final models are evaluated with besides the targets. It sees models, never a search or a strategy."""

    lm_eval: Names = Field(
        min_length=1,
        description="Tasks of lm-evaluation-harness (the extra lm_eval), such as [arc_easy, piqa]. It downloads the "
        "data of its tasks.",
    )
    limit: Count | None = Field(default=None, description="At most this many documents of each task. Default: all.")
    task_files: FilePath | None = Field(
        default=None, description="A folder with tasks of your own, as YAML files of lm-evaluation-harness."
    )
