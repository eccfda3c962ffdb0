//! Attention in our own kernels: query blocks of 24 queries against all keys of a head, whose scores stay
//! in the second cache.
//!
//! In: q, k, v and dy as slices. Out: y, or a head's gradients.
//!
//! Keys (and, backward, values) are packed once for each head: in panels of 32, transposed, for
//! scores; as rows of whole vectors for weighted sums. All products go through one kernel, which
//! holds a few rows and vectors of columns of the result in registers. Rows and keys
//! that are not there are zeros, and so is all that they add to a gradient.
#![expect(
    unsafe_code,
    reason = "values are loaded and stored through pointers into slices whose sizes are checked; tasks write elements of their own"
)]

use crate::attention::operands::{HeadGradients, Operands};
use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::cpu::pieces;
use crate::cpu::uninit_output::fill_uninit;
use crate::cpu::vector_math::sum_of_pairs;
use crate::gemm::blocked::Lhs;
use crate::gemm::columns::split_range;
use crate::gemm::pack::{Rhs, Transposed};
use crate::shapes::AttentionShape;
use crate::simd::isa::{ALL, Isa, LANES, few_registers, first_lanes};
use crate::simd::vectorize;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Queries of a query block: a multiple of every number of rows that the kernel takes at a time.
const QUERY_BLOCK: usize = 24;
/// Keys of a panel: two vectors.
const KEY_PANEL: usize = 2 * LANES;
/// Tasks at least that the queries of a sample are split into, if there are enough.
const TASKS: usize = 8;
/// Vectors of columns that the kernel takes at a time at most: with many registers, as many as a
/// head of 80 values has.
const fn max_vectors<S: Isa>() -> usize {
    if few_registers::<S>() { 1 } else { 5 }
}

/// 2ʳ for r within 1/2 of 0, from the highest power on: (ln 2)ᵏ / k!; the next term is below 6e-9.
#[expect(clippy::excessive_precision, reason = "the constants are the exact ones, rounded by the compiler")]
const POWERS: [f32; 8] = [
    1.525_273_380_4e-5,
    1.540_353_039_3e-4,
    1.333_355_814_6e-3,
    9.618_129_107_6e-3,
    5.550_410_866_5e-2,
    2.402_265_069_6e-1,
    6.931_471_805_6e-1,
    1.0,
];

/// Lengths of what is packed.
struct Lengths {
    /// A row of d values, in whole vectors.
    row: usize,
    /// All keys, in whole panels.
    keys: usize,
    /// From one query's scores to the next one's: beside all keys a vector, so that rows do not
    /// share cache lines' places.
    scores: usize,
}

impl Lengths {
    fn of(sizes: &AttentionShape) -> Self {
        let keys = sizes.keys.next_multiple_of(KEY_PANEL);
        Self { row: sizes.d.next_multiple_of(LANES), keys, scores: keys + LANES }
    }

    fn panels(&self, d: usize) -> usize {
        self.keys * d
    }

    fn rows(&self, n: usize) -> usize {
        n * self.row
    }
}

/// [rows, heads · d] of one sample, for head `head` in panels of 32 rows: for each of the d columns
/// 32 values.
fn pack_panels<S: Isa>(isa: S, sizes: &AttentionShape, t: &[f32], head: usize, out: &mut [f32]) {
    let transposed = Rhs::Transposed(Transposed { values: t.into(), row: sizes.width(), columns: sizes.keys });
    for (number, out) in out.chunks_exact_mut(sizes.d * KEY_PANEL).enumerate() {
        transposed.pack(isa, head * sizes.d..(head + 1) * sizes.d, 2 * number..2 * number + 2, out);
    }
}

/// The vectors of rows that are summed over: from a row's to the next row's, and from a vector of a
/// row to the next one. Where few are summed at a time they are stored one behind the other, so
/// that memory is read in order.
#[derive(Clone, Copy)]
struct Stride {
    row: usize,
    vector: usize,
}

impl Stride {
    /// Of all keys.
    fn of_keys<S: Isa>(of: &Lengths, keys: usize) -> Self {
        if few_registers::<S>() { Self { row: LANES, vector: keys * LANES } } else { Self::rows(of) }
    }

