//! The drawing board: shapes built in a frame of coordinates, a `Sketch` of them in painting order, and `paint`, which draws
//! sketches on a canvas of any size. Rotations use a polynomial, so no platform's own sine decides a pixel.

use tiny_skia::{Color, FillRule, LineCap, LineJoin, Mask, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform};

use crate::palette::Rgb;

/// A point or a vector.
pub type P = (f32, f32);

/// A system of coordinates: shapes are built in it and come out in the coordinates of the sketch.
#[derive(Clone, Copy)]
pub struct Frame(Transform);

/// Some area; nothing where its outline is degenerate.
#[derive(Clone)]
pub struct Shape(Option<Path>);

/// One step of painting.
#[derive(Clone)]
enum Op {
    /// A fill, with its opacity.
    Fill(Shape, Rgb, f32),
    /// A line of a width in picture units.
    Line(Shape, f32, Rgb),
    /// A fill that stays within another shape.
    Inside(Shape, Shape, Rgb),
    /// A vertical gradient over the picture's rows from 0 to the number (of 100).
    Sky(Rgb, Rgb, f32),
}

/// Steps of painting, in order.
#[derive(Clone, Default)]
pub struct Sketch(Vec<Op>);

/// The identity: a sketch's own coordinates.
pub const ORIGIN: Frame = Frame(Transform { sx: 1.0, kx: 0.0, ky: 0.0, sy: 1.0, tx: 0.0, ty: 0.0 });

