/* A matrix product for tens or hundreds of rows, as in prefill.
 *
 * OpenBLAS copies the second matrix into the order of its kernels, which takes as long as multiplying
 * some fifty rows by it. Here the rows are copied, as many side by side as a vector has lanes, and
 * the weights are read in their own order: each number multiplies a few vectors of rows.
 *
 * A number of the result is the sum of the sums of blocks along the depth, each added up in order,
 * whatever the number of rows, the place among them and the threads.
 */

#include "many_rows.h"

#include <string.h>
#include <unistd.h>

#include "pool.h"
#include "vectors.h"

/* A tile of the result is TALL vectors of rows by WIDE columns, which the registers hold beside
 * the vectors themselves and one weight. */
#if MANY_REGISTERS
enum { WIDE = 8, TALL = 3 };
#elif defined(__FMA__)
enum { WIDE = 4, TALL = 3 };
#else
enum { WIDE = 4, TALL = 2 };
#endif
/* Rows that are done at a time, and columns for which a block of them stays in the cache. */
enum { ROWS = MOST_TOGETHER, STRIPE = 48 };
enum { UNROLLED = LINE / sizeof(float), MOST_DEEP = 256 };

typedef struct {
    int rows, columns, depth;
    float alpha, beta;
    const float *x;
    size_t x_stride;
    float *packed; /* panels of vectors of rows, each (depth, its vectors, lanes) */
    const float *w;
    size_t w_stride;
    float *out;
    size_t out_stride;
    int vectors, panels, share, threads;
} Chunk;

/* How much of the depth is a block. */
static int deep = 64;

void fit_to_cache(void) {
    long bytes = 0;
#ifdef _SC_LEVEL1_DCACHE_SIZE
    bytes = sysconf(_SC_LEVEL1_DCACHE_SIZE);
#endif
    if (bytes <= 0) bytes = 32768; /* what hardly a processor has less of */
    /* Half of it for a panel's block, which every tile of a stripe reads. */
    const long fits = bytes / 2 / (TALL * sizeof(Lanes)) / UNROLLED * UNROLLED;
    deep = fits < UNROLLED ? UNROLLED : fits > MOST_DEEP ? MOST_DEEP : fits;
}

/* Adds a block to the sums, (columns, vectors), or begins them. `ahead` is what will be needed
 * next, fetched line by line as this is read. */
#define TILE(M, N)                                                                              \
    static void tile_##M##_##N(const float *x, const float *w, size_t stride, int depth,         \
                               float *sums, size_t width, int begin, const float *ahead) {       \
        Lanes sum[N][M] = {{{0}}};                                                              \
        int k = 0;                                                                              \
        for (; k + UNROLLED <= depth; k += UNROLLED) {                                          \
            for (int j = 0; j < N; j++) __builtin_prefetch(ahead + j * stride + k, 0, 2);       \
            for (int r = 0; r < UNROLLED; r++) MULTIPLY(M, N, k + r)                            \
        }                                                                                       \
        for (; k < depth; k++) MULTIPLY(M, N, k)                                                \
        _Pragma("GCC unroll 8") for (int j = 0; j < N; j++)                                     \
            _Pragma("GCC unroll 8") for (int i = 0; i < M; i++) {                               \
                Lanes *to = (Lanes *)(sums + j * width + i * LANES);                            \
                if (begin) *to = sum[j][i];                                                     \
                else *to += sum[j][i];                                                          \
            }                                                                                   \
    }
#define MULTIPLY(M, N, K)                                                                       \
    {                                                                                           \
        Lanes rows[M];                                                                          \
        for (int i = 0; i < M; i++) {                                                           \
            rows[i] = *(const Lanes *)(x + i * LANES);                                          \
            IN_REGISTER(rows[i]);                                                               \
        }                                                                                       \
        _Pragma("GCC unroll 8") for (int j = 0; j < N; j++) {                                   \
            const float weight = w[j * stride + (K)];                                           \
            _Pragma("GCC unroll 8") for (int i = 0; i < M; i++) sum[j][i] += rows[i] * weight;  \
        }                                                                                       \
        x += M * LANES;                                                                         \
    }
