//! The matrix products of convolutions and linear maps, in f32 with AVX-512: C = A · B, over C, or with a bias.
//!
//! A [m, k] is read where it lies, an element at a time, each spread over a vector; B [k, n] is laid out block by block in
//! panels of up to 48 columns (`Right`: rows, transposed rows or patches of a picture), so a weight is never copied whole. A
//! `tile` of 8 rows and 48 columns of C stays in registers while a block of k passes, and asks for what the next block reads of
//! the weight (`ahead`). C may be stored as its transpose, so that whichever operand is the larger can be the one that is read
//! where it lies. C and B may consist of segments (the samples of a batch), whose columns are side by side. Blocks depend on
//! the shapes alone, so each number is summed in one order, whatever the number of threads. The blocking follows Goto and van
//! de Geijn, "Anatomy of high-performance matrix multiplication" (2008).
#![expect(unsafe_code, reason = "the tasks write to one result elements of their own, which are measured here")]

mod ahead;
mod tile;

use super::host::Scratch;
use super::pack::{Right, turned_store};
use super::target::Target;
pub(super) use ahead::Ahead;
use rayon::prelude::*;
use std::ops::Range;
use tile::{Begin, ROWS, Tile, WIDE, times};

/// Values in a vector.
pub(super) const LANES: usize = 16;
/// The length of a block of k at most: a tile's rows of A stay in the nearest cache.
const BLOCK: usize = 512;
/// The same where each task lays out its own columns of B: no more of it waits for memory than the first block.
const SHORT: usize = 256;
/// Vectors of columns in a group at most: with `BLOCK`, a part of B that stays in the second cache.
const GROUP: usize = 12;
/// Pieces of work at least, where there is enough to share out.
const TASKS: usize = 8;
/// Products of fewer multiplications are left to one thread: to wake the others would take as long.
const SMALL: usize = 1 << 19;
/// Values of B from which on it is not laid out as a whole, if the tasks have columns enough.
const LARGE: usize = 1 << 20;

/// Whether this processor has the instructions.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// Whether a weight [n, k] is better read where it lies, as A or as rows of B, than laid out as B or read across as A: for few rows
/// m of what it is multiplied with.
pub(super) fn few(m: usize, n: usize, k: usize) -> bool {
    2 * m <= n.min(k)
}

/// A [m, k], where it lies: element (i, s · taps + t) is at i · row + s · step + taps - 1 - t. The taps are those of a kernel
/// turned by 180 degrees; without any, taps is 1.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub values: &'a [f32],
    pub row: usize,
    pub step: usize,
    pub taps: usize,
}

impl<'a> Left<'a> {
    /// A row-major matrix with rows of `row` values.
    pub(super) fn rows(values: &'a [f32], row: usize) -> Self {
        Self { values, row, step: 1, taps: 1 }
    }

    /// The transpose of a row-major matrix with rows of `row` values.
    pub(super) fn transposed(values: &'a [f32], row: usize) -> Self {
        Self { values, row: 1, step: row, taps: 1 }
    }

    /// Where row i begins in block `k`.
    fn at(&self, i: usize, k: usize) -> *const f32 {
        self.values.as_ptr().wrapping_add(i * self.row + k / self.taps * self.step)
    }

    /// The cache lines of `rows` rows from `at` on, for `steps` steps.
    fn lines(&self, at: *const f32, rows: usize, steps: usize) -> Ahead {
        match (self.taps, self.step) {
            (1, 1) => Ahead::new(at, self.row, steps.div_ceil(LANES), rows),
            (1, step) => Ahead::new(at, step, 1, steps),
            (taps, step) => Ahead::new(at, step, (rows * taps).div_ceil(LANES), steps),
        }
    }
}

/// The columns of C and B: `segments` times `width`, each segment of whole vectors.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    pub segments: usize,
    pub width: usize,
}

impl Columns {
    /// A single segment.
    pub(super) fn one(width: usize) -> Self {
        Self { segments: 1, width }
    }

    /// Vectors of one segment.
    fn each(&self) -> usize {
        self.width.div_ceil(LANES)
    }

    /// The segment of vector v, its first column there, and how many columns it has.
    #[inline]
    pub(super) fn of(&self, vector: usize) -> (usize, usize, usize) {
        let (segment, first) = (vector / self.each(), vector % self.each() * LANES);
        (segment, first, LANES.min(self.width - first))
    }
}