    /// Of rows that lie as they are.
    fn rows(of: &Lengths) -> Self {
        Self { row: of.row, vector: LANES }
    }
}

/// All rows of [rows, heads · d] of one sample, for head `head`, as [`multiply`] sums over them.
fn pack_summed<S: Isa>(sizes: &AttentionShape, of: &Lengths, t: &[f32], head: usize, out: &mut [f32]) {
    if !few_registers::<S>() {
        return pack_rows(sizes, t, (head, 0), of.row, out);
    }
    for (vector, out) in out.chunks_exact_mut(sizes.keys * LANES).enumerate() {
        let (first, n) = (vector * LANES, LANES.min(sizes.d - vector * LANES));
        for (out, row) in out.chunks_exact_mut(LANES).zip(t.chunks_exact(sizes.width())) {
            out[..n].copy_from_slice(&row[head * sizes.d + first..][..n]);
            out[n..].fill(0.0);
        }
    }
}

/// Rows `first..` of [rows, heads · d] of one sample, for head `head` as rows of whole vectors;
/// zeros where there are none.
fn pack_rows(sizes: &AttentionShape, t: &[f32], (head, first): (usize, usize), row: usize, out: &mut [f32]) {
    for (i, out) in out.chunks_exact_mut(row).enumerate() {
        let there = t.get((first + i) * sizes.width() + head * sizes.d..).unwrap_or_default();
        let n = sizes.d.min(there.len());
        out[..n].copy_from_slice(&there[..n]);
        out[n..].fill(0.0);
    }
}

/// What becomes of a product.
#[derive(Clone, Copy)]
enum Store {
    /// It is written, times this.
    Scaled(f32),
    /// It is added to what is there.
    Added,
}

/// `c` = or += a · b, with a of one tap: c [rows, columns], rows `c_row` apart; b [k, columns]. Rows are a multiple of 8; columns are whole vectors.
fn multiply<S: Isa>(
    isa: S,
    (c, c_row): (&mut [f32], usize),
    (rows, columns, k): (usize, usize, usize),
    a: Lhs<&[f32]>,
    (b, stride): (&[f32], Stride),
    store: Store,
) {
    assert!(a.taps == 1 && rows.is_multiple_of(8) && columns.is_multiple_of(LANES) && k > 0);
    assert!(
        (rows - 1) * c_row + columns <= c.len()
            && (k - 1) * stride.row + (columns / LANES - 1) * stride.vector + LANES <= b.len()
    );
    assert!((rows - 1) * a.row + (k - 1) * a.step < a.values.len());
    let (vectors, few) = (columns / LANES, few_registers::<S>());
    let groups = vectors.div_ceil(max_vectors::<S>());
    for group in 0..groups {
        let some = split_range(0..vectors, groups, group);
        let (c, b, b_row) = (&mut c[some.start * LANES..], &b[some.start * stride.vector..], stride.row);
        isa.run(
            #[inline(always)]
            // SAFETY: all rows and columns lie inside the slices, as asserted.
            || unsafe {
                match some.len() {
                    1 if few && rows.is_multiple_of(6) => {
                        micro_kernel::<S, 6, 1>(isa, c, c_row, rows, k, a, b, b_row, store);
                    }
                    1 if few => micro_kernel::<S, 4, 1>(isa, c, c_row, rows, k, a, b, b_row, store),
                    _ if few => unreachable!("vectors are taken one by one"),
                    1 => micro_kernel::<S, 8, 1>(isa, c, c_row, rows, k, a, b, b_row, store),
                    2 if rows.is_multiple_of(12) => {
                        micro_kernel::<S, 12, 2>(isa, c, c_row, rows, k, a, b, b_row, store);
                    }
                    2 => micro_kernel::<S, 8, 2>(isa, c, c_row, rows, k, a, b, b_row, store),
                    3 => micro_kernel::<S, 8, 3>(isa, c, c_row, rows, k, a, b, b_row, store),
                    4 => micro_kernel::<S, 4, 4>(isa, c, c_row, rows, k, a, b, b_row, store),
                    _ => micro_kernel::<S, 4, 5>(isa, c, c_row, rows, k, a, b, b_row, store),
                }
            },
        );
    }
}

