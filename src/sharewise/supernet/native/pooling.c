/* The average of the 3×3 pixels about each, of those that exist, and the transposed map, for images with channels
   innermost. With c(y) and c(x) the number of rows and columns about a pixel that exist,

       y = 1 / c(y) 1 / c(x) [ sum of x over the rows and columns about each ],
       dx = sum over the rows and columns about each of [ 1 / c(y) 1 / c(x) dy ].  */

#include "vectors.h"

/* One over the number of places about `at`, of `length`. */
static REAL part(long at, long length)
{
    return (REAL)1 / (1 + (at > 0) + (at + 1 < length));
}

/* A row, every pixel times its part. */
static void parted(REAL *restrict row, long width, long channels)
{
    const REAL middle = (REAL)1 / 3, edge = part(0, width);
    for (long j = 0; j < channels; ++j)
        row[j] *= edge;
    for (long j = channels; j < (width - 1) * channels; ++j)
        row[j] *= middle;
    for (long j = (width - 1) * channels; width > 1 && j < width * channels; ++j)
        row[j] *= edge;
}

/* Returns 0, or 1 where there is no memory. */
int average(const long *shape, const REAL *x, REAL *y)
{
    const long images = shape[0], height = shape[1], width = shape[2], channels = shape[3], transposed = shape[4];
    const long line = width * channels;
    REAL *zeros = calloc(2 * line + 2 * channels, sizeof *zeros);
    if (!zeros)
        return 1;
    REAL *sums = zeros + line;
    for (long image = 0; image < images; ++image, x += height * line)
        for (long row = 0; row < height; ++row, y += line) {
            const REAL *above = row > 0 ? x + (row - 1) * line : zeros, *here = x + row * line;
            const REAL *below = row + 1 < height ? here + line : zeros;
            const REAL own = part(row, height), one = transposed ? part(row - 1, height) : own;
            const REAL two = transposed ? part(row + 1, height) : own;
            REAL *across = sums + channels, *restrict to = y;
            for (long j = 0; j < line; ++j)
                across[j] = one * above[j] + own * here[j] + two * below[j];
            if (transposed)
                parted(across, width, channels);
            for (long j = 0; j < line; ++j)
                to[j] = sums[j] + sums[j + channels] + sums[j + 2 * channels];
            if (!transposed)
                parted(to, width, channels);
        }
    free(zeros);
    return 0;
}
