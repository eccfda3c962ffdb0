//! Shapes and the frames of coordinates that they are built in. Rotations use a polynomial, so that no platform's own
//! sine decides a pixel.

use tiny_skia::{Path, PathBuilder, Transform};

/// A point or a vector.
pub type P = (f32, f32);

/// A system of coordinates: shapes are built in it and come out in the coordinates of the sketch.
#[derive(Clone, Copy)]
pub struct Frame(Transform);

/// Some area; nothing where its outline is degenerate.
#[derive(Clone)]
pub struct Shape(pub Option<Path>);

/// The identity: a sketch's own coordinates.
pub const ORIGIN: Frame = Frame(Transform { sx: 1.0, kx: 0.0, ky: 0.0, sy: 1.0, tx: 0.0, ty: 0.0 });

impl Frame {
    /// Origin moved to `p`.
    pub fn at(self, p: P) -> Self {
        Frame(self.0.pre_translate(p.0, p.1))
    }

    /// Scaled along both axes.
    pub fn stretch(self, x: f32, y: f32) -> Self {
        Frame(self.0.pre_scale(x, y))
    }

    /// Scaled.
    pub fn zoom(self, s: f32) -> Self {
        self.stretch(s, s)
    }

    /// Turned clockwise as seen, by an angle of at most 180 degrees either way.
    pub fn turn(self, degrees: f32) -> Self {
        let (s, c) = sin_cos(degrees);
        Frame(self.0.pre_concat(Transform::from_row(c, s, -s, c, 0.0, 0.0)))
    }

    /// Where the frame's point `p` is.
    pub fn locate(self, p: P) -> P {
        let t = self.0;
        (t.sx * p.0 + t.kx * p.1 + t.tx, t.ky * p.0 + t.sy * p.1 + t.ty)
    }

    /// An ellipse.
    pub fn ellipse(self, x: f32, y: f32, rx: f32, ry: f32) -> Shape {
        let mut pen = PathBuilder::new();
        circle(&mut pen, (0.0, 0.0), 1.0);
        self.at((x, y)).stretch(rx, ry).finish(pen)
    }

    /// A disc.
    pub fn disc(self, p: P, r: f32) -> Shape {
        self.ellipse(p.0, p.1, r, r)
    }

    /// A limb: the hull of two discs.
    pub fn limb(self, a: P, ra: f32, b: P, rb: f32) -> Shape {
        let mut pen = PathBuilder::new();
        limb(&mut pen, a, ra, b, rb);
        self.finish(pen)
    }

    /// A smooth rope through the points, with round ends, whose radius goes from `ra` to `rb`.
    pub fn rope(self, points: &[P], ra: f32, rb: f32) -> Shape {
        let fine = sample(points);
        let last = fine.len() - 1;
        let side = |i: usize, turn: f32| {
            let (p, q, r) = (fine[i.max(1) - 1], fine[(i + 1).min(last)], ra + (rb - ra) * i as f32 / last as f32);
            let (dx, dy) = (q.0 - p.0, q.1 - p.1);
            let k = turn * r / (dx * dx + dy * dy).sqrt().max(1e-6);
            (fine[i].0 - dy * k, fine[i].1 + dx * k)
        };
        let mut pen = PathBuilder::new();
        pen.move_to(side(0, -1.0).0, side(0, -1.0).1);
        for p in (1..=last).map(|i| side(i, -1.0)).chain((0..=last).rev().map(|i| side(i, 1.0))) {
            pen.line_to(p.0, p.1);
        }
        pen.close();
        circle(&mut pen, fine[0], ra);
        circle(&mut pen, fine[last], rb);
        self.finish(pen)
    }

    /// A smooth closed outline through the points.
    pub fn blob(self, points: &[P]) -> Shape {
        let n = points.len();
        let at = |i: usize| points[i % n];
        let mut pen = PathBuilder::new();
        pen.move_to(points[0].0, points[0].1);
        for i in 0..n {
            let [c1, c2] = controls(at(i + n - 1), at(i), at(i + 1), at(i + 2));
            pen.cubic_to(c1.0, c1.1, c2.0, c2.1, at(i + 1).0, at(i + 1).1);
        }
        pen.close();
        self.finish(pen)
    }

    /// A pointed leaf from `a` over `tip` to `b`, its sides bulging outwards by the share `bulge` of their length.
    pub fn leaf(self, a: P, tip: P, b: P, bulge: f32) -> Shape {
        let turn = if (tip.0 - a.0) * (b.1 - a.1) > (tip.1 - a.1) * (b.0 - a.0) { bulge } else { -bulge };
        let side = |p: P, q: P| {
            let m = (f32::midpoint(p.0, q.0), f32::midpoint(p.1, q.1));
            (m.0 + (q.1 - p.1) * turn, m.1 - (q.0 - p.0) * turn)
        };
        let mut pen = PathBuilder::new();
        let (c, d) = (side(a, tip), side(tip, b));
        pen.move_to(a.0, a.1);
        pen.quad_to(c.0, c.1, tip.0, tip.1);
        pen.quad_to(d.0, d.1, b.0, b.1);
        pen.close();
        self.finish(pen)
    }

