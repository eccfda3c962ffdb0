//! Aspect-ratio buckets: which size an image is trained at.
//!
//! In: the resolution, the step, the shortest and the longest side. Out: the set of sizes, and of it the one for an image.
//! The set and the choice are those of kohya's sd-scripts where images may be enlarged (`make_bucket_resolutions`,
//! `BucketManager.select_bucket`): the square of the resolution's area; for each width the highest height within the area, and the
//! same on its side; all sides multiples of the step. Taken is the image's own size if it is one of them, else the nearest
//! w / h. Where images are not to be enlarged, one that is too small for its bucket has a bucket of its own: its sides cut to
//! the step (sd-scripts' `bucket_no_upscale` does so with all images).

use std::collections::BTreeMap;

use crate::config::{Buckets, Resolution};

/// The sizes that images may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSet {
    /// Width and height of each, ascending.
    sizes: Vec<(usize, usize)>,
    step: usize,
    min_side: usize,
    upscale: bool,
}

impl BucketSet {
    /// The set of these settings.
    pub fn new(resolution: Resolution, buckets: &Buckets) -> Self {
        let (area, step) = (resolution.area(), buckets.step.max(1));
        let min_side = (buckets.min_side / step * step).max(step);
        let max_side = buckets.max_side.next_multiple_of(step);
        let square = (area.isqrt() / step * step).max(step);
        let mut sizes = vec![(square, square)];
        for width in (min_side..=max_side).step_by(step) {
            let height = (area / width / step * step).min(max_side);
            if height >= min_side {
                sizes.extend([(width, height), (height, width)]);
            }
        }
        sizes.sort_unstable();
        sizes.dedup();
        Self { sizes, step, min_side, upscale: buckets.upscale }
    }

    /// Width and height of every bucket, ascending.
    pub fn sizes(&self) -> &[(usize, usize)] {
        &self.sizes
    }

    /// Height and width of the bucket for an image of this height and width; `None`: it is too small for any.
    pub fn of(&self, sides: [usize; 2]) -> Option<[usize; 2]> {
        let nearest = self.nearest(sides);
        let is_small = sides[0] < nearest[0] || sides[1] < nearest[1];
        if self.upscale || !is_small {
            return Some(nearest);
        }
        let most = self.sizes.last().map_or(usize::MAX, |(width, _)| *width);
        let own = sides.map(|side| (side / self.step * self.step).min(most));
        own.iter().all(|side| *side >= self.min_side).then_some(own)
    }

    /// The bucket of the nearest shape, whatever the image's size.
    pub fn nearest(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        if self.sizes.contains(&(width, height)) {
            return [height, width];
        }
        let ratio = width as f64 / height as f64;
        let error = |&(w, h): &(usize, usize)| (w as f64 / h as f64 - ratio).abs();
        // Of equal ones the first.
        let best = self.sizes.iter().min_by(|a, b| error(a).total_cmp(&error(b)));
        best.map_or([height, width], |&(w, h)| [h, w])
    }
}

/// What of `sizes` the image of this height and width is nearest to in shape: its own size if it is one of them, else the nearest
/// w / h, and of equal ones the first.
pub fn nearest_shape([height, width]: [usize; 2], sizes: &[[usize; 2]]) -> Option<[usize; 2]> {
    if sizes.contains(&[height, width]) {
        return Some([height, width]);
    }
    let ratio = |[h, w]: [usize; 2]| w as f64 / h as f64;
    let error = |size: &&[usize; 2]| (ratio(**size) - ratio([height, width])).abs();
    sizes.iter().min_by(|a, b| error(a).total_cmp(&error(b))).copied()
}

/// Shares `all` out over these sizes, ascending, in proportion to how often each is there.
pub fn shared_out(all: usize, sizes: impl IntoIterator<Item = [usize; 2]>) -> Vec<([usize; 2], usize)> {
    let mut counts: BTreeMap<[usize; 2], usize> = BTreeMap::new();
    for size in sizes {
        *counts.entry(size).or_default() += 1;
    }
    let shares = in_proportion(all, &counts.values().copied().collect::<Vec<_>>());
    counts.into_keys().zip(shares).collect()
}

