#include "rows.h"

#include <math.h>
#include <string.h>

#include "../shared/interrupt.h"
#include "../shared/isa.h"
#include "../shared/pool.h"
#include "../shared/simd.h"

#if MF_X86
#include <immintrin.h>
#endif

/* The input of a kernel; each kernel reads the fields that it needs. */
typedef struct {
    const mf_rows *rows;
    const double *mixtures;
    ptrdiff_t m;
    int value, coarse, products;
    int hessian; /* estimated from one group of 16 rows in `hessian`; 0: not computed */
    const int32_t *bin;
    const float *mult;
    ptrdiff_t bins;
    mf_also also;
    int shared;           /* gradients: all objectives at the same mixture */
    const int64_t *index; /* pack: rows to copy */
    void *panels;
    double *offset;
    ptrdiff_t block; /* rows of a panel */
} mf_task;

/* Whether neighbouring rows have unrelated bins, one common bin, or consecutive bins. */
enum { MF_BINS_UNRELATED, MF_BINS_EQUAL, MF_BINS_CONSECUTIVE };

_Static_assert(sizeof(mf_extremes) % sizeof(double) == 0, "extremes fill whole slots of partial sums");

/* Rows [row0, row1): sums go to `out`; the work area `memory` has as many bytes as `mf_kernel.memory` says. */
typedef void mf_kernel_function(const mf_task *task, ptrdiff_t row0, ptrdiff_t row1, double *out, void *memory);

typedef struct {
    mf_kernel_function *run;
    size_t (*memory)(const mf_task *);
} mf_kernel;

/* All kernels for one instruction set and element type. */
typedef struct {
    mf_kernel packed_sums, table_sums, losses, gradients, pack, scan;
} mf_kernels;

/* How far ahead chosen columns of a table are prefetched. */
enum { PREFETCH_ROWS = 8 };

/* Reserve `bytes` of a work area, beginning on a cache line. */
static inline void *mf_reserve(char **at, ptrdiff_t bytes) {
    char *p = (char *)(((uintptr_t)*at + 63) & ~(uintptr_t)63);
    *at = p + bytes;
    return p;
}

/* Return whether the group of 16 rows that holds `row` is sampled for the Hessian. One group of each `step` consecutive
 * ones (a power of two) is sampled, at a hashed place, so that no period of the table can bias the estimate. */
static inline int mf_sampled(ptrdiff_t row, int step) {
    if (step == 1) return 1;
    const uint64_t group = (uint64_t)row / 16, set = group >> __builtin_ctz((unsigned)step);
    const uint64_t hash = (set + 1) * 0x9e3779b97f4a7c15u >> 33;
    return ((group ^ hash) & (uint64_t)(step - 1)) == 0;
}

/* Set n doubles to 0, in pieces: the first write to a page is slow, and a signal must be seen in between. */
static void mf_clear(double *x, ptrdiff_t n) {
    const ptrdiff_t piece = 1 << 16;
    for (ptrdiff_t first = 0; first < n && !mf_interrupted(16.0 * (double)piece); first += piece)
        memset(x + first, 0, (size_t)(n - first < piece ? n - first : piece) * sizeof *x);
}

/* Prefetch rows that are not neighbours: otherwise each costs a full memory latency. */
static inline void mf_prefetch_rows(const mf_rows *t, const int64_t *index, ptrdiff_t first, ptrdiff_t last) {
    const ptrdiff_t item = t->dtype == MF_F16 ? 2 : t->dtype == MF_F32 ? 4 : 8;
    for (ptrdiff_t i = first; i < last; i++) {
        const char *row = (const char *)t->data + index[i] * t->stride * item;
        for (ptrdiff_t at = 0; at < t->ncol * item; at += 64) __builtin_prefetch(row + at);
    }
}

/* IEEE half to float, exactly and without a branch: the bits are shifted into place and rescaled. A subnormal half
 * would be a subnormal float on the way, which is flushed here, so its bits are set behind a leading one that is taken
 * off again. Infinities become +-65536, whose exp is right for them; a table is checked for NaN and +inf before that
 * matters. */
