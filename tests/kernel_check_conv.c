/* SPDX-License-Identifier: Apache-2.0 */
/* Checkers of the convolution of planes, of what blends its results and of their max pooling. */
#include <math.h>
#include <string.h>

#include "kernel_arrays.h"

/* ---- planes ---- */

/* By definition, on room 4. Nothing is said of what lies between planes. */
static void expect_planes(check *c, const atl_planes_args *a, const float *got) {
    int64_t used = a->lines * a->line;
    float *want = array(c, 4, used);
    for (int64_t p = 0; p < a->channels * a->phases * a->phases; p++) {
        const float *x = a->x + p / (a->phases * a->phases) * a->x_row;
        for (int64_t q = 0; q < a->lines; q++)
            for (int64_t i = 0; i < a->line; i++) {
                int64_t row = (a->first + q) * a->stride + p / a->phases % a->phases - a->reach;
                int64_t phase = p % a->phases, skip = phase > a->reach ? a->stride - a->phases : 0;
                int64_t column = i * a->stride + phase + skip;
                int inside = row >= 0 && row < a->height && column >= 0 && column < a->width;
                want[q * a->line + i] = inside ? x[row * a->width + column] : 0.0f;
            }
        verdict(c, same_bits(c, got + p * a->plane, want, used),
                "%lld x %lld x %lld, stride %lld reach %lld lines %lld from %lld, plane %lld", (long long)a->channels,
                (long long)a->height, (long long)a->width, (long long)a->stride, (long long)a->reach,
                (long long)a->lines, (long long)a->first, (long long)p);
    }
}

static void check_planes_size(check *c, atl_planes_fn *kernel, atl_planes_fn *reference, int64_t width,
                              int64_t stride) {
    atl_planes_args a = {.channels = pick(c, 1, 3), .height = pick(c, 1, 9), .width = width, .stride = stride};
    a.x_row = a.height * width + pick(c, 0, 3);
    a.reach = pick(c, 0, 5);
    a.phases = stride < 2 * a.reach + 1 ? stride : 2 * a.reach + 1;
    int64_t halo = 2 * a.reach / stride, all = (a.height - 1) / stride + 1;
    a.first = pick(c, 0, all - 1);
    a.lines = pick(c, 1, all - a.first) + halo;
    a.line = (width - 1) / stride + 1;
    a.plane = a.lines * a.line + ATL_SUM_LANES + pick(c, 0, 3);
    int64_t xs = (a.channels - 1) * a.x_row + a.height * width;
    int64_t size = (a.channels * a.phases * a.phases - 1) * a.plane + a.lines * a.line + ATL_SUM_LANES;
    float *x = array(c, 0, xs);
    fill_special(c, x, xs);
    a.x = x;
    a.to = array(c, 1, size);
    kernel(&a);
    expect_planes(c, &a, a.to);
    a.to = array(c, 2, size);
    reference(&a);
    expect_planes(c, &a, a.to);
}

void check_planes(check *c, atl_planes_fn *kernel, atl_planes_fn *reference) {
    for (int64_t width = 1; width <= 130; width = c->thorough ? width + 1 : width + 1 + width / 2)
        for (int64_t stride = 1; stride <= 4; stride++)
            check_planes_size(c, kernel, reference, width, stride);
}

/* ---- conv ---- */

/* A case: dense weights [rows][terms], and what both variants share. */
typedef struct conv_case {
    atl_conv_args args;
    const float *dense;
} conv_case;

/* Tiles of mr rows, then of half as many, down to 1: each [terms][its rows]. */
static void pack_tiles(const float *dense, int64_t rows, int64_t terms, int64_t mr, float *packed) {
    for (int64_t i = 0; i < rows; i += mr) {
        while (mr > rows - i)
            mr /= 2;
        for (int64_t l = 0; l < terms; l++)
            for (int64_t r = 0; r < mr; r++)
                packed[i * terms + l * mr + r] = dense[(i + r) * terms + l];
    }
}

