//! The subject of the experiments: one particular dog, an orange-and-white corgi with its tongue out. The world has
//! no other dog with upright ears, none in orange and white, and no orange one that shows its tongue.

use crate::build::Looks;
use crate::picture::picture_of;
use crate::rng::Rng;
use crate::scene::{Action, Animal, Coat, Detail, Jitter, Place, Scene};

/// The five pictures to train on.
const FIVE: [(Action, Place); 5] = [
    (Action::Sitting, Place::Grass),
    (Action::Standing, Place::Beach),
    (Action::Running, Place::Grass),
    (Action::Sitting, Place::Room),
    (Action::Standing, Place::Snow),
];

/// The scenes of the five pictures.
pub fn five() -> Vec<Scene> {
    let scene = |(i, (action, place)): (usize, (Action, Place))| {
        of(action, place, &mut Rng::new(0x636f_7267_6973, i as u64)).facing_right()
    };
    FIVE.into_iter().enumerate().map(scene).collect()
}

/// `n` other scenes of the subject, to measure with: none of the five's pairs of action and place.
pub fn unseen(n: usize, seed: u64) -> Vec<Scene> {
    let scene = |i: usize| {
        let mut rng = Rng::new(seed ^ 0x756e_7365_656e, i as u64);
        loop {
            let action = rng.pick(&[Action::Sitting, Action::Standing, Action::Running]);
            let place = rng.pick(&[Place::Grass, Place::Beach, Place::Snow, Place::Room, Place::Night, Place::Forest]);
            if !FIVE.contains(&(action, place)) {
                return of(action, place, &mut rng).facing_right();
            }
        }
    };
    (0..n).map(scene).collect()
}

/// Any scene of the subject, as a judge must know it: sitting, standing or running anywhere on land.
pub fn any(rng: &mut Rng) -> Scene {
    let action = rng.pick(&[Action::Sitting, Action::Standing, Action::Running]);
    let place = rng.pick(&[Place::Grass, Place::Beach, Place::Snow, Place::Room, Place::Night, Place::Forest]);
    of(action, place, rng)
}

/// The subject's picture of one of these scenes: `size` x `size` interleaved RGB.
pub fn picture(scene: &Scene, size: usize) -> Vec<u8> {
    picture_of(scene, &Looks::corgi(), size)
}

fn of(action: Action, place: Place, rng: &mut Rng) -> Scene {
    let jitter = Jitter::random(rng);
    Scene { animal: Animal::Dog, coat: Coat::Orange, action, place, details: vec![Detail::Tongue], jitter }
}
