/* Known values of the C core, without Python: compiled for other processors (`make cross`) and run here or in an
 * emulator.
 *
 * The inputs are formulas with values that are exact in floating point. known.py computes the expected results with
 * numpy and writes them to known.h. Prints one line for each wrong number; the exit status is the number of wrong
 * numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../csrc/rows/fingerprint.h"
#include "../../../csrc/rows/rows.h"
#include "../../../csrc/shared/exp.h"
#include "../../../csrc/shared/isa.h"
#include "../../../csrc/simplex/projection.h"
#include "../../../csrc/simplex/qp.h"
#include "../../../csrc/stream/blend.h"
#include "known.h"

static int wrong = 0;

/* Compare n numbers, with an error relative to the largest of them. */
static void compare(const char *what, const double *found, const double *wanted, int n, double tolerance) {
    double scale = 0;
    for (int i = 0; i < n; i++) scale = fabs(wanted[i]) > scale ? fabs(wanted[i]) : scale;
    for (int i = 0; i < n; i++)
        if (!(fabs(found[i] - wanted[i]) <= tolerance * scale)) {
            printf("%s[%d] is %.17g, expected %.17g\n", what, i, found[i], wanted[i]);
            wrong++;
        }
}

static void expect(const char *what, long long found, long long wanted) {
    if (found == wanted) return;
    printf("%s is %lld, expected %lld\n", what, found, wanted);
    wrong++;
}

/* ---- exponentials, beside libm's ---------------------------------------------------------------------- */

static void check_exp(void) {
    enum { COUNT = 14001 };
    static double x[COUNT], work[COUNT];
    for (int i = 0; i < COUNT; i++) x[i] = (i - 7000) * 0.1;
    mf_exp(COUNT, x, work);
    for (int i = 0; i < COUNT; i++) {
        const double wanted = exp((i - 7000) * 0.1);
        compare("exp", &x[i], &wanted, 1, 1e-15);
    }
    double beyond[2] = {-INFINITY, -1e9};
    mf_exp(2, beyond, work);
    for (int i = 0; i < 2; i++) expect("the exp of a very small number is below 1e-300", beyond[i] < 1e-300, 1);
}

/* ---- fingerprints, word by word ----------------------------------------------------------------------- */

static void check_fingerprint(void) {
    enum { BYTES = 3 * 128 + 77, ROOM = 4 * 128 };
    unsigned char bytes[ROOM] = {0};
    uint32_t found[MF_FINGERPRINT], wanted[MF_FINGERPRINT], word;
    for (int i = 0; i < BYTES; i++) bytes[i] = (unsigned char)(i * i * 7 + 255 * (i % 3));
    for (uint32_t i = 0; i < MF_FINGERPRINT; i++) wanted[i] = i;
    for (size_t at = 0; at < ROOM; at += sizeof word) {
        uint32_t *state = &wanted[at / sizeof word % MF_FINGERPRINT];
        memcpy(&word, bytes + at, sizeof word);
        *state = ((*state << 9 | *state >> 23) ^ word) * 0x9e3779b9u;
    }
    mf_fingerprint(bytes, BYTES, found);
    for (int i = 0; i < MF_FINGERPRINT; i++) expect("a word of a fingerprint", found[i], wanted[i]);
}

/* ---- rows: 1000 rows under 5 experts ------------------------------------------------------------------ */

enum { N = ROWS_N, K = ROWS_K, M = ROWS_M };

static double loglik64[N * K], weight[N], mixtures[M * K];
static float loglik32[N * K];
static uint16_t loglik16[N * K];

/* -x for x = 0, 1/8, ..., 28/8 in half precision: two or three bits of mantissa, or 0. */
static uint16_t half_of(int eighths) {
    int exponent = 15 - 3, mantissa = eighths;
    if (!eighths) return 0x8000;
    while (mantissa >= 2) mantissa >>= 1, exponent++;
    return (uint16_t)(0x8000 | exponent << 10 | ((eighths << (10 - (exponent - 12))) & 0x3ff));
}

