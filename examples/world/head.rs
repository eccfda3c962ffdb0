//! The heads, in three-quarter view. Head units: the skull is about the unit disc, it looks towards +x, y points
//! down.

use crate::build::{Breed, Looks};
use crate::face::{Face, ear, eyes, hat, nose, patch_eye, skull, tongue};
use crate::frame::{Frame, P};
use crate::palette::{INK, ROSE, Rgb, WHITE};
use crate::rng::Rng;
use crate::scene::{Action, Animal};
use crate::sketch::Sketch;

/// Draws the head of whomever it is.
pub fn head(s: &mut Sketch, looks: &Looks, at: Frame, face: Face, rng: &mut Rng) {
    let animal = match looks.breed {
        Breed::Corgi => return corgi(s, looks, at, face, rng),
        Breed::Plain(animal) => animal,
    };
    match animal {
        Animal::Dog => dog(s, looks, at, face),
        Animal::Cat => cat(s, looks, at, face),
        Animal::Rabbit => rabbit(s, looks, at, face),
        Animal::Fox => fox(s, looks, at, face),
        Animal::Bear => bear(s, looks, at, face),
        Animal::Pig => pig(s, looks, at, face),
        Animal::Elephant => elephant(s, looks, at, face),
        Animal::Duck => {}
    }
    if face.hat {
        let y = if animal == Animal::Elephant { -0.85 } else { -0.78 };
        hat(s, at.at((0.02, y)), rng);
    }
}

fn dog(s: &mut Sketch, looks: &Looks, at: Frame, face: Face) {
    let t = &looks.tones;
    let ear = t.patch.unwrap_or(t.shade.mix(t.line, 0.25));
    s.part(
        &at.blob(&[(0.45, -0.9), (0.95, -0.95), (1.3, -0.4), (1.22, 0.15), (0.92, 0.1), (0.75, -0.4)]),
        ear.mix(t.line, 0.12),
        t.line,
    );
    skull(s, looks, at, &at.ellipse(0.0, -0.02, 0.96, 0.92), (-0.2, -0.16));
    let muzzle =
        at.blob(&[(0.0, 0.3), (0.35, -0.02), (0.95, 0.02), (1.32, 0.28), (1.15, 0.68), (0.6, 0.84), (0.12, 0.68)]);
    tongue(s, at, (0.72, 0.72), 0.2, face);
    s.part(&muzzle, t.light, t.line);
    nose(s, at.ellipse(1.12, 0.17, 0.24, 0.18), at.ellipse(1.06, 0.11, 0.07, 0.05));
    s.line(at.curve(&[(1.1, 0.36), (0.98, 0.56), (0.62, 0.58)]), 1.5, t.line.mix(INK, 0.5));
    eyes(s, looks, at, [(-0.2, -0.16), (0.5, -0.2)], 0.17, face);
    s.part(
        &at.blob(&[
            (-0.42, -0.92),
            (-0.85, -0.88),
            (-1.3, -0.35),
            (-1.38, 0.35),
            (-1.05, 0.72),
            (-0.76, 0.4),
            (-0.68, -0.25),
        ]),
        ear,
        t.line,
    );
}

/// The subject's: upright ears, a white blaze between the eyes, always the tongue.
fn corgi(s: &mut Sketch, looks: &Looks, at: Frame, face: Face, rng: &mut Rng) {
    let t = &looks.tones;
    for (a, tip, b) in [((-0.92, -0.35), (-0.95, -1.6), (-0.18, -0.86)), ((0.2, -0.86), (0.98, -1.6), (0.95, -0.35))] {
        ear(s, at, [a, tip, b], [t.base, ROSE, t.line]);
    }
    let skull = at.blob(&[
        (-0.5, -0.86),
        (0.5, -0.86),
        (0.96, -0.3),
        (1.1, 0.3),
        (0.55, 0.85),
        (-0.45, 0.85),
        (-1.08, 0.3),
        (-0.95, -0.3),
    ]);
    s.round(&skull, [t.base, t.shade, t.line], 2.5);
    s.inside(&skull, at.leaf((0.02, 0.5), (0.2, -1.1), (0.42, 0.5), 0.03), WHITE);
    s.inside(&skull, at.ellipse(-0.7, 0.72, 0.5, 0.4), WHITE);
    tongue(s, at, (0.42, 0.78), 0.24, face);
    s.part(
        &at.blob(&[(-0.2, 0.35), (0.15, 0.02), (0.6, 0.02), (1.02, 0.3), (0.92, 0.68), (0.4, 0.85), (-0.08, 0.7)]),
        WHITE,
        t.line.mix(t.light, 0.35),
    );
    s.inside(&skull, at.leaf((0.08, 0.3), (0.2, -1.1), (0.4, 0.3), 0.03), WHITE);
    nose(s, at.ellipse(0.62, 0.2, 0.22, 0.16), at.ellipse(0.56, 0.15, 0.07, 0.05));
    s.line(at.curve(&[(0.22, 0.5), (0.42, 0.64), (0.7, 0.62), (0.88, 0.48)]), 1.3, t.line.mix(INK, 0.5));
    eyes(s, looks, at, [(-0.28, -0.1), (0.62, -0.14)], 0.17, face);
    if face.hat {
        hat(s, at.at((0.02, -0.78)), rng);
    }
}

