//! `world evaluate`: how often a model draws what its captions say.
//!
//! In: a model folder, the judge, how many of the held-out captions (combinations that no training picture shows). Out:
//! `evaluation.md` with the share of right animals, coats, actions and places, confusion tables and the list of what is
//! wrong, and `evaluation.png` with all pictures in the captions' order, those in red frames that are wrong.

use std::fmt::Write;
use std::path::PathBuf;

use candle_core::Device;
use clap::Args;
use fs_err as fs;
use tunelab::data::Rgb;
use tunelab::diffusion::Sampler;
use tunelab::interrupt::Interrupt;
use tunelab::measure::judge::{Answers, Judge, SIDE};
use tunelab::progress::Progress;

use crate::brush::{Brush, Strokes};
use crate::caption::{self, HeldOut};
use crate::files::{self, Result};
use crate::judge::{CAPTIONED, ask, asked};
use crate::lesson::errors;
use crate::tally::Tally;

/// Pictures in a row of the contact sheet.
const COLUMNS: usize = 16;
/// Thickness of the frames in pixels.
const FRAME: usize = 2;
const RED: [u8; 3] = [214, 40, 40];
const WHITE: [u8; 3] = [255; 3];

/// The arguments of `world evaluate`.
#[derive(Args)]
pub struct Evaluate {
    /// The model folder
    model: PathBuf,
    /// The judge's weights
    #[arg(long)]
    judge: PathBuf,
    /// How many captions
    #[arg(long, default_value_t = 256)]
    count: usize,
    /// Which captions, and the noise of the first picture
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Denoising steps
    #[arg(long, default_value_t = 25)]
    steps: usize,
    /// Classifier-free guidance
    #[arg(long, default_value_t = 4.5)]
    guidance: f64,
    /// `pndm`, `ddim`, `euler_a` or `dpmpp_2m`
    #[arg(long, default_value = "dpmpp_2m")]
    sampler: Sampler,
    /// The folder for `evaluation.md` and `evaluation.png`
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

/// Draws, judges, prints the shares and writes the files.
pub fn evaluate(args: &Evaluate) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let (brush, judge) = (Brush::open(&args.model)?, Judge::open(&args.judge, &Device::Cpu)?);
    let captions = caption::held_out(args.count, args.seed);
    let prompts: Vec<&str> = captions.iter().map(|c| c.text.as_str()).collect();
    let Evaluate { steps, guidance, sampler, seed, .. } = *args;
    let how = Strokes { steps, guidance, sampler, seed };
    let pictures = brush.draw(&prompts, how, &Progress::from_env(), &interrupt)?;
    let (given, _) = ask(&judge, &pictures)?;
    let (tally, lines) = compare(&captions, &given);
    println!("{}", tally.summary());
    fs::create_dir_all(&args.out)?;
    fs::write(args.out.join("evaluation.md"), report(args, &tally, &captions, &lines))?;
    let framed = pictures.iter().zip(&lines).map(|(p, line)| frame(p, if line.is_empty() { WHITE } else { RED }));
    let rows: Vec<Vec<Vec<u8>>> = framed.collect::<Vec<_>>().chunks(COLUMNS).map(<[_]>::to_vec).collect();
    files::write_sheet(&args.out.join("evaluation.png"), &rows, SIDE + 2 * FRAME)
}

/// Counts the answers, and says for each picture what is wrong with it, if anything.
fn compare(captions: &[HeldOut], given: &[Answers]) -> (Tally, Vec<String>) {
    let mut tally = Tally::new(CAPTIONED);
    let line = |(caption, given): (&HeldOut, &Answers)| {
        let right = asked(caption);
        tally.add(&right, given);
        errors(&right, given)
    };
    let lines = captions.iter().zip(given).map(line).collect();
    (tally, lines)
}

