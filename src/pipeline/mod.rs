//! A model's files as networks.
//!
//! In: a model's files, a device. Out: each network with its parameters; the names that the original checkpoints have.

pub mod load;
pub mod original_names;
