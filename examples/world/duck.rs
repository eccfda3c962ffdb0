//! The duck, whose body is like no other's: a boat with a wing, an upturned tail, a neck and a bill, on two legs. The
//! same units and directions as in `figure`.

use crate::build::Looks;
use crate::face::hat;
use crate::figure::dish;
use crate::frame::{Frame, ORIGIN, P};
use crate::palette::{INK, Rgb, WHITE};
use crate::rng::Rng;
use crate::scene::{Action, Detail, Scene};
use crate::sketch::{OUTLINE, Sketch};

/// Bill and feet.
const ORANGE: Rgb = Rgb::hex(0x00ff_b21a);
/// Their outline.
const RUST: Rgb = Rgb::hex(0x0094_4e0c);
/// Radius of the head.
const HEAD: f32 = 17.0;

/// Where the parts are.
struct Pose {
    body: Frame,
    head: P,
    nod: f32,
    feet: [P; 2],
    wing: f32,
}

/// The duck, looking towards +x, with the ground or the surface at y = 0.
pub fn duck(scene: &Scene, looks: &Looks) -> Sketch {
    let (mut s, t) = (Sketch::default(), looks.tones);
    let mut rng = Rng::new(scene.jitter.layout, 1);
    let pose = pose(scene);
    let at = pose.body;
    legs(&mut s, scene.action, &pose);
    let body = at.blob(&[
        (-42.0, -16.0),
        (-28.0, -9.0),
        (-6.0, -15.0),
        (16.0, -16.0),
        (26.0, -4.0),
        (20.0, 13.0),
        (0.0, 20.0),
        (-20.0, 14.0),
        (-33.0, 1.0),
    ]);
    let neck = ORIGIN.limb(at.locate((14.0, -4.0)), 11.0, pose.head, 10.0);
    let trunk = body.clone().and(&neck);
    s.part(&trunk, t.base, t.line);
    s.inside(&trunk, body.clone(), t.shade);
    s.inside(&trunk, body.to(ORIGIN.at((-0.5, -4.0))).and(&neck), t.base);
    if let Some(patch) = t.patch {
        s.inside(&trunk, at.ellipse(-34.0, -10.0, 17.0, 14.0), patch);
    } else {
        s.inside(&trunk, at.ellipse(14.0, 14.0, 17.0, 9.0), t.light);
    }
    let wing = at.at((6.0, -5.0)).turn(pose.wing).blob(&[
        (0.0, -6.0),
        (6.0, 3.0),
        (-2.0, 11.0),
        (-16.0, 11.0),
        (-34.0, -1.0),
        (-20.0, -6.0),
    ]);
    s.part(&wing, t.patch.unwrap_or(t.shade.mix(t.base, 0.4)), t.line);
    neckwear(&mut s, scene, at.locate((14.0, -4.0)), pose.head);
    if scene.action == Action::Eating {
        dish(&mut s, ORIGIN.at((pose.head.0 + 14.0, 0.0)).zoom(0.95), &mut rng);
    }
    head(&mut s, looks, ORIGIN.at(pose.head).turn(pose.nod).zoom(HEAD), scene.action == Action::Sleeping);
    if scene.has(Detail::Hat) {
        hat(&mut s, ORIGIN.at(pose.head).turn(pose.nod).zoom(HEAD).at((-0.1, -0.82)), &mut rng);
    }
    s
}

fn pose(scene: &Scene) -> Pose {
    let (j, at) = (&scene.jitter, |x: f32, y: f32, turn: f32| ORIGIN.at((x, y)).turn(turn));
    let (p, nod) = (3.0 * j.phase, 5.0 * j.tilt);
    let of = |body, head, nod, feet, wing| Pose { body, head, nod, feet, wing: wing + 6.0 * j.tail };
    match scene.action {
        Action::Standing => of(at(0.0, -33.0, -4.0), (22.0, -71.0), nod, [(-8.0 + p, 0.0), (6.0 - p, -2.0)], 0.0),
        Action::Running => {
            of(at(0.0, -36.0, 4.0), (32.0, -66.0), nod - 4.0, [(-27.0 - p, -9.0), (21.0 + p, -5.0)], 62.0)
        }
        Action::Sitting => of(at(0.0, -23.0, -34.0), (11.0, -64.0), nod, [(14.0, 0.0), (22.0, -2.0)], 4.0),
        Action::Eating => of(at(0.0, -33.0, 16.0), (34.0, -34.0), 26.0 + nod, [(-8.0 + p, 0.0), (6.0 - p, -2.0)], 0.0),
        Action::Swimming => of(at(0.0, -5.0, -4.0), (20.0, -42.0), nod, [(0.0, 0.0); 2], 0.0),
        Action::Sleeping => of(at(0.0, -19.0, 3.0), (25.0, -25.0), 12.0 + nod, [(0.0, 0.0); 2], 0.0),
    }
}