/// Width of outlines, in picture units (a picture is 100 wide).
pub const OUTLINE: f32 = 1.9;

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

    /// A smooth rope through the points whose radius goes from `ra` to `rb`.
    pub fn rope(self, points: &[P], ra: f32, rb: f32) -> Shape {
        let fine = sample(points);
        let radius = |i: usize| ra + (rb - ra) * i as f32 / (fine.len() - 1) as f32;
        let mut pen = PathBuilder::new();
        for (i, pair) in fine.windows(2).enumerate() {
            limb(&mut pen, pair[0], radius(i), pair[1], radius(i + 1));
        }
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
        let side = |p: P, q: P| ((p.0 + q.0) / 2.0 + (q.1 - p.1) * turn, (p.1 + q.1) / 2.0 - (q.0 - p.0) * turn);
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

impl Sketch {
    /// A fill.
    pub fn fill(&mut self, shape: Shape, colour: Rgb) {
        self.0.push(Op::Fill(shape, colour, 1.0));
    }

    /// A fill that lets what is below shine through; 1 is opaque.
    pub fn glaze(&mut self, shape: Shape, colour: Rgb, opacity: f32) {
        self.0.push(Op::Fill(shape, colour, opacity));
    }

    /// A line with round ends; its width is in picture units.
    pub fn line(&mut self, shape: Shape, width: f32, colour: Rgb) {
        self.0.push(Op::Line(shape, width, colour));
    }

    /// A fill with an outline around it.
    pub fn part(&mut self, shape: &Shape, colour: Rgb, line: Rgb) {
        self.0.push(Op::Line(shape.clone(), 2.0 * OUTLINE, line));
        self.0.push(Op::Fill(shape.clone(), colour, 1.0));
    }

    /// A fill with an outline and a soft band of shade along its lower edge, `depth` units deep.
    pub fn round(&mut self, shape: &Shape, [colour, shade, line]: [Rgb; 3], depth: f32) {
        self.part(shape, shade, line);
        self.inside(shape, shape.to(ORIGIN.at((-0.4 * depth, -depth))), colour);
    }

    /// A fill within `clip`.
    pub fn inside(&mut self, clip: &Shape, shape: Shape, colour: Rgb) {
        self.0.push(Op::Inside(clip.clone(), shape, colour));
    }

    /// A gradient from the top down to the row `until` (of 100).
    pub fn sky(&mut self, top: Rgb, bottom: Rgb, until: f32) {
        self.0.push(Op::Sky(top, bottom, until));
    }

    /// Everything of another sketch, after what is here.
    pub fn add(&mut self, mut other: Sketch) {
        self.0.append(&mut other.0);
    }

    /// The sketch seen in another frame. The widths of lines stay.
    pub fn to(&self, frame: Frame) -> Self {
        let moved = |op: &Op| match op {
            Op::Fill(s, c, a) => Op::Fill(s.to(frame), *c, *a),
            Op::Line(s, w, c) => Op::Line(s.to(frame), *w, *c),
            Op::Inside(k, s, c) => Op::Inside(k.to(frame), s.to(frame), *c),
            Op::Sky(..) => op.clone(),
        };
        Sketch(self.0.iter().map(moved).collect())
    }

    /// Left, top, right and bottom of all fills.
    pub fn bounds(&self) -> [f32; 4] {
        let mut all = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
        for op in &self.0 {
            if let Op::Fill(Shape(Some(path)), ..) = op {
                let b = path.bounds();
                all = [all[0].min(b.left()), all[1].min(b.top()), all[2].max(b.right()), all[3].max(b.bottom())];
            }
        }
        all
    }

    /// Every colour `t` of the way to `colour`.
    pub fn tinted(mut self, colour: Rgb, t: f32) -> Self {
        for op in &mut self.0 {
            match op {
                Op::Fill(_, c, _) | Op::Line(_, _, c) | Op::Inside(_, _, c) => *c = c.mix(colour, t),
                Op::Sky(..) => {}
            }
        }
        self
    }
}

/// Paints a sketch whose units are hundredths of the picture's side, in light of the given gain, on `size` x `size` pixels;
/// returns interleaved RGB. Drawn at twice the size and averaged.
pub fn paint(sketch: &Sketch, gain: [f32; 3], size: usize) -> Vec<u8> {
    let side = 2 * size;
    let Some(mut canvas) = Pixmap::new(side as u32, side as u32) else { return Vec::new() };
    let view = Transform::from_scale(side as f32 / 100.0, side as f32 / 100.0);
    for op in &sketch.0 {
        match op {
            Op::Fill(Shape(Some(path)), colour, opacity) => {
                canvas.fill_path(path, &ink(colour.lit(gain), *opacity), FillRule::Winding, view, None);
            }
            Op::Line(Shape(Some(path)), width, colour) => {
                let stroke =
                    Stroke { width: *width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
                canvas.stroke_path(path, &ink(colour.lit(gain), 1.0), &stroke, view, None);
            }
            Op::Inside(Shape(Some(clip)), Shape(Some(path)), colour) => {
                let Some(mut mask) = Mask::new(side as u32, side as u32) else { continue };
                mask.fill_path(clip, FillRule::Winding, true, view);
                canvas.fill_path(path, &ink(colour.lit(gain), 1.0), FillRule::Winding, view, Some(&mask));
            }
            Op::Sky(top, bottom, until) => sky(&mut canvas, top.lit(gain), bottom.lit(gain), *until),
            _ => {}
        }
    }
    average(canvas.data(), size)
}

fn sky(canvas: &mut Pixmap, top: Rgb, bottom: Rgb, until: f32) {
    let (side, rows) = (canvas.width() as f32, canvas.height() as f32 * until / 100.0);
    for y in 0..canvas.height() {
        let t = (y as f32 / rows).min(1.0);
        if let Some(row) = Rect::from_xywh(0.0, y as f32, side, 1.0) {
            canvas.fill_rect(row, &ink(top.mix(bottom, t), 1.0), Transform::identity(), None);
        }
    }
}

/// The mean of each 2 x 2 pixels, without the alpha channel.
fn average(rgba: &[u8], size: usize) -> Vec<u8> {
    let at = |x: usize, y: usize, c: usize| u32::from(rgba[(y * 2 * size + x) * 4 + c]);
    let mut out = Vec::with_capacity(size * size * 3);
    for i in 0..size * size * 3 {
        let (x, y, c) = (i / 3 % size * 2, i / 3 / size * 2, i % 3);
        out.push(((at(x, y, c) + at(x + 1, y, c) + at(x, y + 1, c) + at(x + 1, y + 1, c) + 2) / 4) as u8);
    }
    out
}

fn ink(colour: Rgb, opacity: f32) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color(Color::from_rgba8(colour.0, colour.1, colour.2, (opacity * 255.0) as u8));
    paint
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
