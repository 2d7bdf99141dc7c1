/* A matrix product for a few rows, as in one step of decoding.
 *
 * It interposes `cblas_sgemm`, which MLX calls. OpenBLAS first copies the second matrix into another
 * order, which for a few rows takes as long as the product itself. Here every weight is read once,
 * in its own order, at the speed of the memory. Products of more rows go to `many_rows.c` up to the
 * number where that is faster than OpenBLAS; larger ones, and those of another layout than x times
 * the transpose of w, go to OpenBLAS.
 */

#include <stddef.h>
#include <string.h>

#include "few_rows.h"
#include "many_rows.h"
#include "pool.h"
#include "vectors.h"

enum { DEPTH = 16384 };
typedef void Multiply(int, int, int, int, int, int, float, const float *, int, const float *, int,
                      float, float *, int);
static Multiply *ordinary;
static int most_rows = MOST_ROWS;

/* Columns that are done for all rows before the next, so that the first rows' tiles bring them into
 * the cache for the others. A multiple of every tile's columns. */
enum { STRIPE = 24 };
enum { WORTH_SHARING = 65536 }; /* weights */

/* Tiles of the result, rows by columns, that the registers hold. */
#if MANY_REGISTERS
#define WITH_TILES(DO) DO(8, 3) DO(4, 6) DO(2, 8) DO(1, 8)
#define TALLEST 8
#else
#define WITH_TILES(DO) DO(4, 2) DO(2, 4) DO(1, 8)
#define TALLEST 4
#endif
/* One tile. `ahead` is what will be needed next, fetched line by line as this is read; or half of
 * it, where another tile's rows fetch the other half. */
#define TILE(M, N)                                                                              \
    static void tile_##M##_##N(const Product *job, const float *x, const float *w, float *out,      \
                               const float *ahead, int halved) {                                \
        Lanes sum[M][N] = {{{0}}};                                                              \
        const size_t stride = job->w_stride;                                                    \
        int k = 0;                                                                              \
        for (; k + LANES <= job->depth; k += LANES) {                                           \
            Lanes weights[N];                                                                   \
            for (int j = 0; j < N; j++) {                                                       \
                weights[j] = *(const Lanes *)(w + j * stride + k);                              \
                __builtin_prefetch(ahead + j * stride + (k >> halved), 0, 2);                   \
            }                                                                                   \
            for (int i = 0; i < M; i++) {                                                       \
                Lanes row = *(const Lanes *)(x + (size_t)k * M + i * LANES);                    \
                IN_REGISTER(row); /* read once, not for every column */                         \
                for (int j = 0; j < N; j++) sum[i][j] += row * weights[j];                      \
            }                                                                                   \
        }                                                                                       \
        const float *rest = x + (size_t)k * M;                                                  \
        for (int i = 0; i < M; i++)                                                             \
            for (int j = 0; j < N; j++) {                                                       \
                float result = total(sum[i][j]);                                                \
                for (int r = 0; k + r < job->depth; r++)                                        \
                    result += rest[i * LANES + r] * w[j * stride + k + r];                      \
                float *to = out + i * job->out_stride + j;                                      \
                *to = job->alpha * result + (job->beta == 0 ? 0 : job->beta * *to);             \
            }                                                                                   \
    }
#define BOTH(M, N) TILE(M, N) TILE(M, 1)
WITH_TILES(BOTH)

/* More rows than a tile holds: two tiles of them take turns with a block of the weights, along the
 * depth, so that both find it in the cache, and keep their sums between blocks. What each fetches
 * ahead is half of the next block. */
#if MANY_REGISTERS
enum { BLOCK = 512, BLOCK_COLUMNS = 48, HALF = MOST_ROWS / 2 };
#define PIECE(N)                                                                                \
    static inline __attribute__((always_inline)) void piece_##N(                                 \
        const float *x, const float *w, size_t stride, int depth, Lanes *kept, int begin,        \
        const float *ahead) {                                                                   \
        Lanes sum[HALF][N];                                                                     \
        _Pragma("GCC unroll 8") for (int i = 0; i < HALF; i++)                                   \
            _Pragma("GCC unroll 8") for (int j = 0; j < N; j++)                                  \
                sum[i][j] = begin ? (Lanes){0} : kept[i * N + j];                               \
        for (int k = 0; k + LANES <= depth; k += LANES) {                                       \
            Lanes weights[N];                                                                   \
            _Pragma("GCC unroll 8") for (int j = 0; j < N; j++) {                                \
                weights[j] = *(const Lanes *)(w + j * stride + k);                              \
                __builtin_prefetch(ahead + j * stride + (k >> 1), 0, 2);                        \
            }                                                                                   \
            _Pragma("GCC unroll 8") for (int i = 0; i < HALF; i++) {                             \
                Lanes row = *(const Lanes *)(x + (size_t)k * HALF + i * LANES);                 \
                IN_REGISTER(row);                                                               \
                _Pragma("GCC unroll 8") for (int j = 0; j < N; j++) sum[i][j] += row * weights[j]; \
            }                                                                                   \
        }                                                                                       \
        _Pragma("GCC unroll 8") for (int i = 0; i < HALF; i++)                                   \
            _Pragma("GCC unroll 8") for (int j = 0; j < N; j++) kept[i * N + j] = sum[i][j];     \
    }
