//! A folder of pictures → [`Picture`]s with captions, in byte order of their relative paths.
//!
//! Captions, first that applies:
//! 1. `prompt` of the experiment, for every picture. The experiment's file is what a reader of the results sees, so what it
//!    says is what is trained; captions that lie in the folder are then not used, and a warning says so.
//! 2. what `from` of `[dataset.captions]` names; left open, first that is there:
//! 3. the folder's `metadata.jsonl`, `metadata.csv` or kohya's `metadata.json`;
//! 4. the `.txt` or `.caption` file beside each picture; where there are both, neither wins;
//! 5. the `.json` file beside each picture.
//!
//! Names are one name however Unicode spells them. With a table, pictures may lie in folders below; without one they must lie in
//! the folder itself. All that is wrong with a folder is reported in one error. `skip_broken` leaves out what cannot be used as a
//! picture (a file that is broken, stray or missing), with a warning for each; a picture without a caption or a faulty table
//! stays an error, for there the remedy is a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::captions::{Row, Table, read_side_car};
use super::folder::{
    CAPTION_ENDINGS, Entries, JSON, MASK_ENDING, METADATA, is_caption, is_named_mask, pictures_folder,
};
use super::image::{BROKEN_HINT, decode, read_picture};
use super::name::{key, listed, shortened, slashed as name};
use super::picture::Picture;
use super::structure::whole_size;
use super::wording::Wordings;
use crate::config::{CaptionFrom, CaptionRules, Selection, TRIGGER, has_pack_ending};
use crate::error::{Error, Result};
use crate::hash::sha256;

/// Problems listed in one error, and files left out that are told one by one; a folder of the wrong kind would fill the screen many
/// times over.
const MAX_LISTED: usize = 20;

/// A folder of so many images is not decoded to check it: that would take as long as all that is done before the first step.
const LARGE: usize = 256;

/// The remedy for a picture that nothing describes.
const UNCAPTIONED_HINT: &str = "set `prompt` in [dataset], or give each picture a caption: a row in `metadata.jsonl`, or `x.txt` or \
                                `x.caption` beside `x.jpg`";

/// The remedy for folders as kohya's scripts have them.
const REPEATS_HINT: &str = "make each such folder a source: [[dataset.sources]] with its `path`, a `prompt` or captions, and `repeats` as \
                            its name's number says";

/// What is wrong with a folder, as sentences that name the file.
#[derive(Default)]
struct Problems {
    /// Errors in any case.
    fatal: Vec<String>,
    /// Files that `skip_broken` leaves out.
    broken: Vec<String>,
    /// Pictures without a caption; errors in any case, with a remedy of their own.
    uncaptioned: Vec<String>,
    /// Folders as kohya's scripts have them, left out like what is broken, with a remedy of their own.
    repeats: Vec<String>,
}

/// What is wrong with one picture's caption, as a sentence.
enum Lack {
    /// It has none, or an empty one.
    None(String),
    /// There is one, and it cannot be used.
    Unusable(String),
}

/// Loads, checks and captions every picture in `root`. `prompt` is the experiment's; `warn` gets one sentence for each thing
/// that is passed over.
pub fn load_dataset(
    root: &Path,
    prompt: Option<&str>,
    skip_broken: bool,
    warn: &mut dyn FnMut(String),
) -> Result<Vec<Picture>> {
    load_captioned(root, &Selection::default(), (prompt, &CaptionRules::default()), skip_broken, warn)
}