static void make_table(void) {
    for (int i = 0; i < N; i++) {
        weight[i] = (1 + i % 3) / 1024.0;
        for (int k = 0; k < K; k++) {
            const int eighths = (7 * i + 13 * k + i * k % 5) % 29;
            loglik64[i * K + k] = -eighths / 8.0;
            loglik32[i * K + k] = -(float)eighths / 8.0f;
            loglik16[i * K + k] = half_of(eighths);
        }
    }
    for (int j = 0; j < M; j++)
        for (int k = 0; k < K; k++) mixtures[j * K + k] = (1 + (j + 2 * k) % 7) / 32.0;
}

/* Add the partial sums of all chunks. */
static void add(double *total, const double *partial, ptrdiff_t chunks, ptrdiff_t slot) {
    memset(total, 0, (size_t)slot * sizeof *total);
    for (ptrdiff_t j = 0; j < chunks; j++)
        for (ptrdiff_t i = 0; i < slot; i++) total[i] += partial[j * slot + i];
}

/* The core computes only the lower triangle. */
static void mirror(double *hessian) {
    for (int i = 0; i < K; i++)
        for (int j = 0; j < i; j++) hessian[j * K + i] = hessian[i * K + j];
}

static void check_sums(const mf_rows *rows, const char *what, double tolerance) {
    enum { SLOT = 1 + K + K * K + K };
    char name[80];
    double total[SLOT], again[SLOT];
    ptrdiff_t chunk_rows;
    const ptrdiff_t chunks = mf_plan_chunks(N, K, 1, &chunk_rows);
    double *partial = malloc((size_t)chunks * (SLOT > M * K ? SLOT : M * K) * sizeof *partial);
    for (int threads = 1; threads <= 3; threads++) {
        expect("mf_sums", mf_sums(rows, known_mixture, 1, 1, 0, (mf_also){0}, 0, chunks, partial, threads), 0);
        add(threads == 1 ? total : again, partial, chunks, SLOT);
        if (threads > 1) expect("sums of several threads differ", memcmp(total, again, sizeof total), 0);
    }
    mirror(total + 1 + K);
    snprintf(name, sizeof name, "%s value", what);
    compare(name, total, &known_value, 1, tolerance);
    snprintf(name, sizeof name, "%s gradient", what);
    compare(name, total + 1, known_gradient, K, tolerance);
    snprintf(name, sizeof name, "%s hessian", what);
    compare(name, total + 1 + K, known_hessian, K * K, tolerance);

    const ptrdiff_t fewer = mf_plan_chunks(N, K, 0, &chunk_rows);
    double many[M * K];
    expect("mf_losses", mf_losses(rows, mixtures, M, 1, 0, fewer, partial, 2), 0);
    add(many, partial, fewer, M);
    snprintf(name, sizeof name, "%s losses", what);
    compare(name, many, known_losses, M, tolerance);
    expect("mf_gradients", mf_gradients(rows, mixtures, M, 0, NULL, NULL, 0, 0, fewer, partial, 2), 0);
    add(many, partial, fewer, M * K);
    snprintf(name, sizeof name, "%s gradients", what);
    compare(name, many, known_gradients, M * K, tolerance);
    free(partial);
}

