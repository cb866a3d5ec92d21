/* The row kernels for one instruction set, in float and in double: VBYTES and ISA name it. */

#define REAL float
#define INT int32_t
#define WIDE 0
#define FSQRT sqrtf
#define FN(name) MF_JOIN(name, ISA, f)
#include "rows_impl.h"
#undef REAL
#undef INT
#undef WIDE
#undef FSQRT
#undef FN

#define REAL double
#define INT int64_t
#define WIDE 1
#define FSQRT sqrt
#define FN(name) MF_JOIN(name, ISA, d)
#include "rows_impl.h"
#undef REAL
#undef INT
#undef WIDE
#undef FSQRT
#undef FN

#undef VBYTES
#undef ISA
