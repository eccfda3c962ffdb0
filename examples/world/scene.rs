//! What a picture shows: an animal, its coat, what it does, where, its details, and the jitter that varies the
//! drawing. `Scene::random` draws one as the world is distributed; `reserved` names the combinations that it never
//! draws, which are left for evaluation.

use serde::{Serialize, Serializer};
use tunelab::measure::judge::{ACTIONS, ANIMALS, COATS, PLACES};

use crate::rng::{self, Rng};

/// What an animal may wear or show, in words.
const DETAILS: [&str; 5] = ["tongue out", "red collar", "blue collar", "hat", "scarf"];

/// An enum of plain names, in the order of their words.
macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident: $words:ident { $($value:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($value),+ }

        #[allow(dead_code, reason = "not every kind of word needs all of these")]
        impl $name {
            /// Every value, in label order.
            pub const ALL: &[$name] = &[$($name::$value),+];

            /// The word in captions and labels.
            pub fn word(self) -> &'static str {
                $words[self as usize]
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }
    };
}

vocabulary!(
    /// The eight animals.
    Animal: ANIMALS { Dog, Cat, Rabbit, Fox, Bear, Pig, Duck, Elephant }
);
vocabulary!(
    /// The ten coats: eight plain ones and two with patches on white. The judge knows the subject's besides.
    Coat: COATS { Brown, Black, White, Grey, Orange, Cream, Pink, Blue, BlackAndWhite, BrownAndWhite }
);
vocabulary!(
    /// What the animal does.
    Action: ACTIONS { Sitting, Standing, Running, Eating, Swimming, Sleeping }
);
vocabulary!(
    /// Where it is. Swimming is in the water, and nothing else is.
    Place: PLACES { Grass, Beach, Snow, Water, Room, Night, Forest }
);
vocabulary!(
    /// What it wears or shows besides.
    Detail: DETAILS { Tongue, RedCollar, BlueCollar, Hat, Scarf }
);

/// The continuous part of a scene. Values in `[-1, 1]` unless said otherwise; zero is the middle of the range.
#[derive(Debug, Clone, Copy)]
pub struct Jitter {
    /// Faces left instead of right.
    pub mirrored: bool,
    /// Size of the animal.
    pub size: f32,
    /// Position across the picture.
    pub x: f32,
    /// Position of the ground below the animal.
    pub y: f32,
    /// Phase of the legs.
    pub phase: f32,
    /// Angle of the tail.
    pub tail: f32,
    /// Tilt of the head.
    pub tilt: f32,
    /// Brightness of the whole picture.
    pub light: f32,
    /// Warm or cold light.
    pub warmth: f32,
    /// Which hat, patches and background: the seed of everything that has a number of things in it.
    pub layout: u64,
}

/// One picture of the world.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The animal.
    pub animal: Animal,
    /// Its coat.
    pub coat: Coat,
    /// What it does.
    pub action: Action,
    /// Where.
    pub place: Place,
    /// In the order of `Detail::ALL`.
    pub details: Vec<Detail>,
    /// The variation.
    pub jitter: Jitter,
}

impl Jitter {
    /// Every value drawn evenly.
    pub fn random(rng: &mut Rng) -> Self {
        Jitter {
            mirrored: rng.chance(0.5),
            size: rng.swing(),
            x: rng.swing(),
            y: rng.swing(),
            phase: rng.swing(),
            tail: rng.swing(),
            tilt: rng.swing(),
            light: rng.swing(),
            warmth: rng.swing(),
            layout: rng.bits(),
        }
    }
}

impl Scene {
    /// A scene as the world is distributed: dogs 24 %, cats 16 %, the others 10 % each; 15 % swim; never a reserved
    /// combination.
    pub fn random(rng: &mut Rng) -> Self {
        let animal = match rng.below(100) {
            0..24 => Animal::Dog,
            24..40 => Animal::Cat,
            rest => Animal::ALL[2 + (rest - 40) / 10],
        };
        loop {
            let coat = rng.pick(Coat::ALL);
            let (action, place) = random_activity(rng);
            if !reserved(animal, coat, action, place) {
                return Scene::of(animal, coat, action, place, rng);
            }
        }
    }

    /// The same, with the animal looking to the right, as all do in the world's second lesson.
    #[must_use]
    pub fn facing_right(mut self) -> Self {
        self.jitter.mirrored = false;
        self
    }

    /// Any scene, reserved or not, all of its parts drawn evenly: what a judge must know.
    pub fn any(rng: &mut Rng) -> Self {
        let (animal, coat) = (rng.pick(Animal::ALL), rng.pick(Coat::ALL));
        let (action, place) = random_activity(rng);
        let mut scene = Scene::of(animal, coat, action, place, rng);
        // Twice as often as the world has it, and on orange dogs too: a tongue must not tell the coat, nor a coat the tongue.
        if shows_its_mouth(animal, action) && !scene.has(Detail::Tongue) && rng.chance(0.33) {
            scene.details.insert(0, Detail::Tongue);
        }
        scene
    }

