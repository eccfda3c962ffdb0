//! A run's folder: fresh, unfinished, finished, another's.

use super::*;

const HALF_A_SECOND: Timing = Timing {
    seconds: 0.5,
    memory_mib: None,
    peak_mib: None,
    total_seconds: 0.0,
    device_peak_mib: None,
    device_busy_percent: None,
};

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
fn one_process_at_a_time_writes_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let first = RunDir::open(folder.path(), "lora_dog", PLAN, false).unwrap();
    for force in [false, true] {
        let error = RunDir::open(folder.path(), "lora_dog", PLAN, force).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains("lora_dog is being written by another tunelab"), "{error}");
    }
    assert!(RunDir::open(folder.path(), "another", PLAN, false).is_ok(), "another run is free");
    assert!(RunDir::existing(&folder.path().join("lora_dog")).is_ok(), "reading needs no lock");
    drop(first);
    assert!(matches!(RunDir::open(folder.path(), "lora_dog", PLAN, false).unwrap(), Opened::Unfinished(_)));
}

#[test]
fn a_damaged_record_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    run.write("run.json", b"{}\n").unwrap();
    let error = run.record().unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("run.json cannot be read") && error.to_string().contains("--force"), "{error}");
}

#[test]
fn another_plan_is_never_overwritten_but_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    run.write("weights/lora.safetensors", b"precious").unwrap();
    run.finish(&record("lora_dog")).unwrap();
    fs::write(run.path().join("notes.txt"), "mine").unwrap();
    // What the plan's two prompts drew, and what a person put beside it.
    let drawn = ["base/a-dog/0.png", "tuned/a-cat/0.png"].map(|name| run.path().join("samples").join(name));
    let own = ["notes.txt", "tuned/best.png", "tuned/a-cat/1.png", "tuned/a-cat/00.png", "mine/0.png"]
        .map(|name| run.path().join("samples").join(name));
    for file in drawn.iter().chain(&own) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }

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
    assert!(drawn.iter().all(|file| !file.exists()) && own.iter().all(|file| file.exists()));
    assert!(!run.path().join("samples/base").exists(), "an empty folder stays");
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
fn logs_go_on_after_a_step_without_the_rows_behind_it_or_half_rows() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    let row = |step| LossRow { step, epoch: 1, loss: 0.5, lr: 1e-4, grad_norm: 0.25, parts: None };
    let mut log = LossLog::create(&run, false).unwrap();
    log.evaluation(0, 2.0).unwrap();
    for step in 1..=12 {
        log.step(&row(step), &HALF_A_SECOND).unwrap();
    }
    log.evaluation(12, 1.0).unwrap();
    drop(log);
    let loss = run.path().join("loss.csv");
    fs::write(&loss, format!("{}13,1,0.", fs::read_to_string(&loss).unwrap())).unwrap();

    let mut log = LossLog::resume(&run, 10, false).unwrap();
    log.step(&LossRow { loss: 0.75, ..row(11) }, &HALF_A_SECOND).unwrap();
    let text = fs::read_to_string(&loss).unwrap();
    assert_eq!(text.lines().count(), 12);
    assert!(text.ends_with("10,1,0.5,0.0001,0.25\n11,1,0.75,0.0001,0.25\n"), "{text}");
    assert_eq!(fs::read_to_string(run.path().join("eval.csv")).unwrap(), "step,eval_loss\n0,2\n");
    let end = TrainingSummary::read(&run).unwrap();
    assert_eq!((end.steps, end.epochs, end.loss.last, end.loss.eval_last), (11, 1, Some(0.75), Some(2.0)));
    assert!((end.training_seconds - 5.5).abs() < 1e-9 && (end.seconds_per_step - 0.5).abs() < 1e-9);
}

