//! How many numbers a plan trains, from the UNet's config.json alone.
//!
//! In: the text of the config (class `UNet2DConditionModel` as Stable Diffusion 1.x has it). Out: every module that has
//! weights, with its name in diffusers and its shape. No weights are needed, so `tunelab plan` can say it before
//! anything is downloaded, and what the loaded model says can be held against it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::Lora;
use crate::config::experiment::similar;
use crate::error::{Error, Result};

/// Stable Diffusion 1.5's values, for when the model is not on this machine.
pub const SD15_UNET: &str = r#"{
    "in_channels": 4, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
    "attention_head_dim": 8, "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
}"#;

/// Modules for which kohya's sd-scripts have no LoRA and whose names stable-diffusion.cpp does not know: both leave them out of a file
/// that has one for them.
const LEFT_OUT_ELSEWHERE: [&str; 4] = ["conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"];

/// One module of the UNet that has weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// As in diffusers: `down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`.
    pub name: String,
    /// What it computes.
    pub shape: Shape,
    /// How often the latent picture has been halved where it works: 0 for the outermost blocks.
    pub level: usize,
}

/// What a module computes, which gives the number of its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Matrix of `outputs` × `inputs`, perhaps with a bias.
    Linear {
        /// Columns.
        inputs: usize,
        /// Rows.
        outputs: usize,
        /// Has a bias.
        bias: bool,
        /// Works on the caption's tokens and not on the picture.
        on_text: bool,
    },
    /// Square convolution with a bias.
    Conv {
        /// Channels in.
        inputs: usize,
        /// Channels out.
        outputs: usize,
        /// Width and height of the kernel.
        kernel: usize,
    },
    /// Group or layer norm with a scale and a shift for each channel.
    Norm {
        /// Channels.
        channels: usize,
    },
}

impl Shape {
    /// Its own weights.
    pub fn parameters(&self) -> usize {
        match *self {
            Self::Linear { inputs, outputs, bias, .. } => inputs * outputs + if bias { outputs } else { 0 },
            Self::Conv { inputs, outputs, kernel } => inputs * outputs * kernel * kernel + outputs,
            Self::Norm { channels } => 2 * channels,
        }
    }

    /// Weights of a LoRA of rank 1 beside it: A has the module's own kernel, B is 1 × 1, as PEFT makes them.
    pub fn lora_parameters(&self) -> usize {
        match *self {
            Self::Linear { inputs, outputs, .. } => inputs + outputs,
            Self::Conv { inputs, outputs, kernel } => inputs * kernel * kernel + outputs,
            Self::Norm { .. } => 0,
        }
    }

    /// Channels of its output.
    pub fn outputs(&self) -> usize {
        match *self {
            Self::Linear { outputs, .. } | Self::Conv { outputs, .. } => outputs,
            Self::Norm { channels } => channels,
        }
    }
}

/// The modules of a UNet.
#[derive(Debug, Clone, PartialEq)]
pub struct Unet {
    /// All modules with weights, in the order of the data through them.
    pub modules: Vec<Module>,
}

impl Unet {
    /// Reads a `config.json`.
    ///
    /// Errors: not JSON, or a key has another form than Stable Diffusion 1.x gives it.
    pub fn from_config(json: &str) -> Result<Self> {
        let config: Config = serde_json::from_str(json)
            .map_err(|e| Error::input("the UNet's config.json is not as Stable Diffusion 1.x has it").cause(e))?;
        if config.block_out_channels.is_empty() || config.up_block_types.len() != config.block_out_channels.len() {
            return Err(Error::input("the UNet's config.json has as many `block_out_channels` as blocks"));
        }
        Ok(Self { modules: Walk { config: &config, modules: Vec::new() }.unet() })
    }

    /// Weights of the whole UNet: 859,520,964 for Stable Diffusion 1.5.
    pub fn parameters(&self) -> usize {
        self.modules.iter().map(|m| m.shape.parameters()).sum()
    }

