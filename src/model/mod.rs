//! (to come)

pub mod tokenizer;