fn legs(s: &mut Sketch, action: Action, pose: &Pose) {
    let hips = match action {
        Action::Swimming | Action::Sleeping => return,
        Action::Sitting => [(4.0, -8.0), (12.0, -8.0)],
        _ => [pose.body.locate((-4.0, 8.0)), pose.body.locate((6.0, 8.0))],
    };
    for (hip, foot) in hips.into_iter().zip(pose.feet).rev() {
        let at =
            ORIGIN.at(foot).turn(if action == Action::Running { if foot.0 < 0.0 { 50.0 } else { -22.0 } } else { 0.0 });
        let web = at.blob(&[(-4.0, -3.5), (3.0, -5.0), (13.0, -2.0), (12.0, 0.0), (-4.0, 0.0)]);
        s.part(&ORIGIN.limb(hip, 2.4, (foot.0, foot.1 - 2.5), 2.4).and(&web), ORANGE, RUST);
    }
}

fn head(s: &mut Sketch, looks: &Looks, at: Frame, asleep: bool) {
    let t = &looks.tones;
    let bill = at.blob(&[(0.55, -0.2), (1.1, -0.16), (1.72, 0.08), (1.78, 0.3), (1.3, 0.42), (0.6, 0.46)]);
    s.part(&bill, ORANGE, RUST);
    s.line(at.curve(&[(0.8, 0.22), (1.2, 0.24), (1.7, 0.2)]), 1.2, RUST);
    let skull = at.disc((0.0, 0.0), 1.0);
    s.fill(at.disc((0.0, 0.0), 1.0), t.base);
    s.line(
        at.curve(&[
            (-0.98, 0.2),
            (-0.92, -0.4),
            (-0.5, -0.87),
            (0.1, -1.0),
            (0.65, -0.76),
            (0.97, -0.2),
            (0.97, 0.25),
            (0.75, 0.68),
        ]),
        OUTLINE,
        t.line,
    );
    if let Some(patch) = t.patch {
        s.inside(&skull, at.ellipse(-0.15, -0.75, 1.0, 0.72), patch);
    }
    s.inside(&skull, at.ellipse(0.5, 0.45, 0.3, 0.22), t.light);
    let fur = t.patch.unwrap_or(t.base);
    let dark = fur.dark();
    if asleep {
        s.line(
            at.curve(&[(0.08, -0.14), (0.3, 0.04), (0.54, -0.14)]),
            1.9,
            if dark { Rgb::hex(0x00e8_e4da) } else { INK },
        );
        return;
    }
    if dark {
        s.fill(at.ellipse(0.3, -0.18, 0.28, 0.3), Rgb::hex(0x00f4_f0e2));
    }
    s.fill(at.ellipse(0.3, -0.18, 0.19, 0.22), INK);
    s.fill(at.disc((0.36, -0.26), 0.08), WHITE);
}

/// A collar or a scarf halfway up the neck.
fn neckwear(s: &mut Sketch, scene: &Scene, chest: P, head: P) {
    let (dx, dy) = (chest.0 - head.0, chest.1 - head.1);
    let long = (dx * dx + dy * dy).sqrt().max(1.0);
    let (u, c) = ((dx / long, dy / long), (head.0 + dx / long * 17.0, head.1 + dy / long * 17.0));
    let at = |along: f32, across: f32| (c.0 + along * u.0 - across * u.1, c.1 + along * u.1 + across * u.0);
    let band = |r: f32| ORIGIN.rope(&[at(-1.0, -10.5), at(1.5, 0.0), at(-1.0, 10.5)], r, r);
    if scene.has(Detail::Scarf) {
        let (green, line) = (Rgb::hex(0x002f_b06a), Rgb::hex(0x0017_5c3c));
        s.part(&ORIGIN.limb(at(2.0, -5.0), 3.2, at(17.0, -9.0), 4.2), green, line);
        s.part(&band(3.8), green, line);
    }
    for (detail, colour) in [(Detail::RedCollar, 0x00e3_2636), (Detail::BlueCollar, 0x0022_55e0)] {
        if scene.has(detail) {
            let colour = Rgb::hex(colour);
            s.part(&band(2.8), colour, colour.mix(Rgb::hex(0x0020_1030), 0.55));
            s.part(&ORIGIN.disc(at(5.0, -3.0), 2.8), Rgb::hex(0x00ff_d23f), Rgb::hex(0x008a_6410));
        }
    }
}
