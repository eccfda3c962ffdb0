//! Data sets whose images are packed: files that pyarrow, `tar` and zipfile wrote, on this machine and on hubs.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tunelab::assets::DataFolder;
use tunelab::config::{CaptionFrom, CaptionLines, CaptionRules, Selection, Source};
use tunelab::data::{Picture, load_captioned};
use tunelab::error::{Error, Result};

use super::huggingface::World;
use super::server::Fault;
use super::{Files, write_all};
use crate::fixture::fixture;

fn packs(name: &str) -> PathBuf {
    fixture("packs").join(name)
}

fn world() -> World {
    World::new(Files::new())
}

/// SHA-256 and captions of each image, as the script that wrote the files says.
fn expected(name: &str) -> Vec<(String, Vec<String>)> {
    let all: Value = serde_json::from_slice(&fs_err::read(packs("expected.json")).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| (text(&row[0]), row[1].as_array().unwrap().iter().map(text).collect());
    all[name].as_array().unwrap_or_else(|| panic!("no {name}")).iter().map(row).collect()
}

fn load(folder: &DataFolder, skip_broken: bool) -> Result<Vec<Picture>> {
    let rules = CaptionRules::default();
    load_captioned(&folder.root, &folder.selection, (None, &rules), skip_broken, &mut |_| {})
}

fn rows(pictures: &[Picture]) -> Vec<(String, Vec<String>)> {
    pictures.iter().map(|picture| (picture.sha256.clone(), picture.wordings.all())).collect()
}

fn find(world: &World, path: PathBuf, selection: &Selection) -> Result<DataFolder> {
    world.hubs.find_dataset(&Source::Path(path), selection, &world.progress)
}

/// What is found and loaded is what the script says.
fn assert_is(path: PathBuf, selection: &Selection, name: &str) -> Vec<Picture> {
    let world = world();
    let folder = find(&world, path.clone(), selection).unwrap();
    let pictures = load(&folder, false).unwrap();
    assert_eq!(rows(&pictures), expected(name), "{name}");
    // Once for all.
    let time = fs_err::metadata(&folder.root).unwrap().modified().unwrap();
    assert_eq!(find(&world, path, selection).unwrap(), folder);
    assert_eq!(fs_err::metadata(&folder.root).unwrap().modified().unwrap(), time);
    let left: Vec<_> =
        fs_err::read_dir(world.cache.path().join("unpacked")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.extension().is_none()), "nothing but the folder: {left:?}");
    pictures
}

fn error(path: PathBuf, selection: &Selection) -> Error {
    let world = world();
    let error = find(&world, path, selection).and_then(|folder| load(&folder, false)).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error
}

fn all() -> Selection {
    Selection::default()
}

fn split(split: &str) -> Selection {
    Selection { split: Some(split.into()), ..all() }
}

fn columns(image: Option<&str>, caption: Option<&str>) -> Selection {
    Selection { image_column: image.map(str::to_owned), caption_column: caption.map(str::to_owned), ..all() }
}

#[test]
fn three_shards_as_the_hub_has_them() {
    let pictures = assert_is(packs("hub"), &all(), "hub train");
    let names: Vec<String> = pictures.iter().map(Picture::name).collect();
    assert_eq!(names[..2], ["00000000.png", "00000001.jpg"], "in the order of the rows, named by what they are");
    assert_is(packs("hub"), &split("val"), "hub validation");
    assert_is(packs("hub/data/train-00001-of-00003.parquet").parent().unwrap().to_owned(), &all(), "hub train");
    let text = error(packs("hub"), &split("test")).to_string();
    assert!(text.contains("no file is of the split `test`") && text.contains("train, validation"), "{text}");
}

#[test]
fn one_shard_alone_and_the_first_samples() {
    let first = Selection { max_samples: Some(4), ..all() };
    let world = world();
    let pictures = load(&find(&world, packs("hub"), &first).unwrap(), false).unwrap();
    assert_eq!(rows(&pictures), expected("hub train")[..4]);
    let pictures = load(&find(&world, packs("hub/data/train-00001-of-00003.parquet"), &all()).unwrap(), false).unwrap();
    assert_eq!(rows(&pictures), expected("hub train")[3..6]);
    // Of a folder of images as they are, too.
    let folder = find(&world, packs("hub"), &all()).unwrap().root;
    let pictures = load(&find(&world, folder, &first).unwrap(), false).unwrap();
    assert_eq!(rows(&pictures), expected("hub train")[..4]);
}

