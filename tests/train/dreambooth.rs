//! DreamBooth's loss and gradients against a training step as diffusers' script makes it, with a weight that is not 1.

use crate::fixture::{Tensors, close, model, tensors};
use candle_core::{DType, Device, Tensor, Var};
use tunelab::diffusion::{HuberSchedule, LossFunction, NoiseSchedule};
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
    for (case, snr_gamma) in [("plain", None), ("snr", Some(3.0))] {
        check(&f, &f, case, &model().noise_schedule().unwrap(), snr_gamma, LossFunction::L2);
    }
}

/// The instance half has masks, whose least weight is an eighth; kohya's formula, in torch.
#[test]
fn masked_losses_and_their_gradients_equal_torchs() {
    let (f, wanted) = (tensors("dreambooth.safetensors"), tensors("masks.safetensors"));
    let schedule = model().noise_schedule().unwrap();
    let losses = [("squares", LossFunction::L2), ("huber", LossFunction::Huber(HuberSchedule::Snr, 0.2))];
    for (case, loss) in losses {
        check(&f, &wanted, case, &schedule, None, loss);
    }
}

/// The scheduled pseudo-Huber losses, each with another schedule of c, with and without min-SNR weights, over ε and v.
#[test]
fn pseudo_huber_losses_equal_the_script() {
    let (f, wanted) = (tensors("dreambooth.safetensors"), tensors("huber.safetensors"));
    let config = fs_err::read_to_string(model().scheduler_config).unwrap();
    let velocity = config.replace("\"epsilon\"", "\"v_prediction\"");
    let [epsilon, velocity] =
        [&config, &velocity].map(|text| NoiseSchedule::from_config(text, "scheduler_config.json".as_ref()).unwrap());
    let cases = [
        ("huber_snr", &epsilon, None, LossFunction::Huber(HuberSchedule::Snr, 0.2)),
        ("huber_exponential", &epsilon, Some(3.0), LossFunction::Huber(HuberSchedule::Exponential, 0.05)),
        ("smooth_l1_constant", &velocity, None, LossFunction::SmoothL1(HuberSchedule::Constant, 0.3)),
        ("smooth_l1_snr", &velocity, Some(3.0), LossFunction::SmoothL1(HuberSchedule::Snr, 0.1)),
    ];
    for (case, schedule, snr_gamma, loss) in cases {
        check(&f, &wanted, case, schedule, snr_gamma, loss);
    }
    let thresholds = wanted["thresholds"].to_vec2::<f64>().unwrap();
    let kinds = [(HuberSchedule::Snr, 0.2), (HuberSchedule::Exponential, 0.05), (HuberSchedule::Constant, 0.3)];
    for ((kind, c), wanted) in kinds.into_iter().zip(thresholds) {
        for (t, wanted) in f["timesteps"].to_vec1::<i64>().unwrap().into_iter().zip(wanted) {
            let ours = kind.threshold(c, &epsilon, t as usize);
            assert!((ours / wanted - 1.0).abs() < 1e-5, "{kind:?} at {t}: {ours} instead of {wanted}");
        }
    }
}

/// Compares with `case` of `wanted`; the batch and the matrices are those of `f`.
fn check(
    f: &Tensors,
    wanted: &Tensors,
    case: &str,
    schedule: &NoiseSchedule,
    snr_gamma: Option<f64>,
    function: LossFunction,
) {
    let captions = ["first", "second", "third", "fourth"];
    let row = |name: &str, i: usize, n: usize| f[name].narrow(0, i, n).unwrap();
    let embeds = captions.iter().enumerate().map(|(i, c)| ((*c).to_owned(), row("text", i, 1).into())).collect();
    let texts = TextConditioning::Cached(embeds);
    let half = |i: usize| {
        let captions = captions[i..i + 2].iter().map(|c| (*c).to_owned()).collect();
        let loss_mask = wanted.get("loss_mask").map(|mask| mask.narrow(0, i, 2).unwrap());
        Batch { loss_mask, ..Batch::new(row("latents", i, 2), captions, Vec::new()) }
    };
    let (unet, parameters) = unet(f);
    let timesteps = f["timesteps"].to_vec1::<i64>().unwrap().into_iter().map(|t| t as usize).collect();
    let sample = NoiseSample::fixed(f["noise"].clone(), timesteps);
    let predictor = Predictor { unet: &unet, texts: &texts, schedule, snr_gamma, loss: function };
    let ((parts, loss), tape) = tape::record(|| {
        let batch = predictor.prepare(&Batch::cat(&half(0), &half(2))?, &sample)?;
        let parts = predictor.prior_preservation_loss(&batch, 2)?;
        let loss = ops::add(&parts.instance, &ops::scale(&parts.prior, WEIGHT)?)?;
        Ok::<_, Error>((parts, loss))
    })
    .unwrap();
    let get = |name: &str| &wanted[&format!("{case}.{name}")];
    close(&parts.instance, get("instance"), &format!("{case}, instance loss"));
    close(&parts.prior, get("prior"), &format!("{case}, prior loss"));
    close(&loss, get("loss"), &format!("{case}, loss"));
    let gradients = tape.backward(&loss).unwrap();
    let trained = parameters.trained();
    assert_eq!(trained.len(), wanted.keys().filter(|k| k.starts_with(&format!("{case}.grad."))).count());
    for (name, tensor) in trained {
        close(gradients.get(&tensor).unwrap(), get(&format!("grad.{name}")), &format!("{case}, {name}"));
    }
}
