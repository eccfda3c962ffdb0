//! tunelab
fn main() {}
