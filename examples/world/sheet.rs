//! The contact sheet to look at: each animal, coat, action and place in turn with all else random, and the subject.

use crate::picture::picture;
use crate::rng::Rng;
use crate::scene::{Action, Animal, Coat, Place, Scene};
use crate::subject;

/// Pictures in a row.
const COLUMNS: usize = 10;

/// The rows: eight animals, one of coats (on two animals), six actions, seven places, the subject's five and five
/// unseen.
pub fn rows(seed: u64, size: usize) -> Vec<Vec<Vec<u8>>> {
    let mut rng = Rng::new(seed, 0);
    let mut rows: Vec<Vec<Scene>> = Vec::new();
    for &animal in Animal::ALL {
        rows.push((0..COLUMNS).map(|_| find(&mut rng, |s| s.animal = animal)).collect());
    }
    for animal in [Animal::Dog, Animal::Elephant] {
        let coats = Coat::ALL.iter();
        rows.push(coats.map(|&coat| find(&mut rng, |s| (s.animal, s.coat) = (animal, coat))).collect());
    }
    for &action in Action::ALL {
        rows.push(
            (0..COLUMNS).map(|i| find(&mut rng, |s| (s.animal, s.action) = (Animal::ALL[i % 8], action))).collect(),
        );
    }
    for &place in Place::ALL {
        rows.push((0..COLUMNS).map(|_| find(&mut rng, |s| s.place = place)).collect());
    }
    let mut pictures: Vec<Vec<Vec<u8>>> =
        rows.iter().map(|row| row.iter().map(|s| picture(s, size)).collect()).collect();
    let dogs = subject::five().into_iter().chain(subject::unseen(COLUMNS - 5, seed));
    pictures.push(dogs.map(|s| subject::picture(&s, size)).collect());
    pictures
}

/// A random scene with something set, and action and place made to agree.
fn find(rng: &mut Rng, set: impl Fn(&mut Scene)) -> Scene {
    loop {
        let mut scene = Scene::random(rng);
        let free = (scene.action, scene.place);
        set(&mut scene);
        let agrees = (scene.action == Action::Swimming) == (scene.place == Place::Water);
        if agrees || free == (scene.action, scene.place) {
            let Scene { animal, coat, action, place, .. } = scene;
            return Scene::of(animal, coat, action, place, rng).facing_right();
        }
    }
}
