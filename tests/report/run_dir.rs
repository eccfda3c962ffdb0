//! A run's folder: fresh, unfinished, finished, another's.

use super::*;

#[test]
fn a_run_is_fresh_then_unfinished_then_finished() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(&folder.path().join("new/results"));
    let results = folder.path().join("new/results");
    assert_eq!(run.path(), results.join("lora_dog"));
    assert_eq!(fs::read_to_string(run.path().join("plan.toml")).unwrap(), PLAN);
    assert!(matches!(RunDir::open(&results, "lora_dog", PLAN, false).unwrap(), Opened::Unfinished(_)));
    run.finish(&record("lora_dog")).unwrap();
    assert!(matches!(RunDir::open(&results, "lora_dog", PLAN, false).unwrap(), Opened::Finished(_)));
    // Version control may have changed the line ends.
    fs::write(run.path().join("plan.toml"), PLAN.replace('\n', "\r\n")).unwrap();
    assert!(matches!(RunDir::open(&results, "lora_dog", PLAN, false).unwrap(), Opened::Finished(_)));
}

#[test]
fn another_plan_is_never_overwritten_but_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    run.write("weights/lora.safetensors", b"precious").unwrap();
    run.finish(&record("lora_dog")).unwrap();
    fs::write(run.path().join("notes.txt"), "mine").unwrap();

    let error = RunDir::open(folder.path(), "lora_dog", "seed = 8\n", false).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("lora_dog holds the results of another plan"), "{error}");
    assert!(error.to_string().contains("--force") && error.to_string().contains("--results"), "{error}");
    assert_eq!(fs::read(run.path().join("weights/lora.safetensors")).unwrap(), b"precious");
    assert_eq!(fs::read_to_string(run.path().join("plan.toml")).unwrap(), PLAN);

    assert!(matches!(RunDir::open(folder.path(), "lora_dog", "seed = 8\n", true).unwrap(), Opened::Fresh(_)));
    assert_eq!(fs::read_to_string(run.path().join("plan.toml")).unwrap(), "seed = 8\n");
    assert!(!run.path().join("weights").exists() && !run.is_finished());
    assert_eq!(fs::read_to_string(run.path().join("notes.txt")).unwrap(), "mine");
}

#[test]
fn a_folder_that_no_run_wrote_is_left_alone_even_by_force() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("lora_dog/weights")).unwrap();
    for force in [false, true] {
        let error = RunDir::open(folder.path(), "lora_dog", PLAN, force).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains("weights"), "{error}");
    }
    assert!(folder.path().join("lora_dog/weights").is_dir());
}

#[test]
fn starting_over_keeps_the_plan_only() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    drop(LossLog::create(&run).unwrap());
    run.write("samples/base/a-dog/0.png", b"x").unwrap();
    run.start_over().unwrap();
    let left: Vec<_> = fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["plan.toml"]);
}

#[test]
fn a_results_folder_that_cannot_be_written_is_wrong_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = RunDir::open(&file, "lora_dog", PLAN, false).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.message().contains("cannot be written"), "{error}");
    assert!(error.to_string().contains("--results"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_without_writing_is_wrong_input() {
    // The tests may run as root, whom no permission bits stop; /proc takes no folders from anyone.
    let error = RunDir::open(Path::new("/proc/results"), "lora_dog", PLAN, false).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.message().contains("/proc/results cannot be written"), "{error}");
}

#[test]
fn only_the_folder_of_a_run_is_opened_for_reading() {
    let folder = tempfile::tempdir().unwrap();
    assert!(RunDir::existing(folder.path()).unwrap_err().to_string().contains("plan.toml"));
    let run = fresh(folder.path());
    assert_eq!(RunDir::existing(run.path()).unwrap().path(), run.path());
}