/// The kernel: R rows of V vectors at a time.
///
/// # Safety
/// Rows and columns lie inside the slices.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a product of strided matrices has as many")]
unsafe fn micro_kernel<S: Isa, const R: usize, const V: usize>(
    isa: S,
    c: &mut [f32],
    c_row: usize,
    rows: usize,
    k: usize,
    a: Lhs<&[f32]>,
    b: &[f32],
    b_row: usize,
    store: Store,
) {
    for first in (0..rows).step_by(R) {
        let mut sums = [[isa.zero(); V]; R];
        let (mut left, mut right) = (a.values.as_ptr().wrapping_add(first * a.row), b.as_ptr());
        for _ in 0..k {
            // SAFETY: the caller has seen to it that rows and columns lie inside the slices.
            unsafe {
                let mut columns = [isa.zero(); V];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = isa.load(right.add(v * LANES));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let value = isa.splat(*left.add(i * a.row));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = isa.fma(value, column, *sum);
                    }
                }
            }
            (left, right) = (left.wrapping_add(a.step), right.wrapping_add(b_row));
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let at = c[(first + i) * c_row + v * LANES..][..LANES].as_mut_ptr();
                // SAFETY: 16 values are there.
                unsafe {
                    let value = match store {
                        Store::Scaled(scale) => isa.mul(sum, isa.splat(scale)),
                        Store::Added => isa.add(isa.load(at), sum),
                    };
                    isa.store(at, value);
                }
            }
        }
    }
}

/// A query block's rows [24, d] times the panels' columns: [24, keys].
fn scores<S: Isa>(
    isa: S,
    sizes: &AttentionShape,
    of: &Lengths,
    query_block: &[f32],
    panels: &[f32],
    scale: f32,
    out: &mut [f32],
) {
    let left = Lhs::rows(query_block, of.row);
    for (number, panel) in panels.chunks_exact(sizes.d * KEY_PANEL).enumerate() {
        let out = &mut out[number * KEY_PANEL..];
        multiply(
            isa,
            (out, of.scores),
            (QUERY_BLOCK, KEY_PANEL, sizes.d),
            left,
            (panel, Stride { row: KEY_PANEL, vector: LANES }),
            Store::Scaled(scale),
        );
    }
}

/// Weights of all keys for a query block of queries, from `first` on: [24, scores], zeros behind
/// the last key that a query may look at. Returns what each row is to be multiplied with, so that
/// it sums to 1.
fn weights<S: Isa>(
    isa: S,
    sizes: &AttentionShape,
    of: &Lengths,
    query_block: &[f32],
    panels: &[f32],
    first: usize,
    out: &mut [f32],
) -> [f32; QUERY_BLOCK] {
    scores(isa, sizes, of, query_block, panels, sizes.scale() * std::f32::consts::LOG2_E, out);
    let mut scales = [0.0; QUERY_BLOCK];
    for (row, (scale, p)) in scales.iter_mut().zip(out.chunks_exact_mut(of.scores)).enumerate() {
        *scale = 1.0 / exponentials(isa, p, sizes.visible_keys(first + row));
    }
    scales
}

/// 2ˣ where the mask says so, 0 elsewhere, for x of 0 or just above and below; `powers` is a
/// polynomial of 2ʳ for r within 1/2 of 0, from the highest power on.
#[inline(always)]
pub(super) fn exp2<S: Isa, const N: usize>(isa: S, powers: &[f32; N], mask: u16, x: S::F32) -> S::F32 {
    let exponent = isa.round(x);
    let r = isa.sub(x, exponent);
    let mut p = isa.splat(powers[0]);
    for c in &powers[1..] {
        p = isa.fma(p, r, isa.splat(*c));
    }
    isa.times_power_of_two(mask, p, exponent)
}