static void conv_with(check *c, const atl_kernel_entry *entry, atl_conv_fn *fn, const conv_case *k, float *y) {
    atl_conv_args args = k->args;
    float *weight = array(c, 2, args.rows * args.terms);
    pack_tiles(k->dense, args.rows, args.terms, entry->mr, weight);
    args.weight = weight;
    args.y = y;
    memset(y, 0, (size_t)((args.rows - 1) * args.y_row + args.n) * sizeof *y); /* gaps must stay */
    fn(&args);
}

/* One output pixel by definition. */
static float pixel(const conv_case *k, int64_t r, int64_t i) {
    const atl_conv_args *a = &k->args;
    float total = 0.0f;
    for (int64_t l0 = 0; l0 < a->terms; l0 += ATL_BLOCK) {
        float block = 0.0f;
        for (int64_t l = l0; l < a->terms && l < l0 + ATL_BLOCK; l++) {
            int32_t column = a->term[l].column;
            int inside = column < 0 || a->inside[column * a->inside_row + i / 16] >> i % 16 & 1;
            block = fmaf(k->dense[r * a->terms + l], inside ? a->x[a->term[l].offset + i] : 0.0f, block);
        }
        total = l0 ? total + block : block;
    }
    float y = fmaf(total, a->scale[r], a->shift[r]);
    return a->relu && y < 0.0f ? 0.0f : y;
}

static void by_definition(const conv_case *k, float *y) {
    const atl_conv_args *a = &k->args;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t i = 0; i < a->n; i++)
            y[r * a->y_row + i] = pixel(k, r, i);
}

/* Terms anywhere in x, and lanes inside or not as it happens. */
static void fill_case(check *c, atl_conv_args *args, int64_t reach) {
    atl_conv_term *term = (atl_conv_term *)array(c, 7, 2 * args->terms);
    for (int64_t l = 0; l < args->terms; l++)
        term[l] = (atl_conv_term){(int32_t)pick(c, 0, reach), (int32_t)pick(c, -1, args->columns - 1)};
    term[args->terms / 2].offset = (int32_t)reach;
    args->inside_row = (args->n + 15) / 16 + pick(c, 0, 2);
    uint16_t *inside = (uint16_t *)array(c, 8, (args->columns * args->inside_row + 1) / 2);
    for (int64_t i = 0; i < args->columns * args->inside_row; i++)
        inside[i] = (uint16_t)(pick(c, 0, 3) ? 0xffff : pick(c, 0, 0xffff));
    args->term = term;
    args->inside = inside;
    args->masks = array(c, 9, args->columns * ATL_CONV_LANES);
}

static void check_case(check *c, atl_conv_fn *kernel, atl_conv_fn *reference, atl_conv_args args, int special) {
    int64_t reach = pick(c, 0, 200), size = reach + args.n + ATL_SUM_LANES - 1;
    int64_t out = (args.rows - 1) * args.y_row + args.n;
    float *x = array(c, 0, size), *dense = array(c, 1, args.rows * args.terms), *scales = array(c, 3, 2 * args.rows);
    float *y = array(c, 4, out), *want = array(c, 5, out);
    fill_case(c, &args, reach);
    special ? fill_special(c, x, size) : fill_plain(c, x, size, 1.0f);
    fill_plain(c, dense, args.rows * args.terms, 1.0f);
    fill_plain(c, scales, 2 * args.rows, 1.0f);
    args.x = x;
    args.ahead = args.ahead_rows ? x : NULL; /* a hint: what it reaches need not exist */
    args.scale = scales;
    args.shift = scales + args.rows;
    conv_case k = {args, dense};
    conv_with(c, c->scalar, reference, &k, want);
    conv_with(c, c->entry, kernel, &k, y);
    verdict(c, same_bits(c, y, want, out), "rows %lld terms %lld lanes %lld columns %lld special %d",
            (long long)args.rows, (long long)args.terms, (long long)args.n, (long long)args.columns, special);
    by_definition(&k, want);
    verdict(c, same_bits(c, y, want, out), "rows %lld terms %lld lanes %lld columns %lld special %d by definition",
            (long long)args.rows, (long long)args.terms, (long long)args.n, (long long)args.columns, special);
}

