//! The one integration binary; each module is one room's tests.
mod data;
mod model;
mod report;