#[test]
fn columns_that_are_named_and_captions_in_lists() {
    assert_is(packs("zstd.parquet"), &columns(Some("picture"), Some("captions")), "zstd");
    let text = error(packs("zstd.parquet"), &all()).to_string();
    assert!(text.contains("several columns hold images: mask, picture") && text.contains("`image_column`"), "{text}");
    let text = error(packs("zstd.parquet"), &columns(Some("note"), None)).to_string();
    assert!(text.contains("`note`") && text.contains("holds no images") && text.contains("mask, picture"), "{text}");
    let text = error(packs("zstd.parquet"), &columns(Some("picture"), Some("mask"))).to_string();
    assert!(text.contains("holds no texts") && text.contains("note, captions"), "{text}");
    let text = error(packs("zstd.parquet"), &columns(Some("photo"), None)).to_string();
    assert!(text.contains("there is no column `photo`") && text.contains("its columns: mask, picture, note"), "{text}");
}

/// Two columns have texts, and none is called as captions usually are.
#[test]
fn captions_that_nothing_tells_are_asked_for() {
    let world = world();
    let selection = columns(Some("picture"), None);
    let text = find(&world, packs("zstd.parquet"), &selection).and_then(|folder| load(&folder, false)).unwrap_err();
    assert!(text.to_string().contains("has no caption"), "{text}");
    let lines = world.progress.hidden_lines().join("\n");
    assert!(lines.contains("columns of texts: note, captions") && lines.contains("`caption_column`"), "{lines}");
}

#[test]
fn compressions_and_bytes_without_a_struct() {
    for name in ["gzip", "lz4", "none"] {
        assert_is(packs(&format!("{name}.parquet")), &all(), name);
    }
    let text = error(packs("brotli.parquet"), &all()).to_string();
    assert!(text.contains("packed in a way that is not read") && text.contains("snappy, zstd"), "{text}");
}

#[test]
fn a_broken_image_is_named_and_can_be_left_out() {
    let world = world();
    let folder = find(&world, packs("broken.parquet"), &all()).unwrap();
    let error = load(&folder, false).unwrap_err();
    // The script writes it as PNG, as it does every second.
    assert!(error.to_string().contains("`00000001.png`"), "{error}");
    assert_eq!(load(&folder, true).unwrap().len(), 2);
}

#[test]
fn a_file_without_images_lists_its_columns() {
    let text = error(packs("no_image.parquet"), &all()).to_string();
    assert!(text.contains("no column holds images") && text.contains("text, url"), "{text}");
}

#[test]
fn images_beside_the_file_but_none_outside() {
    assert_is(packs("beside.parquet"), &all(), "beside");
    let text = error(packs("outside.parquet"), &all()).to_string();
    assert!(text.contains("row 0, counted from 0") && text.contains("../formats/rgb.png"), "{text}");
}

#[test]
fn samples_of_two_shards_with_text_json_and_a_mask() {
    let pictures = assert_is(packs("shards"), &all(), "shards");
    let masks: Vec<bool> = pictures.iter().map(|picture| picture.mask_file().is_some()).collect();
    assert_eq!(masks, [false, true, false]);
    let world = world();
    let first = Selection { max_samples: Some(1), ..all() };
    let pictures = load(&find(&world, packs("shards"), &first).unwrap(), false).unwrap();
    assert_eq!(rows(&pictures), expected("shards")[..1]);
    // A field that is named is the only one.
    let text = error(packs("shards/dogs-000001.tar"), &columns(Some("webp"), None)).to_string();
    assert!(text.contains("no sample has an image; its fields: png, txt"), "{text}");
}

#[test]
fn folders_in_archives() {
    assert_is(packs("folder.tar.gz"), &all(), "folder");
    assert_is(packs("dogs.zip"), &all(), "dogs");
    assert_is(packs("splits.zip"), &all(), "splits train");
    assert_is(packs("splits.zip"), &split("test"), "splits test");
    let text = error(packs("splits.zip"), &split("dev")).to_string();
    assert!(text.contains("no folder `dev`") && text.contains("`test`, `train`"), "{text}");
}

