//! The results tree and what is drawn from it: names, whole-or-nothing writes, logs, records, curve, grid, table.

use std::path::Path;

use fs_err as fs;
use tunelab::data::Rgb;
use tunelab::error::Kind;
use tunelab::report::grid::{Heading, Row};
use tunelab::report::losses::{Losses, thin};
use tunelab::report::{curve, grid, table, text};
use tunelab::results::{
    Counts, Gpu, Hashes, Loss, LossLog, LossRow, Machine, Model, Opened, PeakMemory, RunDir, RunRecord, Seconds, Shot,
    Status, Versions, read_text, run_folder, slug, write_atomic, write_png, write_with,
};

const PLAN: &str = "seed = 7\n\n[eval]\nprompts = [\"a dog\", \"a cat\"]\n";

fn fresh(results: &Path) -> RunDir {
    match RunDir::open(results, "lora_dog", PLAN, false).unwrap() {
        Opened::Fresh(run) => run,
        other => panic!("{other:?}"),
    }
}

fn record(name: &str) -> RunRecord {
    RunRecord {
        status: Status::Finished,
        name: name.to_string(),
        method: "lora".to_string(),
        device: "cpu".to_string(),
        dtype: "f32".to_string(),
        counts: Counts {
            trained_parameters: 797_184,
            total_parameters: 1_066_235_307,
            images: 5,
            steps: 500,
            epochs: 100,
        },
        loss: Loss { last: Some(0.125_372), eval_first: Some(0.151), eval_last: Some(0.1302) },
        seconds: Seconds { total: 3725.4, training: 3600.0, sampling: 100.0, per_step: 7.2 },
        peak_memory: PeakMemory { host_mib: Some(9_216.0), device_mib: None },
        versions: Versions::of_this_build(),
        machine: Machine {
            os: "Debian GNU/Linux 12".to_string(),
            kernel: Some("6.1.0".to_string()),
            arch: "x86_64".to_string(),
            cpu: Some("A processor".to_string()),
            cpu_features: vec!["avx2".to_string(), "fma".to_string()],
            cores: 2,
            memory_mib: Some(24_576.5),
            gpus: vec![Gpu {
                name: "A card".into(),
                driver: Some("550.1".into()),
                cuda: None,
                memory_mib: Some(81_559.0),
            }],
        },
        hashes: Hashes::default(),
    }
}

/// A picture whose every pixel differs from its neighbours', without white or grey.
fn picture(width: usize, height: usize, tint: u8) -> Rgb {
    let pixel = |i: usize| [(i % width) as u8, (i / width) as u8, tint];
    Rgb { width, height, pixels: (0..width * height).flat_map(pixel).collect() }
}

fn pixel(of: &Rgb, x: usize, y: usize) -> [u8; 3] {
    let at = 3 * (y * of.width + x);
    [of.pixels[at], of.pixels[at + 1], of.pixels[at + 2]]
}

/// Where `part` lies in `whole`, pixel for pixel.
fn find(whole: &Rgb, part: &Rgb) -> Option<(usize, usize)> {
    let row = |of: &Rgb, x: usize, y: usize, width: usize| {
        let at = 3 * (y * of.width + x);
        of.pixels[at..at + 3 * width].to_vec()
    };
    let matches = |x: usize, y: usize| {
        (0..part.height).all(|dy| row(whole, x, y + dy, part.width) == row(part, 0, dy, part.width))
    };
    let corners = (0..=whole.height - part.height).flat_map(|y| (0..=whole.width - part.width).map(move |x| (x, y)));
    corners.into_iter().find(|&(x, y)| pixel(whole, x, y) == pixel(part, 0, 0) && matches(x, y))
}

