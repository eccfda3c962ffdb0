//! One curve as plotters' elements: its line, dashed or not, and its markers.
//!
//! In: [`Curve`]s, whose lengths are in points, and places on a chart or an area. Out: elements to
//! draw there.

use std::borrow::Borrow;

use plotters::element::{DashedPathElement, DottedPathElement, DynElement, IntoDynElement};
use plotters::prelude::*;

use super::surface::Surface;
use crate::report::losses::Point;

/// Half a marker's width.
const MARKER: f64 = 2.1;

/// The form of a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Marker {
    Disc,
    Square,
    Triangle,
    Diamond,
    Upside,
    Dot,
    Ring,
}

/// One line of a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name in the legend; without one it is not in it.
    pub name: String,
    /// Where it goes, such as steps and losses; without any it is its marks alone.
    pub points: Vec<Point>,
    /// The color.
    pub color: RGBColor,
    /// The thickness in points.
    pub width: f64,
    /// Lengths drawn and left out in turn, in points; none: unbroken.
    pub dash: Option<(f64, f64)>,
    /// Which points are marked, and how.
    pub marks: Option<(Marker, Vec<Point>)>,
}

/// A place on an area, in plotters' units.
type Place = (i32, i32);

/// An element at places of a chart or of an area.
pub(super) type Element<'a, DB, At> = DynElement<'a, DB, At>;

impl Curve {
    /// The line through `points`.
    pub(super) fn line<'a, DB, At>(&self, points: Vec<At>, surface: Surface) -> Vec<Element<'a, DB, At>>
    where
        DB: DrawingBackend,
        At: Clone + Borrow<At> + 'a,
    {
        let width = surface.px(self.width).max(1) as u32;
        let style = self.color.stroke_width(width);
        match (self.dash, surface) {
            (Some((on, off)), Surface::Svg) => {
                vec![DashedPathElement::new(points, surface.px(on), surface.px(off), style).into_dyn()]
            }
            (None, Surface::Svg) => vec![PathElement::new(points, style).into_dyn()],
            (Some((on, off)), Surface::Pixels) => {
                self.discs(&points, surface.px(on), surface.px(on + off), width as i32)
            }
            (None, Surface::Pixels) => self.pieces(&points, width),
        }
    }

    /// An unbroken line on pixels. There plotters' joints of a thick line can become long spikes,
    /// so each piece is a line of its own, and a disc rounds each joint.
    fn pieces<'a, DB, At>(&self, points: &[At], width: u32) -> Vec<Element<'a, DB, At>>
    where
        DB: DrawingBackend,
        At: Clone + Borrow<At> + 'a,
    {
        let style = self.color.stroke_width(width);
        let pieces = points.windows(2).map(|ends| PathElement::new(ends.to_vec(), style).into_dyn());
        let joints = points.iter().map(|at| Circle::new(at.clone(), width / 2, self.color.filled()).into_dyn());
        pieces.chain(joints).collect()
    }

    /// Dashes on pixels, `on` long, one every `every`: rows of overlapping discs, whose joints have
    /// no spikes either.
    fn discs<'a, DB, At>(&self, points: &[At], on: i32, every: i32, width: i32) -> Vec<Element<'a, DB, At>>
    where
        DB: DrawingBackend,
        At: Clone + Borrow<At> + 'a,
    {
        let (radius, fill) = ((width / 2).max(1), self.color.filled());
        let row = (0..=(on - width).max(0)).step_by((width / 6).max(1) as usize);
        let dot =
            |shift| DottedPathElement::new(points.to_vec(), shift, every, move |at| Circle::new(at, radius, fill));
        row.map(|shift| dot(shift).into_dyn()).collect()
    }

    /// The curve's marker at a place in plotters' units; nothing where it has none.
    pub(super) fn mark<'a, DB: DrawingBackend>(&self, (x, y): Place, surface: Surface) -> Vec<Element<'a, DB, Place>> {
        let Some((marker, _)) = self.marks.as_ref() else { return Vec::new() };
        let style = self.color.filled();
        let disc = |radius: f64, style: ShapeStyle| Circle::new((x, y), surface.px(radius), style).into_dyn();
        let corners: &[(f64, f64)] = match marker {
            Marker::Disc => return vec![disc(MARKER, style)],
            Marker::Dot => return vec![disc(0.65 * MARKER, style)],
            Marker::Ring => return vec![disc(1.15 * MARKER, style), disc(0.6 * MARKER, WHITE.filled())],
            Marker::Square => &[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
            Marker::Triangle => &[(0.0, -1.15), (1.1, 0.8), (-1.1, 0.8)],
            Marker::Diamond => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
            Marker::Upside => &[(-1.1, -0.8), (1.1, -0.8), (0.0, 1.15)],
        };
        let corner = |&(right, down): &(f64, f64)| (x + surface.px(MARKER * right), y + surface.px(MARKER * down));
        vec![Polygon::new(corners.iter().map(corner).collect::<Vec<_>>(), style).into_dyn()]
    }
}

impl Marker {
    /// The markers that curves get in turn.
    pub const ALL: [Self; 5] = [Self::Disc, Self::Square, Self::Triangle, Self::Diamond, Self::Upside];
}
