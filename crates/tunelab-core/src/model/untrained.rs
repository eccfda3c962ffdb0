//! How the tensors of an untrained network begin.
//!
//! In: a tensor's name and shape, and a seed. Out: its first values.

use crate::error::{Error, Result};
use crate::random::Generator;
use candle_core::{Device, Tensor};

/// A tensor of a network that has not been trained. Biases are 0 and the norms' weights 1; embeddings
/// are normal with deviation 0.02, as transformers begins them, and all others uniform within
/// 1/√inputs, as torch does.
pub(super) fn untrained(dims: &[usize], name: &str, seed: u64, device: &Device) -> Result<Tensor> {
    let n = dims.iter().product();
    let mut random = Generator::stream(seed, name, 0);
    let values = match dims {
        [_] if name.ends_with("bias") => vec![0.0; n],
        [_] => vec![1.0; n],
        _ if name.contains("embedding.") && !name.contains("time_embedding") => {
            random.randn(n).into_iter().map(|x| 0.02 * x).collect()
        }
        [_, inputs @ ..] => {
            let bound = 1.0 / (inputs.iter().product::<usize>() as f32).sqrt();
            random.rand(n).into_iter().map(|x| bound * (2.0 * x - 1.0)).collect()
        }
        [] => return Err(Error::run(format!("the weight `{name}` has no shape"))),
    };
    Ok(Tensor::from_vec(values, dims, device)?)
}