/// C, and how it is stored.
pub(super) enum Stored<'a> {
    /// Segments of row-major [m, width], one behind the other.
    Rows(Target<'a>),
    /// The same, added to what stands there.
    Onto(&'a mut [f32]),
    /// Its transpose, row-major [width, m], of a single segment.
    Transposed(Target<'a>),
}

/// What is added to a product that is not added to C.
#[derive(Clone, Copy)]
pub(super) enum Plus<'a> {
    /// Nothing.
    Nothing,
    /// The value of each row.
    Rows(&'a [f32]),
    /// The value of each column, the same for all segments, if C is stored as rows.
    Columns(&'a [f32]),
}

/// C = A · B + `plus`, with A [m, k], B [k, n]. All of C is written, and read only if the product is added to it.
///
/// # Panics
/// If an operand does not hold what the sizes say, which is a fault of the calling operation.
pub(super) fn product(c: Stored, (m, k): (usize, usize), n: Columns, a: Left, b: &Right, plus: Plus) {
    let vectors = n.segments * n.each();
    if m * vectors == 0 {
        return;
    }
    let (c, turned, onto) = match c {
        Stored::Rows(c) => (c, false, false),
        Stored::Onto(c) => (c.into(), false, true),
        Stored::Transposed(c) => (c, true, false),
    };
    let steps = k / a.taps;
    assert!(available() && k > 0 && steps * a.taps == k, "product: k is no multiple of the taps");
    assert_eq!(c.len(), n.segments * m * n.width, "product: C has another size");
    assert!((m - 1) * a.row + (steps - 1) * a.step + a.taps <= a.values.len(), "product: A is too small");
    assert!(!turned || n.segments == 1, "product: segments are not transposed");
    match plus {
        Plus::Rows(bias) => assert!(!onto && bias.len() == m, "product: the bias has another size"),
        Plus::Columns(bias) => assert!(!turned && !onto && bias.len() == n.width, "product: the bias has another size"),
        Plus::Nothing => {}
    }
    let small = m * vectors * LANES * k < SMALL;
    let groups = vectors.div_ceil(GROUP);
    let apart = groups >= TASKS || (vectors >= 2 * TASKS && vectors * LANES * k > LARGE);
    // Blocks of k of equal length, a multiple of the taps and, without any, of the vectors.
    let most = if apart { SHORT } else { BLOCK };
    let unit = if a.taps == 1 { LANES } else { a.taps };
    let block = k.div_ceil(k.div_ceil(most)).next_multiple_of(unit);
    let job = Job { c, turned, onto, m, k, n, a, plus, block };
    if apart {
        // Enough groups of columns: each task lays out its own.
        let groups = groups.next_multiple_of(TASKS);
        let group = |i: usize| part(0..vectors, groups, i);
        share(groups, small, |i| {
            let next = if i + 1 < groups { group(i + 1) } else { 0..0 };
            job.task(0..m, group(i), &Laid::Blocks(b, next));
        });
        return;
    }
    // Few columns: B is laid out once, and the rows are shared out.
    let group = |i: usize| part(0..vectors, groups, i);
    let mut laid = Scratch::new();
    let laid = laid.first(vectors * LANES * k);
    lay(b, (0..groups).flat_map(|i| panels(group(i))), (k, block), laid, small);
    let laid = &*laid;
    let unit = if turned { LANES } else { ROWS };
    let units = m.div_ceil(unit);
    let parts = (2 * TASKS).div_ceil(groups).min(units);
    share(parts * groups, small, |task| {
        let rows = part(0..units, parts, task / groups);
        let group = group(task % groups);
        let laid = &Laid::Whole(&laid[group.start * LANES * k..]);
        job.task(rows.start * unit..m.min(rows.end * unit), group, laid);
    });
}

/// The i-th of n parts of a range, which are as long as one another but for one.
pub(super) fn part(of: Range<usize>, n: usize, i: usize) -> Range<usize> {
    of.start + of.len() * i / n..of.start + of.len() * (i + 1) / n
}

/// The panels of a group.
fn panels(group: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let n = group.len().div_ceil(WIDE);
    (0..n).map(move |i| part(group.clone(), n, i))
}

/// Lays out all of B: for each panel all of k.
fn lay(
    b: &Right,
    panels: impl Iterator<Item = Range<usize>>,
    (k, block): (usize, usize),
    mut laid: &mut [f32],
    here: bool,
) {
    let mut pieces = Vec::new();
    for panel in panels {
        let width = panel.len() * LANES;
        let (values, rest) = laid.split_at_mut(width * k);
        laid = rest;
        pieces.extend(values.chunks_mut(width * block).enumerate().map(|(i, out)| (panel.clone(), i * block, out)));
    }
    let lay = |(panel, first, out): (Range<usize>, usize, &mut [f32])| b.lay(first..k.min(first + block), panel, out);
    if here {
        pieces.into_iter().for_each(lay);
    } else {
        pieces.into_par_iter().with_max_len(1).for_each(lay);
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
enum Laid<'a> {
    /// Laid out, for each panel all of k.
    Whole(&'a [f32]),
    /// Nowhere yet: the task lays out block by block. The next task has the vectors behind.
    Blocks(&'a Right<'a>, Range<usize>),
}

/// One product.
struct Job<'a> {
    c: Target<'a>,
    turned: bool,
    onto: bool,
    m: usize,
    k: usize,
    n: Columns,
    a: Left<'a>,
    plus: Plus<'a>,
    /// The length of a block of k.
    block: usize,
}

/// A block of k and what belongs to it.
struct Block<'a> {
    k: Range<usize>,
    /// The panels of the group, `length` values of k for each column, the block's from `skip` on.
    laid: &'a [f32],
    length: usize,
    skip: usize,
}

impl Job<'_> {
    /// The product of some rows and a group of columns.
    fn task(&self, rows: Range<usize>, group: Range<usize>, b: &Laid) {
        let width = group.len() * LANES;
        let (mut laid, mut sums) = (Scratch::new(), Scratch::new());
        let laid = laid.first(if matches!(b, Laid::Blocks(..)) { width * self.block } else { 0 });
        let sums = sums.first(if self.turned { rows.len() * width } else { 0 });
        for first in (0..self.k).step_by(self.block) {
            let k = first..self.k.min(first + self.block);
            match b {
                Laid::Whole(laid) => {
                    let block = Block { laid, length: self.k, skip: first, k };
                    self.block(rows.clone(), group.clone(), &block, sums, None);
                }
                Laid::Blocks(b, next) => {
                    for panel in panels(group.clone()) {
                        let at = (panel.start - group.start) * LANES * self.block;
                        let out = &mut laid[at..][..panel.len() * LANES * k.len()];
                        b.lay(k.clone(), panel, out);
                    }
                    let ahead = match k.end {
                        end if end < self.k => b.lines(end..self.k.min(end + self.block), group.clone()),
                        _ => b.lines(0..self.k.min(self.block), next.clone()),
                    };
                    let block = Block { laid, length: self.block, skip: 0, k };
                    self.block(rows.clone(), group.clone(), &block, sums, Some(ahead));
                }
            }
        }
        if self.turned {
            let (_, first, _) = self.n.of(group.start);
            for row in (0..rows.len()).step_by(LANES) {
                for column in (0..width).step_by(LANES) {
                    let counts = (LANES.min(rows.len() - row), LANES.min(self.n.width - first - column));
                    let out = (first + column) * self.m + rows.start + row;
                    let out = self.c.at(out, (counts.1 - 1) * self.m + counts.0);
                    // SAFETY: `product` found AVX-512; this part of C was measured, and no other task has it.
                    unsafe { turned_store(&sums[row * width + column..], width, counts, out, self.m) };
                }
            }
        }
    }

    /// What a block of k contributes to these rows and columns. What is asked for in advance are lines of B or, if there are
    /// none, the rows of A that come next.
    fn block(
        &self,
        rows: Range<usize>,
        group: Range<usize>,
        block: &Block,
        sums: &mut [f32],
        mut ahead: Option<Ahead>,
    ) {
        let (a, k) = (self.a, &block.k);
        let (steps, width) = (k.len() / a.taps, group.len() * LANES);
        let times = times(steps, a.taps) * group.len().div_ceil(WIDE);
        let lines = ahead.as_ref().map(|ahead| ahead.share(times * rows.len().div_ceil(ROWS)));
        let mut first = rows.start;
        while first < rows.end {
            let left = rows.end - first;
            let m = left.div_ceil(left.div_ceil(ROWS));
            let mut next = match (first + m < rows.end, k.end < self.k) {
                _ if ahead.is_some() => Ahead::NOTHING,
                (true, _) => a.lines(a.at(first + m, k.start), m, steps),
                (false, true) => a.lines(a.at(rows.start, k.end), m, steps),
                (false, false) => Ahead::NOTHING,
            };
            let lines = lines.unwrap_or(next.share(times));
            let ahead = ahead.as_mut().unwrap_or(&mut next);
            for panel in panels(group.clone()) {
                let (wide, column) = (panel.len(), (panel.start - group.start) * LANES);
                let columns: [_; WIDE] =
                    std::array::from_fn(|i| if i < wide { self.n.of(panel.start + i) } else { (0, 0, 0) });
                let (out, out_row, masks) = if self.turned {
                    let sums = &mut sums[(first - rows.start) * width + column..][..(m - 1) * width + wide * LANES];
                    let sums = sums.as_mut_ptr();
                    (std::array::from_fn(|i| sums.wrapping_add(i * LANES)), width, [u16::MAX; WIDE])
                } else {
                    let row = |segment: usize| (segment * self.m + first) * self.n.width;
                    let out = columns.map(|(segment, at, _)| self.c.first().wrapping_add(row(segment) + at));
                    (out, self.n.width, columns.map(|(_, _, n)| ((1u32 << n) - 1) as u16))
                };
                let begin = match self.plus {
                    _ if self.onto || k.start > 0 => Begin::Old,
                    Plus::Nothing => Begin::Zero,
                    Plus::Rows(bias) => Begin::Rows(&bias[first..first + m]),
                    Plus::Columns(bias) => Begin::Columns(columns.map(|(_, at, n)| &bias[at..at + n])),
                };
                let b = &block.laid[column * block.length + block.skip * wide * LANES..][..k.len() * wide * LANES];
                let (row, step) = (a.row, a.step);
                let tile = Tile { steps, a: a.at(first, k.start), row, step, b, out, out_row, masks, begin };
                // SAFETY: `product` found AVX-512 and measured A and C; the rows and columns of this tile lie inside them, no
                // other task has them, and the panel and the sums were measured above.
                unsafe { tile.run((m, wide, a.taps), ahead, lines) };
            }
            first += m;
        }
    }
}
