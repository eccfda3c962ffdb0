//! Attention in bf16 with sums in f32, on tile registers or in pairs on vectors: 32 queries and 32
//! keys at a time, whose scores stay in the nearest cache.
//!
//! In: q, k, v, and for backward y, dy and what forward returned, as slices. Out: y and for each
//! query the logarithm of its weights' sum; or a head's gradients; all in f32.
//!
//! q, k, v, the probabilities and, backward, dy and the scores' gradients are rounded to bf16 where
//! they go into a product, as torch's autocast does; softmax is in f32. Each operand is packed as
//! the products of `gemm_bf16` read it: on the left lines of 32 values of a row, on the right lines
//! of a pair of rows' values in 16 columns.
//!
//! Forward a query is a column, so that its softmax is taken lane by lane, and its probabilities
//! are pairs of keys as they are: yᵀ is the sum of vᵀ times probabilities over some keys at a time,
//! scaled whenever a larger score comes up (Milakov and Gimelshein 2018, Dao et al. 2022). Backward a
//! query is a row, whose probabilities and their gradients' mean follow from forward's results at
//! once (Dao 2023). The gradients of k and v are summed as their transposes, over four query blocks at
//! a time, so that the scores' gradients are never transposed. Queries and keys that are not there
//! are zeros, and so is all that they add to a gradient.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on slices whose sizes are checked; tasks write elements of their own"
)]

use crate::attention::operands::{HeadGradients, Operands};
use crate::attention::query_blocks::exp2;
use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::cpu::line_buffer::{CacheLine, LINE_BYTES, LineBuffer};
use crate::cpu::prefetch::Prefetch;
use crate::cpu::uninit_output::fill_uninit;
use crate::gemm::transpose::transpose_into;
use crate::gemm_bf16::kernel::{block, block_onto};
use crate::gemm_bf16::operand::{Accumulators, BLOCK, Operand, Steps, TILE};
use crate::gemm_bf16::pack::{pack_pairs, pack_row, to_line};
use crate::gemm_bf16::unit::{ConfiguredUnit, Unit};
use crate::shapes::AttentionShape;
use crate::simd::Avx512;
use crate::simd::isa::{ALL, Isa, LANES, first_lanes};
use rayon::prelude::*;
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_loadu_ps,
    _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps, _mm512_sub_ps,
};
use std::mem::MaybeUninit;

/// Blocks of 32 queries, and of keys, that are multiplied in one go.
const GROUP: usize = 4;
/// Queries, and keys, of those.
const CHUNK: usize = GROUP * BLOCK;
/// The score of a key that a query may not look at: its weight is 0.
const HIDDEN: f32 = -1e30;

/// 2ʳ for r within 1/2 of 0, from the highest power on, and exactly 1 at 0; relative error below 3e-6,
/// where rounding to bf16 loses up to 2e-3.
const POWERS: [f32; 5] = [9.582_853e-3, 5.590_642_6e-2, 0.240_241, 0.693_124_2, 1.0];

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
}

impl Lengths {
    fn of(sizes: &AttentionShape) -> Self {
        let (row, tiles) = (sizes.d.div_ceil(BLOCK), sizes.d.div_ceil(TILE));
        Self { d: sizes.d, row, tiles, keys: sizes.keys.next_multiple_of(BLOCK) }
    }

    /// Lines of all keys' values in whole lines: as rows, as columns, and across.
    fn lines(&self) -> usize {
        self.keys * self.row
    }

