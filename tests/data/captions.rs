//! Captions as people have them: from names, lines, JSON and kohya's metadata, with the rules of `[dataset.captions]`.

use tempfile::TempDir;
use tunelab::config::{CaptionFrom, CaptionLines, CaptionRules, Selection};
use tunelab::data::{Picture, load_captioned};
use tunelab::random::Generator;

use super::dataset::{assert_has, folder};

const PICTURE: &str = "@formats/rgb.png";

fn load(folder: &TempDir, rules: &CaptionRules) -> (tunelab::error::Result<Vec<Picture>>, String) {
    let mut warnings = Vec::new();
    let pictures = load_captioned(folder.path(), &Selection::default(), (None, rules), false, &mut |warning| {
        warnings.push(warning);
    });
    (pictures, warnings.join("\n"))
}

/// The captions of the files beside one picture.
fn of(files: &[(&str, &str)], rules: &CaptionRules) -> Vec<String> {
    let (pictures, warnings) = load(&folder(&[&[("a.png", PICTURE)], files].concat()), rules);
    assert_eq!(warnings, "");
    pictures.unwrap()[0].wordings.all()
}

fn error(files: &[(&str, &str)], rules: &CaptionRules) -> String {
    let (pictures, _) = load(&folder(&[&[("a.png", PICTURE)], files].concat()), rules);
    let error = pictures.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

fn from(from: CaptionFrom) -> CaptionRules {
    CaptionRules { from, ..CaptionRules::default() }
}

fn lines(lines: CaptionLines) -> CaptionRules {
    CaptionRules { lines, ..CaptionRules::default() }
}

#[test]
fn lines_are_one_caption_the_first_or_a_caption_each() {
    let text = "\u{feff}\r\n a corgi 🐕 \r\n\r\nthe  dog\r\n";
    for name in ["a.txt", "a.caption"] {
        let file = [(name, text)];
        assert_eq!(of(&file, &lines(CaptionLines::Join)), ["a corgi 🐕 the dog"]);
        assert_eq!(of(&file, &lines(CaptionLines::First)), ["a corgi 🐕"]);
        assert_eq!(of(&file, &lines(CaptionLines::Each)), ["a corgi 🐕", "the dog"]);
        for rule in [CaptionLines::Join, CaptionLines::First, CaptionLines::Each] {
            assert_has(
                &error(&[(name, "\u{feff} \r\n\r\n")], &lines(rule)),
                &[&format!("`{name}` is an empty caption")],
            );
        }
    }
}

#[test]
fn utf16_is_refused_by_name_in_json_too() {
    let utf16: Vec<u8> = "{\"caption\": \"a dog\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, rules) in [("a.json", from(CaptionFrom::Any)), ("metadata.json", from(CaptionFrom::Any))] {
        let folder = folder(&[("a.png", PICTURE)]);
        fs_err::write(folder.path().join(name), &utf16).unwrap();
        let text = load(&folder, &rules).0.unwrap_err().to_string();
        assert_has(&text, &[&format!("`{name}` is UTF-16 text; save it as UTF-8")]);
    }
}

#[test]
fn a_pictures_name_is_its_caption() {
    let rules = from(CaptionFrom::FileName);
    let names = [("a_red  dog_🐕.v2.png", PICTURE), ("b.png", PICTURE), ("b.txt", "not this")];
    let (pictures, warnings) = load(&folder(&names), &rules);
    let captions: Vec<_> = pictures.unwrap().iter().map(|picture| picture.caption.clone()).collect();
    assert_eq!(captions, ["a red dog 🐕.v2", "b"]);
    assert_has(&warnings, &["the file names are the captions", "1 `.txt` file(s)", "not used"]);
    let text = load(&folder(&[("__.png", PICTURE)]), &rules).0.unwrap_err().to_string();
    assert_has(&text, &["`__.png`: nothing is in this name"]);
}