/* A size of 0 is picked: up to 20 rows, 30 terms, 200 lanes. */
static void check_size(check *c, atl_conv_fn *kernel, atl_conv_fn *reference, atl_conv_args args) {
    args.rows = args.rows ? args.rows : pick(c, 1, 20);
    args.terms = args.terms ? args.terms : pick(c, 1, 30);
    args.n = args.n ? args.n : pick(c, 1, 200);
    args.columns = pick(c, 1, 9);
    args.y_row = args.n + pick(c, 0, 3);
    args.relu = (int)pick(c, 0, 1);
    args.ahead_rows = pick(c, 0, 3), args.ahead_n = pick(c, 1, 4000), args.ahead_row = pick(c, 0, 4000);
    check_case(c, kernel, reference, args, pick(c, 0, 3) == 0);
}

void check_conv(check *c, atl_conv_fn *kernel, atl_conv_fn *reference) {
    static const int64_t terms[] = {1, 9, 255, 256, 257, 512, 513, 800};
    for (int64_t lanes = 1; lanes <= 200; lanes = c->thorough ? lanes + 1 : lanes + 1 + lanes)
        check_size(c, kernel, reference, (atl_conv_args){.n = lanes});
    for (int64_t rows = 1; rows <= 17; rows++)
        check_size(c, kernel, reference, (atl_conv_args){.rows = rows});
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
        check_size(c, kernel, reference, (atl_conv_args){.terms = terms[i]});
        for (int64_t lanes = 9; lanes <= 73; lanes += 8) /* a pixel is left over alone */
            check_size(c, kernel, reference, (atl_conv_args){.terms = terms[i], .n = lanes, .rows = pick(c, 8, 20)});
    }
}

/* ---- max_pool ---- */

/* By definition. */
static float largest_term(const atl_max_pool_args *a, int64_t c, int64_t i) {
    float largest = -INFINITY;
    for (int64_t l = 0; l < a->terms; l++) {
        int32_t column = a->term[l].column;
        if (column < 0 || a->inside[column * a->inside_row + i / 16] >> i % 16 & 1)
            largest = larger(largest, a->x[c * a->x_row + a->term[l].offset + i]);
    }
    return largest;
}

/* Lines anywhere, of which the right column lies `step` floats behind the left one. The last line reaches as far as there is. */
static void fill_windows(check *c, atl_conv_term *term, int64_t terms, int32_t columns, int32_t step, int32_t reach) {
    int32_t right = (int32_t)pick(c, 0, columns - 1), left = (int32_t)pick(c, 0, columns - 1);
    int32_t middle = step == 2 ? 1 : (int32_t)pick(c, 0, step);
    for (int64_t l = 0; l < terms; l += 3) {
        int32_t from = l + 3 < terms ? (int32_t)pick(c, 0, reach - step) : reach - step;
        term[l] = (atl_conv_term){from + middle, -1};
        term[l + 1] = (atl_conv_term){from + step, right};
        term[l + 2] = (atl_conv_term){from, left};
    }
}