    /// The chunks of keys: where each begins, and its blocks.
    fn chunks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.keys).step_by(CHUNK).map(move |key| (key, (self.keys - key).div_ceil(BLOCK).min(GROUP)))
    }

    /// Rows of lines on the left, from line `first` on.
    fn rows<'a>(&self, lines: &'a [CacheLine], first: usize) -> Operand<'a> {
        let row = self.row * LINE_BYTES;
        Operand { lines, first: first * LINE_BYTES, row, second: TILE * row }
    }

    /// Columns on the right, from line `first` on.
    fn columns<'a>(&self, lines: &'a [CacheLine], first: usize) -> Operand<'a> {
        right(lines, first, self.row * TILE)
    }

    /// The steps over a head's values, for rows on the left and columns on the right.
    fn over_values(&self) -> Steps {
        Self::over_lines(self.row).ending((self.d - (self.row - 1) * BLOCK).div_ceil(2))
    }

    /// The steps over a number of lines of 32 keys or queries, on the right pairs.
    fn over_lines(lines: usize) -> Steps {
        Steps::new(lines, |step| [step * LINE_BYTES, step * TILE * LINE_BYTES])
    }
}

/// On the right lines from line `first` on, two tiles `second` lines apart.
fn right(lines: &[CacheLine], first: usize, second: usize) -> Operand<'_> {
    Operand { lines, first: first * LINE_BYTES, row: LINE_BYTES, second: second * LINE_BYTES }
}

/// The rows of one sample's head in [rows, heads · d]; no values where there is no row.
#[derive(Clone, Copy)]
struct Head<'a> {
    /// From the first row's first value on.
    values: &'a [f32],
    rows: usize,
    width: usize,
    d: usize,
}

impl<'a> Head<'a> {
    /// Of sample and head `i` of a tensor of `rows` rows a sample.
    fn new(sizes: &AttentionShape, t: &'a [f32], i: usize, rows: usize) -> Self {
        let (sample, head) = (i / sizes.heads, i % sizes.heads);
        let values = &t[sample * rows * sizes.width()..][..rows * sizes.width()];
        let values = values.get(head * sizes.d..).unwrap_or_default();
        assert!(rows == 0 || (rows - 1) * sizes.width() + sizes.d <= values.len(), "attention: a head is too short");
        Self { values, rows, width: sizes.width(), d: sizes.d }
    }

    /// Vector `n` of row `i`, zeros behind the last value.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn vector(&self, i: usize, n: usize) -> __m512 {
        if i >= self.rows {
            return _mm512_setzero_ps();
        }
        let mask = first_lanes(self.d.saturating_sub(n * LANES).min(LANES));
        // SAFETY: the row is there, as was measured, and the mask holds the load to its d values.
        unsafe { _mm512_maskz_loadu_ps(mask, self.values.as_ptr().wrapping_add(i * self.width + n * LANES)) }
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