PIECE(3) PIECE(1)

/* The sums of one half's tile to their place in the result. */
static inline __attribute__((always_inline)) void write_half(const Product *job, int half, int n,
                                                             int columns, const Lanes *kept) {
    const int whole = job->depth / LANES * LANES, is_rest = whole < job->depth;
    const int rows = job->rows - half * HALF < HALF ? job->rows - half * HALF : HALF;
    const float *rest = job->x + (size_t)half * HALF * padded_depth(job->depth) + whole * HALF;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            float result = total(kept[i * columns + j]);
            for (int r = 0; is_rest && whole + r < job->depth; r++)
                result += rest[i * LANES + r] * job->w[(n + j) * job->w_stride + whole + r];
            float *to = job->out + (half * HALF + i) * job->out_stride + n + j;
            *to = job->alpha * result + (job->beta == 0 ? 0 : job->beta * *to);
        }
}

static inline __attribute__((always_inline)) void columns_of_halves(const Product *job, int n,
                                                                    int columns) {
    Lanes kept[2][BLOCK_COLUMNS][HALF];
    const size_t stride = job->w_stride, half_size = (size_t)HALF * padded_depth(job->depth);
    const int whole = job->depth / LANES * LANES, threes = columns / 3 * 3;
    const float *w = job->w + n * stride;
    for (int k = 0; k == 0 || k < whole; k += BLOCK) {
        const int depth = whole - k < BLOCK ? whole - k : BLOCK;
        const int is_last = k + BLOCK >= whole, is_end = n + 2 * BLOCK_COLUMNS > job->columns;
        /* What lies beyond the matrix is nothing to fetch. */
        const float *next = !is_last ? w + k + BLOCK : is_end ? w : w + BLOCK_COLUMNS * stride;
        for (int half = 0; half < 2; half++) {
            const float *x = job->x + half * half_size + (size_t)k * HALF;
            const float *ahead = next + (half ? depth / 2 : 0);
            for (int j = 0; j < threes; j += 3)
                piece_3(x, w + j * stride + k, stride, depth, kept[half][j], k == 0,
                        ahead + j * stride);
            for (int j = threes; j < columns; j++)
                piece_1(x, w + j * stride + k, stride, depth, kept[half][j], k == 0,
                        ahead + j * stride);
        }
    }
    for (int half = 0; half < 2; half++) {
        for (int j = 0; j < threes; j += 3) write_half(job, half, n + j, 3, kept[half][j]);
        for (int j = threes; j < columns; j++) write_half(job, half, n + j, 1, kept[half][j]);
    }
}

static void both_halves(const Product *job, int from, int to) {
    int n = from;
    for (; n + BLOCK_COLUMNS <= to; n += BLOCK_COLUMNS) columns_of_halves(job, n, BLOCK_COLUMNS);
    if (n < to) columns_of_halves(job, n, to - n);
}
#endif

static void stripe(const Product *job, int from, int to) {
#if MANY_REGISTERS
    if (job->rows > TALLEST) {
        both_halves(job, from, to);
        return;
    }
#endif
    int halved = job->rows > TALLEST, pass = 0;
    for (int row = 0; row < job->rows; pass++) {
        const int left = job->rows - row;
        const float *x = job->x + (size_t)row * padded_depth(job->depth);
        float *out = job->out + row * job->out_stride;
        /* One pass fetches its own next tile; of several, two fetch the next stripe's halves. */
        const size_t next_stripe = pass < 2 ? STRIPE * job->w_stride : 0;
        const size_t half = pass == 1 ? job->depth / 2 : 0;
#define RUN(M, N)                                                                               \
    if (left >= M) {                                                                            \
        const size_t ahead = halved ? next_stripe + half : N * job->w_stride;                   \
        int n = from;                                                                           \
        for (; n + N <= to; n += N) {                                                           \
            const float *w = job->w + n * job->w_stride;                                        \
            tile_##M##_##N(job, x, w, out + n, w + ahead, halved);                              \
        }                                                                                       \
        for (; n < to; n++) {                                                                   \
            const float *w = job->w + n * job->w_stride;                                        \
            tile_##M##_1(job, x, w, out + n, w, 0);                                             \
        }                                                                                       \
        row += M;                                                                               \
        continue;                                                                               \
    }
        WITH_TILES(RUN)
    }
}

