//! Hugging Face, as `server` acts it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tunelab::assets::{Hub, HubSettings, Hubs, Token};
use tunelab::config::{Selection, Source};
use tunelab::error::{Error, Kind, Result};
use tunelab::hash::sha256_of_file;
use tunelab::pipeline::{ModelFiles, TOKENIZER_FILES};
use tunelab::progress::Progress;
use tunelab::weights::PartName;

use super::server::{COMMIT, Fault, Server};
use super::{Files, NEEDED, PICTURES, model, pictures};

const REPO: &str = "some-one/small.sd";

pub fn settings(hub: Hub, endpoint: String, cache: &Path) -> HubSettings {
    HubSettings {
        hub,
        endpoint,
        cache: Some(cache.to_owned()),
        token: Token::new("hf_secret"),
        // Long enough for a machine that is busy with other tests.
        patience: Duration::from_secs(2),
        time_out: Duration::from_secs(2),
        retries: 0,
        offline: None,
    }
}

/// One server, one cache.
pub struct World {
    pub server: Server,
    pub cache: tempfile::TempDir,
    pub hubs: Hubs,
    pub progress: Progress,
}

impl World {
    pub fn new(files: Files) -> Self {
        let (server, cache) = (Server::start(files), tempfile::tempdir().unwrap());
        let hubs = Hubs {
            huggingface: settings(Hub::HuggingFace, server.endpoint(), cache.path()),
            modelscope: settings(Hub::ModelScope, server.endpoint(), cache.path()),
            unpacked: vec![cache.path().join("unpacked")],
        };
        Self { server, cache, hubs, progress: Progress::hidden() }
    }

    /// The folder of all of a data set.
    pub fn dataset(&self, source: &Source) -> Result<PathBuf> {
        Ok(self.hubs.find_dataset(source, &Selection::default(), &self.progress)?.root)
    }

    fn model(&self) -> Result<ModelFiles> {
        self.hubs.find_model(&source(None), &self.progress)
    }

    fn error(&self) -> Error {
        self.model().expect_err("the server misbehaves")
    }
}

fn source(modelscope: Option<&str>) -> Source {
    Source::HuggingFace { repo: REPO.into(), revision: "main".into(), modelscope: modelscope.map(str::to_owned) }
}

