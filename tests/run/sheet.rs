//! `tunelab data`: what the network will see, as an image and a page.

use super::world::{World, fixture};
use tunelab::data::{Rgb, load_image};
use tunelab::results::write_png;

/// Images of some shapes with captions of their own: 0 and copy are equal, 1 and near nearly so, 4 is flat, 5 is tiny.
fn world() -> World {
    let world = World::new();
    fs_err::create_dir(world.path("odd")).expect("writable");
    let photo = load_image(&fixture("shapes/large.png")).expect("a picture");
    let write = |name: &str, image: &Rgb, caption: &str| {
        write_png(&world.path("odd").join(format!("{name}.png")), image, &[]).expect("writable");
        world.write(&format!("odd/{name}.txt"), caption);
    };
    write("0", &photo, "a dog <b>on</b> the beach");
    write("copy", &photo, "the same");
    let darker = Rgb { pixels: photo.pixels.iter().map(|v| v - v / 9).collect(), ..photo.clone() };
    write("near", &darker, "a little darker");
    write("tall", &load_image(&fixture("shapes/tall.png")).expect("a picture"), &"very ".repeat(90));
    write("flat", &Rgb { width: 90, height: 90, pixels: vec![200; 90 * 90 * 3] }, "grey");
    write("tiny", &Rgb { width: 40, height: 48, pixels: (0..40 * 48 * 3).map(|i| (i % 256) as u8).collect() }, "small");
    world.write(
        "a.toml",
        "model.builtin = 'mini'\nmetrics.encoders = []\nadapter.lora = {}\neval.prompts = []\n[dataset]\npath = 'odd'\nresolution = 64\nbuckets = true\n",
    );
    world
}

#[test]
fn the_sheet_shows_crops_captions_and_what_stands_out() {
    let world = world();
    let said = world.done(&["data", "a.toml"]);
    for part in [
        "6 images, 6 captions",
        "80 x 48: 3 images",
        "equal: 0.png = copy.png",
        "nearly equal: 0.png ~ near.png",
        "captions cut: tall.png (",
        "smallest: tiny.png (40 x 48)",
        "blurriest (variance of the Laplacian): flat.png (0)",
        "too small for the bucket of their shape",
        "results/a.data.png",
        "results/a.data.html",
    ] {
        assert!(said.out.contains(part), "no {part:?} in:\n{}", said.out);
    }
    let sheet = load_image(&world.path("results/a.data.png")).expect("a picture");
    assert!(sheet.width > 800 && sheet.height > 600, "{sheet:?}");
    let page = world.text("results/a.data.html");
    assert_eq!(page.matches("<img src=\"data:image/png;base64,").count(), 6);
    assert!(page.contains("a dog &lt;b&gt;on&lt;/b&gt; the beach") && page.contains("<del>"), "escaped, and struck");
    assert!(
        !page.contains("http:") && !page.contains("https:") && !page.contains("<script"),
        "nothing is fetched and nothing runs"
    );
    // Nothing else is written, and it may be said again.
    assert_eq!(super::world::tree(&world.path("results")), ["a.data.html", "a.data.png"]);
    world.done(&["data", "a.toml", "--results", "elsewhere", "--set", "dataset.buckets=false"]);
    assert!(world.text("elsewhere/a.data.html").contains("64 × 64"));
}

#[test]
fn class_images_and_masks_are_shown_and_what_is_wrong_is_refused() {
    let world = world();
    fs_err::create_dir(world.path("pets")).expect("writable");
    fs_err::copy(world.path("odd/tall.png"), world.path("pets/1.png")).expect("writable");
    let dreambooth = "adapter.dreambooth = { class_prompt = 'a dog', class_path = 'pets', lora = {} }";
    world.write("b.toml", world.text("a.toml").replace("adapter.lora = {}", dreambooth));
    let said = world.done(&["data", "b.toml", "--set", "dataset.prompt=a sks dog"]);
    assert!(said.out.contains("6 images, 1 caption, 1 class image"), "{}", said.out);
    assert!(world.text("results/b.data.html").contains("class images (1)"));
    let mask = Rgb { width: 90, height: 90, pixels: vec![255; 90 * 90 * 3] };
    write_png(&world.path("odd/flat.mask.png"), &mask, &[]).expect("writable");
    world.done(&["data", "a.toml", "--set", "dataset.masked_loss=true"]);
    assert!(world.text("results/a.data.html").contains(", masked"));
    fs_err::remove_file(world.path("odd/tall.txt")).expect("it is there");
    world.refused(&["data", "a.toml"], &["`tall.png` has no caption"]);
    world.refused(&["data", "none.toml"], &["none.toml"]);
}

/// Class images of a source, those that will be drawn of each subject, and every caption of an image that has several.
#[test]
fn subjects_class_images_of_sources_and_several_captions_are_shown() {
    let world = world();
    for (folder, image) in [("cats", "near"), ("class", "tall")] {
        fs_err::create_dir(world.path(folder)).expect("writable");
        fs_err::copy(world.path("odd").join(format!("{image}.png")), world.path(folder).join("1.png"))
            .expect("writable");
    }
    world.write(
        "s.toml",
        "model.builtin = 'mini'\nmetrics.encoders = []\neval.prompts = []\n[dataset]\nresolution = 64\n\
         [[dataset.sources]]\nname = 'dog'\npath = 'odd'\nprompt = 'a sks dog'\n[[dataset.sources]]\npath = 'cats'\nprompt = 'a zwx cat'\n\
         [[dataset.sources]]\npath = 'class'\nprior = true\nprompt = 'any cat'\n[adapter.dreambooth]\nlora = {}\nclass_images = 7\n\
         [[adapter.dreambooth.subjects]]\nsource = 'dog'\nclass_prompt = 'a dog'\n\
         [[adapter.dreambooth.subjects]]\nsource = 'cats'\nclass_source = 'class'\n",
    );
    let said = world.done(&["data", "s.toml"]);
    assert!(said.out.contains("7 images, 2 captions, 1 class image"), "{}", said.out);
    assert!(said.out.contains("7 class images of \"a dog\" will be drawn by the run"), "{}", said.out);
    assert!(!said.out.contains("images of \"\""), "{}", said.out);

    world.write("odd/flat.txt", "grey\nplain\n");
    let said = world.done(&["data", "a.toml", "--set", "dataset.captions.lines=each"]);
    assert!(said.out.contains("6 images, 7 captions"), "{}", said.out);
    let page = world.text("results/a.data.html");
    assert!(page.contains(" / ") && page.contains("<span>grey</span><span>plain</span>"), "{page}");

    world.refused(&["data", "a.toml", "--set", "dataset.masked_loss=true"], &["no image has a mask", "x.mask.png"]);
    world.refused(&["check", "a.toml", "--set", "dataset={ sources = [] }"], &["nothing says which pictures"]);
}