fn dark_pixels(of: &Rgb, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> usize {
    let dark = |x, y| pixel(of, x, y).iter().all(|&value| value < 110);
    y.map(|y| x.clone().filter(|&x| dark(x, y)).count()).sum()
}

mod names {
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
        let wild = [
            "",
            ".",
            "..",
            "/etc/passwd",
            "a\\b:c*d?e\"f<g>h|i",
            "🐕🐕",
            "con",
            "aux",
            "com7",
            "a. ",
            &"x".repeat(5000),
        ];
        for prompt in wild {
            let slug = slug(prompt);
            assert!((1..=80).contains(&slug.len()), "{slug}");
            assert!(
                slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'),
                "{slug}"
            );
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
}

mod run_dir {
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
}

mod writing {
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
            let error = LossLog::create(&run).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            assert!(error.message().contains("loss.csv"), "{error}");
            assert!(error.to_string().contains("disk is full"), "{error}");
        }
    }

    #[test]
    fn log_rows_are_there_at_once_and_read_back_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let run = fresh(folder.path());
        let mut log = LossLog::create(&run).unwrap();
        log.evaluation(0, 0.1 + 0.2).unwrap();
        let losses = [0.123_456_79_f32, 1e-7, 3.4e38, f32::MIN_POSITIVE, 0.1];
        for (index, &loss) in losses.iter().enumerate() {
            let row = LossRow { step: index + 1, epoch: 2, loss, lr: 1e-4 / 3.0, grad_norm: loss * 3.0 };
            log.step(&row, 0.25, (index > 0).then_some(1234.56)).unwrap();
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
        assert!(timing.starts_with("step,seconds,memory_mib\n1,0.250000,\n2,0.250000,1234.6\n"), "{timing}");
        assert_eq!(
            fs::read_to_string(run.path().join("eval.csv")).unwrap(),
            "step,eval_loss\n0,0.3\n".replace("0.3", &(0.1_f32 + 0.2).to_string())
        );
    }

    #[test]
    fn a_sample_says_what_made_it() {
        let folder = tempfile::tempdir().unwrap();
        let run = fresh(folder.path());
        let shot = |prompt: &str| Shot {
            prompt: prompt.to_string(),
            negative_prompt: "blurry".to_string(),
            steps: 30,
            sampler: "dpmpp_2m".to_string(),
            guidance_scale: 7.5,
            seed: 42,
            width: 24,
            height: 16,
        };
        let image = picture(24, 16, 9);
        for prompt in ["a dog", "ein süßer Hund", "一只狗 🐕\0"] {
            run.write_sample(Model::Tuned, 3, &image, &shot(prompt)).unwrap();
            let path = run.path().join("samples/tuned").join(slug(prompt)).join("3.png");
            let expected = format!(
                "{}\nNegative prompt: blurry\nSteps: 30, Sampler: dpmpp_2m, CFG scale: 7.5, Seed: 42, Size: 24x16",
                prompt.trim_end_matches('\0')
            );
            assert_eq!(read_text(&path).unwrap(), [("parameters".to_string(), expected)]);
            assert_eq!(tunelab::data::load_image(&path).unwrap(), image);
        }
        let bytes = fs::read(run.sample_path(Model::Tuned, "a dog", 3)).unwrap();
        assert!(bytes.windows(4).any(|w| w == b"tEXt") && !bytes.windows(4).any(|w| w == b"iTXt"));
    }
}

mod records {
    use super::*;

    fn keys(prefix: &str, value: &serde_json::Value, out: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) if !map.is_empty() && !prefix.ends_with("crates") => {
                map.iter().for_each(|(key, value)| keys(&format!("{prefix}.{key}"), value, out));
            }
            _ => out.push(prefix.trim_start_matches('.').to_string()),
        }
    }

    #[test]
    fn the_keys_of_run_json_are_a_contract() {
        let folder = tempfile::tempdir().unwrap();
        let run = fresh(folder.path());
        run.finish(&record("lora_dog")).unwrap();
        let text = fs::read_to_string(run.path().join("run.json")).unwrap();
        let mut found = Vec::new();
        keys("", &serde_json::from_str(&text).unwrap(), &mut found);
        insta::assert_snapshot!(found.join("\n"), @r"
        status
        name
        method
        device
        dtype
        counts.trained_parameters
        counts.total_parameters
        counts.images
        counts.steps
        counts.epochs
        loss.final
        loss.eval_first
        loss.eval_last
        seconds.total
        seconds.training
        seconds.sampling
        seconds.per_step
        peak_memory.host_mib
        peak_memory.device_mib
        versions.tunelab
        versions.commit
        versions.rustc
        versions.crates
        machine.os
        machine.kernel
        machine.arch
        machine.cpu
        machine.cpu_features
        machine.cores
        machine.memory_mib
        machine.gpus
        hashes.model
        hashes.data
        ");
        assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record("lora_dog"));
    }

    #[test]
    fn this_build_and_this_machine_are_known() {
        let versions = Versions::of_this_build();
        assert_eq!(versions.tunelab, env!("CARGO_PKG_VERSION"));
        assert!(versions.crates["candle-core"].starts_with("0.11."), "{versions:?}");
        assert!(versions.rustc.unwrap().starts_with("rustc "));
        if let Some(commit) = versions.commit {
            assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{commit}");
        }
        let machine = Machine::detect();
        assert!(machine.cores >= 1 && !machine.os.is_empty());
        if cfg!(target_os = "linux") {
            assert!(machine.kernel.is_some() && machine.memory_mib.unwrap() > 100.0, "{machine:?}");
            let (now, peak) =
                (tunelab::results::memory_now_mib().unwrap(), tunelab::results::peak_memory_mib().unwrap());
            assert!(now > 1.0 && peak >= now * 0.9, "{now} {peak}");
        }
    }
}

