//! Pixels as F(4x4, 3x3) multiplies them: Bᵀ d B, 16 tiles at a time.
//!
//! In: images. Out: their 36 planes.
//!
//! Plane 6 i + j holds element (i, j).
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::conv2d::winograd::batched_gemm::{STEPS, place};
use crate::conv2d::winograd::tiling::{INPUT_TILE, OUTPUT_TILE, PLANES, Tiling};
use crate::conv2d::winograd::transforms::{apply_bt, both_sides};
use crate::cpu::buffer::Scratch;
use crate::simd::isa::{Isa, LANES, first_lanes, load_pieces, with_count};
use std::ops::Range;

/// Lines of a row of tiles: each row of pixels is split into every fourth.
const LINES: usize = INPUT_TILE * OUTPUT_TILE;
/// Channels whose pixels are split before the first is transformed: what was just stored cannot be
/// loaded at once in other pieces.
const BATCH: usize = 4;

impl Tiling {
    /// Transforms the pixels of some tiles, from a multiple of 16 on, in channels `some` of
    /// `channels`. For each vector of 16 tiles `out` gets `vector` values: for each of eight
    /// channels, the planes one after the other.
    #[inline(always)]
    pub(super) fn transform_input<S: Isa>(
        &self,
        isa: S,
        x: &[f32],
        (channels, some): (usize, Range<usize>),
        tiles: Range<usize>,
        out: &mut [f32],
        vector: usize,
    ) {
        let ((top, left), (bottom, right)) = (self.place(tiles.start), self.place(tiles.end - 1));
        let columns = if top == bottom { left..right + 1 } else { 0..self.across };
        let pitch = columns.len() + 1;
        let length = (bottom - top + 1) * LINES * pitch + LANES;
        let (mut lines, plane) = (Scratch::new(), STEPS * LANES);
        let lines = lines.first(BATCH * length);
        for first in some.clone().step_by(BATCH) {
            let batch = first..some.end.min(first + BATCH);
            for (channel, lines) in batch.clone().zip(lines.chunks_exact_mut(length)) {
                self.split(isa, x, (channels, channel), top..bottom + 1, columns.start, lines, pitch);
            }
            for (first, out) in tiles.clone().step_by(LANES).zip(out.chunks_exact_mut(vector)) {
                let places: [i32; LANES] = std::array::from_fn(|lane| {
                    let tile = first + lane;
                    let (row, column) = self.place(if tile < tiles.end { tile } else { first });
                    ((row - top) * LINES * pitch + column - columns.start) as i32
                });
                for (channel, lines) in batch.clone().zip(lines.chunks_exact(length)) {
                    let out = &mut out[place(channel - some.start, LANES)..][..(PLANES - 1) * plane + LANES];
                    // SAFETY: the places and all lines from each of them on lie inside `lines`, all
                    // planes inside `out`.
                    unsafe {
                        with_count!(self.run, LANES, RUN in [1 2 4 8 16] =>
                            transform::<S, { LANES / RUN }>(isa, lines, &places, pitch, out, plane));
                    }
                }
            }
        }
    }

    /// The pixels under rows of tiles in one channel: for each row of tiles six rows of pixels,
    /// each split into four lines.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a witness, sizes and slices")]
    fn split<S: Isa>(
        &self,
        isa: S,
        x: &[f32],
        (channels, channel): (usize, usize),
        rows: Range<usize>,
        first: usize,
        lines: &mut [f32],
        pitch: usize,
    ) {
        let (height, width) = (self.of.height, self.of.width);
        for (row, lines) in rows.zip(lines.chunks_exact_mut(LINES * pitch)) {
            let (sample, y) = (row / self.down, row % self.down * OUTPUT_TILE);
            let image = &x[(sample * channels + channel) * height * width..][..height * width];
            for (i, lines) in lines.chunks_exact_mut(OUTPUT_TILE * pitch).enumerate() {
                if y + i == 0 || y + i > height {
                    lines.fill(0.0);
                } else {
                    split(isa, &image[(y + i - 1) * width..][..width], first, lines, pitch);
                }
            }
        }
    }
}

/// Every fourth pixel: line s has those at 4 q + s - 1 for the tiles q from `first` on; 0 outside
/// of the row.
#[inline(always)]
fn split<S: Isa>(isa: S, row: &[f32], first: usize, lines: &mut [f32], pitch: usize) {
    assert_eq!(lines.len(), OUTPUT_TILE * pitch, "winograd: four lines are equally long");
    // The last is most often all that a vector more would hold.
    let n = pitch - 1;
    for (s, line) in lines.chunks_exact_mut(pitch).enumerate() {
        line[n] = row.get((OUTPUT_TILE * (first + n) + s).wrapping_sub(1)).copied().unwrap_or(0.0);
    }
    for q in (0..n).step_by(LANES) {
        // The first pixel of four vectors, which stands one before the row for the first tile.
        let at = OUTPUT_TILE * (first + q);
        let skip = u64::from(at == 0);
        let inside = (row.len() + 1).saturating_sub(at).min(OUTPUT_TILE * LANES);
        let bits = ((1u128 << inside) - 1) as u64 & !skip;
        let from = row.as_ptr().wrapping_add(at).wrapping_sub(1);
        let mask = first_lanes((n - q).min(LANES));
        // SAFETY: the masks admit what lies in the row and in the lines.
        unsafe {
            let mut pixels = [isa.zero(); OUTPUT_TILE];
            for (i, pixels) in pixels.iter_mut().enumerate() {
                *pixels = isa.load_or(isa.zero(), (bits >> (i * LANES)) as u16, from.wrapping_add(i * LANES));
            }
            for (s, pixels) in isa.every_fourth(pixels).into_iter().enumerate() {
                isa.store_masked(lines[s * pitch + q..].as_mut_ptr(), mask, pixels);
            }
        }
    }
}

/// # Safety
/// There are 16 values on all lines from the places on, and all planes in `out`.
#[inline(always)]
unsafe fn transform<S: Isa, const P: usize>(
    isa: S,
    lines: &[f32],
    places: &[i32; LANES],
    pitch: usize,
    out: &mut [f32],
    plane: usize,
) {
    // Line s of every fourth pixel has those of column s and, one further on, of column s + 4.
    let line = |i: usize, j: usize| (i * OUTPUT_TILE + j % OUTPUT_TILE) * pitch + j / OUTPUT_TILE;
    both_sides(
        isa,
        #[inline(always)]
        |column| apply_bt(isa, column),
        #[inline(always)]
        |i, j| {
            // SAFETY: all lines are there from the places on, says the caller.
            unsafe {
                let at = lines.as_ptr().add(line(i, j));
                match P {
                    LANES => isa.gather(at, places),
                    _ => load_pieces::<S, P>(isa, |piece| at.add(places[piece * LANES / P] as usize)),
                }
            }
        },
        #[inline(always)]
        // SAFETY: all planes are there, says the caller.
        |i, j, value| unsafe { isa.store(out.as_mut_ptr().add((INPUT_TILE * i + j) * plane), value) },
    );
}