/// As [`load_dataset`], of a part of the folder, with rules for the captions.
pub fn load_captioned(
    root: &Path,
    selection: &Selection,
    (prompt, rules): (Option<&str>, &CaptionRules),
    skip_broken: bool,
    warn: &mut dyn FnMut(String),
) -> Result<Vec<Picture>> {
    let base = pictures_folder(root, selection, warn)?;
    let mut problems = Problems::default();
    let is_in_table = prompt.is_none() && matches!(rules.from, CaptionFrom::Any | CaptionFrom::Metadata);
    let mut table = Table::read(&base, selection, is_in_table, &mut problems.fatal)?;
    if table.is_none() && prompt.is_none() && rules.from == CaptionFrom::Metadata {
        let names = METADATA.join("`, `");
        return Err(Error::input(format!("the dataset folder `{}` has none of `{names}`", base.display()))
            .hint("put it there, or say another `from` in [dataset.captions]"));
    }
    let mut entries = Entries::list(&base, table.is_some())?;
    let rows = || table.iter().flat_map(|table| table.rows.values());
    entries.add_named(&base, &rows().map(|row| row.path.as_path()).collect::<Vec<_>>());
    entries.notes(&base).into_iter().for_each(&mut *warn);
    let (mut images, side_cars, masks) = sort_files(&base, entries, table.as_ref(), &mut problems);
    if let Some(most) = selection.max_samples.filter(|most| *most < images.len()) {
        let left: BTreeSet<String> = images.split_off(most).iter().map(|path| key(path)).collect();
        if let Some(table) = &mut table {
            table.rows.retain(|key, _| !left.contains(key));
        }
    }
    if let Some(table) = &table {
        problems.broken.extend(missing_files(table, &images));
    }
    let is_row = |path: &PathBuf| table.as_ref().is_some_and(|table| table.rows.contains_key(&key(path)));
    for path in images.iter().filter(|path| mask_of(path).is_some() && !is_row(path)) {
        warn(format!("`{}` is named as a mask, and no image has the rest of its name: it is trained on", name(path)));
    }
    let captions = Captions { prompt, rules, table: table.as_ref(), side_cars: &side_cars };
    if let Some((used, unused)) = captions.unused() {
        warn(format!("{used}; {unused} in `{}` are not used", base.display()));
    }
    let shared = Arc::new(rules.clone());
    let mut with_trigger = 0;
    let how = if skip_broken || images.len() < LARGE { Check::Pixels } else { Check::Structure };
    let checked: Vec<_> = images.into_par_iter().map(|path| (check(&base, &path, how), path)).collect();
    let mut pictures = Vec::new();
    for (result, path) in checked {
        match result.map(|content| (content, captions.of(&base, &path))) {
            Err(reason) => problems.broken.push(format!("`{}` {reason}", name(&path))),
            Ok((content, Ok(found))) => {
                with_trigger += usize::from(found.iter().any(|text| text.contains(TRIGGER)));
                let wordings = Wordings::new(&found, &shared);
                let mask = masks.get(&stem(&path)).map(|mask| (base.join(mask), mask));
                match mask.map(|(file, mask)| (hash_file(&file), file, mask)) {
                    Some((Err(reason), _, mask)) => problems.broken.push(format!("`{}` {reason}", name(mask))),
                    Some((Ok(sha256), file, _)) => {
                        let picture = content.into_picture(&base, path, wordings);
                        pictures.push(Picture { mask: Some((file, sha256)), ..picture });
                    }
                    None => pictures.push(content.into_picture(&base, path, wordings)),
                }
            }
            Ok((_, Err(Lack::None(reason)))) => problems.uncaptioned.push(reason),
            Ok((_, Err(Lack::Unusable(reason)))) => problems.fatal.push(reason),
        }
    }
    problems.report(&base, skip_broken, warn)?;
    if let Some(warning) = trigger_warning(prompt, rules, with_trigger) {
        warn(warning);
    }
    if pictures.is_empty() {
        return Err(Error::input(format!("the dataset folder `{}` holds no pictures", base.display()))
            .hint("put image files into it (PNG, JPEG, WebP, BMP, GIF or TIFF), or set `path` in [dataset] to the folder that has them"));
    }
    Ok(pictures)
}

/// A trigger that no caption asks for, or captions that ask for one that there is not.
fn trigger_warning(prompt: Option<&str>, rules: &CaptionRules, with_trigger: usize) -> Option<String> {
    match (&rules.trigger, with_trigger) {
        (Some(trigger), 0) if prompt.is_none_or(|prompt| !prompt.contains(trigger)) => Some(format!(
            "no caption has `{TRIGGER}`, so “{trigger}” comes nowhere; `prefix` would put it before every caption"
        )),
        (None, found @ 1..) => Some(format!(
            "the captions of {found} picture(s) have `{TRIGGER}`, which stays as it is: `trigger` of [dataset.captions] says no word \
             for it"
        )),
        _ => None,
    }
}

/// The pictures `paths` in the folder `base`, and no others, each with this caption.
///
/// # Errors
/// One of them is missing or no picture.
pub fn load_pictures(base: &Path, paths: impl IntoIterator<Item = PathBuf>, caption: &str) -> Result<Vec<Picture>> {
    let load = |path: PathBuf| match check(base, &path, Check::Pixels) {
        Ok(content) => Ok(content.into_picture(base, path, Wordings::of(caption))),
        Err(reason) => Err(Error::run(format!("`{}` {reason}", base.join(path).display()))),
    };
    paths.into_iter().map(load).collect()
}

/// Files of captions, by the key of their name without its ending.
type SideCars = BTreeMap<String, Vec<PathBuf>>;

