//! Packs the largest of what is compiled in, so that the program is 2 MB smaller.
//!
//! In: the miniature's weights and CLIP's pairs in `assets/`. Out: `OUT_DIR/<name>.packed`, which
//! `src/builtin.rs` compiles in and unpacks again: DEFLATE over a text as it is, of weights over the
//! first byte of every two, then over the second. The high bytes of float16 numbers (sign, exponent,
//! two bits) are much alike; where the others lie between them, DEFLATE finds half as much.

#![expect(clippy::disallowed_methods, reason = "a build script: whoever builds reads the path in the error's context")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// What is packed, by the name that it is compiled in under, and how many bytes each of its values has.
const PACKED: [(&str, &str, usize); 5] = [
    ("unet", "mini/unet/diffusion_pytorch_model.safetensors", 2),
    ("vae", "mini/vae/diffusion_pytorch_model.safetensors", 2),
    ("text_encoder", "mini/text_encoder/model.safetensors", 2),
    ("judge", "mini/judge.safetensors", 2),
    ("merges", "clip/merges.txt", 1),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    for (name, path, width) in PACKED {
        let path = Path::new("assets").join(path);
        println!("cargo:rerun-if-changed={}", path.display());
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::write(out.join(format!("{name}.packed")), packed(&bytes, width)).expect("OUT_DIR can be written");
    }
}

fn packed(bytes: &[u8], width: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for plane in 0..width {
        let plane: Vec<u8> = bytes.iter().copied().skip(plane).step_by(width).collect();
        encoder.write_all(&plane).expect("writing to memory");
    }
    encoder.finish().expect("writing to memory")
}
