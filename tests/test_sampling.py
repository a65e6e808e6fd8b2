"""Text drawn token by token: what is kept of earlier tokens stands for them, under whatever name transformers has."""

import pytest
import tiny_models
import torch

from workbench import load
from workbench.transformer.sampling import cache_name

MODELS = {**tiny_models.FAMILIES, "attention only": lambda: load("attn2", "cpu")}


@pytest.mark.parametrize("family", MODELS)
def test_one_token_at_a_time_gives_the_logits_of_all_at_once(family):
    model = MODELS[family]().model
    read = torch.randint(50, (3, 9), generator=torch.Generator().manual_seed(1))
    cache, parts, name = None, [], cache_name(model)
    for position in range(read.shape[1]):
        with torch.no_grad():
            output = model(read[:, position : position + 1], use_cache=True, **{name: cache})
        cache = getattr(output, name)
        parts.append(output.logits)
    assert cache.get_seq_length() == 9
    torch.testing.assert_close(torch.cat(parts, 1), tiny_models.logits(model, read), atol=1e-4, rtol=1e-4)