    /// Rows from `first` on as columns: for each 16 of them, for each pair of values a line.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_columns(&self, first: usize, row: usize, out: &mut [CacheLine]) {
        for (tile, out) in out.chunks_exact_mut(row * TILE).enumerate() {
            for (n, out) in out.chunks_exact_mut(TILE).enumerate() {
                let rows = std::array::from_fn(|i| {
                    let [low, high] = [2 * n, 2 * n + 1].map(|n| self.vector(first + tile * TILE + i, n));
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
        // What would stand behind the last value may be multiplied, but no result reads it.
        for (n, out) in out.chunks_exact_mut(TILE * lines).enumerate().take(self.d.div_ceil(TILE)) {
            for block in 0..lines {
                let rows = std::array::from_fn(|pair| {
                    let row = first + block * BLOCK + 2 * pair;
                    _mm512_castsi512_ps(pack_pairs(self.vector(row, n), self.vector(row + 1, n)))
                });
                for (i, column) in Avx512::here().transpose(&rows).iter().enumerate() {
                    out[i * lines + block] = to_line(_mm512_castps_si512(*column));
                }
            }
        }
    }
}

/// Hides the scores of the keys from `key` on that the queries from `query` on may not look at.
/// Queries are the rows of `scores` or, if it is `across`, its columns.
fn hide(sizes: &AttentionShape, (query, key): (usize, usize), across: bool, scores: &mut Accumulators) {
    if key + BLOCK <= sizes.visible_keys(query) {
        return;
    }
    for i in 0..BLOCK {
        for j in sizes.visible_keys(query + i).saturating_sub(key).min(BLOCK)..BLOCK {
            let (row, column) = if across { (j, i) } else { (i, j) };
            scores.0[row][column] = HIDDEN;
        }
    }
}

/// The softmax of a block of queries over the keys so far: the largest score, and the sum of the
/// weights 2^(score - the largest).
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Softmax {
    top: [f32; BLOCK],
    sum: [f32; BLOCK],
}

impl Softmax {
    const NONE: Self = Self { top: [HIDDEN; BLOCK], sum: [0.0; BLOCK] };

    /// Takes in some blocks of keys: from their scores, which are to be multiplied with `scale`,
    /// the weights in pairs of keys, and what all weights so far are to be multiplied with.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn weights(&mut self, scores: &[Accumulators], scale: f32, pairs: &mut [CacheLine]) -> [f32; BLOCK] {
        let (scale, mut factors) = (_mm512_set1_ps(scale), [0.0; BLOCK]);
        for (half, pairs) in pairs.chunks_exact_mut(GROUP * TILE).enumerate() {
            let mut most = [_mm512_set1_ps(f32::NEG_INFINITY); 2];
            for scores in scores {
                for pair in scores.0.chunks_exact(2) {
                    most[0] = _mm512_max_ps(most[0], vector(&pair[0], half));
                    most[1] = _mm512_max_ps(most[1], vector(&pair[1], half));
                }
            }
            let before = vector(&self.top, half);
            let top = _mm512_max_ps(before, _mm512_mul_ps(_mm512_max_ps(most[0], most[1]), scale));
            let factor = power_of_two(_mm512_sub_ps(before, top));
            let mut sums = [_mm512_mul_ps(vector(&self.sum, half), factor), _mm512_setzero_ps()];
            for (scores, pairs) in scores.iter().zip(pairs.chunks_exact_mut(TILE)) {
                for (pair, out) in scores.0.chunks_exact(2).zip(pairs) {
                    let even = power_of_two(_mm512_fmsub_ps(vector(&pair[0], half), scale, top));
                    let odd = power_of_two(_mm512_fmsub_ps(vector(&pair[1], half), scale, top));
                    sums = [_mm512_add_ps(sums[0], even), _mm512_add_ps(sums[1], odd)];
                    *out = to_line(pack_pairs(even, odd));
                }
            }
            let results =
                [(&mut self.top, top), (&mut self.sum, _mm512_add_ps(sums[0], sums[1])), (&mut factors, factor)];
            for (to, values) in results {
                // SAFETY: there is room for 16 values.
                unsafe { _mm512_storeu_ps(to[half * LANES..][..LANES].as_mut_ptr(), values) };
            }
        }
        factors
    }
}

/// A half of a row.
#[target_feature(enable = "avx512f")]
#[inline]
fn vector(row: &[f32; BLOCK], half: usize) -> __m512 {
    let half = &row[half * LANES..][..LANES];
    // SAFETY: 16 values are there.
    unsafe { _mm512_loadu_ps(half.as_ptr()) }
}

/// 2ˣ, as exact as [`POWERS`] are.
#[target_feature(enable = "avx512f")]
#[inline]
fn power_of_two(x: __m512) -> __m512 {
    exp2(Avx512::here(), &POWERS, ALL, x)
}

/// Multiplies sums with the factors of their columns.
#[target_feature(enable = "avx512f")]
fn rescale(sums: &mut Accumulators, factors: &[f32; BLOCK]) {
    for row in &mut sums.0 {
        for half in 0..2 {
            let values = _mm512_mul_ps(vector(row, half), vector(factors, half));
            // SAFETY: there is room for 16 values.
            unsafe { _mm512_storeu_ps(row[half * LANES..][..LANES].as_mut_ptr(), values) };
        }
    }
}

/// What some rows contribute to transposed sums, 32 values at a time: `across` has these rows'
/// values across, from its first line on, `b` their weights in pairs.
fn add_across(
    on: &ConfiguredUnit,
    (d, steps): (usize, &Steps),
    across: &[CacheLine],
    b: Operand,
    sums: &mut [Accumulators],
) {
    let lines = steps.len();
    for (value, sums) in (0..d).step_by(BLOCK).zip(sums) {
        let row = lines * LINE_BYTES;
        let a = Operand { lines: across, first: value * row, row, second: TILE * row };
        block_onto(on, (a, b), (BLOCK.min(d - value), 2), steps, sums);
    }
}

/// The transposes of sums of 32 values each, side by side in rows of `row` values.
fn transpose(simd: Avx512, sums: &[Accumulators], out: &mut [f32], row: usize) {
    assert!(out.len() >= BLOCK * row, "attention: there is no room for 32 rows");
    for value in (0..row).step_by(LANES) {
        for column in [0, LANES] {
            let rows = &sums[value / BLOCK].0.as_flattened()[value % BLOCK * BLOCK + column..];
            // SAFETY: 16 rows of 16 values lie inside both.
            unsafe { transpose_into(simd, rows, BLOCK, (LANES, LANES), &mut out[column * row + value..], row) };
        }
    }
}

/// softmax(q kᵀ / √d) v, and for each head's queries the logarithm to base 2 of the sum of its
/// scores' exponentials.
pub(super) fn forward(unit: Unit, sizes: &AttentionShape, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (of, heads) = (Lengths::of(sizes), sizes.batch * sizes.heads);
    let [mut k_rows, mut v_across] = [(); 2].map(|()| LineBuffer::new());
    let [k_rows, v_across] = [&mut k_rows, &mut v_across].map(|lines| lines.first(heads * of.lines()));
    let pack = k_rows.par_chunks_exact_mut(of.lines()).zip(v_across.par_chunks_exact_mut(of.lines()));
    pack.enumerate().with_max_len(1).for_each(|(i, (rows, across))| {
        let [k, v] = [k, v].map(|t| Head::new(sizes, t, i, sizes.keys));
        // SAFETY: the unit is a witness of AVX-512 BF16.
        unsafe { k.pack_rows(0, of.row, rows) };
        for (key, blocks) in of.chunks() {
            // SAFETY: as above.
            unsafe { v.pack_across(key, blocks, &mut across[key * of.row..][..blocks * BLOCK * of.row]) };
        }
    });
    let (k_rows, v_across) = (&*k_rows, &*v_across);
    let tasks = sizes.queries.div_ceil(CHUNK);
    let task = |task: usize, [y, lse]: [DisjointOutput; 2]| {
        let (i, first) = (task / tasks, task % tasks * CHUNK);
        let (on, q) = (ConfiguredUnit::new(unit), Head::new(sizes, q, i, sizes.queries));
        let [k_rows, v_across] = [k_rows, v_across].map(|lines| &lines[i * of.lines()..][..of.lines()]);
        let [mut columns, mut pairs] = [(); 2].map(|()| LineBuffer::new());
        let (columns, pairs) = (columns.first(CHUNK * of.row), pairs.first(2 * GROUP * TILE));
        let (mut scores, mut softmax) = ([const { Accumulators::zeros() }; GROUP], [Softmax::NONE; GROUP]);
        let mut sums = vec![const { Accumulators::zeros() }; GROUP * of.row];
        // SAFETY: the unit is a witness of AVX-512 BF16.
        unsafe { q.pack_columns(first, of.row, columns) };
        let queries = (first..sizes.queries.min(first + CHUNK)).step_by(BLOCK);
        let over_values = of.over_values();
        for (key, blocks) in of.chunks() {
            let over_keys = Lengths::over_lines(blocks);
            for (number, query) in queries.clone().enumerate() {
                for (n, scores) in scores.iter_mut().enumerate().take(blocks) {
                    let key = key + n * BLOCK;
                    let (a, b) = (of.rows(k_rows, key * of.row), of.columns(columns, number * BLOCK * of.row));
                    block(&on, a, b, (BLOCK, 2), (&over_values, Prefetch::NONE), scores);
                    hide(sizes, (query, key), true, scores);
                }
                let scale = sizes.scale() * std::f32::consts::LOG2_E;
                // SAFETY: the unit is a witness of AVX-512 BF16.
                let factors = unsafe { softmax[number].weights(&scores[..blocks], scale, pairs) };
                let sums = &mut sums[number * of.row..][..of.row];
                if factors.iter().any(|factor| factor.to_bits() != 1.0_f32.to_bits()) {
                    // SAFETY: as above.
                    sums.iter_mut().for_each(|sums| unsafe { rescale(sums, &factors) });
                }
                add_across(&on, (of.d, &over_keys), &v_across[key * of.row..], right(pairs, 0, GROUP * TILE), sums);
            }
        }
        let row = of.tiles * TILE;
        let mut rows = Scratch::new();
        let rows = rows.first(BLOCK * row);
        for (number, first) in queries.enumerate() {
            transpose(unit.avx512(), &sums[number * of.row..], rows, row);
            let Softmax { top, sum } = &softmax[number];
            for query in 0..BLOCK.min(sizes.queries - first) {
                let at = (i / sizes.heads * sizes.queries + first + query) * sizes.width() + i % sizes.heads * sizes.d;
                // SAFETY: this head of this query is this task's.
                unsafe {
                    y.write_scaled(at, &rows[query * row..][..sizes.d], 1.0 / sum[query]);
                    lse.write_scaled(i * sizes.queries + first + query, &[top[query] + sum[query].log2()], 1.0);
                }
            }
        }
    };
    let mut lse = vec![0.0; heads * sizes.queries];
    let write = |y: &mut [MaybeUninit<f32>]| {
        let results = [DisjointOutput::from(y), DisjointOutput::from(&mut lse[..])];
        (0..heads * tasks).into_par_iter().with_max_len(1).for_each(|number| task(number, results));
    };
    // SAFETY: the tasks write all heads of all queries.
    let y = unsafe { fill_uninit(sizes.batch * sizes.queries * sizes.width(), write) };
    (y, lse)
}

/// dq, dk, dv of sample and head `i`; see [`query_blocks`](super::query_blocks::backward_head).
pub(super) fn backward_head(unit: Unit, sizes: &AttentionShape, operands: Operands, i: usize) -> HeadGradients {
    let Operands { q, k, v, dy, y, lse, wanted } = operands;
    let of = Lengths::of(sizes);
    let [q, dy, y] = [q, dy, y].map(|t| Head::new(sizes, t, i, sizes.queries));
    let [k, v] = [k, v].map(|t| Head::new(sizes, t, i, sizes.keys));
    let lse = &lse[i * sizes.queries..][..sizes.queries];
    let on = ConfiguredUnit::new(unit);
    let mut packed: [LineBuffer; 10] = std::array::from_fn(|_| LineBuffer::new());
    let [k_columns, v_columns, k_pairs, q_rows, dy_rows, q_across, dy_across, ds_rows, p_pairs, ds_pairs] = &mut packed;
    let [k_columns, v_columns] = [k_columns, v_columns].map(|lines| lines.first(of.lines()));
    let k_pairs = k_pairs.first(of.tiles * of.keys / 2);
    let chunks = [q_rows, dy_rows, q_across, dy_across].map(|lines| lines.first(CHUNK * of.row));
    let [q_rows, dy_rows, q_across, dy_across] = chunks;
    let ds_rows = ds_rows.first(CHUNK * GROUP);
    let [p_pairs, ds_pairs] = [p_pairs, ds_pairs].map(|lines| lines.first(2 * GROUP * GROUP * TILE));
    // SAFETY: the unit is a witness of AVX-512 BF16.
    unsafe {
        k.pack_columns(0, of.row, k_columns);
        v.pack_columns(0, of.row, v_columns);
        k.pack_pairs(of.keys, k_pairs);
    }
    let row = of.tiles * TILE;
    let mut dq = vec![0.0; if wanted[0] { sizes.queries.next_multiple_of(BLOCK) * row } else { 0 }];
    // The transposes of the gradients of k and v, for each block of keys.
    let size = if wanted[1] { of.keys / BLOCK * of.row } else { 0 };
    let [mut dk, mut dv] = [(); 2].map(|()| vec![const { Accumulators::zeros() }; size]);
    let (over_values, mut scores, mut dp) = (of.over_values(), Accumulators::zeros(), Accumulators::zeros());
    for group in (0..sizes.queries).step_by(CHUNK) {
        let query_blocks = (sizes.queries - group).div_ceil(BLOCK).min(GROUP);
        let over_queries = Lengths::over_lines(query_blocks);
        let mut dq_sums = vec![const { Accumulators::zeros() }; if wanted[0] { query_blocks * of.row } else { 0 }];
        // SAFETY: the unit is a witness of AVX-512 BF16.
        let means = unsafe {
            q.pack_rows(group, of.row, q_rows);
            dy.pack_rows(group, of.row, dy_rows);
            q.pack_across(group, query_blocks, &mut q_across[..query_blocks * BLOCK * of.row]);
            dy.pack_across(group, query_blocks, &mut dy_across[..query_blocks * BLOCK * of.row]);
            means(&dy, &y, group)
        };
        for (key, blocks) in of.chunks() {
            for (query_block, n) in (0..query_blocks).flat_map(|query_block| (0..blocks).map(move |n| (query_block, n)))
            {
                let (first, key) = (query_block * BLOCK, key + n * BLOCK);
                for (rows, columns, sums) in [(&*q_rows, &*k_columns, &mut scores), (&*dy_rows, &*v_columns, &mut dp)] {
                    let (a, b) = (of.rows(rows, first * of.row), of.columns(columns, key * of.row));
                    block(&on, a, b, (BLOCK, 2), (&over_values, Prefetch::NONE), sums);
                }
                hide(sizes, (group + first, key), false, &mut scores);
                let of_query =
                    |row: usize| [lse.get(group + first + row).copied().unwrap_or_default(), means[first + row]];
                let rows = &mut ds_rows[first * GROUP + n..];
                let pairs = [&mut *p_pairs, &mut *ds_pairs]
                    .map(|lines| &mut lines[n * 2 * GROUP * TILE + query_block * TILE..]);
                // SAFETY: the unit is a witness of AVX-512 BF16.
                unsafe { gradients([&scores, &dp], sizes.scale(), of_query, rows, pairs) };
            }
            let over_keys = Lengths::over_lines(blocks);
            for (number, sums) in dq_sums.iter_mut().enumerate() {
                let (query_block, tile) = (number / of.row, number % of.row * 2);
                let row = GROUP * LINE_BYTES;
                let a = Operand { lines: ds_rows, first: query_block * BLOCK * row, row, second: TILE * row };
                let b = right(k_pairs, tile * (of.keys / 2) + key / 2, of.keys / 2);
                block_onto(&on, (a, b), (BLOCK, (of.tiles - tile).min(2)), &over_keys, sums);
            }
            if wanted[1] {
                for n in 0..blocks {
                    let at = (key / BLOCK + n) * of.row;
                    for (sums, across, pairs) in [(&mut dv, &*dy_across, &*p_pairs), (&mut dk, &*q_across, &*ds_pairs)]
                    {
                        let b = right(pairs, n * 2 * GROUP * TILE, GROUP * TILE);
                        add_across(&on, (of.d, &over_queries), across, b, &mut sums[at..][..of.row]);
                    }
                }
            }
        }
        for (number, sums) in dq_sums.iter().enumerate() {
            let (query_block, value) = (number / of.row, number % of.row * BLOCK);
            let rows = dq[(group + query_block * BLOCK) * row..].chunks_exact_mut(row);
            for (out, sums) in rows.zip(&sums.0) {
                let n = BLOCK.min(row - value);
                out[value..][..n].copy_from_slice(&sums[..n]);
            }
        }
    }
    let transposed = |sums: Vec<Accumulators>| {
        let mut out = vec![0.0; sums.len() / of.row * BLOCK * row];
        for (sums, out) in sums.chunks_exact(of.row).zip(out.chunks_exact_mut(BLOCK * row)) {
            transpose(unit.avx512(), sums, out, row);
        }
        out
    };
    HeadGradients { of: [dq, transposed(dk), transposed(dv)], row }
}

/// For each of a chunk's queries from `first` on the mean of its probabilities' gradients, which is
/// the product of its rounded dy and y.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn means(dy: &Head, y: &Head, first: usize) -> [f32; CHUNK] {
    std::array::from_fn(|i| {
        let product = |sum, n| {
            let rounded = pack_pairs(_mm512_setzero_ps(), dy.vector(first + i, n));
            _mm512_fmadd_ps(_mm512_castsi512_ps(rounded), y.vector(first + i, n), sum)
        };
        _mm512_reduce_add_ps((0..dy.d.div_ceil(LANES)).fold(_mm512_setzero_ps(), product))
    })
}

/// From a block's scores and the gradients of its probabilities, those of the scores, times
/// `scale`: rounded, as rows [`GROUP`] lines apart; and in pairs of queries the probabilities and the
/// gradients. `of_query` gives a row's logarithm of its sum and the mean of its gradients.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn gradients(
    [scores, dp]: [&Accumulators; 2],
    scale: f32,
    of_query: impl Fn(usize) -> [f32; 2],
    rows: &mut [CacheLine],
    [p_pairs, ds_pairs]: [&mut [CacheLine]; 2],
) {
    let (exponent, scales) = (_mm512_set1_ps(scale * std::f32::consts::LOG2_E), _mm512_set1_ps(scale));
    for pair in 0..BLOCK / 2 {
        let mut both = [[[_mm512_setzero_ps(); 2]; 2]; 2];
        for (row, both) in both.iter_mut().enumerate() {
            let row = 2 * pair + row;
            let [lse, mean] = of_query(row);
            let (lse, mean) = (_mm512_set1_ps(lse), _mm512_set1_ps(mean * scale));
            for (half, both) in both.iter_mut().enumerate() {
                let p = power_of_two(_mm512_fmsub_ps(vector(&scores.0[row], half), exponent, lse));
                *both = [p, _mm512_mul_ps(p, _mm512_fmsub_ps(vector(&dp.0[row], half), scales, mean))];
            }
            rows[row * GROUP] = to_line(pack_row(both[0][1], both[1][1]));
        }
        for half in [0, 1] {
            let at = half * GROUP * TILE + pair;
            p_pairs[at] = to_line(pack_pairs(both[0][half][0], both[1][half][0]));
            ds_pairs[at] = to_line(pack_pairs(both[0][half][1], both[1][half][1]));
        }
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
            let (y, lse) = forward(unit, &sizes, &q, &k, &v);
            near(&y, &query_blocks::forward(unit.avx512(), &sizes, &q, &k, &v), &format!("y of {what}"));
            for wanted in [[true, true], [true, false], [false, true]] {
                let operands = Operands { q: &q, k: &k, v: &v, dy: &dy, y: &y, lse: &lse, wanted };
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
        assert_eq!(one, run(5));
    }
}
