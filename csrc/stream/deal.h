/* Dealing the samples of a node out to its two children, for constant shares; part of blend.c.
 *
 * A node's sample goes to its left child where `rest`, which grows by `left` with each sample and is taken modulo
 * `total`, is at least `gap` = total - left. `place` holds the places of `count` samples in a chunk: those of the left
 * child are compacted at its front, those of the right child go to `right`. Returns the left child's number of samples.
 * Neither version has a branch that depends on where a sample goes. */
#ifndef MIXFAST_DEAL_H
#define MIXFAST_DEAL_H

#include <stddef.h>
#include <stdint.h>

#include "../shared/isa.h"
#include "../shared/simd.h"

#if MF_X86
#include <immintrin.h>
#endif

typedef struct {
    uint64_t rest, left, gap;
    int32_t child[2];
} node_state;

typedef ptrdiff_t dealer(node_state *h, uint32_t *place, ptrdiff_t count, uint32_t *right);

/* Places behind `count`, and behind those of the right child, that may be read and written. */
enum { DEAL_SLACK = 16 };

static ptrdiff_t deal(node_state *h, uint32_t *place, ptrdiff_t count, uint32_t *right) {
    const uint64_t left = h->left, gap = h->gap;
    uint64_t rest = h->rest;
    ptrdiff_t r = 0;
    MF_UNROLL(4)
    for (ptrdiff_t j = 0; j < count; j++) {
        const uint32_t p = place[j];
        const uint64_t less = rest - gap, more = rest + left;
        const int stays = rest < gap;
        place[j - r] = p; /* r >= 0: what is overwritten has been read */
        right[r] = p;
        r += stays;
        rest = stays ? more : less;
    }
    h->rest = rest;
    return count - r;
}

#if MF_X86
MF_TARGET_BEGIN_V4

static inline __m512i wrapped(__m512i x, __m512i total) { return _mm512_min_epu64(x, _mm512_sub_epi64(x, total)); }

static inline unsigned goes_left(__m512i a, __m512i b, __m512i gap) {
    return (unsigned)_mm512_cmpge_epu64_mask(a, gap) | (unsigned)_mm512_cmpge_epu64_mask(b, gap) << 8;
}

static inline void store_selected(uint32_t *out, unsigned mask, __m512i p) {
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi32((__mmask16)mask, p));
}

/* 16 samples at a time. All is below 2^63, as total is at most 2^62. */
static ptrdiff_t deal_v4(node_state *h, uint32_t *place, ptrdiff_t count, uint32_t *right) {
    const uint64_t total = h->left + h->gap;
    uint64_t by[5] = {h->left}; /* of 1, 2, 4, 8, 16 samples */
    for (int k = 1; k < 5; k++) by[k] = 2 * by[k - 1] - (2 * by[k - 1] >= total ? total : 0);
    const __m512i all = _mm512_set1_epi64((int64_t)total), gap = _mm512_set1_epi64((int64_t)h->gap);
    const __m512i step = _mm512_set1_epi64((int64_t)by[4]);
    __m512i a = _mm512_set1_epi64((int64_t)h->rest);
    a = wrapped(_mm512_mask_add_epi64(a, 0xaa, a, _mm512_set1_epi64((int64_t)by[0])), all);
    a = wrapped(_mm512_mask_add_epi64(a, 0xcc, a, _mm512_set1_epi64((int64_t)by[1])), all);
    a = wrapped(_mm512_mask_add_epi64(a, 0xf0, a, _mm512_set1_epi64((int64_t)by[2])), all);
    __m512i b = wrapped(_mm512_add_epi64(a, _mm512_set1_epi64((int64_t)by[3])), all);
    ptrdiff_t l = 0, j = 0;
    for (; count - j >= 16; j += 16) {
        const unsigned goes = goes_left(a, b, gap);
        const __m512i p = _mm512_loadu_si512(place + j);
        store_selected(place + l, goes, p);
        store_selected(right + (j - l), ~goes, p);
        l += __builtin_popcount(goes);
        a = wrapped(_mm512_add_epi64(a, step), all), b = wrapped(_mm512_add_epi64(b, step), all);
    }
    const int last = (int)(count - j);
    if (last) {
        const unsigned goes = goes_left(a, b, gap), here = (1u << last) - 1;
        const __m512i p = _mm512_loadu_si512(place + j);
        store_selected(place + l, goes & here, p);
        store_selected(right + (j - l), ~goes & here, p);
        l += __builtin_popcount(goes & here);
    }
    const __m512i next = _mm512_maskz_compress_epi64((__mmask8)(1u << (last & 7)), last < 8 ? a : b);
    h->rest = (uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(next));
    return l;
}

MF_TARGET_END
#endif

static inline dealer *choose_dealer(void) {
#if MF_X86
    if (mf_isa() == MF_AVX512) return deal_v4;
#endif
    return deal;
}

#endif
