/* A convolution by kernels of 3×3, and the gradient of the kernels, by the minimal filtering of Winograd: F(2×2, 3×3).

   Images have channels innermost, and every pixel is the middle of its kernel. An image is cut into tiles of 2×2 pixels,
   which depend on the 4×4 pixels d around each. With the matrices

           ( 1  0 -1  0 )        (  1    0    0  )
       B = ( 0  1  1  0 ),   G = ( 1/2  1/2  1/2 ),   A = ( 1  1  1  0 )
           ( 0 -1  1  0 )        ( 1/2 -1/2  1/2 )        ( 0  1 -1 -1 )
           ( 0  1  0 -1 )        (  0    0    1  )

       y  = A [ sum over inputs of U * V ] A',    U = G w G',  V = B d B',
       dw = G' [ sum over tiles of V * D ] G,     D = A' dy A,

   where * multiplies the 16 points of two tiles one by one: 16 products where the sum itself takes 36. At each point
   that is a product of matrices. `block` tiles are transformed at a time, as many as the second cache holds: V of a
   point is [input / LANES][tile][lane], U is [output / LANES][input][lane], and points lie PLANE numbers apart.  */

#include "vectors.h"

enum { NUMBERS = 2048, POINTS = 16, PLANE = NUMBERS + LANES };

#define EVERY(i) _Pragma("GCC unroll 16") for (int i = 0; i < LANES; ++i)

/* A convolution from `in` to `out` channels. Its kernel w[output][input][row][column] lies wherever the strides say. */
struct shape {
    long images, height, width, in, out;
    long of_out, of_in, of_row, of_column;
};

static inline long least(long a, long b) { return a < b ? a : b; }

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

/* Neighbouring tiles of one row. */
struct run {
    long image, row, first, count;
};

static long tiles_of(const struct shape *s) { return s->images * ((s->height + 1) / 2) * ((s->width + 1) / 2); }

/* How many tiles are transformed at a time; 0 where there are channels for none, or no whole vectors. */
static long block_of(const struct shape *s)
{
    return s->in % LANES || s->out % LANES ? 0 : NUMBERS / (s->in > s->out ? s->in : s->out) / LANES * LANES;
}

/* The tiles from `tile` to the end of their row, or to `end`. */
static struct run run_at(const struct shape *s, long tile, long end)
{
    const long across = (s->width + 1) / 2, down = (s->height + 1) / 2, row = tile / across, first = tile % across;
    return (struct run){row / down, row % down, first, least(across - first, end - tile)};
}

/* B d of the column x of four rows; zeros outside of the image. */
static inline void column(const REAL *const rows[4], long x, long width, long channels, vector found[4])
{
    if (x < 0 || x >= width) {
        for (int i = 0; i < 4; ++i)
            found[i] = (vector){0};
        return;
    }
    const long at = x * channels;
    const vector a = OF(rows[0] + at), b = OF(rows[1] + at), c = OF(rows[2] + at), d = OF(rows[3] + at);
    found[0] = a - c;
    found[1] = b + c;
    found[2] = c - b;
    found[3] = b - d;
}

/* V of a run. */
static void read_tiles(const struct shape *s, const REAL *x, const REAL *zeros, struct run r, long block, REAL *v)
{
    for (long c = 0; c < s->in; c += LANES, v += LANES * block) {
        const REAL *rows[4];
        for (int i = 0; i < 4; ++i) {
            const long y = 2 * r.row - 1 + i;
            rows[i] = y < 0 || y >= s->height ? zeros : x + (r.image * s->height + y) * s->width * s->in + c;
        }
        vector k[4][4];
        column(rows, 2 * r.first - 1, s->width, s->in, k[2]);
        column(rows, 2 * r.first, s->width, s->in, k[3]);
        for (long t = 0; t < r.count; ++t) {
            for (int i = 0; i < 4; ++i)
                k[0][i] = k[2][i], k[1][i] = k[3][i];
            column(rows, 2 * (r.first + t) + 1, s->width, s->in, k[2]);
            column(rows, 2 * (r.first + t) + 2, s->width, s->in, k[3]);
            for (int i = 0; i < 4; ++i) {
                REAL *to = v + 4 * i * PLANE + t * LANES;
                AT(to) = k[0][i] - k[2][i];
                AT(to + PLANE) = k[1][i] + k[2][i];
                AT(to + 2 * PLANE) = k[2][i] - k[1][i];
                AT(to + 3 * PLANE) = k[1][i] - k[3][i];
            }
        }
    }
}