/// A name's key without the ending, in which a picture and its caption agree.
fn stem(path: &Path) -> String {
    key(&path.with_extension(""))
}

/// Parts the files into pictures and captions' files. What cannot be either is a problem: folders that were not entered,
/// captions without a picture, two names that are one.
fn sort_files(
    base: &Path,
    entries: Entries,
    table: Option<&Table>,
    problems: &mut Problems,
) -> (Vec<PathBuf>, SideCars, Masks) {
    name_folders(base, &entries.folders, table, problems);
    let (texts, mut images): (Vec<_>, Vec<_>) = entries
        .files
        .into_iter()
        .filter(|path| !METADATA.iter().any(|table| path.as_os_str() == *table))
        .partition(|path| is_caption(path));
    let masks = take_masks(&mut images, table);
    let mut spellings: BTreeMap<String, &Path> = BTreeMap::new();
    for image in &images {
        if let Some(other) = spellings.insert(key(image), image) {
            let (one, two) = (other.as_os_str().len(), image.as_os_str().len());
            problems.fatal.push(format!(
                "`{}` is there twice, its accents spelt in {one} and in {two} bytes (Unicode's NFC and NFD); rename one",
                name(image)
            ));
        }
    }
    let stems: BTreeSet<_> = images.iter().map(|path| stem(path)).collect();
    let mut side_cars = SideCars::new();
    for text in texts {
        match stem(&text) {
            stem if stems.contains(&stem) => side_cars.entry(stem).or_default().push(text),
            _ => problems.broken.push(format!("`{}` has no picture of its name beside it", name(&text))),
        }
    }
    (images, side_cars, masks)
}

/// Masks by the key of their picture's name without its ending.
type Masks = BTreeMap<String, PathBuf>;

/// Takes out of the files what is the mask of another: `x.mask.png` where there is `x.jpg`, unless a row of the table names it as
/// a picture.
fn take_masks(images: &mut Vec<PathBuf>, table: Option<&Table>) -> Masks {
    let stems: BTreeSet<String> = images.iter().map(|path| stem(path)).collect();
    let mut masks = Masks::new();
    images.retain(|path| {
        let Some(of) = mask_of(path).filter(|of| stems.contains(of)) else { return true };
        if table.is_some_and(|table| table.rows.contains_key(&key(path))) {
            return true;
        }
        masks.insert(of, path.clone());
        false
    });
    masks
}

/// The key of the name, without its ending, of the picture whose mask this would be.
fn mask_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let of = name.get(..name.len().checked_sub(MASK_ENDING.len())?).filter(|of| !of.is_empty())?;
    is_named_mask(name).then(|| key(&path.with_file_name(of)))
}

/// SHA-256 of a mask's bytes.
fn hash_file(file: &Path) -> std::result::Result<String, String> {
    Ok(sha256(&read_picture(file)?))
}

/// Says of each folder why it was not entered.
fn name_folders(base: &Path, folders: &[PathBuf], table: Option<&Table>, problems: &mut Problems) {
    let repeats: Vec<_> = folders.iter().filter_map(|folder| Some((folder, repeats(folder)?))).collect();
    if table.is_none() && repeats.len() == folders.len() {
        problems.repeats.extend(repeats.into_iter().map(|(folder, times)| {
            format!(
                "`{}/` is a folder as kohya's scripts have them, whose pictures count {times} times in an epoch; here each counts once, \
                 and folders are not entered",
                name(folder)
            )
        }));
        return;
    }
    let why = |folder: &Path| match table {
        None => "is a folder; pictures in folders are used only where a `metadata.jsonl` or `metadata.csv` names them",
        Some(_) if base.join(folder).is_symlink() => {
            "is a link to a folder; such are followed only to pictures that a row names, and no row names one in it"
        }
        Some(_) => "is a folder that lies too deep",
    };
    problems.broken.extend(folders.iter().map(|folder| format!("`{}/` {}", name(folder), why(folder))));
}

/// How often the pictures of a folder are repeated, if it is named as kohya's scripts want it: `10_corgi`. `2024_summer` is a year.
fn repeats(folder: &Path) -> Option<u32> {
    let (number, name) = folder.to_str()?.split_once('_')?;
    number.parse().ok().filter(|times| *times < 1000 && !name.is_empty())
}

