"""Fused norms and MLPs of the language model's layers, by Liger's kernels or by `torch.compile`.

Only what is elementwise between two matrix products is replaced: the layers' RMSNorms and SwiGLUs. Attention is this
project's own, and so is the head (:mod:`reasoner_rm.models.token_logprobs`). Liger's rotary embedding is left out: it
replaces a function of transformers, for models that exist already as well. Liger also replaces the classes of these
norms and MLPs, so that models of the same family that are built later in this process have them, too.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from reasoner_rm.config import FusedLayers
from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def fuse_layers(model: PreTrainedModel, by: FusedLayers) -> None:
    """Replace norms and MLPs of a model in place. Its parameters and their names stay.

    Raises:
        InputError: Liger's kernels are asked for, and are not installed or have no GPU.
    """
    if by == "compile":
        for layer in model.model.language_model.layers:
            for name in ("input_layernorm", "post_attention_layernorm", "mlp"):
                getattr(layer, name).compile(dynamic=True)
        return
    if find_spec("liger_kernel") is None:
        raise InputError("model.fused_layers is liger, which is not installed", remedy="pip install liger-kernel")
    if model.device.type != "cuda":
        raise InputError("model.fused_layers: liger needs a GPU", remedy="leave it out on this machine")
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(
        model, rope=False, rms_norm=True, swiglu=True, cross_entropy=False, fused_linear_cross_entropy=False
    )
