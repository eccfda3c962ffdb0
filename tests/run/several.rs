//! `tunelab run` over several experiments, through the real binary and the small model of the fixtures: what is run, what is
//! not run again, what is only drawn again, and the closing summary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tunelab::results::{Opened, RunDir};

/// A laboratory in a temporary folder: two photographs, and room for experiments and results.
struct Lab(TempDir);

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().expect("a temporary folder"));
        for (name, shade) in [("a", 40), ("b", 200)] {
            let picture = image::RgbImage::from_fn(64, 80, |x, y| image::Rgb([shade, (x * 3) as u8, (y * 2) as u8]));
            fs_err::create_dir_all(lab.path("pictures")).expect("writable");
            picture.save(lab.path(&format!("pictures/{name}.png"))).expect("writable");
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).expect("it is there")
    }

    /// Writes `<name>.toml`: two steps of a LoRA, a picture of two denoising steps, and more.
    fn write(&self, name: &str, more: &str) {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model");
        let text = format!(
            "metrics.encoders = []\nmodel.path = '{}'\n[dataset]\npath = 'pictures'\nprompt = 'a dog'\nresolution = 64
            [train]\nsteps = 2\n[eval]\nsteps = 2\n{more}\n",
            model.display()
        );
        fs_err::write(self.path(&format!("{name}.toml")), text).expect("writable");
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_tunelab"))
            .current_dir(self.0.path())
            .args(["run", "--device", "cpu"])
            .args(args)
            .env("NO_COLOR", "1")
            .output()
            .expect("the binary starts");
        (output.status.code().expect("no signal"), String::from_utf8(output.stderr).expect("UTF-8"))
    }

    /// The closing summary of a run over several experiments, without what there is to look at.
    fn summary(&self, args: &[&str]) -> (i32, String) {
        let (code, stderr) = self.run(args);
        let at = stderr.rfind(" experiments:").unwrap_or_else(|| panic!("no summary in {stderr}"));
        let begin = stderr[..at].rfind('\n').map_or(0, |i| i + 1);
        let summary = &stderr[begin..];
        let Some((before, next)) = summary.split_once("\n\nto look at:") else {
            return (code, summary.trim_end().to_owned());
        };
        let error = next.find("\nerror: ").map_or("", |at| &next[at..]);
        (code, format!("{before}{error}").trim_end().to_owned())
    }
}

const LORA: &str = "[adapter.lora]";

