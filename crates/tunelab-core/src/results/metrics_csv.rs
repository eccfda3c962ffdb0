//! `metrics.csv`: the numbers of every image.
//!
//! In: rows. Out: the file's bytes. `image` is empty where a number is of a prompt's images together; `nearest_to` is the
//! training image that an image is nearest to.

use serde::Serialize;

use crate::error::{Error, Result};

/// A number of one image, or of one prompt's images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricsRow {
    /// Optimizer steps before the image; 0 is the base model.
    pub step: usize,
    /// The folder under `samples/`.
    pub set: String,
    /// Who measured it.
    pub encoder: String,
    /// What was measured.
    pub metric: String,
    /// The prompt that the image was drawn with.
    pub prompt: String,
    /// The image, by its path in the run's folder.
    pub image: Option<String>,
    /// The number.
    pub value: f64,
    /// Of `nearest`, the training image.
    pub nearest_to: Option<String>,
}

/// The file's bytes.
pub fn metrics_csv(rows: &[MetricsRow]) -> Result<Vec<u8>> {
    let failed = |e: &dyn std::fmt::Display| Error::run("metrics.csv cannot be made").cause(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row)).map_err(|e| failed(&e))?;
    writer.into_inner().map_err(|e| failed(&e))
}
