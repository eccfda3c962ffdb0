//! The recipe: the order of everything that `tunelab run` does.
//!
//! In: experiment files. Out: for each a folder of results; the table of all of them at the end. `prepare` gathers what a
//! run needs, `weights` writes what it trained.

mod prepare;
mod weights;

pub use weights::LORA_FILE;

use crate::cli::RunArgs;
use crate::device;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::model::build::Build;
use crate::model::unet::Unet;
use crate::plan::command::{counted, print, unique};
use crate::plan::{Adapter, Plan};
use crate::progress::Progress;
use crate::report::{curve, grid, table};
use crate::results::{
    Counts, Ending, LossLog, Machine, Model, Opened, PeakMemory, RunDir, RunRecord, Seconds, Shot, Status, Versions,
    memory_now_mib, peak_memory_mib,
};
use crate::sample::Painter;
use crate::train::checkpoint::Checkpoint;
use crate::train::evaluation::Evaluation;
use crate::train::trainer::Trainer;
use candle_core::Device;
use prepare::Prepared;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// `tunelab run`: every experiment in order, and at the end the table. All files are read before the first one runs. One
/// that fails does not stop the others; the error is the only one, or says how many failed.
pub fn run(args: &RunArgs) -> Result<()> {
    let progress = Progress::from_env();
    let device = device::open(args.device)?;
    let plans = plans(args)?;
    let interrupt = Interrupt::install()?;
    let mut failures = Vec::new();
    let mut table = None;
    for (file, plan) in plans {
        match plan.and_then(|plan| run_plan(&plan, args, &device, &progress, &interrupt)) {
            Ok(rows) => table = rows.or(table),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                if args.files.len() > 1 {
                    progress.line(format!("{}\n{error}\n", file.display()));
                }
                failures.push(error);
            }
        }
    }
    if let Some(table) = table {
        print(&table)?;
    }
    if args.files.len() == 1 {
        return failures.pop().map_or(Ok(()), Err);
    }
    match failures.iter().map(Error::kind).max_by_key(|kind| *kind == Kind::Run) {
        None => Ok(()),
        Some(kind) => {
            let message = format!("{} of {} experiments failed", failures.len(), args.files.len());
            Err(if kind == Kind::Run { Error::run(message) } else { Error::input(message) })
        }
    }
}

/// The plan of every file, or what is wrong with it. Those with problems come first: they are told before hours of work.
///
/// Errors: two files would write into the same folder.
fn plans(args: &RunArgs) -> Result<Vec<(&PathBuf, Result<Plan>)>> {
    let mut names = BTreeMap::new();
    let mut plans = Vec::new();
    for file in &args.files {
        let plan = Plan::load(file, &args.set);
        if let Ok(plan) = &plan {
            unique(&mut names, &plan.name, file)?;
        }
        plans.push((file, plan));
    }
    plans.sort_by_key(|(_, plan)| plan.is_ok());
    Ok(plans)
}

/// One experiment; the table of all where this one was run, `None` where it had been before.
fn run_plan(
    plan: &Plan,
    args: &RunArgs,
    device: &Device,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Option<String>> {
    let run = match RunDir::open(&args.results, &plan.name, &plan.to_toml(), args.force)? {
        Opened::Fresh(run) => run,
        Opened::Unfinished(run) => {
            progress.line(format!("{}: going on with a run that was cut off", run.path().display()));
            run
        }
        Opened::Finished(run) => {
            progress.line(format!("{}: finished already with this plan (--force runs it again)", run.path().display()));
            return Ok(None);
        }
    };
    Experiment { plan, run: &run, device, progress, interrupt }.run()?;
    let warn = &mut |text: String| progress.line(format!("warning: {text}"));
    let rows = table::write(&args.results, warn)?;
    progress.line(format!("results in {}", run.path().display()));
    Ok(Some(table::to_terminal(&rows)))
}

/// One experiment under way.
struct Experiment<'a> {
    plan: &'a Plan,
    run: &'a RunDir,
    device: &'a Device,
    progress: &'a Progress,
    interrupt: &'a Interrupt,
}

