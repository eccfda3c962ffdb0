//! What a network says of itself, against the very network built with weights.

use crate::fixture::model;
use candle_core::Device;
use std::collections::BTreeMap;
use std::time::Instant;
use tunelab::model::build::{Build, Parameters, Trainable};
use tunelab::model::clip::{Activation, ClipConfig, ClipText};
use tunelab::model::describe::{Kind, Module, Network, Positions};
use tunelab::model::lora::LoraConfig;
use crate::fixture::sd15;
use tunelab::model::unet::{Unet, UnetConfig};
use tunelab::model::vae::{Vae, VaeConfig};

/// Every tensor that the modules have, by name.
fn tensors(network: &Network) -> BTreeMap<String, Vec<usize>> {
    let of = |module: &Module| {
        let bias = module.bias.then(|| (format!("{}.bias", module.name), vec![module.weight[0]]));
        [(format!("{}.weight", module.name), module.weight.clone())].into_iter().chain(bias)
    };
    network.modules.iter().flat_map(of).collect()
}

/// The network describes all tensors that it has, and no other.
fn agrees(network: &Network, parameters: &Parameters) {
    let built: BTreeMap<String, Vec<usize>> = parameters.dims().map(|(name, dims)| (name.clone(), dims)).collect();
    assert_eq!(tensors(network), built);
    assert_eq!(network.parameters(), parameters.weight_count());
}

/// The same LoRA, described and made.
fn lora_agrees(network: &Network, wanted: &[&str], build: impl FnOnce(Trainable) -> Parameters) {
    let targets = wanted.iter().map(|&target| target.to_owned()).collect();
    let config = LoraConfig { rank: 3, alpha: 5.0, targets, dropout: 0.0 };
    let layers = build(Trainable::Lora(config)).lora;
    let described: Vec<&str> = network.targeted(wanted).map(|module| module.name.as_str()).collect();
    assert!(!described.is_empty() && described.len() == layers.len(), "{described:?}");
    assert!(described.iter().all(|name| layers.contains_key(*name)), "{described:?}");
    assert_eq!(
        3 * network.lora_parameters(wanted),
        layers.values().map(|layer| layer.lora_a.elem_count() + layer.lora_b.elem_count()).sum::<usize>()
    );
}

fn unet_agrees(config: &UnetConfig) {
    let network = config.describe().unwrap();
    let build = |trained| Unet::new(config, Build::untrained(trained, 5, &Device::Cpu)).unwrap().1;
    agrees(&network, &build(Trainable::None));
    let attention = ["to_q", "to_k", "to_v", "to_out.0"];
    for targets in [&attention[..], &["proj_in", "conv1", "ff.net.0.proj", "time_emb_proj"], &["conv_in", "conv"]] {
        lora_agrees(&network, targets, build);
    }
}

/// A small UNet with all that differs from Stable Diffusion 1.5: numbers of heads, of residual and
/// of transformer blocks.
fn small() -> UnetConfig {
    UnetConfig {
        block_out_channels: vec![8, 16, 24],
        layers_per_block: vec![2, 1, 2],
        down_attention: vec![true, false, true],
        up_attention: vec![true, true, false],
        num_attention_heads: vec![2, 4, 3],
        transformer_layers_per_block: vec![2, 1, 3],
        cross_attention_dim: 10,
        norm_num_groups: 4,
        ..sd15::unet()
    }
}

#[test]
fn transformers_of_several_blocks_are_counted() {
    unet_agrees(&small());
    let described = small().describe().unwrap();
    let blocks = |of: &str| {
        let inside = described.modules.iter().filter(|m| m.name.starts_with(of) && m.name.ends_with("attn2.to_k"));
        inside.count()
    };
    assert_eq!(blocks("down_blocks.0.attentions.1."), 2);
    assert_eq!(blocks("mid_block.attentions.0."), 3);
    // One more block in every transformer of Stable Diffusion 1.5 is as many parameters as the one
    // that is there.
    let one = sd15::unet().describe().unwrap();
    let two = UnetConfig { transformer_layers_per_block: vec![2; 4], ..sd15::unet() }.describe().unwrap();
    let in_blocks = |network: &Network| {
        let inside = network.modules.iter().filter(|module| module.name.contains("transformer_blocks."));
        inside.map(Module::parameters).sum::<usize>()
    };
    assert_eq!(two.parameters() - one.parameters(), in_blocks(&one));
    assert_eq!(in_blocks(&two), 2 * in_blocks(&one));
}