/* Rows of a tile side by side: eight rows a page apart would fall into one set of the cache. */
void pack_rows(const float *x, size_t stride, int rows, int depth, float *out) {
    const int padded = padded_depth(depth), in_all = packed_rows(rows);
    for (int row = 0; row < in_all;) {
        const int left = in_all - row;
        int height = TALLEST;
        while (height > left) height /= 2;
        for (int i = 0; i < height; i++)
            for (int k = 0; k < depth; k += LANES) {
                const int width = depth - k < LANES ? depth - k : LANES;
                float *to = out + (size_t)k * height + i * LANES;
                if (row + i < rows) memcpy(to, x + (row + i) * stride + k, 4 * width);
                else memset(to, 0, 4 * width);
            }
        out += (size_t)height * padded;
        row += height;
    }
}

static void do_share(void *context, int i) {
    const Product *job = context;
    while (i >= job->shares) i -= job++->shares;
    const int from = i * job->share, end = from + job->share;
    const int to = end < job->columns ? end : job->columns;
    const int width = job->rows > TALLEST && MANY_REGISTERS ? to - from : STRIPE;
    for (int n = from; n < to; n += width) stripe(job, n, n + width < to ? n + width : to);
}

void multiply_rows(Product *products, int count) {
    int shares = 0;
    for (Product *job = products; job < products + count; job++) {
        /* Four shares a thread, of whole stripes; small ones are over before a second thread has
         * woken. */
        const int parts = (size_t)job->columns * job->depth < WORTH_SHARING ? 1 : 4 * thread_limit();
        const int stripes = (job->columns + STRIPE - 1) / STRIPE;
        const int each = (stripes + parts - 1) / parts;
        job->share = each * STRIPE;
        job->shares = (stripes + each - 1) / each;
        shares += job->shares;
    }
    in_parallel(do_share, products, shares);
}

/* x times the transpose of w, for up to MOST_ROWS rows. */
static void multiply_few(Product *job, const float *x, int x_stride) {
    static __thread Lanes packed[MOST_ROWS * DEPTH / LANES] __attribute__((aligned(LINE)));
    pack_rows(x, x_stride, job->rows, job->depth, (float *)packed);
    job->x = (const float *)packed;
    multiply_rows(job, 1);
}

EXPORTED void cblas_sgemm(int order, int x_layout, int w_layout, int rows, int columns_, int depth,
                 float alpha, const float *x, int x_stride, const float *w, int w_stride,
                 float beta, float *out, int out_stride) {
    const int ours = order == ROW_MAJOR && x_layout == PLAIN && w_layout == TRANSPOSED &&
                     rows > 0 && depth > 0 && depth <= DEPTH;
    if (ours && rows > MOST_ROWS && rows <= most_rows && worth_many_rows(columns_, depth) &&
        multiply_many_rows(rows, columns_, depth, alpha, x, x_stride, w, w_stride, beta, out,
                           out_stride))
        return;
    if (ours && rows <= MOST_ROWS) {
        if (columns_ < 1) return;
        Product job = {.rows = rows, .columns = columns_, .depth = depth, .alpha = alpha,
                       .beta = beta, .w = w, .w_stride = w_stride, .out = out,
                       .out_stride = out_stride};
        multiply_few(&job, x, x_stride);
        return;
    }
    ordinary(order, x_layout, w_layout, rows, columns_, depth, alpha, x, x_stride, w, w_stride,
             beta, out, out_stride);
}

/* To be called before the first product. */
EXPORTED void interpose_sgemm(Multiply *product, int (*threads)(void)) {
    ordinary = product;
    blas_threads = threads;
    fit_to_cache();
}

/* Up to how many rows a product is done here. */
EXPORTED void take_rows(int most) { most_rows = most < MOST_ROWS ? MOST_ROWS : most; }