fn cat(s: &mut Sketch, looks: &Looks, at: Frame, face: Face) {
    let t = &looks.tones;
    let patch = t.patch.unwrap_or(t.base);
    ear(s, at, [(0.25, -0.8), (0.86, -1.45), (1.0, -0.3)], [t.base, ROSE, t.line]);
    ear(s, at, [(-1.0, -0.3), (-0.88, -1.45), (-0.25, -0.8)], [patch, ROSE, t.line]);
    skull(s, looks, at, &at.ellipse(0.0, 0.02, 1.1, 0.88), (-0.32, -0.1));
    tongue(s, at, (0.22, 0.56), 0.16, face);
    s.fill(at.ellipse(0.02, 0.42, 0.3, 0.24).and(&at.ellipse(0.44, 0.42, 0.3, 0.24)), t.light);
    s.fill(at.blob(&[(0.1, 0.2), (0.36, 0.2), (0.23, 0.38)]), Rgb::hex(0x00e5_6b7c));
    s.line(at.curve(&[(-0.02, 0.5), (0.1, 0.55), (0.23, 0.42), (0.36, 0.55), (0.48, 0.5)]), 1.3, t.mark);
    for (a, b) in [
        ((0.66, 0.34), (1.5, 0.2)),
        ((0.66, 0.46), (1.48, 0.56)),
        ((-0.3, 0.34), (-1.45, 0.2)),
        ((-0.3, 0.46), (-1.4, 0.6)),
    ] {
        s.line(at.strokes(&[a, b]), 1.1, t.mark);
    }
    eyes(s, looks, at, [(-0.32, -0.1), (0.62, -0.1)], 0.2, face);
}

fn rabbit(s: &mut Sketch, looks: &Looks, at: Frame, face: Face) {
    let t = &looks.tones;
    let patch = t.patch.unwrap_or(t.base);
    // A sleeping rabbit lays its ears back.
    let (near, far) = if face.action == Action::Sleeping { (-62.0, -40.0) } else { (-14.0, 14.0) };
    for (x, turn, colour) in [(0.34, far, t.base), (-0.34, near, patch)] {
        let side = at.at((x, -0.6)).turn(turn);
        s.part(
            &side.blob(&[
                (-0.2, 0.2),
                (-0.34, -0.8),
                (-0.2, -1.65),
                (0.0, -1.85),
                (0.2, -1.65),
                (0.34, -0.8),
                (0.2, 0.2),
            ]),
            colour,
            t.line,
        );
        s.fill(side.ellipse(0.0, -0.85, 0.15, 0.68), ROSE);
    }
    skull(s, looks, at, &at.ellipse(0.0, 0.0, 0.96, 0.9), (-0.28, -0.12));
    tongue(s, at, (0.22, 0.6), 0.16, face);
    s.part(&at.ellipse(0.22, 0.62, 0.14, 0.2), WHITE, t.line);
    s.fill(at.ellipse(0.0, 0.4, 0.3, 0.25).and(&at.ellipse(0.46, 0.4, 0.3, 0.25)), t.light);
    s.fill(at.blob(&[(0.1, 0.18), (0.36, 0.18), (0.23, 0.34)]), Rgb::hex(0x00e5_6b7c));
    eyes(s, looks, at, [(-0.28, -0.12), (0.62, -0.14)], 0.19, face);
}

fn fox(s: &mut Sketch, looks: &Looks, at: Frame, face: Face) {
    let t = &looks.tones;
    let (tip, patch) = (t.shade.mix(INK, 0.8), t.patch.unwrap_or(t.base));
    for (points, colour) in [
        ([(0.15, -0.72), (0.82, -1.85), (0.98, -0.3)], t.base),
        ([(-1.0, -0.25), (-0.98, -1.85), (-0.2, -0.72)], patch),
    ] {
        let leaf = at.leaf(points[0], points[1], points[2], 0.06);
        s.part(&leaf, colour, t.line);
        s.inside(&leaf, at.disc(points[1], 0.52), tip);
    }
    let outline = [
        (-0.45, -0.8),
        (0.4, -0.82),
        (0.9, -0.42),
        (1.08, 0.05),
        (1.3, 0.62),
        (0.95, 0.82),
        (0.3, 0.78),
        (-0.55, 0.72),
        (-1.32, 0.48),
        (-1.05, -0.2),
    ];
    let skull = at.blob(&outline);
    s.part(&skull, t.base, t.line);
    patch_eye(s, looks, at, &skull, (-0.22, -0.14));
    let pale = t.light.mix(WHITE, 0.5);
    s.inside(
        &skull,
        at.blob(&[
            (-1.6, 0.3),
            (-0.75, 0.12),
            (-0.1, 0.42),
            (0.35, 0.3),
            (0.75, 0.3),
            (1.5, 0.55),
            (1.2, 1.1),
            (-0.8, 1.1),
        ]),
        pale,
    );
    tongue(s, at, (0.78, 0.76), 0.16, face);
    nose(s, at.ellipse(1.2, 0.56, 0.24, 0.2), at.ellipse(1.14, 0.5, 0.07, 0.05));
    s.line(at.curve(&[(1.0, 0.74), (0.7, 0.72), (0.45, 0.6)]), 1.3, t.line.mix(INK, 0.5));
    eyes(s, looks, at, [(-0.22, -0.14), (0.58, -0.12)], 0.17, face);
}

