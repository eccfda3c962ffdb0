//! The commands that make something of results: `tunelab table`, `tunelab plot`, `tunelab report`.
//!
//! In: their arguments. Out: the table on stdout, files in the results folder; what was written is
//! said on stderr.

use std::path::{Path, PathBuf};

use crate::cli::output::print;
use crate::cli::terminal;
use crate::cli::{PlotArgs, ReportArgs, TableArgs};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::results::{LOSS_CSV, PLAN_TOML, sweeps, write_atomic, write_figure};

use super::fidelity;
use super::figure::{Drawing, PIXELS_PER_INCH};
use super::losses::Losses;
use super::page;
use super::plot::{self, LossKind, PlotOptions};
use super::runs::{Run, Runs};
use super::sweep::grouped::{Grouped, differing};
use super::sweep::measure::Measure;
use super::sweep::{Swept, best_group, best_run, drawing};
use super::table::{Field, Table, View, to_json, to_text};

/// `tunelab table`: of the runs named, or of the whole tree, whose `table.{md,csv,tex}` it then
/// writes: all of it, whatever is printed.
///
/// # Errors
/// Wrong input: no finished run there, no such baseline or column, or a results folder that takes no
/// files: then the table is printed all the same.
pub fn table(args: &TableArgs) -> Result<()> {
    let progress = Progress::from_env();
    let best = args.best.as_deref().map(Measure::named).transpose()?;
    if !args.group_by.is_empty() {
        return groups(args, best, &progress);
    }
    let fields = args.columns.iter().map(|key| Field::named(key.trim())).collect::<Result<Vec<_>>>()?;
    let shown = |table: &Table| -> Result<String> {
        let table = match &args.sort {
            Some(order) => table.clone().sorted(order)?,
            None => table.clone(),
        };
        Ok(match fields.as_slice() {
            [] if args.json => to_json(&table, &Field::all().collect::<Vec<_>>()),
            fields if args.json => to_json(&table, fields),
            [] => to_text(&table, if args.all { &View::All } else { &View::Fitting }, terminal::columns()),
            fields => to_text(&table, &View::Only(fields.to_vec()), terminal::columns()),
        })
    };
    if !args.run_dirs.is_empty() {
        let runs = args.run_dirs.iter().map(|path| Run::open(path)).collect::<Result<Vec<_>>>()?;
        print(&shown(&Table::new(&runs, args.baseline.as_deref())?)?)?;
        return tell_best(&runs.iter().collect::<Vec<_>>(), best);
    }
    let runs = finished(&args.results, &progress)?.finished;
    let table = Table::new(&runs, args.baseline.as_deref())?;
    print(&shown(&table)?)?;
    tell_best(&runs.iter().collect::<Vec<_>>(), best)?;
    let printed_only =
        |e: Error| Error::input(format!("{}; to print a table and write nothing, name its runs", e.line()));
    table.write(&args.results).map_err(printed_only)?;
    let files = ["md", "csv", "tex"].map(|ending| args.results.join(format!("table.{ending}")));
    tell_written(&progress, &files);
    Ok(())
}

/// The runs that are named, or all that are finished.
fn chosen(run_dirs: &[PathBuf], results: &Path, progress: &Progress) -> Result<Vec<Run>> {
    match run_dirs {
        [] => Ok(finished(results, progress)?.finished),
        named => named.iter().map(|path| Run::open(path)).collect(),
    }
}

fn tell_best(runs: &[&Run], best: Option<Measure>) -> Result<()> {
    let Some(measure) = best else { return Ok(()) };
    let told =
        best_run(runs, measure).ok_or_else(|| Error::input(format!("none of these runs has {}", measure.key())))?;
    print(&format!("{told}\n"))
}

