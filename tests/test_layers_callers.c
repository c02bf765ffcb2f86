/* SPDX-License-Identifier: Apache-2.0 */
/* Who calls must not matter: several threads on one engine, and callers with a floating-point state of their own. */
#include <criterion/criterion.h>
#include <fenv.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#define FLUSH_BITS 0x8040u /* FTZ and DAZ */
static uint64_t control_word(void) {
    return _mm_getcsr();
}
static void set_control_word(uint64_t word) {
    _mm_setcsr((unsigned)word);
}
#elif defined(__aarch64__)
#define FLUSH_BITS (1u << 24) /* FZ */
static uint64_t control_word(void) {
    uint64_t word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
}
static void set_control_word(uint64_t word) {
    __asm__ volatile("msr fpcr, %0" : : "r"(word));
}
#endif

static const char *const lines[] = {
    "se se 1 33x9x11 hidden=4 set.gate=hard-sigmoid set.alpha=0.3",
    "cbam-channel cbamc 1 33x9x11 hidden=4 set.gate=hard-sigmoid set.alpha=0.3",
    "cbam-spatial cbams 1 33x9x11 k=5 bias=1",
    "cbam-res cbamr 1 9x9x11 out=13 hidden=4 sa=5 set.eps=0.0007",
    "sk sk 1 12x9x11 m=2 groups=3 d=4 set.eps=0.0007",
    "self-attention-spatial sas 1 9x13x11 d=4 set.scale=0.7",
    "self-attention-channel sac 1 9x13x11 out=14 set.scale=0.7",
    "non-local nl 1 9x13x11 sub=1 bn=1 set.scale=0.7 set.eps=0.0007",
};

enum { LINES = sizeof lines / sizeof *lines };

/* ---------------------------------------------------------------- many callers */

#define CALLERS 8
#define ROUNDS  40

typedef struct caller {
    const atl_plan *plan;
    int64_t batch, size, out_size;
    float *x, *y, *want;
    int failures;
} caller;

static void *call(void *argument) {
    caller *c = argument;
    for (int i = 0; i < ROUNDS; i++) {
        memset(c->y, 0, (size_t)(c->batch * c->out_size) * sizeof *c->y);
        if (atl_run(c->plan, c->batch, c->x, c->y, NULL, NULL, NULL) != ATL_OK ||
            case_difference(c->y, c->want, c->batch * c->out_size) >= 0)
            c->failures++;
    }
    return NULL;
}

static void caller_make(caller *c, const layer_case *layer, const atl_plan *plan, int index) {
    c->plan = plan;
    c->batch = 1 + index % 3;
    c->size = layer->size;
    c->out_size = layer->out_size;
    c->failures = 0;
    c->x = case_alloc(c->batch * (c->size + 2 * c->out_size));
    c->y = c->x + c->batch * c->size;
    c->want = c->y + c->batch * c->out_size;
    fill(c->x, c->batch * c->size, FILL_RANDOM, 1, 900 + (uint64_t)index);
    case_run(plan, c->batch, c->x, c->want, NULL, NULL);
}

static void eight_callers(int threads) {
    layer_case layers[LINES];
    atl_plan *plans[LINES];
    caller callers[CALLERS];
    pthread_t thread[CALLERS];
    /* NULL: the best ISA of the machine */
    atl_engine_options options;
    atl_engine *engine;
    atl_engine_options_init(&options);
    options.threads = threads;
    cr_assert_eq(atl_engine_create(&options, &engine, NULL), ATL_OK);
    for (int i = 0; i < LINES; i++) {
        case_parse(&layers[i], lines[i], 51);
        plans[i] = case_plan(&layers[i], engine);
    }
    for (int i = 0; i < CALLERS; i++)
        caller_make(&callers[i], &layers[i % LINES], plans[i % LINES], i);
    for (int i = 0; i < CALLERS; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, call, &callers[i]), 0);
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(thread[i], NULL);
        cr_expect_eq(callers[i].failures, 0, "%d threads, caller %d: %d of %d runs wrong", threads, i,
                     callers[i].failures, ROUNDS);
        free(callers[i].x);
    }
    for (int i = 0; i < LINES; i++) {
        atl_plan_release(plans[i]);
        case_free(&layers[i]);
    }
    atl_engine_release(engine);
}

Test(callers, eight_on_one_engine) {
    eight_callers(1);
    eight_callers(2);
    eight_callers(4);
}

/* ---------------------------------------------------------------- floating-point state */

static void state_upward(void) {
    fesetround(FE_UPWARD);
}

static void state_toward_zero(void) {
    fesetround(FE_TOWARDZERO);
}

static void state_flush(void) {
    set_control_word(control_word() | FLUSH_BITS);
}

static void state_traps(void) {
    feclearexcept(FE_ALL_EXCEPT);
    feenableexcept(FE_ALL_EXCEPT);
}

static void state_flags(void) {
    feraiseexcept(FE_INEXACT | FE_UNDERFLOW);
}

typedef struct state {
    const char *name;
    void (*enter)(void);
} state;

static const state states[] = {{"FE_UPWARD", state_upward},
                               {"FE_TOWARDZERO", state_toward_zero},
                               {"flush to zero", state_flush},
                               {"unmasked exceptions", state_traps},
                               {"raised flags", state_flags}};

#define STATES (sizeof states / sizeof *states)

