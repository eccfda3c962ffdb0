//! Activations, rounded to bf16 in the order in which tiles read them; and the interleaved pairs of
//! a weight's rows.
//!
//! In: slices of f32, or a packed weight's block. Out: lines of bf16 pairs.
#![expect(
    unsafe_code,
    reason = "vector instructions are called by name, on pointers into slices whose sizes are checked"
)]

use crate::cpu::accumulators::{BLOCK, TILE};
use crate::cpu::line_buffer::{CacheLine, LineBuffer, ZERO_LINE};
use crate::gemm_bf16::grid::Grid;
use crate::gemm_bf16::packed_weight::{LINES, PackedBf16};
use crate::simd::isa::{Isa, first_lanes};
use crate::simd::{Avx512, Avx512Bf16};
use rayon::prelude::*;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtne2ps_pbh, _mm512_load_si512, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_maskz_loadu_ps, _mm512_permutex2var_epi16, _mm512_permutexvar_epi16, _mm512_setzero_ps,
};
use std::mem::transmute;

/// Lines of a plane whose distance is a multiple of this many would fall on the same few places of
/// a cache.
const ALIAS: usize = 64;

/// Images [S, C, H, W] with pairs of channels interleaved: for each pair a plane of one pair a
/// position, of whole lines. Returns the lines of a plane.
pub(super) fn planes(_: Avx512Bf16, buffer: &mut LineBuffer, x: &[f32], channels: usize, grid: &Grid) -> usize {
    let mut plane = grid.length().div_ceil(TILE);
    if plane.is_multiple_of(ALIAS) {
        plane += 1;
    }
    let pixels = grid.height * grid.width;
    assert_eq!(x.len(), grid.samples * channels * pixels, "gemm_bf16: the images have another size");
    let lines = buffer.first(plane * channels / 2);
    lines.par_chunks_exact_mut(plane).enumerate().for_each(|(pair, plane)| {
        plane.fill(ZERO_LINE);
        // SAFETY: a line is 16 numbers without padding, and any bits are numbers.
        let plane = unsafe { std::slice::from_raw_parts_mut(plane.as_mut_ptr().cast::<u32>(), plane.len() * TILE) };
        for sample in 0..grid.samples {
            let first = &x[(sample * channels + 2 * pair) * pixels..][..2 * pixels];
            let (even, odd) = first.split_at(pixels);
            for row in 0..grid.height {
                let out = &mut plane[grid.margin() + sample * grid.image() + row * grid.pitch()..][..grid.width];
                let (even, odd) = (&even[row * grid.width..][..grid.width], &odd[row * grid.width..][..grid.width]);
                // SAFETY: `simd` is a witness of the instructions; all three have the same length.
                unsafe { interleave(even, odd, out) };
            }
        }
    });
    plane
}

/// Pairs of the rounded values of two rows.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn interleave(even: &[f32], odd: &[f32], out: &mut [u32]) {
    for ((even, odd), out) in even.chunks(TILE).zip(odd.chunks(TILE)).zip(out.chunks_mut(TILE)) {
        let pairs = pack_pairs(load_padded(even), load_padded(odd));
        // SAFETY: the mask holds the store to the chunk.
        unsafe {
            std::arch::x86_64::_mm512_mask_storeu_epi32(out.as_mut_ptr().cast(), first_lanes(out.len()), pairs);
        }
    }
}

/// Up to 16 values, zeros behind them.
#[target_feature(enable = "avx512f")]
#[inline]
fn load_padded(values: &[f32]) -> __m512 {
    // SAFETY: the mask holds the load to the slice.
    unsafe { _mm512_maskz_loadu_ps(first_lanes(values.len().min(TILE)), values.as_ptr()) }
}

/// Of two halves of 16 values of 16 bits the values in turn.
const IN_TURN: [u16; BLOCK] = {
    let mut places = [0; BLOCK];
    let mut i = 0;
    while i < BLOCK {
        places[i] = (i / 2 + i % 2 * TILE) as u16;
        i += 1;
    }
    places
};

