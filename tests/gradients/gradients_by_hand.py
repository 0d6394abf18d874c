"""Gradients row by row, one backward pass each, and estimates from them by counting pairs of rows."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY = 23


class Small(nn.Module):
    """Embeddings (positions as [t], the same for all rows), both norms, linear layers, a head (tied or not)."""

    def __init__(self, tied=True, width=6, padding=None, bias=False):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width, padding_idx=padding)
        self.positions = nn.Embedding(16, width)
        self.first, self.second = nn.LayerNorm(width), nn.RMSNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width, bias=False)
        self.head = nn.Linear(width, VOCABULARY, bias=bias)
        if tied:
            self.head.weight = self.tokens.weight
        self.double()

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        x = x + self.down(torch.tanh(self.up(self.first(x))).cumsum(1))
        return self.head(self.second(x))


def small(seed=0, **settings):
    torch.manual_seed(seed)
    return Small(**settings)


def batch(b=8, t=5, seed=1):
    return torch.randint(0, VOCABULARY, (b, t), generator=torch.Generator().manual_seed(seed))


def row_losses(model, ids):
    """Return [b] the mean loss of each row's tokens."""
    logits = model(ids)
    logits = getattr(logits, "logits", logits)[:, :-1]
    return F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").mean(1)


def row_gradients(model, losses):
    """Return float64 [b, all parameters]: one backward pass per row."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = []
    for loss in losses:
        grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(grads, parameters, strict=True)
        found.append(torch.cat([(torch.zeros_like(p) if g is None else g).double().flatten() for g, p in pairs]))
    return torch.stack(found).numpy()


def by_pairs(batches, k, level="example"):
    """
    Return (gram, variance) from [(gradients [b, n], source [b]), ...]: means over the pairs of rows of a micro-batch.

    Level "source" takes pairs of rows from the two halves of a source alone.
    """
    above, below, squares, counts = np.zeros((k, k)), np.zeros((k, k)), np.zeros(k), np.zeros(k)
    for gradients, source in batches:
        half = {}
        for s in range(k):
            rows = np.flatnonzero(np.asarray(source) == s)
            half.update({row: 2 * place >= len(rows) for place, row in enumerate(rows)})
            if len(rows) % 2:
                half[rows[len(rows) // 2]] = False
        for a, one in enumerate(source):
            squares[one] += gradients[a] @ gradients[a]
            counts[one] += 1
            for b, other in enumerate(source):
                if one != other or (a != b if level == "example" else half[a] != half[b]):
                    above[one, other] += gradients[a] @ gradients[b]
                    below[one, other] += 1
    gram = np.where(below > 0, above / np.maximum(below, 1), np.nan)
    variance = np.where(counts > 0, squares / np.maximum(counts, 1), np.nan) - np.diag(gram)
    return gram, variance


def assert_near(found, gradients, source, k, relative, level="example"):
    """Assert that an observation is that of one micro-batch with these gradients."""
    gram, variance = by_pairs([(gradients, source)], k, level)
    assert_same(found, gram, variance, relative, level)


def assert_same(found, gram, variance, relative, level="example"):
    np.testing.assert_allclose(found.gram, gram, rtol=relative, atol=relative * np.nanmax(np.abs(gram)))
    scale = np.nanmax(np.abs(np.diag(gram)))
    np.testing.assert_allclose(found.grad_sq_norm, np.diag(gram), rtol=relative, atol=relative * scale)
    if level == "source":
        assert found.grad_variance is None
    else:
        np.testing.assert_allclose(found.grad_variance, variance, rtol=relative, atol=0)


def family(kind, tied=True, layers=2):
    """Return a tiny model of a class of transformers."""
    import transformers

    sizes = {"vocab_size": VOCABULARY, "tie_word_embeddings": tied, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "GPT2":
        sizes |= {"n_embd": 8, "n_layer": layers, "n_head": 2, "n_positions": 16}
        sizes |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    elif kind == "CTRL":  # its head has a bias, and the weight of the embedding
        sizes |= {"n_embd": 8, "n_layer": layers, "n_head": 2, "n_positions": 16, "dff": 12}
        sizes |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0}
    elif kind == "XLM":  # so has this one
        sizes |= {"emb_dim": 8, "n_layers": layers, "n_heads": 2, "max_position_embeddings": 16, "causal": True}
        sizes |= {"dropout": 0.0, "attention_dropout": 0.0, "eos_index": 1, "pad_index": 2}
    else:
        sizes |= {"hidden_size": 8, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 12}
        sizes |= {"max_position_embeddings": 16}
        sizes |= {} if kind == "GPTNeoX" else {"num_key_value_heads": 1, "head_dim": 4}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**sizes)
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
