//! Convolutions, products and attentions of the shapes that Stable Diffusion 1.5 and XL have: which kernel a library takes, and how
//! it splits its sums, depends on the size, so the small ones of the other sections say nothing of these.
//!
//! In: a device. Out: for each shape and short type a row: value and gradients against those in f32 of the same device, computed
//! twice with equal bits, and the times of both passes.

use super::SHORT;
use super::table::{Seen, Table};
use candle_core::{DType, Device, Tensor, Var};
use std::time::Instant;
use tunelab::error::{Error, Result};
use tunelab_ops::tape::{Gradients, record};
use tunelab_ops::{self as ops, AttentionMask, Padding};

/// Channels of image and result, the image's side, kernel and stride: the UNet of Stable Diffusion 1.5 at 512 x 512 pixels.
const CONVOLUTIONS: [[usize; 5]; 20] = [
    [4, 320, 64, 3, 1],
    [320, 320, 64, 3, 1],
    [320, 320, 64, 1, 1],
    [320, 320, 64, 3, 2],
    [640, 320, 64, 3, 1],
    [960, 320, 64, 3, 1],
    [960, 320, 64, 1, 1],
    [320, 4, 64, 3, 1],
    [320, 640, 32, 3, 1],
    [640, 640, 32, 3, 1],
    [640, 640, 64, 3, 1],
    [960, 640, 32, 3, 1],
    [1920, 640, 32, 3, 1],
    [640, 1280, 16, 3, 1],
    [1280, 1280, 16, 3, 1],
    [1280, 1280, 16, 3, 2],
    [2560, 1280, 16, 3, 1],
    [2560, 1280, 16, 1, 1],
    [1280, 1280, 8, 3, 1],
    [2560, 1280, 8, 3, 1],
];
/// Rows, inputs and outputs.
const PRODUCTS: [[usize; 3]; 6] =
    [[4096, 320, 320], [4096, 320, 2560], [1024, 640, 5120], [256, 5120, 1280], [77, 768, 1280], [4096, 4, 320]];
/// Queries, keys, heads and the values of a head; the last two are XL's.
const ATTENTIONS: [[usize; 4]; 6] = [
    [4096, 4096, 8, 40],
    [4096, 77, 8, 40],
    [1024, 1024, 8, 80],
    [256, 256, 8, 160],
    [4096, 4096, 10, 64],
    [1024, 77, 20, 64],
];
/// Passes that are timed together.
const TIMED: usize = 10;

type Op = Box<dyn Fn(&[Tensor]) -> candle_core::Result<Tensor>>;

/// One of them.
struct Shape {
    what: String,
    /// Dimensions, and whether they are a trained tensor's, which is f32 always.
    operands: Vec<(Vec<usize>, bool)>,
    /// Operations of the forward pass.
    operations: f64,
    op: Op,
}

/// All of them in bf16 and f16; where nothing computes fast every fourth, and `small`.
pub fn check(device: &Device, small: bool, table: &mut Table) {
    let (tenth, quarter) = if small { (10, 4) } else { (1, 1) };
    let convolutions = CONVOLUTIONS.map(|[c, o, side, kernel, stride]| {
        let [c, o] = [c, o].map(|n| if n > 10 { n / tenth } else { n });
        convolution([c, o, side / quarter, kernel, stride])
    });
    let products = PRODUCTS.map(|[m, k, n]| product([m / quarter, if k > 10 { k / tenth } else { k }, n / tenth]));
    let attentions = ATTENTIONS
        .map(|[n, m, heads, width]| attention([n, m].map(|rows| rows.div_ceil(quarter * quarter)), [heads, width]));
    for shape in convolutions.iter().chain(&products).chain(&attentions).step_by(if small { 4 } else { 1 }) {
        for dtype in [DType::BF16, DType::F16] {
            table.row(&shape.what, dtype.as_str(), shape.seen(device, dtype));
        }
    }
}

fn convolution([c, o, side, kernel, stride]: [usize; 5]) -> Shape {
    let pixels = (side / stride).pow(2);
    Shape {
        what: format!("convolution {c} to {o}, {kernel} x {kernel}, stride {stride}, {side} x {side}"),
        operands: vec![(vec![1, c, side, side], false), (vec![o, c, kernel, kernel], true)],
        operations: 2.0 * (pixels * o * c * kernel * kernel) as f64,
        op: Box::new(move |t| ops::conv2d(&t[0], &t[1], None, stride, Padding::same(kernel / 2))),
    }
}

fn product([m, k, n]: [usize; 3]) -> Shape {
    Shape {
        what: format!("product of {m} rows, {k} to {n}"),
        operands: vec![(vec![1, m, k], false), (vec![n, k], true), (vec![n], true)],
        operations: 2.0 * (m * k * n) as f64,
        op: Box::new(|t| ops::linear(&t[0], &t[1], Some(&t[2]))),
    }
}

