//! ModelScope, as `server` acts it.

use tunelab::assets::modelscope;
use tunelab::config::Source;
use tunelab::error::Result;
use tunelab::pipeline::ModelFiles;
use tunelab::weights::PartName;

use super::huggingface::World;
use super::server::Fault;
use super::{PICTURES, model, pictures};

fn source() -> Source {
    Source::ModelScope { repo: "some-one/small.sd".into(), revision: "master".into() }
}

fn find(world: &World) -> Result<ModelFiles> {
    world.hubs.find_model(&source(), &world.progress)
}

#[test]
fn downloads_what_is_needed_into_pythons_cache_and_then_asks_for_nothing() {
    let world = World::new(model());
    let files = find(&world).unwrap();
    assert_eq!(files.root, world.cache.path().join("models/some-one/small___sd"));
    let expected = model();
    assert_eq!(
        fs_err::read(&files.parts[&PartName::Unet].weights[0]).unwrap(),
        expected["unet/diffusion_pytorch_model.safetensors"]
    );
    assert_eq!(fs_err::read(&files.scheduler_config).unwrap(), expected["scheduler/scheduler_config.json"]);
    assert!(!files.root.join("unet/diffusion_pytorch_model.fp16.safetensors").exists());
    let log = world.server.take_log();
    assert!(log.iter().all(|r| r.cookie.as_deref() == Some("m_session_id=hf_secret")));
    assert_eq!(log[0].target, "/api/v1/models/some-one/small.sd/repo/files?Revision=master&Recursive=True");
    let unet = "/api/v1/models/some-one/small.sd/repo?Revision=master&FilePath=unet%2Fconfig.json";
    assert!(log.iter().any(|r| r.target == unet), "{log:?}");

    find(&world).unwrap();
    assert_eq!(world.server.take_log().len(), 0);
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let world = World::new(model());
    world.server.set(Fault::CutOnce(1_000_000));
    find(&world).unwrap_err();
    world.server.take_log();
    let files = find(&world).unwrap();
    let ranges: Vec<_> = world.server.take_log().into_iter().filter_map(|r| r.range).collect();
    assert_eq!(ranges, ["bytes=1000000-"]);
    assert_eq!(
        fs_err::read(&files.parts[&PartName::Unet].weights[0]).unwrap(),
        model()["unet/diffusion_pytorch_model.safetensors"]
    );
}

#[test]
fn a_wrong_hash_is_an_error_and_leaves_nothing() {
    let world = World::new(model());
    world.server.set(Fault::WrongBytes);
    let text = find(&world).unwrap_err().to_string();
    assert!(text.contains("its SHA-256 is"), "{text}");
    let unet = world.cache.path().join("models/some-one/small___sd/unet");
    let left: Vec<_> = fs_err::read_dir(unet).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["config.json"]);
}

#[test]
fn refusals_and_silence_are_told() {
    let world = World::new(model());
    world.server.set(Fault::Refuse(404, ""));
    let error = find(&world).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("MODELSCOPE_API_TOKEN"), "{error}");
    world.server.set(Fault::Silent);
    let error = find(&world).unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("MODELSCOPE_ENDPOINT"), "{error}");
}

#[test]
fn revisions_do_not_share_a_folder() {
    let world = World::new(model());
    let old = Source::ModelScope { repo: "some-one/small.sd".into(), revision: "v1.0".into() };
    let old = world.hubs.find_model(&old, &world.progress).unwrap();
    assert!(old.root.ends_with("small___sd@v1.0"));
    assert_ne!(find(&world).unwrap().root, old.root);
}

#[test]
fn a_data_set_of_two_pages_comes_as_its_pictures_and_then_asks_for_nothing() {
    let world = World::new(pictures());
    let dir = world.dataset(&source()).unwrap();
    for name in PICTURES {
        assert_eq!(fs_err::read(dir.join(name)).unwrap(), format!("bytes of {name}").into_bytes());
    }
    assert!(!dir.join("README.md").exists());
    let pages = world.server.take_log().iter().filter(|r| r.target.contains("/datasets/4711/repo/tree?")).count();
    assert_eq!(pages, 2);
    assert_eq!(world.dataset(&source()).unwrap(), dir);
    assert_eq!(world.server.take_log().len(), 0);
}

#[test]
fn single_files_are_fetched_once_and_what_a_repository_lacks_is_named() {
    let world = World::new(model());
    let find = |needed: &[&str], useful: &[&str]| {
        let found = modelscope::find_files(
            ("some-one/small.sd", "master"),
            needed,
            useful,
            &world.hubs.modelscope,
            &world.progress,
        );
        found.map_err(|failed| failed.error)
    };
    let dir = find(&["unet/config.json"], &["vae/config.json", "none.json"]).unwrap();
    assert!(dir.join("unet/config.json").is_file() && dir.join("vae/config.json").is_file());
    assert!(!dir.join("none.json").exists());
    world.server.take_log();
    assert_eq!(find(&["unet/config.json"], &[]).unwrap(), dir);
    assert_eq!(world.server.take_log().len(), 0);
    let error = find(&["unet/config.json", "none.json"], &[]).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("has no none.json"), "{error}");
    world.server.set(Fault::Silent);
    assert!(find(&["scheduler/scheduler_config.json"], &[]).unwrap_err().exit_code() == 1);
}
