/* The order of samples within a domain: a permutation of [0, size) for each key, evaluated at any position; part of
 * blend.c. */
#ifndef MIXFAST_ORDER_H
#define MIXFAST_ORDER_H

#include <stddef.h>
#include <stdint.h>

#include "../shared/simd.h"

/* The finaliser of MurmurHash3 with the constants of splitmix64 (Steele, Lea and Flood, 2014; variant 13 of Stafford).
 */
static inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#define GOLDEN 0x9e3779b97f4a7c15u

enum { ROUNDS = 6 };

typedef struct {
    uint64_t size;
    uint32_t rows, mask, key[ROUNDS];
    int bits;
} order;

/* A Feistel network on rows x 2^bits cells, of which there are as many as positions and less than one column more: the
 * walk of a position that lands outside (Black and Rogaway, 2002) nearly always takes one step, and needs no division.
 * Halves have at most 30 bits. */
static inline order order_of(uint64_t key, int64_t size, int64_t epoch) {
    order o;
    const uint64_t n = (uint64_t)size;
    const int wide = n > 1 ? 64 - __builtin_clzll(n - 1) : 0;
    o.size = n;
    o.bits = (wide + 1) / 2;
    o.mask = ((uint32_t)1 << o.bits) - 1;
    o.rows = (uint32_t)((n + o.mask) >> o.bits);
    uint64_t state = mix(key + GOLDEN * (uint64_t)epoch);
    for (int r = 0; r < ROUNDS; r += 2) {
        const uint64_t bits = mix(state += GOLDEN);
        o.key[r] = (uint32_t)bits, o.key[r + 1] = (uint32_t)(bits >> 32);
    }
    return o;
}

/* "lowbias32" of C. Wellons' search for integer hashes. */
static inline uint32_t scramble(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

static inline uint64_t order_step(const order *o, uint64_t at) {
    uint32_t low = (uint32_t)at & o->mask, row = (uint32_t)(at >> o->bits);
    for (int r = 0; r < ROUNDS; r += 2) {
        low = (low ^ scramble(row ^ o->key[r])) & o->mask;
        row += (uint32_t)((uint64_t)scramble(low ^ o->key[r + 1]) * o->rows >> 32);
        row -= row >= o->rows ? o->rows : 0;
    }
    return (uint64_t)row << o->bits | low;
}

static inline int64_t order_at(const order *o, uint64_t at) {
    do at = order_step(o, at);
    while (__builtin_expect(at >= o->size, 0));
    return (int64_t)at;
}

/* Consecutive positions: the first step of all, vectorised, then the few walks that need more. */
MF_CLONES(static, void, order_run, (const order *shared, uint64_t at, ptrdiff_t n, int64_t *restrict out),
          (shared, at, n, out)) {
    const order o = *shared;
    for (ptrdiff_t j = 0; j < n; j++) out[j] = (int64_t)order_step(&o, at + (uint64_t)j);
    int64_t largest = 0;
    for (ptrdiff_t j = 0; j < n; j++) largest = out[j] > largest ? out[j] : largest;
    if ((uint64_t)largest < o.size) return;
    for (ptrdiff_t j = 0; j < n; j++)
        if ((uint64_t)out[j] >= o.size) out[j] = order_at(&o, (uint64_t)out[j]);
}

#endif
