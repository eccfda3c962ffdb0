//! How large the images are that are trained on: a square's side, or a width and a height.
//!
//! In: `dataset.resolution`, a number or a pair. Out: [`Resolution`].

use std::fmt;

use super::keys::{Setting, Value};

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Resolution {
    /// A square of this side.
    pub fn square(side: usize) -> Self {
        Self { width: side, height: side }
    }

    /// The side, if it is a square.
    pub fn side(self) -> Option<usize> {
        (self.width == self.height).then_some(self.width)
    }

    /// Pixels.
    pub fn area(self) -> usize {
        self.width * self.height
    }

    /// Height and width, in the order of tensors.
    pub fn sides(self) -> [usize; 2] {
        [self.height, self.width]
    }
}

impl From<usize> for Resolution {
    fn from(side: usize) -> Self {
        Self::square(side)
    }
}

/// `512`, or `512x768`: width, then height.
impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side() {
            Some(side) => write!(f, "{side}"),
            None => write!(f, "{}x{}", self.width, self.height),
        }
    }
}

impl Value for Resolution {
    fn from_setting(setting: Setting) -> Option<Self> {
        match setting {
            Setting::Whole(side) => usize::try_from(side).ok().map(Self::square),
            Setting::Wholes(sides) => match sides[..] {
                [width, height] => {
                    Some(Self { width: usize::try_from(width).ok()?, height: usize::try_from(height).ok()? })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn to_setting(&self) -> Option<Setting> {
        Some(match self.side() {
            Some(side) => Setting::Whole(side as u64),
            None => Setting::Wholes(vec![self.width as u64, self.height as u64]),
        })
    }
}