mod curves {
    use super::*;

    /// A loss as training shows it: noise far larger than the trend.
    fn noisy(steps: usize) -> Losses {
        let raw = (1..=steps).map(|step| {
            let hash = (step as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            let noise = hash as f64 / (1u64 << 24) as f64;
            (step as f64, 0.02 + 0.5 * noise.powi(3) + 0.1 / (1.0 + step as f64 / 200.0))
        });
        let eval = (0..=steps / 50).map(|i| ((i * 50) as f64, 0.13 + 0.03 / (1.0 + i as f64)));
        Losses { raw: raw.collect(), eval: eval.collect() }
    }

    fn count(of: &Rgb, colour: impl Fn([u8; 3]) -> bool) -> usize {
        of.pixels.chunks_exact(3).filter(|p| colour([p[0], p[1], p[2]])).count()
    }

    fn orange([r, g, b]: [u8; 3]) -> bool {
        r > 180 && g < 140 && b < 60
    }

    fn blue([r, g, b]: [u8; 3]) -> bool {
        r < 60 && g < 130 && b > 120
    }

    fn ink([r, g, b]: [u8; 3]) -> bool {
        r < 90 && g < 90 && b < 90
    }

    #[test]
    fn the_moving_average_is_debiased() {
        let constant = Losses { raw: (1..=40).map(|step| (f64::from(step), 0.25)).collect(), eval: vec![] };
        assert!(constant.smoothed().iter().all(|&(_, loss)| (loss - 0.25).abs() < 1e-12));
        // By hand: span 5, weight 1/3: (2/3 * 1 + 3) / (2/3 + 1).
        let two = Losses { raw: vec![(1.0, 1.0), (2.0, 3.0)], eval: vec![] };
        assert_eq!(two.span(), 5);
        assert!((two.smoothed()[1].1 - 2.2).abs() < 1e-12);
    }

    #[test]
    fn thinning_keeps_the_outline() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 0.5)).collect();
        points[70_001].1 = 9.0;
        points[70_002].1 = -9.0;
        let thinned = thin(&points, 3000);
        assert!(thinned.len() <= 3000, "{}", thinned.len());
        assert!(thinned.contains(&(70_001.0, 9.0)) && thinned.contains(&(70_002.0, -9.0)));
        assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(thin(&points[..7], 3000), points[..7]);
    }

    #[test]
    fn the_picture_has_all_lines_and_its_words() {
        let picture = curve::to_picture(&noisy(500)).unwrap();
        assert!(picture.width >= 1600 && picture.height >= 1000);
        assert!(count(&picture, orange) > 2000 && count(&picture, blue) > 3000 && count(&picture, ink) > 5000);
        let without = curve::to_picture(&Losses { eval: vec![], ..noisy(500) }).unwrap();
        assert_eq!(count(&without, orange), 0);
        assert!(without.height < picture.height);
    }

    #[test]
    fn an_outlier_does_not_flatten_the_rest() {
        let mut losses = noisy(500);
        let calm = curve::to_svg(&losses).unwrap();
        let labels = |svg: &str| svg.lines().filter_map(|line| line.parse::<f64>().ok()).collect::<Vec<_>>();
        assert!(labels(&calm).contains(&0.4), "{:?}", labels(&calm));
        losses.raw[250].1 = 1e6;
        let labels = labels(&curve::to_svg(&losses).unwrap());
        assert!(labels.iter().all(|&label| label <= 500.0) && labels.contains(&0.4), "{labels:?}");
    }

    #[test]
    fn of_a_few_steps_none_is_an_outlier() {
        let losses = Losses { raw: vec![(1.0, 0.07), (2.0, 0.2)], eval: vec![] };
        let svg = curve::to_svg(&losses).unwrap();
        assert!(svg.lines().any(|line| line == "0.20" || line == "0.2"), "the axis ends below the second step");
    }

    #[test]
    fn few_and_many_points_work() {
        for steps in [1, 2, 3, 100_000] {
            for eval in [true, false] {
                let mut losses = noisy(steps);
                if !eval {
                    losses.eval.clear();
                }
                let picture = curve::to_picture(&losses).unwrap();
                assert!(count(&picture, blue) > 50, "{steps} steps: no curve");
                assert!(curve::to_svg(&losses).unwrap().len() < 1_000_000);
            }
        }
        let flat = Losses { raw: vec![(1.0, 0.0), (2.0, 0.0)], eval: vec![(0.0, 0.0), (2.0, 0.0)] };
        assert!(count(&curve::to_picture(&flat).unwrap(), orange) > 50);
        assert!(curve::to_picture(&Losses::default()).is_ok());
    }

    #[test]
    fn a_run_gets_both_files_and_the_same_bytes_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = fresh(folder.path());
        let mut log = LossLog::create(&run).unwrap();
        for (step, loss) in [(1, 0.2), (2, 0.1), (3, f32::NAN)] {
            log.step(&LossRow { step, epoch: 1, loss, lr: 1e-4, grad_norm: 1.0 }, 0.1, None).unwrap();
        }
        log.evaluation(0, 0.2).unwrap();
        assert_eq!(Losses::read(run.path()).unwrap().raw, [(1.0, 0.2), (2.0, 0.1)]);
        curve::write(run.path()).unwrap();
        let files = ["loss.png", "loss.svg"].map(|name| run.path().join(name));
        let before = files.clone().map(|path| fs::read(path).unwrap());
        assert!(String::from_utf8_lossy(&before[1]).contains("evaluation loss"));
        curve::write(run.path()).unwrap();
        assert_eq!(files.map(|path| fs::read(path).unwrap()), before);
    }

    #[test]
    fn a_broken_log_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("loss.csv"), "step,loss\n1,0.5\n2,oops\n").unwrap();
        let error = Losses::read(folder.path()).unwrap_err();
        assert!(error.message().contains("loss.csv") && error.message().contains("oops"), "{error}");
    }
}

