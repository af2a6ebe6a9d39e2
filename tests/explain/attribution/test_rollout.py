"""Attention rollout against plain loops over the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vit_demo.common.errors import UserError
from vit_demo.explain.attribution.rollout import attention_rollout


def random_attentions(layers: int, batch: int, heads: int, tokens: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, heads, tokens, tokens)
    return [(3 * torch.randn(shape, generator=generator)).softmax(-1) for _ in range(layers)]


def slow_rollout(layers: list[np.ndarray], residual: float) -> np.ndarray:
    """One photo; layers: (heads, T, T) each. Every sum of the formula is a loop of its own."""
    tokens = layers[0].shape[-1]
    rollout = None
    for layer in layers:
        step = np.zeros((tokens, tokens))
        for i in range(tokens):
            for j in range(tokens):
                mean = sum(float(head[i, j]) for head in layer) / len(layer)
                step[i, j] = (1 - residual) * mean + (residual if i == j else 0.0)
            step[i] /= sum(step[i])
        if rollout is None:
            rollout = step
            continue
        product = np.zeros((tokens, tokens))
        for i in range(tokens):
            for j in range(tokens):
                product[i, j] = sum(step[i, k] * rollout[k, j] for k in range(tokens))
        rollout = product
    return rollout


@pytest.mark.parametrize("residual", [0.0, 0.5, 0.9])
def test_equals_the_paper_s_formula(residual):
    attentions = random_attentions(layers=4, batch=3, heads=2, tokens=6)
    rollout = attention_rollout(attentions, residual)
    assert rollout.shape == (3, 6, 6)
    for photo in range(3):
        expected = slow_rollout([layer[photo].numpy() for layer in attentions], residual)
        np.testing.assert_allclose(rollout[photo].numpy(), expected, rtol=0, atol=1e-6)


def test_half_is_the_default_share_of_the_skip_connection():
    attentions = random_attentions(layers=2, batch=1, heads=2, tokens=4)
    assert torch.equal(attention_rollout(attentions), attention_rollout(attentions, 0.5))


def test_rows_sum_to_one():
    rollout = attention_rollout(random_attentions(layers=12, batch=2, heads=3, tokens=50))
    torch.testing.assert_close(rollout.sum(dim=-1), torch.ones(2, 50))


def test_rows_are_normalised_one_by_one():
    """A row that does not sum to 1, as after a cut of weak heads, must not scale the others."""
    attention = torch.tensor([[[[0.2, 0.2], [1.0, 0.0]]]])
    expected = torch.tensor([[[6 / 7, 1 / 7], [0.5, 0.5]]])
    torch.testing.assert_close(attention_rollout([attention]), expected)


def test_the_last_layer_multiplies_from_the_left():
    """Token 0 reads token 1 late, and token 1 reads token 2 early: so token 0 reads token 2."""
    early = torch.tensor([[[[1.0, 0, 0], [0, 0, 1], [0, 0, 1]]]])
    late = torch.tensor([[[[0, 1.0, 0], [0, 1, 0], [0, 0, 1]]]])
    assert attention_rollout([early, late], residual=0.0)[0, 0].tolist() == [0.0, 0.0, 1.0]
    assert attention_rollout([late, early], residual=0.0)[0, 0].tolist() == [0.0, 1.0, 0.0]


def test_one_layer_is_its_own_rollout():
    (attention,) = random_attentions(layers=1, batch=1, heads=1, tokens=5)
    torch.testing.assert_close(attention_rollout([attention], 0.0), attention[:, 0])


def test_nothing_but_skip_connections_is_the_identity():
    rollout = attention_rollout(random_attentions(3, 2, 2, 5), residual=1.0)
    assert torch.equal(rollout, torch.eye(5).expand(2, 5, 5))


def test_layers_may_come_as_one_tensor_or_as_a_generator():
    attentions = random_attentions(layers=3, batch=2, heads=2, tokens=5)
    expected = attention_rollout(attentions)
    assert torch.equal(attention_rollout(torch.stack(attentions)), expected)
    assert torch.equal(attention_rollout(layer for layer in attentions), expected)


def test_half_precision_is_computed_in_float32():
    attentions = random_attentions(layers=12, batch=1, heads=3, tokens=20)
    rollout = attention_rollout([layer.half() for layer in attentions])
    assert rollout.dtype == torch.float32
    torch.testing.assert_close(rollout, attention_rollout(attentions), rtol=0, atol=1e-3)


def test_autocast_does_not_lower_the_precision():
    attentions = random_attentions(layers=3, batch=1, heads=2, tokens=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rollout = attention_rollout(attentions)
    assert torch.equal(rollout, attention_rollout(attentions))


@pytest.mark.parametrize("residual", [-0.1, 1.1, float("nan")])
def test_a_share_outside_of_0_to_1_is_a_user_error(residual):
    with pytest.raises(UserError, match="choose a number from 0 to 1"):
        attention_rollout(random_attentions(1, 1, 1, 3), residual)


def test_no_layers_is_an_error():
    with pytest.raises(ValueError, match="at least one layer"):
        attention_rollout([])
