//! What an epoch goes through: images, each with the class image that stands beside it.
//!
//! In: groups of images and their class images, by number, and their sizes. Out: [`Items`], each in the bucket of its size. In each
//! bucket of a group the shorter list begins again until the longer one is through, as in diffusers.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{ClassPart, Group, Plan};
use crate::data;

/// Height and width.
pub type Size = [usize; 2];

/// The items of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    /// For each item its image.
    images: Vec<usize>,
    /// For each item its class image; nothing without prior preservation.
    class: Vec<usize>,
    /// For each item its bucket.
    buckets: Vec<usize>,
}

impl Items {
    /// Every image once, beside the class images in turn.
    pub fn of(images: usize, class_images: usize) -> Self {
        Self::new(&[((0..images).collect(), (0..class_images).collect())])
    }

    /// Of groups: (images, an image several times where it is repeated; class images). All groups have class images, or none has.
    pub fn new(groups: &[(Vec<usize>, Vec<usize>)]) -> Self {
        Self::in_buckets(groups, |_| [0; 2], |_| [0; 2])
    }

    /// As [`Items::new`], of images of several sizes: an item's two images have one. An image of a size that its group's other list
    /// lacks is no item.
    pub fn in_buckets(
        groups: &[(Vec<usize>, Vec<usize>)],
        size: impl Fn(usize) -> Size,
        class_size: impl Fn(usize) -> Size,
    ) -> Self {
        let mut items = Self { images: Vec::new(), class: Vec::new(), buckets: Vec::new() };
        let sizes: BTreeSet<Size> = groups.iter().flat_map(|(images, _)| images).map(|&image| size(image)).collect();
        let buckets: BTreeMap<Size, usize> = sizes.into_iter().zip(0..).collect();
        for (images, class) in groups {
            for (&bucket_size, &bucket) in &buckets {
                let own: Vec<usize> = images.iter().copied().filter(|&image| size(image) == bucket_size).collect();
                let beside: Vec<usize> =
                    class.iter().copied().filter(|&image| class_size(image) == bucket_size).collect();
                if own.is_empty() || (beside.is_empty() && !class.is_empty()) {
                    continue;
                }
                let longest = own.len().max(beside.len());
                items.images.extend(own.iter().cycle().take(longest));
                items.class.extend(beside.iter().cycle().take(if beside.is_empty() { 0 } else { longest }));
                items.buckets.extend(std::iter::repeat_n(bucket, longest));
            }
        }
        items
    }

    /// Of a plan's groups: the sizes of each part's images (nothing for parts of class images), one part's behind the other's, and so
    /// those of each class part.
    pub fn of_plan(plan: &Plan, of_parts: &[Vec<Size>], of_class: &[Vec<Size>]) -> Self {
        let (class_parts, parts) = (plan.class_parts(), plan.dataset.parts());
        let range = |all: &[Vec<Size>], index: usize| {
            let first: usize = all.iter().take(index).map(Vec::len).sum();
            first..first + all.get(index).map_or(0, Vec::len)
        };
        let repeats = |index: usize| parts.get(index).map_or(1, |part| part.repeats);
        let repeated = |range: std::ops::Range<usize>, times: usize| {
            range.flat_map(move |image| std::iter::repeat_n(image, times)).collect::<Vec<_>>()
        };
        let group = |group: &Group| {
            let images = group.parts.iter().flat_map(|&part| repeated(range(of_parts, part), repeats(part)));
            let class = group.class.iter().flat_map(|part| {
                let index = class_parts.iter().position(|other| other == part).unwrap_or(0);
                repeated(range(of_class, index), if let ClassPart::Part(part) = part { repeats(*part) } else { 1 })
            });
            (images.collect(), class.collect())
        };
        let groups: Vec<_> = plan.groups().iter().map(group).collect();
        let (sizes, class_sizes) = (of_parts.concat(), of_class.concat());
        Self::in_buckets(&groups, |image| sizes[image], |image| class_sizes[image])
    }

    /// As [`Items::of_plan`], before the class images are there, so many of each part: shared out over the images' sizes in
    /// proportion; of a size that none would have all.
    pub fn expected(plan: &Plan, of_parts: &[Vec<Size>], class_counts: &[usize]) -> Self {
        let of_class = |&all: &usize| {
            let shares = data::shared_out(all, of_parts.iter().flatten().copied());
            let share = |count: usize| if count == 0 { all } else { count };
            shares.into_iter().flat_map(|(size, count)| std::iter::repeat_n(size, share(count))).collect()
        };
        Self::of_plan(plan, of_parts, &class_counts.iter().map(of_class).collect::<Vec<_>>())
    }

    /// The bucket of each item.
    pub fn buckets(&self) -> &[usize] {
        &self.buckets
    }

    /// Batches of one epoch.
    pub fn batches(&self, batch_size: usize) -> usize {
        data::batch_count(&self.buckets, batch_size)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The images of these items.
    pub fn images(&self, items: &[usize]) -> Vec<usize> {
        items.iter().filter_map(|&item| self.images.get(item).copied()).collect()
    }

    /// The class images of these items.
    pub fn class(&self, items: &[usize]) -> Vec<usize> {
        items.iter().filter_map(|&item| self.class.get(item).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_list_begins_again() {
        let all: Vec<usize> = (0..5).collect();
        let items = Items::of(2, 5);
        assert_eq!((items.images(&all), items.class(&all)), (vec![0, 1, 0, 1, 0], vec![0, 1, 2, 3, 4]));
        let items = Items::of(5, 2);
        assert_eq!((items.images(&all), items.class(&all)), (vec![0, 1, 2, 3, 4], vec![0, 1, 0, 1, 0]));
        let items = Items::of(3, 0);
        assert_eq!((items.len(), items.class(&all)), (3, vec![]));
    }

    #[test]
    fn each_group_has_its_own_class() {
        let items = Items::new(&[(vec![0, 1], vec![0, 1, 2]), (vec![2, 3, 3], vec![3])]);
        let all: Vec<usize> = (0..items.len()).collect();
        assert_eq!(items.images(&all), [0, 1, 0, 2, 3, 3]);
        assert_eq!(items.class(&all), [0, 1, 2, 3, 3, 3]);
    }

    #[test]
    fn an_item_has_one_size() {
        let (small, large) = ([64, 64], [64, 128]);
        let sizes = [small, large, small];
        let class_sizes = [large, small, large, large];
        let groups = [(vec![0, 1, 2], vec![0, 1, 2, 3])];
        let items = Items::in_buckets(&groups, |i| sizes[i], |i| class_sizes[i]);
        let all: Vec<usize> = (0..items.len()).collect();
        assert_eq!(items.images(&all), [0, 2, 1, 1, 1]);
        assert_eq!(items.class(&all), [1, 1, 0, 2, 3]);
        assert_eq!(items.buckets(), [0, 0, 1, 1, 1]);
        assert_eq!(items.batches(2), 3);
    }
}
