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
   that is a product of matrices. BLOCK tiles are transformed at a time, few enough for the first cache where channels
   are few: V of a point is [input / LANES][tile][lane], U is [output / LANES][input][lane], and points lie `plane_of`
   numbers apart. What will be written is asked for during the products, which need nothing from afar: at each of the
   POINTS one tile of the BLOCK.  */

#include "products.h"

enum { POINTS = 16, BLOCK = POINTS };

/* Neighbouring tiles of one row. */
struct run {
    long image, row, first, count;
};

static long tiles_of(const struct shape *s) { return s->images * ((s->height + 1) / 2) * ((s->width + 1) / 2); }

/* Numbers from one point to the next: no power of two, which would bring all points to the same places of a cache. */
static long plane_of(const struct shape *s) { return BLOCK * (s->in > s->out ? s->in : s->out) + LANES; }

/* The tiles from `tile` to the end of their row, or to `end`. */
static struct run run_at(const struct shape *s, long tile, long end)
{
    const long across = (s->width + 1) / 2, down = (s->height + 1) / 2, row = tile / across, first = tile % across;
    return (struct run){row / down, row % down, first, least(across - first, end - tile)};
}

/* B d of the column x of four rows; zeros outside of the image. */
static inline void column(const struct shape *s, const REAL *const rows[4], long x, vector found[4])
{
    if (x < 0 || x >= s->width) {
        for (int i = 0; i < 4; ++i)
            found[i] = (vector){0};
        return;
    }
    const long at = x * s->in;
    const vector a = PIXEL(rows[0] + at, s->rectified), b = PIXEL(rows[1] + at, s->rectified);
    const vector c = PIXEL(rows[2] + at, s->rectified), d = PIXEL(rows[3] + at, s->rectified);
    found[0] = a - c;
    found[1] = b + c;
    found[2] = c - b;
    found[3] = b - d;
}

/* V of a run. */
static void read_tiles(const struct shape *s, const REAL *x, const REAL *zeros, struct run r, REAL *v)
{
    const long plane = plane_of(s);
    for (long c = 0; c < s->in; c += LANES, v += LANES * BLOCK) {
        const REAL *rows[4];
        for (int i = 0; i < 4; ++i) {
            const long y = 2 * r.row - 1 + i;
            rows[i] = y < 0 || y >= s->height ? zeros : x + (r.image * s->height + y) * s->width * s->in + c;
        }
        vector k[4][4];
        column(s, rows, 2 * r.first - 1, k[2]);
        column(s, rows, 2 * r.first, k[3]);
        for (long t = 0; t < r.count; ++t) {
            for (int i = 0; i < 4; ++i)
                k[0][i] = k[2][i], k[1][i] = k[3][i];
            column(s, rows, 2 * (r.first + t) + 1, k[2]);
            column(s, rows, 2 * (r.first + t) + 2, k[3]);
            for (int i = 0; i < 4; ++i) {
                REAL *to = v + 4 * i * plane + t * LANES;
                AT(to) = k[0][i] - k[2][i];
                AT(to + plane) = k[1][i] + k[2][i];
                AT(to + 2 * plane) = k[2][i] - k[1][i];
                AT(to + 3 * plane) = k[1][i] - k[3][i];
            }
        }
    }
}

/* The first pixel of a run in y, and how many of its two rows there are. */
static long first_of(const struct shape *s, struct run r)
{
    return ((r.image * s->height + 2 * r.row) * s->width + 2 * r.first) * s->out;
}

static long rows_of(const struct shape *s, struct run r) { return least(2, s->height - 2 * r.row); }

/* Asks for the pixels of a tile, which begin at `first`; of one that ends beyond its image for some that follow. */
static inline void expect(const struct shape *s, const REAL *first)
{
    for (long row = 0; row < 2; ++row)
        for (long c = 0; c < 2 * s->out; c += LANES)
            __builtin_prefetch(first + row * s->width * s->out + c, 1);
}

static inline void put(vector sum, const REAL *where, REAL *y, long at)
{
    AT(y + at) = where ? WHERE_POSITIVE(sum, OF(where + at)) : sum;
}

/* y of a run, from the sums at its points; zero where another image is not positive, unless it is NULL. */
static void write_tiles(const struct shape *s, const REAL *sums, struct run r, const REAL *where, REAL *y)
{
    const long plane = plane_of(s), line = s->width * s->out, rows = rows_of(s, r);
    for (long c = 0; c < s->out; c += LANES, sums += LANES * BLOCK) {
        long to = first_of(s, r) + c;
        for (long t = 0; t < r.count; ++t, to += 2 * s->out) {
            vector k[2][4];
            for (int j = 0; j < 4; ++j) {
                const REAL *from = sums + j * plane + t * LANES;
                const vector a = OF(from), b = OF(from + 4 * plane), d = OF(from + 8 * plane);
                k[0][j] = a + b + d;
                k[1][j] = b - d - OF(from + 12 * plane);
            }
            for (long i = 0; i < rows; ++i) {
                put(k[i][0] + k[i][1] + k[i][2], where, y, to + i * line);
                if (2 * (r.first + t) + 1 < s->width)
                    put(k[i][1] - k[i][2] - k[i][3], where, y, to + i * line + s->out);
            }
        }
    }
}

