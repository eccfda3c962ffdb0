//! Products against plain loops over the same rounded numbers. Without products of bf16 in the
//! processor there is nothing to test.

use crate::cpu::accumulators::{Accumulators, BLOCK, TILE};
use crate::cpu::checks::{close, values};
use crate::cpu::line_buffer::{CacheLine, LINE_BYTES};
use crate::cpu::prefetch::Prefetch;
use crate::gemm_bf16::conv2d::{convolve, convolve_back};
use crate::gemm_bf16::kernel::block;
use crate::gemm_bf16::linear::{multiply, multiply_back};
use crate::gemm_bf16::operand::{Operand, Steps};
use crate::gemm_bf16::packed_weight::PackedBf16;
use crate::gemm_bf16::schedule::share;
use crate::gemm_bf16::unit::{ConfiguredUnit, Unit};
use candle_core::{DType, Device, Tensor};
use half::bf16;

fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| bf16::from_f32(*v).to_f32()).collect()
}

/// A block of rows and columns on each unit there is: of fewer rows, one tile of columns, a last
/// step that is partly zeros; and with a right operand that lies as a convolution's, on no line's
/// beginning, and its rows apart.
#[test]
fn blocks_equal_plain_loops() {
    let Some(best) = Unit::detect() else { return };
    for unit in [Unit::Avx512Bf16(best.avx512_bf16()), best] {
        let on = ConfiguredUnit::new(unit);
        for (rows, tiles, steps, pairs, shift, apart, fetched) in [
            (32, 2, 1, 16, 0, 1, 0),
            (32, 1, 7, 16, 0, 1, 1),
            (8, 2, 3, 4, 0, 1, 0),
            (19, 2, 13, 11, 0, 1, 5),
            (32, 2, 6, 1, 0, 1, 32),
            (32, 2, 8, 16, 5, 3, 1),
            (16, 1, 2, 16, 21, 4, 2),
        ] {
            let lines = |n: usize, seed: u32| -> Vec<CacheLine> {
                let values: Vec<u16> = values(n * 32, seed).into_iter().map(|v| bf16::from_f32(v).to_bits()).collect();
                let pair = |i: usize| u32::from(values[2 * i]) | u32::from(values[2 * i + 1]) << 16;
                (0..n).map(|line| CacheLine(std::array::from_fn(|i| pair(line * 16 + i)))).collect()
            };
            // A row's lines lie one behind the other on the left, behind one that belongs to
            // nobody.
            let mut left = lines(1 + BLOCK * steps, 1);
            for row in left[1..].chunks_exact_mut(steps) {
                row[steps - 1].0[pairs..].fill(0);
            }
            let tile = steps * TILE * apart;
            let mut right = lines(2 * tile + 2, 2);
            for tile in right[..2 * tile].chunks_exact_mut(tile) {
                tile[((steps - 1) * TILE + pairs) * apart..].fill(CacheLine([0; 16]));
            }
            let a =
                Operand { lines: &left, first: LINE_BYTES, row: steps * LINE_BYTES, second: TILE * steps * LINE_BYTES };
            let b = Operand { lines: &right, first: shift * 4, row: apart * LINE_BYTES, second: tile * LINE_BYTES };
            let place = |step| ([step * LINE_BYTES, step * TILE * apart * LINE_BYTES], 3 * step * LINE_BYTES);
            let over = Steps::with_prefetch(steps, place).ending(pairs);
            let prefetch = Prefetch::one(right.as_ptr().cast(), fetched);
            let mut sums = Accumulators([[f32::NAN; BLOCK]; BLOCK]);
            block(&on, (a, b), (rows, tiles), (&over, prefetch), (&mut sums, false));
            let mut twice = sums.clone();
            block(&on, (a, b), (rows, tiles), (&over, prefetch), (&mut twice, true));
            let value = |pair: u32, odd: usize| bf16::from_bits((pair >> (16 * odd)) as u16).to_f32();
            for row in 0..rows {
                let want: Vec<f32> = (0..tiles * TILE)
                    .map(|column| {
                        let of = |step: usize, pair: usize, odd: usize| {
                            let at = (column / TILE * tile + (step * TILE + pair) * apart) * 16 + shift + column % TILE;
                            let left = left[1 + row * steps + step].0[pair];
                            value(left, odd) * value(right[at / 16].0[at % 16], odd)
                        };
                        (0..steps * BLOCK).map(|i| of(i / BLOCK, i % BLOCK / 2, i % 2)).sum()
                    })
                    .collect();
                let what =
                    format!("{unit:?}: row {row} of {rows}, {tiles} tiles, {steps} steps, the last of {pairs} pairs");
                close(&sums.0[row][..tiles * TILE], &want, &format!("{what}, {shift} and {apart} apart"));
                let want: Vec<f32> = want.iter().map(|v| 2.0 * v).collect();
                close(&twice.0[row][..tiles * TILE], &want, &format!("{what}, added to themselves"));
            }
        }
    }
}

