//! Which sizes a plan's images are trained at, and how much of each is cut away, before anything is loaded.
//!
//! In: the plan, whose images are on this machine. Out: lines for a person, and batches of an epoch. Where all are squares nothing
//! is said.

use std::collections::BTreeMap;

use crate::config::{DataPart, Plan, Source};
use crate::data::{self, Cut, Shapes};
use crate::numbers::{counted, listed};
use crate::train::items::{Items, Size};

/// Images listed one by one.
const MAX_LISTED: usize = 8;

/// An image's name, height and width, and its cut if it has one.
type Image = (String, Size, Option<Cut>);

/// The images of a plan with how each is cut.
pub(super) struct Survey {
    /// Of each part; nothing of class images.
    parts: Vec<Vec<Image>>,
    shapes: Shapes,
}

impl Survey {
    /// Of images that are here; nothing else is looked at.
    pub fn of(plan: &Plan) -> Option<Self> {
        let shapes = Shapes::of(&plan.dataset);
        let several = plan.dataset.parts().len() > 1;
        let of_part = |part: &DataPart| {
            let sizes = if part.prior { Vec::new() } else { sizes(part)? };
            let named = |name: String| match &part.name {
                Some(source) if several => format!("{source}/{name}"),
                _ => name,
            };
            Some(sizes.into_iter().map(|(name, size)| (named(name), size, shapes.cut(size))).collect())
        };
        let parts = plan.dataset.parts().iter().map(of_part).collect::<Option<Vec<_>>>()?;
        Some(Self { parts, shapes })
    }

    /// Batches of an epoch; class images are shared out in proportion, those of the user too.
    pub fn batches(&self, plan: &Plan, class_counts: &[usize]) -> usize {
        let sizes = |part: &Vec<Image>| part.iter().filter_map(|(_, _, cut)| Some((*cut)?.size)).collect();
        let of_parts: Vec<Vec<Size>> = self.parts.iter().map(sizes).collect();
        Items::expected(plan, &of_parts, class_counts).batches(plan.train.batch_size)
    }

    fn images(&self) -> impl Iterator<Item = &Image> {
        self.parts.iter().flatten()
    }

    /// By size: how many images, and what of them all is lost.
    fn counts(&self) -> BTreeMap<[usize; 2], (usize, f64)> {
        let mut counts: BTreeMap<[usize; 2], (usize, f64)> = BTreeMap::new();
        for cut in self.images().filter_map(|(_, _, cut)| *cut) {
            let (count, lost) = counts.entry(cut.size).or_default();
            *count += 1;
            *lost += cut.lost();
        }
        counts
    }

    /// The buckets, what is cut of the images, and which are too small.
    pub fn lines(&self) -> Vec<String> {
        if matches!(self.shapes, Shapes::Square(_)) || self.images().next().is_none() {
            return Vec::new();
        }
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let bucket = |([height, width], (count, lost)): (&[usize; 2], &(usize, f64))| {
            let images = counted(*count, "image");
            format!("  {width} x {height}: {images}, of which {} is cut on average", percent(lost / *count as f64))
        };
        let counts = self.counts();
        let what = if self.shapes.has_buckets() {
            format!("buckets (width x height), {}:", counted(counts.len(), "size"))
        } else {
            "size (width x height):".to_owned()
        };
        let mut lines = vec![what];
        lines.extend(counts.iter().map(bucket));
        let mut cut: Vec<_> = self.images().filter_map(|(name, size, cut)| Some((name, size, (*cut)?))).collect();
        cut.sort_by(|a, b| b.2.lost().total_cmp(&a.2.lost()).then_with(|| a.0.cmp(b.0)));
        let shown = cut.iter().filter(|(_, _, cut)| cut.lost() > 0.0).take(MAX_LISTED).map(|(name, [h, w], cut)| {
            let [height, width] = cut.size;
            format!("{name} ({w} x {h} to {width} x {height}) {}", percent(cut.lost()))
        });
        let shown: Vec<String> = shown.collect();
        if !shown.is_empty() {
            lines.push(format!("cut most: {}", shown.join(", ")));
        }
        lines.extend(self.small("enlarged", |size, cut| cut.resized[0] > size[0] || cut.resized[1] > size[1]));
        if let Shapes::Buckets(set) = &self.shapes {
            let smaller = |size: [usize; 2], cut: Cut| cut.size != set.nearest(size);
            lines.extend(self.small("too small for the bucket of their shape, so in a smaller one", smaller));
        }
        let lost: Vec<&str> =
            self.images().filter(|(_, _, cut)| cut.is_none()).map(|(name, ..)| name.as_str()).collect();
        if !lost.is_empty() {
            lines.push(format!("too small for every bucket: {}", listed(&lost, MAX_LISTED)));
        }
        lines
    }

    fn small(&self, what: &str, is_meant: impl Fn([usize; 2], Cut) -> bool) -> Option<String> {
        let named = |(name, size, cut): &Image| {
            let cut = cut.filter(|cut| is_meant(*size, *cut))?;
            let ([h, w], [height, width]) = (*size, cut.size);
            Some(format!("{name} ({w} x {h} to {width} x {height})"))
        };
        let names: Vec<String> = self.images().filter_map(named).collect();
        (!names.is_empty()).then(|| format!("{what}: {}", listed(&names, MAX_LISTED)))
    }
}

/// Names, heights and widths of a source's images, if they are here and not packed.
fn sizes(part: &DataPart) -> Option<Vec<(String, Size)>> {
    Some(match &part.source {
        Source::Path(root) if root.is_file() => return None,
        Source::Path(root) => data::image_sizes(root, &part.selection),
        Source::Builtin(builtin) => {
            let size = |(name, bytes): &(&str, &[u8])| Some(((*name).to_owned(), data::image_size(bytes)?));
            builtin.files().iter().filter_map(size).collect()
        }
        Source::HuggingFace { .. } | Source::ModelScope { .. } | Source::SingleFile(_) => return None,
    })
}
