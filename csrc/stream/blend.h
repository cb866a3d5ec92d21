/* The blended stream: which domain the i-th sample of a run comes from, and which of its samples that is.
 *
 * A stage is a stretch of the stream with constant shares, or with shares on a straight line. Its domains are the
 * leaves of a binary tree. After a node has dealt out n samples, it has given
 *
 *     L(n) = floor(g(n) + 1/2)
 *
 * of them to its left child and n - L(n) to its right one, where g is the left child's exact share of the stream as a
 * function of the node's own share. g has a slope between 0 and 1, so L and n - L never fall and one of them grows by
 * one at each step: every sample of the node goes to one child. All of this is a pure function of n, and so of the
 * sample's number: going down the tree finds sample i, going up finds when a domain has its m-th sample.
 *
 * The bound. Let e_j be count minus exact share of the j-th node on the way from the root (e_0 = 0) to a leaf, and W_j
 * its share. Rounding adds at most 1/2 at each node, and what the parent is off is passed on in proportion:
 * |e_j| <= (W_j / W_(j-1)) |e_(j-1)| + 1/2, so that |e_leaf| <= 1/2 (1 + x/P_1 + x/P_2 + ...), with x the leaf's share
 * and P_1, P_2, ... those of its ancestors up to, not including, the root. The tree is made from the root down: a
 * node's leaves, heaviest first, each go to the lighter side so far. Let l_j be the lightest leaf below P_j. The leaf
 * that came last to the heavier side was put there while that side was the lighter: the sibling of P_j weighs at least
 * P_j - l_j, so P_(j+1) >= 2 P_j - l_j, and as l_(j+1) <= l_j, P_(j+1) - l_(j+1) >= 2 (P_j - l_j). (A node that holds
 * one leaf only is that leaf, and P_1 >= x.) P_2 - l_2 >= 2x: let Q be the sibling of P_1, and y >= l_2 the lightest
 * leaf of P_1. x is the heaviest of P_1: when the next leaf came to P_1, Q >= x. P_2 - l_2 >= x + y + Q - l_2 >= 2x.
 *   Otherwise P_1 also holds a z >= x. If x = y: Q >= P_1 - x >= z, P_2 - l_2 >= z + Q >= 2x. Else Q >= P_1 - y >= z +
 * x. Hence P_j >= 2^(j-1) x, and |e_leaf| < 1/2 (1 + 1 + 1/2 + 1/4 + ...) = 3/2 at every sample. The tree is at most 64
 * deep.
 *
 * Shares are integers over Q = 2^62. Numbers of samples stay below 2^60, so all products fit 128 bits: the
 * floors above are the only rounding, on any machine.
 */
#ifndef MIXFAST_BLEND_H
#define MIXFAST_BLEND_H

#include <stddef.h>
#include <stdint.h>

#define MF_Q_BITS 62
#define MF_NEVER ((int64_t)1 << 62) /* later than any sample */

/* A node. Constant stage: L(n) = part + floor((left (n - origin) + phase) / total). */
typedef struct {
    int64_t left, total;
    int64_t part, origin, phase;
    int32_t child[2]; /* a node, or ~leaf */
} mf_split;

/* Additional numbers of a node on a ramp: the shares in step u are left + left_slope (2u + 1) and total + total_slope
 * (2u + 1), the exact counts at the start of the stage part + left_frac / Q and origin + total_frac / Q. */
typedef struct {
    int64_t left_slope, total_slope;
    int64_t left_frac, total_frac;
} mf_slope;

/* A stage that follows another corrects the imbalance that the earlier one left: at some samples ("events") a leaf has
 * a turn outside the tree (leaf >= 0), or a sample of the tree is skipped (leaf < 0). Sample i, unless it belongs to an
 * event, is sample i - lag of the tree, where lag is the number of extra turns minus that of skips so far. Leaf k has
 * had base[k] + (its count in the tree) + (the sum of its gain_by before i) samples before sample i. */