/// The names of the files below the cache that end so.
fn ending(dir: &Path, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(ending(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn downloads_what_is_needed_into_pythons_cache_and_then_asks_for_nothing() {
    let world = World::new(model());
    let files = world.model().unwrap();
    let repo = world.cache.path().join("models--some-one--small.sd");
    assert_eq!(files.root, repo.join("snapshots").join(COMMIT));
    assert_eq!(fs_err::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    let expected = model();
    let unet = &expected["unet/diffusion_pytorch_model.safetensors"];
    assert_eq!(&fs_err::read(&files.parts[&PartName::Unet].weights[0]).unwrap(), unet);
    assert_eq!(fs_err::read(&files.parts[&PartName::Vae].config).unwrap(), expected["vae/config.json"]);
    let blob = repo.join("blobs").join(sha256_of_file(&files.parts[&PartName::Unet].weights[0]).unwrap());
    assert_eq!(blob.canonicalize().unwrap(), files.parts[&PartName::Unet].weights[0].canonicalize().unwrap());
    assert!(fs_err::read_link(&files.parts[&PartName::Unet].weights[0]).unwrap().is_relative());
    assert_eq!(fs_err::read_dir(repo.join("blobs")).unwrap().count(), NEEDED);

    world.server.take_log();
    assert_eq!(world.model().unwrap().parts[&PartName::Unet].weights, files.parts[&PartName::Unet].weights);
    assert_eq!(world.server.take_log().len(), 0);
}

#[test]
fn every_file_that_decides_ids_comes_with_the_tokenizer() {
    let mut files = model();
    for name in TOKENIZER_FILES {
        files.insert(format!("tokenizer/{name}"), format!("{{\"{name}\": 1}}").into_bytes());
    }
    let world = World::new(files);
    let modelscope = Source::ModelScope { repo: REPO.into(), revision: "master".into() };
    for source in [source(None), modelscope] {
        let found = world.hubs.find_model(&source, &world.progress).unwrap();
        for name in TOKENIZER_FILES {
            let text = fs_err::read_to_string(found.tokenizers[&PartName::TextEncoder].join(name)).unwrap();
            assert_eq!(text, format!("{{\"{name}\": 1}}"));
        }
    }
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_its_storage() {
    let world = World::new(model());
    world.model().unwrap();
    let log = world.server.take_log();
    let (storage, hub): (Vec<_>, Vec<_>) = log.iter().partition(|r| r.target.starts_with("/storage/"));
    assert_eq!(storage.len(), 3);
    assert!(storage.iter().all(|r| r.authorization.is_none()));
    assert!(hub.iter().all(|r| r.authorization.as_deref() == Some("Bearer hf_secret")));
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let world = World::new(model());
    world.server.set(Fault::CutOnce(1_000_000));
    let error = world.error();
    assert_eq!(error.kind(), Kind::Run);
    assert!(
        error.to_string().contains("unet/diffusion_pytorch_model.safetensors: broke off after 1000000 of"),
        "{error}"
    );
    assert_eq!(ending(world.cache.path(), ".incomplete").len(), 1);

    world.server.take_log();
    let files = world.model().unwrap();
    let ranges: Vec<_> =
        world.server.take_log().into_iter().filter(|r| r.target.starts_with("/storage/unet")).collect();
    assert_eq!(ranges.len(), 1);
    assert_eq!(ranges[0].range.as_deref(), Some("bytes=1000000-"));
    assert_eq!(
        fs_err::read(&files.parts[&PartName::Unet].weights[0]).unwrap(),
        model()["unet/diffusion_pytorch_model.safetensors"]
    );
    assert_eq!(ending(world.cache.path(), ".incomplete").len(), 0);
}

#[test]
fn a_cut_download_is_taken_up_again_in_the_same_run() {
    let mut world = World::new(model());
    world.hubs.huggingface.retries = 1;
    world.server.set(Fault::CutOnce(1_000_000));
    world.model().unwrap();
    assert!(world.progress.hidden_lines().iter().any(|l| l.contains("the transfer broke")));
}

#[test]
fn a_server_that_ignores_ranges_starts_the_file_again() {
    let world = World::new(model());
    world.server.set(Fault::CutOnce(1_000_000));
    world.error();
    world.server.set(Fault::IgnoresRange);
    let files = world.model().unwrap();
    assert_eq!(
        fs_err::read(&files.parts[&PartName::Unet].weights[0]).unwrap(),
        model()["unet/diffusion_pytorch_model.safetensors"]
    );
}

#[test]
fn a_wrong_hash_is_an_error_and_leaves_nothing() {
    let world = World::new(model());
    world.server.set(Fault::WrongBytes);
    let error = world.error().to_string();
    assert!(
        error.contains("unet/diffusion_pytorch_model.safetensors: the download is damaged: its SHA-256"),
        "{error}"
    );
    assert_eq!(ending(world.cache.path(), ".incomplete").len(), 0);
    world.server.set(Fault::None);
    world.model().unwrap();
}

#[test]
fn a_wrong_size_is_an_error_and_leaves_nothing() {
    let world = World::new(model());
    world.server.set(Fault::WrongSize);
    let size = model()["unet/diffusion_pytorch_model.safetensors"].len();
    let error = world.error().to_string();
    assert!(error.contains(&format!("the hub states {size} bytes, but {} are sent", size + 1)), "{error}");
    assert_eq!(ending(world.cache.path(), ".incomplete").len(), 0);
}

#[test]
fn refusals_name_the_repository_and_the_remedy_and_never_the_token() {
    let cases = [
        (401, "RepoNotFound", "the token is refused", "HF_TOKEN is set: is it still valid?"),
        (401, "GatedRepo", "access to `some-one/small.sd` is refused", "accept the licence"),
        (403, "", "access to `some-one/small.sd` is refused", "accept the licence"),
        (404, "RepoNotFound", "not found", "spelling"),
        (404, "RevisionNotFound", "has no such revision", "spelling"),
    ];
    let world = World::new(model());
    for (status, code, message, hint) in cases {
        world.server.set(Fault::Refuse(status, code));
        let error = world.error();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 2, "{text}");
        assert!(text.contains(message) && text.contains(hint) && text.contains(REPO), "{status} {code}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
    assert!(!format!("{:?}", world.hubs).contains("secret"));
}

#[test]
fn without_a_token_a_401_says_to_set_one() {
    let mut world = World::new(model());
    world.hubs.huggingface.token = None;
    world.server.set(Fault::Refuse(401, ""));
    let text = world.error().to_string();
    assert!(text.contains("does not exist or is private") && text.contains("HF_TOKEN must be set"), "{text}");
}

#[test]
fn a_file_that_another_process_fetches_is_left_alone() {
    let world = World::new(model());
    world.server.set(Fault::CutOnce(1_000_000));
    world.error();
    let part = ending(world.cache.path(), ".incomplete").pop().unwrap();
    let other = fs_err::OpenOptions::new().read(true).open(&part).unwrap();
    other.file().try_lock().unwrap();
    let text = world.error().to_string();
    assert!(
        text.contains("another process is downloading this file") && text.contains("run the same command"),
        "{text}"
    );
    assert_eq!(other.metadata().unwrap().len(), 1_000_000);
    other.file().unlock().unwrap();
    world.model().unwrap();
}

#[test]
fn of_several_that_fetch_at_once_one_does() {
    for _ in 0..8 {
        let (world, whole) = (World::new(model()), model());
        // As it is where a blob was removed.
        let snapshot = world.cache.path().join("models--some-one--small.sd/snapshots").join(COMMIT);
        fs_err::create_dir_all(&snapshot).unwrap();
        fs_err::os::unix::fs::symlink("../../blobs/gone", snapshot.join("model_index.json")).unwrap();
        let one = || {
            let found = loop {
                match world.model() {
                    Ok(found) => break found,
                    Err(e) => assert!(e.to_string().contains("another process is downloading this file"), "{e}"),
                }
            };
            let weights = fs_err::read(&found.parts[&PartName::Unet].weights[0]).unwrap();
            assert!(weights == whole["unet/diffusion_pytorch_model.safetensors"]);
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(one))));
        assert_eq!(ending(world.cache.path(), ".incomplete"), [""; 0]);
        assert_eq!(ending(world.cache.path(), ".tmp"), [""; 0]);
        let log = world.server.take_log();
        let whole = log.iter().filter(|r| r.target.starts_with("/storage/unet") && r.range.is_none()).count();
        assert_eq!(whole, 1, "its content is sent once");
    }
}

#[test]
fn a_silent_hub_times_out() {
    let world = World::new(model());
    world.server.set(Fault::Silent);
    let began = Instant::now();
    let error = world.error();
    assert!(began.elapsed() < Duration::from_secs(10));
    let text = error.to_string();
    assert_eq!(error.exit_code(), 1);
    assert!(text.contains(&world.server.endpoint()) && text.contains("HF_ENDPOINT") && text.contains("path"), "{text}");
}

/// The retries are for transfers that break, not for a hub that does not answer at all.
#[test]
fn a_silent_hub_costs_no_more_than_its_patience() {
    let mut world = World::new(model());
    (world.hubs.huggingface.patience, world.hubs.huggingface.retries) = (Duration::from_secs(1), 5);
    world.hubs.huggingface.time_out = Duration::from_mins(1);
    world.server.set(Fault::Silent);
    let began = Instant::now();
    world.error();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let nothing = |_: &str| None;
    for settings in [HubSettings::huggingface(&nothing), HubSettings::modelscope(&nothing)] {
        assert_eq!(settings.patience, Duration::from_secs(10));
    }
}

#[test]
fn a_download_that_is_slow_and_moves_is_not_cut() {
    let mut world = World::new(model());
    world.hubs.huggingface.patience = Duration::from_secs(2);
    world.server.set(Fault::Slow(Duration::from_millis(400)));
    let began = Instant::now();
    let files = world.model().unwrap();
    assert!(began.elapsed() > Duration::from_millis(2500), "slower than either time-out: {:?}", began.elapsed());
    assert_eq!(
        fs_err::read(&files.parts[&PartName::Unet].weights[0]).unwrap(),
        model()["unet/diffusion_pytorch_model.safetensors"]
    );
}

#[test]
fn offline_nobody_is_asked_and_what_the_cache_holds_is_used() {
    let mut world = World::new(model());
    world.hubs.huggingface.offline = Some("HF_HUB_OFFLINE");
    world.hubs.modelscope.offline = Some("HF_HUB_OFFLINE");
    for modelscope in [None, Some("else/where")] {
        let error = world.hubs.find_model(&source(modelscope), &world.progress).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 2, "{text}");
        assert!(
            text.contains("HF_HUB_OFFLINE is set") && text.contains(REPO) && text.contains("without HF_HUB_OFFLINE"),
            "{text}"
        );
        assert!(text.contains(&world.cache.path().display().to_string()), "{text}");
    }
    assert_eq!(world.server.take_log().len(), 0);
    world.hubs.huggingface.offline = None;
    world.model().unwrap();
    assert!(world.server.take_log().len() > NEEDED);
    world.hubs.huggingface.offline = Some("TRANSFORMERS_OFFLINE");
    world.model().unwrap();
    assert_eq!(world.server.take_log().len(), 0);
}

/// As Python's library leaves them, without this program's list of files.
#[test]
fn offline_pictures_are_taken_as_the_cache_has_them() {
    let mut world = World::new(pictures());
    let dir = world.dataset(&source(None)).unwrap();
    fs_err::remove_dir_all(world.cache.path().join("datasets--some-one--small.sd/.tunelab")).unwrap();
    world.hubs.huggingface.offline = Some("HF_HUB_OFFLINE");
    world.server.take_log();
    assert_eq!(world.dataset(&source(None)).unwrap(), dir);
    assert_eq!(world.server.take_log().len(), 0);
    let warnings = world.progress.take_warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("HF_HUB_OFFLINE is set"), "{warnings:?}");
}

/// As `huggingface_hub` 2.4 reads them.
#[test]
fn the_environment_is_read_as_pythons_library_reads_it() {
    let read = |set: &[(&str, &str)]| {
        let variables = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        HubSettings::huggingface(&variables)
    };
    for yes in ["1", "true", "True", "yes", "ON"] {
        assert_eq!(read(&[("HF_HUB_OFFLINE", yes)]).offline, Some("HF_HUB_OFFLINE"), "{yes}");
        assert_eq!(read(&[("TRANSFORMERS_OFFLINE", yes)]).offline, Some("TRANSFORMERS_OFFLINE"), "{yes}");
    }
    for no in ["0", "false", "off", "2", "y"] {
        assert_eq!(read(&[("HF_HUB_OFFLINE", no)]).offline, None, "{no}");
    }
    assert_eq!(read(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).offline, None, "the first decides");
    let all = [("HF_HUB_CACHE", "/a"), ("HUGGINGFACE_HUB_CACHE", "/b"), ("HF_HOME", "/c"), ("XDG_CACHE_HOME", "/d")];
    for (from, folder) in ["/a", "/b", "/c/hub", "/d/huggingface/hub"].into_iter().enumerate() {
        assert_eq!(read(&all[from..]).cache.as_deref(), Some(Path::new(folder)));
    }
}

#[test]
fn modelscope_is_asked_when_hugging_face_cannot_be_reached_and_a_line_says_so() {
    let mut world = World::new(model());
    // Nothing listens on port 9 (discard) of this machine.
    world.hubs.huggingface.endpoint = "http://127.0.0.1:9".into();
    let files = world.hubs.find_model(&source(Some("else/where")), &world.progress).unwrap();
    assert!(files.root.ends_with("models/else/where"));
    let lines = world.progress.hidden_lines();
    assert!(lines.iter().any(|l| l.contains("trying ModelScope's else/where")), "{lines:?}");
}

#[test]
fn modelscope_is_not_asked_when_hugging_face_refuses() {
    let world = World::new(model());
    world.server.set(Fault::Refuse(404, ""));
    world.hubs.find_model(&source(Some("else/where")), &world.progress).unwrap_err();
    assert_eq!(world.server.take_log().len(), 1);
}

#[test]
fn both_hubs_out_of_reach_are_both_told() {
    let mut world = World::new(model());
    world.hubs.huggingface.endpoint = "http://127.0.0.1:9".into();
    world.hubs.modelscope.endpoint = "http://127.0.0.1:9".into();
    let text = world.hubs.find_model(&source(Some("else/where")), &world.progress).unwrap_err().to_string();
    assert!(text.contains("Hugging Face cannot be reached") && text.contains("ModelScope"), "{text}");
}

#[test]
fn the_float16_variant_is_taken_only_where_there_is_no_other() {
    let mut files = model();
    let vae = files.remove("vae/diffusion_pytorch_model.safetensors").unwrap();
    files.insert("vae/diffusion_pytorch_model.fp16.safetensors".into(), vae);
    let world = World::new(files);
    let found = world.model().unwrap();
    assert!(
        found.parts[&PartName::Vae].half
            && found.parts[&PartName::Vae].weights[0].ends_with("diffusion_pytorch_model.fp16.safetensors")
    );
    assert!(
        !found.parts[&PartName::Unet].half
            && found.parts[&PartName::Unet].weights[0].ends_with("diffusion_pytorch_model.safetensors")
    );
    assert!(world.progress.hidden_lines().iter().any(|l| l.starts_with("vae: only float16")));
}

#[test]
fn everything_that_the_repository_lacks_is_listed() {
    let mut files = model();
    files.remove("unet/config.json");
    files.remove("text_encoder/model.safetensors");
    let text = World::new(files).error().to_string();
    for part in ["unet/config.json", "text_encoder/model.safetensors", "pickled", "text_encoder/pytorch_model.bin"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Only its small files come: which model it is shows in the first.
#[test]
fn a_model_of_another_family_is_refused_before_its_weights_come() {
    let mut files = model();
    let index = String::from_utf8(files["model_index.json"].clone()).unwrap();
    let index = index.replace("StableDiffusionPipeline", "StableDiffusionInpaintPipeline");
    files.insert("model_index.json".into(), index.into_bytes());
    let world = World::new(files);
    let text = world.error().to_string();
    assert!(text.contains("this is an inpainting model, which is not supported"), "{text}");
    assert!(world.server.take_log().iter().all(|r| !r.target.contains("safetensors")), "no weights");
}

#[test]
fn names_that_leave_the_cache_are_never_written() {
    let mut files = pictures();
    files.insert("../../../escaped.png".into(), b"x".to_vec());
    files.insert("/tmp/tunelab-escaped.png".into(), b"x".to_vec());
    let world = World::new(files);
    let dir = world.dataset(&source(None)).unwrap();
    assert!(dir.join("01.jpeg").is_file());
    assert!(world.server.take_log().iter().all(|r| !r.target.contains("escaped")));
}

#[test]
fn a_data_set_comes_as_its_pictures_and_captions_and_then_asks_for_nothing() {
    let world = World::new(pictures());
    let dir = world.dataset(&source(None)).unwrap();
    for name in PICTURES {
        assert_eq!(fs_err::read(dir.join(name)).unwrap(), format!("bytes of {name}").into_bytes());
    }
    for name in ["README.md", "LICENSE.txt", "x.py", "b/alone.caption"] {
        assert!(!dir.join(name).exists(), "{name}");
    }
    world.server.take_log();
    assert_eq!(world.dataset(&source(None)).unwrap(), dir);
    assert_eq!(world.server.take_log().len(), 0);
}

#[test]
fn images_that_are_packed_in_an_unread_way_are_a_clear_error() {
    let world = World::new(Files::from([("data/train.tar.zst".into(), vec![1])]));
    let text = world.dataset(&source(None)).unwrap_err().to_string();
    assert!(text.contains("packed in a way that is not read (data/train.tar.zst)") && text.contains(REPO), "{text}");
}

#[test]
fn a_cache_that_cannot_be_written_names_the_variable() {
    let mut world = World::new(model());
    let file = world.cache.path().join("a-file");
    fs_err::write(&file, "x").unwrap();
    world.hubs.huggingface.cache = Some(file.join("hub"));
    let error = world.error();
    assert!(error.to_string().contains("set HF_HOME") && error.exit_code() == 2, "{error}");
    world.hubs.huggingface.cache = None;
    assert!(world.error().to_string().contains("set HF_HOME"));
}

#[test]
fn odd_repository_names_are_refused_before_anything_is_asked() {
    let world = World::new(model());
    for repo in ["../x", "a/b/c", "", "a b/c", "/etc/x"] {
        let source = Source::HuggingFace { repo: repo.into(), revision: "main".into(), modelscope: None };
        assert_eq!(world.hubs.find_model(&source, &world.progress).unwrap_err().exit_code(), 2, "{repo}");
    }
    assert_eq!(world.server.take_log().len(), 0);
}
