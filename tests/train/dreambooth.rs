//! DreamBooth's loss and gradients against a training step as diffusers' script makes it, with a weight that is not 1.

use crate::fixture::{Tensors, close, model, tensors};
use candle_core::{DType, Device, Tensor, Var};
use tunelab::error::Error;
use tunelab::model::build::{Build, Parameters, Trainable};
use tunelab::model::lora::LoraLayer;
use tunelab::model::unet::{Unet, UnetConfig};
use tunelab::train::examples::Batch;
use tunelab::train::objective::{NoiseSample, Predictor};
use tunelab::train::texts::TextConditioning;
use tunelab::weights::{Loader, PartName, Weights};
use tunelab_ops::{self as ops, tape};

const WEIGHT: f64 = 0.7;

/// The UNet with the fixture's adapters of `to_v`, rank 2 and alpha 3, trained.
fn unet(f: &Tensors) -> (Unet, Parameters) {
    let files = model();
    let part = files.part(PartName::Unet).unwrap();
    let config = UnetConfig::read(&part.config).unwrap();
    let loader = Loader::new(Weights::open_part(part).unwrap(), &Device::Cpu, DType::F32);
    let (_, mut parameters) = Unet::new(&config, Build::from_files(loader, Trainable::None, 0)).unwrap();
    for (name, down) in f.iter().filter(|(name, _)| !name.contains("grad.")) {
        let Some(path) = name.strip_suffix(".lora_A.weight") else { continue };
        let var = |t: &Tensor| Var::from_tensor(t).unwrap().into_inner();
        let up = &f[&format!("{path}.lora_B.weight")];
        parameters.lora.insert(path.to_owned(), LoraLayer::from_tensors(var(down), var(up), 3.0, 1.0));
    }
    Unet::new(&config, Build::from_parameters(parameters)).unwrap()
}

#[test]
fn loss_and_every_gradient_equal_the_script() {
    let f = tensors("dreambooth.safetensors");
    let captions = ["first", "second", "third", "fourth"];
    let row = |name: &str, i: usize, n: usize| f[name].narrow(0, i, n).unwrap();
    let embeds = captions.iter().enumerate().map(|(i, c)| ((*c).to_owned(), row("text", i, 1).into())).collect();
    let texts = TextConditioning::Cached(embeds);
    let schedule = model().noise_schedule().unwrap();
    let half = |i: usize| {
        let captions = captions[i..i + 2].iter().map(|c| (*c).to_owned()).collect();
        Batch { latents: row("latents", i, 2), captions }
    };
    for (case, snr_gamma) in [("plain", None), ("snr", Some(3.0))] {
        let (unet, parameters) = unet(&f);
        let timesteps = f["timesteps"].to_vec1::<i64>().unwrap().into_iter().map(|t| t as usize).collect();
        let sample = NoiseSample::fixed(f["noise"].clone(), timesteps);
        let predictor = Predictor { unet: &unet, texts: &texts, schedule: &schedule, snr_gamma };
        let ((parts, loss), tape) = tape::record(|| {
            let batch = predictor.prepare(&Batch::cat(&half(0), &half(2))?, &sample)?;
            let parts = predictor.prior_preservation_loss(&batch, 2)?;
            let loss = ops::add(&parts.instance, &ops::scale(&parts.prior, WEIGHT)?)?;
            Ok::<_, Error>((parts, loss))
        })
        .unwrap();
        let get = |name: &str| &f[&format!("{case}.{name}")];
        close(&parts.instance, get("instance"), "instance loss");
        close(&parts.prior, get("prior"), "prior loss");
        close(&loss, get("loss"), "loss");
        let gradients = tape.backward(&loss).unwrap();
        let trained = parameters.trained();
        assert_eq!(trained.len(), f.keys().filter(|k| k.starts_with(&format!("{case}.grad."))).count());
        for (name, tensor) in trained {
            close(gradients.get(&tensor).unwrap(), get(&format!("grad.{name}")), &name);
        }
    }
}
