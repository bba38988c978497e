/* What all kernels compute with: REAL numbers, LANES of them at a time. */

#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

/* Of float, what a register holds. */
#ifdef __AVX512F__
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif

typedef REAL vector __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

/* Of the comparison of two vectors: all bits of a lane, or none. */
typedef __typeof__((vector){0} < (vector){0}) mask;

#define AT(p) (*(vector *)(p))
#define OF(p) (*(const vector *)(p))
