//! The one integration binary; each module is one room's tests.
mod cli;
mod data;
mod plan;
mod report;