/// Rows of the table whose picture is not there.
fn missing_files(table: &Table, images: &[PathBuf]) -> Vec<String> {
    let present: BTreeSet<String> = images.iter().map(|path| key(path)).collect();
    let missing = table.rows.iter().filter(|(key, _)| !present.contains(*key));
    let in_small_letters: BTreeMap<String, &String> = present.iter().map(|key| (key.to_lowercase(), key)).collect();
    let reason = |key: &str, row: &Row| {
        if let Some(other) = in_small_letters.get(&key.to_lowercase()) {
            return format!("; there is `{other}`");
        }
        let is_escaped = row.path.to_string_lossy().contains(char::is_control);
        if is_escaped {
            "; in JSON a single `\\` makes such signs: part folders with `/`".to_owned()
        } else {
            String::new()
        }
    };
    let sentence = |(key, row): (&String, &Row)| {
        let (file, place, shown) = (table.file, table.place(row.line), shortened(&name(&row.path)));
        format!("`{file}` {place}: the file `{shown}` does not exist{}", reason(key, row))
    };
    missing.map(sentence).collect()
}

/// What checking a file yields, beside the assurance that it can be decoded.
struct Content {
    sha256: String,
    width: usize,
    height: usize,
}

impl Content {
    fn into_picture(self, base: &Path, path: PathBuf, wordings: Wordings) -> Picture {
        let Self { sha256, width, height } = self;
        Picture {
            file: base.join(&path),
            path,
            source: None,
            caption: wordings.first(),
            wordings,
            sha256,
            width,
            height,
            mask: None,
        }
    }
}

/// How an image file is checked when its folder is loaded.
#[derive(Debug, Clone, Copy)]
enum Check {
    /// Its pixels are decoded: what is damaged is told before anything is fetched or computed.
    Pixels,
    /// What its structure shows, and its pixels only where that leaves a doubt. The rest is decoded once, when latents are made of
    /// it, and told then.
    Structure,
}

fn check(base: &Path, path: &Path, how: Check) -> std::result::Result<Content, String> {
    if has_pack_ending(&path.to_string_lossy()) {
        return Err("holds packed images, which are read only where no image files lie beside it, and of `path`, `repo` or `modelscope` of \
                    [dataset] or of one of [[dataset.sources]] (with `prior = true` for class images)"
            .to_owned());
    }
    let bytes = read_picture(&base.join(path))?;
    let whole = match how {
        Check::Structure => whole_size(&bytes),
        Check::Pixels => None,
    };
    let (width, height) = match whole {
        Some(size) => size,
        None => decode(&bytes).map(|image| (image.width, image.height))?,
    };
    Ok(Content { sha256: sha256(&bytes), width, height })
}

/// Where captions come from.
struct Captions<'a> {
    prompt: Option<&'a str>,
    rules: &'a CaptionRules,
    table: Option<&'a Table>,
    side_cars: &'a SideCars,
}

