//! The ways to fine-tune, a file a method.
//!
//! In: a plan's [`Adapter`]. Out: its [`Method`], the values that the rest of the program works
//! with, and at a run's end its files. Nobody else looks which method it is. A method's file says
//! what it trains, what it is called and what it writes; `weights` is what a method is given for
//! that, `kohya_metadata`, `single_file` and its `open_clip` are forms of what is written, [`mod@file`] reads and writes
//! LoRA files in all spellings.

pub mod file;
mod full;
mod kohya_metadata;
mod lora;
mod method;
mod open_clip;
mod single_file;
mod weights;

pub use method::{Method, Output};
pub use weights::TrainedModel;

use crate::config::Adapter;
use crate::error::Result;
use crate::results::RunDir;
use weights::WeightsFolder;

/// What the adapter trains, and how it is called.
pub fn method(adapter: &Adapter) -> Method {
    match adapter {
        Adapter::Lora(lora) => lora::method(lora),
        Adapter::Full(full) => full::method(full),
    }
}

/// Writes what was trained into the folder of weights `folder` of the run; gives the names of the
/// files. No clock goes in, so a rerun writes the same bytes.
pub fn save(run: &RunDir, folder: String, trained: &TrainedModel) -> Result<Vec<String>> {
    let mut folder = WeightsFolder::new(run, folder);
    match &trained.plan.adapter {
        Adapter::Lora(lora) => lora::save(&mut folder, lora, trained)?,
        Adapter::Full(full) => full::save(&mut folder, full, trained)?,
    }
    Ok(folder.into_files())
}
