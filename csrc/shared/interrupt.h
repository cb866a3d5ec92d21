/* End a long call early when a signal arrives (Ctrl-C).
 *
 * Each loop calls mf_interrupted(work) once per iteration and leaves when the answer is not 0. `work` is the
 * approximate number of multiplications or comparisons in the iteration. Functions that cannot leave at once call
 * mf_stopped() after each function that can. Memory is freed on the way out as always. The returned value does not
 * matter, because the boundary calls ended(), of boundary.pxi, after every call and raises the exception of the signal.
 * Data that outlive the call must stay consistent: results go to arrays that the boundary made for this call, or are
 * documented as undefined afterwards.
 *
 *     for (ptrdiff_t i = 0; i < n; i++) {
 *         if (mf_interrupted((double)n)) break;
 *         ... about n multiplications ...
 *     }
 *
 * An iteration may take 20 ms at most, about 2^24 of `work`. A call of mf_interrupted costs about 3 ns. It reads the
 * clock after 2^18 of work, and takes the GIL to let Python run its signal handlers every 50 ms. Helper threads of a
 * pool never call Python: they end when the thread that started them does. */
#ifndef MIXFAST_INTERRUPT_H
#define MIXFAST_INTERRUPT_H

#include <stdatomic.h>

/* Runs Python's signal handlers and returns whether one of them raised; the boundary of each module sets it. NULL in a
 * process without Python: then no call ends early. */
extern int (*mf_poll)(void);

/* Return whether this call must end. `work` counts from the previous call of this function. The answer stays 1 until
 * mf_ended(). */
int mf_interrupted(double work);

/* Return the last answer of mf_interrupted() in this thread. */
int mf_stopped(void);

/* Return the same and reset it. The boundary calls this once per call. */
int mf_ended(void);

/* Make the calling thread a helper that ends when `stop` is set; NULL undoes this. */
void mf_follow(const atomic_int *stop);

#endif
