# SPDX-License-Identifier: Apache-2.0
"""The nine layers as PyTorch modules, written from their definitions, with the tolerance of each result.

A module's state_dict is the checkpoint, `settings` what --set takes. module(x, ...) returns (y, map or None) as
rounding.Rounded; the parameters have to be float64 by then. `swapped` modules are those of batch_first=false: the module
itself takes [B, C, ...] as the others do.
"""
import functools
import math

import torch
from torch import nn
from torch.nn import functional

from lib import rounding
from lib.rounding import Rounded


def settings_of(**values):
    """--set for those that are not None."""
    words = {True: "true", False: "false"}
    return {name: words.get(value, str(value)) if isinstance(value, bool) else str(value)
            for name, value in values.items() if value is not None}


class Layer(nn.Module):
    swapped = False

    def input_size(self, batch, *axes):
        return (batch, self.channels) + axes

    def layout(self, x):
        return x.transpose(0, 1).contiguous() if self.swapped else x


def conv(x, layer):
    """A convolution of whatever rank, its stride, padding and groups included."""
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[layer.weight.dim() - 3]
    bound = functools.partial(function, stride=layer.stride, padding=layer.padding, groups=layer.groups)
    return rounding.linear(x, layer.weight, layer.bias, bound)


def random_norm(norm):
    """Statistics of a trained layer; some variances are small enough for eps to matter."""
    with torch.no_grad():
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.01, 1.5)
        norm.weight.uniform_(0.3, 1.2)
        norm.bias.normal_(0, 0.3)
    return norm


# ---------------------------------------------------------------- gates

class ChannelGate(Layer):
    """What se and cbam-channel share: pooled channels, two layers, a gate."""

    def __init__(self, channels, hidden, bias=True, activation=None, gate=None, alpha=None, swapped=False):
        super().__init__()
        self.channels, self.swapped = channels, swapped
        self.activation, self.gate, self.alpha = activation, gate, alpha
        setattr(self, self.mlp_name, nn.Sequential(self.linear(channels, hidden, bias=bias), nn.ReLU(),
                                                   self.linear(hidden, channels, bias=bias)))
        self.settings = settings_of(activation=activation, gate=gate, alpha=alpha,
                                    batch_first=False if swapped else None)

    def mlp(self, pooled):
        """fc2(act(fc1 pooled)) of [B, C]."""
        first, _, second = getattr(self, self.mlp_name)
        hidden = rounding.linear(pooled, first.weight.flatten(1), first.bias)
        active = rounding.silu(hidden) if self.activation == "silu" else rounding.relu(hidden)
        return rounding.linear(active, second.weight.flatten(1), second.bias)

    def logits(self, x):
        return self.mlp(rounding.mean(x, [2]).map(lambda t: t.flatten(1)))

    def factors(self, z):
        if self.gate != "hard-sigmoid":
            return rounding.sigmoid(z)
        return rounding.hard_sigmoid(z, 1 / 6 if self.alpha is None else self.alpha)

    def forward(self, x):
        flat = x.flatten(2)
        factors = self.factors(self.logits(Rounded(flat))).map(lambda t: t[..., None])
        return rounding.multiply(Rounded(flat), factors).map(lambda t: t.reshape(x.shape)), None


class SE(ChannelGate):
    kind, mlp_name, linear = "se", "fc", nn.Linear


class CBAMChannel(ChannelGate):
    kind, mlp_name = "cbam-channel", "sharedMLP"
    linear = staticmethod(functools.partial(nn.Conv2d, kernel_size=1))

    def logits(self, x):
        return rounding.add(super().logits(x), self.mlp(rounding.largest(x, [2]).map(lambda t: t.flatten(1))))


class CBAMSpatial(Layer):
    kind = "cbam-spatial"

    def __init__(self, channels, kernel, bias=False, swapped=False):
        super().__init__()
        self.channels, self.swapped = channels, swapped
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=bias)
        self.settings = settings_of(batch_first=False if swapped else None)

    def gated(self, x):
        mean, largest = rounding.mean(x, [1]), rounding.largest(x, [1])
        planes = Rounded(torch.cat([mean.value, largest.value], 1), torch.cat([mean.error, largest.error], 1))
        return rounding.multiply(x, rounding.sigmoid(conv(planes, self.conv)))

    def forward(self, x):
        return self.gated(Rounded(x)), None


# ---------------------------------------------------------------- blocks around convolutions

