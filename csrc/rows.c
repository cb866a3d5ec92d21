#include "rows.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "simd.h"

typedef struct {
    const mf_rows *rows;
    const double *mixtures;
    ptrdiff_t m;
    int value, coarse, products;
    int hessian; /* one group of 16 rows in `hessian` supplies it; 0: none wanted */
    const int32_t *bin;
    const float *mult;
    ptrdiff_t bins;
    int shared;           /* many: all objectives at the one mixture */
    const int64_t *index; /* pack: rows to copy */
    void *panels;
    double *offset;
    ptrdiff_t block; /* rows a panel */
} mf_task;

/* How the bins of neighbouring rows lie. */
enum { MF_BINS_SCATTERED, MF_BINS_ONE, MF_BINS_NEXT };

_Static_assert(sizeof(mf_facts) % sizeof(double) == 0, "facts fill whole slots of partial sums");

typedef int (*mf_chunk)(const mf_task *, ptrdiff_t, ptrdiff_t, double *, void *);

typedef struct {
    struct {
        mf_chunk run;
        size_t (*memory)(const mf_task *);
    } pass, sweep, nll, many, pack, scan;
} mf_kernels;

/* Cut `bytes` from a work area, each piece on its own cache line. */
static inline void *mf_take(char **at, ptrdiff_t bytes) {
    char *p = (char *)(((uintptr_t)*at + 63) & ~(uintptr_t)63);
    *at = p + bytes;
    return p;
}

/* Whether the 16 rows that `row` belongs to are among the one in `step` (a power of two) that supply the Hessian: one
 * of each run of `step` groups, at a hashed place, so that no period of the table can hide from it. */
static inline int mf_drawn(ptrdiff_t row, int step) {
    if (step == 1) return 1;
    const uint64_t group = (uint64_t)row / 16, run = group >> __builtin_ctz((unsigned)step);
    const uint64_t hash = (run + 1) * 0x9e3779b97f4a7c15u >> 33;
    return ((group ^ hash) & (uint64_t)(step - 1)) == 0;
}

/* Ask for rows that lie apart: each would otherwise be waited for in its turn. */
static inline void mf_prefetch_rows(const mf_rows *t, const int64_t *index, ptrdiff_t first, ptrdiff_t last) {
    const ptrdiff_t item = t->dtype == MF_F16 ? 2 : t->dtype == MF_F32 ? 4 : 8;
    for (ptrdiff_t i = first; i < last; i++) {
        const char *row = (const char *)t->data + index[i] * t->stride * item;
        for (ptrdiff_t at = 0; at < t->ncol * item; at += 64) __builtin_prefetch(row + at);
    }
}

/* IEEE half to float: shift the bits into place and rescale, subnormals by their integer value (subnormal floats are
 * flushed here). Infinities land on +-65536, whose exp is what is wanted of them; a table is checked for NaN and +inf
 * before it comes to where that matters. */
static inline float mf_half(uint16_t h) {
    uint32_t bits = (uint32_t)(h & 0x7fff) << 13;
    float x;
    memcpy(&x, &bits, sizeof x);
    x *= 5.192296858534828e33f;                                         /* 2^112 */
    if (!(h & 0x7c00)) x = (float)(h & 0x3ff) * 5.9604644775390625e-8f; /* 2^-24 */
    return h & 0x8000 ? -x : x;
}

/* 2^f = 1 + C1 f + ... + C6 f^6 on [-1/2, 1/2], least largest relative error (Lawson's weights). */
#define EXP2_C1 6.931471825e-01f
#define EXP2_C2 2.402264774e-01f
#define EXP2_C3 5.550332367e-02f
#define EXP2_C4 9.618436918e-03f
#define EXP2_C5 1.339887385e-03f
#define EXP2_C6 1.535336196e-04f

#define MF_JOIN_(name, isa, type) name##_##isa##type
#define MF_JOIN(name, isa, type) MF_JOIN_(name, isa, type)

#if MF_X86
MF_TARGET_BEGIN_V4
#define VBYTES 64
#define ISA v4
#include "rows_isa.h"
MF_TARGET_END

MF_TARGET_BEGIN_V3
#define VBYTES 32
#define ISA v3
#include "rows_isa.h"
MF_TARGET_END
#endif

#define VBYTES 16
#define ISA v1
#include "rows_isa.h"

