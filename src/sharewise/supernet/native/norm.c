/* Batch norm in training, and its first two derivatives, for images with channels innermost.

   With n pixels, means over all of them, and h what comes back,

       mu = mean x,  v = mean (x - mu)^2,  r = 1 / sqrt(v + eps),  k = r (x - mu),  y = w k + shift,
       dx = w r P h,  P h = h - c - q k,  c = mean h,  q = mean h k,  dw = n q,  d(shift) = n c,

   and, with G, g and b what comes back to dx, dw and d(shift),

       a = mean G,  p = mean G k,  t = mean G h - a c - p q,
       dh = w r P G + g k + b,  d(dw) = n r t,
       ddx = (g r - w r^2 p) h - w r^2 q G + (w r^2 (2 p q - t) - g r q) k + w r^2 (q a + p c) - g r c.

   Images are read as rows of `columns` numbers: of one pixel or of several, whose sums are then folded by channel, and
   rows in parts of so many vectors as there are sums at a time. Sums are taken in REAL over a block of rows and joined
   in double; squares are those about the mean of their block, so that no mean is too large for them.  */

#include <math.h>

#include "vectors.h"

enum { BLOCK = 32, VECTORS = 4, WIDE = VECTORS * LANES };

/* Of `pixels` with `channels` each. `weights` is the number of w: one a channel, one for all, or none. */
struct shape {
    long pixels, channels, weights;
};

#define INLINE static inline __attribute__((always_inline))

/* Parts of a row, V vectors each, whose numbers begin at c; the vectors of a part; and those of `count` rows, at `at`. */
#define PARTS(V) for (long c = 0; c < columns; c += (V) * LANES)
#define EACH(u, V) _Pragma("GCC unroll 4") for (int u = 0; u < (V); ++u)
#define ROWS(V, count)                                                                                                 \
    for (long i = 0, row = c; i < (count); ++i, row += columns)                                                        \
        EACH(u, V)                                                                                                     \
            for (long at = row + u * LANES, once = 1; once; once = 0)

/* A function of parts, as wide as they can be. */
#define BY_PARTS(function, ...)                                                                                        \
    do {                                                                                                               \
        if (columns % WIDE)                                                                                            \
            function(1, __VA_ARGS__);                                                                                  \
        else                                                                                                           \
            function(VECTORS, __VA_ARGS__);                                                                            \
    } while (0)

static inline long least(long a, long b) { return a < b ? a : b; }

/* 0 where rows are no whole vectors that begin with the same channel. */
static long columns_of(const struct shape *s)
{
    const long numbers = s->pixels * s->channels;
    if (WIDE % s->channels == 0 && numbers % WIDE == 0)
        return WIDE;
    if (s->channels % LANES == 0)
        return s->channels;
    return LANES % s->channels == 0 && numbers % LANES == 0 ? LANES : 0;
}

static inline void add(double *restrict total, vector sum)
{
    REAL parts[LANES];
    AT(parts) = sum;
    for (int k = 0; k < LANES; ++k)
        total[k] += parts[k];
}

/* The sum of all columns of one channel, in the first of them. */
static void fold(double *total, long columns, long channels)
{
    for (long c = channels; c < columns; ++c)
        total[c % channels] += total[c];
}

/* Numbers of the channels, for every column. */
static void spread(REAL *numbers, long columns, long channels)
{
    for (long c = channels; c < columns; ++c)
        numbers[c] = numbers[c % channels];
}

/* The mean of `have` numbers and the squares about it, joined by those of `count` others. */
static inline void join(double *mean, double *squares, double have, double count, double other, double others)
{
    const double share = count / (have + count), shift = other - *mean;
    *mean += shift * share;
    *squares += others + shift * shift * have * share;
}

/* Of every column the mean, and the squares about it. */
INLINE void moments(const int V, long rows, long columns, const REAL *x, double *restrict mean, double *restrict squares)
{
    for (long start = 0; start < rows; start += BLOCK, x += BLOCK * columns) {
        const long count = least(BLOCK, rows - start);
        PARTS(V)
        {
            vector middle[VECTORS] = {{0}}, about[VECTORS] = {{0}};
            ROWS(V, count) middle[u] += OF(x + at);
            EACH(u, V) middle[u] /= (REAL)count;
            ROWS(V, count) about[u] += (OF(x + at) - middle[u]) * (OF(x + at) - middle[u]);
            EACH(u, V)
            {
                REAL means[LANES], sums[LANES];
                AT(means) = middle[u], AT(sums) = about[u];
                for (int k = 0; k < LANES; ++k)
                    join(mean + c + u * LANES + k, squares + c + u * LANES + k, start, count, means[k], sums[k]);
            }
        }
    }
}