fn report(args: &Evaluate, tally: &Tally, captions: &[HeldOut], lines: &[String]) -> String {
    let Evaluate { count, seed, steps, guidance, sampler, .. } = args;
    let mut text = format!(
        "{count} held-out captions, {sampler}, {steps} steps, guidance {guidance}, seed {seed}.\n\n{}\n\
         Rows are what the caption says, columns what the judge sees.\n{}",
        tally.summary(),
        tally.confusion()
    );
    let wrong: Vec<_> = lines.iter().enumerate().filter(|(_, line)| !line.is_empty()).collect();
    // Writing into a text does not fail.
    let _ = writeln!(text, "\n{} of {count} pictures are right in everything. The others:\n", count - wrong.len());
    for (index, line) in wrong {
        let (row, column) = (index / COLUMNS + 1, index % COLUMNS + 1);
        let _ = writeln!(text, "- row {row}, column {column}, “{}”: {line}", captions[index].text);
    }
    text
}

/// The picture in a frame.
fn frame(picture: &Rgb, colour: [u8; 3]) -> Vec<u8> {
    let wide = picture.width + 2 * FRAME;
    let mut pixels = colour.repeat(wide * (picture.height + 2 * FRAME));
    for (y, line) in picture.pixels.chunks_exact(picture.width * 3).enumerate() {
        let start = ((y + FRAME) * wide + FRAME) * 3;
        pixels[start..start + line.len()].copy_from_slice(line);
    }
    pixels
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tunelab::data::{crop, load_image};
    use tunelab::measure::Caption;

    use super::*;

    #[test]
    fn what_the_judge_sees_is_compared_with_the_caption() {
        let captions = caption::held_out(2, 5);
        let right = |i: usize| {
            let [animal, coat, action, place] = asked(&captions[i]);
            [animal, coat, action, place, 1]
        };
        let mut other = right(1);
        other[1] = tunelab::measure::judge::SUBJECTS_COAT;
        let (tally, lines) = compare(&captions, &[right(0), other]);
        assert_eq!([0, 1, 2, 3].map(|q| tally.share(q)), [Some(1.0), Some(0.5), Some(1.0), Some(1.0)]);
        assert_eq!(lines[0], "");
        assert!(lines[1].starts_with("coat: orange and white for "), "{}", lines[1]);
    }

    /// The program's judge about the pictures of the shipped evaluation: every number that stands in it.
    #[test]
    fn the_shipped_evaluation_is_what_the_judge_says_of_its_pictures() -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/tunelab-core/assets/mini");
        let sheet = load_image(&folder.join("evaluation.png"))?;
        let framed = SIDE + 2 * FRAME;
        let gap = framed / 16;
        let place = |i: usize| gap + i * (framed + gap) + FRAME;
        let picture = |i: usize| crop(&sheet, place(i % COLUMNS), place(i / COLUMNS), SIDE, SIDE);
        let judge = Judge::open(&folder.join("judge.safetensors"), &Device::Cpu)?;
        let (given, _) = ask(&judge, &(0..256).map(picture).collect::<Vec<_>>())?;
        let captions = caption::held_out(256, 1);
        let (tally, lines) = compare(&captions, &given);
        let text = fs::read_to_string(folder.join("evaluation.md"))?;
        assert!(text.contains(&tally.summary()), "{}", tally.summary());
        assert!(text.contains(&tally.confusion()), "{}", tally.confusion());
        // The share that a caption's reader gives is the same count.
        for ((caption, given), line) in captions.iter().zip(&given).zip(lines) {
            let read = Caption::read(&caption.text).expect("a caption of the world");
            let wrong = if line.is_empty() { 0 } else { line.split(", ").count() as u8 };
            let share = read.share_shown(given);
            assert!((share - (1.0 - f64::from(wrong) / 4.0)).abs() < 1e-9, "{}: {line}, {share}", caption.text);
        }
        Ok(())
    }

    #[test]
    fn a_frame_goes_around_the_picture() {
        let picture = Rgb { width: 1, height: 1, pixels: vec![1, 2, 3] };
        let framed = frame(&picture, RED);
        let at = |x: usize, y: usize| framed[(y * 5 + x) * 3..][..3].to_vec();
        assert_eq!(framed.len(), 75);
        assert_eq!((at(2, 2), at(1, 2), at(4, 4)), (vec![1, 2, 3], RED.to_vec(), RED.to_vec()));
    }
}
