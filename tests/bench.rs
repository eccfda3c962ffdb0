//! `tunelab bench` through the binary: its line of JSON, and what it refuses.

use std::process::{Command, Output};

use serde_json::Value;
use tunelab_ops::simd::Simd;

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunelab"));
    command.arg("bench").args(args).env_clear().output().expect("the binary starts")
}

#[test]
fn a_line_of_json_says_what_was_measured() {
    let output = bench(&["text", "--batch", "2", "--steps", "3", "--device", "cpu", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "{text}");
    let m: Value = serde_json::from_str(&text).expect("JSON");
    let number = |key: &str| m[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {text}"));
    assert_eq!(
        (&m["work"], &m["device"], &m["dtype"], number("batch")),
        (&"text".into(), &"cpu".into(), &"f32".into(), 2.0)
    );
    assert_eq!(m["simd"], Simd::detect().name(), "the variable is not set");
    let seconds: Vec<f64> = m["seconds"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    assert_eq!((seconds.len(), number("seconds_per_step")), (3, sorted[1]));
    // 12 layers of 768 and 3072 over two texts of 77 tokens.
    assert!((number("gflop") - 26.6).abs() < 0.2, "{text}");
    assert!((number("gflops") - number("gflop") / sorted[1]).abs() < 1e-6 * number("gflops"), "{text}");
    assert!((number("share_of_peak") - number("gflops") / number("peak_gflops")).abs() < 1e-9, "{text}");
    assert_eq!(m["peak_of"], "sums in registers in f32", "{text}");
    if cfg!(target_os = "linux") {
        // The text encoder alone has 123 million numbers.
        assert!((469.0..4000.0).contains(&number("peak_rss_mib")), "{text}");
    }
}

#[test]
fn what_is_measured_is_said_in_words_too() {
    let output = bench(&["text", "--steps", "1", "--device", "cpu"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success() && text.starts_with("text of sd15, 256 x 256, batch of 1, f32, on cpu\n"),
        "{text}"
    );
    assert!(text.contains(" s for each text (median of 1: ") && text.contains(" GFLOP/s: "), "{text}");
}

#[test]
fn odd_sizes_and_unknown_work_are_refused() {
    for (args, part) in [
        (&["lora", "--res", "100"][..], "use a multiple of 64 from 64 to 2048"),
        (&["lora", "--batch", "0"], "use a whole number from 1 to 1024"),
        (&["full", "--dtype", "bf16"], "`bench full` has no frozen weights of the UNet to round"),
        (&["lora", "--dtype", "f16", "--device", "cpu"], "f16 is for CUDA devices"),
        (&["lora", "--tf32", "--device", "cpu"], "--tf32 is for CUDA devices"),
        (&["lora", "--dtype", "f8"], "possible values: f32, bf16, f16"),
        (&["everything"], "possible values: lora, full, dreambooth, sample, vae, vae-encode, vae-decode, text"),
    ] {
        let output = bench(args);
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
        assert!(said.contains(part), "{said}");
    }
}
