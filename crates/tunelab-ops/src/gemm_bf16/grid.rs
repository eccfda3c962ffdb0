//! The pixels of a batch of images as positions on one line, so that a tap of a kernel is a
//! shift of the line.
//!
//! In: samples, height, width, border. Out: positions, and which of a tile's sums become which
//! pixels.
//!
//! For a kernel of 3x3 each row of pixels is followed by one position of zeros, and each image by a
//! row of them: the neighbors of a pixel at a border are then zeros, whichever way one goes.
//! Sums for those positions are computed too, and dropped. Without a border (1x1) positions
//! are pixels.

use crate::cpu::accumulators::TILE;

/// The line of positions.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub samples: usize,
    pub height: usize,
    pub width: usize,
    /// Positions of zeros behind a row, and rows of them behind an image: 0 or 1.
    pub border: usize,
}

/// Up to 16 sums next to one another that become pixels next to one another.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Which of the tile's positions.
    pub mask: u16,
    pub sample: usize,
    /// The first pixel of the result.
    pub pixel: usize,
}

impl Grid {
    /// Positions from one row to the next.
    pub(super) fn pitch(&self) -> usize {
        self.width + self.border
    }

    /// Positions from one image to the next.
    pub(super) fn image(&self) -> usize {
        (self.height + self.border) * self.pitch()
    }

    /// Positions from the first pixel to the last.
    pub(super) fn positions(&self) -> usize {
        (self.samples - 1) * self.image() + (self.height - 1) * self.pitch() + self.width
    }

    /// Zeros before the first pixel, and behind the last whole tile.
    pub(super) fn margin(&self) -> usize {
        self.border * (self.pitch() + 1)
    }

    /// Tiles of 16 positions.
    pub(super) fn tiles(&self) -> usize {
        self.positions().div_ceil(TILE)
    }

    /// The whole line with both margins, in positions, for an even number of tiles.
    pub(super) fn length(&self) -> usize {
        self.tiles().next_multiple_of(2) * TILE + 2 * self.margin()
    }

    /// How many positions tap `tap` of a kernel of this many rows and columns looks ahead of the
    /// margin's beginning: what it sees for the position 0 begins there.
    pub(super) fn shift(&self, kernel: usize, tap: usize) -> usize {
        if kernel == 1 { self.margin() } else { tap / kernel * self.pitch() + tap % kernel }
    }

    /// The pixel of a position: its sample, row and column.
    fn pixel(&self, position: usize) -> Option<(usize, usize, usize)> {
        let (sample, rest) = (position / self.image(), position % self.image());
        let (y, x) = (rest / self.pitch(), rest % self.pitch());
        (sample < self.samples && y < self.height && x < self.width).then_some((sample, y, x))
    }

    /// For each tile what becomes of its sums, when every `stride`-th pixel of every `stride`-th
    /// row is wanted.
    pub(super) fn runs(&self, stride: usize) -> Vec<Vec<Run>> {
        let width = self.width.div_ceil(stride);
        let of_tile = |tile: usize| {
            let mut runs: Vec<Run> = Vec::new();
            for lane in 0..TILE {
                let Some((sample, y, x)) = self.pixel(tile * TILE + lane) else { continue };
                if !y.is_multiple_of(stride) || !x.is_multiple_of(stride) {
                    continue;
                }
                let pixel = y / stride * width + x / stride;
                match runs.last_mut() {
                    Some(run) if run.sample == sample => run.mask |= 1 << lane,
                    _ => runs.push(Run { mask: 1 << lane, sample, pixel }),
                }
            }
            runs
        };
        (0..self.tiles()).map(of_tile).collect()
    }
}