    /// Straight sides.
    pub fn polygon(self, points: &[P]) -> Shape {
        let mut pen = PathBuilder::new();
        pen.move_to(points[0].0, points[0].1);
        for p in &points[1..] {
            pen.line_to(p.0, p.1);
        }
        pen.close();
        self.finish(pen)
    }

    /// A smooth open curve, for `Sketch::line`.
    pub fn curve(self, points: &[P]) -> Shape {
        let mut pen = PathBuilder::new();
        pen.move_to(points[0].0, points[0].1);
        for p in sample(points) {
            pen.line_to(p.0, p.1);
        }
        self.finish(pen)
    }

    /// Straight strokes through the points, for `Sketch::line`.
    pub fn strokes(self, points: &[P]) -> Shape {
        let mut pen = PathBuilder::new();
        pen.move_to(points[0].0, points[0].1);
        for p in &points[1..] {
            pen.line_to(p.0, p.1);
        }
        self.finish(pen)
    }

    fn finish(self, pen: PathBuilder) -> Shape {
        Shape(pen.finish().and_then(|path| path.transform(self.0)))
    }
}

impl Shape {
    /// The union with others.
    pub fn and(mut self, other: &Shape) -> Self {
        if let (Some(path), Some(more)) = (&self.0, &other.0) {
            let mut pen = PathBuilder::new();
            pen.push_path(path);
            pen.push_path(more);
            self.0 = pen.finish();
        }
        self
    }

    /// The shape seen in another frame.
    pub fn to(&self, frame: Frame) -> Self {
        Shape(self.0.clone().and_then(|path| path.transform(frame.0)))
    }
}

/// A circle of four cubics.
fn circle(pen: &mut PathBuilder, (x, y): P, r: f32) {
    let k = 0.552_284_8 * r;
    pen.move_to(x + r, y);
    pen.cubic_to(x + r, y + k, x + k, y + r, x, y + r);
    pen.cubic_to(x - k, y + r, x - r, y + k, x - r, y);
    pen.cubic_to(x - r, y - k, x - k, y - r, x, y - r);
    pen.cubic_to(x + k, y - r, x + r, y - k, x + r, y);
    pen.close();
}

/// Two discs and the quadrilateral between their common tangents, all wound the same way.
fn limb(pen: &mut PathBuilder, a: P, ra: f32, b: P, rb: f32) {
    circle(pen, a, ra);
    circle(pen, b, rb);
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let d = (dx * dx + dy * dy).sqrt();
    if d <= (ra - rb).abs() {
        return;
    }
    let (u, c) = ((dx / d, dy / d), (ra - rb) / d);
    let s = (1.0 - c * c).sqrt();
    let tangent = |p: P, r: f32, s: f32| (p.0 + r * (u.0 * c - u.1 * s), p.1 + r * (u.1 * c + u.0 * s));
    let quad = [tangent(a, ra, -s), tangent(b, rb, -s), tangent(b, rb, s), tangent(a, ra, s)];
    pen.move_to(quad[0].0, quad[0].1);
    for p in &quad[1..] {
        pen.line_to(p.0, p.1);
    }
    pen.close();
}

/// The control points of the Catmull and Rom curve from `b` to `c`.
fn controls(a: P, b: P, c: P, d: P) -> [P; 2] {
    [(b.0 + (c.0 - a.0) / 6.0, b.1 + (c.1 - a.1) / 6.0), (c.0 - (d.0 - b.0) / 6.0, c.1 - (d.1 - b.1) / 6.0)]
}

/// Points along the smooth curve through `points`, eight to a segment.
fn sample(points: &[P]) -> Vec<P> {
    let at = |i: isize| points[i.clamp(0, points.len() as isize - 1) as usize];
    let mut out = vec![points[0]];
    for i in 0..points.len() as isize - 1 {
        let [b, c] = controls(at(i - 1), at(i), at(i + 1), at(i + 2));
        for step in 1..=8u8 {
            let t = f32::from(step) / 8.0;
            let s = 1.0 - t;
            let w = [s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t];
            let axis = |f: fn(P) -> f32| w[0] * f(at(i)) + w[1] * f(b) + w[2] * f(c) + w[3] * f(at(i + 1));
            out.push((axis(|p| p.0), axis(|p| p.1)));
        }
    }
    out
}

/// Sine and cosine by a Taylor polynomial of half the angle and the double-angle formulas.
fn sin_cos(degrees: f32) -> (f32, f32) {
    let x = degrees / 360.0 * std::f32::consts::PI;
    let q = x * x;
    let s = x * (1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0))));
    let c = 1.0 - q / 2.0 * (1.0 - q / 12.0 * (1.0 - q / 30.0 * (1.0 - q / 56.0 * (1.0 - q / 90.0))));
    (2.0 * s * c, c * c - s * s)
}
