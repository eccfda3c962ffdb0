//! The real binary: exit codes, what goes to stdout and what to stderr, and the wording of bad arguments.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;
use tunelab::config::Plan;
use tunelab_ops::simd::Simd;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunelab"));
    // No cache: what `plan` says must not depend on the machine.
    command.args(args).env("HF_HOME", "/nonexistent").env("NO_COLOR", "1").env_remove("RUST_BACKTRACE");
    command
}

fn tunelab(args: &[&str]) -> Output {
    command(args).output().expect("the binary starts")
}

fn code(args: &[&str]) -> i32 {
    tunelab(args).status.code().expect("no signal")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs_err::write(&file, text).expect("writable");
    file.to_str().expect("UTF-8").into()
}

const GOOD: &str = "model.repo = 'a/m'\ndataset.repo = 'a/d'\nadapter.lora = {}\n";

#[test]
fn check_says_ok_on_stdout_and_problems_on_stderr() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = write(folder.path(), "good.toml", GOOD);
    let bad = write(folder.path(), "bad.toml", &format!("{GOOD}train.epoch = 1\n"));
    let worse = write(folder.path(), "worse.toml", "x = ");

    let output = tunelab(&["check", &good]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), format!("ok {good}\n")));
    assert!(output.stderr.is_empty());

    let output = tunelab(&["check", &bad, &good, &worse]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), format!("ok {good}\n")));
    let text = stderr(&output);
    assert!(text.contains("did you mean `epochs`?") && text.contains("not valid TOML"), "{text}");
    assert!(text.ends_with("error: 2 of 3 experiments have problems\n"), "{text}");
}

/// They are trained and written, and two programs leave them out.
#[test]
fn check_and_plan_say_which_targets_other_programs_leave_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text =
        GOOD.replace("{}", "{ targets = ['to_q', 'conv_in', 'conv_out', 'time_embedding.linear_1', 'linear_2'] }");
    let file = write(folder.path(), "ends.toml", &text);
    let said = "kohya's sd-scripts and stable-diffusion.cpp leave out the LoRA of conv_in, time_embedding.linear_1, \
        time_embedding.linear_2, conv_out, so they draw";
    let output = tunelab(&["check", &file]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), format!("ok {file}\n")));
    assert!(stderr(&output).starts_with(&format!("warning: {file}: {said}")), "{}", stderr(&output));
    let output = tunelab(&["plan", &file]);
    assert!(stdout(&output).contains(&format!("\n# note: {said}")), "{}", stdout(&output));
    let file = write(folder.path(), "usual.toml", GOOD);
    assert!(!stdout(&tunelab(&["plan", &file])).contains("note:"));
}

#[test]
fn check_finds_two_experiments_of_one_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let one = write(folder.path(), "one.toml", GOOD);
    let two = write(folder.path(), "two.toml", &format!("name = 'one'\n{GOOD}"));
    let output = tunelab(&["check", &one, &two]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("has the same name as"), "{}", stderr(&output));
}