#[test]
fn what_is_known_of_the_time_and_memory_of_all_processes_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    assert_eq!(ElapsedSoFar::read(&run), ElapsedSoFar::default());
    let row = |step| LossRow { step, epoch: 1, loss: 0.5, lr: 1e-4, grad_norm: 0.25, parts: None };
    let mut log = LossLog::create(&run, false).unwrap();
    let took = |total_seconds, peak| Timing {
        seconds: 2.0,
        memory_mib: Some(10.0),
        peak_mib: peak,
        total_seconds,
        device_peak_mib: None,
        device_busy_percent: None,
    };
    log.step(&row(1), &took(5.0, Some(30.0))).unwrap();
    log.step(&row(2), &took(8.5, None)).unwrap();
    assert_eq!(
        ElapsedSoFar::read(&run),
        ElapsedSoFar { seconds: 8.5, sampling: 0.0, measuring: 0.0, peak_mib: Some(30.0), device_peak_mib: None }
    );
    assert_eq!(ElapsedSoFar::read(&run).peak_with(Some(31.0)), Some(31.0));

    // Cut in the middle of a row, damaged, of an earlier version, short, and gone: what is there
    // counts.
    let timing = run.path().join("timing.csv");
    let text = fs::read_to_string(&timing).unwrap();
    for (text, seconds, rows) in [
        (format!("{text}3,2.0,10"), 8.5, 2),
        (text.replace("\n1,", "\nx,"), 8.5, 1),
        ("step,seconds,memory_mib\n1,0.25,\n2,0.25,7.5\n".to_owned(), 0.5, 2),
        (text.split_inclusive('\n').take(2).collect(), 5.0, 1),
        ("\0\0\0".to_owned(), 0.0, 0),
    ] {
        fs::write(&timing, &text).unwrap();
        assert!((ElapsedSoFar::read(&run).seconds - seconds).abs() < 1e-9, "{text}");
        drop(LossLog::resume(&run, 2, false).unwrap());
        let kept = fs::read_to_string(&timing).unwrap();
        assert!(
            kept.starts_with("step,seconds,memory_mib,peak_mib,total_seconds,device_peak_mib,device_busy_percent\n"),
            "{kept}"
        );
        assert_eq!(kept.lines().count(), 1 + rows, "{text} became {kept}");
    }
    fs::remove_file(&timing).unwrap();
    LossLog::resume(&run, 2, false).unwrap().step(&row(3), &took(9.0, None)).unwrap();
    let end = TrainingSummary::read(&run).unwrap();
    assert_eq!(end.steps, 3);
    assert!((end.training_seconds - 2.0).abs() < 1e-9 && (end.seconds_per_step - 2.0).abs() < 1e-9, "{end:?}");

    run.finish(&record("lora_dog")).unwrap();
    assert_eq!(
        ElapsedSoFar::read(&run),
        ElapsedSoFar {
            seconds: 3725.4,
            sampling: 100.0,
            measuring: 0.0,
            peak_mib: Some(9216.0),
            device_peak_mib: None
        }
    );
}

#[test]
fn how_busy_a_gpu_was_counts_by_the_steps_length_where_it_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    drop(LossLog::create(&run, false).unwrap());
    // As versions before this one wrote it.
    let old = "step,seconds,memory_mib,peak_mib,total_seconds,device_peak_mib\n1,4.000000,,,4.000000,512.5\n";
    fs::write(run.path().join("timing.csv"), old).unwrap();
    fs::write(run.path().join("loss.csv"), "step,epoch,loss,lr,grad_norm\n1,1,0.5,0.0001,0.25\n").unwrap();
    assert_eq!(TrainingSummary::read(&run).unwrap().device_busy_percent, None);
    let mut log = LossLog::resume(&run, 1, false).unwrap();
    for (step, seconds, percent) in [(2, 1.0, 40.0), (3, 3.0, 80.0)] {
        let row = LossRow { step, epoch: 1, loss: 0.5, lr: 1e-4, grad_norm: 0.25, parts: None };
        log.step(&row, &Timing { seconds, device_busy_percent: Some(percent), ..HALF_A_SECOND }).unwrap();
    }
    let timing = fs::read_to_string(run.path().join("timing.csv")).unwrap();
    assert!(timing.contains("\n1,4.000000,,,4.000000,512.5,\n2,1.000000,,,0.000000,,40.0\n3,"), "{timing}");
    assert_eq!(TrainingSummary::read(&run).unwrap().device_busy_percent, Some(70.0));
    assert_eq!(ElapsedSoFar::read(&run).device_peak_mib, Some(512.5));
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
