//! Attention in bf16 with sums in f32, on tile registers or in pairs on vectors: query blocks of 32
//! queries against all keys of a head.
//!
//! In: q, k, v and dy as slices. Out: y, or a head's gradients, in f32.
//!
//! q, k, v, the probabilities and, backward, dy and the scores' gradients are rounded to bf16 where
//! they go into a product, as torch's autocast does; softmax is in f32. Each operand is packed as
//! the products of `gemm_bf16` read it: on the left lines of 32 values of a row, on the right lines
//! of a pair of rows' values in 16 columns. The gradients of k and v are summed as their
//! transposes, over four query blocks at a time, so that the scores' gradients are never
//! transposed. Queries and keys that are not there are zeros, and so is all that they add to a
//! gradient.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on slices whose sizes are checked; tasks write elements of their own"
)]

use crate::attention::operands::{HeadGradients, Operands};
use crate::attention::query_blocks::exponentials;
use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::cpu::line_buffer::{CacheLine, LINE_BYTES, LineBuffer};
use crate::cpu::prefetch::Prefetch;
use crate::cpu::uninit_output::fill_uninit;
use crate::gemm::transpose::transpose_into;
use crate::gemm_bf16::kernel::block;
use crate::gemm_bf16::operand::{Accumulators, BLOCK, Operand, Steps, TILE};
use crate::gemm_bf16::pack::{load_padded, pack_pairs, pack_row, to_line};
use crate::gemm_bf16::unit::{ConfiguredUnit, Unit};
use crate::shapes::AttentionShape;
use crate::simd::Avx512;
use crate::simd::isa::{Isa, LANES};
use rayon::prelude::*;
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps,
    _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
};
use std::mem::MaybeUninit;

/// Query blocks whose gradients of k and v are summed in one go.
const GROUP: usize = 4;
/// Queries of those query blocks, and of a task forward.
const TASK: usize = GROUP * BLOCK;

/// Lengths of what is packed.
#[derive(Clone, Copy)]
struct Lengths {
    /// Values of a head.
    d: usize,
    /// Lines of 32 of them.
    row: usize,
    /// Tiles of 16 of them.
    tiles: usize,
    /// All keys, in whole blocks.
    keys: usize,
    /// From one query's scores to the next one's: beside all keys a vector.
    scores: usize,
    /// From one query's probabilities to the next one's, in lines: beside all keys one more, so
    /// that rows do not share cache lines' places.
    weights: usize,
}

impl Lengths {
    fn of(sizes: &AttentionShape) -> Self {
        let keys = sizes.keys.next_multiple_of(BLOCK);
        let (row, tiles) = (sizes.d.div_ceil(BLOCK), sizes.d.div_ceil(TILE));
        Self { d: sizes.d, row, tiles, keys, scores: keys + LANES, weights: keys / BLOCK + 1 }
    }

    /// Lines of the keys' columns.
    fn columns(&self) -> usize {
        self.keys / TILE * self.row * TILE
    }

    /// Lines of the keys' pairs.
    fn pairs(&self) -> usize {
        self.tiles * self.keys / 2
    }

    /// The steps over a head's values, for rows of lines on the left and columns on the right.
    fn over_values(&self) -> Steps {
        Self::over_lines(self.row).ending((self.d - (self.row - 1) * BLOCK).div_ceil(2))
    }

    /// The steps over a number of lines of 32 keys or queries, on the right pairs.
    fn over_lines(lines: usize) -> Steps {
        Steps::new(lines, |step| [step * LINE_BYTES, step * TILE * LINE_BYTES])
    }
}

/// The rows of one sample's head in [rows, heads · d]; no values where there is no row.
#[derive(Clone, Copy)]
struct Head<'a> {
    values: &'a [f32],
    width: usize,
    first: usize,
    d: usize,
}

impl<'a> Head<'a> {
    /// Of sample and head `i` of a tensor of `rows` rows a sample.
    fn new(sizes: &AttentionShape, t: &'a [f32], i: usize, rows: usize) -> Self {
        let (sample, head) = (i / sizes.heads, i % sizes.heads);
        let values = &t[sample * rows * sizes.width()..][..rows * sizes.width()];
        Self { values, width: sizes.width(), first: head * sizes.d, d: sizes.d }
    }

