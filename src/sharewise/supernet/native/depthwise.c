/* The gradient of a depthwise kernel, and a depthwise convolution of stride 1, for images with channels innermost.

   Value c of pixel (y, x) of image n lies at ((n * height + y) * width + x) * channels + c. A row of an image is read as
   width * channels numbers, LANES at a time, so that channels divide LANES or the other way round. Images are copied
   between margins of zeros, one at a time, which fit into the cache; no pixel is then a special case. Products are added
   up in REAL over one row and from there on in double.  */

#include "vectors.h"

struct shape {
    long images, height, width, channels, size, dilation;
};

/* Whether rows are whole vectors, each of which begins with the same channel. */
static int serves(const struct shape *s)
{
    return s->channels % LANES == 0 || (LANES % s->channels == 0 && s->width * s->channels % LANES == 0);
}

/* Numbers of a row between its margins. */
static long row_of(const struct shape *s)
{
    return (s->width + s->dilation * (s->size - 1)) * s->channels;
}

/* One image between margins of zeros; the margins are there already. */
static void framed(const struct shape *s, const REAL *restrict x, REAL *restrict frame)
{
    const long margin = s->dilation * (s->size / 2), row = row_of(s);
    for (long y = 0; y < s->height; ++y)
        memcpy(frame + (y + margin) * row + margin * s->channels, x + y * s->width * s->channels,
               s->width * s->channels * sizeof *x);
}

static REAL *frame_of(const struct shape *s)
{
    return calloc((s->height + s->dilation * (s->size - 1)) * row_of(s) + LANES, sizeof(REAL));
}

/* The products of one row of dy with one row of the frame, for every column of the kernel: total[j][lane]. */
#define ROW(SIZE)                                                                                                      \
    static void row_##SIZE(const REAL *restrict dy, const REAL *restrict x, long numbers, long stride, long step,      \
                           double *restrict total)                                                                     \
    {                                                                                                                  \
        vector sums[SIZE] = {{0}};                                                                                     \
        for (long p = 0; p < numbers; p += stride) {                                                                   \
            const vector g = OF(dy + p);                                                                               \
            for (int j = 0; j < SIZE; ++j)                                                                             \
                sums[j] += g * OF(x + p + j * step);                                                                   \
        }                                                                                                              \
        for (int j = 0; j < SIZE; ++j)                                                                                 \
            for (int k = 0; k < LANES; ++k)                                                                            \
                total[j * LANES + k] += sums[j][k];                                                                    \
    }

ROW(3)
ROW(5)
ROW(7)

typedef void row_function(const REAL *restrict, const REAL *restrict, long, long, long, double *restrict);

/* dw[c][i][j] = sum over images and pixels of dy[y][x][c] * x[y + d (i - r)][x + d (j - r)][c], with r = size / 2.
   Returns 0, or 1 where there is no memory, 2 where it serves no such shape.  */
int depthwise_gradient(const long *numbers, const REAL *x, const REAL *dy, REAL *dw)
{
    struct shape s;
    memcpy(&s, numbers, sizeof s);
    row_function *row = s.size == 3 ? row_3 : s.size == 5 ? row_5 : s.size == 7 ? row_7 : 0;
    const long c = s.channels, across = s.width * c, image = s.height * across;
    if (!row || !serves(&s))
        return 2;
    const long blocks = c > LANES ? c / LANES : 1, stride = c > LANES ? c : LANES, lines = row_of(&s);
    const long taps = s.size * LANES;
    REAL *frame = frame_of(&s);
    double *totals = calloc(blocks * s.size * taps, sizeof *totals);
    if (!frame || !totals) {
        free(frame);
        free(totals);
        return 1;
    }
    for (long n = 0; n < s.images; ++n) {
        framed(&s, x + n * image, frame);
        for (long y = 0; y < s.height; ++y)
            for (long b = 0; b < blocks; ++b)
                for (long i = 0; i < s.size; ++i)
                    row(dy + n * image + y * across + b * LANES, frame + (y + s.dilation * i) * lines + b * LANES,
                        across, stride, s.dilation * c, totals + (b * s.size + i) * taps);
    }
    for (long at = 0; at < c; ++at)
        for (long i = 0; i < s.size; ++i)
            for (long j = 0; j < s.size; ++j) {
                const double *found = totals + (at / LANES * s.size + i) * taps + j * LANES;
                double sum = 0;
                for (long k = at % LANES; k < LANES; k += c)
                    sum += found[k];
                dw[(at * s.size + i) * s.size + j] = sum;
            }
    free(frame);
    free(totals);
    return 0;
}