static inline float mf_half(uint16_t h) {
    const uint32_t bits = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t small = (uint32_t)113 << 23 | (uint32_t)(h & 0x3ff) << 13, one = (uint32_t)113 << 23; /* 2^-14 */
    float x, y, leading;
    memcpy(&x, &bits, sizeof x);
    memcpy(&y, &small, sizeof y);
    memcpy(&leading, &one, sizeof leading);
    x *= 5.192296858534828e33f; /* 2^112 */
    y -= leading;
    uint32_t normal, subnormal;
    memcpy(&normal, &x, sizeof normal);
    memcpy(&subnormal, &y, sizeof subnormal);
    const uint32_t mask = (uint32_t)0 - ((h & 0x7c00) != 0), chosen = ((normal & mask) | (subnormal & ~mask)) | sign;
    memcpy(&x, &chosen, sizeof x);
    return x;
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

static const mf_kernels *kernels_for(int wide) {
#if MF_X86
    if (mf_isa() == MF_AVX512) return wide ? &kernels_v4d : &kernels_v4f;
    if (mf_isa() == MF_AVX2) return wide ? &kernels_v3d : &kernels_v3f;
#endif
    return wide ? &kernels_v1d : &kernels_v1f;
}

/* For kernels that mostly transpose. On Zen 4 with GCC 12, 512-bit vectors took 1.7 times as long as 256-bit vectors.
 */
static const mf_kernels *kernels_to_transpose(int wide) {
#if MF_X86
    if (mf_isa() == MF_AVX512) return wide ? &kernels_v3d : &kernels_v3f;
#endif
    return kernels_for(wide);
}

/* Rows of a panel: the most that keep it within `bytes` of cache, a multiple of `unit`, at most 512. */
static ptrdiff_t block_rows(const mf_rows *rows, ptrdiff_t bytes, ptrdiff_t unit) {
    if (rows->panels) return rows->block;
    ptrdiff_t block = bytes / ((rows->ncol + 1) * (rows->wide ? 8 : 4)) / unit * unit;
    return block < unit ? unit : block > 512 ? 512 : block;
}

/* At most 128 chunks: two for each of 64 threads, and few enough that partial sums stay small. */
ptrdiff_t mf_plan_chunks(ptrdiff_t n, ptrdiff_t ncol, int hessian, ptrdiff_t *chunk_rows) {
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
    mf_kernel_function *run;
    ptrdiff_t n, chunk_rows, first;
    size_t slot;
    double *partial;
} sweep;

static void run_chunk(const void *argument, ptrdiff_t chunk, void *memory) {
    const sweep *s = argument;
    const ptrdiff_t row0 = chunk * s->chunk_rows, row1 = row0 + s->chunk_rows;
    double *out = s->partial ? s->partial + (size_t)(chunk - s->first) * s->slot : NULL;
    s->run(s->task, row0, row1 < s->n ? row1 : s->n, out, memory);
}

/* Run a kernel on chunks [first, last) of n rows; each chunk owns `slot` doubles of `partial`. */
static int run_kernel(mf_kernel kernel, const mf_task *task, ptrdiff_t n, ptrdiff_t first, ptrdiff_t last,
                      ptrdiff_t slot, double *partial, int threads) {
    sweep s = {.task = task, .run = kernel.run, .n = n, .first = first, .slot = (size_t)slot, .partial = partial};
    const mf_rows *rows = task->rows;
    mf_span reads = {rows->data, 0};
    if (rows->mapped) /* all of the last row, to the end of its page */
        reads.bytes = (size_t)(rows->n * rows->stride) * (rows->dtype == MF_F16 ? 2 : rows->dtype == MF_F32 ? 4 : 8);
    mf_plan_chunks(n, rows->ncol, task->hessian, &s.chunk_rows);
    return mf_pool_run(run_chunk, &s, reads, first, last, kernel.memory(task), threads);
}

int mf_sums(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, mf_also also,
            ptrdiff_t first, ptrdiff_t last, double *partial, int threads) {
    const mf_kernels *kernels = kernels_for(rows->wide);
    mf_task task = {.rows = rows, .mixtures = mixture, .m = 1, .value = value, .hessian = hessian, .coarse = coarse};
    task.also = also;
    const ptrdiff_t slot = mf_slot(rows->ncol, hessian);
    return run_kernel(rows->panels ? kernels->packed_sums : kernels->table_sums, &task, rows->n, first, last, slot,
                      partial, threads);
}

int mf_losses(const mf_rows *rows, const double *mixtures, ptrdiff_t m, int products, ptrdiff_t first, ptrdiff_t last,
              double *partial, int threads) {
    mf_task task = {.rows = rows, .mixtures = mixtures, .m = m, .products = products};
    task.block = block_rows(rows, 32 << 10, 64);
    return run_kernel(kernels_for(rows->wide)->losses, &task, rows->n, first, last, m, partial, threads);
}

int mf_gradients(const mf_rows *rows, const double *mixtures, ptrdiff_t m, int shared, const int32_t *bin,
                 const float *mult, ptrdiff_t bins, ptrdiff_t first, ptrdiff_t last, double *partial, int threads) {
    mf_task task = {
        .rows = rows, .mixtures = mixtures, .m = m, .shared = shared, .bin = bin, .mult = mult, .bins = bins};
    task.block = block_rows(rows, 128 << 10, 32);
    return run_kernel(kernels_for(rows->wide)->gradients, &task, rows->n, first, last, m * rows->ncol, partial,
                      threads);
}

void mf_resample(const uint32_t *bits, ptrdiff_t m, ptrdiff_t size, float *counts, ptrdiff_t stride) {
    for (ptrdiff_t j = 0; j < m; j++) {
        float *own = counts + j * stride;
        memset(own, 0, (size_t)size * sizeof *own);
        for (ptrdiff_t first = 0; first < size; first += 1 << 16) {
            const ptrdiff_t last = first + (1 << 16) < size ? first + (1 << 16) : size;
            if (mf_interrupted((double)(last - first))) return;
            for (ptrdiff_t i = first; i < last; i++) own[(uint64_t)bits[j * size + i] * (uint64_t)size >> 32] += 1;
        }
    }
}

ptrdiff_t mf_by_influence(const float *influence, ptrdiff_t n, double apart, ptrdiff_t most, int64_t *index,
                          double *times) {
    double end = 0, next = 0.5 * apart; /* of the interval of a row; the first point that lies behind it */
    ptrdiff_t taken = 0;
    for (ptrdiff_t first = 0; first < n; first += 1 << 16) {
        const ptrdiff_t last = first + (1 << 16) < n ? first + (1 << 16) : n;
        if (mf_interrupted((double)(4 * (last - first)))) return taken;
        for (ptrdiff_t i = first; i < last; i++) {
            const double length = (double)influence[i];
            end += length;
            if (end <= next || taken == most) continue;
            index[taken] = i;
            times[taken++] = length < apart ? apart / length : 1.0;
            next = (floor(end / apart - 0.5) + 1.5) * apart;
        }
    }
    return taken;
}

int mf_pack(const mf_rows *rows, const int64_t *index, ptrdiff_t n, ptrdiff_t block, int wide, void *panels,
            double *offset, int threads) {
    mf_task task = {.rows = rows, .index = index, .panels = panels, .offset = offset, .block = block};
    ptrdiff_t chunk_rows;
    const ptrdiff_t chunks = mf_plan_chunks(n, rows->ncol, 0, &chunk_rows);
    return run_kernel(kernels_to_transpose(wide)->pack, &task, n, 0, chunks, 0, NULL, threads);
}

int mf_scan(const mf_rows *rows, ptrdiff_t first, ptrdiff_t last, mf_extremes *partial, int threads) {
    mf_task task = {.rows = rows};
    return run_kernel(kernels_to_transpose(rows->wide)->scan, &task, rows->n, first, last,
                      sizeof(mf_extremes) / sizeof(double), (double *)partial, threads);
}
