//! The `tunelab submit` command: what is missing of some experiments becomes arrays of jobs.
//!
//! In: its arguments. Out: in `results/.slurm/NAME/` the plans, the list of runs and the scripts; in the queue an array for each
//! experiment (several of a large one) and the report's job behind all of them; on stdout the arrays' numbers. Everything that is
//! wrong is said before anything is queued.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::client;
use super::folder::Folder;
use super::indices::{self, Array};
use super::queue::{self, FORMAT};
use super::script::{self, Places};
use crate::assets::{self, Hubs, Reach};
use crate::cli::SubmitArgs;
use crate::cli::output::print;
use crate::config::files::{self, Loaded};
use crate::config::{Dataset, Plan, Source};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::numbers::counted;
use crate::plan::local;
use crate::progress::Progress;
use crate::results::{RunDir, run_folder, write_atomic, write_sweep};

/// An experiment, and what is to be submitted of it.
struct Wanted {
    loaded: Loaded,
    folder: Folder,
    /// The runs that are missing, each with its place in the list.
    missing: Vec<(usize, Plan)>,
    done: usize,
    queued: usize,
}

/// `tunelab submit`.
///
/// # Errors
/// Wrong input: the files' problems, models and pictures that cannot be had, no Slurm, or what Slurm refuses.
pub fn submit(args: &SubmitArgs) -> Result<()> {
    let _interrupt = Interrupt::install()?;
    let progress = Progress::from_env();
    if !args.dry_run {
        client::check()?;
    }
    let loaded = load(&args.files, &args.set, &progress)?;
    let results = made(&args.results)?;
    let lines = client::queue(FORMAT);
    if lines.is_none() && !args.dry_run {
        progress.warn("squeue does not answer: what is queued already cannot be left out");
    }
    let wanted = loaded.into_iter().map(|of| Wanted::of(of, args, &results, lines.as_deref()));
    let wanted = all_or_errors(wanted)?;
    get(&wanted, args, &progress)?;
    let program = env::current_exe().map_err(|e| Error::run("this program's own file cannot be found").cause(e))?;
    let places = Places { tunelab: &program, results: &results };
    let largest = if wanted.iter().all(|of| of.missing.is_empty()) { 1 } else { client::largest_array() };
    let mut jobs = Vec::new();
    let mut last = None;
    for of in &wanted {
        of.write(&results)?;
        let ids = of.submit(args, largest, &places, &progress);
        // What is in the queue is said, whatever comes after it.
        let ids = ids.inspect_err(|_| tell_queued(&jobs, &progress))?;
        last = if of.missing.is_empty() { last } else { Some(of) };
        jobs.extend(ids);
    }
    if let Some(of) = last.filter(|_| !args.no_report_job) {
        let script = of.folder.report_script();
        write_script(&script, &script::report(args, &of.folder, &places))?;
        if !args.dry_run {
            let after = format!("--dependency=afterany:{}", jobs.join(":"));
            let id = client::submit(&[after], &script).inspect_err(|_| tell_queued(&jobs, &progress))?;
            progress.line(format!("the report is written behind them by job {id}"));
        }
    }
    print(&jobs.iter().flat_map(|id| [id, "\n"]).map(String::from).collect::<String>())
}

fn tell_queued(jobs: &[String], progress: &Progress) {
    if !jobs.is_empty() {
        progress.line(format!("in the queue by now: {} (scancel takes them out)", jobs.join(", ")));
    }
}

/// Reads the files.
///
/// # Errors
/// All their problems.
pub(super) fn load(paths: &[PathBuf], set: &[String], progress: &Progress) -> Result<Vec<Loaded>> {
    let loaded = files::load(paths, set, &mut |note| progress.line(format!("note: {note}")))?;
    let clashes = files::clashes(&loaded);
    let loaded = loaded.into_iter().map(|mut of| of.error.take().map_or(Ok(of), Err));
    all_or_errors(loaded.chain(clashes.into_iter().map(Err)))
}

