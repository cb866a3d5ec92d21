/* The tree of a stage: its shape, its numbers, and the paths down and up. blend.h explains it. */
#include "blend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/interrupt.h"

typedef __int128 i128;
typedef unsigned __int128 u128;

#define Q ((int64_t)1 << MF_Q_BITS)

static inline i128 floor_div(i128 a, i128 b) {
    const i128 q = a / b;
    return q - (a < q * b);
}

/* The quotient fits 64 bits and the divisor is positive: one machine division if the dividend is not negative. */
static inline int64_t floor_ratio(i128 a, int64_t b) {
    if (a >= 0) return (int64_t)((u128)a / (uint64_t)b);
    return -(int64_t)(((u128)-a + (uint64_t)b - 1) / (uint64_t)b);
}

typedef struct {
    ptrdiff_t first, last;
    int32_t above; /* parent code */
} range;

static inline void attach(mf_split *split, int32_t *parent, ptrdiff_t leaves, int32_t above, int32_t what) {
    parent[what >= 0 ? leaves + what : ~what] = above;
    if (above >= 0) split[above >> 1].child[above & 1] = what;
}

int mf_tree_shape(ptrdiff_t leaves, const int64_t *weight, mf_split *split, int32_t *parent) {
    /* Two copies of the leaves' numbers; the right side of a range goes through `spare`. At most one range is stacked
     * for each level above the current one. */
    int32_t *items = malloc(2 * (size_t)leaves * sizeof *items);
    range *pending = malloc(((size_t)leaves + 1) * sizeof *pending);
    if (!items || !pending) {
        free(items), free(pending);
        return MF_BLEND_MEMORY;
    }
    int32_t *spare = items + leaves;
    for (ptrdiff_t k = 0; k < leaves; k++) items[k] = (int32_t)k;
    ptrdiff_t stacked = 0;
    int32_t made = 0;
    pending[stacked++] = (range){0, leaves, -1};
    while (stacked) {
        const range r = pending[--stacked];
        if (mf_interrupted((double)(4 * (r.last - r.first)))) break;
        if (r.last - r.first == 1) {
            attach(split, parent, leaves, r.above, ~items[r.first]);
            continue;
        }
        const int32_t node = made++;
        attach(split, parent, leaves, r.above, node);
        int64_t ahead = 0; /* weight of the left side minus that of the right one */
        ptrdiff_t left = r.first, right = 0;
        for (ptrdiff_t k = r.first; k < r.last; k++) {
            const int32_t leaf = items[k];
            const int side = ahead > 0;
            const int64_t more = ahead + weight[leaf], less = ahead - weight[leaf];
            ahead = side ? less : more;
            items[left] = spare[right] = leaf; /* left <= k: what is overwritten has been read */
            left += !side, right += side;
        }
        memcpy(items + left, spare, (size_t)right * sizeof *items);
        pending[stacked++] = (range){left, r.last, 2 * node + 1};
        pending[stacked++] = (range){r.first, left, 2 * node};
    }
    free(items), free(pending);
    return MF_BLEND_OK;
}

/* Add the shares and exact counts of one child to those of its parent. */
static inline void fill_side(mf_split *split, mf_slope *slope, int32_t above, int64_t a, int64_t c, int64_t whole,
                             int64_t frac) {
    mf_split *node = split + (above >> 1);
    mf_slope *line = slope + (above >> 1);
    if (!(above & 1)) node->left = a, line->left_slope = c, node->part = whole, line->left_frac = frac;
    node->total += a, line->total_slope += c, node->origin += whole, line->total_frac += frac;
    if (line->total_frac >= Q) line->total_frac -= Q, node->origin += 1;
}

static inline int64_t share(int64_t a, int64_t c, int64_t u) { return a + c * (2 * u + 1); }

