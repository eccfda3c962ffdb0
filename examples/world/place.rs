//! The seven places, in picture units: 100 x 100, y down. Each has large areas in its own colours and a few big
//! things, whose number, position and kind vary.

use crate::frame::{Frame, ORIGIN, P};
use crate::palette::{Rgb, WHITE};
use crate::rng::Rng;
use crate::scene::Place;
use crate::sketch::Sketch;

/// What is behind the animal, which stands on (or swims with its surface at) row `ground`.
pub fn background(place: Place, ground: f32, rng: &mut Rng) -> Sketch {
    let mut s = Sketch::default();
    match place {
        Place::Grass => grass(&mut s, rng),
        Place::Beach => beach(&mut s, rng),
        Place::Snow => snow(&mut s, rng),
        Place::Water => water(&mut s, rng),
        Place::Room => room(&mut s, ground, rng),
        Place::Night => night(&mut s, rng),
        Place::Forest => forest(&mut s, rng),
    }
    s
}

/// What is before the animal: the water up to the surface, with the ripples around it from `left` to `right`.
pub fn surface(level: f32, left: f32, right: f32, rng: &mut Rng) -> Sketch {
    let mut s = Sketch::default();
    let phase = rng.range(0.0, 14.0);
    let crest = |x: f32, y: f32, high: f32| (x, y + high * if ((x / 7.0) as i32) % 2 == 0 { -1.0 } else { 1.0 });
    let wave = |y: f32, from: f32, to: f32, high: f32| -> Vec<P> {
        let n = ((to - from) / 7.0) as usize + 2;
        (0..n).map(|i| crest(from + 7.0 * i as f32, y, high)).map(|(x, y)| (x - phase, y)).collect()
    };
    let mut area = wave(level + 1.0, -14.0, 128.0, 1.6);
    area.extend([(140.0, 140.0), (-40.0, 140.0)]);
    s.glaze(ORIGIN.blob(&area), DEEP, 0.86);
    s.line(ORIGIN.curve(&wave(level + 1.0, left - 4.0, right + 18.0, 1.6)), 2.0, Rgb::hex(0x00f2_fcff));
    let middle = f32::midpoint(left, right);
    for (i, half) in [(1.0, 0.52), (2.0, 0.36)] {
        let w = (right - left) * half;
        s.line(ORIGIN.curve(&wave(level + 1.0 + 8.5 * i, middle - w, middle + w, 1.4)), 1.8, Rgb::hex(0x00a8_e2f5));
    }
    s
}

/// The water near the viewer.
const DEEP: Rgb = Rgb::hex(0x001f_93cc);

fn land(s: &mut Sketch, y: f32, bend: f32, colour: Rgb) {
    let points =
        [(-30.0, y), (10.0, y - bend), (50.0, y), (90.0, y + bend), (130.0, y), (130.0, 140.0), (-30.0, 140.0)];
    s.fill(ORIGIN.blob(&points), colour);
}

fn cloud(s: &mut Sketch, at: Frame, colour: Rgb) {
    for (x, y, r) in [(-9.0, 0.0, 5.0), (-2.0, -3.5, 6.5), (6.0, -1.5, 5.5), (11.0, 1.0, 4.0)] {
        s.fill(at.disc((x, y), r), colour);
    }
    s.fill(at.limb((-9.0, 2.0), 3.0, (11.0, 2.0), 3.0), colour);
}

/// The sun, or one or two clouds.
fn day(s: &mut Sketch, rng: &mut Rng) {
    let side = if rng.chance(0.5) { rng.range(10.0, 24.0) } else { rng.range(76.0, 90.0) };
    if rng.chance(0.55) {
        s.glaze(ORIGIN.disc((side, 14.0), 13.0), Rgb::hex(0x00ff_f3b0), 0.6);
        s.fill(ORIGIN.disc((side, 14.0), 8.5), Rgb::hex(0x00ff_d84a));
        cloud(s, ORIGIN.at((100.0 - side, rng.range(12.0, 24.0))), WHITE);
    } else {
        cloud(s, ORIGIN.at((side, rng.range(10.0, 18.0))).zoom(1.1), WHITE);
        cloud(s, ORIGIN.at((100.0 - side, rng.range(16.0, 28.0))).zoom(0.85), WHITE);
    }
}

