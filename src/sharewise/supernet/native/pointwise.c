/* A convolution by kernels of 1×1, a product of every pixel with a matrix, and the gradient of the matrix.

       y = w x,   dw = sum over pixels of dy x',

   for images with channels innermost. Pixels are read in blocks, [channel / LANES][pixel][lane].  */

#include "products.h"

enum { NUMBERS = 1024, PIXELS = 1024 };

/* 0 where channels are no whole vectors, or too many. */
static int serves(const struct shape *s)
{
    return s->in % LANES == 0 && s->out % LANES == 0 && s->in <= NUMBERS && s->out <= NUMBERS;
}

static long pixels_of(const struct shape *s) { return s->images * s->height * s->width; }

/* Of the matrix, read as [output / LANES][input][output % LANES]. */
static long place(const struct shape *s, long o, long i) { return (o / LANES * s->in + i) * LANES + o % LANES; }

static void read_pixels(const REAL *x, long channels, long count, long room, long rectified, REAL *v)
{
    for (long c = 0; c < channels; c += LANES, v += room * LANES)
        for (long t = 0; t < count; ++t)
            AT(v + t * LANES) = PIXEL(x + t * channels + c, rectified);
}

/* y of x and w, zero where another image is not positive, unless it is NULL. Returns 0, or 1 where there is no memory,
   2 where it serves no such shape.  */
int pointwise(const long *numbers, const REAL *x, const REAL *w, const REAL *where, REAL *y)
{
    struct shape s;
    memcpy(&s, numbers, sizeof s);
    if (!serves(&s))
        return 2;
    REAL *u = calloc((s.out + LANES) * s.in, sizeof *u), sums[LANES * LANES];
    if (!u)
        return 1;
    REAL *v = u + s.out * s.in;
    for (long o = 0; o < s.out; ++o)
        for (long i = 0; i < s.in; ++i)
            u[place(&s, o, i)] = w[o * s.of_out + i * s.of_in];
    const long pixels = pixels_of(&s);
    for (long start = 0; start < pixels; start += LANES, x += LANES * s.in) {
        const long count = least(LANES, pixels - start);
        read_pixels(x, s.in, count, LANES, s.rectified, v);
        for (long o = 0; o < s.out; o += LANES) {
            multiply(v, u + o * s.in, s.in, LANES, sums);
            for (long t = 0; t < count; ++t) {
                const long at = (start + t) * s.out + o;
                const vector sum = OF(sums + t * LANES);
                AT(y + at) = where ? WHERE_POSITIVE(sum, OF(where + at)) : sum;
            }
        }
    }
    free(u);
    return 0;
}

/* dw = sums of the first pixels, dw += those of later ones; sums = 0. */
static void move(const struct shape *s, int first, REAL *sums, REAL *dw)
{
    for (long o = 0; o < s->out; ++o)
        for (long i = 0; i < s->in; ++i) {
            REAL *found = dw + o * s->of_out + i * s->of_in;
            *found = (first ? 0 : *found) + sums[place(s, o, i)];
        }
    memset(sums, 0, s->in * s->out * sizeof *sums);
}

/* dw of x and dy. Sums go over one block, over blocks of some PIXELS, and then over all: a single sum over
   so many blocks would round much more. Returns as `pointwise`.  */
int pointwise_gradient(const long *numbers, const REAL *x, const REAL *dy, REAL *dw)
{
    struct shape s;
    memcpy(&s, numbers, sizeof s);
    if (!serves(&s))
        return 2;
    REAL *sums = calloc(s.in * s.out + 2 * NUMBERS, sizeof *sums);
    if (!sums)
        return 1;
    REAL *v = sums + s.in * s.out, *d = v + NUMBERS;
    const long pixels = pixels_of(&s), block = NUMBERS / (s.in > s.out ? s.in : s.out);
    for (long start = 0; start < pixels; start += block, x += block * s.in, dy += block * s.out) {
        const long count = least(block, pixels - start);
        read_pixels(x, s.in, count, block, s.rectified, v);
        read_pixels(dy, s.out, count, block, 0, d);
        for (long o = 0; o < s.out; o += LANES)
            for (long c = 0; c < s.in; c += LANES)
                multiply_transposed(v + c * block, d + o * block, count, sums + o * s.in + c * LANES);
        if (start / PIXELS != (start + block) / PIXELS || start + block >= pixels)
            move(&s, start < PIXELS, sums, dw);
    }
    free(sums);
    return 0;
}
