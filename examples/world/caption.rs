//! Captions at every level of detail, and the held-out captions of evaluation. Lower case, no prefixes, one
//! preposition for each place.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::rng::Rng;
use crate::scene::{Action, Animal, Coat, Detail, Place, Scene, reserved};

/// A caption that names all four, with what it names.
#[derive(Debug, Clone, Serialize)]
pub struct HeldOut {
    /// The caption.
    pub text: String,
    /// The animal.
    pub animal: Animal,
    /// Its coat.
    pub coat: Coat,
    /// What it does.
    pub action: Action,
    /// Where.
    pub place: Place,
}

/// A random caption of the scene: 20 % the bare animal, 46 % all four named, the rest any part by chance.
pub fn random(scene: &Scene, rng: &mut Rng) -> String {
    let (p, details) = match rng.below(100) {
        0..20 => (0.0, 0.0),
        20..66 => (1.0, 0.5),
        _ => (0.5, 0.5),
    };
    let coat = rng.chance(p).then_some(scene.coat);
    let action = rng.chance(p).then_some(scene.action);
    let place = rng.chance(p).then_some(scene.place);
    let details: Vec<Detail> = scene.details.iter().copied().filter(|_| rng.chance(details)).collect();
    write(scene.animal, coat, &details, action, place)
}

/// `n` captions that name all four, of reserved combinations only, so of scenes that no training picture shows. Each
/// of the reserved combinations (about 270) comes once in an order drawn from `seed` before any comes again.
pub fn held_out(n: usize, seed: u64) -> Vec<HeldOut> {
    let mut all = Vec::new();
    for (animal, coat) in Animal::ALL.iter().flat_map(|&a| Coat::ALL.iter().map(move |&c| (a, c))) {
        for (action, place) in activities() {
            if reserved(animal, coat, action, place) {
                let text = write(animal, Some(coat), &[], Some(action), Some(place));
                all.push(HeldOut { text, animal, coat, action, place });
            }
        }
    }
    Rng::new(seed, 0).shuffle(&mut all);
    all.into_iter().cycle().take(n).collect()
}

/// Every action with every place that it goes with.
fn activities() -> impl Iterator<Item = (Action, Place)> {
    let pairs = Action::ALL.iter().flat_map(|&action| Place::ALL.iter().map(move |&place| (action, place)));
    pairs.filter(|&(action, place)| (action == Action::Swimming) == (place == Place::Water))
}

/// "a brown dog with a red collar and a hat running on the beach", of the parts that are given.
pub fn write(
    animal: Animal,
    coat: Option<Coat>,
    details: &[Detail],
    action: Option<Action>,
    place: Option<Place>,
) -> String {
    let mut noun = animal.word().to_owned();
    if let Some(coat) = coat {
        noun = format!("{} {noun}", coat.word());
    }
    let mut text = format!("{} {noun}", if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" });
    for (i, detail) in details.iter().enumerate() {
        text += if i == 0 { " with " } else { " and " };
        text += match detail {
            Detail::Tongue => "its tongue out",
            Detail::RedCollar => "a red collar",
            Detail::BlueCollar => "a blue collar",
            Detail::Hat => "a hat",
            Detail::Scarf => "a scarf",
        };
    }
    if let Some(action) = action {
        text = format!("{text} {}", action.word());
    }
    if let Some(place) = place {
        text = format!("{text} {}", phrase(place));
    }
    text
}

/// Every word of every caption, and the rare word that experiments call their subject by: no caption has it, so it means
/// nothing yet.
pub fn words() -> BTreeSet<String> {
    let names = [
        Animal::ALL.iter().map(|x| x.word()).collect::<Vec<_>>(),
        Coat::ALL.iter().map(|x| x.word()).collect(),
        Action::ALL.iter().map(|x| x.word()).collect(),
        Place::ALL.iter().map(|x| phrase(*x)).collect(),
        vec!["a an with and its tongue out red blue collar hat scarf", "sks"],
    ];
    names.concat().iter().flat_map(|text| text.split(' ')).map(str::to_owned).collect()
}

/// The place with its preposition.
pub fn phrase(place: Place) -> &'static str {
    match place {
        Place::Grass => "on the grass",
        Place::Beach => "on the beach",
        Place::Snow => "in the snow",
        Place::Water => "in the water",
        Place::Room => "in the room",
        Place::Night => "at night",
        Place::Forest => "in the forest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_caption_reads_as_english() {
        let text = write(
            Animal::Elephant,
            Some(Coat::Orange),
            &[Detail::RedCollar, Detail::Hat],
            Some(Action::Running),
            Some(Place::Snow),
        );
        assert_eq!(text, "an orange elephant with a red collar and a hat running in the snow");
        assert_eq!(write(Animal::Elephant, None, &[], None, None), "an elephant");
    }

    #[test]
    fn held_out_captions_are_reserved_and_distinct() {
        let captions = held_out(240, 3);
        let texts: std::collections::BTreeSet<&str> = captions.iter().map(|c| c.text.as_str()).collect();
        assert_eq!(texts.len(), 240);
        assert!(captions.iter().all(|c| reserved(c.animal, c.coat, c.action, c.place)));
    }

    #[test]
    fn some_captions_are_the_bare_animal_and_each_word_is_listed() {
        let all: Vec<String> = (0..4000).map(|i| crate::files::draw_one(5, i, true).1).collect();
        let share = |f: fn(&&String) -> bool| all.iter().filter(f).count() as f64 / 4000.0;
        let words = words();
        assert!(all.iter().all(|t| t.split(' ').all(|word| words.contains(word))));
        assert!((share(|t| t.split(' ').count() == 2) - 0.22).abs() < 0.04);
    }
}
