//! Files that are whole or not there, logs that grow, images that say what made them.

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    write_atomic(&path, b"old").unwrap();
    let failed = write_with(&path, |temporary| {
        fs::write(temporary, b"half of the new").unwrap();
        Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into())
    });
    let error = failed.unwrap_err();
    assert!(error.message().contains("a.bin") && error.to_string().contains("disk is full"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["a.bin"]);
}

#[test]
fn the_name_appears_only_when_the_file_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/a.bin");
    let written = write_with(&path, |temporary| {
        fs::write(temporary, b"new")?;
        assert!(!path.exists());
        assert_eq!(temporary.parent(), path.parent());
        Ok(())
    });
    written.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(path.parent().unwrap()), ["a.bin"]);
}

#[test]
fn a_full_disk_stops_a_log_and_names_it() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    #[cfg(unix)]
    {
        let folder = tempfile::tempdir().unwrap();
        let run = fresh(folder.path());
        std::os::unix::fs::symlink("/dev/full", run.path().join("loss.csv")).unwrap();
        let error = LossLog::create(&run, false).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.message().contains("loss.csv"), "{error}");
        assert!(error.to_string().contains("disk is full"), "{error}");
    }
}

#[test]
fn log_rows_are_there_at_once_and_read_back_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    let mut log = LossLog::create(&run, false).unwrap();
    log.evaluation(0, 0.1 + 0.2).unwrap();
    let losses = [0.123_456_79_f32, 1e-7, 3.4e38, f32::MIN_POSITIVE, 0.1];
    for (index, &loss) in losses.iter().enumerate() {
        let row = LossRow { step: index + 1, epoch: 2, loss, lr: 1e-4 / 3.0, grad_norm: loss * 3.0, parts: None };
        let memory_mib = (index > 0).then_some(1234.56);
        log.step(
            &row,
            &Timing { seconds: 0.25, memory_mib, peak_mib: memory_mib, total_seconds: 7.0, ..Timing::default() },
        )
        .unwrap();
    }
    // The log is still open: a run that dies now has left these rows.
    let text = fs::read_to_string(run.path().join("loss.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("step,epoch,loss,lr,grad_norm"));
    for (index, &loss) in losses.iter().enumerate() {
        let cells: Vec<&str> = lines.next().unwrap().split(',').collect();
        assert_eq!(cells[..2], [(index + 1).to_string(), "2".to_string()]);
        assert_eq!(cells[2].parse::<f32>().unwrap().to_bits(), loss.to_bits());
        assert_eq!(cells[3].parse::<f64>().unwrap().to_bits(), (1e-4_f64 / 3.0).to_bits());
        assert_eq!(cells[4].parse::<f32>().unwrap().to_bits(), (loss * 3.0).to_bits());
    }
    let timing = fs::read_to_string(run.path().join("timing.csv")).unwrap();
    let header = "step,seconds,memory_mib,peak_mib,total_seconds,device_peak_mib,device_busy_percent";
    let begin = format!("{header}\n1,0.250000,,,7.000000,,\n2,0.250000,1234.6,1234.6,7.000000,,\n");
    assert!(timing.starts_with(&begin), "{timing}");
    assert_eq!(
        fs::read_to_string(run.path().join("eval.csv")).unwrap(),
        "step,eval_loss\n0,0.3\n".replace("0.3", &(0.1_f32 + 0.2).to_string())
    );
}

#[test]
fn a_sample_says_what_made_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    let shot = |prompt: &str| ImageMetadata {
        prompt: prompt.to_string(),
        params: SampleParams {
            force_zeros_for_empty_prompt: true,
            negative_prompt: "blurry".to_string(),
            steps: 30,
            sampler: Sampler::Dpmpp2m,
            karras: false,
            guidance_scale: 7.5,
            seed: 42,
            width: 24,
            height: 16,
        },
        stand_in: None,
    };
    let image = image(24, 16, 9);
    for prompt in ["a dog", "ein süßer Hund", "一只狗 🐕\0"] {
        run.write_sample(SampleSet::Final, 3, &image, &shot(prompt)).unwrap();
        let path = run.path().join("samples/tuned").join(slug(prompt)).join("3.png");
        let expected = format!(
            "{}\nNegative prompt: blurry\nSteps: 30, Sampler: dpmpp_2m, CFG scale: 7.5, Seed: 42, Size: 24x16",
            prompt.trim_end_matches('\0')
        );
        assert_eq!(read_text(&path).unwrap(), [("parameters".to_string(), expected)]);
        assert_eq!(tunelab::data::load_image(&path).unwrap(), image);
    }
    let bytes = fs::read(run.sample_path(SampleSet::Final, "a dog", 3)).unwrap();
    assert!(bytes.windows(4).any(|w| w == b"tEXt") && !bytes.windows(4).any(|w| w == b"iTXt"));
}
