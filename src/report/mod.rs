//! Pictures and tables made from what runs left behind.
//!
//! In: a results tree (logs, samples, records). Out: `loss.png` and `loss.svg`, `grid.png`, `table.csv` and `table.md`.
//! Everything here is a pure function of the tree: it can be made again at any time and comes out byte for byte the same.

pub mod axis;
pub mod chart;
pub mod curve;
pub mod drawing;
pub mod grid;
pub mod losses;
pub mod plot;
mod raster;
pub mod table;
pub mod text;
