//! A model as a whole: its files by part, its networks, and what goes from its text encoders to the UNet.

mod families;
mod long_prompts;

use crate::fixture::{loader, model, randn, values};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use tunelab::model::clip::ClipConfig;
use tunelab::model::unet::UnetConfig;
use tunelab::model::vae::VaeConfig;
use tunelab::pipeline::{Conditioning, Configs, Family, PipelineLoader, tokenize};
use tunelab::train::objective::UnetBatch;
use tunelab::weights::PartName;

/// Three samples with everything that a family may have.
fn conditioning(samples: usize) -> Conditioning {
    Conditioning {
        hidden_states: randn(&[samples, 5, 4], 1),
        pooled: Some(randn(&[samples, 6], 2)),
        time_ids: Some(randn(&[samples, 3], 3)),
    }
}

fn all(conditioning: &Conditioning) -> Vec<Vec<f32>> {
    let Conditioning { hidden_states, pooled, time_ids } = conditioning;
    [hidden_states].into_iter().chain(pooled).chain(time_ids).map(values).collect()
}

#[test]
fn conditioning_is_joined_and_repeated_with_all_that_it_has() {
    let (one, two) = (conditioning(1), conditioning(2));
    let joined = Conditioning::cat(&[&one, &two]).unwrap();
    for ((joined, one), two) in all(&joined).iter().zip(all(&one)).zip(all(&two)) {
        assert_eq!(*joined, [one, two].concat());
    }
    for (repeated, one) in all(&one.repeat(3).unwrap()).iter().zip(all(&one)) {
        assert_eq!(*repeated, one.repeat(3));
    }
    let without = Conditioning { pooled: None, ..conditioning(1) };
    let error = Conditioning::cat(&[&one, &without]).unwrap_err().to_string();
    assert!(error.contains("1 of 2 texts"), "{error}");
    assert_eq!(all(&Conditioning::cat(&[&without, &without]).unwrap()).len(), 2);
}

#[test]
fn a_batch_of_its_own_tensors_is_the_same_batch() {
    let seeds = |first: u64| UnetBatch {
        loss_mask: Some(randn(&[2, 1, 3, 3], first + 6)),
        noisy_latents: randn(&[2, 4, 3, 3], first),
        target: randn(&[2, 4, 3, 3], first + 1),
        timestep_embedding: randn(&[2, 8], first + 2),
        loss_weights: randn(&[2], first + 3),
        huber_c: Some(randn(&[2], first + 4)),
        conditioning: Some(conditioning(2)),
        time_ids: Some(randn(&[2, 9], first + 5)),
        captions: vec!["a".to_owned(), "b".to_owned()],
    };
    let (batch, other) = (seeds(10), seeds(20));
    let tensors = batch.tensors();
    assert_eq!(tensors.len(), 10);
    let again = other.with_tensors(&tensors).unwrap();
    let same = |a: &Tensor, b: &Tensor| assert_eq!(values(a), values(b));
    same(&again.noisy_latents, &batch.noisy_latents);
    same(&again.target, &batch.target);
    same(&again.timestep_embedding, &batch.timestep_embedding);
    same(&again.loss_weights, &batch.loss_weights);
    same(again.time_ids.as_ref().unwrap(), batch.time_ids.as_ref().unwrap());
    same(again.huber_c.as_ref().unwrap(), batch.huber_c.as_ref().unwrap());
    assert_eq!(all(again.conditioning.as_ref().unwrap()), all(batch.conditioning.as_ref().unwrap()));
    assert!(other.with_tensors(&tensors[1..]).is_err(), "one is missing");
    let without = UnetBatch { conditioning: None, ..seeds(30) };
    assert_eq!(without.tensors().len(), 7);
    assert!(without.with_tensors(&tensors).is_err(), "three too many");
}

/// Random weights of the fixture's sizes: the same networks as its files make, without tokenizers.
#[test]
fn files_and_sizes_make_a_pipeline_in_the_same_way() {
    let files = model();
    let config = |part| files.part(part).unwrap().config.clone();
    let text = ClipConfig::read(&config(PartName::TextEncoder)).unwrap();
    let configs = Configs {
        family: Family::Sd1,
        unet: UnetConfig::read(&config(PartName::Unet)).unwrap(),
        vae: VaeConfig::read(&config(PartName::Vae)).unwrap(),
        text_encoders: BTreeMap::from([(PartName::TextEncoder, text)]),
        schedule: files.noise_schedule().unwrap(),
    };
    let random = PipelineLoader::random(&configs, &Device::Cpu).pipeline().unwrap();
    let read = loader(&files).pipeline().unwrap();
    assert_eq!(random.parameter_count(), read.parameter_count());
    assert_eq!(random.parameters.keys().collect::<Vec<_>>(), [&PartName::Unet, &PartName::TextEncoder]);
    assert!(random.tokenizers.0.is_empty());
    let ids = tokenize(&read.tokenizers, ["a dog", "", "a dog"], &mut |text| panic!("{text}")).unwrap();
    let embeds = read.text_encoders.encode_each(&ids).unwrap();
    assert_eq!(embeds.len(), 2);
    let both = read.text_encoders.encode(&[&ids[""], &ids["a dog"]]).unwrap();
    let joined = Conditioning::cat(&[&embeds[""], &embeds["a dog"]]).unwrap();
    assert_eq!(both.hidden_states.dims(), joined.hidden_states.dims());
}

#[test]
fn a_part_that_is_not_there_is_named() {
    let mut files = model();
    files.parts.remove(&PartName::Vae);
    files.tokenizers.clear();
    let vae = files.part(PartName::Vae).unwrap_err().to_string();
    assert!(vae.contains("has no vae"), "{vae}");
    let tokenizer = loader(&files).tokenizers().err().unwrap().to_string();
    assert!(tokenizer.contains("no tokenizer for text_encoder"), "{tokenizer}");
}
