//! The matrix products of convolutions and linear maps, in f32: C = A · B, over C, or with a bias.
//!
//! In: A where it lies, B to be packed, C to be written. Out: C.
//!
//! A [m, k] is read where it lies, an element at a time, each spread over a vector; B [k, n] is
//! packed block by block in panels of a few vectors of columns (`Rhs`: rows, transposed rows or patches of
//! an image), so a weight is never copied whole. A tile of C ([`Isa::TILE`]) stays in registers while a block of k passes, and asks for what the next block reads of the weight
//! (`prefetch`). C may be stored as its transpose, so that whichever operand is the larger can be
//! the one that is read where it lies. C and B may consist of segments (the samples of a batch),
//! whose columns are side by side. Blocks depend on the shapes alone, so each number is summed in
//! one order, whatever the number of threads. The blocking follows Goto and van de Geijn, "Anatomy
//! of high-performance matrix multiplication" (2008).
#![expect(unsafe_code, reason = "the tasks write to one result elements of their own, which are measured here")]

use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::cpu::pieces;
use crate::cpu::prefetch::Prefetch;
use crate::gemm::columns::{Columns, split_range};
use crate::gemm::micro_kernel::{Init, MAX_VECTORS, OutputTile, times};
use crate::gemm::operand::{Values, upcast};
use crate::gemm::pack::Rhs;
use crate::gemm::transpose::store_transposed;
use crate::simd::isa::{ALL, Isa, LANES, first_lanes, stores_are_seen};
use rayon::prelude::*;
use std::ops::Range;

/// The length of a block of k at most where each task packs its own columns of B: no more of it waits for memory than the
/// first block.
const KC_SHORT: usize = 256;
/// Vectors of columns in a group at most: with [`Isa::KC`], a part of B that stays in the second cache.
const NC_VECTORS: usize = 12;
/// Pieces of work at least, where there is enough to share out, and groups of columns from which on each packs its own.
const TASKS: usize = 8;
/// Products of fewer multiplications are left to one thread: to wake the others would take as long.
const SMALL: usize = 1 << 19;
/// Values of B from which on it is not packed as a whole, if the tasks have columns enough; and of a gradient from which on
/// it is stored past the caches.
const LARGE: usize = 1 << 20;

/// Whether a weight [n, k] is better read where it lies, as A or as rows of B, than packed as B or
/// read across as A: for few rows m of what it is multiplied with.
pub(crate) fn is_skinny(m: usize, n: usize, k: usize) -> bool {
    2 * m <= n.min(k)
}

/// A [m, k], where it lies: element (i, s · taps + t) is at i · row + s · step + taps - 1 - t. The
/// taps are those of a kernel rotated by 180 degrees; without any, taps is 1.
#[derive(Clone, Copy)]
pub(crate) struct Lhs<V> {
    pub values: V,
    pub row: usize,
    pub step: usize,
    pub taps: usize,
}

impl<V> Lhs<V> {
    /// A row-major matrix with rows of `row` values.
    pub(crate) fn rows(values: V, row: usize) -> Self {
        Self { values, row, step: 1, taps: 1 }
    }

    /// The transpose of a row-major matrix with rows of `row` values.
    pub(crate) fn transposed(values: V, row: usize) -> Self {
        Self { values, row: 1, step: row, taps: 1 }
    }
}

