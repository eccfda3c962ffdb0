//! Every operation on the device against the same composed of candle's operations in f64 on the CPU: value and all gradients,
//! at shapes of the networks and at awkward ones.
//!
//! In f32, bf16 and f16: for the short types what goes in is rounded to them on both sides, so only the computing differs.

use super::networks::largest_difference;
use super::table::{Seen, Table};
use super::{F32, SHORT};
use candle_core::{DType, Device, Tensor, Var};
use tunelab::error::Result;
use tunelab::random::Generator;
use tunelab_ops::{self as ops, AttentionMask, ConvPlus, FusedActivation, Padding, composed, tape};

type Op<'a> = &'a dyn Fn(&[Tensor]) -> candle_core::Result<Tensor>;

/// What an operation is given.
#[derive(Clone, Copy)]
enum Given<'a> {
    /// Something between two operations, of the type that is computed in.
    Values(&'a [usize]),
    /// A trained tensor, in f32 always.
    Trained(&'a [usize]),
    /// A frozen tensor of the type that is computed in, without a gradient.
    Frozen(&'a [usize]),
}
use Given::{Frozen, Trained, Values};

/// All operations in all types that the device has bodies for.
pub fn check(device: &Device, table: &mut Table) {
    let short: &[DType] = if device.is_cuda() { &[DType::BF16, DType::F16] } else { &[] };
    for dtype in [DType::F32].iter().chain(short) {
        let mut with = Check { device, dtype: *dtype, table };
        with.products();
        with.convolutions();
        with.attention();
        with.norms();
        with.rest();
    }
}

struct Check<'a> {
    device: &'a Device,
    dtype: DType,
    table: &'a mut Table,
}

impl Check<'_> {
    fn products(&mut self) {
        let linear = |t: &[Tensor]| ops::linear(&t[0], &t[1], Some(&t[2]));
        self.agree("linear, trained", &[Values(&[2, 77, 320]), Trained(&[640, 320]), Trained(&[640])], &linear);
        self.agree("linear, frozen", &[Values(&[2, 77, 320]), Frozen(&[640, 320]), Frozen(&[640])], &linear);
        self.agree("linear, odd", &[Values(&[3, 13, 7]), Trained(&[5, 7]), Trained(&[5])], &linear);
        self.agree("linear, no bias", &[Values(&[64, 768]), Frozen(&[320, 768])], &|t| ops::linear(&t[0], &t[1], None));
        let operands =
            [Values(&[2, 64, 320]), Frozen(&[320, 320]), Frozen(&[320]), Trained(&[4, 320]), Trained(&[320, 4])];
        self.agree("linear with LoRA", &operands, &|t| {
            ops::Weight::from(t[1].clone()).linear_lora(&t[0], Some(&t[2]), [&t[3], &t[4]], 0.75)
        });
        for (what, [m, k, n]) in [("", [154, 320, 640]), (", odd", [13, 7, 5])] {
            let (x, w, b, y) = ([1, m, k], [n, k], [n], [1, m, n]);
            self.agree(
                &format!("linear with residual{what}"),
                &[Values(&x), Trained(&w), Trained(&b), Values(&y)],
                &|t| ops::Weight::from(t[1].clone()).linear_residual(&t[0], Some(&t[2]), &t[3]),
            );
        }
        // q, k and v together, and k and v; of the odd ones products of a batch have no algorithm.
        for (what, [k, n, rank], parts) in
            [("three", [320, 320, 4], 3), ("two", [768, 640, 4], 2), ("three odd", [35, 10, 3], 3)]
        {
            let (x, w, a, b) = ([2, 64, k], [parts * n, k], [rank, k], [n, rank]);
            let mut operands = vec![Values(&x), Frozen(&w)];
            operands.extend((0..parts).flat_map(|_| [Trained(&a), Trained(&b)]));
            self.agree(&format!("linear with LoRA, {what} packed"), &operands, &|t| {
                let adapters: Vec<[&Tensor; 2]> = t[2..].chunks(2).map(|ab| [&ab[0], &ab[1]]).collect();
                ops::Weight::from(t[1].clone()).linear_lora_packed(&t[0], &adapters, 0.75)
            });
        }
    }

    fn convolutions(&mut self) {
        let same = Padding::same(1);
        for (what, x, w, stride, padding) in [
            ("conv2d 3x3", [2, 32, 16, 24], [64, 32, 3, 3], 1, same),
            ("conv2d from 4", [1, 4, 32, 32], [320, 4, 3, 3], 1, same),
            ("conv2d 1x1", [2, 64, 9, 14], [32, 64, 1, 1], 1, Padding::same(0)),
            ("conv2d, stride 2", [2, 16, 9, 14], [24, 16, 3, 3], 2, same),
            ("conv2d, padded after", [2, 16, 9, 14], [24, 16, 3, 3], 2, Padding { before: 0, after: 1 }),
            ("conv2d, odd", [3, 5, 7, 5], [7, 5, 3, 3], 1, same),
        ] {
            let op = |t: &[Tensor]| ops::conv2d(&t[0], &t[1], Some(&t[2]), stride, padding);
            self.agree(&format!("{what}, trained"), &[Values(&x), Trained(&w), Trained(&w[..1])], &op);
            self.agree(&format!("{what}, frozen"), &[Values(&x), Frozen(&w), Frozen(&w[..1])], &op);
        }
        for (what, x, w) in [
            ("3x3", [2, 16, 8, 12], [24, 16, 3, 3]),
            ("1x1", [2, 64, 9, 14], [32, 64, 1, 1]),
            ("odd", [3, 5, 7, 5], [7, 5, 3, 3]),
        ] {
            let (shift, y) = ([x[0], w[0]], [x[0], w[0], x[2], x[3]]);
            let padding = Padding::same(w[2] / 2);
            let weight = |t: &[Tensor]| ops::Weight::from(t[1].clone());
            self.agree(
                &format!("conv2d {what}, shifted"),
                &[Values(&x), Frozen(&w), Frozen(&w[..1]), Values(&shift)],
                &|t| weight(t).conv2d_plus(&t[0], Some(&t[2]), ConvPlus::Shift(&t[3]), 1, padding),
            );
            self.agree(
                &format!("conv2d {what} with residual"),
                &[Values(&x), Frozen(&w), Frozen(&w[..1]), Values(&y)],
                &|t| weight(t).conv2d_plus(&t[0], Some(&t[2]), ConvPlus::Residual(&t[3]), 1, padding),
            );
        }
    }

    fn attention(&mut self) {
        for (n, m, width, heads, mask) in [
            (256, 256, 320, 8, AttentionMask::None),
            (64, 77, 640, 8, AttentionMask::None),
            (64, 64, 1280, 8, AttentionMask::None),
            (77, 77, 768, 12, AttentionMask::Causal),
            (19, 3, 15, 3, AttentionMask::None),
        ] {
            let (q, kv) = ([2, n, width], [2, m, width]);
            let what = format!("attention, {n} to {m}, {heads} heads of {}, {mask:?}", width / heads);
            self.agree(&what, &[Values(&q), Values(&kv), Values(&kv)], &|t| {
                ops::attention(&t[0], &t[1], &t[2], heads, mask)
            });
        }
        for (n, m, width, heads) in [(256, 256, 320, 8), (64, 77, 640, 8), (19, 3, 15, 3)] {
            let (q, packed) = ([2, n, width], [2, m, 2 * width]);
            let what = format!("{n} to {m}, {heads} heads of {}, packed", width / heads);
            self.agree(&format!("attention, {what} k and v"), &[Values(&q), Values(&packed)], &|t| {
                ops::attention_kv_packed(&t[0], &t[1], heads)
            });
            self.agree(
                &format!("attention, {n} heads of {}, packed", width / heads),
                &[Values(&[2, n, 3 * width])],
                &|t| ops::attention_qkv_packed(&t[0], heads),
            );
        }
        // The VAE's, which is never trained.
        let x = [1, 96, 512];
        self.agree("attention, 96 to 96, 1 head of 512", &[Frozen(&x), Frozen(&x), Frozen(&x)], &|t| {
            ops::attention(&t[0], &t[1], &t[2], 1, AttentionMask::None)
        });
    }

    fn norms(&mut self) {
        for then in [FusedActivation::None, FusedActivation::Silu] {
            for x in [[2, 320, 16, 16], [3, 64, 5, 7], [1, 2560, 8, 8]] {
                let operands = [Values(&x), Trained(&x[1..2]), Trained(&x[1..2])];
                self.agree(&format!("group norm {x:?}, {then:?}"), &operands, &|t| {
                    ops::group_norm(&t[0], 32, &t[1], &t[2], 1e-5, then)
                });
            }
        }
        for x in [[2, 64, 320], [3, 5, 19], [1, 77, 1280]] {
            let operands = [Values(&x), Trained(&x[2..]), Trained(&x[2..])];
            self.agree(&format!("layer norm {x:?}"), &operands, &|t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-5));
        }
        // What a residual has made of x's gradient is there when the norm makes its own.
        for x in [[2, 64, 320], [3, 32, 19]] {
            let operands = [Values(&x), Trained(&x[2..]), Trained(&x[2..])];
            self.agree(&format!("layer norm {x:?} beside a residual"), &operands, &|t| {
                ops::add(&ops::layer_norm(&t[0], &t[1], &t[2], 1e-5)?, &t[0])
            });
            let operands = [Values(&x), Trained(&x[1..2]), Trained(&x[1..2])];
            self.agree(&format!("group norm {x:?} beside a residual"), &operands, &|t| {
                ops::add(&ops::group_norm(&t[0], 16, &t[1], &t[2], 1e-5, FusedActivation::Silu)?, &t[0])
            });
        }
    }

    fn rest(&mut self) {
        let (x, y) = ([2, 19, 23, 45], [2, 3, 23, 45]);
        self.agree("GEGLU", &[Values(&[2, 64, 640])], &|t| ops::geglu(&t[0]));
        self.agree("SiLU", &[Values(&x)], &|t| ops::silu(&t[0]));
        self.agree("GELU", &[Values(&x)], &|t| ops::gelu(&t[0]));
        self.agree("quick GELU", &[Values(&x)], &|t| ops::quick_gelu(&t[0]));
        self.agree("add", &[Values(&x), Values(&x)], &|t| ops::add(&t[0], &t[1]));
        self.agree("scale", &[Values(&x)], &|t| ops::scale(&t[0], -0.7));
        self.agree("add to channels", &[Values(&x), Values(&x[..2])], &|t| ops::add_channels(&t[0], &t[1]));
        self.agree("cat", &[Values(&x), Values(&y)], &|t| ops::cat_channels(&t[0], &t[1]));
        self.agree("rows", &[Values(&x)], &|t| ops::to_rows(&t[0]));
        self.agree("picture", &[Values(&[2, 35, 19])], &|t| ops::to_image(&t[0], (5, 7)));
        self.agree("upsample", &[Values(&[2, 3, 5, 7])], &|t| ops::upsample_nearest(&t[0], 9, 13));
        self.agree("used twice", &[Values(&[2, 8, 4, 5])], &|t| {
            let up = ops::upsample_nearest(&t[0], 4, 5)?;
            ops::add(&composed(&[&up], |t| t[0].sqr())?, &ops::scale(&t[0], 0.5)?)
        });
        if self.dtype == DType::F32 {
            let ids = vec![vec![0, 3, 3, 1], vec![4, 3, 0, 4]];
            let operands = [Trained(&[6, 5][..]), Trained(&[7, 5])];
            self.agree("embedding", &operands, &|t| ops::embedding(&ids, &t[0], &t[1]));
            self.agree("loss", &[Values(&x), Frozen(&x)], &|t| ops::mean_squares(&t[0], &t[1], 0, &[0.3, 2.0]));
        }
    }

    fn agree(&mut self, what: &str, given: &[Given], op: Op) {
        let seen = self.difference(given, op);
        let named = match self.dtype {
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            _ => "f32",
        };
        let limit = if self.dtype == DType::F32 { F32 } else { SHORT };
        self.table.row(what, named, seen.map(|difference| Seen::Difference(difference, limit)));
    }

    /// The largest of the value's and the gradients'.
    fn difference(&self, given: &[Given], op: Op) -> Result<f64> {
        let ours = run(given, self.dtype, |t, dtype| t.to_device(self.device)?.to_dtype(dtype), op)?;
        let reference = run(given, self.dtype, |t, dtype| t.to_dtype(dtype)?.to_dtype(DType::F64), op)?;
        let mut worst = 0.0f64;
        for (ours, reference) in ours.iter().zip(&reference) {
            let difference = largest_difference(ours, reference)?;
            worst = if difference.is_nan() { difference } else { worst.max(difference) };
        }
        Ok(worst)
    }
}

