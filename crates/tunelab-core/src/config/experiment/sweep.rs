//! `[sweep]`: one file states the runs of all combinations of some keys' values.
//!
//! In: the table, whose keys are an experiment's and whose values are lists. Out: for each combination a name and what it lays over
//! the experiment, in the order of the file, the last key's values changing fastest; or what is wrong. `[[sweep.zip]]` tables have lists
//! of one length, whose values go together. `[[sweep.skip]]` tables name combinations that are left out. `"1..3"` is the range 1, 2, 3.
//!
//! A run's name is made of the keys' last words and the values alone (`lr1e-4-rank16-seed2`), so that it stays as it is when other
//! values or other combinations join.

use std::collections::BTreeSet;

use super::overlay::{Rivals, lay};
use super::{Entry, Place, Problem, Table, Value};
use crate::hash::sha256;

/// The table's name.
const SWEEP: &str = "sweep";

/// The most runs of one file.
const MOST_RUNS: u128 = 10_000;
/// The longest name of a value; a longer one is cut and gets a hash.
const LONGEST_VALUE: usize = 24;
/// Names that everybody uses.
const SHORT: [(&str, &str); 3] =
    [("learning_rate", "lr"), ("batch_size", "batch"), ("gradient_accumulation", "accumulation")];

/// A combination: its name, and what it lays over the experiment.
pub(super) type Combination = (String, Table);

/// What the table states.
#[derive(Default)]
pub(super) struct Combinations {
    /// The paths of the keys, in the order of the names' parts; none where there is no sweep.
    pub keys: Vec<String>,
    /// Every combination; one without a name that lays nothing over the experiment where there is no sweep.
    pub all: Vec<Combination>,
}

/// One key's value, or several that go together.
type Point = Vec<Setting>;

/// A key, as a path, and one of its values.
#[derive(Debug, Clone)]
struct Setting {
    path: Vec<String>,
    value: Entry,
}

/// A `[[sweep.skip]]` table: a combination that has, of each of these keys, one of these values.
struct Skip {
    at: Place,
    keys: Vec<(Vec<String>, Vec<Entry>)>,
}

/// Takes the sweep out of the tree, with what arguments say of it. What is wrong goes to `problems`.
pub(super) fn take(base: &mut Table, arguments: &mut [Table], problems: &mut Vec<Problem>) -> Combinations {
    for argument in arguments.iter_mut() {
        if let Some(mut entry) = argument.remove(SWEEP) {
            keep_places(&mut entry, base.get(SWEEP));
            lay(base, Table::from([(SWEEP.to_owned(), entry)]), Rivals::Argument);
        }
    }
    let Some(entry) = base.remove(SWEEP) else {
        return Combinations { keys: Vec::new(), all: vec![(String::new(), Table::new())] };
    };
    let combinations = expand(entry, problems);
    for argument in arguments.iter() {
        if let Some((_, swept)) = combinations.all.first() {
            refuse_set(argument, swept, "", problems);
        }
    }
    combinations
}

/// A key that an argument gives other values stays where the file has it: its place is the order of the names' parts.
fn keep_places(over: &mut Entry, below: Option<&Entry>) {
    let Some(below) = below else { return };
    over.key = below.key.clone();
    if let (Value::Table(over), Value::Table(below)) = (&mut over.value, &below.value) {
        for (key, entry) in over {
            keep_places(entry, below.get(key));
        }
    }
}

/// An argument is for all runs, so it cannot be what the runs differ in.
fn refuse_set(argument: &Table, swept: &Table, above: &str, problems: &mut Vec<Problem>) {
    for (key, entry) in argument {
        let Some(other) = swept.get(key) else { continue };
        let name = super::reader::join(above, key);
        match (&entry.value, &other.value) {
            (Value::Table(inner), Value::Table(other)) => refuse_set(inner, other, &name, problems),
            _ => problems.push(
                Problem::new(entry.key.clone(), format!("`{name}` is swept, so it cannot be set for all runs"))
                    .label(format!("set its values: --set 'sweep.{name}=[…]'")),
            ),
        }
    }
}