/* Of every column the sums of h and of h (x - mu). */
INLINE void products(const int V, long rows, long columns, const REAL *h, const REAL *x, const REAL *mu, double *sums[2])
{
    const long step = BLOCK * columns;
    for (long start = 0; start < rows; start += BLOCK, h += step, x += step)
        PARTS(V)
        {
            vector one[VECTORS] = {{0}}, two[VECTORS] = {{0}};
            ROWS(V, least(BLOCK, rows - start))
            {
                one[u] += OF(h + at);
                two[u] += OF(h + at) * (OF(x + at) - OF(mu + c + u * LANES));
            }
            EACH(u, V) add(sums[0] + c + u * LANES, one[u]), add(sums[1] + c + u * LANES, two[u]);
        }
}

static double weight_of(const struct shape *s, const REAL *w, long c)
{
    return s->weights == 0 ? 1 : w[s->weights == 1 ? 0 : c];
}

/* y, added onto other images, and mu and r, which lie one behind the other; running means and variances move by their
   momentum. What is not there is NULL. `numbers` are eps and the momentum. Returns 0, or 1 where there is no memory, 2
   where it serves no such shape.  */
int norm(const long *shape, const double *numbers, const REAL *x, const REAL *w, const REAL *shift, const REAL *onto,
         REAL *mean, REAL *variance, REAL *y, REAL *mu_and_r)
{
    const struct shape s = {shape[0], shape[1], shape[2]};
    const long columns = columns_of(&s), channels = s.channels;
    if (!columns)
        return 2;
    const long rows = s.pixels * channels / columns;
    double *sums = calloc((2 + 3) * columns, sizeof *sums);
    if (!sums)
        return 1;
    double *squares = sums + columns;
    REAL *mu = (REAL *)(squares + columns), *scale = mu + columns, *added = scale + columns;
    BY_PARTS(moments, rows, columns, x, sums, squares);
    for (long c = channels; c < columns; ++c)
        join(sums + c % channels, squares + c % channels, (double)(c / channels) * rows, rows, sums[c], squares[c]);
    for (long c = 0; c < channels; ++c) {
        const double r = 1 / sqrt(squares[c] / s.pixels + numbers[0]);
        mu[c] = mu_and_r[c] = sums[c];
        mu_and_r[channels + c] = r;
        scale[c] = weight_of(&s, w, c) * r;
        added[c] = shift ? shift[c] : 0;
        if (mean)
            mean[c] += numbers[1] * (sums[c] - mean[c]);
        if (variance)
            variance[c] += numbers[1] * (squares[c] / (s.pixels - 1) - variance[c]);
    }
    spread(mu, columns, channels), spread(scale, columns, channels), spread(added, columns, channels);
    if (onto)
        for (long at = 0; at < rows * columns; at += columns)
            PARTS(1)
                AT(y + at + c) = (OF(x + at + c) - OF(mu + c)) * OF(scale + c) + OF(added + c) + OF(onto + at + c);
    else
        for (long at = 0; at < rows * columns; at += columns)
            PARTS(1) AT(y + at + c) = (OF(x + at + c) - OF(mu + c)) * OF(scale + c) + OF(added + c);
    free(sums);
    return 0;
}

/* dx, dw and d(shift), of which those that are NULL are left out. Returns as `norm`. */
int norm_gradient(const long *shape, const REAL *h, const REAL *x, const REAL *w, const REAL *mu_and_r, REAL *dx,
                  REAL *dw, REAL *dshift)
{
    const struct shape s = {shape[0], shape[1], shape[2]};
    const long columns = columns_of(&s), channels = s.channels;
    if (!columns)
        return 2;
    const long rows = s.pixels * channels / columns;
    double *sums[2] = {calloc((2 + 4) * columns, sizeof **sums)};
    if (!sums[0])
        return 1;
    sums[1] = sums[0] + columns;
    REAL *mu = (REAL *)(sums[1] + columns), *of_h = mu + columns, *of_x = of_h + columns, *constant = of_x + columns;
    memcpy(mu, mu_and_r, channels * sizeof *mu);
    spread(mu, columns, channels);
    BY_PARTS(products, rows, columns, h, x, mu, sums);
    fold(sums[0], columns, channels), fold(sums[1], columns, channels);
    double all = 0;
    for (long c = 0; c < channels; ++c) {
        const double r = mu_and_r[channels + c], scale = weight_of(&s, w, c) * r;
        of_h[c] = scale;
        of_x[c] = -scale * r * r * sums[1][c] / s.pixels;
        constant[c] = -scale * sums[0][c] / s.pixels;
        all += sums[1][c] * r;
        if (dw)
            dw[s.weights == 1 ? 0 : c] = s.weights == 1 ? all : sums[1][c] * r;
        if (dshift)
            dshift[c] = sums[0][c];
    }
    spread(of_h, columns, channels), spread(of_x, columns, channels), spread(constant, columns, channels);
    for (long row = 0; dx && row < rows; ++row, h += columns, x += columns, dx += columns)
        PARTS(1)
            AT(dx + c) = OF(h + c) * OF(of_h + c) + (OF(x + c) - OF(mu + c)) * OF(of_x + c) + OF(constant + c);
    free(sums[0]);
    return 0;
}