    fn row(&self, i: usize) -> &'a [f32] {
        let first = i * self.width + self.first;
        self.values.get(first..first + self.d).unwrap_or_default()
    }

    /// Vector `n` of row `i`, zeros behind the last value.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn vector(&self, i: usize, n: usize) -> __m512 {
        load_padded(self.row(i).get(n * LANES..).unwrap_or_default())
    }

    /// Rows from `first` on, as rows of `row` lines.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_rows(&self, first: usize, row: usize, out: &mut [CacheLine]) {
        for (i, out) in out.chunks_exact_mut(row).enumerate() {
            for (n, out) in out.iter_mut().enumerate() {
                *out = to_line(pack_row(self.vector(first + i, 2 * n), self.vector(first + i, 2 * n + 1)));
            }
        }
    }

    /// All rows as columns: for each 16 of them, for each pair of values a line.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_columns(&self, row: usize, out: &mut [CacheLine]) {
        for (tile, out) in out.chunks_exact_mut(row * TILE).enumerate() {
            for (n, out) in out.chunks_exact_mut(TILE).enumerate() {
                let rows = std::array::from_fn(|i| {
                    let [low, high] = [2 * n, 2 * n + 1].map(|n| self.vector(tile * TILE + i, n));
                    _mm512_castsi512_ps(pack_row(low, high))
                });
                for (out, column) in out.iter_mut().zip(&Avx512::here().transpose(&rows)) {
                    *out = to_line(_mm512_castps_si512(*column));
                }
            }
        }
    }

    /// All rows in pairs: for each 16 values, for each pair of rows a line.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_pairs(&self, keys: usize, out: &mut [CacheLine]) {
        for (n, out) in out.chunks_exact_mut(keys / 2).enumerate() {
            for (pair, out) in out.iter_mut().enumerate() {
                *out = to_line(pack_pairs(self.vector(2 * pair, n), self.vector(2 * pair + 1, n)));
            }
        }
    }

    /// Rows from `first` on as columns of values: for each value a row of `lines` lines of 32 rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_across(&self, first: usize, lines: usize, out: &mut [CacheLine]) {
        for (n, out) in out.chunks_exact_mut(TILE * lines).enumerate() {
            for query_block in 0..lines {
                let rows = std::array::from_fn(|pair| {
                    let row = first + query_block * BLOCK + 2 * pair;
                    _mm512_castsi512_ps(pack_pairs(self.vector(row, n), self.vector(row + 1, n)))
                });
                for (i, column) in Avx512::here().transpose(&rows).iter().enumerate() {
                    out[i * lines + query_block] = to_line(_mm512_castps_si512(*column));
                }
            }
        }
    }
}

/// Rows of scores of a query block, [32, keys]: rows on the left times the columns of all keys,
/// times `scale`.
fn scores(on: &ConfiguredUnit, of: &Lengths, rows: &[CacheLine], columns: &[CacheLine], scale: f32, out: &mut [f32]) {
    let (steps, mut sums) = (of.over_values(), Accumulators::zeros());
    let a = Operand { lines: rows, first: 0, row: of.row * LINE_BYTES, second: TILE * of.row * LINE_BYTES };
    let second = of.row * TILE * LINE_BYTES;
    for key in (0..of.keys).step_by(BLOCK) {
        let b = Operand { lines: columns, first: key / TILE * second, row: LINE_BYTES, second };
        block(on, a, b, (BLOCK, 2), (&steps, Prefetch::NONE), &mut sums);
        for (out, sums) in out.chunks_exact_mut(of.scores).zip(&sums.0) {
            // SAFETY: the unit is a witness of AVX-512.
            unsafe { scaled(sums, scale, &mut out[key..key + BLOCK]) };
        }
    }
}

/// 32 values, each times `scale`.
#[target_feature(enable = "avx512f")]
#[inline]
fn scaled(values: &[f32; BLOCK], scale: f32, out: &mut [f32]) {
    for (values, out) in values.chunks_exact(LANES).zip(out.chunks_exact_mut(LANES)) {
        // SAFETY: both have 16 values.
        unsafe {
            let values = _mm512_mul_ps(_mm512_loadu_ps(values.as_ptr()), _mm512_set1_ps(scale));
            _mm512_storeu_ps(out.as_mut_ptr(), values);
        }
    }
}