/// The value, and the gradients of Σ y · w with w random, of operands that `place` puts to where they are computed with.
fn run(
    given: &[Given],
    dtype: DType,
    place: impl Fn(&Tensor, DType) -> candle_core::Result<Tensor>,
    op: Op,
) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::new();
    for (i, given) in given.iter().enumerate() {
        let (dims, dtype, kept) = match given {
            Values(dims) => (dims, dtype, true),
            Trained(dims) => (dims, DType::F32, true),
            Frozen(dims) => (dims, dtype, false),
        };
        // Weights as small as those of a network keep results near 1.
        let scale = if matches!(given, Values(_)) || dims.len() == 1 {
            1.0
        } else {
            1.0 / (dims[1..].iter().product::<usize>() as f64).sqrt()
        };
        let t = place(&(randn(dims, 100 + i as u64)? * scale)?, dtype)?;
        tensors.push(if kept { Var::from_tensor(&t)?.into_inner() } else { t });
    }
    let (y, tape) = tape::record(|| op(&tensors))?;
    let dy = place(&randn(y.dims(), 99)?, y.dtype())?;
    let gradients = tape.backward_from(&y, dy.to_dtype(y.dtype())?)?;
    let mut found = vec![y];
    found.extend(tensors.iter().filter_map(|t| gradients.get(t).cloned()));
    Ok(found)
}

fn randn(dims: &[usize], seed: u64) -> Result<Tensor> {
    Ok(Tensor::from_vec(Generator::manual_seed(seed).randn(dims.iter().product()), dims, &Device::Cpu)?)
}
