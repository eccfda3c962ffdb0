//! Training: the optimizer, the objective and the trainer's loop, on the fixtures' small model.

mod adapter;
mod average;
mod dreambooth;
mod lr;
mod objective;
mod optimizer;
mod overfit;
mod shapes;
mod time_ids;
mod trainer;

use crate::fixture::{fixture, loader, model, randn, values};
use candle_core::Device;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;
use tunelab::config::{AdamW, Dataset, Dtype, Length, LrScheduler, Optimizer, Source, Train};
use tunelab::data::{Cache, Picture, load_dataset};
use tunelab::diffusion::{LossFunction, NoiseSchedule};
use tunelab::error::Result;
use tunelab::interrupt::Interrupt;
use tunelab::model::build::{Build, Parameters, Trainable};
use tunelab::model::lora::LoraConfig;
use tunelab::model::{unet::Unet, vae::Vae};
use tunelab::pipeline::PromptEmbeds;
use tunelab::progress::Progress;
use tunelab::results::LossRow;
use tunelab::train::evaluation::Evaluation;
use tunelab::train::examples::{Examples, Role, Sources};
use tunelab::train::items::Items;
use tunelab::train::objective::Predictor;
use tunelab::train::texts::TextConditioning;
use tunelab::train::trainer::{Trainer, TrainerInputs};
use tunelab::weights::PartName;

/// The experiment's seed in these tests.
const SEED: u64 = 5;

/// Everything that a training run needs.
struct Bench {
    unet: Unet,
    parameters: Parameters,
    vae: Vae,
    examples: Examples,
    texts: TextConditioning,
    schedule: NoiseSchedule,
}

impl Bench {
    /// The small model and `pictures` photographs of 64x64, each with a caption of its own.
    fn new(trained: Trainable, pictures: usize) -> Self {
        Self::at(64, trained, pictures)
    }

    /// The same with photographs of another size.
    fn at(resolution: usize, trained: Trainable, pictures: usize) -> Self {
        let files = model();
        let (unet, parameters) =
            loader(&files).training(BTreeMap::from([(PartName::Unet, trained)])).seed(SEED).unet().unwrap();
        let vae = loader(&files).vae().unwrap();
        let (examples, texts) = examples(&vae, pictures, resolution, 0.0);
        Self { unet, parameters, vae, examples, texts, schedule: files.noise_schedule().unwrap() }
    }

    fn trainer<'a>(&'a self, train: &'a Train) -> Trainer<'a> {
        Trainer::new(self.inputs(train)).unwrap()
    }

    fn inputs<'a>(&'a self, train: &'a Train) -> TrainerInputs<'a> {
        TrainerInputs {
            predictor: Predictor { loss: train.loss_function(), ..self.predictor(&self.unet, train.snr_gamma) },
            trained: self.parameters.trained(),
            dropouts: self.parameters.dropout().map(|d| (PartName::Unet, d.clone())).into_iter().collect(),
            vae: &self.vae,
            examples: &self.examples,
            class: None,
            items: Items::of(self.examples.len(), 0),
            train,
            ema_decay: None,
            seed: SEED,
            digest: "the fixture's".to_owned(),
        }
    }

    fn predictor<'a>(&'a self, unet: &'a Unet, snr_gamma: Option<f64>) -> Predictor<'a> {
        Predictor { unet, texts: &self.texts, schedule: &self.schedule, snr_gamma, loss: LossFunction::L2 }
    }

