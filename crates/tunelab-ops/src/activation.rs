//! Activations, element by element: `SiLU`, GELU (exact, with erf), quick GELU and GEGLU (Shazeer
//! 2020).
//!
//! In: a tensor. Out: another one, noted on the tape.
//!
//! Backward recomputes the function from the argument, so nothing but the argument is kept.

use crate::cpu::host;
use crate::cpu::uninit_output::UninitOutput;
use crate::cpu::uninit_output::par_fill;
use crate::cpu::vector_math::{erf, exp, sigmoid};
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::elementwise;
use crate::simd::vectorize;
use crate::sum::zip_map;
use crate::tape::{composed, node, operand};
use candle_core::{D, Result, Tensor};

/// x · sigmoid(x).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::activation::apply("silu", x);
    }
    if host::is_host_f32(x) { Function::Silu.apply(x) } else { composed(&[x], |t| t[0].silu()) }
}

/// x · Φ(x) with the exact normal distribution function, as `torch.nn.GELU()`.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::activation::apply("gelu", x);
    }
    if host::is_host_f32(x) { Function::Gelu.apply(x) } else { composed(&[x], |t| t[0].gelu_erf()) }
}

/// x · sigmoid(1.702 x), the approximation that CLIP was trained with.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::activation::apply("quick_gelu", x);
    }
    if host::is_host_f32(x) {
        return Function::QuickGelu.apply(x);
    }
    composed(&[x], |t| &t[0] / ((&t[0] * -1.702)?.exp()? + 1.0)?)
}

/// x [..., 2n] → a · gelu(g) [..., n], where a is the first and g the second half of the last axis.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::activation::geglu(x);
    }
    if !host::is_host_f32(x) {
        return composed(&[x], |t| {
            let halves = t[0].chunk(2, D::Minus1)?;
            &halves[0] * halves[1].gelu_erf()?
        });
    }
    let x = operand(x)?;
    let n = x.dim(D::Minus1)? / 2;
    let mut dims = x.dims().to_vec();
    *dims.last_mut().unwrap_or(&mut 0) = n;
    node(geglu_forward(&x, n)?, dims, [&x.clone()], move |dy, _| Ok([Some(geglu_backward(&x, n, dy)?)]))
}

/// An activation of one argument.
#[derive(Clone, Copy)]
enum Function {
    Silu,
    Gelu,
    QuickGelu,
}

/// Φ(x)
#[inline(always)]
fn normal_cdf(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// d/dx x Φ(x) = Φ(x) + x φ(x)
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    const FRAC_1_SQRT_2_PI: f32 = 0.398_942_3;
    normal_cdf(x) + x * FRAC_1_SQRT_2_PI * exp(-0.5 * x * x)
}

impl Function {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        match self {
            Self::Silu => x * sigmoid(x),
            Self::Gelu => x * normal_cdf(x),
            Self::QuickGelu => x * sigmoid(1.702 * x),
        }
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        match self {
            Self::Silu => {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }
            Self::Gelu => gelu_slope(x),
            Self::QuickGelu => {
                let s = sigmoid(1.702 * x);
                s * (1.0 + 1.702 * x * (1.0 - s))
            }
        }
    }
}

impl Function {
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        let x = operand(x)?;
        let kept = x.clone();
        node(self.forward(&x)?, x.dims(), [&x], move |dy, _| Ok([Some(self.backward(&kept, dy)?)]))
    }

    fn forward(self, x: &Tensor) -> Result<Vec<f32>> {
        elementwise::each(
            x,
            #[inline(always)]
            |x| self.value(x),
        )
    }

    fn backward(self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let dx = zip_map(
            x,
            dy,
            #[inline(always)]
            |x, dy| dy * self.slope(x),
        );
        host::tensor(dx?, x.dims())
    }
}

fn geglu_forward(x: &Tensor, n: usize) -> Result<Vec<f32>> {
    let x = host::values(x)?;
    Ok(par_fill(x.len() / 2, n, |i, mut y| {
        let (a, g) = x[i * 2 * n..][..2 * n].split_at(n);
        vectorize(
            #[inline(always)]
            || {
                y.write_from(
                    [a, g],
                    #[inline(always)]
                    |[a, g]| a * (g * normal_cdf(g)),
                );
            },
        );
    }))
}

fn geglu_backward(x: &Tensor, n: usize, dy: &Tensor) -> Result<Tensor> {
    let (xs, dy) = (host::values(x)?, host::values(dy)?);
    let dx = par_fill(xs.len(), 2 * n, |i, mut dx| {
        let ((a, g), dy) = (xs[i * 2 * n..][..2 * n].split_at(n), &dy[i * n..][..n]);
        let [mut da, mut dg] = [(); 2].map(|()| dx.front(n));
        vectorize(
            #[inline(always)]
            || {
                UninitOutput::write_both_from(
                    [&mut da, &mut dg],
                    [a, g, dy],
                    #[inline(always)]
                    |[a, g, dy]| [dy * (g * normal_cdf(g)), dy * a * gelu_slope(g)],
                );
            },
        );
    });
    host::tensor(dx, x.dims())
}
