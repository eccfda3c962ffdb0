//! What the judge is asked about scenes, captions and pictures of the world.
//!
//! In: scenes, held-out captions, pictures. Out: the right answers, and the judge's. Network and words are the program's
//! own ([`tunelab::measure::judge`]); `lesson` trains it, on drawn pictures only.

use candle_core::Tensor;
use tunelab::data::{Rgb, to_tensor};
use tunelab::error::Result;
use tunelab::measure::judge::{Answers, Judge};

use crate::caption::HeldOut;
use crate::scene::{Action, Animal, Coat, Detail, Place, Scene};

/// How many of the questions a held-out caption answers: all but the last.
pub const CAPTIONED: usize = 4;
/// Pictures judged at once.
const BATCH: usize = 32;

/// What is right about a scene whose animal has coat number `coat`.
pub fn answers(scene: &Scene, coat: usize) -> Answers {
    let Scene { animal, action, place, .. } = scene;
    let tongue = usize::from(scene.has(Detail::Tongue));
    [position(Animal::ALL, animal), coat, position(Action::ALL, action), position(Place::ALL, place), tongue]
}

/// What is right about a picture of this caption.
pub fn asked(caption: &HeldOut) -> [usize; CAPTIONED] {
    let HeldOut { animal, coat, action, place, .. } = caption;
    [
        position(Animal::ALL, animal),
        position(Coat::ALL, coat),
        position(Action::ALL, action),
        position(Place::ALL, place),
    ]
}

/// The number of a word among all of its kind.
pub fn position<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().position(|other| other == one).unwrap_or_default()
}

/// The answers to all questions about each picture, and its features.
pub fn ask(judge: &Judge, pictures: &[Rgb]) -> Result<(Vec<Answers>, Vec<Vec<f32>>)> {
    let (mut answers, mut all) = (Vec::with_capacity(pictures.len()), Vec::with_capacity(pictures.len()));
    for pictures in pictures.chunks(BATCH) {
        let features = judge.features(&batch(pictures)?)?;
        answers.extend(judge.answers(&features)?);
        all.extend(features.to_vec2()?);
    }
    Ok((answers, all))
}

/// Pictures as one tensor.
pub fn batch(pictures: &[Rgb]) -> Result<Tensor> {
    Ok(Tensor::stack(&pictures.iter().map(to_tensor).collect::<Result<Vec<_>>>()?, 0)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;
    use tunelab::measure::Caption;

    use super::*;
    use crate::caption::write;
    use crate::rng::Rng;
    use crate::subject;

    /// Every animal, coat, action and place by itself and together, with every detail.
    #[test]
    fn what_a_caption_of_the_world_says_is_read() {
        let details = [&[][..], Detail::ALL, &[Detail::BlueCollar], &[Detail::RedCollar, Detail::Tongue]];
        for details in details {
            let tongue = details.contains(&Detail::Tongue).then_some(1);
            for (a, &animal) in Animal::ALL.iter().enumerate() {
                let read = |coat, action, place| {
                    Caption::read(&write(animal, coat, details, action, place)).map(|caption| caption.said())
                };
                assert_eq!(read(None, None, None), Some([Some(a), None, None, None, tongue]));
                for (c, &coat) in Coat::ALL.iter().enumerate() {
                    assert_eq!(read(Some(coat), None, None), Some([Some(a), Some(c), None, None, tongue]));
                    for (d, &action) in Action::ALL.iter().enumerate() {
                        for (p, &place) in Place::ALL.iter().enumerate() {
                            let all = [Some(a), Some(c), Some(d), Some(p), tongue];
                            assert_eq!(read(Some(coat), Some(action), Some(place)), Some(all));
                        }
                    }
                }
            }
        }
    }

    /// What is compiled in knows the world, and the subject by its coat.
    #[test]
    fn the_shipped_judge_is_right_about_drawn_pictures() -> Result<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/tunelab-core/assets/mini/judge.safetensors");
        let judge = Judge::open(&file, &Device::Cpu)?;
        let exam = crate::lesson::examine(&judge, 256, 11, None)?;
        for (question, least) in [0.95, 0.98, 0.98, 0.98, 0.95].into_iter().enumerate() {
            let share = exam.tally.share(question).unwrap_or_default();
            assert!(share > least, "question {question}: {share}");
        }
        let scenes: Vec<Scene> = (0..32).map(|i| subject::any(&mut Rng::new(2, i))).collect();
        let side = tunelab::measure::judge::SIDE;
        let rgb = |scene: &Scene| Rgb { width: side, height: side, pixels: subject::picture(scene, side) };
        let (given, features) = ask(&judge, &scenes.iter().map(rgb).collect::<Vec<_>>())?;
        let coat = tunelab::measure::judge::SUBJECTS_COAT;
        let right = given.iter().zip(&scenes).filter(|(given, scene)| **given == answers(scene, coat)).count();
        assert!(right > 29, "{right} of 32");
        assert!(features.iter().all(|vector| vector.len() == 96));
        Ok(())
    }
}