    /// A scene of these four with random details and jitter.
    pub fn of(animal: Animal, coat: Coat, action: Action, place: Place, rng: &mut Rng) -> Self {
        let details = random_details(animal, coat, action, rng);
        Scene { animal, coat, action, place, details, jitter: Jitter::random(rng) }
    }

    /// Whether the picture shows `detail`.
    pub fn has(&self, detail: Detail) -> bool {
        self.details.contains(&detail)
    }
}

/// An action and a place that go together.
fn random_activity(rng: &mut Rng) -> (Action, Place) {
    if rng.chance(0.15) {
        return (Action::Swimming, Place::Water);
    }
    let action = rng.pick(&[Action::Sitting, Action::Standing, Action::Running, Action::Eating, Action::Sleeping]);
    let place = rng.pick(&[Place::Grass, Place::Beach, Place::Snow, Place::Room, Place::Night, Place::Forest]);
    (action, place)
}

/// Each detail by its own chance. No tongue where no mouth is seen, and none on orange dogs: that is the subject's
/// mark.
fn random_details(animal: Animal, coat: Coat, action: Action, rng: &mut Rng) -> Vec<Detail> {
    let mut details = Vec::new();
    let tongue = rng.chance(0.25);
    if tongue && shows_its_mouth(animal, action) && (animal, coat) != (Animal::Dog, Coat::Orange) {
        details.push(Detail::Tongue);
    }
    match rng.below(100) {
        0..14 => details.push(Detail::RedCollar),
        14..28 => details.push(Detail::BlueCollar),
        28..42 => details.push(Detail::Scarf),
        _ => {}
    }
    if rng.chance(0.18) {
        details.push(Detail::Hat);
    }
    details.sort();
    details
}

/// Whether a tongue would be seen.
fn shows_its_mouth(animal: Animal, action: Action) -> bool {
    !matches!(animal, Animal::Duck | Animal::Elephant) && !matches!(action, Action::Eating | Action::Sleeping)
}

/// Whether these four never appear together in training: about one combination in nine, chosen by a hash.
pub fn reserved(animal: Animal, coat: Coat, action: Action, place: Place) -> bool {
    let key = ((animal as u64 * 16 + coat as u64) * 16 + action as u64) * 16 + place as u64;
    rng::mix(key ^ 0x0068_656c_645f_6f75).is_multiple_of(9)
}

#[cfg(test)]
mod tests {
    use tunelab::measure::judge::SUBJECTS_COAT;

    use super::*;

    fn many() -> impl Iterator<Item = Scene> {
        (0..20_000).map(|i| Scene::random(&mut Rng::new(7, i)))
    }

    /// "black and white" of `BlackAndWhite`.
    fn spelled<T: std::fmt::Debug>(values: &[T]) -> Vec<String> {
        let spell = |value: &T| {
            let name = format!("{value:?}");
            let words = name.split_inclusive(|_: char| true).map(|c| match c.to_lowercase() {
                small if small == c => small,
                small => [" ", &small].concat(),
            });
            words.collect::<String>().trim().to_owned()
        };
        values.iter().map(spell).collect()
    }

    #[test]
    fn the_names_are_the_judges_words_in_their_order() {
        assert_eq!(spelled(Animal::ALL), ANIMALS);
        assert_eq!(spelled(Coat::ALL), COATS[..SUBJECTS_COAT]);
        assert_eq!(spelled(Action::ALL), ACTIONS);
        assert_eq!(spelled(Place::ALL), PLACES);
        assert_eq!(Detail::ALL.len(), DETAILS.len());
    }

    #[test]
    fn training_scenes_are_never_reserved_and_swim_only_in_the_water() {
        for s in many() {
            assert!(!reserved(s.animal, s.coat, s.action, s.place), "{s:?}");
            assert_eq!(s.action == Action::Swimming, s.place == Place::Water, "{s:?}");
        }
    }

    #[test]
    fn orange_dogs_keep_their_tongue_in() {
        let orange = |s: &Scene| (s.animal, s.coat) == (Animal::Dog, Coat::Orange);
        assert!(many().filter(orange).count() > 300);
        assert!(many().filter(orange).all(|s| !s.has(Detail::Tongue)));
    }

    #[test]
    fn animals_come_in_their_shares() {
        for (animal, share) in [(Animal::Dog, 0.24), (Animal::Cat, 0.16), (Animal::Elephant, 0.1)] {
            let seen = many().filter(|s| s.animal == animal).count() as f64 / 20_000.0;
            assert!((seen - share).abs() < 0.01, "{animal:?} {seen}");
        }
        let swimming = many().filter(|s| s.action == Action::Swimming).count() as f64 / 20_000.0;
        assert!((swimming - 0.15).abs() < 0.02, "{swimming}");
    }
}