/* y of a run, from the sums at its points. */
static void write_tiles(const struct shape *s, const REAL *sums, struct run r, long block, REAL *y)
{
    const long line = s->width * s->out, rows = 2 * r.row + 1 < s->height ? 2 : 1;
    for (long c = 0; c < s->out; c += LANES, sums += LANES * block) {
        REAL *to = y + (r.image * s->height + 2 * r.row) * line + 2 * r.first * s->out + c;
        for (long t = 0; t < r.count; ++t, to += 2 * s->out) {
            vector k[2][4];
            for (int j = 0; j < 4; ++j) {
                const REAL *from = sums + j * PLANE + t * LANES;
                const vector a = OF(from), b = OF(from + 4 * PLANE), d = OF(from + 8 * PLANE);
                k[0][j] = a + b + d;
                k[1][j] = b - d - OF(from + 12 * PLANE);
            }
            for (long i = 0; i < rows; ++i) {
                AT(to + i * line) = k[i][0] + k[i][1] + k[i][2];
                if (2 * (r.first + t) + 1 < s->width)
                    AT(to + i * line + s->out) = k[i][1] - k[i][2] - k[i][3];
            }
        }
    }
}

/* D of a run. */
static void spread_tiles(const struct shape *s, const REAL *dy, const REAL *zeros, struct run r, long block, REAL *d)
{
    const long line = s->width * s->out;
    for (long c = 0; c < s->out; c += LANES, d += LANES * block) {
        const REAL *above = dy + (r.image * s->height + 2 * r.row) * line + c;
        const REAL *below = 2 * r.row + 1 < s->height ? above + line : zeros;
        for (long t = 0; t < r.count; ++t) {
            vector k[2][4];
            for (int j = 0; j < 2; ++j) {
                const long x = 2 * (r.first + t) + j, inside = x < s->width;
                const vector a = inside ? OF(above + x * s->out) : (vector){0};
                const vector b = inside ? OF(below + x * s->out) : (vector){0};
                k[j][0] = a;
                k[j][1] = a + b;
                k[j][2] = a - b;
                k[j][3] = -b;
            }
            for (int i = 0; i < 4; ++i) {
                REAL *to = d + 4 * i * PLANE + t * LANES;
                AT(to) = k[0][i];
                AT(to + PLANE) = k[0][i] + k[1][i];
                AT(to + 2 * PLANE) = k[0][i] - k[1][i];
                AT(to + 3 * PLANE) = -k[1][i];
            }
        }
    }
}

static long tap(const struct shape *s, long o, long i, int t)
{
    return o * s->of_out + i * s->of_in + t / 3 * s->of_row + t % 3 * s->of_column;
}

/* U. */
static void read_kernels(const struct shape *s, const REAL *w, REAL *u)
{
    const long plane = s->in * s->out;
    const vector half = (vector){0} + (REAL)0.5;
    for (long o = 0; o < s->out; o += LANES)
        for (long i = 0; i < s->in; ++i, u += LANES) {
            REAL taps[9][LANES];
            for (int k = 0; k < LANES; ++k)
                for (int t = 0; t < 9; ++t)
                    taps[t][k] = w[tap(s, o + k, i, t)];
            vector g[4][3];
            for (int j = 0; j < 3; ++j) {
                const vector a = OF(taps[j]), b = OF(taps[3 + j]), c = OF(taps[6 + j]);
                g[0][j] = a, g[1][j] = (a + b + c) * half, g[2][j] = (a - b + c) * half, g[3][j] = c;
            }
            for (int p = 0; p < 4; ++p) {
                const vector a = g[p][0], b = g[p][1], c = g[p][2];
                REAL *to = u + 4 * p * plane;
                AT(to) = a, AT(to + plane) = (a + b + c) * half;
                AT(to + 2 * plane) = (a - b + c) * half, AT(to + 3 * plane) = c;
            }
        }
}

