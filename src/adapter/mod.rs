//! The ways to fine-tune.

pub mod file;
