/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds of layer: what each computes, its weights and its parameters. Nothing to call: a kind is named in
 * atl_layer_desc.kind, its weights are the tensors of a PyTorch state_dict, its parameters are text.
 *
 * A linear layer and a 1x1 convolution are the same thing: weights [o, i] and [o, i, 1, ...] are both accepted. Booleans
 * are true, false, 1, 0. A parameter that the kind lacks is an error; names that it lacks among the tensors are
 * ignored.
 *
 * C channels, N = H*W positions (any number of position axes from 1 to 3 is accepted, unless a kind says H, W).
 */
#ifndef ATTENTILE_LAYERS_H
#define ATTENTILE_LAYERS_H

#include <attentile/attentile.h>

/*
 * "se": squeeze-and-excitation. Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018.
 *
 *     y = x * gate(fc2(act(fc1(mean over positions of x))))
 *
 *   sample     [C, positions...] -> the same shape; no map
 *   weights    fc.0.weight [h, C], fc.2.weight [C, h]; optional fc.0.bias [h], fc.2.bias [C]
 *   activation relu (default) | silu
 *   gate       sigmoid (default) | hard-sigmoid = clamp(alpha*x + 1/2, 0, 1)
 *   alpha      of the hard sigmoid; 1/6 by default
 *   batch_first true (default) | false: x and y are [C, B, positions...]
 *   cost       2*C*N + 4*C*h FLOPs; x is read and y written once while a sample stays in the cache
 *   workspace  O(C + h) a sample
 *
 * EfficientNet uses silu, MobileNetV3 and PP-LCNet use the hard sigmoid. y may be x.
 *
 *     attentile run net.safetensors --layer se --prefix layer1.0.se. --set activation=silu --input x.npy --output y.npy
 */
#define ATL_KIND_SE "se"

/*
 * "cbam-channel": the channel attention of CBAM. Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module",
 * ECCV 2018.
 *
 *     y = x * gate(mlp(mean over positions of x) + mlp(max over positions of x)),  mlp(m) = fc2(act(fc1(m)))
 *
 *   sample     [C, positions...] -> the same shape; no map
 *   weights    sharedMLP.0.weight [h, C, 1, 1], sharedMLP.2.weight [C, h, 1, 1]; optional sharedMLP.0.bias [h],
 *              sharedMLP.2.bias [C], which both applications of the mlp add
 *   activation relu (default) | silu
 *   gate       sigmoid (default) | hard-sigmoid = clamp(alpha*x + 1/2, 0, 1)
 *   alpha      of the hard sigmoid; 1/6 by default
 *   batch_first true (default) | false: x and y are [C, B, positions...]
 *   cost       2*C*N + 8*C*h FLOPs and C*N comparisons; mean and maximum come from one read of x, which is read again
 *              for y while a sample stays in the cache
 *   workspace  O(C + h) a sample
 *
 * The maximum of a channel with a NaN is NaN, as in PyTorch, and the mlp then makes its whole sample NaN, no other. y
 * may be x.
 *
 *     attentile run cbam.safetensors --layer cbam-channel --prefix ca. --input x.npy --output y.npy
 */
#define ATL_KIND_CBAM_CHANNEL "cbam-channel"

/*
 * "cbam-spatial": the spatial attention of CBAM (Woo, Park, Lee, Kweon, ECCV 2018).
 *
 *     y = x * sigmoid(conv([mean over channels of x, max over channels of x]))
 *
 *   sample     [C, H, W] with any C -> the same shape; no map
 *   weights    conv.weight [1, 2, k, k], k = 3, 5 or 7, for the mean and for the maximum; optional conv.bias [1]
 *   batch_first true (default) | false: x and y are [C, B, H, W]
 *   cost       2*C*N + 4*k*k*N FLOPs, C*N comparisons and N exponentials; mean and maximum come from one read of x, which
 *              is read again for y while it stays in the cache
 *   workspace  O(N) a sample: both planes with their padding, and 2*N floats
 *
 * The padding is k/2 zeros on every side, multiplied like any value. A NaN makes its pixel and those within k/2 of it NaN
 * in all channels, as in PyTorch, and no others. y may be x.
 *
 *     attentile run cbam.safetensors --layer cbam-spatial --prefix sa. --input x.npy --output y.npy
 */
#define ATL_KIND_CBAM_SPATIAL "cbam-spatial"

