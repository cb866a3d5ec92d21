/* Notice that an array has changed, without a copy of it. */
#ifndef MIXFAST_FINGERPRINT_H
#define MIXFAST_FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

enum { MF_FINGERPRINT = 32 };

/* A fingerprint of `bytes` bytes, 128 at a time: word i of each line goes into state[i].
 *
 * A step, state = (rotated state ^ word) * odd, has an inverse in either argument, so two arrays that differ in one
 * word never have the same fingerprint. Other changes are missed once in 2^32 for each i whose words they change. The
 * rotation keeps the highest bits in play: without it, the changes of two signs would cancel. Not for arrays of an
 * adversary. */
void mf_fingerprint(const void *data, ptrdiff_t bytes, uint32_t state[MF_FINGERPRINT]);

#endif
