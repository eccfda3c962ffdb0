//! The moving average: what the evaluation sees of it, and that the training does not notice.

use super::{Bench, lora, settings};
use tunelab::error::{Error, Result};
use tunelab::train::trainer::{Trainer, TrainerInputs};

#[test]
fn a_look_at_the_average_changes_no_bit() {
    let train = settings(5);
    let averaging = |bench: &Bench| -> Result<Vec<_>> {
        let mut trainer = Trainer::new(TrainerInputs { ema_decay: Some(0.9), ..bench.inputs(&train) })?;
        let mut rows = Vec::new();
        while let Some(row) = trainer.step()? {
            rows.push(row);
        }
        trainer.finish()?;
        Ok(rows)
    };
    let undisturbed = Bench::new(lora(0.0), 2);
    let rows = averaging(&undisturbed).unwrap();

    let bench = Bench::new(lora(0.0), 2);
    let mut trainer = Trainer::new(TrainerInputs { ema_decay: Some(0.9), ..bench.inputs(&train) }).unwrap();
    let look = || Ok((bench.trained(), bench.evaluate()));
    for row in rows {
        assert_eq!(trainer.step().unwrap(), Some(row));
        let own = bench.trained();
        let (average, _) = trainer.with_ema_weights(look).unwrap();
        assert_eq!(average == own, row.step == 1, "the first step's values are taken whole");
        assert!(bench.trained() == own);
        // Also where the look fails.
        assert!(trainer.with_ema_weights(|| Err::<(), _>(Error::run("no"))).is_err());
        assert!(bench.trained() == own);
        let kept = trainer.checkpoint().unwrap().tensors;
        assert!(average.iter().all(|(name, bits)| super::bits(&kept[&format!("average.{name}")]) == *bits));
    }
    let (average, loss) = trainer.with_ema_weights(look).unwrap();
    trainer.finish().unwrap();
    assert!(bench.trained() == average && undisturbed.trained() == average, "what is saved is what was looked at");
    assert_eq!(bench.evaluate().to_bits(), loss.to_bits());
}