/// What is asked for in advance shows in no result, so its arithmetic is looked at: the shares are
/// all of a block's lines, and a step's blocks lie as far from one another in every block of
/// outputs and of inputs.
#[test]
fn shares_are_all_of_the_next_blocks() {
    if Unit::detect().is_none() {
        return;
    }
    let weight = PackedBf16::new(&Tensor::zeros((96, 64, 3, 3), DType::F32, &Device::Cpu).unwrap()).unwrap();
    let next = weight.block(1, 0, 0);
    for of in 1..100 {
        let ends = (0..of).fold(next, |end, number| {
            let prefetch = share(&weight, Some(next), number, of);
            let (at, lines) = prefetch.run();
            assert_eq!(at, (&raw const weight.lines[end]).cast(), "part {number} of {of}");
            end + lines
        });
        assert_eq!(ends, next + BLOCK, "{of} parts");
    }
    for (output, input, tap) in [(0, 1, 8), (2, 0, 3), (1, 1, 5), (2, 1, 0)] {
        assert_eq!(weight.block(output, input, tap), weight.block(0, input, 0) + weight.block(output, 0, tap));
    }
}

#[test]
fn linear_maps_equal_plain_loops() {
    if Unit::detect().is_none() {
        return;
    }
    for (m, n, k) in [(1, 32, 32), (16, 64, 96), (77, 96, 64), (100, 320, 160), (33, 32, 1280), (1000, 32, 1280)] {
        let (x, w, b, dy) = (values(m * k, 1), values(n * k, 2), values(n, 3), values(m * n, 4));
        let tiles = PackedBf16::new(&Tensor::from_slice(&w, (n, k), &Device::Cpu).unwrap()).unwrap();
        let (rx, rw, rdy) = (rounded(&x), rounded(&w), rounded(&dy));
        let (mut y, mut dx) = (vec![f32::NAN; m * n], vec![f32::NAN; m * k]);
        let (mut want_y, mut want_dx) = (vec![0.0; m * n], vec![0.0; m * k]);
        for i in 0..m {
            for o in 0..n {
                want_y[i * n + o] = (0..k).map(|c| rx[i * k + c] * rw[o * k + c]).sum::<f32>();
                for c in 0..k {
                    want_dx[i * k + c] += rdy[i * n + o] * rw[o * k + c];
                }
            }
        }
        multiply(&mut y, m, &x, &tiles, None);
        close(&y, &want_y, &format!("y without a bias at {m} x {n} x {k}"));
        multiply(&mut y, m, &x, &tiles, Some(&b));
        want_y.chunks_exact_mut(n).for_each(|row| row.iter_mut().zip(&b).for_each(|(y, b)| *y += b));
        close(&y, &want_y, &format!("y at {m} x {n} x {k}"));
        multiply_back(&mut dx, m, &dy, &tiles);
        close(&dx, &want_dx, &format!("dx at {m} x {n} x {k}"));
    }
}