/// 16 pairs of rounded values.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
pub(crate) fn pack_pairs(even: __m512, odd: __m512) -> __m512i {
    // SAFETY: 32 numbers of 16 bits are 512 bits.
    let places = unsafe { _mm512_loadu_si512(IN_TURN.as_ptr().cast()) };
    _mm512_permutexvar_epi16(places, pack_row(even, odd))
}

/// Images [S, C, h, w] as rows of channels, one row of C / 32 lines for each position of `grid`,
/// whose images are `stride` times as high and wide; what lies between their pixels is zero.
pub(super) fn positions(
    _: Avx512Bf16,
    buffer: &mut LineBuffer,
    dy: &[f32],
    channels: usize,
    grid: &Grid,
    (height, width): (usize, usize),
    stride: usize,
) {
    let row = channels / BLOCK;
    let pixels = height * width;
    assert_eq!(dy.len(), grid.samples * channels * pixels, "gemm_bf16: the images have another size");
    let lines = buffer.first(grid.length() * row);
    let (margin, rest) = lines.split_at_mut(grid.margin() * row);
    margin.fill(ZERO_LINE);
    rest.par_chunks_mut(grid.pitch() * row).enumerate().for_each(|(number, lines)| {
        let (sample, y) = (number / (grid.height + grid.border), number % (grid.height + grid.border));
        if grid.border > 0 || stride > 1 || sample >= grid.samples || lines.len() < grid.pitch() * row {
            lines.fill(ZERO_LINE);
        }
        if sample >= grid.samples || y >= grid.height || !y.is_multiple_of(stride) {
            return;
        }
        for block in 0..row {
            let of = |channel: usize| {
                &dy[(sample * channels + block * BLOCK + channel) * pixels + y / stride * width..][..width]
            };
            for first in (0..width).step_by(TILE) {
                let n = TILE.min(width - first);
                // SAFETY: `simd` is a witness of the instructions.
                let transposed = unsafe {
                    transposed(|pair| {
                        (load_padded(&of(2 * pair)[first..first + n]), load_padded(&of(2 * pair + 1)[first..first + n]))
                    })
                };
                for (i, line) in transposed.iter().take(n).enumerate() {
                    lines[(first + i) * stride * row + block] = *line;
                }
            }
        }
    });
}

/// 16 rows of 16 pairs, as 16 columns.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn transposed(of: impl Fn(usize) -> (__m512, __m512)) -> [CacheLine; TILE] {
    let rows = std::array::from_fn(|pair| {
        let (even, odd) = of(pair);
        _mm512_castsi512_ps(pack_pairs(even, odd))
    });
    let columns = Avx512::here().transpose(&rows);
    std::array::from_fn(|i| to_line(_mm512_castps_si512(columns[i])))
}

/// The line of these bits.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn to_line(bits: __m512i) -> CacheLine {
    // SAFETY: a line is 512 bits, any of which are numbers.
    unsafe { transmute(bits) }
}

/// 32 values, rounded.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn rounded(values: &[f32]) -> __m512i {
    let values = &values[..BLOCK];
    // SAFETY: 32 values are there.
    let (low, high) = unsafe { (_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(TILE))) };
    pack_row(low, high)
}

