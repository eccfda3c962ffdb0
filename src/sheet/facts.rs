//! What stands out among many images: equal ones, nearly equal ones, the smallest, the blurriest.
//!
//! In: what is known of each. Out: their places in the list.

use super::look::Look;
use std::collections::BTreeMap;

/// Of the smallest and the blurriest so many.
const MOST: usize = 6;

/// Images whose hashes differ in no more bits than this are nearly equal.
const NEAR: u32 = 4;

/// Places of images in the list.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// Files with equal bytes.
    pub equal: Vec<Vec<usize>>,
    /// Two that look alike, and in how many bits they differ; the second is the first of those that are like the first.
    pub near: Vec<(usize, usize, u32)>,
    /// By pixels.
    pub smallest: Vec<usize>,
    /// By the variance of the Laplacian.
    pub blurriest: Vec<usize>,
}

/// Looks through all pairs.
pub(super) fn find(images: &[Look]) -> Facts {
    let mut by_bytes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        by_bytes.entry(&image.sha256).or_default().push(index);
    }
    let mut equal: Vec<Vec<usize>> = by_bytes.into_values().filter(|group| group.len() > 1).collect();
    equal.sort();
    let mut near = Vec::new();
    for (index, image) in images.iter().enumerate() {
        let distance = |other: &Look| (image.hash ^ other.hash).count_ones();
        // Once each is enough: what is like several is told beside the first.
        let before = images[..index].iter().enumerate().filter(|(_, other)| other.sha256 != image.sha256);
        let alike = before.map(|(place, other)| (place, distance(other))).filter(|(_, bits)| *bits <= NEAR);
        near.extend(alike.min_by_key(|(place, bits)| (*bits, *place)).map(|(place, bits)| (place, index, bits)));
    }
    let ranked = |key: &dyn Fn(&Look) -> f64| {
        let mut order: Vec<usize> = (0..images.len()).collect();
        order.sort_by(|&a, &b| key(&images[a]).total_cmp(&key(&images[b])).then(a.cmp(&b)));
        order.truncate(MOST.min(images.len().div_ceil(2)));
        order
    };
    Facts {
        equal,
        near,
        smallest: ranked(&|image| (image.original[0] * image.original[1]) as f64),
        blurriest: ranked(&|image| image.sharpness),
    }
}
