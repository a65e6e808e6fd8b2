"""Transformers: loaded, run, viewed part by part, trained."""

import logging

# Where torchao is installed, transformers imports it, and on a machine without a GPU it then tells of each of its CUDA
# libraries that it cannot load them, and torch of its enums.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