#[test]
fn a_file_that_is_no_experiment_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = folder.path().to_str().expect("UTF-8");
    let missing = format!("{here}/missing.toml");
    let large = write(folder.path(), "large.toml", &"#".repeat((1 << 20) + 1));
    let binary = folder.path().join("binary.toml");
    fs_err::write(&binary, b"seed = 1\n\xff\xfe").expect("writable");
    let shown = |file: &str| {
        let output = tunelab(&["check", file]);
        assert_eq!(output.status.code(), Some(2));
        stderr(&output).replace(here, "HERE")
    };
    assert_snapshot!(shown(&missing), @r"
    error: cannot read the experiment HERE/missing.toml
      caused by: failed to open file `HERE/missing.toml`: No such file or directory (os error 2)

    hint: give the path of a TOML file, such as experiments/lora_dog.toml
    ");
    assert_snapshot!(shown(&large), @r"error: HERE/large.toml is larger than 1 MiB: this is no experiment's TOML file");
    assert_snapshot!(shown(binary.to_str().expect("UTF-8")), @r#"
    error: HERE/binary.toml:2:1: not text in UTF-8 (the byte FF, `ÿ` in Windows-1252)

    hint: save it as UTF-8: editors ask for the encoding under "Save as"
    "#);
    fs_err::write(folder.path().join("plan.toml"), GOOD).expect("writable");
    assert_snapshot!(shown(here), @r"
    error: HERE is a folder, not an experiment's TOML file

    hint: the experiment of this results folder is HERE/plan.toml
    ");
}

#[test]
fn plan_prints_an_experiment_with_what_it_amounts_to() {
    let output =
        tunelab(&["plan", "experiments/lora_dog.toml", "--set", "dataset.path=tests", "--set", "train.steps=9"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    // The experiment's own comment comes first, as in its file.
    let [about, comments, plan] = text.splitn(3, "\n\n").collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert!(about.starts_with("# Does LoRA learn one dog from five photographs"), "{about}");
    let set = ["dataset.path=tests".to_owned(), "train.steps=9".to_owned()];
    let wanted = Plan::load(Path::new("experiments/lora_dog.toml"), &set).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(format!("{about}\n\n{plan}"), wanted.to_toml());
    assert_snapshot!(comments, @r#"
    # model: Stable Diffusion 1.x, parameters of unet 859,520,964, vae 83,653,863, text_encoder 123,060,480
    # 9 steps of 1 picture
    # trains 797,184 of the UNet's 859,520,964 parameters: LoRA of rank 4 beside 128 modules
    # memory, estimated: 4.6 GB (weights 4.3 GB, gradients 3.2 MB, moments 6.4 MB, activations 0.3 GB)
    # train.gradient_checkpointing would save 0.3 GB of activations, for about a third more time
    # these lines assume Stable Diffusion 1.x: the model is not on this machine yet
    # downloads the model from Hugging Face (stable-diffusion-v1-5/stable-diffusion-v1-5) or ModelScope (AI-ModelScope/stable-diffusion-v1-5), about 4.3 GB:
    #   unet/config.json
    #   unet/diffusion_pytorch_model.safetensors
    #   vae/config.json
    #   vae/diffusion_pytorch_model.safetensors
    #   text_encoder/config.json
    #   text_encoder/model.safetensors
    #   tokenizer/vocab.json
    #   tokenizer/merges.txt
    #   scheduler/scheduler_config.json
    # downloads dino_vits16 to measure the pictures, from Hugging Face (facebook/dino-vits16), about 87.0 MB
    # downloads clip_vit_b32 to measure the pictures, from Hugging Face (openai/clip-vit-base-patch32), about 0.6 GB
    # where no hub can be reached: builtin:mini with tests in place of stable-diffusion-v1-5/stable-diffusion-v1-5 with tests (tunelab plan --stand-in)
    "#);
}

#[test]
fn plan_says_what_full_fine_tuning_and_dreambooth_need() {
    let comments = |args: &[&str]| {
        let output = tunelab(&[&["plan"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = stdout(&output);
        let (_about, text) = text.split_once("\n\n").expect("a comment and what it amounts to");
        let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("# these lines")).collect();
        let classes = text.lines().find(|line| line.starts_with("# class images")).unwrap_or_default();
        lines.join("\n") + "\n" + classes
    };
    assert_snapshot!(comments(&["experiments/sft_dog.toml"]), @r"
    # model: Stable Diffusion 1.x, parameters of unet 859,520,964, vae 83,653,863, text_encoder 123,060,480
    # 100 epochs in steps of 1 picture; how many steps is known once the pictures are here
    # trains all of the UNet's 859,520,964 parameters
    # memory, estimated: 14.9 GB (weights 4.3 GB, gradients 3.4 GB, moments 6.9 GB, activations 0.3 GB)
    # train.gradient_checkpointing would save 0.3 GB of activations, for about a third more time
    ");
    let more = [
        "--set",
        "adapter.full.text_encoder=true",
        "--set",
        "adapter.full.ema_decay=0.999",
        "--set",
        "train.gradient_checkpointing=true",
    ];
    assert_snapshot!(comments(&[&["experiments/sft_dog.toml"][..], &more].concat()), @r"
    # model: Stable Diffusion 1.x, parameters of unet 859,520,964, vae 83,653,863, text_encoder 123,060,480
    # 100 epochs in steps of 1 picture; how many steps is known once the pictures are here
    # trains all 982,581,444 parameters: 859,520,964 of the UNet and 123,060,480 of the text encoder
    # memory, estimated: 20.1 GB (weights 4.3 GB, gradients 3.9 GB, moments 7.9 GB, average 3.9 GB, activations 95.8 MB)
    # gradient checkpointing saves 0.3 GB of activations, for about a third more time
    ");
    assert_snapshot!(comments(&["experiments/dreambooth_dog.toml", "--set", "adapter.dreambooth.lora.text_encoder=true"]), @r#"
    # model: Stable Diffusion 1.x, parameters of unet 859,520,964, vae 83,653,863, text_encoder 123,060,480
    # 20 epochs in steps of 1 picture and as many class images; how many steps is known once the pictures are here
    # trains 1,092,096 of the UNet's 859,520,964 and of the text encoder's 123,060,480 parameters: LoRA of rank 4 beside 176 modules
    # memory, estimated: 5.0 GB (weights 4.3 GB, gradients 4.4 MB, moments 8.7 MB, activations 0.7 GB)
    # train.gradient_checkpointing would save 0.5 GB of activations, for about a third more time
    # class images: 45 of "a dog" in 50 steps of pndm, unless they are here
    "#);

    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["a.png", "b.png", "c.png"] {
        write(folder.path(), name, "");
    }
    let here = folder.path().to_str().expect("UTF-8");
    let (data, class) = (format!("dataset.path={here}"), format!("adapter.dreambooth.class_path={here}"));
    let dog = ["experiments/dreambooth_dog.toml", "--set", &data];
    // An epoch lasts until all class images were there, as in diffusers.
    assert_snapshot!(comments(&dog).lines().nth(1).unwrap_or_default(), @r"
    # 900 steps of 1 picture and as many class images: 20 epochs over 45 class images
    ");
    assert_snapshot!(comments(&[&dog[..], &["--set", &class]].concat()).replace(here, "HERE"), @r"
    # model: Stable Diffusion 1.x, parameters of unet 859,520,964, vae 83,653,863, text_encoder 123,060,480
    # 60 steps of 1 picture and as many class images: 20 epochs over 3 pictures
    # trains 797,184 of the UNet's 859,520,964 parameters: LoRA of rank 4 beside 128 modules
    # memory, estimated: 4.9 GB (weights 4.3 GB, gradients 3.2 MB, moments 6.4 MB, activations 0.6 GB)
    # train.gradient_checkpointing would save 0.5 GB of activations, for about a third more time
    # class images: 3 pictures in HERE, none is made
    ");
}

#[test]
fn plan_and_check_go_through_variants_and_folders() {
    let output = tunelab(&["plan", "experiments/lora_rank.toml"]);
    let text = stdout(&output);
    let headings: Vec<&str> = text.lines().filter(|line| line.starts_with("# =")).collect();
    assert_eq!(
        headings,
        ["# ===== lora_rank-rank1 =====", "# ===== lora_rank-rank4 =====", "# ===== lora_rank-rank16 ====="]
    );
    let output = tunelab(&["check", "experiments"]);
    assert_snapshot!(stdout(&output), @r"
    ok experiments/dreambooth_dog.toml
    ok experiments/dreambooth_paper.toml
    ok experiments/lora_dog.toml
    ok experiments/lora_rank.toml (3 variants)
    ok experiments/lora_vs_sft.toml (2 variants)
    ok experiments/prior.toml (6 variants)
    ok experiments/sd21_lora_dog.toml
    ok experiments/sdxl_lora_dog.toml
    ok experiments/sft_dog.toml
    ok experiments/single_file.toml
    ok experiments/sweep_lora.toml (18 variants)
    ");
    let output = tunelab(&["check", "src"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "error: the folder src holds no experiment (*.toml)\n");
}

const SWEPT: &str = "model.builtin = 'mini'\n[dataset]\nbuiltin = 'corgi'\nresolution = 64\n[adapter.lora]\nrank = 4\n\
                     [train]\nepochs = 2\n[sweep]\n";

#[test]
fn plan_lists_the_runs_of_a_sweep() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = write(folder.path(), "s.toml", &format!("{SWEPT}train.learning_rate = [1e-4, 1e-3]\nseed = '1..30'\n"));
    let results = folder.path().join("results").display().to_string();
    let output = tunelab(&["plan", &file, "--results", &results]);
    let text = stdout(&output).replace(folder.path().to_str().expect("UTF-8"), "HERE");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 44, "{text}");
    assert_eq!(lines[0], "60 runs of s: train.learning_rate × seed");
    assert_eq!(lines[1], "  s-lr1e-4-seed1    10 steps");
    assert_eq!(lines[40], "  s-lr1e-3-seed10   10 steps");
    assert_eq!(
        lines[41..],
        [
            "  … and 20 more",
            "600 steps in all",
            "how long that takes is not known yet: no finished run of this machine in HERE/results is like these"
        ]
    );
    let output = tunelab(&["plan", &file, "--only", "s-lr1e-3-seed10"]);
    let plan = stdout(&output);
    assert!(plan.contains("name = \"s-lr1e-3-seed10\"") && plan.contains("# 10 steps of 1 picture"), "{plan}");
    let output = tunelab(&["plan", &file, "--only", "s-lr1e-3-sed10"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean s-lr1e-3-seed10?"), "{}", stderr(&output));
}

/// It took 90 seconds when every run described the UNet for each of its targets.
#[test]
fn the_longest_sweep_is_checked_in_seconds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = write(folder.path(), "s.toml", &format!("{SWEPT}train.batch_size = [1, 2, 4, 8]\nseed = '1..2500'\n"));
    let begun = std::time::Instant::now();
    let output = tunelab(&["check", &file]);
    assert_eq!(stdout(&output), format!("ok {file} (10000 variants)\n"), "{}", stderr(&output));
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn plan_counts_the_pictures_and_the_models_own_parameters() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["a.jpg", "b.PNG", "c.webp", "metadata.csv"] {
        write(folder.path(), name, "");
    }
    fs_err::create_dir(folder.path().join("unet")).expect("writable");
    let config = r#"{"in_channels": 4, "out_channels": 4, "block_out_channels": [32, 64], "layers_per_block": 1,
        "attention_head_dim": 2, "cross_attention_dim": 16, "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "use_linear_projection": true}"#;
    write(&folder.path().join("unet"), "config.json", config);
    let here = folder.path().to_str().expect("UTF-8");
    let (model, data) = (format!("model.path={here}"), format!("dataset.path={here}"));
    let none = "metrics.encoders=[]";
    let output = tunelab(&["plan", "experiments/lora_dog.toml", "--set", &model, "--set", &data, "--set", none]);
    let text = stdout(&output);
    assert!(text.contains("\n# 300 steps of 1 picture: 100 epochs over 3 pictures\n# trains "), "{text}");
    // By hand, for rank 4: three attentions of width 32 and one of 64, each (2·4 widths × 2) − 2 widths + 2 × 16 wide.
    let widths = 3 * (14 * 32 + 32) + (14 * 64 + 32);
    assert!(text.contains(&format!("trains {},{:03} of", 4 * widths / 1000, 4 * widths % 1000)), "{text}");
    assert!(!text.contains("downloads"), "{text}");

    write(&folder.path().join("unet"), "config.json", "{\"_class_name\": \"Transformer2DModel\"}");
    let output = tunelab(&["plan", "experiments/lora_dog.toml", "--set", &model]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("unet/config.json: the class is Transformer2DModel"), "{}", stderr(&output));
}

#[test]
fn plan_knows_what_pythons_cache_holds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let repo = folder.path().join("hub/models--a--m");
    fs_err::create_dir_all(repo.join("snapshots/0123/vae")).expect("writable");
    fs_err::create_dir_all(repo.join("refs")).expect("writable");
    write(&repo.join("refs"), "main", "0123");
    write(&repo.join("snapshots/0123/vae"), "diffusion_pytorch_model.fp16.safetensors", "");
    let good = write(folder.path(), "good.toml", GOOD);
    let output = command(&["plan", &good]).env("HF_HOME", folder.path()).output().expect("the binary starts");
    let text = stdout(&output);
    assert!(text.contains("about 3.9 GB:\n#   unet/config.json\n"), "{text}");
    assert!(!text.contains("vae/diffusion"), "{text}");
}

#[test]
fn wrong_arguments_exit_with_2() {
    for args in [
        &[][..],
        &["rnu"],
        &["run"],
        &["run", "x.toml", "--device", "gpu"],
        &["run", "x.toml", "--set"],
        &["sample", "--prompt", "a dog", "-o", "out"],
        &["sample", "results/x", "--model", "m", "--prompt", "a dog", "-o", "out"],
        &["sample", "results/x", "--lora", "l", "--prompt", "a dog", "-o", "out"],
        &["sample", "results/x", "--lora-scale", "1", "--prompt", "a dog", "-o", "out"],
        &["sample", "results/x", "-o", "out"],
        &["sample", "results/x", "--prompt", " ", "-o", "out"],
        &["sample", "results/x", "--prompt", "a dog"],
        &["sample", "results/x", "--prompt", "a dog", "-o", "out", "--width", "512"],
        &["sample", "results/x", "--prompt", "a dog", "-o", "out", "--width", "500", "--height", "512"],
        &["sample", "results/x", "--prompt", "a dog", "-o", "out", "--sampler", "eulr"],
        &["sample", "results/x", "--prompt", "a dog", "-o", "out", "--images", "0"],
        &["sample", "results/x", "--prompt", "a dog", "-o", "out", "--guidance-scale", "nan"],
    ] {
        assert_eq!(code(args), 2, "{args:?}");
    }
    let negative = tunelab(&["sample", "results/x", "--prompt", "a dog", "-o", "out", "--guidance-scale", "-3"]);
    assert!(stderr(&negative).contains("invalid value '-3' for '--guidance-scale <G>'"), "{}", stderr(&negative));
    assert_eq!((code(&["--help"]), code(&["--version"]), code(&["sample", "--help"])), (0, 0, 0));
}

#[test]
fn run_refuses_a_wrong_experiment_before_anything_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let results = folder.path().join("results");
    let results = results.to_str().expect("UTF-8");
    let run = ["run", "experiments/lora_dog.toml", "--set", "adapter.lora.rnak=4", "--results", results];
    let output = tunelab(&run);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `rank`?"), "{}", stderr(&output));
    assert!(output.stdout.is_empty() && !Path::new(results).exists());
}

#[test]
fn a_bad_device_is_explained() {
    assert_snapshot!(stderr(&tunelab(&["run", "x.toml", "--device", "cuda:one"])), @r"
    error: invalid value 'cuda:one' for '--device <DEVICE,…>': use auto, cpu, cuda, cuda:N or metal

    For more information, try '--help'.
    ");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let mut child = command(&["plan", "experiments/lora_dog.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let mut words = String::new();
    let _ = BufReader::new(child.stderr.take().expect("piped")).read_line(&mut words);
    assert_eq!((child.wait().expect("it ends").code(), words.as_str()), (Some(0), ""));
}

#[test]
fn files_in_other_encodings_are_named_and_a_byte_order_mark_is_no_matter() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("x.toml");
    let name = file.to_str().expect("UTF-8");
    let text = format!("{GOOD}dataset.prompt = 'ein schöner Hund'\n");
    let check = |bytes: &[u8]| {
        fs_err::write(&file, bytes).expect("writable");
        let output = tunelab(&["check", name]);
        (output.status.code(), stderr(&output))
    };
    assert_eq!(check(&[b"\xEF\xBB\xBF", text.as_bytes()].concat()), (Some(0), String::new()));
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let (code, said) = check(&latin);
    assert_eq!(code, Some(2));
    assert!(said.contains("x.toml:4:26: not text in UTF-8 (the byte F6, `ö` in Windows-1252)"), "{said}");
    let (_, said) = check(&[GOOD.as_bytes(), b"dataset.prompt = '\x93dog'"].concat());
    assert!(said.contains("x.toml:4:19: not text in UTF-8 (the byte 93, `“` in Windows-1252)"), "{said}");
    let (_, said) = check(&[GOOD.as_bytes(), b"seed = \0"].concat());
    assert!(said.contains("x.toml:4:8: a zero byte, which text has only in UTF-16"), "{said}");
    let units = || text.encode_utf16();
    let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
    for bytes in [&little, &big, &[&[0xFF, 0xFE], &little[..]].concat(), &[&[0xFE, 0xFF], &big[..]].concat()] {
        let (code, said) = check(bytes);
        assert_eq!(code, Some(2));
        assert!(said.contains("x.toml is in UTF-16") && said.contains("hint: save it as UTF-8"), "{said}");
    }
}

#[test]
fn files_of_others_in_a_folder_are_passed_over_with_a_note() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = folder.path().to_str().expect("UTF-8");
    write(folder.path(), "a.toml", GOOD);
    write(folder.path(), "b.TOML", GOOD);
    for name in ["._a.toml", ".hidden.toml", "Cargo.toml", "pyproject.toml", "desktop.ini", "notes.txt"] {
        write(folder.path(), name, "\0\u{5}not = an experiment");
    }
    let output = tunelab(&["check", here]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).replace(here, "HERE"), "ok HERE/a.toml\nok HERE/b.TOML\n");
    let note =
        "note: passed over, as no experiment: HERE/._a.toml, HERE/.hidden.toml, HERE/Cargo.toml, HERE/pyproject.toml\n";
    assert_eq!(stderr(&output).replace(here, "HERE"), note);
}

#[test]
fn a_projects_settings_are_named_unless_an_experiment_has_their_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in [("pyproject.toml", "[project]\nname = 'x'\n"), ("Cargo.toml", "[package]\nname = 'x'\n")] {
        let file = write(folder.path(), name, text);
        let output = tunelab(&["check", &file]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let line = format!("error: {file} is a project's settings file, not an experiment of tunelab\n");
        assert!(said.starts_with(&line) && !said.contains("unknown key"), "{said}");
    }
    let book = write(folder.path(), "book.toml", GOOD);
    assert_eq!(stdout(&tunelab(&["check", &book])), format!("ok {book}\n"));
}

/// Each has some keys of its program's own documentation and examples.
#[test]
fn other_programs_configurations_are_told_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = [
        (
            "kohya.toml",
            "pretrained_model_name_or_path = \"C:\\\\sd15\"\nnetwork_module = \"networks.lora\"\nnetwork_dim = 8\nunet_lr = 1e-4\n",
            "kohya's sd-scripts",
        ),
        (
            "paths.toml",
            "train_data_dir = \"C:\\Users\\me\"\nnetwork_dim = 8\noutput_name = \"x\"\n",
            "kohya's sd-scripts",
        ),
        (
            "data.toml",
            "[general]\nshuffle_caption = true\n[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = 'C:\\x'\nclass_tokens = 'a dog'\n",
            "kohya's sd-scripts",
        ),
        (
            "gui.json",
            "{\"LoRA_type\": \"Standard\", \"network_dim\": 8, \"train_batch_size\": 1}",
            "kohya's sd-scripts",
        ),
        (
            "one.json",
            "{\"base_model_name\": \"a/b\", \"model_type\": \"STABLE_DIFFUSION_15\", \"training_method\": \"LORA\", \"unet\": {\"weight_dtype\": \"FLOAT_16\"}}",
            "OneTrainer",
        ),
        (
            "ai.yaml",
            "---\njob: extension\nconfig:\n  name: \"x\"\n  process:\n    - type: 'sd_trainer'\n      training_folder: \"output\"\n      network:\n        linear: 16\n        linear_alpha: 16\n      train:\n        batch_size: 1\n",
            "ai-toolkit",
        ),
        (
            "simple.json",
            "{\"--model_family\": \"sd1x\", \"--model_type\": \"lora\", \"--data_backend_config\": \"x.json\", \"--max_train_steps\": 10, \"--train_batch_size\": 1}",
            "SimpleTuner",
        ),
        (
            "backend.json",
            "[{\"id\": \"x\", \"type\": \"local\", \"instance_data_dir\": \"d\", \"caption_strategy\": \"filename\", \"cache_dir_vae\": \"c\"}]",
            "SimpleTuner",
        ),
        (
            "both.toml",
            "pretrained_model_name_or_path = \"a/b\"\ninstance_prompt = \"a dog\"\n[model]\nrepo = \"a/b\"\n",
            "diffusers' training scripts",
        ),
        (
            "half.toml",
            "[model]\nname_or_path = \"a/b\"\nis_flux = true\n[network]\ntype = \"lora\"\nlinear = 16\nlinear_alpha = 16\n[train]\nsteps = 9\n",
            "ai-toolkit",
        ),
        (
            "launch.sh",
            "export MODEL=a/b\naccelerate launch train_dreambooth_lora.py \\\n  --pretrained_model_name_or_path=$MODEL \\\n  --instance_data_dir=dog \\\n  --instance_prompt=\"a dog\"\n",
            "diffusers' training scripts",
        ),
        (
            "accelerate.yaml",
            "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nmixed_precision: fp16\nnum_machines: 1\n",
            "Accelerate",
        ),
        ("adapter_config.json", "{\"peft_type\": \"LORA\", \"lora_alpha\": 8, \"target_modules\": [\"to_q\"]}", "PEFT"),
        (
            "config.json",
            "{\"_class_name\": \"UNet2DConditionModel\", \"_diffusers_version\": \"0.6\"}",
            "a part of a model",
        ),
        ("flow.json", "{\"last_node_id\": 1, \"last_link_id\": 2, \"nodes\": []}", "ComfyUI"),
    ];
    for (name, text, program) in cases {
        let file = write(folder.path(), name, text);
        for command in ["check", "plan", "run"] {
            let output = tunelab(&[command, &file]);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{name}: {said}");
            assert!(said.starts_with(&format!("error: {file} looks like ")), "{name}: {said}");
            let line = said.lines().next().unwrap_or_default();
            assert!(line.contains(program) && line.ends_with(", not an experiment of tunelab"), "{name}: {said}");
            assert!(
                said.contains("hint: the keys of an experiment are in the README") && said.contains("tunelab plan"),
                "{said}"
            );
        }
    }
    for (name, text, form) in [("x.json", "{\"a\": 1}", "JSON"), ("x.yml", "a: 1\n", "YAML")] {
        let file = write(folder.path(), name, text);
        let said = stderr(&tunelab(&["check", &file]));
        assert!(said.starts_with(&format!("error: {file} is {form}, not an experiment of tunelab\n")), "{said}");
    }
}

/// While no more of its outermost keys are another program's than its own.
#[test]
fn a_mistaken_experiment_stays_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (keys, unknown) in [
        ("network_dim = 4\ntrain_batch_size = 1\nunet_lr = 1.0\n", "network_dim"),
        ("model.name_or_path = 'a/b'\ntrain.noise_scheduler = 'ddpm'\n", "name_or_path"),
        ("[train]\nmax_train_steps = 9\ntrain_batch_size = 1\n", "max_train_steps"),
    ] {
        let file = write(folder.path(), "ours.toml", &format!("{GOOD}{keys}"));
        let said = stderr(&tunelab(&["check", &file]));
        assert!(said.contains(&format!("unknown key `{unknown}`")) && said.contains('^'), "{said}");
        assert!(!said.contains("looks like"), "{said}");
    }
}

#[test]
fn numbers_below_zero_and_prompts_with_a_hyphen_are_taken_for_what_they_are() {
    let sample = |args: &[&str]| tunelab(&[&["sample", "results/none", "-o", "out"], args].concat());
    assert_snapshot!(stderr(&sample(&["--prompt", "a dog", "--seed", "-1"])), @r"
    error: invalid value '-1' for '--seed <N>': use a whole number from 0 to 9223372036854775807: a seed is chosen, never drawn, so that the pictures can be drawn again

    For more information, try '--help'.
    ");
    for (option, range) in [("--images", "1 to 1000000"), ("--steps", "1 to 1000"), ("--width", "64 to 2048")] {
        let said = stderr(&sample(&["--prompt", "a dog", "--height", "64", option, "-1"]));
        assert!(said.contains(&format!("invalid value '-1' for '{option} ")) && said.contains(range), "{said}");
    }
    // The arguments are right: it is the folder that is missing.
    for prompts in
        [&["--prompt", "-dog"][..], &["--prompt", "a dog", "-cat", "-1"], &["--prompt", "a", "--negative-prompt", "-b"]]
    {
        let said = stderr(&sample(prompts));
        assert!(said.contains("results/none"), "{prompts:?}: {said}");
    }
}

#[test]
fn numbers_of_threads_that_make_no_sense_are_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = write(folder.path(), "good.toml", GOOD);
    let check = |threads: &str| {
        let output = command(&["check", &good]).env("RAYON_NUM_THREADS", threads).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(0));
        stderr(&output)
    };
    assert_eq!((check("1"), check("0"), check("")), <_>::default());
    let said = check("100000");
    assert!(said.starts_with("warning: RAYON_NUM_THREADS=100000 is more than 4 for each of the "), "{said}");
    assert!(check("many").starts_with("warning: RAYON_NUM_THREADS=many is no number of threads: "));
}

/// The set of instructions is chosen before anything is read, and what cannot be chosen is told with the remedy.
#[test]
fn instructions_that_the_processor_lacks_or_nobody_knows_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = write(folder.path(), "good.toml", GOOD);
    let check = |simd: &str| {
        let output = command(&["check", &good]).env("TUNELAB_SIMD", simd).output().expect("the binary starts");
        (output.status.code(), stderr(&output))
    };
    let best = Simd::detect();
    for &simd in Simd::ALL {
        let (code, said) = check(simd.name());
        if simd <= best {
            assert_eq!((code, said), (Some(0), String::new()), "{simd}");
        } else {
            assert_eq!(code, Some(2), "{simd}");
            assert!(
                said.starts_with(&format!("error: TUNELAB_SIMD={simd}: this processor or system lacks ")),
                "{said}"
            );
            assert!(said.ends_with(&format!("; unset TUNELAB_SIMD to use {best}\n")), "{said}");
        }
    }
    assert_eq!(check(""), (Some(0), String::new()));
    let (code, said) = check("sse9");
    assert_eq!(code, Some(2));
    assert!(
        said.starts_with("error: TUNELAB_SIMD=sse9 is no set of instructions; this processor has portable"),
        "{said}"
    );
}

/// As packages install them; every command and option is in each, as they come from one statement.
#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = tunelab(&["completions", shell]);
        let text = stdout(&output);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{shell}");
        for word in ["no-stand-in", "completions", "baseline"] {
            assert!(text.contains(word), "{shell} lacks {word}");
        }
    }
    assert_eq!(code(&["completions", "cmd"]), 2);
    let Ok(bash) = Command::new("bash").arg("--version").output() else { return };
    if bash.status.success() {
        let script = format!(
            "source <('{0}' completions bash); COMP_WORDS=(tunelab ta); COMP_CWORD=1; _tunelab tunelab ta tunelab; echo ${{COMPREPLY[@]}}; \
             COMP_WORDS=(tunelab init --from d); COMP_CWORD=3; _tunelab tunelab d --from; echo ${{COMPREPLY[@]}}",
            env!("CARGO_BIN_EXE_tunelab")
        );
        let output = Command::new("bash").args(["-c", &script]).output().expect("bash starts");
        assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("table\ndreambooth\n", ""));
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let main = tunelab(&["man"]);
    assert!(main.status.success() && stdout(&main).contains(".TH tunelab 1 "), "{}", stderr(&main));
    assert!(stdout(&main).contains("HF_HOME") && stdout(&main).contains(r"tunelab\-run(1)"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pages = folder.path().join("new/man1");
    let output = tunelab(&["man", "--dir", pages.to_str().expect("UTF-8")]);
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), String::new(), String::new()));
    let read = |name: &str| fs_err::read_to_string(pages.join(name)).expect("a page");
    assert_eq!(read("tunelab.1"), stdout(&main));
    assert!(read("tunelab-run.1").contains(r"tunelab run experiments/lora_dog.toml"), "{}", read("tunelab-run.1"));
    let help = stdout(&tunelab(&["--help"]));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 12 && commands.contains(&"man"), "{commands:?}");
    for command in &commands {
        assert!(pages.join(format!("tunelab-{command}.1")).is_file(), "{command}");
    }
    assert_eq!(fs_err::read_dir(&pages).expect("a folder").count(), commands.len() + 1);
    assert_eq!(code(&["man", "--dir", "/dev/null/x"]), 2);
}
