//! The CLIP tokenizer against transformers.

use serde_json::{Value, json};
use std::path::Path;
use tunelab::error::{Error, Kind};
use tunelab::model::tokenizer::Tokenizer;
use tunelab::pipeline::{Tokenizers, tokenize};
use tunelab::weights::PartName;

const FOLDER: &str = "tests/fixtures/model/tokenizer";

fn clip() -> Tokenizer {
    Tokenizer::from_dir(Path::new(FOLDER)).unwrap()
}

/// A copy of the fixture's folder in which one file is changed (or, with `None`, missing).
fn changed(file: &str, text: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs_err::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    match text {
        Some(text) => fs_err::write(dir.path().join(file), text).unwrap(),
        None => fs_err::remove_file(dir.path().join(file)).unwrap(),
    }
    dir
}

#[test]
fn every_prompt_has_the_ids_of_transformers() {
    let clip = clip();
    let cases: Vec<Value> =
        serde_json::from_str(&fs_err::read_to_string("tests/fixtures/tokenizer_cases.json").unwrap()).unwrap();
    assert!(cases.len() >= 40);
    let mut cut = 0;
    for case in cases {
        let prompt = case["prompt"].as_str().unwrap();
        let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let encoded = clip.encode(prompt).unwrap();
        assert_eq!(encoded.ids, expected, "{prompt:?}");
        cut += usize::from(encoded.cut.is_some());
    }
    assert!(cut >= 3, "only {cut} prompts were cut");
}