    /// The modules that get a LoRA: those whose name is a target or ends with a point and a target.
    pub fn targeted<'a>(&'a self, targets: &'a [String]) -> impl Iterator<Item = &'a Module> {
        let matches = |name: &str, target: &str| {
            name.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        self.modules.iter().filter(move |m| {
            !matches!(m.shape, Shape::Norm { .. }) && targets.iter().any(|target| matches(&m.name, target))
        })
    }

    /// The modules among the targets whose LoRA some programs leave out.
    pub fn left_out_elsewhere<'a>(&'a self, targets: &'a [String]) -> impl Iterator<Item = &'a str> {
        self.targeted(targets).map(|module| module.name.as_str()).filter(|name| LEFT_OUT_ELSEWHERE.contains(name))
    }

    /// Weights that the LoRA trains: 199,296 × rank for Stable Diffusion 1.5 and the default targets.
    pub fn trained(&self, lora: &Lora) -> usize {
        lora.rank * self.targeted(&lora.targets).map(|m| m.shape.lora_parameters()).sum::<usize>()
    }
}

/// Can `target` name a module of some UNet of this class? Checked without a config, by the last part of the name (the
/// blocks before it differ from model to model).
///
/// Errors: it cannot; with the nearest name that can.
pub fn plausible_target(target: &str) -> std::result::Result<(), Option<String>> {
    let unet = Unet::from_config(SD15_UNET).map_err(|_| None)?;
    if unet.targeted(&[target.to_string()]).next().is_some() {
        return Ok(());
    }
    let ends: BTreeSet<&str> =
        unet.modules.iter().filter(|m| !matches!(m.shape, Shape::Norm { .. })).map(|m| ending(&m.name)).collect();
    if ends.iter().any(|end| target.ends_with(&format!(".{end}"))) {
        return Ok(());
    }
    let ends: Vec<&str> = ends.into_iter().collect();
    Err(similar(target, &ends).map(String::from))
}

/// The last part of a name, with the part before it where the last is a number: `to_out.0`.
fn ending(name: &str) -> &str {
    let numbered = |c: char| c.is_ascii_digit() || c == '.';
    let word = name.trim_end_matches(numbered);
    word.rfind('.').map_or(name, |at| &name[at + 1..])
}

#[derive(Deserialize)]
struct Config {
    in_channels: usize,
    out_channels: usize,
    block_out_channels: Vec<usize>,
    layers_per_block: usize,
    cross_attention_dim: usize,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    #[serde(default)]
    use_linear_projection: bool,
}

struct Walk<'c> {
    config: &'c Config,
    modules: Vec<Module>,
}

