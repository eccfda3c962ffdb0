//! What a plan trains and needs: parameters, memory, files.
//!
//! In: a plan. Out: counts and estimates, whether a card has the memory, and the commands `check`
//! and `plan`.

pub mod command;
pub mod estimate;
pub mod fit;
pub(crate) mod local;
pub mod networks;
