/* Functions of vectors of floats, element by element. */

#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include <stddef.h>
#include <string.h>

#include "vectors.h"

/* `a` where `where` is all ones, `b` where it is 0. */
static inline Lanes chosen(Integers where, Lanes a, Lanes b) {
    return (Lanes)((where & (Integers)a) | (~where & (Integers)b));
}

static inline Lanes larger(Lanes a, Lanes b) { return chosen(a > b, a, b); }

/* exp(x) for x up to 88, to 1e-7 of itself: 2^n times the polynomial of Cephes's expf. */
static inline Lanes exponential(Lanes x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to whole numbers */
    x = larger(x, (Lanes){0} - 87.0f);
    Lanes n = x * 1.44269504f + shift;
    const Integers exponent = (Integers)n << 23;
    n -= shift;
    const Lanes r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Lanes y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
    return (Lanes)((Integers)y + exponent);
}

/* x tanh(log(1 + exp(x))), with a form for each sign in which nothing overflows. */
static inline Lanes mish(Lanes x) {
    const Integers negative = x < 0.0f;
    const Lanes u = exponential(chosen(negative, x, -x)), square = u * u;
    const Lanes above = 1.0f + 2.0f * u, below = square + 2.0f * u;
    return x * chosen(negative, below, above) /
           chosen(negative, below + 2.0f, above + 2.0f * square);
}

/* x times the normal distribution's Phi(x), erfc after Abramowitz and Stegun 7.1.26 (1.5e-7). */
static inline Lanes gelu(Lanes x) {
    const Integers negative = x < 0.0f;
    const Lanes size = chosen(negative, -x, x), a = size * 0.70710678f;
    const Lanes t = 1.0f / (1.0f + 0.3275911f * a);
    Lanes series = t * 1.061405429f - 1.453152027f;
    series = series * t + 1.421413741f;
    series = series * t - 0.284496736f;
    series = series * t + 0.254829592f;
    const Lanes half = 0.5f * size * (series * t * exponential(-a * a));
    return chosen(negative, -half, x - half);
}

/* The logistic function and the hyperbolic tangent, to 1e-7 of a unit. */
static inline Lanes logistic(Lanes x) {
    const Integers negative = x < 0.0f;
    const Lanes e = exponential(chosen(negative, x, -x));
    return chosen(negative, e, (Lanes){0} + 1.0f) / (e + 1.0f);
}

static inline Lanes hyperbolic_tangent(Lanes x) {
    const Integers negative = x < 0.0f;
    const Lanes e = exponential(2.0f * chosen(negative, x, -x));
    const Lanes size = (1.0f - e) / (1.0f + e);
    return chosen(negative, -size, size);
}

/* Cosine and sine of an angle in turns, to 2e-7, from the Taylor series of half the angle. */
static inline void rotation(Lanes turns, Lanes *cosine, Lanes *sine) {
    const float shift = 12582912.0f; /* see `exponential` */
    const Lanes half = 3.14159265f * (turns - ((turns + shift) - shift)), square = half * half;
    Lanes s = square * 1.6059043837e-10f - 2.5052108385e-8f;
    s = s * square + 2.7557319224e-6f;
    s = s * square - 1.9841269841e-4f;
    s = s * square + 8.3333333333e-3f;
    s = s * square - 1.6666666667e-1f;
    s = s * square * half + half;
    Lanes c = square * 2.0876756988e-9f - 2.7557319224e-7f;
    c = c * square + 2.4801587302e-5f;
    c = c * square - 1.3888888889e-3f;
    c = c * square + 4.1666666667e-2f;
    c = c * square - 0.5f;
    c = c * square + 1.0f;
    *cosine = 1.0f - 2.0f * s * s;
    *sine = 2.0f * s * c;
}

static inline Lanes silu(Lanes x) { return x * logistic(x); }

/* A function of every element, in place. */
static inline void apply(Lanes (*function)(Lanes), float *x, size_t count) {
    const size_t whole = count - count % LANES;
    for (size_t i = 0; i < count; i += LANES) {
        const size_t some = i < whole ? LANES : count - whole;
        Lanes value = {0};
        memcpy(&value, x + i, some * sizeof(float));
        value = function(value);
        memcpy(x + i, &value, some * sizeof(float));
    }
}

/* Norm of one row, which may be in place; without a bias that of the root mean square. */
static inline void normalise_row(const float *x, float *to, int width, const float *scale,
                                 const float *bias, float eps) {
    const int whole = width - width % LANES;
    float mean = 0;
    if (bias) {
        Lanes sums = {0};
        for (int i = 0; i < whole; i += LANES) sums += *(const Lanes *)(x + i);
        mean = total(sums);
        for (int i = whole; i < width; i++) mean += x[i];
        mean /= width;
    }
    Lanes sums = {0};
    for (int i = 0; i < whole; i += LANES) {
        const Lanes centred = *(const Lanes *)(x + i) - mean;
        sums += centred * centred;
    }
    float squares = total(sums);
    for (int i = whole; i < width; i++) squares += (x[i] - mean) * (x[i] - mean);
    const float factor = 1.0f / __builtin_sqrtf(squares / width + eps);
    for (int i = 0; i < whole; i += LANES) {
        Lanes value = (*(const Lanes *)(x + i) - mean) * factor * *(const Lanes *)(scale + i);
        if (bias) value += *(const Lanes *)(bias + i);
        *(Lanes *)(to + i) = value;
    }
    for (int i = whole; i < width; i++)
        to[i] = (x[i] - mean) * factor * scale[i] + (bias ? bias[i] : 0);
}

/* Of many, (rows, width). */
static inline void normalise_rows(const float *x, float *to, int rows, int width,
                                  const float *scale, const float *bias, float eps) {
    for (int row = 0; row < rows; row++, x += width, to += width)
        normalise_row(x, to, width, scale, bias, eps);
}

#endif