#if MANY_REGISTERS
#define BOTH(M) TILE(M, 8) TILE(M, 1)
#else
#define BOTH(M) TILE(M, 4) TILE(M, 1)
#endif
BOTH(1) BOTH(2) BOTH(3)

typedef void Tile(const float *, const float *, size_t, int, float *, size_t, int, const float *);
#if MANY_REGISTERS
static Tile *const wide_tiles[] = {tile_1_8, tile_2_8, tile_3_8};
#else
static Tile *const wide_tiles[] = {tile_1_4, tile_2_4, tile_3_4};
#endif
static Tile *const single_tiles[] = {tile_1_1, tile_2_1, tile_3_1};

/* Vectors are divided evenly among panels; the one at which a panel begins. */
static inline int beginning(const Chunk *job, int panel) {
    const int each = job->vectors / job->panels, more = job->vectors % job->panels;
    return panel * each + (panel < more ? panel : more);
}

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
#if defined(__clang__) || __GNUC__ >= 12
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t Places __attribute__((vector_size(16)));
#define PICK(a, b, ...) __builtin_shuffle(a, b, (Places){__VA_ARGS__})
#endif

/* Four rows of four floats to four columns. */
static inline void transpose(const float *from, size_t stride, Four columns[4]) {
    Four rows[4];
    for (int i = 0; i < 4; i++) rows[i] = *(const Four *)(from + i * stride);
    const Four a = PICK(rows[0], rows[1], 0, 4, 1, 5), b = PICK(rows[0], rows[1], 2, 6, 3, 7);
    const Four c = PICK(rows[2], rows[3], 0, 4, 1, 5), d = PICK(rows[2], rows[3], 2, 6, 3, 7);
    columns[0] = PICK(a, c, 0, 1, 4, 5);
    columns[1] = PICK(a, c, 2, 3, 6, 7);
    columns[2] = PICK(b, d, 0, 1, 4, 5);
    columns[3] = PICK(b, d, 2, 3, 6, 7);
}

/* One vector of rows, to its place in its panel. */
static void pack(void *context, int vector) {
    const Chunk *job = context;
    int panel = 0;
    while (panel + 1 < job->panels && beginning(job, panel + 1) <= vector) panel++;
    const int first = beginning(job, panel);
    const size_t width = (size_t)(beginning(job, panel + 1) - first) * LANES;
    float *to = job->packed + (size_t)first * LANES * job->depth + (vector - first) * LANES;
    const int from = vector * LANES, whole = job->depth / 4 * 4;
    for (int i = 0; i < LANES; i += 4, to += 4) {
        const float *x = job->x + (from + i) * job->x_stride;
        int k = 0;
        for (; from + i + 4 <= job->rows && k < whole; k += 4) {
            Four columns[4];
            transpose(x + k, job->x_stride, columns);
            for (int r = 0; r < 4; r++) *(Four *)(to + (k + r) * width) = columns[r];
        }
        for (; k < job->depth; k++)
            for (int r = 0; r < 4; r++)
                to[k * width + r] = from + i + r < job->rows ? x[r * job->x_stride + k] : 0;
    }
}

static inline void put(float *to, float value, const Chunk *job) {
    *to = job->alpha * value + (job->beta == 0 ? 0 : job->beta * *to);
}

/* The sums of some columns to their place in the result. */
static void write_out(const Chunk *job, const float *sums, size_t width, int n, int columns) {
    for (int row = 0; row < job->rows; row += 4) {
        const int high = job->rows - row < 4 ? job->rows - row : 4;
        float *out = job->out + row * job->out_stride + n;
        int j = 0;
        for (; high == 4 && j + 4 <= columns; j += 4) {
            Four lines[4];
            transpose(sums + j * width + row, width, lines);
            for (int i = 0; i < 4; i++) {
                Four *to = (Four *)(out + i * job->out_stride + j);
                *to = job->beta == 0 ? job->alpha * lines[i]
                                     : job->alpha * lines[i] + job->beta * *to;
            }
        }
        for (; j < columns; j++)
            for (int i = 0; i < high; i++)
                put(out + i * job->out_stride + j, sums[j * width + row + i], job);
    }
}