impl Walk<'_> {
    fn unet(mut self) -> Vec<Module> {
        let channels = &self.config.block_out_channels;
        let (first, last, levels) = (channels[0], channels[channels.len() - 1], channels.len());
        self.conv("conv_in", self.config.in_channels, first, 3, 0);
        self.linear("time_embedding.linear_1", first, 4 * first, levels);
        self.linear("time_embedding.linear_2", 4 * first, 4 * first, levels);
        for (i, kind) in self.config.down_block_types.iter().enumerate().take(levels) {
            self.down_block(i, kind);
        }
        self.resnet("mid_block.resnets.0", last, last, levels - 1);
        self.transformer("mid_block.attentions.0", last, levels - 1);
        self.resnet("mid_block.resnets.1", last, last, levels - 1);
        for (i, kind) in self.config.up_block_types.iter().enumerate() {
            self.up_block(i, kind);
        }
        self.norm("conv_norm_out", first, 0);
        self.conv("conv_out", first, self.config.out_channels, 3, 0);
        self.modules
    }

    fn down_block(&mut self, i: usize, kind: &str) {
        let channels = &self.config.block_out_channels;
        let (input, output) = (channels[i.saturating_sub(1)], channels[i]);
        let name = format!("down_blocks.{i}");
        for j in 0..self.config.layers_per_block {
            self.resnet(&format!("{name}.resnets.{j}"), if j == 0 { input } else { output }, output, i);
            if kind.contains("CrossAttn") {
                self.transformer(&format!("{name}.attentions.{j}"), output, i);
            }
        }
        if i + 1 < channels.len() {
            self.conv(&format!("{name}.downsamplers.0.conv"), output, output, 3, i + 1);
        }
    }

    /// Each resnet of an upward block also gets the output of its counterpart on the way down.
    fn up_block(&mut self, i: usize, kind: &str) {
        let channels = &self.config.block_out_channels;
        let level = channels.len() - 1 - i;
        let output = channels[level];
        let (before, beyond) = (channels[(level + 1).min(channels.len() - 1)], channels[level.saturating_sub(1)]);
        let name = format!("up_blocks.{i}");
        for j in 0..=self.config.layers_per_block {
            let through = if j == 0 { before } else { output };
            let skipped = if j == self.config.layers_per_block { beyond } else { output };
            self.resnet(&format!("{name}.resnets.{j}"), through + skipped, output, level);
            if kind.contains("CrossAttn") {
                self.transformer(&format!("{name}.attentions.{j}"), output, level);
            }
        }
        if level > 0 {
            self.conv(&format!("{name}.upsamplers.0.conv"), output, output, 3, level - 1);
        }
    }

    fn resnet(&mut self, name: &str, inputs: usize, outputs: usize, level: usize) {
        self.norm(&format!("{name}.norm1"), inputs, level);
        self.conv(&format!("{name}.conv1"), inputs, outputs, 3, level);
        let levels = self.config.block_out_channels.len();
        self.linear(&format!("{name}.time_emb_proj"), 4 * self.config.block_out_channels[0], outputs, levels);
        self.norm(&format!("{name}.norm2"), outputs, level);
        self.conv(&format!("{name}.conv2"), outputs, outputs, 3, level);
        if inputs != outputs {
            self.conv(&format!("{name}.conv_shortcut"), inputs, outputs, 1, level);
        }
    }

    fn transformer(&mut self, name: &str, width: usize, level: usize) {
        self.norm(&format!("{name}.norm"), width, level);
        self.projection(&format!("{name}.proj_in"), width, level);
        let block = format!("{name}.transformer_blocks.0");
        self.norm(&format!("{block}.norm1"), width, level);
        self.attention(&format!("{block}.attn1"), width, None, level);
        self.norm(&format!("{block}.norm2"), width, level);
        self.attention(&format!("{block}.attn2"), width, Some(self.config.cross_attention_dim), level);
        self.norm(&format!("{block}.norm3"), width, level);
        self.linear(&format!("{block}.ff.net.0.proj"), width, 8 * width, level);
        self.linear(&format!("{block}.ff.net.2"), 4 * width, width, level);
        self.projection(&format!("{name}.proj_out"), width, level);
    }

    /// `text` is the width of the caption's tokens in cross attention.
    fn attention(&mut self, name: &str, width: usize, text: Option<usize>, level: usize) {
        let (inputs, on_text) = (text.unwrap_or(width), text.is_some());
        let mut plain = |part: &str, inputs, on_text| {
            let shape = Shape::Linear { inputs, outputs: width, bias: false, on_text };
            self.modules.push(Module { name: format!("{name}.{part}"), shape, level });
        };
        plain("to_q", width, false);
        plain("to_k", inputs, on_text);
        plain("to_v", inputs, on_text);
        self.linear(&format!("{name}.to_out.0"), width, width, level);
    }

    fn projection(&mut self, name: &str, width: usize, level: usize) {
        if self.config.use_linear_projection {
            self.linear(name, width, width, level);
        } else {
            self.conv(name, width, width, 1, level);
        }
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, level: usize) {
        let shape = Shape::Linear { inputs, outputs, bias: true, on_text: false };
        self.modules.push(Module { name: name.into(), shape, level });
    }

    fn conv(&mut self, name: &str, inputs: usize, outputs: usize, kernel: usize, level: usize) {
        self.modules.push(Module { name: name.into(), shape: Shape::Conv { inputs, outputs, kernel }, level });
    }

    fn norm(&mut self, name: &str, channels: usize, level: usize) {
        self.modules.push(Module { name: name.into(), shape: Shape::Norm { channels }, level });
    }
}
