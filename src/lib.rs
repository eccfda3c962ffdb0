//! tunelab: a declarative lab for fine-tuning Stable Diffusion. One TOML file is one experiment.

pub mod assets;
pub mod cli;
pub mod data;
pub mod device;
pub mod diffusion;
pub mod error;
pub mod experiment;
pub mod interrupt;
pub mod model;
pub mod ops;
pub mod plan;
pub mod progress;
pub mod random;
pub mod report;
pub mod results;
pub mod run;
pub mod sample;
pub mod train;
