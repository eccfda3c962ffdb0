//! A head's rows as the operands of attention's blocks.
//!
//! In: q, k, v, y or dy [rows, heads · d]. Out: lines of words, on the left and on the right, of the rows
//! themselves or of their transposes; zeros where there is no row and behind a row's last value.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::attention::products::{Left, Products, Right, Vector};
use crate::cpu::accumulators::{BLOCK, TILE};
use crate::cpu::line_buffer::CacheLine;
use crate::shapes::AttentionShape;
use crate::simd::isa::{Isa, LANES, first_lanes};
use std::marker::PhantomData;

/// Blocks of 32 queries, and of keys, that are multiplied in one go.
pub(super) const GROUP: usize = 4;
/// Queries, and keys, of those.
pub(super) const CHUNK: usize = GROUP * BLOCK;

/// Lengths of what is packed.
#[derive(Clone, Copy)]
pub(super) struct Lengths<P> {
    /// Values of a head.
    pub d: usize,
    /// Lines of their words.
    pub row: usize,
    /// Tiles of 16 of them.
    pub tiles: usize,
    /// Blocks of 32 of them.
    pub blocks: usize,
    /// All keys, in whole blocks.
    pub keys: usize,
    of: PhantomData<P>,
}

impl<P: Products> Lengths<P> {
    /// Lines of the words of 32 values.
    pub(super) const BLOCK_LINES: usize = BLOCK / TILE / P::WORD;
    /// Lines of a chunk's words in a row, and lines on the right of a chunk's words.
    pub(super) const CHUNK_ROW: usize = GROUP * Self::BLOCK_LINES;
    pub(super) const CHUNK_WORDS: usize = CHUNK / P::WORD;

    pub(super) fn of(sizes: &AttentionShape) -> Self {
        let d = sizes.d;
        Self {
            d,
            row: d.div_ceil(TILE * P::WORD),
            tiles: d.div_ceil(TILE),
            blocks: d.div_ceil(BLOCK),
            keys: sizes.keys.next_multiple_of(BLOCK),
            of: PhantomData,
        }
    }

    /// Lines of so many rows, as rows, as columns, and across.
    pub(super) fn lines(&self, rows: usize) -> usize {
        rows * self.row
    }

    /// Lines of all keys' words on the right, as they are summed over.
    pub(super) fn summed(&self) -> usize {
        self.tiles * self.keys / P::WORD
    }

    /// The chunks of keys: where each begins, and its blocks.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (usize, usize)> + use<P> {
        let keys = self.keys;
        (0..keys).step_by(CHUNK).map(move |key| (key, (keys - key).div_ceil(BLOCK).min(GROUP)))
    }

    /// A block's rows on the left, and on the right, from row `first` on.
    pub(super) fn left<'a>(&self, lines: &'a [CacheLine], first: usize) -> Left<'a> {
        Left { lines: &lines[first * self.row..], row: self.row }
    }

    pub(super) fn right<'a>(&self, lines: &'a [CacheLine], first: usize) -> Right<'a> {
        Right { lines: &lines[first * self.row..], second: self.row * TILE }
    }
}

/// The rows of one sample's head in [rows, heads · d]; no values where there is no row.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    /// From the first row's first value on.
    values: &'a [f32],
    rows: usize,
    width: usize,
    pub d: usize,
}

/// Writes a line.
#[inline(always)]
pub(super) fn put<S: Isa>(isa: S, line: &mut CacheLine, words: S::F32) {
    // SAFETY: a line is 16 words, and any bits are numbers.
    unsafe { isa.store(line.0.as_mut_ptr().cast(), words) };
}

impl<'a> Head<'a> {
    /// Of sample and head `i` of a tensor of `rows` rows a sample.
    pub(super) fn new(sizes: &AttentionShape, t: &'a [f32], i: usize, rows: usize) -> Self {
        let (sample, head) = (i / sizes.heads, i % sizes.heads);
        let values = &t[sample * rows * sizes.width()..][..rows * sizes.width()];
        let values = values.get(head * sizes.d..).unwrap_or_default();
        assert!(rows == 0 || (rows - 1) * sizes.width() + sizes.d <= values.len(), "attention: a head is too short");
        Self { values, rows, width: sizes.width(), d: sizes.d }
    }