    /// The rows of a whole run.
    fn rows(&self, train: &Train) -> Result<Vec<LossRow>> {
        let mut trainer = self.trainer(train);
        let mut rows = Vec::new();
        while let Some(row) = trainer.step()? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// The evaluation loss as `run` takes it: of the UNet without dropout.
    fn evaluate(&self) -> f32 {
        let evaluation = Evaluation::new(&self.examples, &self.vae, &self.schedule, SEED).unwrap();
        let without_dropout = Build::from_parameters(self.parameters.without_dropout());
        let (unet, _) = Unet::new(self.unet.config(), without_dropout).unwrap();
        evaluation.loss(self.predictor(&unet, None)).unwrap()
    }

    /// The bits of every trained tensor.
    fn trained(&self) -> BTreeMap<String, Vec<u32>> {
        self.parameters.trained().into_iter().map(|(name, t)| (name, bits(&t))).collect()
    }
}

fn bits(t: &candle_core::Tensor) -> Vec<u32> {
    values(t).into_iter().map(f32::to_bits).collect()
}

/// Crops of one fixture picture each, flipped at random if there are several, with hidden states drawn at random.
fn examples(vae: &Vae, pictures: usize, resolution: usize, caption_dropout: f64) -> (Examples, TextConditioning) {
    let folder = TempDir::new().unwrap();
    let mut found: Vec<_> =
        fs_err::read_dir(fixture("resize/short_side")).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(".cropped.png"));
    found.sort();
    for (i, path) in found.iter().take(pictures).enumerate() {
        fs_err::copy(path, folder.path().join(format!("{i}.png"))).unwrap();
        fs_err::write(folder.path().join(format!("{i}.txt")), format!("picture {i}")).unwrap();
    }
    let pictures = load_dataset(folder.path(), None, false, &mut |_| {}).unwrap();
    let captions = pictures.iter().enumerate();
    let mut texts: PromptEmbeds =
        captions.map(|(i, p)| (p.caption.clone(), randn(&[1, 77, 24], i as u64).into())).collect();
    texts.insert(String::new(), randn(&[1, 77, 24], 99).into());
    let source = Source::Path(folder.path().to_owned());
    let random_flip = pictures.len() > 1;
    let dataset = Dataset {
        source,
        prompt: None,
        resolution: resolution.into(),
        center_crop: true,
        random_flip,
        caption_dropout,
        ..Dataset::default()
    };
    (encoded(vae, folder.path(), &pictures, &dataset), TextConditioning::Cached(texts))
}

/// Pictures ready for training; what is kept of them lies in `folder`.
fn encoded(vae: &Vae, folder: &Path, pictures: &[Picture], dataset: &Dataset) -> Examples {
    let cache = Cache::new(folder.join("cache"));
    let progress = Progress::hidden();
    let interrupt = Interrupt::default();
    let sources = Sources {
        vae,
        vae_hash: "the fixture's",
        cache: &cache,
        device: &Device::Cpu,
        progress: &progress,
        interrupt: &interrupt,
    };
    Examples::new(pictures, Role::Instance, dataset, &sources).unwrap()
}

#[test]
fn captions_are_dropped_as_often_as_asked() {
    let vae = loader(&model()).vae().unwrap();
    let (examples, _) = examples(&vae, 2, 64, 0.125);
    let captions = |draw| examples.batch(&[0, 1], &vae, 7, draw).unwrap().captions;
    let all: Vec<String> = (0..400).flat_map(captions).collect();
    let dropped = all.iter().filter(|c| c.is_empty()).count();
    assert!((60..=140).contains(&dropped), "{dropped} of 800 captions are empty, an eighth is asked for");
    assert!(all.chunks(2).all(|pair| ["", "picture 0"].contains(&&*pair[0]) && ["", "picture 1"].contains(&&*pair[1])));
    assert_eq!(captions(5), captions(5), "a function of seed and draw");
    assert!((0..50).any(|draw| captions(draw)[0] != examples.batch(&[0], &vae, 8, draw).unwrap().captions[0]));
    let batch = examples.deterministic_batch(&[0, 1], &vae).unwrap().captions;
    assert_eq!(batch, ["picture 0", "picture 1"], "the evaluation sees every caption");
}

/// Settings that nothing else depends on; each test changes what it is about.
fn settings(steps: usize) -> Train {
    Train {
        length: Length::Steps(steps),
        batch_size: 1,
        gradient_accumulation: 1,
        learning_rate: 1e-3,
        lr_scheduler: LrScheduler::Constant,
        warmup_steps: 0,
        optimizer: Optimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 }),
        max_grad_norm: 1.0,
        snr_gamma: None,
        noise_offset: 0.0,
        dtype: Dtype::F32,
        tf32: false,
        checkpoint_every: 0,
        keep_checkpoints: 1,
        gradient_checkpointing: false,
        ..Train::default()
    }
}

/// A LoRA with alpha that is not the rank.
fn lora(dropout: f64) -> Trainable {
    let targets = ["to_q", "to_k", "to_v", "to_out.0"].map(str::to_owned).to_vec();
    Trainable::Lora(LoraConfig { rank: 3, alpha: 5.0, targets, dropout })
}
