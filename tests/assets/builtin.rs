//! What is compiled in, unpacked: whole, again whole after damage, by several at once, and somewhere else where it must be.

use std::path::{Path, PathBuf};

use tunelab::assets::{builtin, local};
use tunelab::builtin::Builtin;

fn unpack(builtin: Builtin, root: &Path) -> PathBuf {
    builtin::unpack_into(builtin, &[root.to_owned()]).unwrap_or_else(|e| panic!("{e}"))
}

fn assert_whole(builtin: Builtin, folder: &Path) {
    for (path, bytes) in builtin.files() {
        assert!(fs_err::read(folder.join(path)).unwrap() == *bytes, "{path}");
    }
}

#[test]
fn it_is_a_model_and_five_pictures() {
    let root = tempfile::tempdir().unwrap();
    let model = local::find(&unpack(Builtin::Mini, root.path())).unwrap();
    assert!(!model.parts.values().any(|part| part.half), "nothing to warn of");
    let folder = unpack(Builtin::Corgi, root.path());
    let pictures = tunelab::data::load_dataset(&folder, Some("a dog"), false, &mut |text| panic!("{text}")).unwrap();
    assert_eq!(pictures.len(), 5);
    let size: usize = [Builtin::Mini, Builtin::Corgi, Builtin::Judge]
        .iter()
        .flat_map(|b| b.files())
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert!(size < 13_000_000, "{size}");
}

/// Those that are compiled in packed among them, and in the order of their paths.
#[test]
fn every_file_is_the_one_in_assets() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/tunelab-core/assets");
    for (path, bytes) in Builtin::Mini.files() {
        assert!(fs_err::read(assets.join("mini").join(path)).unwrap() == *bytes, "{path}");
    }
    assert!(fs_err::read(assets.join("mini/judge.safetensors")).unwrap() == Builtin::Judge.files()[0].1);
    for (builtin, tokenizer) in
        [(Builtin::Sd1, "tokenizer"), (Builtin::Sd2, "tokenizer"), (Builtin::Sdxl, "tokenizer_2")]
    {
        let merges = builtin.file(&format!("{tokenizer}/merges.txt")).unwrap();
        assert!(fs_err::read(assets.join("clip/merges.txt")).unwrap() == merges, "{builtin}");
    }
    for builtin in [Builtin::Mini, Builtin::Corgi, Builtin::Judge, Builtin::Sd1, Builtin::Sd2, Builtin::Sdxl] {
        assert!(builtin.files().is_sorted_by_key(|(path, _)| path), "{builtin}");
    }
}

#[test]
fn what_is_damaged_is_mended() {
    let root = tempfile::tempdir().unwrap();
    let folder = unpack(Builtin::Mini, root.path());
    let untouched = folder.join("unet/config.json");
    let written = || fs_err::metadata(&untouched).unwrap().modified().unwrap();
    let before = written();
    let weights = folder.join("vae/diffusion_pytorch_model.safetensors");
    let mut bytes = fs_err::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs_err::write(&weights, bytes).unwrap();
    fs_err::write(folder.join("model_index.json"), "{").unwrap();
    fs_err::remove_dir_all(folder.join("tokenizer")).unwrap();
    assert_eq!(unpack(Builtin::Mini, root.path()), folder);
    assert_whole(Builtin::Mini, &folder);
    assert_eq!(written(), before, "what is whole is left alone");

    let corgi = unpack(Builtin::Corgi, root.path());
    fs_err::write(corgi.join("cat.png"), "").unwrap();
    let error = builtin::unpack_into(Builtin::Corgi, &[root.path().to_owned()]).unwrap_err().to_string();
    assert!(error.contains("cat.png") && error.contains("no part of builtin:corgi"), "{error}");
}

#[test]
fn several_unpack_at_once() {
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_whole(Builtin::Mini, &unpack(Builtin::Mini, root.path())));
        }
    });
    assert_eq!(fs_err::read_dir(root.path()).unwrap().count(), 1, "nothing is left beside the folder");
}

#[test]
fn where_one_folder_cannot_be_written_another_is_taken() {
    let root = tempfile::tempdir().unwrap();
    let blocked = root.path().join("file");
    fs_err::write(&blocked, "").unwrap();
    let roots = [blocked.join("cache"), root.path().join("other")];
    let folder = builtin::unpack_into(Builtin::Corgi, &roots).unwrap();
    assert!(folder.starts_with(&roots[1]));
    assert_whole(Builtin::Corgi, &folder);
    let error = builtin::unpack_into(Builtin::Corgi, &roots[..1]).unwrap_err().to_string();
    assert!(error.contains("builtin:corgi") && error.contains("XDG_CACHE_HOME") && error.contains("file"), "{error}");
}
