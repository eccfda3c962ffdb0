//! What Stable Diffusion XL is told of a photograph's size and crop, as diffusers' `train_text_to_image_lora_sdxl.py` has it:
//! the file's height and width, top and left of the crop in the resized picture, the square's sides.

use super::{SEED, encoded};
use crate::fixture::{loader, model};
use tempfile::TempDir;
use tunelab::config::{Dataset, Source};
use tunelab::data::{Rgb, load_dataset};
use tunelab::model::unet::TimeIds;
use tunelab::model::vae::Vae;
use tunelab::results::write_png;
use tunelab::train::examples::{Batch, Examples};

/// Pictures of these widths and heights, as a dataset of 64 px.
fn examples(vae: &Vae, sides: &[(usize, usize)], center_crop: bool) -> Examples {
    let folder = TempDir::new().unwrap();
    for (index, &(width, height)) in sides.iter().enumerate() {
        let pixels = (0..width * height * 3).map(|i| (i % 251) as u8).collect();
        write_png(&folder.path().join(format!("{index}.png")), &Rgb { width, height, pixels }, &[]).unwrap();
    }
    let pictures = load_dataset(folder.path(), Some("a dog"), false, &mut |_| {}).unwrap();
    let dataset = Dataset {
        source: Source::Path(folder.path().to_owned()),
        prompt: Some("a dog".to_owned()),
        resolution: 64.into(),
        center_crop,
        random_flip: true,
        caption_dropout: 0.0,
        ..Dataset::default()
    };
    encoded(vae, folder.path(), &pictures, &dataset)
}

#[test]
fn a_centre_crops_place_is_torchvisions_and_a_mirror_does_not_move_it() {
    let vae = loader(&model()).vae().unwrap();
    // Resized to 96 x 64, 64 x 87 and 64 x 64: margins of 32, of 23, whose half goes to the even neighbour, and of none.
    let sides = [(96, 64), (27, 37), (80, 80)];
    let wanted: [TimeIds; 3] = [[64, 96, 0, 16, 64, 64], [37, 27, 12, 0, 64, 64], [80, 80, 0, 0, 64, 64]];
    let examples = examples(&vae, &sides, true);
    assert_eq!(examples.deterministic_batch(&[0, 1, 2], &vae).unwrap().time_ids, wanted);
    for draw in 0..20 {
        assert_eq!(examples.batch(&[2, 0, 1], &vae, SEED, draw).unwrap().time_ids, [wanted[2], wanted[0], wanted[1]]);
    }
    let (instance, class) =
        (examples.batch(&[0], &vae, SEED, 0).unwrap(), examples.batch(&[1], &vae, SEED, 0).unwrap());
    assert_eq!(Batch::cat(&instance, &class).unwrap().time_ids, [wanted[0], wanted[1]], "each half has its own");
}

#[test]
fn a_random_crops_place_is_where_it_was_cut() {
    let vae = loader(&model()).vae().unwrap();
    let examples = examples(&vae, &[(96, 64), (64, 128)], false);
    let mut seen = std::collections::BTreeSet::new();
    for draw in 0..60 {
        let [wide, tall] = examples.batch(&[0, 1], &vae, SEED, draw).unwrap().time_ids[..] else { panic!("two") };
        assert_eq!([wide[0], wide[1], wide[2], wide[4], wide[5]], [64, 96, 0, 64, 64]);
        assert_eq!([tall[0], tall[1], tall[3], tall[4], tall[5]], [128, 64, 0, 64, 64]);
        assert!(wide[3] <= 32 && tall[2] <= 64);
        seen.insert((wide[3], tall[2]));
        assert_eq!(
            examples.batch(&[0, 1], &vae, SEED, draw).unwrap().time_ids,
            [wide, tall],
            "a function of seed and draw"
        );
    }
    assert!(seen.len() > 40, "{} places", seen.len());
    assert_eq!(
        examples.deterministic_batch(&[0, 1], &vae).unwrap().time_ids,
        [[64, 96, 0, 16, 64, 64], [128, 64, 32, 0, 64, 64]]
    );
}