/// Twice 16 values, rounded.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
pub(crate) fn pack_row(low: __m512, high: __m512) -> __m512i {
    // SAFETY: 32 bf16 are 512 bits, whatever they are called.
    unsafe { transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Rows x [m, k] as columns: for each 16 of them k / 2 lines, a pair of each row in a line. An even
/// number of tiles; missing rows are zeros.
pub(super) fn columns(_: Avx512Bf16, buffer: &mut LineBuffer, x: &[f32], (m, k): (usize, usize)) {
    assert_eq!(x.len(), m * k, "gemm_bf16: the rows have another size");
    let lines = buffer.first(m.div_ceil(TILE).next_multiple_of(2) * k / 2);
    lines.par_chunks_exact_mut(k / 2).enumerate().for_each(|(tile, lines)| {
        for (step, lines) in lines.chunks_exact_mut(TILE).enumerate() {
            let row =
                |i: usize| x.get((tile * TILE + i) * k + step * BLOCK..(tile * TILE + i) * k + (step + 1) * BLOCK);
            // SAFETY: `simd` is a witness of the instructions.
            unsafe { columns_of(row, lines) };
        }
    });
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn columns_of<'a>(row: impl Fn(usize) -> Option<&'a [f32]>, lines: &mut [CacheLine]) {
    let rows = std::array::from_fn(|i| row(i).map_or(_mm512_setzero_ps(), |row| _mm512_castsi512_ps(rounded(row))));
    for (out, column) in lines.iter_mut().zip(&Avx512::here().transpose(&rows)) {
        *out = to_line(_mm512_castps_si512(*column));
    }
}

/// Rows dy [m, n], rounded, n / 32 lines each; missing rows up to a multiple of 32 are zeros.
pub(super) fn rows(_: Avx512Bf16, buffer: &mut LineBuffer, dy: &[f32], (m, n): (usize, usize)) {
    assert_eq!(dy.len(), m * n, "gemm_bf16: the rows have another size");
    let lines = buffer.first(m.next_multiple_of(BLOCK) * n / BLOCK);
    let (lines, missing) = lines.split_at_mut(m * n / BLOCK);
    missing.fill(ZERO_LINE);
    lines.par_chunks_mut(n / BLOCK).zip(dy.par_chunks_exact(n)).with_min_len(8).for_each(|(lines, row)| {
        // SAFETY: `simd` is a witness of the instructions.
        unsafe { row_of(row, lines) };
    });
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn row_of(row: &[f32], lines: &mut [CacheLine]) {
    for (values, out) in row.chunks_exact(BLOCK).zip(lines) {
        *out = to_line(rounded(values));
    }
}

/// A weight's block of inputs as the right operand: for each block of outputs and tap two tiles, of
/// 16 inputs each, whose lines hold a pair of outputs for each input.
pub(super) fn interleaved(buffer: &mut LineBuffer, weight: &PackedBf16, input: usize) {
    let taps = weight.taps();
    let out = buffer.first(weight.output_blocks() * taps * LINES);
    for (output, out) in out.chunks_exact_mut(taps * LINES).enumerate() {
        let first = weight.block(output, input, 0);
        let blocks = &weight.lines[first..first + taps * LINES];
        // SAFETY: `simd` is a witness of the instructions.
        unsafe { interleave_lines(blocks, out) };
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn interleave_lines(blocks: &[CacheLine], out: &mut [CacheLine]) {
    let index = |first: u16| -> __m512i {
        let at: [u16; BLOCK] = std::array::from_fn(|i| (i as u16 / 2 + first) | (i as u16 % 2) << 5);
        // SAFETY: 32 numbers of 16 bits are 512 bits.
        unsafe { transmute(at) }
    };
    let (low, high) = (index(0), index(TILE as u16));
    for (block, out) in blocks.chunks_exact(LINES).zip(out.chunks_exact_mut(LINES)) {
        let (first, second) = out.split_at_mut(TILE);
        for ((pair, first), second) in block.chunks_exact(2).zip(first).zip(second) {
            // SAFETY: a line is aligned to its 64 bytes.
            let [a, b] = [&pair[0], &pair[1]].map(|l| unsafe { _mm512_load_si512(l.0.as_ptr().cast()) });
            *first = to_line(_mm512_permutex2var_epi16(a, low, b));
            *second = to_line(_mm512_permutex2var_epi16(a, high, b));
        }
    }
}
