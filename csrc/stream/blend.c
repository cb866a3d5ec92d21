/* Samples of a stage, one at a time or in a run. See blend.h. */
#include "blend.h"

#include <stdlib.h>
#include <string.h>

#include "../shared/interrupt.h"
#include "deal.h"
#include "order.h"

typedef unsigned __int128 u128;

/* Whether a leaf's count and the size of its domain are numbers of samples. */
static inline int in_range(int64_t had, int64_t size) {
    return (uint64_t)had < (uint64_t)MF_NEVER && (uint64_t)size <= (uint64_t)1 << 60;
}

/* a + b, of any sign and size; what does not fit is out of range. */
static inline int64_t plus(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }

uint64_t mf_mix(uint64_t x) { return mix(x); }

/* Events up to sample i, its own among them. */
static ptrdiff_t events_until(const mf_stage *stage, int64_t i) {
    ptrdiff_t low = 0, high = stage->events;
    while (low < high) {
        const ptrdiff_t middle = low + (high - low) / 2;
        if (stage->event_at[middle] <= i)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int mf_blend_at(const mf_stage *stage, const mf_domain *domain, int shuffle, int64_t first, int64_t step,
                ptrdiff_t count, int64_t *out_domain, int64_t *out_index, int64_t *out_epoch) {
    for (ptrdiff_t j = 0; j < count; j++) {
        const int64_t i = first + j * step;
        if (j % 64 == 0 && mf_interrupted(64.0 * 512.0)) break;
        const ptrdiff_t e = stage->events ? events_until(stage, i) : 0;
        const int64_t root = i - stage->start + stage->origin - (e ? stage->event_lag[e - 1] : 0);
        int64_t n = root;
        int32_t at = stage->leaves > 1 ? 0 : ~0;
        /* On the sample's path, a node's counts before and after the sample differ by one. */
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
        int64_t had = plus(stage->base[leaf], n);
        if (stage->events) {
            if (e && stage->event_at[e - 1] == i && stage->event_leaf[e - 1] >= 0) {
                leaf = stage->event_leaf[e - 1];
                had = plus(stage->base[leaf], mf_tree_count(stage, leaf, root + 1));
            }
            for (int64_t t = stage->gain_first[leaf]; t < stage->gain_first[leaf + 1]; t++)
                had = plus(had, stage->gain_at[t] < i ? stage->gain_by[t] : 0);
        }
        const int32_t k = stage->domain[leaf];
        const int64_t size = domain[k].size;
        if (!in_range(had, size)) return MF_BLEND_RANGE;
        out_domain[j] = k;
        if (!size) {
            out_index[j] = had, out_epoch[j] = 0;
        } else {
            const int64_t epoch = (had | size) >> 32 ? had / size : (int64_t)((uint32_t)had / (uint32_t)size);
            const int64_t position = had - epoch * size;
            out_epoch[j] = epoch;
            if (shuffle) {
                const order o = order_of(domain[k].key, size, epoch);
                out_index[j] = order_at(&o, (uint64_t)position);
            } else {
                out_index[j] = position;
            }
        }
    }
    return MF_BLEND_OK;
}

/* State of a node on a ramp and of a leaf in the inner loops; `node_state` is in deal.h. */
typedef struct {
    u128 rest, left, gap;
    int64_t count, until;
    int32_t child[2];
} ramp_state;

typedef struct {
    int64_t position, size, epoch;
    int32_t domain;
    int64_t ordered; /* the epoch of `order`; -1 for none yet */
    order order;
} leaf_state;

typedef struct {
    int64_t domain, index, epoch;
} sample;

typedef struct {
    const mf_stage *stage;
    const mf_domain *domain;
    int shuffle;
    node_state *node; /* constant shares, or */
    dealer *deal;
    ramp_state *slope;
    leaf_state *leaf;
    uint32_t *place; /* 2 chunks with their slack */
    uint32_t *rank;  /* where in `samples` each sample of a chunk is */
    sample *samples; /* of the chunk, by domain */
    struct waiting {
        int32_t what;
        ptrdiff_t count;
    } *pending;
    ptrdiff_t chunk;
    int64_t *out_domain, *out_index, *out_epoch;
} runner;

/* Take the next samples of a leaf, for the given places of a chunk in which `before` samples are known already. */
static void take_from_leaf(const runner *r, int32_t leaf, const uint32_t *place, ptrdiff_t count, ptrdiff_t before) {
    leaf_state *h = r->leaf + leaf;
    const int shuffle = r->shuffle && h->size != MF_NEVER;
    int64_t found[64];
    for (ptrdiff_t j = 0; j < count; j++) r->rank[place[j]] = (uint32_t)(before + j);
    sample *out = r->samples + before;
    while (count) {
        ptrdiff_t part = count < 64 || !shuffle ? count : 64;
        if (h->size - h->position < part) part = (ptrdiff_t)(h->size - h->position);
        const sample first = {h->domain, h->position, h->epoch};
        if (shuffle) {
            if (h->ordered != h->epoch) {
                h->order = order_of(r->domain[h->domain].key, h->size, h->epoch);
                h->ordered = h->epoch;
            }
            order_run(&h->order, (uint64_t)h->position, part, found);
            for (ptrdiff_t j = 0; j < part; j++) out[j] = (sample){first.domain, found[j], first.epoch};
        } else {
            for (ptrdiff_t j = 0; j < part; j++) out[j] = (sample){first.domain, first.index + j, first.epoch};
        }
        out += part, count -= part;
        h->position += part;
        if (h->position == h->size) h->position = 0, h->epoch++;
    }
}

/* Write the samples of a chunk in stream order. Generated by domain and gathered here, they touch far less memory than
 * if each were written to three arrays at once. */
static void write_samples(runner *r, ptrdiff_t count) {
    for (ptrdiff_t j = 0; j < count; j++) {
        const sample d = r->samples[r->rank[j]];
        r->out_domain[j] = d.domain, r->out_index[j] = d.index, r->out_epoch[j] = d.epoch;
    }
    r->out_domain += count, r->out_index += count, r->out_epoch += count;
}

/* As `deal`, on a ramp. */
static ptrdiff_t deal_ramp(const runner *r, int32_t at, uint32_t *place, ptrdiff_t count, uint32_t *right) {
    ramp_state *h = r->slope + at;
    const mf_split *s = r->stage->split + at;
    ptrdiff_t l = 0;
    for (ptrdiff_t j = 0; j < count; j++) {
        const uint32_t p = place[j];
        int goes;
        if (__builtin_expect(h->count < h->until, 1)) {
            goes = h->rest >= h->gap;
            h->rest = goes ? h->rest - h->gap : h->rest + h->left;
        } else { /* into the next step of the ramp */
            int64_t shares[2];
            const int64_t before = mf_split_left(r->stage, s, h->count, NULL, NULL, NULL);
            goes = mf_split_left(r->stage, s, h->count + 1, &h->rest, &h->until, shares) > before;
            h->left = (u128)shares[0] << MF_Q_BITS, h->gap = (u128)(shares[1] - shares[0]) << MF_Q_BITS;
        }
        h->count++;
        place[l] = p;
        right[j - l] = p;
        l += goes;
    }
    return l;
}

/* Deal out the next `count` samples of the tree, at most a chunk; without output they are skipped. The samples of right
 * children are stacked behind the chunk and copied to its front when their node is processed. */
static void run_tree(const runner *r, ptrdiff_t count, int output) {
    for (ptrdiff_t j = 0; j < count; j++) r->place[j] = (uint32_t)j;
    uint32_t *heap = r->place + r->chunk + DEAL_SLACK;
    int32_t at = r->stage->leaves > 1 ? 0 : ~0;
    ptrdiff_t before = 0;
    for (ptrdiff_t waiting = 0;;) {
        while (at >= 0 && count) {
            const ptrdiff_t left =
                r->slope ? deal_ramp(r, at, r->place, count, heap) : r->deal(r->node + at, r->place, count, heap);
            const int32_t *child = r->slope ? r->slope[at].child : r->node[at].child;
            if (left < count) {
                r->pending[waiting++] = (struct waiting){child[1], count - left};
                heap += count - left;
            }
            at = child[0], count = left;
        }
        if (count && output) take_from_leaf(r, ~at, r->place, count, before);
        before += count;
        if (!waiting) return;
        at = r->pending[--waiting].what, count = r->pending[waiting].count;
        heap -= count;
        memcpy(r->place, heap, (size_t)count * sizeof *heap);
    }
}

static void run_samples(runner *r, ptrdiff_t count) {
    while (count) {
        const ptrdiff_t part = count < r->chunk ? count : r->chunk;
        if (mf_interrupted(32.0 * (double)part)) return;
        run_tree(r, part, 1);
        write_samples(r, part);
        count -= part;
    }
}

/* Set the states of nodes and leaves to those before sample `first`. */
static int init_states(const runner *r, int64_t first, ptrdiff_t past, int64_t *own, int64_t *had) {
    const mf_stage *stage = r->stage;
    own[0] = had[0] = first - stage->start + stage->origin - (past ? stage->event_lag[past - 1] : 0);
    for (ptrdiff_t j = 0; j < stage->leaves - 1; j++) {
        const mf_split *s = stage->split + j;
        if (j % 256 == 0 && mf_interrupted(256.0 * 64.0)) return MF_BLEND_OK;
        u128 rest;
        int64_t until, shares[2];
        const int64_t left = mf_split_left(stage, s, own[j], &rest, &until, shares), both[2] = {left, own[j] - left};
        for (int side = 0; side < 2; side++) {
            const int32_t child = s->child[side];
            *(child >= 0 ? own + child : had + ~child) = both[side];
        }
        const int64_t gap = shares[1] - shares[0];
        if (stage->steps)
            r->slope[j] = (ramp_state){rest,  (u128)shares[0] << MF_Q_BITS, (u128)gap << MF_Q_BITS, own[j],
                                       until, {s->child[0], s->child[1]}};
        else
            r->node[j] = (node_state){(uint64_t)rest, (uint64_t)shares[0], (uint64_t)gap, {s->child[0], s->child[1]}};
    }
    for (ptrdiff_t k = 0; k < stage->leaves; k++) {
        leaf_state *h = r->leaf + k;
        int64_t n = plus(had[k], stage->base[k]);
        if (stage->events)
            for (int64_t t = stage->gain_first[k]; t < stage->gain_first[k + 1]; t++)
                n = plus(n, stage->gain_at[t] < first ? stage->gain_by[t] : 0);
        h->domain = stage->domain[k];
        const int64_t size = r->domain[h->domain].size;
        if (!in_range(n, size)) return MF_BLEND_RANGE;
        h->size = size ? size : MF_NEVER;
        h->epoch = size ? n / size : 0;
        h->position = n - h->epoch * size;
        h->ordered = -1;
    }
    return MF_BLEND_OK;
}

int mf_blend_run(const mf_stage *stage, const mf_domain *domain, int shuffle, int64_t first, ptrdiff_t count,
                 int64_t *out_domain, int64_t *out_index, int64_t *out_epoch) {
    const size_t leaves = (size_t)stage->leaves;
    /* Long enough that a leaf has some samples in each, short enough that they stay in the cache. */
    ptrdiff_t chunk = (ptrdiff_t)leaves * 32;
    chunk = chunk < 4096 ? 4096 : chunk > 32768 ? 32768 : chunk;
    chunk = chunk < count ? chunk : count;
    runner r = {stage,
                domain,
                shuffle,
                .deal = choose_dealer(),
                .chunk = chunk,
                .out_domain = out_domain,
                .out_index = out_index,
                .out_epoch = out_epoch};
    int64_t *own = malloc(2 * leaves * sizeof *own);
    r.leaf = malloc(leaves * sizeof *r.leaf);
    r.place = malloc(2 * (size_t)(chunk + DEAL_SLACK) * sizeof *r.place);
    r.rank = malloc((size_t)chunk * sizeof *r.rank);
    r.samples = malloc((size_t)chunk * sizeof *r.samples);
    r.pending = malloc((leaves + 1) * sizeof *r.pending);
    if (stage->steps)
        r.slope = malloc(leaves * sizeof *r.slope);
    else
        r.node = malloc(leaves * sizeof *r.node);
    int failed = MF_BLEND_MEMORY;
    if (own && r.leaf && r.place && r.rank && r.samples && r.pending && (r.slope || r.node)) {
        ptrdiff_t past = stage->events ? events_until(stage, first - 1) : 0;
        while (past < stage->events && stage->event_at[past] == first && stage->event_leaf[past] < 0) past++;
        failed = init_states(&r, first, past, own, own + leaves);
        ptrdiff_t done = 0;
        for (ptrdiff_t e = past; !failed && done < count && !mf_stopped(); e++) {
            const int event = e < stage->events && stage->event_at[e] - first < count;
            const ptrdiff_t part = (event ? (ptrdiff_t)(stage->event_at[e] - first) : count) - done;
            run_samples(&r, part);
            done += part;
            if (!event || mf_interrupted(64.0)) break;
            if (stage->event_leaf[e] < 0) {
                run_tree(&r, 1, 0);
                continue;
            }
            const uint32_t here = 0;
            take_from_leaf(&r, stage->event_leaf[e], &here, 1, 0);
            write_samples(&r, 1);
            done++;
        }
    }
    free(own), free(r.leaf), free(r.place), free(r.rank), free(r.samples), free(r.pending), free(r.slope), free(r.node);
    return failed;
}
