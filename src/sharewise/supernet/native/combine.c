/* Sums of images with weights, several at once: out_j = sum_k c_jk in_k, and the products sum in_j other_k of all pairs.

   Both read every image once for all that is computed of it. A weight of zero leaves its image out, whatever is in it. */

#include "vectors.h"

enum { BLOCK = 1024 };

static inline long least(long a, long b) { return a < b ? a : b; }

/* Returns 0. */
int combine(const long *shape, const REAL *weights, const REAL *const *in, REAL *const *out)
{
    const long numbers = shape[0], inputs = shape[1], outputs = shape[2];
    for (long start = 0; start < numbers; start += BLOCK) {
        const long end = least(start + BLOCK, numbers), whole = start + (end - start) / LANES * LANES;
        for (long j = 0; j < outputs; ++j) {
            const REAL *w = weights + j * inputs;
            for (long c = start; c < whole; c += LANES) {
                vector sum = {0};
                for (long k = 0; k < inputs; ++k)
                    if (w[k])
                        sum += w[k] * OF(in[k] + c);
                AT(out[j] + c) = sum;
            }
            for (long c = whole; c < end; ++c) {
                out[j][c] = 0;
                for (long k = 0; k < inputs; ++k)
                    if (w[k])
                        out[j][c] += w[k] * in[k][c];
            }
        }
    }
    return 0;
}

/* Of `firsts` images with `seconds` others, in rows of the latter; in REAL over a block, joined in double. Returns 0, or 1
   where there is no memory. */
int products(const long *shape, const REAL *const *first, const REAL *const *second, REAL *found)
{
    const long numbers = shape[0], firsts = shape[1], seconds = shape[2];
    double *total = calloc(firsts * seconds, sizeof *total);
    if (!total)
        return 1;
    for (long start = 0; start < numbers; start += BLOCK) {
        const long end = least(start + BLOCK, numbers), whole = start + (end - start) / LANES * LANES;
        for (long j = 0; j < firsts; ++j)
            for (long k = 0; k < seconds; ++k) {
                vector sum = {0};
                REAL parts[LANES], rest = 0;
                for (long c = start; c < whole; c += LANES)
                    sum += OF(first[j] + c) * OF(second[k] + c);
                for (long c = whole; c < end; ++c)
                    rest += first[j][c] * second[k][c];
                AT(parts) = sum;
                for (int lane = 0; lane < LANES; ++lane)
                    rest += parts[lane];
                total[j * seconds + k] += rest;
            }
    }
    for (long at = 0; at < firsts * seconds; ++at)
        found[at] = total[at];
    free(total);
    return 0;
}