/*
 * "cbam-res": the residual block of CBAM (Woo, Park, Lee, Kweon, ECCV 2018), in eval mode.
 *
 *     u = relu(bn1(conv1(x)))
 *     v = u * sigmoid(mlp(mean over positions of u) + mlp(max over positions of u)),  mlp(m) = fc2(relu(fc1(m)))
 *     y = relu(v * sigmoid(conv([mean over channels of v, max over channels of v])) + conv_res(maxpool(x)))
 *
 *   sample     [C, H, W] -> [Co, Ho, Wo], Ho = floor((H - 1) / stride) + 1, Wo likewise; no map; y apart from x
 *   weights    conv1.weight [Co, C, k, k] with any odd k, padding k/2; bn1.weight, bn1.running_mean, bn1.running_var [Co];
 *              ca.sharedMLP.0.weight [h, Co, 1, 1], ca.sharedMLP.2.weight [Co, h, 1, 1]; sa.conv.weight [1, 2, s, s], s = 3,
 *              5 or 7; conv_res.weight [Co, C, 1, 1]; optional conv1.bias, bn1.bias, ca.sharedMLP.2.bias,
 *              conv_res.bias [Co], ca.sharedMLP.0.bias [h], sa.conv.bias [1]
 *   stride     of conv1 and of the pooling, which is 3 x 3 with padding 1; 2 by default
 *   eps        of bn1; 1e-5 by default
 *   batch_first true (default) | false: x is [C, B, H, W], y is [Co, B, Ho, Wo]
 *   cost       2*Co*C*(k*k + 1) FLOPs an output pixel, and about 7*Co + 4*s*s more; x is read twice, y written twice in the
 *              cache
 *   workspace  Co*Ho*Wo floats a sample, for u (v is never stored), and O(Ho*Wo) more; for each thread a band of padded
 *              planes of x and O(C) more. A batch larger than what keeps the team busy takes no more
 *              (atl_plan_info.workspace_samples)
 *
 * The padding of a convolution is zeros, multiplied like any value; that of the pooling never wins. Since the gates look at
 * whole images, a NaN in x makes its whole sample NaN as soon as the convolution reaches it, as in PyTorch, and no other.
 *
 *     attentile run block.safetensors --layer cbam-res --set stride=2 --input x.npy --output y.npy
 */
#define ATL_KIND_CBAM_RES "cbam-res"

/*
 * "sk": selective kernels. Li, Wang, Hu, Yang, "Selective Kernel Networks", CVPR 2019.
 *
 *     U_i = relu(bn_i(conv_i(x))),  i = 0 ... M-1
 *     z = fc(mean over positions of the sum of U_i),  a_i = softmax over i of fcs_i(z), for each channel
 *     y = sum over i of a_i * U_i
 *
 *   sample     [C, H, W] -> [C, (H-1)/stride + 1, (W-1)/stride + 1]; no map; y apart from x
 *   weights    for each branch i: convs.i.0.weight [C, C/G, 3+2i, 3+2i], in G groups, padding 1+i; optional convs.i.0.bias
 *              [C]; optional batch norm convs.i.1.weight, .running_mean, .running_var, and .bias [C];
 *              fc.weight [d, C], fcs.i.weight [C, d]; optional fc.bias [d], fcs.i.bias [C]
 *   stride     1 by default; of all branches
 *   eps        of the batch norms; 1e-5 by default
 *   batch_first true (default) | false: x and y are [C, B, H, W]
 *   cost       2*N*C*(C/G)*(9 + 25 + ...) FLOPs for N output positions, 2*C*d*(M+1) + 3*M*C*N more, and M*C exponentials; x is
 *              copied once with its padding, a group at a time
 *   workspace  4*M*C*N bytes a thread for the branches, and the padded planes of a group
 *
 * M, G and d are what the weights have: M from 1 to 64, any G that divides C (depthwise: G = C). Padding is zeros, multiplied
 * like any value. A batch norm is a factor and an addend behind the convolution's sum: gamma / sqrt(variance + eps), and beta +
 * (bias - mean) times that. A NaN that a convolution reaches makes its whole sample NaN, as in PyTorch, and no other.
 *
 *     attentile run sknet.safetensors --layer sk --prefix layer1.0.conv2. --input x.npy --output y.npy
 */
#define ATL_KIND_SK "sk"