impl Experiment<'_> {
    fn run(&self) -> Result<()> {
        let begun = Instant::now();
        let with = Prepared::new(self.plan, self.run, self.device, self.progress)?;
        let frozen = with.parameters.detached();
        let (tuned, _) = Unet::new(with.unet.config(), Build::from_parameters(frozen.clone()))?;
        let (base, _) = Unet::new(with.unet.config(), Build::from_parameters(frozen.without_lora()))?;
        let mut sampling = 0.0;
        if self.plan.eval.compare_base {
            sampling += self.sample(Model::Base, &base, &with)?;
        }
        self.train(&with, &tuned)?;
        let end = Ending::read(self.run)?;
        weights::write(self.run, self.plan, &with, end.steps, end.epochs)?;
        sampling += self.sample(Model::Tuned, &tuned, &with)?;
        curve::write(self.run.path())?;
        if !self.plan.eval.prompts.is_empty() {
            grid::write_run_grid(self.run.path())?;
        }
        let total = begun.elapsed().as_secs_f64();
        let per_step = end.training_seconds / end.steps.max(1) as f64;
        let seconds = Seconds { total, training: end.training_seconds, sampling, per_step };
        self.run.finish(&self.record(&with, &end, seconds))
    }

    /// Trains to the end, from the newest checkpoint if there is one.
    fn train(&self, with: &Prepared, tuned: &Unet) -> Result<()> {
        let t = &self.plan.train;
        let every = self.plan.eval.every;
        let evaluation = (every > 0)
            .then(|| Evaluation::new(&with.examples, &with.vae, &with.schedule, self.plan.seed))
            .transpose()?;
        let mut trainer = Trainer::new(with.materials(self.plan))?;
        if let Some(checkpoint) = Checkpoint::newest(self.run)? {
            trainer.resume(&checkpoint)?;
            self.progress.line(format!("going on after step {}", checkpoint.step));
        }
        let mut log = LossLog::resume(self.run, trainer.done())?;
        let total = trainer.total();
        let trained = counted(trainer.trained_parameters(), "parameter");
        let (pictures, steps) = (counted(with.pictures.len(), "picture"), counted(total, "step"));
        self.progress.line(format!("training {trained} on {pictures} for {steps}"));
        if let Some(evaluation) = evaluation.as_ref().filter(|_| trainer.done() == 0) {
            log.evaluation(0, evaluation.loss(tuned)?)?;
        }
        let bar = self.progress.bar("training", total as u64);
        bar.skip(trainer.done() as u64);
        let mut begun = Instant::now();
        while let Some(row) = trainer.step()? {
            log.step(&row, begun.elapsed().as_secs_f64(), memory_now_mib())?;
            bar.set_message(format!("loss {:.4}", row.loss));
            bar.inc(1);
            let due = |every: usize| every > 0 && (row.step % every == 0 || row.step == total);
            if let Some(evaluation) = evaluation.as_ref().filter(|_| due(every)) {
                log.evaluation(row.step, evaluation.loss(tuned)?)?;
            }
            if due(t.checkpoint_every) || self.interrupt.requested() {
                trainer.checkpoint()?.write(self.run, t.keep_checkpoints)?;
            }
            self.interrupt.check()?;
            begun = Instant::now();
        }
        bar.finish();
        Ok(())
    }

    /// Draws every evaluation prompt; returns the seconds that it took.
    fn sample(&self, model: Model, unet: &Unet, with: &Prepared) -> Result<f64> {
        let begun = Instant::now();
        let eval = &self.plan.eval;
        if eval.prompts.is_empty() {
            return Ok(0.0);
        }
        let painter =
            Painter { unet, vae: &with.vae, schedule: &with.schedule, device: self.device, interrupt: self.interrupt };
        let calls = painter.calls(eval.sampler, eval.steps)? * eval.images * eval.prompts.len();
        let bar = self.progress.bar(&format!("{} pictures", model.name()), calls as u64);
        for prompt in &eval.prompts {
            for index in 0..eval.images {
                let shot = Shot {
                    prompt: prompt.clone(),
                    negative_prompt: eval.negative_prompt.clone(),
                    steps: eval.steps,
                    sampler: eval.sampler.to_string(),
                    guidance_scale: eval.guidance_scale,
                    seed: eval.seed.wrapping_add(index as u64),
                    width: self.plan.dataset.resolution,
                    height: self.plan.dataset.resolution,
                };
                if self.run.sample_path(model, prompt, index).is_file() {
                    bar.skip(painter.calls(eval.sampler, eval.steps)? as u64);
                    continue;
                }
                let states = (&with.prompts[prompt], &with.prompts[&eval.negative_prompt]);
                let picture = painter.paint(&shot, eval.sampler, states.0, states.1, &bar)?;
                self.run.write_sample(model, index, &picture, &shot)?;
            }
        }
        bar.finish();
        Ok(begun.elapsed().as_secs_f64())
    }

    fn record(&self, with: &Prepared, end: &Ending, seconds: Seconds) -> RunRecord {
        let trained = with.parameters.trained();
        let method = match &self.plan.adapter {
            Adapter::Lora(_) => "lora",
        };
        RunRecord {
            status: Status::Finished,
            name: self.plan.name.clone(),
            method: method.to_owned(),
            device: device::name(self.device),
            dtype: self.plan.train.dtype.to_string(),
            counts: Counts {
                trained_parameters: trained.values().map(|t| t.elem_count() as u64).sum(),
                total_parameters: with.total_parameters as u64,
                images: with.pictures.len(),
                steps: end.steps,
                epochs: end.epochs,
            },
            loss: end.loss.clone(),
            seconds,
            peak_memory: PeakMemory { host_mib: peak_memory_mib(), device_mib: None },
            versions: Versions::of_this_build(),
            machine: Machine::detect(),
            hashes: with.hashes.clone(),
        }
    }
}