/// Folders with trained tokens: each over the miniature's tokenizer, unless it brings a tokenizer.json.
#[test]
fn added_tokens_have_the_ids_of_transformers() {
    let fixture: Value =
        serde_json::from_str(&fs_err::read_to_string("tests/fixtures/added_tokens.json").unwrap()).unwrap();
    let prompts: Vec<String> = serde_json::from_value(fixture["prompts"].clone()).unwrap();
    let folders = fixture["folders"].as_array().unwrap();
    assert!(folders.len() >= 17 && prompts.len() >= 21);
    for folder in folders {
        let (name, files, ids) = (&folder["name"], folder["files"].as_object().unwrap(), &folder["ids"]);
        let dir = tempfile::tempdir().unwrap();
        if !files.contains_key("tokenizer.json") {
            for base in fs_err::read_dir("crates/tunelab-core/assets/mini/tokenizer").unwrap() {
                let path = base.unwrap().path();
                fs_err::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        for (file, content) in files {
            fs_err::write(dir.path().join(file), content.to_string()).unwrap();
        }
        let tokenizer = Tokenizer::from_dir(dir.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let rows: Vec<Vec<u32>> = serde_json::from_value(ids["rows"].clone()).unwrap();
        let (pad, length): (u32, usize) = serde_json::from_value(json!([ids["pad"], ids["length"]])).unwrap();
        for (prompt, mut row) in prompts.iter().zip(rows) {
            row.resize(length, pad);
            assert_eq!(tokenizer.encode(prompt).unwrap().ids, row, "{name}: {prompt:?}");
        }
    }
}

/// transformers' versions do not agree which id is meant, so neither is taken.
#[test]
fn an_added_token_that_does_not_follow_the_vocabulary_is_refused() {
    for (file, text) in [
        ("added_tokens.json", r#"{"<toy>": 49409}"#),
        ("added_tokens.json", r#"{"<toy>": 320}"#),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"50000": {"content": "<toy>"}}}"#),
    ] {
        refused(changed(file, Some(text)).path(), &[file, r#"the added token "<toy>""#, "49408", "hint: "]);
    }
}

#[test]
fn what_does_not_fit_is_returned() {
    let clip = clip();
    let words = |n: usize| vec!["dog"; n].join(" ");
    assert_eq!(clip.encode(&words(75)).unwrap().cut, None);
    assert_eq!(clip.encode(&format!("{}  CAT!", words(75))).unwrap().cut.as_deref(), Some("CAT!"));
    let encoded = clip.encode(&format!("{}, 🐕 in the café ", words(71))).unwrap();
    assert_eq!((encoded.ids.len(), encoded.ids[76]), (77, 49407));
    // 71 dogs, the comma, the picture (one token), "in" and "the" are 75.
    assert_eq!(encoded.cut.as_deref(), Some("café"));
}

/// SD 2.x pads with "!", which is then a special token inside prompts too.
#[test]
fn another_padding_token_is_honoured() {
    let config = r#"{"pad_token": "!", "model_max_length": 10, "bos_token": {"content": "<|startoftext|>", "normalized": true},
        "eos_token": {"content": "<|endoftext|>", "normalized": true}, "unk_token": {"content": "<|endoftext|>", "normalized": true}}"#;
    let dir = changed("tokenizer_config.json", Some(config));
    let map = dir.path().join("special_tokens_map.json");
    let ids = Tokenizer::from_dir(dir.path()).unwrap().encode("a dog").unwrap().ids;
    assert_eq!(ids[3..], [49407; 7], "special_tokens_map.json has the last word");
    fs_err::remove_file(&map).unwrap();
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
    assert_eq!(tokenizer.len(), 10);
    assert_eq!(tokenizer.encode("wow!!! a").unwrap().ids, [49406, 2781, 0, 0, 0, 320, 49407, 0, 0, 0]);
    // Begin and end token are described as normalized here, so they are found in capitals too.
    let ids = tokenizer.encode("A <|STARTOFTEXT|> b <|ENDOFTEXT|>").unwrap().ids;
    assert_eq!(ids, [49406, 320, 49406, 321, 49407, 49407, 0, 0, 0, 0]);
    let dir = changed("tokenizer_config.json", None);
    fs_err::write(dir.path().join("special_tokens_map.json"), r#"{"pad_token": "!"}"#).unwrap();
    let ids = Tokenizer::from_dir(dir.path()).unwrap().encode("a dog").unwrap().ids;
    assert_eq!((ids.len(), &ids[..6]), (77, &[49406, 320, 1929, 49407, 0, 0][..]));
}

/// In SD 1.5's files the end token is named as plain padding last, so it is found only as it is written.
#[test]
fn special_tokens_in_capitals() {
    let ids = clip().encode("A <|STARTOFTEXT|> b <|ENDOFTEXT|>").unwrap().ids;
    assert_eq!(ids[..11], [49406, 320, 49406, 321, 27, 347, 40786, 4160, 91, 285, 49407]);
}

/// A `tokenizer.json` wins over the two other files, and its own padding and truncation are left out.
#[test]
fn the_whole_pipeline_in_one_file_is_preferred() {
    let ids = json!({ "<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "dog</w>": 3, "dog": 4, "d": 5, "o": 6, "g": 7,
        "g</w>": 8, "do": 9, "a": 10 });
    let pipeline = json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0 },
        "padding": { "strategy": { "Fixed": 5 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 6,
                     "pad_type_id": 0, "pad_token": "o" },
        "added_tokens": [], "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "BPE", "vocab": ids, "merges": ["d o", "do g</w>"], "unk_token": "<|endoftext|>",
                   "continuing_subword_prefix": "", "end_of_word_suffix": "</w>" },
    });
    let dir = changed("tokenizer.json", Some(&pipeline.to_string()));
    let encoded = Tokenizer::from_dir(dir.path()).unwrap().encode("a dog a dog a").unwrap();
    assert_eq!(encoded.ids[..8], [0, 2, 3, 2, 3, 2, 1, 1]);
    assert_eq!((encoded.ids.len(), encoded.cut), (77, None));
}

#[track_caller]
fn refused(dir: &Path, words: &[&str]) {
    let error: Error = Tokenizer::from_dir(dir).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

#[test]
fn missing_and_broken_files_are_named() {
    refused(Path::new("tests/fixtures/nowhere"), &["nowhere/vocab.json", "tokenizer.json"]);
    refused(changed("merges.txt", None).path(), &["merges.txt"]);
    refused(changed("vocab.json", Some("{\"a\": ")).path(), &["vocab.json"]);
    refused(changed("vocab.json", Some("{\"a\": 1}")).path(), &["vocab.json", "<|endoftext|>"]);
    refused(changed("merges.txt", Some("#version: 0.2\ni n\nonly\n")).path(), &["merges.txt", "line 3"]);
    refused(changed("merges.txt", Some("notaword notaword\n")).path(), &["do not fit together"]);
    refused(changed("tokenizer.json", Some("{}")).path(), &["tokenizer.json"]);
    refused(changed("tokenizer_config.json", Some("[")).path(), &["tokenizer_config.json"]);
    refused(changed("tokenizer_config.json", Some("{\"model_max_length\": 2}")).path(), &["model_max_length"]);
    for file in ["special_tokens_map.json", "tokenizer_config.json"] {
        let dir = changed(file, Some("{\"pad_token\": \"nosuch\"}"));
        if file == "tokenizer_config.json" {
            fs_err::remove_file(dir.path().join("special_tokens_map.json")).unwrap();
        }
        refused(dir.path(), &["nosuch", "without an id", "hint: "]);
    }
}

#[test]
fn texts_that_are_cut_are_told_shortened_and_not_without_end() {
    let texts: Vec<String> = (0..30).map(|i| format!("{i} {}", "dog ".repeat(500))).collect();
    let mut warnings = Vec::new();
    let all = texts.iter().map(String::as_str).chain(["a dog"]);
    let tokenizers = Tokenizers([(PartName::TextEncoder, clip())].into_iter().collect());
    let ids = tokenize(&tokenizers, all, &mut |text| warnings.push(text)).unwrap();
    assert_eq!((ids.len(), warnings.len()), (31, 21));
    assert!(warnings.iter().all(|warning| warning.len() < 300), "{warnings:?}");
    assert!(warnings[0].contains("“0 dog dog") && warnings[0].contains("…"), "{}", warnings[0]);
    assert!(warnings[20].contains("10 more prompts are too long"), "{}", warnings[20]);
}