/// All combinations.
fn expand(entry: Entry, problems: &mut Vec<Problem>) -> Combinations {
    let Value::Table(mut table) = entry.value else {
        problems.push(Problem::new(entry.key, "`sweep` must be a table").label("write [sweep]"));
        return Combinations::default();
    };
    let before = problems.len();
    let zips = list_of_tables(table.remove("zip"), "zip", problems);
    let skips = list_of_tables(table.remove("skip"), "skip", problems);
    let mut axes: Vec<(Place, Vec<Point>)> = Vec::new();
    for (key, path, values) in lists(table, &[], problems) {
        let point = |value| vec![Setting { path: path.clone(), value }];
        axes.push((key, values.into_iter().map(point).collect()));
    }
    axes.extend(zips.into_iter().filter_map(|(at, table)| zip(at, table, problems)));
    axes.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, points) in &axes {
        let mut known = BTreeSet::new();
        if let Some(setting) =
            points.iter().find(|point| !known.insert(identity(point))).and_then(|again| again.first())
        {
            let message = format!("`{}` has this value twice", setting.path.join("."));
            problems.push(Problem::new(setting.value.at.clone(), message));
        }
    }
    let skips: Vec<Skip> = skips.into_iter().map(|(at, table)| Skip { at, keys: conditions(table, &[]) }).collect();
    check_keys(&axes, &skips, problems);
    let all = axes.iter().map(|(_, points)| points.len() as u128).fold(1, u128::saturating_mul);
    if axes.is_empty() && problems.len() == before {
        problems.push(
            Problem::new(entry.key.clone(), "`sweep` has no values")
                .label("write `train.learning_rate = [1e-5, 1e-4]`, or leave it out"),
        );
    } else if all > MOST_RUNS {
        let message = format!("`sweep` makes {} runs, and at most {} are run", grouped(all), grouped(MOST_RUNS));
        problems.push(Problem::new(entry.key.clone(), message).label("take fewer values, or zip them"));
    }
    if problems.len() > before {
        return Combinations::default();
    }
    let axes: Vec<Vec<Point>> = axes.into_iter().map(|(_, points)| points).collect();
    let (combinations, used) = product(&axes, &skips);
    for (skip, _) in skips.iter().zip(used).filter(|(_, used)| !used) {
        problems.push(
            Problem::new(skip.at.clone(), "this `skip` leaves nothing out").label("no combination has these values"),
        );
    }
    if combinations.is_empty() {
        problems.push(Problem::new(entry.key, "`sweep` leaves no run").label("every combination is skipped"));
    }
    named(&combinations)
}

fn grouped(number: u128) -> String {
    crate::numbers::grouped(number)
}

fn list_of_tables(entry: Option<Entry>, name: &str, problems: &mut Vec<Problem>) -> Vec<(Place, Table)> {
    let Some(entry) = entry else { return Vec::new() };
    let mut wrong = |at| {
        problems.push(
            Problem::new(at, format!("`sweep.{name}` must be a list of tables"))
                .label(format!("write [[sweep.{name}]]")),
        );
    };
    let Value::List(items) = entry.value else {
        wrong(entry.key);
        return Vec::new();
    };
    let mut tables = Vec::new();
    for item in items {
        match item.value {
            Value::Table(table) => tables.push((item.at, table)),
            _ => wrong(item.at),
        }
    }
    tables
}

/// Every key below a table that has a list, in the order of their names: where it stands, its path and its values.
fn lists(table: Table, above: &[String], problems: &mut Vec<Problem>) -> Vec<(Place, Vec<String>, Vec<Entry>)> {
    let mut found = Vec::new();
    for (key, entry) in table {
        let path = [above, &[key]].concat();
        if let Value::Table(inner) = entry.value {
            found.extend(lists(inner, &path, problems));
            continue;
        }
        let name = path.join(".");
        let values = match values(&entry) {
            Ok(values) => values,
            Err(problem) => {
                problems.push(problem.unwrap_or_else(|| {
                    Problem::new(entry.key, format!("`sweep.{name}` must be a list of values"))
                        .label("write `[1, 2]`, or a range of whole numbers, `\"1..3\"`")
                }));
                continue;
            }
        };
        if values.is_empty() {
            problems.push(Problem::new(entry.at, format!("`sweep.{name}` has no values")));
        }
        if let Some(value) = values.iter().find(|value| matches!(value.value, Value::Table(_) | Value::Date)) {
            problems.push(
                Problem::new(value.at.clone(), "this value cannot be swept").label("compare tables with [[variant]]"),
            );
        }
        // An unknown key is one where it is written, a wrong value where that stands.
        let values = values.into_iter().map(|value| Entry { key: entry.key.clone(), ..value }).collect();
        found.push((entry.key, path, values));
    }
    found
}

