/* Products of matrices that lie in blocks of LANES rows and columns, of which convolutions are made. */

#include "vectors.h"

#define EVERY(i) _Pragma("GCC unroll 16") for (int i = 0; i < LANES; ++i)

/* A convolution from `in` to `out` channels, of images that are rectified first or not. Its kernel
   w[output][input][row][column] lies wherever the strides say.  */
struct shape {
    long images, height, width, in, out;
    long of_out, of_in, of_row, of_column;
    long rectified;
};

static inline long least(long a, long b) { return a < b ? a : b; }

/* `found` in the lanes where x is positive or NaN, and zero in the others. */
#define WHERE_POSITIVE(found, x) ((vector)((mask)(found) & ~(mask)((x) <= 0)))

/* A vector of an image that is read. */
#define PIXEL(at, rectified) ((rectified) ? WHERE_POSITIVE(OF(at), OF(at)) : OF(at))

/* sums[row][lane] = sum over i of v[i / LANES][row][i % LANES] * u[i][lane], for LANES rows; blocks of LANES inputs lie
   `block` rows apart.  */
static inline void multiply(const REAL *restrict v, const REAL *restrict u, long in, long block, REAL *restrict sums)
{
    vector found[LANES];
    EVERY(t) found[t] = (vector){0};
    for (long c = 0; c < in; c += LANES, v += LANES * block)
        for (int i = 0; i < LANES; ++i, u += LANES) {
            const vector weight = OF(u);
            EVERY(t) found[t] += weight * v[t * LANES + i];
        }
    EVERY(t) AT(sums + t * LANES) = found[t];
}

/* sums[i][lane] += sum over rows of v[row][i] * d[row][lane], for LANES values of i. */
static inline void multiply_transposed(const REAL *restrict v, const REAL *restrict d, long rows, REAL *restrict sums)
{
    vector found[LANES];
    EVERY(i) found[i] = (vector){0};
    for (long t = 0; t < rows; ++t) {
        const vector right = OF(d + t * LANES);
        EVERY(i) found[i] += right * v[t * LANES + i];
    }
    EVERY(i) AT(sums + i * LANES) += found[i];
}
