//! That operations write all of their results, whose memory nothing clears: in tests it holds NaN
//! before.

use crate::cpu::checks::values;
use crate::shapes::{AttentionMask, FusedActivation, MatmulPrecision, Padding};
use crate::{Weight, tape};
use candle_core::{Device, Result, Tensor, Var};

fn var(dims: &[usize], seed: u32) -> Tensor {
    let t = Tensor::from_vec(values(dims.iter().product(), seed), dims, &Device::Cpu).unwrap();
    Var::from_tensor(&t).unwrap().into_inner()
}

/// The result of `f` and the gradients of its operands have a number everywhere.
#[track_caller]
fn written(what: &str, operands: &[&Tensor], f: impl FnOnce() -> Result<Tensor>) {
    let finite = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|v| v.is_finite());
    let (y, tape) = tape::record(f).unwrap();
    assert!(finite(&y), "{what}");
    let dy = Tensor::from_vec(values(y.elem_count(), 9), y.dims(), &Device::Cpu).unwrap();
    let gradients = tape.backward_from(&y, dy).unwrap();
    for (i, operand) in operands.iter().enumerate() {
        assert!(finite(gradients.get(operand).unwrap()), "gradient {i} of {what}");
    }
}

#[test]
fn loops() {
    let (a, b, shift) = (var(&[2, 5, 7, 9], 1), var(&[2, 5, 7, 9], 2), var(&[2, 5], 3));
    written("add", &[&a, &b], || crate::add(&a, &b));
    written("scale", &[&a], || crate::scale(&a, 0.5));
    written("add_channels", &[&a, &shift], || crate::add_channels(&a, &shift));
    written("silu", &[&a], || crate::silu(&a));
    written("to_rows", &[&a], || crate::to_rows(&a));
    written("upsample_nearest", &[&a], || crate::upsample_nearest(&a, 11, 18));
    let more = var(&[2, 3, 7, 9], 4);
    written("cat_channels", &[&a, &more], || crate::cat_channels(&a, &more));
    let rows = var(&[2, 63, 6], 5);
    written("geglu", &[&rows], || crate::geglu(&rows));
    written("to_image", &[&rows], || crate::to_image(&rows, (9, 7)));
    let (weight, bias) = (var(&[6], 6), var(&[6], 7));
    written("layer_norm", &[&rows, &weight, &bias], || crate::layer_norm(&rows, &weight, &bias, 1e-5));
    let image = var(&[2, 6, 7, 9], 8);
    written("group_norm", &[&image, &weight, &bias], || {
        crate::group_norm(&image, 3, &weight, &bias, 1e-5, FusedActivation::Silu)
    });
}

/// Whole squares of 16, and rests of them both ways, for several samples.
#[test]
fn images_become_rows_and_images_again() {
    for (c, h, w) in [(37, 4, 8), (32, 4, 4), (16, 5, 7), (5, 3, 3)] {
        let x = var(&[3, c, h, w], 1);
        let rows = crate::to_rows(&x).unwrap();
        let want = x.flatten_from(2).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
        let all = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(all(&rows), all(&want), "{c} channels of {h} x {w}");
        assert_eq!(all(&crate::to_image(&rows, (h, w)).unwrap()), all(&x), "{c} channels of {h} x {w}");
    }
}

#[test]
fn attention() {
    let (q, k, v) = (var(&[2, 50, 20], 1), var(&[2, 37, 20], 2), var(&[2, 37, 20], 3));
    for precision in [MatmulPrecision::F32, MatmulPrecision::Bf16] {
        written("attention", &[&q, &k, &v], || crate::attention_with(&q, &k, &v, 2, AttentionMask::None, precision));
    }
}

#[test]
fn linear() {
    for (m, n, k) in [(1, 1, 1), (13, 37, 101), (16, 4, 320), (40, 1100, 33), (10, 300, 1600)] {
        let (x, w, b) = (var(&[m, k], 1), var(&[n, k], 2), var(&[n], 3));
        written(&format!("linear {m} x {n} x {k}"), &[&x, &w, &b], || crate::linear(&x, &w, Some(&b)));
    }
}

/// Few and many channels, kernels of 3x3 and 1x1, strides; several samples.
#[test]
fn conv2d() {
    for (c, side, o, kernel, stride) in
        [(3, 16, 5, 3, 1), (40, 16, 130, 3, 1), (130, 9, 140, 3, 1), (20, 8, 150, 3, 2), (33, 7, 40, 1, 1)]
    {
        let (x, w, b) = (var(&[2, c, side, side], 1), var(&[o, c, kernel, kernel], 2), var(&[o], 3));
        let what = format!("conv2d {c} to {o}, side {side}, kernel {kernel}, stride {stride}");
        let padding = Padding::same(kernel / 2);
        written(&what, &[&x, &w, &b], || crate::conv2d(&x, &w, Some(&b), stride, padding));
    }
}

#[test]
fn weights_in_bf16() {
    let frozen = |dims: &[usize]| Weight::bf16(&var(dims, 2).detach()).unwrap();
    for m in [5, 33, 64] {
        let (x, w) = (var(&[m, 96], 1), frozen(&[64, 96]));
        written(&format!("linear in bf16 of {m} rows"), &[&x], || w.linear(&x, None));
    }
    for (kernel, stride) in [(1, 1), (3, 1), (3, 2)] {
        let (x, w) = (var(&[2, 32, 7, 9], 1), frozen(&[64, 32, kernel, kernel]));
        let what = format!("convolution in bf16 of {kernel} x {kernel}, stride {stride}");
        written(&what, &[&x], || w.conv2d(&x, None, stride, Padding::same(kernel / 2)));
    }
}