#[test]
fn a_folder_of_experiments_goes_on_after_a_failure_and_closes_with_a_summary() {
    let lab = Lab::new();
    lab.write("b", LORA);
    lab.write("a", "[adapter.lora]\nrnak = 1");
    lab.write("c", "[[variant]]\nname = 'lora'\nadapter.lora.rank = 2\n[[variant]]\nname = 'full'\nadapter.full = {}");
    // Its name cannot become a folder: a file is there already.
    lab.write("d", LORA);
    fs_err::create_dir_all(lab.path("results/d")).expect("writable");
    fs_err::write(lab.path("results/d/notes.txt"), "mine").expect("writable");

    let (code, summary) = lab.summary(&["."]);
    assert_eq!(code, 2, "{summary}");
    insta::assert_snapshot!(summary, @r"
    5 experiments:
      failed        ./a.toml: unknown key `rnak` in [adapter.lora]
      done          results/b
      done          results/c-lora
      done          results/c-full
      failed        results/d: results/d holds notes.txt, which no run wrote, and no plan.toml
    error: 2 of 5 experiments failed
    ");

    let (code, summary) = lab.summary(&["b.toml", "c.toml", "b.toml"]);
    assert_eq!(code, 0, "{summary}");
    insta::assert_snapshot!(summary, @r"
    3 experiments:
      already done  results/b
      already done  results/c-lora
      already done  results/c-full
    ");
}

#[test]
fn a_mistaken_variant_stops_no_other() {
    let lab = Lab::new();
    let variant = |name: &str, more: &str| format!("[[variant]]\nname = '{name}'\n{more}\n");
    let more = [
        variant("good", "adapter.lora.rank = 2"),
        variant("bad", "adapter.lora.rnak = 2"),
        "[[variant]]\nseed = 3\n".to_owned(),
        variant("fine", "adapter.lora.rank = 3"),
    ];
    lab.write("x", &more.concat());
    let (code, summary) = lab.summary(&["x.toml", "--set", "eval.prompts=[]"]);
    assert_eq!(code, 2, "{summary}");
    insta::assert_snapshot!(summary, @r"
    4 experiments:
      failed        x.toml (variant bad): unknown key `rnak` in [adapter.lora]
      failed        x.toml (a variant): this variant has no name
      done          results/x-good
      done          results/x-fine
    error: 2 of 4 experiments failed
    ");
    // A mistake outside the variants, or in all of them, is the file's.
    lab.write("y", &more[1]);
    let (code, stderr) = lab.run(&["y.toml"]);
    assert!(code == 2 && stderr.contains("rnak") && !stderr.contains("experiments:"), "{stderr}");
    lab.write("z", &format!("sede = 3\n{}", more.concat()));
    let (code, stderr) = lab.run(&["z.toml"]);
    assert!(code == 2 && stderr.matches("sede").count() == 2 && stderr.contains("3 problems in z.toml"), "{stderr}");
}

#[test]
fn two_experiments_of_one_name_are_refused_before_anything_runs() {
    let lab = Lab::new();
    lab.write("a", LORA);
    fs_err::create_dir(lab.path("other")).expect("writable");
    fs_err::copy(lab.path("a.toml"), lab.path("other/A.toml")).expect("writable");
    fs_err::create_dir(lab.path("other/pictures")).expect("writable");
    let (code, stderr) = lab.run(&["a.toml", "other/A.toml"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("other/A.toml has the same name as a.toml: A"), "{stderr}");
    assert!(!lab.path("results").exists());
}

#[test]
fn changed_prompts_are_drawn_again_and_nothing_is_trained() {
    for adapter in [LORA, "[adapter.full]"] {
        let lab = Lab::new();
        lab.write("x", &format!("prompts = ['a dog']\n{adapter}"));
        let (code, stderr) = lab.run(&["x.toml"]);
        assert_eq!(code, 0, "{stderr}");
        // What a new training would write anew.
        let marked = "step,epoch,loss\nleft as it is\n";
        fs_err::write(lab.path("results/x/loss.csv"), marked).expect("writable");

        let changed = ["x.toml", "--set", "eval.prompts=['a cat', 'a dog']", "--set", "eval.seed=7"];
        let (code, stderr) = lab.run(&changed);
        assert_eq!(code, 0, "{stderr}");
        assert!(stderr.contains("only the pictures are drawn again") && !stderr.contains("training"), "{stderr}");
        assert_eq!(lab.read("results/x/loss.csv"), marked.as_bytes());
        assert!(!lab.path("results/x/resampling.json").exists());

        // As a run that asks for these pictures from the beginning.
        let (code, stderr) = lab.run(&[&changed[..], &["--results", "fresh"]].concat());
        assert_eq!(code, 0, "{stderr}");
        for file in ["plan.toml", "grid.png", "samples/base/a-cat/0.png", "samples/tuned/a-dog/0.png"] {
            let (again, fresh) = (lab.read(&format!("results/x/{file}")), lab.read(&format!("fresh/x/{file}")));
            assert!(again == fresh, "{adapter}: {file}");
        }
        assert_ne!(lab.read("results/x/samples/base/a-dog/0.png"), lab.read("results/x/samples/tuned/a-dog/0.png"));
        let (_, stderr) = lab.run(&changed);
        assert!(stderr.contains("finished already"), "{stderr}");
    }
}

const PLAN: &str = "seed = 1\n[train]\nsteps = 2\n[eval]\nprompts = [\"a\"]\nevery = 3\n";

fn opened(results: &Path, plan: &str) -> Result<&'static str, String> {
    let opened = RunDir::open(results, "x", plan, false).map_err(|e| e.message().to_owned())?;
    Ok(match opened {
        Opened::Fresh(_) => "fresh",
        Opened::Unfinished(_) => "unfinished",
        Opened::Resample(_) => "resample",
        Opened::Remeasure(_) => "remeasure",
        Opened::MissingWeights(..) => "missing weights",
        Opened::MissingPictures(..) => "missing pictures",
        Opened::Finished(_) => "finished",
    })
}

fn begin(run: &Path, plan: &str) {
    RunDir::existing(run).and_then(|run| run.begin_resampling(plan)).expect("writable");
}

#[test]
fn only_pictures_that_are_asked_for_otherwise_leave_a_training_valid() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let results = folder.path();
    let run = results.join("x");
    assert_eq!(opened(results, PLAN), Ok("fresh"));
    let other = PLAN.replace("\"a\"", "\"b\", \"c\"") + "images = 4\n[reference]\nlabel = \"r\"\n";
    assert_eq!(opened(results, &other), Ok("unfinished"), "training does not see what is drawn");
    assert_eq!(opened(results, &format!("{PLAN}[reference]\nlabel = \"r\"\n")), Ok("unfinished"));

    fs_err::write(run.join("run.json"), "{}").expect("writable");
    fs_err::create_dir_all(run.join("samples/base")).expect("writable");
    assert_eq!(opened(results, PLAN), Ok("finished"));
    for training in [PLAN.replace("steps = 2", "steps = 3"), PLAN.replace("every = 3", "every = 4"), "x = ".into()] {
        assert!(opened(results, &training).is_err_and(|e| e.contains("another plan")), "{training}");
    }
    assert!(run.join("run.json").is_file() && run.join("samples").is_dir());

    assert_eq!(opened(results, &other), Ok("resample"));
    assert!(run.join("run.json").is_file() && run.join("samples").is_dir(), "nothing is lost before drawing can begin");
    begin(&run, &other);
    assert!(!run.join("run.json").exists() && !run.join("samples").exists());
    // Cut off while it draws: it goes on, and what it has drawn stays.
    fs_err::create_dir_all(run.join("samples/base")).expect("writable");
    assert_eq!(opened(results, &other), Ok("resample"));
    begin(&run, &other);
    assert!(run.join("samples/base").is_dir());
    // Asked for yet other pictures before that ended.
    assert_eq!(opened(results, PLAN), Ok("resample"));
    begin(&run, PLAN);
    assert!(!run.join("samples").exists());
    fs_err::write(run.join("run.json"), "{}").expect("writable");
    assert_eq!(opened(results, PLAN), Ok("finished"));
}
