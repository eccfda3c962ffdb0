//! The tiles of 4x4 results that cover pictures.

/// Rows and columns of a tile's results.
pub(super) const SIDE: usize = 4;
/// Rows and columns of the pixels that they depend on.
pub(super) const EDGE: usize = SIDE + 2;
/// Planes: numbers that pixels and kernels of a tile are transformed to.
pub(super) const PLANES: usize = EDGE * EDGE;

/// S pictures, whose result is of the same size.
#[derive(Clone, Copy)]
pub(in super::super) struct Pictures {
    pub samples: usize,
    pub height: usize,
    pub width: usize,
}

impl Pictures {
    /// How many tiles cover them.
    pub(in super::super) fn tiles(&self) -> usize {
        self.samples * self.height.div_ceil(SIDE) * self.width.div_ceil(SIDE)
    }

    /// Values of all pictures of this many channels.
    pub(in super::super) fn values(&self, channels: usize) -> usize {
        self.samples * channels * self.height * self.width
    }
}

/// The tiles that cover the pictures, row by row, sample by sample.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub of: Pictures,
    /// Tiles of a column and of a row.
    pub down: usize,
    pub across: usize,
    /// So many tiles next to one another, from a multiple of this on, lie in one row.
    pub run: usize,
    /// Whether all tiles' results lie in the pictures.
    pub whole: bool,
}

impl Grid {
    pub(super) fn new(of: Pictures) -> Self {
        let (down, across) = (of.height.div_ceil(SIDE), of.width.div_ceil(SIDE));
        let whole = of.height.is_multiple_of(SIDE) && of.width.is_multiple_of(SIDE);
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
