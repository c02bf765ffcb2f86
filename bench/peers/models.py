# SPDX-License-Identifier: Apache-2.0
"""A row's layer as PyTorch users have it: the modules of tests/lib/layers.py, which own weights and settings, computed in
float32 the way the usual published code does.

Attention goes through a core, so that one forward serves every way to compute it. A core takes query [B, h, N, d],
key [B, h, N1, d] and value [B, h, N1, c], which may be transposed views, and the factor of the logits. It returns
[B, h, N, c] and the map or None.
"""
import copy
import math

import torch
from torch import nn
from torch.nn import functional

from lib import layers

# ---------------------------------------------------------------- rows to modules


def se(row):
    return layers.SE(row.shape[0], row.width("hidden", 1), biased(row), row.settings.get("activation"),
                     row.settings.get("gate"), number(row, "alpha"))


def cbam_channel(row):
    return layers.CBAMChannel(row.shape[0], row.width("hidden", 1), biased(row), row.settings.get("activation"),
                              row.settings.get("gate"), number(row, "alpha"))


def cbam_spatial(row):
    return layers.CBAMSpatial(row.shape[0], row.width("k", 7), bool(row.width("bias", 0)))


def cbam_res(row):
    return layers.CBAMRes(row.shape[0], row.width("out", 1), row.width("hidden", 1), row.width("k", 3), row.width("sa", 7),
                          number(row, "stride", int), biased(row), number(row, "eps"))


def sk(row):
    return layers.SK(row.shape[0], row.width("m", 2), row.width("groups", 1), row.width("d", 1), number(row, "stride", int),
                     biased(row), bool(row.width("bn", 1)), number(row, "eps"))


def spatial(row):
    return layers.SelfAttentionSpatial(row.shape[0], row.width("d", 1), biased(row), scale=number(row, "scale"))


def channel(row):
    module = layers.SelfAttentionChannel(row.shape[0], row.width("out", row.shape[0]), biased(row), scale=number(row, "scale"))
    with torch.no_grad(): # logits are sums over positions; these stay small whatever their number
        for layer in (module.query_conv, module.key_conv):
            for parameter in layer.parameters():
                parameter.mul_(row.positions**-0.25)
    return module