static void check_rows(void) {
    const void *data[] = {loglik16, loglik32, loglik64};
    const double tolerance[] = {2e-6, 1e-12};
    make_table();
    for (int dtype = MF_F16; dtype <= MF_F64; dtype++)
        for (int wide = 0; wide < 2; wide++)
            for (int shift = 0; shift < 2; shift++) {
                char name[80];
                const mf_rows rows = {.data = data[dtype],
                                      .dtype = dtype,
                                      .n = N,
                                      .stride = K,
                                      .ncol = K,
                                      .weight = weight,
                                      .scale = 1.0 / 512,
                                      .shift = shift,
                                      .wide = wide};
                snprintf(name, sizeof name, "type %d, wide %d, shift %d,", dtype, wide, shift);
                check_sums(&rows, name, tolerance[wide]);

                enum { BLOCK = 64 };
                const ptrdiff_t elements = (N + BLOCK - 1) / BLOCK * BLOCK * K;
                char *memory = calloc((size_t)elements * 8 + 64, 1);
                double offset[N];
                mf_rows packed = {.n = N,
                                  .ncol = K,
                                  .weight = weight,
                                  .scale = 1.0 / 512,
                                  .wide = wide,
                                  .panels = memory + (64 - (size_t)memory % 64),
                                  .block = BLOCK,
                                  .offset = shift ? offset : NULL};
                expect("mf_pack", mf_pack(&rows, NULL, N, BLOCK, wide, (void *)packed.panels, shift ? offset : NULL, 2),
                       0);
                snprintf(name, sizeof name, "packed, type %d, wide %d, shift %d,", dtype, wide, shift);
                check_sums(&packed, name, tolerance[wide]);
                free(memory);

                mf_extremes extremes[128];
                ptrdiff_t chunk_rows;
                const ptrdiff_t chunks = mf_plan_chunks(N, K, 0, &chunk_rows);
                expect("mf_scan", mf_scan(&rows, 0, chunks, extremes, 1), 0);
                for (ptrdiff_t c = 1; c < chunks; c++) {
                    extremes[0].largest = fmax(extremes[0].largest, extremes[c].largest);
                    extremes[0].smallest = fmin(extremes[0].smallest, extremes[c].smallest);
                    extremes[0].lowest_top = fmin(extremes[0].lowest_top, extremes[c].lowest_top);
                }
                const double found[] = {extremes[0].largest, extremes[0].smallest, extremes[0].lowest_top};
                compare("extremes", found, known_extremes, 3, 0);
            }
    float counts[8];
    uint32_t bits[8];
    for (uint32_t i = 0; i < 8; i++) bits[i] = i * 0x1fffffffu;
    mf_resample(bits, 1, 8, counts, 8);
    for (int i = 0; i < 8; i++) expect("counts", (long long)counts[i], known_counts[i]);
}

/* ---- simplex ------------------------------------------------------------------------------------------ */

static void check_simplex(void) {
    double out[QP_N], level = 0;
    expect("mf_project", mf_project(simplex_point, simplex_low, simplex_high, QP_N, 1.0, out), MF_OK);
    compare("projection", out, known_projection, QP_N, 1e-14);
    const double known_scaled[3] = {0.5, 1.0 / 3.0, 1.0 / 6.0}, scaled[3] = {0.7, 0.2, 0.1}, none[3] = {0};
    const double half[3] = {0.5, 0.5, 0.5};
    expect("mf_kl_project", mf_kl_project(scaled, none, half, 3, 1.0, out), MF_OK);
    compare("KL projection", out, known_scaled, 3, 1e-14);
    expect("mf_linear_min", mf_linear_min(simplex_point, simplex_low, simplex_high, QP_N, 1.0, out), MF_OK);
    compare("vertex", out, known_vertex, QP_N, 1e-14);
    for (int k = 0; k < QP_N; k++) out[k] = 0.01;
    expect("mf_project without room", mf_project(simplex_point, simplex_low, out, QP_N, 1.0, out), MF_INFEASIBLE);

    signed char state[QP_N] = {0};
    expect("mf_qp failed",
           mf_qp(QP_N, qp_hessian, qp_gradient, qp_start, simplex_low, simplex_high, state, out, &level) < 0, 0);
    compare("step", out, known_step, QP_N, 1e-9);
    compare("level", &level, &known_level, 1, 1e-9);
    for (int k = 0; k < QP_N; k++) expect("state", state[k], known_state[k]);

    double hessian[QP_N * QP_N], image[QP_N];
    const int64_t which[1] = {0};
    memcpy(hessian, qp_hessian, sizeof hessian);
    expect("mf_bfgs_many", mf_bfgs_many(1, QP_N, hessian, which, bfgs_moved, bfgs_change), 0);
    for (int i = 0; i < QP_N; i++) {
        image[i] = 0;
        for (int j = 0; j < QP_N; j++) image[i] += hessian[i * QP_N + j] * bfgs_moved[j];
    }
    compare("secant equation", image, bfgs_change, QP_N, 1e-12);
}

