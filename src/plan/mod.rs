//! What a plan trains and needs: parameters, memory, files.
//!
//! In: a plan. Out: counts and estimates, steps, whether a card has the memory, how long it takes by finished runs (`pace`), and the
//! commands `check` and `plan` (of a sweep: `listing`).

pub mod command;
pub mod estimate;
pub mod fit;
mod listing;
pub(crate) mod local;
pub mod networks;
mod pace;
mod shapes;
pub mod steps;
