//! Attention in blocks: 32 queries and 32 keys at a time, whose scores stay in the nearest cache.
//!
//! In: q, k, v, and for backward y, dy and what forward returned, as slices. Out: y and for each
//! query the logarithm of its weights' sum; or the gradients; all in f32.
//!
//! Forward a query is a column, so that its softmax is taken lane by lane, and its probabilities
//! are what the next product reads: yᵀ is the sum of vᵀ times probabilities over some keys at a time,
//! scaled whenever a larger score comes up (Milakov and Gimelshein 2018, Dao et al. 2022). Backward a
//! query is a row, whose probabilities and their gradients' mean follow from forward's results at
//! once (Dao 2023). The gradients of k and v are summed as their transposes, over four query blocks at
//! a time, so that the scores' gradients are never transposed. Queries and keys that are not there
//! are zeros, and so is all that they add to a gradient.
#![expect(unsafe_code, reason = "tasks write elements of their own")]

use crate::attention::pack::{CHUNK, GROUP, Head, Lengths};
use crate::attention::products::{Left, Operands, Products, Right};
use crate::attention::softmax::{Softmax, gradients, hide, rescale};
use crate::cpu::accumulators::{Accumulators, BLOCK, TILE};
use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::cpu::line_buffer::{CacheLine, LineBuffer};
use crate::cpu::uninit_output::{TASK, fill_three_uninit, fill_uninit};
use crate::gemm::transpose::transpose_into;
use crate::shapes::AttentionShape;
use crate::simd::isa::{Isa, LANES};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Tasks that backward is split into, if there are as many queries: each sums gradients of all keys. Their number does
/// not depend on the threads', because the sums do.
const TASKS: usize = 32;
/// Queries of a task at least.
const QUERIES: usize = 4 * CHUNK;

/// What some rows contribute to transposed sums, 32 values at a time: `across` has these rows'
/// values across, `lines` lines of each, `b` their weights' words.
fn add_across<P: Products>(
    unit: &P::Unit,
    (d, steps): (usize, &P::Steps),
    (across, lines): (&[CacheLine], usize),
    b: Right,
    sums: &mut [Accumulators],
) {
    for (value, sums) in (0..d).step_by(BLOCK).zip(sums) {
        let a = Left { lines: &across[value * lines..], row: lines };
        P::block(unit, (a, b), (BLOCK.min(d - value), 2), steps, true, sums);
    }
}

/// Writes a block's first `n` columns as rows: `place` says where, and times what.
///
/// # Safety
/// What is written is the calling task's.
unsafe fn write_columns<P: Products>(
    p: P,
    of: &Lengths<P>,
    sums: &[Accumulators],
    n: usize,
    out: DisjointOutput,
    place: impl Fn(usize) -> (usize, f32),
) {
    let (row, mut rows) = (of.tiles * TILE, Scratch::new());
    let rows = rows.first(BLOCK * row);
    for value in (0..row).step_by(LANES) {
        for column in [0, LANES] {
            let sums = &sums[value / BLOCK].0.as_flattened()[value % BLOCK * BLOCK + column..];
            // SAFETY: 16 rows of 16 values lie inside both.
            unsafe { transpose_into(p.isa(), sums, BLOCK, (LANES, LANES), &mut rows[column * row + value..], row) };
        }
    }
    for (i, values) in rows.chunks_exact(row).take(n).enumerate() {
        let (at, scale) = place(i);
        // SAFETY: it is the calling task's, says the caller.
        unsafe { out.write_scaled(at, &values[..of.d], scale) };
    }
}