/// Probabilities of a query block from query `first` on, [32, keys], times what is returned for
/// each row.
fn weights(
    on: &ConfiguredUnit,
    (sizes, of): (&AttentionShape, &Lengths),
    rows: &[CacheLine],
    columns: &[CacheLine],
    first: usize,
    out: &mut [f32],
) -> [f32; BLOCK] {
    scores(on, of, rows, columns, sizes.scale() * std::f32::consts::LOG2_E, out);
    let mut scales = [0.0; BLOCK];
    for (row, (scale, p)) in scales.iter_mut().zip(out.chunks_exact_mut(of.scores)).enumerate() {
        *scale = 1.0 / exponentials(on.unit().avx512(), p, sizes.visible_keys(first + row));
    }
    scales
}

/// A query block's weights, rounded.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round(of: &Lengths, p: &[f32], out: &mut [CacheLine]) {
    for (p, out) in p.chunks_exact(of.scores).zip(out.chunks_exact_mut(of.weights)) {
        for (p, out) in p.chunks_exact(BLOCK).zip(out) {
            let (low, high) = p.split_at(LANES);
            *out = to_line(pack_row(load_padded(low), load_padded(high)));
        }
    }
}

/// Weights of a query block times what lies in pairs of keys: for each part of 32 of a head's
/// values `write` gets where it begins, how many there are, and the sums.
fn sum(
    on: &ConfiguredUnit,
    of: &Lengths,
    weights: &[CacheLine],
    pairs: &[CacheLine],
    mut write: impl FnMut(usize, usize, &Accumulators),
) {
    let (steps, mut sums) = (Lengths::over_lines(of.keys / BLOCK), Accumulators::zeros());
    let a = Operand { lines: weights, first: 0, row: of.weights * LINE_BYTES, second: TILE * of.weights * LINE_BYTES };
    let second = of.keys / 2 * LINE_BYTES;
    for tile in (0..of.tiles).step_by(2) {
        let b = Operand { lines: pairs, first: tile * second, row: LINE_BYTES, second };
        block(on, a, b, (BLOCK, (of.tiles - tile).min(2)), (&steps, Prefetch::NONE), &mut sums);
        write(tile * TILE, BLOCK.min(of.d - tile * TILE), &sums);
    }
}

/// softmax(q kᵀ / √d) v.
pub(super) fn forward(unit: Unit, sizes: &AttentionShape, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
    let (of, heads) = (Lengths::of(sizes), sizes.batch * sizes.heads);
    let [mut columns, mut pairs] = [(); 2].map(|()| LineBuffer::new());
    let (columns, pairs) = (columns.first(heads * of.columns()), pairs.first(heads * of.pairs()));
    let pack = columns.par_chunks_exact_mut(of.columns()).zip(pairs.par_chunks_exact_mut(of.pairs()));
    pack.enumerate().with_max_len(1).for_each(|(i, (columns, pairs))| {
        // SAFETY: the unit is a witness of AVX-512 BF16.
        unsafe {
            Head::new(sizes, k, i, sizes.keys).pack_columns(of.row, columns);
            Head::new(sizes, v, i, sizes.keys).pack_pairs(of.keys, pairs);
        }
    });
    let (columns, pairs) = (&*columns, &*pairs);
    let tasks = sizes.queries.div_ceil(TASK);
    let task = |task: usize, y: DisjointOutput| {
        let (i, first) = (task / tasks, task % tasks * TASK);
        let (on, q) = (ConfiguredUnit::new(unit), Head::new(sizes, q, i, sizes.queries));
        let (mut rows, mut rounded, mut p) = (LineBuffer::new(), LineBuffer::new(), Scratch::new());
        let (rows, rounded) = (rows.first(BLOCK * of.row), rounded.first(BLOCK * of.weights));
        let p = p.first(BLOCK * of.scores);
        for first in (first..sizes.queries.min(first + TASK)).step_by(BLOCK) {
            // SAFETY: the unit is a witness of AVX-512 BF16.
            unsafe { q.pack_rows(first, of.row, rows) };
            let scales = weights(&on, (sizes, &of), rows, &columns[i * of.columns()..][..of.columns()], first, p);
            // SAFETY: the unit is a witness of AVX-512 BF16.
            unsafe { round(&of, p, rounded) };
            sum(&on, &of, rounded, &pairs[i * of.pairs()..][..of.pairs()], |value, n, sums| {
                let there = BLOCK.min(sizes.queries - first);
                for (row, (sums, scale)) in sums.0.iter().zip(scales).enumerate().take(there) {
                    let query = i / sizes.heads * sizes.queries + first + row;
                    let at = query * sizes.width() + i % sizes.heads * sizes.d + value;
                    // SAFETY: this head of these queries is this task's.
                    unsafe { y.write_scaled(at, &sums[..n], scale) };
                }
            });
        }
    };
    let write = |y: &mut [MaybeUninit<f32>]| {
        let y = DisjointOutput::from(y);
        (0..heads * tasks).into_par_iter().with_max_len(1).for_each(|number| task(number, y));
    };
    // SAFETY: the tasks write all heads of all queries.
    unsafe { fill_uninit(sizes.batch * sizes.queries * sizes.width(), write) }
}

