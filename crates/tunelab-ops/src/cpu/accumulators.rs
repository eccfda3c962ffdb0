//! The sums of a block: 32 rows of 32, of whichever product.
//!
//! In and out: values in memory, from the beginning of a cache line on.

/// Rows and columns of a block: two tiles each way.
pub(crate) const BLOCK: usize = 32;
/// Rows and columns of a tile of sums.
pub(crate) const TILE: usize = 16;

/// What a block's sums are left in. Rows and halves of rows that a product is not asked for may hold anything.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Accumulators(pub [[f32; BLOCK]; BLOCK]);

impl Accumulators {
    pub(crate) const fn zeros() -> Self {
        Self([[0.0; BLOCK]; BLOCK])
    }
}