/// Shares `all` out in proportion to `parts`, each rounded down and the rest to the largest remainders, of equal ones to the first.
fn in_proportion(all: usize, parts: &[usize]) -> Vec<usize> {
    let sum = parts.iter().sum::<usize>().max(1);
    let mut shares: Vec<usize> = parts.iter().map(|part| all * part / sum).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(all * parts[index] % sum));
    let rest = all - shares.iter().sum::<usize>();
    for index in order.into_iter().take(rest) {
        shares[index] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(width: usize, height: usize, step: usize, min: usize, max: usize, upscale: bool) -> BucketSet {
        let buckets = Buckets { on: true, step, min_side: min, max_side: max, upscale };
        BucketSet::new(Resolution { width, height }, &buckets)
    }

    /// The rule again, in other words: of all pairs of multiples of the step, those that are as high as the area lets them be.
    fn plainly(area: usize, step: usize, min: usize, max: usize) -> Vec<(usize, usize)> {
        let sides: Vec<usize> = (1..200).map(|n| n * step).filter(|side| (min..=max).contains(side)).collect();
        let fits = |w: usize, h: usize| w * h <= area;
        let mut all = Vec::new();
        for &w in &sides {
            if let Some(&h) = sides.iter().rev().find(|&&h| fits(w, h)) {
                all.extend([(w, h), (h, w)]);
            }
        }
        let square = (1..200).map(|n| n * step).rfind(|s| s * s <= area).expect("a square");
        all.push((square, square));
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn a_thousand_sizes_go_where_the_rule_says() {
        let mut random = crate::random::Generator::manual_seed(3);
        for (area, step, min, max) in [((512, 512), 64, 256, 1024), ((64, 64), 16, 32, 128), ((640, 448), 32, 256, 960)]
        {
            let sizes = plainly(area.0 * area.1, step, min, max);
            for upscale in [true, false] {
                let set = set(area.0, area.1, step, min, max, upscale);
                assert_eq!(set.sizes(), sizes);
                let mut small = 0;
                for _ in 0..1000 {
                    let [w, h] = [0, 1].map(|_| random.randint(3 * area.0 as u64, 1)[0] as usize + 1);
                    // In whole numbers: |w / h - bw / bh| of each is |w bh - bw h| / (h bh).
                    let error = |(bw, bh): (usize, usize)| ((w * bh).abs_diff(bw * h) as u128, bh as u128);
                    let nearer = |a, b| {
                        let ((ea, ha), (eb, hb)) = (error(a), error(b));
                        eb * ha < ea * hb
                    };
                    let best = sizes.iter().copied().reduce(|a, b| if nearer(a, b) { b } else { a }).expect("a bucket");
                    if sizes.iter().filter(|other| !nearer(**other, best)).count() > 1 && !sizes.contains(&(w, h)) {
                        // As near as one another: there the rule, as sd-scripts', is that of rounded numbers.
                        continue;
                    }
                    let (mut bw, mut bh) = best;
                    if sizes.contains(&(w, h)) {
                        (bw, bh) = (w, h);
                    }
                    let mut wanted = Some([bh, bw]);
                    if !upscale && (w < bw || h < bh) {
                        small += 1;
                        let own = [h, w]
                            .map(|side| (side - side % step).min(*sizes.iter().map(|(w, _)| w).max().expect("one")));
                        wanted = Some(own).filter(|own| own.iter().all(|side| *side >= min));
                    }
                    assert_eq!(set.of([h, w]), wanted, "{w} x {h}, upscale {upscale}");
                }
                assert!(upscale || (50..950).contains(&small), "{small}");
            }
        }
    }

    #[test]
    fn an_image_in_its_bucket_is_never_enlarged() {
        let set = set(512, 512, 64, 256, 1024, false);
        for (height, width) in (200..1300).step_by(37).flat_map(|h| (200..1300).step_by(41).map(move |w| (h, w))) {
            if let Some([h, w]) = set.of([height, width]) {
                assert!(h <= height && w <= width, "{width} x {height} in {w} x {h}");
            }
        }
    }

    #[test]
    fn shares_are_whole_and_sum_up() {
        assert_eq!(in_proportion(10, &[1, 1, 1]), [4, 3, 3]);
        assert_eq!(in_proportion(7, &[5, 2]), [5, 2]);
        assert_eq!(in_proportion(100, &[3, 0, 1]), [75, 0, 25]);
        assert_eq!(in_proportion(1, &[1, 9]), [0, 1]);
        for all in 0..50 {
            assert_eq!(in_proportion(all, &[3, 8, 1, 5]).iter().sum::<usize>(), all);
        }
    }
}
