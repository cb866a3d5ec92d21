/* Threads that share the chunks of one task.
 *
 * The threads live for one call only: a fork inherits none of them, and there is nothing to shut down. */
#ifndef MIXFAST_POOL_H
#define MIXFAST_POOL_H

#include <stddef.h>

#include "guard.h"

typedef void mf_chunk_function(const void *task, ptrdiff_t chunk, void *memory);

enum { MF_LOST = -2 };

/* Call `run` for each chunk in [first, last), on up to `threads` threads, the calling one among them. `memory` is a
 * work area of `bytes` that belongs to the thread. Returns 0, or -1 when no thread had memory, MF_LOST if `reads` was
 * truncated: `run` may be left at any point then, so it must hold no memory or lock. Chunks are skipped when a signal
 * ends the call.
 */
int mf_pool_run(mf_chunk_function *run, const void *task, mf_span reads, ptrdiff_t first, ptrdiff_t last, size_t bytes,
                int threads);

#endif
