//! The drawing board: a `Sketch` is a list of painting steps, and `paint` carries them out on a canvas of any size.

use tiny_skia::{Color, FillRule, LineCap, LineJoin, Mask, Paint, Pixmap, Rect, Stroke, Transform};

use crate::frame::{Frame, ORIGIN, Shape};
use crate::palette::Rgb;

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

/// Width of outlines, in picture units (a picture is 100 wide).
pub const OUTLINE: f32 = 1.9;

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

/// Paints a sketch whose units are hundredths of the picture's side, in light of the given gain, on `size` x `size`
/// pixels; returns interleaved RGB.
pub fn paint(sketch: &Sketch, gain: [f32; 3], size: usize) -> Vec<u8> {
    let Some(mut canvas) = Pixmap::new(size as u32, size as u32) else { return Vec::new() };
    let view = Transform::from_scale(size as f32 / 100.0, size as f32 / 100.0);
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
                let Some(mut mask) = Mask::new(size as u32, size as u32) else { continue };
                mask.fill_path(clip, FillRule::Winding, true, view);
                canvas.fill_path(path, &ink(colour.lit(gain), 1.0), FillRule::Winding, view, Some(&mask));
            }
            Op::Sky(top, bottom, until) => sky(&mut canvas, top.lit(gain), bottom.lit(gain), *until),
            _ => {}
        }
    }
    canvas.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
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

fn ink(colour: Rgb, opacity: f32) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color(Color::from_rgba8(colour.0, colour.1, colour.2, (opacity * 255.0) as u8));
    paint
}
