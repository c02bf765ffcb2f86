# SPDX-License-Identifier: Apache-2.0
"""Values in float64 together with what float32 arithmetic may make of them.

The functions compute with PyTorch in float64 and carry along an error for each value (u = 2^-24): a sum of K random products
is off by u (sqrt(K) + 4) times the sum of their absolute values, errors of different inputs add up like their root, and
every function rounds its result.
"""
import math

import torch
from torch.nn import functional

U = 2.0**-24
SMALLEST = 2.0**-125 # probabilities below half of it are 0


class Rounded:
    """A value and its error, both float64 tensors of one shape."""

    def __init__(self, value, error=None):
        self.value = value
        self.error = torch.zeros_like(value) if error is None else error

    def map(self, function):
        """The same rearrangement of both."""
        return Rounded(function(self.value), function(self.error))


def sum_unit(terms):
    """What may go wrong in a sum of random products whose absolute values add up to 1."""
    return U * (math.sqrt(terms) + 4)


def root(function, *squares):
    return function(*squares).clamp(min=0).sqrt()


def linear(x, weight, bias=None, function=functional.linear):
    """function(x, weight, bias): a linear layer, or a convolution with everything but these bound."""
    absolute = function(x.value.abs(), weight.abs(), None if bias is None else bias.abs())
    inherited = root(function, x.error**2, weight**2, None)
    return Rounded(function(x.value, weight, bias), sum_unit(weight[0].numel()) * absolute + inherited)


def matmul(a, b):
    size = a.value.abs() @ b.value.abs()
    inherited = root(torch.add, a.error**2 @ b.value**2, a.value**2 @ b.error**2)
    return Rounded(a.value @ b.value, sum_unit(a.value.shape[-1]) * size + inherited)


def batch_norm(x, norm):
    shape = (1, -1) + (1,) * (x.value.dim() - 2)
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).reshape(shape)
    shift = (norm.bias - norm.running_mean * scale.flatten()).reshape(shape)
    y = norm(x.value)
    rounding = U * ((scale * x.value).abs() + shift.abs() + y.abs())
    return Rounded(y, scale.abs() * x.error + rounding)


def add(a, b):
    y = a.value + b.value
    return Rounded(y, a.error + b.error + U * y.abs())


def multiply(a, b):
    y = a.value * b.value
    return Rounded(y, a.error * b.value.abs() + (a.value.abs() + a.error) * b.error + U * y.abs())


def relu(x):
    return Rounded(functional.relu(x.value), x.error)


def silu(x):
    y = functional.silu(x.value)
    return Rounded(y, 1.1 * x.error + 4 * U * (y.abs() + x.value.abs()))


def sigmoid(x):
    return Rounded(torch.sigmoid(x.value), x.error / 4 + 2 * U)


def hard_sigmoid(x, alpha):
    return Rounded((alpha * x.value + 0.5).clamp(0, 1), alpha * x.error + 2 * U)


def mean(x, axes):
    """Over `axes`, which stay with size 1. A rounding that all share does not cancel, so that errors are averaged."""
    terms = math.prod(x.value.shape[axis] for axis in axes)
    size = x.value.abs().mean(axes, keepdim=True)
    return Rounded(x.value.mean(axes, keepdim=True), sum_unit(terms) * size + x.error.mean(axes, keepdim=True))


def largest(x, axes):
    return Rounded(x.value.amax(axes, keepdim=True), x.error.amax(axes, keepdim=True))


def softmax(x, axis):
    """Moving logits by at most e changes weights by a factor of at most exp(2 e)."""
    weights = torch.softmax(x.value, axis)
    shown = x.value.masked_fill(weights == 0, 0)
    shift = (x.error.masked_fill(weights == 0, 0) + 4 * U * shown.abs()).amax(axis, keepdim=True)
    factor = torch.expm1(2 * shift) + U * (math.sqrt(x.value.shape[axis]) + 8)
    return Rounded(weights, (weights * factor).clamp(max=1) + SMALLEST * (weights > 0))


def weighted_mean(weights, values):
    """weights [..., rows, keys] of a softmax and values [..., keys, width]."""
    inherited = weights.error @ values.value.abs() + weights.value @ values.error
    limit = 2 * (values.value.abs() + values.error).amax(-2, keepdim=True)
    return Rounded(weights.value @ values.value, torch.minimum(inherited, limit))