int64_t mf_tree_fill(mf_stage *stage, const int64_t *a, const int64_t *c, const int64_t *f) {
    const ptrdiff_t leaves = stage->leaves, nodes = leaves - 1;
    if (!nodes) return (int64_t)1 << 32;
    int64_t *deviation = calloc((size_t)nodes, sizeof *deviation), worst = 0;
    /* For constant shares they are needed here only. */
    mf_slope *slope = stage->steps ? stage->slope : malloc((size_t)nodes * sizeof *slope);
    if (!deviation || !slope) {
        free(deviation), free(stage->steps ? NULL : slope);
        return MF_BLEND_MEMORY;
    }
    for (ptrdiff_t j = 0; j < nodes; j++) {
        stage->split[j].total = stage->split[j].origin = 0;
        slope[j].total_slope = slope[j].total_frac = 0;
    }
    for (ptrdiff_t k = 0; k < leaves; k++)
        fill_side(stage->split, slope, stage->parent[k], a[k], c ? c[k] : 0, 0, f ? f[k] : 0);
    for (ptrdiff_t j = nodes - 1; j >= 0; j--) {
        mf_split *node = stage->split + j;
        const mf_slope *line = slope + j;
        if (j % 256 == 0 && mf_interrupted(256.0 * 64.0)) break;
        if (j)
            fill_side(stage->split, slope, stage->parent[leaves + j], node->total, line->total_slope, node->origin,
                      line->total_frac);
        node->phase = 0;
        if (!stage->steps) {
            /* Half a sample, plus the fraction of a sample by which the left child is ahead of its share. */
            const i128 ahead = (i128)line->left_frac * node->total - (i128)node->left * line->total_frac;
            const i128 phase = (2 * ahead + (i128)node->total * Q) >> (MF_Q_BITS + 1);
            const i128 turns = floor_div(phase, node->total);
            node->part += (int64_t)turns;
            node->phase = (int64_t)(phase - turns * node->total);
        }
    }
    /* From the root down, compute twice the bound at each child, rounded up. The ratio of two straight lines is largest
     * at an end. */
    const int64_t last = stage->steps ? stage->steps - 1 : 0;
    for (ptrdiff_t j = 0; j < nodes; j++) {
        const mf_split *node = stage->split + j;
        if (j % 256 == 0 && mf_interrupted(256.0 * 64.0)) break;
        for (int s = 0; s < 2; s++) {
            int64_t here = 0;
            for (int end = 0; end < 1 + (stage->steps > 1); end++) {
                const int64_t u = end ? last : 0, total = share(node->total, slope[j].total_slope, u);
                const int64_t left = share(node->left, slope[j].left_slope, u), w = s ? total - left : left;
                const int64_t passed = (int64_t)(((i128)w * deviation[j] + total - 1) / total);
                here = passed > here ? passed : here;
            }
            here += (int64_t)1 << 32;
            if (node->child[s] >= 0)
                deviation[node->child[s]] = here;
            else
                worst = here > worst ? here : worst;
        }
    }
    free(deviation), free(stage->steps ? NULL : slope);
    return worst;
}

/* Exact count of a ramp's node at the start of step u, in units of 1/Q, from the start of the stage. */
static inline i128 ramp_count(int64_t step, int64_t a, int64_t c, int64_t u) {
    return (i128)step * ((i128)a * u + (i128)c * u * u);
}

/* The step of a ramp in which a node's exact count reaches x: a floating-point guess, then exact comparisons. */
static int64_t ramp_step(const mf_stage *stage, const mf_split *s, const mf_slope *line, i128 x) {
    const double y = (double)x / (double)stage->step, a = (double)s->total, c = (double)line->total_slope;
    const double root = a * a + 4.0 * c * y;
    double guess = y <= 0 ? 0 : 2.0 * y / (a + sqrt(root > 0 ? root : 0));
    if (!(guess < (double)(stage->steps - 1))) guess = (double)(stage->steps - 1);
    int64_t u = (int64_t)guess;
    while (u > 0 && x < ramp_count(stage->step, s->total, line->total_slope, u)) u--;
    while (u < stage->steps - 1 && x >= ramp_count(stage->step, s->total, line->total_slope, u + 1)) u++;
    return u;
}

int64_t mf_split_left(const mf_stage *stage, const mf_split *s, int64_t n, u128 *rest, int64_t *until,
                      int64_t *shares) {
    if (!stage->steps) {
        const i128 top = (i128)s->left * (n - s->origin) + s->phase;
        const int64_t floor = floor_ratio(top, s->total);
        if (rest) {
            *rest = (u128)(top - (i128)floor * s->total);
            *until = MF_NEVER, shares[0] = s->left, shares[1] = s->total;
        }
        return s->part + floor;
    }
    const mf_slope *line = stage->slope + (s - stage->split);
    const i128 x = (i128)(n - s->origin) * Q - line->total_frac;
    const int64_t u = ramp_step(stage, s, line, x);
    const int64_t left = share(s->left, line->left_slope, u), total = share(s->total, line->total_slope, u);
    const i128 y = x - ramp_count(stage->step, s->total, line->total_slope, u);
    /* left * y / total in two parts, as the product alone would not fit. */
    const int64_t whole = floor_ratio(y, total), part = (int64_t)(y - (i128)whole * total);
    const i128 product = (i128)left * part;
    const int64_t floor = (int64_t)(product / total);
    const i128 count =
        ramp_count(stage->step, s->left, line->left_slope, u) + line->left_frac + Q / 2 + (i128)left * whole + floor;
    if (rest) {
        *rest = (u128)(count & (Q - 1)) * (u128)total + (u128)(product - (i128)floor * total);
        *until = MF_NEVER;
        if (u < stage->steps - 1) {
            /* The last count n with x(n) before the next step. */
            const i128 gone = ramp_count(stage->step, s->total, line->total_slope, u + 1) + line->total_frac;
            *until = s->origin + (int64_t)((gone - 1) >> MF_Q_BITS);
        }
        shares[0] = left, shares[1] = total;
    }
    return s->part + (int64_t)(count >> MF_Q_BITS);
}

