//! Folders named after prompts and experiments.

use super::*;

#[test]
fn plain_prompts_stay_readable() {
    assert_eq!(slug("a dog"), "a-dog");
    assert_eq!(slug("a photo of sks dog 2"), "a-photo-of-sks-dog-2");
}

#[test]
fn no_two_prompts_share_a_slug() {
    let long = "very ".repeat(40);
    let prompts = [
        "a dog", "A dog", "a-dog", "a  dog", " a dog", "a dog ", "a/dog", "a\\dog", "a_dog", "a.dog", "ä dog",
        "a dog!", "", " ", "🐕", "🐈", "狗", "猫", "con", "CON", "nul", "com1", "lpt9", "prompt", "..", ".",
        "../a dog", "a\0dog", "a\ndog", "long",
    ];
    let mut slugs: Vec<String> = prompts.iter().map(|prompt| slug(prompt)).collect();
    slugs.extend([slug(&long), slug(&format!("{long}dog")), slug(&format!("{long}cat"))]);
    // A prompt that is itself the slug of another.
    slugs.extend([slug(&slug("A dog")), slug(&slug("A dog").replace('_', " "))]);
    let count = slugs.len();
    slugs.sort();
    slugs.dedup();
    assert_eq!(slugs.len(), count, "{slugs:#?}");
}

#[test]
fn every_slug_is_one_safe_path_component() {
    let wild =
        ["", ".", "..", "/etc/passwd", "a\\b:c*d?e\"f<g>h|i", "🐕🐕", "con", "aux", "com7", "a. ", &"x".repeat(5000)];
    for prompt in wild {
        let slug = slug(prompt);
        assert!((1..=80).contains(&slug.len()), "{slug}");
        assert!(slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'), "{slug}");
        assert!(!["con", "aux", "com7"].contains(&slug.as_str()));
    }
}

#[test]
fn run_names_never_leave_the_results_folder() {
    assert_eq!(run_folder("lora_dog-v1.5"), "lora_dog-v1.5");
    assert_eq!(run_folder("实验1"), "实验1");
    let wild = [
        "..",
        ".",
        "",
        "../../etc",
        "/tmp/x",
        "a/b",
        "a\\b",
        "C:",
        "con",
        "nul.txt",
        ".git",
        "table.csv",
        "index.html",
        "a.",
        "-rf",
    ];
    let mut folders: Vec<String> = wild.iter().map(|name| run_folder(name)).collect();
    for folder in &folders {
        assert_eq!(Path::new(folder).components().count(), 1, "{folder}");
        assert!(
            !folder.contains(['/', '\\', ':']) && !folder.starts_with(['.', '-']) && !folder.ends_with('.'),
            "{folder}"
        );
    }
    folders.sort();
    folders.dedup();
    assert_eq!(folders.len(), wild.len());
}

/// A run's `weights/` is a LoRA's folder for others: only one file in it may have a name that they
/// look for.
#[test]
fn a_runs_own_file_never_has_the_name_that_other_programs_look_for() {
    use tunelab::results::weights_name;
    assert_eq!(weights_name("mine"), "mine.safetensors");
    for taken in ["pytorch_lora_weights", "adapter_model"] {
        assert_eq!(weights_name(taken), format!("{taken}_kohya.safetensors"));
    }
    assert!(!weights_name("nul").starts_with("nul."));
}
