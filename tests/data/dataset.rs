//! Folders of pictures: captions and their precedence, and everything that can be wrong with a folder.

use std::path::Path;

use tempfile::TempDir;
use tunelab::data::{Picture, load_dataset, load_image};
use tunelab::error::{Error, Result};
use tunelab::results::{Opened, RunDir};

use super::pixels::fixture;

/// A folder with the given files; content `@name` copies the fixture of that name.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
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

pub fn assert_has(text: &str, parts: &[&str]) {
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
    assert_has(&warnings.concat(), &["`train/`", "not used: `test`"]);
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
                 {\"file_name\": \"b.jpg\", \"text\": 7}\n\
                 {\"file_name\": \"b.jpg\", \"text\": \"\"}\n\
                 {\"file_name\": \n\
                 [1]\n";
    let (error, text) =
        error(&[("a.jpg", "@orientation/1.jpg"), ("b.jpg", "@orientation/1.jpg"), ("metadata.jsonl", table)], None);
    assert_has(error.message(), &["9 problems"]);
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
    assert_has(&text, &["line 10: not a JSON object"]);
    assert!(!text.contains("has no row"), "{text}");
}

/// Its row may be the faulty one.
#[test]
fn a_faulty_row_blames_no_picture() {
    let pictures = [("1.png", PICTURE), ("2.png", PICTURE)];
    let doubled = "{\"file_name\": \"1.png\", \"text\": \"a dog\", \"text\": \"a cat\"}\n";
    let others =
        "{\"file_name\": \"2.png\", \"text\": \"a dog\"}\n{\"file_name\": \"gone.png\", \"text\": \"a dog\"}\n";
    let (first, text) = error(&[pictures[0], ("metadata.jsonl", doubled)], None);
    assert_has(first.message(), &["a problem"]);
    assert_has(&text, &["line 1: `text` is there more than once"]);
    // What the rows say that were read is told.
    let (both, text) = error(&[pictures[0], pictures[1], ("metadata.jsonl", &format!("{doubled}{others}"))], None);
    assert_has(both.message(), &["2 problems"]);
    assert_has(&text, &["line 1: `text` is there more than once", "line 3: the file `gone.png` does not exist"]);
    let (_, text) =
        error(&[pictures[0], pictures[1], ("metadata.csv", "file_name,text\n1.png,a dog, sitting\n")], None);
    assert!(!text.contains("has no row"), "{text}");
    // Where no row is faulty, the picture without one is told.
    let (_, text) = error(&[pictures[0], pictures[1], ("metadata.csv", "file_name,text\n1.png,a dog\n")], None);
    assert_has(&text, &["`2.png` has no row in `metadata.csv`"]);
}

#[test]
fn faults_of_a_csv_table_are_named_with_their_lines() {
    let picture = ("a.jpg", "@orientation/1.jpg");
    let (_, text) = error(&[picture, ("metadata.csv", "file_name,text\na.jpg,a dog, sitting\n")], None);
    assert_has(&text, &["`metadata.csv` line 2: 3 fields where the header has 2"]);
    let (_, text) = error(&[picture, ("metadata.csv", "image,text\na.jpg,a dog\n")], None);
    assert_has(&text, &["line 1: no `file_name`; found: `image`, `text`"]);
    assert!(!text.contains("has no row"), "{text}");
    let (_, text) = error(&[picture, ("metadata.csv", "file_name;text\na.jpg;a dog\n")], None);
    assert_has(&text, &["line 1: no `file_name`; found: `file_name;text`: part the columns with commas"]);
    let many = format!("{}text\n", "x,".repeat(500));
    let (_, text) = error(&[picture, ("metadata.csv", &many)], None);
    assert_has(&text, &["`x` and 491 more"]);
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

const PICTURE: &str = "@formats/rgb.png";

#[test]
fn captions_have_two_endings_in_any_case() {
    let folder = folder(&[
        ("a.PNG", PICTURE),
        ("a.caption", "one"),
        ("b.png", PICTURE),
        ("b.TXT", "two"),
        ("c.Jpg", "@orientation/1.jpg"),
        ("c.Txt", "three"),
        ("license_plate.png", PICTURE),
        ("license_plate.txt", "four"),
    ]);
    let (pictures, warnings) = load(folder.path(), None, false);
    let pictures = pictures.unwrap();
    let captions: Vec<_> = pictures.iter().map(|picture| picture.caption.as_str()).collect();
    assert_eq!(captions, ["one", "two", "three", "four"]);
    assert!(warnings.is_empty(), "{warnings:?}");
    let (_, warnings) = load(folder.path(), Some("a dog"), false);
    assert_has(&warnings.concat(), &["the captions of 4 `.txt` and `.caption` file(s)"]);
}

#[test]
fn of_two_captions_neither_wins() {
    let files = [("a.png", PICTURE), ("a.txt", "a dog"), ("a.caption", "a cat"), ("b.png", PICTURE)];
    let (_, text) = error(&files, None);
    assert_has(&text, &["`a.png` has more than one caption: `a.caption`, `a.txt`; keep one", "`b.png` has no caption"]);
    assert_eq!(load(folder(&files).path(), Some("a dog"), false).0.unwrap().len(), 2);
    let (_, text) = error(&[("a.png", PICTURE), ("b.caption", "a dog")], None);
    assert_has(&text, &["`a.png` has no caption", "`b.caption` has no picture", "`x.caption` beside `x.jpg`"]);
}

/// A folder with a picture and a file of these bytes.
fn folder_with(name: &str, bytes: &[u8]) -> TempDir {
    let folder = folder(&[("a.png", PICTURE)]);
    fs_err::write(folder.path().join(name), bytes).unwrap();
    folder
}

#[test]
fn text_that_is_not_utf8_is_named_with_its_line() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let table = "file_name,text\na.png,a caf\u{e9}\n";
    let windows = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    let with_mark = [vec![0xFF, 0xFE], utf16(table)].concat();
    for (name, bytes, wanted) in [
        ("a.txt", with_mark.clone(), "`a.txt` is UTF-16 text; save it as UTF-8"),
        ("a.txt", utf16("a dog"), "`a.txt` is UTF-16 text; save it as UTF-8"),
        ("a.txt", utf16("“a café”"), "`a.txt` is UTF-16 text; save it as UTF-8"),
        // Too few zeros to be sure; and never letters of Windows-1252.
        ("a.txt", utf16("狗狗é狗"), "`a.txt` holds a zero byte in line 1, as UTF-16 text does; save it as UTF-8"),
        ("a.txt", b"a dog\n\0".to_vec(), "`a.txt` holds a zero byte in line 2, as UTF-16 text does; save it as UTF-8"),
        (
            "a.txt",
            windows("a\ncaf\u{e9}"),
            "line 2 holds the byte 0xE9, which is “é” in Windows-1252; save it as UTF-8",
        ),
        ("a.caption", b"\x93a dog\x94".to_vec(), "line 1 holds the byte 0x93, which is ““” in Windows-1252"),
        ("a.txt", b"\x81".to_vec(), "line 1 holds the byte 0x81; save it as UTF-8"),
        ("metadata.csv", with_mark, "`metadata.csv` is UTF-16 text; save it as UTF-8"),
        ("metadata.csv", windows(table), "`metadata.csv` is not UTF-8 text: line 2 holds the byte 0xE9"),
        ("metadata.jsonl", b"{}\n\n\xE9".to_vec(), "`metadata.jsonl` is not UTF-8 text: line 3 holds the byte 0xE9"),
    ] {
        let error = load(folder_with(name, &bytes).path(), None, false).0.unwrap_err();
        assert_has(error.message(), &["a problem"]);
        assert_has(&error.to_string(), &[wanted]);
        assert!(!error.to_string().contains("hint"), "{error}");
    }
}

#[test]
fn an_unclosed_quote_gets_its_line_and_blames_no_picture() {
    let pictures = [("a.png", PICTURE), ("b.png", PICTURE)];
    for (table, wanted) in [
        ("file_name,text\na.png,\"a dog\nb.png,a cat\n", "line 2: the quote that opens here is never closed"),
        ("file_name,text\na.png,\"a dog\nb.png,\"a, cat\"\n", "line 2: the quote that opens here closes in line 3"),
        ("file_name,text\na.png,a dog\nb.png,\"a \"big\" cat\"\n", "line 3: the quote that opens here closes before"),
    ] {
        let (error, text) = error(&[pictures[0], pictures[1], ("metadata.csv", table)], None);
        assert_has(error.message(), &["a problem"]);
        assert_has(&text, &[wanted]);
    }
}

#[test]
fn two_columns_or_keys_of_one_name_are_an_error() {
    let picture = ("a.png", PICTURE);
    let (_, text) = error(&[picture, ("metadata.csv", "file_name,text, text\na.png,a dog,a cat\n")], None);
    assert_has(&text, &["`metadata.csv` line 1: two columns are named `text`"]);
    let (_, text) = error(&[picture, ("metadata.csv", "file_name,file_name\na.png,b.png\n")], Some("a dog"));
    assert_has(&text, &["`metadata.csv` line 1: two columns are named `file_name`"]);
    let line = r#"{"file_name": "a.png", "text": "a dog", "text": "a cat"}"#;
    let (_, text) = error(&[picture, ("metadata.jsonl", line)], None);
    assert_has(&text, &["`metadata.jsonl` line 1: `text` is there more than once"]);
    // What is not read may be there as often as it likes.
    let table = "file_name,text,,\na.png,a dog,,\n";
    assert_eq!(load(folder(&[picture, ("metadata.csv", table)]).path(), None, false).0.unwrap()[0].caption, "a dog");
}

#[test]
fn backslashes_in_tables_part_folders() {
    let picture = ("sub/a.png", PICTURE);
    for (name, table) in [
        ("metadata.csv", "file_name,text\nsub\\a.png,a dog\n"),
        ("metadata.csv", "file_name,text\n.\\sub\\a.png,a dog\n"),
        ("metadata.jsonl", r#"{"file_name": "sub\\a.png", "text": "a dog"}"#),
    ] {
        let pictures = load(folder(&[picture, (name, table)]).path(), None, false).0.unwrap();
        assert_eq!(captions(&pictures), [("sub/a.png".to_owned(), "a dog")], "{table}");
    }
    let (_, text) = error(&[picture, ("metadata.jsonl", r#"{"file_name": "sub\a.png", "text": "a dog"}"#)], None);
    assert_has(&text, &["line 1: not JSON: invalid escape in column 20; part folders with `/`"]);
    let (_, text) = error(&[picture, ("metadata.jsonl", r#"{"file_name": "sub\beta.png", "text": "a dog"}"#)], None);
    assert_has(&text, &["the file `sub\\u{8}eta.png` does not exist; in JSON a single `\\` makes such signs"]);
    for outside in ["..\\a.png", "sub\\..\\..\\a.png", "C:\\pictures\\a.png", "\\a.png"] {
        let (_, text) = error(&[picture, ("metadata.csv", &format!("file_name,text\n{outside},a dog\n"))], None);
        assert_has(&text, &["must be a relative path inside the folder"]);
    }
    let (_, text) = error(&[picture, ("metadata.csv", "file_name,text\nsub/A.PNG,a dog\n")], None);
    assert_has(&text, &["the file `sub/A.PNG` does not exist; there is `sub/a.png`"]);
}

#[cfg(unix)]
#[test]
fn a_backslash_in_a_files_own_name_is_a_part_of_it() {
    let files = [("sub\\a.png", PICTURE), ("metadata.csv", "file_name,text\nsub\\a.png,a dog\n")];
    let pictures = load(folder(&files).path(), None, false).0.unwrap();
    assert_eq!(captions(&pictures), [("sub\\a.png".to_owned(), "a dog")]);
    assert_eq!(pictures[0].name(), "sub\\\\a.png");
}

const COMPOSED: &str = "caf\u{e9}";
const DECOMPOSED: &str = "cafe\u{301}";

#[test]
fn names_match_however_unicode_spells_them() {
    for (file, other) in [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)] {
        let (picture, text) = (format!("{file}.png"), format!("{other}.txt"));
        let side_car = folder(&[(&picture, PICTURE), (&text, "a cup")]);
        assert_eq!(captions(&load(side_car.path(), None, false).0.unwrap()), [(picture.clone(), "a cup")]);
        let rows = format!("file_name,text\n{other}.png,a cup\n");
        let table = folder(&[(&picture, PICTURE), ("metadata.csv", &rows)]);
        assert_eq!(captions(&load(table.path(), None, false).0.unwrap()), [(picture.clone(), "a cup")]);
    }
}

#[test]
fn two_spellings_of_one_name_are_an_error() {
    let rows = format!("file_name,text\n{COMPOSED}.png,a cup\n{DECOMPOSED}.png,a glass\n");
    let (_, text) = error(&[(&format!("{COMPOSED}.png"), PICTURE), ("metadata.csv", &rows)], None);
    assert_has(&text, &["line 3: `cafe\u{301}.png` already has a row in line 2"]);
    let both = [COMPOSED, DECOMPOSED].map(|name| format!("{name}.png"));
    let folder = folder(&[(&both[0], PICTURE), (&both[1], PICTURE)]);
    // A file system may make one of the two.
    if fs_err::read_dir(folder.path()).unwrap().count() == 2 {
        let text = load(folder.path(), Some("a cup"), true).0.unwrap_err().to_string();
        assert_has(&text, &["is there twice", "in 10 and in 9 bytes"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_stay_apart() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder(&[]);
    for (name, source) in [(b"\xE8.png", "formats/rgb.png"), (b"\xE9.png", "formats/grey.png")] {
        fs_err::copy(fixture(source), folder.path().join(std::ffi::OsStr::from_bytes(name))).unwrap();
        fs_err::write(folder.path().join(std::ffi::OsStr::from_bytes(&[name[0], b'.', b't', b'x', b't'])), source)
            .unwrap();
    }
    let pictures = load(folder.path(), None, false).0.unwrap();
    let names: Vec<_> = pictures.iter().map(Picture::name).collect();
    assert_eq!(names, ["\\xe8.png", "\\xe9.png"]);
    assert_eq!([&*pictures[0].caption, &*pictures[1].caption], ["formats/rgb.png", "formats/grey.png"]);
}

#[cfg(unix)]
#[test]
fn pipes_sockets_and_devices_are_named_and_never_opened() {
    let pipe = |folder: &TempDir, name: &str| {
        let made = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap();
        assert!(made.success());
    };
    let pictures = folder(&[("a.png", PICTURE)]);
    pipe(&pictures, "b.png");
    let _socket = std::os::unix::net::UnixListener::bind(pictures.path().join("c.png")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", pictures.path().join("d.png")).unwrap();
    let text = load(pictures.path(), Some("a dog"), false).0.unwrap_err().to_string();
    assert_has(&text, &["3 problems", "`b.png` is a named pipe", "`c.png` is a socket", "`d.png` is a device"]);
    let (left, warnings) = load(pictures.path(), Some("a dog"), true);
    assert_eq!(left.unwrap().len(), 1);
    assert_has(&warnings.concat(), &["left out: `b.png` is a named pipe, which is not opened"]);

    let side_car = folder(&[("a.png", PICTURE)]);
    pipe(&side_car, "a.txt");
    let text = load(side_car.path(), None, true).0.unwrap_err().to_string();
    assert_has(&text, &["a problem", "`a.txt` is a named pipe"]);

    let table = folder(&[("a.png", PICTURE)]);
    pipe(&table, "metadata.csv");
    let text = load(table.path(), None, true).0.unwrap_err().to_string();
    assert_has(&text, &["a problem", "`metadata.csv` is a named pipe"]);

    assert_has(&load_image(&pictures.path().join("b.png")).unwrap_err().to_string(), &["is a named pipe"]);
}

#[test]
fn what_other_programs_leave_is_passed_over_with_a_note() {
    let folder = folder(&[
        ("a.png", PICTURE),
        ("a.npz", "x"),
        ("a_0512x0512_sd.npz", "x"),
        ("a_sd15.safetensors", "x"),
        ("a.pt", "x"),
        ("@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "x"),
        ("#recycle/b.png", "x"),
        ("._a.png", "x"),
        (".DS_Store", "x"),
        ("Thumbs.db", "x"),
    ]);
    let (pictures, warnings) = load(folder.path(), Some("a dog"), false);
    assert_eq!(captions(&pictures.unwrap()), [("a.png".to_owned(), "a dog")]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_has(&warnings[0], &["left by other programs", "`#recycle`, `@eaDir`, `a.npz`", "and 1 more"]);
}

/// Makes a run's folder as `tunelab run` does before it looks at the pictures.
fn begin_run(results: &Path, name: &str) {
    assert!(matches!(RunDir::open(results, name, "plan = true\n", false).unwrap(), Opened::Fresh(_)));
}

#[test]
fn our_own_results_are_passed_over_wherever_they_lie() {
    let below = folder(&[("a.png", PICTURE)]);
    begin_run(&below.path().join("results"), "mine");
    begin_run(&below.path().join("other results"), "mine");
    let (pictures, warnings) = load(below.path(), Some("a dog"), false);
    assert_eq!(captions(&pictures.unwrap()), [("a.png".to_owned(), "a dog")]);
    assert_eq!(warnings.len(), 1);
    assert_has(&warnings[0], &["results of tunelab: `other results`, `results`"]);

    // `--results .` in the folder itself, and with a table, for which folders are entered.
    let table = "{\"file_name\": \"a.png\", \"text\": \"a dog\"}";
    let itself = folder(&[("a.png", PICTURE), ("table.csv", "x"), ("loss.png", PICTURE), ("metadata.jsonl", table)]);
    begin_run(itself.path(), "mine");
    fs_err::create_dir(itself.path().join("mine/samples")).unwrap();
    fs_err::copy(fixture("formats/rgb.png"), itself.path().join("mine/samples/0.png")).unwrap();
    let (pictures, warnings) = load(itself.path(), None, false);
    assert_eq!(captions(&pictures.unwrap()), [("a.png".to_owned(), "a dog")]);
    assert_has(&warnings.concat(), &["results of tunelab: `loss.png`, `mine`, `table.csv`"]);
}

#[test]
fn a_persons_folder_is_not_taken_for_results() {
    for file in ["results/a.png", "results/mine/plan.toml", "results/.locks/mine", "results/table.csv"] {
        let (_, text) = error(&[("a.png", PICTURE), (file, PICTURE)], Some("a dog"));
        assert_has(&text, &["`results/` is a folder"]);
    }
    let files = [("loss.png", PICTURE), (".locks/x", "x")];
    assert_eq!(load(folder(&files).path(), Some("a dog"), false).0.unwrap().len(), 1);
}

#[test]
fn kohyas_folders_are_named_with_what_to_do() {
    let files = [("10_corgi dog/a.png", PICTURE), ("2_cat/b.png", PICTURE)];
    let (problem, text) = error(&files, Some("a dog"));
    assert_has(problem.message(), &["2 problems"]);
    assert_has(&text, &["`10_corgi dog/` is a folder as kohya's scripts have them, whose pictures count 10 times"]);
    assert_has(
        &text,
        &["`2_cat/`", "2 times", "hint: make each such folder a source: [[dataset.sources]] with its `path`"],
    );
    assert!(!text.contains("skip_broken"), "{text}");
    let (pictures, warnings) = load(folder(&files).path(), Some("a dog"), true);
    assert_has(&pictures.unwrap_err().to_string(), &["holds no pictures"]);
    assert_has(&warnings.concat(), &["left out: `10_corgi dog/`"]);
    // Other folders are other folders, and a table names what it wants.
    let (_, text) = error(&[files[0], ("more/b.png", PICTURE)], Some("a dog"));
    assert_has(&text, &["`10_corgi dog/` is a folder; pictures in folders are used only where", "`more/` is a folder"]);
    let (_, text) = error(&[("a.png", PICTURE), ("2024_summer/b.png", PICTURE)], Some("a dog"));
    assert_has(&text, &["`2024_summer/` is a folder; pictures in folders are used only where"]);
    let table = ("metadata.csv", "file_name,text\n10_corgi dog/a.png,a dog\n2_cat/b.png,a cat\n");
    assert_eq!(load(folder(&[files[0], files[1], table]).path(), None, false).0.unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn links_to_folders_are_followed_to_what_a_table_names() {
    let elsewhere = folder(&[("a.png", PICTURE), ("not named.png", PICTURE)]);
    let link = |folder: &TempDir, name: &str| {
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join(name)).unwrap();
    };
    let named = folder(&[("metadata.csv", "file_name,text\nlink/a.png,a dog\n")]);
    link(&named, "link");
    let pictures = load(named.path(), None, false).0.unwrap();
    assert_eq!(captions(&pictures), [("link/a.png".to_owned(), "a dog")]);

    let gone = folder(&[("metadata.csv", "file_name,text\nlink/gone.png,a dog\n")]);
    link(&gone, "link");
    link(&gone, "other");
    let text = load(gone.path(), None, false).0.unwrap_err().to_string();
    assert_has(
        &text,
        &["2 problems", "line 2: the file `link/gone.png` does not exist", "`other/` is a link to a folder"],
    );
    assert!(!text.contains("`link/`"), "{text}");
}

#[test]
fn a_table_may_name_what_would_be_passed_over() {
    let table = "file_name,text\n.hidden/a.png,a dog\n@eaDir/b.png,a cat\n";
    let files = [(".hidden/a.png", PICTURE), ("@eaDir/b.png", PICTURE), ("metadata.csv", table)];
    let (pictures, warnings) = load(folder(&files).path(), None, false);
    assert_eq!(pictures.unwrap().len(), 2);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn long_lists_and_texts_are_shortened() {
    let names: Vec<_> = (0..50).map(|i| format!("{i:02}.mp4")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "a film")).chain([("a.png", PICTURE)]).collect();
    let (problem, text) = error(&files, Some("a dog"));
    assert_has(problem.message(), &["50 problems"]);
    assert_has(&text, &["`19.mp4`", "and 30 more"]);
    assert!(!text.contains("`20.mp4`"), "{text}");
    let (_, warnings) = load(folder(&files).path(), Some("a dog"), true);
    assert_eq!(warnings.len(), 21);
    assert_has(&warnings[20], &["left out: 30 more"]);
    let long = format!("file_name,text\n{},a dog\n", "x".repeat(5000));
    let (_, text) = error(&[("metadata.csv", &long), ("a.png", PICTURE)], Some("a dog"));
    assert!(text.len() < 1000, "{text}");
}

#[test]
fn a_file_larger_than_the_memory_is_not_read() {
    // Of holes, so that they take no room.
    let sparse =
        |folder: &TempDir, name: &str| fs_err::File::create(folder.path().join(name)).unwrap().set_len(1 << 40).is_ok();
    for (name, wanted) in [
        ("clip.mp4", "`clip.mp4` is not an image"),
        ("a.txt", "`a.txt` has 1099511627776 bytes; at most 1048576 are read"),
        ("metadata.csv", "`metadata.csv` has 1099511627776 bytes; at most 1073741824 are read"),
    ] {
        let folder = folder(&[("a.png", PICTURE)]);
        if sparse(&folder, name) {
            assert_has(&load(folder.path(), None, false).0.unwrap_err().to_string(), &[wanted]);
        }
    }
}

#[test]
fn captions_that_a_table_puts_aside_are_told() {
    let folder =
        folder(&[("a.png", "@formats/rgb.png"), ("a.txt", "a cat"), ("metadata.csv", "file_name,text\na.png,a dog\n")]);
    let (pictures, warnings) = load(folder.path(), None, false);
    assert_eq!(captions(&pictures.unwrap()), [("a.png".to_owned(), "a dog")]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_has(&warnings[0], &["the captions of `metadata.csv` are used", "1 `.txt` file(s)", "are not used"]);
}