fn grass(s: &mut Sketch, rng: &mut Rng) {
    s.sky(Rgb::hex(0x008f_d4f7), Rgb::hex(0x00e6_f6ff), 58.0);
    day(s, rng);
    let (y, bend) = (rng.range(53.0, 59.0), 4.0 * rng.swing());
    land(s, y - 5.0, -1.5 * bend, Rgb::hex(0x00a9_dd82));
    land(s, y, bend, Rgb::hex(0x007d_cb52));
    land(s, y + 26.0, -bend, Rgb::hex(0x0069_b945));
    for _ in 0..6 {
        let (x, y) = (rng.range(4.0, 96.0), rng.range(y + 8.0, 97.0));
        for (dx, dy) in [(-2.6, -5.0), (0.0, -6.5), (2.6, -5.0)] {
            s.line(ORIGIN.strokes(&[(x, y), (x + dx, y + dy)]), 1.3, Rgb::hex(0x0045_9632));
        }
    }
    for i in 0..5 + rng.below(4) {
        let p = (rng.range(4.0, 96.0), rng.range(y + 8.0, 97.0));
        flower(s, p, Rgb::hex([0x00ff_ffff, 0x00ff_6f9c, 0x00ff_de4a][i % 3]));
    }
}

fn flower(s: &mut Sketch, (x, y): P, colour: Rgb) {
    for (dx, dy) in [(0.0, -2.1), (2.0, -0.6), (1.2, 1.7), (-1.2, 1.7), (-2.0, -0.6)] {
        s.fill(ORIGIN.disc((x + dx, y + dy), 1.6), colour);
    }
    s.fill(ORIGIN.disc((x, y), 1.3), Rgb::hex(0x00f5_a623));
}

fn beach(s: &mut Sketch, rng: &mut Rng) {
    s.sky(Rgb::hex(0x006f_c8f5), Rgb::hex(0x00d9_f2fc), 36.0);
    day(s, rng);
    let shore = rng.range(53.0, 58.0);
    let horizon = shore - rng.range(17.0, 20.0);
    s.fill(ORIGIN.polygon(&[(0.0, horizon), (100.0, horizon), (100.0, 80.0), (0.0, 80.0)]), Rgb::hex(0x0021_8fc9));
    s.fill(
        ORIGIN.polygon(&[(0.0, horizon + 8.0), (100.0, horizon + 8.0), (100.0, 80.0), (0.0, 80.0)]),
        Rgb::hex(0x0043_b4dc),
    );
    let bend = 2.5 * rng.swing();
    land(s, shore - 1.8, bend, WHITE);
    land(s, shore, bend, Rgb::hex(0x00f3_d58f));
    land(s, shore + 24.0, -bend, Rgb::hex(0x00ea_c67a));
    let left = rng.chance(0.5);
    let x = if left { rng.range(12.0, 22.0) } else { rng.range(78.0, 88.0) };
    if rng.chance(0.65) {
        umbrella(s, ORIGIN.at((x, shore + 10.0)).turn(if left { 8.0 } else { -8.0 }), rng);
    } else {
        boat(s, ORIGIN.at((x, horizon + 7.0)));
    }
    for _ in 0..2 {
        let at = ORIGIN.at((rng.range(6.0, 94.0), rng.range(shore + 22.0, 96.0))).turn(60.0 * rng.swing());
        starfish(s, at);
    }
}

fn umbrella(s: &mut Sketch, at: Frame, rng: &mut Rng) {
    s.line(at.strokes(&[(0.0, 0.0), (0.0, -44.0)]), 2.2, Rgb::hex(0x008a_6242));
    let dome = at.blob(&[
        (-24.0, -34.0),
        (-18.0, -46.0),
        (0.0, -54.0),
        (18.0, -46.0),
        (24.0, -34.0),
        (12.0, -36.0),
        (0.0, -34.0),
        (-12.0, -36.0),
    ]);
    s.part(&dome, WHITE, Rgb::hex(0x008c_3a3a));
    let colour = Rgb::hex(rng.pick(&[0x00ee_4b4b, 0x00f5_7f28]));
    for (a, b) in [(-26.0, -13.0), (-4.5, 4.5), (13.0, 26.0)] {
        s.inside(&dome, at.polygon(&[(0.0, -56.0), (a, -30.0), (b, -30.0)]), colour);
    }
}

