//! Photographs to tensors: decoding, resizing, crops, the dataset folder, the cache, the order.

mod cache;
mod captions;
mod dataset;
mod formats;
pub mod pixels;
pub mod structure;
