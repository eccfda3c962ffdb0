//! The one integration binary; each module is one room's tests.
mod assets;
mod cli;
mod data;
mod diffusion;
mod lr;
mod model;
mod plan;
mod random;
mod report;
mod run;
mod tokenizer;