/* Inputs that notice: subnormals and values that round. */
static void sensitive(float *x, int64_t size) {
    fill(x, size, FILL_RANDOM, 1, 61);
    fill(x, size / 2, FILL_SUBNORMAL, 1, 62);
}

static void under_state(const layer_case *c, const char *isa, const state *s, atl_engine *engine, const float *want) {
    float *x = case_alloc(c->size + c->out_size), *y = x + c->size;
    atl_plan *plan = case_plan(c, engine);
    atl_plan *made_inside = NULL;
    atl_layer *layer_inside = NULL;
    char text[1024];
    fenv_t before;
    sensitive(x, c->size);
    feholdexcept(&before); /* flags clear */
    s->enter();
    uint64_t entered = control_word();
    atl_status layer_status = atl_layer_create(&c->weights.desc, &layer_inside, NULL);
    atl_status status = atl_plan_create(layer_inside, engine, c->row.rank, c->row.shape, NULL, &made_inside, NULL);
    atl_status first = atl_run(plan, 1, x, y, NULL, NULL, NULL);
    atl_plan_describe(plan, text, sizeof text);
    uint64_t left = control_word();
    fesetenv(&before);
    cr_expect_eq(left, entered, "%s, %s, %s: control and flags were %#llx, are %#llx", c->row.name, isa, s->name,
                 (unsigned long long)entered, (unsigned long long)left);
    cr_assert(layer_status == ATL_OK && status == ATL_OK && first == ATL_OK, "%s, %s: %d, %d, %d", isa, s->name,
              (int)layer_status, (int)status, (int)first);
    cr_expect_eq(case_difference(y, want, c->out_size), -1, "%s, %s, %s: other bits", c->row.name, isa, s->name);
    /* Nothing that was made under it keeps it: weights, parameters, the plan's constants. */
    case_run(made_inside, 1, x, y, NULL, NULL);
    cr_expect_eq(case_difference(y, want, c->out_size), -1, "%s, %s, %s: plan made in it gives other bits", c->row.name,
                 isa, s->name);
    atl_plan_release(made_inside);
    atl_layer_release(layer_inside);
    atl_plan_release(plan);
    free(x);
}

/* The first weight in float64, so that its conversion rounds. Parameters of the rows below round as well. */
static void widen_a_weight(layer_case *c) {
    atl_tensor *t = &c->weights.tensors[0];
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++)
        count *= t->shape[i];
    double *wide = malloc((size_t)count * sizeof *wide);
    cr_assert(wide);
    for (int64_t i = 0; i < count; i++)
        wide[i] = ((const float *)t->data)[i] * (1 + 0x1.8p-25);
    free((void *)t->data);
    t->data = wide;
    t->dtype = ATL_F64;
    case_rebuild(c);
}

static void states_on(const char *isa, int threads) {
    atl_engine *engine = case_engine(isa, threads);
    for (int i = 0; engine && i < LINES; i++) {
        layer_case c;
        case_parse(&c, lines[i], 71);
        widen_a_weight(&c);
        float *x = case_alloc(c.size + c.out_size), *want = x + c.size;
        atl_plan *plan = case_plan(&c, engine);
        sensitive(x, c.size);
        case_run(plan, 1, x, want, NULL, NULL);
        for (size_t s = 0; s < STATES; s++)
            under_state(&c, isa, &states[s], engine, want);
        atl_plan_release(plan);
        free(x);
        case_free(&c);
    }
    atl_engine_release(engine);
}

Test(callers, floating_point_state) {
    for (int isa = 0; isa < CASE_ISAS; isa++) {
        states_on(case_isas[isa], 1);
        states_on(case_isas[isa], 2);
    }
}

/* Threads inherit the state of the thread that makes them: a team made under a strange one must not keep it. */
Test(callers, engine_made_under_a_strange_state) {
    layer_case c;
    case_parse(&c, lines[LINES - 1], 73);
    int64_t batch = 4;
    float *x = case_alloc(batch * (c.size + 2 * c.out_size)), *want = x + batch * c.size,
          *y = want + batch * c.out_size;
    sensitive(x, batch * c.size);
    atl_engine *scalar = case_engine("scalar", 1);
    atl_plan *plan = case_plan(&c, scalar);
    case_run(plan, batch, x, want, NULL, NULL);
    atl_plan_release(plan);
    for (size_t s = 0; s < STATES; s++) {
        fenv_t before;
        atl_engine *engine = NULL;
        atl_engine_options options;
        atl_engine_options_init(&options);
        options.threads = 3;
        feholdexcept(&before);
        states[s].enter();
        uint64_t entered = control_word();
        atl_status status = atl_engine_create(&options, &engine, NULL);
        uint64_t left = control_word();
        fesetenv(&before);
        cr_assert_eq(status, ATL_OK, "%s", states[s].name);
        cr_expect_eq(left, entered, "%s: engine creation left %#llx instead of %#llx", states[s].name,
                     (unsigned long long)left, (unsigned long long)entered);
        plan = case_plan(&c, engine);
        for (int round = 0; round < 5; round++) {
            case_run(plan, batch, x, y, NULL, NULL);
            cr_expect_eq(case_difference(y, want, batch * c.out_size), -1, "%s: other bits", states[s].name);
        }
        atl_plan_release(plan);
        atl_engine_release(engine);
    }
    atl_engine_release(scalar);
    free(x);
    case_free(&c);
}
