//! Everything that comes from outside: model folders, repositories, data sets. Found, fetched,
//! checked.
//!
//! In: a `Source`. Out: paths of files that are there and whole: of a model its
//! [`ModelFiles`](crate::pipeline::ModelFiles), of a data set its folder.

pub mod builtin;
mod data_files;
mod data_folder;
mod download;
mod family;
mod find;
pub mod hub;
mod layout;
pub mod local;
pub mod modelscope;
mod native;
mod own;
mod pack_kind;
mod packs;
mod pictures;
mod reach;
mod settings;
pub mod single_file;
mod wanted;
mod web;

pub use data_folder::DataFolder;
pub use find::{MASTER, find_dataset, find_model};
pub use reach::Reach;
pub use settings::{Hub, HubSettings, Hubs, Token};
pub use web::{Failed, Tried};