#[test]
fn names_that_leave_the_folder_are_not_written() {
    let world = world();
    let folder = find(&world, packs("escape.zip"), &all()).unwrap();
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("escape"));
    for above in folder.root.ancestors().take(4) {
        assert!(!above.join("escaped.png").exists());
    }
    assert!(!Path::new("/escaped.png").exists());
}

/// Every file cut in the middle: one clear error, nothing left behind, and the whole file afterwards.
#[test]
fn files_that_are_cut_are_named_and_leave_nothing() {
    for name in ["gzip.parquet", "zstd.parquet", "shards/dogs-000000.tar", "folder.tar.gz", "dogs.zip"] {
        let world = world();
        let path = world.cache.path().join(name.rsplit('/').next().unwrap());
        let bytes = fs_err::read(packs(name)).unwrap();
        fs_err::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let selection = columns((name == "zstd.parquet").then_some("picture"), None);
        let error = find(&world, path.clone(), &selection).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("cannot be read"), "{name}: {error}");
        let unpacked = world.cache.path().join("unpacked");
        assert_eq!(fs_err::read_dir(&unpacked).unwrap().count(), 0, "{name}");
        fs_err::write(&path, &bytes).unwrap();
        find(&world, path, &selection).unwrap();
    }
}

/// As a process leaves it that is killed while it unpacks.
#[test]
fn what_a_killed_process_left_is_made_anew() {
    let world = world();
    let folder = find(&world, packs("dogs.zip"), &all()).unwrap();
    let whole = world.cache.path().join("unpacked");
    let name = fs_err::read_dir(&whole).unwrap().next().unwrap().unwrap().path();
    fs_err::rename(&name, name.with_extension("part")).unwrap();
    fs_err::write(name.with_extension("part").join("dogs/99.png"), "half of a picture").unwrap();
    fs_err::write(name.with_extension("lock"), "").unwrap();
    assert_eq!(find(&world, packs("dogs.zip"), &all()).unwrap(), folder);
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("dogs"));
    assert_eq!(fs_err::read_dir(&whole).unwrap().count(), 1);
}

#[test]
fn a_file_that_changed_is_unpacked_again() {
    let world = world();
    let path = world.cache.path().join("set.zip");
    fs_err::copy(packs("dogs.zip"), &path).unwrap();
    let before = find(&world, path.clone(), &all()).unwrap();
    fs_err::copy(packs("escape.zip"), &path).unwrap();
    let after = find(&world, path, &all()).unwrap();
    assert_ne!(before.root, after.root);
    assert_eq!(rows(&load(&after, false).unwrap()), expected("escape"));
}

/// All files below a folder, as a repository.
fn repository(root: &Path) -> Files {
    let mut files =
        Files::from([("README.md".into(), b"---\n---".to_vec()), ("preview.png".into(), b"no picture".to_vec())]);
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs_err::read(&path).unwrap());
            }
        }
    }
    files
}

fn on_huggingface() -> Source {
    Source::HuggingFace { repo: "some-one/small.sd".into(), revision: "main".into(), modelscope: None }
}

fn on_modelscope() -> Source {
    Source::ModelScope { repo: "some-one/small.sd".into(), revision: "master".into() }
}

/// What was fetched: the names of the files, each once.
fn fetched(world: &World) -> Vec<String> {
    let log = world.server.take_log();
    let name =
        |target: &str| target.split_once("/storage/").map(|(_, name)| name.split('?').next().unwrap().to_owned());
    let mut names: Vec<String> = log.iter().filter_map(|request| name(&request.target)).collect();
    names.dedup();
    names
}

