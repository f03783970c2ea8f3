"""The Triton kernels, run by Triton's interpreter, against torch's operators."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import torch
from reasoner_rm.models import logit_kernels, logit_triton

logit_triton.BLOCK = 64
torch.manual_seed(0)
logits = 8 * torch.randn(7, 203)
logits[:, 190:] = -torch.inf
logits[1, 30] = 60.0
logits[2, :128] = -torch.inf  # two blocks without anything
ids = torch.tensor([0, 30, 150, 65, 189, 3, 70])
chosen, norms, entropy, best = logit_triton.row_statistics(logits, ids)
want = logit_kernels.row_statistics(logits, ids, entropy=True, argmax=True)
for found, wanted in ((chosen - norms, want.logprobs), (norms, want.norms), (entropy, want.entropy)):
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=2e-5)
assert best.tolist() == want.is_argmax.tolist() and best.sum() >= 1
grad = torch.randn(7)
for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
    found = logit_triton.logit_gradient(logits, ids, norms, grad, dtype)
    wanted = logit_kernels.logit_gradient(logits.clone(), ids, want.norms, grad, dtype)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), wanted.float(), rtol=tolerance, atol=tolerance)
print("equal")
"""


def test_the_kernels_are_torchs_operators() -> None:
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "equal", done.stderr