/* ---- stream ------------------------------------------------------------------------------------------- */

/* FNV-1a: a stream is the same on every machine, to the last bit. */
static uint64_t hashed(uint64_t hash, const int64_t *numbers, int n) {
    for (int i = 0; i < n; i++)
        for (int byte = 0; byte < 8; byte++) hash = (hash ^ ((uint64_t)numbers[i] >> 8 * byte & 0xff)) * 0x100000001b3u;
    return hash;
}

static void check_stage(const mf_stage *stage, const mf_domain *domain, const int64_t *known_order, uint64_t known) {
    enum { COUNT = STREAM_COUNT };
    static int64_t run[3][COUNT], one[3][COUNT];
    uint64_t hash = 0xcbf29ce484222325u;
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        const int64_t first = shuffle ? 1000000007 : 0;
        expect("mf_blend_run", mf_blend_run(stage, domain, shuffle, first, COUNT, run[0], run[1], run[2]), MF_BLEND_OK);
        mf_blend_at(stage, domain, shuffle, first, 1, COUNT, one[0], one[1], one[2]);
        expect("a run and single samples differ", memcmp(run, one, sizeof run), 0);
        for (int j = 0; !shuffle && j < STREAM_SHOWN; j++) expect("domain", run[0][j], known_order[j]);
        for (int c = 0; c < 3; c++) hash = hashed(hash, run[c], COUNT);
    }
    expect("hash of a stream", (long long)(hash & 0xffffffff), (long long)(known & 0xffffffff));
}

static void check_stream(void) {
    enum { D = STREAM_D };
    int64_t v[D], share[D], base[D] = {0};
    int32_t number[D], parent[2 * D - 1];
    mf_split split[D - 1];
    mf_slope slope[D - 1];
    mf_domain domain[D];
    for (int k = 0; k < D; k++) {
        v[k] = D - k, number[k] = k;
        domain[k] = (mf_domain){40 + 7 * k, mf_mix((uint64_t)(k + 1))};
    }
    mf_tree_shares(D, v, share);
    mf_stage stage = {.leaves = D, .split = split, .base = base, .domain = number, .parent = parent};
    parent[D] = -1;
    expect("mf_tree_shape", mf_tree_shape(D, share, split, parent), MF_BLEND_OK);
    const int64_t bound = mf_tree_fill(&stage, share, NULL, NULL);
    expect("bound is at most 3/2", bound > 0 && bound <= (int64_t)3 << 32, 1);
    check_stage(&stage, domain, known_order, known_hash);

    /* A ramp of 64 steps of 100 samples, from these shares to the reverse. */
    int64_t end[D], line[D];
    for (int k = 0; k < D; k++) v[k] = k + 1;
    mf_tree_shares(D, v, end);
    mf_tree_slopes(D, share, end, 100, 6400, line);
    stage.slope = slope, stage.step = 100, stage.steps = 64;
    expect("mf_tree_fill failed", mf_tree_fill(&stage, share, line, NULL) < 0, 0);
    check_stage(&stage, domain, known_ramp_order, known_ramp_hash);
}

int main(void) {
    check_exp();
    check_fingerprint();
    check_rows();
    check_simplex();
    check_stream();
    printf("%s: %d wrong\n", mf_isa() == MF_AVX512 ? "avx512" : mf_isa() == MF_AVX2 ? "avx2" : "baseline", wrong);
    return wrong > 100 ? 100 : wrong;
}