static void check_pool_size(check *c, atl_max_pool_fn *kernel, atl_max_pool_fn *reference, int64_t n, int64_t terms) {
    int64_t reach = pick(c, 5, 200), channels = pick(c, 1, 3);
    atl_conv_args lanes = {.terms = terms, .n = n, .columns = pick(c, 1, 3)};
    fill_case(c, &lanes, reach);
    fill_windows(c, (atl_conv_term *)lanes.term, terms, (int32_t)lanes.columns, (int32_t)pick(c, 1, 5), (int32_t)reach);
    atl_max_pool_args args = {.channels = channels,
                              .n = n,
                              .terms = terms,
                              .term = lanes.term,
                              .inside = lanes.inside,
                              .inside_row = lanes.inside_row};
    args.x_row = reach + n + pick(c, 0, 3), args.y_row = n + pick(c, 0, 3);
    int64_t xs = (channels - 1) * args.x_row + reach + n, ys = (channels - 1) * args.y_row + n;
    float *x = array(c, 0, xs), *y = array(c, 1, ys), *want = array(c, 2, ys), *defined = array(c, 3, ys);
    int mode = (int)pick(c, 0, 2);
    mode == 1 ? fill_special(c, x, xs) : fill_plain(c, x, xs, 3.0f);
    for (int64_t i = 0; mode == 2 && i < xs; i++)
        x[i] = pick(c, 0, 9) ? copysignf(0.0f, x[i]) : pick(c, 0, 5) ? -fabsf(x[i]) : NAN;
    memset(y, 0, (size_t)ys * sizeof *y); /* gaps between channels must stay */
    memset(want, 0, (size_t)ys * sizeof *y);
    memset(defined, 0, (size_t)ys * sizeof *y);
    args.x = x, args.y = want;
    reference(&args);
    args.y = y;
    kernel(&args);
    for (int64_t i = 0; i < channels * n; i++)
        defined[i / n * args.y_row + i % n] = largest_term(&args, i / n, i % n);
    verdict(c, same_bits(c, y, want, ys) & same_bits(c, y, defined, ys), "channels %lld lanes %lld terms %lld mode %d",
            (long long)channels, (long long)n, (long long)terms, mode);
}

void check_max_pool(check *c, atl_max_pool_fn *kernel, atl_max_pool_fn *reference) {
    for (int64_t n = 1; n <= 200; n = c->thorough ? n + 1 : n + 1 + n / 4)
        for (int64_t terms = 3; terms <= 9; terms += 3)
            check_pool_size(c, kernel, reference, n, terms);
    for (int i = 0; i < 8; i++)
        check_pool_size(c, kernel, reference, pick(c, 400, 1200), 9);
}

/* ---- blend ---- */

static void check_blend_size(check *c, atl_blend_fn *kernel, atl_blend_fn *reference, int64_t n, int64_t branches) {
    int64_t rows = pick(c, 1, 3), x_row = n + pick(c, 0, 3), y_row = n + pick(c, 0, 3);
    int64_t x_branch = rows * x_row + pick(c, 0, 5), factors = rows + pick(c, 0, 2);
    int64_t xs = (branches - 1) * x_branch + (rows - 1) * x_row + n, ys = (rows - 1) * y_row + n;
    int64_t fs = (branches - 1) * factors + rows;
    float *x = array(c, 0, xs), *factor = array(c, 1, fs), *y = array(c, 2, ys), *want = array(c, 3, ys);
    n % 4 ? fill_plain(c, x, xs, 1.0f) : fill_special(c, x, xs);
    fill_plain(c, factor, fs, 1.0f);
    for (int stream = 0; stream < 2; stream++) {
        memset(y, 0, (size_t)ys * sizeof *y);
        memset(want, 0, (size_t)ys * sizeof *want);
        kernel(x, y, n, rows, branches, x_branch, x_row, y_row, factor, factors, stream);
        reference(x, want, n, rows, branches, x_branch, x_row, y_row, factor, factors, 0);
        verdict(c, same_bits(c, y, want, ys), "n %lld rows %lld branches %lld stream %d", (long long)n, (long long)rows,
                (long long)branches, stream);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            float sum = factor[r] * x[r * x_row + i];
            for (int64_t b = 1; b < branches; b++)
                sum = fmaf(factor[b * factors + r], x[b * x_branch + r * x_row + i], sum);
            want[r * y_row + i] = sum;
        }
    verdict(c, same_bits(c, y, want, ys), "n %lld rows %lld branches %lld by definition", (long long)n, (long long)rows,
            (long long)branches);
}

void check_blend(check *c, atl_blend_fn *kernel, atl_blend_fn *reference) {
    for (int64_t n = 1; n <= 300; n = c->thorough ? n + 1 : n + 1 + n / 2)
        check_blend_size(c, kernel, reference, n, pick(c, 1, 4));
}