#[test]
fn a_repository_of_three_shards_comes_goes_on_and_is_kept() {
    let mut world = World::new(repository(&packs("hub")));
    let find =
        |world: &World, selection: &Selection| world.hubs.find_dataset(&on_huggingface(), selection, &world.progress);
    // The second shard breaks off; the first one stays.
    world.server.set(Fault::CutOnce(700));
    find(&world, &all()).unwrap_err();
    world.server.take_log();
    let folder = find(&world, &all()).unwrap();
    let log = world.server.take_log();
    let of_storage = log.iter().filter(|r| r.target.starts_with("/storage/"));
    let ranges: Vec<&str> = of_storage.filter_map(|r| r.range.as_deref()).filter(|r| *r != "bytes=0-0").collect();
    assert_eq!(ranges, ["bytes=700-"]);
    assert!(!log.iter().any(|r| r.target.contains("storage/data/train-00000")), "{log:?}");
    assert!(!log.iter().any(|r| r.target.contains("validation") || r.target.contains("preview")), "{log:?}");
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("hub train"));

    world.hubs.huggingface.offline = Some("HF_HUB_OFFLINE");
    assert_eq!(find(&world, &all()).unwrap(), folder);
    // What is more than was asked for is enough, and other columns are in the same files.
    let first = Selection { max_samples: Some(2), caption_column: Some("id".into()), ..all() };
    let pictures = load(&find(&world, &first).unwrap(), false).unwrap();
    assert_eq!(pictures.iter().map(|p| p.caption.as_str()).collect::<Vec<_>>(), ["id0", "id1"]);
    assert_eq!(world.server.take_log().len(), 0);
    world.hubs.huggingface.offline = None;
    let folder = find(&world, &split("validation")).unwrap();
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("hub validation"));
}

#[test]
fn shards_behind_the_last_sample_are_not_fetched() {
    let world = World::new(repository(&packs("hub")));
    let first = Selection { max_samples: Some(5), ..all() };
    let folder = world.hubs.find_dataset(&on_huggingface(), &first, &world.progress).unwrap();
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("hub train")[..5]);
    assert_eq!(fetched(&world), ["data/train-00000-of-00003.parquet", "data/train-00001-of-00003.parquet"]);
    world.hubs.find_dataset(&on_huggingface(), &first, &world.progress).unwrap();
    assert_eq!(world.server.take_log().len(), 0);
}

/// As `huggingface_hub` and `datasets` leave them, without this program's list of files.
#[test]
fn offline_packed_files_are_taken_as_the_cache_has_them() {
    let mut world = World::new(repository(&packs("hub")));
    world.hubs.find_dataset(&on_huggingface(), &all(), &world.progress).unwrap();
    fs_err::remove_dir_all(world.cache.path().join("datasets--some-one--small.sd/.tunelab")).unwrap();
    world.hubs.huggingface.offline = Some("HF_HUB_OFFLINE");
    world.server.take_log();
    let folder = world.hubs.find_dataset(&on_huggingface(), &all(), &world.progress).unwrap();
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("hub train"));
    assert_eq!(world.server.take_log().len(), 0);
}

#[test]
fn of_a_repository_of_images_the_split_alone_comes() {
    let files = ["train/a.png", "train/a.txt", "test/b.png", "test/b.txt"].map(|name| (name.to_owned(), b"x".to_vec()));
    let world = World::new(Files::from(files));
    let folder = world.hubs.find_dataset(&on_huggingface(), &split("test"), &world.progress).unwrap();
    assert!(folder.root.join("test/b.png").is_file() && !folder.root.join("train").exists());
    assert_eq!(folder.selection, split("test"));
}

#[test]
fn modelscopes_own_layout() {
    let world = World::new(repository(&packs("modelscope")));
    let folder = world.hubs.find_dataset(&on_modelscope(), &all(), &world.progress).unwrap();
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("modelscope"));
    let log = world.server.take_log();
    assert!(!log.iter().any(|r| r.target.contains("val.csv") || r.target.contains("preview")), "{log:?}");
    assert_eq!(world.hubs.find_dataset(&on_modelscope(), &all(), &world.progress).unwrap(), folder);
    assert_eq!(world.server.take_log().len(), 0);

    let error = |selection: &Selection| {
        let error = world.hubs.find_dataset(&on_modelscope(), selection, &world.progress).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let text = error(&split("validation"));
    assert!(text.contains("its `far.zip` is not in the repository but in ModelScope's object store"), "{text}");
    let text = error(&split("test"));
    assert!(text.contains("has no split `test`") && text.contains("train, validation"), "{text}");
    let text = error(&Selection { subset: Some("big".into()), ..all() });
    assert!(text.contains("has no subset `big`") && text.contains("one of: default"), "{text}");
}