class CBAMRes(Layer):
    kind = "cbam-res"

    def __init__(self, channels, out, hidden, kernel=3, gate_kernel=7, stride=None, bias=True, eps=None, swapped=False):
        super().__init__()
        self.channels, self.swapped, self.stride = channels, swapped, 2 if stride is None else stride
        self.conv1 = nn.Conv2d(channels, out, kernel, self.stride, kernel // 2, bias=bias)
        self.bn1 = random_norm(nn.BatchNorm2d(out, eps=1e-5 if eps is None else eps))
        self.ca = CBAMChannel(out, hidden, bias)
        self.sa = CBAMSpatial(out, gate_kernel, bias)
        self.conv_res = nn.Conv2d(channels, out, 1, bias=bias)
        self.settings = settings_of(stride=stride, eps=eps, batch_first=False if swapped else None)

    def forward(self, x):
        t = rounding.relu(rounding.batch_norm(conv(Rounded(x), self.conv1), self.bn1))
        factors = self.ca.factors(self.ca.logits(t.map(lambda v: v.flatten(2)))).map(lambda v: v[..., None, None])
        t = self.sa.gated(rounding.multiply(t, factors))
        pooled = functional.max_pool2d(x, 3, self.stride, 1)
        return rounding.relu(rounding.add(t, conv(Rounded(pooled), self.conv_res))), None


class SK(Layer):
    kind = "sk"

    def __init__(self, channels, branches, groups, width, stride=None, bias=True, norm=True, eps=None, swapped=False):
        super().__init__()
        self.channels, self.swapped = channels, swapped
        step = 1 if stride is None else stride
        self.convs = nn.ModuleList()
        for i in range(branches):
            parts = [nn.Conv2d(channels, channels, 3 + 2 * i, step, 1 + i, groups=groups, bias=bias)]
            if norm:
                parts.append(random_norm(nn.BatchNorm2d(channels, eps=1e-5 if eps is None else eps)))
            self.convs.append(nn.Sequential(*parts))
        self.fc = nn.Linear(channels, width, bias=bias)
        self.fcs = nn.ModuleList(nn.Linear(width, channels, bias=bias) for _ in range(branches))
        self.settings = settings_of(stride=stride, eps=eps, batch_first=False if swapped else None)

    def branch(self, parts, x):
        u = conv(x, parts[0])
        return rounding.relu(rounding.batch_norm(u, parts[1]) if len(parts) > 1 else u)

    def forward(self, x):
        branches = [self.branch(parts, Rounded(x)) for parts in self.convs]
        total = functools.reduce(rounding.add, branches)
        z = rounding.mean(total, [2, 3]).map(lambda t: t.flatten(1))
        z = rounding.linear(z, self.fc.weight, self.fc.bias)
        logits = [rounding.linear(z, fc.weight, fc.bias) for fc in self.fcs]
        chosen = rounding.softmax(Rounded(torch.stack([t.value for t in logits]),
                                          torch.stack([t.error for t in logits])), 0)
        parts = [rounding.multiply(u, chosen.map(lambda t: t[i][..., None, None])) for i, u in enumerate(branches)]
        return functools.reduce(rounding.add, parts), None


# ---------------------------------------------------------------- attention

def project(x, layer):
    """A 1x1 convolution over whatever positions there are: [B, width, N]."""
    return rounding.linear(Rounded(x.flatten(2)), layer.weight.flatten(1)[..., None], layer.bias, functional.conv1d)


def transposed(x):
    return x.map(lambda t: t.transpose(-1, -2))


def scaled(x, factor):
    return Rounded(factor * x.value, abs(factor) * x.error)


class SelfAttentionSpatial(Layer):
    kind = "self-attention-spatial"

    def __init__(self, channels, width, bias=True, gamma=0.7, scale=None):
        super().__init__()
        self.channels, self.scale = channels, scale
        self.query_conv = nn.Conv2d(channels, width, 1, bias=bias)
        self.key_conv = nn.Conv2d(channels, width, 1, bias=bias)
        self.value_conv = nn.Conv2d(channels, channels, 1, bias=bias)
        self.gamma = nn.Parameter(torch.tensor([gamma]))
        self.settings = settings_of(scale=scale)

    def forward(self, x):
        q, k, v = (project(x, layer) for layer in (self.query_conv, self.key_conv, self.value_conv))
        logits = scaled(rounding.matmul(transposed(q), k), 1 if self.scale is None else self.scale)
        weights = rounding.softmax(logits, -1)
        attended = transposed(rounding.weighted_mean(weights, transposed(v)))
        attended = attended.map(lambda t: t.reshape(x.shape))
        return rounding.add(rounding.multiply(Rounded(self.gamma), attended), Rounded(x)), weights


class SelfAttentionChannel(Layer):
    kind = "self-attention-channel"

    def __init__(self, channels, out, bias=True, gamma=0.7, scale=None):
        super().__init__()
        self.channels, self.scale = channels, scale
        for name in ("query_conv", "key_conv", "value_conv", "x_conv"):
            setattr(self, name, nn.Conv2d(channels, out, 1, bias=bias))
        self.gamma = nn.Parameter(torch.tensor([gamma]))
        self.settings = settings_of(scale=scale)

    def forward(self, x):
        q, k, v = (project(x, layer) for layer in (self.query_conv, self.key_conv, self.value_conv))
        logits = scaled(rounding.matmul(q, transposed(k)), 1 if self.scale is None else self.scale)
        weights = rounding.softmax(logits, -1)
        attended = rounding.multiply(Rounded(self.gamma), rounding.weighted_mean(weights, v))
        y = rounding.add(attended, project(x, self.x_conv))
        return y.map(lambda t: t.reshape(x.shape[:1] + (-1,) + x.shape[2:])), weights


class NonLocal(Layer):
    kind = "non-local"

    def __init__(self, rank, channels, width, g_width=None, sub=False, norm=True, bias=True, scale=None, eps=None):
        super().__init__()
        self.channels, self.scale, self.rank = channels, scale, rank
        make = functools.partial((nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1], kernel_size=1, bias=bias)
        pool = (nn.MaxPool1d(2), nn.MaxPool2d((2, 2)), nn.MaxPool3d((1, 2, 2)))[rank - 1]
        g_width = width if g_width is None else g_width
        self.theta, self.phi, self.g = make(channels, width), make(channels, width), make(channels, g_width)
        self.W = make(g_width, channels)
        if sub:
            self.phi, self.g = nn.Sequential(self.phi, pool), nn.Sequential(self.g, pool)
        if norm:
            kind = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1]
            self.W = nn.Sequential(self.W, random_norm(kind(channels, eps=1e-5 if eps is None else eps)))
        self.settings = settings_of(scale=scale, eps=eps)

    def keys(self, part, x):
        if isinstance(part, nn.Sequential):
            return conv(Rounded(x), part[0]).map(part[1]).map(lambda t: t.flatten(2))
        return project(x, part)

    def forward(self, x):
        q, k, v = project(x, self.theta), self.keys(self.phi, x), self.keys(self.g, x)
        logits = scaled(rounding.matmul(transposed(q), k), 1 if self.scale is None else self.scale)
        weights = rounding.softmax(logits, -1)
        attended = transposed(rounding.weighted_mean(weights, transposed(v)))
        attended = attended.map(lambda t: t.reshape(x.shape[:1] + (-1,) + x.shape[2:]))
        if isinstance(self.W, nn.Sequential):
            z = rounding.batch_norm(conv(attended, self.W[0]), self.W[1])
        else:
            z = conv(attended, self.W)
        return rounding.add(z, Rounded(x)), weights


