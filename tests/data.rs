//! Photographs to tensors: decoding, resizing, datasets, cache, order.
