//! Models in one file under the names of CompVis' code ("ldm"), as model sites have them: its
//! tensors under the names that diffusers and transformers use.
//!
//! In: which part of the file, and its tensors' names and shapes. Out: each tensor under its new
//! name, some of them in another form: a convolution of one pixel for a matrix or the other way, one
//! third of a matrix, a transposed one. Nothing is read or copied here: a tensor keeps its place in
//! the file. What a family's file consists of is one row of `parts` in `recognise`.

mod recognise;
pub(crate) mod text;
pub(crate) mod unet;
pub(crate) mod vae;

use std::collections::BTreeMap;

use super::header::Entry;

pub use recognise::{Prediction, SingleFile, recognise};

/// One part of a file with all parts, and how its tensors are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Original {
    /// The noise predictor.
    Unet {
        /// Whether the layers around its transformers are matrices (Stable Diffusion 2 and XL) and
        /// not convolutions of one pixel (1.x); files of either form are taken.
        linear_projection: bool,
    },
    /// The autoencoder.
    Vae,
    /// A text encoder under transformers' own names.
    Clip {
        /// What stands before them.
        prefix: &'static str,
    },
    /// A text encoder under the names of `OpenCLIP`.
    OpenClip {
        /// What stands before them.
        prefix: &'static str,
        /// What becomes of its projection.
        projection: Projection,
    },
}

/// How the projection of a text encoder lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// It is of no use: Stable Diffusion 2.
    None,
    /// As a linear layer has it.
    Plain,
    /// The other way round.
    Transposed,
}

/// What a tensor of the file becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Renamed {
    /// The same under another name.
    As(String),
    /// The same as a matrix, `[a, b, 1, 1]` → `[a, b]`.
    Matrix(String),
    /// The same as a convolution of one pixel, `[a, b]` → `[a, b, 1, 1]`.
    Convolution(String),
    /// A matrix, transposed.
    Transposed(String),
    /// Three tensors, one below the other.
    Thirds([String; 3]),
    /// Nothing: of another use.
    Dropped,
}

impl Original {
    /// How the names of its tensors begin in the file.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Unet { .. } => "model.diffusion_model.",
            Self::Vae => "first_stage_model.",
            Self::Clip { prefix } | Self::OpenClip { prefix, .. } => prefix,
        }
    }

    /// What becomes of each tensor of this part, by its name in the file; what has no other name
    /// keeps it.
    pub(super) fn names<'n>(self, shapes: &BTreeMap<&'n str, &[usize]>) -> BTreeMap<&'n str, Renamed> {
        let own: BTreeMap<&str, (&'n str, &[usize])> = shapes
            .iter()
            .filter_map(|(name, shape)| Some((name.strip_prefix(self.prefix())?, (*name, *shape))))
            .collect();
        let unet = unet::Blocks::of(own.keys().copied());
        let levels = vae::levels(own.keys().copied());
        let renamed = |(rest, (name, shape)): (&&str, &(&'n str, &[usize]))| {
            let new = match self {
                Self::Unet { linear_projection } => {
                    unet.name(rest).map(|new| unet::projection(new, shape, linear_projection))
                }
                Self::Vae => vae::renamed(rest, shape, levels),
                Self::Clip { .. } => Some(text::clip(rest)),
                Self::OpenClip { projection, .. } => text::open_clip(rest, projection),
            };
            (*name, new.unwrap_or_else(|| Renamed::As((*name).to_owned())))
        };
        own.iter().map(renamed).collect()
    }
}

/// A name, a place in the file, and whether the matrix there lies the other way round.
type View = (String, Entry, bool);

/// The tensors that one in the file becomes; `None` where its shape does not allow it.
pub(super) fn views(entry: &Entry, renamed: Renamed) -> Option<Vec<View>> {
    let shaped = |shape: Vec<usize>| Entry { shape, ..entry.clone() };
    Some(match (renamed, &entry.shape[..]) {
        (Renamed::As(name), _) => vec![(name, entry.clone(), false)],
        (Renamed::Matrix(name), [rows, columns, 1, 1]) => vec![(name, shaped(vec![*rows, *columns]), false)],
        (Renamed::Convolution(name), [rows, columns]) => vec![(name, shaped(vec![*rows, *columns, 1, 1]), false)],
        (Renamed::Transposed(name), [rows, columns]) => vec![(name, shaped(vec![*columns, *rows]), true)],
        (Renamed::Thirds(names), [rows, others @ ..]) if rows % 3 == 0 => {
            let shape: Vec<usize> = [rows / 3].into_iter().chain(others.iter().copied()).collect();
            let bytes = shape.iter().product::<usize>() as u64 * entry.dtype.bytes();
            let third =
                |(index, name)| (name, Entry { start: entry.start + index * bytes, ..shaped(shape.clone()) }, false);
            (0..).zip(names).map(third).collect()
        }
        (Renamed::Dropped, _) => Vec::new(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::header::Stored;
    use super::*;

    /// Name, shape, place, and whether it is transposed.
    type Shown = (String, Vec<usize>, u64, bool);

    fn entry(shape: &[usize]) -> Entry {
        Entry { dtype: Stored::F16, shape: shape.to_vec(), start: 100 }
    }

    fn shown(shape: &[usize], renamed: Renamed) -> Option<Vec<Shown>> {
        let shown = |(name, entry, transposed): View| (name, entry.shape, entry.start, transposed);
        Some(views(&entry(shape), renamed)?.into_iter().map(shown).collect())
    }

    #[test]
    fn one_matrix_becomes_three_at_their_places() {
        let names = || ["q", "k", "v"].map(str::to_owned);
        let thirds = |shape: &[usize]| shown(shape, Renamed::Thirds(names()));
        let expected = |shape: &[usize], step: u64| {
            let one = |(i, name): (u64, String)| (name, shape.to_vec(), 100 + i * step, false);
            Some((0..).zip(names()).map(one).collect::<Vec<_>>())
        };
        assert_eq!(thirds(&[6, 2]), expected(&[2, 2], 8));
        assert_eq!(thirds(&[6]), expected(&[2], 4));
        assert_eq!(thirds(&[7, 2]), None);
    }

    #[test]
    fn other_forms() {
        let name = || "a".to_owned();
        let one = |shape: &[usize], transposed| Some(vec![(name(), shape.to_vec(), 100, transposed)]);
        assert_eq!(shown(&[2, 3, 1, 1], Renamed::Matrix(name())), one(&[2, 3], false));
        assert_eq!(shown(&[2, 3], Renamed::Convolution(name())), one(&[2, 3, 1, 1], false));
        assert_eq!(shown(&[2, 3], Renamed::Transposed(name())), one(&[3, 2], true));
        assert_eq!(shown(&[2, 3], Renamed::Dropped), Some(Vec::new()));
        assert_eq!(shown(&[2, 3, 3, 3], Renamed::Matrix(name())), None);
    }
}