/* 4: AVX-512, 3: AVX2, 1: baseline. MIXFAST_ISA=baseline|avx2|avx512 lowers the choice, for tests. */
static int mf_level(void) {
    static _Atomic int known = 0;
    int level = atomic_load_explicit(&known, memory_order_relaxed);
    if (level) return level;
    level = 1;
#if MF_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) level = 3;
    if (level == 3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        level = 4;
    const char *wish = getenv("MIXFAST_ISA");
    if (wish && !strcmp(wish, "baseline")) level = 1;
    if (wish && !strcmp(wish, "avx2") && level > 3) level = 3;
#endif
    atomic_store_explicit(&known, level, memory_order_relaxed);
    return level;
}

const char *mf_isa(void) {
    int level = mf_level();
    return level == 4 ? "avx512" : level == 3 ? "avx2" : "baseline";
}

static const mf_kernels *mf_choose(int wide) {
#if MF_X86
    if (mf_level() == 4) return wide ? &kernels_v4d : &kernels_v4f;
    if (mf_level() == 3) return wide ? &kernels_v3d : &kernels_v3f;
#endif
    return wide ? &kernels_v1d : &kernels_v1f;
}

/* Kernels that mostly transpose: on Zen 4 (gcc 12) the 512-bit ones took 1.7 times as long as the 256-bit ones. */
static const mf_kernels *mf_choose_narrow(int wide) {
#if MF_X86
    if (mf_level() == 4) return wide ? &kernels_v3d : &kernels_v3f;
#endif
    return mf_choose(wide);
}

/* Rows a panel: as many as keep the panel within `bytes` of cache, a multiple of `unit`, at most 512. */
static ptrdiff_t mf_block(const mf_rows *rows, ptrdiff_t bytes, ptrdiff_t unit) {
    if (rows->panels) return rows->block;
    ptrdiff_t block = bytes / ((rows->ncol + 1) * (rows->wide ? 8 : 4)) / unit * unit;
    return block < unit ? unit : block > 512 ? 512 : block;
}

/* Chunks: enough for any sensible number of threads, few enough that partial sums stay small. */
ptrdiff_t mf_plan(ptrdiff_t n, ptrdiff_t ncol, int hessian, ptrdiff_t *chunk_rows) {
    ptrdiff_t chunks = n * ncol / 65536 + 1;
    if (chunks > 128) chunks = 128;
    if (hessian) {
        ptrdiff_t most = (4 << 20) / (ncol * ncol) + 4; /* 32 MB of partial Hessians */
        if (chunks > most) chunks = most;
    }
    ptrdiff_t rows = (n + chunks - 1) / chunks;
    rows = (rows + 511) / 512 * 512; /* a multiple of every block size that divides 512 */
    *chunk_rows = rows;
    return (n + rows - 1) / rows;
}

typedef struct {
    const mf_task *task;
    mf_chunk run;
    size_t bytes, slot;
    ptrdiff_t n, chunk_rows, first, last;
    double *partial;
    _Atomic ptrdiff_t next;
    _Atomic int failed;
} mf_crew;

/* Flush subnormal floats to zero while the kernels run: next to a row's largest probability they are nothing, and
 * arithmetic on them can be a hundred times slower. Returns the mode to restore. */
static unsigned mf_flush_subnormals(void) {
#if MF_X86
    unsigned mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | 0x8040);
    return mode;
#else
    return 0;
#endif
}

static void mf_restore(unsigned mode) {
#if MF_X86
    __builtin_ia32_ldmxcsr(mode);
#else
    (void)mode;
#endif
}

static void *mf_work(void *argument) {
    mf_crew *crew = argument;
    void *memory = malloc(crew->bytes);
    if (!memory) {
        atomic_store(&crew->failed, 1);
        return NULL;
    }
    const unsigned mode = mf_flush_subnormals();
    for (;;) {
        ptrdiff_t chunk = atomic_fetch_add(&crew->next, 1);
        if (chunk >= crew->last) break;
        ptrdiff_t row0 = chunk * crew->chunk_rows, row1 = row0 + crew->chunk_rows;
        double *out = crew->partial ? crew->partial + (size_t)(chunk - crew->first) * crew->slot : NULL;
        crew->run(crew->task, row0, row1 < crew->n ? row1 : crew->n, out, memory);
    }
    mf_restore(mode);
    free(memory);
    return NULL;
}

/* Threads live for one call only: nothing to inherit at a fork, nothing to shut down. */
static int mf_crew_run(const mf_task *task, mf_chunk run, size_t bytes, size_t slot, ptrdiff_t n, ptrdiff_t chunk_rows,
                       ptrdiff_t first, ptrdiff_t last, double *partial, int threads) {
    mf_crew crew = {task, run, bytes, slot, n, chunk_rows, first, last, partial, first, 0};
    pthread_t helper[64];
    int started = 0;
    if (threads > last - first) threads = (int)(last - first);
    if (threads > 64) threads = 64;
    while (started < threads - 1 && !pthread_create(&helper[started], NULL, mf_work, &crew)) started++;
    mf_work(&crew);
    for (int i = 0; i < started; i++) pthread_join(helper[i], NULL);
    /* a helper that found no memory leaves its chunks to the others; only when all fail is work left */
    return atomic_load(&crew.next) < last ? -1 : 0;
}

