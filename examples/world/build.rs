//! The proportions of each animal, in animal units: a standing animal is about 90 high.

use crate::palette::{INK, Rgb, Tones, WHITE, tones};
use crate::scene::{Animal, Coat};

/// Whom to draw: an animal of the world, or the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breed {
    /// One of the eight.
    Plain(Animal),
    /// The subject: a corgi.
    Corgi,
}

/// Whom to draw and in which colours.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    /// Whom.
    pub breed: Breed,
    /// The colours.
    pub tones: Tones,
}

/// The lengths that a pose needs.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// Radius of the head.
    pub head: f32,
    /// Radius of the hind quarters.
    pub hip: f32,
    /// Radius of the chest.
    pub chest: f32,
    /// From the middle of the hip to the middle of the chest.
    pub length: f32,
    /// From the belly to the ground.
    pub leg: f32,
    /// Half the width of a leg.
    pub thick: f32,
    /// How far the head is ahead of the chest, and above it.
    pub neck: (f32, f32),
}

impl Looks {
    /// Of an animal of the world.
    pub fn of(animal: Animal, coat: Coat) -> Self {
        Looks { breed: Breed::Plain(animal), tones: tones(coat) }
    }

    /// The same in dark surroundings, where a dark outline is lost: dark fur gets a moonlit one.
    pub fn moonlit(mut self) -> Self {
        if self.tones.base.dark() {
            self.tones.line = self.tones.light.mix(Rgb::hex(0x0090_9ac8), 0.5);
        }
        self
    }

    /// Of the subject: orange, with white where other coats are only lighter.
    pub fn corgi() -> Self {
        Looks { breed: Breed::Corgi, tones: Tones { light: WHITE, ..tones(Coat::Orange) } }
    }

    /// The colour of the lowest part of the legs, where it differs.
    pub fn socks(&self) -> Option<Rgb> {
        match self.breed {
            Breed::Corgi => Some(WHITE),
            Breed::Plain(Animal::Fox) => Some(self.tones.shade.mix(INK, 0.75)),
            Breed::Plain(Animal::Pig) => Some(self.tones.shade.mix(INK, 0.45)),
            Breed::Plain(_) => None,
        }
    }

    /// The proportions. The duck's serve its own figure.
    pub fn build(&self) -> Build {
        let of = |head, hip, chest, length, leg, thick, neck| Build { head, hip, chest, length, leg, thick, neck };
        match self.breed {
            Breed::Corgi => of(21.0, 14.5, 15.5, 42.0, 8.0, 5.4, (13.0, 24.0)),
            Breed::Plain(Animal::Dog) => of(20.0, 13.5, 15.5, 34.0, 19.0, 5.2, (12.0, 25.0)),
            Breed::Plain(Animal::Cat) => of(20.0, 12.5, 12.5, 34.0, 17.0, 4.3, (12.0, 21.0)),
            Breed::Plain(Animal::Rabbit) => of(19.0, 18.5, 14.0, 20.0, 8.5, 5.2, (11.0, 22.0)),
            Breed::Plain(Animal::Fox) => of(20.0, 12.0, 13.5, 34.0, 18.0, 4.3, (12.0, 21.0)),
            Breed::Plain(Animal::Bear) => of(20.0, 24.0, 23.0, 27.0, 11.0, 8.6, (19.0, 23.0)),
            Breed::Plain(Animal::Pig) => of(21.0, 21.0, 20.0, 28.0, 11.0, 5.6, (17.0, 14.0)),
            Breed::Plain(Animal::Duck) => of(16.0, 19.0, 16.0, 18.0, 12.0, 2.4, (12.0, 34.0)),
            Breed::Plain(Animal::Elephant) => of(22.5, 24.0, 22.0, 24.0, 15.0, 8.6, (20.0, 20.0)),
        }
    }
}