/*
 * "self-attention-spatial": self-attention over all pairs of positions. Zhang et al., "Self-Attention Generative
 * Adversarial Networks", ICML 2019; Fu et al., "Dual Attention Network", CVPR 2019 (position attention).
 *
 *     q = Wq x + bq, k = Wk x + bk [d, N];  v = Wv x + bv [C, N]
 *     A[i, j] = softmax over j of scale * sum_d q[d, i] k[d, j]
 *     y[c, i] = gamma * sum_j A[i, j] v[c, j] + x[c, i]
 *
 *   sample     [C, positions...] -> the same shape; map A [N, N]
 *   weights    query_conv.weight, key_conv.weight [d, C, 1, 1], value_conv.weight [C, C, 1, 1], gamma [] or [1];
 *              optional query_conv.bias, key_conv.bias [d], value_conv.bias [C]
 *   scale      of the logits; 1 by default
 *   cost       2*N*N*(d + C) + 2*N*C*(2*d + C) FLOPs and N*N exponentials; at least 8*C*N bytes: x is read for the
 *              projections and again for the residual, y written once
 *   workspace  about 4*N*(1.07*(2*d + C) + 2) bytes a sample, N rounded up to a multiple of 256 (below 2,048 positions
 *              up to 8*N*(C + 2) more): A is tiled (Dao et al., "FlashAttention", NeurIPS 2022; Milakov, Gimelshein,
 *              "Online normalizer calculation for softmax", 2018) and never stored unless asked for. A batch larger
 *              than what keeps the team busy takes no more (atl_plan_info.workspace_samples)
 *
 * Weights below 2^-126 of a row's largest are 0. Where |score * scale| passes 1e30, |q * scale| 2e38 or the sum of
 * |v[c, j]| over j FLT_MAX, infinities and NaN may appear that an eager implementation would not give. y may be x.
 *
 *     attentile run sagan.safetensors --layer self-attention-spatial --input x.npy --output y.npy \
 *         --map a.npy --map-rows 0,17
 */
#define ATL_KIND_SELF_ATTENTION_SPATIAL "self-attention-spatial"

/*
 * "self-attention-channel": self-attention over all pairs of channels, the channel attention of Fu et al., "Dual Attention
 * Network", CVPR 2019, with projections of queries, keys and values and a projected input instead of the input.
 *
 *     q = Wq x + bq, k = Wk x + bk, v = Wv x + bv [C1, N]
 *     A[i, j] = softmax over j of scale * sum over positions of q[i] k[j]
 *     y = gamma * A v + Wx x + bx
 *
 *   sample     [C, positions...] -> [C1, positions...]; map A [C1, C1], whose rows are output channels
 *   weights    query_conv.weight, key_conv.weight, value_conv.weight, x_conv.weight [C1, C, 1, 1], gamma [] or [1];
 *              optional query_conv.bias, key_conv.bias, value_conv.bias, x_conv.bias [C1]
 *   scale      of the logits; 1 by default
 *   cost       C1*C1 exponentials, and of these the least, which the shape of a sample decides:
 *              C*C*N + 2*C*C1*(C + C1) FLOPs for A through the Gram matrix of the centred input, or 4*C*C1*N + 2*C1*C1*N for A from
 *              queries and keys; then 2*C1*C1*C + 2*C*C1*N for y through gamma*A Wv + Wx, or 4*C*C1*N + 2*C1*C1*N for y from
 *              values. x is read twice (and once more for its means) and y written once
 *   workspace  at most 4*(N/2 + 3*C + C1)*max(C, C1) bytes a sample and some padding through the Gram matrix, 4*N*(3*C1) more
 *              otherwise. A batch larger than what keeps the team busy takes no more (atl_plan_info.workspace_samples)
 *
 * With m the means, Xc = x - m: q k^T = Wq (Xc Xc^T) Wk^T + N (Wq m + bq)(Wk m + bk)^T, so that an offset common to all positions
 * cancels no digits. Where a product of two inputs, of weights with one another or the sum of a row of x passes FLT_MAX, NaN may
 * appear that an eager implementation would not give; products of two inputs below 2^-126 lose digits. Weights of A below 2^-126
 * of a row's largest are 0. y may be x when C1 = C.
 *
 *     attentile run danet.safetensors --layer self-attention-channel --input x.npy --output y.npy --map a.npy
 */
#define ATL_KIND_SELF_ATTENTION_CHANNEL "self-attention-channel"

