/* Samples of a stage, one at a time or in a run, and the order within a domain. See blend.h. */
#include "blend.h"

#include <stdlib.h>

typedef unsigned __int128 u128;

/* The finaliser of MurmurHash3 with the constants of splitmix64 (Steele, Lea and Flood, 2014; variant 13 of Stafford).
 */
static inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t mf_mix(uint64_t x) { return mix(x); }

#define GOLDEN 0x9e3779b97f4a7c15u
#define ROUNDS 3 /* pairs of rounds */

/* A Feistel network on rows x 2^bits cells, of which there are as many as positions and less than one column more: the
 * walk of a position that lands outside (Black and Rogaway, 2002) is one step nearly always, and needs no division. */
static inline mf_order order_of(uint64_t key, int64_t size, int64_t epoch) {
    mf_order o;
    const uint64_t n = (uint64_t)size;
    const int wide = n > 1 ? 64 - __builtin_clzll(n - 1) : 0;
    o.size = n;
    o.bits = (wide + 1) / 2;
    o.mask = ((uint64_t)1 << o.bits) - 1;
    o.rows = (n + o.mask) >> o.bits;
    o.key = mix(key + GOLDEN * (uint64_t)epoch);
    return o;
}

static inline uint64_t scramble(uint64_t x) {
    x *= 0xbf58476d1ce4e5b9u;
    return (x ^ (x >> 32)) * 0x94d049bb133111ebu;
}

static inline int64_t order_at(const mf_order *o, uint64_t at) {
    do {
        uint64_t low = at & o->mask, row = at >> o->bits, key = o->key;
        for (int r = 0; r < ROUNDS; r++) {
            low = (low ^ (scramble(row ^ key) >> 32)) & o->mask;
            key += GOLDEN;
            row += (uint64_t)((u128)scramble(low ^ key) * o->rows >> 64);
            row -= row >= o->rows ? o->rows : 0;
            key += GOLDEN;
        }
        at = row << o->bits | low;
    } while (__builtin_expect(at >= o->size, 0));
    return (int64_t)at;
}

mf_order mf_order_of(uint64_t key, int64_t size, int64_t epoch) { return order_of(key, size, epoch); }
int64_t mf_order_at(const mf_order *o, int64_t position) { return order_at(o, (uint64_t)position); }