mod grids {
    use super::*;

    fn heading(text: &str, span: usize) -> Heading {
        Heading { text: text.to_string(), span }
    }

    #[test]
    fn every_cell_holds_its_picture_in_its_place() {
        let rows: Vec<Row> = (0..2)
            .map(|row| Row {
                label: ["a dog", "a cat on a sofa"][row].to_string(),
                pictures: (0..4).map(|column| picture(180, 170, (100 + 10 * row + column) as u8)).collect(),
            })
            .collect();
        let drawn = grid::grid(&[heading("base", 2), heading("tuned", 2)], &rows).unwrap();
        let places: Vec<Vec<(usize, usize)>> = rows
            .iter()
            .map(|row| row.pictures.iter().map(|part| find(&drawn, part).expect("a cell's picture")).collect())
            .collect();
        assert!(places[0].is_sorted_by(|a, b| a.0 + 180 < b.0 && a.1 == b.1));
        assert!((0..4).all(|column| places[0][column].0 == places[1][column].0));
        assert!(places[0][0].1 + 170 < places[1][0].1);
        // The gap between "base" and "tuned" is wider than the ones within.
        assert!(places[0][2].0 - places[0][1].0 > places[0][1].0 - places[0][0].0);
        // Words: each label left of its row, each heading above its pictures.
        for (row, place) in places.iter().enumerate() {
            let band = place[0].1..place[0].1 + 170;
            assert!(dark_pixels(&drawn, 0..place[0].0, band) > 50, "row {row} has no label");
        }
        for side in [0, 2] {
            assert!(dark_pixels(&drawn, places[0][side].0..places[0][side + 1].0 + 180, 0..places[0][0].1) > 50);
        }
        assert_eq!(grid::grid(&[heading("base", 2), heading("tuned", 2)], &rows).unwrap(), drawn);
    }

