//! Every operation's own body for f32 on the host against the same function composed of candle's
//! operations in f64: value and every gradient, at awkward shapes.

use candle_core::{DType, Device, Result, Tensor, Var};
use tunelab_ops::{
    self as ops, AttentionMask, ConvPlus, FusedActivation, MatmulPrecision, Padding, Weight, composed, tape,
};

/// Standard normal numbers that depend on the seed alone (Box and Muller 1958, over a linear
/// congruential generator).
fn randn(dims: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 + 0.5) / 16_777_216.0
    };
    let mut normal = |_| (-2.0 * uniform().ln()).sqrt() * (std::f32::consts::TAU * uniform()).cos();
    Tensor::from_vec((0..dims.iter().product()).map(&mut normal).collect(), dims, &Device::Cpu).unwrap()
}

/// All values in order.
fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Within `limit` of the reference's largest value.
#[track_caller]
fn within(ours: &Tensor, reference: &Tensor, limit: f64, what: &str) {
    assert_eq!(ours.dims(), reference.dims(), "{what}");
    let largest = |t: &Tensor| t.flatten_all().unwrap().abs().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
    let [ours, reference] = [ours, reference].map(|t| t.to_dtype(DType::F64).unwrap());
    let difference = largest(&(ours - &reference).unwrap()) / largest(&reference).max(1e-30);
    assert!(difference < limit, "{what}: differs by {difference:.2e}");
}

/// Rounding of sums in f32, relative to the largest value.
const LIMIT: f64 = 2e-5;

