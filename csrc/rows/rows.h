/* Sweeps over the rows of a table of log-likelihoods: value, gradient and Hessian of
 *
 *     L(w) = sum_i c_i * -log(sum_k w_k exp(l_ik)),
 *
 * and the losses of many candidate mixtures. Rows are read in blocks that stay in cache; a block is turned
 * into a panel of probabilities, domain by domain (panel[k][row]), so that all arithmetic runs down the rows
 * and no horizontal sums are needed per row.
 *
 * Rows are cut into chunks whose number depends on the sizes alone. Threads take chunks; the partial sums of
 * the chunks are added in order. The answer is therefore the same for any number of threads. */
#ifndef MIXFAST_ROWS_H
#define MIXFAST_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum { MF_F16 = 0, MF_F32 = 1, MF_F64 = 2 };

/* A table in memory (or memory-mapped), or a packed copy of some of its rows and columns. */
typedef struct {
    const void *data;     /* (n, stride) row-major log-likelihoods; NULL when packed */
    int dtype;            /* MF_F16, MF_F32, MF_F64 */
    ptrdiff_t n;          /* rows */
    ptrdiff_t stride;     /* elements from one row to the next */
    const int32_t *cols;  /* the ncol columns in use, or NULL for 0 .. ncol-1 */
    ptrdiff_t ncol;       /* columns in use */
    const double *weight; /* (n,) c_i, or NULL when all equal `scale` */
    double scale;         /* the common c_i, or a typical one: inner sums run on c_i / scale */
    int shift;            /* subtract each row's maximum before exp */
    int bounded;          /* no element is so low that exp underflows */
    int wide;             /* panels in double (1) or float (0) */
    int mapped;           /* the memory may be a file's, which can be cut short while it is read */
    const void *panels;   /* packed panels [block][ncol][rows of the block], or NULL */
    ptrdiff_t block;      /* rows of a packed block */
    const double *offset; /* packed: (n,) the row maxima that were subtracted, or NULL */
} mf_rows;

/* Extremes of a table, found in one sweep; NaN is left out of them. */
typedef struct {
    double largest, smallest; /* over all elements */
    double lowest_top;        /* the smallest of the rows' largest elements */
    int has_nan;
} mf_extremes;

/* What a sweep of a table that is not packed can give besides its sums; zeros for nothing. */
typedef struct {
    float *influence;      /* (n,) receives max_k p_ik / (p_i . w) of each row; only with `coarse` */
    const int32_t *curved; /* ascending columns that the Hessian of all rows is computed over; NULL for all */
    ptrdiff_t ncurved;
} mf_also;

/* Number of chunks that n rows are cut into, and how many rows each has; it depends on the sizes alone. */
ptrdiff_t mf_plan_chunks(ptrdiff_t n, ptrdiff_t ncol, int hessian, ptrdiff_t *chunk_rows);

/* Sums over chunks [first, last) of the plan, one slot of `partial` each: value, gradient, Hessian, diagonal
 * (1 + ncol [+ ncol^2 + ncol] doubles). `hessian`: 0 for none, 1 for that of all rows, a power of two for an estimate
 * from one group of 16 rows in so many, together with the diagonal of all rows. `coarse`: float arithmetic
 * throughout, and no diagonal, for steps far from the optimum. Returns 0, or -1 when memory runs out, MF_LOST when a
 * mapped table has been cut short; so do all functions that read a table. A Hessian over m `curved` columns is the
 * first m^2 doubles of its place, and no diagonal is needed. */
int mf_sums(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, mf_also also,
            ptrdiff_t first, ptrdiff_t last, double *partial, int threads);

/* Doubles of one slot of mf_sums. */
static inline ptrdiff_t mf_slot(ptrdiff_t ncol, int hessian) { return 1 + ncol + (hessian ? ncol * ncol + ncol : 0); }

/* The sums over all rows: one slot, with a whole, symmetric Hessian; an estimated one is scaled to the diagonal of all
 * rows, and the entries behind it are scratch. One over some columns is 0 elsewhere. Returns what mf_sums does. */
int mf_total(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, double *total,
             int threads);
int mf_total_also(const mf_rows *rows, const double *mixture, int value, int hessian, int coarse, mf_also also,
                  double *total, int threads);

/* Add the partial sums of each chunk (slot,), in their order, to the total. */
void mf_add_chunks(double *total, const double *partial, ptrdiff_t chunks, ptrdiff_t slot);

/* How many threads to start: at most one for each 2^20 elements. A Hessian multiplies each element by half of the
 * others of its row, eight times as fast as a sweep handles it. */
int mf_useful_threads(const mf_rows *rows, int hessian, int threads);

/* Losses of m candidates over chunks [first, last): `partial` holds m doubles a chunk. `products` is how many
 * row probabilities may be multiplied in the panels' precision without underflow (1, 2 or 4). */
int mf_losses(const mf_rows *rows, const double *mixtures, ptrdiff_t m, int products, ptrdiff_t first, ptrdiff_t last,
              double *partial, int threads);

/* Gradients of m objectives, each at its own mixture and with its own multiplicity of each bin of rows:
 * partial (m, ncol) a chunk: -sum_i c_i mult[j][bin_i] p_ik / (p_i.w_j). `bin` (n,) or NULL for mult = 1.
 * `shared`: all objectives are taken at the same mixture (with bins); runs of rows of the same bin are then summed
 * before they are multiplied, and m objectives cost little more than one. */
int mf_gradients(const mf_rows *rows, const double *mixtures, ptrdiff_t m, int shared, const int32_t *bin,
                 const float *mult, ptrdiff_t bins, ptrdiff_t first, ptrdiff_t last, double *partial, int threads);

/* counts[j * stride + u] = how often replicate j holds unit u, of `size` draws with replacement from `size` units for
 * each of m replicates. `bits` (m, size) are random; a unit's probability is off by less than 2^-32. */
void mf_resample(const uint32_t *bits, ptrdiff_t m, ptrdiff_t size, float *counts, ptrdiff_t stride);

/* A systematic sample of n rows by influence: row i holds the interval of its influence on a line, and the rows at the
 * points (j + 1/2) apart are taken, at most `most`. Writes their indices, and by how much to multiply their weights:
 * apart / influence, or 1 for rows that are longer than that. Returns how many were taken. */
ptrdiff_t mf_by_influence(const float *influence, ptrdiff_t n, double apart, ptrdiff_t most, int64_t *index,
                          double *times);

/* Copy rows index[0 .. n) (or all, index NULL) and the columns in use into panels of `block` rows. */
int mf_pack(const mf_rows *rows, const int64_t *index, ptrdiff_t n, ptrdiff_t block, int wide, void *panels,
            double *offset, int threads);

/* Extremes of the rows of chunks [first, last), one `mf_extremes` a chunk. */
int mf_scan(const mf_rows *rows, ptrdiff_t first, ptrdiff_t last, mf_extremes *partial, int threads);

#endif
