"""Preference optimisation over sources: pairs, their losses, a trainer, specialists and merges."""

from mixwright.lazy import lazy

_LATER = {
    "PairLoss": "losses",
    "PairRows": "pairs.rows",
    "PreferenceTrainer": "trainer",
    "TokenPairs": "pairs.rows",
    "encode_pairs": "pairs.encode",
    "leaked_prompts": "pairs.splits",
    "load_pair_tokenizer": "pairs.tokenizers",
    "merge": "merges",
    "merge_adapter": "saving",
    "read_pairs": "pairs.pairs",
    "reference_log_probabilities": "losses",
    "score_pairs": "losses",
    "split_pairs": "pairs.splits",
}

__all__ = [*_LATER]

__getattr__ = lazy(__name__, _LATER, {"torch": "preference", "accelerate": "preference"})