    /// Vector `n` of row `i`.
    #[inline(always)]
    pub(super) fn vector<S: Isa>(&self, isa: S, i: usize, n: usize) -> S::F32 {
        if i >= self.rows || n * LANES >= self.d {
            return isa.zero();
        }
        let at = self.values.as_ptr().wrapping_add(i * self.width + n * LANES);
        // SAFETY: the row is there, as was measured, and what is loaded is among its d values.
        unsafe {
            if (n + 1) * LANES <= self.d {
                isa.load(at)
            } else {
                isa.load_or(isa.zero(), first_lanes(self.d - n * LANES), at)
            }
        }
    }

    /// Line `n` of row `i`'s words.
    #[inline(always)]
    fn words<P: Products>(&self, p: P, i: usize, n: usize) -> Vector<P> {
        p.row([self.vector(p.isa(), i, n * P::WORD), self.vector(p.isa(), i, n * P::WORD + 1)])
    }

    /// The words of 16 columns from vector `n` on, of the rows from `i` on.
    #[inline(always)]
    fn column_words<P: Products>(&self, p: P, i: usize, n: usize) -> Vector<P> {
        p.columns([self.vector(p.isa(), i, n), self.vector(p.isa(), i + 1, n)])
    }

    /// Rows from `first` on, on the left.
    pub(super) fn pack_rows<P: Products>(&self, p: P, first: usize, row: usize, out: &mut [CacheLine]) {
        p.run(
            #[inline(always)]
            || {
                for (i, out) in out.chunks_exact_mut(row).enumerate() {
                    for (n, out) in out.iter_mut().enumerate() {
                        put(p.isa(), out, self.words(p, first + i, n));
                    }
                }
            },
        );
    }

    /// Rows from `first` on as columns on the right.
    pub(super) fn pack_columns<P: Products>(&self, p: P, first: usize, row: usize, out: &mut [CacheLine]) {
        p.run(
            #[inline(always)]
            || {
                for (tile, out) in out.chunks_exact_mut(row * TILE).enumerate() {
                    for (n, out) in out.chunks_exact_mut(TILE).enumerate() {
                        let mut rows = [p.isa().zero(); TILE];
                        for (i, words) in rows.iter_mut().enumerate() {
                            *words = self.words(p, first + tile * TILE + i, n);
                        }
                        for (out, column) in out.iter_mut().zip(&p.isa().transpose(&rows)) {
                            put(p.isa(), out, *column);
                        }
                    }
                }
            },
        );
    }

    /// All rows on the right, for sums over them: for each 16 values, for each word of rows a line.
    pub(super) fn pack_summed<P: Products>(&self, p: P, keys: usize, out: &mut [CacheLine]) {
        p.run(
            #[inline(always)]
            || {
                for (n, out) in out.chunks_exact_mut(keys / P::WORD).enumerate() {
                    for (word, out) in out.iter_mut().enumerate() {
                        put(p.isa(), out, self.column_words(p, word * P::WORD, n));
                    }
                }
            },
        );
    }

    /// Rows from `first` on as columns on the left, for sums over them: for each value `lines` lines of
    /// the rows' words. What would stand behind the last value may be multiplied, but no result reads it.
    pub(super) fn pack_across<P: Products>(&self, p: P, first: usize, lines: usize, out: &mut [CacheLine]) {
        p.run(
            #[inline(always)]
            || {
                for (n, out) in out.chunks_exact_mut(TILE * lines).enumerate().take(self.d.div_ceil(TILE)) {
                    for line in 0..lines {
                        let mut rows = [p.isa().zero(); TILE];
                        for (i, words) in rows.iter_mut().enumerate() {
                            *words = self.column_words(p, first + (line * TILE + i) * P::WORD, n);
                        }
                        for (i, column) in p.isa().transpose(&rows).iter().enumerate() {
                            put(p.isa(), &mut out[i * lines + line], *column);
                        }
                    }
                }
            },
        );
    }
}