class MultiHead(Layer):
    kind = "multi-head"

    def __init__(self, width, heads=None, bias=True, scale=None, causal=None, mask_fill=None):
        super().__init__()
        self.width, self.heads, self.scale = width, 1 if heads is None else heads, scale
        self.causal, self.mask_fill = bool(causal), mask_fill
        self.Wq, self.Wk, self.Wv, self.fc = (nn.Linear(width, width, bias=bias) for _ in range(4))
        self.settings = settings_of(num_heads=heads, scale=scale, causal=causal, mask_fill=mask_fill)

    def input_size(self, batch, length):
        return (batch, length, self.width)

    def split(self, layer, x):
        projected = rounding.linear(Rounded(x), layer.weight, layer.bias)
        return projected.map(lambda t: t.unflatten(2, (self.heads, -1)).transpose(1, 2))

    def visible(self, shape, mask):
        shown = torch.ones(shape, dtype=torch.bool)
        if self.causal:
            shown &= torch.ones(shape[-2:], dtype=torch.bool).tril()
        if mask is not None:
            shown &= mask != 0
        return shown

    def forward(self, x, key=None, value=None, mask=None):
        q = self.split(self.Wq, x)
        k, v = self.split(self.Wk, x if key is None else key), self.split(self.Wv, x if value is None else value)
        factor = 1 / math.sqrt(self.width / self.heads) if self.scale is None else self.scale
        logits = scaled(rounding.matmul(q, transposed(k)), factor)
        shown = self.visible(logits.value.shape, mask)
        nothing = ~shown.any(-1, keepdim=True)
        logits = Rounded(logits.value.masked_fill(~shown, -1e9), logits.error.masked_fill(~shown, 0))
        logits = logits.map(lambda t: t.masked_fill(nothing, 0)) # equal scores
        weights = rounding.softmax(logits, -1)
        if self.mask_fill == "-inf":
            weights = weights.map(lambda t: t.masked_fill(nothing, 0))
        joined = rounding.weighted_mean(weights, v).map(lambda t: t.transpose(1, 2).flatten(2))
        return rounding.linear(joined, self.fc.weight, self.fc.bias), weights


KINDS = (SE, CBAMChannel, CBAMSpatial, CBAMRes, SK, SelfAttentionSpatial, SelfAttentionChannel, NonLocal, MultiHead)