/// `tunelab table --group-by`: it writes nothing.
fn groups(args: &TableArgs, best: Option<Measure>, progress: &Progress) -> Result<()> {
    let mut measures = args.columns.iter().map(|key| Measure::named(key.trim())).collect::<Result<Vec<_>>>()?;
    measures.extend(best.filter(|best| !measures.is_empty() && !measures.contains(best)));
    let runs = chosen(&args.run_dirs, &args.results, progress)?;
    let runs: Vec<&Run> = runs.iter().collect();
    let keys = match args.group_by.as_slice() {
        [auto] if auto == "auto" => differing(&runs),
        keys => keys.iter().map(|key| key.trim().to_owned()).collect(),
    };
    let grouped = Grouped::new(&runs, &keys, &measures)?;
    print(&if args.json { grouped.to_json() } else { grouped.to_text() })?;
    tell_best(&runs, best)?;
    match best.and_then(|measure| best_group(&grouped, measure)) {
        Some(told) => print(&format!("{told}\n")),
        None => Ok(()),
    }
}

/// `tunelab plot --metric`: of the runs named, or of all.
fn plot_metric(args: &PlotArgs, metric: &str, progress: &Progress) -> Result<()> {
    let measure = Measure::named(metric)?;
    let keys: Vec<String> = args.by.iter().map(|key| key.trim().to_owned()).collect();
    let files = if let Some(file) = &args.output {
        vec![file.clone()]
    } else {
        let stem = format!("{metric}-by-{}", keys.join("-"));
        ["png", "svg"].map(|ending| args.results.join(format!("{stem}.{ending}"))).to_vec()
    };
    files.iter().try_for_each(|file| file_format(file).map(drop))?;
    let runs = chosen(&args.run_dirs, &args.results, progress)?;
    let drawing = drawing::draw(&runs.iter().collect::<Vec<_>>(), measure, &keys)?;
    files.iter().try_for_each(|file| write(file, &drawing))?;
    tell_written(progress, &files);
    Ok(())
}

/// `tunelab plot`: curves of the runs named, or of all in the tree that can be read, over each
/// other.
///
/// # Errors
/// Wrong input: a folder without losses, or an output that is neither PNG nor SVG.
pub fn plot(args: &PlotArgs) -> Result<()> {
    let progress = Progress::from_env();
    if let Some(metric) = &args.metric {
        return plot_metric(args, metric, &progress);
    }
    let files = match &args.output {
        Some(file) => vec![file.clone()],
        None => ["png", "svg"].map(|ending| args.results.join(format!("loss.{ending}"))).to_vec(),
    };
    files.iter().try_for_each(|file| file_format(file).map(drop))?;
    let runs = if args.run_dirs.is_empty() {
        logged(&args.results, &progress)?
    } else {
        args.run_dirs.iter().map(|folder| named_losses(folder)).collect::<Result<_>>()?
    };
    let losses = match (args.eval, args.loss) {
        (true, _) => LossKind::Evaluation,
        (_, true) => LossKind::Training,
        _ => LossKind::Both,
    };
    let figure = plot::draw(&runs, PlotOptions { losses, log: args.log, smoothing: args.smoothing })?;
    let figure = Drawing::Curves(figure);
    files.iter().try_for_each(|file| write(file, &figure))?;
    tell_written(&progress, &files);
    Ok(())
}

/// `tunelab report`: everything that is made from the tree as a whole, and figures of metrics that
/// runs lack. A run whose losses cannot be read has no curve among the others'.
///
/// # Errors
/// Wrong input: no finished run there.
pub fn report(args: &ReportArgs) -> Result<()> {
    let progress = Progress::from_env();
    let results = &args.results;
    let runs = finished(results, &progress)?;
    let table = Table::new(&runs.finished, args.baseline.as_deref())?;
    table.write(results)?;
    let losses = readable(runs.finished.iter().map(|run| run.path.as_path()), &progress);
    if !losses.is_empty() {
        let figure = plot::draw(&losses, PlotOptions { losses: LossKind::Both, log: false, smoothing: None })?;
        let figure = Drawing::Curves(figure);
        let figures = ["png", "svg"].map(|ending| results.join(format!("loss.{ending}")));
        figures.iter().try_for_each(|file| write(file, &figure))?;
    }
    // A run draws its own figure; trees of earlier versions may lack it.
    for run in runs.finished.iter().filter(|run| !run.path.join("metrics.png").is_file()) {
        run.record.metrics.iter().try_for_each(|metrics| fidelity::write(&run.path, metrics))?;
    }
    for sweep in sweeps(results) {
        Swept::of(&sweep, &runs.finished).map_or(Ok(()), |swept| swept.write(results).map(drop))?;
    }
    let written = page::write(results, &runs, &table, args.single_file)?;
    let written: Vec<PathBuf> = written.into_iter().map(|name| results.join(name)).collect();
    tell_written(&progress, &written);
    Ok(())
}

