//! Folders of pictures: captions and their precedence, and everything that can be wrong with a folder.

use std::path::Path;

use tempfile::TempDir;
use tunelab::data::{Picture, load_dataset, load_image};
use tunelab::error::{Error, Result};

use super::pixels::fixture;

/// A folder with the given files; content `@name` copies the fixture of that name.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix('@') {
            Some(source) => drop(fs_err::copy(fixture(source), path).unwrap()),
            None => fs_err::write(path, content).unwrap(),
        }
    }
    folder
}

fn load(root: &Path, prompt: Option<&str>, skip_broken: bool) -> (Result<Vec<Picture>>, Vec<String>) {
    let mut warnings = Vec::new();
    let pictures = load_dataset(root, prompt, skip_broken, &mut |warning| warnings.push(warning));
    (pictures, warnings)
}

fn captions(pictures: &[Picture]) -> Vec<(String, &str)> {
    pictures.iter().map(|p| (p.path.display().to_string(), p.caption.as_str())).collect()
}

fn error(files: &[(&str, &str)], prompt: Option<&str>) -> (Error, String) {
    let error = load(folder(files).path(), prompt, false).0.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    (error, text)
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn a_folder_with_one_prompt_comes_in_byte_order() {
    let folder = folder(&[
        ("b.png", "@formats/rgb.png"),
        ("B.webp", "@formats/lossless_alpha.webp"),
        ("a 10.jpg", "@orientation/6.jpg"),
    ]);
    let (pictures, warnings) = load(folder.path(), Some("a dog"), false);
    let pictures = pictures.unwrap();
    assert_eq!(
        captions(&pictures),
        [("B.webp".to_owned(), "a dog"), ("a 10.jpg".to_owned(), "a dog"), ("b.png".to_owned(), "a dog")]
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!((pictures[1].width, pictures[1].height), (24, 40));
    assert_eq!(pictures[1].image().unwrap(), load_image(&fixture("orientation/6.jpg")).unwrap());
}

#[test]
fn the_hash_is_of_the_files_bytes() {
    let folder = folder(&[("a.png", "not yet")]);
    let path = folder.path().join("a.png");
    fs_err::copy(fixture("formats/rgb.png"), &path).unwrap();
    let pictures = load(folder.path(), Some("a dog"), false).0.unwrap();
    assert_eq!(pictures[0].sha256.len(), 64);
    fs_err::copy(fixture("formats/rgba.png"), &path).unwrap();
    let changed = load(folder.path(), Some("a dog"), false).0.unwrap();
    assert_ne!(changed[0].sha256, pictures[0].sha256);
    // The first list no longer describes what is on the disk, and says so instead of training on it.
    assert!(pictures[0].image().unwrap_err().to_string().contains("has changed"));
}

#[test]
fn captions_from_tables_and_side_cars() {
    let jsonl =
        "{\"file_name\": \"sub/y.png\", \"text\": \" a cat \"}\n\n{\"text\": \"a, dog\", \"file_name\": \"x.jpg\"}\n";
    let csv = "\u{feff}text,file_name,more\n\"a, dog\",x.jpg,1\na cat,./sub//y.png,2\n";
    for (name, table) in [("metadata.jsonl", jsonl), ("metadata.csv", csv)] {
        let folder = folder(&[
            ("x.jpg", "@orientation/1.jpg"),
            ("sub/y.png", "@formats/rgb.png"),
            (name, table),
            ("x.txt", "not this"),
        ]);
        let pictures = load(folder.path(), None, false).0.unwrap();
        assert_eq!(captions(&pictures), [("sub/y.png".to_owned(), "a cat"), ("x.jpg".to_owned(), "a, dog")], "{name}");
    }
    let folder = folder(&[("x.jpg", "@orientation/1.jpg"), ("x.txt", "\u{feff} a corgi,\r\n tongue out \n")]);
    let pictures = load(folder.path(), None, false).0.unwrap();
    assert_eq!(captions(&pictures), [("x.jpg".to_owned(), "a corgi, tongue out")]);
}

#[test]
fn the_experiments_prompt_wins_over_captions_and_says_so() {
    let side_car = [("x.jpg", "@orientation/1.jpg"), ("x.txt", "a corgi")];
    let table = [("x.jpg", "@orientation/1.jpg"), ("metadata.csv", "file_name\nx.jpg\n")];
    for (files, unused) in [(&side_car, "1 `.txt` file"), (&table, "metadata.csv")] {
        let folder = folder(files);
        let (pictures, warnings) = load(folder.path(), Some("a dog"), false);
        assert_eq!(pictures.unwrap()[0].caption, "a dog");
        assert_eq!(warnings.len(), 1);
        assert_has(&warnings[0], &["prompt", unused]);
    }
}

#[test]
fn names_of_repositories_and_systems_are_passed_over() {
    let mut files = vec![
        ("dog.jpg", "@orientation/1.jpg"),
        ("license_plate.jpg", "@orientation/1.jpg"),
        ("readme dog.png", "@formats/rgb.png"),
    ];
    files.extend(
        ["README.md", "LICENSE", ".gitattributes", ".DS_Store", "Thumbs.db", "dataset_infos.json"].map(|n| (n, "x")),
    );
    files.extend([(".ipynb_checkpoints/dog-checkpoint.jpg", "x"), ("__MACOSX/._dog.jpg", "x"), (".cache/x.jpg", "x")]);
    let folder = folder(&files);
    let (pictures, warnings) = load(folder.path(), Some("a dog"), false);
    assert_eq!(pictures.unwrap().len(), 3);
    assert!(warnings.is_empty());
}

#[test]
fn an_image_folder_may_keep_its_pictures_in_train() {
    let files = [
        ("README.md", "x"),
        ("train/x.jpg", "@orientation/1.jpg"),
        ("train/metadata.jsonl", "{\"file_name\":\"x.jpg\",\"text\":\"a dog\"}"),
    ];
    let with_test = folder(&files);
    fs_err::create_dir(with_test.path().join("test")).unwrap();
    let (pictures, warnings) = load(with_test.path(), None, false);
    assert_eq!(captions(&pictures.unwrap()), [("x.jpg".to_owned(), "a dog")]);
    assert_has(&warnings.concat(), &["`train/`", "not used: test"]);
    let files = [
        ("train/x.jpg", "@orientation/1.jpg"),
        ("metadata.jsonl", "{\"file_name\":\"train/x.jpg\",\"text\":\"a dog\"}"),
    ];
    let pictures = load(folder(&files).path(), None, false).0.unwrap();
    assert_eq!(captions(&pictures), [("train/x.jpg".to_owned(), "a dog")]);
}

const BROKEN: [(&str, &str); 6] = [
    ("good.jpg", "@orientation/1.jpg"),
    ("text.jpg", "a text file"),
    ("clip.mp4", "a film"),
    ("alone.txt", "a caption"),
    ("more/x.jpg", "@orientation/1.jpg"),
    ("empty.png", ""),
];

#[test]
fn everything_wrong_is_in_one_error() {
    let (error, text) = error(&BROKEN, Some("a dog"));
    assert_has(error.message(), &["5 problems"]);
    assert_has(&text, &["`text.jpg`", "`clip.mp4`", "`alone.txt`", "`more/`", "`empty.png`", "skip_broken = true"]);
    assert!(!text.contains("good.jpg"), "{text}");
}

#[test]
fn skip_broken_leaves_out_and_names() {
    let folder = folder(&BROKEN);
    let (pictures, warnings) = load(folder.path(), Some("a dog"), true);
    assert_eq!(captions(&pictures.unwrap()), [("good.jpg".to_owned(), "a dog")]);
    assert_eq!(warnings.len(), 5);
    assert_has(&warnings.concat(), &["text.jpg", "clip.mp4", "alone.txt", "more/", "empty.png"]);
}

#[test]
fn skip_broken_invents_no_captions() {
    let files =
        [("a.jpg", "@orientation/1.jpg"), ("b.jpg", "@orientation/1.jpg"), ("a.txt", "a dog"), ("bad.jpg", "x")];
    let error = load(folder(&files).path(), None, true).0.unwrap_err().to_string();
    assert_has(&error, &["`b.jpg` has no caption", "prompt"]);
    assert!(!error.contains("a.jpg"), "{error}");
}

#[test]
fn captions_that_are_missing_or_empty_are_named() {
    let (_, text) = error(&[("a.jpg", "@orientation/1.jpg"), ("b.jpg", "@orientation/1.jpg"), ("b.txt", " \n")], None);
    assert_has(&text, &["`a.jpg` has no caption", "`b.txt` is an empty caption", "hint: set `prompt`"]);
}

#[test]
fn faults_of_a_jsonl_table_are_named_with_their_lines() {
    let table = "{\"file_name\": \"a.jpg\", \"text\": \"a dog\"}\n\
                 {\"file_name\": \"a.jpg\", \"text\": \"again\"}\n\
                 {\"file_name\": \"gone.jpg\", \"text\": \"a dog\"}\n\
                 {\"file_name\": \"../a.jpg\", \"text\": \"a dog\"}\n\
                 {\"file_name\": \"/etc/a.jpg\", \"text\": \"a dog\"}\n\
                 {\"file_name\": \"b.jpg\", \"caption\": \"a dog\"}\n\
                 {\"file_name\": \"b.jpg\", \"text\": [\"one\", \"two\"]}\n\
                 {\"file_name\": \"b.jpg\", \"text\": \"\"}\n\
                 {\"file_name\": \n\
                 [1]\n";
    let (error, text) =
        error(&[("a.jpg", "@orientation/1.jpg"), ("b.jpg", "@orientation/1.jpg"), ("metadata.jsonl", table)], None);
    assert_has(error.message(), &["10 problems"]);
    assert_has(
        &text,
        &[
            "line 2: `a.jpg` already has a row in line 1",
            "line 3: the file `gone.jpg`",
            "line 4: the file name `../a.jpg`",
        ],
    );
    assert_has(&text, &["line 5: the file name `/etc/a.jpg`", "line 6: no `text`; found: `file_name`, `caption`"]);
    assert_has(&text, &["line 7: `text` must be a string", "line 8: `b.jpg` has an empty caption", "line 9: not JSON"]);
    assert_has(&text, &["line 10: not a JSON object", "`b.jpg` has no row in `metadata.jsonl`"]);
}

#[test]
fn faults_of_a_csv_table_are_named_with_their_lines() {
    let picture = ("a.jpg", "@orientation/1.jpg");
    let (_, text) = error(&[picture, ("metadata.csv", "file_name,text\na.jpg,a dog, sitting\n")], None);
    assert_has(&text, &["`metadata.csv` line 2: 3 fields where the header has 2"]);
    let (_, text) = error(&[picture, ("metadata.csv", "image,text\na.jpg,a dog\n")], None);
    assert_has(&text, &["line 1: no `file_name`; found: `image`, `text`"]);
    let (_, text) = error(&[picture, ("metadata.csv", "file_name,text\n\"a.jpg\",\"a\ndog\"\ngone.jpg,a dog\n")], None);
    assert_has(&text, &["line 4: the file `gone.jpg` does not exist"]);
    let (_, text) = error(&[picture, ("metadata.csv", "file_name,text\n"), ("metadata.jsonl", "")], None);
    assert_has(&text, &["holds both `metadata.jsonl` and `metadata.csv`"]);
}

#[test]
fn missing_and_empty_folders_are_named() {
    let empty = folder(&[]);
    let text = load(empty.path(), Some("a dog"), false).0.unwrap_err().to_string();
    assert_has(&text, &["holds no pictures", &empty.path().display().to_string()]);
    let text = load(&empty.path().join("gone"), Some("a dog"), false).0.unwrap_err().to_string();
    assert_has(&text, &["gone` does not exist", "`path` in [dataset]"]);
    let file = folder(&[("a.jpg", "@orientation/1.jpg")]);
    let text = load(&file.path().join("a.jpg"), Some("a dog"), false).0.unwrap_err().to_string();
    assert_has(&text, &["is a file, not a folder"]);
    let text = load(folder(&[("bad.jpg", "x")]).path(), Some("a dog"), true).0.unwrap_err().to_string();
    assert_has(&text, &["holds no pictures"]);
}

#[cfg(unix)]
#[test]
fn a_hubs_cache_links_its_files() {
    let blobs = folder(&[("blob", "@orientation/1.jpg")]);
    let snapshot = folder(&[]);
    std::os::unix::fs::symlink(blobs.path().join("blob"), snapshot.path().join("a.jpg")).unwrap();
    std::os::unix::fs::symlink(snapshot.path(), snapshot.path().join("circle")).unwrap();
    std::os::unix::fs::symlink("gone", snapshot.path().join("dangling.jpg")).unwrap();
    let (pictures, warnings) = load(snapshot.path(), Some("a dog"), true);
    assert_eq!(captions(&pictures.unwrap()), [("a.jpg".to_owned(), "a dog")]);
    assert_has(&warnings.concat(), &["circle/", "dangling.jpg"]);
}