/* y[p] = sum over i and j of w[i][j] * x, for the LANES numbers from p on; `w` has LANES numbers a tap. */
#define PIXELS(SIZE)                                                                                                   \
    static void pixels_##SIZE(const REAL *restrict x, const REAL *restrict w, long numbers, long stride, long down,    \
                              long step, REAL *restrict y)                                                             \
    {                                                                                                                  \
        long p = 0;                                                                                                    \
        for (; p + 3 * stride < numbers; p += 4 * stride) {                                                            \
            vector a = {0}, b = {0}, c = {0}, d = {0};                                                                 \
            for (int i = 0; i < SIZE; ++i)                                                                             \
                for (int j = 0; j < SIZE; ++j) {                                                                       \
                    const vector tap = OF(w + (i * SIZE + j) * LANES);                                                 \
                    const REAL *from = x + p + i * down + j * step;                                                    \
                    a += tap * OF(from);                                                                               \
                    b += tap * OF(from + stride);                                                                      \
                    c += tap * OF(from + 2 * stride);                                                                  \
                    d += tap * OF(from + 3 * stride);                                                                  \
                }                                                                                                      \
            AT(y + p) = a;                                                                                             \
            AT(y + p + stride) = b;                                                                                    \
            AT(y + p + 2 * stride) = c;                                                                                \
            AT(y + p + 3 * stride) = d;                                                                                \
        }                                                                                                              \
        for (; p < numbers; p += stride) {                                                                             \
            vector a = {0};                                                                                            \
            for (int i = 0; i < SIZE; ++i)                                                                             \
                for (int j = 0; j < SIZE; ++j)                                                                         \
                    a += OF(w + (i * SIZE + j) * LANES) *                                                              \
                         OF(x + p + i * down + j * step);                                                              \
            AT(y + p) = a;                                                                                             \
        }                                                                                                              \
    }

PIXELS(3)
PIXELS(5)
PIXELS(7)

typedef void pixels_function(const REAL *restrict, const REAL *restrict, long, long, long, long, REAL *restrict);

/* y = x convolved with w[c][i][j], each channel by itself, centred. Returns as `depthwise_gradient`. */
int depthwise(const long *numbers, const REAL *x, const REAL *w, REAL *y)
{
    struct shape s;
    memcpy(&s, numbers, sizeof s);
    pixels_function *pixels = s.size == 3 ? pixels_3 : s.size == 5 ? pixels_5 : s.size == 7 ? pixels_7 : 0;
    const long c = s.channels, across = s.width * c, image = s.height * across, taps = s.size * s.size;
    if (!pixels || !serves(&s))
        return 2;
    const long blocks = c > LANES ? c / LANES : 1, stride = c > LANES ? c : LANES, lines = row_of(&s);
    REAL *frame = frame_of(&s), *weights = malloc(blocks * taps * LANES * sizeof *weights);
    if (!frame || !weights) {
        free(frame);
        free(weights);
        return 1;
    }
    for (long b = 0; b < blocks; ++b)
        for (long t = 0; t < taps; ++t)
            for (long k = 0; k < LANES; ++k)
                weights[(b * taps + t) * LANES + k] = w[(b * LANES + k) % c * taps + t];
    for (long n = 0; n < s.images; ++n) {
        framed(&s, x + n * image, frame);
        for (long line = 0; line < s.height; ++line)
            for (long b = 0; b < blocks; ++b)
                pixels(frame + line * lines + b * LANES, weights + b * taps * LANES, across, stride,
                       s.dilation * lines, s.dilation * c, y + n * image + line * across + b * LANES);
    }
    free(frame);
    free(weights);
    return 0;
}
