/* Ending a long call early, when a signal (Ctrl-C) wants that.
 *
 * How a loop takes part: it calls mf_interrupted(work) once per turn, where `work` says about how many multiplications
 * or comparisons the turn took, and leaves when the answer is not 0. Functions that cannot leave at once ask
 * mf_stopped() after each function that can. Memory is freed on the way out as always; what is returned does not
 * matter, because the boundary calls ended(), of boundary.pxi, after every call and raises the exception of the signal.
 * Nothing that lives longer than the call may be left half done: results go to arrays that the boundary made for this
 * call, or are documented as undefined afterwards.
 *
 *     for (ptrdiff_t i = 0; i < n; i++) {
 *         if (mf_interrupted((double)n)) break;
 *         ... a turn of about n multiplications ...
 *     }
 *
 * A turn may take 20 ms at most, about 2^24 of `work`. A call of mf_interrupted costs about 3 ns; only after 2^18 of
 * work does it read the clock, and only every 50 ms does it take the GIL and let Python run its signal handlers.
 * Helpers of a pool never touch Python: they end when the thread that started them does. */
#ifndef MIXFAST_INTERRUPT_H
#define MIXFAST_INTERRUPT_H

#include <stdatomic.h>

/* Runs Python's signal handlers and returns whether one of them raised; the boundary of each module sets it. NULL in a
 * process without Python: then no call ends early. */
extern int (*mf_poll)(void);

/* Whether this call is to end; `work` since the last time it was asked. Once it is, it stays so until mf_ended(). */
int mf_interrupted(double work);

/* Whether mf_interrupted() has said so in this thread. */
int mf_stopped(void);

/* The same, and forget it: for the boundary, once per call. */
int mf_ended(void);

/* The calling thread is a helper that ends when `stop` is set; NULL: no longer. */
void mf_follow(const atomic_int *stop);

#endif
