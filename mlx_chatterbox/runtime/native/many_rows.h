/* Products of tens or hundreds of rows. */

#ifndef MANY_ROWS_H
#define MANY_ROWS_H

#include <stddef.h>

#include "few_rows.h"

/* out (rows, columns) = alpha * x (rows, depth) times the transpose of w (columns, depth)
 * + beta * out. 0 where there is no memory for it, and nothing is done. */
int multiply_many_rows(int rows, int columns, int depth, float alpha, const float *x,
                       size_t x_stride, const float *w, size_t w_stride, float beta, float *out,
                       size_t out_stride);

/* Rows that `multiply_together` takes. */
enum { MOST_TOGETHER = 240 };

/* Several products of x (rows, depth), whose rows are copied once; at most MOST_TOGETHER. 0 as
 * above. */
int multiply_together(const float *x, const Product *products, int count);

/* Whether a product of that size is worth it: OpenBLAS copies small weights within the cache, and adds
 * fewer sums than are put in their place here where each is of few numbers. */
static inline int worth_many_rows(int columns, int depth) {
    return depth >= 128 && (size_t)columns * depth >= 65536;
}

/* Reads what the processor's cache holds; before the first product. */
void fit_to_cache(void);

#endif