/// softmax(q kᵀ / √d) v, and for each head's queries the logarithm to base 2 of the sum of its
/// scores' exponentials.
pub(super) fn forward<P: Products>(
    p: P,
    sizes: &AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let (of, heads) = (Lengths::<P>::of(sizes), sizes.batch * sizes.heads);
    let lines = of.lines(of.keys);
    let [mut k_rows, mut v_across] = [(); 2].map(|()| LineBuffer::new());
    let [k_rows, v_across] = [&mut k_rows, &mut v_across].map(|buffer| buffer.first(heads * lines));
    let pack = k_rows.par_chunks_exact_mut(lines).zip(v_across.par_chunks_exact_mut(lines));
    pack.enumerate().with_max_len(1).for_each(|(i, (rows, across))| {
        let [k, v] = [k, v].map(|t| Head::new(sizes, t, i, sizes.keys));
        k.pack_rows(p, 0, of.row, rows);
        for (key, blocks) in of.chunks() {
            v.pack_across(
                p,
                key,
                blocks * Lengths::<P>::BLOCK_LINES,
                &mut across[of.lines(key)..][..of.lines(blocks * BLOCK)],
            );
        }
    });
    let (k_rows, v_across) = (&*k_rows, &*v_across);
    let tasks = sizes.queries.div_ceil(CHUNK);
    let task = |task: usize, [y, lse]: [DisjointOutput; 2]| {
        let (i, first) = (task / tasks, task % tasks * CHUNK);
        let (unit, q) = (p.unit(), Head::new(sizes, q, i, sizes.queries));
        let [k_rows, v_across] = [k_rows, v_across].map(|all| &all[i * lines..][..lines]);
        let [mut columns, mut weights] = [(); 2].map(|()| LineBuffer::new());
        let (columns, weights) = (columns.first(of.lines(CHUNK)), weights.first(2 * Lengths::<P>::CHUNK_WORDS));
        let (mut scores, mut softmax) = ([const { Accumulators::zeros() }; GROUP], [Softmax::NONE; GROUP]);
        let mut sums = vec![const { Accumulators::zeros() }; GROUP * of.blocks];
        q.pack_columns(p, first, of.row, columns);
        let queries = (first..sizes.queries.min(first + CHUNK)).step_by(BLOCK);
        let over_values = P::steps(of.d);
        for (key, blocks) in of.chunks() {
            let over_keys = P::steps((blocks * BLOCK).min(sizes.keys - key));
            for (number, query) in queries.clone().enumerate() {
                for (n, scores) in scores.iter_mut().enumerate().take(blocks) {
                    let key = key + n * BLOCK;
                    let operands = (of.left(k_rows, key), of.right(columns, number * BLOCK));
                    P::block(&unit, operands, (BLOCK.min(sizes.keys - key), 2), &over_values, false, scores);
                    hide(sizes, (query, key), true, scores);
                }
                let factors = softmax[number].weights(p, &scores[..blocks], sizes.scale_of_exp2(), weights);
                let sums = &mut sums[number * of.blocks..][..of.blocks];
                if factors.iter().any(|factor| factor.to_bits() != 1.0_f32.to_bits()) {
                    rescale(p.isa(), sums, &factors);
                }
                let across = (&v_across[of.lines(key)..], blocks * Lengths::<P>::BLOCK_LINES);
                let b = Right { lines: weights, second: Lengths::<P>::CHUNK_WORDS };
                add_across::<P>(&unit, (of.d, &over_keys), across, b, sums);
            }
        }
        for (number, first) in queries.enumerate() {
            let (Softmax { top, sum }, n) = (&softmax[number], BLOCK.min(sizes.queries - first));
            let logarithms: [f32; BLOCK] = std::array::from_fn(|query| top[query] + sum[query].log2());
            let place = |query: usize| (sizes.place(i, first + query, sizes.queries), 1.0 / sum[query]);
            // SAFETY: this head of these queries is this task's.
            unsafe {
                write_columns(p, &of, &sums[number * of.blocks..], n, y, place);
                lse.write_scaled(i * sizes.queries + first, &logarithms[..n], 1.0);
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

/// A head's keys and values as backward reads them, the same for all queries.
struct PackedKeys<'a> {
    k_columns: &'a [CacheLine],
    v_columns: &'a [CacheLine],
    k_summed: &'a [CacheLine],
}

/// dq, dk, dv where they are wanted: dV = Pᵀ dY, dP = dY Vᵀ, dS = P ∘ (dP - Σ P dP), dQ = dS K / √d, dK
/// = dSᵀ Q / √d.
pub(super) fn backward<P: Products>(p: P, sizes: &AttentionShape, operands: Operands) -> [Vec<f32>; 3] {
    let (of, heads) = (Lengths::<P>::of(sizes), sizes.batch * sizes.heads);
    let (lines, summed) = (of.lines(of.keys), of.summed());
    let mut packed: [LineBuffer; 3] = std::array::from_fn(|_| LineBuffer::new());
    let [k_columns, v_columns, k_summed] = &mut packed;
    let [k_columns, v_columns] = [k_columns, v_columns].map(|buffer| buffer.first(heads * lines));
    let k_summed = k_summed.first(heads * summed);
    let columns = k_columns.par_chunks_exact_mut(lines).zip(v_columns.par_chunks_exact_mut(lines));
    let pack = columns.zip(k_summed.par_chunks_exact_mut(summed)).enumerate().with_max_len(1);
    pack.for_each(|(i, ((k_columns, v_columns), k_summed))| {
        let [k, v] = [operands.k, operands.v].map(|t| Head::new(sizes, t, i, sizes.keys));
        k.pack_columns(p, 0, of.row, k_columns);
        v.pack_columns(p, 0, of.row, v_columns);
        if operands.wanted[0] {
            k.pack_summed(p, of.keys, k_summed);
        }
    });
    let (k_columns, v_columns, k_summed) = (&*k_columns, &*v_columns, &*k_summed);
    // Each part of the queries has a sum of its own for the gradients of k and v.
    let parts = TASKS.div_ceil(heads).min(sizes.queries.div_ceil(QUERIES));
    let part = sizes.queries.div_ceil(parts).next_multiple_of(CHUNK);
    let parts = sizes.queries.div_ceil(part);
    let length = |is_wanted: bool, rows: usize| if is_wanted { sizes.batch * rows * sizes.width() } else { 0 };
    let (of_q, of_k) = (length(operands.wanted[0], sizes.queries), length(operands.wanted[1], sizes.keys));
    let run = |dq: DisjointOutput, sums: &[[DisjointOutput; 2]]| {
        (0..heads * parts).into_par_iter().with_max_len(1).for_each(|task| {
            let (i, number) = (task / parts, task % parts);
            let keys = PackedKeys {
                k_columns: &k_columns[i * lines..][..lines],
                v_columns: &v_columns[i * lines..][..lines],
                k_summed: &k_summed[i * summed..][..summed],
            };
            let queries = (number * part, sizes.queries.min((number + 1) * part));
            // SAFETY: this head of these queries, and of this part's sums, is this task's.
            unsafe { backward_part(p, sizes, (operands, &keys), i, queries, dq, sums[number]) };
        });
    };
    let mut more = Vec::new();
    let write = |[dq, dk, dv]: [DisjointOutput; 3]| {
        let rest = |mut rest: &mut [MaybeUninit<f32>]| {
            let mut sums = vec![[dk, dv]];
            for _ in 1..parts {
                let [dk, dv] = [(); 2].map(|()| DisjointOutput::from(rest.split_off_mut(..of_k).unwrap_or_default()));
                sums.push([dk, dv]);
            }
            run(dq, &sums);
        };
        // SAFETY: the tasks write all heads of all keys, for each part.
        more = unsafe { fill_uninit((parts - 1) * 2 * of_k, rest) };
    };
    // SAFETY: the tasks write all heads of all rows, where they are wanted.
    let [dq, mut dk, mut dv] = unsafe { fill_three_uninit([of_q, of_k, of_k], write) };
    for (which, sum) in [&mut dk, &mut dv].into_iter().enumerate() {
        let parts: Vec<_> = more.chunks_exact(of_k.max(1)).skip(which).step_by(2).collect();
        sum.par_chunks_mut(TASK).enumerate().for_each(|(i, sum)| {
            for part in &parts {
                sum.iter_mut().zip(&part[i * TASK..]).for_each(|(sum, value)| *sum += value);
            }
        });
    }
    [dq, dk, dv]
}

/// What the queries `from..to` of head `i` contribute: dq, and a sum for the gradients of k and v.
///
/// # Safety
/// This head of these queries is nobody else's in dq, and this head of all keys in the sums.
unsafe fn backward_part<P: Products>(
    p: P,
    sizes: &AttentionShape,
    (operands, packed): (Operands, &PackedKeys),
    i: usize,
    (from, to): (usize, usize),
    dq: DisjointOutput,
    sums: [DisjointOutput; 2],
) {
    let Operands { q, dy, y, lse, wanted, .. } = operands;
    let of = Lengths::<P>::of(sizes);
    let [q, dy, y] = [q, dy, y].map(|t| Head::new(sizes, t, i, sizes.queries));
    let lse = &lse[i * sizes.queries..][..sizes.queries];
    let unit = p.unit();
    let words = Lengths::<P>::CHUNK_WORDS;
    let mut buffers: [LineBuffer; 7] = std::array::from_fn(|_| LineBuffer::new());
    let [q_rows, dy_rows, q_across, dy_across, ds_rows, p_words, ds_words] = &mut buffers;
    let [q_rows, dy_rows, q_across, dy_across] =
        [q_rows, dy_rows, q_across, dy_across].map(|buffer| buffer.first(of.lines(CHUNK)));
    let ds_rows = ds_rows.first(CHUNK * Lengths::<P>::CHUNK_ROW);
    let [p_words, ds_words] = [p_words, ds_words].map(|buffer| buffer.first(GROUP * 2 * words));
    // The transposes of the gradients of k and v, for each block of keys.
    let size = if wanted[1] { of.keys / BLOCK * of.blocks } else { 0 };
    let [mut dk, mut dv] = [(); 2].map(|()| vec![const { Accumulators::zeros() }; size]);
    let (over_values, mut scores, mut dp) = (P::steps(of.d), Accumulators::zeros(), Accumulators::zeros());
    for group in (from..to).step_by(CHUNK) {
        let query_blocks = (to - group).div_ceil(BLOCK).min(GROUP);
        let lines = query_blocks * Lengths::<P>::BLOCK_LINES;
        let over_queries = P::steps((to - group).min(CHUNK));
        let mut dq_sums = vec![const { Accumulators::zeros() }; if wanted[0] { query_blocks * of.blocks } else { 0 }];
        q.pack_rows(p, group, of.row, q_rows);
        dy.pack_rows(p, group, of.row, dy_rows);
        q.pack_across(p, group, lines, &mut q_across[..of.lines(query_blocks * BLOCK)]);
        dy.pack_across(p, group, lines, &mut dy_across[..of.lines(query_blocks * BLOCK)]);
        let means = means(p, &dy, &y, group);
        for (key, blocks) in of.chunks() {
            for (query_block, n) in (0..query_blocks).flat_map(|query_block| (0..blocks).map(move |n| (query_block, n)))
            {
                let (first, key) = (query_block * BLOCK, key + n * BLOCK);
                let products = [(&*q_rows, packed.k_columns, &mut scores), (&*dy_rows, packed.v_columns, &mut dp)];
                for (rows, columns, sums) in products {
                    let operands = (of.left(rows, first), of.right(columns, key));
                    P::block(&unit, operands, (BLOCK, 2), &over_values, false, sums);
                }
                hide(sizes, (group + first, key), false, &mut scores);
                let of_query =
                    |row: usize| [lse.get(group + first + row).copied().unwrap_or_default(), means[first + row]];
                let rows = &mut ds_rows[first * Lengths::<P>::CHUNK_ROW + n * Lengths::<P>::BLOCK_LINES..];
                let right = [&mut *p_words, &mut *ds_words]
                    .map(|lines| &mut lines[n * 2 * words + query_block * BLOCK / P::WORD..]);
                gradients(p, [&scores, &dp], sizes.scale_of_exp2(), of_query, rows, right);
            }
            let over_keys = P::steps((blocks * BLOCK).min(sizes.keys - key));
            for (number, sums) in dq_sums.iter_mut().enumerate() {
                let (query_block, tile) = (number / of.blocks, number % of.blocks * 2);
                let row = Lengths::<P>::CHUNK_ROW;
                let a = Left { lines: &ds_rows[query_block * BLOCK * row..], row };
                let second = of.keys / P::WORD;
                let b = Right { lines: &packed.k_summed[tile * second + key / P::WORD..], second };
                P::block(&unit, (a, b), (BLOCK, (of.tiles - tile).min(2)), &over_keys, true, sums);
            }
            if wanted[1] {
                for n in 0..blocks {
                    let at = (key / BLOCK + n) * of.blocks;
                    for (sums, across, right) in [(&mut dv, &*dy_across, &*p_words), (&mut dk, &*q_across, &*ds_words)]
                    {
                        let b = Right { lines: &right[n * 2 * words..], second: words };
                        add_across::<P>(&unit, (of.d, &over_queries), (across, lines), b, &mut sums[at..][..of.blocks]);
                    }
                }
            }
        }
        for (number, sums) in dq_sums.iter().enumerate() {
            let (query_block, value) = (group + number / of.blocks * BLOCK, number % of.blocks * BLOCK);
            for (query, sums) in (query_block..to).zip(&sums.0) {
                let at = sizes.place(i, query, sizes.queries) + value;
                // SAFETY: this head of this query is nobody else's, says the caller.
                unsafe { dq.write_scaled(at, &sums[..BLOCK.min(of.d - value)], sizes.scale()) };
            }
        }
    }
    for ((transposed, out), scale) in [dk, dv].iter().zip(sums).zip([sizes.scale(), 1.0]) {
        for (first, sums) in (0..sizes.keys).step_by(BLOCK).zip(transposed.chunks_exact(of.blocks)) {
            let place = |key: usize| (sizes.place(i, first + key, sizes.keys), scale);
            // SAFETY: this head of these keys is nobody else's, says the caller.
            unsafe { write_columns(p, &of, sums, BLOCK.min(sizes.keys - first), out, place) };
        }
    }
}

/// For each of a chunk's queries from `first` on the mean of its probabilities' gradients, which is
/// the product of dy, as it is multiplied, and y; summed in the order in which a block of f32 is, so that
/// there a query of one key has a gradient of 0.
fn means<P: Products>(p: P, dy: &Head, y: &Head, first: usize) -> [f32; CHUNK] {
    let (isa, mut means) = (p.isa(), [0.0; CHUNK]);
    p.run(
        #[inline(always)]
        || {
            for (tile, means) in means.chunks_exact_mut(TILE).enumerate() {
                let mut sum = isa.zero();
                for n in 0..dy.d.div_ceil(LANES) {
                    let (mut dy_rows, mut y_rows) = ([isa.zero(); TILE], [isa.zero(); TILE]);
                    for (i, (dy_row, y_row)) in dy_rows.iter_mut().zip(&mut y_rows).enumerate() {
                        let at = first + tile * TILE + i;
                        let mut word = [isa.zero(); 2];
                        // The upper value of a pair of bf16 is, with zeros below, that value in f32.
                        word[P::WORD - 1] = dy.vector(isa, at, n);
                        (*dy_row, *y_row) = (p.columns(word), y.vector(isa, at, n));
                    }
                    for (dy, y) in isa.transpose(&dy_rows).iter().zip(&isa.transpose(&y_rows)) {
                        sum = isa.fma(*dy, *y, sum);
                    }
                }
                // SAFETY: there is room for 16 values.
                unsafe { isa.store(means.as_mut_ptr(), sum) };
            }
        },
    );
    means
}
