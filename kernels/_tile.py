"""Functions that the row kernels share: loads of rows and columns, exp and log."""

import triton
import triton.language as tl


@triton.jit
def expert_columns(columns_ptr, first, n_experts, EXPERTS: tl.constexpr, GATHER: tl.constexpr):
    """Experts first, first + 1, ..., which of them exist, and their columns in the table."""
    expert = first + tl.arange(0, EXPERTS)
    used = expert < n_experts
    column = tl.load(columns_ptr + expert, mask=used, other=0) if GATHER else expert
    return expert, used, column


@triton.jit
def row_weights(weight_ptr, row, stop, WEIGHTED: tl.constexpr):
    """Weights of rows, and which rows are read; without WEIGHTED the weights mean nothing."""
    row_used = row < stop
    weight = row_used
    if WEIGHTED:
        weight = tl.load(weight_ptr + row, mask=row_used, other=0.0)
        # A row of weight 0 is not read: it may hold anything, and 0 * log(0) is not 0.
        row_used = weight > 0.0
    return weight, row_used


@triton.jit
def load_rows(loglik_ptr, row, row_used, row_stride, column, used, EXACT: tl.constexpr):
    """Log-likelihoods of rows under experts, 0 if a row or an expert is not used; EXACT: all experts are."""
    mask = row_used[:, None] if EXACT else row_used[:, None] & used[None, :]
    return tl.load(loglik_ptr + row[:, None] * row_stride + column[None, :], mask=mask, other=0.0)


@triton.jit
def row_maxima(loglik, used, EXACT: tl.constexpr):
    """The largest log-likelihood of each row over the experts in use."""
    return tl.max(loglik if EXACT else tl.where(used[None, :], loglik, -float("inf")), axis=1)


@triton.jit
def subtract(loglik, top, used, EXACT: tl.constexpr):
    """Log-likelihoods less `top`; 0 for a missing expert, because 0 - top could exceed the range of exp."""
    shifted = loglik - top[:, None]
    return shifted if EXACT else tl.where(used[None, :], shifted, 0.0)


@triton.jit
def exponential(x, BOUNDED: tl.constexpr):
    """exp(x) in the type of x, float32 or float64, to about one unit in the last place; 0 below the type's range.

    x = n log 2 + r with the integer n taken from the low bits of x / log 2 + 1.5 * 2^mantissa, and a polynomial in r. Unlike
    ex2.approx its errors have no common sign that would remain in sums over the rows, it takes fused multiply-adds only, and it
    is the same under the interpreter. BOUNDED: no x is below the range, nor -inf.
    """
    y = x
    if x.dtype == tl.float64:
        if not BOUNDED:
            y = tl.maximum(x, -708.0)
        shifted = y * 1.4426950408889634 + 6755399441055744.0
        n = shifted - 6755399441055744.0
        r = (y - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10
        q = r * 2.51003854955103191e-8 + 2.76200884454097482e-7
        q = r * q + 2.75572684599970648e-6
        q = r * q + 2.48015212959543751e-5
        q = r * q + 1.98412698630536169e-4
        q = r * q + 1.38888889172137169e-3
        q = r * q + 8.33333333333006183e-3
        q = r * q + 4.16666666666241279e-2
        q = r * q + 1.66666666666666675e-1
        q = r * q + 0.5
        q = r * q + 1.0
        q = r * q + 1.0
        out = (q.to(tl.int64, bitcast=True) + (shifted.to(tl.int64, bitcast=True) << 52)).to(tl.float64, bitcast=True)
        return out if BOUNDED else tl.where(x >= -708.0, out, 0.0)
    else:
        if not BOUNDED:
            y = tl.maximum(x, -87.0)
        shifted = y * 1.4426950408889634 + 12582912.0
        n = shifted - 12582912.0
        r = (y - n * 0.693359375) + n * 2.12194440e-4
        q = r * 1.39261835877134945e-3 + 8.36317905272257737e-3
        q = r * q + 4.16665546172045742e-2
        q = r * q + 1.66665769896987757e-1
        q = r * q + 0.5
        q = r * q + 1.0
        q = r * q + 1.0
        out = (q.to(tl.int32, bitcast=True) + (shifted.to(tl.int32, bitcast=True) << 23)).to(tl.float32, bitcast=True)
        return out if BOUNDED else tl.where(x >= -87.0, out, 0.0)


@triton.jit
def logarithm(x):
    """log(x) in the type of x, to 1e-7; -inf if x is 0 or below float32's normal range.

    The library's float32 logarithm takes twice the operations, for arguments that do not occur here.
    """
    if x.dtype == tl.float64:
        return tl.log(x)
    else:
        bits = x.to(tl.int32, bitcast=True)
        exponent = (bits - 0x3F3504F3) >> 23
        f = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
        q = f * 0.0904875323531 - 0.140312250292
        q = f * q + 0.147040162071
        q = f * q - 0.166026921025
        q = f * q + 0.199842154786
        q = f * q - 0.250007029775
        q = f * q + 0.33333415456
        q = f * q - 0.5
        # log 2 in two parts; with one, the rounding errors of all logarithms of small numbers would have the same sign.
        e = exponent.to(tl.float32)
        log = e * 0.693359375 + (e * -2.12194440e-4 + (f * f * q + f))
        return tl.where(x >= 1.1754943508222875e-38, log, -float("inf"))


@triton.jit
def multiply(product, exponent, x):
    """Product of mantissas and sum of biased exponents with one more positive float32: one logarithm for many factors.

    Every thread that holds a part of a row takes its logarithm, so that it would cost more than exp. Below the normal range a
    mantissa means nothing: the product becomes NaN, which `logarithm` treats as zero mass.
    """
    bits = x.to(tl.int32, bitcast=True)
    mantissa = tl.where(bits < 0x00800000, 0x7FC00000, (bits & 0x7FFFFF) | 0x3F800000)
    return product * mantissa.to(tl.float32, bitcast=True), exponent + (bits >> 23)
