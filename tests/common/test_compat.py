"""Which private function of another library broke, if one did."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import gelu, linear

from vit_demo.common import compat
from vit_demo.common.compat import (
    GELU_AFTER,
    NOTHING_AFTER,
    dataset_stamp,
    laid_out,
    lerp_all,
    linear_then,
    onednn_fuses,
)


def test_onednn_computes_a_product_with_gelu() -> None:
    if not onednn_fuses():
        pytest.skip("this torch or processor has no such product, and the plain way is taken")
    values, weight, bias = (
        torch.randn(2, 5, 64).bfloat16(),
        torch.randn(32, 64).bfloat16(),
        torch.randn(32).bfloat16(),
    )
    expected = linear(values.float(), weight.float(), bias.float())
    for one in (weight, laid_out(weight)):
        torch.testing.assert_close(
            linear_then(values, one, bias, NOTHING_AFTER).float(), expected, rtol=0.02, atol=0.1
        )
        torch.testing.assert_close(
            linear_then(values, one, bias, GELU_AFTER).float(), gelu(expected), rtol=0.02, atol=0.1
        )


@pytest.mark.parametrize("there", [True, False])
def test_weights_are_moved_together_or_one_by_one(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not there:
        monkeypatch.delattr(torch, "_foreach_lerp_")
    tensors, ends = [torch.zeros(3), torch.full((2, 2), 4.0)], [torch.ones(3), torch.zeros(2, 2)]
    lerp_all(tensors, ends, 0.25)
    assert tensors[0].tolist() == [0.25] * 3 and tensors[1].tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_the_stamp_of_a_data_set_changes_with_its_rows_alone() -> None:
    data = Dataset.from_dict({"number": [1, 2, 3]})
    assert dataset_stamp(data) == dataset_stamp(data) != dataset_stamp(data.select([0, 1]))
    assert compat.dataset_stamp(object()) != compat.dataset_stamp(object)
