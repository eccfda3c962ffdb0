//! The loss curve.

use super::*;

/// A loss as training shows it: noise far larger than the trend.
fn noisy(steps: usize) -> Losses {
    let raw = (1..=steps).map(|step| {
        let hash = (step as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let noise = hash as f64 / (1u64 << 24) as f64;
        (step as f64, 0.02 + 0.5 * noise.powi(3) + 0.1 / (1.0 + step as f64 / 200.0))
    });
    let eval = (0..=steps / 50).map(|i| ((i * 50) as f64, 0.13 + 0.03 / (1.0 + i as f64)));
    Losses { raw: raw.collect(), eval: eval.collect(), ..Losses::default() }
}

fn count(of: &Rgb, color: impl Fn([u8; 3]) -> bool) -> usize {
    of.pixels.chunks_exact(3).filter(|p| color([p[0], p[1], p[2]])).count()
}

fn orange([r, g, b]: [u8; 3]) -> bool {
    r > 180 && g < 140 && b < 60
}

fn blue([r, g, b]: [u8; 3]) -> bool {
    r < 60 && g < 130 && b > 120
}

fn ink([r, g, b]: [u8; 3]) -> bool {
    r < 90 && g < 90 && b < 90
}

#[test]
fn the_moving_average_is_debiased() {
    let smoothed = |losses: &Losses| smooth(&losses.raw, losses.span());
    let constant = Losses { raw: (1..=40).map(|step| (f64::from(step), 0.25)).collect(), ..Losses::default() };
    assert!(smoothed(&constant).iter().all(|&(_, loss)| (loss - 0.25).abs() < 1e-12));
    // By hand: span 5, weight 1/3: (2/3 * 1 + 3) / (2/3 + 1).
    let two = Losses { raw: vec![(1.0, 1.0), (2.0, 3.0)], ..Losses::default() };
    assert_eq!(two.span(), 5);
    assert!((smoothed(&two)[1].1 - 2.2).abs() < 1e-12);
}

#[test]
fn thinning_keeps_the_outline() {
    let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 0.5)).collect();
    points[70_001].1 = 9.0;
    points[70_002].1 = -9.0;
    let thinned = thin(&points, 3000);
    assert!(thinned.len() <= 3000, "{}", thinned.len());
    assert!(thinned.contains(&(70_001.0, 9.0)) && thinned.contains(&(70_002.0, -9.0)));
    assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(thin(&points[..7], 3000), points[..7]);
}

#[test]
fn the_picture_has_all_lines_and_its_words() {
    let image = curve::to_image(&noisy(500)).unwrap();
    assert!(image.width == 2040 && image.height >= 1000);
    assert!(count(&image, orange) > 2000 && count(&image, blue) > 3000 && count(&image, ink) > 5000);
    let without = curve::to_image(&Losses { eval: vec![], ..noisy(500) }).unwrap();
    assert_eq!(count(&without, orange), 0);
    assert!(without.height < image.height);
}

#[test]
fn an_outlier_does_not_flatten_the_rest() {
    let mut losses = noisy(500);
    let calm = curve::to_svg(&losses).unwrap();
    let labels = |svg: &str| texts(svg).iter().filter_map(|text| text.parse::<f64>().ok()).collect::<Vec<_>>();
    assert!(labels(&calm).contains(&0.4), "{:?}", labels(&calm));
    losses.raw[250].1 = 1e6;
    let labels = labels(&curve::to_svg(&losses).unwrap());
    assert!(labels.iter().all(|&label| label <= 500.0) && labels.contains(&0.4), "{labels:?}");
}

#[test]
fn of_a_few_steps_none_is_an_outlier() {
    let losses = Losses { raw: vec![(1.0, 0.07), (2.0, 0.2)], ..Losses::default() };
    let svg = curve::to_svg(&losses).unwrap();
    assert!(texts(&svg).contains(&"0.20"), "the axis ends below the second step");
}

#[test]
fn few_and_many_points_work() {
    for steps in [1, 2, 3, 100_000] {
        for eval in [true, false] {
            let mut losses = noisy(steps);
            if !eval {
                losses.eval.clear();
            }
            let image = curve::to_image(&losses).unwrap();
            assert!(count(&image, blue) > 50, "{steps} steps: no curve");
            assert!(curve::to_svg(&losses).unwrap().len() < 1_000_000);
        }
    }
    let flat = Losses { raw: vec![(1.0, 0.0), (2.0, 0.0)], eval: vec![(0.0, 0.0), (2.0, 0.0)], ..Losses::default() };
    assert!(count(&curve::to_image(&flat).unwrap(), orange) > 50);
    assert!(curve::to_image(&Losses::default()).is_ok());
}

#[test]
fn a_run_gets_both_files_and_the_same_bytes_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    let mut log = LossLog::create(&run, false).unwrap();
    for (step, loss) in [(1, 0.2), (2, 0.1), (3, f32::NAN)] {
        log.step(&LossRow { step, epoch: 1, loss, lr: 1e-4, grad_norm: 1.0, parts: None }, &Timing::default()).unwrap();
    }
    log.evaluation(0, 0.2).unwrap();
    assert_eq!(Losses::read(run.path()).unwrap().raw, [(1.0, 0.2), (2.0, 0.1)]);
    curve::write(run.path()).unwrap();
    let files = ["loss.png", "loss.svg"].map(|name| run.path().join(name));
    let before = files.clone().map(|path| fs::read(path).unwrap());
    assert!(String::from_utf8_lossy(&before[1]).contains("evaluation loss"));
    curve::write(run.path()).unwrap();
    assert_eq!(files.map(|path| fs::read(path).unwrap()), before);
}

#[test]
fn a_broken_log_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("loss.csv"), "step,loss\n1,0.5\n2,oops\n").unwrap();
    let error = Losses::read(folder.path()).unwrap_err();
    assert!(error.message().contains("loss.csv") && error.message().contains("oops"), "{error}");
}

#[test]
fn a_dreambooth_run_shows_its_two_parts() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<String> =
        (1..=30).map(|step| format!("{step},1,0.3,0.0001,1,0.1,{}\n", 0.2 + f64::from(step) / 1e3)).collect();
    let text = format!("step,epoch,loss,lr,grad_norm,instance_loss,prior_loss\n{}31,1,0.3,0.0001,1", rows.concat());
    fs::write(folder.path().join("loss.csv"), text).unwrap();
    let losses = Losses::read(folder.path()).unwrap();
    assert_eq!((losses.raw.len(), losses.instance.len(), losses.prior.len()), (31, 30, 30));
    assert_eq!((losses.instance[2], losses.prior[2]), ((3.0, 0.1), (3.0, 0.203)));
    let svg = curve::to_svg(&losses).unwrap();
    assert!(texts(&svg).contains(&"instance") && texts(&svg).contains(&"prior"));
    let plain = curve::to_svg(&Losses { instance: vec![], prior: vec![], ..losses }).unwrap();
    assert!(!texts(&plain).contains(&"instance") && !texts(&plain).contains(&"prior"));
}