fn attention([n, m]: [usize; 2], [heads, width]: [usize; 2]) -> Shape {
    let [q, kv] = [n, m].map(|rows| (vec![1, rows, heads * width], false));
    Shape {
        what: format!("attention of {n} to {m}, {heads} heads of {width}"),
        operands: vec![q, kv.clone(), kv],
        operations: 4.0 * (n * m * heads * width) as f64,
        op: Box::new(move |t| ops::attention(&t[0], &t[1], &t[2], heads, AttentionMask::None)),
    }
}

impl Shape {
    fn seen(&self, device: &Device, dtype: DType) -> Result<Seen> {
        let reference = self.computed(&self.placed(device, dtype, DType::F32)?)?;
        let operands = self.placed(device, dtype, dtype)?;
        let (once, twice) = (self.computed(&operands)?, self.computed(&operands)?);
        let mut worst = 0.0f64;
        for (ours, reference) in once.iter().zip(&reference) {
            worst = worst.max(difference(ours, reference));
        }
        let bits = |all: &[Vec<f32>]| all.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
        let equal = bits(&once) == bits(&twice);
        let [forward, both] = self.times(&operands)?;
        let text = format!(
            "differs by {worst:.1e} of {SHORT:.0e}{}, forward {:.3} ms ({:.1} TFLOP/s), backward {:.3} ms ({:.1} TFLOP/s)",
            if equal { "" } else { ", and from itself" },
            1e3 * forward,
            self.operations / forward / 1e12,
            1e3 * (both - forward),
            2.0 * self.operations / (both - forward) / 1e12,
        );
        Ok(Seen::Outcome(worst < SHORT && equal, text))
    }

    /// Operands of values that `rounded` has, in `dtype` or, if they are trained, in f32; the last one is the gradient of the result.
    fn placed(&self, device: &Device, rounded: DType, dtype: DType) -> Result<Vec<Tensor>> {
        let mut all = Vec::new();
        for (seed, (dims, trained)) in (1..).zip(&self.operands) {
            // Weights as small as those of a network keep results near 1.
            let scale =
                if *trained && dims.len() > 1 { (dims[1..].iter().product::<usize>() as f64).powf(-0.5) } else { 1.0 };
            let values = (random(dims, seed, device)? * scale)?.to_dtype(rounded)?;
            all.push(Var::from_tensor(&values.to_dtype(if *trained { DType::F32 } else { dtype })?)?.into_inner());
        }
        let result = (self.op)(&all)?;
        all.push(random(result.dims(), 99, device)?.to_dtype(rounded)?.to_dtype(dtype)?);
        Ok(all)
    }

    fn passes(&self, operands: &[Tensor]) -> Result<(Tensor, Gradients)> {
        let (dy, operands) = operands.split_last().expect("the result's gradient is the last one");
        let (y, tape) = record(|| (self.op)(operands))?;
        let gradients = tape.backward_from(&y, dy.clone())?;
        Ok((y, gradients))
    }

    /// The value and the gradients, in host memory.
    fn computed(&self, operands: &[Tensor]) -> Result<Vec<Vec<f32>>> {
        let (y, gradients) = self.passes(operands)?;
        let host = |t: &Tensor| Ok::<_, Error>(t.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
        [&y].into_iter().chain(operands.iter().filter_map(|t| gradients.get(t))).map(host).collect()
    }

    /// Seconds of the forward pass alone and of both.
    fn times(&self, operands: &[Tensor]) -> Result<[f64; 2]> {
        let forward = timed(|| Ok((self.op)(operands)?))?;
        let both = timed(|| Ok(self.passes(operands)?.1.get(&operands[0]).cloned().unwrap_or(operands[0].clone())))?;
        Ok([forward, both])
    }
}

/// Seconds of one of several that are given out one behind the other and waited for at the end.
fn timed(mut one: impl FnMut() -> Result<Tensor>) -> Result<f64> {
    let wait = |t: &Tensor| t.detach().flatten_all()?.narrow(0, 0, 1)?.to_dtype(DType::F32)?.to_vec1::<f32>();
    wait(&one()?)?;
    let begun = Instant::now();
    for i in 1..=TIMED {
        let last = one()?;
        if i == TIMED {
            wait(&last)?;
        }
    }
    Ok(begun.elapsed().as_secs_f64() / TIMED as f64)
}

/// The largest difference, relative to the reference's largest value; infinite where that is 0, as then nothing was computed.
fn difference(ours: &[f32], reference: &[f32]) -> f64 {
    let largest = reference.iter().fold(0.0f32, |all, v| all.max(v.abs()));
    let worst = ours.iter().zip(reference).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0.0f32, |all, v| if v > all || v.is_nan() { v } else { all });
    if largest == 0.0 || worst.is_nan() || ours.len() != reference.len() {
        f64::INFINITY
    } else {
        f64::from(worst / largest)
    }
}

/// Values of variance 1, drawn evenly and fast: the largest weight has 29 million.
fn random(dims: &[usize], seed: u64, device: &Device) -> candle_core::Result<Tensor> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let next = |_| {
        // Knuth's MMIX; its upper bits.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0) * 1.732_050_8
    };
    Tensor::from_vec((0..dims.iter().product()).map(next).collect::<Vec<f32>>(), dims, device)
}