    #[test]
    fn pictures_of_other_sizes_are_centred_in_their_cell() {
        let rows = [Row { label: String::new(), pictures: vec![picture(200, 100, 1), picture(120, 160, 2)] }];
        let drawn = grid::grid(&[], &rows).unwrap();
        let (wide, tall) = (find(&drawn, &rows[0].pictures[0]).unwrap(), find(&drawn, &rows[0].pictures[1]).unwrap());
        assert_eq!(wide.1, tall.1 + 30);
        assert_eq!(pixel(&drawn, wide.0, wide.1 - 1), pixel(&drawn, tall.0 - 1, tall.1));
        assert_ne!(
            pixel(&drawn, wide.0, wide.1 - 1),
            pixel(&drawn, 0, 0),
            "the letterbox cannot be told from the paper"
        );
        assert_eq!(dark_pixels(&drawn, 0..drawn.width, 0..tall.1), 0, "no words were asked for");
    }

    #[test]
    fn tiny_pictures_are_enlarged_by_whole_pixels() {
        let tiny = picture(16, 16, 200);
        let drawn = grid::grid(&[], &[Row { label: "x".into(), pictures: vec![tiny.clone()] }]).unwrap();
        let enlarged = Rgb {
            width: 160,
            height: 160,
            pixels: (0..160 * 160).flat_map(|i| pixel(&tiny, i % 160 / 10, i / 160 / 10)).collect(),
        };
        assert!(find(&drawn, &enlarged).is_some());
    }

    #[test]
    fn a_grid_of_nothing_is_an_error() {
        assert!(grid::grid(&[heading("base", 1)], &[Row { label: "a dog".into(), pictures: vec![] }]).is_err());
    }

    #[test]
    fn labels_of_any_length_stay_in_their_place() {
        for label in ["dog ".repeat(200), "d".repeat(900), "🐕".repeat(300), "一只狗".repeat(50), "\t\n".to_string()]
        {
            let rows = [
                Row { label, pictures: vec![picture(170, 170, 77)] },
                Row { label: String::new(), pictures: vec![picture(170, 170, 78)] },
            ];
            let drawn = grid::grid(&[], &rows).unwrap();
            let (first, second) =
                (find(&drawn, &rows[0].pictures[0]).unwrap(), find(&drawn, &rows[1].pictures[0]).unwrap());
            assert!(drawn.width < 2 * 170 + 60, "the label took {} pixels", drawn.width);
            assert_eq!(dark_pixels(&drawn, 0..first.0, second.1..drawn.height), 0, "a label ran into the next row");
        }
    }

    #[test]
    fn a_run_s_grid_is_made_from_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let run = fresh(folder.path());
        let parts: Vec<Rgb> = (0..4).map(|i| picture(160, 160, 100 + i)).collect();
        for (prompt, side) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let path = run.sample_path([Model::Base, Model::Tuned][side], ["a dog", "a cat"][prompt], 0);
            write_png(&path, &parts[2 * prompt + side], &[]).unwrap();
        }
        grid::write_run_grid(run.path()).unwrap();
        let drawn = tunelab::data::load_image(&run.path().join("grid.png")).unwrap();
        let at: Vec<_> = parts.iter().map(|part| find(&drawn, part).unwrap()).collect();
        assert!(
            at[0].0 < at[1].0 && at[0].1 == at[1].1 && at[0].1 < at[2].1 && at[2].0 == at[0].0 && at[3].0 == at[1].0
        );

        fs::remove_dir_all(run.path().join("samples/base")).unwrap();
        grid::write_run_grid(run.path()).unwrap();
        let tuned = tunelab::data::load_image(&run.path().join("grid.png")).unwrap();
        assert!(tuned.width < drawn.width && find(&tuned, &parts[3]).is_some());
    }

    #[test]
    fn text_is_wrapped_kerned_and_cut() {
        let face = text::Face::new(text::REGULAR, 20.0).unwrap();
        assert!(face.width("AV") < face.width("A") + face.width("V"), "no kerning");
        let lines = face.wrap("a photo of a dog on the beach", 120.0, 9);
        assert!(lines.len() > 1 && lines.iter().all(|line| face.width(line) <= 120.0), "{lines:?}");
        assert_eq!(lines.join(" "), "a photo of a dog on the beach");
        let cut = face.wrap(&"word ".repeat(100), 120.0, 2);
        assert_eq!(cut.len(), 2);
        assert!(cut[1].ends_with('…') && face.width(&cut[1]) <= 120.0, "{cut:?}");
        assert!(cut.iter().all(|line| line.trim_end_matches('…').split(' ').all(|word| word == "word")), "{cut:?}");
        assert!(face.wrap(" \n ", 120.0, 2).is_empty());
    }

    #[test]
    fn a_missing_character_is_a_visible_box() {
        let face = text::Face::new(text::REGULAR, 40.0).unwrap();
        let draw = |what: &str| {
            let mut canvas = Rgb { width: 60, height: 60, pixels: vec![255; 3 * 60 * 60] };
            face.draw(&mut canvas, 5.0, 50.0, what, [0, 0, 0]);
            dark_pixels(&canvas, 0..60, 0..60)
        };
        assert!(draw("狗") > 50);
        assert_eq!(draw("🐕"), draw("狗"));
        assert_eq!(draw("\u{200d}\u{fe0f}"), 0);
        assert!(draw("é") > draw("e"));
    }
}

