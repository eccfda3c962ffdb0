//! Photographs to tensors: decoding, resizing, crops, the dataset folder, the cache, the order.

mod cache;
mod captions;
mod dataset;
mod formats;
mod pixels;
