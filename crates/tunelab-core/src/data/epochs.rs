//! The order in which pictures are seen.
//!
//! In: how many items there are, the bucket of each, the batch size, the experiment's seed. Out: one
//! batch of indices after the other, epoch after epoch. A batch has one bucket; what does not fill one
//! is a smaller batch, so every item is seen once in an epoch. Batches of several buckets come in an
//! order of their own, from the stream "batch order". Each epoch is a permutation of its own, drawn from the
//! stream "data order", so its order depends on nothing before it, and the number of batches drawn
//! is all that a resumed run needs to see what an uninterrupted one would.

use std::collections::BTreeMap;

use crate::random::Generator;

/// The batches of epoch `epoch` (from 0): a seeded permutation of `0..n`, cut into runs of
/// `batch_size` (at least 1). The last one may be shorter; every item is seen exactly once.
pub fn batches(n: usize, batch_size: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let order = Generator::stream(seed, "data order", epoch as u64).randperm(n);
    order.chunks(batch_size.max(1)).map(<[usize]>::to_vec).collect()
}

/// As [`batches`], of items that each lie in a bucket: the same permutation, parted by bucket, each part cut into runs; and of
/// several buckets the runs in a seeded order.
pub fn bucket_batches(buckets: &[usize], batch_size: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let order = Generator::stream(seed, "data order", epoch as u64).randperm(buckets.len());
    let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for item in order {
        parts.entry(buckets[item]).or_default().push(item);
    }
    let runs: Vec<Vec<usize>> =
        parts.values().flat_map(|part| part.chunks(batch_size.max(1))).map(<[usize]>::to_vec).collect();
    if parts.len() < 2 {
        return runs;
    }
    let order = Generator::stream(seed, "batch order", epoch as u64).randperm(runs.len());
    order.into_iter().map(|run| runs[run].clone()).collect()
}

/// Batches of one epoch over items in these buckets.
pub fn batch_count(buckets: &[usize], batch_size: usize) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for bucket in buckets {
        *counts.entry(*bucket).or_default() += 1;
    }
    counts.values().map(|count| count.div_ceil(batch_size.max(1))).sum()
}

/// All epochs, and how far they have been gone through. As an iterator it ends only where there are
/// no items.
pub struct Epochs {
    /// The bucket of each item.
    buckets: Vec<usize>,
    /// Batches of one epoch.
    per_epoch: usize,
    batch_size: usize,
    seed: u64,
    draws: u64,
    /// The number and the batches of the epoch that was last drawn from.
    current: Option<(usize, Vec<Vec<usize>>)>,
}

impl Epochs {
    /// At the first batch of the first epoch.
    pub fn new(items: usize, batch_size: usize, seed: u64) -> Self {
        Self::of_buckets(vec![0; items], batch_size, seed)
    }

    /// As [`Epochs::new`], over items that each lie in a bucket.
    pub fn of_buckets(buckets: Vec<usize>, batch_size: usize, seed: u64) -> Self {
        let per_epoch = batch_count(&buckets, batch_size);
        Self { buckets, per_epoch, batch_size: batch_size.max(1), seed, draws: 0, current: None }
    }

    /// Goes to where `draws` batches have been drawn.
    pub fn seek(&mut self, draws: u64) {
        self.draws = draws;
    }

    /// Batches drawn so far: the number of the next one, from 0.
    pub fn draws(&self) -> u64 {
        self.draws
    }

