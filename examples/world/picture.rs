//! One scene as a picture: the place, the animal fitted into it, and the signs of what it does (speed, sleep, water).

use crate::build::{Breed, Looks};
use crate::duck::duck;
use crate::figure::figure;
use crate::frame::{Frame, ORIGIN, P};
use crate::palette::{Rgb, WHITE};
use crate::place;
use crate::rng::Rng;
use crate::scene::{Action, Animal, Place, Scene};
use crate::sketch::{Sketch, paint};

/// The scene with its animal in the world's looks: `size` x `size` interleaved RGB.
pub fn picture(scene: &Scene, size: usize) -> Vec<u8> {
    picture_of(scene, &Looks::of(scene.animal, scene.coat), size)
}

/// The scene with an animal of the given looks.
pub fn picture_of(scene: &Scene, looks: &Looks, size: usize) -> Vec<u8> {
    paint(&compose(scene, looks), gain(scene), size)
}

/// The light: brightness within 5 %, red against blue within 2 %.
fn gain(scene: &Scene) -> [f32; 3] {
    let (light, warmth) = (0.98 + 0.05 * scene.jitter.light, 0.02 * scene.jitter.warmth);
    [light * (1.0 + warmth), light, light * (1.0 - warmth)]
}

fn compose(scene: &Scene, looks: &Looks) -> Sketch {
    let swims = scene.action == Action::Swimming;
    let ground = if swims { 68.0 + 2.5 * scene.jitter.y } else { 88.0 + 3.0 * scene.jitter.y };
    let mut rng = Rng::new(scene.jitter.layout, 0);
    let mut sketch = place::background(scene.place, ground, &mut rng);
    let looks = if scene.place == Place::Night { looks.moonlit() } else { *looks };
    let animal = match looks.breed {
        Breed::Plain(Animal::Duck) => duck(scene, &looks),
        _ => figure(scene, &looks),
    };
    let bounds = animal.bounds();
    let (frame, left, right) = fit(scene, bounds, ground);
    if !swims {
        let (x, wide) = (f32::midpoint(left, right), (right - left) * 0.44);
        sketch.glaze(ORIGIN.ellipse(x, ground + 0.5, wide, 3.6), Rgb::hex(0x0020_2038), 0.22);
    }
    if scene.action == Action::Running {
        speed(&mut sketch, scene.place, frame, bounds);
    }
    let animal = if scene.place == Place::Night { animal.tinted(Rgb::hex(0x0028_3c8c), 0.06) } else { animal };
    sketch.add(animal.to(frame));
    if swims {
        sketch.add(place::surface(ground, left, right, &mut rng));
    }
    if scene.action == Action::Sleeping {
        sleep(
            &mut sketch,
            frame.locate((bounds[2] - 0.12 * (bounds[2] - bounds[0]), bounds[1])),
            scene.jitter.mirrored,
        );
    }
    sketch
}

/// The frame that puts an animal of these bounds on the ground, large; and its left and right edge in the picture.
fn fit(scene: &Scene, [left, top, right, bottom]: [f32; 4], ground: f32) -> (Frame, f32, f32) {
    let bottom = if scene.action == Action::Swimming { 0.0 } else { bottom.max(0.0) };
    let (wide, high) = (right - left, bottom - top);
    let room = match scene.action {
        Action::Running => 84.0,
        Action::Eating => 92.0,
        _ => 86.0,
    };
    let tall = if scene.action == Action::Sleeping { 62.0 } else { ground - 10.0 };
    let zoom = (room / wide).min(tall / high).min(1.2) * (0.91 + 0.09 * scene.jitter.size);
    let free = (100.0 - wide * zoom - 5.0).max(0.0) / 2.0;
    let forward = if scene.action == Action::Running { 5.0 } else { 0.0 };
    let face = if scene.jitter.mirrored { -1.0 } else { 1.0 };
    let x = 50.0 + face * forward + free * 0.7 * scene.jitter.x;
    let middle = f32::midpoint(left, right);
    let frame = ORIGIN.at((x, ground)).stretch(face * zoom, zoom).at((-middle, 0.0));
    (frame, x - wide * zoom / 2.0, x + wide * zoom / 2.0)
}

/// Lines behind a running animal and dust at its heels.
fn speed(s: &mut Sketch, place: Place, frame: Frame, [left, top, _, _]: [f32; 4]) {
    let (dust, line) = match place {
        Place::Grass => (0x00d9_f0b8, 0x00ff_ffff),
        Place::Beach => (0x00ff_f1cc, 0x00ff_ffff),
        Place::Snow => (0x00ff_ffff, 0x007d_9ab8),
        Place::Room => (0x00ec_dcc6, 0x008a_6a58),
        Place::Night => (0x0086_9ab8, 0x00cf_d8ff),
        Place::Forest | Place::Water => (0x00b4_cf9a, 0x00e4_f5d8),
    };
    for (x, y, r) in [(-3.0, -3.0, 5.5), (-12.0, -5.0, 6.5), (-20.0, -2.5, 4.5)] {
        s.glaze(frame.disc((left + 20.0 + x, y), r), Rgb::hex(dust), 0.9);
    }
    for (share, from, to) in [(0.72, 6.0, -12.0), (0.5, 1.0, -14.0), (0.3, 4.0, -10.0)] {
        s.line(frame.strokes(&[(left + from, top * share), (left + to, top * share)]), 2.2, Rgb::hex(line));
    }
}

/// Two letters z rising from the sleeper's head.
fn sleep(s: &mut Sketch, (x, y): P, mirrored: bool) {
    let out = if mirrored { 1.0 } else { -1.0 };
    let x = x.clamp(14.0, 86.0);
    for (dx, dy, r) in [(1.0, -6.0, 4.2), (9.0, -19.0, 5.6)] {
        let at = ORIGIN.at((x + out * dx, y + dy));
        let z = at.strokes(&[(-0.8 * r, -r), (0.8 * r, -r), (-0.8 * r, r), (0.8 * r, r)]);
        s.line(z.clone(), 5.4, Rgb::hex(0x0036_2f5c));
        s.line(z, 2.6, WHITE);
    }
}