/// The values of a list, or of a range such as `1..3`.
fn values(entry: &Entry) -> Result<Vec<Entry>, Option<Problem>> {
    match &entry.value {
        Value::List(items) => Ok(items.clone()),
        Value::Text(text) => {
            let (first, last) =
                text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?))).ok_or(None)?;
            let (first, last): (i64, i64) = (first, last);
            let (first, last) = (i128::from(first), i128::from(last));
            let count = last - first + 1;
            if count < 1 {
                return Err(Some(
                    Problem::new(entry.at.clone(), format!("the range {text:?} is empty"))
                        .label("the smaller number comes first"),
                ));
            }
            if count.unsigned_abs() > MOST_RUNS {
                let message = format!(
                    "the range {text:?} has {} values, and at most {} runs are run",
                    grouped(count.unsigned_abs()),
                    grouped(MOST_RUNS)
                );
                return Err(Some(Problem::new(entry.at.clone(), message)));
            }
            let value = |number| Entry { value: Value::Integer(number), ..entry.clone() };
            Ok((first..=last).map(value).collect())
        }
        _ => Err(None),
    }
}

/// The points of a `[[sweep.zip]]` table.
fn zip(at: Place, table: Table, problems: &mut Vec<Problem>) -> Option<(Place, Vec<Point>)> {
    let mut lists = lists(table, &[], problems);
    lists.sort_by(|a, b| a.0.cmp(&b.0));
    let Some((_, _, first)) = lists.first() else {
        problems.push(Problem::new(at, "this `zip` has no values").label("give two keys lists of one length"));
        return None;
    };
    let count = first.len();
    for (key, path, values) in lists.iter().filter(|(.., values)| values.len() != count) {
        let message = format!(
            "`sweep.zip` needs lists of one length: `{}` has {} values, and the first key has {count}",
            path.join("."),
            values.len()
        );
        problems.push(Problem::new(key.clone(), message));
    }
    let setting = |at: usize| {
        move |(_, path, values): &(Place, Vec<String>, Vec<Entry>)| {
            Some(Setting { path: path.clone(), value: values.get(at)?.clone() })
        }
    };
    let points = (0..count).map(|at| lists.iter().filter_map(setting(at)).collect()).collect();
    Some((at, points))
}

/// What a `[[sweep.skip]]` table asks of each key: a value, or one of several.
fn conditions(table: Table, above: &[String]) -> Vec<(Vec<String>, Vec<Entry>)> {
    let mut found = Vec::new();
    for (key, entry) in table {
        let path = [above, &[key]].concat();
        match entry.value {
            Value::Table(inner) => found.extend(conditions(inner, &path)),
            Value::List(items) => found.push((path, items)),
            value => found.push((path, vec![Entry { value, ..entry }])),
        }
    }
    found
}

/// Each key is swept once, names no run, and what is skipped is of keys that are swept.
fn check_keys(axes: &[(Place, Vec<Point>)], skips: &[Skip], problems: &mut Vec<Problem>) {
    let mut known: Vec<&[String]> = Vec::new();
    for point in axes.iter().filter_map(|(_, points)| points.first()) {
        for Setting { path, value } in point {
            let name = path.join(".");
            let refused = match path.first().map(String::as_str) {
                Some("name") => Some("`name` cannot be swept: each run's name says its values"),
                Some("variant" | "sweep" | "stand_in") => Some("this cannot be swept: sweep the keys themselves"),
                _ => None,
            };
            problems.extend(refused.map(|message| Problem::new(value.key.clone(), message)));
            if known.contains(&path.as_slice()) {
                problems.push(Problem::new(value.key.clone(), format!("`{name}` is swept twice")));
            }
            known.push(path);
        }
    }
    for skip in skips {
        for (path, values) in skip.keys.iter().filter(|(path, _)| !known.contains(&path.as_slice())) {
            let at = values.first().map_or_else(|| skip.at.clone(), |value| value.key.clone());
            problems
                .push(Problem::new(at, format!("`{}` is not swept, so nothing can be skipped by it", path.join("."))));
        }
    }
}