#[test]
fn what_is_named_alone_is_read() {
    let files = [("a.txt", "one"), ("a.caption", "two"), ("a.json", "{\"caption\": \"three\"}")];
    let table = ("metadata.jsonl", "{\"file_name\": \"a.png\", \"text\": \"four\"}");
    for (rule, wanted, unused) in [
        (CaptionFrom::Txt, "one", "2 `.caption` and `.json` file(s)"),
        (CaptionFrom::Caption, "two", "2 `.txt` and `.json` file(s)"),
        (CaptionFrom::Json, "three", "2 `.txt` and `.caption` file(s)"),
    ] {
        let (pictures, warnings) = load(&folder(&[&[("a.png", PICTURE)][..], &files].concat()), &from(rule));
        assert_eq!(pictures.unwrap()[0].caption, wanted);
        assert_has(&warnings, &["are used; the captions of", unused]);
    }
    let with_table = [&[("a.png", PICTURE)][..], &files, &[table]].concat();
    let (pictures, warnings) = load(&folder(&with_table), &from(CaptionFrom::Txt));
    assert_eq!(pictures.unwrap()[0].caption, "one");
    assert_has(&warnings, &["the captions of `metadata.jsonl` in", "not used"]);
    let (pictures, _) = load(&folder(&with_table), &from(CaptionFrom::Metadata));
    assert_eq!(pictures.unwrap()[0].caption, "four");
    let text = error(&files, &from(CaptionFrom::Metadata));
    assert_has(&text, &["has none of `metadata.jsonl`, `metadata.csv`, `metadata.json`", "another `from`"]);
    assert_has(&error(&[("a.txt", "one")], &from(CaptionFrom::Caption)), &["`a.png` has no caption"]);
}

#[test]
fn json_beside_a_picture_counts_where_no_other_caption_does() {
    let rules = CaptionRules::default();
    let one = |json: &str| of(&[("a.json", json)], &rules);
    assert_eq!(one("\u{feff}{\"caption\": \" a dog \", \"size\": 3}"), ["a dog"]);
    assert_eq!(one("{\"text\": [\"a dog\", \"\", \"a\\ncorgi\"]}"), ["a dog", "a corgi"]);
    assert_eq!(one("{\"caption\": \"a dog\", \"tags\": [\"grass\", \"sun\"]}"), ["a dog, grass, sun"]);
    assert_eq!(one("{\"caption\": null, \"tags\": \"grass, sun\"}"), ["grass, sun"]);
    assert_eq!(of(&[("a.json", "{\"caption\": \"a cat\"}"), ("a.txt", "a dog")], &rules), ["a dog"]);
    let text = |json: &str| error(&[("a.json", json)], &rules);
    assert_has(&text("{\"prompt\": \"x\"}"), &["`a.json` has neither `caption`, `text` nor `tags`; found: `prompt`"]);
    assert_has(&text("{\"caption\": 3}"), &["`caption` must be a text or a list of texts"]);
    assert_has(&text("[]"), &["`a.json` is not a JSON object"]);
    assert_has(&text("{"), &["`a.json` is not JSON"]);
    assert_has(&text("{\"caption\": \"\"}"), &["`a.json` is an empty caption"]);
}

#[test]
fn kohyas_metadata_names_pictures_in_its_own_ways() {
    let table = r#"{
        "/home/me/train/a.png": { "caption": "a dog", "tags": "grass, sun", "train_resolution": [64, 64] },
        "C:\\train\\b": { "tags": "cat" },
        "sub/c.png": { "caption": "a bird" }
    }"#;
    let files = [("a.png", PICTURE), ("b.PNG", PICTURE), ("sub/c.png", PICTURE), ("metadata.json", table)];
    let (pictures, warnings) = load(&folder(&files), &CaptionRules::default());
    let captions: Vec<_> = pictures.unwrap().iter().map(|picture| picture.caption.clone()).collect();
    assert_eq!(captions, ["a dog, grass, sun", "cat", "a bird"]);
    assert_eq!(warnings, "");
    let text = |table: &str| error(&[("metadata.json", table)], &CaptionRules::default());
    assert_has(&text("{\"a.png\": {\"caption\": \"\"}}"), &["`metadata.json` entry 1: `a.png` has an empty caption"]);
    assert_has(&text("{\"a.png\": {\"x\": 1}}"), &["entry 1: `a.png` has neither `caption`"]);
    assert_has(
        &text("{\"a.png\": {\"caption\": \"x\"}, \"z\": {\"caption\": \"x\"}}"),
        &["entry 2: the file `z` does not exist"],
    );
    assert_has(&text("[1]"), &["is not a JSON object of pictures"]);
}

