//! The tiles of 4x4 results that cover images.
//!
//! In: samples, height and width. Out: tiles and their places.

/// Rows and columns of a tile's results.
pub(super) const OUTPUT_TILE: usize = 4;
/// Rows and columns of the pixels that they depend on.
pub(super) const INPUT_TILE: usize = OUTPUT_TILE + 2;
/// Planes: numbers that pixels and filters of a tile are transformed to.
pub(super) const PLANES: usize = INPUT_TILE * INPUT_TILE;

/// S images, whose result is of the same size.
#[derive(Clone, Copy)]
pub(in crate::conv2d) struct Images {
    pub samples: usize,
    pub height: usize,
    pub width: usize,
}

impl Images {
    /// How many tiles cover them.
    pub(in crate::conv2d) fn tiles(&self) -> usize {
        self.samples * self.height.div_ceil(OUTPUT_TILE) * self.width.div_ceil(OUTPUT_TILE)
    }

    /// Values of all images of this many channels.
    pub(in crate::conv2d) fn values(&self, channels: usize) -> usize {
        self.samples * channels * self.height * self.width
    }
}

/// The tiles that cover the images, row by row, sample by sample.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    pub of: Images,
    /// Tiles of a column and of a row.
    pub down: usize,
    pub across: usize,
    /// So many tiles next to one another, from a multiple of this on, lie in one row.
    pub run: usize,
    /// Whether all tiles' results lie in the images.
    pub whole: bool,
}

impl Tiling {
    pub(super) fn new(of: Images) -> Self {
        let (down, across) = (of.height.div_ceil(OUTPUT_TILE), of.width.div_ceil(OUTPUT_TILE));
        let whole = of.height.is_multiple_of(OUTPUT_TILE) && of.width.is_multiple_of(OUTPUT_TILE);
        let run = [16, 8, 4, 2].into_iter().find(|run| whole && across.is_multiple_of(*run)).unwrap_or(1);
        Self { of, down, across, run, whole }
    }

    pub(super) fn tiles(&self) -> usize {
        self.of.tiles()
    }

    /// The row of tiles, counted through all samples, and the column of a tile.
    pub(super) fn place(&self, tile: usize) -> (usize, usize) {
        (tile / self.across, tile % self.across)
    }
}
