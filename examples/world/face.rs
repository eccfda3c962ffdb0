//! What all heads share: skull, patch, pointed ears, eyes, nose, tongue and hat. Head units, as in `head`.

use crate::build::Looks;
use crate::frame::{Frame, P, Shape};
use crate::palette::{INK, Rgb, WHITE};
use crate::rng::Rng;
use crate::scene::Action;
use crate::sketch::Sketch;

/// What the face shows.
#[derive(Debug, Clone, Copy)]
pub struct Face {
    /// What the animal does: sleepers close their eyes, and trunks and long ears take part.
    pub action: Action,
    /// Tongue out.
    pub tongue: bool,
    /// Wears a hat.
    pub hat: bool,
}

/// The skull with its shade, and the patch around the near eye of a patched coat.
pub fn skull(s: &mut Sketch, looks: &Looks, at: Frame, shape: &Shape, eye: P) {
    let t = &looks.tones;
    s.round(shape, [t.base, t.shade, t.line], 2.5);
    patch_eye(s, looks, at, shape, eye);
}

/// The patch around the near eye.
pub fn patch_eye(s: &mut Sketch, looks: &Looks, at: Frame, skull: &Shape, eye: P) {
    if let Some(patch) = looks.tones.patch {
        s.inside(skull, at.ellipse(eye.0 - 0.32, eye.1 - 0.3, 0.66, 0.72), patch);
    }
}

/// A pointed ear with its inside.
pub fn ear(s: &mut Sketch, at: Frame, [a, tip, b]: [P; 3], [colour, inner, line]: [Rgb; 3]) {
    s.part(&at.leaf(a, tip, b, 0.08), colour, line);
    let middle = ((a.0 + tip.0 + b.0) / 3.0, (a.1 + tip.1 + b.1) / 3.0);
    let toward = |p: P| (middle.0 + (p.0 - middle.0) * 0.55, middle.1 + (p.1 - middle.1) * 0.55);
    s.fill(at.leaf(toward(a), toward(tip), toward(b), 0.08), inner);
}

/// Both eyes, the near one first. On dark fur they lie in a pale ring.
pub fn eyes(s: &mut Sketch, looks: &Looks, at: Frame, places: [P; 2], r: f32, face: Face) {
    for (i, (x, y)) in places.into_iter().enumerate() {
        let t = &looks.tones;
        let fur = if i == 0 { t.patch.unwrap_or(t.base) } else { t.base };
        let dark = fur.dark();
        if face.action == Action::Sleeping {
            let colour = if dark { Rgb::hex(0x00e8_e4da) } else { INK };
            s.line(at.curve(&[(x - 1.3 * r, y), (x, y + 0.9 * r), (x + 1.3 * r, y)]), 1.9, colour);
            continue;
        }
        if dark {
            s.fill(at.ellipse(x, y, 1.4 * r, 1.55 * r), Rgb::hex(0x00f4_f0e2));
        }
        s.fill(at.ellipse(x, y, r, 1.15 * r), INK);
        s.fill(at.disc((x + 0.3 * r, y - 0.4 * r), 0.42 * r), WHITE);
    }
}

/// A nose and its shine.
pub fn nose(s: &mut Sketch, shape: Shape, shine: Shape) {
    s.fill(shape, INK);
    s.fill(shine, Rgb::hex(0x00b9_aab4));
}

/// The tongue, if it is out, hanging from `root`; drawn before the muzzle.
pub fn tongue(s: &mut Sketch, at: Frame, root: P, r: f32, face: Face) {
    if face.tongue {
        let end = (root.0 + 0.06, root.1 + 0.36);
        s.part(&at.limb(root, r, end, 1.1 * r), Rgb::hex(0x00f0_3d5c), Rgb::hex(0x0096_1c38));
        s.line(at.strokes(&[root, (end.0, end.1 - 0.05)]), 1.0, Rgb::hex(0x00c4_2444));
    }
}

/// A party hat or a top hat, its brim's middle at the origin.
pub fn hat(s: &mut Sketch, at: Frame, rng: &mut Rng) {
    if rng.chance(0.5) {
        let at = at.turn(-6.0);
        let (yellow, line) = (Rgb::hex(0x00ff_cf33), Rgb::hex(0x007a_4a12));
        let cone = at.polygon(&[(-0.5, 0.08), (0.0, -1.0), (0.5, 0.08)]);
        s.part(&cone, yellow, line);
        for y in [-0.12, -0.55] {
            s.inside(
                &cone,
                at.polygon(&[(-0.6, y + 0.14), (0.6, y - 0.06), (0.6, y - 0.24), (-0.6, y - 0.04)]),
                Rgb::hex(0x00e8_3f6f),
            );
        }
        s.part(&at.disc((0.0, -1.02), 0.17), Rgb::hex(0x00e8_3f6f), line);
    } else {
        let (violet, line) = (Rgb::hex(0x007b_4fc9), Rgb::hex(0x0035_1f66));
        s.part(&at.polygon(&[(-0.46, 0.0), (-0.52, -0.85), (0.52, -0.85), (0.46, 0.0)]), violet, line);
        s.fill(at.polygon(&[(-0.46, -0.08), (-0.48, -0.3), (0.48, -0.3), (0.46, -0.08)]), Rgb::hex(0x00ff_cf33));
        s.part(&at.ellipse(0.0, 0.02, 0.82, 0.15), violet, line);
    }
}