/* Events before sample i. */
static ptrdiff_t events_before(const mf_stage *stage, int64_t i) {
    ptrdiff_t low = 0, high = stage->events;
    while (low < high) {
        const ptrdiff_t middle = low + (high - low) / 2;
        if (stage->event_at[middle] < i)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void mf_blend_at(const mf_stage *stage, const mf_domain *domain, int shuffle, int64_t first, int64_t step,
                 ptrdiff_t count, int64_t *out_domain, int64_t *out_index, int64_t *out_epoch) {
    for (ptrdiff_t j = 0; j < count; j++) {
        const int64_t i = first + j * step, root = i - stage->start + stage->origin;
        int64_t n = root;
        int32_t at = stage->leaves > 1 ? 0 : ~0;
        /* A node's count before the sample and after it differ by one at each node on the sample's way. */
        while (at >= 0) {
            const mf_split *s = stage->split + at;
            unsigned __int128 rest;
            int64_t until, shares[2];
            int64_t left = mf_split_left(stage, s, n, &rest, &until, shares);
            int goes;
            if (!stage->steps)
                goes = (uint64_t)rest + (uint64_t)shares[0] >= (uint64_t)shares[1];
            else
                goes = mf_split_left(stage, s, n + 1, NULL, NULL, NULL) > left;
            at = s->child[!goes];
            n = goes ? left : n - left;
        }
        ptrdiff_t leaf = ~at;
        int64_t had = stage->base[leaf] + n;
        if (stage->events) {
            const ptrdiff_t e = events_before(stage, i);
            if (e < stage->events && stage->event_at[e] == i) {
                leaf = stage->event_leaf[e];
                had = stage->base[leaf] + mf_tree_count(stage, leaf, root);
            }
            for (int64_t t = stage->touch_first[leaf]; t < stage->touch_first[leaf + 1]; t++)
                had += stage->touch_at[t] < i ? stage->touch_by[t] : 0;
        }
        const int32_t k = stage->domain[leaf];
        const int64_t size = domain[k].size;
        out_domain[j] = k;
        if (!size) {
            out_index[j] = had, out_epoch[j] = 0;
        } else {
            const int64_t epoch = (had | size) >> 32 ? had / size : (int64_t)((uint32_t)had / (uint32_t)size);
            const int64_t position = had - epoch * size;
            out_epoch[j] = epoch;
            if (shuffle) {
                const mf_order o = order_of(domain[k].key, size, epoch);
                out_index[j] = order_at(&o, (uint64_t)position);
            } else {
                out_index[j] = position;
            }
        }
    }
}

/* What the inner loop keeps of a node. */
typedef struct {
    uint64_t rest, left, total;
    int32_t child[2]; /* of a sample that goes right, left */
} hot_node;

typedef struct {
    u128 rest, left, total;
    int64_t count, until;
    int32_t child[2];
} ramp_node;

typedef struct {
    int64_t position, size, epoch;
    int32_t domain;
    mf_order order;
} hot_leaf;

typedef struct {
    const mf_stage *stage;
    const mf_domain *domain;
    hot_node *node;
    ramp_node *slope;
    hot_leaf *leaf;
} runner;

static inline int32_t walk(const runner *r) {
    if (r->stage->leaves < 2) return ~0;
    int32_t at = 0;
    do {
        hot_node *h = r->node + at;
        const uint64_t sum = h->rest + h->left;
        const int goes = sum >= h->total;
        h->rest = goes ? sum - h->total : sum;
        at = h->child[goes];
    } while (at >= 0);
    return at;
}

static void set_slope(const runner *r, int32_t at, int64_t n) {
    ramp_node *h = r->slope + at;
    int64_t shares[2];
    mf_split_left(r->stage, r->stage->split + at, n, &h->rest, &h->until, shares);
    h->count = n;
    h->left = (u128)shares[0] << MF_Q_BITS, h->total = (u128)shares[1] << MF_Q_BITS;
}

static inline int32_t walk_ramp(const runner *r) {
    if (r->stage->leaves < 2) return ~0;
    int32_t at = 0;
    do {
        ramp_node *h = r->slope + at;
        int goes;
        if (__builtin_expect(h->count < h->until, 1)) {
            const u128 sum = h->rest + h->left;
            goes = sum >= h->total;
            h->rest = goes ? sum - h->total : sum;
            h->count++;
        } else { /* into the next step of the ramp */
            const mf_split *s = r->stage->split + at;
            const int64_t n = h->count, before = mf_split_left(r->stage, s, n, NULL, NULL, NULL);
            goes = mf_split_left(r->stage, s, n + 1, NULL, NULL, NULL) > before;
            set_slope(r, at, n + 1);
        }
        at = h->child[goes];
    } while (at >= 0);
    return at;
}

#define CHUNK 512

/* The sample that a leaf has next. */
static inline void take(hot_leaf *h, int64_t *out_domain, int64_t *out_index, int64_t *out_epoch) {
    *out_domain = h->domain;
    *out_index = h->position;
    *out_epoch = h->epoch;
    if (__builtin_expect(++h->position == h->size, 0)) {
        h->position = 0;
        h->epoch++;
    }
}

/* The samples between two events. Orders are looked up a chunk at a time: those of many samples overlap, and do not
 * wait for a way down the tree that was guessed wrong. */
static void samples(const runner *r, int shuffle, ptrdiff_t count, int64_t *out_domain, int64_t *out_index,
                    int64_t *out_epoch) {
    int32_t leaf[CHUNK];
    for (ptrdiff_t done = 0; done < count; done += CHUNK) {
        const ptrdiff_t part = count - done < CHUNK ? count - done : CHUNK;
        int64_t *d = out_domain + done, *x = out_index + done, *epoch = out_epoch + done;
        if (r->slope)
            for (ptrdiff_t j = 0; j < part; j++) take(r->leaf + (leaf[j] = ~walk_ramp(r)), d + j, x + j, epoch + j);
        else
            for (ptrdiff_t j = 0; j < part; j++) take(r->leaf + (leaf[j] = ~walk(r)), d + j, x + j, epoch + j);
        if (!shuffle) continue;
        for (ptrdiff_t j = 0; j < part; j++) {
            const hot_leaf *h = r->leaf + leaf[j];
            if (h->size == MF_FAR) continue;
            mf_order o = h->order;
            o.key = mix(o.key + GOLDEN * (uint64_t)epoch[j]);
            x[j] = order_at(&o, (uint64_t)x[j]);
        }
    }
}

int mf_blend_run(const mf_stage *stage, const mf_domain *domain, int shuffle, int64_t first, ptrdiff_t count,
                 int64_t *out_domain, int64_t *out_index, int64_t *out_epoch) {
    const ptrdiff_t leaves = stage->leaves, nodes = leaves - 1;
    runner r = {stage, domain, NULL, NULL, NULL};
    int64_t *own = malloc((size_t)leaves * 2 * sizeof *own);
    r.leaf = malloc((size_t)leaves * sizeof *r.leaf);
    if (stage->steps)
        r.slope = malloc((size_t)leaves * sizeof *r.slope);
    else
        r.node = malloc((size_t)leaves * sizeof *r.node);
    if (!own || !r.leaf || (!r.slope && !r.node)) {
        free(own), free(r.leaf), free(r.slope), free(r.node);
        return MF_BLEND_MEMORY;
    }
    int64_t *had = own + leaves;
    const ptrdiff_t past = events_before(stage, first);
    own[0] = had[0] = first - stage->start + stage->origin;
    for (ptrdiff_t j = 0; j < nodes; j++) {
        const mf_split *s = stage->split + j;
        u128 rest;
        int64_t until, shares[2];
        const int64_t left = mf_split_left(stage, s, own[j], &rest, &until, shares), both[2] = {left, own[j] - left};
        for (int side = 0; side < 2; side++) {
            const int32_t child = s->child[side];
            *(child >= 0 ? own + child : had + ~child) = both[side];
        }
        if (stage->steps) {
            r.slope[j] = (ramp_node){rest,  (u128)shares[0] << MF_Q_BITS, (u128)shares[1] << MF_Q_BITS, own[j],
                                     until, {s->child[1], s->child[0]}};
        } else {
            r.node[j] =
                (hot_node){(uint64_t)rest, (uint64_t)shares[0], (uint64_t)shares[1], {s->child[1], s->child[0]}};
        }
    }
    for (ptrdiff_t k = 0; k < leaves; k++) {
        hot_leaf *h = r.leaf + k;
        int64_t n = had[k] + stage->base[k];
        for (int64_t t = stage->events ? stage->touch_first[k] : 0,
                     last = stage->events ? stage->touch_first[k + 1] : 0;
             t < last; t++)
            n += stage->touch_at[t] < first ? stage->touch_by[t] : 0;
        h->domain = stage->domain[k];
        const int64_t size = domain[h->domain].size;
        h->size = size ? size : MF_FAR;
        h->epoch = size ? n / size : 0;
        h->position = n - h->epoch * size;
        h->order = order_of(0, h->size, 0);
        h->order.key = domain[h->domain].key; /* the epoch is mixed in at each sample */
    }
    ptrdiff_t done = 0;
    for (ptrdiff_t e = past; done < count; e++) {
        ptrdiff_t part = count - done;
        const int event = e < stage->events && stage->event_at[e] - first < count;
        if (event) part = (ptrdiff_t)(stage->event_at[e] - first) - done;
        samples(&r, shuffle, part, out_domain + done, out_index + done, out_epoch + done);
        done += part;
        if (event) {
            if (stage->steps)
                walk_ramp(&r);
            else
                walk(&r);
            const hot_leaf *h = r.leaf + stage->event_leaf[e];
            take(r.leaf + stage->event_leaf[e], out_domain + done, out_index + done, out_epoch + done);
            if (shuffle && h->size != MF_FAR) {
                const mf_order o = order_of(h->order.key, h->size, out_epoch[done]);
                out_index[done] = order_at(&o, (uint64_t)out_index[done]);
            }
            done++;
        }
    }
    free(own), free(r.leaf), free(r.slope), free(r.node);
    return MF_BLEND_OK;
}
