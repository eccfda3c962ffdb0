//! The networks of Stable Diffusion 1.x, 2.x and XL: tokenizer, CLIP text encoders, VAE and UNet, with
//! diffusers' tensor names; and which of them a family consists of.
//!
//! In: a repository's `config.json` files and checked weights. Out: networks whose forward pass is
//! built on `tunelab_ops`, each of which tells what it consists of. Every size comes from the
//! configuration, so smaller models of the same classes run through the same code.

pub mod build;
pub mod clip;
pub mod conditioning;
pub mod config;
pub mod describe;
mod dtype;
pub mod family;
pub mod layers;
pub mod lora;
mod module;
pub mod published;
pub mod recompute;
pub mod resnet;
pub mod targets;
pub mod tokenizer;
pub mod transformer;
pub mod unet;
mod untrained;
pub mod vae;

pub use dtype::Dtype;