impl Captions<'_> {
    /// The table, if captions come from it.
    fn used_table(&self) -> Option<&Table> {
        let is_used = self.prompt.is_none() && matches!(self.rules.from, CaptionFrom::Any | CaptionFrom::Metadata);
        self.table.filter(|_| is_used)
    }

    /// Whether captions may come from files of this ending.
    fn reads(&self, ending: &str) -> bool {
        match self.rules.from {
            _ if self.prompt.is_some() || self.used_table().is_some() => false,
            CaptionFrom::Any => true,
            CaptionFrom::Txt => ending == "txt",
            CaptionFrom::Caption => ending == "caption",
            CaptionFrom::Json => ending == JSON,
            CaptionFrom::Metadata | CaptionFrom::FileName => false,
        }
    }

    /// What says the captions instead of others that are there too, as a sentence; and the others, as the subject of one.
    fn unused(&self) -> Option<(String, String)> {
        let used = match (self.prompt, self.used_table(), self.rules.from) {
            (Some(_), ..) => "`prompt` of [dataset] is used for every picture".to_owned(),
            (None, Some(table), _) => format!("the captions of `{}` are used", table.file),
            (None, None, CaptionFrom::Any | CaptionFrom::Metadata) => return None,
            (None, None, CaptionFrom::FileName) => "the file names are the captions".to_owned(),
            (None, None, CaptionFrom::Txt) => "the captions of `.txt` files are used".to_owned(),
            (None, None, CaptionFrom::Caption) => "the captions of `.caption` files are used".to_owned(),
            (None, None, CaptionFrom::Json) => "the captions of `.json` files are used".to_owned(),
        };
        if let Some(table) = self.table.filter(|_| self.used_table().is_none()) {
            return Some((used, format!("the captions of `{}`", table.file)));
        }
        let is_of = |path: &PathBuf, ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
        let unread = CAPTION_ENDINGS.into_iter().filter(|ending| !self.reads(ending));
        let counts: Vec<(String, usize)> = unread
            .map(|ending| (ending, self.side_cars.values().flatten().filter(|path| is_of(path, ending)).count()))
            .filter(|(_, count)| *count > 0)
            .map(|(ending, count)| (format!("`.{ending}`"), count))
            .collect();
        let n: usize = counts.iter().map(|(_, count)| count).sum();
        let endings = counts.into_iter().map(|(ending, _)| ending).collect::<Vec<_>>().join(" and ");
        (n > 0).then(|| (used, format!("the captions of {n} {endings} file(s)")))
    }

    /// The captions of one picture, or why it has none. Of what a faulty table may hide nothing is said.
    fn of(&self, base: &Path, path: &Path) -> std::result::Result<Vec<String>, Lack> {
        if let Some(prompt) = self.prompt {
            return Ok(vec![prompt.to_owned()]);
        }
        if let Some(table) = self.used_table() {
            let texts = table.rows.get(&key(path)).map(|row| row.texts.clone());
            let lack = || Lack::None(format!("`{}` has no row in `{}`", name(path), table.file));
            let texts = if table.is_whole { texts.ok_or_else(lack)? } else { texts.unwrap_or_default() };
            return Ok(if texts.is_empty() { vec![String::new()] } else { texts });
        }
        if self.rules.from == CaptionFrom::FileName {
            return from_name(path);
        }
        let beside = self.side_cars.get(&stem(path)).map_or(&[][..], Vec::as_slice);
        let ending = |path: &Path| path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let mut read: Vec<PathBuf> = beside.iter().filter(|path| self.reads(&ending(path))).cloned().collect();
        if read.len() > 1 {
            read.retain(|path| ending(path) != JSON);
        }
        let text = match &read[..] {
            [] => return Err(Lack::None(format!("`{}` has no caption", name(path)))),
            [text] => text,
            texts => {
                return Err(Lack::Unusable(format!(
                    "`{}` has more than one caption: {}; keep one",
                    name(path),
                    listed(texts)
                )));
            }
        };
        match read_side_car(&base.join(text), self.rules.lines) {
            Ok(captions) if captions.is_empty() => Err(Lack::None(format!("`{}` is an empty caption", name(text)))),
            Ok(captions) => Ok(captions),
            Err(reason) => Err(Lack::Unusable(format!("`{}` {reason}", name(text)))),
        }
    }
}

/// A picture's name as its caption: without the ending, `_` as a space.
fn from_name(path: &Path) -> std::result::Result<Vec<String>, Lack> {
    let stem = path.file_stem().unwrap_or_default().to_str();
    let stem = stem.ok_or_else(|| Lack::Unusable(format!("`{}`: this name is no text", name(path))))?;
    let caption = stem.replace('_', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    if caption.is_empty() {
        Err(Lack::None(format!("`{}`: nothing is in this name", name(path))))
    } else {
        Ok(vec![caption])
    }
}

impl Problems {
    /// One error with everything in it, or, with `skip_broken` and nothing worse, a warning for each file left out.
    fn report(mut self, base: &Path, skip_broken: bool, warn: &mut dyn FnMut(String)) -> Result<()> {
        if skip_broken {
            let left_out = [std::mem::take(&mut self.broken), std::mem::take(&mut self.repeats)].concat();
            left_out.iter().take(MAX_LISTED).for_each(|problem| warn(format!("left out: {problem}")));
            if left_out.len() > MAX_LISTED {
                warn(format!("left out: {} more of `{}`", left_out.len() - MAX_LISTED, base.display()));
            }
        }
        let remedies =
            [(&self.broken, BROKEN_HINT), (&self.repeats, REPEATS_HINT), (&self.uncaptioned, UNCAPTIONED_HINT)];
        let hints = remedies.into_iter().filter(|(problems, _)| !problems.is_empty()).map(|(_, hint)| hint);
        let hints: Vec<_> = hints.collect();
        let all = [self.fatal, self.uncaptioned, self.repeats, self.broken].concat();
        if all.is_empty() {
            return Ok(());
        }
        let problems = if all.len() == 1 { "a problem".to_owned() } else { format!("{} problems", all.len()) };
        let mut error = Error::input(format!("the dataset folder `{}` has {problems}", base.display()));
        for problem in all.iter().take(MAX_LISTED) {
            error = error.cause(problem);
        }
        if all.len() > MAX_LISTED {
            error = error.cause(format!("and {} more", all.len() - MAX_LISTED));
        }
        Err(if hints.is_empty() { error } else { error.hint(hints.join("; ")) })
    }
}
