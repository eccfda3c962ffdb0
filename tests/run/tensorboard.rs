//! The event file for TensorBoard, read back: its scalars are the logs', its images the samples, once each, also in a run that
//! was cut off; and a small file byte for byte.

use std::collections::BTreeMap;
use std::path::Path;

use tunelab::results::{EventFile, LossRow, Opened, RunDir, Timing};

use super::world::{World, tree};

/// CRC-32C bit by bit, masked.
fn checksum(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    });
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The records of the one event file in `run`, checked.
fn records(run: &Path) -> Vec<Vec<u8>> {
    let files = tree(&run.join("tb"));
    assert!(files.len() == 1 && files[0].starts_with("events.out.tfevents."), "{files:?}");
    let bytes = fs_err::read(run.join("tb").join(&files[0])).expect("readable");
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
    let mut at = 0;
    let mut found = Vec::new();
    while at < bytes.len() {
        assert_eq!(number(at + 8), checksum(&bytes[at..at + 8]));
        let length = number(at) as usize;
        let data = &bytes[at + 12..at + 12 + length];
        assert_eq!(number(at + 12 + length), checksum(data));
        found.push(data.to_vec());
        at += 16 + length;
    }
    found
}

/// The fields of a protobuf message: numbers as their bits.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes), &[][..]));
                continue;
            }
            1 => 8,
            5 => 4,
            2 => usize::try_from(varint(&mut bytes)).expect("short"),
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        let mut bits = [0; 8];
        if key & 7 != 2 {
            bits[..length].copy_from_slice(value);
        }
        found.push((key >> 3, u64::from_le_bytes(bits), value));
        bytes = rest;
    }
    found
}

/// What an event file says.
#[derive(Debug, Default, PartialEq)]
struct Events {
    /// By tag, the steps and numbers in their order.
    scalars: BTreeMap<String, Vec<(u64, f32)>>,
    /// By tag, the steps and PNG files.
    images: BTreeMap<String, Vec<(u64, Vec<u8>)>>,
    /// The tags of values that are metadata only, and what is in them.
    metadata: BTreeMap<String, Vec<u8>>,
}

fn read(run: &Path) -> Events {
    let mut events = Events::default();
    let mut last = 0.0;
    for (index, record) in records(run).iter().enumerate() {
        let event = fields(record);
        let wall_time = event.iter().find(|field| field.0 == 1).map(|field| f64::from_bits(field.1)).expect("a time");
        assert!(wall_time >= last && wall_time > 1e9, "{wall_time} after {last}");
        last = wall_time;
        assert_eq!(event.iter().any(|field| field.0 == 3 && field.2 == b"brain.Event:2"), index == 0);
        let step = event.iter().find(|field| field.0 == 2).map_or(0, |field| field.1);
        for (_, _, summary) in event.iter().filter(|field| field.0 == 5) {
            for (_, _, value) in fields(summary) {
                let value = fields(value);
                let tag = String::from_utf8(value[0].2.to_vec()).expect("UTF-8");
                let (field, bits, bytes) = value[1];
                match field {
                    2 => {
                        let number = f32::from_bits(u32::try_from(bits).expect("four bytes"));
                        events.scalars.entry(tag).or_default().push((step, number));
                    }
                    4 => {
                        let image = fields(bytes);
                        assert_eq!(image[..3].iter().map(|field| field.1).collect::<Vec<_>>(), [64, 64, 3]);
                        events.images.entry(tag).or_default().push((step, image[3].2.to_vec()));
                    }
                    9 => drop(events.metadata.insert(tag, bytes.to_vec())),
                    other => panic!("field {other} of {tag}"),
                }
            }
        }
    }
    events
}

/// A column of a log, with its steps.
fn column(world: &World, log: &str, name: &str) -> Vec<(u64, f32)> {
    let text = world.text(log);
    let mut rows = text.lines();
    let at = rows.next().expect("a header").split(',').position(|column| column == name).expect("the column");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        (cells[0].parse().expect("a step"), cells[at].parse().expect("a number"))
    };
    rows.map(row).collect()
}

fn assert_is_of(world: &World, run: &str, events: &Events) {
    let log = format!("{run}/loss.csv");
    for name in ["loss", "lr", "grad_norm"] {
        assert_eq!(events.scalars[name], column(world, &log, name), "{name}");
    }
    assert_eq!(events.scalars["eval_loss"], column(world, &format!("{run}/eval.csv"), "eval_loss"));
}

const RUN: [&str; 6] = ["run", "a.toml", "--tensorboard", "--set", "eval.images_every=2", "--set"];