/// Every combination that is not skipped, and whether each skip left any out.
fn product(axes: &[Vec<Point>], skips: &[Skip]) -> (Vec<Point>, Vec<bool>) {
    let mut combinations: Vec<Point> = vec![Vec::new()];
    for points in axes {
        combinations = combinations
            .iter()
            .flat_map(|done| points.iter().map(move |point| [done.as_slice(), point].concat()))
            .collect();
    }
    let mut used = vec![false; skips.len()];
    combinations.retain(|combination| {
        let matched: Vec<bool> = skips.iter().map(|skip| skip.matches(combination)).collect();
        used.iter_mut().zip(&matched).for_each(|(used, matched)| *used |= matched);
        !matched.contains(&true)
    });
    (combinations, used)
}

impl Skip {
    fn matches(&self, combination: &[Setting]) -> bool {
        self.keys.iter().all(|(path, values)| {
            let has = |setting: &Setting| {
                setting.path == *path && values.iter().any(|value| same(&value.value, &setting.value.value))
            };
            combination.iter().any(has)
        })
    }
}

/// What a point's values are, however they are written.
fn identity(point: &[Setting]) -> Vec<String> {
    point.iter().map(|setting| canonical(&setting.value.value)).collect()
}

fn same(a: &Value, b: &Value) -> bool {
    canonical(a) == canonical(b)
}

/// [`words`], where a whole number is one whether it has a point or not. What cannot be swept is told apart by its place.
fn canonical(value: &Value) -> String {
    match value {
        Value::Float(number) if number.fract() == 0.0 => format!("{number}"),
        Value::Table(_) | Value::Date => format!("{value:?}"),
        _ => words(value),
    }
}

/// Each combination with its name, and as a table.
fn named(combinations: &[Point]) -> Combinations {
    let Some(first) = combinations.first() else { return Combinations::default() };
    let paths: Vec<&[String]> = first.iter().map(|setting| setting.path.as_slice()).collect();
    let keys: Vec<String> = paths.iter().map(|path| key_name(path, &paths)).collect();
    let one = |combination: &Point| {
        let parts: Vec<String> = keys
            .iter()
            .zip(combination)
            .map(|(key, setting)| format!("{key}{}", value_name(&setting.value.value)))
            .collect();
        let mut table = Table::new();
        for Setting { path, value } in combination {
            insert(&mut table, path, value);
        }
        (parts.join("-"), table)
    };
    let all = combinations.iter().map(one).collect();
    Combinations { keys: paths.iter().map(|path| path.join(".")).collect(), all }
}

/// The key's last word; of keys with the same one the whole path.
fn key_name(path: &[String], all: &[&[String]]) -> String {
    let Some(last) = path.last() else { return String::new() };
    let is_alone = all.iter().filter(|other| other.last() == Some(last)).count() == 1;
    if !is_alone {
        return path.join(".");
    }
    SHORT.iter().find(|(long, _)| long == last).map_or_else(|| last.clone(), |(_, short)| (*short).to_owned())
}

/// `0.0001` → `1e-4`; a text's letters and digits, and a hash where that is not all of it.
fn value_name(value: &Value) -> String {
    let text = words(value);
    let plain: String = text.chars().map(|c| if c.is_alphanumeric() || "-.".contains(c) { c } else { '_' }).collect();
    if plain == text && text.len() <= LONGEST_VALUE && !text.is_empty() && !text.ends_with('.') {
        return text;
    }
    let readable: String = plain.trim_matches(['_', '.']).chars().take(LONGEST_VALUE / 2).collect();
    format!("{readable}_{}", &sha256(text.as_bytes())[..8])
}

/// A value in one way of writing, so that `1e-4` and `0.0001` are one.
fn words(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) if *number != 0.0 && (number.abs() < 1e-2 || number.abs() >= 1e6) => format!("{number:e}"),
        Value::Float(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) => {
            format!("[{}]", items.iter().map(|item| words(&item.value)).collect::<Vec<_>>().join(","))
        }
        // No value of a sweep.
        Value::Date | Value::Table(_) => String::new(),
    }
}

/// Puts a value at its path; the tables on the way stand where it does.
fn insert(table: &mut Table, path: &[String], value: &Entry) {
    match path {
        [] => {}
        [last] => drop(table.insert(last.clone(), value.clone())),
        [first, rest @ ..] => {
            let place = || Entry { value: Value::Table(Table::new()), ..value.clone() };
            let inner = table.entry(first.clone()).or_insert_with(place);
            if let Value::Table(inner) = &mut inner.value {
                insert(inner, rest, value);
            }
        }
    }
}
