//! The body of a four-legged animal: tail, legs, trunk, patches, what it wears around the neck; the head is `head`'s.

use crate::build::{Breed, Build, Looks};
use crate::face::Face;
use crate::frame::{Frame, ORIGIN, P, Shape};
use crate::head::head;
use crate::palette::{Rgb, WHITE};
use crate::pose::{Leg, Pose, pose};
use crate::rng::Rng;
use crate::scene::{Action, Animal, Detail, Scene};
use crate::sketch::Sketch;

/// The animal, in animal units, looking towards +x, with the ground or the surface at y = 0.
pub fn figure(scene: &Scene, looks: &Looks) -> Sketch {
    let (b, mut sketch) = (looks.build(), Sketch::default());
    let pose = pose(&b, scene.action, &scene.jitter);
    let mut rng = Rng::new(scene.jitter.layout, 1);
    let asleep = scene.action == Action::Sleeping;
    let wraps = asleep && matches!(looks.breed, Breed::Plain(Animal::Fox | Animal::Cat));
    if !wraps {
        tail(&mut sketch, looks, ORIGIN.at(pose.tail.0).turn(pose.tail.1));
    }
    body(&mut sketch, looks, &b, &pose, &mut rng);
    if wraps {
        wrapped_tail(&mut sketch, looks, &b, pose.hip);
    }
    neckwear(&mut sketch, scene, &b, &pose);
    let face = Face { action: scene.action, tongue: scene.has(Detail::Tongue), hat: scene.has(Detail::Hat) };
    head(&mut sketch, looks, ORIGIN.at(pose.head).turn(pose.nod).zoom(b.head), face, &mut rng);
    if scene.action == Action::Eating {
        bowl(&mut sketch, &b, &pose, looks, &mut rng);
    }
    sketch
}

fn body(sketch: &mut Sketch, looks: &Looks, b: &Build, pose: &Pose, rng: &mut Rng) {
    let t = &looks.tones;
    let far = union(pose.far.iter().map(|&leg| limb(b, leg)));
    if let Some(far) = far {
        sketch.part(&far, t.shade, t.line);
        paws(sketch, looks, b, &far, &pose.far);
    }
    let near: Vec<Shape> = pose.near.iter().map(|&leg| limb(b, leg)).collect();
    let trunk = ORIGIN.limb(pose.hip, b.hip, pose.chest, b.chest);
    let neck = ORIGIN.limb(pose.chest, 0.8 * b.chest, pose.head, 0.6 * b.head);
    let trunk = trunk.and(&neck);
    let whole = near.iter().fold(trunk.clone(), Shape::and);
    sketch.part(&whole, t.base, t.line);
    sketch.inside(&trunk, trunk.clone(), t.shade);
    sketch.inside(&trunk, trunk.to(ORIGIN.at((-1.0, -0.22 * b.chest))), t.base);
    markings(sketch, looks, b, pose, &trunk, rng);
    for (shape, leg) in near.iter().zip(&pose.near) {
        sketch.line(shape.clone(), 1.6, t.line.mix(t.base, 0.5));
        sketch.fill(shape.clone(), t.base);
        paws(sketch, looks, b, shape, &[*leg]);
    }
    bib(sketch, looks, b, pose, &whole);
    if let Some((p, r)) = pose.thigh {
        sketch.line(ORIGIN.disc(p, r), 1.4, t.line.mix(t.base, 0.35));
        sketch.fill(ORIGIN.disc(p, r), t.base);
    }
}

/// Belly and chest, and the patches of a patched coat.
fn markings(sketch: &mut Sketch, looks: &Looks, b: &Build, pose: &Pose, trunk: &Shape, rng: &mut Rng) {
    let (t, (hip, chest)) = (&looks.tones, (pose.hip, pose.chest));
    let upright = chest.1 < hip.1 - b.hip;
    if let Some(patch) = t.patch {
        let (dx, dy) = (0.12 * b.hip * rng.swing(), 0.1 * b.hip * rng.swing());
        sketch.inside(
            trunk,
            ORIGIN.ellipse(hip.0 - 0.1 * b.hip + dx, hip.1 - 0.45 * b.hip + dy, 0.95 * b.hip, 0.85 * b.hip),
            patch,
        );
        let r = b.chest * rng.range(0.5, 0.62);
        let shoulder = if upright {
            (chest.0 - 0.9 * b.chest, chest.1 + 0.2 * b.chest)
        } else {
            (chest.0 - 0.05 * b.chest, chest.1 - 0.85 * b.chest)
        };
        sketch.inside(trunk, ORIGIN.disc(shoulder, r), patch);
        return;
    }
    let middle = (f32::midpoint(hip.0, chest.0), f32::midpoint(hip.1, chest.1));
    if !upright {
        let (wide, high) = (0.42 * b.length + 0.4 * b.hip, 0.5 * b.hip);
        sketch.inside(trunk, ORIGIN.ellipse(middle.0, middle.1 + 1.15 * b.hip, wide, high), t.light);
    }
}