impl Lhs<Values<'_>> {
    /// Where row i begins in block `k`.
    fn at(&self, i: usize, k: usize) -> usize {
        i * self.row + k / self.taps * self.step
    }

    /// The cache lines of `rows` rows from value `at` on, for `steps` steps.
    fn lines(&self, at: usize, rows: usize, steps: usize) -> Prefetch {
        let (at, of) = self.values.place(at);
        match (self.taps, self.step) {
            (1, 1) => Prefetch::new(at, of(self.row), of(steps).div_ceil(LANES), rows),
            (1, step) => Prefetch::new(at, of(step), 1, steps),
            (taps, step) => Prefetch::new(at, of(step), of(rows * taps).div_ceil(LANES), steps),
        }
    }

    /// Whether a tile's rows are best copied where they are read by several panels: an upcast, and steps whose values
    /// lie far apart, each in another page.
    fn is_copied(&self, panels: usize) -> bool {
        match self.values {
            Values::F32(_) => (self.row, self.taps) == (1, 1) && self.step > LANES && panels > 2,
            Values::Bf16(_) => true,
        }
    }

    /// `m` rows from the `first` on, for `steps` steps from `k` on, as f32: where they lie, or in
    /// `room`.
    fn rows_in_f32<S: Isa>(
        &self,
        isa: S,
        (first, m): (usize, usize),
        (k, steps): (usize, usize),
        room: &mut [f32],
    ) -> (*const f32, usize, usize) {
        let at = self.at(first, k);
        let values = match self.values {
            Values::F32(values) if room.is_empty() => return (values.as_ptr().wrapping_add(at), self.row, self.step),
            Values::F32(values) => {
                let values = &values[at..][..(steps - 1) * self.step + m];
                assert!(room.len() >= (steps - 1) * m + LANES, "matmul: the room is too small");
                isa.run(
                    #[inline(always)]
                    || {
                        for i in 0..steps {
                            // SAFETY: m values of each step are there, and room for 16 from each step's first on, which
                            // the next step's replace.
                            unsafe {
                                let values =
                                    isa.load_or(isa.zero(), first_lanes(m), values.as_ptr().add(i * self.step));
                                isa.store(room.as_mut_ptr().add(i * m), values);
                            }
                        }
                    },
                );
                return (room.as_ptr(), 1, m);
            }
            Values::Bf16(values) => &values[at..],
        };
        if self.step == 1 {
            for (i, room) in room.chunks_exact_mut(steps).take(m).enumerate() {
                upcast(isa, &values[i * self.row..][..steps], room);
            }
            return (room.as_ptr(), steps, 1);
        }
        // A step's values of all rows lie side by side, and so they do in the room.
        let width = m * self.taps;
        for (i, room) in room.chunks_exact_mut(width).take(steps).enumerate() {
            upcast(isa, &values[i * self.step..][..width], room);
        }
        (room.as_ptr(), self.taps, width)
    }
}