/* One block of one stripe, for all rows. */
static void block(const Chunk *job, const float *w, const float *ahead, int columns, int k,
                  int depth, float *sums) {
    const size_t stride = job->w_stride, width = (size_t)job->vectors * LANES;
    for (int panel = 0; panel < job->panels; panel++) {
        const int first = beginning(job, panel), tall = beginning(job, panel + 1) - first;
        const float *x = job->packed + ((size_t)first * job->depth + (size_t)k * tall) * LANES;
        /* The first panel's tiles fetch for all. */
        const float *next = panel == 0 ? ahead : w;
        for (int j = 0; j < columns;) {
            const int many = j + WIDE <= columns;
            (many ? wide_tiles : single_tiles)[tall - 1](
                x, w + j * stride, stride, depth, sums + j * width + (size_t)first * LANES, width,
                k == 0, next + j * stride);
            j += many ? WIDE : 1;
        }
    }
}

static void do_share(void *context, int i) {
    const Chunk *job = context;
    _Alignas(LINE) float sums[STRIPE * ROWS];
    const int from = i * job->share, end = from + job->share;
    const int to = end < job->columns ? end : job->columns;
    /* Probably this thread's next one. */
    const int later = from + job->threads * job->share;
    for (int n = from; n < to; n += STRIPE) {
        const int columns = to - n < STRIPE ? to - n : STRIPE;
        for (int k = 0; k < job->depth; k += deep) {
            const int depth = job->depth - k < deep ? job->depth - k : deep;
            const float *w = job->w + n * job->w_stride + k;
            const int next = n + STRIPE < to ? n + STRIPE : later;
            const float *ahead = k + deep < job->depth ? w + deep : job->w + next * job->w_stride;
            /* What lies beyond the matrix is nothing to fetch. */
            if (k + deep >= job->depth && next + columns > job->columns) ahead = w;
            block(job, w, ahead, columns, k, depth, sums);
        }
        write_out(job, sums, (size_t)job->vectors * LANES, n, columns);
    }
}

/* `is_packed`: its rows are in `packed` already, for a product before it. */
static void do_chunk(Chunk *job, int is_packed) {
    job->vectors = (job->rows + LANES - 1) / LANES;
    job->panels = (job->vectors + TALL - 1) / TALL;
    job->threads = thread_limit();
    const int each = (job->columns + 4 * job->threads - 1) / (4 * job->threads);
    job->share = (each + WIDE - 1) / WIDE * WIDE;
    if (!is_packed) in_parallel(pack, job, job->vectors);
    in_parallel(do_share, job, (job->columns + job->share - 1) / job->share);
}

int multiply_many_rows(int rows, int columns, int depth, float alpha, const float *x,
                       size_t x_stride, const float *w, size_t w_stride, float beta, float *out,
                       size_t out_stride) {
    const int chunks = (rows + ROWS - 1) / ROWS, each = (rows + chunks - 1) / chunks;
    float *packed = floats((size_t)(each + LANES) * depth);
    if (!packed) return 0;
    for (int row = 0; row < rows; row += each) {
        Chunk job = {.rows = rows - row < each ? rows - row : each, .columns = columns,
                     .depth = depth, .alpha = alpha, .beta = beta, .x = x + row * x_stride,
                     .x_stride = x_stride, .packed = packed, .w = w, .w_stride = w_stride,
                     .out = out + row * out_stride, .out_stride = out_stride};
        do_chunk(&job, 0);
    }
    free(packed);
    return 1;
}

int multiply_together(const float *x, const Product *products, int count) {
    const int rows = products->rows, depth = products->depth;
    float *packed = floats((size_t)(rows + LANES) * depth);
    if (!packed) return 0;
    for (const Product *one = products; one < products + count; one++) {
        Chunk job = {.rows = rows, .columns = one->columns, .depth = depth, .alpha = one->alpha,
                     .beta = one->beta, .x = x, .x_stride = depth, .packed = packed, .w = one->w,
                     .w_stride = one->w_stride, .out = one->out, .out_stride = one->out_stride};
        do_chunk(&job, one > products);
    }
    free(packed);
    return 1;
}