enum { SUMS = 5, FACTORS = 7 };

/* Of every column the sums of h, G, h (x - mu), G (x - mu) and h G. */
INLINE void second_products(const int V, long rows, long columns, const REAL *h, const REAL *G, const REAL *x,
                            const REAL *mu, double *sums[SUMS])
{
    const long step = BLOCK * columns;
    for (long start = 0; start < rows; start += BLOCK, h += step, G += step, x += step)
        PARTS(V)
        {
            vector found[SUMS][VECTORS] = {{{0}}};
            ROWS(V, least(BLOCK, rows - start))
            {
                const vector lower = OF(h + at), upper = OF(G + at), centred = OF(x + at) - OF(mu + c + u * LANES);
                found[0][u] += lower, found[1][u] += upper;
                found[2][u] += lower * centred, found[3][u] += upper * centred, found[4][u] += lower * upper;
            }
            for (int k = 0; k < SUMS; ++k)
                EACH(u, V) add(sums[k] + c + u * LANES, found[k][u]);
        }
}

/* dh, ddx and d(dw) of what comes back to `norm_gradient`: G, and g and b, which may be NULL. Returns as `norm`. */
int norm_second_gradient(const long *shape, const REAL *G, const REAL *g, const REAL *b, const REAL *h, const REAL *x,
                         const REAL *w, const REAL *mu_and_r, REAL *dh, REAL *ddx, REAL *ddw)
{
    const struct shape s = {shape[0], shape[1], shape[2]};
    const long columns = columns_of(&s), channels = s.channels;
    if (!columns)
        return 2;
    const long rows = s.pixels * channels / columns;
    double *sums[SUMS] = {calloc((SUMS + FACTORS) * columns, sizeof **sums)};
    if (!sums[0])
        return 1;
    for (int k = 1; k < SUMS; ++k)
        sums[k] = sums[k - 1] + columns;
    REAL *factors[FACTORS] = {(REAL *)(sums[SUMS - 1] + columns)}, *mu = factors[0];
    for (int k = 1; k < FACTORS; ++k)
        factors[k] = factors[k - 1] + columns;
    memcpy(mu, mu_and_r, channels * sizeof *mu);
    spread(mu, columns, channels);
    BY_PARTS(second_products, rows, columns, h, G, x, mu, sums);
    for (int k = 0; k < SUMS; ++k)
        fold(sums[k], columns, channels);
    double all = 0;
    for (long c = 0; c < channels; ++c) {
        const double n = s.pixels, r = mu_and_r[channels + c], one = weight_of(&s, w, c) * r, two = one * r;
        const double mine = g ? g[s.weights == 1 ? 0 : c] * r : 0, of_h = sums[0][c] / n, of_g = sums[1][c] / n;
        const double q = sums[2][c] * r / n, p = sums[3][c] * r / n, t = sums[4][c] / n - of_g * of_h - p * q;
        factors[1][c] = one;
        factors[2][c] = mine - two * p;
        factors[3][c] = (b ? b[c] : 0) - one * of_g;
        factors[4][c] = -two * q;
        factors[5][c] = (two * (2 * p * q - t) - mine * q) * r;
        factors[6][c] = two * (q * of_g + p * of_h) - mine * of_h;
        all += n * r * t;
        if (ddw)
            ddw[s.weights == 1 ? 0 : c] = s.weights == 1 ? all : n * r * t;
    }
    for (int k = 1; k < FACTORS; ++k)
        spread(factors[k], columns, channels);
    for (long row = 0; row < rows; ++row, G += columns, h += columns, x += columns, dh += columns, ddx += columns)
        PARTS(1)
        {
            vector f[FACTORS];
            for (int k = 0; k < FACTORS; ++k)
                f[k] = OF(factors[k] + c);
            const vector upper = OF(G + c), lower = OF(h + c), centred = OF(x + c) - f[0];
            AT(dh + c) = upper * f[1] + centred * f[2] + f[3];
            AT(ddx + c) = lower * f[2] + upper * f[4] + centred * f[5] + f[6];
        }
    free(sums[0]);
    return 0;
}