/// dq, dk, dv of sample and head `i`; see [`query_blocks`](super::query_blocks::backward_head).
pub(super) fn backward_head(unit: Unit, sizes: &AttentionShape, operands: Operands, i: usize) -> HeadGradients {
    let Operands { q, k, v, dy, wanted } = operands;
    let of = Lengths::of(sizes);
    let [q, dy] = [q, dy].map(|t| Head::new(sizes, t, i, sizes.queries));
    let [k, v] = [k, v].map(|t| Head::new(sizes, t, i, sizes.keys));
    let on = ConfiguredUnit::new(unit);
    let mut packed: [LineBuffer; 7] = std::array::from_fn(|_| LineBuffer::new());
    let [k_columns, v_columns, k_pairs, rows, rounded, p_pairs, ds_pairs] = &mut packed;
    let [k_columns, v_columns] = [k_columns, v_columns].map(|lines| lines.first(of.columns()));
    let k_pairs = k_pairs.first(of.pairs());
    let (rows, rounded) = (rows.first(BLOCK * of.row), rounded.first(BLOCK * of.weights));
    let [p_pairs, ds_pairs] = [p_pairs, ds_pairs].map(|lines| lines.first(of.keys / TILE * GROUP * TILE));
    let [mut p, mut ds] = [(); 2].map(|()| Scratch::new());
    let [p, ds] = [&mut p, &mut ds].map(|s| s.first(BLOCK * of.scores));
    // SAFETY: the unit is a witness of AVX-512 BF16.
    unsafe {
        k.pack_columns(of.row, k_columns);
        v.pack_columns(of.row, v_columns);
        k.pack_pairs(of.keys, k_pairs);
    }
    let row = of.tiles * TILE;
    let mut dq = vec![0.0; if wanted[0] { sizes.queries.next_multiple_of(BLOCK) * row } else { 0 }];
    let [mut dk, mut dv] = [(); 2].map(|()| Across::new(unit.avx512(), &of, wanted[1]));
    for group in (0..sizes.queries).step_by(TASK) {
        let query_blocks = (sizes.queries - group).div_ceil(BLOCK).min(GROUP);
        for query_block in 0..query_blocks {
            let first = group + query_block * BLOCK;
            // SAFETY: the unit is a witness of AVX-512 BF16.
            unsafe { q.pack_rows(first, of.row, rows) };
            let scales = weights(&on, (sizes, &of), rows, k_columns, first, p);
            // SAFETY: the unit is a witness of AVX-512 BF16.
            unsafe { dy.pack_rows(first, of.row, rows) };
            scores(&on, &of, rows, v_columns, 1.0, ds);
            for pair in 0..BLOCK / 2 {
                let at = 2 * pair * of.scores..2 * (pair + 1) * of.scores;
                let place = query_block * TILE + pair;
                let rounded = &mut rounded[2 * pair * of.weights..][..2 * of.weights];
                let scales = [scales[2 * pair], scales[2 * pair + 1]];
                // SAFETY: the unit is a witness of AVX-512 BF16.
                unsafe {
                    differences(
                        (sizes.scale(), scales),
                        (&of, place),
                        &p[at.clone()],
                        &ds[at],
                        rounded,
                        [p_pairs, ds_pairs],
                    );
                }
            }
            if wanted[0] {
                sum(&on, &of, rounded, k_pairs, |value, n, sums| {
                    for (dq, sums) in dq[first * row..].chunks_exact_mut(row).zip(&sums.0) {
                        dq[value..value + n].copy_from_slice(&sums[..n]);
                    }
                });
            }
        }
        if wanted[1] {
            dv.add(&on, (&dy, group, query_blocks), p_pairs);
            dk.add(&on, (&q, group, query_blocks), ds_pairs);
        }
    }
    HeadGradients { of: [dq, dk.transposed(row), dv.transposed(row)], row }
}

