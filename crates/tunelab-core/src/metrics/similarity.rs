//! The formulas, on feature vectors.
//!
//! In: features as an encoder gave them. Out: cosines, never scaled or clamped. Sums are in f64.

/// A vector over its length; one of length 0 stays as it is.
pub fn unit(features: &[f32]) -> Vec<f64> {
    let length = features.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    features.iter().map(|v| f64::from(*v) / if length > 0.0 { length } else { 1.0 }).collect()
}

/// The cosine of two unit vectors.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The mean cosine of one unit vector to each of `others`: of one image to all photographs, DINO's and CLIP-I's share of it.
/// The mean of these over the images is the mean over all pairs. `None` where there are no others.
pub fn cosine_to_each(one: &[f64], others: &[Vec<f64>]) -> Option<f64> {
    let sum: f64 = others.iter().map(|other| cosine(one, other)).sum();
    (!others.is_empty()).then(|| sum / others.len() as f64)
}

/// The largest cosine of one unit vector to `others`, and whose it is; of several the first.
pub fn nearest(one: &[f64], others: &[Vec<f64>]) -> Option<(f64, usize)> {
    let cosines = others.iter().enumerate().map(|(index, other)| (cosine(one, other), index));
    cosines.reduce(|best, next| if next.0 > best.0 { next } else { best })
}

/// 1 less the mean cosine of two different images of one prompt: 0 where all are the same. `None` of fewer than two.
pub fn diversity(images: &[Vec<f64>]) -> Option<f64> {
    let pairs = images.iter().enumerate().flat_map(|(i, one)| images[i + 1..].iter().map(move |two| cosine(one, two)));
    let (sum, count) = pairs.fold((0.0, 0_usize), |(sum, count), cosine| (sum + cosine, count + 1));
    (count > 0).then(|| 1.0 - sum / count as f64)
}

/// The [`diversity`] of each of `draws` of the images with replacement. A pair of an image with itself, which a draw may hold, does
/// not count: it is no pair of two. Draws without any other pair give nothing.
pub fn resampled_diversity(images: &[Vec<f64>], draws: &[Vec<usize>]) -> Vec<f64> {
    let cosines: Vec<Vec<f64>> = images.iter().map(|one| images.iter().map(|two| cosine(one, two)).collect()).collect();
    let of = |draw: &Vec<usize>| {
        let pairs = draw.iter().enumerate().flat_map(|(i, one)| draw[i + 1..].iter().map(move |two| (*one, *two)));
        let add = |(sum, count): (f64, usize), (one, two): (usize, usize)| (sum + cosines[one][two], count + 1);
        let (sum, count) = pairs.filter(|(one, two)| one != two).fold((0.0, 0), add);
        (count > 0).then(|| 1.0 - sum / count as f64)
    };
    draws.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resampled_diversity_counts_pairs_of_two_images() {
        // Cosines: 0 and 1 0.6, 0 and 2 0, 1 and 2 0.8.
        let images = [vec![1.0, 0.0], vec![0.6, 0.8], vec![0.0, 1.0]];
        let draws = [vec![0, 1, 2], vec![0, 0, 1], vec![2, 2, 2], vec![0, 2, 2]];
        let found = resampled_diversity(&images, &draws);
        let expected = [1.0 - 1.4 / 3.0, 1.0 - 0.6, 1.0];
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{found:?}");
        assert!((found[0] - diversity(&images).unwrap()).abs() < 1e-12);
    }
}