fn boat(s: &mut Sketch, at: Frame) {
    s.fill(at.polygon(&[(0.0, -22.0), (0.0, -4.0), (11.0, -4.0)]), WHITE);
    s.fill(at.polygon(&[(-1.5, -19.0), (-1.5, -4.0), (-9.0, -4.0)]), Rgb::hex(0x00ff_e3c2));
    s.fill(at.polygon(&[(-11.0, -2.5), (12.0, -2.5), (8.0, 3.0), (-7.0, 3.0)]), Rgb::hex(0x00d8_4545));
}

fn starfish(s: &mut Sketch, at: Frame) {
    let points = [
        (0.0, -4.6),
        (1.2, -1.5),
        (4.4, -1.4),
        (1.9, 0.7),
        (2.7, 3.8),
        (0.0, 2.0),
        (-2.7, 3.8),
        (-1.9, 0.7),
        (-4.4, -1.4),
        (-1.2, -1.5),
    ];
    s.line(at.polygon(&points), 1.4, Rgb::hex(0x00e0_6a4a));
    s.fill(at.polygon(&points), Rgb::hex(0x00f0_7f5a));
}

fn snow(s: &mut Sketch, rng: &mut Rng) {
    s.sky(Rgb::hex(0x00a9_c6de), Rgb::hex(0x00de_eaf4), 58.0);
    let (y, bend) = (rng.range(54.0, 60.0), 4.0 * rng.swing());
    land(s, y - 5.0, -1.5 * bend, Rgb::hex(0x00e2_edf6));
    let left = rng.chance(0.5);
    for i in 0..2 + rng.below(2) {
        let edge = rng.range(6.0, 20.0);
        let x = if (i % 2 == 0) == left { edge } else { 100.0 - edge };
        pine(s, ORIGIN.at((x, y + rng.range(0.0, 6.0))).zoom(rng.range(0.8, 1.1)));
    }
    land(s, y + 4.0, bend, Rgb::hex(0x00f8_fbff));
    land(s, y + 28.0, -bend, Rgb::hex(0x00e7_eff8));
    for _ in 0..16 {
        s.fill(ORIGIN.disc((rng.range(2.0, 98.0), rng.range(2.0, y)), rng.range(1.1, 1.8)), WHITE);
    }
}

fn pine(s: &mut Sketch, at: Frame) {
    s.fill(at.polygon(&[(-2.5, -8.0), (2.5, -8.0), (2.5, 4.0), (-2.5, 4.0)]), Rgb::hex(0x006f_4e37));
    for (y, w) in [(-6.0, 14.0), (-17.0, 11.0), (-28.0, 8.0)] {
        let tier = at.leaf((-w, y), (0.0, y - 20.0), (w, y), 0.0);
        s.fill(tier.clone(), Rgb::hex(0x0038_7a63));
        s.inside(&tier, at.leaf((-0.7 * w, y - 9.5), (0.0, y - 22.0), (0.7 * w, y - 9.5), 0.0), Rgb::hex(0x00f4_f9ff));
    }
}

fn water(s: &mut Sketch, rng: &mut Rng) {
    s.sky(Rgb::hex(0x009f_dbf7), Rgb::hex(0x00ec_f9ff), 36.0);
    let side = if rng.chance(0.5) { rng.range(12.0, 28.0) } else { rng.range(72.0, 88.0) };
    cloud(s, ORIGIN.at((side, rng.range(10.0, 16.0))), WHITE);
    let y = rng.range(34.0, 40.0);
    land(s, y - 5.0, 3.0 * rng.swing(), Rgb::hex(0x008a_cb7c));
    s.fill(ORIGIN.polygon(&[(0.0, y), (100.0, y), (100.0, 100.0), (0.0, 100.0)]), Rgb::hex(0x0056_c3ea));
    land(s, y + 14.0, 1.5, Rgb::hex(0x003b_aee0));
    land(s, y + 28.0, -1.5, Rgb::hex(0x002a_9fd6));
    for i in 0..7 {
        let (x, y) = (rng.range(0.0, 90.0), y + 5.0 + 3.2 * i as f32);
        s.line(
            ORIGIN.curve(&[(x, y), (x + 4.0, y - 1.8), (x + 8.0, y), (x + 12.0, y - 1.8), (x + 16.0, y)]),
            1.5,
            Rgb::hex(0x00c4_eefb),
        );
    }
}

