//! (to come)

pub mod lr;
