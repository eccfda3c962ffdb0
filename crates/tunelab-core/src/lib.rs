//! From a TOML file to a trained model: what an experiment says, its model and its data, how it is trained, and what it leaves.
//!
//! The rooms of tunelab that report nothing and start nothing. The architecture page is that of the program, `src/lib.rs`; it has
//! the table of all rooms, in the order in which they may use each other.

#![forbid(unsafe_code)]

pub mod adapter;
pub mod assets;
pub mod builtin;
pub mod cli;
pub mod config;
pub mod data;
pub mod device;
pub mod diffusion;
pub mod error;
pub mod hash;
pub mod interrupt;
pub mod lock;
pub mod measure;
pub mod metrics;
pub mod model;
pub mod numbers;
pub mod pipeline;
pub mod progress;
pub mod random;
pub mod results;
pub mod train;
pub mod weights;
