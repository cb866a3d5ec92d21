/* Threads that share the chunks of one task.
 *
 * They live for one call only, so that there is nothing to inherit at a fork and nothing to shut down. */
#ifndef MIXFAST_POOL_H
#define MIXFAST_POOL_H

#include <stddef.h>

typedef void mf_chunk_function(const void *task, ptrdiff_t chunk, void *memory);

/* Call `run` for each chunk in [first, last), on up to `threads` threads, the calling one among them. `memory` is a
 * work area of `bytes` that belongs to the thread. Returns 0, or -1 when no thread had memory. */
int mf_pool_run(mf_chunk_function *run, const void *task, ptrdiff_t first, ptrdiff_t last, size_t bytes, int threads);

#endif