/* dw, from the sums over tiles. */
static void write_kernels(const struct shape *s, const REAL *sums, REAL *dw)
{
    const long plane = s->in * s->out;
    const vector half = (vector){0} + (REAL)0.5;
    for (long o = 0; o < s->out; o += LANES)
        for (long i = 0; i < s->in; ++i, sums += LANES) {
            vector g[3][4];
            for (int j = 0; j < 4; ++j) {
                const REAL *from = sums + j * plane;
                const vector a = OF(from), b = OF(from + 4 * plane), c = OF(from + 8 * plane);
                g[0][j] = a + (b + c) * half, g[1][j] = (b - c) * half;
                g[2][j] = (b + c) * half + OF(from + 12 * plane);
            }
            REAL taps[9][LANES];
            for (int p = 0; p < 3; ++p) {
                AT(taps[3 * p]) = g[p][0] + (g[p][1] + g[p][2]) * half;
                AT(taps[3 * p + 1]) = (g[p][1] - g[p][2]) * half;
                AT(taps[3 * p + 2]) = (g[p][1] + g[p][2]) * half + g[p][3];
            }
            for (int k = 0; k < LANES; ++k)
                for (int t = 0; t < 9; ++t)
                    dw[tap(s, o + k, i, t)] = taps[t][k];
        }
}

/* What a call computes with: tiles twice, all points of the kernels, and a row of zeros, one behind the other. */
struct work {
    REAL *left, *right, *kernels, *zeros;
};

/* Reads a shape and makes the room for it, where tiles to the left, kernels and zeros are zero. Returns 0, or 1 where
   there is no memory, 2 where it serves no such shape.  */
static int opened(const long *numbers, struct shape *s, struct work *k)
{
    memcpy(s, numbers, sizeof *s);
    if (!block_of(s))
        return 2;
    const long line = s->width * (s->in > s->out ? s->in : s->out), kernels = POINTS * s->in * s->out;
    k->left = malloc((2 * POINTS * PLANE + kernels + line) * sizeof *k->left);
    if (!k->left)
        return 1;
    k->right = k->left + POINTS * PLANE, k->kernels = k->right + POINTS * PLANE, k->zeros = k->kernels + kernels;
    memset(k->left, 0, POINTS * PLANE * sizeof *k->left);
    memset(k->kernels, 0, (kernels + line) * sizeof *k->kernels);
    return 0;
}

/* y of x and w. Returns as `opened`. */
int winograd(const long *numbers, const REAL *x, const REAL *w, REAL *y)
{
    struct shape s;
    struct work k;
    const int failed = opened(numbers, &s, &k);
    if (failed)
        return failed;
    const long block = block_of(&s), plane = s.in * s.out, tiles = tiles_of(&s);
    REAL *v = k.left, *sums = k.right, *u = k.kernels;
    read_kernels(&s, w, u);
    for (long start = 0; start < tiles; start += block) {
        const long end = least(start + block, tiles);
        struct run r;
        for (long t = start; t < end; t += r.count) {
            r = run_at(&s, t, end);
            read_tiles(&s, x, k.zeros, r, block, v + (t - start) * LANES);
        }
        for (long p = 0; p < POINTS; ++p)
            for (long o = 0; o < s.out; o += LANES)
                for (long t = 0; t < end - start; t += LANES)
                    multiply(v + p * PLANE + t * LANES, u + p * plane + o * s.in, s.in, block,
                             sums + p * PLANE + o * block + t * LANES);
        for (long t = start; t < end; t += r.count) {
            r = run_at(&s, t, end);
            write_tiles(&s, sums + (t - start) * LANES, r, block, y);
        }
    }
    free(k.left);
    return 0;
}

/* dw of x and dy. Sums go over one block, and then over blocks. Returns as `opened`. */
int winograd_gradient(const long *numbers, const REAL *x, const REAL *dy, REAL *dw)
{
    struct shape s;
    struct work k;
    const int failed = opened(numbers, &s, &k);
    if (failed)
        return failed;
    const long block = block_of(&s), plane = s.in * s.out, tiles = tiles_of(&s);
    REAL *v = k.left, *d = k.right, *sums = k.kernels;
    for (long start = 0; start < tiles; start += block) {
        const long end = least(start + block, tiles);
        struct run r;
        for (long t = start; t < end; t += r.count) {
            r = run_at(&s, t, end);
            read_tiles(&s, x, k.zeros, r, block, v + (t - start) * LANES);
            spread_tiles(&s, dy, k.zeros, r, block, d + (t - start) * LANES);
        }
        for (long p = 0; p < POINTS; ++p)
            for (long o = 0; o < s.out; o += LANES)
                for (long c = 0; c < s.in; c += LANES)
                    multiply_transposed(v + p * PLANE + c * block, d + p * PLANE + o * block, end - start,
                                        sums + p * plane + o * s.in + c * LANES);
    }
    write_kernels(&s, sums, dw);
    free(k.left);
    return 0;
}