#[test]
fn packed_files_on_modelscope() {
    let world = World::new(repository(&packs("hub")));
    let folder = world.hubs.find_dataset(&on_modelscope(), &all(), &world.progress).unwrap();
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("hub train"));
    let folder = world.hubs.find_dataset(&on_modelscope(), &split("validation"), &world.progress).unwrap();
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("hub validation"));
}

/// As the report's data set lies in a folder that its library filled.
#[test]
fn modelscopes_columns_in_a_folder() {
    let world = world();
    let folder = world.cache.path().join("set");
    let zip = find(&world, packs("escape.zip"), &all()).unwrap().root;
    let image = fs_err::read(zip.join("good.png")).unwrap();
    let files = [("target/00.png", image), ("metadata.csv", b"Text,Target:FILE\na dog,target/00.png\n".to_vec())];
    write_all(&folder, &Files::from(files.map(|(name, bytes)| (name.to_owned(), bytes))));
    let pictures = load(&find(&world, folder.clone(), &all()).unwrap(), false).unwrap();
    assert_eq!(rows(&pictures), [(expected("escape")[0].0.clone(), vec!["a dog".to_owned()])]);
    fs_err::write(folder.join("metadata.csv"), "name,about,other\ntarget/00.png,a cat,x\n").unwrap();
    let named = load(&find(&world, folder, &columns(Some("name"), Some("about"))).unwrap(), false).unwrap();
    assert_eq!(named[0].caption, "a cat");
}

/// A tar archive of these members, in this order; an empty one is a hard link to the one before.
fn tar(path: &Path, members: &[(&str, &[u8])]) {
    let mut builder = tar::Builder::new(fs_err::File::create(path).unwrap());
    let mut before = String::new();
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        if bytes.is_empty() {
            header.set_entry_type(tar::EntryType::Link);
            builder.append_link(&mut header, name, &before).unwrap();
        } else {
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        (*name).clone_into(&mut before);
    }
    builder.finish().unwrap();
}

/// The caption rules hold for what lay in a tar as for a folder, whatever the order of its members.
#[test]
fn a_tar_is_read_as_the_folder_that_it_was() {
    let world = world();
    let path = world.cache.path().join("set.tar");
    let image = fs_err::read(packs("beside/a.png")).unwrap();
    let members: [(&str, &[u8]); 6] = [
        ("x/a_red_dog.png", &image),
        ("x/a_cat.png", &[]),
        ("x/a_cat.txt", b"one\ntwo"),
        ("x/a_cat.mask.png", &image),
        ("x/a_red_dog.txt", b"three"),
        ("x/notes.md", b"no"),
    ];
    tar(&path, &members);
    let folder = find(&world, path, &all()).unwrap();
    let load = |rules: &CaptionRules| {
        let pictures = load_captioned(&folder.root, &folder.selection, (None, rules), false, &mut |_| {}).unwrap();
        pictures.iter().map(|p| (p.wordings.all().join("|"), p.mask_file().is_some())).collect::<Vec<_>>()
    };
    let rules = |from, lines| CaptionRules { from, lines, ..CaptionRules::default() };
    let each = load(&rules(CaptionFrom::Any, CaptionLines::Each));
    assert_eq!(each, [("one|two".to_owned(), true), ("three".to_owned(), false)]);
    let names = load(&rules(CaptionFrom::FileName, CaptionLines::Join));
    assert_eq!(names.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["x a cat", "x a red dog"]);
}