/// The light breast below the head of a sitting animal, and of the subject in every pose.
fn bib(sketch: &mut Sketch, looks: &Looks, b: &Build, pose: &Pose, whole: &Shape) {
    let sits = pose.chest.1 < pose.hip.1 - b.hip && looks.breed != Breed::Plain(Animal::Elephant);
    if looks.breed == Breed::Corgi || (sits && looks.tones.patch.is_none()) {
        let at = (pose.head.0 + 0.25 * b.head, pose.head.1 + 0.95 * b.head);
        sketch.inside(whole, ORIGIN.ellipse(at.0, at.1, 0.6 * b.head, 0.78 * b.head), looks.tones.light);
    }
}

/// A leg with its paw.
fn limb(b: &Build, leg: Leg) -> Shape {
    let w = b.thick;
    let lying = (leg.from.1 - leg.to.1).abs() < 0.1;
    let shape = ORIGIN.limb(leg.from, if lying { w } else { 1.35 * w }, leg.to, w);
    shape.and(&ORIGIN.ellipse(leg.to.0 + 0.45 * w, leg.to.1 + 0.2 * w, 1.35 * w, 0.8 * w))
}

fn paws(sketch: &mut Sketch, looks: &Looks, b: &Build, clip: &Shape, legs: &[Leg]) {
    let Some(colour) = looks.socks() else { return };
    let reach = if looks.breed == Breed::Plain(Animal::Fox) { 1.9 } else { 1.3 };
    for leg in legs {
        sketch.inside(clip, ORIGIN.disc((leg.to.0 + 0.3 * b.thick, leg.to.1 + 0.4 * b.thick), reach * b.thick), colour);
    }
}

fn tail(sketch: &mut Sketch, looks: &Looks, at: Frame) {
    let t = &looks.tones;
    let colour = t.patch.unwrap_or(t.base);
    match looks.breed {
        Breed::Corgi => {
            sketch.part(&at.ellipse(-5.0, -2.0, 9.0, 7.5), colour, t.line);
            sketch.fill(at.ellipse(-7.0, 1.5, 5.0, 3.0), t.light);
        }
        Breed::Plain(Animal::Dog) => {
            sketch.part(&at.rope(&[(3.0, 2.0), (-9.0, -5.0), (-13.0, -17.0), (-7.0, -26.0)], 4.6, 2.6), colour, t.line);
        }
        Breed::Plain(Animal::Cat) => {
            let points = [(3.0, 2.0), (-11.0, 2.0), (-19.0, -8.0), (-17.0, -22.0), (-23.0, -33.0), (-31.0, -31.0)];
            sketch.part(&at.rope(&points, 3.2, 2.8), colour, t.line);
        }
        Breed::Plain(Animal::Fox) => fox_tail(sketch, looks, at, colour),
        Breed::Plain(Animal::Rabbit) => sketch.part(&at.ellipse(-3.0, 2.0, 7.5, 7.5), t.light.mix(WHITE, 0.4), t.line),
        Breed::Plain(Animal::Pig) => {
            let curl =
                [(2.0, 0.0), (-6.0, 0.0), (-10.0, -6.0), (-6.0, -11.0), (-2.0, -7.0), (-7.0, -2.0), (-14.0, -6.0)];
            sketch.part(&at.rope(&curl, 1.7, 1.5), colour, t.line);
        }
        Breed::Plain(Animal::Elephant) => {
            sketch.part(&at.rope(&[(3.0, 0.0), (-5.0, 5.0), (-8.0, 18.0)], 2.2, 1.7), colour, t.line);
            sketch.fill(at.ellipse(-8.3, 20.0, 3.2, 4.6), t.line);
        }
        Breed::Plain(Animal::Bear) => sketch.part(&at.ellipse(-2.0, 3.0, 5.0, 4.5), colour, t.line),
        Breed::Plain(Animal::Duck) => {}
    }
}

/// The tail of a curled-up fox or cat, which lies before it on the ground.
fn wrapped_tail(sketch: &mut Sketch, looks: &Looks, b: &Build, hip: P) {
    if looks.breed == Breed::Plain(Animal::Fox) {
        return tail(sketch, looks, ORIGIN.at((hip.0 - 0.95 * b.hip, -7.0)).stretch(-0.72, 0.7).turn(-26.0));
    }
    let x = |share: f32| hip.0 + share * b.hip;
    let points = [(x(-0.85), -0.8 * b.hip), (x(-1.05), -7.0), (x(-0.4), -3.4), (x(0.7), -3.4), (x(1.5), -5.0)];
    let t = &looks.tones;
    sketch.part(&ORIGIN.rope(&points, 3.4, 3.0), t.patch.unwrap_or(t.base), t.line);
}