mod tables {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b|run", "a_run"] {
            match RunDir::open(folder.path(), name, PLAN, false).unwrap() {
                Opened::Fresh(run) => run.finish(&record(name)).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        RunDir::open(folder.path(), "unfinished", PLAN, false).unwrap();
        folder
    }

    #[test]
    fn one_row_a_finished_run_in_the_order_of_names() {
        let folder = tree();
        let mut warnings = Vec::new();
        let records = table::write(folder.path(), &mut |warning| warnings.push(warning)).unwrap();
        assert_eq!(records.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["a_run", "b|run"]);
        assert!(warnings.is_empty());
        let csv = fs::read_to_string(folder.path().join("table.csv")).unwrap();
        insta::assert_snapshot!(csv, @r"
        name,method,trained_parameters,total_parameters,images,steps,total_seconds,seconds_per_step,final_loss,eval_loss_first,eval_loss_last,peak_host_mib,peak_device_mib,device
        a_run,lora,797184,1066235307,5,500,3725.4,7.2,0.125372,0.151,0.1302,9216,,cpu
        b|run,lora,797184,1066235307,5,500,3725.4,7.2,0.125372,0.151,0.1302,9216,,cpu
        ");
        let markdown = fs::read_to_string(folder.path().join("table.md")).unwrap();
        insta::assert_snapshot!(markdown, @r"
        | run | method | trained | total | time | s/it | final loss | eval loss | peak memory | device |
        |---|---|---:|---:|---:|---:|---:|---:|---:|---|
        | a_run | lora | 797,184 | 1,066,235,307 | 1 h 02 min | 7.200 | 0.1254 | 0.1302 | 9.00 GiB | cpu |
        | b\|run | lora | 797,184 | 1,066,235,307 | 1 h 02 min | 7.200 | 0.1254 | 0.1302 | 9.00 GiB | cpu |
        ");
        insta::assert_snapshot!(table::to_terminal(&records), @r"
        run    method  trained          total        time   s/it  final loss  eval loss  peak memory  device
        a_run  lora    797,184  1,066,235,307  1 h 02 min  7.200      0.1254     0.1302     9.00 GiB  cpu
        b|run  lora    797,184  1,066,235,307  1 h 02 min  7.200      0.1254     0.1302     9.00 GiB  cpu
        ");
    }

    #[test]
    fn a_broken_record_costs_its_own_row_only() {
        let folder = tree();
        fs::create_dir(folder.path().join("broken")).unwrap();
        fs::write(folder.path().join("broken/run.json"), "{").unwrap();
        let mut warnings = Vec::new();
        let records = table::read(folder.path(), &mut |warning| warnings.push(warning)).unwrap();
        assert_eq!(records.len(), 2);
        assert!(warnings.len() == 1 && warnings[0].contains("broken"), "{warnings:?}");
    }

    #[test]
    fn numbers_that_are_missing_are_said_to_be() {
        let mut one = record("x");
        one.loss = Loss { last: None, eval_first: None, eval_last: None };
        one.peak_memory = PeakMemory { host_mib: Some(1024.0), device_mib: Some(2048.0) };
        one.seconds.total = 59.4;
        let markdown = table::to_markdown(&[one]);
        assert!(markdown.contains("| 59.4 s | 7.200 | – | – | 2.00 GiB |"), "{markdown}");
    }
}
