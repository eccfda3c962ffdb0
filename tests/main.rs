//! The one integration binary; each module is one room's tests.

mod data;
mod diffusion;
mod lr;
mod random;
mod report;
mod tokenizer;