/*
 * "non-local": non-local block, embedded Gaussian. Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018.
 *
 *     q = theta x + b, k = phi x + b [d, N];  v = g x + b [G, N];  sub-sampled: k and v max-pooled, [., N1]
 *     f[i, j] = softmax over j of scale * sum_d q[d, i] k[d, j]
 *     y[c, i] = bn(sum_o W[c, o] sum_j f[i, j] v[o, j] + b[c]) + x[c, i]
 *
 *   sample     [C, L], [C, H, W] or [C, T, H, W] -> the same shape; map f [N, N1], N1 = N without sub-sampling. Weights over 1, 2
 *              or 3 axes demand that rank, [d, C] takes each
 *   weights    theta.weight [d, C, 1...], phi.weight [d, C, 1...], g.weight [G, C, 1...], W.weight [C, G, 1...], all of one
 *              rank; d and G are free. phi.0 and g.0 instead of phi and g: sub-sampled by windows of 2, (2, 2) or (1, 2, 2), floor.
 *              W.0 instead of W: batch norm W.1.weight, W.1.running_mean, W.1.running_var, optional W.1.bias [C] behind it.
 *              Optional biases: theta.bias, phi.bias or phi.0.bias [d], g.bias or g.0.bias [G], W.bias or W.0.bias [C]
 *   scale      of the logits; 1 by default
 *   eps        of the batch norm; 1e-5 by default
 *   cost       2*N*C*(d + G) FLOPs for keys and values, N*N1 exponentials, and the least of each of these pairs, which the
 *              shape of a sample decides: 2*N*d*(C + N1), or 2*N1*C*(d + N) where theta is applied to the keys instead of the
 *              queries; 2*N*G*(C + N1), or 2*N1*C*(G + N) where W is applied to the values instead of the result;
 *              at least 8*C*N bytes: x is read for the projections and again for the residual, y written once
 *   workspace  about 4*1.07*(N*d + N*G + N1*(d + G)) bytes a sample, lengths rounded up to multiples of 256 (below 2,048 positions
 *              with as many keys up to 8*N*(G + 2) more). Where theta is applied to keys, C counts instead of d (touched for
 *              maps alone); where W is applied to values, N*G is not there; N1*C more for either. A batch larger than what
 *              keeps the team busy takes no more (atl_plan_info.workspace_samples)
 *
 * A NaN in a key makes its whole sample NaN, as in PyTorch; max-pooling keeps it. Positions that the pooling leaves over are no
 * keys. Weights below 2^-126 of a row's largest are 0. Where |score * scale| or a product of weights with one another passes
 * 1e30 (an infinity in x does), NaN may appear that an eager implementation would not give. y may be x. Example:
 *
 *     attentile run block.safetensors --layer non-local --prefix layer3.nl. --input x.npy --output y.npy --map f.npy
 */
#define ATL_KIND_NON_LOCAL "non-local"

/*
 * "multi-head": multi-head attention. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
 *
 *     q = Wq x + bq, k = Wk key + bk, v = Wv value + bv; heads are slices of D/h features
 *     A[g, i, j] = softmax over j of scale * q[g, i] . k[g, j], masked
 *     y = fc (A v, heads joined) + b
 *
 *   sample     [L, D] -> the same shape; key and value [Lk, D], by default x; map A [h, L, Lk]. The width is checked
 *              against the weights, lengths are free
 *   weights    Wq.weight, Wk.weight, Wv.weight, fc.weight [D, D]; optional Wq.bias, Wk.bias, Wv.bias, fc.bias [D]
 *              of torch.nn.MultiheadAttention: the three parts of in_proj_weight and of in_proj_bias, in this order, and
 *              out_proj.weight and .bias
 *   num_heads  h, a divisor of D; 1 by default
 *   scale      of the logits; 1/sqrt(D/h) by default
 *   causal     true: key j is visible to query i when j <= i, joined with the masks; false by default
 *   mask_fill  what a row that sees no key becomes: -1e9 (default): the mean of all values, its map row 1/Lk; -inf: 0
 *   masks      atl_run_options.mask (bytes, 0 = masked) and .additive (floats), of any shape that broadcasts to
 *              [batch, heads, L, Lk]
 *   cost       4*L*Lk*D + 4*(L + Lk)*D*D FLOPs and h*L*Lk exponentials, half of L*Lk where causal; at least 8*L*D bytes: x, key
 *              and value are read and y is written once
 *   workspace  about 4*1.07*D*(2*L + 2*Lk) bytes a sample and 8*h*L for the map, lengths rounded up to multiples of 256; a
 *              batch larger than what keeps the team busy takes no more (atl_plan_info.workspace_samples).
 *              Each thread (atl_plan_info.workspace_fixed) has besides 3.4*D KiB and up to 0.2 MiB for projections;
 *              4*t*(g*(2*d + 2) + 256) bytes and less than 0.2 MiB for attention, masked or not, with d = D/h, g = min(h, 12)
 *              heads that share a look at the mask and tiles of t = min(256, 24576/d) queries or fewer: 1.8 MiB at d = 64 with
 *              12 heads; 4*t*g*(d + 2) more where few queries leave keys to be split; up to 1 MiB for maps where d >= 16
 *
 * Masked keys have weight exactly 0 whatever they hold: what PyTorch would let leak from them (0 times NaN) does not. A key
 * that is not masked has its weight even where its logit is far below -1e9. y may be x. Example:
 *
 *     atl_plan_options plan_options;   atl_plan_options_init(&plan_options);   plan_options.key_length = 77;
 *     atl_run_options run_options;     atl_run_options_init(&run_options);     run_options.key = run_options.value = text;
 */
#define ATL_KIND_MULTI_HEAD "multi-head"

#endif
