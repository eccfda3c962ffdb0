//! Prompts of more than 77 tokens in chunks, against a plain statement of kohya's rule in PyTorch: ids, states, pooled vectors, and a
//! gradient through the joined states, for the three families.

use crate::fixture::{Tensors, close, fixture, loader, tensors};
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;
use tunelab::assets::local;
use tunelab::error::Error;
use tunelab::model::build::Trainable;
use tunelab::pipeline::{Ids, TokenIds, tokenize};
use tunelab::weights::PartName;
use tunelab_ops::composed;
use tunelab_ops::tape::record;

const CHUNKS: usize = 3;

fn prompts() -> [String; 6] {
    let beach = "a photo of a sks dog on the beach, ";
    ["a dog".into(), String::new(), beach.repeat(12), beach.repeat(60), ["dog"; 75].join(" "), ["dog"; 225].join(" ")]
}

/// The ids, which must be the fixture's, and what was cut.
fn ids(folder: &str, f: &Tensors, parts: &[PartName]) -> (Ids, Vec<String>) {
    let files = local::find(&fixture(folder)).unwrap();
    let tokenizers = loader(&files).tokenizers().unwrap().with_chunks(CHUNKS);
    let mut cut = Vec::new();
    let ids = tokenize(&tokenizers, prompts(), &mut |text| cut.push(text)).unwrap();
    for part in parts {
        let wanted: Vec<Vec<i64>> = f[&format!("{folder}.{part}.ids")].to_vec2().unwrap();
        for (prompt, wanted) in prompts().iter().zip(wanted) {
            let ours: Vec<i64> = ids[prompt][part].iter().map(|&id| i64::from(id)).collect();
            assert_eq!(ours, wanted, "{folder} {part}: {prompt}");
        }
    }
    (ids, cut)
}

#[test]
fn long_prompts_equal_kohyas_rule() {
    let f = tensors("long_prompts.safetensors");
    for (folder, parts) in [
        ("model", &[PartName::TextEncoder][..]),
        ("sd2", &[PartName::TextEncoder]),
        ("sdxl", &[PartName::TextEncoder, PartName::TextEncoder2]),
    ] {
        let (ids, cut) = ids(folder, &f, parts);
        assert_eq!(cut.len(), 1, "60 times nine words are too long even so: {cut:?}");
        let files = local::find(&fixture(folder)).unwrap();
        let trained: BTreeMap<_, _> = parts.iter().map(|part| (*part, Trainable::Full)).collect();
        let (encoders, parameters) = loader(&files).training(trained).text_encoders().unwrap();
        let encoders = encoders.with_chunks(CHUNKS);
        let prompts = prompts();
        let texts: Vec<&TokenIds> = prompts.iter().map(|prompt| &ids[prompt]).collect();
        let of =
            |name: &str| parts.iter().map(|part| f[&format!("{folder}.{part}.{name}")].clone()).collect::<Vec<_>>();
        let weight = |states: &Tensor| {
            let n = states.elem_count();
            let values: Vec<f32> = (0..n).map(|i| (-1.0 + 2.0 * i as f64 / (n - 1) as f64) as f32).collect();
            Tensor::from_vec(values, states.dims(), states.device()).unwrap()
        };
        let states = of("states");
        // The mean of each encoder's own states, as the fixture has them apart.
        let weights: Vec<Tensor> = states.iter().map(|of| (weight(of) / of.elem_count() as f64).unwrap()).collect();
        let weights = Tensor::cat(&weights, 2).unwrap();
        let ((made, loss), tape) = record(|| {
            let made = encoders.encode(&texts)?;
            let loss = composed(&[&made.hidden_states], |t| (&t[0] * &weights)?.sum_all())?;
            Ok::<_, Error>((made, loss))
        })
        .unwrap();
        assert_eq!(made.hidden_states.dims()[..2], [6, CHUNKS * 75 + 2]);
        close(&made.hidden_states, &Tensor::cat(&states, 2).unwrap(), &format!("{folder}: states"));
        if let Some(pooled) = &made.pooled {
            close(pooled, &f[&format!("{folder}.text_encoder_2.pooled")], "pooled");
        }
        let gradients = tape.backward(&loss).unwrap();
        for (part, wanted) in parts.iter().zip(of("gradient")) {
            let trained = parameters[part].trained();
            let (_, v) = trained.iter().find(|(name, _)| name.ends_with("layers.0.self_attn.v_proj.weight")).unwrap();
            close(
                &gradients.get(v).unwrap().to_dtype(DType::F32).unwrap(),
                &wanted,
                &format!("{folder} {part}: gradient"),
            );
        }
        // What fits is read alone as with others.
        let alone = encoders.encode(&[&ids[&prompts[0]]]).unwrap();
        close(&alone.hidden_states, &made.hidden_states.narrow(0, 0, 1).unwrap(), folder);
    }
}

#[test]
fn one_chunk_is_as_without() {
    let files = local::find(&fixture("sdxl")).unwrap();
    let read = |chunks: usize| {
        let tokenizers = loader(&files).tokenizers().unwrap().with_chunks(chunks);
        tokenize(&tokenizers, prompts(), &mut |_| {}).unwrap()
    };
    let plain = tokenize(&loader(&files).tokenizers().unwrap(), prompts(), &mut |_| {}).unwrap();
    assert_eq!(read(1), plain);
    assert_eq!(read(2)["a dog"][&PartName::TextEncoder].len(), 154);
}
