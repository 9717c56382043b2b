// Elementary functions on vectors: exp, and the activations. Own polynomials (minimax fits in 40
// digits); relative errors below 3e-7 except where the result underflows to 0. NaN stays NaN.
//
// Included once per instruction set.
#if defined(RUNTIME_OPS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RUNTIME_OPS_CPU_MATH_INL_H_
#undef RUNTIME_OPS_CPU_MATH_INL_H_
#else
#define RUNTIME_OPS_CPU_MATH_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// e^x for x in [-87.3, 88.3]; exactly 1 at 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpInRange(D d, V x) {
  const hn::RebindToSigned<D> di;
  // x = n·ln2 + r, |r| <= ln2/2. Adding 1.5·2^23 rounds to a whole number and leaves it in the low
  // bits; ln2 comes in two parts so that r is exact.
  const V shift = hn::Set(d, 12582912.0f);
  const V shifted = hn::MulAdd(x, hn::Set(d, 1.442695041f), shift);
  const V n = hn::Sub(shifted, shift);
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693145752f), x);
  r = hn::NegMulAdd(n, hn::Set(d, 1.42860682e-6f), r);
  V p = hn::Set(d, 0.0013901276336f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.0083631463273f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.0416668535546f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.1666657728435f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.4999999955239f));
  const V power = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  const auto exponent =
      hn::Add(hn::ShiftLeft<23>(hn::BitCast(di, shifted)), hn::Set(di, 127 << 23));
  return hn::Mul(power, hn::BitCast(d, exponent));
}

// e^x; 0 below -87.3, e^88.3 above it. Operands of Min and Max in this order keep a NaN of x.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  const V lowest = hn::Set(d, -87.3f);
  const V clamped = hn::Min(hn::Set(d, 88.3f), hn::Max(lowest, x));
  return hn::IfThenZeroElse(hn::Lt(x, lowest), ExpInRange(d, clamped));
}

// e^x for x of at most 88; below -87.3 it stays at 1e-38.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpNearZero(D d, V x) {
  return ExpInRange(d, hn::Max(hn::Set(d, -87.3f), x));
}

// x / (1 + e^-x)
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Silu(D d, V x) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(x))));
}

// 0.5·x·(1 + tanh(z)) = x / (1 + e^-2z), z = √(2/π)·(x + 0.044715·x³)
template <class D, class V = hn::Vec<D>>
HWY_INLINE V GeluTanh(D d, V x) {
  const V cubic = hn::MulAdd(hn::Mul(hn::Mul(x, x), x), hn::Set(d, 0.044715f), x);
  const V exponential = Exp(d, hn::Mul(cubic, hn::Set(d, -1.5957691216f)));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exponential));
}

// x·Φ(x), Φ the normal distribution. Φ(-t) = e^(-t²/2)·g(1/(1 + 0.3·t)) for t >= 0, g a polynomial
// (relative error 3e-9), so that the tail of negative x keeps its precision as well.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V GeluErf(D d, V x) {
  const V t = hn::Abs(x);
  const V one = hn::Set(d, 1.0f);
  const V u = hn::Div(one, hn::MulAdd(t, hn::Set(d, 0.3f), one));
  V g = hn::Set(d, -1.963632514e-02f);
  g = hn::MulAdd(g, u, hn::Set(d, 1.066114317e-01f));
  g = hn::MulAdd(g, u, hn::Set(d, -2.131418653e-01f));
  g = hn::MulAdd(g, u, hn::Set(d, 1.693001132e-01f));
  g = hn::MulAdd(g, u, hn::Set(d, -5.805144796e-02f));
  g = hn::MulAdd(g, u, hn::Set(d, 8.265901816e-02f));
  g = hn::MulAdd(g, u, hn::Set(d, 8.411474722e-02f));
  g = hn::MulAdd(g, u, hn::Set(d, 1.086280114e-01f));
  g = hn::MulAdd(g, u, hn::Set(d, 1.198572808e-01f));
  g = hn::MulAdd(g, u, hn::Set(d, 1.196577658e-01f));
  g = hn::MulAdd(g, u, hn::Set(d, 1.268882039e-06f));
  const V tail = hn::Mul(g, Exp(d, hn::Mul(hn::Mul(t, t), hn::Set(d, -0.5f))));
  return hn::Mul(x, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail)));
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#endif  // include guard