#[test]
fn convolutions_equal_plain_loops() {
    if Unit::detect().is_none() {
        return;
    }
    let cases = [
        ((1, 4, 4), 32, 32, 3, 1_usize),
        ((3, 5, 7), 64, 32, 3, 1),
        ((2, 32, 32), 32, 64, 3, 1),
        ((1, 16, 33), 32, 32, 1, 1),
        ((2, 9, 6), 32, 64, 1, 1),
        ((2, 8, 8), 32, 32, 3, 2),
        ((2, 7, 5), 64, 32, 3, 2),
        ((2, 1, 1), 32, 32, 3, 1),
        ((1, 5, 1), 32, 32, 3, 1),
        ((1, 1, 18), 32, 32, 3, 2),
    ];
    for ((s, h, w), inputs, outputs, kernel, stride) in cases {
        let what = format!("{s} x {h} x {w}, {inputs} to {outputs}, {kernel} x {kernel}, stride {stride}");
        let (oh, ow): (usize, usize) = (usize::div_ceil(h, stride), usize::div_ceil(w, stride));
        let taps = kernel * kernel;
        let x = values(s * inputs * h * w, 1);
        let weight = values(outputs * inputs * taps, 2);
        let b = values(outputs, 3);
        let dy = values(s * outputs * oh * ow, 4);
        let tensor = Tensor::from_slice(&weight, (outputs, inputs, kernel, kernel), &Device::Cpu).unwrap();
        let tiles = PackedBf16::new(&tensor).unwrap();
        let (rx, rw, rdy) = (rounded(&x), rounded(&weight), rounded(&dy));
        let (mut want_y, mut want_dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        for (sample, o) in (0..s).flat_map(|s| (0..outputs).map(move |o| (s, o))) {
            for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                let at = ((sample * outputs + o) * oh + y) * ow + x;
                want_y[at] = b[o];
                for (c, tap) in (0..inputs).flat_map(|c| (0..taps).map(move |t| (c, t))) {
                    let (row, column) = (y * stride + tap / kernel, x * stride + tap % kernel);
                    let border = kernel / 2;
                    if row < border || column < border || row - border >= h || column - border >= w {
                        continue;
                    }
                    let from = ((sample * inputs + c) * h + row - border) * w + column - border;
                    let weight = rw[(o * inputs + c) * taps + tap];
                    want_y[at] += weight * rx[from];
                    want_dx[from] += weight * rdy[at];
                }
            }
        }
        let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
        convolve(&mut y, &x, &tiles, Some(&b), (s, h, w), stride);
        close(&y, &want_y, &format!("y of {what}"));
        convolve_back(&mut dx, &dy, &tiles, (s, h, w), stride);
        close(&dx, &want_dx, &format!("dx of {what}"));
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    if Unit::detect().is_none() {
        return;
    }
    let (x, weight) = (values(2 * 64 * 20 * 20, 1), values(96 * 64 * 9, 2));
    let tiles = PackedBf16::new(&Tensor::from_vec(weight, (96, 64, 3, 3), &Device::Cpu).unwrap()).unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut y = vec![0.0; 2 * 96 * 20 * 20];
        pool.install(|| convolve(&mut y, &x, &tiles, None, (2, 20, 20), 1));
        y
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn a_weight_comes_back_rounded() {
    if Unit::detect().is_none() {
        return;
    }
    for dims in [vec![64, 32], vec![32, 96, 3, 3], vec![32, 64, 1, 1]] {
        let w = Tensor::from_vec(values(dims.iter().product(), 5), &dims[..], &Device::Cpu).unwrap();
        let tiles = PackedBf16::new(&w).unwrap();
        assert_eq!(tiles.dims(), dims);
        let there =
            tiles.tensor().unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(there, rounded(&w.flatten_all().unwrap().to_vec1::<f32>().unwrap()));
    }
    assert!(!PackedBf16::fits(&[320, 4, 3, 3]) && !PackedBf16::fits(&[32]) && !PackedBf16::fits(&[32, 32, 5, 5]));
}
