//! What a set of pictures of one prompt shows, in numbers that can be compared.
//!
//! In: the judge and pictures. Out: shares of what it sees, and distances between its features. Distances are in units of the
//! mean distance between two drawn dogs of the world.

use tunelab::data::Rgb;
use tunelab::error::Result;
use tunelab::measure::judge::{Answers, Judge, SIDE, SUBJECTS_COAT};

use crate::judge::{ask, position};
use crate::picture;
use crate::rng::Rng;
use crate::scene::{Animal, Coat, Scene};
use crate::subject;

/// Drawn pictures to measure against.
const DRAWN: usize = 96;
const SEED: u64 = 0x006d_6561_7375_7265;

/// What is said of a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Looks {
    /// The share of pictures with the animal of the prompt.
    pub animal: f64,
    /// The share in orange fur, with or without white.
    pub orange: f64,
    /// The share with the tongue out.
    pub tongue: f64,
    /// The share that shows the subject: a dog in its coat.
    pub subject: f64,
    /// The energy distance (Székely & Rizzo 2013) of the set from pictures of the subject that nothing was trained on: 0 if they
    /// cannot be told apart.
    pub distance: f64,
    /// How many coats there are, as the exponential of their entropy.
    pub coats: f64,
    /// The mean distance between two pictures of the set.
    pub variety: f64,
}

/// The judge with what it measures against.
pub struct Measure {
    judge: Judge,
    subject: Vec<Vec<f32>>,
    /// The mean distance between two drawn dogs.
    unit: f64,
}

impl Measure {
    /// Draws the subject and dogs to measure against.
    pub fn new(judge: Judge) -> Result<Self> {
        let (_, dogs) = ask(&judge, &drawn(Animal::Dog, DRAWN, SEED))?;
        let (_, subject) = ask(&judge, &unseen(DRAWN, SEED))?;
        Ok(Self { judge, subject, unit: within(&dogs) })
    }

    /// What pictures of `animal` show.
    pub fn looks(&self, pictures: &[Rgb], animal: Animal) -> Result<Looks> {
        let (answers, features) = ask(&self.judge, pictures)?;
        let share = |seen: &dyn Fn(&Answers) -> bool| {
            answers.iter().filter(|a| seen(a)).count() as f64 / answers.len().max(1) as f64
        };
        let [dog, wanted] = [Animal::Dog, animal].map(|a| position(Animal::ALL, &a));
        let orange = [position(Coat::ALL, &Coat::Orange), SUBJECTS_COAT];
        let distance = 2.0 * between(&features, &self.subject) - within(&features) - within(&self.subject);
        Ok(Looks {
            animal: share(&|a| a[0] == wanted),
            orange: share(&|a| orange.contains(&a[1])),
            tongue: share(&|a| a[4] == 1),
            subject: share(&|a| a[0] == dog && a[1] == SUBJECTS_COAT),
            distance: distance / self.unit,
            coats: effective_number(&answers.iter().map(|a| a[1]).collect::<Vec<_>>()),
            variety: within(&features) / self.unit,
        })
    }
}

/// Drawn pictures of one animal with all else even.
pub fn drawn(animal: Animal, count: usize, seed: u64) -> Vec<Rgb> {
    let one = |index: usize| {
        let mut rng = Rng::new(seed, index as u64);
        let scene = loop {
            let scene = Scene::random(&mut rng);
            if scene.animal == animal {
                break scene;
            }
        };
        rgb(picture::picture(&scene.facing_right(), SIDE))
    };
    (0..count).map(one).collect()
}

/// Pictures of the subject in poses and places of which the five photographs have none.
pub fn unseen(count: usize, seed: u64) -> Vec<Rgb> {
    subject::unseen(count, seed).iter().map(|scene| rgb(subject::picture(scene, SIDE))).collect()
}

fn rgb(pixels: Vec<u8>) -> Rgb {
    Rgb { width: SIDE, height: SIDE, pixels }
}

/// The mean distance from a picture of one set to one of the other.
fn between(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    mean(a.iter().flat_map(|x| b.iter().map(move |y| distance(x, y))))
}

/// The mean distance between two different pictures of a set.
fn within(set: &[Vec<f32>]) -> f64 {
    mean(set.iter().enumerate().flat_map(|(i, x)| set[..i].iter().map(move |y| distance(x, y))))
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

/// e to the entropy of the shares: k for k things that are equally frequent.
fn effective_number(things: &[usize]) -> f64 {
    let mut counts = std::collections::BTreeMap::<usize, usize>::new();
    for thing in things {
        *counts.entry(*thing).or_default() += 1;
    }
    let share = |count: &usize| *count as f64 / things.len() as f64;
    counts.values().map(share).map(|p| -p * p.ln()).sum::<f64>().exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_numbers_count_what_is_equally_frequent() {
        assert!((effective_number(&[3, 3, 7, 7, 9, 9]) - 3.0).abs() < 1e-12);
        assert!((effective_number(&[5; 8]) - 1.0).abs() < 1e-12);
        // Three quarters and one quarter: exp(0.5623).
        assert!((effective_number(&[1, 1, 1, 2]) - 1.7548).abs() < 1e-4);
    }

    #[test]
    fn distances_are_means_over_pairs() {
        let (a, b) = (vec![vec![0.0, 0.0], vec![3.0, 4.0]], vec![vec![0.0, 0.0], vec![6.0, 8.0]]);
        assert!((within(&a) - 5.0).abs() < 1e-12);
        assert!((between(&a, &b) - (0.0 + 10.0 + 5.0 + 5.0) / 4.0).abs() < 1e-12);
    }

    #[test]
    fn the_pictures_to_measure_against_are_dogs_of_all_coats() {
        let pictures = drawn(Animal::Dog, 4, 1);
        assert!(pictures.windows(2).all(|two| two[0] != two[1]));
        assert_eq!(unseen(2, 1).len(), 2);
    }
}