#[test]
fn the_event_file_says_what_the_logs_and_the_samples_say() {
    let world = World::new();
    world.done(&[&RUN[..], &["metrics.encoders=['builtin']"]].concat());
    let run = world.path("results/a");
    let events = read(&run);
    assert_is_of(&world, "results/a", &events);
    for prompt in ["a dog", "a cat"] {
        let sets = [(0, "base"), (2, "step-000002"), (4, "step-000004"), (6, "tuned")];
        let drawn: Vec<(u64, Vec<u8>)> = sets
            .iter()
            .map(|(step, set)| {
                (*step, world.read(&format!("results/a/samples/{set}/{}/0.png", prompt.replace(' ', "-"))))
            })
            .collect();
        assert!(events.images[&format!("{prompt}/0")] == drawn, "{prompt}");
    }
    let record: serde_json::Value = serde_json::from_str(&world.text("results/a/run.json")).expect("JSON");
    let mut metrics = 0;
    for set in record["metrics"]["sets"].as_array().expect("sets") {
        for metric in set["metrics"].as_array().expect("metrics").iter().filter(|metric| metric["prompt"].is_null()) {
            let tag = format!("metrics/builtin/{}", metric["metric"].as_str().expect("a name"));
            #[expect(clippy::cast_possible_truncation)]
            let point = (set["step"].as_u64().expect("a step"), metric["value"].as_f64().expect("a number") as f32);
            assert!(events.scalars[&tag].contains(&point), "{tag} {point:?}");
            metrics += 1;
        }
    }
    assert_eq!(
        metrics,
        events.scalars.iter().filter(|(tag, _)| tag.contains('/')).map(|(_, p)| p.len()).sum::<usize>()
    );
    assert!(metrics >= 8, "{metrics}");
    let start = &events.metadata["_hparams_/session_start_info"];
    let has = |text: &[u8]| start.windows(text.len()).any(|part| part == text);
    assert!(has(b"hparams") && has(b"train.learning_rate") && has(b"adapter.lora.rank") && !has(b"log.tensorboard"));
    assert!(events.metadata.contains_key("_hparams_/session_end_info"));
    let plan = world.text("results/a/plan.toml");
    assert!(plan.ends_with("\n[log]\ntensorboard = true\n"), "{plan}");
}

#[test]
fn a_run_without_it_has_none_and_may_have_it_later() {
    let world = World::new();
    world.done(&["run", "a.toml"]);
    let (plan, record) = (world.text("results/a/plan.toml"), world.text("results/a/run.json"));
    assert!(!plan.contains("log") && !world.path("results/a/tb").exists());
    // The same plan but for this: nothing is computed again.
    let said = world.done(&["run", "a.toml", "--tensorboard"]);
    said.has(&["finished already"]);
    assert_eq!(world.text("results/a/run.json"), record);
    let events = read(&world.path("results/a"));
    assert_is_of(&world, "results/a", &events);
    assert_eq!(events.images["a dog/0"].iter().map(|image| image.0).collect::<Vec<_>>(), [0, 6]);
    assert!(events.metadata.contains_key("_hparams_/session_end_info"));
    world.done(&["run", "a.toml"]).has(&["finished already"]);
    assert_eq!(world.text("results/a/plan.toml"), plan);

    // Whoever draws other pictures sees those, and a new start has one file.
    world.done(&["run", "a.toml", "--tensorboard", "--set", "eval.prompts=['a fox']"]);
    let events = read(&world.path("results/a"));
    assert_eq!(events.images.keys().collect::<Vec<_>>(), ["a fox/0"]);
    assert_is_of(&world, "results/a", &events);
    world.done(&["run", "a.toml", "--tensorboard", "--force"]);
    assert_is_of(&world, "results/a", &read(&world.path("results/a")));
}

#[test]
fn a_run_that_goes_on_has_every_point_once() {
    let world = World::new();
    let run = [&RUN[..], &["train.checkpoint_every=4", "--set", "train.keep_checkpoints=9"]].concat();
    world.done(&run);
    let straight = read(&world.path("results/a"));
    let remove = |name: &str| fs_err::remove_file(world.path(&format!("results/a/{name}"))).expect("it is there");
    // As if it had been killed after step 6 with the checkpoint of step 4, in the middle of a record.
    remove("run.json");
    remove("checkpoints/step-00000006.safetensors");
    fs_err::remove_dir_all(world.path("results/a/samples/tuned")).expect("it is there");
    let file = format!("results/a/tb/{}", tree(&world.path("results/a/tb"))[0]);
    let bytes = world.read(&file);
    world.write(&file, &bytes[..bytes.len() - 20]);
    world.done(&run).has(&["going on after step 4"]);
    let resumed = read(&world.path("results/a"));
    assert_is_of(&world, "results/a", &resumed);
    assert!(resumed.scalars == straight.scalars && resumed.images == straight.images);
}

#[test]
fn a_whole_small_file_is_byte_for_byte_as_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = "seed = 1\n";
    let Opened::Fresh(run) = RunDir::open(folder.path(), "a", plan, false).expect("opens") else { panic!("not fresh") };
    let mut events = EventFile::begin(&run, plan, 2e9, 0).expect("begins");
    let row = LossRow { step: 1, epoch: 1, loss: 0.5, lr: 0.25, grad_norm: 2.0, parts: None };
    events.step(&row, &Timing { total_seconds: 1.0, ..Timing::default() }).expect("writable");
    events.end(None, 2.0).expect("writable");
    let name = "events.out.tfevents.2000000000.tunelab";
    assert_eq!(tree(&run.path().join("tb")), [name]);
    let bytes = fs_err::read(run.path().join("tb").join(name)).expect("readable");
    let hex: Vec<String> = bytes
        .chunks(32)
        .map(|part| part.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat())
        .collect();
    insta::assert_snapshot!(hex.join("\n"), @"
    1800000000000000a37f4b22090000000065cddd411a0d627261696e2e457665
    6e743a3214c49f0c5a00000000000000136fb4bf090000000065cddd4110002a
    4d0a4b0a1c5f68706172616d735f2f73657373696f6e5f73746172745f696e66
    6f4a2b0a290a0768706172616d73121e1a1c0a110a0473656564120911000000
    000000f03f290000000065cddd4111e4b5003700000000000000e7e8ca590900
    00400065cddd4110012a2a0a0b0a046c6f7373150000003f0a090a026c721500
    00803e0a100a09677261645f6e6f726d15000000402f5989fd47000000000000
    00bac3fb9b090000800065cddd4110002a3a0a380a1a5f68706172616d735f2f
    73657373696f6e5f656e645f696e666f4a1a0a180a0768706172616d73120d22
    0b0801110000800065cddd415ad9275b
    ");
    assert_eq!(records(run.path()).len(), 4);
}
