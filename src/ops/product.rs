//! The matrix products of convolutions and linear maps, in f32 with AVX-512: C = A · B, over C, or with a bias.
//!
//! A [m, k] is read where it lies, an element at a time, each spread over a vector; B [k, n] is laid out block by block in
//! panels of 32 columns (`Right`: rows, transposed rows or patches of a picture), so a weight is never copied whole. A tile
//! of 14 rows and 32 columns of C stays in registers while a block of k passes. C and B may consist of segments (the samples
//! of a batch), whose columns are side by side. Blocks depend on the shapes alone, so each number is summed in one order,
//! whatever the number of threads. The blocking follows Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication" (2008).
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use super::host::Scratch;
use super::pack::Right;
use super::target::Target;
use rayon::prelude::*;
use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
};
use std::ops::Range;

/// Values in a vector.
pub(super) const LANES: usize = 16;
/// Columns of a panel: two vectors.
pub(super) const PANEL: usize = 2 * LANES;
/// Rows of a tile at most: with two vectors of columns, 28 sums, two columns' and one row's register are in use.
const ROWS: usize = 14;
/// The length of a block of k at most: a tile's rows of A stay in the nearest cache.
const BLOCK: usize = 576;
/// Vectors of columns in a group: with `BLOCK`, a part of B that stays in the second cache.
const GROUP: usize = 8;
/// Pieces of work at least, where there is enough to share out.
const TASKS: usize = 8;
/// Products of fewer multiplications are left to one thread: to wake the others would take as long.
const SMALL: usize = 1 << 19;

/// Whether this processor has the instructions.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
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
}

