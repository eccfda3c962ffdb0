//! The one integration binary; each module is one room's tests.
mod assets;
mod cli;
mod data;
mod diffusion;
mod fixture;
mod lora_file;
mod lr;
mod model;
mod ops;
mod plan;
mod random;
mod report;
mod sample;
mod tokenizer;
mod train;
