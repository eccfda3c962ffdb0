//! What an epoch goes through: images, each with the class image that stands beside it.
//!
//! In: groups of images and their class images, by number. Out: [`Items`]. In a group the shorter list begins again until the longer one
//! is through, as in diffusers.

/// The items of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    /// For each item its image.
    images: Vec<usize>,
    /// For each item its class image; nothing without prior preservation.
    class: Vec<usize>,
}

impl Items {
    /// Every image once, beside the class images in turn.
    pub fn of(images: usize, class_images: usize) -> Self {
        Self::new(&[((0..images).collect(), (0..class_images).collect())])
    }

    /// Of groups: (images, an image several times where it is repeated; class images). All groups have class images, or none has.
    pub fn new(groups: &[(Vec<usize>, Vec<usize>)]) -> Self {
        let (mut all, mut beside) = (Vec::new(), Vec::new());
        for (images, class) in groups {
            let longest = images.len().max(class.len());
            all.extend(images.iter().cycle().take(if images.is_empty() { 0 } else { longest }));
            beside.extend(class.iter().cycle().take(if class.is_empty() { 0 } else { longest }));
        }
        Self { images: all, class: beside }
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
}