/// Stable Diffusion 2 projects linearly around its transformers and lists its heads.
#[test]
fn a_unet_like_stable_diffusion_2s_is_counted() {
    let config = UnetConfig { use_linear_projection: true, transformer_layers_per_block: vec![1; 3], ..small() };
    unet_agrees(&config);
    let network = config.describe().unwrap();
    let kinds =
        |end: &str| network.modules.iter().filter(|m| m.name.ends_with(end)).map(|m| m.kind).collect::<Vec<_>>();
    assert_eq!(kinds(".proj_in"), vec![Kind::Linear; kinds(".proj_out").len()]);
    // What diffusers counts in Stable Diffusion 2's UNet.
    let full = UnetConfig {
        num_attention_heads: vec![5, 10, 20, 20],
        cross_attention_dim: 1024,
        use_linear_projection: true,
        ..sd15::unet()
    };
    assert_eq!(full.describe().unwrap().parameters(), 865_910_724);
}

#[test]
fn the_fixtures_networks_describe_themselves() {
    let files = model();
    unet_agrees(&UnetConfig::read(&files.unet.config).unwrap());
    let config = VaeConfig::read(&files.vae.config).unwrap();
    let build = || Build::untrained(Trainable::None, 5, &Device::Cpu);
    agrees(&config.describe().unwrap(), &Vae::new(&config, build()).unwrap().1);
    let config = ClipConfig::read(&files.text_encoder.config).unwrap();
    let network = config.describe().unwrap();
    let build = |trained| ClipText::new(&config, Build::untrained(trained, 5, &Device::Cpu)).unwrap().1;
    agrees(&network, &build(Trainable::None));
    lora_agrees(&network, &["q_proj", "k_proj", "v_proj", "out_proj"], build);
    let wide = ClipConfig { hidden_act: Activation::Gelu, intermediate_size: 20, ..config };
    let build = Build::untrained(Trainable::None, 5, &Device::Cpu);
    agrees(&wide.describe().unwrap(), &ClipText::new(&wide, build).unwrap().1);
}

#[test]
fn modules_say_what_they_work_on() {
    let unet = sd15::unet().describe().unwrap();
    let at = |name: &str| unet.modules.iter().find(|module| module.name == name).unwrap().positions;
    let level = |level| Positions::Pixels { level };
    for (name, positions) in [
        ("conv_in", level(0)),
        ("time_embedding.linear_2", Positions::Sample),
        ("down_blocks.1.resnets.0.conv1", level(1)),
        ("down_blocks.1.resnets.0.time_emb_proj", Positions::Sample),
        ("down_blocks.1.downsamplers.0.conv", level(2)),
        ("down_blocks.2.attentions.0.transformer_blocks.0.attn1.to_k", level(2)),
        ("down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_q", level(2)),
        ("down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_k", Positions::Tokens),
        ("mid_block.attentions.0.proj_in", level(3)),
        ("up_blocks.0.upsamplers.0.conv", level(2)),
        ("up_blocks.3.resnets.2.conv_shortcut", level(0)),
        ("conv_out", level(0)),
    ] {
        assert_eq!(at(name), positions, "{name}");
    }
    assert_eq!([level(2), level(20), Positions::Tokens, Positions::Sample].map(|p| p.count(4096, 77)), [256, 1, 77, 1]);
    let vae = sd15::vae().describe().unwrap();
    let at = |name: &str| vae.modules.iter().find(|module| module.name == name).unwrap().positions;
    assert_eq!(
        ["quant_conv", "encoder.conv_out", "decoder.conv_in", "decoder.mid_block.resnets.0.conv1"].map(at),
        [level(3); 4]
    );
    assert_eq!(["encoder.conv_in", "decoder.conv_out", "decoder.up_blocks.3.resnets.0.norm1"].map(at), [level(0); 3]);
    assert_eq!(at("decoder.up_blocks.0.upsamplers.0.conv"), level(2));
}

/// Nothing of the weights' size is made: a network that no machine could hold is described at once.
#[test]
fn a_description_takes_no_memory() {
    let begun = Instant::now();
    let huge = UnetConfig { block_out_channels: vec![320_000; 4], ..sd15::unet() };
    assert!(huge.describe().unwrap().parameters() > 10_usize.pow(13));
    assert_eq!(sd15::unet().describe().unwrap().parameters(), 859_520_964);
    assert_eq!(sd15::vae().describe().unwrap().parameters(), 83_653_863);
    assert_eq!(sd15::text_encoder().describe().unwrap().parameters(), 123_060_480);
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}