fn finished(results: &Path, progress: &Progress) -> Result<Runs> {
    let runs = Runs::read(results, &mut |text| progress.warn(text))?;
    if runs.finished.is_empty() {
        return Err(Error::input(format!("{} holds no finished run", results.display()))
            .hint("run an experiment first, or name another folder with --results DIR"));
    }
    Ok(runs)
}

/// The losses of the runs in `results` that have any, finished or not, sorted by their folders.
fn logged(results: &Path, progress: &Progress) -> Result<Vec<(String, Losses)>> {
    let runs = Runs::read(results, &mut |text| progress.warn(text))?;
    let finished = runs.finished.into_iter().map(|run| run.path);
    let mut folders: Vec<PathBuf> =
        finished.chain(runs.unfinished).filter(|folder| folder.join(LOSS_CSV).is_file()).collect();
    folders.sort();
    let losses = readable(folders.iter().map(PathBuf::as_path), progress);
    if losses.is_empty() {
        return Err(Error::input(format!("{} holds no run with losses that can be read", results.display()))
            .hint("run an experiment first, or name another folder with --results DIR"));
    }
    Ok(losses)
}

/// The losses that can be read; the others cost a line on stderr each.
fn readable<'a>(folders: impl Iterator<Item = &'a Path>, progress: &Progress) -> Vec<(String, Losses)> {
    let told = |folder: &Path, e: &Error| progress.warn(format!("{} is left out: {}", folder.display(), e.line()));
    folders.filter_map(|folder| named_losses(folder).map_err(|e| told(folder, &e)).ok()).collect()
}

/// A run's losses, named as its plan names it; a folder with losses alone is named as itself.
fn named_losses(folder: &Path) -> Result<(String, Losses)> {
    if !folder.join(LOSS_CSV).is_file() {
        return Err(Error::input(format!("{} holds no {LOSS_CSV}", folder.display()))
            .hint("give folders that `tunelab run` wrote, such as results/lora_dog"));
    }
    let plan = fs_err::read_to_string(folder.join(PLAN_TOML)).unwrap_or_default();
    let name = plan.parse::<toml::Table>().ok().and_then(|plan| Some(plan.get("name")?.as_str()?.to_string()));
    let folder_name = || folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    Ok((name.unwrap_or_else(folder_name), Losses::read(folder)?))
}

/// What a figure is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileFormat {
    Png,
    Svg,
}

fn file_format(file: &Path) -> Result<FileFormat> {
    match file.extension().map(|ending| ending.to_string_lossy().to_lowercase()).as_deref() {
        Some("png") => Ok(FileFormat::Png),
        Some("svg") => Ok(FileFormat::Svg),
        _ => Err(Error::input(format!("{} is neither .png nor .svg", file.display()))
            .hint("the ending of --output says the form: -o loss.png or -o loss.svg")),
    }
}

fn write(file: &Path, figure: &Drawing) -> Result<()> {
    match file_format(file)? {
        FileFormat::Png => write_figure(file, &figure.to_image()?, PIXELS_PER_INCH),
        FileFormat::Svg => write_atomic(file, figure.to_svg()?.as_bytes()),
    }
}

fn tell_written(progress: &Progress, files: &[PathBuf]) {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    progress.line(format!("wrote {}", names.join(", ")));
}