/// Where the 16 values of the `row`-th of the rows and the `vector`-th of the vectors go, with panels of `panel` values.
#[inline]
pub(super) fn place(row: usize, vector: usize, panel: usize) -> usize {
    vector / 2 * panel + row * PANEL + vector % 2 * LANES
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

/// What is added to the product.
#[derive(Clone, Copy)]
pub(super) enum Plus<'a> {
    /// Nothing.
    Nothing,
    /// The value of each row.
    Rows(&'a [f32]),
    /// The value of each column, the same for all segments.
    Columns(&'a [f32]),
    /// What stands in C.
    Old,
}

/// C = A · B + `plus`, with A [m, k], B [k, n]. C is segments of row-major [m, width], one behind the other.
///
/// # Panics
/// If an operand does not hold what the sizes say, which is a fault of the calling operation.
pub(super) fn product(c: &mut [f32], (m, k): (usize, usize), n: Columns, a: Left, b: &Right, plus: Plus) {
    let vectors = n.segments * n.each();
    if m * vectors == 0 {
        return;
    }
    let steps = k / a.taps;
    assert!(available() && k > 0 && steps * a.taps == k, "product: k is no multiple of the taps");
    assert_eq!(c.len(), n.segments * m * n.width, "product: C has another size");
    assert!((m - 1) * a.row + (steps - 1) * a.step + a.taps <= a.values.len(), "product: A is too small");
    match plus {
        Plus::Rows(bias) => assert_eq!(bias.len(), m, "product: the bias has another size"),
        Plus::Columns(bias) => assert_eq!(bias.len(), n.width, "product: the bias has another size"),
        Plus::Nothing | Plus::Old => {}
    }
    // Blocks of k of equal length, a multiple of the taps and, without any, of the vectors.
    let unit = if a.taps == 1 { LANES } else { a.taps };
    let block = k.div_ceil(k.div_ceil(BLOCK)).next_multiple_of(unit);
    let small = m * vectors * LANES * k < SMALL;
    let job = Job { c: Target::of(c), m, k, n, a, plus };
    let groups = vectors.div_ceil(GROUP);
    if groups >= TASKS {
        // Enough groups of columns: each task lays out its own.
        share(groups, small, |group| {
            let vectors = group * GROUP..vectors.min((group + 1) * GROUP);
            let panel = block * PANEL;
            let mut laid = Scratch::new();
            let laid = laid.first(vectors.len().div_ceil(2) * panel);
            for first in (0..k).step_by(block) {
                let k = first..k.min(first + block);
                b.lay(k.clone(), vectors.clone(), panel, laid);
                job.block(0..m, k, vectors.clone(), laid, panel);
            }
        });
        return;
    }
    // Few columns: B is laid out once, and the rows are shared out.
    let blocks = k.div_ceil(block);
    let panel = blocks * block * PANEL;
    let mut laid = Scratch::new();
    let laid = laid.first(vectors.div_ceil(2) * panel);
    let lay = |(part, out): (usize, &mut [f32])| {
        let (pair, first) = (part / blocks, part % blocks * block);
        b.lay(first..k.min(first + block), 2 * pair..vectors.min(2 * pair + 2), block * PANEL, out);
    };
    if small {
        laid.chunks_mut(block * PANEL).enumerate().for_each(lay);
    } else {
        laid.par_chunks_mut(block * PANEL).enumerate().with_max_len(1).for_each(lay);
    }
    let laid = &*laid;
    let tiles = m.div_ceil(ROWS);
    let parts = (2 * TASKS).div_ceil(groups).min(tiles);
    share(parts * groups, small, |task| {
        let (part, group) = (task / groups, task % groups);
        let rows = |part: usize| m.min((tiles * part / parts) * ROWS);
        let vectors = group * GROUP..vectors.min((group + 1) * GROUP);
        for first in (0..k).step_by(block) {
            let laid = &laid[group * GROUP / 2 * panel + first * PANEL..];
            job.block(rows(part)..rows(part + 1), first..k.min(first + block), vectors.clone(), laid, panel);
        }
    });
}

/// Shares tasks out over all threads, or does them here.
fn share(tasks: usize, here: bool, task: impl Fn(usize) + Sync + Send) {
    if here {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// One product.
struct Job<'a> {
    c: Target<'a>,
    m: usize,
    k: usize,
    n: Columns,
    a: Left<'a>,
    plus: Plus<'a>,
}

impl Job<'_> {
    /// The part of the product that block `k` contributes to these rows and vectors, whose panels begin in `laid`.
    fn block(&self, rows: Range<usize>, k: Range<usize>, vectors: Range<usize>, laid: &[f32], panel: usize) {
        let a = self.a;
        let values = a.values.as_ptr();
        let steps = k.len() / a.taps;
        let at = |row: usize, k: usize| values.wrapping_add(row * a.row + k / a.taps * a.step);
        assert!(
            laid.len() >= (vectors.len().div_ceil(2) - 1) * panel + k.len() * PANEL,
            "product: a panel is too small"
        );
        let mut first = rows.start;
        while first < rows.end {
            let left = rows.end - first;
            let m = left.div_ceil(left.div_ceil(ROWS));
            let ahead = if first + m < rows.end { at(first + m, k.start) } else { at(rows.start, k.end) };
            let last = first + m == rows.end && k.end == self.k;
            for vector in vectors.clone().step_by(2) {
                let fetch = vector + 2 >= vectors.end && !last;
                let pair = [vector, vector + 1];
                let count = 2.min(vectors.end - vector);
                let columns = pair.map(|v| if v < vectors.end { self.n.of(v) } else { (0, 0, 0) });
                let out = columns.map(|(segment, column, _)| {
                    self.c.first().wrapping_add(segment * self.m * self.n.width + first * self.n.width + column)
                });
                let tile = Tile {
                    steps,
                    a: at(first, k.start),
                    row: a.row,
                    step: a.step,
                    ahead: if fetch { Some(ahead) } else { None },
                    b: &laid[(vector - vectors.start) / 2 * panel..],
                    out,
                    out_row: self.n.width,
                    masks: columns.map(|(_, _, columns)| ((1u32 << columns) - 1) as u16),
                };
                let begin = match self.plus {
                    _ if k.start > 0 => Begin::Old,
                    Plus::Nothing => Begin::Zero,
                    Plus::Old => Begin::Old,
                    Plus::Rows(bias) => Begin::Rows(&bias[first..first + m]),
                    Plus::Columns(bias) => Begin::Columns(columns.map(|(_, column, n)| &bias[column..column + n])),
                };
                // SAFETY: `product` found AVX-512 and measured A and C; the rows and columns of this tile lie inside them, no
                // other task has them, and the panel was measured above.
                unsafe { tile.run(m, count, a.taps, begin) };
            }
            first += m;
        }
    }
}

/// What the sums of a tile begin with.
#[derive(Clone, Copy)]
enum Begin<'a> {
    Zero,
    Old,
    Rows(&'a [f32]),
    Columns([&'a [f32]; 2]),
}

/// A few rows and one or two vectors of columns, for a block of k.
struct Tile<'a> {
    steps: usize,
    a: *const f32,
    row: usize,
    step: usize,
    /// The rows of A that are needed next.
    ahead: Option<*const f32>,
    b: &'a [f32],
    out: [*mut f32; 2],
    out_row: usize,
    masks: [u16; 2],
}

/// `Tile::sum` for the number of rows of this moment.
macro_rules! sum_of_rows {
    ($m:expr, $vectors:literal, $taps:literal, $tile:expr, $begin:expr) => {
        match $m {
            1 => $tile.sum::<1, $vectors, $taps>($begin),
            2 => $tile.sum::<2, $vectors, $taps>($begin),
            3 => $tile.sum::<3, $vectors, $taps>($begin),
            4 => $tile.sum::<4, $vectors, $taps>($begin),
            5 => $tile.sum::<5, $vectors, $taps>($begin),
            6 => $tile.sum::<6, $vectors, $taps>($begin),
            7 => $tile.sum::<7, $vectors, $taps>($begin),
            8 => $tile.sum::<8, $vectors, $taps>($begin),
            9 => $tile.sum::<9, $vectors, $taps>($begin),
            10 => $tile.sum::<10, $vectors, $taps>($begin),
            11 => $tile.sum::<11, $vectors, $taps>($begin),
            12 => $tile.sum::<12, $vectors, $taps>($begin),
            13 => $tile.sum::<13, $vectors, $taps>($begin),
            _ => $tile.sum::<ROWS, $vectors, $taps>($begin),
        }
    };
}

impl Tile<'_> {
    /// # Safety
    /// AVX-512 is there; `a` has `m` rows of `steps` steps, `out` as many rows of the vectors' columns, and `b` a panel.
    #[target_feature(enable = "avx512f")]
    unsafe fn run(&self, m: usize, vectors: usize, taps: usize, begin: Begin) {
        // SAFETY: the caller's.
        unsafe {
            match (vectors, taps) {
                (1, 1) => sum_of_rows!(m, 1, 1, self, begin),
                (_, 1) => sum_of_rows!(m, 2, 1, self, begin),
                (1, _) => sum_of_rows!(m, 1, 9, self, begin),
                (_, _) => sum_of_rows!(m, 2, 9, self, begin),
            }
        }
    }

    /// M rows, N vectors of columns, steps of T taps.
    ///
    /// # Safety
    /// As [`Tile::run`].
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn sum<const M: usize, const N: usize, const T: usize>(&self, begin: Begin) {
        let mut sums = [[_mm512_setzero_ps(); N]; M];
        let (mut a, mut b, mut ahead) = (self.a, self.b.as_ptr(), self.ahead);
        let mut left = self.steps;
        // SAFETY: the caller's; fetching in advance may name any address.
        unsafe {
            while left > 0 {
                // As many steps as a row's cache line has values.
                let now = if T == 1 { left.min(LANES) } else { 1 };
                if let Some(at) = &mut ahead {
                    self.fetch::<M, T>(*at, now);
                    *at = at.wrapping_add(now * self.step);
                }
                for _ in 0..now {
                    for tap in 0..T {
                        let columns: [__m512; N] = std::array::from_fn(|j| _mm512_loadu_ps(b.add(j * LANES)));
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let a = _mm512_set1_ps(*a.add(i * self.row + T - 1 - tap));
                            for (sum, column) in sums.iter_mut().zip(columns) {
                                *sum = _mm512_fmadd_ps(a, column, *sum);
                            }
                        }
                        b = b.wrapping_add(PANEL);
                    }
                    a = a.wrapping_add(self.step);
                }
                left -= now;
            }
            for (i, sums) in sums.into_iter().enumerate() {
                for (j, sum) in sums.into_iter().enumerate() {
                    let (at, mask) = (self.out[j].wrapping_add(i * self.out_row), self.masks[j]);
                    let sum = match begin {
                        Begin::Zero => sum,
                        Begin::Old => _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at)),
                        Begin::Rows(bias) => _mm512_add_ps(sum, _mm512_set1_ps(bias[i])),
                        Begin::Columns(bias) => _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, bias[j].as_ptr())),
                    };
                    _mm512_mask_storeu_ps(at, mask, sum);
                }
            }
        }
    }

    /// Asks for what the next tile reads of A in `steps` steps from `at` on.
    #[inline(always)]
    fn fetch<const M: usize, const T: usize>(&self, at: *const f32, steps: usize) {
        let (lines, apart) = match (T, self.step) {
            (1, 1) => (M, self.row),
            (1, step) => (steps, step),
            _ => ((M * T).div_ceil(LANES), LANES),
        };
        for line in 0..lines {
            // SAFETY: a fetch reads nothing that the program sees, and may name any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line * apart).cast()) };
        }
    }
}
