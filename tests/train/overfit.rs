//! Overfitting on one picture: the evaluation loss falls by nine tenths, for all weights and for an
//! adapter.

use super::{Bench, settings};
use tunelab::config::{LrScheduler, Train};
use tunelab::model::build::Trainable;
use tunelab::model::lora::LoraConfig;

/// Trains on one picture with the trainer and the evaluation that `tunelab run` uses.
fn learns_by_heart(trained: Trainable) {
    let train = Train { learning_rate: 8e-3, lr_scheduler: LrScheduler::Cosine, warmup_steps: 10, ..settings(500) };
    let bench = Bench::new(trained, 1);
    let before = bench.evaluate();
    bench.rows(&train).unwrap();
    let after = bench.evaluate();
    println!("evaluation loss {before} → {after}");
    assert!(after < 0.1 * before, "{before} → {after}");
}

#[test]
fn all_weights_learn_one_picture_by_heart() {
    learns_by_heart(Trainable::Full);
}

/// Beside every linear map and convolution.
#[test]
fn an_adapter_learns_one_picture_by_heart() {
    let targets = "to_q to_k to_v to_out.0 proj_in proj_out ff.net.0.proj ff.net.2 conv1 conv2 conv conv_shortcut \
                   time_emb_proj linear_1 linear_2 conv_in conv_out";
    let targets = targets.split_whitespace().map(str::to_owned).collect();
    learns_by_heart(Trainable::Lora(LoraConfig { rank: 8, alpha: 16.0, targets, dropout: 0.0 }));
}