    /// Batches of one epoch.
    pub fn len(&self) -> usize {
        self.per_epoch
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The epoch, from 0, of the next batch.
    pub fn epoch(&self) -> usize {
        (self.draws / self.len().max(1) as u64) as usize
    }

    /// Batches that this epoch still has.
    pub fn left(&self) -> usize {
        self.len() - self.place()
    }

    /// The next batch's place in its epoch.
    fn place(&self) -> usize {
        (self.draws % self.len().max(1) as u64) as usize
    }
}

impl Iterator for Epochs {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let (epoch, place) = (self.epoch(), self.place());
        let drawn = self.current.take().filter(|(number, _)| *number == epoch);
        let (_, all) = self
            .current
            .insert(drawn.unwrap_or_else(|| (epoch, bucket_batches(&self.buckets, self.batch_size, self.seed, epoch))));
        let batch = all.get(place)?.clone();
        self.draws += 1;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_follow_one_another_in_their_own_orders() {
        let mut epochs = Epochs::new(5, 2, 9);
        assert_eq!((epochs.len(), epochs.left(), epochs.epoch()), (3, 3, 0));
        let seen: Vec<Vec<usize>> = epochs.by_ref().take(9).collect();
        assert_eq!(seen, (0..3).flat_map(|epoch| batches(5, 2, 9, epoch)).collect::<Vec<_>>());
        assert_eq!((epochs.draws(), epochs.left(), epochs.epoch()), (9, 3, 3), "at the next epoch's first batch");
    }

    #[test]
    fn seeking_is_stepping() {
        for (items, batch_size) in [(1, 1), (5, 1), (5, 2), (6, 2), (3, 7)] {
            let mut stepped = Epochs::new(items, batch_size, 4);
            for draws in 0..20 {
                let mut sought = Epochs::new(items, batch_size, 4);
                sought.seek(draws);
                let where_it_is = |epochs: &Epochs| (epochs.draws(), epochs.epoch(), epochs.left());
                assert_eq!(where_it_is(&sought), where_it_is(&stepped), "{items} items by {batch_size} after {draws}");
                let rest: Vec<Vec<usize>> = sought.take(4).collect();
                assert_eq!(stepped.next().as_ref(), rest.first());
                let mut back = Epochs::new(items, batch_size, 4);
                back.seek(draws + 1);
                assert_eq!(back.take(3).collect::<Vec<_>>(), rest[1..]);
            }
            stepped.seek(0);
            assert_eq!(stepped.next(), batches(items, batch_size, 4, 0).first().cloned(), "backwards too");
        }
    }

    #[test]
    fn a_batch_has_one_bucket_and_every_item_is_seen_once() {
        let buckets = [2, 0, 2, 2, 1, 0, 2, 2, 1, 2, 2, 0];
        let mut orders = std::collections::BTreeSet::new();
        for epoch in 0..20 {
            let drawn = bucket_batches(&buckets, 3, 8, epoch);
            assert_eq!(drawn.len(), batch_count(&buckets, 3), "{drawn:?}");
            for batch in &drawn {
                assert!(batch.iter().all(|&item| buckets[item] == buckets[batch[0]]), "{batch:?}");
            }
            let mut sizes: Vec<_> = drawn.iter().map(|batch| (buckets[batch[0]], batch.len())).collect();
            orders.insert(sizes.clone());
            sizes.sort_unstable();
            assert_eq!(sizes, [(0, 3), (1, 2), (2, 1), (2, 3), (2, 3)], "what does not fill a batch is a smaller one");
            let mut seen = drawn.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..buckets.len()).collect::<Vec<_>>());
        }
        assert!(orders.len() > 8, "buckets take turns in another order each epoch");
        assert_eq!(bucket_batches(&[4; 9], 2, 8, 5), batches(9, 2, 8, 5), "one bucket is none");
    }

    #[test]
    fn seeking_in_the_middle_of_a_bucketed_epoch_is_stepping() {
        let buckets = vec![1, 0, 1, 1, 0, 2, 1];
        let mut stepped = Epochs::of_buckets(buckets.clone(), 2, 4);
        assert_eq!(stepped.len(), 4);
        for draws in 0..17 {
            let mut sought = Epochs::of_buckets(buckets.clone(), 2, 4);
            sought.seek(draws);
            assert_eq!((sought.epoch(), sought.left()), (stepped.epoch(), stepped.left()));
            assert_eq!(sought.next(), stepped.next());
        }
    }

    #[test]
    fn nothing_to_draw_is_an_end() {
        let mut none = Epochs::new(0, 2, 1);
        assert!(none.is_empty() && none.next().is_none() && none.left() == 0);
    }
}