/// C, and how it is stored.
pub(crate) enum Output<'a> {
    /// Segments of row-major [m, width], one behind the other.
    Rows(DisjointOutput<'a>),
    /// The same, of which nobody reads anything soon.
    Gradient(DisjointOutput<'a>),
    /// The same, added to what stands there.
    Accumulate(&'a mut [f32]),
    /// Its transpose, row-major [width, m], of a single segment.
    Transposed(DisjointOutput<'a>),
}

/// What is added to a product that is not added to C.
#[derive(Clone, Copy)]
pub(crate) enum Bias<'a> {
    /// Nothing.
    None,
    /// The value of each row.
    PerRow(&'a [f32]),
    /// The value of each column, the same for all segments, if C is stored as rows.
    PerColumn(&'a [f32]),
}

/// C = A · B + `bias`, with A [m, k], B [k, n]. All of C is written, and read only if the product
/// is added to it.
///
/// # Panics
/// If an operand does not hold what the sizes say, which is a fault of the calling operation.
pub(crate) fn matmul<S: Isa>(
    isa: S,
    c: Output,
    (m, k): (usize, usize),
    n: Columns,
    a: Lhs<Values>,
    b: &Rhs,
    bias: Bias,
) {
    let vectors = n.vectors();
    if m * vectors == 0 {
        return;
    }
    let unread = matches!(c, Output::Gradient(_));
    let (c, transposed, accumulate) = match c {
        Output::Rows(c) | Output::Gradient(c) => (c, false, false),
        Output::Accumulate(c) => (c.into(), false, true),
        Output::Transposed(c) => (c, true, false),
    };
    let steps = k / a.taps;
    assert!(k > 0 && steps * a.taps == k, "matmul: k is no multiple of the taps");
    assert_eq!(c.len(), n.segments * m * n.width, "matmul: C has another size");
    assert!((m - 1) * a.row + (steps - 1) * a.step + a.taps <= a.values.len(), "matmul: A is too small");
    let together = a.row == a.taps || (a.taps == 1 && a.step == 1);
    assert!(together || matches!(a.values, Values::F32(_)), "matmul: a step's values that are apart are not upcast");
    assert!(!transposed || n.segments == 1, "matmul: segments are not transposed");
    match bias {
        Bias::PerRow(bias) => assert!(!accumulate && bias.len() == m, "matmul: the bias has another size"),
        Bias::PerColumn(bias) => {
            assert!(!transposed && !accumulate && bias.len() == n.width, "matmul: the bias has another size");
        }
        Bias::None => {}
    }
    let small = m * vectors * LANES * k < SMALL;
    let groups = vectors.div_ceil(NC_VECTORS);
    // Each group reads all of A, and would upcast it.
    let is_cheap = matches!(a.values, Values::F32(_));
    let apart = groups >= TASKS || (is_cheap && vectors >= 2 * TASKS && vectors * LANES * k > LARGE);
    // Blocks of k of equal length, a multiple of the taps and, without any, of the vectors.
    let most = if apart { KC_SHORT } else { S::KC };
    let unit = if a.taps == 1 { LANES } else { a.taps };
    let block = k.div_ceil(k.div_ceil(most)).next_multiple_of(unit);
    let in_lines = n.width.is_multiple_of(LANES) && c.first().addr().is_multiple_of(LANES * size_of::<f32>());
    let past_caches = unread && in_lines && k <= block && c.len() >= LARGE && matches!(bias, Bias::None);
    let gemm = Gemm { isa, c, transposed, accumulate, m, k, n, a, bias, past_caches, block };
    if apart {
        // Enough groups of columns: each task packs its own.
        let groups = groups.next_multiple_of(pieces(TASKS)).min(vectors);
        let group = |i: usize| split_range(0..vectors, groups, i);
        share(groups, small, |i| {
            let next = if i + 1 < groups { group(i + 1) } else { 0..0 };
            gemm.task(0..m, group(i), &Packed::PerBlock(b, next));
        });
        return;
    }
    // Few columns: B is packed once, and the rows are shared out.
    let group = |i: usize| split_range(0..vectors, groups, i);
    let mut packed = Scratch::new();
    let packed = packed.first(vectors * LANES * k);
    pack(isa, b, (0..groups).flat_map(|i| panels::<S>(group(i))), (k, block), packed, small);
    let packed = &*packed;
    let unit = if transposed { LANES } else { S::TILE.0 };
    let units = m.div_ceil(unit);
    let parts = pieces(2 * TASKS).div_ceil(groups).min(units);
    share(parts * groups, small, |task| {
        let rows = split_range(0..units, parts, task / groups);
        let group = group(task % groups);
        let packed = &Packed::Whole(&packed[group.start * LANES * k..]);
        gemm.task(rows.start * unit..m.min(rows.end * unit), group, packed);
    });
}

/// The panels of a group.
fn panels<S: Isa>(group: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let n = group.len().div_ceil(S::TILE.1);
    (0..n).map(move |i| split_range(group.clone(), n, i))
}

/// Packs all of B: for each panel all of k.
fn pack<S: Isa>(
    isa: S,
    b: &Rhs,
    panels: impl Iterator<Item = Range<usize>>,
    (k, block): (usize, usize),
    mut packed: &mut [f32],
    here: bool,
) {
    let mut pieces = Vec::new();
    for panel in panels {
        let width = panel.len() * LANES;
        let (values, rest) = packed.split_at_mut(width * k);
        packed = rest;
        pieces.extend(values.chunks_mut(width * block).enumerate().map(|(i, out)| (panel.clone(), i * block, out)));
    }
    let pack =
        |(panel, first, out): (Range<usize>, usize, &mut [f32])| b.pack(isa, first..k.min(first + block), panel, out);
    if here {
        pieces.into_iter().for_each(pack);
    } else {
        pieces.into_par_iter().with_max_len(1).for_each(pack);
    }
}

/// Shares tasks out over all threads, or does them here.
fn share(tasks: usize, here: bool, task: impl Fn(usize) + Sync + Send) {
    if here {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// Where a task finds its group of columns of B.
enum Packed<'a> {
    /// Packed, for each panel all of k.
    Whole(&'a [f32]),
    /// Nowhere yet: the task packs block by block. The next task has the vectors behind.
    PerBlock(&'a Rhs<'a>, Range<usize>),
}

/// One product.
struct Gemm<'a, S> {
    isa: S,
    c: DisjointOutput<'a>,
    transposed: bool,
    accumulate: bool,
    m: usize,
    k: usize,
    n: Columns,
    a: Lhs<Values<'a>>,
    bias: Bias<'a>,
    /// Whether C is stored past the caches: a product of a single block, of whole lines.
    past_caches: bool,
    /// The length of a block of k.
    block: usize,
}

/// A block of k and what belongs to it.
struct Block<'a> {
    k: Range<usize>,
    /// The panels of the group, `length` values of k for each column, the block's from `skip` on.
    packed: &'a [f32],
    length: usize,
    skip: usize,
}

impl<S: Isa> Gemm<'_, S> {
    /// The product of some rows and a group of columns.
    fn task(&self, rows: Range<usize>, group: Range<usize>, b: &Packed) {
        let width = group.len() * LANES;
        let (mut packed, mut sums) = (Scratch::new(), Scratch::new());
        let packed = packed.first(if matches!(b, Packed::PerBlock(..)) { width * self.block } else { 0 });
        let sums = sums.first(if self.transposed { rows.len() * width } else { 0 });
        for first in (0..self.k).step_by(self.block) {
            let k = first..self.k.min(first + self.block);
            match b {
                Packed::Whole(packed) => {
                    let block = Block { packed, length: self.k, skip: first, k };
                    self.block(rows.clone(), group.clone(), &block, sums, None);
                }
                Packed::PerBlock(b, next) => {
                    for panel in panels::<S>(group.clone()) {
                        let at = (panel.start - group.start) * LANES * self.block;
                        let out = &mut packed[at..][..panel.len() * LANES * k.len()];
                        b.pack(self.isa, k.clone(), panel, out);
                    }
                    let prefetch = match k.end {
                        end if end < self.k => b.prefetch(end..self.k.min(end + self.block), group.clone()),
                        _ => b.prefetch(0..self.k.min(self.block), next.clone()),
                    };
                    let block = Block { packed, length: self.block, skip: 0, k };
                    self.block(rows.clone(), group.clone(), &block, sums, Some(prefetch));
                }
            }
        }
        if self.past_caches {
            stores_are_seen();
        }
        if self.transposed {
            let (_, first, _) = self.n.of(group.start);
            for row in (0..rows.len()).step_by(LANES) {
                for column in (0..width).step_by(LANES) {
                    let counts = (LANES.min(rows.len() - row), LANES.min(self.n.width - first - column));
                    let out = (first + column) * self.m + rows.start + row;
                    let out = self.c.at(out, (counts.1 - 1) * self.m + counts.0);
                    // SAFETY: this part of C was measured, and no other task has it.
                    unsafe {
                        store_transposed(self.isa, &sums[row * width + column..], width, counts, (out, self.m), false);
                    };
                }
            }
        }
    }

    /// What a block of k contributes to these rows and columns. What is asked for in advance are
    /// lines of B or, if there are none, the rows of A that come next.
    fn block(
        &self,
        rows: Range<usize>,
        group: Range<usize>,
        block: &Block,
        sums: &mut [f32],
        mut prefetch: Option<Prefetch>,
    ) {
        let (a, k) = (self.a, &block.k);
        let (steps, width) = (k.len() / a.taps, group.len() * LANES);
        let times = times(steps, a.taps) * group.len().div_ceil(S::TILE.1);
        let lines = prefetch.as_ref().map(|prefetch| prefetch.share(times * rows.len().div_ceil(S::TILE.0)));
        let mut room = Scratch::new();
        let panels: Vec<(usize, usize, [_; MAX_VECTORS])> = panels::<S>(group.clone())
            .map(|panel| {
                let of = |i| if i < panel.len() { self.n.of(panel.start + i) } else { (0, 0, 0) };
                (panel.len(), (panel.start - group.start) * LANES, std::array::from_fn(of))
            })
            .collect();
        let room = room.first(if a.is_copied(panels.len()) { S::TILE.0 * k.len() + LANES } else { 0 });
        let mut first = rows.start;
        while first < rows.end {
            let left = rows.end - first;
            let m = left.div_ceil(left.div_ceil(S::TILE.0));
            let mut next = match (first + m < rows.end, k.end < self.k) {
                _ if prefetch.is_some() => Prefetch::NONE,
                (true, _) => a.lines(a.at(first + m, k.start), m, steps),
                (false, true) => a.lines(a.at(rows.start, k.end), m, steps),
                (false, false) => Prefetch::NONE,
            };
            let lines = lines.unwrap_or(next.share(times));
            let prefetch = prefetch.as_mut().unwrap_or(&mut next);
            let (at, row, step) = a.rows_in_f32(self.isa, (first, m), (k.start, steps), room);
            for &(wide, column, columns) in &panels {
                let (out, out_row, masks) = if self.transposed {
                    let sums = &mut sums[(first - rows.start) * width + column..][..(m - 1) * width + wide * LANES];
                    let sums = sums.as_mut_ptr();
                    (std::array::from_fn(|i| sums.wrapping_add(i * LANES)), width, [ALL; MAX_VECTORS])
                } else {
                    let row = |segment: usize| (segment * self.m + first) * self.n.width;
                    let out = columns.map(|(segment, at, _)| self.c.first().wrapping_add(row(segment) + at));
                    (out, self.n.width, columns.map(|(_, _, n)| first_lanes(n)))
                };
                let init = match self.bias {
                    _ if self.accumulate || k.start > 0 => Init::Accumulate,
                    Bias::None if self.past_caches => Init::PastCaches,
                    Bias::None => Init::Zero,
                    Bias::PerRow(bias) => Init::PerRow(&bias[first..first + m]),
                    Bias::PerColumn(bias) => Init::PerColumn(columns.map(|(_, at, n)| &bias[at..at + n])),
                };
                let b = &block.packed[column * block.length + block.skip * wide * LANES..][..k.len() * wide * LANES];
                let tile = OutputTile { steps, a: at, row, step, b, out, out_row, masks, init };
                // SAFETY: `matmul` measured A and C; the rows and columns of this tile lie inside
                // them, no other task has them, and the panel and the sums were measured above.
                unsafe { tile.run(self.isa, (m, wide, a.taps), prefetch, lines) };
            }
            first += m;
        }
    }
}
