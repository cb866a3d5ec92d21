#include "fingerprint.h"

#include <string.h>

#include "../shared/interrupt.h"
#include "../shared/simd.h"

/* Any odd number with many bits set in its upper half would do: this one is 2^32 divided by the golden ratio. */
static const uint32_t ODD = 0x9e3779b9u;

enum { LINE = 4 * MF_FINGERPRINT, PIECE = LINE << 13 }; /* bytes; a signal is looked for after each piece */

typedef uint32_t lanes __attribute__((vector_size(32), aligned(1), may_alias));

#define STEP(state, words) ((((state) << 9 | (state) >> 23) ^ *(const lanes *)(const void *)(words)) * ODD)

MF_CLONES(static, void, add_lines, (const char *at, const char *end, uint32_t *state), (at, end, state)) {
    lanes *own = (lanes *)state, a = own[0], b = own[1], c = own[2], d = own[3];
    for (; at < end; at += LINE) a = STEP(a, at), b = STEP(b, at + 32), c = STEP(c, at + 64), d = STEP(d, at + 96);
    own[0] = a, own[1] = b, own[2] = c, own[3] = d;
}

#undef STEP

void mf_fingerprint(const void *data, ptrdiff_t bytes, uint32_t state[MF_FINGERPRINT]) {
    const char *at = data;
    char last[LINE] = {0};
    for (int i = 0; i < MF_FINGERPRINT; i++) state[i] = (uint32_t)i;
    if (!bytes) return;
    const char *const end = at + bytes / LINE * LINE;
    while (at < end && !mf_interrupted((double)(PIECE / 8))) {
        const char *const stop = end - at < PIECE ? end : at + PIECE;
        add_lines(at, stop, state);
        at = stop;
    }
    if (bytes % LINE) {
        memcpy(last, end, (size_t)(bytes % LINE));
        add_lines(last, last + LINE, state);
    }
}
