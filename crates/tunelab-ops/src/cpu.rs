//! What the bodies in host memory share: tensors as slices, memory for results and for
//! intermediate values, scalar functions that vectorize, and prefetching.

pub(crate) mod accumulators;
pub(crate) mod buffer;
#[cfg(test)]
pub(crate) mod checks;
pub(crate) mod disjoint_output;
pub(crate) mod host;
pub(crate) mod line_buffer;
pub(crate) mod prefetch;
pub(crate) mod uninit_output;
pub(crate) mod vector_math;

/// Pieces that work is split into: at least so many, and two for each thread. Only where a number's sum is the same however
/// the work is split.
pub(crate) fn pieces(least: usize) -> usize {
    least.max(2 * rayon::current_num_threads())
}