/* D of a run. */
static void spread_tiles(const struct shape *s, const REAL *dy, const REAL *zeros, struct run r, REAL *d)
{
    const long plane = plane_of(s), line = s->width * s->out;
    for (long c = 0; c < s->out; c += LANES, d += LANES * BLOCK) {
        const REAL *above = dy + (r.image * s->height + 2 * r.row) * line + c;
        const REAL *below = rows_of(s, r) == 2 ? above + line : zeros;
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
                REAL *to = d + 4 * i * plane + t * LANES;
                AT(to) = k[0][i];
                AT(to + plane) = k[0][i] + k[1][i];
                AT(to + 2 * plane) = k[0][i] - k[1][i];
                AT(to + 3 * plane) = -k[1][i];
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

/* Reads a shape and makes the room for it, where tiles to the left and zeros are zero. Returns 0, or 1 where there is
   no memory, 2 where it serves no such shape.  */
static int opened(const long *numbers, struct shape *s, struct work *k)
{
    memcpy(s, numbers, sizeof *s);
    if (s->in % LANES || s->out % LANES)
        return 2;
    const long line = s->width * (s->in > s->out ? s->in : s->out), kernels = POINTS * s->in * s->out;
    const long tiles = POINTS * plane_of(s);
    k->left = malloc((2 * tiles + kernels + line) * sizeof *k->left);
    if (!k->left)
        return 1;
    k->right = k->left + tiles, k->kernels = k->right + tiles, k->zeros = k->kernels + kernels;
    memset(k->left, 0, tiles * sizeof *k->left);
    memset(k->zeros, 0, line * sizeof *k->zeros);
    return 0;
}

/* y of x and w, zero where another image is not positive, unless it is NULL. Returns as `opened`. */
int winograd(const long *numbers, const REAL *x, const REAL *w, const REAL *where, REAL *y)
{
    struct shape s;
    struct work k;
    const int failed = opened(numbers, &s, &k);
    if (failed)
        return failed;
    const long plane = plane_of(&s), of_kernels = s.in * s.out, tiles = tiles_of(&s);
    REAL *v = k.left, *sums = k.right, *u = k.kernels;
    const REAL *tiles_at[BLOCK];
    read_kernels(&s, w, u);
    for (long start = 0; start < tiles; start += BLOCK) {
        const long end = least(start + BLOCK, tiles);
        struct run r;
        for (long t = start; t < end; t += r.count) {
            r = run_at(&s, t, end);
            read_tiles(&s, x, k.zeros, r, v + (t - start) * LANES);
            for (long i = 0; i < r.count; ++i)
                tiles_at[t - start + i] = y + first_of(&s, r) + 2 * i * s.out;
        }
        for (long p = 0; p < POINTS; ++p) {
            if (p < end - start)
                expect(&s, tiles_at[p]);
            for (long o = 0; o < s.out; o += LANES)
                for (long t = 0; t < end - start; t += LANES)
                    multiply(v + p * plane + t * LANES, u + p * of_kernels + o * s.in, s.in, BLOCK,
                             sums + p * plane + o * BLOCK + t * LANES);
        }
        for (long t = start; t < end; t += r.count) {
            r = run_at(&s, t, end);
            write_tiles(&s, sums + (t - start) * LANES, r, where, y);
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
    const long plane = plane_of(&s), of_kernels = s.in * s.out, tiles = tiles_of(&s);
    REAL *v = k.left, *d = k.right, *sums = k.kernels;
    memset(sums, 0, POINTS * of_kernels * sizeof *sums);
    for (long start = 0; start < tiles; start += BLOCK) {
        const long end = least(start + BLOCK, tiles);
        struct run r;
        for (long t = start; t < end; t += r.count) {
            r = run_at(&s, t, end);
            read_tiles(&s, x, k.zeros, r, v + (t - start) * LANES);
            spread_tiles(&s, dy, k.zeros, r, d + (t - start) * LANES);
        }
        for (long p = 0; p < POINTS; ++p)
            for (long o = 0; o < s.out; o += LANES)
                for (long c = 0; c < s.in; c += LANES)
                    multiply_transposed(v + p * plane + c * BLOCK, d + p * plane + o * BLOCK, end - start,
                                        sums + p * of_kernels + o * s.in + c * LANES);
    }
    write_kernels(&s, sums, dw);
    free(k.left);
    return 0;
}