#[test]
fn splits_within_a_tar_are_not_mixed() {
    let world = world();
    let path = world.cache.path().join("set.tar");
    let image = fs_err::read(packs("beside/a.png")).unwrap();
    tar(&path, &[("s/train/0.png", &image), ("s/train/0.txt", b"t"), ("s/test/1.png", &image), ("s/test/1.txt", b"e")]);
    for (selection, caption) in [(all(), "t"), (split("test"), "e")] {
        let pictures = load(&find(&world, path.clone(), &selection).unwrap(), false).unwrap();
        assert_eq!(pictures.iter().map(|p| p.caption.as_str()).collect::<Vec<_>>(), [caption]);
    }
    let captions = columns(None, Some("about"));
    let flat = world.cache.path().join("flat.tar");
    tar(&flat, &[("0.png", &image), ("0.json", br#"{"about": "from JSON"}"#)]);
    assert_eq!(load(&find(&world, flat.clone(), &captions).unwrap(), false).unwrap()[0].caption, "from JSON");
    let text = find(&world, flat, &columns(None, Some("nothing"))).unwrap_err().to_string();
    assert!(text.contains("no sample has a field or a JSON value `nothing`"), "{text}");
}

/// What cannot be met is no reason to take all.
#[test]
fn a_split_of_one_file_is_its_own_or_refused() {
    let test = packs("hub/data/validation-00000-of-00001.parquet");
    assert_is(test.clone(), &all(), "hub validation");
    assert_is(test.clone(), &split("dev"), "hub validation");
    assert!(error(test.clone(), &split("train")).to_string().contains("one of: validation"));
    let subset = Selection { subset: Some("x".into()), ..all() };
    assert!(error(test, &subset).to_string().contains("leave `subset` out"));
    assert!(error(packs("gzip.parquet"), &split("test")).to_string().contains("one of: train"));
}

#[test]
fn a_row_without_an_image_can_be_left_out() {
    let world = world();
    let folder = find(&world, packs("null.parquet"), &all()).unwrap();
    let text = load(&folder, false).unwrap_err().to_string();
    assert!(text.contains("`00000001.bin` is empty"), "{text}");
    assert_eq!(load(&folder, true).unwrap().len(), 2);
}

/// What lies beside is told, and images in a folder of one's own are what is meant.
#[test]
fn images_beside_archives_are_what_is_meant_in_a_folder() {
    let world = world();
    let folder = world.cache.path().join("mine");
    fs_err::create_dir(&folder).unwrap();
    fs_err::copy(packs("dogs.zip"), folder.join("backup.zip")).unwrap();
    fs_err::copy(packs("beside/a.png"), folder.join("a.png")).unwrap();
    fs_err::write(folder.join("a.txt"), "mine").unwrap();
    let found = find(&world, folder.clone(), &all()).unwrap();
    assert_eq!(found.root, folder);
    let text = load(&found, false).unwrap_err().to_string();
    assert!(text.contains("`backup.zip` holds packed images"), "{text}");
    assert_eq!(load(&found, true).unwrap().len(), 1);
    // On a hub the archives count where there are not more images, and what is left out is told.
    let files = Files::from([("p.png".into(), vec![1]), ("x.zip".into(), fs_err::read(packs("dogs.zip")).unwrap())]);
    let hub = World::new(files);
    let folder = hub.hubs.find_dataset(&on_huggingface(), &all(), &hub.progress).unwrap();
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("dogs"));
    let warnings = hub.progress.take_warnings();
    assert!(warnings[0].contains("not used beside packed files: p.png"), "{warnings:?}");
}

#[test]
fn many_at_once_unpack_once() {
    let world = world();
    let found: Vec<DataFolder> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| find(&world, packs("hub"), &all()).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(rows(&load(&found[0], false).unwrap()), expected("hub train"));
    assert_eq!(fs_err::read_dir(world.cache.path().join("unpacked")).unwrap().count(), 1);
}

/// A cache that many share, which nobody here can write.
#[cfg(unix)]
#[test]
fn where_the_hubs_cache_cannot_be_written_another_folder_can() {
    let mut world = World::new(repository(&packs("hub")));
    world.hubs.find_dataset(&on_huggingface(), &all(), &world.progress).unwrap();
    let own = world.cache.path().join("datasets--some-one--small.sd/.tunelab");
    for entry in fs_err::read_dir(&own).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        fs_err::remove_dir_all(entry).unwrap();
    }
    let list = fs_err::read_dir(&own).unwrap().next().unwrap().unwrap().path();
    let text = fs_err::read(&list).unwrap();
    // A file in the folder's place refuses whoever writes, root too.
    world.hubs.huggingface.offline = Some("HF_HUB_OFFLINE");
    fs_err::remove_dir_all(&own).unwrap();
    fs_err::write(&own, text).unwrap();
    let folder = world.hubs.find_dataset(&on_huggingface(), &all(), &world.progress).unwrap();
    assert!(folder.root.starts_with(world.cache.path().join("unpacked")));
    assert_eq!(rows(&load(&folder, false).unwrap()), expected("hub train"));
}