fn room(s: &mut Sketch, ground: f32, rng: &mut Rng) {
    let wall = Rgb::hex(rng.pick(&[0x00f8_d8b4, 0x00f6_e3a6, 0x00ef_cfcf, 0x00dc_d3ee]));
    s.sky(wall.mix(WHITE, 0.15), wall, 66.0);
    let y = rng.range(60.0, 66.0);
    s.fill(ORIGIN.polygon(&[(0.0, y), (100.0, y), (100.0, 100.0), (0.0, 100.0)]), Rgb::hex(0x00b9_7f50));
    for row in [y + 9.0, y + 20.0, y + 33.0] {
        s.line(ORIGIN.strokes(&[(-5.0, row), (105.0, row)]), 1.0, Rgb::hex(0x00a0_6b40));
    }
    s.fill(
        ORIGIN.polygon(&[(0.0, y - 3.5), (100.0, y - 3.5), (100.0, y + 0.5), (0.0, y + 0.5)]),
        Rgb::hex(0x00ff_f8ee),
    );
    let rug = Rgb::hex(rng.pick(&[0x00d9_5d5d, 0x004f_9d8f, 0x0075_6bb8]));
    s.fill(ORIGIN.ellipse(50.0, ground + 1.0, 46.0, 9.5), rug);
    s.fill(ORIGIN.ellipse(50.0, ground + 1.0, 38.0, 6.8), rug.mix(WHITE, 0.4));
    let left = rng.chance(0.5);
    let x = rng.range(20.0, 26.0);
    window(s, ORIGIN.at((if left { x } else { 100.0 - x }, rng.range(22.0, 28.0))));
    lamp(s, ORIGIN.at((if left { rng.range(84.0, 90.0) } else { rng.range(10.0, 16.0) }, y + 4.0)));
}

fn window(s: &mut Sketch, at: Frame) {
    let square = |w: f32, h: f32| at.polygon(&[(-w, -h), (w, -h), (w, h), (-w, h)]);
    s.fill(square(18.0, 19.0), Rgb::hex(0x00ff_fdf8));
    s.fill(square(15.0, 16.0), Rgb::hex(0x0086_cdf5));
    s.inside(&square(15.0, 16.0), at.ellipse(6.0, 18.0, 18.0, 11.0), Rgb::hex(0x0086_cf74));
    for bar in [[(0.0, -17.0), (0.0, 17.0)], [(-17.0, 0.0), (17.0, 0.0)]] {
        s.line(at.strokes(&bar), 2.4, Rgb::hex(0x00ff_fdf8));
    }
    s.line(at.strokes(&[(-20.0, 20.0), (20.0, 20.0)]), 3.0, Rgb::hex(0x00e9_dcc8));
}

fn lamp(s: &mut Sketch, at: Frame) {
    s.line(at.strokes(&[(0.0, 0.0), (0.0, -46.0)]), 2.0, Rgb::hex(0x006b_5548));
    s.fill(at.ellipse(0.0, 0.0, 7.0, 2.2), Rgb::hex(0x006b_5548));
    s.fill(at.polygon(&[(-6.0, -58.0), (6.0, -58.0), (11.0, -41.0), (-11.0, -41.0)]), Rgb::hex(0x00ff_c94d));
}