#[test]
fn a_tables_list_is_several_captions_of_which_one_is_drawn() {
    let table = "{\"file_name\": \"a.png\", \"text\": [\"a dog\", \" a corgi \", \"🐕\"]}\n";
    let (pictures, _) = load(&folder(&[("a.png", PICTURE), ("metadata.jsonl", table)]), &CaptionRules::default());
    let wordings = pictures.unwrap()[0].wordings.clone();
    assert_eq!(wordings.all(), ["a dog", "a corgi", "🐕"]);
    assert_eq!(wordings.first(), "a dog");
    let drawn: std::collections::BTreeSet<_> =
        (0..30).map(|i| wordings.draw(|| Generator::stream(1, "caption of 0", i))).collect();
    assert_eq!(drawn.len(), 3);
    let text = |row: &str| error(&[("metadata.jsonl", row)], &CaptionRules::default());
    assert_has(&text("{\"file_name\": \"a.png\", \"text\": []}"), &["line 1: `a.png` has an empty caption"]);
    assert_has(&text("{\"file_name\": \"a.png\", \"text\": [3]}"), &["`text` must be a text or a list of texts"]);
    assert_has(&text("{\"file_name\": [\"a.png\"], \"text\": \"x\"}"), &["`file_name` must be a string"]);
}

#[test]
fn a_trigger_that_nothing_asks_for_is_told() {
    let of = |text: &str, trigger: Option<&str>| {
        let rules =
            CaptionRules { trigger: trigger.map(str::to_owned), prefix: "photo,".into(), ..CaptionRules::default() };
        let (pictures, warnings) = load(&folder(&[("a.png", PICTURE), ("a.txt", text)]), &rules);
        (pictures.unwrap()[0].caption.clone(), warnings)
    };
    assert_eq!(of("[trigger] on grass", Some("ohwx dog")), ("photo, ohwx dog on grass".to_owned(), String::new()));
    let (caption, warning) = of("a dog", Some("ohwx"));
    assert_eq!(caption, "photo, a dog");
    assert_has(&warning, &["no caption has `[trigger]`, so “ohwx” comes nowhere"]);
    let (caption, warning) = of("[trigger] on grass", None);
    assert_eq!(caption, "photo, [trigger] on grass");
    assert_has(&warning, &["1 picture(s) have `[trigger]`, which stays as it is"]);
}

#[test]
fn of_500_tags_every_drawing_is_the_same_for_the_same_step() {
    let tags: Vec<String> = (0..500).map(|i| format!("tag {i}")).collect();
    let rules = CaptionRules { shuffle_tags: true, keep_tags: 3, tag_dropout: 0.5, ..CaptionRules::default() };
    let (pictures, _) = load(&folder(&[("a.png", PICTURE), ("a.txt", &tags.join(", "))]), &rules);
    let wordings = pictures.unwrap()[0].wordings.clone();
    let draw = |step: u64| wordings.draw(|| Generator::stream(4, "caption of 0", step));
    assert_eq!(draw(8), draw(8));
    assert_ne!(draw(8), draw(9));
    assert!(draw(8).starts_with("tag 0, tag 1, tag 2, "));
    let count = draw(8).split(", ").count();
    assert!((200..310).contains(&count), "{count}");
}
