//! Which runs of a list a job array has.
//!
//! In: the runs' places in the list, and how large an index may be. Out: arrays in Slurm's words, `0-3,7`, each with how much is
//! added to its indices.

/// An array of jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Array {
    /// A run's place in the list is its index and this.
    pub offset: usize,
    /// In Slurm's words.
    pub indices: String,
    /// How many jobs it has.
    pub count: usize,
}

/// As few arrays as have all places, which rise; an index is smaller than `limit`, which is one at least.
pub(super) fn arrays(places: &[usize], limit: usize) -> Vec<Array> {
    let limit = limit.max(1);
    let of_one = |places: &[usize]| {
        let offset = places.first().map_or(0, |first| first / limit * limit);
        Array { offset, indices: ranges(places, offset), count: places.len() }
    };
    places.chunk_by(|a, b| a / limit == b / limit).map(of_one).collect()
}

fn ranges(places: &[usize], offset: usize) -> String {
    let one = |run: &[usize]| match *run {
        [one] => (one - offset).to_string(),
        [first, .., last] => format!("{}-{}", first - offset, last - offset),
        [] => String::new(),
    };
    places.chunk_by(|a, b| a + 1 == *b).map(one).collect::<Vec<_>>().join(",")
}

/// The places that an array's words stand for; of what is not understood, none.
pub(super) fn places(offset: usize, indices: &str) -> impl Iterator<Item = usize> {
    let range = move |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()? + offset..=last.parse::<usize>().ok()? + offset)
    };
    indices.split(',').filter_map(range).flatten().collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_ranges_and_large_lists_several_arrays() {
        let array = |offset, indices: &str, count| Array { offset, indices: indices.to_owned(), count };
        assert_eq!(arrays(&[], 1001), []);
        assert_eq!(arrays(&[0, 1, 2, 5, 7, 8], 1001), [array(0, "0-2,5,7-8", 6)]);
        let many: Vec<usize> = (0..2500).filter(|place| *place != 1003).collect();
        let split = arrays(&many, 1000);
        assert_eq!(split, [array(0, "0-999", 1000), array(1000, "0-2,4-999", 999), array(2000, "0-499", 500)]);
        let back: Vec<usize> = split.iter().flat_map(|of| places(of.offset, &of.indices)).collect();
        assert_eq!(back, many);
        assert_eq!(arrays(&[4], 1), [array(4, "0", 1)]);
    }
}