def non_local(row):
    inner = row.width("inner", (row.shape[0] + 1) // 2)
    return layers.NonLocal(len(row.shape) - 1, row.shape[0], inner, row.width("g", inner), bool(row.width("sub", 0)),
                           bool(row.width("bn", 0)), biased(row), number(row, "scale"), number(row, "eps"))


def multi_head(row):
    causal = {"true": True, "1": True}.get(row.settings.get("causal"))
    return layers.MultiHead(row.shape[1], number(row, "num_heads", int), biased(row), number(row, "scale"), causal,
                            row.settings.get("mask_fill"))


def biased(row):
    return bool(row.width("bias", 1))


def number(row, name, kind=float):
    return kind(row.settings[name]) if name in row.settings else None


MAKERS = {"se": se, "cbam-channel": cbam_channel, "cbam-spatial": cbam_spatial, "cbam-res": cbam_res, "sk": sk,
          "self-attention-spatial": spatial, "self-attention-channel": channel, "non-local": non_local,
          "multi-head": multi_head}
ATTENTION = ("self-attention-spatial", "self-attention-channel", "non-local", "multi-head")


def make(row, seed=1):
    torch.manual_seed(seed)
    return MAKERS[row.kind](row).float().eval()


def make_input(row, seed=2):
    return torch.randn((row.batch,) + row.shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- cores


def dense(q, k, v, scale, mask=None, causal=False):
    logits = q @ k.transpose(-1, -2)
    if scale != 1:
        logits = logits * scale
    if causal:
        shown = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
        logits = logits.masked_fill(~shown, -1e9)
    if mask is not None:
        logits = logits.masked_fill(mask == 0, -1e9) if mask.dtype in (torch.bool, torch.uint8) else logits + mask
    weights = torch.softmax(logits, -1)
    return weights @ v, weights


def rows_of(t):
    """With a head's features side by side: the fused kernel is not taken for others."""
    return t if t.stride(-1) == 1 else t.contiguous()


def sdpa(q, k, v, scale, mask=None, causal=False):
    q, k, v = rows_of(q), rows_of(k), rows_of(v)
    return functional.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale), None


def sdpa_padded(q, k, v, scale, mask=None, causal=False):
    """Zeros to the wider of the two head dimensions, so that the fused kernel is taken, which needs them equal."""
    width, value_width = q.shape[-1], v.shape[-1]
    if width < value_width:
        q, k = (functional.pad(t, (0, value_width - width)) for t in (q, k))
    elif value_width < width:
        v = functional.pad(v, (0, width - value_width))
    return sdpa(q, k, v, scale, mask, causal)[0][..., :value_width], None


def ort_attention(q, k, v, scale, mask=None, causal=False):
    """For export alone: ONNX Runtime's own fused operator. It takes [B, N, h*d]."""
    if mask is not None or causal:
        raise ValueError("exported without masks only")
    heads, shape = q.shape[1], (q.shape[0], q.shape[2], q.shape[1] * v.shape[-1])
    joined = [t.transpose(1, 2).flatten(2) for t in (q, k, v)]
    y = torch.onnx.ops.symbolic("com.microsoft::MultiHeadAttention", joined, {"num_heads": heads, "scale": float(scale)},
                                dtype=q.dtype, shape=shape, version=1)
    return y.unflatten(2, (heads, -1)).transpose(1, 2), None


CORES = {"dense": dense, "sdpa": sdpa, "sdpa-padded": sdpa_padded, "ort-attention": ort_attention}


def head_dims(module, row):
    """Widths of a head's query and value."""
    if row.kind == "multi-head":
        return module.width // module.heads, module.width // module.heads
    if row.kind == "self-attention-channel":
        return row.positions, row.positions
    if row.kind == "non-local":
        return module.theta.weight.shape[0], first(module.g).weight.shape[0]
    return module.query_conv.weight.shape[0], row.shape[0]


def first(part):
    return part[0] if isinstance(part, nn.Sequential) else part


# ---------------------------------------------------------------- forwards


def factors(module, z):
    if module.gate != "hard-sigmoid":
        return torch.sigmoid(z)
    alpha = 1 / 6 if module.alpha is None else module.alpha
    return functional.hardsigmoid(z) if alpha == 1 / 6 else (alpha * z + 0.5).clamp(0, 1)


def activation(module, z):
    return functional.silu(z) if module.activation == "silu" else functional.relu(z)


def run_se(module, x):
    z = x.mean(tuple(range(2, x.dim())))
    z = module.fc[2](activation(module, module.fc[0](z)))
    return x * factors(module, z).reshape(z.shape + (1,) * (x.dim() - 2))


def channel_factors(module, x):
    down, _, up = module.sharedMLP
    mean, largest = functional.adaptive_avg_pool2d(x, 1), functional.adaptive_max_pool2d(x, 1)
    return factors(module, up(activation(module, down(mean))) + up(activation(module, down(largest))))


def run_cbam_channel(module, x):
    return x * channel_factors(module, x)


def run_cbam_spatial(module, x):
    planes = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    return x * torch.sigmoid(module.conv(planes))


def run_cbam_res(module, x):
    t = functional.relu(module.bn1(module.conv1(x)))
    t = run_cbam_spatial(module.sa, t * channel_factors(module.ca, t))
    return functional.relu(t + module.conv_res(functional.max_pool2d(x, 3, module.stride, 1)))


def run_sk(module, x):
    branches = [functional.relu(parts(x)) for parts in module.convs]
    z = module.fc(sum(branches[1:], branches[0]).mean((2, 3)))
    chosen = torch.softmax(torch.stack([fc(z) for fc in module.fcs], 1), 1)[..., None, None]
    return sum((u * chosen[:, i] for i, u in enumerate(branches[1:], 1)), branches[0] * chosen[:, 0])


def heads_of_one(t):
    """[B, c, positions...] as [B, 1, N, c], a view."""
    return t.flatten(2).transpose(1, 2).unsqueeze(1)


def attend_one_head(module, core, q, k, v):
    """[B, N, c], and the map [B, N, N1] or None."""
    o, weights = core(q, k, v, scale_of(module))
    return o.squeeze(1), None if weights is None else weights.squeeze(1)


def scale_of(module, default=1.0):
    return default if module.scale is None else module.scale


def run_spatial(module, x, core):
    q, k, v = (heads_of_one(layer(x)) for layer in (module.query_conv, module.key_conv, module.value_conv))
    o, weights = attend_one_head(module, core, q, k, v)
    return module.gamma * o.transpose(1, 2).reshape(x.shape) + x, weights


def run_spatial_dense(module, x):
    """As SAGAN's code has it: V A^T lands in the order of x."""
    q, k, v = (layer(x).flatten(2) for layer in (module.query_conv, module.key_conv, module.value_conv))
    logits = torch.bmm(q.transpose(1, 2), k)
    weights = torch.softmax(logits if module.scale is None else logits * module.scale, -1)
    return module.gamma * torch.bmm(v, weights.transpose(1, 2)).reshape(x.shape) + x, weights


def run_channel(module, x, core):
    q, k, v = (layer(x).flatten(2).unsqueeze(1) for layer in (module.query_conv, module.key_conv, module.value_conv))
    o, weights = attend_one_head(module, core, q, k, v)
    rest = module.x_conv(x)
    return module.gamma * o.reshape(rest.shape) + rest, weights


def run_non_local(module, x, core):
    q, k, v = (heads_of_one(part(x)) for part in (module.theta, module.phi, module.g))
    o, weights = attend_one_head(module, core, q, k, v)
    o = o.transpose(1, 2).reshape((x.shape[0], -1) + x.shape[2:])
    return module.W(o) + x, weights


def run_multi_head(module, x, core, mask=None):
    split = [layer(x).unflatten(2, (module.heads, -1)).transpose(1, 2) for layer in (module.Wq, module.Wk, module.Wv)]
    o, weights = core(*split, scale_of(module, 1 / math.sqrt(module.width / module.heads)), mask, module.causal)
    return module.fc(o.transpose(1, 2).flatten(2)), weights


PLAIN = {"se": run_se, "cbam-channel": run_cbam_channel, "cbam-spatial": run_cbam_spatial, "cbam-res": run_cbam_res,
         "sk": run_sk}
ATTEND = {"self-attention-spatial": run_spatial, "self-attention-channel": run_channel, "non-local": run_non_local,
          "multi-head": run_multi_head}


class Peer(nn.Module):
    """model(x): y, or (y, map) when the map is wanted. The module's parameters stay shared."""

    def __init__(self, module, core="dense", with_map=False):
        super().__init__()
        self.module, self.core, self.with_map = module, core, with_map

    def forward(self, x, mask=None):
        kind = self.module.kind
        if kind in PLAIN:
            return PLAIN[kind](self.module, x)
        if kind == "self-attention-spatial" and self.core == "dense":
            y, weights = run_spatial_dense(self.module, x)
        elif mask is not None:
            y, weights = ATTEND[kind](self.module, x, CORES[self.core], mask)
        else:
            y, weights = ATTEND[kind](self.module, x, CORES[self.core])
        return (y, weights) if self.with_map else y


def doubled(module):
    return copy.deepcopy(module).double()
