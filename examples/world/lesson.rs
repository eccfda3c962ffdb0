//! What the judge learns from and how: drawn pictures, each of them seen once.
//!
//! In: a seed and a number of steps. Out: the judge's weights as f16, and how it does on fresh pictures. Its pictures are not
//! distributed as the world's: every combination appears, those that are left for evaluation too, and dogs of each coat
//! show their tongues, so that no answer can be guessed from another. Half of those that it learns from are softened; in a
//! second lesson they go through the model's autoencoder, as those that it will judge have.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use tunelab::config::{self, AdamW, LrScheduler};
use tunelab::data::{Rgb, from_tensor};
use tunelab::error::Result;
use tunelab::measure::judge::{ANSWERS, Answers, Judge, QUESTIONS, SIDE, SUBJECTS_COAT};
use tunelab::model::build::{Build, Trainable};
use tunelab::model::vae::Vae;
use tunelab::train::lr::learning_rate;
use tunelab::train::optimizer::Optimizer;
use tunelab::weights::write_safetensors;
use tunelab_ops::{composed, tape};

use crate::judge::{answers, ask, batch, position};
use crate::picture;
use crate::rng::Rng;
use crate::scene::{Coat, Scene};
use crate::subject;
use crate::tally::Tally;

const BATCH: usize = 32;
/// The share of pictures that show the subject.
const SUBJECT: f32 = 0.08;
const RATE: f64 = 2e-3;
const RATE_AGAIN: f64 = 1e-3;
/// The first picture of a second lesson.
const AGAIN: usize = 1 << 32;
const WARMUP: usize = 50;
const SETTINGS: config::Optimizer =
    config::Optimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 1e-2 });
/// Gradients are scaled down to this global norm.
const MAX_GRAD_NORM: f64 = 1.0;

/// A drawn picture with what it shows.
pub struct Example {
    /// The picture.
    pub picture: Rgb,
    /// What is right.
    pub answers: Answers,
}

impl Example {
    /// Example `index` of `seed`.
    pub fn draw(seed: u64, index: u64) -> Self {
        // Other numbers than the world's own pictures of this seed.
        let mut rng = Rng::new(!seed, index);
        let (pixels, answers) = if rng.chance(SUBJECT) {
            let mut scene = subject::any(&mut rng);
            if rng.chance(0.5) {
                scene.details.clear();
            }
            (subject::picture(&scene, SIDE), answers(&scene, SUBJECTS_COAT))
        } else {
            let scene = Scene::any(&mut rng);
            let coat = position(Coat::ALL, &scene.coat);
            (picture::picture(&scene, SIDE), answers(&scene, coat))
        };
        Self { picture: Rgb { width: SIDE, height: SIDE, pixels }, answers }
    }

    /// `count` examples from `first` on.
    fn many(seed: u64, first: usize, count: usize) -> Vec<Self> {
        (first..first + count).into_par_iter().map(|i| Self::draw(seed, i as u64)).collect()
    }
}

/// The pictures of a batch, the second half of them as they come out of the autoencoder or, without one, softened.
fn worn(examples: &[Example], through: Option<&Vae>) -> Result<Vec<Rgb>> {
    let mut pictures = pictures(examples);
    let half = pictures.split_off(examples.len() / 2);
    pictures.extend(match through {
        Some(vae) => reconstruct(vae, &half)?,
        None => half.iter().map(soften).collect(),
    });
    Ok(pictures)
}

fn pictures(examples: &[Example]) -> Vec<Rgb> {
    examples.iter().map(|example| example.picture.clone()).collect()
}

/// What an autoencoder makes of pictures.
fn reconstruct(vae: &Vae, pictures: &[Rgb]) -> Result<Vec<Rgb>> {
    from_tensor(&vae.decode(&vae.encode(&batch(pictures)?)?.mean)?)
}

/// Each pixel halfway to the mean of its four neighbours.
fn soften(picture: &Rgb) -> Rgb {
    let Rgb { width, height, ref pixels } = *picture;
    let at = |x: usize, y: usize, c: usize| u32::from(pixels[(y * width + x) * 3 + c]);
    let pixel = |i: usize| {
        let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
        let across = at(x.saturating_sub(1), y, c) + at((x + 1).min(width - 1), y, c);
        let down = at(x, y.saturating_sub(1), c) + at(x, (y + 1).min(height - 1), c);
        ((4 * at(x, y, c) + across + down + 4) / 8) as u8
    };
    Rgb { width, height, pixels: (0..pixels.len()).map(pixel).collect() }
}

/// How a lesson goes.
pub struct Lesson<'a> {
    /// Batches of 32 pictures.
    pub steps: usize,
    /// Seeds pictures and first weights.
    pub seed: u64,
    /// The autoencoder that half of the pictures go through. With it the lesson is a second one: it begins with the weights
    /// that are there, and learns more slowly.
    pub through: Option<&'a Vae>,
}