/// One operand: its shape, and whether it is trained.
#[derive(Clone, Copy)]
enum Operand<'a> {
    Trained(&'a [usize]),
    Frozen(&'a [usize]),
}
use Operand::{Frozen, Trained};

/// Value and gradients (none for a frozen operand) of Σ y · w, with w random and the same in both
/// types.
fn run(
    operands: &[Operand],
    dtype: DType,
    op: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let make = |(i, operand): (usize, &Operand)| {
        let (Trained(dims) | Frozen(dims)) = operand;
        let t = randn(dims, 100 + i as u64).to_dtype(dtype)?;
        Ok(if matches!(operand, Trained(_)) { Var::from_tensor(&t)?.into_inner() } else { t })
    };
    let tensors: Vec<Tensor> = operands.iter().enumerate().map(make).collect::<Result<_>>()?;
    let (y, tape) = tape::record(|| op(&tensors))?;
    let w = randn(y.dims(), 99).to_dtype(dtype)?;
    let store = tape.backward_from(&y, w)?;
    let gradients = tensors.iter().map(|t| store.get(t).cloned()).collect();
    Ok((y, gradients))
}

/// Compares both bodies of `op`.
#[track_caller]
fn agree(what: &str, operands: &[Operand], op: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let (y, gradients) = run(operands, DType::F32, &op).unwrap();
    let (reference, wanted) = run(operands, DType::F64, &op).unwrap();
    within(&y, &reference, LIMIT, what);
    for (i, operand) in operands.iter().enumerate() {
        let name = format!("{what}: gradient of operand {i}");
        match (operand, &gradients[i], &wanted[i]) {
            (Trained(_), Some(ours), Some(reference)) => within(ours, reference, LIMIT, &name),
            (Frozen(_), None, _) => {}
            _ => panic!("{name}: there is {}", if gradients[i].is_some() { "one" } else { "none" }),
        }
    }
}

#[test]
fn linear() {
    for bias in [true, false] {
        let op = |t: &[Tensor]| ops::linear(&t[0], &t[1], bias.then(|| &t[2]));
        let b = if bias { Trained(&[5]) } else { Frozen(&[5]) };
        agree("linear", &[Trained(&[3, 13, 7]), Trained(&[5, 7]), b], op);
        agree("frozen weight", &[Trained(&[3, 13, 7]), Frozen(&[5, 7]), Frozen(&[5])], op);
        agree("frozen argument", &[Frozen(&[1, 7]), Trained(&[5, 7]), b], op);
    }
    agree("frozen weight, trained bias", &[Trained(&[4, 7]), Trained(&[5, 7]), Trained(&[5])], |t| {
        let y = ops::linear(&t[0], &t[1].detach(), Some(&t[2]))?;
        composed(&[&y, &t[1]], |t| t[0].broadcast_add(&t[1].sum_all()?))
    });
}

/// With what comes to the result besides its bias, which a device may add on the way.
#[test]
fn linear_and_conv2d_with_a_residual() {
    let (x, w, b, y) = ([2, 13, 7], [5, 7], [5], [2, 13, 5]);
    agree("linear", &[Trained(&x), Trained(&w), Trained(&b), Trained(&y)], |t| {
        Weight::from(t[1].clone()).linear_residual(&t[0], Some(&t[2]), &t[3])
    });
    let (x, w, shift, y) = ([2, 3, 9, 6], [5, 3, 3, 3], [2, 5], [2, 5, 9, 6]);
    agree("shift", &[Trained(&x), Trained(&w), Trained(&b), Trained(&shift)], |t| {
        Weight::from(t[1].clone()).conv2d_plus(&t[0], Some(&t[2]), ConvPlus::Shift(&t[3]), 1, Padding::same(1))
    });
    agree("residual", &[Trained(&x), Frozen(&w), Frozen(&b), Trained(&y)], |t| {
        Weight::from(t[1].clone()).conv2d_plus(&t[0], Some(&t[2]), ConvPlus::Residual(&t[3]), 1, Padding::same(1))
    });
}

#[test]
fn linear_of_transposed_operands() {
    agree("transposed", &[Trained(&[3, 7, 13]), Trained(&[7, 5])], |t| {
        let x = composed(&[&t[0]], |t| t[0].transpose(1, 2))?;
        ops::linear(&x, &composed(&[&t[1]], |t| t[0].t())?, None)
    });
    agree("narrowed", &[Trained(&[9, 7]), Frozen(&[8, 7]), Frozen(&[8])], |t| {
        let x = composed(&[&t[0]], |t| t[0].narrow(0, 2, 5))?;
        ops::linear(&x, &t[1].narrow(0, 3, 4)?, Some(&t[2].narrow(0, 3, 4)?))
    });
}

/// Height, width, kernel, stride, padding.
const CONVOLUTIONS: [(usize, usize, [usize; 2], usize, Padding); 8] = [
    (9, 14, [3, 3], 1, Padding { before: 1, after: 1 }),
    (9, 14, [3, 3], 2, Padding { before: 1, after: 1 }),
    (8, 13, [3, 3], 2, Padding { before: 0, after: 1 }),
    (9, 14, [3, 3], 2, Padding { before: 0, after: 1 }),
    (2, 1, [3, 3], 1, Padding { before: 1, after: 1 }),
    (1, 4, [3, 5], 1, Padding { before: 2, after: 2 }),
    (6, 5, [1, 1], 1, Padding { before: 0, after: 0 }),
    (7, 5, [1, 1], 2, Padding { before: 0, after: 0 }),
];

#[test]
fn conv2d() {
    for (h, w, [kh, kw], stride, padding) in CONVOLUTIONS {
        let what = format!("{h}x{w}, kernel {kh}x{kw}, stride {stride}, {padding:?}");
        let (x, k, b) = ([3, 5, h, w], [7, 5, kh, kw], [7]);
        let op = |t: &[Tensor]| ops::conv2d(&t[0], &t[1], Some(&t[2]), stride, padding);
        agree(&what, &[Trained(&x), Trained(&k), Trained(&b)], op);
        agree(&what, &[Trained(&x), Frozen(&k), Frozen(&b)], op);
        agree(&what, &[Frozen(&x), Trained(&k), Trained(&b)], op);
        agree(&what, &[Trained(&x), Trained(&k)], |t| ops::conv2d(&t[0], &t[1], None, stride, padding));
    }
}

/// Images whose width is 4, 8 or a multiple of 16 have a body of their own: samples, height, width,
/// channels in and out, with whole and partial tiles of channels (14 and 8) and an odd number of
/// vectors of pixels.
#[test]
fn conv2d_straight_from_the_picture() {
    for (samples, h, w, inputs, outputs) in [
        (1, 17, 16, 5, 17),
        (3, 16, 32, 3, 14),
        (6, 6, 8, 4, 15),
        (5, 10, 8, 15, 1),
        (1, 16, 48, 9, 2),
        (9, 3, 16, 8, 33),
        (1, 40, 32, 3, 9),
        (20, 3, 16, 5, 8),
        (7, 8, 4, 3, 16),
        (1, 4, 4, 19, 13),
        (1, 2, 8, 6, 29),
    ] {
        let what = format!("{samples} x {inputs} -> {outputs}, {h}x{w}");
        let (x, k, b) = ([samples, inputs, h, w], [outputs, inputs, 3, 3], [outputs]);
        let op = |t: &[Tensor]| ops::conv2d(&t[0], &t[1], Some(&t[2]), 1, Padding::same(1));
        agree(&what, &[Trained(&x), Trained(&k), Trained(&b)], op);
        agree(&what, &[Trained(&x), Frozen(&k), Frozen(&b)], op);
        agree(&what, &[Trained(&x), Trained(&k)], |t| ops::conv2d(&t[0], &t[1], None, 1, Padding::same(1)));
    }
}

/// A kernel of one pixel on fewer pixels than channels: the weight is read where it lies, its
/// gradient across.
#[test]
fn conv2d_of_few_pixels() {
    for (samples, side, inputs, outputs) in [(1, 4, 1570, 33), (1, 3, 21, 19), (2, 3, 40, 37)] {
        let what = format!("{samples} x {inputs} -> {outputs}, {side}x{side}");
        let (x, k, b) = ([samples, inputs, side, side], [outputs, inputs, 1, 1], [outputs]);
        let op = |t: &[Tensor]| ops::conv2d(&t[0], &t[1], Some(&t[2]), 1, Padding::same(0));
        agree(&what, &[Trained(&x), Trained(&k), Trained(&b)], op);
        agree(&what, &[Trained(&x), Frozen(&k), Frozen(&b)], op);
    }
}

/// Many pixels whose rows are no whole vectors, for two results.
#[test]
fn conv2d_of_large_odd_images() {
    for (stride, padding) in [(1, Padding::same(1)), (2, Padding { before: 0, after: 1 })] {
        let side = 97 * stride;
        agree("blocks", &[Trained(&[1, 64, side, 101 * stride]), Trained(&[2, 64, 3, 3]), Trained(&[2])], |t| {
            ops::conv2d(&t[0], &t[1], Some(&t[2]), stride, padding)
        });
    }
}

#[test]
fn conv2d_of_a_transposed_picture() {
    agree("transposed", &[Frozen(&[2, 5, 9, 6]), Trained(&[4, 5, 3, 3])], |t| {
        ops::conv2d(&t[0].transpose(2, 3)?, &t[1], None, 1, Padding::same(1))
    });
    agree("transposed", &[Trained(&[2, 5, 9, 6]), Frozen(&[5, 4, 3, 3])], |t| {
        ops::conv2d(&t[0], &t[1].transpose(0, 1)?, None, 1, Padding::same(1))
    });
}

#[test]
fn attention() {
    for (n, m, mask) in [
        (13, 13, AttentionMask::None),
        (13, 13, AttentionMask::Causal),
        (6, 77, AttentionMask::None),
        (19, 1, AttentionMask::None),
    ] {
        let (q, kv) = ([2, n, 15], [2, m, 15]);
        let op = |t: &[Tensor]| ops::attention(&t[0], &t[1], &t[2], 3, mask);
        let what = format!("{n} queries, {m} keys, {mask:?}");
        agree(&what, &[Trained(&q), Trained(&kv), Trained(&kv)], op);
        agree(&what, &[Trained(&q), Frozen(&kv), Frozen(&kv)], op);
    }
}

/// Several blocks of queries and of keys, the last ones smaller.
#[test]
fn attention_in_several_blocks() {
    for (n, m, mask) in [(611, 1009, AttentionMask::None), (701, 701, AttentionMask::Causal)] {
        let (q, kv) = ([1, n, 6], [1, m, 6]);
        agree(&format!("{n} queries, {m} keys"), &[Trained(&q), Trained(&kv), Trained(&kv)], |t| {
            ops::attention(&t[0], &t[1], &t[2], 2, mask)
        });
    }
}

/// Against products in f32, forward and backward; where the processor has products of bf16, they
/// are not the same.
#[test]
fn attention_from_rounded_values() {
    let rounds = ops::weight::products_in_bf16() != "widened to f32";
    for (n, m, d) in [(13, 13, 40), (70, 77, 8), (40, 300, 33)] {
        let (q, kv) = ([2, n, 3 * d], [2, m, 3 * d]);
        let both = |products| {
            let op = |t: &[Tensor]| ops::attention_with(&t[0], &t[1], &t[2], 3, AttentionMask::None, products);
            run(&[Trained(&q), Trained(&kv), Trained(&kv)], DType::F32, &op).unwrap()
        };
        let ((y, of), (full_y, full_of)) = (both(MatmulPrecision::Bf16), both(MatmulPrecision::F32));
        let what = format!("{n} queries, {m} keys, {d}");
        within(&y, &full_y, 1e-2, &what);
        for (name, (ours, full)) in ["dq", "dk", "dv"].iter().zip(of.iter().zip(&full_of)) {
            let (ours, full) = (ours.as_ref().unwrap(), full.as_ref().unwrap());
            within(ours, full, 2e-2, &format!("{name} of {what}"));
            let differs = (ours - full).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert_eq!(differs > 0.0, rounds, "{name} of {what}");
        }
    }
}

#[test]
fn attention_of_one_tensor_three_times() {
    agree("self", &[Trained(&[2, 11, 9])], |t| ops::attention(&t[0], &t[0], &t[0], 3, AttentionMask::None));
}

#[test]
fn group_norm() {
    for activation in [FusedActivation::None, FusedActivation::Silu] {
        for x in [vec![3, 12, 5, 7], vec![2, 12, 1, 1], vec![1, 12, 33]] {
            let op = |t: &[Tensor]| ops::group_norm(&t[0], 4, &t[1], &t[2], 1e-5, activation);
            let what = format!("{x:?} {activation:?}");
            agree(&what, &[Trained(&x), Trained(&[12]), Trained(&[12])], op);
            agree(&what, &[Trained(&x), Frozen(&[12]), Frozen(&[12])], op);
        }
    }
}

/// A slab of more than 4096 values is summed in blocks; a large mean must not eat the variance.
#[test]
fn group_norm_of_a_large_picture_far_from_zero() {
    agree("large", &[Trained(&[1, 4, 61, 67]), Trained(&[4]), Trained(&[4])], |t| {
        let x = composed(&[&t[0]], |t| &t[0] + 8.0)?;
        ops::group_norm(&x, 2, &t[1], &t[2], 1e-6, FusedActivation::Silu)
    });
}

#[test]
fn layer_norm() {
    let op = |t: &[Tensor]| ops::layer_norm(&t[0], &t[1], &t[2], 1e-5);
    for x in [vec![3, 5, 19], vec![1, 19], vec![700, 19]] {
        agree("layer norm", &[Trained(&x), Trained(&[19]), Trained(&[19])], op);
        agree("frozen", &[Trained(&x), Frozen(&[19]), Frozen(&[19])], op);
    }
}

#[test]
fn activations() {
    let x = [Trained(&[3, 7, 22][..])];
    let wide = |f: fn(&Tensor) -> Result<Tensor>| move |t: &[Tensor]| f(&ops::scale(&t[0], 3.0)?);
    agree("geglu", &x, wide(ops::geglu));
    agree("silu", &x, wide(ops::silu));
    agree("gelu", &x, wide(ops::gelu));
    agree("quick gelu", &x, wide(ops::quick_gelu));
    agree("geglu, transposed", &[Trained(&[22, 7])], |t| ops::geglu(&composed(&[&t[0]], |t| t[0].t())?));
}

/// More values than one task has, and rests of the tiles that are transposed.
#[test]
fn sums_and_layouts() {
    let (x, y) = ([2, 19, 23, 45], [2, 3, 23, 45]);
    agree("add", &[Trained(&x), Trained(&x)], |t| ops::add(&t[0], &t[1]));
    agree("add to itself", &[Trained(&x)], |t| ops::add(&t[0], &t[0]));
    agree("scale", &[Trained(&x)], |t| ops::scale(&t[0], -0.7));
    let mask = |t: &Tensor| (0..t.elem_count()).map(|i| (i % 3) as f32 * 0.4).collect();
    agree("mask", &[Trained(&x)], |t| ops::masked(&t[0], mask(&t[0])));
    for (a, b) in
        [(Trained(&x), Trained(&[2, 19][..])), (Frozen(&x), Trained(&[2, 19])), (Trained(&x), Frozen(&[2, 19]))]
    {
        agree("channels", &[a, b], |t| ops::add_channels(&t[0], &t[1]));
    }
    for (a, b) in [(Trained(&x), Trained(&y)), (Frozen(&x), Trained(&y)), (Trained(&x), Frozen(&y))] {
        agree("cat", &[a, b], |t| ops::cat_channels(&t[0], &t[1]));
    }
    agree("rows", &[Trained(&x)], |t| ops::to_rows(&t[0]));
    agree("picture", &[Trained(&[2, 35, 19])], |t| ops::to_image(&t[0], (5, 7)));
    let there_and_back = randn(&x, 1);
    let back = ops::to_image(&ops::to_rows(&there_and_back).unwrap(), (23, 45)).unwrap();
    assert_eq!(values(&back), values(&there_and_back));
    for shapes in [([2, 3], [3, 2]), ([2, 3], [1, 3])] {
        assert!(ops::add(&randn(&shapes.0, 1), &randn(&shapes.1, 1)).is_err());
    }
}

/// An id that is there several times, one that is not, and more positions than are used.
#[test]
fn embedding() {
    let ids = vec![vec![0, 3, 3, 1], vec![4, 3, 0, 4]];
    for (tokens, positions) in [(Trained(&[6, 5][..]), Trained(&[7, 5][..])), (Trained(&[6, 5]), Frozen(&[7, 5]))] {
        agree("embedding", &[tokens, positions], |t| ops::embedding(&ids, &t[0], &t[1]));
    }
    for wrong in [vec![vec![6]], vec![vec![0, 1], vec![0]], vec![vec![0; 8]]] {
        assert!(ops::embedding(&wrong, &randn(&[6, 5], 1), &randn(&[7, 5], 2)).is_err(), "{wrong:?}");
    }
}

#[test]
fn mean_squares() {
    let x = [3, 4, 35, 37];
    for (first, weights) in [(0, &[1.0; 3][..]), (0, &[0.3, 2.0]), (1, &[0.5, 0.7]), (2, &[1.5])] {
        agree(&format!("{weights:?} from {first}"), &[Trained(&x), Frozen(&x)], |t| {
            ops::mean_squares(&t[0], &t[1], first, weights)
        });
    }
    let t = [randn(&x, 1), randn(&x, 2)];
    assert!(ops::mean_squares(&t[0], &t[1], 1, &[1.0; 3]).is_err());
    let by_hand = (&t[0] - &t[1]).unwrap().sqr().unwrap().mean_all().unwrap();
    within(&ops::mean_squares(&t[0], &t[1], 0, &[1.0; 3]).unwrap(), &by_hand, LIMIT, "all");
}

#[test]
fn pseudo_huber() {
    let x = [3, 4, 35, 37];
    for (first, weights, c) in [(0, &[1.0; 3][..], &[0.1, 1.0, 0.02][..]), (1, &[0.5, 0.7], &[3.0, 0.4])] {
        let [weights, c] = [weights, c].map(|v| Tensor::new(v, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap());
        agree(&format!("{c:?} from {first}"), &[Trained(&x), Frozen(&x)], |t| {
            ops::pseudo_huber_of(&t[0], &t[1], first, &weights, &c)
        });
        let t = [randn(&x, 1), randn(&x, 2)];
        assert!(ops::pseudo_huber_of(&t[0], &t[1], 2, &weights, &c).is_err());
        assert!(ops::pseudo_huber_of(&t[0], &t[1], 0, &weights, &c.narrow(0, 0, 1).unwrap()).is_err());
    }
    // Where d is far below c, √(d² + c²) − c would be lost in f32.
    let t = [0.001_f32, 0.0].map(|v| Tensor::full(v, &[1, 4], &Device::Cpu).unwrap());
    let [one, c] = [1.0_f32, 10.0].map(|v| Tensor::new(&[v], &Device::Cpu).unwrap());
    let loss = ops::pseudo_huber_of(&t[0], &t[1], 0, &one, &c).unwrap().to_scalar::<f32>().unwrap();
    assert!((loss / 5e-8 - 1.0).abs() < 1e-4, "{loss}");
}

#[test]
fn upsample_to_sizes_that_are_no_multiples() {
    for (h, w, height, width) in [(3, 5, 6, 10), (3, 5, 5, 9), (5, 7, 9, 13), (1, 1, 3, 4), (4, 4, 4, 7)] {
        agree(&format!("{h}x{w} to {height}x{width}"), &[Trained(&[2, 3, h, w])], |t| {
            ops::upsample_nearest(&t[0], height, width)
        });
    }
}

/// candle's own upsampling overwrites what its argument had accumulated; ours adds.
#[test]
fn an_argument_that_is_used_twice_gets_both_gradients() {
    agree("upsample and skip", &[Trained(&[2, 3, 4, 5])], |t| {
        let [a, b] = [ops::upsample_nearest(&t[0], 4, 5)?, ops::upsample_nearest(&t[0], 4, 5)?];
        ops::add(&ops::add(&a, &composed(&[&b], |t| t[0].sqr())?)?, &ops::scale(&t[0], 0.5)?)
    });
    agree("convolution and skip", &[Trained(&[2, 3, 4, 5]), Trained(&[3, 3, 3, 3])], |t| {
        let y = ops::conv2d(&t[0], &t[1], None, 1, Padding::same(1))?;
        ops::add(&ops::conv2d(&ops::add(&y, &t[0])?, &t[1], None, 1, Padding::same(1))?, &t[0])
    });
    agree("linear twice", &[Trained(&[6, 4]), Trained(&[4, 4]), Trained(&[4])], |t| {
        let y = ops::linear(&ops::linear(&t[0], &t[1], Some(&t[2]))?, &t[1], Some(&t[2]))?;
        composed(&[&y, &t[0]], |t| &t[0] * &t[1])
    });
}

/// The number of threads splits the work but changes no bit.
#[test]
fn threads_change_nothing() {
    let all = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let operands = [Trained(&[3, 16, 21, 19][..]), Trained(&[16, 16, 3, 3]), Trained(&[16]), Trained(&[16])];
            let (y, gradients) = run(&operands, DType::F32, &|t| {
                let y = ops::group_norm(&t[0], 4, &t[2], &t[3], 1e-5, FusedActivation::Silu)?;
                let y = ops::conv2d(&y, &t[1], Some(&t[2]), 1, Padding::same(1))?;
                let rows = ops::to_rows(&ops::add_channels(
                    &y,
                    &ops::scale(&composed(&[&t[0]], |t| t[0].mean((2, 3)))?, 0.5)?,
                )?)?;
                ops::layer_norm(&ops::attention(&rows, &rows, &rows, 4, AttentionMask::None)?, &t[2], &t[3], 1e-5)
            })
            .unwrap();
            [Some(y)]
                .into_iter()
                .chain(gradients)
                .flat_map(|t| values(&t.unwrap()))
                .map(f32::to_bits)
                .collect::<Vec<_>>()
        })
    };
    assert!(all(1) == all(4));
}

