/* What all kernels compute with: REAL numbers, LANES of them at a time. */

#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

enum { LANES = 16 };

typedef REAL vector __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

#define AT(p) (*(vector *)(p))
#define OF(p) (*(const vector *)(p))