typedef struct {
    ptrdiff_t leaves;
    mf_split *split;       /* leaves - 1 of them, parents before their children; 0 is the root */
    mf_slope *slope;       /* as many on a ramp, else NULL */
    const int32_t *parent; /* of each leaf, then of each node: 2 node + side; -1 for the root */
    int64_t start, origin; /* the first sample, and the root's count there */
    int64_t step, steps;   /* of a ramp, in samples and their number; steps is 0 if shares are constant */
    const int64_t *base;
    const int32_t *domain;
    ptrdiff_t events;
    const int64_t *event_at; /* ascending; for a skip, the sample that takes its place */
    const int32_t *event_leaf;
    const int64_t *event_lag;  /* from the event on */
    const int64_t *gain_first; /* leaves + 1; NULL without events */
    const int64_t *gain_at;
    const int64_t *gain_by;
} mf_stage;

/* A domain's samples: `size` of them, read in the order of a permutation that `key` and the epoch pick; 0: endless. */
typedef struct {
    int64_t size;
    uint64_t key;
} mf_domain;

/* MF_BLEND_RANGE: a count or a size is no number of samples: base or the sizes are not those of a stream. */
enum { MF_BLEND_OK = 0, MF_BLEND_MEMORY = -1, MF_BLEND_RANGE = -2 };

/* Children and parents of the tree over leaves of the given weights, heaviest first. */
int mf_tree_shape(ptrdiff_t leaves, const int64_t *weight, mf_split *split, int32_t *parent);

/* Fill in the nodes' numbers for shares a + c (2u + 1) of the leaves, and their exact counts f / Q at the start.
 * Returns twice the bound on the deviation, times 2^32; on a ramp it holds for all of its steps. */
int64_t mf_tree_fill(mf_stage *stage, const int64_t *a, const int64_t *c, const int64_t *f);

/* Counts of all leaves, and of one, when the root's is n. */
int mf_tree_counts(const mf_stage *stage, int64_t n, int64_t *count);
int64_t mf_tree_count(const mf_stage *stage, ptrdiff_t leaf, int64_t n);

/* The sample of the stream at which the leaf has its m-th sample of the tree; MF_NEVER if it is beyond all. */
int64_t mf_tree_when(const mf_stage *stage, ptrdiff_t leaf, int64_t m);

/* Merge n samples of the tree that are skipped (leaf `skip` at sample `place`, ascending) with as many turns of leaf
 * `turn`, each at the place of a skip, or at sample `latest` (ascending) if that is earlier. Nothing happens
 * from sample `end` on. Writes 6 columns of 2n elements (at, leaf that gains or -1, leaf skipped or -1, lag from
 * then on, first sample of the tree that lags, sample from which on it counts) and returns how many events there are.
 */
ptrdiff_t mf_tree_events(int64_t start, int64_t end, ptrdiff_t n, const int64_t *skip, const int64_t *place,
                         const int64_t *turn, const int64_t *latest, int64_t *out);

/* Samples first, first + step, ...: one path down the tree each. */
int mf_blend_at(const mf_stage *stage, const mf_domain *domain, int shuffle, int64_t first, int64_t step,
                ptrdiff_t count, int64_t *out_domain, int64_t *out_index, int64_t *out_epoch);

/* Samples first, first + 1, ...: all nodes are initialised once, then each sample costs a few additions a node. */
int mf_blend_run(const mf_stage *stage, const mf_domain *domain, int shuffle, int64_t first, ptrdiff_t count,
                 int64_t *out_domain, int64_t *out_index, int64_t *out_epoch);

/* Exact counts whole + frac / Q of n domains, moved on by `length` samples of shares a, or a + c (2u + 1) in step u. */
void mf_tree_advance(ptrdiff_t n, const int64_t *a, const int64_t *c, int64_t step, int64_t steps, int64_t length,
                     int64_t *whole, int64_t *frac);

/* out = v over its sum in units of 1/Q, with the sum Q exactly: each is within one unit, and zero stays zero. */
void mf_tree_shares(ptrdiff_t n, const int64_t *v, int64_t *out);

/* out = c of straight lines from a to b in length / step steps, rounded towards 0. */
void mf_tree_slopes(ptrdiff_t n, const int64_t *a, const int64_t *b, int64_t step, int64_t length, int64_t *out);

/* Left child's count when the node's is n, and what the floor left over: in units of 1/total for constant shares, of
 * 1/(Q total) on a ramp, where *until is the count up to which the slope stays the same. */
int64_t mf_split_left(const mf_stage *stage, const mf_split *s, int64_t n, unsigned __int128 *rest, int64_t *until,
                      int64_t *shares);

/* A hash of 64 bits: keys of domains come from it. */
uint64_t mf_mix(uint64_t x);

#endif