/// The first `n` values v to 2^(v - the largest), those behind them to zeros. Returns the sum.
fn exponentials<S: Isa>(isa: S, row: &mut [f32], n: usize) -> f32 {
    let (whole, rest) = (n / LANES, n % LANES);
    assert!(n + LANES <= row.len() && row.len().is_multiple_of(LANES));
    let (first, mask) = (row.as_mut_ptr(), first_lanes(rest));
    let sum = isa.run(
        #[inline(always)]
        // SAFETY: all vectors lie inside the row, as asserted.
        || unsafe {
            let mut top = isa.load_or(isa.splat(f32::NEG_INFINITY), mask, first.add(whole * LANES));
            for i in 0..whole {
                top = isa.max(top, isa.load(first.add(i * LANES)));
            }
            let top = isa.splat(isa.reduce_max(top));
            let mut sums = isa.zero();
            for i in 0..=whole {
                let x = isa.sub(isa.load(first.add(i * LANES)), top);
                let p = exp2(isa, &POWERS, if i < whole { ALL } else { mask }, x);
                sums = isa.add(sums, p);
                isa.store(first.add(i * LANES), p);
            }
            isa.reduce_add(sums)
        },
    );
    row[(whole + 1) * LANES..].fill(0.0);
    sum
}

/// softmax(q kᵀ / √d) v.
pub(super) fn forward<S: Isa>(isa: S, sizes: &AttentionShape, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
    let of = Lengths::of(sizes);
    let (panels, rows) = (of.panels(sizes.d), of.rows(sizes.keys));
    let [mut k_packed, mut v_packed] = [(); 2].map(|()| Scratch::new());
    let k_packed = k_packed.first(sizes.batch * sizes.heads * panels);
    let v_packed = v_packed.first(sizes.batch * sizes.heads * rows);
    let sample = sizes.keys * sizes.width();
    let pack = k_packed.par_chunks_exact_mut(panels).zip(v_packed.par_chunks_exact_mut(rows)).enumerate();
    pack.for_each(|(i, (panels, rows))| {
        let (b, head) = (i / sizes.heads, i % sizes.heads);
        pack_panels(isa, sizes, &k[b * sample..][..sample], head, panels);
        pack_summed::<S>(sizes, &of, &v[b * sample..][..sample], head, rows);
    });
    let (k_packed, v_packed) = (&*k_packed, &*v_packed);
    let width = sizes.width();
    let each = sizes.queries.div_ceil(pieces(TASKS)).next_multiple_of(QUERY_BLOCK);
    let tasks = sizes.queries.div_ceil(each);
    let task = |number: usize, y: DisjointOutput| {
        let (b, begin) = (number / tasks, number % tasks * each);
        let q = &q[b * sizes.queries * width..][..sizes.queries * width];
        let [mut p, mut query_block, mut sums] = [(); 3].map(|()| Scratch::new());
        let p = p.first(QUERY_BLOCK * of.scores);
        let (query_block, sums) = (query_block.first(of.rows(QUERY_BLOCK)), sums.first(of.rows(QUERY_BLOCK)));
        for head in 0..sizes.heads {
            let i = b * sizes.heads + head;
            for first in (begin..sizes.queries.min(begin + each)).step_by(QUERY_BLOCK) {
                pack_rows(sizes, q, (head, first), of.row, query_block);
                let scales = weights(isa, sizes, &of, query_block, &k_packed[i * panels..][..panels], first, p);
                let left = Lhs::rows(&*p, of.scores);
                let rows = (&v_packed[i * rows..][..rows], Stride::of_keys::<S>(&of, sizes.keys));
                multiply(isa, (sums, of.row), (QUERY_BLOCK, of.row, sizes.keys), left, rows, Store::Scaled(1.0));
                let there = sums.chunks_exact(of.row).zip(scales).take(sizes.queries - first);
                for (query, (sums, scale)) in there.enumerate() {
                    let at = (b * sizes.queries + first + query) * width + head * sizes.d;
                    // SAFETY: all heads of these queries are this task's.
                    unsafe { y.write_scaled(at, &sums[..sizes.d], scale) };
                }
            }
        }
    };
    let write = |y: &mut [MaybeUninit<f32>]| {
        let y = DisjointOutput::from(y);
        (0..sizes.batch * tasks).into_par_iter().with_max_len(1).for_each(|number| task(number, y));
    };
    // SAFETY: the tasks write all heads of all queries.
    unsafe { fill_uninit(sizes.batch * sizes.queries * width, write) }
}

