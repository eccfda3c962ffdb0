//! The one integration binary; each module is one room's tests.
mod adapter;
mod assets;
mod bench;
mod cli;
mod config;
mod data;
mod diffusion;
mod fixture;
mod measure;
mod model;
mod pipeline;
mod random;
mod report;
mod rooms;
mod run;
mod sample;
mod train;