/// Sizes that are split into more pieces where there are more threads: wide products, Winograd's tiles, few of them and
/// many, attention.
#[test]
fn many_threads_change_nothing() {
    let same = Padding::same(1);
    let weights: [Weight; 5] = [
        // As wide as one whose columns are packed by each task.
        randn(&[1600, 320], 5).into(),
        randn(&[640, 320], 1).into(),
        Weight::bf16(&randn(&[640, 320], 2)).unwrap(),
        randn(&[160, 160, 3, 3], 3).into(),
        Weight::bf16(&randn(&[160, 160, 3, 3], 4)).unwrap(),
    ];
    let all = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let of = |x: &[usize], op: &(dyn Fn(&Tensor) -> Result<Tensor> + Sync)| {
            let (y, mut dx) = pool.install(|| run(&[Trained(x)], DType::F32, &|t| op(&t[0]))).unwrap();
            [y, dx.remove(0).unwrap()].iter().flat_map(values).map(f32::to_bits).collect::<Vec<_>>()
        };
        let mut found = Vec::new();
        for weight in &weights[..3] {
            for rows in [20, 200] {
                found.push(of(&[1, rows, 320], &|x| weight.linear(x, None)));
            }
        }
        for weight in &weights[3..] {
            for side in [4, 8, 20] {
                found.push(of(&[1, 160, side, side], &|x| weight.conv2d(x, None, 1, same)));
            }
        }
        // A stride, and few results straight from the image.
        found.push(of(&[1, 160, 20, 20], &|x| weights[3].conv2d(x, None, 2, same)));
        let few = randn(&[12, 160, 3, 3], 6);
        found.push(of(&[2, 160, 16, 16], &|x| ops::conv2d(x, &few, None, 1, same)));
        for precision in [MatmulPrecision::F32, MatmulPrecision::Bf16] {
            found.push(of(&[1, 300, 120], &|x| ops::attention_with(x, x, x, 3, AttentionMask::None, precision)));
        }
        found
    };
    let one = all(1);
    for threads in [2, 5, 32] {
        for (number, (one, many)) in one.iter().zip(&all(threads)).enumerate() {
            assert!(one == many, "operation {number} with {threads} threads");
        }
    }
}

