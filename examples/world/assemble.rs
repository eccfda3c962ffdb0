//! `world assemble`: the finished model, as it is shipped.
//!
//! In: the folder of a finished full fine-tuning, or of any model. Out: a model folder with the same configurations and
//! every weight as float16. It is an error if it comes out too large.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use fs_err as fs;
use tunelab::assets;
use tunelab::config::Source;
use tunelab::error::{Error, Result};
use tunelab::pipeline::PartKind;
use tunelab::progress::Progress;
use tunelab::weights::{Part, PartName, Weights, write_safetensors};

/// The most bytes of all files together: they are compiled into the program.
const LARGEST: u64 = 12_000_000;

/// Writes the model of `run` into `folder`; returns the size of its files in bytes.
pub fn assemble(run: &Path, folder: &Path) -> Result<u64> {
    let weights = run.join("weights");
    let root = if weights.is_dir() { weights } else { run.to_owned() };
    let files = assets::find_model(&Source::Path(root.clone()), &Progress::hidden())?;
    let mut size = 0;
    for PartKind { name, stem, .. } in files.family.parts() {
        let part = files.part(*name)?;
        let target = folder.join(name.as_str());
        fs::create_dir_all(&target)?;
        size += copy(&part.config, &target.join("config.json"))?;
        size += write_half(part, &target.join(format!("{stem}.safetensors")))?;
    }
    size += copy(&files.scheduler_config, &folder.join("scheduler/scheduler_config.json"))?;
    size += copy(&root.join("model_index.json"), &folder.join("model_index.json"))?;
    for entry in fs::read_dir(files.tokenizer(PartName::TextEncoder)?)? {
        let entry = entry?;
        size += copy(&entry.path(), &folder.join("tokenizer").join(entry.file_name()))?;
    }
    if size > LARGEST {
        return Err(Error::run(format!("{} has {size} bytes; at most {LARGEST} may be shipped", folder.display())));
    }
    Ok(size)
}

/// The weights of a part as float16.
fn write_half(part: &Part, file: &Path) -> Result<u64> {
    let weights = Weights::open_part(part)?;
    let mut half = BTreeMap::new();
    for name in weights.names() {
        let tensor = weights.load(name, &Device::Cpu, DType::F32)?;
        half.insert(name.to_owned(), narrow(name, &tensor)?);
    }
    write_safetensors(file, &half, &BTreeMap::from([("format".to_owned(), "pt".to_owned())]))?;
    Ok(fs::metadata(file)?.len())
}

/// As float16, if it can hold the numbers.
fn narrow(name: &str, tensor: &Tensor) -> Result<Tensor> {
    let largest = tensor.abs()?.max_all()?.to_scalar::<f32>()?;
    if largest > half::f16::MAX.to_f32() {
        return Err(Error::run(format!("{name}: {largest} is too large for float16")));
    }
    Ok(tensor.to_dtype(DType::F16)?)
}

fn copy(from: &Path, to: &Path) -> Result<u64> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::copy(from, to)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brush::{Brush, Strokes};
    use crate::caption;
    use crate::untrained;
    use crate::vocabulary::Vocabulary;
    use tunelab::diffusion::Sampler;
    use tunelab::interrupt::Interrupt;
    use tunelab::measure::judge::SIDE;

    #[test]
    fn the_assembled_model_is_small_and_draws() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (run, model) = (folder.path().join("run"), folder.path().join("model"));
        let words = caption::words();
        untrained::write(&run.join("weights"), &Vocabulary::of(words.iter().map(String::as_str)), 1)?;
        let size = assemble(&run, &model)?;
        assert!((5_000_000..LARGEST).contains(&size), "{size}");
        let how = Strokes { steps: 2, guidance: 2.0, sampler: Sampler::Dpmpp2m, seed: 3 };
        let draw =
            |brush: &Brush| brush.draw(&["a dog", "a cat", "a dog"], how, &Progress::hidden(), &Interrupt::default());
        let pictures = draw(&Brush::open(&model)?)?;
        assert!(pictures.iter().all(|p| (p.width, p.height) == (SIDE, SIDE)));
        assert_ne!(pictures[0].pixels, pictures[2].pixels, "each picture has its own noise");
        assert_eq!(pictures, draw(&Brush::open(&model)?)?);
        let whole = draw(&Brush::open(&run.join("weights"))?)?;
        let far = |(a, b): (&u8, &u8)| a.abs_diff(*b);
        let furthest = pictures[1].pixels.iter().zip(&whole[1].pixels).map(far).max();
        assert!(furthest <= Some(2), "{furthest:?}");
        Ok(())
    }

    #[test]
    fn numbers_that_half_precision_cannot_hold_are_refused() -> Result<()> {
        assert!(narrow("a", &Tensor::new(&[-70_000f32, 0.0], &Device::Cpu)?).is_err());
        assert!(narrow("a", &Tensor::new(&[-60_000f32, 0.0], &Device::Cpu)?).is_ok());
        Ok(())
    }
}