int mf_pass(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, ptrdiff_t first,
            ptrdiff_t last, double *partial, int threads) {
    const mf_kernels *kernels = mf_choose(rows->wide);
    mf_task task = {.rows = rows, .mixtures = mixture, .m = 1, .value = value, .hessian = hessian, .coarse = coarse};
    ptrdiff_t chunk_rows;
    mf_plan(rows->n, rows->ncol, hessian, &chunk_rows);
    size_t slot = (size_t)(1 + rows->ncol + (hessian ? (rows->ncol + 1) * rows->ncol : 0));
    size_t bytes = rows->panels ? kernels->pass.memory(&task) : kernels->sweep.memory(&task);
    return mf_crew_run(&task, rows->panels ? kernels->pass.run : kernels->sweep.run, bytes, slot, rows->n, chunk_rows,
                       first, last, partial, threads);
}

int mf_mixture_nll(const mf_rows *rows, const double *mixtures, ptrdiff_t m, int products, ptrdiff_t first,
                   ptrdiff_t last, double *partial, int threads) {
    const mf_kernels *kernels = mf_choose(rows->wide);
    mf_task task = {.rows = rows, .mixtures = mixtures, .m = m, .products = products};
    task.block = mf_block(rows, 32 << 10, 64);
    ptrdiff_t chunk_rows;
    mf_plan(rows->n, rows->ncol, 0, &chunk_rows);
    return mf_crew_run(&task, kernels->nll.run, kernels->nll.memory(&task), (size_t)m, rows->n, chunk_rows, first, last,
                       partial, threads);
}

int mf_many_gradients(const mf_rows *rows, const double *mixtures, ptrdiff_t m, int shared, const int32_t *bin,
                      const float *mult, ptrdiff_t bins, ptrdiff_t first, ptrdiff_t last, double *partial,
                      int threads) {
    const mf_kernels *kernels = mf_choose(rows->wide);
    mf_task task = {
        .rows = rows, .mixtures = mixtures, .m = m, .shared = shared, .bin = bin, .mult = mult, .bins = bins};
    task.block = mf_block(rows, 128 << 10, 32);
    ptrdiff_t chunk_rows;
    mf_plan(rows->n, rows->ncol, 0, &chunk_rows);
    return mf_crew_run(&task, kernels->many.run, kernels->many.memory(&task), (size_t)(m * rows->ncol), rows->n,
                       chunk_rows, first, last, partial, threads);
}

void mf_draw(const uint32_t *bits, ptrdiff_t m, ptrdiff_t size, float *counts, ptrdiff_t stride) {
    for (ptrdiff_t j = 0; j < m; j++) {
        float *own = counts + j * stride;
        memset(own, 0, (size_t)size * sizeof *own);
        for (ptrdiff_t i = 0; i < size; i++) own[(uint64_t)bits[j * size + i] * (uint64_t)size >> 32] += 1;
    }
}

int mf_pack(const mf_rows *rows, const int64_t *index, ptrdiff_t n, ptrdiff_t block, int wide, void *panels,
            double *offset, int threads) {
    const mf_kernels *kernels = mf_choose_narrow(wide);
    mf_task task = {.rows = rows, .index = index, .panels = panels, .offset = offset, .block = block};
    ptrdiff_t chunk_rows;
    ptrdiff_t chunks = mf_plan(n, rows->ncol, 0, &chunk_rows);
    return mf_crew_run(&task, kernels->pack.run, kernels->pack.memory(&task), 0, n, chunk_rows, 0, chunks, NULL,
                       threads);
}

int mf_scan(const mf_rows *rows, ptrdiff_t first, ptrdiff_t last, mf_facts *partial, int threads) {
    const mf_kernels *kernels = mf_choose_narrow(rows->wide);
    mf_task task = {.rows = rows};
    ptrdiff_t chunk_rows;
    mf_plan(rows->n, rows->ncol, 0, &chunk_rows);
    return mf_crew_run(&task, kernels->scan.run, kernels->scan.memory(&task), sizeof(mf_facts) / sizeof(double),
                       rows->n, chunk_rows, first, last, (double *)partial, threads);
}