/// All of them, or what is wrong with any, each said on stderr where there are several.
fn all_or_errors<T>(results: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(one) => all.push(one),
            Err(error) => errors.push(error),
        }
    }
    match errors.len() {
        0 => Ok(all),
        1 => Err(errors.remove(0)),
        many => {
            for error in &errors {
                // Nobody may be listening any more.
                let _ = writeln!(io::stderr(), "{error}\n");
            }
            Err(Error::input(format!("{}, so nothing is submitted", counted(many, "problem"))))
        }
    }
}

/// The name that the runs of a file have in common.
pub(super) fn name_of(of: &Loaded) -> String {
    let first = of.variants.iter().find_map(|(variant, planned)| Some((variant, &planned.as_ref().ok()?.plan.name)));
    match first {
        Some((Some(variant), name)) => name.strip_suffix(&format!("-{variant}")).unwrap_or(name).to_owned(),
        Some((None, name)) => name.clone(),
        None => of.file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// The results folder by its whole path, made if need be.
fn made(results: &Path) -> Result<PathBuf> {
    let unwritable = |e| {
        Error::input(format!("the results folder {} cannot be written", results.display()))
            .cause(e)
            .hint("give a folder that can be written, and that all nodes have, with --results DIR")
    };
    fs::create_dir_all(results).map_err(unwritable)?;
    fs::canonicalize(results).map_err(unwritable)
}

impl Wanted {
    fn of(loaded: Loaded, args: &SubmitArgs, results: &Path, lines: Option<&str>) -> Result<Self> {
        let mut folder = Folder::read(results, &name_of(&loaded))?;
        folder.check()?;
        let in_queue = lines.map(|lines| queue::parse(lines, &folder.job_name())).unwrap_or_default();
        let (mut missing, mut done, mut queued) = (Vec::new(), 0, 0);
        for planned in loaded.plans().cloned() {
            let plan = if args.stand_in { planned.stand_in(&loaded.file)? } else { planned.plan };
            let text = plan.to_toml();
            if RunDir::is_done(results, &plan.name, &text)? {
                done += 1;
                continue;
            }
            let place = folder.add(&plan.name);
            if let Some(job) = in_queue.get(&place) {
                if folder.submitted_plan(&plan.name).is_some_and(|submitted| submitted != text) {
                    return Err(Error::input(format!("{} is in the queue with another plan", plan.name))
                        .hint(format!("`scancel {}` takes it out; or submit this one with another `name`", job.job)));
                }
                queued += 1;
                continue;
            }
            check_folder(results, &plan, &text)?;
            missing.push((place, plan));
        }
        missing.sort_by_key(|(place, _)| *place);
        Ok(Self { loaded, folder, missing, done, queued })
    }

    /// What the jobs need.
    fn write(&self, results: &Path) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        for (_, plan) in &self.missing {
            write_atomic(&self.folder.plan(&plan.name), plan.to_toml().as_bytes())?;
        }
        self.folder.write_list()?;
        self.loaded.sweep.as_ref().map_or(Ok(()), |sweep| write_sweep(results, sweep))
    }

    /// The script, and its arrays' numbers in the queue.
    fn submit(&self, args: &SubmitArgs, largest: usize, places: &Places, progress: &Progress) -> Result<Vec<String>> {
        let (all, name) = (self.missing.len() + self.done + self.queued, &self.folder.name);
        let missing: Vec<usize> = self.missing.iter().map(|(place, _)| *place).collect();
        let arrays = indices::arrays(&missing, largest);
        let others = [(self.done, "done"), (self.queued, "queued already")].into_iter().filter(|(count, _)| *count > 0);
        let others: Vec<String> = others.map(|(count, what)| format!("{count} {what}, ")).collect();
        let others = others.concat();
        let head = format!("{name}: {}: {others}", counted(all, "run"));
        let Some(first) = arrays.first() else {
            progress.line(format!("{head}nothing to submit"));
            return Ok(Vec::new());
        };
        let script = self.folder.script();
        write_script(&script, &script::job(args, &self.folder, first, places))?;
        if args.dry_run {
            progress.line(format!("{head}{} to submit, by", missing.len()));
            for array in &arrays {
                progress.line(format!("  sbatch {} {}", self.options(args, array).join(" "), script.display()));
            }
            return Ok(Vec::new());
        }
        let mut ids: Vec<String> = Vec::new();
        for array in &arrays {
            let mut options = self.options(args, array);
            // Each array has the limit for itself.
            let before = ids.last().filter(|_| args.array_limit.is_some());
            options.extend(before.map(|id| format!("--dependency=afterany:{id}")));
            let id = client::submit(&options, &script).inspect_err(|_| tell_queued(&ids, progress))?;
            self.folder.note_submitted(&id, array)?;
            ids.push(id);
        }
        let jobs = ids.iter().zip(&arrays).map(|(id, array)| format!("{id} ({})", counted(array.count, "run")));
        let jobs: Vec<String> = jobs.collect();
        progress.line(format!("{head}{} submitted as job {}", missing.len(), jobs.join(", ")));
        progress.line(format!("  script {}\n  logs   {}", script.display(), self.folder.logs().display()));
        Ok(ids)
    }

    /// What differs from array to array.
    fn options(&self, args: &SubmitArgs, array: &Array) -> Vec<String> {
        let mut options = vec![format!("--array={}", script::limited(args, array))];
        if array.offset > 0 {
            options.push(format!("--job-name={}", script::job_name(&self.folder, array.offset)));
            options.push(format!("--output={}", self.folder.log_pattern(array.offset)));
        }
        options
    }
}

/// Refuses a run whose job would find another plan's results.
fn check_folder(results: &Path, plan: &Plan, text: &str) -> Result<()> {
    if RunDir::is_of_another_plan(results, &plan.name, text)? {
        let path = results.join(run_folder(&plan.name));
        return Err(Error::input(format!("{} holds the results of another plan", path.display())).hint(
            "give another --results folder, rename the experiment's file, or move that folder away; \
             compare the plan.toml there with what `tunelab plan` prints",
        ));
    }
    Ok(())
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    write_atomic(path, text.as_bytes())?;
    make_executable(path)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}

/// Finds, or fetches here, the models and pictures of all missing runs; says what the nodes must fetch.
fn get(wanted: &[Wanted], args: &SubmitArgs, progress: &Progress) -> Result<()> {
    let reach = Reach::new(Hubs::from_env());
    let mut seen: Vec<(&Source, &Dataset)> = Vec::new();
    let mut encoders = Vec::new();
    let mut problems: Vec<Result<()>> = Vec::new();
    for (_, plan) in wanted.iter().flat_map(|of| &of.missing) {
        for name in local::missing_encoders(plan) {
            if !encoders.contains(&name) {
                encoders.push(name);
            }
        }
        let both = (&plan.model, &plan.dataset);
        if seen.contains(&both) {
            continue;
        }
        seen.push(both);
        // A folder that is not there is no hub's.
        let is_here = reach.has_model(both.0) && reach.has_dataset(both.1) || both.0.is_here() && both.1.is_here();
        if !is_here {
            if let Some(why) = reach.obstacle(plan) {
                progress.warn(format!("the nodes must fetch what {} needs: {why}", plan.name));
                continue;
            }
            if args.dry_run {
                progress.line(format!("note: submit would fetch what {} needs first", plan.name));
                continue;
            }
        }
        let parts = both.1.parts();
        let data =
            parts.iter().try_for_each(|part| assets::find_dataset(&part.source, &part.selection, progress).map(drop));
        problems.push(data.and(assets::find_model(both.0, progress).map(drop)));
    }
    all_or_errors(problems.into_iter())?;
    if !encoders.is_empty() {
        let names: Vec<String> = encoders.iter().map(ToString::to_string).collect();
        progress.line(format!(
            "note: {} not on this machine: where the nodes cannot fetch what is missing, pictures are measured later",
            if names.len() == 1 { format!("{} is", names[0]) } else { format!("{} are", names.join(", ")) }
        ));
    }
    Ok(())
}
