//! From photographs to tensors: the folder of pictures, their captions, the transforms, and what is kept on disk.
//!
//! In: a folder of image files (with one prompt, with a table such as `metadata.jsonl`, with `.txt`, `.caption` or
//! `.json` files, or named as what they show). Out:
//! [`Picture`]s in a fixed order, decoded and resized exactly as Pillow and torchvision do it, as `[3, H, W]` tensors in
//! [-1, 1]; the [`Cache`] of what is computed from them once; and the order in which each epoch visits them.

mod buckets;
mod cache;
mod caption_json;
mod captions;
mod dataset;
mod epochs;
mod folder;
mod icc;
mod image;
mod jpeg;
mod limits;
mod mask;
mod name;
mod orientation;
mod picture;
mod quotes;
mod resize;
mod shapes;
mod structure;
mod survey;
mod text;
mod transform;
mod wording;

pub use buckets::{BucketSet, shared_out};
pub use cache::Cache;
pub use dataset::{load_captioned, load_dataset, load_pictures};
pub use epochs::{Epochs, batch_count, batches, bucket_batches};
pub use folder::{IMAGE_ENDINGS, has_image_ending, is_named_mask};
pub use image::{Rgb, load_image};
pub use mask::Mask;
pub use name::{shortened, slashed};
pub use orientation::image_size;
pub use picture::Picture;
pub use resize::{reduce, resize_short_side, resize_short_side_bicubic, resize_to, short_side_sides};
pub use shapes::{Cut, Shapes, fit};
pub use survey::image_sizes;
pub use transform::{
    center_corner, center_crop, center_crop_floor, crop, flip, from_tensor, random_corner, random_crop, to_tensor,
};
pub use wording::Wordings;
