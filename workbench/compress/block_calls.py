"""A model's blocks called one by one, with what the model itself calls them with."""

from contextlib import suppress
from inspect import signature

from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.transformer.matrices import blocks_of


class Reached(Exception):
    """Ends a run where what was wanted of it is known."""


def first_call(model: nn.Module, tokens: Int[Tensor, "b t"]) -> tuple[Float[Tensor, "b t d"], dict]:
    """The stream before the first block, and what else that block is called with."""
    caught = []

    def hook(module: nn.Module, inputs: tuple, arguments: dict) -> None:
        stream = inputs[0] if inputs else arguments["hidden_states"]
        others = {name: value for name, value in arguments.items() if name != "hidden_states"}
        caught.append((stream, others | dict(zip(_names(module)[1:], inputs[1:], strict=False))))
        raise Reached

    handle = blocks_of(model)[0].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with suppress(Reached):
            model(tokens, use_cache=False)
    finally:
        handle.remove()
    return caught[0]


def behind(block: nn.Module, stream: Float[Tensor, "b t d"], arguments: dict) -> Float[Tensor, "b t d"]:
    """The stream behind a block; some versions of transformers give it in a tuple."""
    out = block(stream, **arguments)
    return out[0] if isinstance(out, tuple) else out


def _names(block: nn.Module) -> list[str]:
    return list(signature(block.forward).parameters)
