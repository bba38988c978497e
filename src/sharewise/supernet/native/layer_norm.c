/* Layer norm of a mixture of slices, and its gradients, for rows of features.

   With weights p of the features, which sum to one, and h what comes back,

       mu = sum p x,  v = sum p (x - mu)^2,  r = 1 / sqrt(v + eps),  k = r (x - mu),  y = w k + shift,

   or mu = 0 where the norm is not centred; and with u = w h, A = sum u (0 where it is not centred), B = sum u k,

       dx = r (u - p (A + k B)),  dp = - sum k (A + k B / 2),  dw = sum h k,  d(shift) = sum h,

   the last three over rows. These are taken in REAL over a block of rows and joined in double. The gradient of p leaves
   out what sum p = 1 removes.  */

#include <math.h>

#include "vectors.h"

enum { BLOCK = 32, SUMS = 3 };

#define PARTS for (long c = 0; c < features; c += LANES)

/* The sum of the numbers of a vector, by halves. */
static inline REAL whole(vector sum)
{
    REAL parts[LANES];
    AT(parts) = sum;
    _Pragma("GCC unroll 4") for (int half = LANES / 2; half; half /= 2)
        _Pragma("GCC unroll 8") for (int k = 0; k < half; ++k)
            parts[k] += parts[k + half];
    return parts[0];
}

/* y, mu and r of every row; without mu, which is NULL then, it is not centred. Returns 0, or 2 where it serves no such
   shape. */
int layer_norm(const long *shape, const double *eps, const REAL *x, const REAL *p, const REAL *w, const REAL *shift,
               REAL *y, REAL *mu, REAL *r)
{
    const long rows = shape[0], features = shape[1];
    if (features % LANES)
        return 2;
    for (long row = 0; row < rows; ++row, x += features, y += features) {
        vector sum = {0}, squares = {0};
        REAL middle = 0;
        if (mu) {
            PARTS sum += OF(p + c) * OF(x + c);
            mu[row] = middle = whole(sum);
        }
        PARTS squares += OF(p + c) * (OF(x + c) - middle) * (OF(x + c) - middle);
        r[row] = 1 / sqrt(whole(squares) + *eps);
        PARTS AT(y + c) = (OF(x + c) - middle) * r[row] * OF(w + c) + OF(shift + c);
    }
    return 0;
}

/* dx, dp, dw and d(shift), of which all but the first may be NULL. Returns as `layer_norm`, or 1 where there is no memory. */
int layer_norm_gradient(const long *shape, const REAL *h, const REAL *x, const REAL *p, const REAL *w, const REAL *mu,
                        const REAL *r, REAL *dx, REAL *dp, REAL *dw, REAL *dshift)
{
    const long rows = shape[0], features = shape[1], all = SUMS * features;
    if (features % LANES)
        return 2;
    double *total = calloc(2 * all, sizeof *total);
    if (!total)
        return 1;
    REAL *sums = (REAL *)(total + all), *of_p = sums, *of_w = of_p + features, *of_shift = of_w + features;
    for (long row = 0; row < rows; ++row, h += features, x += features, dx += features) {
        const REAL middle = mu ? mu[row] : 0, scale = r[row];
        vector of_u = {0}, of_ux = {0};
        PARTS
        {
            const vector u = OF(h + c) * OF(w + c);
            of_u += u;
            of_ux += u * (OF(x + c) - middle);
        }
        const REAL a = mu ? whole(of_u) : 0, b = whole(of_ux) * scale;
        PARTS
        {
            const vector back = OF(h + c), k = (OF(x + c) - middle) * scale;
            AT(dx + c) = (back * OF(w + c) - OF(p + c) * (a + k * b)) * scale;
            AT(of_p + c) -= k * (a + k * b / 2);
            AT(of_w + c) += back * k;
            AT(of_shift + c) += back;
        }
        if (row % BLOCK == BLOCK - 1 || row == rows - 1)
            for (long c = 0; c < all; ++c) {
                total[c] += sums[c];
                sums[c] = 0;
            }
    }
    REAL *found[SUMS] = {dp, dw, dshift};
    for (int k = 0; k < SUMS; ++k)
        for (long c = 0; found[k] && c < features; ++c)
            found[k][c] = total[k * features + c];
    free(total);
    return 0;
}
