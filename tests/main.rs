//! The one integration binary; each module is one room's tests.
mod assets;
mod data;