/// Value and gradient of an operation with a weight in bf16, against the same in f32. Where there
/// are products of bf16 the operands are rounded too, each to 8 bits.
#[track_caller]
fn near(what: &str, x: &[usize], weight: &[usize], op: impl Fn(&Tensor, &Weight, &Tensor) -> Result<Tensor>) {
    const ROUNDED: f64 = 1e-2;
    let w = randn(weight, 7);
    let b = randn(&weight[..1], 8);
    let run = |weight: &Weight| {
        run(&[Trained(x)], DType::F32, &|t| op(&t[0], weight, &b))
            .map(|(y, mut dx)| (y, dx.remove(0).unwrap()))
            .unwrap()
    };
    let (y, dx) = run(&Weight::bf16(&w).unwrap());
    let (full_y, full_dx) = run(&w.into());
    within(&y, &full_y, ROUNDED, what);
    within(&dx, &full_dx, ROUNDED, &format!("{what}: gradient"));
    let differs = (y - full_y).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(differs > 0.0, "{what}: nothing was rounded");
}

#[test]
fn weights_in_bf16() {
    for (x, w) in [(&[2, 9, 64][..], [96, 64]), (&[3, 40], [24, 40]), (&[1, 32], [64, 32])] {
        near(&format!("linear {x:?} {w:?}"), x, &w, |x, w, b| w.linear(x, Some(b)));
    }
    let same = Padding::same(1);
    for (x, w, stride, padding) in [
        ([2, 32, 6, 9], [64, 32, 3, 3], 1, same),
        ([1, 64, 7, 8], [32, 64, 3, 3], 2, same),
        ([2, 32, 5, 4], [32, 32, 1, 1], 1, Padding::same(0)),
        ([1, 4, 6, 6], [32, 4, 3, 3], 1, same),
        ([1, 32, 6, 6], [32, 32, 3, 3], 2, Padding { before: 0, after: 1 }),
    ] {
        near(&format!("conv2d {x:?} {w:?} / {stride}"), &x, &w, |x, w, b| w.conv2d(x, Some(b), stride, padding));
    }
}

#[test]
fn a_weight_in_bf16_that_does_not_fit_is_refused() {
    let x = randn(&[2, 48], 1);
    for dims in [&[64, 64][..], &[64, 40]] {
        assert!(Weight::bf16(&randn(dims, 2)).unwrap().linear(&x, None).is_err());
    }
    let picture = randn(&[1, 48, 4, 4], 1);
    for dims in [&[64, 64, 3, 3][..], &[64, 40, 3, 3]] {
        let weight = Weight::bf16(&randn(dims, 2)).unwrap();
        assert!(weight.conv2d(&picture, None, 1, Padding::same(1)).is_err());
    }
}
