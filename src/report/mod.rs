//! Images and tables made from what runs left behind.
//!
//! In: a results tree (logs, samples, records, plans). Out: `loss.png` and `loss.svg`, `metrics.png`
//! and `metrics.svg`, `grid.png`, `steps.png`, `data.png`, `table.{csv,md,tex}`, `report.md` and
//! `index.html`. Everything here is a pure function of the tree: it can be made again at any time
//! and comes out byte for byte the same.

pub mod command;
pub mod curve;
pub mod data_grid;
pub mod diff;
pub mod document;
pub mod fidelity;
pub mod figure;
pub mod grid;
pub mod losses;
pub mod page;
pub mod plot;
pub mod runs;
pub mod settings;
pub mod sweep;
pub mod table;
pub mod text;