int mf_tree_counts(const mf_stage *stage, int64_t n, int64_t *count) {
    const ptrdiff_t nodes = stage->leaves - 1;
    if (!nodes) {
        count[0] = n;
        return MF_BLEND_OK;
    }
    int64_t *own = malloc((size_t)nodes * sizeof *own);
    if (!own) return MF_BLEND_MEMORY;
    own[0] = n;
    for (ptrdiff_t j = 0; j < nodes; j++) {
        const mf_split *s = stage->split + j;
        if (j % 256 == 0 && mf_interrupted(256.0 * 64.0)) break;
        const int64_t left = mf_split_left(stage, s, own[j], NULL, NULL, NULL), both[2] = {left, own[j] - left};
        for (int side = 0; side < 2; side++) {
            const int32_t child = s->child[side];
            *(child >= 0 ? own + child : count + ~child) = both[side];
        }
    }
    free(own);
    return MF_BLEND_OK;
}

static inline int64_t child_count(const mf_stage *stage, const mf_split *s, int side, int64_t n) {
    const int64_t left = mf_split_left(stage, s, n, NULL, NULL, NULL);
    return side ? n - left : left;
}

/* The least count of a node at which its child's is m; constant shares. */
static int64_t node_when(const mf_split *s, int side, int64_t m) {
    i128 n;
    if (!side) {
        n = s->origin - floor_div(s->phase - (i128)(m - s->part) * s->total, s->left);
    } else {
        const i128 above = (i128)s->total * (s->part + m - 1) - (i128)s->left * s->origin + s->phase;
        n = floor_div(above, s->total - s->left) + 1;
    }
    return n < MF_NEVER ? (int64_t)(n > -MF_NEVER ? n : -MF_NEVER) : MF_NEVER;
}

/* The same on a ramp, for counts from `low` to `high`: `low` where the child has had its m-th before, MF_NEVER where it
 * does not get it. Instead of a closed form: a guess from the shares at `low`, in floating point, then
 * strides that double until the place is passed, then bisection. */
static int64_t ramp_when(const mf_stage *stage, const mf_split *s, int side, int64_t m, int64_t low, int64_t high) {
    u128 rest;
    int64_t until, shares[2], stride = 1;
    const int64_t left = mf_split_left(stage, s, low, &rest, &until, shares), had = side ? low - left : left;
    if (had >= m) return low;
    if (child_count(stage, s, side, high) < m) return MF_NEVER;
    const double away = (double)(m - had) * (double)shares[1] / (double)(side ? shares[1] - shares[0] : shares[0]);
    const int64_t near = away < (double)(high - low) ? low + (int64_t)away : high;
    if (near > low && child_count(stage, s, side, near) < m) {
        low = near;
        while (low + stride < high && child_count(stage, s, side, low + stride) < m) low += stride, stride *= 2;
        if (low + stride < high) high = low + stride;
    } else if (near > low) {
        high = near;
        while (high - stride > low && child_count(stage, s, side, high - stride) >= m) high -= stride, stride *= 2;
        if (high - stride > low) low = high - stride;
    }
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        *(child_count(stage, s, side, middle) < m ? &low : &high) = middle;
    }
    return high;
}

/* The parent codes from a leaf up to the root; returns how many. */
enum { MAX_DEPTH = 2 * MF_Q_BITS + 8 };
static int path_to_root(const mf_stage *stage, ptrdiff_t leaf, int32_t *path) {
    int depth = 0;
    for (int32_t above = stage->leaves > 1 ? stage->parent[leaf] : -1; above >= 0;
         above = stage->parent[stage->leaves + (above >> 1)])
        path[depth++] = above;
    return depth;
}