/// Trains and writes the weights as f16.
pub fn train(file: &Path, lesson: &Lesson) -> Result<()> {
    let Lesson { steps, seed, through } = *lesson;
    let (peak, first) = if through.is_some() { (RATE_AGAIN, AGAIN) } else { (RATE, 0) };
    let (judge, parameters) = match through {
        Some(_) => Judge::load(file, Trainable::Full, &Device::Cpu)?,
        None => Judge::new(Build::untrained(Trainable::Full, seed, &Device::Cpu))?,
    };
    let mut optimizer = Optimizer::new(parameters.trained(), &SETTINGS, MAX_GRAD_NORM)?;
    for step in 0..steps {
        let examples = Example::many(seed, first + step * BATCH, BATCH);
        let pictures = worn(&examples, through)?;
        let (loss, tape) = tape::record(|| loss(&judge, &pictures, &examples))?;
        let rate = learning_rate(LrScheduler::Cosine, peak, step, WARMUP.min(steps / 10), steps);
        optimizer.step(&optimizer.gradients(&loss, tape)?, rate, 1.0)?;
        if (step + 1) % 100 == 0 {
            eprintln!("step {} of {steps}: loss {:.4}", step + 1, loss.to_scalar::<f32>()?);
        }
    }
    let half = |(name, t): (&String, &Tensor)| Ok((name.clone(), t.detach().to_dtype(DType::F16)?));
    let weights = parameters.weights.iter().map(half).collect::<Result<BTreeMap<_, _>>>()?;
    write_safetensors(file, &weights, &BTreeMap::new())
}

/// The sum of the questions' cross-entropies.
fn loss(judge: &Judge, pictures: &[Rgb], examples: &[Example]) -> Result<Tensor> {
    let scores = judge.scores(&judge.features(&batch(pictures)?)?)?;
    Ok(composed(&scores.iter().collect::<Vec<_>>(), |scores| {
        let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        for (question, scores) in scores.iter().enumerate() {
            let classes = scores.dim(1)?;
            let right = examples.iter().flat_map(|e| (0..classes).map(move |class| class == e.answers[question]));
            let right = Tensor::from_iter(right.map(|right| if right { 1f32 } else { 0.0 }), &Device::Cpu)?;
            let largest = scores.detach().max_keepdim(1)?;
            let scores = scores.broadcast_sub(&largest)?;
            let log_sum = scores.exp()?.sum(1)?.log()?;
            sum = (sum + (log_sum - (&scores * right.reshape(scores.shape())?)?.sum(1)?)?.mean_all()?)?;
        }
        Ok(sum)
    })?)
}

/// What came of an exam.
pub struct Exam {
    /// All answers.
    pub tally: Tally,
    /// Pictures about which an answer was wrong.
    pub wrong: Vec<Rgb>,
    /// For each of them what was wrong, as "coat: grey for white".
    pub errors: Vec<String>,
}

/// Asks the judge about `count` fresh pictures, as they were drawn or as they come out of an autoencoder.
pub fn examine(judge: &Judge, count: usize, seed: u64, through: Option<&Vae>) -> Result<Exam> {
    let mut exam = Exam { tally: Tally::new(QUESTIONS.len()), wrong: Vec::new(), errors: Vec::new() };
    for first in (0..count).step_by(BATCH) {
        let examples = Example::many(seed, first, BATCH.min(count - first));
        let mut pictures = pictures(&examples);
        if let Some(vae) = through {
            pictures = reconstruct(vae, &pictures)?;
        }
        let (given, _) = ask(judge, &pictures)?;
        for ((given, example), picture) in given.iter().zip(&examples).zip(pictures) {
            exam.tally.add(&example.answers, given);
            if *given != example.answers {
                exam.errors.push(errors(&example.answers, given));
                exam.wrong.push(picture);
            }
        }
    }
    Ok(exam)
}

/// "coat: grey for white, tongue: in for out".
pub fn errors(right: &[usize], given: &[usize]) -> String {
    let wrong = (0..right.len()).filter(|&q| right[q] != given[q]);
    let texts: Vec<String> =
        wrong.map(|q| format!("{}: {} for {}", QUESTIONS[q], ANSWERS[q][given[q]], ANSWERS[q][right[q]])).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brush::autoencoder;
    use crate::vocabulary::Vocabulary;
    use crate::{caption, untrained};

    #[test]
    fn the_judge_learns_the_places_in_a_few_steps() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("judge.safetensors");
        train(&file, &Lesson { steps: 16, seed: 3, through: None })?;
        assert!(fs_err::metadata(&file)?.len() < 1_000_000);
        // A second lesson goes on from there.
        let words = caption::words();
        untrained::write(folder.path(), &Vocabulary::of(words.iter().map(String::as_str)), 1)?;
        train(&file, &Lesson { steps: 1, seed: 3, through: Some(&autoencoder(folder.path())?) })?;
        let exam = examine(&Judge::open(&file, &Device::Cpu)?, 64, 4, None)?;
        let place = exam.tally.share(3).unwrap_or_default();
        assert!(place > 0.4, "one in seven or so by chance: {place}");
        assert!(exam.wrong.len() > 10 && exam.wrong.len() == exam.errors.len());
        Ok(())
    }

    #[test]
    fn every_answer_is_among_the_examples_and_colour_does_not_tell_the_tongue() {
        let all: Vec<Answers> = (0..3000).map(|i| Example::draw(1, i).answers).collect();
        for (question, answers) in ANSWERS.iter().enumerate() {
            for answer in 0..answers.len() {
                assert!(all.iter().filter(|a| a[question] == answer).count() > 100, "{question} {answer}");
            }
        }
        for coat in [4, SUBJECTS_COAT] {
            let dogs = all.iter().filter(|a| a[0] == 0 && a[1] == coat);
            let (out, inside): (Vec<&Answers>, _) = dogs.partition(|a| a[4] == 1);
            assert!(out.len() > 3 && inside.len() > 3, "{coat}: {} and {}", out.len(), inside.len());
        }
    }

    #[test]
    fn softening_keeps_flat_colour_and_blurs_an_edge() {
        let edge = Rgb { width: 4, height: 1, pixels: [[0; 3], [0; 3], [200; 3], [200; 3]].concat() };
        let reds: Vec<u8> = soften(&edge).pixels.iter().step_by(3).copied().collect();
        assert_eq!(reds, [0, 25, 175, 200]);
    }
}