/// From two queries' weights, which are to be multiplied with `scales`, and the gradients of their
/// probabilities: those of their scores times `scale`, rounded, as rows; and in pairs, at `place`
/// of each tile of keys, the probabilities and the gradients.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn differences(
    (scale, scales): (f32, [f32; 2]),
    (of, place): (&Lengths, usize),
    p: &[f32],
    ds: &[f32],
    rounded: &mut [CacheLine],
    [p_pairs, ds_pairs]: [&mut [CacheLine]; 2],
) {
    let (p, ds) = ([&p[..of.keys], &p[of.scores..][..of.keys]], [&ds[..of.keys], &ds[of.scores..][..of.keys]]);
    let vector = |values: &[f32], at: usize| load_padded(&values[at..at + LANES]);
    let mut factors = [[_mm512_setzero_ps(); 3]; 2];
    for (row, factors) in factors.iter_mut().enumerate() {
        let mut sums = [_mm512_setzero_ps(); 2];
        for key in (0..of.keys).step_by(BLOCK) {
            for (half, sum) in sums.iter_mut().enumerate() {
                let at = key + half * LANES;
                *sum = _mm512_fmadd_ps(vector(p[row], at), vector(ds[row], at), *sum);
            }
        }
        let mean = scales[row] * _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
        *factors = [scales[row], mean, scales[row] * scale].map(|v| _mm512_set1_ps(v));
    }
    let (first, second) = rounded.split_at_mut(of.weights);
    for key in (0..of.keys).step_by(BLOCK) {
        let halves = [key, key + LANES].map(|at| {
            let [even, odd] = [0, 1].map(|row| {
                let [probability, mean, gradient] = factors[row];
                let p = vector(p[row], at);
                let difference = _mm512_sub_ps(vector(ds[row], at), mean);
                [_mm512_mul_ps(probability, p), _mm512_mul_ps(_mm512_mul_ps(gradient, p), difference)]
            });
            let place = at / TILE * GROUP * TILE + place;
            p_pairs[place] = to_line(pack_pairs(even[0], odd[0]));
            ds_pairs[place] = to_line(pack_pairs(even[1], odd[1]));
            [even[1], odd[1]]
        });
        first[key / BLOCK] = to_line(pack_row(halves[0][0], halves[1][0]));
        second[key / BLOCK] = to_line(pack_row(halves[0][1], halves[1][1]));
    }
}

/// Adds the first `there` rows of sums to rows that are `row` values apart, from value `first` of
/// each on.
#[target_feature(enable = "avx512f")]
fn add(sums: &Accumulators, (there, first): (usize, usize), out: &mut [f32], row: usize) {
    for (out, sums) in out.chunks_exact_mut(row).zip(&sums.0).take(there) {
        for (out, sums) in out[first..first + BLOCK].chunks_exact_mut(LANES).zip(sums.chunks_exact(LANES)) {
            // SAFETY: both have 16 values.
            unsafe {
                let sum = _mm512_add_ps(_mm512_loadu_ps(out.as_ptr()), _mm512_loadu_ps(sums.as_ptr()));
                _mm512_storeu_ps(out.as_mut_ptr(), sum);
            }
        }
    }
}

/// The transpose of a gradient of k or v, [d, keys]; empty if it is not wanted.
struct Across {
    /// The witness that its methods call AVX-512 by.
    simd: Avx512,
    of: Lengths,
    sums: Vec<f32>,
}

impl Across {
    fn new(simd: Avx512, of: &Lengths, wanted: bool) -> Self {
        Self { simd, of: *of, sums: vec![0.0; if wanted { of.row * BLOCK * of.keys } else { 0 }] }
    }

    /// Adds what `query_blocks` query blocks of queries from `first` on contribute: their rows'
    /// transpose times pairs of queries.
    fn add(&mut self, on: &ConfiguredUnit, (rows, first, query_blocks): (&Head, usize, usize), pairs: &[CacheLine]) {
        let (of, steps, mut sums) = (self.of, Lengths::over_lines(query_blocks), Accumulators::zeros());
        let mut across = LineBuffer::new();
        let across = across.first(of.row * BLOCK * query_blocks);
        // SAFETY: the unit is a witness of AVX-512 BF16.
        unsafe { rows.pack_across(first, query_blocks, across) };
        let second = GROUP * TILE * LINE_BYTES;
        for (number, out) in self.sums.chunks_exact_mut(BLOCK * of.keys).enumerate() {
            let there = BLOCK.min(of.d - number * BLOCK);
            let first = number * BLOCK * query_blocks * LINE_BYTES;
            let a = Operand {
                lines: across,
                first,
                row: query_blocks * LINE_BYTES,
                second: TILE * query_blocks * LINE_BYTES,
            };
            for key in (0..of.keys).step_by(BLOCK) {
                let b = Operand { lines: pairs, first: key / TILE * second, row: LINE_BYTES, second };
                block(on, a, b, (there, 2), (&steps, Prefetch::NONE), &mut sums);
                // SAFETY: the unit is a witness of AVX-512 BF16.
                unsafe { add(&sums, (there, key), out, of.keys) };
            }
        }
    }