/* A ramp has less than 2^37 samples. */
#define RAMP ((int64_t)1 << 37)

int64_t mf_tree_when(const mf_stage *stage, ptrdiff_t leaf, int64_t m) {
    int32_t path[MAX_DEPTH];
    const int depth = path_to_root(stage, leaf, path);
    int64_t n = m, low[MAX_DEPTH], high[MAX_DEPTH];
    /* Tiny shares could ask for more samples than can be counted: limit each node to its samples within the ramp. */
    if (stage->steps && depth) {
        low[depth - 1] = stage->origin, high[depth - 1] = stage->origin + RAMP;
        for (int j = depth - 1; j > 0; j--) {
            const mf_split *s = stage->split + (path[j] >> 1);
            low[j - 1] = child_count(stage, s, path[j] & 1, low[j]);
            high[j - 1] = child_count(stage, s, path[j] & 1, high[j]);
        }
    }
    for (int j = 0; j < depth; j++) {
        const mf_split *s = stage->split + (path[j] >> 1);
        n = stage->steps ? ramp_when(stage, s, path[j] & 1, n, low[j], high[j]) : node_when(s, path[j] & 1, n);
        if (n >= MF_NEVER / 2) return MF_NEVER;
    }
    return stage->start + n - 1 - stage->origin;
}

/* Count of one leaf when the root's is n. */
int64_t mf_tree_count(const mf_stage *stage, ptrdiff_t leaf, int64_t n) {
    int32_t path[MAX_DEPTH];
    int depth = path_to_root(stage, leaf, path);
    while (depth--) n = child_count(stage, stage->split + (path[depth] >> 1), path[depth] & 1, n);
    return n;
}

ptrdiff_t mf_tree_events(int64_t start, int64_t end, ptrdiff_t n, const int64_t *skip, const int64_t *place,
                         const int64_t *turn, const int64_t *latest, int64_t *out) {
    ptrdiff_t made = 0, done = 0;
    int64_t lag = 0, free_from = start; /* the first sample that has no turn yet */
#define EVENT(at, gains, skips, own, gain_from)                                      \
    do {                                                                             \
        const int64_t column[6] = {(at), (gains), (skips), lag, (own), (gain_from)}; \
        for (int c = 0; c < 6; c++) out[c * 2 * n + made] = column[c];               \
        made++;                                                                      \
    } while (0)
    for (ptrdiff_t j = 0; j < n; j++) {
        for (; done < n; done++) {
            const int64_t at = latest[done] > free_from ? latest[done] : free_from;
            if (at >= place[j] + lag || at >= end) break;
            free_from = at + 1, lag++;
            EVENT(at, turn[done], -1, free_from - lag, at);
        }
        if (place[j] >= end) break;
        const int64_t at = place[j] + lag;
        lag--;
        EVENT(at, -1, skip[j], place[j] + 1, at - 1);
        if (lag < 0) {
            free_from = at + 1, lag++;
            EVENT(at, turn[done], -1, place[j] + 1, at);
            done++;
        }
    }
#undef EVENT
    return made;
}

void mf_tree_advance(ptrdiff_t n, const int64_t *a, const int64_t *c, int64_t step, int64_t steps, int64_t length,
                     int64_t *whole, int64_t *frac) {
    int64_t u = steps ? length / step : 0;
    if (steps && u > steps - 1) u = steps - 1;
    for (ptrdiff_t k = 0; k < n; k++) {
        i128 more = frac[k];
        if (steps)
            more += ramp_count(step, a[k], c[k], u) + (i128)share(a[k], c[k], u) * (length - u * step);
        else
            more += (i128)a[k] * length;
        whole[k] += (int64_t)(more >> MF_Q_BITS);
        frac[k] = (int64_t)(more & (Q - 1));
    }
}

void mf_tree_shares(ptrdiff_t n, const int64_t *v, int64_t *out) {
    i128 total = 0, sum = 0;
    for (ptrdiff_t k = 0; k < n; k++) total += v[k];
    int64_t before = 0;
    for (ptrdiff_t k = 0; k < n; k++) {
        sum += v[k];
        const int64_t here = (int64_t)((sum << MF_Q_BITS) / total);
        out[k] = here - before;
        before = here;
    }
}

void mf_tree_slopes(ptrdiff_t n, const int64_t *a, const int64_t *b, int64_t step, int64_t length, int64_t *out) {
    for (ptrdiff_t k = 0; k < n; k++) out[k] = (int64_t)((i128)(b[k] - a[k]) * step / (2 * length));
}
