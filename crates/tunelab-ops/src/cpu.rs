//! What the bodies in host memory share: tensors as slices, memory for results and for
//! intermediate values, scalar functions that vectorize, and prefetching.

pub(crate) mod buffer;
#[cfg(test)]
pub(crate) mod checks;
pub(crate) mod disjoint_output;
pub(crate) mod host;
#[cfg(target_arch = "x86_64")]
pub(crate) mod line_buffer;
pub(crate) mod prefetch;
pub(crate) mod uninit_output;
pub(crate) mod vector_math;