fn fox_tail(sketch: &mut Sketch, looks: &Looks, at: Frame, colour: Rgb) {
    let at = at.turn(46.0);
    let points = [
        (4.0, 0.0),
        (-8.0, -8.0),
        (-24.0, -13.0),
        (-38.0, -7.0),
        (-48.0, 5.0),
        (-36.0, 11.0),
        (-20.0, 11.0),
        (-6.0, 6.0),
    ];
    let brush = at.blob(&points);
    sketch.part(&brush, colour, looks.tones.line);
    sketch.inside(&brush, at.ellipse(-47.0, 4.0, 15.0, 17.0), looks.tones.light.mix(WHITE, 0.7));
}

/// A collar or a scarf across the neck, below the head.
fn neckwear(sketch: &mut Sketch, scene: &Scene, b: &Build, pose: &Pose) {
    let (dx, dy) = (pose.chest.0 - pose.head.0, pose.chest.1 - pose.head.1);
    let long = (dx * dx + dy * dy).sqrt().max(1.0);
    let u = (dx / long, dy / long);
    let centre = (pose.head.0 + 0.93 * b.head * u.0, pose.head.1 + 0.93 * b.head * u.1);
    let at = |along: f32, across: f32| -> P {
        let (a, c) = (along * b.head, across * b.head);
        (centre.0 + a * u.0 - c * u.1, centre.1 + a * u.1 + c * u.0)
    };
    let band =
        |half: f32, r: f32| ORIGIN.rope(&[at(-0.14, -half), at(0.1, 0.0), at(-0.14, half)], r * b.head, r * b.head);
    if scene.has(Detail::Scarf) {
        let (green, line) = (Rgb::hex(0x002f_b06a), Rgb::hex(0x0017_5c3c));
        sketch.part(&ORIGIN.limb(at(0.1, -0.35), 0.17 * b.head, at(0.95, -0.5), 0.22 * b.head), green, line);
        sketch.part(&band(0.66, 0.21), green, line);
        sketch.line(ORIGIN.strokes(&[at(0.62, -0.66), at(0.66, -0.2)]), 2.2, Rgb::hex(0x00fb_e38a));
    }
    for (detail, colour) in [(Detail::RedCollar, 0x00e3_2636), (Detail::BlueCollar, 0x0022_55e0)] {
        if scene.has(detail) {
            let colour = Rgb::hex(colour);
            sketch.part(&band(0.64, 0.185), colour, colour.mix(Rgb::hex(0x0020_1030), 0.55));
            sketch.part(&ORIGIN.disc(at(0.36, -0.1), 0.18 * b.head), Rgb::hex(0x00ff_d23f), Rgb::hex(0x008a_6410));
        }
    }
}

/// A bowl of food in front of the mouth; the elephant's is further away, for its trunk.
fn bowl(sketch: &mut Sketch, b: &Build, pose: &Pose, looks: &Looks, rng: &mut Rng) {
    let reach = if looks.breed == Breed::Plain(Animal::Elephant) { 1.2 } else { 1.05 };
    let at = ORIGIN.at((pose.head.0 + reach * b.head, 0.0)).zoom(0.88 + 0.08 * rng.unit());
    dish(sketch, at, rng);
}

/// The bowl itself, its foot at the origin.
pub fn dish(sketch: &mut Sketch, at: Frame, rng: &mut Rng) {
    let colour = Rgb::hex(rng.pick(&[0x00e8_4a4a, 0x003f_8fe8, 0x00f0_b429]));
    let (line, food) = (colour.mix(Rgb::hex(0x0020_1030), 0.55), Rgb::hex(0x00a8_6a35));
    for (x, y, r) in [(-9.0, -14.0, 5.5), (9.0, -14.0, 5.5), (-3.5, -17.0, 6.0), (4.5, -17.0, 5.5)] {
        sketch.part(&at.disc((x, y), r), food, food.mix(Rgb::hex(0x0020_1030), 0.5));
    }
    sketch.part(
        &at.blob(&[
            (-18.0, -13.0),
            (0.0, -13.5),
            (18.0, -13.0),
            (14.5, -2.0),
            (10.0, 0.0),
            (-10.0, 0.0),
            (-14.5, -2.0),
        ]),
        colour,
        line,
    );
    sketch.line(at.strokes(&[(-14.0, -9.0), (14.0, -9.0)]), 1.8, colour.mix(WHITE, 0.55));
}

/// The union of some shapes.
fn union(mut shapes: impl Iterator<Item = Shape>) -> Option<Shape> {
    let first = shapes.next()?;
    Some(shapes.fold(first, |all, shape| all.and(&shape)))
}