/// dq, dk, dv of sample and head `i`: dV = Pᵀ dY, dP = dY Vᵀ, dS = P ∘ (dP - Σ P dP) / √d, dQ = dS
/// K, dK = dSᵀ Q.
pub(super) fn backward_head<S: Isa>(isa: S, sizes: &AttentionShape, operands: Operands, i: usize) -> HeadGradients {
    let (b, head) = (i / sizes.heads, i % sizes.heads);
    let of = Lengths::of(sizes);
    let Operands { q, k, v, dy, wanted, .. } = operands;
    let [q, dy] = [q, dy].map(|t| &t[b * sizes.queries * sizes.width()..][..sizes.queries * sizes.width()]);
    let [k, v] = [k, v].map(|t| &t[b * sizes.keys * sizes.width()..][..sizes.keys * sizes.width()]);
    let mut packed: [Scratch; 8] = std::array::from_fn(|_| Scratch::new());
    let [k_panels, v_panels, k_rows, p, ds, query_block, dy_block, scaled] = &mut packed;
    let [k_panels, v_panels] = [k_panels, v_panels].map(|s| s.first(of.panels(sizes.d)));
    let k_rows = k_rows.first(of.rows(sizes.keys));
    let [p, ds] = [p, ds].map(|s| s.first(QUERY_BLOCK * of.scores));
    let [query_block, dy_block, scaled] = [query_block, dy_block, scaled].map(|s| s.first(of.rows(QUERY_BLOCK)));
    pack_panels(isa, sizes, k, head, k_panels);
    pack_panels(isa, sizes, v, head, v_panels);
    pack_summed::<S>(sizes, &of, k, head, k_rows);
    let query_blocks = sizes.queries.next_multiple_of(QUERY_BLOCK);
    let mut dq = vec![0.0; if wanted[0] { of.rows(query_blocks) } else { 0 }];
    let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; if wanted[1] { of.rows(of.keys) } else { 0 }]);
    // dk or dv += leftᵀ · right, for the query block's queries.
    let add = |sums: &mut [f32], left: &[f32], right: &[f32]| {
        let left = Lhs::transposed(left, of.scores);
        multiply(isa, (sums, of.row), (of.keys, of.row, QUERY_BLOCK), left, (right, Stride::rows(&of)), Store::Added);
    };
    for first in (0..sizes.queries).step_by(QUERY_BLOCK) {
        pack_rows(sizes, q, (head, first), of.row, query_block);
        pack_rows(sizes, dy, (head, first), of.row, dy_block);
        let scales = weights(isa, sizes, &of, query_block, k_panels, first, p);
        scores(isa, sizes, &of, dy_block, v_panels, 1.0, ds);
        if wanted[1] {
            for ((to, from), scale) in scaled.chunks_exact_mut(of.row).zip(dy_block.chunks_exact(of.row)).zip(scales) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * from);
            }
            add(&mut dv, p, scaled);
        }
        vectorize(
            #[inline(always)]
            || {
                let rows = ds.chunks_exact_mut(of.scores).zip(p.chunks_exact(of.scores));
                for ((ds, p), scale) in rows.zip(scales) {
                    let (ds, p) = (&mut ds[..of.keys], &p[..of.keys]);
                    let mean = scale * sum_of_pairs(ds, p, |ds, p| ds * p);
                    let scale = scale * sizes.scale();
                    ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = scale * p * (*ds - mean));
                }
            },
        );
        if wanted[0] {
            let left = Lhs::rows(&*ds, of.scores);
            let out = &mut dq[of.rows(first)..];
            multiply(
                isa,
                (out, of.row),
                (QUERY_BLOCK, of.row, sizes.keys),
                left,
                (k_rows, Stride::of_keys::<S>(&of, sizes.keys)),
                Store::Scaled(1.0),
            );
        }
        if wanted[1] {
            add(&mut dk, ds, query_block);
        }
    }
    HeadGradients { of: [dq, dk, dv], row: of.row }
}