fn bear(s: &mut Sketch, looks: &Looks, at: Frame, face: Face) {
    let t = &looks.tones;
    for (x, colour) in [(0.72, t.base), (-0.76, t.patch.unwrap_or(t.base))] {
        s.part(&at.disc((x, -0.74), 0.38), colour, t.line);
        s.fill(at.disc((x, -0.72), 0.2), t.light.mix(t.shade, 0.4));
    }
    skull(s, looks, at, &at.ellipse(0.0, 0.02, 1.06, 0.96), (-0.26, -0.14));
    tongue(s, at, (0.32, 0.78), 0.2, face);
    s.part(&at.ellipse(0.32, 0.42, 0.56, 0.44), t.light, t.line.mix(t.light, 0.45));
    nose(s, at.ellipse(0.36, 0.2, 0.27, 0.19), at.ellipse(0.28, 0.14, 0.08, 0.06));
    s.line(at.curve(&[(0.1, 0.6), (0.22, 0.66), (0.36, 0.5), (0.5, 0.66), (0.62, 0.6)]), 1.4, INK);
    eyes(s, looks, at, [(-0.26, -0.14), (0.7, -0.18)], 0.15, face);
}

fn pig(s: &mut Sketch, looks: &Looks, at: Frame, face: Face) {
    let t = &looks.tones;
    let near = t.patch.unwrap_or(t.base);
    skull(s, looks, at, &at.ellipse(0.0, 0.02, 1.06, 0.96), (-0.24, -0.2));
    for (points, colour) in
        [([(0.28, -0.98), (1.06, -1.2), (0.88, -0.42)], t.base), ([(-0.96, -0.5), (-1.12, -1.24), (-0.3, -1.0)], near)]
    {
        let flap = at.leaf(points[0], points[1], points[2], 0.12);
        s.part(&flap, colour.mix(t.shade, 0.4), t.line);
    }
    tongue(s, at, (0.42, 0.8), 0.2, face);
    let disc = t.light.mix(ROSE, 0.35);
    s.round(&at.ellipse(0.45, 0.3, 0.58, 0.46), [disc, disc.mix(t.line, 0.25), t.line], 2.0);
    s.fill(at.ellipse(0.27, 0.28, 0.12, 0.18).and(&at.ellipse(0.66, 0.28, 0.12, 0.18)), INK.mix(t.line, 0.5));
    eyes(s, looks, at, [(-0.24, -0.22), (0.72, -0.28)], 0.16, face);
}

fn elephant(s: &mut Sketch, looks: &Looks, at: Frame, face: Face) {
    let t = &looks.tones;
    s.part(&at.ellipse(0.98, -0.2, 0.55, 0.82), t.shade, t.line);
    let near = at.blob(&[(-0.45, -0.9), (-1.2, -1.0), (-1.82, -0.45), (-1.75, 0.4), (-1.2, 0.85), (-0.6, 0.6)]);
    skull(s, looks, at, &at.ellipse(0.05, -0.05, 0.98, 0.94), (0.02, -0.15));
    s.part(&near, t.patch.unwrap_or(t.base), t.line);
    s.inside(&near, at.ellipse(-1.15, -0.08, 0.48, 0.68), t.light.mix(ROSE, 0.6));
    let trunk: &[P] = match face.action {
        Action::Sleeping => &[(0.5, 0.2), (0.95, 0.62), (1.5, 0.6), (1.9, 0.62)],
        Action::Eating => &[(0.5, 0.1), (0.85, 0.6), (1.1, 1.0), (1.15, 1.35)],
        Action::Swimming | Action::Running => &[(0.48, 0.1), (0.85, 0.62), (1.4, 0.5), (1.55, -0.1), (1.4, -0.7)],
        _ => &[(0.48, 0.1), (0.7, 0.8), (1.15, 1.22), (1.7, 1.0), (1.85, 0.55)],
    };
    s.part(&at.leaf((0.1, 0.5), (0.35, 1.15), (0.5, 0.55), 0.12), WHITE, t.line);
    let nose = at.rope(trunk, 0.42, 0.2);
    s.part(&nose, t.base, t.line);
    s.fill(at.ellipse(0.42, 0.02, 0.46, 0.42), t.base);
    for y in [0.5, 0.78] {
        s.line(
            at.curve(&[(0.42 + 0.3 * (y - 0.5), y), (0.62 + 0.3 * (y - 0.5), y + 0.1), (0.8 + 0.3 * (y - 0.5), y)]),
            1.1,
            t.line.mix(t.base, 0.4),
        );
    }
    eyes(s, looks, at, [(0.0, -0.15), (0.76, -0.18)], 0.15, face);
}