    /// [keys, row], of which the first d values of each row count.
    fn transposed(&self, row: usize) -> Vec<f32> {
        if self.sums.is_empty() {
            return Vec::new();
        }
        let keys = self.of.keys;
        let mut out = vec![0.0; keys * row];
        for key in (0..keys).step_by(LANES) {
            for value in (0..row).step_by(LANES) {
                let (rows, out) = (&self.sums[value * keys + key..], &mut out[key * row + value..]);
                // SAFETY: 16 rows of 16 values lie inside both.
                unsafe { transpose_into(self.simd, rows, keys, (LANES, LANES), out, row) };
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::query_blocks;
    use crate::cpu::checks::values;
    use crate::shapes::AttentionMask;
    use half::bf16;

    /// Both directions of rounded operands, against the products in f32 of the same: what differs
    /// is the rounding of probabilities.
    #[test]
    fn attention_in_bf16_is_close_to_f32() {
        let Some(unit) = Unit::detect() else { return };
        for (batch, queries, keys, heads, d, mask) in [
            (1, 32, 32, 1, 32, AttentionMask::None),
            (2, 100, 77, 3, 40, AttentionMask::None),
            (1, 300, 300, 2, 8, AttentionMask::None),
            (1, 16, 77, 2, 160, AttentionMask::None),
            (1, 40, 40, 2, 37, AttentionMask::Causal),
        ] {
            let sizes = AttentionShape { batch, queries, keys, heads, d, mask };
            let of = |rows: usize, seed: u32| -> Vec<f32> {
                let values = values(batch * rows * heads * d, seed);
                values.iter().map(|v| bf16::from_f32(*v).to_f32()).collect()
            };
            let (q, k, v, dy) = (of(queries, 1), of(keys, 2), of(keys, 3), of(queries, 4));
            let what = format!("{batch} x {queries} to {keys}, {heads} x {d}, {mask:?}");
            let near = |ours: &[f32], theirs: &[f32], what: &str| {
                let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
                let apart = norm(&mut ours.iter().zip(theirs).map(|(a, b)| a - b));
                let all = norm(&mut theirs.iter().copied());
                assert!(apart < 4e-3 * all && apart > 0.0, "{what}: {apart:e} of {all:e}");
            };
            near(
                &forward(unit, &sizes, &q, &k, &v),
                &query_blocks::forward(unit.avx512(), &sizes, &q, &k, &v),
                &format!("y of {what}"),
            );
            for wanted in [[true, true], [true, false], [false, true]] {
                let operands = Operands { q: &q, k: &k, v: &v, dy: &dy, wanted };
                for i in 0..batch * heads {
                    let (ours, theirs) = (
                        backward_head(unit, &sizes, operands, i),
                        query_blocks::backward_head(unit.avx512(), &sizes, operands, i),
                    );
                    for (which, rows) in [queries, keys, keys].into_iter().enumerate() {
                        let of_rows = |of: &HeadGradients| -> Vec<f32> {
                            of.of[which].chunks(of.row).take(rows).flat_map(|row| row[..d].to_vec()).collect()
                        };
                        let (ours, theirs) = (of_rows(&ours), of_rows(&theirs));
                        assert_eq!(ours.len(), theirs.len());
                        if !theirs.is_empty() {
                            near(&ours, &theirs, &format!("gradient {which} of {what}"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn attention_in_bf16_does_not_depend_on_the_number_of_threads() {
        let Some(unit) = Unit::detect() else { return };
        let sizes = AttentionShape { batch: 1, queries: 300, keys: 70, heads: 3, d: 40, mask: AttentionMask::None };
        let (q, k, v) = (values(300 * 120, 1), values(70 * 120, 2), values(70 * 120, 3));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| forward(unit, &sizes, &q, &k, &v))
        };
        let one = run(1);
        assert_eq!(one, run(2));
    }
}