fn night(s: &mut Sketch, rng: &mut Rng) {
    s.sky(Rgb::hex(0x0014_1d52), Rgb::hex(0x0035_479a), 62.0);
    for _ in 0..14 {
        let (p, r) = ((rng.range(3.0, 97.0), rng.range(3.0, 54.0)), rng.range(0.9, 1.6));
        s.fill(ORIGIN.disc(p, r), Rgb::hex(0x00ff_f6c8));
    }
    let x = if rng.chance(0.5) { rng.range(13.0, 25.0) } else { rng.range(75.0, 87.0) };
    let (y, full) = (rng.range(13.0, 20.0), rng.chance(0.5));
    s.glaze(ORIGIN.disc((x, y), 15.0), Rgb::hex(0x006c_78c4), 0.45);
    let moon = ORIGIN.disc((x, y), 10.0);
    s.fill(moon.clone(), Rgb::hex(0x00ff_efb0));
    if full {
        s.fill(ORIGIN.disc((x - 3.0, y - 2.0), 2.2).and(&ORIGIN.disc((x + 3.5, y + 3.0), 1.7)), Rgb::hex(0x00ea_d48c));
    } else {
        s.inside(&moon, ORIGIN.disc((x + 5.5, y - 2.5), 9.0), Rgb::hex(0x002b_386f));
    }
    let (y, bend) = (rng.range(56.0, 62.0), 4.0 * rng.swing());
    land(s, y - 5.0, -1.5 * bend, Rgb::hex(0x0026_4a78));
    land(s, y, bend, Rgb::hex(0x0022_5a5e));
    land(s, y + 26.0, -bend, Rgb::hex(0x001b_4a52));
}

fn forest(s: &mut Sketch, rng: &mut Rng) {
    s.sky(Rgb::hex(0x004d_9163), Rgb::hex(0x008f_c07c), 64.0);
    let y = rng.range(60.0, 65.0);
    let first = rng.range(2.0, 14.0);
    for i in 0..5 {
        let (x, w) = (first + 21.0 * i as f32 + 3.0 * rng.swing(), rng.range(4.0, 5.5));
        let trunk = ORIGIN.polygon(&[(x - w, 0.0), (x + w, 0.0), (x + 1.25 * w, y + 5.0), (x - 1.25 * w, y + 5.0)]);
        s.fill(trunk.clone(), Rgb::hex(0x0069_4a3a));
        s.inside(
            &trunk,
            ORIGIN.polygon(&[(x + 0.3 * w, 0.0), (x + 2.0 * w, 0.0), (x + 2.0 * w, 99.0), (x + 0.3 * w, 99.0)]),
            Rgb::hex(0x0057_3c30),
        );
    }
    for i in 0..6 {
        let (x, r) = (20.0 * i as f32 + 5.0 * rng.swing(), rng.range(13.0, 17.0));
        s.fill(ORIGIN.ellipse(x, 2.0, r, r), Rgb::hex(if i % 2 == 0 { 0x0028_6b43 } else { 0x0031_7a4c }));
    }
    let bend = 2.5 * rng.swing();
    land(s, y, bend, Rgb::hex(0x003f_7d3c));
    land(s, y + 22.0, -bend, Rgb::hex(0x0034_6c35));
    for i in 0..4 + rng.below(2) {
        let at = ORIGIN.at((rng.range(4.0, 96.0), rng.range(y + 8.0, 96.0)));
        if i % 2 == 0 { mushroom(s, at) } else { fern(s, at) }
    }
}

fn mushroom(s: &mut Sketch, at: Frame) {
    s.fill(at.limb((0.0, -1.0), 1.8, (0.0, -4.0), 1.5), Rgb::hex(0x00f6_ead2));
    s.fill(at.leaf((-5.2, -4.0), (0.0, -9.5), (5.2, -4.0), 0.2), Rgb::hex(0x00e2_3f3a));
    s.fill(at.disc((-1.6, -6.0), 0.9).and(&at.disc((1.9, -5.4), 0.8)), WHITE);
}

fn fern(s: &mut Sketch, at: Frame) {
    for (x, y) in [(-6.0, -5.0), (-2.5, -8.5), (2.5, -8.5), (6.0, -5.0)] {
        s.line(at.curve(&[(0.0, 0.0), (0.6 * x, 0.85 * y), (x, y)]), 1.8, Rgb::hex(0x0063_ab52));
    }
}
